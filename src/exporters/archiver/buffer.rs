//! What of an object is not compressed yet.
//!
//! Large messages are held as they came, small ones are copied together, so that what a partition holds is what it
//! counts: capacities, not lengths. Every segment begins and ends with a whole message.

use bytes::Bytes;

/// From this size on a message is not copied.
const SHARED_BYTES_MIN: usize = 16 << 10;
/// What small ones are copied into.
pub(super) const SLAB_BYTES: usize = 16 << 10;

/// Whole messages, laid end to end.
#[derive(Debug)]
pub(super) enum Segment {
    Slab(Vec<u8>),
    Shared(Bytes),
}

impl Segment {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Segment::Slab(slab) => slab,
            Segment::Shared(bytes) => bytes,
        }
    }
}

/// Messages in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    segments: Vec<Segment>,
    len: usize,
    capacity: usize,
}

impl Buffer {
    /// Adds a message that lies in these parts; says how much more memory that took. `whole`: bytes of all that came with
    /// it. A slice keeps the whole in memory, so only one that is most of it is held as it came.
    pub(super) fn push(&mut self, parts: &[Bytes], whole: usize) -> usize {
        let before = self.capacity;
        let len: usize = parts.iter().map(Bytes::len).sum();
        self.len += len;
        match parts {
            [one] if len >= SHARED_BYTES_MIN && len >= whole / 2 => {
                self.segments.push(Segment::Shared(one.clone()));
                self.capacity += len;
            }
            parts => {
                let fits = |slab: &Vec<u8>| slab.capacity() - slab.len() >= len;
                if !matches!(self.segments.last(), Some(Segment::Slab(slab)) if fits(slab)) {
                    // Many an object has no second message: its first slab is as large as that.
                    let slab = Vec::with_capacity(match self.segments.is_empty() {
                        true => len,
                        false => len.max(SLAB_BYTES),
                    });
                    self.capacity += slab.capacity();
                    self.segments.push(Segment::Slab(slab));
                }
                if let Some(Segment::Slab(slab)) = self.segments.last_mut() {
                    parts.iter().for_each(|part| slab.extend_from_slice(part));
                }
            }
        }
        self.capacity - before
    }

    /// Everything, in order; nothing is left.
    pub(super) fn take(&mut self) -> Vec<Segment> {
        (self.len, self.capacity) = (0, 0);
        std::mem::take(&mut self.segments)
    }

    /// Encoded bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory that they hold.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_share_a_slab_and_large_ones_stay_where_they_are() {
        let mut buffer = Buffer::default();
        let large = Bytes::from(vec![2; SHARED_BYTES_MIN]);
        assert_eq!(buffer.push(&[Bytes::from(vec![0; 7])], 0), 7);
        assert_eq!(buffer.push(&[Bytes::from(vec![1; 100])], 0), SLAB_BYTES);
        assert_eq!(
            buffer.push(&[Bytes::from(vec![1; 50]), Bytes::from(vec![1; 50])], 0),
            0
        );
        assert_eq!(buffer.push(std::slice::from_ref(&large), 0), SHARED_BYTES_MIN);
        assert_eq!(buffer.push(&[Bytes::from(vec![3; 10])], 0), SLAB_BYTES);
        // One that does not fit into what is left of a slab begins another.
        assert_eq!(
            buffer.push(&[Bytes::from(vec![4; SLAB_BYTES - 1])], 0),
            SLAB_BYTES
        );
        // In parts it is copied, whatever its size.
        let half = Bytes::from(vec![5; SLAB_BYTES]);
        assert_eq!(buffer.push(&[half.clone(), half], 0), 2 * SLAB_BYTES);
        assert_eq!(buffer.len(), 7 + 210 + 2 * SLAB_BYTES - 1 + 2 * SLAB_BYTES);
        assert_eq!(buffer.capacity(), 7 + 5 * SLAB_BYTES + SHARED_BYTES_MIN);
        let segments = buffer.take();
        let firsts: Vec<(u8, usize)> = segments.iter().map(|s| (s.bytes()[0], s.bytes().len())).collect();
        let kib_16 = SLAB_BYTES;
        assert_eq!(
            firsts,
            [
                (0, 7),
                (1, 200),
                (2, kib_16),
                (3, 10),
                (4, kib_16 - 1),
                (5, 2 * kib_16)
            ]
        );
        assert_eq!(segments[2].bytes().as_ptr(), large.as_ptr());
        assert_eq!((buffer.len(), buffer.capacity(), buffer.take().len()), (0, 0, 0));
    }
    #[test]
    fn a_slice_does_not_keep_what_is_much_larger() {
        let check = |len: usize, whole: usize, is_shared: bool| {
            let all = Bytes::from(vec![1; whole]);
            let mut buffer = Buffer::default();
            assert_eq!(buffer.push(&[all.slice(..len)], whole), len, "{len} of {whole}");
            let segments = buffer.take();
            assert_eq!(
                segments[0].bytes().as_ptr() == all.as_ptr(),
                is_shared,
                "{len} of {whole}"
            );
        };
        check(SHARED_BYTES_MIN, SHARED_BYTES_MIN, true);
        check(SHARED_BYTES_MIN, 2 * SHARED_BYTES_MIN, true);
        check(SHARED_BYTES_MIN, 2 * SHARED_BYTES_MIN + 2, false);
        check(SHARED_BYTES_MIN - 1, SHARED_BYTES_MIN - 1, false);
    }
}
