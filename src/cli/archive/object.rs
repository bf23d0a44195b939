//! One object: fetched whole, compared with its digest, and only then taken apart, request by request, within bounds.
//!
//! A small object is kept in memory, a large one in a file without a name. What comes out of it is never more than its
//! entry says, and one resource of it never more than [`RESOURCE_BYTES_MAX`].

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use evidence::digest::Digest;
use evidence::entry::Obj;
use objects::{Class, ObjectStore, StoreError, patiently};
use tokio::sync::mpsc;
use wire::Signal;
use wire::field::{self, Reason};

use super::{Failure, reading::Reading};

/// Objects up to this size are kept in memory.
const MEMORY_BYTES_MAX: u64 = 32 << 20;
/// Plain bytes that go on at a time, or one resource that is larger.
const REQUEST_BYTES: usize = 1 << 20;
/// A resource with all its records, and a line of JSON.
const RESOURCE_BYTES_MAX: usize = 256 << 20;
/// Requests that are read before they are wanted.
const AHEAD: usize = 2;

/// An object's bytes, which are what its entry says.
pub(super) enum Stored {
    Memory(Bytes),
    File(File),
}

impl Stored {
    /// All of it, from its first byte on.
    pub(super) fn reader(self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Stored::Memory(bytes) => Box::new(Cursor::new(bytes)),
            Stored::File(mut file) => {
                file.rewind()?;
                Box::new(file)
            }
        })
    }
}

/// Fetches an object by its version. With `unchecked` its bytes may be others than its entry says.
///
/// Errors: 2 if it is not there, 1 if it is another, 4 if that cannot be found out.
pub(super) async fn fetch(reading: &Reading, obj: &Obj, unchecked: bool) -> Result<Stored, Failure> {
    let key = &obj.key;
    let version = obj.ver.as_deref().filter(|_| !reading.is_copy());
    let fetched = patiently(|| whole(reading.store(), key, version, obj.size)).await;
    let (stored, size, digest) = fetched.map_err(|error| {
        let exit = match error.class {
            Class::NotFound => 2,
            _ => super::UNKNOWN,
        };
        let told = format!("{key}: {error}");
        Failure { exit, told }
    })?;
    if !unchecked && (size != obj.size || digest != obj.sha256) {
        let (expected, found) = (obj.sha256, digest);
        let told = format!("I1 altered  {key}  expected {expected} found {found} ({size} bytes)");
        return Err(Failure { exit: 1, told });
    }
    Ok(stored)
}

/// Reads at most one byte more than there should be.
pub(super) async fn whole(
    store: &dyn ObjectStore,
    key: &str,
    version: Option<&str>,
    expected: u64,
) -> Result<(Stored, u64, Digest), StoreError> {
    let disk = |e: std::io::Error| StoreError::new(Class::Rejected, "spool", e.to_string());
    let mut body = store.get(key, version).await?.body;
    let (mut memory, mut file) = (Vec::new(), None);
    if expected > MEMORY_BYTES_MAX {
        file = Some(nameless().map_err(disk)?);
    }
    let (mut hash, mut size) = (Context::new(&SHA256), 0_u64);
    while size <= expected
        && let Some(mut piece) = body.next().await?
    {
        let room = usize::try_from(expected + 1 - size).unwrap_or(usize::MAX);
        piece.truncate(room);
        hash.update(&piece);
        size += piece.len() as u64;
        match &mut file {
            Some(file) => file.write_all(&piece).map_err(disk)?,
            None => memory.extend_from_slice(&piece),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    let stored = match file {
        Some(file) => Stored::File(file),
        None => Stored::Memory(memory.into()),
    };
    Ok((stored, size, Digest(digest)))
}

/// A file that nobody else finds, and that goes with us.
fn nameless() -> std::io::Result<File> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| std::io::Error::other("no random bytes"))?;
    let path = std::env::temp_dir().join(format!("weir-{}", evidence::digest::hex(&random)));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// An object's requests, one after the other, each a message that can be read alone. Profiles come as they are.
pub(super) struct Requests {
    input: Box<dyn Read + Send>,
    signal: Signal,
    is_json: bool,
    /// Plain bytes that may still come.
    left: u64,
    plain: Vec<u8>,
    is_ended: bool,
}

impl Requests {
    /// Begins with an object's first byte.
    ///
    /// Errors: what it is made of is not known here.
    pub(super) fn new(stored: Stored, obj: &Obj) -> Result<Requests, String> {
        let signal = Signal::parse(&obj.signal).ok_or_else(|| format!("no such signal: {:?}", obj.signal))?;
        if let Some(enc) = obj.enc.as_ref().filter(|enc| enc.alg != "sse-kms") {
            return Err(format!("it is encrypted ({}), which cannot be read yet", enc.alg));
        }
        let is_json = match obj.fmt.as_str() {
            "otlp_proto" => false,
            "otlp_json" => true,
            other => return Err(format!("its format {other:?} cannot be read yet")),
        };
        let fault = |e: std::io::Error| e.to_string();
        let stored = stored.reader().map_err(fault)?;
        let input: Box<dyn Read + Send> = match obj.cmp.as_str() {
            "zstd" => Box::new(zstd::stream::read::Decoder::new(stored).map_err(fault)?),
            "gzip" => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(stored))),
            "none" => stored,
            other => return Err(format!("its compression {other:?} cannot be read yet")),
        };
        Ok(Requests {
            input,
            signal,
            is_json,
            left: obj.raw,
            plain: Vec::new(),
            is_ended: false,
        })
    }

    /// The next one; None at the end.
    ///
    /// Errors: what comes out is damaged, or more than the entry says.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let whole = self.whole()?;
            if whole > 0 {
                let rest = self.plain.split_off(whole);
                let request = std::mem::replace(&mut self.plain, rest);
                return self.request(request).map(Some);
            }
            if self.is_ended {
                return match self.plain.is_empty() {
                    true => Ok(None),
                    false => Err("it ends within a message".to_owned()),
                };
            }
            if self.plain.len() > RESOURCE_BYTES_MAX {
                return Err("a resource of more than 256 MiB".to_owned());
            }
            self.more()?;
        }
    }

    fn request(&self, bytes: Vec<u8>) -> Result<Bytes, String> {
        if !self.is_json {
            return Ok(bytes.into());
        }
        let mut out = Vec::with_capacity(bytes.len());
        codec::otlp_json::read(self.signal, bytes.trim_ascii_end(), &mut out).map_err(|e| e.to_string())?;
        Ok(out.into())
    }

    fn more(&mut self) -> Result<(), String> {
        // One byte beyond what may come shows that more would.
        let wanted = REQUEST_BYTES.max(self.plain.len()) as u64;
        let take = wanted.min(self.left.saturating_add(1));
        let mut input = (&mut self.input).take(take);
        let got = input
            .read_to_end(&mut self.plain)
            .map_err(|e| format!("it cannot be decompressed: {e}"))? as u64;
        self.is_ended = got < take;
        let more = || "more comes out of it than its entry says".to_owned();
        self.left = self.left.checked_sub(got).ok_or_else(more)?;
        if self.is_ended && self.left > 0 {
            return Err("less comes out of it than its entry says".to_owned());
        }
        Ok(())
    }

    /// How many of the bytes at hand are whole messages.
    fn whole(&self) -> Result<usize, String> {
        let plain = &self.plain;
        if self.is_ended && (self.signal == Signal::Profiles || self.is_json) {
            let line = plain.iter().position(|c| *c == b'\n').filter(|_| self.is_json);
            return Ok(line.map_or(plain.len(), |at| at + 1));
        }
        if self.signal == Signal::Profiles {
            return Ok(0);
        }
        if self.is_json {
            return Ok(plain.iter().position(|c| *c == b'\n').map_or(0, |at| at + 1));
        }
        let mut whole = 0;
        while whole < plain.len() && whole < REQUEST_BYTES {
            let mut at = whole;
            match field::next(plain, &mut at) {
                Ok(_) => whole = at,
                Err(fault) if fault.reason == Reason::Truncated && !self.is_ended => break,
                Err(fault) => return Err(fault.to_string()),
            }
        }
        // What follows would fit in: not yet.
        let may_grow = !self.is_ended && whole < REQUEST_BYTES && plain.len() < REQUEST_BYTES;
        Ok(if may_grow { 0 } else { whole })
    }
}

/// The requests of an object, read on a thread of their own; a receiver that is dropped ends it.
pub(super) fn requests(stored: Stored, obj: &Obj) -> mpsc::Receiver<Result<Bytes, String>> {
    let (send, receive) = mpsc::channel(AHEAD);
    let requests = Requests::new(stored, obj);
    tokio::task::spawn_blocking(move || {
        let mut requests = match requests {
            Ok(requests) => requests,
            Err(why) => return drop(send.blocking_send(Err(why))),
        };
        loop {
            let next = match requests.next() {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => return,
                Err(why) => Err(why),
            };
            let is_end = next.is_err();
            if send.blocking_send(next).is_err() || is_end {
                return;
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::archive::test_kit::{self, logs};

    fn all(stored: &[u8], obj: &Obj) -> Result<Vec<Bytes>, String> {
        let mut requests = Requests::new(Stored::Memory(Bytes::copy_from_slice(stored)), obj)?;
        let mut out = Vec::new();
        while let Some(bytes) = requests.next()? {
            out.push(bytes);
        }
        Ok(out)
    }

    fn frames(plain: &[&[u8]]) -> Vec<u8> {
        plain
            .iter()
            .flat_map(|p| zstd::encode_all(*p, 1).expect("compressed"))
            .collect()
    }

    #[test]
    fn what_was_laid_end_to_end_comes_out_again() {
        let (one, two) = (logs(0..3), logs(3..9));
        let check = |cmp: &str, stored: &[u8]| {
            let mut obj = test_kit::named().0.obj;
            (obj.cmp, obj.raw) = (cmp.to_owned(), (one.len() + two.len()) as u64);
            let whole = [one.as_slice(), two.as_slice()].concat();
            assert_eq!(all(stored, &obj).expect(cmp).concat(), whole, "{cmp}");
        };
        check("none", &[one.as_slice(), &two].concat());
        check("zstd", &frames(&[&one, &two]));
        let gzip = |plain: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(plain).expect("compressed");
            out.finish().expect("compressed")
        };
        check("gzip", &[gzip(&one), gzip(&two)].concat());
    }

    #[test]
    fn a_large_object_comes_in_pieces_that_are_whole() {
        let one = logs(0..200);
        let plain = one.repeat(300);
        let mut obj = test_kit::named().0.obj;
        obj.raw = plain.len() as u64;
        let pieces = all(&frames(&[&plain]), &obj).expect("it is whole");
        assert_eq!(pieces.concat(), plain);
        assert!(pieces.len() > 1, "{}", plain.len());
        let whole = |p: &Bytes| p.len().is_multiple_of(one.len()) && p.len() < REQUEST_BYTES + one.len();
        assert!(pieces.iter().all(whole));
    }

    #[test]
    fn lines_of_json_are_requests() {
        let one = logs(0..2);
        let mut line = Vec::new();
        codec::otlp_json::write(Signal::Logs, &one, &mut line).expect("it is written");
        for text in [
            [line.as_slice(), b"\n", &line, b"\n"].concat(),
            [line.as_slice(), b"\n", &line].concat(),
        ] {
            let mut obj = test_kit::named().0.obj;
            (obj.fmt, obj.raw) = ("otlp_json".to_owned(), text.len() as u64);
            let read = all(&frames(&[&text]), &obj).expect("lines");
            assert_eq!(read, [one.clone(), one.clone()]);
        }
    }

    #[test]
    fn more_or_less_than_the_entry_says_is_refused() {
        let plain = logs(0..50);
        let check = |stored: &[u8], raw: u64, expected: &str| {
            let mut obj = test_kit::named().0.obj;
            obj.raw = raw;
            let told = all(stored, &obj).expect_err(expected);
            assert!(told.contains(expected), "{told}");
        };
        let raw = plain.len() as u64;
        check(&frames(&[&plain]), raw - 1, "more comes out");
        check(&frames(&[&plain]), raw + 1, "less comes out");
        // A thousand times a mebibyte of nothing, in some 30 KiB.
        check(&frames(&vec![&[0; 1 << 20][..]; 1_000]), 100, "more comes out");
        let stored = frames(&[&plain]);
        check(&stored[..stored.len() - 3], raw, "cannot be decompressed");
        check(b"no frame of zstd", raw, "cannot be decompressed");
        check(&frames(&[&plain[..raw as usize - 1]]), raw - 1, "reaches beyond");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let check = |change: fn(&mut Obj), expected: &str| {
            let mut obj = test_kit::named().0.obj;
            change(&mut obj);
            let told = all(b"", &obj).expect_err(expected);
            assert!(told.contains(expected), "{told}");
        };
        check(|obj| obj.fmt = "parquet".into(), "its format \"parquet\"");
        check(|obj| obj.cmp = "lzma".into(), "its compression \"lzma\"");
        check(|obj| obj.signal = "noise".into(), "no such signal");
        let age = |obj: &mut Obj| {
            obj.enc = Some(evidence::entry::Enc {
                alg: "age-v1".into(),
                kid: vec!["acme/2025-11".into()],
            });
        };
        check(age, "encrypted (age-v1)");
    }
}
