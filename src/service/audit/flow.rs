//! The way of a record: from the memory into the journal, and from there (or from the memory) into the pipeline.
//!
//! One task writes, one sends, one looks at the clock. A record leaves its place once the next one has it: so that it
//! may come twice, after a crash or where one of several exporters refused, and its number tells.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::template::OWN_TENANT;
use component::{Consumer, Refusal, Stop};
use config::ComponentId;
use storage::Journal;
use storage::journal::{DestId, Head, Quota, Seq, Turn};
use telemetry::ledger::Report;
use telemetry::{Column, Place};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, warn};
use wire::{Chunk, Context, Payload, Shape, Signal};

use super::Trail;
use crate::service::journals::{AUDIT, blocking};

/// What a journal keeps for the trail at most.
const QUOTA: u64 = 64 << 20;
/// Records that are sent together.
const BATCH_MAX: usize = 64;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often the clock is looked at, and the books.
const TICK: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(60);
const SNAPSHOTS: Duration = Duration::from_secs(3600);
/// So often the books are read before a law counts as broken.
const READINGS: usize = 20;
const BETWEEN_READINGS: Duration = Duration::from_millis(50);

/// A journal, and the trail's place in it.
pub(super) struct Store {
    id: ComponentId,
    journal: Journal,
    destination: DestId,
    /// Nobody else reads it meanwhile.
    _turn: Turn,
}

impl Store {
    /// Errors: in words.
    async fn open(id: ComponentId, journal: Journal) -> Result<Store, String> {
        let opening = journal.clone();
        let quota = Quota {
            bytes: Some(QUOTA),
            ..Quota::default()
        };
        let made = move || opening.destination(AUDIT, quota).map_err(|e| e.to_string());
        let destination = blocking(made).await?;
        let turn = journal.turn(destination).await;
        Ok(Store {
            id,
            journal,
            destination,
            _turn: turn,
        })
    }

    /// Whether everything in it was delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.journal.oldest(self.destination, 1).is_empty()
    }

    /// Why nothing was written, in words.
    async fn append(&self, bytes: Bytes) -> Result<(), String> {
        let head = Head {
            kind: Signal::Logs.index() as u8,
            items: 1,
            tenant: Some(OWN_TENANT.into()),
            destinations: [self.destination].into(),
        };
        let room = self.journal.reserve(&head, bytes.len());
        let room = room.map_err(|_| format!("{} has no room for it", self.id))?;
        let written = self.journal.append(head, vec![bytes], room).await;
        written.map(|_| ()).map_err(|e| format!("{}: {e}", self.id))
    }
}

/// Records that are sent together, and where they came from.
#[derive(Default)]
struct Batch {
    records: Vec<Bytes>,
    /// With a journal, and which.
    seqs: Vec<Seq>,
    store: Option<Arc<Store>>,
    /// Without: the last of them.
    last: Option<u64>,
}

impl Trail {
    /// Begins to keep records and to send them. Errors: the storage, in words.
    pub(in crate::service) async fn open(
        self: &Arc<Self>,
        storage: Option<(ComponentId, Option<Journal>)>,
    ) -> Result<(), String> {
        let store = match storage {
            None => None,
            Some((id, None)) => return Err(format!("service::audit: {id} is no storage")),
            Some((id, Some(journal))) => {
                let known = self.state.lock().store.clone();
                match known.filter(|known| known.journal.is(&journal)) {
                    Some(known) => Some(known),
                    None => Some(Arc::new(Store::open(id, journal).await?)),
                }
            }
        };
        let mut state = self.state.lock();
        state.store = store;
        state.trouble = None;
        self.judge(&state);
        if state.switch.is_none() && !state.is_over {
            let (switch, stop) = Stop::new();
            state.switch = Some(switch);
            tokio::spawn(self.clone().write(stop.clone()));
            tokio::spawn(self.clone().send(stop.clone()));
            tokio::spawn(self.clone().watch(stop));
        }
        drop(state);
        self.moved.send_replace(());
        Ok(())
    }

    /// Into the journal, one after another.
    async fn write(self: Arc<Self>, mut stop: Stop) {
        let mut moved = self.moved.subscribe();
        while !stop.is_stopped() {
            moved.borrow_and_update();
            let found = {
                let state = self.state.lock();
                let front = state.waiting.front().cloned();
                front.zip(state.store.clone())
            };
            let Some((front, store)) = found else {
                tokio::select! {
                    _ = moved.changed() => {}
                    () = stop.stopped() => {}
                }
                continue;
            };
            match store.append(front.bytes).await {
                Ok(()) => self.safe(front.n),
                Err(trouble) => {
                    {
                        let mut state = self.state.lock();
                        state.trouble = Some(trouble);
                        self.judge(&state);
                    }
                    self.moved.send_replace(());
                    tokio::select! {
                        () = tokio::time::sleep(TICK) => {}
                        () = stop.stopped() => {}
                    }
                }
            }
        }
    }

    /// Those that waited, up to this one, are somebody else's now.
    fn safe(&self, last: u64) {
        let mut state = self.state.lock();
        while let Some(record) = state.waiting.pop_front_if(|record| record.n <= last) {
            state.waiting_bytes -= record.bytes.len();
            state.head = record.head.or(state.head);
        }
        state.trouble = None;
        self.judge(&state);
        drop(state);
        self.moved.send_replace(());
    }

    /// Into the pipeline.
    async fn send(self: Arc<Self>, mut stop: Stop) {
        let place = Place::Door {
            receiver: super::keys::SOURCE.to_owned(),
            transport: "internal",
        };
        let row = self.telemetry.ledger.row(place, Signal::Logs);
        let mut moved = self.moved.subscribe();
        let mut pause = PAUSE_MIN;
        while !stop.is_stopped() {
            moved.borrow_and_update();
            let is_connected = self.state.lock().next.is_some();
            let batch = match is_connected {
                true => self.batch().await,
                false => Batch::default(),
            };
            if batch.records.is_empty() {
                tokio::select! {
                    _ = moved.changed() => {}
                    () = stop.stopped() => {}
                }
                continue;
            }
            let refusal = {
                let _one = self.sending.lock().await;
                let Some(next) = self.state.lock().next.clone() else {
                    continue;
                };
                let payload = payload(&batch.records);
                row.add(Column::Offered, &payload);
                let refusal = offer(next, payload.clone()).await;
                let column = match &refusal {
                    None => Column::Accepted,
                    Some(_) => Column::Refused,
                };
                row.add(column, &payload);
                refusal
            };
            match refusal {
                Some(refusal) if refusal.is_retryable() => {
                    if pause == PAUSE_MIN {
                        warn!(
                            error = refusal.message(),
                            "audit records are not taken, goes on trying"
                        );
                    }
                    tokio::select! {
                        () = tokio::time::sleep(refusal.retry_after().unwrap_or(pause).min(PAUSE_MAX)) => {}
                        () = stop.stopped() => {}
                    }
                    pause = PAUSE_MAX.min(pause * 2);
                    continue;
                }
                Some(refusal) => {
                    let records = batch.records.len();
                    error!(
                        records,
                        error = refusal.message(),
                        "audit records are refused for good"
                    );
                    self.count("rejected", records as u64);
                }
                None => self.count("delivered", batch.records.len() as u64),
            }
            pause = PAUSE_MIN;
            self.sent(&batch);
        }
    }

    /// The oldest records that are to be sent.
    async fn batch(&self) -> Batch {
        let store = {
            let state = self.state.lock();
            match &state.store {
                Some(store) => store.clone(),
                None => {
                    let first = || state.waiting.iter().take(BATCH_MAX);
                    return Batch {
                        records: first().map(|record| record.bytes.clone()).collect(),
                        last: first().last().map(|record| record.n),
                        ..Batch::default()
                    };
                }
            }
        };
        let read = move || {
            let mut batch = Batch::default();
            for owed in store.journal.oldest(store.destination, BATCH_MAX) {
                match store.journal.read(owed.seq) {
                    Ok(bytes) => {
                        batch.records.push(bytes);
                        batch.seqs.push(owed.seq);
                    }
                    Err(error) => {
                        error!(%error, storage = %store.id, "an audit record cannot be read and is given up");
                        store.journal.complete(owed.seq, store.destination, 0..1);
                    }
                }
            }
            batch.store = Some(store);
            Ok(batch)
        };
        blocking(read).await.unwrap_or_else(|error| {
            error!(error, "audit records could not be read");
            Batch::default()
        })
    }

    fn sent(&self, batch: &Batch) {
        if let Some(last) = batch.last {
            return self.safe(last);
        }
        // Another one may have been opened meanwhile.
        if let Some(store) = &batch.store {
            for seq in &batch.seqs {
                store.journal.complete(*seq, store.destination, 0..1);
            }
        }
        self.moved.send_replace(());
    }

    /// What is told because time went by.
    async fn watch(self: Arc<Self>, mut stop: Stop) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looked, mut taken) = (Instant::now(), Instant::now());
        self.tell_certs().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.stopped() => return,
            }
            self.tell_attempts(false);
            if looked.elapsed() >= INTERVAL {
                looked = Instant::now();
                self.tell_books();
                self.tell_certs().await;
                let ledger = &self.telemetry.ledger;
                let report = Report::watched(ledger, READINGS, || tokio::time::sleep(BETWEEN_READINGS)).await;
                let acts = self.watched.lock().unbalanced(&report.faults);
                acts.into_iter()
                    .for_each(|act| component::Audit::tell(&*self, act));
            }
            if taken.elapsed() >= SNAPSHOTS {
                taken = Instant::now();
                let act = super::books::snapshot(&self.telemetry.metrics, &self.telemetry.ledger);
                component::Audit::tell(&*self, act);
            }
        }
    }
}

/// Why not, if it was not taken. In a task of its own: a panic there is a refusal, and nobody ends it half way.
async fn offer(next: Arc<dyn Consumer>, payload: Payload) -> Option<Refusal> {
    match tokio::spawn(async move { next.consume(payload).await }).await {
        Ok(answer) => answer.err(),
        Err(_) => Some(Refusal::unavailable("internal error")),
    }
}

fn payload(records: &[Bytes]) -> Payload {
    let context = Context {
        receiver: Some(super::keys::SOURCE.into()),
        ..Context::default()
    };
    let chunks = records.iter().map(|bytes| {
        let shape = Shape {
            items: 1,
            ..Shape::default()
        };
        let mut chunk = Chunk::new(bytes.clone(), shape);
        chunk.origin.tenant = Some(OWN_TENANT.into());
        chunk
    });
    let mut payload = Payload {
        signal: Signal::Logs,
        chunks: Vec::new(),
        items: 0,
        context: Arc::new(context),
    };
    chunks.for_each(|chunk| payload.push(chunk));
    payload
}
