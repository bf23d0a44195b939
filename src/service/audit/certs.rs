//! Certificates that the configuration names by file: told when they are first seen, when their file is another one, and
//! once a day when they end soon.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use component::audit::{Act, Ended};
use config::Effective;
use evidence::digest::{Digest, sha256};
use evidence::time::Second;
use net::tls::Certificate;

use super::crowd::shortened;

/// Files that are looked at.
const FILES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 1 << 20;
/// So long before its end a certificate is told of.
const SOON: Duration = Duration::from_secs(30 * 86_400);
const DAY: u64 = 86_400;

/// What was told of them.
#[derive(Default)]
pub(super) struct Certs(BTreeMap<PathBuf, Known>);

#[derive(Default)]
struct Known {
    /// Of the file; none of one that could not be read.
    sha256: Option<Digest>,
    is_told: bool,
    /// Seconds since 1970.
    warned: Option<u64>,
}

/// What stands in a file: nothing is known of what could not be read.
pub(super) type Found = Result<(Digest, Option<Certificate>), String>;

/// The files that a configuration names as certificates.
pub(super) fn files(configuration: &Effective) -> Vec<PathBuf> {
    fn walk(value: &Effective, all: &mut Vec<PathBuf>) {
        match value {
            Effective::Map(entries) => {
                for (key, value) in entries {
                    match value {
                        Effective::Text(path) if key == "cert_file" && !path.is_empty() => {
                            all.push(path.into())
                        }
                        value => walk(value, all),
                    }
                }
            }
            Effective::List(values) => values.iter().for_each(|value| walk(value, all)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    walk(configuration, &mut all);
    all.sort();
    all.dedup();
    all.truncate(FILES_MAX);
    all
}

/// Reads one. Blocks.
pub(super) fn read(path: &Path) -> Found {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let read = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    Ok((sha256(&bytes), Certificate::first_of(&bytes)))
}

impl Certs {
    /// These are in use now.
    pub(super) fn want(&mut self, files: &[PathBuf]) {
        self.0.retain(|path, _| files.contains(path));
        for path in files {
            self.0.entry(path.clone()).or_default();
        }
    }

    /// Those in use.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.0.keys().cloned().collect()
    }

    /// What is to be told of a file; `now` in seconds since 1970.
    pub(super) fn seen(&mut self, path: &Path, found: &Found, now: u64) -> Vec<Act> {
        let Some(known) = self.0.get_mut(path) else {
            return Vec::new();
        };
        let act = |name| Act::new(name, shortened(&format!("tls/{}", path.display())));
        let mut acts = Vec::new();
        let sha256 = found.as_ref().ok().map(|(sha256, _)| *sha256);
        let is_new = !known.is_told || known.sha256 != sha256;
        if is_new {
            *known = Known {
                sha256,
                is_told: true,
                warned: None,
            };
        }
        match found {
            Err(error) if is_new => {
                acts.push(
                    act("tls.cert.load")
                        .with("error", shortened(error))
                        .ended(Ended::Failure),
                );
            }
            Err(_) => {}
            Ok((sha256, None)) if is_new => {
                let act = act("tls.cert.load").with("sha256", sha256.to_string());
                acts.push(
                    act.with("error", "no certificate could be read")
                        .ended(Ended::Failure),
                );
            }
            Ok((_, None)) => {}
            Ok((sha256, Some(certificate))) => {
                let end = i64::try_from(certificate.not_after_s).unwrap_or(i64::MAX);
                let not_after = Second::from_seconds(end).to_string();
                let of = |act: Act| {
                    act.with("subject", shortened(&certificate.subject))
                        .with("not_after", not_after.as_str())
                };
                if is_new {
                    acts.push(of(act("tls.cert.load").with("sha256", sha256.to_string())));
                }
                let left = certificate.not_after_s.saturating_sub(now);
                let is_quiet = known.warned.is_some_and(|warned| now < warned + DAY);
                if left < SOON.as_secs() && !is_quiet {
                    known.warned = Some(now);
                    let outcome = match left {
                        0 => Ended::Failure,
                        _ => Ended::Success,
                    };
                    let days = left / DAY;
                    acts.push(of(act("tls.cert.expiring").with("days", days).ended(outcome)));
                }
            }
        }
        acts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(not_after_s: u64) -> Found {
        let subject = "gateway.example".to_owned();
        Ok((
            sha256(not_after_s.to_string().as_bytes()),
            Some(Certificate { subject, not_after_s }),
        ))
    }

    #[test]
    fn a_certificate_is_told_when_it_is_another_and_daily_when_it_ends_soon() {
        let path = Path::new("/etc/tls/a.pem");
        let mut certs = Certs::default();
        certs.want(&[path.to_owned()]);
        let end = 100 * DAY;
        let mut check = |found: &Found, now: u64, expected: &[(&str, Ended)]| {
            let acts = certs.seen(path, found, now);
            let told: Vec<(&str, Ended)> = acts.iter().map(|act| (act.name, act.outcome)).collect();
            assert_eq!(told, expected, "at day {}", now / DAY);
            acts
        };
        let told = check(&certificate(end), 0, &[("tls.cert.load", Ended::Success)]);
        assert_eq!(told[0].object, "tls//etc/tls/a.pem");
        assert_eq!(told[0].details["subject"], "gateway.example");
        assert_eq!(told[0].details["not_after"], "1970-04-11T00:00:00Z");
        check(&certificate(end), 70 * DAY, &[]);
        let soon = [("tls.cert.expiring", Ended::Success)];
        let told = check(&certificate(end), 70 * DAY + 1, &soon);
        assert_eq!(told[0].details["days"], 29);
        check(&certificate(end), 71 * DAY, &[]);
        check(&certificate(end), 72 * DAY, &soon);
        check(
            &certificate(end),
            100 * DAY,
            &[("tls.cert.expiring", Ended::Failure)],
        );
        check(
            &certificate(end * 2),
            100 * DAY,
            &[("tls.cert.load", Ended::Success)],
        );
        let gone: Found = Err("no such file".to_owned());
        check(&gone, 100 * DAY, &[("tls.cert.load", Ended::Failure)]);
        check(&gone, 101 * DAY, &[]);
        let odd: Found = Ok((sha256(b""), None));
        check(&odd, 101 * DAY, &[("tls.cert.load", Ended::Failure)]);
        certs.want(&[]);
        assert_eq!(certs.seen(path, &odd, 0), []);
    }

    #[test]
    fn files_are_found_wherever_they_stand() {
        let text = |text: &str| Effective::Text(text.to_owned());
        let map = |entries: &[(&str, Effective)]| {
            let entries = entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()));
            Effective::Map(entries.collect())
        };
        let tls = |path: &str| map(&[("tls", map(&[("cert_file", text(path)), ("key_file", text("/k"))]))]);
        let all = map(&[
            ("a", tls("/b")),
            ("b", Effective::List(vec![tls("/a"), tls("/b"), tls("")])),
        ]);
        assert_eq!(files(&all), [PathBuf::from("/a"), PathBuf::from("/b")]);
    }
}
