//! A payload: what travels between components.
//!
//! Chunks of encoded OTLP in [`Bytes`], each with its origin. Two encoded export requests laid end to end are their
//! merge, so a batch is a list of chunks; profiles (a singular dictionary) are never joined.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::field::Malformed;

/// The four kinds of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// `ExportLogsServiceRequest`; items are log records.
    Logs,
    /// `ExportTraceServiceRequest`; items are spans.
    Traces,
    /// `ExportMetricsServiceRequest`; items are data points.
    Metrics,
    /// `ExportProfilesServiceRequest`; items are samples. Passed through, never joined, never split.
    Profiles,
}

impl Signal {
    /// All four, in the order in which tables show them.
    pub const ALL: [Signal; 4] = [Signal::Logs, Signal::Traces, Signal::Metrics, Signal::Profiles];

    /// `logs`, `traces`, `metrics`, `profiles`: as written in `service.pipelines`.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Profiles => "profiles",
        }
    }

    /// What one item is called in metric names: `log_records`, `spans`, `metric_points`, `profile_samples`.
    pub fn items_name(self) -> &'static str {
        match self {
            Signal::Logs => "log_records",
            Signal::Traces => "spans",
            Signal::Metrics => "metric_points",
            Signal::Profiles => "profile_samples",
        }
    }

    /// Reads the name used in `service.pipelines`.
    pub fn parse(name: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|s| s.as_str() == name)
    }

    /// Place in [`Signal::ALL`], for arrays with one slot a signal.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One unit of telemetry on its way through a pipeline. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Payload {
    /// What kind of telemetry every chunk holds.
    pub signal: Signal,
    /// One or more encoded export requests; together one request.
    pub chunks: Vec<Chunk>,
    /// Items in all chunks.
    pub items: usize,
    /// Where it came from.
    pub context: Arc<Context>,
}

impl Payload {
    /// A payload of one chunk.
    pub fn new(signal: Signal, chunk: Chunk, context: Arc<Context>) -> Payload {
        let items = chunk.shape.items as usize;
        Payload {
            signal,
            chunks: vec![chunk],
            items,
            context,
        }
    }

    /// Adds a chunk at the end. Never one of profiles to another.
    pub fn push(&mut self, chunk: Chunk) {
        self.items += chunk.shape.items as usize;
        self.chunks.push(chunk);
        if self.chunks.len() > 1 {
            self.drop_twins();
        }
    }

    /// Encoded length of all chunks together.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Chunk::len).sum()
    }

    /// True if no chunk holds a byte.
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(Chunk::is_empty)
    }

    /// The chunks as one buffer: the chunk itself if there is one, else a copy.
    pub fn to_bytes(&self) -> Bytes {
        if let [one] = self.chunks.as_slice() {
            return one.bytes();
        }
        let mut out = Vec::with_capacity(self.len());
        for part in self.parts() {
            out.extend_from_slice(part);
        }
        out.into()
    }

    /// The bytes of all chunks, in order, to be written one after another.
    pub fn parts(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter().flat_map(Chunk::parts)
    }

    /// Forgets the compressed twins: the payload is about to be held, and one form of it is enough.
    pub fn drop_twins(&mut self) {
        for chunk in &mut self.chunks {
            chunk.twin = None;
        }
    }

    /// Makes the payload fit to be held for long: one form of it, and small chunks in memory of their own.
    ///
    /// A message cut out of a connection's read buffer keeps all of that buffer alive, up to 64 KiB and more; a queue
    /// of small ones would hold many times what it counts.
    pub fn detach(&mut self) {
        self.drop_twins();
        for chunk in &mut self.chunks {
            if chunk.len() <= DETACH_BYTES_MAX {
                chunk.own();
            }
        }
    }

    /// Makes a payload fit to be held beside nothing else of its request: a piece keeps alive all of what it was cut
    /// out of, and one that waits for a retry would hold many times what it counts.
    pub fn detach_pieces(&mut self) {
        for chunk in &mut self.chunks {
            if matches!(chunk.message, Message::Parts(_)) {
                chunk.own();
            }
        }
    }

    /// The compressed body as it was received, if it may stand for this payload: exactly one chunk, untouched.
    pub fn twin(&self, encoding: Encoding) -> Option<&Bytes> {
        match self.chunks.as_slice() {
            [one] => one
                .twin
                .as_deref()
                .filter(|t| t.encoding == encoding)
                .map(|t| &t.bytes),
            _ => None,
        }
    }
}

/// Chunks up to this size are copied when they are held; larger ones fill most of the buffer that they keep.
const DETACH_BYTES_MAX: usize = 32 << 10;

/// One encoded `Export*ServiceRequest`: contiguous, or (cut out of another) in parts that follow each other.
#[derive(Clone, Debug)]
pub struct Chunk {
    message: Message,
    /// What validation found in it.
    pub shape: Shape,
    /// Whose it is.
    pub origin: Origin,
    /// The same message compressed, as received. Goes when the message changes.
    pub twin: Option<Arc<Twin>>,
}

/// Writers take the parts as they are; readers need one buffer and ask for it. What was cut out of another message is
/// in parts, even if it is one.
#[derive(Clone, Debug)]
enum Message {
    Whole(Bytes),
    Parts(Arc<[Bytes]>),
}

impl Chunk {
    /// A chunk without a twin and without an owner.
    pub fn new(bytes: Bytes, shape: Shape) -> Chunk {
        Chunk {
            message: Message::Whole(bytes),
            shape,
            origin: Origin::default(),
            twin: None,
        }
    }

    /// A piece of another chunk: its parts laid end to end are the message.
    pub(crate) fn in_parts(
        parts: impl ExactSizeIterator<Item = Bytes>,
        shape: Shape,
        origin: Origin,
    ) -> Chunk {
        Chunk {
            message: Message::Parts(parts.collect()),
            shape,
            origin,
            twin: None,
        }
    }

    /// The message, in the order of writing.
    pub fn parts(&self) -> &[Bytes] {
        match &self.message {
            Message::Whole(bytes) => std::slice::from_ref(bytes),
            Message::Parts(parts) => parts,
        }
    }

    /// Encoded length.
    pub fn len(&self) -> usize {
        self.parts().iter().map(Bytes::len).sum()
    }

    /// True if the message has no bytes.
    pub fn is_empty(&self) -> bool {
        self.parts().iter().all(Bytes::is_empty)
    }

    /// The message as one buffer; a copy if it is in parts.
    pub fn bytes(&self) -> Bytes {
        match self.parts() {
            [one] => one.clone(),
            parts => parts.concat().into(),
        }
    }

    /// As [`Chunk::bytes`], and keeps the one buffer: for whoever hands the chunk on to further readers.
    pub fn make_whole(&mut self) -> Bytes {
        let bytes = self.bytes();
        self.message = Message::Whole(bytes.clone());
        bytes
    }

    /// Copies the message into memory of its own, so that it keeps nothing else alive.
    pub fn own(&mut self) {
        self.message = Message::Whole(self.parts().concat().into());
    }

    /// Rewrites the message as a reader in Go understands it, if that is not what the bytes in order say. For whoever
    /// reads it outside of a segment.
    pub fn make_canonical(&mut self, signal: Signal) -> Result<(), Malformed> {
        if self.shape.non_canonical {
            let bytes = crate::normalize(signal, &self.bytes(), false)?;
            self.set_bytes(bytes.into());
            self.shape.non_canonical = false;
        }
        Ok(())
    }

    /// Another message instead; its shape is the caller's to set.
    pub fn set_bytes(&mut self, bytes: Bytes) {
        self.message = Message::Whole(bytes);
        self.twin = None;
    }
}

/// What one walk over a message found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Log records, spans, data points or samples.
    pub items: u32,
    /// A reader in Go would see something else than the bytes in order say: a singular field repeated, the
    /// deprecated field 1000. Normalised before any processor that reads content.
    pub non_canonical: bool,
    /// Fields that the table does not know. Kept, unless redaction follows.
    pub unknown_fields: bool,
}

/// Whose a chunk is.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Named by the tenant processor; none before it.
    pub tenant: Option<Arc<str>>,
    /// Number of the caller's receipt within its batch. Whoever merges keeps the table.
    pub slot: u32,
    /// Place of the chunk's first item among all items that its slot stands for. Whoever queues sets it, and
    /// splitting keeps it right.
    pub first: u32,
}

/// A compressed body as it came from the wire: exactly one member or frame, nothing behind it.
#[derive(Debug)]
pub struct Twin {
    /// How it is compressed.
    pub encoding: Encoding,
    /// The compressed message, without framing.
    pub bytes: Bytes,
}

/// Compressions of a whole message that two ends may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// zlib stream (RFC 1950), called `deflate` on the wire.
    Deflate,
    /// Snappy block format.
    SnappyBlock,
    /// Snappy framing format.
    SnappyFramed,
    /// lz4 frame format.
    Lz4,
}

/// What is known about the client of a payload.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Request headers or gRPC metadata: lower-case names, all values. Filled where `include_metadata` is set.
    pub metadata: Vec<(String, Vec<String>)>,
    /// Attributes of the authenticated identity.
    pub auth: Vec<(String, String)>,
    /// Whether an authenticator has let it in.
    pub authenticated: bool,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    /// What the client's certificate calls it, where one was asked for and verified.
    pub certificate: Option<Arc<CertificateNames>>,
    /// The receiver that it came to, by its id in the configuration.
    pub receiver: Option<Arc<str>>,
    /// When the client stops waiting. A value handed in; this crate reads no clock.
    pub deadline: Option<Instant>,
}

/// The names in a certificate that was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// URIs among its alternative names, such as a SPIFFE id.
    pub uris: Vec<String>,
    /// DNS names among them.
    pub dns: Vec<String>,
    /// Common name of its subject, if there is exactly one.
    pub common_name: Option<String>,
}

impl Context {
    /// Values of one metadata key, any case; empty if absent.
    pub fn metadata(&self, key: &str) -> &[String] {
        self.metadata
            .iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(key))
            .map_or(&[], |(_, v)| v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_keeps_no_read_buffer_alive() {
        let buffer = Bytes::from(vec![7u8; 1 << 20]);
        let check = |len: usize, moved: bool| {
            let part = buffer.slice(100..100 + len);
            let mut chunk = Chunk::new(part.clone(), Shape::default());
            let twin = Twin {
                encoding: Encoding::Gzip,
                bytes: buffer.clone(),
            };
            chunk.twin = Some(Arc::new(twin));
            let mut payload = Payload::new(Signal::Logs, chunk, Arc::default());
            payload.detach();
            assert_eq!(payload.chunks[0].bytes(), part);
            assert_eq!(
                payload.chunks[0].bytes().as_ptr() != part.as_ptr(),
                moved,
                "{len} bytes"
            );
            assert!(payload.twin(Encoding::Gzip).is_none());
        };
        check(1000, true);
        check(DETACH_BYTES_MAX, true);
        check(DETACH_BYTES_MAX + 1, false);
    }

    #[test]
    fn a_piece_that_waits_keeps_only_itself_alive() {
        let whole = Bytes::from(vec![7u8; 1 << 20]);
        let piece = |parts: Vec<Bytes>| {
            let chunk = Chunk::in_parts(parts.into_iter(), Shape::default(), Origin::default());
            Payload::new(Signal::Logs, chunk, Arc::default())
        };
        let cut = whole.slice(100..50_000);
        for mut payload in [
            piece(vec![cut.clone()]),
            piece(vec![Bytes::from_static(b"head"), cut.clone()]),
            piece(Vec::new()),
        ] {
            let (before, len) = (payload.to_bytes(), payload.len());
            payload.detach_pieces();
            assert_eq!((payload.to_bytes(), payload.len()), (before, len));
            let inside = |part: &Bytes| whole.as_ptr_range().contains(&part.as_ptr());
            assert!(!payload.parts().any(inside) && payload.chunks[0].parts().len() == 1);
        }
        let mut request = Payload::new(
            Signal::Logs,
            Chunk::new(cut.clone(), Shape::default()),
            Arc::default(),
        );
        request.detach_pieces();
        assert_eq!(request.to_bytes().as_ptr(), cut.as_ptr());
    }
}
