//! The trail of what the gateway does itself: who started it with what, who was let in and who was not, what was
//! dropped, who gave orders. Told by those that do it ([`component::Audit`]), chained ([`evidence::audit`]), and sent as
//! OTLP logs through the reserved pipeline `logs/audit`, which is like any other behind its receiver.
//!
//! ```text
//! tell -> chain -> waiting here -> journal of the storage, if there is one -> pipeline
//! ```
//!
//! Nobody waits who tells. What waits is bounded; while there is no room the trail is *full*, admin orders are refused
//! and, with `fail_closed`, data. What could not be kept is counted, and said in the chain once there is room. The chain
//! begins anew with each process.

mod acts;
mod books;
mod certs;
mod changes;
mod crowd;
mod flow;
pub(crate) mod keys;
mod source;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use component::audit::{Act, Attempt, Audit, Ended};
use component::{BoxFuture, Consumer, Memory, StopSwitch};
use evidence::audit as chain;
use evidence::digest::sha256;
use evidence::time::Time;
use parking_lot::Mutex;
use telemetry::otlp::{self, Event};
use telemetry::resource::Value;
use telemetry::{Resource, Telemetry, names};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info};

pub(super) use acts::{Origin, admin_call, disabled, loaded, rejected, reloaded, started, stopped};
use certs::Certs;
pub(super) use changes::{changes, text_of};
use crowd::Crowd;
use flow::Store;
use keys::Wanted;

const SCOPE: &str = "weir.audit";
/// Of what records refer to, and which is in no chain.
const EVIDENCE: &str = "weir.evidence";
/// A configuration that is longer is not kept.
const TEXT_MAX: usize = 1 << 20;
/// What may wait in memory; with a journal only until that has it.
const WAITING_MAX: usize = 4 << 20;
/// For records to leave before the pipelines stop.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// One per service.
pub(super) struct Trail {
    telemetry: Telemetry,
    memory: Arc<Memory>,
    is_on: AtomicBool,
    is_full: AtomicBool,
    fail_closed: AtomicBool,
    state: Mutex<State>,
    crowd: Mutex<Crowd>,
    watched: Mutex<books::Watched>,
    certs: Mutex<Certs>,
    /// Told when something moves.
    moved: watch::Sender<()>,
    /// Held while a payload is under way.
    sending: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    chain: chain::Trail,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Records that ever waited.
    count: u64,
    /// Acts that found no room.
    lost: u64,
    /// The newest record that is safe.
    head: Option<(u64, [u8; 32])>,
    resource: Resource,
    next: Option<Arc<dyn Consumer>>,
    store: Option<Arc<Store>>,
    /// Why the journal takes nothing.
    trouble: Option<String>,
    /// Nothing is told any more.
    is_over: bool,
    switch: Option<StopSwitch>,
}

impl State {
    fn push(&mut self, bytes: Vec<u8>, head: Option<(u64, [u8; 32])>) {
        self.waiting_bytes += bytes.len();
        self.count += 1;
        self.waiting.push_back(Waiting {
            n: self.count,
            head,
            bytes: bytes.into(),
        });
    }
}

/// A record on its way.
#[derive(Clone)]
struct Waiting {
    /// Its place among all that ever waited.
    n: u64,
    /// Its number and hash in the chain, if it is in it.
    head: Option<(u64, [u8; 32])>,
    /// As a whole request.
    bytes: Bytes,
}

impl Trail {
    pub(super) fn new(telemetry: &Telemetry, memory: &Arc<Memory>) -> Arc<Trail> {
        Arc::new(Trail {
            telemetry: telemetry.clone(),
            memory: memory.clone(),
            is_on: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            fail_closed: AtomicBool::new(false),
            state: Mutex::default(),
            crowd: Mutex::default(),
            watched: Mutex::default(),
            certs: Mutex::default(),
            moved: watch::Sender::new(()),
            sending: tokio::sync::Mutex::default(),
        })
    }

    /// Whether acts are recorded.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Whether the trail can take nothing: who gives orders must wait.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Relaxed)
    }

    /// Is as the configuration wants it from now on. The answer: whether it was off and is on now.
    pub(super) fn want(&self, wanted: &Wanted) -> bool {
        self.fail_closed.store(wanted.fail_closed, Relaxed);
        if wanted.is_on {
            self.state.lock().resource = resource(wanted.writer.as_deref());
            self.certs.lock().want(&wanted.certs);
        }
        let was_on = self.is_on.swap(wanted.is_on, Relaxed);
        self.judge(&self.state.lock());
        wanted.is_on && !was_on
    }

    /// The last record; then waits, but not for long, until all of them have left. Safe twice.
    pub(super) async fn finish(&self, last: Act, drain_max: Duration) {
        if !self.is_on() || self.state.lock().is_over {
            return;
        }
        self.tell_attempts(true);
        self.tell_books();
        self.tell(last);
        self.state.lock().is_over = true;
        let end = Instant::now() + FINISH_MAX.min(drain_max / 4);
        let mut moved = self.moved.subscribe();
        let gone = async {
            while !self.has_left() {
                moved.borrow_and_update();
                // The sender is ours.
                let _ = moved.changed().await;
            }
        };
        let left = tokio::time::timeout_at(end, gone).await.is_ok();
        let mut state = self.state.lock();
        if let Some(switch) = state.switch.take() {
            switch.stop();
        }
        let records = state.waiting.len();
        if !left && records > 0 {
            error!(
                records,
                "audit records could not be delivered, they end with this process"
            );
            self.count("lost", records as u64);
        }
    }

    fn has_left(&self) -> bool {
        let state = self.state.lock();
        let is_kept = state
            .store
            .as_ref()
            .is_none_or(|store| state.next.is_none() || store.is_empty());
        state.waiting.is_empty() && is_kept
    }

    /// What is to be said of those that tried to get in.
    fn tell_attempts(&self, all: bool) {
        let due = self.crowd.lock().due(Instant::now(), all);
        due.into_iter().for_each(|act| self.tell(act));
    }

    /// What ended since the last time.
    fn tell_books(&self) {
        let (ledger, metrics) = (&self.telemetry.ledger, &self.telemetry.metrics);
        let mut watched = self.watched.lock();
        let mut acts = watched.ended(ledger);
        acts.extend(watched.pressed(ledger, &books::queues(metrics), Instant::now()));
        drop(watched);
        acts.into_iter().for_each(|act| self.tell(act));
    }

    /// What is to be said of certificates.
    async fn tell_certs(&self) {
        let files = self.certs.lock().files();
        if files.is_empty() {
            return;
        }
        let read = move || {
            let found = files.into_iter().map(|path| {
                let found = certs::read(&path);
                (path, found)
            });
            Ok(found.collect::<Vec<_>>())
        };
        let found = crate::service::journals::blocking(read).await.unwrap_or_default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        for (path, found) in found {
            let acts = self.certs.lock().seen(&path, &found, now);
            acts.into_iter().for_each(|act| self.tell(act));
        }
    }

    /// What a start found in the books of earlier lives.
    pub(super) fn tell_carried(&self) {
        if self.is_on() {
            self.tell(books::carried(&self.telemetry.ledger));
        }
    }

    /// Whether there is room, after anything changed.
    fn judge(&self, state: &State) {
        let full = self.is_on() && (state.waiting_bytes >= WAITING_MAX || state.trouble.is_some());
        self.memory.shut_door(full && self.fail_closed.load(Relaxed));
        if self.is_full.swap(full, Relaxed) == full {
            return;
        }
        self.telemetry
            .metrics
            .gauge(names::AUDIT_FULL, Vec::new())
            .set(i64::from(full));
        match full {
            true => {
                let why = state.trouble.as_deref().unwrap_or("nobody takes its records");
                error!(error = why, "the audit trail is full: admin orders are refused");
            }
            false => info!("the audit trail has room again"),
        }
    }

    fn count(&self, outcome: &str, records: u64) {
        let labels = vec![("outcome", outcome.to_owned())];
        self.telemetry
            .metrics
            .counter(names::AUDIT_RECORDS, labels)
            .add(records);
    }

    /// Keeps a configuration's text beside the chain. Gives its digest, by which acts name it; none if it is not kept.
    pub(super) fn keep(&self, text: &str) -> Option<String> {
        let mut state = self.state.lock();
        let fits = text.len() <= TEXT_MAX && state.waiting_bytes < WAITING_MAX;
        if !self.is_on() || state.is_over || !fits {
            return None;
        }
        let sha256 = sha256(text.as_bytes()).to_string();
        let event = Event {
            scope: (EVIDENCE, crate::service::INFO.version),
            name: "weir.evidence.config".to_owned(),
            time: SystemTime::now(),
            severity: (9, "INFO"),
            body: text,
            attributes: vec![("weir.evidence.sha256", Value::Text(sha256.clone()))],
        };
        let bytes = otlp::event(&event, &state.resource);
        state.push(bytes, None);
        self.judge(&state);
        drop(state);
        self.moved.send_replace(());
        Some(sha256)
    }

    /// Makes a record of it.
    fn chain(&self, state: &mut State, act: &Act) {
        let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = millis.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let actor = chain::Actor {
            kind: act.actor.kind.to_owned(),
            id: act.actor.id.clone().into_owned(),
        };
        let made = state.chain.record(&chain::Act {
            t: Time::from_millis(millis),
            act: act.name,
            actor: &actor,
            out: match act.outcome {
                Ended::Success => chain::Out::Success,
                Ended::Failure => chain::Out::Failure,
                Ended::Denied => chain::Out::Denied,
            },
            obj: &act.object,
            d: &act.details,
        });
        match made {
            Ok(record) => {
                let bytes = encode(&record, act, millis, &state.resource);
                state.push(bytes, Some((record.seq, record.hash.0)));
            }
            // A map of texts and numbers always serializes.
            Err(error) => error!(%error, act = act.name, "an audit record cannot be written"),
        }
    }
}

impl Audit for Trail {
    fn tell(&self, act: Act) {
        if !self.is_on() {
            return;
        }
        let mut state = self.state.lock();
        if state.is_over {
            return;
        }
        if state.waiting_bytes >= WAITING_MAX {
            state.lost += 1;
            self.count("lost", 1);
        } else {
            if state.lost > 0 {
                let lost = std::mem::take(&mut state.lost);
                let gap = Act::new("audit.gap", "audit")
                    .ended(Ended::Failure)
                    .with("lost", lost);
                self.chain(&mut state, &gap);
            }
            self.chain(&mut state, &act);
        }
        self.judge(&state);
        drop(state);
        self.moved.send_replace(());
    }

    fn denied(&self, attempt: &Attempt<'_>, reason: &'static str) {
        if self.is_on() {
            self.crowd.lock().denied(attempt, reason, Instant::now());
        }
    }

    fn admitted(&self, attempt: &Attempt<'_>, principal: &str) {
        if self.is_on() {
            let act = self.crowd.lock().admitted(attempt, principal, Instant::now());
            if let Some(act) = act {
                self.tell(act);
            }
        }
    }

    fn head(&self) -> Option<(u64, [u8; 32])> {
        self.state.lock().head
    }

    fn connect(&self, next: Arc<dyn Consumer>) {
        self.state.lock().next = Some(next);
        self.moved.send_replace(());
    }

    fn disconnect<'a>(&'a self, next: &'a Arc<dyn Consumer>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            {
                let mut state = self.state.lock();
                if state.next.as_ref().is_some_and(|known| Arc::ptr_eq(known, next)) {
                    state.next = None;
                }
            }
            drop(self.sending.lock().await);
        })
    }
}

/// As whom the gateway speaks.
fn resource(writer: Option<&str>) -> Resource {
    let host = || acts::host_name();
    let writer = writer.map_or_else(host, str::to_owned);
    let text = |name: &str, value: String| (name.to_owned(), Value::Text(value));
    Resource {
        attributes: vec![
            text("service.name", "weir".to_owned()),
            text("service.instance.id", writer),
        ],
        schema_url: String::new(),
    }
}

/// A request with one record.
fn encode(record: &chain::Record, act: &Act, millis: i64, resource: &Resource) -> Vec<u8> {
    let (severity, out) = match act.outcome {
        Ended::Success => ((9, "INFO"), "success"),
        Ended::Denied => ((13, "WARN"), "denied"),
        Ended::Failure => ((17, "ERROR"), "failure"),
    };
    let text = |value: &str| Value::Text(value.to_owned());
    let event = Event {
        scope: (SCOPE, crate::service::INFO.version),
        name: format!("weir.audit.{}", act.name),
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default()),
        severity,
        body: &record.body,
        attributes: vec![
            (
                "weir.audit.seq",
                Value::Int(i64::try_from(record.seq).unwrap_or(i64::MAX)),
            ),
            ("weir.audit.prev", text(&record.prev.to_string())),
            ("weir.audit.hash", text(&record.hash.to_string())),
            ("weir.audit.act", text(act.name)),
            ("weir.audit.out", text(out)),
            ("weir.audit.actor.id", text(&act.actor.id)),
        ],
    };
    otlp::event(&event, resource)
}

#[cfg(test)]
mod tests;
