//! Where the resources of a batch go: each to the bucket and prefix that it names itself.
//!
//! A batch is divided before anything is written, so that no resource follows another one into a bucket that is not its
//! own. A batch for one place (nearly all are) keeps its bytes.

use component::prelude::*;
use wire::view::{Depth, Kind, Scratch, View};
use wire::{NOWHERE, Part, Sorted};

use super::config::ResourceAttrs;

/// What resources say; empty where they say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) prefix: String,
}

/// A batch by places, in order of first appearance; what holds no resource goes nowhere.
///
/// Errors: there are more places than labels.
pub(super) fn by_place(attrs: &ResourceAttrs, batch: &Payload) -> Result<Vec<(Place, Payload)>, ExportError> {
    if *attrs == ResourceAttrs::default() {
        return Ok(vec![(Place::default(), batch.clone())]);
    }
    let mut places: Vec<Place> = Vec::new();
    let mut labelled = Vec::with_capacity(batch.chunks.len());
    for chunk in &batch.chunks {
        let mut chunk = chunk.clone();
        chunk.make_canonical(batch.signal).map_err(unseen)?;
        let labels = labels(attrs, batch.signal, &chunk.bytes(), &mut places)?;
        if !labels.is_empty() {
            labelled.push((chunk, labels));
        }
    }
    if let [place] = places.as_mut_slice() {
        return Ok(vec![(std::mem::take(place), batch.clone())]);
    }
    let mut sorted = Sorted::new(batch.signal, batch.context.clone());
    for (chunk, labels) in &labelled {
        for (label, piece) in wire::divide(batch.signal, chunk, Part::Resource, labels) {
            sorted.add(label, piece);
        }
    }
    let pieces = sorted.finish().into_iter();
    Ok(pieces
        .map(|(label, piece)| (places[usize::from(label)].clone(), piece))
        .collect())
}

/// A label for each resource of a chunk.
fn labels(
    attrs: &ResourceAttrs,
    signal: Signal,
    bytes: &[u8],
    places: &mut Vec<Place>,
) -> Result<Vec<u16>, ExportError> {
    let mut scratch = Scratch::default();
    let view = View::new(&mut scratch, signal, bytes, Depth::Resource).map_err(unseen)?;
    let mut labels = Vec::new();
    for n in view.nodes().filter(|n| view.kind(*n) == Kind::Resource) {
        let text = |key: &str| {
            let mut out = Vec::new();
            if !key.is_empty()
                && let Some(value) = view.get(n, key.as_bytes())
            {
                value.as_string(&mut out);
            }
            String::from_utf8_lossy(&out).into_owned()
        };
        let place = Place {
            bucket: text(&attrs.s3_bucket),
            prefix: text(&attrs.s3_prefix),
        };
        let known = places.iter().rposition(|known| *known == place);
        let label = known.unwrap_or_else(|| {
            places.push(place);
            places.len() - 1
        });
        match u16::try_from(label) {
            Ok(label) if label != NOWHERE => labels.push(label),
            _ => {
                return Err(ExportError::TooLarge {
                    source: "a batch for more buckets and prefixes than can be told apart".into(),
                });
            }
        }
    }
    Ok(labels)
}

/// Every batch was validated at the door; what cannot be seen here never can.
fn unseen(error: impl Into<BoxError>) -> ExportError {
    ExportError::Rejected {
        code: Code::INVALID_ARGUMENT,
        source: error.into(),
    }
}
