//! Parts: what is written of an object before the store has it.
//!
//! A part is `<spool>/<id>.open` while frames are appended and SHA-256 runs over them, and `<spool>/<seq>.part` once it
//! is whole and on the disk. Nothing is synced before: until then the journal has the data. In memory it is the same
//! without files. Everything here blocks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

fn fixed(digest: &[u8]) -> [u8; 32] {
    digest.try_into().expect("SHA-256 has 32 bytes")
}

/// A part that grows.
pub(super) struct Part {
    id: String,
    place: Place,
    sha256: Context,
    len: u64,
}

enum Place {
    Disk(PathBuf),
    Memory(Vec<Bytes>),
}

/// A part that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) sha256: [u8; 32],
    pub(super) len: u64,
    pub(super) body: Body,
}

/// Where a whole part lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    File(PathBuf),
    Memory(Vec<Bytes>),
}

impl Part {
    /// A part with nothing in it; `spool`: the directory, none for memory.
    pub(super) fn new(id: String, spool: Option<&Path>) -> Part {
        Part {
            place: match spool {
                Some(spool) => Place::Disk(spool.join(format!("{id}.open"))),
                None => Place::Memory(Vec::new()),
            },
            id,
            sha256: Context::new(&SHA256),
            len: 0,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// What it has allocated, beside the digest.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> [usize; 2] {
        let place = match &self.place {
            Place::Disk(path) => path.capacity(),
            Place::Memory(frames) => frames.capacity() * size_of::<Bytes>(),
        };
        [self.id.capacity(), place]
    }

    /// It is so much longer from now on, as far as anybody asks.
    #[cfg(test)]
    pub(super) fn pretend(&mut self, bytes: u64) {
        self.len += bytes;
    }

    /// Adds bytes behind what is there. After an error it holds what it held before, and it can be tried again.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.place {
            Place::Disk(path) => {
                let options = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .clone();
                let mut file = options.open(path)?;
                // What a write that failed left behind is written over.
                file.seek(io::SeekFrom::Start(self.len))?;
                if let Err(error) = file.write_all(bytes) {
                    let _ = file.set_len(self.len);
                    return Err(error);
                }
            }
            Place::Memory(frames) => frames.push(Bytes::copy_from_slice(bytes)),
        }
        self.sha256.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes it whole under the number of its object: synced, renamed, and its name synced too.
    ///
    /// If it cannot be synced its bytes are copied once into a new file, which counts only if it has our digest: a
    /// second sync of the same file could claim what is not so. Errors: it is whole nowhere; it can be tried again.
    pub(super) fn finish(&mut self, seq: u64) -> io::Result<Whole> {
        let sha256 = fixed(self.sha256.clone().finish().as_ref());
        let body = match &mut self.place {
            Place::Memory(frames) => Body::Memory(std::mem::take(frames)),
            Place::Disk(open) => {
                let whole = open.with_file_name(format!("{seq:010}.part"));
                let mut file = OpenOptions::new().read(true).write(true).open(&*open)?;
                file.set_len(self.len)?;
                if file.sync_all().is_ok() {
                    drop(file);
                    fs::rename(&*open, &whole)?;
                } else {
                    file.rewind()?;
                    copy_checked(&mut file, &whole, &sha256)?;
                    fs::remove_file(&*open)?;
                }
                sync_directory_of(&whole)?;
                Body::File(whole)
            }
        };
        Ok(Whole {
            sha256,
            len: self.len,
            body,
        })
    }
}

fn copy_checked(from: &mut File, to: &Path, sha256: &[u8; 32]) -> io::Result<()> {
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = from.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        context.update(&buffer[..len]);
        out.write_all(&buffer[..len])?;
    }
    if context.finish().as_ref() != sha256 {
        return Err(io::Error::other("the part does not read back as it was written"));
    }
    out.sync_all()
}

/// Makes names in a file's directory last.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Digest and length of a file.
pub(super) fn digest_of(path: &Path) -> io::Result<([u8; 32], u64)> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            return Ok((fixed(context.finish().as_ref()), total));
        }
        context.update(&buffer[..len]);
        total += len as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::digest::sha256;

    fn bytes_of(body: &Body) -> Vec<u8> {
        match body {
            Body::File(path) => fs::read(path).expect("it is there"),
            Body::Memory(frames) => frames.concat(),
        }
    }

    #[test]
    fn a_part_is_what_was_appended_and_knows_its_digest() {
        let dir = tempfile::tempdir().expect("a directory");
        for spool in [Some(dir.path()), None] {
            let mut part = Part::new("p1".into(), spool);
            part.append(b"").expect("nothing");
            part.append(b"one").expect("it is written");
            part.append(b"two").expect("it is written");
            assert_eq!((part.id(), part.len()), ("p1", 6));
            let whole = part.finish(7).expect("it is whole");
            assert_eq!(bytes_of(&whole.body), b"onetwo");
            assert_eq!((whole.sha256, whole.len), (sha256(b"onetwo").0, 6));
        }
        let left: Vec<_> = fs::read_dir(dir.path())
            .expect("it is there")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(left, ["0000000007.part"]);
        let found = digest_of(&dir.path().join("0000000007.part")).expect("it reads");
        assert_eq!(found, (sha256(b"onetwo").0, 6));
    }

    #[test]
    fn what_a_failed_write_left_behind_is_no_part_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut part = Part::new("p".into(), Some(dir.path()));
        part.append(b"one").expect("it is written");
        let open = dir.path().join("p.open");
        OpenOptions::new()
            .append(true)
            .open(&open)
            .and_then(|mut f| f.write_all(b"torn frame"))
            .expect("torn");
        part.append(b"two").expect("it is written");
        assert_eq!(bytes_of(&part.finish(0).expect("it is whole").body), b"onetwo");
    }

    #[test]
    fn without_its_directory_it_is_refused_and_may_be_tried_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let spool = dir.path().join("spool");
        let mut part = Part::new("p".into(), Some(&spool));
        assert!(part.append(b"one").is_err());
        fs::create_dir(&spool).expect("a directory");
        part.append(b"one").expect("it is written");
        assert_eq!(bytes_of(&part.finish(0).expect("it is whole").body), b"one");
    }

    #[test]
    fn a_copy_counts_only_with_the_right_digest() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, b"one").expect("it is written");
        let copy =
            |digest: &[u8; 32]| copy_checked(&mut File::open(&from).expect("it is there"), &to, digest);
        assert!(copy(&sha256(b"two").0).is_err());
        copy(&sha256(b"one").0).expect("it is the same");
        assert_eq!(fs::read(&to).expect("it is there"), b"one");
    }
}
