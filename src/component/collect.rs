//! Exporters that gather: what they take becomes part of objects that are finished much later, in any order.
//!
//! ```text
//! start(debts) -> append(payload, receipt) ... -> claim -> (the object is put) -> complete -> ... seal -> stop
//! ```
//!
//! Queue (memory or journal) and books stay with the harness; of the harness's blocks batch, retry and timeout are not
//! used. What is taken is *owed* until [`Debts::complete`] says that it is safe: with a journal it comes again after a
//! restart, whole or the pieces of it that are still owed. A record belongs to several objects where it is cut into
//! *pieces*: the collector cuts, by rules of its own, and numbers them from 0.

use std::sync::Arc;
use std::time::SystemTime;

pub use storage::journal::{Claim, Error as StoreError, Run, Seq, Set};
use tokio::time::Instant;
use wire::{Payload, Signal};

use crate::{BoxFuture, Fault, Host, Refusal};

/// Gathers payloads into objects of its own. One object serves all signals of its id.
pub trait Collect: Send + Sync {
    /// Opens what it needs, before the first `append`; `debts` has one for each signal that comes.
    ///
    /// There is never a second one of its id that was started: after a reload `start` comes when the predecessor's `stop`
    /// has returned, and an error is then a permanent error of the component. At the start of the gateway it ends that.
    fn start<'a>(
        &'a self,
        host: Arc<dyn Host>,
        debts: Vec<Arc<dyn Debts>>,
    ) -> BoxFuture<'a, Result<(), Fault>>;

    /// Takes a payload: one record of the journal, or what is owed of one, or one request of the memory queue. Ready when
    /// its bytes are held here; waits while there is no room.
    ///
    /// Called for one payload of a signal at a time, in the order of [`Receipt::seq`] except for what comes again after
    /// [`Debts::release`]. An error means that nothing was taken: one that is
    /// [retryable](Refusal::is_retryable) is asked again, another one is booked as failed and completed. Dropped while it
    /// waits, it has taken nothing.
    fn append(&self, payload: Payload, receipt: Receipt) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Rolls what is open; returns when that is under way. What it becomes is told by [`Debts::complete`].
    fn seal(&self, why: Seal) -> BoxFuture<'_, ()>;

    /// Rolls everything, and puts what it can until the deadline; then closes. What is not complete stays owed: in the
    /// journal until the next start, without one it is lost and booked so. Nothing is appended any more. Safe without
    /// `start`, and twice.
    fn stop(&self, deadline: Instant) -> BoxFuture<'_, ()>;

    /// Keys of client metadata that it reads: what waits on disk keeps them.
    fn context_keys(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a collector rolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Somebody asked for it.
    Flush,
    /// Another configuration takes over: what is owed is for the successor, or for [`Collect::stop`].
    HandOver,
}

/// What comes with a payload: which record it is, and what of that record it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Number of the record in its journal ([`Debts::journal`]); without a journal, of the request since the start.
    pub seq: Seq,
    /// When it came to this queue: of a journal when it was written there, in milliseconds since 1970. The same at each
    /// replay.
    pub admitted_ms: u64,
    /// Which pieces are owed. The payload is the whole record all the same, for only its collector can cut it.
    pub owed: Pieces,
    /// Name of the rules by which the record was cut before ([`Claim::rules`]); it must be cut by them again. `None` if no
    /// piece of it is claimed or complete: then the present rules hold.
    pub rules: Option<Arc<str>>,
}

impl Receipt {
    /// When it came to this queue.
    pub fn admitted(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(self.admitted_ms)
    }
}

/// Pieces of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// All, however many it has.
    All,
    /// Of so many, these: in rising order, at least one.
    Some {
        /// How many it has in all.
        of: u32,
        /// Which of them.
        pieces: Vec<u32>,
    },
}

impl Pieces {
    /// Whether this one is among them.
    pub fn contains(&self, piece: u32) -> bool {
        match self {
            Pieces::All => true,
            Pieces::Some { pieces, .. } => pieces.binary_search(&piece).is_ok(),
        }
    }

    /// Those that are not among `others`, of a record that has `of`; none if all are.
    pub fn without(&self, others: &[u32], of: u32) -> Option<Pieces> {
        let is_left = |piece: &u32| self.contains(*piece) && others.binary_search(piece).is_err();
        let pieces: Vec<u32> = (0..of).filter(is_left).collect();
        (!pieces.is_empty()).then_some(Pieces::Some { of, pieces })
    }
}

/// What a collector says of one signal's debts, and what it finds of what it said before.
///
/// A set names records by [`Receipt::seq`]; a record of one piece is added whole. Claims and completions lie in the
/// journal's side log: each call returns when it is safe against a power failure, calls that come together share a sync,
/// and each may be repeated. After an error it may or may not have happened: repeat it. Without a journal claims are not
/// kept, a release brings nothing back, and completing only moves the books.
pub trait Debts: Send + Sync {
    /// Whose they are.
    fn signal(&self) -> Signal;

    /// The journal that has the records; a new journal has a new number. `None`: a memory queue, or none.
    fn journal(&self) -> Option<u128>;

    /// Claims that were neither released nor completed, in the order of their tokens.
    fn claims(&self) -> Vec<Claim>;

    /// Claims pieces for an object: they are not appended again, after a restart neither. Frees nothing. A claim with the
    /// token of another one takes its place.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Takes a claim back. What is still owed of it, and in no other claim, is appended again.
    fn release<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// These pieces are done with, and so is the claim of this token, if there is one. Books them by what is known of the
    /// records here. What is not owed is passed over, so that
    /// twice is as once.
    fn complete<'a>(
        &'a self,
        token: &'a str,
        set: &'a Set,
        how: Ending<'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Keeps a small text under a name, such as that of rules; an empty one takes it away. Names have up to 256 bytes,
    /// texts up to 64 KiB.
    fn note<'a>(&'a self, name: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// All that was noted, by name.
    fn notes(&self) -> Vec<(String, String)>;
}

/// How what was owed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<'a> {
    /// It lies where it belongs: booked as out.
    Stored,
    /// It cannot be kept, for this reason (`malformed`): booked as failed.
    Failed(&'a str),
    /// Left out on purpose, by this rule of the configuration: booked as dropped.
    Dropped(&'a str),
}
