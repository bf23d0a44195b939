//! What the logs of an archive say, as far as they are signed: heads, and objects in order of admission.
//!
//! Every log is read from its first entry on, with its chain, its tree and its heads. What lies above the newest good
//! head, and every log that is not what was signed, is left out and told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use evidence::digest::Digest;
use evidence::entry::{Entry, Kind, Obj};
use evidence::log::SEGMENT_BYTES_MAX;
use evidence::names::{EVIDENCE, Session};
use evidence::note::{NOTE_BYTES_MAX, Policy};
use evidence::time::Time;
use evidence::verify::{Expected, File, Inventory, Level, Options, SessionFiles, SessionReader, Trust};

use super::progress::Progress;
use super::reading::Reading;
use super::which::{Part, now};
use super::{Failure, verify};
use crate::cli::say_error;

/// Objects that a command keeps in mind at a time: some 600 MB.
const OBJECTS_MAX: usize = 1_000_000;

/// Whom to believe.
#[derive(Args, Clone, Default)]
pub(super) struct Believed {
    /// Whom to trust, as for verify; without it each log is believed by the key that it names itself
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
}

/// The newest head of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogHead {
    /// `<archive>/<writer>/<session>`.
    pub(super) origin: String,
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) last: Option<Time>,
    pub(super) is_closed: bool,
}

/// An object that a signed entry names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    pub(super) writer: Arc<str>,
    pub(super) session: Arc<str>,
    /// The entry's index.
    pub(super) index: u64,
    pub(super) obj: Obj,
}

impl Named {
    /// `gw-0#7`, or `gw-0/0123456789ab#7` where the writer has several sessions.
    pub(super) fn name(&self, logs: &Logs) -> String {
        match logs.sessions.get(&*self.writer) {
            Some(1) => format!("{}#{}", self.writer, self.obj.seq),
            _ => format!("{}/{}#{}", self.writer, short(&self.session), self.obj.seq),
        }
    }

    /// Whether a text names it: `gw-0#7`, `gw-0/0123456789ab#7`, with the whole session, or its key.
    pub(super) fn is(&self, text: &str) -> bool {
        let Some((log, seq)) = text.rsplit_once('#').filter(|_| !text.contains('=')) else {
            return text == self.obj.key;
        };
        let (writer, session) = log.split_once('/').unwrap_or((log, ""));
        let is_session = session.is_empty() || session == &*self.session || session == short(&self.session);
        writer == &*self.writer && is_session && seq.parse() == Ok(self.obj.seq)
    }
}

/// The last 12 digits of a session, which stand in the names of objects.
fn short(session: &str) -> &str {
    session.rsplit('-').next().unwrap_or(session)
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Logs {
    pub(super) heads: Vec<LogHead>,
    /// In order of admission.
    pub(super) objects: Vec<Named>,
    /// Logs that are not what was signed, and why; nothing is taken from them.
    pub(super) broken: Vec<String>,
    /// Objects above the newest head.
    pub(super) unsigned: u64,
    /// Roots that were asked for: by origin and size.
    pub(super) roots: BTreeMap<(String, u64), Digest>,
    /// How many sessions a writer has.
    pub(super) sessions: BTreeMap<String, usize>,
    /// One of the newest heads as a file.
    pub(super) head_file: Option<File>,
}

/// What to read.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    pub(super) part: Part,
    /// Heads whose roots are asked for.
    pub(super) roots: &'a [(String, u64)],
    /// Only the heads.
    pub(super) no_objects: bool,
    /// Says nothing of who is believed.
    pub(super) is_quiet: bool,
}

impl Logs {
    /// Reads all logs.
    ///
    /// Errors: something could not be read, or more objects are named than can be kept in mind.
    pub(super) async fn read(
        reading: &Reading,
        believed: &Believed,
        wanted: &Wanted<'_>,
    ) -> Result<Logs, Failure> {
        let mut listing = Vec::new();
        reading.list(EVIDENCE, |listed| listing.push(listed)).await?;
        let mut inventory = Inventory::of(listing);
        let trust = trust(reading, believed, &inventory, wanted.is_quiet).await?;
        let (from, to) = wanted.part.range(now())?;
        let options = Options {
            level: Level::Heads,
            from,
            to,
            tenant: wanted.part.tenant.clone(),
            signal: wanted.part.signal.clone(),
            class: wanted.part.class.clone(),
            ..Options::new(now())
        };
        let mut logs = Logs::default();
        let mut progress = Progress::new("log files read");
        for ((writer, session), mut files) in std::mem::take(&mut inventory.logs) {
            files.checkpoints.sort_by_key(|file| file.number);
            files.segments.sort_by_key(|file| file.number);
            logs.head_file = files.checkpoints.last().cloned().or(logs.head_file);
            *logs.sessions.entry(writer.clone()).or_default() += 1;
            let reader = SessionReader::new(&trust, &options, &writer, &session)
                .map_err(|e| Failure::unknown(format!("{writer}/{session}: {e}")))?;
            let one = One {
                reading,
                reader,
                writer: (*writer).into(),
                session: session.as_str().into(),
            };
            one.read(files, wanted, &mut logs, &mut progress).await?;
        }
        progress.end();
        let key = |named: &Named| (named.obj.ad, named.obj.key.clone());
        logs.objects.sort_by_cached_key(key);
        Ok(logs)
    }

    /// Says what was left out; whether there was something that must not be.
    pub(super) fn tell(&self) -> bool {
        if self.unsigned > 0 {
            let n = super::text::grouped(self.unsigned);
            say_error(&format!(
                "{n} objects are under no signed head yet, and are left out"
            ));
        }
        for broken in &self.broken {
            say_error(&format!("left out: the log {broken}"));
        }
        !self.broken.is_empty()
    }

    /// The archive's name, if a log says it.
    pub(super) fn archive(&self) -> Option<&str> {
        let origin = &self.heads.first()?.origin;
        origin.rsplitn(3, '/').nth(2)
    }
}

/// A log that is being read.
struct One<'a> {
    reading: &'a Reading,
    reader: SessionReader,
    writer: Arc<str>,
    session: Arc<str>,
}

impl One<'_> {
    async fn read(
        mut self,
        files: SessionFiles,
        wanted: &Wanted<'_>,
        logs: &mut Logs,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let begin = logs.objects.len();
        let mut heads = self.reading.in_order(files.checkpoints, NOTE_BYTES_MAX);
        while let Some((file, bytes)) = heads.next().await? {
            self.reader.checkpoint(file.number, &bytes);
            progress.add(1);
        }
        let mut segments = self.reading.in_order(files.segments, SEGMENT_BYTES_MAX);
        while let Some((file, bytes)) = segments.next().await? {
            let expected = self.reader.segment(file.number, &bytes, None);
            if !wanted.no_objects {
                self.named(file.number, &bytes, &expected, &mut logs.objects);
            }
            if logs.objects.len() > OBJECTS_MAX {
                return Err(Failure::usage(
                    "more than a million objects: say which with --from, --to, --tenant, --signal or --class",
                ));
            }
            progress.add(1);
        }
        let outcome = self.reader.finish();
        let origin = outcome.origin().to_owned();
        let broken = match (outcome.broken(), outcome.head()) {
            (Some(finding), _) => Some(format!("{}: {} {}", finding.what, finding.place, finding.detail)),
            (None, None) => Some("no head with a trusted signature".to_owned()),
            (None, Some(_)) => None,
        };
        let (size, root) = match (broken, outcome.head()) {
            (None, Some(head)) => head,
            (broken, _) => {
                logs.objects.truncate(begin);
                logs.broken
                    .push(format!("{origin}: {}", broken.unwrap_or_default()));
                return Ok(());
            }
        };
        let mut own = logs.objects.split_off(begin);
        let found = own.len();
        own.retain(|named| named.index < size);
        logs.unsigned += (found - own.len()) as u64;
        logs.objects.append(&mut own);
        for (asked, size) in wanted.roots.iter().filter(|(asked, _)| *asked == origin) {
            if let Some(root) = outcome.root_at(*size) {
                logs.roots.insert((asked.clone(), *size), root);
            }
        }
        logs.heads.push(LogHead {
            origin,
            size,
            root,
            last: outcome.last(),
            is_closed: outcome.is_closed(),
        });
        Ok(())
    }

    /// The entries that are expected, as they stand in their lines.
    fn named(&self, start: u64, bytes: &[u8], expected: &[Expected], out: &mut Vec<Named>) {
        let mut places = expected.iter().map(|e| index_of(&e.place)).peekable();
        for (line, index) in bytes.split(|c| *c == b'\n').zip(start..) {
            if places.next_if_eq(&Some(index)).is_none() {
                continue;
            }
            if let Ok(Entry {
                kind: Kind::Obj(obj), ..
            }) = Entry::parse(line)
            {
                out.push(Named {
                    writer: self.writer.clone(),
                    session: self.session.clone(),
                    index,
                    obj: *obj,
                });
            }
        }
    }
}

fn index_of(place: &str) -> Option<u64> {
    place.rsplit_once('#')?.1.parse().ok()
}

/// The policy's, or what the logs say of themselves.
async fn trust(
    reading: &Reading,
    believed: &Believed,
    inventory: &Inventory,
    is_quiet: bool,
) -> Result<Trust, Failure> {
    let policy = match &believed.policy {
        Some(path) => verify::policy(path).await?,
        None => {
            if !is_quiet {
                say_error("no --policy: each log is believed by the key that it names itself");
            }
            Policy::parse(&declared(reading, inventory).await?)
                .map_err(|e| Failure::unknown(format!("the keys that the logs name: {e}")))?
        }
    };
    let mut trust = Trust::new(policy);
    for key in &inventory.keys {
        let bytes = reading
            .bytes(&key.key, key.version.as_deref(), NOTE_BYTES_MAX)
            .await?;
        // One that no trusted root signed lets nobody in, and anyone may have put it there.
        let _ = trust.endorse(&bytes);
    }
    Ok(trust)
}

/// A policy of the keys that logs name in their own first entries.
pub(super) async fn declared(reading: &Reading, inventory: &Inventory) -> Result<String, Failure> {
    let mut policy = String::new();
    let first = |files: &SessionFiles| files.segments.iter().find(|file| file.number == 0).cloned();
    for ((writer, session), files) in &inventory.logs {
        let Some(file) = first(files) else { continue };
        let bytes = reading
            .bytes(&file.key, file.version.as_deref(), SEGMENT_BYTES_MAX)
            .await?;
        if let Some(vkey) = key_of(&bytes, writer, session) {
            policy.push_str(&format!("log {vkey}\n"));
        }
    }
    Ok(policy)
}

/// The key that a session's entry `open` names, if it is that session's.
fn key_of(segment: &[u8], writer: &str, session: &Session) -> Option<String> {
    let line = segment.split(|c| *c == b'\n').nth(1)?;
    let Kind::Open(open) = Entry::parse(line).ok()?.kind else {
        return None;
    };
    let vkey: evidence::note::Vkey = open.vkey.parse().ok()?;
    let origin: evidence::names::Origin = vkey.name().parse().ok()?;
    (origin.writer() == writer && origin.session() == session).then_some(open.vkey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::archive::test_kit;

    #[test]
    fn an_object_has_several_names() {
        let (named, _) = test_kit::named();
        let key = named.obj.key.clone();
        let check = |text: &str, expected: bool| assert_eq!(named.is(text), expected, "{text}");
        check("gw-0#3", true);
        check("gw-0/0123456789ab#3", true);
        check("gw-0/019aa1c2-5be0-7abc-8def-0123456789ab#3", true);
        check(&key, true);
        check("gw-0#4", false);
        check("gw-1#3", false);
        check("gw-0/0123456789ac#3", false);
        check("gw-0", false);
        check("", false);
        let mut logs = Logs::default();
        logs.sessions.insert("gw-0".to_owned(), 1);
        assert_eq!(named.name(&logs), "gw-0#3");
        logs.sessions.insert("gw-0".to_owned(), 2);
        assert_eq!(named.name(&logs), "gw-0/0123456789ab#3");
    }
}
