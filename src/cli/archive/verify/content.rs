//! Level `decode`: whether the records of an object are what its entry says of them: how many, when, how severe.

use evidence::entry::Obj;
use evidence::time::Time;
use wire::Signal;
use wire::view::{Depth, Kind, NodeId, Scratch, View};

use super::super::object::{Requests, Stored};
use super::super::select;

/// Whether it can be taken apart at all: what is encrypted by its writer, or derived, is left alone.
pub(super) fn can_be_read(obj: &Obj) -> bool {
    let encrypted = obj.enc.as_ref().is_some_and(|enc| enc.alg != "sse-kms");
    !encrypted && obj.of.is_none() && matches!(obj.fmt.as_str(), "otlp_proto" | "otlp_json")
}

/// In what they differ; None if in nothing.
pub(super) async fn differs(stored: Stored, obj: Obj) -> Option<String> {
    let read = tokio::task::spawn_blocking(move || match Content::of(stored, &obj) {
        Ok(content) => content.differs(&obj),
        Err(why) => Some(why),
    });
    read.await.unwrap_or_else(|e| Some(e.to_string()))
}

/// What records say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    records: u64,
    /// Earliest and latest event, in nanoseconds.
    events: Option<(u64, u64)>,
    severities: [u64; 7],
}

impl Content {
    fn of(stored: Stored, obj: &Obj) -> Result<Content, String> {
        let signal = Signal::parse(&obj.signal).ok_or("no such signal")?;
        let mut requests = Requests::new(stored, obj)?;
        let (mut content, mut room) = (Content::default(), Scratch::default());
        while let Some(bytes) = requests.next()? {
            let mut chunk = select::chunk(signal, bytes)?;
            content.records += u64::from(chunk.shape.items);
            if signal == Signal::Profiles {
                continue;
            }
            chunk.make_canonical(signal).map_err(|e| e.to_string())?;
            let bytes = chunk.make_whole();
            let view = View::new(&mut room, signal, &bytes, Depth::Record).map_err(|e| e.to_string())?;
            view.nodes().for_each(|n| content.record(&view, n));
        }
        Ok(content)
    }

    fn record(&mut self, view: &View<'_>, n: NodeId) {
        let number = |field: u32| view.number(n, field).unwrap_or_default();
        let time = match view.kind(n) {
            Kind::LogRecord => {
                let severity = number(2);
                let group = if (1..=24).contains(&severity) {
                    (severity - 1) / 4 + 1
                } else {
                    0
                };
                self.severities[group as usize] += 1;
                match number(1) {
                    0 => number(11),
                    time => time,
                }
            }
            Kind::Span => number(7),
            Kind::NumberPoint | Kind::HistogramPoint | Kind::ExpHistogramPoint | Kind::SummaryPoint => {
                number(3)
            }
            _ => return,
        };
        if time > 0 {
            let (first, last) = self.events.unwrap_or((time, time));
            self.events = Some((first.min(time), last.max(time)));
        }
    }

    fn differs(&self, obj: &Obj) -> Option<String> {
        if self.records != obj.n {
            return Some(format!("expected {} records found {}", obj.n, self.records));
        }
        let events = self
            .events
            .map(|(first, last)| [Time::from_nanos(first), Time::from_nanos(last)]);
        if obj.signal != Signal::Profiles.as_str() && events != obj.ev {
            return Some(format!("expected events of {:?} found {events:?}", obj.ev));
        }
        match obj.sev {
            Some(expected) if expected != self.severities => {
                let found = self.severities;
                Some(format!("expected severities {expected:?} found {found:?}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cli::archive::test_kit;

    #[tokio::test]
    async fn records_are_compared_with_their_entry() {
        let check = async |change: fn(&mut Obj), expected: Option<&str>| {
            let (named, stored) = test_kit::named();
            let mut obj = named.obj;
            change(&mut obj);
            let found = differs(Stored::Memory(Bytes::from(stored)), obj).await;
            assert_eq!(found.as_deref(), expected);
        };
        check(|_| {}, None).await;
        check(|obj| obj.n = 4, Some("expected 4 records found 3")).await;
        check(
            |obj| obj.sev = Some([0, 3, 0, 0, 0, 0, 0]),
            Some("expected severities [0, 3, 0, 0, 0, 0, 0] found [1, 2, 0, 0, 0, 0, 0]"),
        )
        .await;
        check(
            |obj| obj.ev = None,
            Some("expected events of None found Some([2025-11-20T14:05:00.000Z, 2025-11-20T14:05:02.000Z])"),
        )
        .await;
        check(
            |obj| obj.raw -= 1,
            Some("more comes out of it than its entry says"),
        )
        .await;
    }

    #[test]
    fn what_is_encrypted_or_derived_is_left_alone() {
        let check = |change: fn(&mut Obj), expected: bool| {
            let mut obj = test_kit::named().0.obj;
            change(&mut obj);
            assert_eq!(can_be_read(&obj), expected);
        };
        let encrypted = |obj: &mut Obj, alg: &str| {
            obj.enc = Some(evidence::entry::Enc {
                alg: alg.to_owned(),
                kid: Vec::new(),
            });
        };
        check(|_| {}, true);
        check(|obj| obj.fmt = "parquet".to_owned(), false);
        check(|obj| obj.of = Some(vec![1]), false);
        let mut obj = test_kit::named().0.obj;
        encrypted(&mut obj, "age-v1");
        assert!(!can_be_read(&obj));
        encrypted(&mut obj, "sse-kms");
        assert!(can_be_read(&obj));
    }
}
