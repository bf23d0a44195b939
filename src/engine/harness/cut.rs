//! Payloads in pieces: what an exporter is given when all of it is too much, or too much together.

use std::collections::HashMap;
use std::sync::Arc;

use wire::{Cut, Payload, Signal};

/// No piece has more than this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) items: Option<usize>,
    pub(crate) bytes: Option<usize>,
}

impl Limits {
    pub(crate) fn is_within(&self, items: usize, bytes: impl FnOnce() -> usize) -> bool {
        self.items.is_none_or(|max| items <= max) && self.bytes.is_none_or(|max| bytes() <= max)
    }
}

/// Pieces within the limits (a single item that is larger stays alone). Profiles stay whole.
pub(crate) fn within(payload: Payload, limits: Limits) -> Vec<Payload> {
    if payload.signal == Signal::Profiles || limits.is_within(payload.items, || payload.len()) {
        return vec![payload];
    }
    let cut = Cut {
        items_max: limits.items,
        bytes_max: limits.bytes,
    };
    wire::split(payload, cut)
}

/// Two halves, or the payload back if it cannot be halved.
pub(crate) fn halves(payload: Payload) -> Result<Vec<Payload>, Payload> {
    if payload.signal == Signal::Profiles || payload.items < 2 {
        return Err(payload);
    }
    let limits = Limits {
        items: Some(payload.items.div_ceil(2)),
        bytes: None,
    };
    let mut pieces = within(payload, limits);
    match pieces.len() {
        1 => Err(pieces.remove(0)),
        _ => Ok(pieces),
    }
}

/// The pieces that an exporter wants to be given one by one, or the payload back if they are not all of it.
pub(crate) fn apart(payload: Payload, pieces: Vec<Payload>) -> Result<Vec<Payload>, Payload> {
    let items: usize = pieces.iter().map(|piece| piece.items).sum();
    let are_pieces = pieces
        .iter()
        .all(|piece| (1..payload.items).contains(&piece.items) && piece.signal == payload.signal);
    match are_pieces && items == payload.items {
        true => Ok(pieces),
        false => Err(payload),
    }
}

/// One payload for each caller in it: chunk runs of the same slot. One payload back if there is but one caller.
pub(crate) fn by_slot(payload: Payload) -> Vec<Payload> {
    let Payload {
        signal,
        chunks,
        context,
        ..
    } = payload;
    let mut out: Vec<Payload> = Vec::new();
    for chunk in chunks {
        let items = chunk.shape.items as usize;
        match out
            .last_mut()
            .filter(|p| p.chunks[0].origin.slot == chunk.origin.slot)
        {
            Some(last) => {
                last.items += items;
                last.chunks.push(chunk);
            }
            None => out.push(Payload {
                signal,
                chunks: vec![chunk],
                items,
                context: context.clone(),
            }),
        }
    }
    out
}

/// Whether it has chunks of more than one tenant.
pub(crate) fn is_mixed(payload: &Payload) -> bool {
    let tenants = payload.chunks.iter().map(|c| &c.origin.tenant);
    !tenants.clone().zip(tenants.skip(1)).all(|(a, b)| a == b)
}

/// One payload for each tenant, in the order in which they first come; a tenant's chunks keep theirs.
pub(crate) fn by_tenant(payload: Payload) -> Vec<Payload> {
    if !is_mixed(&payload) {
        return vec![payload];
    }
    let Payload {
        signal,
        chunks,
        context,
        ..
    } = payload;
    let mut places: HashMap<Option<Arc<str>>, usize> = HashMap::new();
    let mut out: Vec<Payload> = Vec::new();
    for chunk in chunks {
        let at = *places.entry(chunk.origin.tenant.clone()).or_insert_with(|| {
            out.push(Payload {
                signal,
                chunks: Vec::new(),
                items: 0,
                context: context.clone(),
            });
            out.len() - 1
        });
        out[at].items += chunk.shape.items as usize;
        out[at].chunks.push(chunk);
    }
    out
}

/// One payload for each chunk.
pub(crate) fn by_chunk(payload: Payload) -> Vec<Payload> {
    let Payload {
        signal,
        chunks,
        context,
        ..
    } = payload;
    chunks
        .into_iter()
        .map(|chunk| Payload::new(signal, chunk, context.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use wire::{Chunk, Shape};

    use super::*;

    #[test]
    fn pieces_are_all_of_it_or_none() {
        let of = |items: u32| {
            let shape = Shape {
                items,
                ..Shape::default()
            };
            Payload::new(Signal::Logs, Chunk::new("".into(), shape), Arc::default())
        };
        let check = |pieces: &[u32], expected: bool| {
            let made = apart(of(5), pieces.iter().map(|items| of(*items)).collect());
            assert_eq!(made.is_ok(), expected, "{pieces:?}");
        };
        check(&[2, 3], true);
        check(&[1, 1, 3], true);
        check(&[5], false);
        check(&[5, 0], false);
        check(&[2, 2], false);
        check(&[3, 3], false);
        check(&[], false);
    }
}
