//! The gateway's own audit trail, for whoever has something to tell it.
//!
//! [`Host::audit`](crate::Host::audit) gives it. Telling never waits and never fails: what cannot be kept is counted by
//! the trail, and said there once it can be. Nothing that is told may hold a credential.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{BoxFuture, Consumer};

/// Where acts are told.
pub trait Audit: Send + Sync {
    /// Something happened.
    fn tell(&self, act: Act);

    /// Somebody was not let in. Told together for each client and reason, a minute after the first.
    fn denied(&self, attempt: &Attempt<'_>, reason: &'static str);

    /// Somebody was let in. Told once an hour for each principal and client.
    fn admitted(&self, attempt: &Attempt<'_>, principal: &str);

    /// Number and hash of the newest record that is safe: what an archive's log anchors. `None` before the first.
    fn head(&self) -> Option<(u64, [u8; 32])>;

    /// Records go there from now on, until [`Audit::disconnect`].
    fn connect(&self, next: Arc<dyn Consumer>);

    /// If records go there: no more. Returns when none is under way.
    fn disconnect<'a>(&'a self, next: &'a Arc<dyn Consumer>) -> BoxFuture<'a, ()>;
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// What: `process.start`, `admin.call`, ...
    pub name: &'static str,
    /// Who did it.
    pub actor: Actor,
    /// How it ended.
    pub outcome: Ended,
    /// To what it was done: `receiver/otlp`.
    pub object: String,
    /// What else is to be known.
    pub details: Map<String, Value>,
}

impl Act {
    /// Of the gateway itself, and it went well.
    pub fn new(name: &'static str, object: impl Into<String>) -> Act {
        Act {
            name,
            actor: Actor::SYSTEM,
            outcome: Ended::Success,
            object: object.into(),
            details: Map::new(),
        }
    }

    /// With another detail; one of the same name is replaced.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Act {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Done by somebody else.
    pub fn by(mut self, actor: Actor) -> Act {
        self.actor = actor;
        self
    }

    /// With another end.
    pub fn ended(mut self, outcome: Ended) -> Act {
        self.outcome = outcome;
        self
    }
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `os_user`, `client`, `cert`, `token`, `opamp` or `system`.
    pub kind: &'static str,
    /// Which one.
    pub id: std::borrow::Cow<'static, str>,
}

impl Actor {
    /// The gateway itself.
    pub const SYSTEM: Actor = Actor {
        kind: "system",
        id: std::borrow::Cow::Borrowed("weir"),
    };

    /// One of a kind.
    pub fn new(kind: &'static str, id: impl Into<String>) -> Actor {
        Actor {
            kind,
            id: std::borrow::Cow::Owned(id.into()),
        }
    }
}

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Done.
    Success,
    /// Tried, and it did not work.
    Failure,
    /// Not allowed.
    Denied,
}

/// Somebody asked to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Who was asked: `receiver/otlp`.
    pub object: &'a str,
    /// `grpc` or `http`.
    pub transport: &'static str,
    /// The authenticator's id.
    pub authenticator: &'a str,
    /// Which kind of credential was shown: `basic`, `bearer`, `other` or `none`.
    pub scheme: &'static str,
    /// The other end; none on a unix socket.
    pub client: Option<IpAddr>,
}
