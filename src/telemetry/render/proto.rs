//! A family as `io.prometheus.client.MetricFamily`, for scrapers that ask for protobuf.
//!
//! Numbers of fields: prometheus/client_model, `metrics.proto`.

use wire::field::{FIXED64, LEN, VARINT};
use wire::varint;

use super::Labels;
use crate::metrics::Reading;
use crate::names::Kind;
use crate::snapshot::Family;

/// Appends one message; `labels` gives those of a series as they are written.
pub(super) fn family<'a>(
    name: &str,
    family: &'a Family,
    out: &mut Vec<u8>,
    labels: impl Fn(&'a [(&'static str, String)]) -> Labels<'a>,
) {
    text(1, name, out);
    text(2, &family.help, out);
    let kind = match family.kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram => 4,
    };
    int(3, kind, out);
    for (own, reading) in &family.series {
        message(4, out, |metric| {
            for (name, value) in labels(own) {
                message(1, metric, |label| {
                    text(1, &name, label);
                    text(2, &value, label);
                });
            }
            let place = if family.kind == Kind::Counter { 3 } else { 2 };
            match reading {
                Reading::Count(n) => message(place, metric, |out| double(1, *n as f64, out)),
                Reading::Number(n) => message(place, metric, |out| double(1, *n, out)),
                Reading::Histogram { bounds, counts, sum } => message(7, metric, |out| {
                    int(1, counts.iter().sum(), out);
                    double(2, *sum, out);
                    let mut below = 0;
                    // The bucket without a bound is the count.
                    for (bound, count) in bounds.iter().zip(counts) {
                        below += count;
                        message(3, out, |bucket| {
                            int(1, below, bucket);
                            double(2, *bound, bucket);
                        });
                    }
                }),
            }
        });
    }
}

fn tag(number: u8, wire: u8, out: &mut Vec<u8>) {
    varint::write(u64::from(number) << 3 | u64::from(wire), out);
}

fn text(number: u8, text: &str, out: &mut Vec<u8>) {
    tag(number, LEN, out);
    varint::write(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn int(number: u8, value: u64, out: &mut Vec<u8>) {
    tag(number, VARINT, out);
    varint::write(value, out);
}

fn double(number: u8, value: f64, out: &mut Vec<u8>) {
    tag(number, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn message(number: u8, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    tag(number, LEN, out);
    varint::write(inner.len() as u64, out);
    out.append(&mut inner);
}

#[cfg(test)]
mod tests {
    use wire::field::Fields;

    use super::super::{Escaping, Format, Shape, page};
    use super::*;
    use crate::names::Level;
    use crate::snapshot::tests::gateway;
    use crate::{Resource, Snapshot};

    /// `number: value` of each field, messages within braces; `shape` says which fields are messages.
    fn show(bytes: &[u8], shape: &[u32]) -> String {
        let mut out = String::new();
        for field in Fields::new(bytes, 0) {
            let field = field.unwrap();
            let value = &bytes[field.value..field.end];
            let shown = match field.wire {
                FIXED64 => f64::from_le_bytes(value.try_into().unwrap()).to_string(),
                VARINT => varint::read(value, &mut 0).unwrap().to_string(),
                _ if shape.contains(&field.number) => {
                    format!("{{{}}}", show(value, &inner(shape, field.number)))
                }
                _ => format!("{:?}", str::from_utf8(value).unwrap()),
            };
            out.push_str(&format!("{}:{shown} ", field.number));
        }
        out.trim_end().to_owned()
    }

    /// Of a family, its metrics; of a metric, all; of a histogram, its buckets.
    fn inner(shape: &[u32], number: u32) -> Vec<u32> {
        match (shape, number) {
            ([4], 4) => vec![1, 2, 3, 7],
            ([1, 2, 3, 7], 7) => vec![3],
            _ => vec![],
        }
    }

    #[test]
    fn families_stand_one_after_another_behind_their_lengths() {
        let snapshot = Snapshot::take(&gateway(), Level::Detailed);
        let format = Format {
            is_protobuf: true,
            escaping: Escaping::AllowUtf8,
        };
        let bytes = page(&snapshot, &Resource::default(), &Shape::default(), format);
        let (mut at, mut shown) = (0, Vec::new());
        while at < bytes.len() {
            let len = varint::read(&bytes, &mut at).unwrap() as usize;
            shown.push(show(&bytes[at..at + len], &[4]));
            at += len;
        }
        assert_eq!(at, bytes.len());
        let of = |name: &str| {
            shown
                .iter()
                .find(|f| f.starts_with(&format!("1:{name:?} ")))
                .unwrap()
                .clone()
        };
        assert!(
            of("otelcol_receiver_accepted_log_records")
                .ends_with(r#" 3:0 4:{1:{1:"receiver" 2:"otlp/a"} 1:{1:"transport" 2:"grpc"} 3:{1:7}}"#)
        );
        assert!(of("otelcol_process_memory_rss").ends_with(" 3:1 4:{2:{1:1048576}}"));
        let histogram = of("http.server.request.duration");
        let begin = concat!(
            r#"3:4 4:{1:{1:"http.route" 2:"/v1/logs"} 1:{1:"server.address" 2:"0.0.0.0"} "#,
            "7:{1:1 2:0.25 3:{1:0 2:0.005} "
        );
        assert!(histogram.contains(begin), "{histogram}");
        assert!(histogram.ends_with("3:{1:1 2:7.5} 3:{1:1 2:10}}}"), "{histogram}");
    }
}
