//! A backend that counts: how often each numbered record came, and when. It takes, refuses, flaps or holds fast to what
//! is marked, but what it refuses it has not taken: whatever comes twice was sent twice.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::peer::{grpc_ok, grpc_status, http_ok, status};
use super::Rng;
use super::records::{self, Batch};

/// How far back it remembers when records came.
const MEMORY: Duration = Duration::from_secs(5);

/// What it has got.
#[derive(Default)]
struct Seen {
    /// How often each record came, by number.
    counts: Vec<u8>,
    /// Records that came, each time counted.
    taken: u64,
    /// Records that had come before.
    again: u64,
    /// When, and how many, within [`MEMORY`].
    recent: VecDeque<(Instant, u64)>,
}

struct Shared {
    seen: Mutex<Seen>,
    /// Of a hundred requests so many are refused.
    refused: AtomicU32,
    /// Requests that are marked are refused.
    holds: AtomicBool,
    /// An answer that was a yes waits up to so many milliseconds.
    pause_ms: AtomicU32,
    rng: Mutex<Rng>,
}

/// A running sink. Stops when dropped.
pub struct Sink {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    /// One that takes everything, at once.
    pub async fn start(seed: u64) -> Sink {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            refused: AtomicU32::new(0),
            holds: AtomicBool::new(false),
            pause_ms: AtomicU32::new(0),
            rng: Mutex::new(Rng(seed)),
        });
        let ours = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let shared = ours.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Sink { addr, shared, task }
    }

    /// Refuses so many of a hundred requests from now on, with a status that means *later*.
    pub fn refuse(&self, percent: u32) {
        self.shared.refused.store(percent, Relaxed);
    }

    /// Whether what is marked is refused.
    pub fn hold(&self, holds: bool) {
        self.shared.holds.store(holds, Relaxed);
    }

    /// Takes its time up to so many milliseconds between taking and saying so.
    pub fn pause(&self, ms: u32) {
        self.shared.pause_ms.store(ms, Relaxed);
    }

    /// Records that came, each time counted.
    pub fn taken(&self) -> u64 {
        self.shared.seen.lock().taken
    }

    /// Records that came though they had come before.
    pub fn again(&self) -> u64 {
        self.shared.seen.lock().again
    }

    /// Records that came since then, each time counted.
    pub fn taken_since(&self, then: Instant) -> u64 {
        let seen = self.shared.seen.lock();
        let late = seen.recent.iter().rev().take_while(|(at, _)| *at >= then);
        late.map(|(_, records)| records).sum()
    }

    /// Those of these records that never came.
    pub fn missing(&self, batches: &[Batch]) -> Vec<u64> {
        let seen = self.shared.seen.lock();
        let came = |n: &u64| seen.counts.get(*n as usize).is_some_and(|count| *count > 0);
        let all = batches.iter().flat_map(Batch::numbers);
        all.filter(|n| !came(n)).collect()
    }
}

impl Shared {
    fn refuses(&self, batch: &records::Read) -> bool {
        let percent = u64::from(self.refused.load(Relaxed));
        (batch.is_marked && self.holds.load(Relaxed)) || self.rng.lock().below(100) < percent
    }

    fn take(&self, numbers: &[u64]) {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        for number in numbers {
            let at = *number as usize;
            if seen.counts.len() <= at {
                seen.counts.resize(at + 1024, 0);
            }
            seen.again += u64::from(seen.counts[at] > 0);
            seen.counts[at] = seen.counts[at].saturating_add(1);
        }
        seen.taken += numbers.len() as u64;
        seen.recent.push_back((now, numbers.len() as u64));
        while seen.recent.front().is_some_and(|(at, _)| now - *at > MEMORY) {
            seen.recent.pop_front();
        }
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(shared: &Shared, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let grpc = parts.uri.path().starts_with("/opentelemetry.");
    let Ok(body) = body.collect().await else {
        return status(500);
    };
    let body = body.to_bytes();
    let message = if grpc { body.slice(5..) } else { body };
    let batch = records::read(parts.uri.path(), message);
    if shared.refuses(&batch) {
        return if grpc {
            grpc_status(14, "not now", None)
        } else {
            status(503)
        };
    }
    shared.take(&batch.numbers);
    let pause = u64::from(shared.pause_ms.load(Relaxed));
    if pause > 0 {
        let pause = shared.rng.lock().below(pause + 1);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    if grpc {
        grpc_ok(Bytes::new())
    } else {
        http_ok(Bytes::new())
    }
}
