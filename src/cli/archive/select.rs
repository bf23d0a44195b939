//! `--where`: which records, by a condition in the language of the filter processor, and which objects cannot have any.
//!
//! A condition is compiled for each signal: of logs, spans and data points, whose paths may be written without the name of
//! their context. What an entry says of an object (event times, severities, services) rules it out before it is read, as
//! far as the condition is a chain of simple comparisons joined by `and`; of any other nothing is concluded.

use component::statements::with_env;
use evidence::entry::Obj;
use evidence::time::Time;
use ottl::{Context, ErrorMode, Functions, Group, Program};
use wire::view::{Finished, Kind, View};
use wire::{Chunk, Limits, Signal};

use super::Failure;

/// A condition on records of one signal.
pub(super) struct Where {
    program: Program,
    signal: Signal,
    bounds: Bounds,
    /// Records on which the condition failed; they are left out.
    pub(super) failed: u64,
    room: ottl::Scratch,
    views: wire::view::Scratch,
}

impl Where {
    /// Compiles it.
    ///
    /// Errors: 64, with what is wrong with it for this signal.
    pub(super) fn new(text: &str, signal: Signal) -> Result<Where, Failure> {
        let wrong = |why: String| Failure::usage(format!("--where, of {}: {why}", signal.as_str()));
        let context = match signal {
            Signal::Logs => Context::Log,
            Signal::Traces => Context::Span,
            Signal::Metrics => Context::DataPoint,
            Signal::Profiles => return Err(wrong("there are no conditions on profiles".to_owned())),
        };
        let program = Program::new(&Group {
            signal,
            functions: Functions::Filter,
            context: Some(context),
            conditions: &[text],
            statements: &[],
        });
        Ok(Where {
            program: program.map_err(|faults| wrong(faults.to_string()))?,
            signal,
            bounds: Bounds::of(text, signal),
            failed: 0,
            room: ottl::Scratch::default(),
            views: wire::view::Scratch::default(),
        })
    }

    /// Whether an object may have a record that is meant.
    pub(super) fn may_be_in(&self, obj: &Obj) -> bool {
        self.bounds.may_be_in(obj)
    }

    /// Takes out of a request what is not meant; nothing may stay.
    pub(super) fn keep(&mut self, chunk: &mut Chunk) -> Result<(), String> {
        chunk.make_canonical(self.signal).map_err(|e| e.to_string())?;
        let bytes = chunk.make_whole();
        let mut view = View::new(&mut self.views, self.signal, &bytes, self.program.depth())
            .map_err(|e| e.to_string())?;
        let (program, room) = (&self.program, &mut self.room);
        let mut failed = 0;
        let gone: Vec<_> = with_env(&wire::Context::default(), |env| {
            let records = view.nodes().filter(|n| is_record(view.kind(*n), self.signal));
            records
                .filter(|n| {
                    let mut note = |_: &str, _: &ottl::Error| failed += 1;
                    let held = program.matches(&view, *n, env, room, ErrorMode::Ignore, &mut note);
                    !held.unwrap_or(false)
                })
                .collect()
        });
        self.failed += failed;
        for n in gone {
            view.remove_node(n);
        }
        if let Finished::Edited { bytes, items } = view.finish() {
            chunk.set_bytes(bytes.into());
            chunk.shape.items = items;
        }
        Ok(())
    }
}

fn is_record(kind: Kind, signal: Signal) -> bool {
    match signal {
        Signal::Logs => kind == Kind::LogRecord,
        Signal::Traces => kind == Kind::Span,
        _ => matches!(
            kind,
            Kind::NumberPoint | Kind::HistogramPoint | Kind::ExpHistogramPoint | Kind::SummaryPoint
        ),
    }
}

/// A request of an object, looked at as what comes in from outside is.
pub(super) fn chunk(signal: Signal, bytes: bytes::Bytes) -> Result<Chunk, String> {
    let shape = wire::validate(signal, &bytes, &Limits::default()).map_err(|e| e.to_string())?;
    Ok(Chunk::new(bytes, shape))
}

/// What a condition says of all records that it holds for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Bounds {
    /// Smallest and largest severity of logs.
    severity: Option<(u64, u64)>,
    service: Option<String>,
    /// Earliest and latest event time, in nanoseconds; both inside.
    time: Option<(u64, u64)>,
}

impl Bounds {
    fn of(text: &str, signal: Signal) -> Bounds {
        let mut bounds = Bounds::default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // In a text anything may stand.
        if text.contains('\\')
            || text
                .split('"')
                .skip(1)
                .step_by(2)
                .any(|literal| literal.contains(' '))
        {
            return bounds;
        }
        // Where any of these stands, a comparison may be anything but a condition on all.
        let mut words = text.split(|c: char| !c.is_ascii_lowercase());
        if text.contains('(') || words.any(|word| matches!(word, "or" | "not")) {
            return bounds;
        }
        for term in text.split(" and ") {
            let mut words = term.split_whitespace();
            if let (Some(path), Some(operator), Some(value), None) =
                (words.next(), words.next(), words.next(), words.next())
            {
                bounds.narrow(path, operator, value, signal);
            }
        }
        bounds
    }

    fn narrow(&mut self, path: &str, operator: &str, value: &str, signal: Signal) {
        if path == "resource.attributes[\"service.name\"]" && operator == "==" {
            let plain = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            let plain = plain.filter(|v| !v.contains(['"', '\\']));
            self.service = plain.map(str::to_owned).or(self.service.take());
            return;
        }
        let Ok(value) = value.parse::<u64>() else {
            return;
        };
        let range = match operator {
            "==" => (value, value),
            ">=" => (value, u64::MAX),
            ">" => (value.saturating_add(1), u64::MAX),
            "<=" => (0, value),
            "<" => (0, value.saturating_sub(1)),
            _ => return,
        };
        let place = match (path.rsplit('.').next(), signal) {
            (Some("severity_number"), Signal::Logs) => &mut self.severity,
            // Of a log without a time the observed one counts, of which this says nothing.
            (Some("start_time_unix_nano"), Signal::Traces) => &mut self.time,
            _ => return,
        };
        let (from, to) = place.unwrap_or((0, u64::MAX));
        *place = Some((from.max(range.0), to.min(range.1)));
    }

    fn may_be_in(&self, obj: &Obj) -> bool {
        let severity = match (self.severity, obj.sev) {
            (Some((from, to)), Some(counts)) => counts.iter().enumerate().any(|(group, n)| {
                *n > 0 && {
                    // The first group has what is none of the others.
                    let first = (group as u64).saturating_sub(1) * 4 + 1;
                    group == 0 || (first <= to && first + 3 >= from)
                }
            }),
            _ => true,
        };
        let service = match (&self.service, &obj.svc) {
            (Some(service), Some(known)) => obj.svc_more || known.contains(service),
            _ => true,
        };
        let time = match (self.time, obj.ev) {
            // A record without a time is 0 to a condition, and not among these.
            (Some((from, to)), Some([first, last])) if from > 0 => {
                // An entry's times are cut to milliseconds.
                let after = Time::from_millis(last.millis().saturating_add(1));
                Time::from_nanos(from) <= after && Time::from_nanos(to) >= first
            }
            _ => true,
        };
        severity && service && time
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cli::archive::test_kit;

    #[test]
    fn records_that_are_not_meant_are_taken_out() {
        let check = |text: &str, expected: u32| {
            let mut kept = Where::new(text, Signal::Logs).expect(text);
            let mut chunk = chunk(Signal::Logs, Bytes::from(test_kit::logs(0..20))).expect("a request");
            kept.keep(&mut chunk).expect("it is read");
            assert_eq!(chunk.shape.items, expected, "{text}");
            assert_eq!(
                wire::count_items(Signal::Logs, &chunk.bytes()),
                expected,
                "{text}"
            );
        };
        check("severity_number >= 17", 3);
        check("log.severity_number < 1", 1);
        check("body == \"record 7\"", 1);
        check("resource.attributes[\"service.name\"] == \"shop\"", 20);
        check("resource.attributes[\"service.name\"] == \"bank\"", 0);
        check("IsMatch(body, \"^record 1\")", 11);
        check("not (severity_number >= 17)", 17);
        let wrong = Where::new("severity_number >=", Signal::Logs)
            .err()
            .expect("no condition");
        assert_eq!(wrong.exit, 64);
        assert!(Where::new("severity_number >= 17", Signal::Traces).is_err());
        assert!(Where::new("true", Signal::Profiles).is_err());
    }

    #[test]
    fn objects_are_ruled_out_by_what_their_entries_say() {
        let check = |text: &str, signal: Signal, expected: bool| {
            let mut obj = test_kit::named().0.obj;
            obj.sev = (signal == Signal::Logs).then_some([0, 1, 0, 4, 0, 0, 0]);
            assert_eq!(Bounds::of(text, signal).may_be_in(&obj), expected, "{text}");
        };
        let logs = |text: &str, expected: bool| check(text, Signal::Logs, expected);
        logs("severity_number >= 13", false);
        logs("severity_number >= 12", true);
        logs("severity_number > 12", false);
        logs("severity_number == 4", true);
        logs("severity_number == 5", false);
        logs("severity_number <= 9 and severity_number >= 5", true);
        logs("severity_number <= 8 and severity_number >= 5", false);
        logs("log.severity_number >= 13 and body == \"x\"", false);
        logs("body == \"a and severity_number >= 13 and b\"", true);
        logs("severity_number >= 13\tor body == \"x\"", true);
        logs("severity_number >= 13 or body == \"x\"", true);
        logs("not severity_number >= 13", true);
        logs("(severity_number >= 13)", true);
        logs("severity_number >= SEVERITY_NUMBER_WARN", true);
        logs("resource.attributes[\"service.name\"] == \"shop\"", true);
        logs("resource.attributes[\"service.name\"] == \"bank\"", false);
        logs("resource.attributes[\"service.name\"] != \"bank\"", true);
        logs("body == \"bank\"", true);
        // The object's event times are 14:05:00 and 14:05:02.
        let second = 1_763_647_500_u64 * 1_000_000_000;
        let spans = |operator: &str, nanos: u64, expected: bool| {
            check(
                &format!("start_time_unix_nano {operator} {nanos}"),
                Signal::Traces,
                expected,
            );
        };
        spans(">=", second + 2_000_000_000, true);
        spans(">=", second + 3_000_000_000, false);
        spans("<", second + 1, true);
        // One without a time is below any, and none of those that are counted.
        spans("<", second, true);
        spans("<", second - 1_000_000_000, true);
        logs(&format!("time_unix_nano > {}", u64::MAX), true);
    }

    #[test]
    fn what_nothing_is_known_of_is_read() {
        let mut obj = test_kit::named().0.obj;
        obj.svc_more = true;
        assert!(
            Bounds::of("resource.attributes[\"service.name\"] == \"bank\"", Signal::Logs).may_be_in(&obj)
        );
        (obj.svc, obj.sev, obj.ev, obj.svc_more) = (None, None, None, false);
        for text in [
            "resource.attributes[\"service.name\"] == \"bank\"",
            "severity_number >= 23",
        ] {
            assert!(Bounds::of(text, Signal::Logs).may_be_in(&obj), "{text}");
        }
    }
}
