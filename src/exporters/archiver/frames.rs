//! Frames: what is uncompressed becomes parts of an object that can each be read alone.
//!
//! In: whole messages. Out: zstd frames (content size and checksum in each) or gzip members that begin and end where a
//! resource does, each of at most `chunk_bytes` before compression; a single larger resource makes one larger frame.
//! Laid end to end they are one stream for `zstd -d` and `gunzip`.

use std::io;

use wire::Encoding;
use wire::field::Fields;

use super::buffer::Segment;
use super::config::Compression;

/// One compressor; kept by whoever compresses, one at a time.
pub(super) struct Compressor {
    how: How,
    chunk_bytes: usize,
    plain: Vec<u8>,
}

enum How {
    Zstd(zstd::bulk::Compressor<'static>),
    Gzip(i32),
    None,
}

impl Compressor {
    /// Errors: the library takes no such level.
    pub(super) fn new(compression: Compression, level: i32, chunk_bytes: usize) -> io::Result<Compressor> {
        let how = match compression {
            Compression::Zstd => {
                let mut zstd = zstd::bulk::Compressor::new(level)?;
                zstd.include_checksum(true)?;
                zstd.include_contentsize(true)?;
                How::Zstd(zstd)
            }
            Compression::Gzip => How::Gzip(level),
            Compression::None => How::None,
        };
        Ok(Compressor {
            how,
            chunk_bytes,
            plain: Vec::new(),
        })
    }

    /// Appends the frames of these messages; says how many.
    pub(super) fn frames(&mut self, segments: &[Segment], out: &mut Vec<u8>) -> io::Result<u64> {
        let mut plain = std::mem::take(&mut self.plain);
        let chunk_bytes = self.chunk_bytes;
        let mut count = 0;
        let done = (|| {
            for run in segments
                .iter()
                .flat_map(|segment| runs(segment.bytes(), chunk_bytes))
            {
                if !plain.is_empty() && plain.len() + run.len() > chunk_bytes {
                    self.frame(&plain, out)?;
                    plain.clear();
                    count += 1;
                }
                if plain.is_empty() && run.len() >= chunk_bytes {
                    self.frame(run, out)?;
                    count += 1;
                } else {
                    plain.extend_from_slice(run);
                }
            }
            if !plain.is_empty() {
                self.frame(&plain, out)?;
                count += 1;
            }
            io::Result::Ok(())
        })();
        plain.clear();
        plain.shrink_to(2 * self.chunk_bytes);
        self.plain = plain;
        done.map(|()| count)
    }

    fn frame(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.how {
            How::Zstd(zstd) => {
                let start = out.len();
                out.resize(start + zstd::zstd_safe::compress_bound(plain.len()), 0);
                let len = zstd.compress_to_buffer(plain, &mut out[start..])?;
                out.truncate(start + len);
            }
            How::Gzip(level) => {
                let chunk = bytes::Bytes::copy_from_slice(plain);
                out.extend_from_slice(&net::compression::encode(Encoding::Gzip, *level, &[chunk]));
            }
            How::None => out.extend_from_slice(plain),
        }
        Ok(())
    }
}

/// Runs of whole fields of at most `bytes_max`, or of a single larger one. What cannot be read goes with what stands
/// before it.
fn runs(message: &[u8], bytes_max: usize) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= message.len() {
            return None;
        }
        let from = start;
        if message.len() - from <= bytes_max {
            start = message.len();
            return Some(&message[from..]);
        }
        let mut end = from;
        for field in Fields::new(message, from) {
            let Ok(field) = field else {
                end = message.len();
                break;
            };
            if field.end - from > bytes_max && end > from {
                break;
            }
            end = field.end;
            if end - from >= bytes_max {
                break;
            }
        }
        start = end;
        Some(&message[from..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::field::write_header;

    fn field(len: usize, fill: u8) -> Vec<u8> {
        let mut out = Vec::new();
        write_header(1, len, &mut out);
        out.resize(out.len() + len, fill);
        out
    }

    fn segments(messages: &[Vec<u8>]) -> Vec<Segment> {
        let shared = |message: &Vec<u8>| Segment::Shared(Bytes::copy_from_slice(message));
        messages.iter().map(shared).collect()
    }

    #[test]
    fn frames_end_where_fields_end_and_hold_no_more_than_told() {
        let check = |messages: &[Vec<u8>], expected: &[usize]| {
            let mut out = Vec::new();
            let mut compressor = Compressor::new(Compression::Zstd, 3, 100).expect("3 is a level");
            let frames = compressor
                .frames(&segments(messages), &mut out)
                .expect("it compresses");
            let mut lens = Vec::new();
            let mut rest = &out[..];
            while !rest.is_empty() {
                let size = zstd::zstd_safe::find_frame_compressed_size(rest).expect("it is a frame");
                let content = zstd::zstd_safe::get_frame_content_size(rest).expect("it says its size");
                lens.push(content.expect("it says its size") as usize);
                assert_eq!(rest[4] & 0b100, 0b100, "a checksum");
                rest = &rest[size..];
            }
            assert_eq!(lens, expected);
            assert_eq!(frames as usize, lens.len());
            assert_eq!(
                zstd::decode_all(&out[..]).expect("it is one stream"),
                messages.concat()
            );
        };
        check(&[field(8, 1)], &[10]);
        check(&[field(38, 1), field(38, 2)], &[80]);
        check(&[field(38, 1), field(38, 2), field(38, 3)], &[80, 40]);
        check(&[[field(38, 1), field(38, 2), field(38, 3)].concat()], &[80, 40]);
        check(&[[field(98, 1), field(98, 2)].concat()], &[100, 100]);
        check(&[field(500, 1)], &[503]);
        check(
            &[[field(8, 1), field(500, 2), field(8, 3)].concat(), field(8, 4)],
            &[10, 503, 20],
        );
        // What is no field stays whole.
        check(&[vec![0xff; 300]], &[300]);
    }

    #[test]
    fn gzip_members_and_plain_bytes_read_back() {
        let messages = [field(90, 1), field(90, 2)];
        let mut out = Vec::new();
        let mut gzip = Compressor::new(Compression::Gzip, 6, 100).expect("6 is a level");
        assert_eq!(
            gzip.frames(&segments(&messages), &mut out)
                .expect("it compresses"),
            2
        );
        let decoded = net::compression::decode(Encoding::Gzip, &out, 1 << 20).expect("it is gzip");
        assert_eq!(decoded.bytes, messages.concat());
        let mut out = Vec::new();
        let mut none = Compressor::new(Compression::None, 0, 100).expect("no level");
        assert_eq!(none.frames(&segments(&messages), &mut out).expect("it copies"), 2);
        assert_eq!(out, messages.concat());
    }

    #[test]
    fn a_damaged_frame_loses_only_itself() {
        let messages = [field(98, 1), field(98, 2), field(98, 3)];
        let mut out = Vec::new();
        let mut compressor = Compressor::new(Compression::Zstd, 3, 100).expect("3 is a level");
        compressor
            .frames(&segments(&messages), &mut out)
            .expect("it compresses");
        let first = zstd::zstd_safe::find_frame_compressed_size(&out).expect("it is a frame");
        let second = zstd::zstd_safe::find_frame_compressed_size(&out[first..]).expect("it is a frame");
        let damaged = first + second - 1;
        out[damaged] ^= 1;
        let decode = |bytes: &[u8]| zstd::decode_all(bytes).ok();
        assert_eq!(decode(&out[..first]), Some(messages[0].clone()));
        assert_eq!(decode(&out[first..first + second]), None);
        assert_eq!(decode(&out[first + second..]), Some(messages[2].clone()));
    }
}
