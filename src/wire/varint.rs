//! Varints: the base-128 integers of protobuf.
//!
//! Positions are absolute: a reader gets the payload cut off at the end of the enclosing message, so one bounds check
//! serves both ends. A varint has at most ten bytes and must fit 64 bits; a longer one is malformed.

use crate::field::{Malformed, Reason};

/// Reads one varint at `*pos` and moves `*pos` behind it.
///
/// Errors: [`Reason::Truncated`] at the end of `buf`, [`Reason::Varint`] beyond 64 bits; `*pos` is then unchanged.
#[inline(always)]
pub fn read(buf: &[u8], pos: &mut usize) -> Result<u64, Malformed> {
    match buf.get(*pos) {
        Some(&b) if b < 0x80 => {
            *pos += 1;
            Ok(u64::from(b))
        }
        // Lengths of records: two bytes.
        Some(&low) => match buf.get(*pos + 1) {
            Some(&high) if high < 0x80 => {
                *pos += 2;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => read_long(buf, pos),
        },
        None => read_long(buf, pos),
    }
}

fn read_long(buf: &[u8], pos: &mut usize) -> Result<u64, Malformed> {
    let start = *pos;
    let mut value = 0u64;
    for i in 0..10 {
        let Some(&b) = buf.get(start + i) else {
            return Err(Malformed::new(start, Reason::Truncated));
        };
        if i == 9 && b > 1 {
            break;
        }
        value |= u64::from(b & 0x7f) << (7 * i);
        if b < 0x80 {
            *pos = start + i + 1;
            return Ok(value);
        }
    }
    Err(Malformed::new(start, Reason::Varint))
}

/// Appends a varint in its shortest form.
#[inline]
pub fn write(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of the shortest form.
#[inline(always)]
pub fn len(value: u64) -> usize {
    // 9/64 is close enough to 1/7 over the range of bit lengths.
    (((64 - (value | 1).leading_zeros()) * 9 + 64) / 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_in_the_length_it_says() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1u64 << bits) - 1, u64::MAX >> bits] {
                let mut out = vec![7];
                write(value, &mut out);
                assert_eq!(out.len() - 1, len(value), "{value}");
                let mut pos = 1;
                assert_eq!(read(&out, &mut pos).unwrap(), value);
                assert_eq!(pos, out.len());
            }
        }
    }

    #[test]
    fn refuses_what_does_not_end_or_does_not_fit() {
        let check = |bytes: &[u8], reason| {
            assert_eq!(
                read(bytes, &mut 0).unwrap_err(),
                Malformed::new(0, reason),
                "{bytes:?}"
            );
        };
        check(&[], Reason::Truncated);
        check(&[0x80], Reason::Truncated);
        check(&[0xff; 9], Reason::Truncated);
        check(&[0xff; 10], Reason::Varint);
        check(
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            Reason::Varint,
        );
        let mut max = [0xff; 10];
        max[9] = 1;
        assert_eq!(read(&max, &mut 0).unwrap(), u64::MAX);
    }
}
