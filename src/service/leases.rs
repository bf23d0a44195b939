//! Sockets, and what else only one may have, handed from a component that stops to the one that takes its place.
//!
//! Every listener of a component is noted with its owner. During a reload the owners that will stop are marked; whoever
//! asks for an address that one of them has gets the same socket. Otherwise the system says that it is in use, as it
//! should: two components of one configuration never share an address.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Weak;

use component::Shared;
use net::server::{Listener, Transport, WeakListener};
use tokio::sync::Mutex;

/// Who listens where, and who shares what.
#[derive(Default)]
pub(super) struct Leases {
    sockets: Mutex<State>,
    /// By owner and thing.
    shared: parking_lot::Mutex<HashMap<(String, String), Weak<dyn Any + Send + Sync>>>,
}

#[derive(Default)]
struct State {
    held: Vec<Held>,
    /// Whose sockets may be taken over, while a reload runs.
    leaving: BTreeSet<String>,
    /// How many were held when it began.
    before: usize,
}

struct Held {
    owner: String,
    listener: WeakListener,
    given: bool,
}

impl Leases {
    /// A reload begins: the sockets of these owners may be taken over.
    pub(super) async fn begin(&self, leaving: BTreeSet<String>) {
        let mut state = self.sockets.lock().await;
        state.forget_closed();
        state.before = state.held.len();
        state.leaving = leaving;
    }

    /// It ends: what was handed over belongs to its new owners, or, where it failed, to the old ones still.
    pub(super) async fn end(&self, succeeded: bool) {
        let mut state = self.sockets.lock().await;
        state.leaving.clear();
        if succeeded {
            state.held.retain(|held| !held.given);
        } else {
            let before = state.before;
            state.held.truncate(before);
            state.held.iter_mut().for_each(|held| held.given = false);
        }
    }

    /// What this owner has already by this name, else a new one.
    pub(super) fn share(&self, owner: &str, what: &str, make: fn() -> Shared) -> Shared {
        let mut shared = self.shared.lock();
        shared.retain(|_, thing| thing.strong_count() > 0);
        let key = (owner.to_owned(), what.to_owned());
        if let Some(thing) = shared.get(&key).and_then(Weak::upgrade) {
            return thing;
        }
        let thing = make();
        shared.insert(key, std::sync::Arc::downgrade(&thing));
        thing
    }

    /// A socket at `endpoint`: that of an owner who leaves, else a new one.
    pub(super) async fn listen(
        &self,
        owner: &str,
        endpoint: &str,
        transport: Transport,
    ) -> io::Result<Listener> {
        let mut state = self.sockets.lock().await;
        if state.leaving.is_empty() {
            state.forget_closed();
        }
        let listener = match state.left_at(endpoint, transport).await {
            Some(listener) => listener,
            None => Listener::bind(endpoint, transport, None).await?,
        };
        state.held.push(Held {
            owner: owner.to_owned(),
            listener: listener.downgrade(),
            given: false,
        });
        Ok(listener)
    }
}

impl State {
    fn forget_closed(&mut self) {
        self.held.retain(|held| held.listener.upgrade().is_some());
    }

    /// Takes over the socket that an owner who leaves has at `endpoint`. It is given away once.
    async fn left_at(&mut self, endpoint: &str, transport: Transport) -> Option<Listener> {
        if self.leaving.is_empty() {
            return None;
        }
        let addresses = match transport {
            Transport::Unix => Vec::new(),
            _ => net::resolve::listen_addresses(endpoint, transport).await.ok()?,
        };
        let is_there = |listener: &Listener| match listener.path() {
            Some(path) => transport == Transport::Unix && path.as_os_str() == endpoint,
            None => addresses.contains(&listener.local_addr()),
        };
        let leaving = &self.leaving;
        let mut left = self.held[..self.before]
            .iter_mut()
            .filter(|held| !held.given && leaving.contains(&held.owner));
        left.find_map(|held| {
            let listener = held.listener.upgrade().filter(&is_there)?;
            held.given = true;
            Some(listener)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_shared_by_its_owner_while_it_is_in_use() {
        let leases = Leases::default();
        let ask = |owner: &str, what: &str| leases.share(owner, what, || std::sync::Arc::new(0_u8));
        let first = ask("exporter:file", "a");
        let same = |other: &Shared| std::sync::Arc::ptr_eq(&first, other);
        assert!(same(&ask("exporter:file", "a")));
        assert!(!same(&ask("exporter:file", "b")));
        assert!(!same(&ask("exporter:file/2", "a")));
        let weak = std::sync::Arc::downgrade(&first);
        drop(first);
        ask("exporter:file", "a");
        assert_eq!(weak.strong_count(), 0, "a new one");
    }

    fn owners(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn only_the_socket_of_who_leaves_is_handed_over_and_once() {
        let leases = Leases::default();
        let first = leases
            .listen("receiver:a", "127.0.0.1:0", Transport::Tcp)
            .await
            .unwrap();
        let endpoint = first.local_addr().to_string();
        let ask = async |owner: &str| leases.listen(owner, &endpoint, Transport::Tcp).await;
        let in_use = |l: io::Result<Listener>| assert_eq!(l.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        in_use(ask("receiver:b").await);
        leases.begin(owners(&["receiver:other"])).await;
        in_use(ask("receiver:b").await);
        leases.end(true).await;
        // a reload that fails leaves it where it was
        leases.begin(owners(&["receiver:a"])).await;
        let taken = ask("receiver:b").await.unwrap();
        assert_eq!(taken.local_addr(), first.local_addr());
        in_use(ask("receiver:c").await);
        leases.end(false).await;
        drop(taken);
        // and one that succeeds does not
        leases.begin(owners(&["receiver:a"])).await;
        let second = ask("receiver:b").await.unwrap();
        leases.end(true).await;
        leases.begin(owners(&["receiver:a"])).await;
        in_use(ask("receiver:a").await);
        leases.end(false).await;
        drop(first);
        assert_eq!(second.local_addr().to_string(), endpoint);
        in_use(ask("receiver:a").await);
        drop(second);
        let third = ask("receiver:a").await.unwrap();
        assert_eq!(third.local_addr().to_string(), endpoint);
    }

    #[tokio::test]
    async fn a_unix_socket_goes_over_and_its_path_stays_until_the_last_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weir.sock");
        let text = path.to_str().unwrap();
        let leases = Leases::default();
        let first = leases.listen("receiver:a", text, Transport::Unix).await.unwrap();
        leases.begin(owners(&["receiver:a"])).await;
        let second = leases.listen("receiver:a", text, Transport::Unix).await.unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
