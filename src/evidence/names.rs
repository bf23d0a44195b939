//! What things are called in a store: archives, writers, sessions, tenants, and the keys of objects and of evidence.
//!
//! Keys are relative to the store's prefix. Whoever parses a name knows that it can be part of a path: nothing here
//! lets `/`, `..` or an empty part through. A data key is opaque to a verifier, which takes it from the log.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use wire::Signal;

use crate::digest::{hex, unhex};
use crate::time::Time;

/// Where `archive.json` lies.
pub const ARCHIVE: &str = "_weir/v1/archive.json";
/// Under which all data lies.
pub const DATA: &str = "data/";
/// Under which all evidence lies.
pub const EVIDENCE: &str = "_weir/v1/";
/// Under which all logs lie.
pub const LOGS: &str = "_weir/v1/log/";
/// Under which the endorsements of writer keys lie.
pub const KEYS: &str = "_weir/v1/keys/";
/// The tenant of records without one.
pub const DEFAULT_TENANT: &str = "default";
/// The tenant of the gateway's own records.
pub const OWN_TENANT: &str = "_weir";
/// The retention class of records that no rule names.
pub const DEFAULT_CLASS: &str = "std";
/// The retention class of the audit trail.
pub const AUDIT_CLASS: &str = "audit";
/// The retention class of what the audit trail refers to.
pub const EVIDENCE_CLASS: &str = "evidence";

/// A name that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?}: {rule}")]
pub struct BadName {
    what: &'static str,
    name: String,
    rule: &'static str,
}

fn bad(what: &'static str, name: &str, rule: &'static str) -> BadName {
    // Names come from configs and stores; a message quotes no more than helps.
    let name = name.chars().take(160).collect();
    BadName { what, name, rule }
}

fn is_word(name: &str, max: usize) -> bool {
    let fits = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=max).contains(&name.len()) && name.bytes().all(fits)
}

/// Refuses what is no archive name: 1 to 120 of `a-z 0-9 . / -`, no `/` at an end, no empty part, no `.` or `..`.
pub fn check_archive(name: &str) -> Result<(), BadName> {
    let fits = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'/' | b'-');
    let parts_fit = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if (1..=120).contains(&name.len()) && name.bytes().all(fits) && parts_fit {
        return Ok(());
    }
    Err(bad(
        "archive",
        name,
        "1 to 120 of a-z, 0-9, \".\", \"/\", \"-\", as in logs.example.com/prod",
    ))
}

/// Refuses what is no writer id: 1 to 63 of `a-z 0-9 -`.
pub fn check_writer(name: &str) -> Result<(), BadName> {
    if is_word(name, 63) {
        return Ok(());
    }
    Err(bad("writer", name, "1 to 63 of a-z, 0-9, \"-\""))
}

/// Refuses what is no retention class: 1 to 32 of `a-z 0-9 -`.
pub fn check_class(name: &str) -> Result<(), BadName> {
    if is_word(name, 32) {
        return Ok(());
    }
    Err(bad("class", name, "1 to 32 of a-z, 0-9, \"-\""))
}

/// The writer id of a host: lower case, other characters as `-`, cut to 63. `gateway` if nothing is left.
pub fn writer_of_host(host: &str) -> String {
    let word = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-') => c,
        _ => '-',
    };
    let writer: String = host.chars().take(63).map(word).collect();
    if writer.is_empty() {
        "gateway".to_owned()
    } else {
        writer
    }
}

/// A tenant as it stands in paths: bytes outside `A-Z a-z 0-9 _ . -` as `%XX`. Refuses 0 and more than 128 bytes of
/// result.
pub fn escape_tenant(tenant: &str) -> Result<String, BadName> {
    let mut escaped = String::with_capacity(tenant.len());
    for byte in tenant.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' => escaped.push(char::from(byte)),
            _ => {
                escaped.push('%');
                escaped.push_str(&hex(&[byte]).to_ascii_uppercase());
            }
        }
    }
    if (1..=128).contains(&escaped.len()) {
        return Ok(escaped);
    }
    Err(bad(
        "tenant",
        tenant,
        "1 to 128 bytes, with %XX for all but A-Z, a-z, 0-9, \"_\", \".\", \"-\"",
    ))
}

/// The tenant of a path's part; none unless [`escape_tenant`] makes exactly this text of it.
pub fn unescape_tenant(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (two, after) = rest.split_at_checked(2)?;
        let lower = std::str::from_utf8(two).ok()?.to_ascii_lowercase();
        bytes.extend(unhex::<1>(&lower)?);
        rest = after;
    }
    let tenant = String::from_utf8(bytes).ok()?;
    (escape_tenant(&tenant).as_deref() == Ok(escaped)).then_some(tenant)
}

/// What stands for a tenant whose name must not be in evidence: `t-` and 20 digits of an HMAC-SHA-256.
pub fn tenant_alias(key: &[u8], tenant: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), tenant.as_bytes());
    format!("t-{}", hex(&tag.as_ref()[..10]))
}

// --- Session ---

/// One log: a version 7 UUID, lower case, with hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(String);

impl Session {
    /// A new one of this moment. `random` must come from the system's generator.
    pub fn new(now: Time, random: [u8; 10]) -> Session {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&now.millis().max(0).to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        bytes[6] = 0x70 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        let text = hex(&bytes);
        Session(format!(
            "{}-{}-{}-{}-{}",
            &text[..8],
            &text[8..12],
            &text[12..16],
            &text[16..20],
            &text[20..]
        ))
    }

    /// Its 36 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its last 12 digits, which stand in object names.
    pub fn short(&self) -> &str {
        &self.0[24..]
    }
}

impl FromStr for Session {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Session, BadName> {
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(i, c)| match i {
                8 | 13 | 18 | 23 => c == b'-',
                14 => c == b'7',
                19 => matches!(c, b'8' | b'9' | b'a' | b'b'),
                _ => matches!(c, b'0'..=b'9' | b'a'..=b'f'),
            });
        if fits {
            return Ok(Session(text.to_owned()));
        }
        Err(bad("session", text, "a version 7 UUID in lower case"))
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// --- Origin ---

/// Whose log: `<archive>/<writer>/<session>`. The first line of every head, and the name of the keys that sign it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    text: String,
    archive: usize,
    session: Session,
}

impl Origin {
    /// Puts one together; refuses names that break their rules.
    pub fn new(archive: &str, writer: &str, session: Session) -> Result<Origin, BadName> {
        check_archive(archive)?;
        check_writer(writer)?;
        Ok(Origin {
            text: format!("{archive}/{writer}/{session}"),
            archive: archive.len(),
            session,
        })
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The archive.
    pub fn archive(&self) -> &str {
        &self.text[..self.archive]
    }

    /// The writer.
    pub fn writer(&self) -> &str {
        &self.text[self.archive + 1..self.text.len() - 37]
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The key of the segment that begins with entry `start`.
    pub fn segment_key(&self, start: u64) -> String {
        format!("{LOGS}{}/{}/seg/{start:020}.jsonl", self.writer(), self.session)
    }

    /// The key of the checkpoint over `size` entries.
    pub fn checkpoint_key(&self, size: u64) -> String {
        format!("{LOGS}{}/{}/cp/{size:020}.txt", self.writer(), self.session)
    }
}

impl FromStr for Origin {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Origin, BadName> {
        let mut parts = text.rsplitn(3, '/');
        let (Some(session), Some(writer), Some(archive)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("origin", text, "<archive>/<writer>/<session>"));
        };
        Origin::new(archive, writer, session.parse()?)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// --- keys of objects ---

/// How an object's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Concatenated OTLP requests.
    OtlpProto,
    /// One OTLP/JSON request a line.
    OtlpJson,
    /// Columns, derived from others.
    Parquet,
}

/// How an object is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Independent zstd frames.
    Zstd,
    /// gzip members.
    Gzip,
}

impl Format {
    /// As entries say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::OtlpProto => "otlp_proto",
            Format::OtlpJson => "otlp_json",
            Format::Parquet => "parquet",
        }
    }

    /// What names end in, without its dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::OtlpProto => "binpb",
            Format::OtlpJson => "json",
            Format::Parquet => "parquet",
        }
    }
}

impl Compression {
    /// As entries say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
        }
    }

    /// What [`Compression::as_str`] said.
    pub fn parse(text: &str) -> Option<Compression> {
        let all = [Compression::None, Compression::Zstd, Compression::Gzip];
        all.into_iter().find(|one| one.as_str() == text)
    }

    /// What names end in behind that, with its dot, or nothing.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Zstd => ".zst",
            Compression::Gzip => ".gz",
        }
    }
}

/// How the keys of an archive's objects are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// [`DataKey`].
    #[default]
    Hive,
    /// As the collector's `awss3` names them, with [`Numbered`] in the place of a random name.
    Awss3,
}

impl Layout {
    /// As `archive.json` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Hive => "hive/v1",
            Layout::Awss3 => "awss3/v1",
        }
    }

    /// What [`Layout::as_str`] said.
    pub fn parse(text: &str) -> Option<Layout> {
        let all = [Layout::Hive, Layout::Awss3];
        all.into_iter().find(|one| one.as_str() == text)
    }

    /// In which one an object has this key; every other name is one of the native layout.
    pub fn of_key(key: &str) -> Layout {
        match Numbered::parse(key) {
            Some(_) => Layout::Awss3,
            None => Layout::Hive,
        }
    }

    /// What stands before an object's number in its name.
    fn before_number(self) -> char {
        match self {
            Layout::Hive => '_',
            Layout::Awss3 => '-',
        }
    }

    /// The same key with another number; none if it has not the old one.
    pub fn renumbered(self, key: &str, old: u64, new: u64) -> Option<String> {
        let sign = self.before_number();
        let number = format!("{sign}{old:010}.");
        let at = key.rfind(&number).filter(|at| !key[*at..].contains('/'))?;
        let rest = &key[at + number.len()..];
        Some(format!("{}{sign}{new:010}.{rest}", &key[..at]))
    }
}

/// What tells an object from all others in the layout `awss3/v1`: `<writer>-<last 12 digits of the session>-<seq>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// The one signal of all its records.
    pub signal: Signal,
    /// Who wrote it.
    pub writer: &'a str,
    /// Of the session.
    pub short: &'a str,
    /// The session's number of this object.
    pub seq: u64,
    /// How it is compressed.
    pub compression: Compression,
}

impl<'a> Numbered<'a> {
    /// What stands behind the signal and its `_`, before the ending.
    pub fn unique(writer: &str, session: &Session, seq: u64) -> String {
        format!("{writer}-{}-{seq:010}", session.short())
    }

    /// Reads the end of a key; none if no archive calls an object so. Whatever stands before the signal is a prefix.
    pub fn parse(key: &'a str) -> Option<Numbered<'a>> {
        let all = [Compression::Zstd, Compression::Gzip, Compression::None];
        let file = key.rsplit('/').next()?;
        let (stem, compression) = all.into_iter().find_map(|compression| {
            let stem = file.strip_suffix(compression.extension())?;
            let stem = stem
                .strip_suffix(Format::OtlpProto.extension())?
                .strip_suffix('.')?;
            Some((stem, compression))
        })?;
        // No writer's name has a `_`.
        let (before, unique) = stem.rsplit_once('_')?;
        let signal = Signal::ALL
            .into_iter()
            .find(|signal| before.ends_with(signal.as_str()))?;
        let mut parts = unique.rsplitn(3, '-');
        let (seq, short, writer) = (parts.next()?, parts.next()?, parts.next()?);
        check_writer(writer).ok()?;
        let is_short = short.len() == 12 && short.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let number = plain(seq).filter(|number| format!("{number:010}") == seq)?;
        is_short.then_some(Numbered {
            signal,
            writer,
            short,
            seq: number,
            compression,
        })
    }
}

/// What the key of an object is made of in the native layout.
#[derive(Debug, Clone, Copy)]
pub struct DataKey<'a> {
    /// Retention class.
    pub class: &'a str,
    /// Not escaped.
    pub tenant: &'a str,
    /// The one signal of all its records.
    pub signal: Signal,
    /// Any moment of the hour in which its records were admitted.
    pub admitted: Time,
    /// Who writes it.
    pub writer: &'a str,
    /// In which session.
    pub session: &'a Session,
    /// The session's number of this object.
    pub seq: u64,
    /// How its records are written.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
    /// Whether it is an age file.
    pub age: bool,
}

impl DataKey<'_> {
    /// The key; refuses a tenant that cannot be part of a path.
    pub fn key(&self) -> Result<String, BadName> {
        check_class(self.class)?;
        check_writer(self.writer)?;
        let at = self.admitted.civil();
        Ok(format!(
            "data/v1/class={}/tenant={}/signal={signal}/dt={:04}-{:02}-{:02}/hour={:02}/{signal}_{}_{}_{:010}.{}{}{}",
            self.class,
            escape_tenant(self.tenant)?,
            at.year,
            at.month,
            at.day,
            at.hour,
            self.writer,
            self.session.short(),
            self.seq,
            self.format.extension(),
            self.compression.extension(),
            if self.age { ".age" } else { "" },
            signal = self.signal.as_str(),
        ))
    }
}

/// The retention class that an object's key names; none in a layout that names none.
pub fn class_of(key: &str) -> Option<&str> {
    key.split('/').find_map(|part| part.strip_prefix("class="))
}

// --- keys of evidence ---

/// A key below `_weir/v1/` that this version knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvidenceKey {
    /// `archive.json`.
    Archive,
    /// An endorsement, by the id of the endorsed key.
    Key([u8; 4]),
    /// A part of a log.
    Log(String, Session, LogFile),
    /// The objects of a hold: hold id, session and index of its entry.
    Hold(String, Session, u64),
    /// What a start-up check wrote: session and unix seconds.
    Selftest(Session, u64),
    /// A wrapped identity: tenant (not escaped) and epoch.
    Keyring(String, String),
}

/// A file of a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogFile {
    /// Entries from this index on.
    Segment(u64),
    /// A signed head over so many entries.
    Checkpoint(u64),
    /// A witness's signature below a head: size and the witness's key id.
    Cosignature(u64, [u8; 4]),
    /// A time stamp over a head of this size.
    TimeStamp(u64),
    /// A tile of hashes: the rest of its name.
    Tile(String),
}

impl EvidenceKey {
    /// The key below the store's prefix.
    pub fn key(&self) -> String {
        match self {
            EvidenceKey::Archive => ARCHIVE.to_owned(),
            EvidenceKey::Key(id) => format!("{KEYS}{}.note", hex(id)),
            EvidenceKey::Log(writer, session, file) => format!("{LOGS}{writer}/{session}/{file}"),
            EvidenceKey::Hold(id, session, index) => {
                format!("{EVIDENCE}holds/{id}/{session}-{index:020}.jsonl")
            }
            EvidenceKey::Selftest(session, at) => format!("{EVIDENCE}selftest/{session}-{at}"),
            EvidenceKey::Keyring(tenant, epoch) => {
                let tenant = escape_tenant(tenant).unwrap_or_default();
                format!("{EVIDENCE}keyring/{tenant}/{epoch}.json")
            }
        }
    }

    /// Reads a key; none if it is no name that this version writes.
    pub fn parse(key: &str) -> Option<EvidenceKey> {
        let rest = key.strip_prefix(EVIDENCE)?;
        if rest == "archive.json" {
            return Some(EvidenceKey::Archive);
        }
        let (folder, rest) = rest.split_once('/')?;
        let found = match folder {
            "keys" => EvidenceKey::Key(unhex(rest.strip_suffix(".note")?)?),
            "log" => {
                let (writer, rest) = rest.split_once('/')?;
                let (session, file) = rest.split_once('/')?;
                check_writer(writer).ok()?;
                EvidenceKey::Log(writer.to_owned(), session.parse().ok()?, LogFile::parse(file)?)
            }
            "holds" => {
                let (id, file) = rest.split_once('/')?;
                let (session, index) = file.strip_suffix(".jsonl")?.split_at_checked(36)?;
                let index = twenty(index.strip_prefix('-')?)?;
                EvidenceKey::Hold(hold_id(id)?, session.parse().ok()?, index)
            }
            "selftest" => {
                let (session, at) = rest.split_at_checked(36)?;
                EvidenceKey::Selftest(session.parse().ok()?, plain(at.strip_prefix('-')?)?)
            }
            "keyring" => {
                let (tenant, file) = rest.split_once('/')?;
                let epoch = file.strip_suffix(".json")?;
                let tenant = unescape_tenant(tenant).filter(|t| !matches!(t.as_str(), "." | ".."))?;
                EvidenceKey::Keyring(tenant, hold_id(epoch)?)
            }
            _ => return None,
        };
        // One name for each thing: what would be written differently is another file.
        (found.key() == key).then_some(found)
    }
}

impl LogFile {
    fn parse(file: &str) -> Option<LogFile> {
        let (folder, name) = file.split_once('/')?;
        Some(match folder {
            "seg" => LogFile::Segment(twenty(name.strip_suffix(".jsonl")?)?),
            "cp" => LogFile::Checkpoint(twenty(name.strip_suffix(".txt")?)?),
            "tsr" => LogFile::TimeStamp(twenty(name.strip_suffix(".tsr")?)?),
            "cosig" => {
                let (size, id) = name.strip_suffix(".txt")?.split_once('-')?;
                LogFile::Cosignature(twenty(size)?, unhex(id)?)
            }
            "tile" => {
                let fits = |part: &str| {
                    !part.is_empty()
                        && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'.')
                        && part != ".."
                };
                let whole = name.split('/').all(fits).then(|| name.to_owned());
                LogFile::Tile(whole?)
            }
            _ => return None,
        })
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFile::Segment(start) => write!(f, "seg/{start:020}.jsonl"),
            LogFile::Checkpoint(size) => write!(f, "cp/{size:020}.txt"),
            LogFile::Cosignature(size, id) => write!(f, "cosig/{size:020}-{}.txt", hex(id)),
            LogFile::TimeStamp(size) => write!(f, "tsr/{size:020}.tsr"),
            LogFile::Tile(name) => write!(f, "tile/{name}"),
        }
    }
}

/// A number of exactly 20 digits.
fn twenty(text: &str) -> Option<u64> {
    (text.len() == 20).then(|| plain(text)).flatten()
}

fn plain(text: &str) -> Option<u64> {
    text.bytes()
        .all(|c| c.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn hold_id(id: &str) -> Option<String> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let whole = (1..=128).contains(&id.len()) && id.bytes().all(fits) && !matches!(id, "." | "..");
    whole.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "019aa1c2-5be0-7abc-8def-0123456789ab";

    #[test]
    fn names_keep_to_their_rules() {
        let check = |name: &str, archive: bool, writer: bool, class: bool| {
            let found = [check_archive(name), check_writer(name), check_class(name)].map(|r| r.is_ok());
            assert_eq!(found, [archive, writer, class], "{name}");
        };
        check("logs.example.com/prod", true, false, false);
        check("gw-0", true, true, true);
        check("a", true, true, true);
        check(&"a".repeat(32), true, true, true);
        check(&"a".repeat(33), true, true, false);
        check(&"a".repeat(63), true, true, false);
        check(&"a".repeat(64), true, false, false);
        check(&"a".repeat(120), true, false, false);
        check(&"a".repeat(121), false, false, false);
        for name in [
            "", "/a", "a/", "a//b", "a/../b", "..", "A", "a b", "a_b", "ä", "a\n",
        ] {
            check(name, false, false, false);
        }
        let check = |host: &str, writer: &str| assert_eq!(writer_of_host(host), writer);
        check("GW-0.example.com", "gw-0-example-com");
        check("", "gateway");
        check("ärger_1", "-rger-1");
        check(&"x".repeat(70), &"x".repeat(63));
    }

    #[test]
    fn tenants_can_be_part_of_a_path() {
        let check = |tenant: &str, escaped: &str| {
            assert_eq!(escape_tenant(tenant).as_deref(), Ok(escaped));
            assert_eq!(unescape_tenant(escaped).as_deref(), Some(tenant));
        };
        check("acme", "acme");
        check("_weir", "_weir");
        check("a/b=c", "a%2Fb%3Dc");
        check("..", "..");
        check("Zürich 9", "Z%C3%BCrich%209");
        check("%2F", "%252F");
        check(&"a".repeat(128), &"a".repeat(128));
        assert!(escape_tenant("").is_err());
        assert!(escape_tenant(&"a".repeat(129)).is_err());
        assert!(escape_tenant(&"/".repeat(43)).is_err());
        for escaped in ["", "a/b", "%2f", "%41", "%", "%2", "%FF", "ä", "% 1", "%+1"] {
            assert_eq!(unescape_tenant(escaped), None, "{escaped}");
        }
        assert_eq!(tenant_alias(b"key", "acme"), "t-2a0c2d9f96b5b1a7675b");
    }

    #[test]
    fn sessions_are_uuids_of_version_seven() {
        let now = "2025-11-20T14:05:00.100Z".parse().expect("a time");
        let session = Session::new(now, [0xff; 10]);
        assert_eq!(session.as_str(), "019aa195-2f44-7fff-bfff-ffffffffffff");
        assert_eq!(session.as_str().parse(), Ok(session));
        let session: Session = SESSION.parse().expect("a session");
        assert_eq!(session.short(), "0123456789ab");
        for text in [
            "",
            "019aa1c2-5be0-4abc-8def-0123456789ab",
            "019aa1c2-5be0-7abc-cdef-0123456789ab",
            "019AA1C2-5be0-7abc-8def-0123456789ab",
            "019aa1c25be0-7abc-8def-0123456789ab-",
            "019aa1c2-5be0-7abc-8def-0123456789abc",
        ] {
            assert!(text.parse::<Session>().is_err(), "{text}");
        }
    }

    #[test]
    fn origins_come_apart_again() {
        let text = format!("logs.example.com/prod/gw-0/{SESSION}");
        let origin: Origin = text.parse().expect("an origin");
        assert_eq!(origin.as_str(), text);
        assert_eq!(origin.archive(), "logs.example.com/prod");
        assert_eq!(origin.writer(), "gw-0");
        assert_eq!(origin.session().as_str(), SESSION);
        assert_eq!(
            origin.segment_key(5),
            format!("_weir/v1/log/gw-0/{SESSION}/seg/00000000000000000005.jsonl")
        );
        for text in ["", SESSION, "gw-0/x", "a/b/c", &format!("/gw-0/{SESSION}")] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn data_keys_have_the_layout_of_hive() {
        let session = SESSION.parse().expect("a session");
        let key = DataKey {
            class: "std",
            tenant: "acme",
            signal: Signal::Logs,
            admitted: "2025-11-20T14:05:00.100Z".parse().expect("a time"),
            writer: "gw-0",
            session: &session,
            seq: 0,
            format: Format::OtlpProto,
            compression: Compression::Zstd,
            age: false,
        };
        assert_eq!(
            key.key().expect("a key"),
            "data/v1/class=std/tenant=acme/signal=logs/dt=2025-11-20/hour=14/logs_gw-0_0123456789ab_0000000000.binpb.zst"
        );
        let key = DataKey {
            class: "pci",
            tenant: "../x",
            signal: Signal::Traces,
            seq: 12_345_678_901,
            format: Format::OtlpJson,
            compression: Compression::Gzip,
            age: true,
            ..key
        };
        assert_eq!(
            key.key().expect("a key"),
            "data/v1/class=pci/tenant=..%2Fx/signal=traces/dt=2025-11-20/hour=14/traces_gw-0_0123456789ab_12345678901.json.gz.age"
        );
        assert!(DataKey { tenant: "", ..key }.key().is_err());
        assert!(DataKey { class: "A", ..key }.key().is_err());
    }

    #[test]
    fn a_number_is_changed_where_it_stands() {
        let check = |layout: Layout, key: &str, expected: Option<&str>| {
            assert_eq!(layout.renumbered(key, 7, 12).as_deref(), expected, "{key}");
        };
        let hive = "data/v1/hour=14/logs_gw-0_0123456789ab_0000000007.binpb.zst";
        check(
            Layout::Hive,
            hive,
            Some("data/v1/hour=14/logs_gw-0_0123456789ab_0000000012.binpb.zst"),
        );
        check(
            Layout::Awss3,
            "x-0000000007./h-0000000007.logs_a-0000000007-0123456789ab-0000000007.binpb",
            Some("x-0000000007./h-0000000007.logs_a-0000000007-0123456789ab-0000000012.binpb"),
        );
        check(Layout::Awss3, hive, None);
        assert_eq!(Layout::of_key(hive), Layout::Hive);
        let odd = "h_0000000007.logs_gw-0-0123456789ab-0000000007.binpb";
        assert_eq!(Layout::of_key(odd), Layout::Awss3);
        check(
            Layout::Awss3,
            odd,
            Some("h_0000000007.logs_gw-0-0123456789ab-0000000012.binpb"),
        );
        check(Layout::Awss3, "h-0000000007./logs_1.binpb", None);
        check(Layout::Hive, "", None);
    }

    #[test]
    fn names_beside_those_of_others_are_told_apart() {
        let session: Session = SESSION.parse().expect("a session");
        let unique = Numbered::unique("gw-0", &session, 31);
        assert_eq!(unique, "gw-0-0123456789ab-0000000031");
        let check = |key: &str, expected: Option<(Signal, &str, u64, Compression)>| {
            let found = Numbered::parse(key);
            let found = found.map(|n| (n.signal, n.writer, n.seq, n.compression));
            assert_eq!(found, expected, "{key}");
        };
        let ours = Some((Signal::Logs, "gw-0", 31, Compression::Gzip));
        check(&format!("year=2026/minute=09/logs_{unique}.binpb.gz"), ours);
        check(&format!("p/my_logs_{unique}.binpb.gz"), ours);
        check(
            &format!("traces_a-{unique}.binpb"),
            Some((Signal::Traces, "a-gw-0", 31, Compression::None)),
        );
        for other in [
            "year=2026/minute=09/logs_482910334.binpb",
            "logs_019c2255-5a68-7abc-8def-0123456789ab.binpb.zst",
            "logs_-0123456789ab-0000000031.binpb",
            "logs_gw-0-0123456789AB-0000000031.binpb",
            "logs_gw-0-0123456789ab-31.binpb",
            "logs_gw-0-0123456789ab-00000000031.binpb",
            "logs_gw-0-0123456789ab-0000000031.json",
            "logs_gw-0-0123456789ab-0000000031.binpb.gz.zst",
            "notes_gw-0-0123456789ab-0000000031.binpb",
            "logs-gw-0-0123456789ab-0000000031.binpb",
            "logs_gw-0-0123456789ab-0000000031.binpb/x",
            "",
        ] {
            check(other, None);
        }
        for layout in [Layout::Hive, Layout::Awss3] {
            assert_eq!(Layout::parse(layout.as_str()), Some(layout));
        }
        assert_eq!(Layout::parse("hive/v2"), None);
    }

    #[test]
    fn evidence_keys_are_read_as_they_are_written() {
        let session: Session = SESSION.parse().expect("a session");
        let log = |file| EvidenceKey::Log("gw-0".to_owned(), session.clone(), file);
        let check = |rest: &str, expected: &EvidenceKey| {
            let key = format!("_weir/v1/{rest}");
            assert_eq!(EvidenceKey::parse(&key).as_ref(), Some(expected), "{key}");
            assert_eq!(expected.key(), key);
        };
        let base = format!("log/gw-0/{SESSION}");
        check("archive.json", &EvidenceKey::Archive);
        check("keys/5d6e9680.note", &EvidenceKey::Key([0x5d, 0x6e, 0x96, 0x80]));
        check(
            &format!("{base}/seg/00000000000000000005.jsonl"),
            &log(LogFile::Segment(5)),
        );
        check(
            &format!("{base}/cp/18446744073709551615.txt"),
            &log(LogFile::Checkpoint(u64::MAX)),
        );
        check(
            &format!("{base}/cosig/00000000000000000008-0a0b0c0d.txt"),
            &log(LogFile::Cosignature(8, [10, 11, 12, 13])),
        );
        check(
            &format!("{base}/tsr/00000000000000000008.tsr"),
            &log(LogFile::TimeStamp(8)),
        );
        check(
            &format!("{base}/tile/0/x001/067"),
            &log(LogFile::Tile("0/x001/067".to_owned())),
        );
        check(
            &format!("holds/case-1/{SESSION}-00000000000000000003.jsonl"),
            &EvidenceKey::Hold("case-1".to_owned(), session.clone(), 3),
        );
        check(
            &format!("selftest/{SESSION}-1763647500"),
            &EvidenceKey::Selftest(session.clone(), 1_763_647_500),
        );
        check(
            "keyring/a%2Fb/2025-11.json",
            &EvidenceKey::Keyring("a/b".to_owned(), "2025-11".to_owned()),
        );
        for rest in [
            "",
            "log/gw-0",
            &format!("{base}/seg/5.jsonl"),
            &format!("{base}/seg/99999999999999999999.jsonl"),
            &format!("{base}/seg/+0000000000000000005.jsonl"),
            &format!("{base}/cp/00000000000000000005.txt.bak"),
            &format!("{base}/tile/../../x"),
            &format!("log/GW/{SESSION}/seg/00000000000000000005.jsonl"),
            "keys/5D6E9680.note",
            "holds/../x.jsonl",
            "keyring/../x.json",
            &format!("selftest/{SESSION}-01"),
        ] {
            assert_eq!(EvidenceKey::parse(&format!("_weir/v1/{rest}")), None, "{rest}");
        }
        assert_eq!(EvidenceKey::parse("data/v1/archive.json"), None);
    }
}
