//! `Export*ServiceResponse`, whose fields have the same numbers for every signal: `partial_success` = 1 with
//! `rejected_*` = 1 and `error_message` = 2.

use wire::field::{Fields, LEN, VARINT};
use wire::{Malformed, Signal, field, otlp, varint};

use crate::otlp_json;

/// Longest message that is read or written, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 2048;

/// What a server rejected of a request that it took otherwise. Nothing rejected and no message: all was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// Log records, spans, data points or samples.
    pub rejected: u64,
    /// Why; with nothing rejected a warning.
    pub message: String,
}

impl Partial {
    /// The response's bytes; none at all where all was taken, as every client accepts.
    pub fn encode(&self) -> Vec<u8> {
        let message = &self.message[..self.message.floor_char_boundary(MESSAGE_BYTES_MAX)];
        if self.rejected == 0 && message.is_empty() {
            return Vec::new();
        }
        let mut partial = Vec::with_capacity(message.len() + 16);
        if self.rejected > 0 {
            varint::write(1 << 3, &mut partial);
            varint::write(self.rejected, &mut partial);
        }
        if !message.is_empty() {
            field::write_header(2, message.len(), &mut partial);
            partial.extend_from_slice(message.as_bytes());
        }
        let mut out = Vec::with_capacity(partial.len() + 6);
        field::write_header(1, partial.len(), &mut out);
        out.extend_from_slice(&partial);
        out
    }

    /// The response to a JSON request, always with its `partialSuccess`.
    pub fn encode_json(&self, signal: Signal) -> Vec<u8> {
        let mut out = Vec::new();
        otlp_json::write_message(otlp::response(signal), &self.encode(), &mut out)
            .expect("a response that was just encoded is well formed");
        out
    }

    /// Reads a response in JSON; negative counts read as none.
    pub fn decode_json(signal: Signal, response: &[u8]) -> Result<Partial, otlp_json::Invalid> {
        let mut bytes = Vec::new();
        otlp_json::read_message(otlp::response(signal), response, &mut bytes)?;
        Ok(Partial::decode(&bytes).expect("what was just read is well formed"))
    }

    /// Reads a response; negative counts read as none.
    pub fn decode(response: &[u8]) -> Result<Partial, Malformed> {
        let mut partial = Partial::default();
        for field in Fields::new(response, 0) {
            let field = field?;
            if (field.number, field.wire) == (1, LEN) {
                partial.read(&response[field.value..field.end])?;
            }
        }
        Ok(partial)
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        for field in Fields::new(bytes, 0) {
            let field = field?;
            match (field.number, field.wire) {
                (1, VARINT) => {
                    let count = varint::read(bytes, &mut { field.value })? as i64;
                    self.rejected = u64::try_from(count).unwrap_or(0);
                }
                (2, LEN) => {
                    let text = String::from_utf8_lossy(&bytes[field.value..field.end]);
                    self.message = text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned();
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_what_otlp_has() {
        let check = |rejected, message: &str, bytes: &[u8]| {
            let partial = Partial {
                rejected,
                message: message.into(),
            };
            assert_eq!(partial.encode(), bytes);
            assert_eq!(Partial::decode(bytes), Ok(partial));
        };
        check(0, "", b"");
        check(3, "no", b"\x0a\x06\x08\x03\x12\x02no");
        check(300, "", b"\x0a\x03\x08\xac\x02");
        check(0, "hm", b"\x0a\x04\x12\x02hm");
    }

    #[test]
    fn reads_what_others_send() {
        let check = |bytes: &[u8], expected: Option<(u64, &str)>| {
            let got = Partial::decode(bytes).ok();
            assert_eq!(got.as_ref().map(|p| (p.rejected, p.message.as_str())), expected);
        };
        check(b"\x0a\x00", Some((0, "")));
        check(
            b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            Some((0, "")),
        );
        check(b"\x10\x05\x0a\x02\x08\x07", Some((7, "")));
        check(b"\x0a\x03\x12\x01\xff", Some((0, "\u{fffd}")));
        check(b"\x0a\x09", None);
        check(b"<html>", None);
    }

    #[test]
    fn writes_and_reads_what_otlp_has_in_json() {
        let check = |signal, rejected, message: &str, json: &str| {
            let partial = Partial {
                rejected,
                message: message.into(),
            };
            assert_eq!(String::from_utf8(partial.encode_json(signal)).unwrap(), json);
            assert_eq!(Partial::decode_json(signal, json.as_bytes()), Ok(partial));
        };
        for signal in Signal::ALL {
            check(signal, 0, "", r#"{"partialSuccess":{}}"#);
            check(signal, 0, "\"", r#"{"partialSuccess":{"errorMessage":"\""}}"#);
        }
        let partial = |name: &str| format!(r#"{{"partialSuccess":{{"{name}":"300","errorMessage":"no"}}}}"#);
        check(Signal::Logs, 300, "no", &partial("rejectedLogRecords"));
        check(Signal::Traces, 300, "no", &partial("rejectedSpans"));
        check(Signal::Metrics, 300, "no", &partial("rejectedDataPoints"));
        check(Signal::Profiles, 300, "no", &partial("rejectedProfiles"));
        let read = |json: &str| Partial::decode_json(Signal::Logs, json.as_bytes()).ok();
        assert_eq!(read("{}"), Some(Partial::default()));
        assert_eq!(
            read(r#"{"partialSuccess":null,"new":[1]}"#),
            Some(Partial::default())
        );
        let seven = Partial {
            rejected: 7,
            message: String::new(),
        };
        assert_eq!(
            read(r#"{"partialSuccess":{"rejected_log_records":7}}"#),
            Some(seven)
        );
        let negative = r#"{"partialSuccess":{"rejectedLogRecords":"-1"}}"#;
        assert_eq!(read(negative), Some(Partial::default()));
        assert_eq!(read("<html>"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn cuts_long_messages_between_characters() {
        let long = Partial {
            rejected: 0,
            message: "\u{20ac}".repeat(1000),
        };
        let back = Partial::decode(&long.encode()).unwrap();
        assert_eq!(back.message.len(), 2046);
    }
}
