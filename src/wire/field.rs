//! Fields: tags, wire types and the extents of values, for every walk in this crate.
//!
//! In: bytes cut off at the end of the enclosing message, and a position. Out: the number, the wire type and where the
//! value lies. What a number means stands in [`crate::otlp`].

use std::fmt;

use crate::varint;

/// A message that cannot be read: where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset in the encoded request, in bytes.
    pub position: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A value reaches beyond the end of its message.
    Truncated,
    /// A varint of more than 64 bits.
    Varint,
    /// A tag with field number 0 or beyond 2^29 - 1, or a wire type that does not exist.
    Tag,
    /// The end of a group that was not begun.
    GroupEnd,
    /// A known field with another wire type than its own.
    WireType,
    /// A packed list whose length is no multiple of its elements.
    Packed,
    /// A trace id that has neither 0 nor 16 bytes.
    TraceId,
    /// A span id that has neither 0 nor 8 bytes.
    SpanId,
    /// Values nested deeper than the limit.
    Depth,
    /// Text that is not UTF-8, where that was asked for.
    Utf8,
    /// More bytes than offsets can hold.
    Size,
}

impl Malformed {
    /// A fault at an offset.
    #[cold]
    pub fn new(position: usize, reason: Reason) -> Malformed {
        Malformed { position, reason }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed protobuf at byte {}: {}", self.position, self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Truncated => "value reaches beyond the end of its message",
            Reason::Varint => "varint longer than 64 bits",
            Reason::Tag => "illegal tag",
            Reason::GroupEnd => "end of a group that was not begun",
            Reason::WireType => "wrong wire type for this field",
            Reason::Packed => "packed list is not a whole number of elements",
            Reason::TraceId => "invalid length for trace id",
            Reason::SpanId => "invalid length for span id",
            Reason::Depth => "values nested too deep",
            Reason::Utf8 => "text is not utf-8",
            Reason::Size => "message too large",
        })
    }
}

impl std::error::Error for Malformed {}

/// Wire type of a varint.
pub const VARINT: u8 = 0;
/// Wire type of eight bytes.
pub const FIXED64: u8 = 1;
/// Wire type of a length and so many bytes.
pub const LEN: u8 = 2;
/// Wire type that begins a group.
pub const GROUP: u8 = 3;
/// Wire type that ends a group.
pub const GROUP_END: u8 = 4;
/// Wire type of four bytes.
pub const FIXED32: u8 = 5;

/// One field on the wire; all offsets are absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Number in the message.
    pub number: u32,
    /// Wire type, 0 to 5 without [`GROUP_END`].
    pub wire: u8,
    /// Where the tag begins.
    pub start: usize,
    /// Where the value begins, behind tag and length.
    pub value: usize,
    /// Where the value ends. A group ends behind its end tag.
    pub end: usize,
}

/// Reads a tag at `*pos`: number and wire type.
#[inline(always)]
pub fn tag(buf: &[u8], pos: &mut usize) -> Result<(u32, u8), Malformed> {
    let start = *pos;
    let raw = varint::read(buf, pos)?;
    let wire = (raw & 7) as u8;
    // A tag has 32 bits, of which 29 are the number.
    if raw < 8 || raw > u64::from(u32::MAX) || wire > FIXED32 {
        return Err(Malformed::new(start, Reason::Tag));
    }
    Ok(((raw >> 3) as u32, wire))
}

/// Reads the length of a [`LEN`] value at `*pos` and gives the value's end.
#[inline(always)]
pub fn length(buf: &[u8], pos: &mut usize) -> Result<usize, Malformed> {
    let start = *pos;
    let len = varint::read(buf, pos)?;
    if len > (buf.len() - *pos) as u64 {
        return Err(Malformed::new(start, Reason::Truncated));
    }
    Ok(*pos + len as usize)
}

/// Reads the field at `*pos` and moves `*pos` behind it.
#[inline(always)]
pub fn next(buf: &[u8], pos: &mut usize) -> Result<Field, Malformed> {
    let start = *pos;
    let (number, wire) = tag(buf, pos)?;
    let mut value = *pos;
    match wire {
        LEN => {
            let end = length(buf, pos)?;
            value = *pos;
            *pos = end;
        }
        VARINT => {
            varint::read(buf, pos)?;
        }
        FIXED64 => *pos = fixed(buf, value, 8)?,
        FIXED32 => *pos = fixed(buf, value, 4)?,
        GROUP => group(buf, pos)?,
        _ => return Err(Malformed::new(start, Reason::GroupEnd)),
    }
    Ok(Field {
        number,
        wire,
        start,
        value,
        end: *pos,
    })
}

#[inline(always)]
fn fixed(buf: &[u8], value: usize, size: usize) -> Result<usize, Malformed> {
    if buf.len() - value < size {
        return Err(Malformed::new(value, Reason::Truncated));
    }
    Ok(value + size)
}

/// Skips what is left of a group whose begin tag was read. Like the collector it matches ends by nesting alone, not by
/// number; it counts instead of recursing, so nesting costs no stack.
fn group(buf: &[u8], pos: &mut usize) -> Result<(), Malformed> {
    let mut open = 1usize;
    while open > 0 {
        let (_, wire) = tag(buf, pos)?;
        match wire {
            VARINT => {
                varint::read(buf, pos)?;
            }
            FIXED64 => *pos = fixed(buf, *pos, 8)?,
            FIXED32 => *pos = fixed(buf, *pos, 4)?,
            LEN => *pos = length(buf, pos)?,
            GROUP => open += 1,
            _ => open -= 1,
        }
    }
    Ok(())
}

/// The fields of the message in `buf[start..]`, until the first fault.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Fields<'a> {
    /// Fields of the message that begins at `start` and ends with `buf`.
    pub fn new(buf: &'a [u8], start: usize) -> Fields<'a> {
        Fields { buf, pos: start }
    }

    /// Passes over [`LEN`] fields of this number, below 16, that stand next and are shorter than 128 bytes: for walks
    /// that do not look at a record's attributes, of which there are more than of all else in it.
    #[inline(always)]
    pub fn pass_short(&mut self, number: u32) {
        let tag = (number << 3) as u8 | LEN;
        while let Some(&[first, len]) = self.buf.get(self.pos..).and_then(|rest| rest.first_chunk())
            && first == tag
            && len < 0x80
            && usize::from(len) <= self.buf.len() - self.pos - 2
        {
            self.pos += 2 + usize::from(len);
        }
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.pos >= self.buf.len() {
            return None;
        }
        let field = next(self.buf, &mut self.pos);
        if field.is_err() {
            self.pos = self.buf.len();
        }
        Some(field)
    }
}

/// Appends tag and length of a [`LEN`] field.
#[inline]
pub fn write_header(number: u32, len: usize, out: &mut Vec<u8>) {
    varint::write(u64::from(number) << 3 | u64::from(LEN), out);
    varint::write(len as u64, out);
}

/// Bytes that a [`LEN`] field takes with its header.
#[inline]
pub fn framed_len(number: u32, len: usize) -> usize {
    varint::len(u64::from(number) << 3) + varint::len(len as u64) + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_wire_type() {
        let check = |bytes: &[u8], expected: Result<(u32, u8, usize, usize), (usize, Reason)>| {
            let got = next(bytes, &mut 0)
                .map(|f| (f.number, f.wire, f.value, f.end))
                .map_err(|m| (m.position, m.reason));
            assert_eq!(got, expected, "{bytes:?}");
        };
        check(&[0x08, 1], Ok((1, VARINT, 1, 2)));
        check(&[0x08, 0x80, 1], Ok((1, VARINT, 1, 3)));
        check(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8], Ok((1, FIXED64, 1, 9)));
        check(&[0x0d, 1, 2, 3, 4], Ok((1, FIXED32, 1, 5)));
        check(&[0x0a, 2, 7, 7], Ok((1, LEN, 2, 4)));
        check(&[0xc2, 0x3e, 0], Ok((1000, LEN, 3, 3)));
        check(&[0x0b, 0x13, 0x08, 1, 0x14, 0x0c], Ok((1, GROUP, 1, 6)));
        check(&[0x0b, 0x14], Ok((1, GROUP, 1, 2)));
        check(&[], Err((0, Reason::Truncated)));
        check(&[0x00], Err((0, Reason::Tag)));
        check(&[0x06], Err((0, Reason::Tag)));
        check(&[0x0e], Err((0, Reason::Tag)));
        check(&[0x0c], Err((0, Reason::GroupEnd)));
        check(&[0x0a, 3, 7, 7], Err((1, Reason::Truncated)));
        check(
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            Err((1, Reason::Truncated)),
        );
        check(&[0x09, 1], Err((1, Reason::Truncated)));
        check(&[0x0d, 1], Err((1, Reason::Truncated)));
        check(&[0x0b, 0x0b, 0x0c], Err((3, Reason::Truncated)));
        check(
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            Err((0, Reason::Tag)),
        );
    }

    #[test]
    fn short_ones_are_passed_over_and_others_met() {
        let check = |bytes: &[u8], expected: &[(u32, usize)]| {
            let mut fields = Fields::new(bytes, 0);
            let mut met = Vec::new();
            loop {
                fields.pass_short(6);
                match fields.next() {
                    Some(Ok(field)) => met.push((field.number, field.start)),
                    Some(Err(_)) => met.push((0, 0)),
                    None => break,
                }
            }
            assert_eq!(met, expected, "{bytes:?}");
        };
        let mut long = vec![0x32, 0x80, 1];
        long.resize(3 + 128, 0);
        check(&[], &[]);
        check(&[0x32, 0], &[]);
        check(&[0x32, 1, 9, 0x32, 2, 9, 9], &[]);
        check(&[0x08, 1, 0x32, 1, 9, 0x2a, 1, 9, 0x32, 0], &[(1, 0), (5, 5)]);
        check(&long, &[(6, 0)]);
        // what is cut off or of another type is for the walk to judge
        check(&[0x32], &[(0, 0)]);
        check(&[0x32, 2, 9], &[(0, 0)]);
        check(&[0x30, 7, 0x32, 0], &[(6, 0)]);
    }

    #[test]
    fn says_where_and_why() {
        let malformed = next(&[0x0a, 9], &mut 0).unwrap_err();
        assert_eq!(
            malformed.to_string(),
            "malformed protobuf at byte 1: value reaches beyond the end of its message"
        );
    }
}
