//! Joining: chunks are pushed onto one list, and no byte is copied.

use crate::{Payload, Signal};

/// Makes one payload of several: the first one's context, all chunks in order, each with its origin.
///
/// Compressed twins go when there is more than one chunk. Errors: gives the payloads back if there are none, if their
/// signals differ, or if there are several of profiles (a singular dictionary cannot be joined).
pub fn join(mut payloads: Vec<Payload>) -> Result<Payload, Vec<Payload>> {
    let Some(first) = payloads.first() else {
        return Err(payloads);
    };
    let signal = first.signal;
    let mixed = payloads.iter().any(|p| p.signal != signal);
    if mixed || (signal == Signal::Profiles && payloads.len() > 1) {
        return Err(payloads);
    }
    let chunks = payloads.iter().map(|p| p.chunks.len()).sum::<usize>();
    let mut rest = payloads.drain(..);
    let Some(mut joined) = rest.next() else {
        return Err(Vec::new());
    };
    joined.chunks.reserve(chunks - joined.chunks.len());
    for payload in rest {
        joined.items += payload.items;
        joined.chunks.extend(payload.chunks);
    }
    if joined.chunks.len() > 1 {
        joined.drop_twins();
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{Chunk, Context, Encoding, Shape, Twin};

    fn payload(signal: Signal, items: u32) -> Payload {
        let shape = Shape {
            items,
            ..Shape::default()
        };
        let mut chunk = Chunk::new(Bytes::from_static(b"x"), shape);
        chunk.twin = Some(Arc::new(Twin {
            encoding: Encoding::Gzip,
            bytes: Bytes::new(),
        }));
        chunk.origin.slot = items;
        Payload::new(signal, chunk, Arc::new(Context::default()))
    }

    #[test]
    fn concatenates_chunks_with_their_origins() {
        let joined = join(vec![
            payload(Signal::Logs, 2),
            payload(Signal::Logs, 3),
            payload(Signal::Logs, 5),
        ])
        .unwrap();
        assert_eq!(joined.items, 10);
        let slots: Vec<u32> = joined.chunks.iter().map(|c| c.origin.slot).collect();
        assert_eq!(slots, [2, 3, 5]);
        assert!(joined.chunks.iter().all(|c| c.twin.is_none()));
    }

    #[test]
    fn one_payload_stays_as_it_is() {
        let joined = join(vec![payload(Signal::Profiles, 2)]).unwrap();
        assert!(joined.twin(Encoding::Gzip).is_some());
    }

    #[test]
    fn gives_back_what_cannot_be_joined() {
        assert!(join(Vec::new()).unwrap_err().is_empty());
        let mixed = join(vec![payload(Signal::Logs, 1), payload(Signal::Traces, 1)]);
        assert_eq!(mixed.unwrap_err().len(), 2);
        let profiles = join(vec![payload(Signal::Profiles, 1), payload(Signal::Profiles, 1)]);
        assert_eq!(profiles.unwrap_err().len(), 2);
    }
}
