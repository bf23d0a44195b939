//! Words that must not be in any file, and files that grew too long.

use super::{File, Tree, code_lines};

/// A word that may not be in a file, and why. Spelled in two halves, so that this file passes its own test.
struct Banned {
    halves: (&'static str, &'static str),
    reason: &'static str,
    /// Only in files that end so; empty: in all.
    suffix: &'static str,
}

const fn banned(
    first: &'static str,
    second: &'static str,
    suffix: &'static str,
    reason: &'static str,
) -> Banned {
    Banned {
        halves: (first, second),
        reason,
        suffix,
    }
}

const UNFINISHED: &str = "work that is left belongs into an issue";
const MACHINE: &str = "a path of one machine";
const MIRROR: &str = "names a package registry; everybody has their own";

const BANNED: [Banned; 14] = [
    banned("TO", "DO", "", UNFINISHED),
    banned("FIX", "ME", "", UNFINISHED),
    banned("XX", "X:", "", UNFINISHED),
    banned("todo", "!(", ".rs", UNFINISHED),
    banned("unimplemented", "!(", ".rs", UNFINISHED),
    banned("dbg", "!(", ".rs", "left over from looking for a fault"),
    banned("#[ign", "ore", ".rs", "a test that does not run proves nothing"),
    banned("/wo", "rk/", "", MACHINE),
    banned("/var/", "tmp/", "", MACHINE),
    banned("/ro", "ot/", "", MACHINE),
    banned("index", "-url", "", MIRROR),
    banned("INDEX", "_URL", "", MIRROR),
    banned("GOPR", "OXY", "", MIRROR),
    banned("replace", "-with", "", MIRROR),
];

/// A file seldom grows above this many lines that are not tests; then it is named in the report.
const FILE_LINES_LONG: usize = 800;
/// A file that is longer fails.
const FILE_LINES_MAX: usize = 1200;
/// One screen; longer functions are named in the report.
const FUNCTION_LINES_LONG: usize = 70;

fn words(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.files() {
        // The licence and the lock file are not ours to write.
        if file.path == "LICENSE" || file.path.ends_with("Cargo.lock") {
            continue;
        }
        for banned in BANNED.iter().filter(|b| file.path.ends_with(b.suffix)) {
            let word = [banned.halves.0, banned.halves.1].concat();
            for (n, line) in file.text.lines().enumerate() {
                if line.contains(&word) {
                    complaints.push(format!("{}:{}: \"{word}\": {}", file.path, n + 1, banned.reason));
                }
            }
        }
    }
    complaints
}

/// What is too long, and what is only long.
#[derive(Default)]
struct Lengths {
    too_long: Vec<String>,
    long: Vec<String>,
}

fn lengths(tree: &Tree) -> Lengths {
    let mut found = Lengths::default();
    for file in tree.files().iter().filter(|f| is_written_by_hand(f)) {
        let lines = code_lines(file).count();
        if lines > FILE_LINES_MAX {
            found
                .too_long
                .push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path));
        } else if lines > FILE_LINES_LONG {
            found.long.push(format!("{}: {lines} lines", file.path));
        }
        for (line, name, length) in functions(file) {
            if length > FUNCTION_LINES_LONG {
                found
                    .long
                    .push(format!("{}:{line}: {name} has {length} lines", file.path));
            }
        }
    }
    found
}

fn is_written_by_hand(file: &File) -> bool {
    file.path.ends_with(".rs") && !file.path.starts_with("src/codec/proto/")
}

/// Functions with their first line, name and length. rustfmt puts a body's closing brace below the `fn`'s indentation,
/// so no parser is needed.
fn functions(file: &File) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, usize, String)> = Vec::new();
    for (n, line) in code_lines(file) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text == "}" && open.last().is_some_and(|(_, i, _)| *i == indent) {
            let (first, _, name) = open.pop().expect("looked at just now");
            found.push((first, name, n + 1 - first));
        } else if let Some(name) = function_name(text)
            && !text.ends_with(';')
            && !text.ends_with('}')
        {
            open.push((n, indent, name));
        }
    }
    found
}

fn function_name(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    for word in words.by_ref() {
        match word {
            "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"" => {}
            word if word.starts_with("pub(") => {}
            "fn" => break,
            _ => return None,
        }
    }
    let rest = words.next()?;
    let end = rest.find(['(', '<']).unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{assert_tidy, model};
    use super::*;

    #[test]
    fn no_file_holds_a_banned_word() {
        assert_tidy(&words(&Tree::here()));
    }

    #[test]
    #[allow(
        clippy::print_stderr,
        reason = "the report is for people; it is shown with --nocapture"
    )]
    fn no_file_is_too_long() {
        let found = lengths(&Tree::here());
        for line in &found.long {
            eprintln!("long: {line}");
        }
        assert_tidy(&found.too_long);
    }

    #[test]
    fn each_banned_word_is_found() {
        for banned in &BANNED {
            let word = [banned.halves.0, banned.halves.1].concat();
            let path = format!(
                "docs/page{}",
                if banned.suffix.is_empty() {
                    ".md"
                } else {
                    banned.suffix
                }
            );
            let text = format!("fine\nnot {word} fine\n");
            let dir = model(&[(&path, &text), ("LICENSE", &text)]);
            let found = words(&Tree::at(dir.path()));
            assert_eq!(found, [format!("{path}:2: \"{word}\": {}", banned.reason)]);
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_found_but_not_its_tests() {
        let dir = model(&[
            ("src/wire/a.rs", &"// line\n".repeat(FILE_LINES_MAX + 1)),
            ("src/wire/b.rs", &"// line\n".repeat(FILE_LINES_LONG + 1)),
            ("src/wire/lib.rs", "#[cfg(test)]\nmod tests;\n"),
            ("src/wire/tests.rs", &"// line\n".repeat(FILE_LINES_MAX + 1)),
            ("src/codec/proto/c.rs", &"// line\n".repeat(FILE_LINES_MAX + 1)),
        ]);
        let found = lengths(&Tree::at(dir.path()));
        assert_eq!(found.too_long, ["src/wire/a.rs: 1201 lines, at most 1200"]);
        assert_eq!(found.long, ["src/wire/b.rs: 801 lines"]);
    }

    #[test]
    fn a_long_function_is_reported() {
        let body = "        let _ = 1;\n".repeat(FUNCTION_LINES_LONG);
        let text = format!(
            "impl A {{\n    pub(crate) async fn long<T>(t: T) {{\n{body}    }}\n\n    fn short() {{}}\n}}\n"
        );
        let dir = model(&[("src/wire/a.rs", &text)]);
        assert_eq!(
            lengths(&Tree::at(dir.path())).long,
            ["src/wire/a.rs:2: long has 72 lines"]
        );
    }
}
