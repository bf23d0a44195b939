//! Small named things beside the records: replaced whole, and after a crash the old one or the new one.

use std::io::{ErrorKind, IoSlice};

use bytes::Bytes;

use super::crypt::{Key, Lock};
use super::disk::{Disk, read_all, replace};
use super::format::{VERSION, crc, lock_at, put_lock, u32_at, u64_at};
use super::{Error, Options};

/// The most bytes that one may have.
pub const BLOB_MAX: usize = 16 << 20;

const HEADER: usize = 64;
const MAGIC: &[u8; 8] = b"WEIRBLOB";
const SUFFIX: &str = ".blob";

fn file_of(name: &str) -> Result<String, Error> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
        return Err(Error::io(
            "name a blob with letters, digits, - and _",
            ErrorKind::InvalidInput.into(),
        ));
    }
    Ok(format!("{name}{SUFFIX}"))
}

pub(super) fn put(disk: &dyn Disk, options: &Options, name: &str, content: &[u8]) -> Result<(), Error> {
    let file = file_of(name)?;
    if content.len() > BLOB_MAX {
        return Err(Error::TooLarge { len: content.len() });
    }
    let lock = options.key.as_ref().map(Lock::new).transpose()?;
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    put_lock(lock.as_ref(), &mut header[12..]);
    let mut sealed = Vec::new();
    let content = match lock.as_ref().zip(options.key.as_ref()) {
        Some((lock, key)) => {
            sealed.extend_from_slice(content);
            key.cipher(&lock.salt)
                .seal(HEADER as u64, file.as_bytes(), &mut sealed);
            &sealed
        }
        None => content,
    };
    header[48..56].copy_from_slice(&(content.len() as u64).to_le_bytes());
    let sum = crc(&[&header[8..60], content]);
    header[60..].copy_from_slice(&sum.to_le_bytes());
    let points = ["journal.blob.before_rename", "journal.blob.after_rename"];
    replace(
        disk,
        &file,
        &[IoSlice::new(&header), IoSlice::new(content)],
        points,
    )
    .map_err(|e| Error::io("write beside the journal", e))
}

pub(super) fn get(disk: &dyn Disk, key: Option<&Key>, name: &str) -> Result<Option<Bytes>, Error> {
    let file = file_of(name)?;
    let bytes = match disk.open(&file) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.and_then(|f| read_all(&*f)),
    };
    let mut bytes = bytes.map_err(|e| Error::io("read beside the journal", e))?;
    let damaged = || Error::DamagedFile { file: file.clone() };
    if bytes.len() < HEADER || &bytes[..8] != MAGIC {
        return Err(damaged());
    }
    let (header, content) = bytes.split_at_mut(HEADER);
    if u64_at(header, 48) != content.len() as u64 || u32_at(header, 60) != crc(&[&header[8..60], content]) {
        return Err(damaged());
    }
    match u32_at(header, 8) {
        0 => return Err(damaged()),
        1..=VERSION => {}
        version => return Err(Error::Version { file, version }),
    }
    let len = match lock_at(&header[12..]) {
        Some(lock) => {
            let cipher = lock.open(&file, key)?;
            cipher
                .open(HEADER as u64, file.as_bytes(), content)
                .ok_or_else(damaged)?
        }
        None => content.len(),
    };
    Ok(Some(Bytes::from(bytes).slice(HEADER..HEADER + len)))
}

#[cfg(test)]
mod tests {
    use super::super::sim::{Failure, SimDisk};
    use super::*;

    fn options(key: Option<Key>) -> Options {
        Options {
            key,
            ..Options::default()
        }
    }

    #[test]
    fn the_old_one_or_the_new_one_is_there_after_a_crash() {
        let mut found = [0; 2];
        for key in [None, Some(Key::new(&[1; 32]))] {
            for seed in 0..200 {
                let disk = SimDisk::default();
                let options = options(key.clone());
                put(&disk, &options, "books", b"the old one").unwrap();
                disk.burn_after(seed % 8);
                let new = [b'n'; 3000];
                let answer = put(&disk, &options, "books", &new);
                let disk = disk.crash(seed);
                let there = get(&disk, key.as_ref(), "books").unwrap().unwrap();
                let is_new = there == new[..];
                assert!(is_new || there == b"the old one"[..], "seed {seed}");
                assert!(
                    is_new || answer.is_err(),
                    "seed {seed}: lost after it was answered"
                );
                found[usize::from(is_new)] += 1;
                // What lay about does not hinder the next one.
                put(&disk, &options, "books", b"again").unwrap();
                assert_eq!(get(&disk, key.as_ref(), "books").unwrap().unwrap(), b"again"[..]);
            }
        }
        assert!(found[0] > 100 && found[1] > 50, "{found:?}");
    }

    #[test]
    fn every_bit_counts() {
        let disk = SimDisk::default();
        put(&disk, &options(None), "books", b"content").unwrap();
        let good = read_all(&*disk.open("books.blob").unwrap()).unwrap();
        for bit in 0..8 * good.len() {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let disk = SimDisk::default();
            disk.create("books.blob", 0)
                .unwrap()
                .write_at(&[IoSlice::new(&bytes)], 0)
                .unwrap();
            let error = get(&disk, None, "books").unwrap_err();
            assert_eq!(error.to_string(), "books.blob is damaged", "bit {bit}");
        }
    }

    #[test]
    fn names_and_sizes_have_bounds() {
        let disk = SimDisk::default();
        for name in ["", "Books", "a/b", "..", "a.b", &"a".repeat(65)] {
            assert!(put(&disk, &options(None), name, b"x").is_err(), "{name}");
            assert!(get(&disk, None, name).is_err(), "{name}");
        }
        let error = put(&disk, &options(None), "a", &vec![0; BLOB_MAX + 1]).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        assert!(get(&disk, None, "a").unwrap().is_none());
        assert!(disk.list().unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_keeps_the_old_one() {
        let disk = SimDisk::with_capacity(200);
        put(&disk, &options(None), "a", b"old").unwrap();
        assert!(matches!(
            put(&disk, &options(None), "a", &[0; 300]),
            Err(Error::Full)
        ));
        disk.fail(Some(Failure::ReadOnly));
        assert!(matches!(
            put(&disk, &options(None), "a", b"new"),
            Err(Error::ReadOnly)
        ));
        disk.fail(None);
        assert_eq!(get(&disk, None, "a").unwrap().unwrap(), b"old"[..]);
        assert_eq!(disk.list().unwrap(), ["a.blob"]);
        put(&disk, &options(None), "a", b"new").unwrap();
        assert_eq!(get(&disk, None, "a").unwrap().unwrap(), b"new"[..]);
    }

    #[test]
    fn an_encrypted_one_wants_its_key() {
        let (disk, key) = (SimDisk::default(), Key::new(&[1; 32]));
        put(&disk, &options(Some(key.clone())), "a", b"tenant acme").unwrap();
        let bytes = read_all(&*disk.open("a.blob").unwrap()).unwrap();
        assert!(!bytes.windows(4).any(|w| w == b"acme"));
        let error = |key: Option<&Key>| get(&disk, key, "a").unwrap_err().to_string();
        assert_eq!(error(None), "a.blob is encrypted, and no key is configured");
        assert_eq!(
            error(Some(&Key::new(&[2; 32]))),
            "a.blob is encrypted with another key than the configured one"
        );
        put(&disk, &options(None), "b", b"in clear").unwrap();
        assert_eq!(get(&disk, Some(&key), "b").unwrap().unwrap(), b"in clear"[..]);
        assert_eq!(get(&disk, Some(&key), "a").unwrap().unwrap(), b"tenant acme"[..]);
    }
}
