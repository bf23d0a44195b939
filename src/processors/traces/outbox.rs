//! Traces that were decided to go on: handed to the next consumer, and again while it says that it cannot now.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::{Books, Consumer, Stop};
use parking_lot::Mutex;
use tokio::time::timeout;
use tracing::warn;
use wire::{Chunk, Context, Payload, Shape, Signal};

use super::pieces::Piece;

/// Most chunks and bytes that go in one payload.
const CHUNKS_MAX: usize = 256;
const BYTES_MAX: usize = 1 << 20;
/// Pauses between attempts, where the next one names none.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A trace on its way.
#[derive(Debug)]
pub(crate) struct Out {
    /// As one request.
    pub(crate) bytes: Bytes,
    /// What it was made of; done with once it was taken.
    pub(crate) pieces: Vec<Piece>,
}

/// What waits to be handed on.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<VecDeque<Out>>,
}

impl Outbox {
    pub(crate) fn put(&self, out: Out) {
        self.waiting.lock().push_back(out);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// Hands on what waits, some traces at a time. Ends when nothing waits any more, or in a pause once `stop` says so.
    ///
    /// To be dropped only at the very end: what it was about to hand on is put back.
    pub(crate) async fn flush(&self, next: &dyn Consumer, books: &Books, stop: &mut Stop) {
        loop {
            let Some(mut going) = Going::take(self) else {
                return;
            };
            for piece in going.outs.iter().flat_map(|out| &out.pieces) {
                piece.announce().await;
            }
            let mut pause = PAUSE_MIN;
            let answer = loop {
                match next.consume(going.payload()).await {
                    Err(refusal) if refusal.is_retryable() => {
                        let pausing = refusal.retry_after().unwrap_or(pause).min(PAUSE_MAX);
                        if timeout(pausing, stop.stopped()).await.is_ok() {
                            return;
                        }
                        pause = (2 * pause).min(PAUSE_MAX);
                    }
                    answer => break answer,
                }
            };
            if let Err(refusal) = &answer {
                warn!(
                    error = refusal.message(),
                    "spans that were held are refused for good"
                );
            }
            for out in going.outs.drain(..) {
                out.end(books, answer.is_err().then_some("refused"));
            }
        }
    }

    /// Gives up what waits, at the end.
    pub(crate) fn give_up(&self, books: &Books, reason: &str) {
        for out in self.waiting.lock().drain(..) {
            out.end(books, Some(reason));
        }
    }
}

impl Out {
    fn end(self, books: &Books, failed: Option<&str>) {
        for piece in &self.pieces {
            let (tenant, spans) = (piece.source.tenant(), u64::from(piece.spans()));
            books.released(tenant, spans);
            if let Some(reason) = failed {
                books.failed(reason, tenant, spans);
            }
            piece.done();
        }
    }

    fn chunk(&self) -> Chunk {
        let items = self.pieces.iter().map(Piece::spans).sum();
        let shape = Shape {
            items,
            ..Shape::default()
        };
        let mut chunk = Chunk::new(self.bytes.clone(), shape);
        chunk.origin.tenant = self.pieces.first().and_then(|p| p.source.tenant()).cloned();
        chunk
    }
}

/// What is being handed on; put back where it was if that is cut short.
struct Going<'b> {
    outbox: &'b Outbox,
    outs: Vec<Out>,
}

impl Going<'_> {
    fn take(outbox: &Outbox) -> Option<Going<'_>> {
        let mut waiting = outbox.waiting.lock();
        let mut bytes = 0;
        let mut outs = Vec::new();
        while let Some(out) = waiting.front()
            && (outs.is_empty() || outs.len() < CHUNKS_MAX && bytes + out.bytes.len() <= BYTES_MAX)
        {
            bytes += out.bytes.len();
            outs.extend(waiting.pop_front());
        }
        drop(waiting);
        match outs.is_empty() {
            true => None,
            false => Some(Going { outbox, outs }),
        }
    }

    fn payload(&self) -> Payload {
        let chunks: Vec<Chunk> = self.outs.iter().map(Out::chunk).collect();
        Payload {
            signal: Signal::Traces,
            items: chunks.iter().map(|c| c.shape.items as usize).sum(),
            chunks,
            context: Arc::new(Context::default()),
        }
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        let mut waiting = self.outbox.waiting.lock();
        for out in self.outs.drain(..).rev() {
            waiting.push_front(out);
        }
    }
}
