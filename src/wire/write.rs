//! Writing messages field by field, for whoever makes telemetry rather than passing it on.
//!
//! In: field numbers of [`crate::otlp`] and values. Out: bytes appended to a `Vec`, canonical if fields are written in
//! ascending order. Zero values are written too: who wants them left out does not call.

use crate::field::{self, FIXED64, LEN, VARINT};
use crate::varint;
use crate::view::{NewValue, any_encode};

/// Appends a nested message: what `fill` appends, framed.
///
/// Cost: the content is moved once by the length of its header.
pub fn message(number: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    fill(out);
    frame(number, start, out);
}

/// Puts tag and length before what was appended from `start` on.
pub fn frame(number: u32, start: usize, out: &mut Vec<u8>) {
    let len = out.len() - start;
    field::write_header(number, len, out);
    let header = out.len() - start - len;
    out[start..].rotate_right(header);
}

/// Appends a string, bytes or an encoded message.
pub fn bytes(number: u32, content: &[u8], out: &mut Vec<u8>) {
    field::write_header(number, content.len(), out);
    out.extend_from_slice(content);
}

/// Appends a number as a varint: bool, enum, int32, int64, uint32 or uint64.
pub fn int(number: u32, value: u64, out: &mut Vec<u8>) {
    varint::write(u64::from(number) << 3 | u64::from(VARINT), out);
    varint::write(value, out);
}

/// Appends a sint32, as a zigzag varint.
pub fn sint(number: u32, value: i32, out: &mut Vec<u8>) {
    int(number, u64::from(((value << 1) ^ (value >> 31)) as u32), out);
}

/// Appends a fixed64 or sfixed64.
pub fn fixed(number: u32, value: u64, out: &mut Vec<u8>) {
    varint::write(u64::from(number) << 3 | u64::from(FIXED64), out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a double.
pub fn double(number: u32, value: f64, out: &mut Vec<u8>) {
    fixed(number, value.to_bits(), out);
}

/// Appends a packed list of fixed64; nothing if there is none.
pub fn packed_fixed(number: u32, values: impl ExactSizeIterator<Item = u64>, out: &mut Vec<u8>) {
    if values.len() > 0 {
        field::write_header(number, values.len() * 8, out);
        values.for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
}

/// Appends a packed list of varints; nothing if there is none.
pub fn packed_ints(number: u32, values: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    let start = out.len();
    values.for_each(|value| varint::write(value, out));
    if out.len() > start {
        frame(number, start, out);
    }
}

/// Appends an attribute: a `KeyValue` under the number of the list.
pub fn attribute(number: u32, key: &[u8], value: NewValue<'_>, out: &mut Vec<u8>) {
    message(number, out, |out| {
        bytes(1, key, out);
        message(2, out, |out| any_encode(value, out));
    });
}

/// The number that a zigzag varint stands for.
pub fn unzigzag(value: u64) -> i32 {
    let value = value as u32;
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// Tag of a length-delimited field, as one byte; for numbers below 16.
pub const fn len_tag(number: u32) -> u8 {
    (number as u8) << 3 | LEN
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::metrics::v1 as m;
    use prost::Message as _;

    use super::*;

    #[test]
    fn writes_what_prost_writes() {
        let point = m::ExponentialHistogramDataPoint {
            attributes: vec![KeyValue {
                key: "k".repeat(200),
                value: Some(AnyValue {
                    value: Some(Value::StringValue("v".repeat(20_000))),
                }),
                ..Default::default()
            }],
            start_time_unix_nano: 7,
            count: u64::MAX,
            sum: Some(-2.5),
            scale: -3,
            positive: Some(m::exponential_histogram_data_point::Buckets {
                offset: i32::MIN,
                bucket_counts: vec![0, 300, u64::MAX],
            }),
            flags: 300,
            ..Default::default()
        };
        let mut out = Vec::new();
        let text = "v".repeat(20_000);
        attribute(1, &[b'k'; 200], NewValue::Str(text.as_bytes()), &mut out);
        fixed(2, 7, &mut out);
        fixed(4, u64::MAX, &mut out);
        double(5, -2.5, &mut out);
        sint(6, -3, &mut out);
        message(8, &mut out, |out| {
            sint(1, i32::MIN, out);
            packed_ints(2, [0, 300, u64::MAX].into_iter(), out);
        });
        int(10, 300, &mut out);
        assert_eq!(out, point.encode_to_vec());
    }

    #[test]
    fn writes_packed_lists() {
        let point = m::HistogramDataPoint {
            bucket_counts: vec![1, 2, u64::MAX],
            explicit_bounds: vec![0.5, -1.0],
            ..Default::default()
        };
        let mut out = Vec::new();
        packed_fixed(6, [1, 2, u64::MAX].into_iter(), &mut out);
        packed_fixed(7, [0.5f64, -1.0].into_iter().map(f64::to_bits), &mut out);
        packed_fixed(9, [].into_iter(), &mut out);
        packed_ints(9, [].into_iter(), &mut out);
        assert_eq!(out, point.encode_to_vec());
    }

    #[test]
    fn zigzag_goes_both_ways() {
        for value in [0, 1, -1, 77, -78, i32::MAX, i32::MIN] {
            let mut out = Vec::new();
            sint(1, value, &mut out);
            assert_eq!(unzigzag(varint::read(&out, &mut 1).unwrap()), value);
        }
    }
}
