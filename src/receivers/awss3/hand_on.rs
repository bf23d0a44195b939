//! Hands objects on one after another, each until it is taken, refused for good, or the gateway stops.

use component::prelude::*;
use telemetry::{Column, Row};
use tokio::sync::mpsc;

use super::marks::{Marks, Position};
use super::object;
use super::read::{Object, Step, Stopped};

/// The end of the walk of one signal.
pub(super) struct HandOn {
    pub(super) id: String,
    pub(super) signal: Signal,
    /// The records' times that are wanted.
    pub(super) records: Option<(u64, u64)>,
    /// Whether each resource says where it was read.
    pub(super) mark: bool,
    pub(super) next: Arc<dyn Consumer>,
    pub(super) row: Arc<Row>,
    pub(super) marks: Option<Marks>,
    pub(super) stop: Stop,
}

impl HandOn {
    pub(super) async fn run(mut self, mut steps: mpsc::Receiver<Step>) {
        let (mut objects, mut is_stopped) = (0_u64, false);
        while let Some(step) = steps.recv().await {
            let reached = match step {
                Step::Passed(position) => Ok(position),
                Step::Object(object) => self.hand_on(object, &mut objects).await,
            };
            let Ok(reached) = reached else {
                is_stopped = true;
                break;
            };
            if let Some(marks) = &mut self.marks {
                marks.reached(reached).await;
            }
        }
        if let Some(marks) = &mut self.marks {
            marks.write().await;
        }
        let signal = self.signal.as_str();
        match is_stopped || self.stop.is_stopped() {
            true => tracing::info!(
                receiver = self.id,
                signal,
                objects,
                "stopped before the range was read"
            ),
            false => tracing::info!(receiver = self.id, signal, objects, "the range was read"),
        }
    }

    /// Gives where to go on. What was not taken when the gateway stops is not passed.
    async fn hand_on(&mut self, object: Object, objects: &mut u64) -> Result<Position, Stopped> {
        let Object {
            key,
            then,
            form,
            bytes,
        } = object;
        let fetched = tokio::select! {
            fetched = bytes => fetched,
            () = self.stop.stopped() => return Err(Stopped),
        };
        if self.stop.is_stopped() {
            return Err(Stopped);
        }
        let Ok((bytes, _share)) = fetched else {
            // It was named where it could not be fetched.
            return Ok(then);
        };
        let (signal, id, records) = (self.signal, self.id.clone(), self.records);
        let marked = self.mark.then(|| key.clone());
        let read = move || {
            let mut payload = form.payload(signal, &id, records, &bytes)?;
            if let Some(key) = marked {
                object::mark(&mut payload, &id, &key)?;
            }
            Ok(payload)
        };
        let read = tokio::task::spawn_blocking(read).await;
        let payload = match read
            .map_err(|e| e.to_string())
            .and_then(|read: Result<_, String>| read)
        {
            Ok(payload) => payload,
            Err(reason) => {
                tracing::error!(receiver = self.id, key, reason, "an object cannot be read");
                return Ok(then);
            }
        };
        let items = payload.items as u64;
        if items == 0 {
            return Ok(then);
        }
        self.row.add_items(Column::Offered, None, items);
        match deliver(&*self.next, &payload, &mut self.stop).await {
            Ok(()) => {
                *objects += 1;
                self.row.add_items(Column::Accepted, None, items);
            }
            Err(refusal) => {
                self.row.add_items(Column::Refused, None, items);
                let reason = refusal.message();
                tracing::warn!(receiver = self.id, key, items, reason, "an object was not taken");
                if refusal.is_retryable() {
                    return Err(Stopped);
                }
            }
        }
        Ok(then)
    }
}
