//! Requests cut by trace without a copy, and traces laid together again.
//!
//! In: one chunk of spans. Its bytes are held once, in a [`Source`] that notes where its resource and scope headers lie;
//! a [`Piece`] is the places of one trace's spans in it. Out: [`assemble`] writes what pieces stand for as one request,
//! with one resource group for each of theirs. Every field of the headers stays, known or not.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use component::Reservation;
use wire::Malformed;
use wire::field::{Fields, LEN, framed_len, write_header};

use super::durable::Record;

/// The id of a trace; zeros if a span has none.
pub(crate) type TraceId = [u8; 16];

/// Field numbers: of groups in a request, of scopes in a resource group, of spans in a scope group, of an id in a span.
const GROUP: u32 = 1;
const CHILD: u32 = 2;
const TRACE_ID: u32 = 1;
const PARENT: u32 = 4;

/// What a piece and its place in tables cost beside the bytes of its spans, roughly.
pub(crate) const PIECE_BYTES: usize = 160;
/// What a span costs beside its bytes.
pub(crate) const SPAN_BYTES: usize = size_of::<SpanAt>();

/// One chunk whose spans are held.
#[derive(Debug)]
pub(crate) struct Source {
    bytes: Bytes,
    headers: Headers,
    held: Held,
}

#[derive(Debug, Default)]
struct Headers {
    ranges: Vec<Range<u32>>,
    resources: Vec<Header>,
    scopes: Vec<(u32, Header)>,
}

/// Ranges that stand before the first child, and behind it.
#[derive(Debug)]
struct Header {
    head: Range<u32>,
    tail: Range<u32>,
}

/// The places of one trace's spans in a source, in its order.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) source: Arc<Source>,
    spans: Box<[SpanAt]>,
}

#[derive(Clone, Copy, Debug)]
struct SpanAt {
    scope: u32,
    /// Tag and length included.
    start: u32,
    end: u32,
    /// Place among all spans of the chunk.
    ordinal: u32,
}

/// What one chunk holds of one trace.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) id: TraceId,
    pub(crate) piece: Piece,
    /// A span without a parent is among them.
    pub(crate) has_root: bool,
}

impl Source {
    /// Whose it is.
    pub(crate) fn tenant(&self) -> Option<&Arc<str>> {
        self.held.tenant.as_ref()
    }
}

impl Piece {
    /// How many spans.
    pub(crate) fn spans(&self) -> u32 {
        self.spans.len() as u32
    }

    /// These spans are not held any more: they ended, and are booked. A piece that is merely dropped is owed again after
    /// a restart.
    pub(crate) fn done(&self) {
        let Some(record) = &self.source.held.record else {
            return;
        };
        for run in self.spans.chunk_by(|a, b| a.ordinal + 1 == b.ordinal) {
            record.complete(run[0].ordinal..run[run.len() - 1].ordinal + 1);
        }
    }

    /// To be awaited before the spans are handed on.
    pub(crate) async fn announce(&self) {
        if let Some(record) = &self.source.held.record {
            record.announce().await;
        }
    }

    /// Bytes that the piece and its source take, if the source is its own; with what the allocator adds.
    #[cfg(test)]
    pub(crate) fn footprint(&self) -> usize {
        const ALLOCATION: usize = 16;
        let headers = &self.source.headers;
        let vec = |capacity: usize, each: usize| capacity * each + ALLOCATION;
        size_of::<Source>()
            + self.source.bytes.len()
            + vec(self.spans.len(), size_of::<SpanAt>())
            + vec(headers.ranges.capacity(), size_of::<Range<u32>>())
            + vec(headers.resources.capacity(), size_of::<Header>())
            + vec(headers.scopes.capacity(), size_of::<(u32, Header)>())
            + 3 * ALLOCATION
    }

    /// Encoded length of the spans.
    pub(crate) fn bytes(&self) -> u64 {
        self.spans.iter().map(|s| u64::from(s.end - s.start)).sum()
    }
}

/// What goes with a chunk that is held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Whose it is.
    pub(crate) tenant: Option<Arc<str>>,
    /// Its record, where what is held is on disk.
    pub(crate) record: Option<Record>,
    /// What is reserved for it; given back when the last piece goes.
    pub(crate) _memory: Option<Reservation>,
    /// Whether roots are looked for.
    pub(crate) wants_root: bool,
    /// Of a record that was read back, the spans that are owed; others are left out. None = all.
    pub(crate) owed: Option<Vec<Range<u32>>>,
}

/// Cuts a canonical chunk by trace, in the order in which traces appear.
///
/// Errors: the chunk cannot be read; it was not validated.
pub(crate) fn cut(bytes: Bytes, held: Held) -> Result<Vec<Cut>, Malformed> {
    let mut headers = Headers::default();
    let mut numbers: HashMap<TraceId, usize> = HashMap::new();
    let mut traces: Vec<(TraceId, bool, Vec<SpanAt>)> = Vec::new();
    let mut ordinals = 0..;
    let is_owed = |ordinal: u32| {
        let owed = held.owed.as_ref();
        owed.is_none_or(|ranges| ranges.iter().any(|r| r.contains(&ordinal)))
    };
    for group in Fields::new(&bytes, 0) {
        let group = group?;
        if group.number != GROUP || group.wire != LEN {
            continue;
        }
        let resource = headers.resources.len() as u32;
        let header = headers.read(&bytes[..group.end], group.value)?;
        headers.resources.push(header);
        for child in children(&bytes[..group.end], group.value) {
            let child = child?;
            let scope = headers.scopes.len() as u32;
            let header = headers.read(&bytes[..child.end], child.value)?;
            headers.scopes.push((resource, header));
            for span in children(&bytes[..child.end], child.value) {
                let span = span?;
                let Some(ordinal) = ordinals.next().filter(|ordinal| is_owed(*ordinal)) else {
                    continue;
                };
                let (id, is_root) = ids(&bytes[..span.end], span.value, held.wants_root)?;
                let number = *numbers.entry(id).or_insert_with(|| {
                    traces.push((id, false, Vec::new()));
                    traces.len() - 1
                });
                let (_, has_root, spans) = &mut traces[number];
                *has_root |= is_root;
                spans.push(SpanAt {
                    scope,
                    start: span.start as u32,
                    end: span.end as u32,
                    ordinal,
                });
            }
        }
    }
    let source = Arc::new(Source { bytes, headers, held });
    let cuts = traces.into_iter().map(|(id, has_root, spans)| Cut {
        id,
        has_root,
        piece: Piece {
            source: source.clone(),
            spans: spans.into(),
        },
    });
    Ok(cuts.collect())
}

fn children(
    message: &[u8],
    start: usize,
) -> impl Iterator<Item = Result<wire::field::Field, Malformed>> + '_ {
    Fields::new(message, start).filter(|field| {
        field
            .as_ref()
            .map_or(true, |f| f.number == CHILD && f.wire == LEN)
    })
}

/// A span's trace id; and whether it has no parent, for which all of it is read.
fn ids(message: &[u8], start: usize, wants_root: bool) -> Result<(TraceId, bool), Malformed> {
    let (mut id, mut is_root) = ([0; 16], true);
    for field in Fields::new(message, start) {
        let field = field?;
        let value = &message[field.value..field.end];
        match (field.number, field.wire) {
            (TRACE_ID, LEN) => {
                id = value.try_into().unwrap_or_default();
                if !wants_root {
                    break;
                }
            }
            (PARENT, LEN) => is_root = crate::sampling::is_no_id(value),
            _ => {}
        }
    }
    Ok((id, wants_root && is_root))
}

impl Headers {
    /// Notes where everything but the children of a message lies.
    fn read(&mut self, message: &[u8], start: usize) -> Result<Header, Malformed> {
        let first = self.ranges.len() as u32;
        let mut middle = None;
        for field in Fields::new(message, start) {
            let field = field?;
            let (from, to) = (field.start as u32, field.end as u32);
            let now = self.ranges.len() as u32;
            if field.number == CHILD && field.wire == LEN {
                middle.get_or_insert(now);
                continue;
            }
            let begins = middle.unwrap_or(first);
            match self.ranges.last_mut() {
                Some(last) if now > begins && last.end == from => last.end = to,
                _ => self.ranges.push(from..to),
            }
        }
        let end = self.ranges.len() as u32;
        let middle = middle.unwrap_or(end);
        Ok(Header {
            head: first..middle,
            tail: middle..end,
        })
    }

    fn len(&self, header: &Header) -> usize {
        let all = &self.ranges[header.head.start as usize..header.tail.end as usize];
        all.iter().map(|r| (r.end - r.start) as usize).sum()
    }

    fn write(&self, bytes: &[u8], which: &Range<u32>, out: &mut Vec<u8>) {
        for range in &self.ranges[which.start as usize..which.end as usize] {
            out.extend_from_slice(&bytes[range.start as usize..range.end as usize]);
        }
    }
}

/// Appends what the pieces stand for, as one request.
pub(crate) fn assemble(pieces: &[Piece], out: &mut Vec<u8>) {
    for piece in pieces {
        let (bytes, headers) = (&piece.source.bytes, &piece.source.headers);
        let resource_of = |span: &SpanAt| headers.scopes[span.scope as usize].0;
        for group in piece.spans.chunk_by(|a, b| resource_of(a) == resource_of(b)) {
            let resource = &headers.resources[resource_of(&group[0]) as usize];
            let scope_len = |spans: &[SpanAt]| {
                let scope = &headers.scopes[spans[0].scope as usize].1;
                let own: usize = spans.iter().map(|s| (s.end - s.start) as usize).sum();
                headers.len(scope) + own
            };
            let scopes = || group.chunk_by(|a, b| a.scope == b.scope);
            let inner: usize = scopes().map(|spans| framed_len(CHILD, scope_len(spans))).sum();
            write_header(GROUP, headers.len(resource) + inner, out);
            headers.write(bytes, &resource.head, out);
            for spans in scopes() {
                let scope = &headers.scopes[spans[0].scope as usize].1;
                write_header(CHILD, scope_len(spans), out);
                headers.write(bytes, &scope.head, out);
                for span in spans {
                    out.extend_from_slice(&bytes[span.start as usize..span.end as usize]);
                }
                headers.write(bytes, &scope.tail, out);
            }
            headers.write(bytes, &resource.tail, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use prost::Message as _;
    use wire::Signal;
    use wire::test_kit::{Request, Rng};

    use super::*;

    /// What is there of a trace, naively.
    fn only(request: &ExportTraceServiceRequest, id: &TraceId) -> ExportTraceServiceRequest {
        let mut request = request.clone();
        for group in &mut request.resource_spans {
            for scope in &mut group.scope_spans {
                scope
                    .spans
                    .retain(|s| s.trace_id.as_slice().try_into().unwrap_or([0; 16]) == *id);
            }
            group.scope_spans.retain(|s| !s.spans.is_empty());
        }
        request.resource_spans.retain(|g| !g.scope_spans.is_empty());
        request
    }

    #[test]
    fn fields_come_in_any_order() {
        let mut span = vec![0x22, 8];
        span.extend([4; 8]);
        span.extend([0x0a, 16]);
        span.extend([1; 16]);
        assert_eq!(ids(&span, 0, false).unwrap(), ([1; 16], false));
        assert_eq!(ids(&span, 0, true).unwrap(), ([1; 16], false));
        assert_eq!(ids(&span[10..], 0, true).unwrap(), ([1; 16], true));
    }

    proptest! {
        #[test]
        fn a_trace_is_what_was_sent_of_it(seed: u64) {
            let mut rng = Rng(seed);
            let bytes = Request::random(Signal::Traces, &mut rng).encode();
            let mut request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
            // Few traces, so that they are spread.
            for group in &mut request.resource_spans {
                for span in group.scope_spans.iter_mut().flat_map(|s| &mut s.spans) {
                    span.trace_id = vec![rng.below(3) as u8; 16];
                }
            }
            let bytes = request.encode_to_vec();
            let held = Held {
                wants_root: true,
                ..Held::default()
            };
            let cuts = cut(bytes.into(), held).unwrap();
            let mut seen = 0;
            for Cut { id, piece, has_root } in &cuts {
                let mut out = Vec::new();
                assemble(std::slice::from_ref(piece), &mut out);
                let expected = only(&request, id);
                let found = ExportTraceServiceRequest::decode(&out[..]).unwrap();
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(out.len(), expected.encoded_len());
                let spans: Vec<_> = expected
                    .resource_spans
                    .iter()
                    .flat_map(|g| &g.scope_spans)
                    .flat_map(|s| &s.spans)
                    .collect();
                let is_root = |s: &&_| -> bool {
                    let s: &opentelemetry_proto::tonic::trace::v1::Span = s;
                    s.parent_span_id.iter().all(|b| *b == 0)
                };
                prop_assert_eq!(*has_root, spans.iter().any(is_root));
                prop_assert_eq!(piece.spans() as usize, spans.len());
                seen += spans.len();
            }
            let all = request.resource_spans.iter().flat_map(|g| &g.scope_spans).map(|s| s.spans.len()).sum::<usize>();
            prop_assert_eq!(seen, all);
        }
    }

    #[test]
    fn what_is_no_span_stays_where_it_was() {
        let mut bytes = Vec::new();
        let scope = |spans: &[&[u8]]| {
            let mut scope = b"\x0a\x03\x0a\x01s\x98\x7d\x07".to_vec();
            for span in spans {
                write_header(CHILD, span.len(), &mut scope);
                scope.extend_from_slice(span);
            }
            scope.extend_from_slice(b"\x1a\x01u\x98\x7d\x08");
            scope
        };
        let id = |n: u8| [&b"\x0a\x10"[..], &[n; 16]].concat();
        let group = |scope: &[u8]| {
            let mut group = b"\x1a\x01v\x0a\x00".to_vec();
            write_header(CHILD, scope.len(), &mut group);
            group.extend_from_slice(scope);
            group.extend_from_slice(b"\x98\x7d\x09");
            let mut framed = Vec::new();
            write_header(GROUP, group.len(), &mut framed);
            framed.extend_from_slice(&group);
            framed
        };
        bytes.extend_from_slice(&group(&scope(&[&id(1), &id(2), &id(1)])));
        let cuts = cut(bytes.into(), Held::default()).unwrap();
        let mut out = Vec::new();
        assemble(&[cuts[0].piece.clone()], &mut out);
        assert_eq!(out, group(&scope(&[&id(1), &id(1)])));
        assert_eq!((cuts[0].id, cuts[1].id), ([1; 16], [2; 16]));
    }
}
