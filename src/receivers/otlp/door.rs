//! From a body to a verdict, whatever the protocol: inflate, validate, hand on, book.

use std::time::Duration;

use bytes::Bytes;
use component::{BuildContext, Class, Memory, Outcome, Outputs, Refusal, Reservation};
use net::compression::{self, Encoding};
use std::sync::Arc;
use telemetry::{Column, Counter, Place, Row, Telemetry};
use wire::{Chunk, Context, Limits, Payload, Signal, Twin};

/// What both protocols share.
pub(super) struct Door {
    pub(super) receiver: Arc<str>,
    outputs: Outputs,
    limits: Limits,
    memory: Arc<Memory>,
    rows: [Arc<Row>; 4],
    transport: &'static str,
    telemetry: Telemetry,
}

/// A request that never reached the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Not the protocol, not the message, or not the encoding that it claims.
    Malformed(String),
    /// Before or after inflation.
    TooLarge(String),
    /// No room in the memory budget.
    Busy,
    /// The client took too long to send it.
    Slow,
    /// The client is gone.
    Broken(String),
}

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Protobuf,
    Json,
}

/// How it went.
pub(super) type Verdict = Result<Outcome, Refusal>;

/// Inflated bytes for each compressed one that are set aside before anybody knows.
const INFLATION_GUESS: usize = 8;
/// JSON text that is read without letting the other tasks of its worker go on elsewhere.
const INLINE_BYTES_MAX: usize = 256 << 10;

impl Door {
    pub(super) fn new(cx: &BuildContext, transport: &'static str, outputs: Outputs, limits: Limits) -> Door {
        let receiver: Arc<str> = cx.id.to_string().into();
        let row = |signal| {
            let receiver = receiver.to_string();
            cx.telemetry
                .ledger
                .row(Place::Door { receiver, transport }, signal)
        };
        Door {
            rows: Signal::ALL.map(row),
            receiver,
            outputs,
            limits,
            memory: cx.memory.clone(),
            transport,
            telemetry: cx.telemetry.clone(),
        }
    }

    /// Whether a pipeline wants this signal.
    pub(super) fn takes(&self, signal: Signal) -> bool {
        self.outputs.get(signal).is_some()
    }

    /// Room for a request; grows with it, and is given back with the answer.
    pub(super) fn room(&self) -> Result<Reservation, Bad> {
        self.memory.reserve(Class::Door, 0).ok_or(Bad::Busy)
    }

    /// Counts a request that is answered without having been understood.
    pub(super) fn count(&self, bad: &Bad) {
        let reason = match bad {
            Bad::Malformed(_) => "malformed",
            Bad::TooLarge(_) => "too_large",
            Bad::Busy => "busy",
            Bad::Slow => "slow",
            Bad::Broken(_) => "broken",
        };
        self.count_reason(reason);
    }

    /// [`Door::count`] by name.
    pub(super) fn count_reason(&self, reason: &'static str) {
        self.count_as("weir_receiver_malformed_requests", reason);
    }

    /// Counts a connection that was ended.
    pub(super) fn count_cut_off(&self, reason: &'static str) {
        self.count_as("weir_receiver_cut_off_connections", reason);
    }

    fn count_as(&self, name: &'static str, reason: &'static str) {
        let labels = vec![
            ("receiver", self.receiver.to_string()),
            ("transport", self.transport.to_owned()),
            ("reason", reason.to_owned()),
        ];
        let counter: Counter = self.telemetry.metrics.counter(name, labels);
        counter.add(1);
    }

    /// Inflates, reads and validates one message; `None` = it holds no item.
    pub(super) fn open(
        &self,
        (signal, form): (Signal, Form),
        body: Bytes,
        encoding: Option<Encoding>,
        limit: usize,
        room: &mut Reservation,
    ) -> Result<Option<Chunk>, Bad> {
        let (bytes, twin) = match encoding {
            None => (body, None),
            Some(encoding) => {
                let guess = body.len().saturating_mul(INFLATION_GUESS).min(limit);
                if !room.grow(guess) {
                    return Err(Bad::Busy);
                }
                let decoded = compression::decode(encoding, &body, limit).map_err(|e| match e {
                    compression::Error::TooLarge { .. } => Bad::TooLarge(format!(
                        "grpc: received message after decompression larger than max {limit}"
                    )),
                    other => Bad::Malformed(other.to_string()),
                })?;
                if !room.grow(decoded.bytes.len().saturating_sub(guess)) {
                    return Err(Bad::Busy);
                }
                let twin = decoded.single.then(|| {
                    Arc::new(Twin {
                        encoding: decoded.encoding,
                        bytes: body,
                    })
                });
                (decoded.bytes, twin)
            }
        };
        let (bytes, twin) = match form {
            Form::Protobuf => (bytes, twin),
            Form::Json => (self.transcode(signal, &bytes, room)?, None),
        };
        let shape = wire::validate(signal, &bytes, &self.limits).map_err(|e| {
            Bad::Malformed(match form {
                Form::Protobuf => e.to_string(),
                // The place is not one in the text that the client sent.
                Form::Json => format!("malformed OTLP/JSON: {}", e.reason),
            })
        })?;
        let mut chunk = Chunk::new(bytes, shape);
        chunk.twin = twin;
        Ok((shape.items > 0).then_some(chunk))
    }

    /// Protobuf from JSON. The text counts as held until the answer, as the body it came in does.
    fn transcode(&self, signal: Signal, json: &[u8], room: &mut Reservation) -> Result<Bytes, Bad> {
        let most = json.len().saturating_mul(codec::otlp_json::GROWTH_MAX);
        if !room.grow(most) {
            return Err(Bad::Busy);
        }
        let read = || {
            let mut out = Vec::with_capacity(json.len() / 2);
            let read = codec::otlp_json::read(signal, json, &mut out);
            out.shrink_to_fit();
            read.map(|()| out)
        };
        let out = if json.len() > INLINE_BYTES_MAX && has_other_workers() {
            tokio::task::block_in_place(read)
        } else {
            read()
        };
        let out = out.map_err(|e| Bad::Malformed(e.to_string()))?;
        room.shrink(most.saturating_sub(out.capacity()));
        Ok(out.into())
    }

    /// Hands a chunk to the pipeline and waits for its answer. The pipeline finishes and the books are kept even if
    /// the caller of this is gone; `room` is held until then.
    pub(super) async fn hand_on(
        &self,
        signal: Signal,
        chunk: Chunk,
        context: Arc<Context>,
        room: Reservation,
    ) -> Verdict {
        let Some(next) = self.outputs.get(signal).cloned() else {
            return Err(Refusal::Invalid("no pipeline takes this signal".into()));
        };
        let payload = Payload::new(signal, chunk, context);
        let booking = Booking::new(&self.rows[signal.index()], payload.items);
        let work = tokio::spawn(async move {
            let verdict = next.consume(payload).await;
            booking.close(verdict.is_ok());
            drop(room);
            verdict
        });
        work.await.unwrap_or_else(|e| {
            tracing::error!(receiver = %self.receiver, error = %e, "a pipeline failed on a request, which was refused");
            Err(Refusal::unavailable("internal error"))
        })
    }
}

fn has_other_workers() -> bool {
    use tokio::runtime::{Handle, RuntimeFlavor};
    Handle::try_current().is_ok_and(|handle| {
        handle.runtime_flavor() == RuntimeFlavor::MultiThread && handle.metrics().num_workers() > 1
    })
}

/// Offered until it is known how it went; a panic counts as refused.
struct Booking {
    row: Arc<Row>,
    items: u64,
    accepted: bool,
}

impl Booking {
    fn new(row: &Arc<Row>, items: usize) -> Booking {
        let items = items as u64;
        row.add_items(Column::Offered, None, items);
        Booking {
            row: row.clone(),
            items,
            accepted: false,
        }
    }

    fn close(mut self, accepted: bool) {
        self.accepted = accepted;
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        let column = if self.accepted {
            Column::Accepted
        } else {
            Column::Refused
        };
        self.row.add_items(column, None, self.items);
    }
}

/// Which of two verdicts on one request the client is told: the worse.
pub(super) fn worse(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Ok(mut a), Ok(b)) => {
            a.rejected.extend(b.rejected);
            Ok(a)
        }
        // What may be sent again says so, even if another part never will be taken.
        (Err(a), Err(b)) if b.is_retryable() && !a.is_retryable() => Err(b),
        (Err(a), _) => Err(a),
        (Ok(_), Err(b)) => Err(b),
    }
}

/// The longest that a client may be told to stay away: SDKs give up when a hint passes their own budget.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3);
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// When to come again, for answers that say so: what the pipeline knows, within what clients bear.
pub(super) fn hint(known: Option<Duration>) -> Duration {
    known.unwrap_or(RETRY_AFTER_DEFAULT).min(RETRY_AFTER_MAX)
}
