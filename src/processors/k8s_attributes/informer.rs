//! Keeps the table like the cluster: one list of all objects of a kind, then a watch of what changes.
//!
//! A watch that ends is taken up where it was; one whose version is too old (410) begins with a new list, by which what
//! is gone meanwhile is noticed. Whatever fails is tried again, ever more slowly, up to half a minute. How it is goes to
//! the log where it changes.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use super::access::Access;
use super::meters::{Change, Meters};
use super::object::{self, Event, Kind, Object};
use super::table::Table;

/// Objects asked for at once.
const PAGE: usize = 500;
/// Pages of one list.
const PAGES_MAX: usize = 2_000;
/// One line of a watch: one object, of which the server takes at most 1.5 MiB.
const LINE_BYTES_MAX: usize = 8 << 20;
/// The server is asked to end a watch after this and up to twice as long.
const WATCH_TIME: Duration = Duration::from_secs(300);
const RETRY_FIRST: Duration = Duration::from_millis(800);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// One kind of object, kept like the cluster.
pub(super) struct Informer {
    pub(super) kind: Kind,
    /// Namespace that is asked, empty = all.
    pub(super) namespace: String,
    pub(super) label_selector: String,
    pub(super) field_selector: String,
    pub(super) access: Arc<Access>,
    pub(super) table: Arc<Table>,
    pub(super) meters: Arc<Meters>,
    /// Told when everything was listed once.
    pub(super) synced: watch::Sender<bool>,
    /// Told what is wrong; none = all is well.
    pub(super) health: watch::Sender<Option<String>>,
}

/// What is known by uid, of what the table has taken.
struct Known {
    name: String,
    version: String,
}

/// How a watch ended.
enum End {
    /// Take it up again at the version reached.
    Over,
    /// Begin with a list.
    TooOld,
    /// Try again later.
    Failed(String),
}

struct State {
    known: HashMap<String, Known>,
    /// Version up to which everything was seen.
    version: String,
    pause: Duration,
}

impl Informer {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let mut state = State {
            known: HashMap::new(),
            version: String::new(),
            pause: RETRY_FIRST,
        };
        loop {
            match self.list(&mut state).await {
                Ok(()) => {
                    self.is_well(&mut state);
                    self.synced.send_replace(true);
                    self.follow(&mut state).await;
                }
                Err(error) => self.is_unwell(&mut state, error).await,
            }
        }
    }

    /// Watches until a new list is needed.
    async fn follow(&self, state: &mut State) {
        loop {
            let began = Instant::now();
            match self.watch(state).await {
                End::TooOld => return debug!(kind = ?self.kind, "the watch is too old, listing again"),
                // A server that ends every watch at once is not asked in a loop.
                End::Over if began.elapsed() < RETRY_FIRST => sleep(RETRY_FIRST).await,
                End::Over => {}
                End::Failed(error) => self.is_unwell(state, error).await,
            }
        }
    }

    fn is_well(&self, state: &mut State) {
        state.pause = RETRY_FIRST;
        if self.health.send_replace(None).is_some() {
            info!(kind = ?self.kind, "the kubernetes API answers again");
        }
    }

    async fn is_unwell(&self, state: &mut State, error: String) {
        let is_news = self.health.borrow().as_ref() != Some(&error);
        if is_news {
            warn!(kind = ?self.kind, error, "the kubernetes API cannot be asked, will retry");
            self.health.send_replace(Some(error));
        }
        // Between half and all of the pause: many gateways do not come back at once.
        let random = RandomState::new().hash_one(0u8) % 500;
        sleep(state.pause.mul_f64(0.5 + random as f64 / 1000.0)).await;
        state.pause = (state.pause * 2).min(RETRY_MAX);
    }

    fn path(&self, more: &[(&str, &str)]) -> String {
        let mut path = self.kind.path(&self.namespace);
        let selectors = [
            ("labelSelector", self.label_selector.as_str()),
            ("fieldSelector", self.field_selector.as_str()),
        ];
        let given = selectors
            .iter()
            .chain(more)
            .filter(|(_, value)| !value.is_empty());
        for (i, (key, value)) in given.enumerate() {
            path.push(if i == 0 { '?' } else { '&' });
            path.push_str(key);
            path.push('=');
            for byte in value.bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        path.push(byte as char)
                    }
                    other => path.push_str(&format!("%{other:02X}")),
                }
            }
        }
        path
    }

    /// Lists everything; what was known and is not listed is gone.
    async fn list(&self, state: &mut State) -> Result<(), String> {
        let mut listed: HashMap<String, Known> = HashMap::new();
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let limit = PAGE.to_string();
            let path = self.path(&[("limit", &limit), ("continue", &next)]);
            let reply = self.access.get(self.kind, &path).await?;
            if reply.status != StatusCode::OK {
                return Err(refused(reply.status, &reply.body));
            }
            let (meta, objects) = object::page(self.kind, &reply.body).map_err(|e| unreadable(&e))?;
            for object in objects {
                let (uid, known) = known_of(&object);
                let taken = match state.known.get(&uid) {
                    Some(old) if old.version == known.version => true,
                    old => self.put(object, old.is_none()),
                };
                if taken {
                    listed.insert(uid, known);
                } else {
                    state.known.remove(&uid);
                }
            }
            state.version = meta.resource_version;
            next = meta.r#continue;
            if next.is_empty() {
                break;
            }
        }
        if !next.is_empty() {
            return Err("the list has no end".into());
        }
        for (uid, gone) in std::mem::take(&mut state.known) {
            if !listed.contains_key(&uid) {
                self.remove(&uid, &gone.name);
            }
        }
        state.known = listed;
        self.meters.table(self.table.len());
        Ok(())
    }

    /// Takes what changes, from the version reached on.
    async fn watch(&self, state: &mut State) -> End {
        let random = RandomState::new().hash_one(1u8) % WATCH_TIME.as_secs();
        let seconds = WATCH_TIME.as_secs() + random;
        // The server ends it in time; a connection that is dead without a word is noticed a little later.
        let end = Instant::now() + Duration::from_secs(seconds + 30);
        let path = self.path(&[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", &state.version),
            ("timeoutSeconds", &seconds.to_string()),
        ]);
        let mut stream = match self.access.open(self.kind, &path).await {
            Ok(stream) => stream,
            Err(error) => return End::Failed(error),
        };
        if stream.status == StatusCode::GONE {
            return End::TooOld;
        }
        if stream.status != StatusCode::OK {
            let body = timeout_at(end, stream.next()).await.ok().flatten();
            let body = body.and_then(Result::ok).unwrap_or_default();
            return End::Failed(refused(stream.status, &body));
        }
        self.is_well(state);
        let mut line = Vec::new();
        loop {
            // A connection that breaks is taken up again like one that ends; if it cannot be, that fails.
            let Ok(Some(Ok(piece))) = timeout_at(end, stream.next()).await else {
                return End::Over;
            };
            let mut rest = &piece[..];
            while let Some(at) = memchr::memchr(b'\n', rest) {
                line.extend_from_slice(&rest[..at]);
                rest = &rest[at + 1..];
                let end = match line.is_empty() {
                    true => None,
                    false => self.take(&line, state),
                };
                line.clear();
                if let Some(end) = end {
                    return end;
                }
            }
            line.extend_from_slice(rest);
            if line.len() > LINE_BYTES_MAX {
                return End::Failed(format!("an object is larger than {LINE_BYTES_MAX} bytes"));
            }
        }
    }

    /// One event; `Some` if it was the last.
    fn take(&self, line: &[u8], state: &mut State) -> Option<End> {
        match object::event(self.kind, line) {
            Ok(Event::Added(object) | Event::Modified(object)) => {
                let (uid, known) = known_of(&object);
                state.version.clone_from(&known.version);
                let is_new = !state.known.contains_key(&uid);
                match self.put(object, is_new) {
                    true => drop(state.known.insert(uid, known)),
                    false => drop(state.known.remove(&uid)),
                }
            }
            Ok(Event::Deleted(object)) => {
                let (uid, known) = known_of(&object);
                if state.known.remove(&uid).is_some() {
                    self.remove(&uid, &known.name);
                }
                state.version = known.version;
            }
            Ok(Event::Bookmark(version)) => state.version = version,
            Ok(Event::Error(failure)) if failure.code == 410 => return Some(End::TooOld),
            Ok(Event::Error(failure)) => return Some(End::Failed(failure.message)),
            // What is not understood is not passed over: the list says how things are.
            Err(error) => {
                debug!(kind = ?self.kind, %error, "an event cannot be read, listing again");
                return Some(End::TooOld);
            }
        }
        self.meters.table(self.table.len());
        None
    }

    /// False if there is no room for it; what is listed again then finds it new.
    fn put(&self, object: Object, is_new: bool) -> bool {
        let taken = self.table.put(self.kind, object, is_new);
        match (taken, is_new) {
            (true, true) => self.meters.changed(self.kind, Change::Added),
            (true, false) => self.meters.changed(self.kind, Change::Updated),
            (false, true) => {}
            (false, false) => self.meters.changed(self.kind, Change::Deleted),
        }
        taken
    }

    fn remove(&self, uid: &str, name: &str) {
        self.meters.changed(self.kind, Change::Deleted);
        self.table.remove(self.kind, uid, name);
    }
}

fn known_of(object: &Object) -> (String, Known) {
    let meta = &object.metadata;
    let known = Known {
        name: meta.name.clone(),
        version: meta.resource_version.clone(),
    };
    (meta.uid.clone(), known)
}

/// In the server's words: `403 Forbidden: pods is forbidden: ...`.
fn refused(status: StatusCode, body: &[u8]) -> String {
    let failure: object::Failure = serde_json::from_slice(body).unwrap_or_default();
    match failure.message.as_str() {
        "" => status.to_string(),
        message => format!("{status}: {message}"),
    }
}

fn unreadable(error: &serde_json::Error) -> String {
    format!("the answer is no list of objects: {error}")
}
