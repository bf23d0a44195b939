//! How far a signal was read, kept in a storage: a restart goes on there.
//!
//! A mark is written when what is before it was taken by the pipeline, once a second at most and at the end: after a
//! crash what came since the last one comes again. A mark of another range or bucket is not looked at.

use std::time::Duration;

use aws_lc_rs::digest;
use component::prelude::*;
use storage::Journal;
use tokio::time::Instant;

/// Between two marks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where to go on: at a directory's first moment, Unix seconds, behind a key (`""`: from its first).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(super) struct Position {
    pub(super) moment: i64,
    pub(super) after: String,
}

/// A mark as it is kept.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    /// What is read, with all that decides in which order.
    objects: String,
    position: Position,
}

/// The mark of one signal of one receiver.
pub(super) struct Marks {
    id: String,
    journal: Journal,
    name: String,
    objects: String,
    /// Not written yet.
    open: Option<Position>,
    written: Option<Instant>,
}

impl Marks {
    /// The mark of `objects`, and where to go on; from the beginning if there is none.
    pub(super) async fn open(
        id: &str,
        journal: Journal,
        signal: Signal,
        objects: String,
    ) -> (Marks, Position) {
        let marks = Marks {
            id: id.to_owned(),
            journal,
            name: name_of(id, signal),
            objects,
            open: None,
            written: None,
        };
        let found = {
            let (journal, name) = (marks.journal.clone(), marks.name.clone());
            tokio::task::spawn_blocking(move || read(&journal, &name)).await
        };
        let position = match found.map_err(|e| e.to_string()).and_then(|found| found) {
            Ok(Some(kept)) if kept.objects == marks.objects => kept.position,
            Ok(_) => Position::default(),
            Err(error) => {
                tracing::error!(
                    receiver = id,
                    error,
                    "how far it was read is not known: all is read again"
                );
                Position::default()
            }
        };
        (marks, position)
    }

    /// All before this was taken.
    pub(super) async fn reached(&mut self, position: Position) {
        self.open = Some(position);
        if self.written.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.write().await;
        }
    }

    /// Writes what was not written yet.
    pub(super) async fn write(&mut self) {
        let Some(position) = self.open.take() else {
            return;
        };
        let kept = Kept {
            objects: self.objects.clone(),
            position,
        };
        let (journal, name) = (self.journal.clone(), self.name.clone());
        let put = move || {
            let text = serde_json::to_vec(&kept).map_err(|e| e.to_string())?;
            journal.put_blob(&name, &text).map_err(|e| e.to_string())
        };
        let put = tokio::task::spawn_blocking(put).await;
        if let Err(error) = put.map_err(|e| e.to_string()).and_then(|put| put) {
            tracing::warn!(receiver = self.id, error, "how far it was read could not be kept");
        }
        self.written = Some(Instant::now());
    }
}

/// Names in a storage have few letters: ids may have all.
pub(super) fn name_of(id: &str, signal: Signal) -> String {
    let text = format!("{id}\n{}", signal.as_str());
    let sum = digest::digest(&digest::SHA256, text.as_bytes());
    let hex: String = sum.as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("awss3-{hex}")
}

fn read(journal: &Journal, name: &str) -> Result<Option<Kept>, String> {
    let blob = journal.blob(name).map_err(|e| e.to_string())?;
    let kept = blob.map(|blob| serde_json::from_slice(&blob).map_err(|e| e.to_string()));
    kept.transpose()
}
