//! Parts that are the only copy: the journal that had their records is lost.
//!
//! In: `<part>.open` files and what the state journal says of them. A part is cut after its last whole frame, counted by
//! decoding, and sealed with an empty set: nobody brings its records again, so none is there twice. The file has both
//! names until its line is on the disk; a crash between finds the one or the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use component::Set;
use component::prelude::*;
use evidence::digest::Digest;
use evidence::entry::Obj;
use evidence::names::Compression;
use evidence::time::Time;

use super::facts::{self, Facts};
use super::layout::Named;
use super::partition::Summary;
use super::run::Shared;
use super::spool;
use super::state::{Begun, Line, Live, Sealed, State};

/// No frame is larger, uncompressed: what says that it is was not written by us.
const FRAME_BYTES_MAX: u64 = 1 << 30;
/// The window that a frame may ask for, as a power of two.
const WINDOW_LOG_MAX: u32 = 27;
const HOUR_MS: u64 = 3_600_000;

/// What a file of frames holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) compression: Compression,
    /// Bytes of whole frames, from the beginning.
    pub(super) len: u64,
    /// What is known of the records in them; but for their admission.
    pub(super) summary: Summary,
}

impl Content {
    /// The entry of an object with this content; but for what its name says.
    pub(super) fn obj(&self, seq: u64, key: String, size: u64, sha256: [u8; 32], of: &Whose<'_>) -> Obj {
        let summary = &self.summary;
        let at = |ms: u64| Time::from_millis(ms.cast_signed());
        Obj {
            seq,
            key,
            ver: None,
            size,
            sha256: Digest(sha256),
            fmt: "otlp_proto".into(),
            cmp: self.compression.as_str().into(),
            enc: None,
            tenant: of.tenant.to_owned(),
            signal: of.signal.as_str().into(),
            n: summary.records,
            raw: summary.raw_bytes,
            ev: summary
                .event_ns
                .map(|(from, to)| [Time::from_nanos(from), Time::from_nanos(to)]),
            // Nobody knows it closer.
            ad: [at(of.hour * HOUR_MS), at(of.hour * HOUR_MS + HOUR_MS - 1)],
            sev: (of.signal == Signal::Logs).then_some(summary.severities),
            svc: of.services.then(|| summary.services.sorted()),
            svc_more: of.services && summary.more_services,
            lock: None,
            class: None,
            of: None,
            adopted: None,
        }
    }
}

/// Whose an object is, by its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose<'a> {
    pub(super) tenant: &'a str,
    pub(super) signal: Signal,
    pub(super) hour: u64,
    /// Whether the log names services.
    pub(super) services: bool,
}

/// Reads whole frames until the file ends or cannot be read on. Blocks.
pub(super) fn content(path: &Path, signal: Signal, services: bool) -> io::Result<Content> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let compression = match file.fill_buf()? {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0x1f, 0x8b, ..] => Compression::Gzip,
        _ => Compression::None,
    };
    let mut content = Content {
        compression,
        len: 0,
        summary: Summary::default(),
    };
    while !file.fill_buf()?.is_empty() {
        let mut plain = Vec::new();
        let read = match compression {
            Compression::Zstd => unzstd(&mut file, &mut plain),
            Compression::Gzip => read_whole(flate2::bufread::GzDecoder::new(&mut file), &mut plain),
            Compression::None => field(&mut file, &mut plain),
        };
        let shape = match read {
            Ok(()) => wire::validate(signal, &plain, &wire::Limits::default()),
            Err(_) => break,
        };
        let Ok(shape) = shape else { break };
        let (raw, mut facts) = (plain.len() as u64, Facts::default());
        facts.items = u64::from(shape.items);
        facts::add(&mut facts, signal, &Bytes::from(plain), services, false);
        content.summary.add(&facts, raw, 0);
        content.len = file.stream_position()?;
    }
    Ok(content)
}

fn unzstd(file: &mut impl BufRead, plain: &mut Vec<u8>) -> io::Result<()> {
    let mut frame = zstd::stream::read::Decoder::with_buffer(file)?.single_frame();
    frame.window_log_max(WINDOW_LOG_MAX)?;
    read_whole(frame, plain)
}

fn read_whole(frame: impl Read, plain: &mut Vec<u8>) -> io::Result<()> {
    let read = frame.take(FRAME_BYTES_MAX + 1).read_to_end(plain)?;
    if read as u64 > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame that is larger than any of ours"));
    }
    Ok(())
}

/// One field of a request, with its header.
fn field(file: &mut impl BufRead, plain: &mut Vec<u8>) -> io::Result<()> {
    const GROUPS: u64 = 1 << 3 | 2;
    let mut varint = || -> io::Result<u64> {
        let (mut byte, start) = ([0; 1], plain.len());
        loop {
            file.read_exact(&mut byte)?;
            plain.push(byte[0]);
            if byte[0] < 0x80 {
                let number = wire::varint::read(plain, &mut start.clone());
                return number.map_err(|_| io::Error::other("no number"));
            }
            if plain.len() - start > 10 {
                return Err(io::Error::other("no number"));
            }
        }
    };
    let (tag, len) = (varint()?, varint()?);
    if tag != GROUPS || len > FRAME_BYTES_MAX {
        return Err(io::Error::other("no field of a request"));
    }
    let read = Read::take(&mut *file, len).read_to_end(plain)?;
    match read as u64 == len {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Parts that nothing brings again: their signal's journal is another one now, or there is none. `journal`: that of a
/// signal, if anything of the signal comes at all; of others the journal may come back.
pub(super) fn only_copies(state: &State, journal: impl Fn(Signal) -> Option<Option<String>>) -> Vec<Begun> {
    let is_only = |begun: &&Begun| {
        let now = Signal::parse(&begun.signal).and_then(&journal);
        begun.j.is_none() || now.is_some_and(|now| now != begun.j)
    };
    state.parts.values().filter(is_only).cloned().collect()
}

/// Seals what is left of these parts.
pub(super) async fn salvage(shared: &Shared, parts: Vec<Begun>) -> Vec<Live> {
    let Some(dir) = shared.spool.clone() else {
        return Vec::new();
    };
    let mut live = Vec::new();
    for begun in parts {
        let open = dir.join(format!("{}.open", begun.part));
        let sealed = loop {
            match one(shared, &begun, &open).await {
                Ok(sealed) => break sealed,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break None,
                Err(error) => shared.disk_trouble(&error).await,
            }
        };
        if let Some(sealed) = sealed {
            let obj = &sealed.obj;
            tracing::warn!(
                exporter = shared.id,
                records = obj.n,
                key = obj.key,
                "records whose journal is lost are archived from the spool"
            );
            shared
                .writer()
                .with_books(|books| books.find(&obj.tenant, &obj.signal, obj.n));
            live.push(Live {
                sealed,
                put: None,
                logged: None,
            });
        }
        let _ = tokio::fs::remove_file(open).await;
    }
    live
}

async fn one(shared: &Shared, begun: &Begun, open: &Path) -> io::Result<Option<Sealed>> {
    let Some(signal) = Signal::parse(&begun.signal) else {
        return Ok(None);
    };
    let (path, services) = (open.to_owned(), shared.indexes_services());
    let (content, sha256) = super::disk::blocking(move || cut(&path, signal, services)).await?;
    if content.summary.records == 0 {
        return Ok(None);
    }
    let writer = shared.writer();
    let (seq, origin) = (writer.give_seq(), writer.origin());
    // Splitting lets no other name through.
    let name = shared.config.layout.key(&Named {
        class: &begun.class,
        tenant: &begun.tenant,
        signal,
        // Nobody knows it closer.
        first_ms: begun.hour * HOUR_MS,
        origin: &origin,
        seq,
        compression: content.compression,
    });
    let name = name.map_err(io::Error::other)?;
    let whose = Whose {
        tenant: &begun.tenant,
        signal,
        hour: begun.hour,
        services,
    };
    let mut obj = content.obj(seq, name, content.len, sha256, &whose);
    obj.lock = shared.lock_of(&begun.class, &begun.rules);
    obj.class = shared.config.layout.class_of_entry(&begun.class);
    let mut sealed = Sealed::new(obj, &begun.class, &begun.rules, None, &Set::new());
    (sealed.j, sealed.part) = (begun.j.clone(), Some(begun.part.clone()));
    let (from, whole) = (open.to_owned(), open.with_file_name(format!("{seq:010}.part")));
    super::disk::blocking(move || link(&from, &whole)).await?;
    shared.step("archive.salvage.linked").await;
    shared.line(&Line::Sealed(Box::new(sealed.clone()))).await;
    shared.step("archive.salvage.sealed").await;
    Ok(Some(sealed))
}

/// Cuts a part after its last whole frame.
fn cut(path: &PathBuf, signal: Signal, services: bool) -> io::Result<(Content, [u8; 32])> {
    let content = content(path, signal, services)?;
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(content.len)?;
    file.sync_all()?;
    let (sha256, _) = spool::digest_of(path)?;
    Ok((content, sha256))
}

/// A second name, in the place of one that a crash left behind.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(from, to)?;
    spool::sync_directory_of(to)
}

#[cfg(test)]
mod tests {
    use super::super::buffer::Segment;
    use super::super::config;
    use super::super::frames::Compressor;
    use super::super::tests::rig::logs;
    use super::*;

    /// A request with these many records, in its encoded form.
    fn request(records: usize) -> Vec<u8> {
        let names: Vec<String> = (0..records).map(|n| format!("a/{n}")).collect();
        let payload = logs(&[("a", &names)]);
        payload.chunks[0].bytes().to_vec()
    }

    #[test]
    fn whole_frames_are_counted_and_the_torn_one_is_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("p.open");
        let messages = [request(3), request(5)];
        let raw = |n: usize| messages[..n].iter().map(|m| m.len() as u64).sum::<u64>();
        for how in [
            config::Compression::Zstd,
            config::Compression::Gzip,
            config::Compression::None,
        ] {
            let mut parts = Vec::new();
            for message in &messages {
                let mut compressor = Compressor::new(how, 3, 1 << 20).expect("3 is a level");
                compressor
                    .frames(&[Segment::Shared(message.clone().into())])
                    .expect("it compresses");
                parts.push(compressor.out);
            }
            let check = |bytes: &[u8], frames: usize, records: u64| {
                fs::write(&path, bytes).expect("it is written");
                let (content, _) = cut(&path, Signal::Logs, true).expect("it reads");
                let whole: usize = parts[..frames].iter().map(Vec::len).sum();
                assert_eq!(
                    (content.len, content.summary.records, content.summary.raw_bytes),
                    (whole as u64, records, raw(frames)),
                    "{how:?} {}",
                    bytes.len()
                );
                assert_eq!(fs::read(&path).expect("it is there"), bytes[..whole]);
            };
            let whole = parts.concat();
            check(&[], 0, 0);
            check(&whole, 2, 8);
            check(&whole[..whole.len() - 1], 1, 3);
            check(&whole[..parts[0].len() + 1], 1, 3);
            check(&parts[0][..parts[0].len() - 1], 0, 0);
            check(&[whole.clone(), vec![0; 100]].concat(), 2, 8);
            if how != config::Compression::None {
                let mut damaged = whole.clone();
                let at = whole.len() - 6;
                damaged[at] ^= 1;
                check(&damaged, 1, 3);
            }
        }
    }

    #[test]
    fn a_part_is_the_only_copy_where_its_journal_is_another() {
        let begun = |part: &str, signal: &str, j: Option<&str>| Begun {
            part: part.into(),
            class: "std".into(),
            tenant: "t".into(),
            signal: signal.into(),
            hour: 0,
            rules: String::new(),
            j: j.map(String::from),
        };
        let parts = [
            begun("same", "logs", Some("7")),
            begun("other", "traces", Some("7")),
            begun("memory", "logs", None),
            begun("gone", "metrics", Some("7")),
        ];
        let lines: Vec<u8> = parts
            .iter()
            .cloned()
            .map(Line::Part)
            .flat_map(|l| l.bytes())
            .collect();
        let (state, _) = State::read(&lines).expect("whole lines");
        let now = |signal: Signal| match signal {
            Signal::Logs => Some(Some("7".to_owned())),
            Signal::Traces => Some(Some("8".to_owned())),
            _ => None,
        };
        let found: Vec<String> = only_copies(&state, now).into_iter().map(|b| b.part).collect();
        assert_eq!(found, ["memory", "other"]);
    }
}
