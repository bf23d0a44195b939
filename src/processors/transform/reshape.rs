//! Statements that make metrics, or change their kind, and those that run on flattened log records: a view cannot show
//! what becomes of those, so whole requests go in and out.

use bytes::Bytes;
use component::prelude::*;
use component::statements::{Ignored, with_env};
use component::{Reshape, ReshapeCx};
use parking_lot::Mutex;
use wire::view::{Finished, Scratch, View};

use super::flatten::{HEADER_BYTES_MAX, flatten, regroup};
use super::{FAILED, Step, Transform};
use crate::groups::propagated;

/// Steps of which one at least reshapes, or before which log records are flattened.
pub(super) struct Reshaping {
    pub(super) transform: Transform,
    pub(super) flattens: bool,
    /// One for each call that runs at the same time.
    pub(super) views: Mutex<Vec<Scratch>>,
}

impl Reshape for Reshaping {
    fn reshape(&self, mut payload: Payload, cx: &mut ReshapeCx) -> Result<Payload, Refusal> {
        let mut views = self.views.lock().pop().unwrap_or_default();
        let mut room = self.transform.room();
        let mut ignored = Ignored::default();
        let context = payload.context.clone();
        let mut result = Ok(());
        for chunk in &mut payload.chunks {
            result = with_env(&context, |env| {
                self.chunk(
                    payload.signal,
                    chunk,
                    (env, &mut room, &mut views),
                    &mut ignored,
                    cx,
                )
            });
            if result.is_err() {
                break;
            }
        }
        self.views.lock().push(views);
        self.transform.pool.lock().push(room);
        ignored.tell(&self.transform.id, FAILED);
        result?;
        payload.items = payload.chunks.iter().map(|c| c.shape.items as usize).sum();
        Ok(payload)
    }
}

impl Reshaping {
    fn chunk(
        &self,
        signal: Signal,
        chunk: &mut Chunk,
        (env, room, views): (&ottl::Env<'_>, &mut [ottl::Scratch], &mut Scratch),
        ignored: &mut Ignored,
        cx: &mut ReshapeCx,
    ) -> Result<(), Refusal> {
        let malformed = |error: wire::Malformed| Refusal::Invalid(error.to_string());
        chunk.make_canonical(signal).map_err(malformed)?;
        let before = chunk.shape.items;
        if self.flattens {
            let flat = flatten(&chunk.make_whole()).map_err(malformed)?;
            let flat = flat.ok_or_else(|| {
                let mib = HEADER_BYTES_MAX >> 20;
                Refusal::Invalid(format!(
                    "{}: resources and scopes of one flattened request pass {mib} MiB",
                    self.transform.id
                ))
            })?;
            chunk.set_bytes(flat.into());
        }
        for (step, scratch) in self.transform.steps.iter().zip(room) {
            let bytes = chunk.make_whole();
            if let Some((bytes, items)) = self.step(step, signal, &bytes, (env, scratch, views), ignored)? {
                chunk.set_bytes(bytes);
                chunk.shape.items = items;
            }
        }
        if self.flattens {
            let whole = regroup(&chunk.make_whole(), views).map_err(malformed)?;
            chunk.set_bytes(whole.into());
        }
        let (tenant, after) = (chunk.origin.tenant.as_ref(), chunk.shape.items);
        cx.created(tenant, u64::from(after.saturating_sub(before)));
        cx.merged(tenant, u64::from(before.saturating_sub(after)));
        Ok(())
    }

    /// The new request and its items, if a step changed it.
    fn step(
        &self,
        step: &Step,
        signal: Signal,
        bytes: &[u8],
        (env, scratch, views): (&ottl::Env<'_>, &mut ottl::Scratch, &mut Scratch),
        ignored: &mut Ignored,
    ) -> Result<Option<(Bytes, u32)>, Refusal> {
        let mut failed = |text: &str, error: &ottl::Error| ignored.note(text, error);
        let refused = |error: ottl::Error| propagated(&self.transform.id, FAILED, &error);
        if step.program.reshapes() {
            let new = step
                .program
                .reshape(bytes, env, scratch, step.mode, &mut failed)
                .map_err(refused)?;
            return Ok(new.map(|new| {
                let items = wire::count_items(signal, &new);
                (Bytes::from(new), items)
            }));
        }
        let view = View::new(views, signal, bytes, step.program.depth());
        let mut view = view.map_err(|error| Refusal::Invalid(error.to_string()))?;
        step.program
            .run(&mut view, env, scratch, step.mode, &mut failed)
            .map_err(refused)?;
        if view.is_overflowed() {
            return Err(Refusal::Invalid(format!(
                "{}: the edits pass 4 GiB",
                self.transform.id
            )));
        }
        Ok(match view.finish() {
            Finished::Unchanged => None,
            Finished::Edited { bytes, items } => Some((bytes.into(), items)),
        })
    }
}
