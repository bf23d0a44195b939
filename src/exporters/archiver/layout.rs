//! How objects are called, and what of them can be read from their names.
//!
//! A key is opaque to whoever verifies: the log names it. So a layout is chosen for those who read objects without the
//! log. `hive/v1` is for query engines; `awss3/v1` is for the collector's receiver `awss3`, which goes from minute to
//! minute and lists one directory of each.
//!
//! In `awss3/v1` an object lies in the directory of the minute in which its *first* record was admitted. All its records
//! were admitted in one hour (UTC), so whoever reads whole hours finds exactly what was admitted in them, whatever became
//! of the gateway meanwhile; a range that begins in the midst of an hour misses what an object began to gather before it.
//! The minute of the seal or of the upload, which is what the collector takes, would move with every retry and every
//! restart, out of the hour that the records belong to, and the key is promised before the upload is known to succeed.

use component::prelude::*;
use evidence::names::{self, BadName, Compression, DATA, DataKey, Format, Numbered, Origin, unescape_tenant};
use evidence::time::Time;
use objects::{Name, Naming};

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
/// Beside an object in `awss3/v1`: what its name does not say.
const CLASS: &str = "weir-class";
const TENANT: &str = "weir-tenant";
const HOUR: &str = "weir-hour";

/// How objects are called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Layout {
    /// By class, tenant, signal and hour.
    #[default]
    Hive,
    /// As the collector's exporter `awss3` calls them.
    Awss3(Box<Awss3>),
}

/// What a user says of names in `awss3/v1`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Awss3 {
    /// Below the store's prefix.
    pub(crate) naming: Naming,
    /// Whether compressed objects say so in their header, as the collector's do.
    pub(crate) content_encoding: bool,
}

/// What an object's name is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) class: &'a str,
    pub(super) tenant: &'a str,
    pub(super) signal: Signal,
    /// When the first of its records was admitted, or its hour began if that is all that is known; milliseconds since 1970.
    pub(super) first_ms: u64,
    pub(super) origin: &'a Origin,
    pub(super) seq: u64,
    pub(super) compression: Compression,
}

/// An object of a session, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) key: String,
    pub(super) seq: u64,
    pub(super) signal: Signal,
    /// What else is known of it, where names say it.
    pub(super) whose: Option<Whose>,
}

/// Whose an object's records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) class: String,
    pub(super) tenant: String,
    /// Hours since 1970, of admission.
    pub(super) hour: u64,
}

impl Layout {
    /// As `archive.json` calls it.
    pub(super) fn name(&self) -> names::Layout {
        match self {
            Layout::Hive => names::Layout::Hive,
            Layout::Awss3(_) => names::Layout::Awss3,
        }
    }

    /// The key of an object; refuses names that cannot be part of one.
    pub(super) fn key(&self, named: &Named<'_>) -> Result<String, BadName> {
        match self {
            Layout::Hive => DataKey {
                class: named.class,
                tenant: named.tenant,
                signal: named.signal,
                admitted: Time::from_millis(named.first_ms.cast_signed()),
                writer: named.origin.writer(),
                session: named.origin.session(),
                seq: named.seq,
                format: Format::OtlpProto,
                compression: named.compression,
                age: false,
            }
            .key(),
            // Receivers look at the beginning of each minute: a format with seconds names that one.
            Layout::Awss3(own) => Ok(own.naming.key(&Name {
                prefix: "",
                seconds: ((named.first_ms - named.first_ms % MINUTE_MS) / 1000).cast_signed(),
                signal: named.signal.as_str(),
                unique: &Numbered::unique(named.origin.writer(), named.origin.session(), named.seq),
                ending: &format!(
                    ".{}{}",
                    Format::OtlpProto.extension(),
                    named.compression.extension()
                ),
            })),
        }
    }

    /// The class as an entry has it: only if its key does not say it.
    pub(super) fn class_of_entry(&self, class: &str) -> Option<String> {
        matches!(self, Layout::Awss3(_)).then(|| class.to_owned())
    }

    /// The header of an object.
    pub(super) fn content_encoding(&self, compression: &str) -> &'static str {
        match (self, compression) {
            (Layout::Awss3(own), "gzip") if own.content_encoding => "gzip",
            (Layout::Awss3(own), "zstd") if own.content_encoding => "zstd",
            _ => "",
        }
    }

    /// What is kept beside an object because its name does not say it: were everything else lost, it could still be told
    /// whose it is.
    pub(super) fn meta(&self, class: &str, tenant: &str, first: Time) -> Vec<(String, String)> {
        let Layout::Awss3(_) = self else {
            return Vec::new();
        };
        let hour = first.millis().cast_unsigned() / HOUR_MS;
        let pairs = [
            (CLASS, class.to_owned()),
            // What cannot be said is left away, and the object is not taken over.
            (TENANT, names::escape_tenant(tenant).unwrap_or_default()),
            (HOUR, hour.to_string()),
        ];
        pairs.map(|(name, text)| (name.to_owned(), text)).to_vec()
    }

    /// What [`Layout::meta`] said.
    pub(super) fn whose(meta: &[(String, String)]) -> Option<Whose> {
        let said = |name: &str| {
            meta.iter()
                .find(|(own, _)| own == name)
                .map(|(_, text)| text.as_str())
        };
        let class = said(CLASS)?;
        names::check_class(class).ok()?;
        Some(Whose {
            class: class.to_owned(),
            tenant: unescape_tenant(said(TENANT)?)?,
            hour: said(HOUR)?.parse().ok()?,
        })
    }

    /// Where the objects of these hours lie, each once: what their keys begin with.
    pub(super) fn begins(&self, hours: std::ops::RangeInclusive<u64>) -> Vec<String> {
        let Layout::Awss3(own) = self else {
            return vec![DATA.to_owned()];
        };
        let minutes = |hour: u64| {
            (0..60).map(move |minute| ((hour * HOUR_MS + minute * MINUTE_MS) / 1000).cast_signed())
        };
        let mut begins: Vec<String> = hours.map(|hour| own.naming.begin_of(minutes(hour))).collect();
        begins.sort();
        // What lies below another one is listed with that.
        begins.dedup_by(|next, before| next.starts_with(before.as_str()));
        begins
    }

    /// Reads a key; none if the session wrote no such one.
    pub(super) fn orphan(&self, key: &str, origin: &Origin) -> Option<Orphan> {
        match self {
            Layout::Hive => hive(key, origin),
            Layout::Awss3(_) => {
                let found = Numbered::parse(key)?;
                let is_theirs = found.writer == origin.writer() && found.short == origin.session().short();
                is_theirs.then(|| Orphan {
                    key: key.to_owned(),
                    seq: found.seq,
                    signal: found.signal,
                    whose: None,
                })
            }
        }
    }

    /// Where a listing goes on behind a key: at the first day that counts, if the key is of an earlier one.
    pub(super) fn after(&self, key: &str, first: Time) -> String {
        let first = first.civil();
        let first_day = format!("{:04}-{:02}-{:02}", first.year, first.month, first.day);
        match self {
            Layout::Hive => after(key, &first_day),
            Layout::Awss3(_) => key.to_owned(),
        }
    }
}

fn hive(key: &str, origin: &Origin) -> Option<Orphan> {
    let mut parts = key.strip_prefix(DATA)?.strip_prefix("v1/class=")?.split('/');
    let mut next = |name: &str| parts.next()?.strip_prefix(name);
    let class = next("")?.to_owned();
    let tenant = unescape_tenant(next("tenant=")?)?;
    let signal = Signal::parse(next("signal=")?)?;
    let (date, hour) = (next("dt=")?, next("hour=")?);
    let begin: Time = format!("{date}T{hour}:00:00.000Z").parse().ok()?;
    let whose = format!(
        "{}_{}_{}_",
        signal.as_str(),
        origin.writer(),
        origin.session().short()
    );
    let (seq, extension) = next("")?.strip_prefix(&whose)?.split_once('.')?;
    let plain = extension == "binpb" || extension == "binpb.zst" || extension == "binpb.gz";
    (plain && parts.next().is_none()).then_some(Orphan {
        key: key.to_owned(),
        seq: seq.parse().ok()?,
        signal,
        whose: Some(Whose {
            class,
            tenant,
            hour: begin.millis().cast_unsigned() / HOUR_MS,
        }),
    })
}

fn after(key: &str, first_day: &str) -> String {
    let (Some(at), Some(day)) = (
        key.find("/dt="),
        key.split('/').find_map(|part| part.strip_prefix("dt=")),
    ) else {
        return key.to_owned();
    };
    match day < first_day {
        true => format!("{}/dt={first_day}", &key[..at]).max(key.to_owned()),
        false => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        "a/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab"
            .parse()
            .expect("an origin")
    }

    fn awss3(yaml: &str) -> Layout {
        let zone = match yaml.contains("timezone") {
            true => "",
            false => "s3_partition_timezone: UTC, ",
        };
        let yaml = format!("{{{zone}{yaml}}}");
        let uploader = test_kit::section(&yaml)
            .parse()
            .unwrap_or_else(|faults| panic!("{faults}"));
        let naming = Naming::new(&uploader).expect("it is right").below_its_prefix();
        Layout::Awss3(Box::new(Awss3 {
            naming,
            content_encoding: true,
        }))
    }

    fn named(origin: &Origin) -> Named<'_> {
        Named {
            class: "std",
            tenant: "a/b",
            signal: Signal::Logs,
            // 2026-02-03T07:09:05.123Z
            first_ms: 1_770_102_545_123,
            origin,
            seq: 31,
            compression: Compression::Gzip,
        }
    }

    #[test]
    fn an_object_is_called_by_its_first_minute_and_its_number() {
        let origin = origin();
        let check = |layout: Layout, expected: &str| {
            let key = layout.key(&named(&origin)).expect("a key");
            assert_eq!(key, expected);
            let found = layout.orphan(&key, &origin).expect("it is found again");
            assert_eq!((found.seq, found.signal), (31, Signal::Logs));
            assert_eq!(
                layout.name().renumbered(&key, 31, 32),
                Some(key.replace("0000000031", "0000000032"))
            );
        };
        check(
            Layout::Hive,
            "data/v1/class=std/tenant=a%2Fb/signal=logs/dt=2026-02-03/hour=07/logs_gw-0_0123456789ab_0000000031.binpb.gz",
        );
        check(
            awss3("s3_prefix: p, s3_base_prefix: b, file_prefix: f-"),
            "year=2026/month=02/day=03/hour=07/minute=09/f-logs_gw-0-0123456789ab-0000000031.binpb.gz",
        );
        // Who goes from minute to minute asks for second 0.
        check(
            awss3("s3_partition_format: '%H%M%S'"),
            "070900/logs_gw-0-0123456789ab-0000000031.binpb.gz",
        );
        check(
            awss3("s3_partition_format: '%H-%M', s3_partition_timezone: Asia/Kolkata"),
            "12-39/logs_gw-0-0123456789ab-0000000031.binpb.gz",
        );
    }

    #[test]
    fn an_object_is_known_by_its_name() {
        let origin = origin();
        let check = |layout: &Layout, key: &str, expected: Option<(u64, Option<(&str, u64)>)>| {
            let found = layout.orphan(key, &origin);
            let found = found.as_ref().map(|o| {
                let whose = o.whose.as_ref().map(|whose| (whose.tenant.as_str(), whose.hour));
                assert_eq!(o.signal, Signal::Logs);
                (o.seq, whose)
            });
            assert_eq!(found, expected, "{key}");
        };
        let place = "data/v1/class=std/tenant=a%2Fb/signal=logs/dt=2025-11-20/hour=14";
        for (file, expected) in [
            (
                "logs_gw-0_0123456789ab_0000000031.binpb.zst",
                Some((31, Some(("a/b", 489_902)))),
            ),
            ("logs_gw-1_0123456789ab_0000000031.binpb.zst", None),
            ("logs_gw-0_0123456789ac_0000000031.binpb.zst", None),
            ("logs_gw-0_0123456789ab_0000000031.parquet", None),
            ("x/logs_gw-0_0123456789ab_0000000031.binpb.zst", None),
        ] {
            check(&Layout::Hive, &format!("{place}/{file}"), expected);
        }
        check(&Layout::Hive, "data/other", None);
        let awss3 = awss3("");
        for (key, expected) in [
            (
                "minute=09/logs_gw-0-0123456789ab-0000000031.binpb",
                Some((31, None)),
            ),
            ("minute=09/logs_gw-1-0123456789ab-0000000031.binpb", None),
            ("minute=09/logs_gw-0-0123456789ac-0000000031.binpb", None),
            ("minute=09/logs_482910334.binpb", None),
        ] {
            check(&awss3, key, expected);
        }
    }

    #[test]
    fn what_a_name_does_not_say_lies_beside_it() {
        let first = Time::from_millis(1_770_102_545_123);
        let meta = awss3("").meta("pci", "Z\u{fc}rich/9", first);
        assert!(
            meta.iter().all(|(name, text)| name.is_ascii() && text.is_ascii()),
            "{meta:?}"
        );
        let whose = Whose {
            class: "pci".into(),
            tenant: "Z\u{fc}rich/9".into(),
            hour: 491_695,
        };
        assert_eq!(Layout::whose(&meta), Some(whose));
        assert_eq!(Layout::whose(&meta[..2]), None);
        assert_eq!(Layout::whose(&[]), None);
        assert_eq!(Layout::Hive.meta("pci", "a", first), []);
        assert_eq!(Layout::Hive.class_of_entry("pci"), None);
        assert_eq!(awss3("").class_of_entry("pci").as_deref(), Some("pci"));
        assert_eq!(awss3("").content_encoding("gzip"), "gzip");
        assert_eq!(awss3("").content_encoding("none"), "");
        assert_eq!(Layout::Hive.content_encoding("gzip"), "");
    }

    #[test]
    fn what_lies_together_is_listed_once() {
        let check = |format: &str, expected: &[&str]| {
            let layout = awss3(&format!("s3_partition_format: '{format}'"));
            assert_eq!(layout.begins(491_695..=491_697), expected, "{format}");
        };
        check(
            "%Y/hour=%H/minute=%M",
            &[
                "2026/hour=07/minute=",
                "2026/hour=08/minute=",
                "2026/hour=09/minute=",
            ],
        );
        check("%Y/%m/%d", &["2026/02/03"]);
        check("%M/%H", &[""]);
        assert_eq!(Layout::Hive.begins(1..=2), ["data/"]);
    }

    #[test]
    fn days_that_are_over_are_stepped_over() {
        let check = |key: &str, expected: &str| assert_eq!(after(key, "2025-11-18"), expected);
        check(
            "data/v1/a/dt=2025-11-20/hour=14/x",
            "data/v1/a/dt=2025-11-20/hour=14/x",
        );
        check("data/v1/a/dt=2025-11-17/hour=14/x", "data/v1/a/dt=2025-11-18");
        check("data/odd", "data/odd");
    }
}
