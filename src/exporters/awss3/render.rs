//! What an object holds and how it is called.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use component::compressed;
use component::prelude::*;
use objects::blocks::ObjectCompression;
use objects::{Name, Naming};
use wire::Encoding;
use wire::view::{Depth, Kind, Scratch, View};

use super::config::Marshaler;

/// Larger batches are written as text on a blocking thread.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// How batches become objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) marshaler: Marshaler,
    pub(super) compression: ObjectCompression,
}

impl Form {
    /// A batch as it stands in its object; empty if there is nothing to write.
    pub(super) async fn body(self, batch: &Payload) -> Result<Bytes, ExportError> {
        let encoding = self.encoding().map(|(_, _, encoding)| encoding);
        match (self.marshaler, encoding) {
            (Marshaler::OtlpProto, _) if batch.is_empty() => Ok(Bytes::new()),
            (Marshaler::OtlpProto, None) => Ok(batch.to_bytes()),
            (Marshaler::OtlpProto, Some(encoding)) => compressed(batch, encoding, 0).await,
            _ if batch.len() <= INLINE_BYTES_MAX => self.text(batch),
            _ => {
                let batch = batch.clone();
                let written = tokio::task::spawn_blocking(move || self.text(&batch)).await;
                written.map_err(ExportError::retry)?
            }
        }
    }

    fn text(self, batch: &Payload) -> Result<Bytes, ExportError> {
        let text = match self.marshaler {
            Marshaler::Body => bodies(batch)?,
            _ => codec::otlp_json::write_payload(batch).map_err(rejected)?,
        };
        let text = Bytes::from(text);
        Ok(match self.encoding() {
            Some((_, _, encoding)) if !text.is_empty() => net::compression::encode(encoding, 0, &[text]),
            _ => text,
        })
    }

    /// What a name ends in.
    fn ending(self) -> String {
        let format = match self.marshaler {
            Marshaler::OtlpProto => ".binpb",
            Marshaler::Body => ".txt",
            Marshaler::OtlpJson | Marshaler::SumoIc => ".json",
        };
        let compression = self.encoding().map_or("", |(ending, _, _)| ending);
        format!("{format}{compression}")
    }

    /// The header of a compressed object; empty for others.
    pub(super) fn content_encoding(self) -> &'static str {
        self.encoding().map_or("", |(_, header, _)| header)
    }

    fn encoding(self) -> Option<(&'static str, &'static str, Encoding)> {
        match self.compression {
            ObjectCompression::None => None,
            ObjectCompression::Gzip => Some((".gz", "gzip", Encoding::Gzip)),
            ObjectCompression::Zstd => Some((".zst", "zstd", Encoding::Zstd)),
        }
    }
}

/// Bodies of log records, a line each.
fn bodies(batch: &Payload) -> Result<Vec<u8>, ExportError> {
    if batch.signal != Signal::Logs {
        return Err(ExportError::Rejected {
            code: Code::UNIMPLEMENTED,
            source: format!("marshaler body writes logs, not {}", batch.signal.as_str()).into(),
        });
    }
    let mut out = Vec::with_capacity(batch.len());
    let mut scratch = Scratch::default();
    for chunk in &batch.chunks {
        let mut chunk = chunk.clone();
        chunk.make_canonical(batch.signal).map_err(rejected)?;
        let bytes = chunk.bytes();
        let view = View::new(&mut scratch, batch.signal, &bytes, Depth::Record).map_err(rejected)?;
        for n in view.nodes().filter(|n| view.kind(*n) == Kind::LogRecord) {
            if let Some(body) = view.body(n) {
                body.as_string(&mut out);
            }
            out.push(b'\n');
        }
    }
    Ok(out)
}

/// Every batch was validated at the door; what cannot be read here never can.
fn rejected(error: impl Into<BoxError>) -> ExportError {
    ExportError::Rejected {
        code: Code::INVALID_ARGUMENT,
        source: error.into(),
    }
}

/// The key of an object that is uploaded `now`, since 1970; `prefix`: what its resources say, or empty.
pub(super) fn key(
    naming: &Naming,
    form: Form,
    signal: Signal,
    prefix: &str,
    now: Duration,
) -> Result<String, ExportError> {
    Ok(naming.key(&Name {
        prefix,
        seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        signal: signal.as_str(),
        unique: &uuid_v7(now)?,
        ending: &form.ending(),
    }))
}

/// The time since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// RFC 9562, version 7: names in the order of time that never meet.
fn uuid_v7(now: Duration) -> Result<String, ExportError> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| ExportError::retry("no random numbers"))?;
    let random = u128::from_be_bytes(random);
    let milliseconds = now.as_millis() & ((1 << 48) - 1);
    const VERSION: u128 = 7 << 76;
    const VARIANT: u128 = 2 << 62;
    const FREE: u128 = (0xfff << 64) | ((1 << 62) - 1);
    let bits = (milliseconds << 80) | VERSION | VARIANT | (random & FREE);
    let hex = format!("{bits:032x}");
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use objects::blocks::S3Uploader;

    use super::*;

    fn uploader(yaml: &str) -> S3Uploader {
        test_kit::section(yaml)
            .parse()
            .unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn keys_are_contribs() {
        let check = |yaml: &str, marshaler, signal, own: &str, expected: &str| {
            let uploader = uploader(&format!("{{s3_partition_timezone: UTC, {yaml}}}"));
            let form = Form {
                marshaler,
                compression: uploader.compression,
            };
            let naming = Naming::new(&uploader).expect("it is right");
            let key = key(&naming, form, signal, own, Duration::from_secs(1_770_102_545));
            let key = key.expect("there are random numbers");
            let at = key.rfind("019c2255-5a68-7").expect("a UUID of that time");
            let shown = format!("{}ID{}", &key[..at], &key[at + 36..]);
            assert_eq!(shown, expected);
        };
        use Marshaler::{Body, OtlpJson, OtlpProto};
        use Signal::{Logs, Metrics, Traces};
        let usual = "year=2026/month=02/day=03/hour=07/minute=09";
        check("", OtlpJson, Logs, "", &format!("{usual}/logs_ID.json"));
        check("", OtlpProto, Traces, "", &format!("{usual}/traces_ID.binpb"));
        check(
            "s3_prefix: metric, compression: gzip",
            OtlpJson,
            Metrics,
            "",
            &format!("metric/{usual}/metrics_ID.json.gz"),
        );
        check(
            "s3_prefix: p, s3_base_prefix: b, file_prefix: f-, compression: zstd",
            OtlpProto,
            Logs,
            "",
            &format!("b/p/{usual}/f-logs_ID.binpb.zst"),
        );
        check(
            "s3_prefix: p, s3_base_path: old",
            Body,
            Logs,
            "own",
            &format!("old/own/{usual}/logs_ID.txt"),
        );
        check(
            "s3_partition: hour",
            OtlpJson,
            Logs,
            "",
            "year=2026/month=02/day=03/hour=07/logs_ID.json",
        );
        check(
            "s3_partition_format: '%Y/%j'",
            OtlpJson,
            Logs,
            "",
            "2026/034/logs_ID.json",
        );
        // Parts are joined as paths are; nobody goes up by a name.
        check(
            "s3_prefix: /p/, s3_base_prefix: b/, s3_partition_format: 'd//e/', file_prefix: /f-",
            OtlpJson,
            Logs,
            "",
            "b/p/d/e/f-logs_ID.json",
        );
        check("s3_partition_format: d", OtlpJson, Logs, "/", "/d/logs_ID.json");
        check("s3_partition_format: ''", OtlpJson, Logs, "", "logs_ID.json");
        check(
            "s3_base_prefix: b, s3_partition_format: d",
            OtlpJson,
            Logs,
            "../c",
            "b/../c/d/logs_ID.json",
        );
    }

    #[test]
    fn names_never_meet() {
        let at = Duration::from_millis(0x0123_4567_89ab);
        let one = uuid_v7(at).expect("there are random numbers");
        assert_eq!((&one[..15], one.len()), ("01234567-89ab-7", 36));
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"), "{one}");
        assert_ne!(Ok(one), uuid_v7(at).map_err(|e| e.to_string()));
    }
}
