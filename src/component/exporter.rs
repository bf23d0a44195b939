//! Exporters: they push one batch, or collect payloads into objects ([`Collect`]). They never queue; the engine puts the
//! harness around them.

use std::sync::Arc;

use bytes::Bytes;
use config::{ComponentId, Diags, Section, Shape};
use tokio::time::Instant;
use wire::{Encoding, Payload, Signal};

use crate::{BoxFuture, BuildContext, Collect, ExportError, Fault, Host, Outcome, Stability};

/// One exporter type.
pub struct ExporterFactory {
    /// Name in the config.
    pub kind: &'static str,
    /// Other spellings that load too.
    pub aliases: &'static [&'static str],
    /// The blocks of keys that `build` reads, for `weir schema`.
    pub keys: &'static [Shape],
    /// What it can export, and how mature that is.
    pub signals: &'static [(Signal, Stability)],
    /// Which blocks of the harness a user may write, and their defaults.
    pub harness: Harness,
    /// Parses and checks; connects to nothing. The harness's blocks are gone from the section.
    pub build: fn(Section, &BuildContext) -> Result<Exporter, Fault>,
}

/// An exporter that was built; one object serves all signals, each signal has its own harness.
#[derive(Clone)]
pub enum Exporter {
    /// Sends a batch and says how it went.
    Push(Arc<dyn Push>),
    /// Gathers payloads into objects of its own.
    Collect(Arc<dyn Collect>),
}

/// Sends one batch and says how it went.
pub trait Push: Send + Sync {
    /// Opens what it needs; must not fail because a peer is unreachable.
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        let _ = host;
        crate::ready(Ok(()))
    }

    /// Sends the batch once. Dropped only by timeout and stop; then it may be sent again, and the peer may see it
    /// twice.
    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>>;

    /// The same for exporters that tell the far side until when its answer is awaited. This is what is called.
    fn export_until<'a>(
        &'a self,
        batch: &'a Payload,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        let _ = deadline;
        self.export(batch)
    }

    /// Whether where a batch goes depends on its tenant ([`Template`](crate::Template)): then no batch has several.
    fn by_tenant(&self) -> bool {
        false
    }

    /// Keys of client metadata that it reads: what waits on disk keeps them.
    fn context_keys(&self) -> Vec<String> {
        Vec::new()
    }

    /// The extension that authorizes its requests, whose keys of client metadata count too.
    fn authenticator(&self) -> Option<ComponentId> {
        None
    }

    /// Flushes and closes; called after the last `export`.
    fn stop(&self) -> BoxFuture<'_, ()> {
        crate::ready(())
    }
}

/// A batch compressed into one member: as it came in where nobody touched it, else anew.
///
/// `level` as in [`net::compression::encode`]. Large batches are compressed on a blocking thread.
pub async fn compressed(batch: &Payload, encoding: Encoding, level: i32) -> Result<Bytes, ExportError> {
    const INLINE_BYTES_MAX: usize = 1 << 20;
    if let Some(twin) = batch.twin(encoding) {
        return Ok(twin.clone());
    }
    let chunks: Vec<Bytes> = batch.parts().cloned().collect();
    if batch.len() <= INLINE_BYTES_MAX {
        return Ok(net::compression::encode(encoding, level, &chunks));
    }
    let work = tokio::task::spawn_blocking(move || net::compression::encode(encoding, level, &chunks));
    work.await.map_err(ExportError::retry)
}

/// Which blocks of the harness an exporter has, and its defaults where they differ from the collector's common ones.
#[derive(Clone, Copy, Debug)]
pub struct Harness {
    /// `sending_queue`: absent from the config = on (`Some`), off (`Default`), or not offered.
    pub queue: Block,
    /// `retry_on_failure`.
    pub retry: Block,
    /// `timeout` in milliseconds: the default; `None` = the exporter has no such key.
    pub timeout_ms: Option<u64>,
    /// Largest batch in encoded bytes that is sent unless the user says otherwise; `None` = no limit.
    pub batch_bytes_max: Option<usize>,
    /// A block within the exporter's own whose `sending_queue`, `retry_on_failure` and `timeout` count where the
    /// exporter itself has none; empty = there is none.
    pub also_in: &'static [&'static str],
    /// `storage` on the exporter itself is short for `sending_queue.storage`.
    pub storage: bool,
    /// Gives the section what the harness is to read, where the exporter has other defaults or spellings of its own.
    pub prepare: Option<Prepare>,
    /// Another harness for sections that ask for one: those of an exporter that pushes or gathers as it is configured.
    pub instead: Option<Instead>,
}

/// A harness for some sections of an exporter's.
#[derive(Clone, Copy)]
pub struct Instead {
    /// Whether the section asks for it; what cannot be read does not.
    pub when: fn(&Section) -> bool,
    /// Has no [`Harness::instead`] of its own.
    pub harness: &'static Harness,
}

impl std::fmt::Debug for Instead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Instead").field(self.harness).finish()
    }
}

/// Changes a section before the harness takes its blocks out of it.
#[derive(Clone, Copy)]
pub struct Prepare(pub fn(&mut Section) -> Result<(), Diags>);

impl std::fmt::Debug for Prepare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepare")
    }
}

/// The default state of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// On unless switched off.
    On,
    /// Off unless written.
    Off,
    /// Not a key of this exporter.
    Absent,
}

impl Harness {
    /// As exporterhelper has it: queue on, retry on, timeout 5 s.
    pub const QUEUE_RETRY_TIMEOUT: Harness = Harness {
        queue: Block::On,
        retry: Block::On,
        timeout_ms: Some(5000),
        batch_bytes_max: None,
        also_in: &[],
        storage: false,
        prepare: None,
        instead: None,
    };
    /// For exporters that [gather](crate::Collect): a queue, on disk with `storage`, and what cannot be asked of them is
    /// told.
    pub const COLLECT: Harness = Harness {
        queue: Block::On,
        retry: Block::On,
        timeout_ms: None,
        batch_bytes_max: None,
        also_in: &[],
        storage: true,
        prepare: None,
        instead: None,
    };
    /// For exporters that cannot fail for long (debug, nop, file): queue offered, no retry, no timeout.
    pub const QUEUE_OFFERED: Harness = Harness {
        queue: Block::Off,
        retry: Block::Absent,
        timeout_ms: None,
        batch_bytes_max: None,
        also_in: &[],
        storage: false,
        prepare: None,
        instead: None,
    };
}
