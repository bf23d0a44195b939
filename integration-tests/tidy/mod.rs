//! Tidiness: what the compiler cannot hold of the house's rules, read from the files themselves.
//!
//! Each rule is a function from a tree (a folder laid out like this repository) to a list of complaints; the tests at
//! the bottom of each module run it on this repository, where the list must be empty, and on small trees with one
//! planted fault each, where it must not be. `floors` holds who may import whom, `text` words and lengths, `supply` the
//! crates that must not come in.

mod floors;
mod supply;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

/// A folder laid out like this repository; its text files are read once.
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<File>,
}

/// A text file and its path below the root, with `/` between the parts.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
    /// Whether it holds tests and nothing else.
    pub(crate) is_test: bool,
}

/// Names of folders (`.git` may also be a file) that hold nothing of ours.
const SKIPPED: [&str; 5] = [".git", "target", "node_modules", ".venv", "__pycache__"];
/// Larger files are data, not text to be read for words.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Tree {
    /// This repository.
    pub(crate) fn here() -> Tree {
        Tree::at(Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    /// Reads every text file below `root`.
    pub(crate) fn at(root: &Path) -> Tree {
        let mut files = Vec::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("the tree can be listed") {
                let entry = entry.expect("the tree can be listed");
                let name = entry.file_name().to_string_lossy().into_owned();
                let kind = entry.file_type().expect("the kind of a listed file");
                if SKIPPED.contains(&name.as_str()) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && entry.metadata().is_ok_and(|m| m.len() <= FILE_BYTES_MAX) {
                    let path = entry.path();
                    // What is not UTF-8 is no text: seeds of the fuzz targets, for one.
                    if let Ok(text) = fs::read_to_string(&path) {
                        let below = path.strip_prefix(root).expect("found below the root");
                        files.push(File {
                            path: below.to_string_lossy().replace('\\', "/"),
                            text,
                            is_test: false,
                        });
                    }
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let tests: Vec<String> = files.iter().flat_map(test_modules).collect();
        for file in &mut files {
            file.is_test = tests.iter().any(|test| {
                let rest = file.path.strip_prefix(test.as_str());
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            });
        }
        Tree {
            root: root.to_path_buf(),
            files,
        }
    }

    /// All files, in order of their paths.
    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    /// The file at exactly this path.
    pub(crate) fn file(&self, path: &str) -> Option<&str> {
        self.files
            .iter()
            .find(|f| f.path == path)
            .map(|f| f.text.as_str())
    }

    /// Files below a folder, e.g. `src/wire`.
    pub(crate) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |f| {
            f.path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        })
    }

    /// Names of the folders directly in `folder`, empty ones included.
    pub(crate) fn folders(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(folder)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|e| e.path().is_dir())
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Paths, without `.rs`, of the modules that a Rust file declares for tests only.
fn test_modules(file: &File) -> Vec<String> {
    let Some((folder, name)) = file
        .path
        .rsplit_once('/')
        .filter(|(_, name)| name.ends_with(".rs"))
    else {
        return Vec::new();
    };
    let below = match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => file.path.trim_end_matches(".rs").to_owned(),
    };
    let lines: Vec<&str> = file.text.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| pair[1].strip_prefix("mod ")?.strip_suffix(';'))
        .map(|module| format!("{below}/{module}"))
        .collect()
}

/// The lines of a Rust file that are not its tests: modules declared for tests have none, others end at the test
/// module (house style puts it last). Numbered from 1.
pub(crate) fn code_lines(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut in_tests = file.is_test;
    let mut pending = false;
    file.text.lines().enumerate().filter_map(move |(n, line)| {
        if !in_tests {
            if pending && line.starts_with("mod ") && !line.ends_with(';') {
                in_tests = true;
            }
            pending = line == "#[cfg(test)]" || (pending && line.starts_with("#["));
        }
        (!in_tests).then_some((n + 1, line))
    })
}

/// Writes a small model tree for a rule that must be able to fail.
#[cfg(test)]
pub(crate) fn model(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("model files lie in folders")).expect("a model folder");
        fs::write(path, text).expect("a model file");
    }
    dir
}

/// Fails with all complaints at once.
#[cfg(test)]
pub(crate) fn assert_tidy(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn code_lines_end_where_the_tests_begin() {
    let text = "fn a() {}\n#[cfg(test)]\nfn only_for_tests() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() {}\n}\n";
    let dir = model(&[("src/wire/a.rs", text)]);
    let tree = Tree::at(dir.path());
    let lines: Vec<usize> = code_lines(&tree.files()[0]).map(|(n, _)| n).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5]);
}

#[test]
fn modules_declared_for_tests_have_no_code_lines() {
    let dir = model(&[
        (
            "src/wire/lib.rs",
            "mod view;\n#[cfg(test)]\nmod tests;\nmod split;\n",
        ),
        ("src/wire/tests.rs", "fn a() {}\n"),
        ("src/wire/split.rs", "#[cfg(test)]\nmod random;\n"),
        ("src/wire/split/random.rs", "fn b() {}\n"),
        ("src/wire/view/mod.rs", "#[cfg(test)]\nmod oracle;\n"),
        ("src/wire/view/oracle/mod.rs", "fn c() {}\n"),
        ("src/wire/oracle.rs", "fn d() {}\n"),
    ]);
    let tree = Tree::at(dir.path());
    let code: Vec<(&str, usize)> = tree
        .files()
        .iter()
        .map(|f| (f.path.as_str(), code_lines(f).count()))
        .collect();
    assert_eq!(
        code,
        [
            ("src/wire/lib.rs", 4),
            ("src/wire/oracle.rs", 1),
            ("src/wire/split.rs", 2),
            ("src/wire/split/random.rs", 0),
            ("src/wire/tests.rs", 0),
            ("src/wire/view/mod.rs", 2),
            ("src/wire/view/oracle/mod.rs", 0),
        ]
    );
}
