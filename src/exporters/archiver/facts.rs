//! What a log entry says about records, counted on the encoded bytes: event times, severities, services.
//!
//! In: an encoded request that was validated. One walk over the fields of its records; nothing is decoded, and what
//! cannot be read ends the walk.

use bytes::Bytes;
use component::prelude::*;
use wire::field::{FIXED64, Field, Fields, LEN, VARINT};
use wire::varint;

/// What is known about the records of one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Log records, spans or data points.
    pub(super) items: u64,
    /// Smallest and largest event time, in nanoseconds since 1970; none if no record has one.
    pub(super) event_ns: Option<(u64, u64)>,
    /// Logs by severity: unspecified, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    pub(super) severities: [u64; 7],
    /// Values of `service.name`, as slices of the piece; the same one not twice in a row.
    pub(super) services: Vec<Bytes>,
}

/// Walks over one encoded request and adds what it finds; `services`: whether those are wanted, `once`: whether no field
/// stands twice where one is meant, as in a canonical chunk.
pub(super) fn add(facts: &mut Facts, signal: Signal, bytes: &Bytes, services: bool, once: bool) {
    if signal == Signal::Profiles {
        return;
    }
    let mut walk = Walk {
        facts,
        signal,
        bytes,
        services,
        once,
    };
    walk.groups(0, bytes.len());
}

/// Index of a severity's group in [`Facts::severities`].
fn group(severity: u64) -> usize {
    match severity {
        1..=24 => (severity as usize - 1) / 4 + 1,
        _ => 0,
    }
}

/// Messages with this number in a message.
fn below<'a>(bytes: &'a [u8], number: u32, message: &Field) -> impl Iterator<Item = Field> + use<'a> {
    let fields = Fields::new(&bytes[..message.end], message.value).map_while(Result::ok);
    fields.filter(move |field| field.number == number && field.wire == LEN)
}

const ATTRIBUTES_OF_LOG: u32 = 6;
const ATTRIBUTES_OF_SPAN: u32 = 9;
const HISTOGRAM: u32 = 9;
const EXPONENTIAL: u32 = 10;

/// Number of the attributes in the points of this kind of data.
fn attributes_of_point(data: u32) -> u32 {
    match data {
        HISTOGRAM => 9,
        EXPONENTIAL => 1,
        _ => 7,
    }
}

struct Walk<'a> {
    facts: &'a mut Facts,
    signal: Signal,
    bytes: &'a Bytes,
    services: bool,
    once: bool,
}

impl Walk<'_> {
    fn groups(&mut self, start: usize, end: usize) {
        let bytes = self.bytes;
        let outer = Fields::new(&bytes[..end], start).map_while(Result::ok);
        for group in outer.filter(|field| field.number == 1 && field.wire == LEN) {
            for field in Fields::new(&bytes[..group.end], group.value).map_while(Result::ok) {
                match (field.number, field.wire) {
                    (1, LEN) if self.services => self.resource(&field),
                    (2, LEN) => self.scope(&field),
                    _ => {}
                }
            }
        }
    }

    fn resource(&mut self, resource: &Field) {
        let bytes = self.bytes;
        let mut found = None;
        for entry in below(bytes, 1, resource) {
            let (mut key, mut text) = (&[][..], None);
            for field in Fields::new(&bytes[..entry.end], entry.value).map_while(Result::ok) {
                match (field.number, field.wire) {
                    (1, LEN) => key = &bytes[field.value..field.end],
                    (2, LEN) => text = below(bytes, 1, &field).last(),
                    _ => {}
                }
            }
            if key == b"service.name" {
                found = text;
            }
        }
        if let Some(name) = found.filter(|name| name.end > name.value) {
            let name = &bytes[name.value..name.end];
            if self.facts.services.last().is_none_or(|last| last != name) {
                self.facts.services.push(bytes.slice_ref(name));
            }
        }
    }

    fn scope(&mut self, scope: &Field) {
        let bytes = self.bytes;
        let records = Fields::new(&bytes[..scope.end], scope.value).map_while(Result::ok);
        for record in records.filter(|field| field.number == 2 && field.wire == LEN) {
            match self.signal {
                Signal::Logs => self.log_record(&record),
                Signal::Traces => self.time(&record, 7, ATTRIBUTES_OF_SPAN),
                _ => self.metric(&record),
            }
        }
    }

    fn log_record(&mut self, record: &Field) {
        let bytes = self.bytes;
        let (mut time, mut observed, mut severity) = (0, 0, 0);
        let mut fields = Fields::new(&bytes[..record.end], record.value);
        while let Some(Ok(field)) = fields.next() {
            fields.pass_short(ATTRIBUTES_OF_LOG);
            match (field.number, field.wire) {
                (1, FIXED64) => time = number(&bytes[field.value..field.end]),
                (11, FIXED64) => observed = number(&bytes[field.value..field.end]),
                (2, VARINT) => severity = varint::read(bytes, &mut field.value.clone()).unwrap_or(0),
                _ => {}
            }
            // Most of a record lies behind these two.
            if self.once && time > 0 && severity > 0 {
                break;
            }
        }
        self.facts.severities[group(severity)] += 1;
        self.event(if time == 0 { observed } else { time });
    }

    fn metric(&mut self, metric: &Field) {
        let bytes = self.bytes;
        for data in Fields::new(&bytes[..metric.end], metric.value).map_while(Result::ok) {
            if !matches!(data.number, 5 | 7 | 9 | 10 | 11) || data.wire != LEN {
                continue;
            }
            let attributes = attributes_of_point(data.number);
            let points = Fields::new(&bytes[..data.end], data.value).map_while(Result::ok);
            for point in points.filter(|field| field.number == 1 && field.wire == LEN) {
                self.time(&point, 3, attributes);
            }
        }
    }

    /// The time in this field of a record, if it has one.
    fn time(&mut self, record: &Field, number_of_time: u32, attributes: u32) {
        let bytes = self.bytes;
        let mut time = 0;
        let mut fields = Fields::new(&bytes[..record.end], record.value);
        while let Some(Ok(field)) = fields.next() {
            fields.pass_short(attributes);
            if field.number == number_of_time && field.wire == FIXED64 {
                time = number(&bytes[field.value..field.end]);
                if self.once {
                    break;
                }
            }
        }
        self.event(time);
    }

    fn event(&mut self, time: u64) {
        if time > 0 {
            let (least, most) = self.facts.event_ns.unwrap_or((time, time));
            self.facts.event_ns = Some((least.min(time), most.max(time)));
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::test_kit::{Request, Rng};

    /// The same from decoded messages.
    fn naive(request: &Request) -> Facts {
        let mut facts = Facts::default();
        let mut times = Vec::new();
        let mut services: Vec<String> = Vec::new();
        let mut resource = |resource: &Option<opentelemetry_proto::tonic::resource::v1::Resource>| {
            use opentelemetry_proto::tonic::common::v1::any_value::Value;
            let attributes = resource.iter().flat_map(|r| &r.attributes);
            let name = attributes.rev().find(|kv| kv.key == "service.name");
            if let Some(Value::StringValue(name)) = name.and_then(|kv| kv.value.clone()?.value)
                && !name.is_empty()
                && services.last() != Some(&name)
            {
                services.push(name);
            }
        };
        match request {
            Request::Logs(logs) => {
                for group in &logs.resource_logs {
                    resource(&group.resource);
                    for record in group.scope_logs.iter().flat_map(|s| &s.log_records) {
                        let time = match record.time_unix_nano {
                            0 => record.observed_time_unix_nano,
                            time => time,
                        };
                        times.push(time);
                        facts.severities[super::group(record.severity_number as u64)] += 1;
                    }
                }
            }
            Request::Traces(traces) => {
                for group in &traces.resource_spans {
                    resource(&group.resource);
                    let spans = group.scope_spans.iter().flat_map(|s| &s.spans);
                    times.extend(spans.map(|span| span.start_time_unix_nano));
                }
            }
            Request::Metrics(metrics) => {
                use opentelemetry_proto::tonic::metrics::v1::metric::Data;
                for group in &metrics.resource_metrics {
                    resource(&group.resource);
                    for metric in group.scope_metrics.iter().flat_map(|s| &s.metrics) {
                        match &metric.data {
                            Some(Data::Gauge(d)) => {
                                times.extend(d.data_points.iter().map(|p| p.time_unix_nano))
                            }
                            Some(Data::Sum(d)) => {
                                times.extend(d.data_points.iter().map(|p| p.time_unix_nano))
                            }
                            Some(Data::Histogram(d)) => {
                                times.extend(d.data_points.iter().map(|p| p.time_unix_nano));
                            }
                            Some(Data::ExponentialHistogram(d)) => {
                                times.extend(d.data_points.iter().map(|p| p.time_unix_nano));
                            }
                            Some(Data::Summary(d)) => {
                                times.extend(d.data_points.iter().map(|p| p.time_unix_nano))
                            }
                            None => {}
                        }
                    }
                }
            }
        }
        times.retain(|time| *time > 0);
        facts.event_ns = times.iter().min().copied().zip(times.iter().max().copied());
        facts.services = services.into_iter().map(Bytes::from).collect();
        facts
    }

    #[test]
    fn a_walk_over_bytes_finds_what_decoding_finds() {
        let mut rng = Rng(7);
        for _ in 0..400 {
            let signal = *rng.pick(&[Signal::Logs, Signal::Traces, Signal::Metrics]);
            let request = Request::random(signal, &mut rng);
            let mut facts = Facts::default();
            let bytes = request.encode().into();
            add(&mut facts, signal, &bytes, true, false);
            assert_eq!(facts, naive(&request), "{request:?}");
            let mut facts = Facts::default();
            add(&mut facts, signal, &bytes, true, true);
            assert_eq!(facts, naive(&request), "{request:?}");
        }
    }

    #[test]
    fn of_fields_that_stand_twice_the_last_counts() {
        let check = |once: bool, severity: usize, time: u64| {
            // Time 5, severity 9 (INFO), body; then severity 17 (ERROR) and time 3.
            let record = "0905000000000000001009 2a00 1011 090300000000000000".replace(' ', "");
            let len = record.len() / 2;
            let bytes = hex(&format!("0a{:02x}12{:02x}12{len:02x}{record}", len + 4, len + 2));
            let mut facts = Facts::default();
            add(&mut facts, Signal::Logs, &bytes, true, once);
            assert_eq!(facts.severities[severity], 1, "{facts:?}");
            assert_eq!(facts.event_ns, Some((time, time)));
        };
        check(false, 5, 3);
        // Who says that there are none gets the first.
        check(true, 3, 5);
    }

    #[test]
    fn severities_fall_into_seven_groups() {
        let check = |severity: u64, expected: usize| assert_eq!(group(severity), expected, "{severity}");
        check(0, 0);
        check(1, 1);
        check(4, 1);
        check(5, 2);
        check(9, 3);
        check(13, 4);
        check(17, 5);
        check(21, 6);
        check(24, 6);
        check(25, 0);
        check(u64::MAX, 0);
    }

    #[test]
    fn the_object_of_the_specification_says_what_its_entry_says() {
        let bytes = hex(concat!(
            "0a83010a1c0a1a0a0c736572766963652e6e616d65120a0a08636865636b6f757412631231090078819a0ebc791810091a04494e",
            "464f2a150a136f72646572203130303120616363657074656459e87b819a0ebc7918122e0940c3cd9a0ebc7918100d1a04574152",
            "4e2a120a107061796d656e74206465636c696e65645928c7cd9a0ebc7918"
        ));
        let mut facts = Facts::default();
        add(&mut facts, Signal::Logs, &bytes, true, true);
        assert_eq!(facts.severities, [0, 0, 0, 1, 1, 0, 0]);
        assert_eq!(facts.services, [Bytes::from_static(b"checkout")]);
        assert_eq!(
            facts.event_ns,
            Some((1_763_647_500_000_000_000, 1_763_647_500_005_000_000))
        );
        let mut none = Facts::default();
        add(&mut none, Signal::Logs, &bytes, false, true);
        assert!(none.services.is_empty());
    }

    fn hex(text: &str) -> Bytes {
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("it is hex");
        (0..text.len()).step_by(2).map(byte).collect()
    }
}
