//! The keys that sign the log: one at a time, and two over the head where one follows another.
//!
//! A change of keys goes so: the next key is on the disk beside the present one; a `key` entry names it; the first head
//! above that entry is signed by both; with that head in the store the next key takes the place of the present one, which
//! is gone. So whoever takes the host today cannot sign for yesterday. `session.json` says which key signs after its
//! head, and the log's entries which one is announced: after a crash at any step it is known where it stood.

use std::io;
use std::path::{Path, PathBuf};

use component::prelude::*;
use evidence::digest::hex;
use evidence::entry::{self, Kind};
use evidence::note::{Signer, Vkey};
use evidence::time::Time;
use parking_lot::Mutex;

use super::config::Config;
use super::disk;
use super::run::Shared;

/// The next key, in the state directory.
const NEXT: &str = "signer.next";

/// The signing keys of an archive.
pub(super) struct Keys {
    path: PathBuf,
    next_path: PathBuf,
    state: Mutex<State>,
}

struct State {
    current: Arc<Signer>,
    next: Option<Next>,
    /// When the present key began to sign.
    since: Option<Time>,
    /// The present key is not at its place on the disk yet.
    unplaced: bool,
}

struct Next {
    signer: Arc<Signer>,
    /// Of its `key` entry; none until that is written.
    index: Option<u64>,
}

/// Which key signs after a head, as `session.json` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Signs {
    /// The public half in hex.
    public: String,
    /// Since when.
    since: Option<Time>,
}

fn write(path: &Path, signer: &Signer) -> io::Result<()> {
    let text = signer.to_pem().map_err(io::Error::other)?;
    disk::replace(path, text.as_bytes())
}

fn read(path: &Path) -> io::Result<Option<Signer>> {
    let Some(text) = disk::read(path)? else {
        return Ok(None);
    };
    let text = zeroize::Zeroizing::new(text);
    let text = std::str::from_utf8(&text).map_err(|_| io::Error::other("it is no text"))?;
    Signer::from_text(text).map(Some).map_err(io::Error::other)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Keys {
    /// The keys in their files, and whether the present one was made just now because there was none. Blocks.
    pub(super) fn open(config: &Config) -> Result<(Keys, bool), Fault> {
        let path: PathBuf = match config.log.signer.file.as_os_str().is_empty() {
            true => config.state_dir.join("signer.key"),
            false => config.log.signer.file.clone(),
        };
        let made = || {
            let signer = Signer::generate().map_err(io::Error::other)?;
            write(&path, &signer)?;
            Ok((signer, true))
        };
        let found = read(&path).and_then(|found| found.map_or_else(made, |signer| Ok((signer, false))));
        let (current, is_new) =
            found.map_err(|e| Fault::World(format!("cannot use the signing key {}: {e}", path.display())))?;
        let state = State {
            current: Arc::new(current),
            next: None,
            since: None,
            unplaced: false,
        };
        let keys = Keys {
            path,
            next_path: config.state_dir.join(NEXT),
            state: Mutex::new(state),
        };
        Ok((keys, is_new))
    }

    /// Finds out where a change stood. `signs`: what `session.json` says; `announced`: the `key` entry above its head, if
    /// there is one, by its index and the key that it names. Blocks.
    pub(super) fn settle(
        &self,
        signs: &Signs,
        announced: Option<(u64, &str)>,
        now: Time,
    ) -> Result<(), Fault> {
        let fault = |e: &dyn std::fmt::Display| Fault::World(format!("{}: {e}", self.next_path.display()));
        let next = read(&self.next_path).map_err(|e| fault(&e))?.map(Arc::new);
        let mut state = self.state.lock();
        state.since = Some(signs.since.unwrap_or(now));
        let vkey = announced.and_then(|(index, vkey)| Some((index, vkey.parse::<Vkey>().ok()?)));
        match (next, vkey) {
            (Some(next), _) if hex(next.public()) == signs.public => {
                (state.current, state.unplaced) = (next, true);
                Self::place(&self.path, &self.next_path, &state.current).map_err(|e| fault(&e))?;
                state.unplaced = false;
            }
            (Some(next), Some((index, vkey))) if vkey.public() == next.public() => {
                let index = Some(index);
                state.next = Some(Next { signer: next, index });
            }
            (Some(_), None) => remove(&self.next_path).map_err(|e| fault(&e))?,
            (_, Some(_)) => {
                return Err(fault(
                    &"the key that the log names as its next one is not there; restore it from a copy, or move the \
                      state directory away: the archive then begins a new session",
                ));
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// A session begins that knows of no change; what was under way is none. Blocks.
    pub(super) fn begin_session(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        match (state.next.take(), state.unplaced) {
            (Some(_), false) => remove(&self.next_path),
            _ => Ok(()),
        }
    }

    pub(super) fn current(&self) -> Arc<Signer> {
        self.state.lock().current.clone()
    }

    /// Who signs a head over so many entries.
    pub(super) fn signers(&self, size: u64) -> Vec<Arc<Signer>> {
        let state = self.state.lock();
        let next = state.next.iter().filter(|next| next.is_below(size));
        let next = next.map(|next| next.signer.clone());
        std::iter::once(state.current.clone()).chain(next).collect()
    }

    /// Who signs after a head over so many entries, of which the last is of this time.
    pub(super) fn signs_after(&self, size: u64, last: Option<Time>) -> Signs {
        let state = self.state.lock();
        let next = state.next.as_ref().filter(|next| next.is_below(size));
        Signs {
            public: hex(next.map_or(&state.current, |next| &next.signer).public()),
            since: if next.is_some() { last } else { state.since },
        }
    }

    /// The next key's entry stands at this index: it was written, or it has moved.
    pub(super) fn announced(&self, index: u64) {
        if let Some(next) = &mut self.state.lock().next {
            next.index = Some(index);
        }
    }

    /// A head over so many entries is in the store, and `session.json` says so: the next key takes its place if the head
    /// is above its entry. Gives whether it was so. An error of the disk loses nothing: it is done before the next change.
    pub(super) async fn covered(&self, size: u64, signs: &Signs) -> io::Result<bool> {
        let signer = {
            let mut state = self.state.lock();
            let Some(next) = state.next.take_if(|next| next.is_below(size)) else {
                return Ok(false);
            };
            state.current = next.signer;
            state.since = signs.since;
            state.unplaced = true;
            state.current.clone()
        };
        self.placed(signer).await?;
        Ok(true)
    }

    fn place(path: &Path, next: &Path, signer: &Signer) -> io::Result<()> {
        write(path, signer)?;
        remove(next)
    }

    async fn placed(&self, signer: Arc<Signer>) -> io::Result<()> {
        let (path, next) = (self.path.clone(), self.next_path.clone());
        disk::blocking(move || Self::place(&path, &next, &signer)).await?;
        self.state.lock().unplaced = false;
        Ok(())
    }

    fn is_due(&self, every: std::time::Duration, now: Time) -> bool {
        let mut state = self.state.lock();
        let since = *state.since.get_or_insert(now);
        state.next.is_none() && now.since(since) >= every.as_millis() as i64
    }

    /// Makes the next key and puts it on the disk.
    async fn prepare(&self) -> io::Result<Arc<Signer>> {
        let (unplaced, current) = {
            let state = self.state.lock();
            (state.unplaced, state.current.clone())
        };
        if unplaced {
            self.placed(current).await?;
        }
        let path = self.next_path.clone();
        let made = disk::blocking(move || {
            let signer = Signer::generate().map_err(io::Error::other)?;
            write(&path, &signer)?;
            Ok(Arc::new(signer))
        });
        let signer = made.await?;
        self.state.lock().next = Some(Next {
            signer: signer.clone(),
            index: None,
        });
        Ok(signer)
    }
}

impl Next {
    fn is_below(&self, size: u64) -> bool {
        self.index.is_some_and(|index| index < size)
    }
}

/// Announces the next key if it is time; the head that follows is signed by both.
pub(super) async fn rotate(shared: &Shared) {
    let Some(every) = shared.config.log.signer.rotate else {
        return;
    };
    let (keys, writer) = (&shared.keys, shared.writer());
    if writer.is_fenced() || !keys.is_due(every.0, shared.now()) {
        return;
    }
    let announced = async {
        let next = keys.prepare().await?;
        shared.step("archive.key.made").await;
        let vkey = next.vkey(writer.origin().as_str()).map_err(io::Error::other)?;
        let key = Kind::Key(entry::Key {
            vkey: vkey.to_string(),
            why: "schedule".to_owned(),
        });
        let appended = writer.append(key, shared.now()).await;
        appended.map_err(io::Error::other)?;
        shared.step("archive.key.entry").await;
        Ok::<Vkey, io::Error>(vkey)
    };
    match announced.await {
        Ok(vkey) => {
            shared.metrics.key_op("rotate", true);
            shared.acts.rotates(&hex(&vkey.id()));
        }
        Err(error) => {
            shared.metrics.key_op("rotate", false);
            tracing::error!(exporter = shared.id, %error, "the log's key cannot be changed, the present one signs on");
        }
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::section;

    use super::*;

    fn keys(dir: &Path) -> Keys {
        let yaml = format!(
            "archive: a\nstate_dir: {}\nstore: {{file: {{path: /a}}}}\n",
            dir.display()
        );
        let config: Config = section(&yaml)
            .parse_valid()
            .unwrap_or_else(|faults| panic!("{faults}"));
        Keys::open(&config).unwrap_or_else(|fault| panic!("{fault}")).0
    }

    fn settled(dir: &Path, signs: &Signs, announced: Option<(u64, &str)>) -> Result<Keys, String> {
        let keys = keys(dir);
        let at = Time::from_millis(9_000);
        keys.settle(signs, announced, at).map_err(|e| e.to_string())?;
        Ok(keys)
    }

    #[tokio::test]
    async fn a_change_goes_on_where_it_stood() {
        let dir = tempfile::tempdir().expect("a directory");
        let (dir, origin) = (dir.path(), "a/gw-0/s");
        let keys = settled(dir, &Signs::default(), None).expect("it settles");
        let first = *keys.current().public();
        assert_eq!(
            *settled(dir, &Signs::default(), None)
                .expect("again")
                .current()
                .public(),
            first
        );
        let before = keys.signs_after(5, None);

        // Made, and announced nowhere: it never was.
        keys.prepare().await.expect("it is made");
        assert!(dir.join(NEXT).exists());
        assert_eq!(keys.signers(100).len(), 1);
        let again = settled(dir, &before, None).expect("it settles");
        assert!(!dir.join(NEXT).exists());
        assert_eq!(again.signers(100).len(), 1);

        // Announced: both sign what is above the entry.
        let next = keys.prepare().await.expect("it is made");
        let vkey = next.vkey(origin).expect("a name").to_string();
        keys.announced(7);
        let again = settled(dir, &before, Some((7, &vkey))).expect("it settles");
        for keys in [&keys, &again] {
            assert_eq!(keys.signers(7).len(), 1);
            let both: Vec<[u8; 32]> = keys.signers(8).iter().map(|key| *key.public()).collect();
            assert_eq!(both, [first, *next.public()]);
        }
        assert!(settled(dir, &before, Some((7, "no key"))).is_ok());
        keys.announced(6);
        assert_eq!(keys.signers(7).len(), 2);

        // The head is in the store, and the file has the old key yet.
        let last = Some(Time::from_millis(70_000));
        let after = keys.signs_after(8, last);
        assert_eq!((after.public.clone(), after.since), (hex(next.public()), last));
        write(&dir.join(NEXT), &next).expect("it is written");
        let again = settled(dir, &after, None).expect("it settles");
        assert!(!dir.join(NEXT).exists());
        assert_eq!(again.current().public(), next.public());
        assert_eq!(
            *settled(dir, &after, None).expect("again").current().public(),
            *next.public()
        );

        // An announced key that is lost signs nothing, and nothing else may.
        let told = settled(dir, &before, Some((7, &vkey))).err().expect("it is gone");
        assert!(told.contains("is not there"), "{told}");
    }

    #[tokio::test]
    async fn the_old_key_is_gone_when_the_new_one_signs_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = settled(dir.path(), &Signs::default(), None).expect("it settles");
        let hour = std::time::Duration::from_secs(3600);
        assert!(!keys.is_due(hour, Time::from_millis(9_000 + 3_599_999)));
        assert!(keys.is_due(hour, Time::from_millis(9_000 + 3_600_000)));
        let old = std::fs::read(dir.path().join("signer.key")).expect("it is there");
        let next = keys.prepare().await.expect("it is made");
        keys.announced(3);
        let last = Time::from_millis(3_700_000);
        let signs = keys.signs_after(4, Some(last));
        assert!(!keys.covered(3, &signs).await.expect("not yet"));
        assert!(keys.covered(4, &signs).await.expect("it takes its place"));
        assert!(!keys.covered(5, &signs).await.expect("once"));
        assert_eq!(keys.signers(9).len(), 1);
        assert_eq!(keys.current().public(), next.public());
        assert_ne!(
            std::fs::read(dir.path().join("signer.key")).expect("it is there"),
            old
        );
        assert!(!dir.path().join(NEXT).exists());
        assert!(!keys.is_due(hour, Time::from_millis(3_700_000 + 3_599_999)));
    }
}
