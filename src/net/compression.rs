//! Compression of whole messages.
//!
//! In: one bounded body, any number of members or frames, the inflated total bounded before anything is allocated for
//! it; bytes behind the last member are refused. Out: always exactly one member, since common peers read the first
//! and silently lose the rest. gzip goes through libdeflate where the footer tells the size, and through a streaming
//! reader in every other case; contexts are kept per thread.

use std::cell::RefCell;
use std::io::{self, Read};

use bytes::Bytes;
use libdeflater::{CompressionError, CompressionLvl, Compressor, Decompressor};
pub use wire::Encoding;

/// Names that a client may send in `Content-Encoding` and that are understood, without identity.
pub const HTTP_TOKENS: [&str; 7] = [
    "gzip",
    "zstd",
    "zlib",
    "snappy",
    "deflate",
    "lz4",
    "x-snappy-framed",
];

/// What `grpc-accept-encoding` answers.
pub const GRPC_TOKENS: &str = "gzip,zstd,snappy,deflate,identity";

const SNAPPY_MAGIC: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// The largest window that a zstd frame may ask for, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Members or frames in one body: each costs a decoder, and common writers make one, or one for every megabyte.
const MEMBERS_MAX: u64 = 1000;
/// No deflate stream inflates by more than this.
const DEFLATE_RATIO_MAX: usize = 1032;

/// An inflated body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The message.
    pub bytes: Bytes,
    /// What it was compressed with; `snappy` is told apart by its first bytes.
    pub encoding: Encoding,
    /// Exactly one member or frame and nothing behind it: a reader that stops after the first sees the same.
    pub single: bool,
}

/// A body that cannot be inflated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than `limit` bytes would come out.
    #[error("inflates to more than {limit} bytes")]
    TooLarge {
        /// What was allowed.
        limit: usize,
    },
    /// Bytes that belong to no member follow the last one.
    #[error("bytes follow the end of the compressed data")]
    Trailing,
    /// Not what its encoding promises.
    #[error("corrupt {encoding} data: {reason}")]
    Corrupt {
        /// The encoding's name.
        encoding: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

/// The name of an encoding on the wire, in HTTP's words.
pub fn http_token(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
        Encoding::Deflate => "deflate",
        Encoding::SnappyBlock => "snappy",
        Encoding::SnappyFramed => "x-snappy-framed",
        Encoding::Lz4 => "lz4",
    }
}

/// The encoding behind a `Content-Encoding` token; `None` for unknown ones and for identity.
pub fn from_http_token(token: &str) -> Option<Encoding> {
    Some(match token {
        "gzip" => Encoding::Gzip,
        "zstd" => Encoding::Zstd,
        "zlib" | "deflate" => Encoding::Deflate,
        "snappy" => Encoding::SnappyBlock,
        "x-snappy-framed" => Encoding::SnappyFramed,
        "lz4" => Encoding::Lz4,
        _ => return None,
    })
}

/// The encoding behind a `grpc-encoding` value; gRPC's `snappy` is the framed format.
pub fn from_grpc_token(token: &str) -> Option<Encoding> {
    match token {
        "snappy" => Some(Encoding::SnappyFramed),
        "gzip" | "zstd" | "deflate" => from_http_token(token),
        _ => None,
    }
}

/// Inflates a whole body to at most `limit` bytes.
///
/// Cost: one pass; memory grows with what really comes out, never with what a header claims beyond `limit`.
pub fn decode(encoding: Encoding, input: &[u8], limit: usize) -> Result<Decoded, Error> {
    let encoding = match encoding {
        Encoding::SnappyBlock if input.starts_with(SNAPPY_MAGIC) => Encoding::SnappyFramed,
        other => other,
    };
    let (bytes, single) = match encoding {
        Encoding::Gzip => gunzip(input, limit),
        Encoding::Zstd => unzstd(input, limit),
        Encoding::Deflate => inflate_zlib(input, limit),
        Encoding::SnappyBlock => unsnap(input, limit),
        Encoding::SnappyFramed => unsnap_framed(input, limit),
        Encoding::Lz4 => unlz4(input, limit),
    }?;
    Ok(Decoded {
        bytes: bytes.into(),
        encoding,
        single,
    })
}

/// Compresses chunks, laid end to end, into one member.
///
/// Level 0 takes the default: 1 for gzip and zstd. Levels outside of the encoder's range take the nearest. Encodings
/// without levels ignore it.
pub fn encode(encoding: Encoding, level: i32, chunks: &[Bytes]) -> Bytes {
    match chunks {
        [one] => encode_whole(encoding, level, one),
        many => {
            let mut whole = Vec::with_capacity(many.iter().map(Bytes::len).sum());
            for chunk in many {
                whole.extend_from_slice(chunk);
            }
            encode_whole(encoding, level, &whole)
        }
    }
}

fn encode_whole(encoding: Encoding, level: i32, input: &[u8]) -> Bytes {
    match encoding {
        Encoding::Gzip => deflated(level, input, Compressor::gzip_compress_bound, |c, input, out| {
            c.gzip_compress(input, out)
        }),
        Encoding::Deflate => deflated(level, input, Compressor::zlib_compress_bound, |c, input, out| {
            c.zlib_compress(input, out)
        }),
        Encoding::Zstd => zstd_compressed(level, input),
        Encoding::SnappyBlock => snap::raw::Encoder::new()
            .compress_vec(input)
            .expect("the buffer that compress_vec makes is always large enough")
            .into(),
        Encoding::SnappyFramed => {
            let mut writer = snap::write::FrameEncoder::new(Vec::with_capacity(input.len() / 2 + 64));
            let written = io::Write::write_all(&mut writer, input);
            written.expect("writing to a Vec does not fail");
            writer
                .into_inner()
                .expect("writing to a Vec does not fail")
                .into()
        }
        Encoding::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::with_capacity(input.len() / 2 + 64));
            let written = io::Write::write_all(&mut writer, input);
            written.expect("writing to a Vec does not fail");
            writer.finish().expect("writing to a Vec does not fail").into()
        }
    }
}

// --- deflate family ---

thread_local! {
    static INFLATE: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    static DEFLATE: RefCell<Option<(i32, Compressor)>> = const { RefCell::new(None) };
    static ZSTD_OUT: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static ZSTD_IN: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn deflated(
    level: i32,
    input: &[u8],
    bound: fn(&mut Compressor, usize) -> usize,
    run: fn(&mut Compressor, &[u8], &mut [u8]) -> Result<usize, CompressionError>,
) -> Bytes {
    // Go's levels: 0 here means "not set", -1 its default of 6, -2 Huffman only.
    let level = match level {
        0 | -2 => 1,
        -1 => 6,
        n => n.clamp(1, 12),
    };
    DEFLATE.with_borrow_mut(|kept| {
        let (_, compressor) = match kept {
            Some(kept) if kept.0 == level => kept,
            other => {
                let lvl = CompressionLvl::new(level).expect("1..=12 are libdeflate's levels");
                other.insert((level, Compressor::new(lvl)))
            }
        };
        let mut out = vec![0; bound(compressor, input.len())];
        let n = run(compressor, input, &mut out).expect("the bound is an upper bound");
        out.truncate(n);
        if out.capacity() > 2 * n {
            out.shrink_to_fit();
        }
        out.into()
    })
}

/// One member without options whose footer tells the size: libdeflate, whole. Everything else: member by member.
fn gunzip(input: &[u8], limit: usize) -> Result<(Vec<u8>, bool), Error> {
    if let Some(out) = gunzip_single(input, limit) {
        return Ok((out, true));
    }
    let mut out = Vec::new();
    let mut rest = input;
    let mut members = 0u64;
    loop {
        let mut member = flate2::bufread::GzDecoder::new(rest);
        read_bounded(&mut member, limit, &mut out, "gzip")?;
        members += 1;
        if members > MEMBERS_MAX {
            return Err(too_many("gzip"));
        }
        rest = member.into_inner();
        match rest {
            [] => return Ok((out, members == 1)),
            [0x1f, 0x8b, ..] => {}
            _ => return Err(Error::Trailing),
        }
    }
}

/// `None` = not for sure one whole member; the slow path decides.
fn gunzip_single(input: &[u8], limit: usize) -> Option<Vec<u8>> {
    const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
    let (header, body) = input.split_at_checked(10)?;
    let (body, footer) = body.split_at_checked(body.len().checked_sub(8)?)?;
    if !header.starts_with(&MAGIC) || header[3] != 0 {
        return None;
    }
    let crc = u32::from_le_bytes(footer[..4].try_into().ok()?);
    let size = u32::from_le_bytes(footer[4..].try_into().ok()?) as usize;
    if size > limit || size > body.len().saturating_mul(DEFLATE_RATIO_MAX) {
        return None;
    }
    // libdeflate does not say where the stream ended. Another member would begin with the magic.
    if memchr::memmem::find(body, &MAGIC).is_some() {
        return None;
    }
    let mut out = vec![0; size];
    let n = INFLATE
        .with_borrow_mut(|d| d.deflate_decompress(body, &mut out))
        .ok()?;
    (n == size && libdeflater::crc32(&out) == crc).then_some(out)
}

fn inflate_zlib(input: &[u8], limit: usize) -> Result<(Vec<u8>, bool), Error> {
    let mut out = Vec::new();
    let mut stream = flate2::bufread::ZlibDecoder::new(input);
    read_bounded(&mut stream, limit, &mut out, "deflate")?;
    if stream.into_inner().is_empty() {
        Ok((out, true))
    } else {
        Err(Error::Trailing)
    }
}

// --- zstd ---

fn zstd_compressed(level: i32, input: &[u8]) -> Bytes {
    let level = if level == 0 { 1 } else { level.clamp(-7, 19) };
    ZSTD_OUT.with_borrow_mut(|kept| {
        let (_, compressor) = match kept {
            Some(kept) if kept.0 == level => kept,
            other => {
                let new = zstd::bulk::Compressor::new(level).expect("a level in range makes a context");
                other.insert((level, new))
            }
        };
        compressor
            .compress(input)
            .expect("the buffer that compress makes is always large enough")
            .into()
    })
}

fn unzstd(input: &[u8], limit: usize) -> Result<(Vec<u8>, bool), Error> {
    let corrupt = |reason: String| Error::Corrupt {
        encoding: "zstd",
        reason,
    };
    // One walk over the frames: are they whole, how many, and what do they claim?
    let (mut rest, mut frames, mut claimed, mut skippable) = (input, 0u64, Some(0u64), false);
    while !rest.is_empty() {
        let size = zstd::zstd_safe::find_frame_compressed_size(rest).map_err(|code| {
            if frames > 0 && !is_zstd_magic(rest) {
                return Error::Trailing;
            }
            corrupt(zstd::zstd_safe::get_error_name(code).to_owned())
        })?;
        skippable |= rest.len() > 3 && rest[0] & 0xf0 == 0x50 && rest[1..4] == [0x2a, 0x4d, 0x18];
        let content = zstd::zstd_safe::get_frame_content_size(rest).ok().flatten();
        claimed = claimed.zip(content).and_then(|(a, b)| a.checked_add(b));
        frames += 1;
        if frames > MEMBERS_MAX {
            return Err(too_many("zstd"));
        }
        rest = &rest[size.clamp(1, rest.len())..];
    }
    if frames == 0 {
        return Err(corrupt("empty".into()));
    }
    let single = frames == 1 && !skippable;
    let Some(claimed) = claimed else {
        let mut out = Vec::new();
        let mut stream =
            zstd::stream::read::Decoder::with_buffer(input).map_err(|e| corrupt(e.to_string()))?;
        stream
            .window_log_max(ZSTD_WINDOW_LOG_MAX)
            .map_err(|e| corrupt(e.to_string()))?;
        read_bounded(&mut stream, limit, &mut out, "zstd")?;
        return Ok((out, single));
    };
    if claimed > limit as u64 {
        return Err(Error::TooLarge { limit });
    }
    let mut out = Vec::with_capacity(claimed as usize);
    ZSTD_IN.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(|e| corrupt(e.to_string()))?),
        };
        context
            .decompress_to_buffer(input, &mut out)
            .map_err(|e| corrupt(e.to_string()))
    })?;
    Ok((out, single))
}

fn is_zstd_magic(input: &[u8]) -> bool {
    input.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || (input.len() > 3 && input[0] & 0xf0 == 0x50 && input[1..4] == [0x2a, 0x4d, 0x18])
}

// --- snappy and lz4 ---

fn unsnap(input: &[u8], limit: usize) -> Result<(Vec<u8>, bool), Error> {
    let corrupt = |e: snap::Error| Error::Corrupt {
        encoding: "snappy",
        reason: e.to_string(),
    };
    if snap::raw::decompress_len(input).map_err(corrupt)? > limit {
        return Err(Error::TooLarge { limit });
    }
    let out = snap::raw::Decoder::new().decompress_vec(input).map_err(corrupt)?;
    Ok((out, true))
}

fn unsnap_framed(input: &[u8], limit: usize) -> Result<(Vec<u8>, bool), Error> {
    let mut out = Vec::new();
    read_bounded(
        &mut snap::read::FrameDecoder::new(input),
        limit,
        &mut out,
        "snappy",
    )?;
    let again = input.get(SNAPPY_MAGIC.len()..).unwrap_or(&[]);
    Ok((out, memchr::memmem::find(again, SNAPPY_MAGIC).is_none()))
}

fn unlz4(input: &[u8], limit: usize) -> Result<(Vec<u8>, bool), Error> {
    const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
    let corrupt = |reason: &str| Error::Corrupt {
        encoding: "lz4",
        reason: reason.into(),
    };
    let mut out = Vec::new();
    let mut rest = input;
    let mut frames = 0u64;
    loop {
        if !rest.starts_with(&MAGIC) {
            return Err(if frames == 0 {
                corrupt("no frame")
            } else {
                Error::Trailing
            });
        }
        let mut frame = lz4_flex::frame::FrameDecoder::new(Counted { rest, ended: false });
        read_bounded(&mut frame, limit, &mut out, "lz4")?;
        if frame.get_ref().ended {
            // The decoder takes the end of the input for the end of a frame; the end mark is not there.
            return Err(corrupt("cut off"));
        }
        rest = frame.get_ref().rest;
        frames += 1;
        if frames > MEMBERS_MAX {
            return Err(too_many("lz4"));
        }
        if rest.is_empty() {
            return Ok((out, frames == 1));
        }
    }
}

/// A slice that notes whether somebody read beyond its end.
struct Counted<'a> {
    rest: &'a [u8],
    ended: bool,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.ended |= self.rest.is_empty() && !buf.is_empty();
        self.rest.read(buf)
    }
}

fn too_many(encoding: &'static str) -> Error {
    Error::Corrupt {
        encoding,
        reason: format!("more than {MEMBERS_MAX} members"),
    }
}

/// Appends what a decoder gives, as long as `out` stays within `limit`.
fn read_bounded(
    reader: &mut impl Read,
    limit: usize,
    out: &mut Vec<u8>,
    encoding: &'static str,
) -> Result<(), Error> {
    let room = limit.saturating_sub(out.len()) as u64;
    let mut bounded = reader.take(room + 1);
    bounded.read_to_end(out).map_err(|e| Error::Corrupt {
        encoding,
        reason: e.to_string(),
    })?;
    if out.len() > limit {
        return Err(Error::TooLarge { limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Encoding; 6] = [
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::Deflate,
        Encoding::SnappyBlock,
        Encoding::SnappyFramed,
        Encoding::Lz4,
    ];

    fn sample(n: usize) -> Vec<u8> {
        (0..n)
            .map(|i| ((i * i / 7) % 251) as u8 ^ (i / 512) as u8)
            .collect()
    }

    fn packed(encoding: Encoding, data: &[u8]) -> Bytes {
        encode(encoding, 0, &[Bytes::copy_from_slice(data)])
    }

    #[test]
    fn round_trips_in_every_encoding_and_level() {
        for encoding in ALL {
            for n in [0, 1, 100, 70_000, 300_000] {
                let data = sample(n);
                for level in [0, -2, -1, 1, 6, 9, 100] {
                    let out = encode(encoding, level, &[Bytes::from(data.clone())]);
                    let back = decode(encoding, &out, n).unwrap();
                    assert_eq!(back.bytes, data, "{encoding:?} {n} {level}");
                    assert!(back.single, "{encoding:?} {n} {level}");
                }
                let (a, b) = data.split_at(n / 3);
                let chunks = [Bytes::copy_from_slice(a), Bytes::copy_from_slice(b)];
                assert_eq!(
                    decode(encoding, &encode(encoding, 0, &chunks), n).unwrap().bytes,
                    data
                );
            }
        }
    }

    #[test]
    fn refuses_one_byte_over_the_limit() {
        for encoding in ALL {
            let body = packed(encoding, &sample(50_000));
            assert_eq!(
                decode(encoding, &body, 49_999),
                Err(Error::TooLarge { limit: 49_999 }),
                "{encoding:?}"
            );
            assert!(decode(encoding, &body, 50_000).is_ok(), "{encoding:?}");
        }
    }

    #[test]
    fn stops_bombs_of_zeros_early() {
        for encoding in ALL {
            let body = packed(encoding, &vec![0; 64 << 20]);
            assert_eq!(
                decode(encoding, &body, 1 << 20),
                Err(Error::TooLarge { limit: 1 << 20 }),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn reads_every_member_and_says_that_it_is_not_single() {
        let (a, b) = (sample(40_000), sample(9_000));
        for encoding in [
            Encoding::Gzip,
            Encoding::Zstd,
            Encoding::SnappyFramed,
            Encoding::Lz4,
        ] {
            for (a, b) in [(&a, &b), (&b, &b), (&b, &Vec::new())] {
                let second = packed(encoding, b);
                if second.is_empty() {
                    continue;
                }
                let body = [packed(encoding, a), second].concat();
                let got = decode(encoding, &body, 50_000).unwrap();
                assert_eq!(got.bytes, [a.as_slice(), b].concat(), "{encoding:?}");
                assert!(!got.single, "{encoding:?}");
            }
            let body = [packed(encoding, &a), packed(encoding, &a)].concat();
            assert_eq!(
                decode(encoding, &body, 79_999),
                Err(Error::TooLarge { limit: 79_999 }),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn bears_a_thousand_members_and_no_more() {
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Lz4] {
            let one = packed(encoding, b"x");
            let got = decode(encoding, &one.repeat(1000), 1000).unwrap();
            assert_eq!(got.bytes, vec![b'x'; 1000], "{encoding:?}");
            let error = decode(encoding, &one.repeat(1001), 2000).unwrap_err();
            assert!(error.to_string().ends_with("more than 1000 members"), "{error}");
        }
    }

    #[test]
    fn refuses_bytes_behind_the_end_and_cut_off_bodies() {
        for encoding in ALL {
            let body = packed(encoding, &sample(20_000));
            let long = [&body[..], b"garbage!"].concat();
            assert!(decode(encoding, &long, 100_000).is_err(), "{encoding:?}");
            for cut in [1, 4, 5, 9, body.len() / 2, body.len() - 1, body.len()] {
                let kept = &body[..body.len() - cut];
                // A framed snappy stream has no end mark: cut between frames it is whole.
                let whole = encoding == Encoding::SnappyFramed && kept.is_empty();
                assert!(
                    whole || decode(encoding, kept, 100_000).is_err(),
                    "{encoding:?} -{cut}"
                );
            }
        }
        let gz = packed(Encoding::Gzip, &sample(2000));
        assert_eq!(
            decode(Encoding::Gzip, &[&gz[..], &[0, 0]].concat(), 9999),
            Err(Error::Trailing)
        );
    }

    #[test]
    fn never_panics_on_flipped_bytes() {
        let data = sample(3000);
        for encoding in ALL {
            let body = packed(encoding, &data);
            for i in 0..body.len().min(600) {
                for bit in [1u8, 0x80] {
                    let mut bad = body.to_vec();
                    bad[i] ^= bit;
                    if let Ok(got) = decode(encoding, &bad, 10_000) {
                        assert!(got.bytes.len() <= 10_000);
                    }
                }
            }
        }
    }

    #[test]
    fn checks_the_gzip_checksum_and_reads_optional_headers() {
        let data = sample(5000);
        let mut bad = packed(Encoding::Gzip, &data).to_vec();
        let n = bad.len();
        bad[n - 8] ^= 1;
        assert!(matches!(
            decode(Encoding::Gzip, &bad, 10_000),
            Err(Error::Corrupt { .. })
        ));
        let mut named = flate2::GzBuilder::new()
            .filename("x")
            .comment("y")
            .write(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut named, &data).unwrap();
        let got = decode(Encoding::Gzip, &named.finish().unwrap(), 10_000).unwrap();
        assert_eq!((got.bytes.to_vec(), got.single), (data, true));
    }

    #[test]
    fn reads_zstd_frames_without_a_content_size() {
        let data = sample(200_000);
        let body = zstd::stream::encode_all(&data[..], 3).unwrap();
        assert_eq!(
            zstd::zstd_safe::get_frame_content_size(&body).ok().flatten(),
            None
        );
        let got = decode(Encoding::Zstd, &body, 200_000).unwrap();
        assert!(got.single && got.bytes == data);
        assert_eq!(
            decode(Encoding::Zstd, &body, 199_999),
            Err(Error::TooLarge { limit: 199_999 })
        );
        let two = [body, packed(Encoding::Zstd, b"x").to_vec()].concat();
        assert_eq!(
            decode(Encoding::Zstd, &two, 200_001).unwrap().bytes.len(),
            200_001
        );
    }

    #[test]
    fn tells_the_two_snappy_formats_apart() {
        let data = sample(1000);
        let body = packed(Encoding::SnappyFramed, &data);
        let got = decode(Encoding::SnappyBlock, &body, 1000).unwrap();
        assert_eq!((got.encoding, got.bytes.to_vec()), (Encoding::SnappyFramed, data));
    }

    #[test]
    fn names_what_it_understands() {
        for token in HTTP_TOKENS {
            assert!(from_http_token(token).is_some(), "{token}");
        }
        assert_eq!(from_http_token("br"), None);
        assert_eq!(from_grpc_token("snappy"), Some(Encoding::SnappyFramed));
        assert_eq!(from_grpc_token("lz4"), None);
        for encoding in ALL {
            assert_eq!(from_http_token(http_token(encoding)), Some(encoding));
        }
    }
}
