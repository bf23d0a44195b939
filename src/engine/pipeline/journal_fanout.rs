//! One write for all destinations that share a journal.
//!
//! Of a fan-out's branches those with a queue on disk are gathered by their journal. Room is set aside for all of them
//! or for none, before anything has moved; the record is written once, for all; then each queue is told. The answer is
//! that of the journal: safe, or refused in whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::{Outcome, Refusal};
use storage::Journal;
use storage::journal::{self, Head, Shortage};
use tokio::time::Instant;
use wire::{Context, Payload};

use super::edge::Target;
use crate::harness::config::Overflow;
use crate::harness::durable::{self, Appending, Durable, Label};
use crate::harness::keys::Keys;
use crate::harness::room::Sizer;
use crate::harness::verdict::Refused;
use crate::harness::{DurableLane, record, wait};

/// When to come again after the disk was full: it takes an operator or a delivery, not milliseconds.
const FULL: Duration = Duration::from_secs(2);
/// Most records that one request makes room with.
const DROPS_MAX: usize = 10_000;
/// What stands around a record's data at most, but for names.
const AROUND: usize = 256;

/// Branches with the same journal, and the room that is set aside for them.
pub(crate) struct Write<'a> {
    /// Place among the fan-out's branches, and the way in.
    members: Vec<(usize, &'a DurableLane)>,
    journal: Journal,
    prepared: Option<Prepared>,
}

struct Prepared {
    head: Head,
    header: Bytes,
    label: Label,
    room: journal::Room,
    _appending: Vec<Appending>,
}

/// The branches that end in queues on disk, by journal.
pub(crate) fn gather<'a>(targets: &[&'a Arc<Target>]) -> Result<Vec<Write<'a>>, Refusal> {
    let mut writes: Vec<Write<'a>> = Vec::new();
    for (branch, target) in targets.iter().enumerate() {
        let Some(lane) = target.durable() else { continue };
        let opened = lane.queue.opened().ok_or_else(not_open)?;
        match writes.iter_mut().find(|w| w.journal.is(&opened.journal)) {
            Some(write) => write.members.push((branch, lane)),
            None => writes.push(Write {
                members: vec![(branch, lane)],
                journal: opened.journal.clone(),
                prepared: None,
            }),
        }
    }
    Ok(writes)
}

/// The same for one branch by itself.
pub(crate) async fn alone(lane: &DurableLane, payload: Payload) -> Result<Outcome, Refused> {
    let opened = lane.queue.opened().ok_or_else(not_open)?;
    let mut write = Write {
        members: vec![(0, lane)],
        journal: opened.journal.clone(),
        prepared: None,
    };
    write.reserve(&payload).await?;
    write.append(payload).await
}

fn not_open() -> Refusal {
    Refusal::unavailable("the queue on disk is not open yet")
}

impl Write<'_> {
    /// Places of its members among the branches.
    pub(crate) fn branches(&self) -> impl Iterator<Item = usize> {
        self.members.iter().map(|(branch, _)| *branch)
    }

    fn queues(&self) -> impl Iterator<Item = &Arc<Durable>> {
        self.members.iter().map(|(_, lane)| &lane.queue)
    }

    /// Sets room aside in every destination, or in none.
    pub(crate) async fn reserve(&mut self, payload: &Payload) -> Result<(), Refusal> {
        let refused = match self.prepare(payload).await {
            Ok(prepared) => {
                self.prepared = Some(prepared);
                return Ok(());
            }
            Err(refused) => refused,
        };
        for (_, lane) in &self.members {
            let opened = lane.queue.opened();
            if opened.is_some_and(|o| refused.short.as_ref().is_none_or(|short| short.contains(&o.dest))) {
                lane.queue.refused(payload.items);
            }
        }
        Err(refused.refusal)
    }

    async fn prepare(&self, payload: &Payload) -> Result<Prepared, NoRoom> {
        let mut keys = Keys::default();
        let mut destinations = Vec::with_capacity(self.members.len());
        let mut appending = Vec::with_capacity(self.members.len());
        for (_, lane) in &self.members {
            lane.queue.hub.admits(&lane.policy, payload)?;
            let begun = lane.queue.appending();
            appending.push(begun.ok_or_else(|| Refusal::unavailable("the exporter has stopped"))?);
            keys.merge(&lane.queue.keys());
            destinations.extend(lane.queue.opened().map(|o| o.dest));
        }
        let batch = self.members.first().map_or("", |(_, lane)| &lane.batch);
        let header = record::header(payload, batch, &keys);
        let label = durable::label(payload, &keys);
        let len = header.len() + payload.len();
        self.check_size(payload, len + AROUND + label.as_ref().map_or(0, |l| l.len()))?;
        let head = Head {
            kind: payload.signal.index() as u8,
            items: u32::try_from(payload.items).unwrap_or(u32::MAX),
            tenant: label.clone(),
            destinations: destinations.into(),
        };
        let until = wait::until(&payload.context, Instant::now());
        let mut drops = 0;
        let room = loop {
            let more = self.journal.room();
            let shortage = match self.journal.reserve(&head, len) {
                Ok(room) => break room,
                Err(shortage) => shortage,
            };
            let is_short = |queue: &Arc<Durable>| match &shortage {
                Shortage::Journal => true,
                Shortage::Destinations(ids) => queue.opened().is_some_and(|o| ids.contains(&o.dest)),
            };
            let refuses = |queue: &Arc<Durable>| {
                let bounds = queue.bounds();
                bounds.overflow == Overflow::Refuse && !bounds.block
            };
            // Nothing is dropped for one while another one refuses all the same.
            if shortage != Shortage::Journal && self.queues().filter(|q| is_short(q)).any(refuses) {
                return Err(NoRoom::of(shortage));
            }
            let mut dropped = false;
            for queue in self.queues().filter(|q| is_short(q)) {
                let drops_oldest = queue.bounds().overflow == Overflow::DropOldest;
                if drops_oldest && drops < DROPS_MAX && queue.drop_oldest().await {
                    (dropped, drops) = (true, drops + 1);
                }
            }
            if dropped {
                continue;
            }
            let mut short = self.queues().filter(|q| is_short(q));
            if Instant::now() >= until || !short.all(|q| q.bounds().block) {
                return Err(NoRoom::of(shortage));
            }
            let _ = tokio::time::timeout_at(until, more).await;
        };
        Ok(Prepared {
            head,
            header,
            label,
            room,
            _appending: appending,
        })
    }

    /// What is larger than a whole queue will never find room.
    fn check_size(&self, payload: &Payload, record_len: usize) -> Result<(), Refusal> {
        for queue in self.queues() {
            let bounds = queue.bounds();
            let units = match bounds.sizer {
                Sizer::Requests => 1,
                Sizer::Items => payload.items,
                Sizer::Bytes => record_len,
            };
            if units > bounds.size {
                return Err(Refusal::Invalid(format!(
                    "element size too large: {units} in a queue of {}; send less at once or raise queue_size",
                    bounds.size
                )));
            }
        }
        match self.journal.bytes_max() {
            Some(max) if record_len as u64 > max => Err(Refusal::Invalid(format!(
                "element size too large: {record_len} bytes in a storage of {max}; send less at once or raise max_size"
            ))),
            _ => Ok(()),
        }
    }

    /// Writes the record, and tells each queue once it is safe.
    pub(crate) async fn append(mut self, payload: Payload) -> Result<Outcome, Refused> {
        let Some(prepared) = self.prepared.take() else {
            return Err(Refusal::unavailable("no room was set aside").into());
        };
        let bytes = prepared.room.bytes() as usize;
        let mut data = Vec::with_capacity(1 + payload.chunks.len());
        data.push(prepared.header);
        data.extend(payload.parts().cloned());
        let appended = self.journal.append(prepared.head, data, prepared.room).await;
        let seq = appended.map_err(refusal)?;
        let payload = as_read(payload);
        for (_, lane) in &self.members {
            let mut copy = payload.clone();
            let keys = lane.queue.keys();
            let kept = keys.pick(&payload.context);
            copy.context = Arc::new(Context {
                metadata: kept
                    .map(|(name, values)| (name.to_owned(), values.to_vec()))
                    .collect(),
                ..Context::default()
            });
            lane.queue.arrive(&lane.policy, seq, &prepared.label, bytes, copy);
        }
        Ok(Outcome::all())
    }
}

/// As it would be read from the disk: chunks know their places, and one form of them is kept.
fn as_read(mut payload: Payload) -> Payload {
    payload.detach();
    let mut first = 0u32;
    for chunk in &mut payload.chunks {
        chunk.origin.first = first;
        first = first.saturating_add(chunk.shape.items);
    }
    payload
}

/// Refused, and who was short of room; `None` = all.
struct NoRoom {
    refusal: Refusal,
    short: Option<Vec<journal::DestId>>,
}

impl NoRoom {
    fn of(shortage: Shortage) -> NoRoom {
        match shortage {
            Shortage::Destinations(short) => NoRoom {
                refusal: Refusal::Busy { retry_after: None },
                short: Some(short),
            },
            Shortage::Journal => NoRoom {
                refusal: Refusal::Busy {
                    retry_after: Some(FULL),
                },
                short: None,
            },
        }
    }
}

impl From<Refusal> for NoRoom {
    fn from(refusal: Refusal) -> NoRoom {
        NoRoom { refusal, short: None }
    }
}

/// What the caller is told of an error of the disk. Nothing was taken.
fn refusal(error: journal::Error) -> Refusal {
    match error {
        journal::Error::Full => Refusal::Busy {
            retry_after: Some(FULL),
        },
        journal::Error::TooLarge { .. } => Refusal::Invalid(error.to_string()),
        error => Refusal::unavailable(format!("cannot write to the storage: {error}")),
    }
}
