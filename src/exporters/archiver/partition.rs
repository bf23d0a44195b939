//! An object being built, and when it is finished.
//!
//! A partition is cheap: names, counters, bounds, a running digest; no compressor, no file handle, no timer. All
//! partitions of an exporter lie in one table, and whoever owns it asks which are due.

use bytes::Bytes;
use component::prelude::*;
use tokio::time::Instant;

use super::buffer::Buffer;
use super::facts::Facts;
use super::spool::Part;

/// What a partition gathers: one object is of one class, one tenant, one signal, one hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// Hours since 1970, UTC, of admission.
    pub(super) hour: u64,
    pub(super) signal: Signal,
    pub(super) class: Arc<str>,
    pub(super) tenant: Arc<str>,
    /// Name of the rules that its records were split by: a record ends under those it began with.
    pub(super) rules: Arc<str>,
}

/// Why an object is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Roll {
    Age,
    Small,
    Bytes,
    Raw,
    Records,
    Limit,
    Quota,
    Flush,
}

impl Roll {
    /// As metrics call it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Roll::Age => "age",
            Roll::Small => "small",
            Roll::Bytes => "bytes",
            Roll::Raw => "raw",
            Roll::Records => "records",
            Roll::Limit => "limit",
            Roll::Quota => "quota",
            Roll::Flush => "flush",
        }
    }
}

/// Bounds of an object; ages before their share of chance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) max_age: std::time::Duration,
    pub(super) max_age_small: std::time::Duration,
    pub(super) min_bytes: u64,
    pub(super) max_bytes: u64,
    pub(super) max_raw_bytes: u64,
    pub(super) max_records: u64,
}

/// Distinct services that an entry names, and the bytes of their names.
const SERVICES_MAX: usize = 32;
const SERVICE_BYTES_MAX: usize = 512;
/// How much smaller compression makes things, before anything was compressed.
const RATIO_FIRST: u64 = 4;

/// What is known about the records of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) records: u64,
    pub(super) raw_bytes: u64,
    /// Smallest and largest, in nanoseconds since 1970.
    pub(super) event_ns: Option<(u64, u64)>,
    /// Smallest and largest, in milliseconds since 1970.
    pub(super) admitted_ms: Option<(u64, u64)>,
    pub(super) severities: [u64; 7],
    pub(super) services: Services,
    pub(super) more_services: bool,
}

/// Distinct names of services in the order in which they came, laid end to end: there are thousands of partitions, and
/// a name of its own would cost more than its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Services {
    names: String,
    /// Where each ends.
    ends: Vec<u16>,
}

impl Services {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| usize::from(*end)));
        let ends = self.ends.iter().map(|end| usize::from(*end));
        starts.zip(ends).map(|(start, end)| &self.names[start..end])
    }

    /// As a log entry has them.
    pub(super) fn sorted(&self) -> Vec<String> {
        let mut all: Vec<String> = self.iter().map(str::to_owned).collect();
        all.sort_unstable();
        all
    }

    /// Adds one that is not there; false if there is no room for it.
    fn add(&mut self, name: &str) -> bool {
        if self.ends.len() >= SERVICES_MAX || self.names.len() + name.len() > SERVICE_BYTES_MAX {
            return false;
        }
        self.names.reserve_exact(name.len());
        self.names.push_str(name);
        // The bound on all names fits.
        self.ends.push(self.names.len() as u16);
        true
    }
}

impl Summary {
    /// Adds the facts of a piece.
    pub(super) fn add(&mut self, facts: &Facts, raw_bytes: u64, admitted_ms: u64) {
        let span = |before: Option<(u64, u64)>, (from, to): (u64, u64)| {
            let (least, most) = before.unwrap_or((from, to));
            Some((least.min(from), most.max(to)))
        };
        self.records += facts.items;
        self.raw_bytes += raw_bytes;
        self.admitted_ms = span(self.admitted_ms, (admitted_ms, admitted_ms));
        if let Some(own) = facts.event_ns {
            self.event_ns = span(self.event_ns, own);
        }
        for (all, own) in self.severities.iter_mut().zip(facts.severities) {
            *all += own;
        }
        for service in &facts.services {
            self.add_service(service);
        }
    }

    fn add_service(&mut self, name: &Bytes) {
        let Ok(name) = std::str::from_utf8(name) else {
            self.more_services = true;
            return;
        };
        let is_there = self.services.iter().any(|there| there == name);
        if !is_there && !self.services.add(name) {
            self.more_services = true;
        }
    }
}

/// An object being built.
pub(super) struct Partition<S> {
    pub(super) summary: Summary,
    pub(super) buffer: Buffer,
    /// Which journal records are in it.
    pub(super) set: S,
    /// None while somebody compresses into it.
    pub(super) part: Option<Part>,
    /// Bytes in the part, also while somebody compresses, and of what they were made.
    pub(super) stored_bytes: u64,
    pub(super) framed_bytes: u64,
    /// Finish it as soon as nobody compresses into it.
    pub(super) roll: Option<Roll>,
    pub(super) opened: Instant,
    /// Share of the ages that is this partition's, in millionths.
    jitter: u32,
}

/// A share between 0.8 and 1, in millionths, that partitions of one name always have and others not: what began
/// together does not end together.
pub(super) fn jitter(writer: &str, key: &Key) -> u32 {
    let text = [writer, &key.class, &key.tenant, key.signal.as_str()].join("\n");
    let [a, b, c, d, ..] = evidence::digest::sha256(text.as_bytes()).0;
    let share = u64::from(u32::from_be_bytes([a, b, c, d]));
    800_000 + ((share * 200_000) >> 32) as u32
}

impl<S> Partition<S> {
    pub(super) fn new(part: Part, set: S, jitter: u32, now: Instant) -> Partition<S> {
        Partition {
            summary: Summary::default(),
            buffer: Buffer::default(),
            set,
            part: Some(part),
            stored_bytes: 0,
            framed_bytes: 0,
            roll: None,
            opened: now,
            jitter,
        }
    }

    /// Compressed bytes, of what is not compressed yet by the ratio so far.
    pub(super) fn compressed_bytes(&self) -> u64 {
        let waiting = self.summary.raw_bytes - self.framed_bytes;
        let expected = match self.stored_bytes {
            0 => waiting / RATIO_FIRST,
            stored => {
                (u128::from(waiting) * u128::from(stored) / u128::from(self.framed_bytes.max(1))) as u64
            }
        };
        self.stored_bytes + expected
    }

    fn share(&self, age: std::time::Duration) -> std::time::Duration {
        age.mul_f64(f64::from(self.jitter) / 1e6)
    }

    /// Why it is to be finished now, if it is.
    pub(super) fn due(&self, bounds: &Bounds, now: Instant) -> Option<Roll> {
        let age = now.saturating_duration_since(self.opened);
        let compressed = self.compressed_bytes();
        if self.summary.records >= bounds.max_records {
            Some(Roll::Records)
        } else if self.summary.raw_bytes >= bounds.max_raw_bytes {
            Some(Roll::Raw)
        } else if compressed >= bounds.max_bytes {
            Some(Roll::Bytes)
        } else if age >= self.share(bounds.max_age) && compressed >= bounds.min_bytes {
            Some(Roll::Age)
        } else if age >= self.share(bounds.max_age_small) {
            Some(Roll::Small)
        } else {
            None
        }
    }

    /// When it is due if nothing is added.
    pub(super) fn deadline(&self, bounds: &Bounds) -> Instant {
        let small = self.compressed_bytes() < bounds.min_bytes;
        let age = if small {
            bounds.max_age_small
        } else {
            bounds.max_age.min(bounds.max_age_small)
        };
        self.opened + self.share(age)
    }

    /// Memory that an open partition takes beside what is buffered and what the set of its records holds: its share of a
    /// table, its key, and what it owns elsewhere, each allocation with what an allocator adds.
    #[cfg(test)]
    pub(super) fn state_bytes(&self, key: &Key) -> usize {
        /// What the digest's library keeps of a running SHA-256: its own box, and the state behind it.
        const DIGEST_BYTES: usize = 48 + 128;
        const COUNTS_BYTES: usize = 2 * size_of::<usize>();
        let allocated = |bytes: usize| match bytes {
            0 => 0,
            bytes => bytes.next_multiple_of(16) + 16,
        };
        // A table that has just grown is less than half full.
        let slot = (size_of::<(Key, Self)>() + 1) * 16 / 7;
        let services = &self.summary.services;
        let services =
            allocated(services.names.capacity()) + allocated(services.ends.capacity() * size_of::<u16>());
        let part = self.part.as_ref().map_or(0, |part| {
            part.heap_bytes().into_iter().map(allocated).sum::<usize>()
        });
        slot + allocated(COUNTS_BYTES + key.tenant.len()) + services + part + allocated(DIGEST_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration as Time;

    const BOUNDS: Bounds = Bounds {
        max_age: Time::from_secs(60),
        max_age_small: Time::from_secs(900),
        min_bytes: 4 << 20,
        max_bytes: 64 << 20,
        max_raw_bytes: 512 << 20,
        max_records: 1_000_000,
    };

    fn key(tenant: &str) -> Key {
        Key {
            hour: 490_000,
            signal: Signal::Logs,
            class: "std".into(),
            tenant: tenant.into(),
            rules: "r".into(),
        }
    }

    fn partition(jitter: u32) -> Partition<()> {
        Partition::new(Part::new("p".into(), None), (), jitter, Instant::now())
    }

    fn facts(items: u64) -> Facts {
        Facts {
            items,
            ..Facts::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn objects_are_finished_by_age_size_and_number() {
        let check =
            |records: u64, raw: u64, stored: Option<(u64, u64)>, age_s: u64, expected: Option<Roll>| {
                let mut partition = partition(1_000_000);
                partition.summary.add(&facts(records), raw, 0);
                if let Some((stored, framed)) = stored {
                    (partition.stored_bytes, partition.framed_bytes) = (stored, framed);
                }
                let now = partition.opened + Time::from_secs(age_s);
                assert_eq!(
                    partition.due(&BOUNDS, now),
                    expected,
                    "{records} {raw} {stored:?} {age_s}"
                );
            };
        const MIB: u64 = 1 << 20;
        check(1, 100, None, 59, None);
        check(1, 100, None, 899, None);
        check(1, 100, None, 900, Some(Roll::Small));
        // 16 MiB are 4 MiB compressed, as long as nobody knows better.
        check(1, 16 * MIB, None, 59, None);
        check(1, 16 * MIB, None, 60, Some(Roll::Age));
        check(1, 16 * MIB - 4, None, 60, None);
        // Half of it is compressed, 1 to 2: so will be the rest.
        check(1, 8 * MIB, Some((2 * MIB, 4 * MIB)), 60, Some(Roll::Age));
        check(1, 8 * MIB - 2, Some((2 * MIB, 4 * MIB)), 60, None);
        check(1, 256 * MIB, None, 0, Some(Roll::Bytes));
        check(1, 256 * MIB - 4, None, 0, None);
        check(1, 512 * MIB, Some((MIB, 512 * MIB)), 0, Some(Roll::Raw));
        check(1, 512 * MIB - 1, Some((MIB, 512 * MIB - 1)), 0, None);
        check(1_000_000, 100, None, 0, Some(Roll::Records));
        check(999_999, 100, None, 0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_together_does_not_end_together() {
        let mut ages: Vec<u32> = (0..1000)
            .map(|n| jitter("gw-0", &key(&format!("t{n}"))))
            .collect();
        assert!(ages.iter().all(|age| (800_000..1_000_000).contains(age)));
        ages.sort_unstable();
        let widest = ages.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(5_000), "{widest:?} millionths without any");
        // SHA-256 of `gw-0`, `std`, `acme`, `logs` with line feeds between begins so.
        let digest = evidence::digest::sha256(b"gw-0\nstd\nacme\nlogs").0;
        let share =
            f64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])) / 2f64.powi(32);
        assert_eq!(jitter("gw-0", &key("acme")), ((0.8 + 0.2 * share) * 1e6) as u32);
        assert_ne!(jitter("gw-1", &key("acme")), jitter("gw-0", &key("acme")));

        let early = partition(800_000);
        assert_eq!(early.deadline(&BOUNDS), early.opened + Time::from_secs(720));
        assert_eq!(early.due(&BOUNDS, early.deadline(&BOUNDS)), Some(Roll::Small));
        let before = early.deadline(&BOUNDS) - Time::from_millis(1);
        assert_eq!(early.due(&BOUNDS, before), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_journal_all_are_finished_at_one_age() {
        let bounds = Bounds {
            min_bytes: 0,
            max_age_small: BOUNDS.max_age,
            ..BOUNDS
        };
        let mut partition = partition(900_000);
        partition.summary.add(&facts(1), 10, 0);
        assert_eq!(
            partition.deadline(&bounds),
            partition.opened + Time::from_secs(54)
        );
        assert_eq!(
            partition.due(&bounds, partition.deadline(&bounds)),
            Some(Roll::Age)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_is_small_whatever_is_in_it() {
        let mut partition = partition(0);
        let service = |n: usize| Bytes::from(format!("{n:0100}"));
        let facts = Facts {
            services: (0..100).map(service).chain((0..100).map(service)).collect(),
            ..facts(200)
        };
        partition.summary.add(&facts, 1 << 20, 7);
        assert!(partition.summary.more_services);
        assert_eq!(partition.summary.services.iter().count(), 5);
        let bytes = partition.state_bytes(&key(&"t".repeat(128)));
        assert!(bytes <= 2 << 10, "{bytes}");
        let short = Facts {
            services: (0..100).map(|n| Bytes::from(format!("{n}"))).collect(),
            ..Facts::default()
        };
        let mut partition = self::partition(0);
        partition.summary.add(&short, 0, 0);
        assert_eq!(partition.summary.services.iter().count(), SERVICES_MAX);
        let bytes = partition.state_bytes(&key("t"));
        assert!(bytes <= 2 << 10, "{bytes}");
    }

    #[test]
    fn a_summary_is_the_sum_of_its_pieces() {
        let mut summary = Summary::default();
        let piece = |event_ns, severities, service: &'static str| Facts {
            items: 2,
            event_ns,
            severities,
            services: vec![Bytes::from_static(service.as_bytes())],
        };
        summary.add(&piece(Some((5, 9)), [1, 0, 0, 1, 0, 0, 0], "b"), 100, 30);
        summary.add(&piece(None, [0, 0, 0, 2, 0, 0, 0], "a"), 50, 20);
        summary.add(&piece(Some((7, 12)), [0, 0, 0, 0, 0, 2, 0], "b"), 1, 25);
        let expected = Summary {
            records: 6,
            raw_bytes: 151,
            event_ns: Some((5, 12)),
            admitted_ms: Some((20, 30)),
            severities: [1, 0, 0, 3, 0, 2, 0],
            services: Services {
                names: "ba".into(),
                ends: vec![1, 2],
            },
            more_services: false,
        };
        assert_eq!(summary, expected);
    }
}
