//! Crates that must not come in: what `deny.toml` says, as far as the lock file can tell, on machines without
//! cargo-deny.
//!
//! The lock file lists optional dependencies too, even those that no feature switches on. So a banned crate may be
//! listed by a crate that only offers it, if it is named here; whoever switches it on lists it as well, and is found.

use super::Tree;

/// A crate that must not be used.
struct Ban {
    name: &'static str,
    /// Only versions that begin so; empty: all.
    version: &'static str,
    /// Crates that offer it, switched off.
    offered_by: &'static [&'static str],
    reason: &'static str,
}

const fn ban(name: &'static str, version: &'static str, reason: &'static str) -> Ban {
    Ban {
        name,
        version,
        offered_by: &[],
        reason,
    }
}

const BANS: [Ban; 9] = [
    Ban {
        name: "ring",
        version: "",
        offered_by: &["rustls-webpki"],
        reason: "one crypto provider: aws-lc-rs",
    },
    ban("openssl-sys", "", "one TLS stack: rustls"),
    ban("openssl", "", "one TLS stack: rustls"),
    ban("native-tls", "", "one TLS stack: rustls"),
    ban("hyper", "0.14", "one hyper: 1.x"),
    ban("rustls", "0.21", "one rustls: 0.23"),
    ban("serde_yaml", "", "no longer maintained, and it loses places"),
    ban("chrono", "", "times are numbers here"),
    ban("reqwest", "", "one HTTP client stack: hyper-util"),
];

/// The only source of crates.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// One `[[package]]` of a lock file.
#[derive(Default)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    source: Option<&'a str>,
    /// As written: `name`, or `name version` where there are several.
    dependencies: Vec<&'a str>,
}

fn packages(lock: &str) -> Vec<Package<'_>> {
    let mut found: Vec<Package<'_>> = Vec::new();
    for line in lock.lines() {
        if line == "[[package]]" {
            found.push(Package::default());
        }
        let Some(package) = found.last_mut() else {
            continue;
        };
        let value = line.split('"').nth(1).unwrap_or_default();
        if line.starts_with("name = ") {
            package.name = value;
        } else if line.starts_with("version = ") {
            package.version = value;
        } else if line.starts_with("source = ") {
            package.source = Some(value);
        } else if line.starts_with(" \"") {
            package.dependencies.push(value);
        }
    }
    found
}

fn supply(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    let packages = packages(tree.file("Cargo.lock").unwrap_or_default());
    if packages.is_empty() {
        return vec!["Cargo.lock: missing or empty".to_owned()];
    }
    for package in &packages {
        match package.source {
            Some(SOURCE) => {}
            Some(source) => complaints.push(format!("Cargo.lock: {} comes from {source}", package.name)),
            None if package.name == "weir" || package.name.starts_with("weir-") => {}
            None => complaints.push(format!("Cargo.lock: {} has no source", package.name)),
        }
    }
    for ban in &BANS {
        let is_banned = |p: &Package<'_>| p.name == ban.name && p.version.starts_with(ban.version);
        if !packages.iter().any(is_banned) {
            continue;
        }
        let mut has_user = false;
        for user in &packages {
            let uses = user.dependencies.iter().any(|d| {
                let (name, version) = d.split_once(' ').unwrap_or((d, ban.version));
                name == ban.name && version.starts_with(ban.version)
            });
            if uses {
                has_user = true;
                if !ban.offered_by.contains(&user.name) {
                    complaints.push(format!(
                        "Cargo.lock: {} uses {}; {}",
                        user.name, ban.name, ban.reason
                    ));
                }
            }
        }
        if !has_user {
            complaints.push(format!(
                "Cargo.lock: {} {}; {}",
                ban.name, ban.version, ban.reason
            ));
        }
    }
    let rules = tree.file("deny.toml").unwrap_or_default();
    for ban in &BANS {
        if !rules.contains(&format!("\"{}", ban.name)) {
            complaints.push(format!(
                "deny.toml: {} is banned by the test, but not there",
                ban.name
            ));
        }
    }
    complaints
}

/// Lets a process be told to die: switched on by tests, offered by one crate, on by itself nowhere.
const FOR_TESTS: &str = "crash-points";

fn switches(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.files().iter().filter(|f| f.path.ends_with("Cargo.toml")) {
        let mut section = "";
        for (n, line) in file.text.lines().enumerate() {
            if line.starts_with('[') {
                section = line;
            }
            let offers =
                file.path == "src/storage/Cargo.toml" && line.starts_with(&format!("{FOR_TESTS} = "));
            if line.contains(FOR_TESTS) && !offers && !section.starts_with("[dev-dependencies") {
                complaints.push(format!(
                    "{}:{}: {FOR_TESTS} is for tests: only [dev-dependencies] may switch it on",
                    file.path,
                    n + 1
                ));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::super::{assert_tidy, model};
    use super::*;

    #[test]
    fn no_banned_crate_is_used() {
        assert_tidy(&supply(&Tree::here()));
    }

    #[test]
    fn a_release_cannot_be_told_to_die() {
        assert_tidy(&switches(&Tree::here()));
        let check = |path: &str, text: &str, expected: &[&str]| {
            let dir = model(&[(path, text)]);
            assert_eq!(switches(&Tree::at(dir.path())), expected);
        };
        let on = "storage = { workspace = true, features = [\"crash-points\"] }\n";
        check("Cargo.toml", &format!("[dev-dependencies]\n{on}"), &[]);
        check(
            "Cargo.toml",
            &format!("[dev-dependencies]\n[dependencies]\n{on}"),
            &["Cargo.toml:3: crash-points is for tests: only [dev-dependencies] may switch it on"],
        );
        check("src/storage/Cargo.toml", "[features]\ncrash-points = []\n", &[]);
        check(
            "src/storage/Cargo.toml",
            "[features]\ndefault = [\"crash-points\"]\n",
            &[
                "src/storage/Cargo.toml:2: crash-points is for tests: only [dev-dependencies] may switch it on",
            ],
        );
    }

    fn package(name: &str, version: &str, dependencies: &[&str]) -> String {
        let list: String = dependencies.iter().map(|d| format!(" \"{d}\",\n")).collect();
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{SOURCE}\"\ndependencies = [\n{list}]\n\n"
        )
    }

    fn check(lock: &[String], expected: &[&str]) {
        let rules: String = BANS.iter().map(|b| format!("\"{}\"\n", b.name)).collect();
        let dir = model(&[("Cargo.lock", &lock.concat()), ("deny.toml", &rules)]);
        assert_eq!(supply(&Tree::at(dir.path())), expected);
    }

    #[test]
    fn a_banned_crate_is_found_by_who_uses_it() {
        check(&[package("a", "1.0.0", &["b"]), package("b", "1.0.0", &[])], &[]);
        check(
            &[
                package("a", "1.0.0", &["native-tls"]),
                package("native-tls", "0.2.0", &[]),
            ],
            &["Cargo.lock: a uses native-tls; one TLS stack: rustls"],
        );
        check(
            &[
                package("a", "1.0.0", &["hyper 0.14.3"]),
                package("hyper", "0.14.3", &[]),
                package("hyper", "1.7.0", &[]),
            ],
            &["Cargo.lock: a uses hyper; one hyper: 1.x"],
        );
        check(
            &[package("a", "1.0.0", &["hyper"]), package("hyper", "1.7.0", &[])],
            &[],
        );
    }

    #[test]
    fn a_crate_that_is_only_offered_passes_until_it_is_switched_on() {
        let offered = [
            package("rustls-webpki", "0.103.0", &["ring"]),
            package("ring", "0.17.0", &[]),
        ];
        check(&offered, &[]);
        let on = [
            offered.concat(),
            package("rustls", "0.23.0", &["ring", "rustls-webpki"]),
        ];
        check(
            &on,
            &["Cargo.lock: rustls uses ring; one crypto provider: aws-lc-rs"],
        );
    }

    #[test]
    fn another_source_is_found() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/a\"\n";
        check(
            &[lock.to_owned()],
            &["Cargo.lock: a comes from git+https://example.com/a"],
        );
    }
}
