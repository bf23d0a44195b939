//! What goes together: records of one push share their tenant and, where they are a backfill, the hour.
//!
//! In: a batch, and a number for each of its records. Out: pieces of the batch, or that it is one already. Where Loki
//! makes the push itself (`api: otlp`) only a backfill is looked for, and bytes are handed on as they are.

use codec::time::Civil;
use component::prelude::*;
use wire::Cut;
use wire::view::Value;

use super::encode::Encoded;
use super::labels::Rules;
use super::record::{self, Span};

/// Runs of records that a batch is cut into at once; with more it is halved.
const RUNS_MAX: usize = 1024;
/// What `weir archive restore --mark` gives to every resource.
pub(super) const MARK: &[u8] = b"weir.replay.id";
const HOUR_NS: u64 = 3_600_000_000_000;

/// Records that may be in one push.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Why none of them may be in any.
    pub(super) fault: Option<&'static str>,
    pub(super) tenant: Vec<u8>,
    /// Hours since 1970, where a shard of a backfill depends on it.
    pub(super) hour: Option<u64>,
    /// They come out of an archive.
    pub(super) is_marked: bool,
}

/// The number of a group, which is looked for after the last record's; the last one where there are more than numbers.
pub(super) fn number(
    groups: &mut Vec<Group>,
    last: Option<u16>,
    fault: Option<&'static str>,
    tenant: &[u8],
    hour: Option<u64>,
    is_marked: bool,
) -> u16 {
    let is_it = |group: &Group| {
        group.fault == fault && group.tenant == tenant && group.hour == hour && group.is_marked == is_marked
    };
    if let Some(last) = last
        && is_it(&groups[usize::from(last)])
    {
        return last;
    }
    let at = groups.iter().position(is_it).unwrap_or_else(|| {
        groups.push(Group {
            fault,
            tenant: tenant.to_vec(),
            hour,
            is_marked,
        });
        groups.len() - 1
    });
    u16::try_from(at).unwrap_or(u16::MAX)
}

pub(super) fn canonical(
    chunk: &Chunk,
    signal: Signal,
) -> Result<std::borrow::Cow<'_, Chunk>, wire::Malformed> {
    if !chunk.shape.non_canonical {
        return Ok(std::borrow::Cow::Borrowed(chunk));
    }
    let mut own = chunk.clone();
    own.make_canonical(signal)?;
    Ok(std::borrow::Cow::Owned(own))
}

/// Pieces of so many records; halves, if that does not divide it.
pub(super) fn in_pieces(payload: &Payload, items: usize) -> Encoded {
    let cut = Cut {
        items_max: Some(items),
        bytes_max: None,
    };
    let pieces = wire::split(payload.clone(), cut);
    match pieces.len() {
        0 | 1 => Encoded::TooLarge,
        _ => Encoded::Apart(pieces),
    }
}

/// A piece for each verdict, of runs of records.
pub(super) fn apart(payload: &Payload, verdicts: &[u16]) -> Result<Encoded, wire::Malformed> {
    let runs = 1 + verdicts.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if runs > RUNS_MAX {
        return Ok(Encoded::TooLarge);
    }
    let mut pieces: Vec<(u16, Payload)> = Vec::new();
    let mut at = 0;
    for chunk in &payload.chunks {
        let chunk = canonical(chunk, payload.signal)?;
        let count = chunk.shape.items as usize;
        let Some(verdicts) = verdicts.get(at..at + count) else {
            return Ok(Encoded::TooLarge);
        };
        at += count;
        let mut from = 0;
        for run in verdicts.chunk_by(|a, b| a == b) {
            let to = from + run.len() as u32;
            let Some(piece) = wire::slice(payload.signal, &chunk, from, to) else {
                return Ok(Encoded::TooLarge);
            };
            match pieces.iter_mut().find(|(verdict, _)| *verdict == run[0]) {
                Some((_, payload)) => payload.push(piece),
                None => pieces.push((
                    run[0],
                    Payload::new(payload.signal, piece, payload.context.clone()),
                )),
            }
            from = to;
        }
    }
    Ok(Encoded::Apart(
        pieces.into_iter().map(|(_, piece)| piece).collect(),
    ))
}

/// What a group's pushes say beside the tenant.
pub(super) fn shard(rules: &Rules, group: &Group) -> Option<String> {
    let hour = || hour_text(group.hour.unwrap_or_default());
    match rules.backfill_shard.as_str() {
        "" if group.is_marked => Some(format!("restore-{}", hour())),
        "" => None,
        text => Some(text.replace(super::HOUR, &hour())),
    }
}

/// `2026-11-22T07`.
fn hour_text(hours: u64) -> String {
    let text = Civil::from_unix((hours * 3600) as i64, 0).rfc3339().to_string();
    text.get(..13).unwrap_or(&text).to_owned()
}

/// Whether a group's shard names the hour.
pub(super) fn needs_hour(rules: &Rules, is_marked: bool) -> bool {
    match rules.backfill_shard.as_str() {
        "" => is_marked,
        text => text.contains(super::HOUR),
    }
}

/// The hour of a record, in hours since 1970.
pub(super) fn hour(time: u64) -> u64 {
    time / HOUR_NS
}

/// What came of a batch whose bytes go as they are.
pub(super) enum Whole {
    /// It is one push, of this shard of a backfill.
    Push(Option<String>),
    /// Pieces of it are, or what they come to.
    Not(Encoded),
}

/// Looks for what is a backfill in a batch. `now`: nanoseconds since 1970, for records without any time.
///
/// Cost: a look at each resource; at each record only where shards depend on their times.
pub(super) fn whole(rules: &Rules, payload: &Payload, now: u64) -> Result<Whole, wire::Malformed> {
    let has_own = !rules.backfill_shard.is_empty();
    if !needs_hour(rules, false) && !payload.chunks.iter().any(|chunk| is_special(chunk, !has_own)) {
        return Ok(Whole::Push(
            Some(rules.backfill_shard.clone()).filter(|shard| !shard.is_empty()),
        ));
    }
    let (mut groups, mut verdicts, mut attrs) = (Vec::new(), Vec::<u16>::new(), Vec::new());
    for chunk in &payload.chunks {
        let bytes = canonical(chunk, payload.signal)?.bytes();
        for resource in record::each(&bytes, Span::new(0, bytes.len()), 1) {
            let is_marked = !has_own && is_marked(&bytes, resource);
            let fault = has_odd_label(&bytes, resource).then_some("label_not_text");
            let needs_hour = needs_hour(rules, is_marked);
            let scopes = record::each(&bytes, resource, 2);
            for span in scopes.flat_map(|scope| record::each(&bytes, scope, 2)) {
                attrs.clear();
                let time = record::read(&bytes, span, &mut attrs).time_or(now);
                let hour = needs_hour.then(|| hour(time));
                let last = verdicts.last().copied();
                verdicts.push(number(&mut groups, last, fault, &[], hour, is_marked));
                if groups.len() > RUNS_MAX {
                    return Ok(Whole::Not(Encoded::TooLarge));
                }
            }
        }
    }
    let Some(first) = verdicts.first() else {
        return Ok(Whole::Push(None));
    };
    Ok(match verdicts.iter().all(|verdict| verdict == first) {
        true => match &groups[usize::from(*first)] {
            Group {
                fault: Some(fault), ..
            } => Whole::Not(Encoded::Rejected(fault)),
            group => Whole::Push(shard(rules, group)),
        },
        false => Whole::Not(apart(payload, &verdicts)?),
    })
}

/// Whether any resource in it has an odd label or, where that counts, is marked; one that cannot be read does not.
fn is_special(chunk: &Chunk, marks_count: bool) -> bool {
    let bytes = chunk.bytes();
    record::each(&bytes, Span::new(0, bytes.len()), 1)
        .any(|resource| has_odd_label(&bytes, resource) || (marks_count && is_marked(&bytes, resource)))
}

/// Attributes of resources that Loki makes labels of unless it is told otherwise.
const LABELS: [&str; 18] = [
    "cloud.availability_zone",
    "cloud.region",
    "container.name",
    "deployment.environment",
    "deployment.environment.name",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.cronjob.name",
    "k8s.daemonset.name",
    "k8s.deployment.name",
    "k8s.job.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "service.instance.id",
    "service.name",
    "service.namespace",
];

/// Whether one of its labels is no UTF-8: Loki (v3.7.6) drops all records of such a resource and says that it has them.
fn has_odd_label(bytes: &[u8], resource_logs: Span) -> bool {
    let resource = record::first(bytes, resource_logs, 1);
    record::each(bytes, resource, 1).any(|attr| {
        let value = record::first(bytes, attr, 2).of(bytes);
        std::str::from_utf8(value).is_err()
            && Value::new(value)
                .as_str()
                .is_some_and(|text| std::str::from_utf8(text).is_err())
            && LABELS
                .iter()
                .any(|label| label.as_bytes() == record::first(bytes, attr, 1).of(bytes))
    })
}

fn is_marked(bytes: &[u8], resource_logs: Span) -> bool {
    let resource = record::first(bytes, resource_logs, 1);
    record::each(bytes, resource, 1).any(|attr| record::first(bytes, attr, 1).of(bytes) == MARK)
}
