//! What of an object is not compressed yet.
//!
//! Large messages are held as they came, others are copied together, so that what a partition holds is what it counts:
//! capacities, not lengths. What is copied fills slab after slab: a message may begin in one and end in another.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// From this size on a message is not copied.
const SHARED_BYTES_MIN: usize = 16 << 10;
/// What small ones are copied into.
pub(super) const SLAB_BYTES: usize = 16 << 10;

/// Slabs that are not in use, for whoever wants one next.
///
/// They are filled in some threads and freed in others. An allocator keeps what comes back for the thread that took it, so
/// each thread's share grows to what all of them hold.
#[derive(Debug, Default)]
pub(super) struct Slabs(Mutex<Free>);

#[derive(Debug, Default)]
struct Free {
    slabs: Vec<Vec<u8>>,
    /// The fewest since then.
    least: usize,
    since: Option<Instant>,
}

/// For so long nobody has to want a slab until it is freed: where memory is short, half of all come back at once and are
/// wanted again within seconds.
const UNWANTED: Duration = Duration::from_secs(60);

impl Slabs {
    /// An empty one with room for `len` bytes.
    fn slab(self: &Arc<Self>, len: usize) -> Slab {
        let mut free = self.0.lock();
        let there = match len {
            SLAB_BYTES => free.slabs.pop(),
            _ => None,
        };
        free.least = free.least.min(free.slabs.len());
        drop(free);
        Slab {
            bytes: there.unwrap_or_else(|| Vec::with_capacity(len)),
            home: self.clone(),
        }
    }

    /// Frees those that do not fit into `bytes`.
    pub(super) fn keep(&self, bytes: usize) {
        let mut free = self.0.lock();
        let most = bytes / SLAB_BYTES;
        if free.slabs.len() > most {
            let excess = free.slabs.split_off(most);
            free.least = free.least.min(most);
            drop(free);
            drop(excess);
        }
    }

    /// Frees those that nobody has wanted for a while.
    pub(super) fn look(&self, now: Instant) {
        let mut free = self.0.lock();
        if now < *free.since.get_or_insert(now) + UNWANTED {
            return;
        }
        free.since = Some(now);
        let left = free.slabs.len() - free.least;
        let unused = free.slabs.split_off(left);
        free.least = left;
        drop(free);
        drop(unused);
    }
}

/// Memory for small messages. When it is dropped it lies ready for others.
#[derive(Debug)]
pub(super) struct Slab {
    bytes: Vec<u8>,
    home: Arc<Slabs>,
}

impl Slab {
    /// Takes as much as there is room for, and says how much that was.
    fn fill(&mut self, part: &mut &[u8]) -> usize {
        let room = self.bytes.capacity() - self.bytes.len();
        let (here, rest) = part.split_at(room.min(part.len()));
        self.bytes.extend_from_slice(here);
        *part = rest;
        room
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() == SLAB_BYTES {
            bytes.clear();
            self.home.0.lock().slabs.push(bytes);
        }
    }
}

/// Messages, laid end to end.
#[derive(Debug)]
pub(super) enum Segment {
    /// With the slabs before and behind it, whole ones.
    Slab(Slab),
    /// A whole one.
    Shared(Bytes),
}

impl Segment {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Segment::Slab(slab) => &slab.bytes,
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
    pub(super) fn push(&mut self, parts: &[Bytes], whole: usize, slabs: &Arc<Slabs>) -> usize {
        let before = self.capacity;
        let len: usize = parts.iter().map(Bytes::len).sum();
        self.len += len;
        match parts {
            [one] if len >= SHARED_BYTES_MIN && len >= whole / 2 => {
                self.segments.push(Segment::Shared(one.clone()));
                self.capacity += len;
            }
            // Many an object has no second message: its first slab is as large as that.
            parts => {
                if self.segments.is_empty() && len < SLAB_BYTES {
                    self.grow(len, slabs);
                }
                parts.iter().for_each(|part| self.copy(part, slabs));
            }
        }
        self.capacity - before
    }

    fn copy(&mut self, part: &[u8], slabs: &Arc<Slabs>) {
        let mut part = part;
        while !part.is_empty() {
            let room = match self.segments.last_mut() {
                Some(Segment::Slab(slab)) => slab.fill(&mut part),
                _ => 0,
            };
            if room == 0 {
                self.grow(SLAB_BYTES, slabs);
            }
        }
    }

    fn grow(&mut self, len: usize, slabs: &Arc<Slabs>) {
        let slab = slabs.slab(len);
        self.capacity += slab.bytes.capacity();
        self.segments.push(Segment::Slab(slab));
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
        let slabs = Arc::default();
        let large = Bytes::from(vec![2; SHARED_BYTES_MIN]);
        assert_eq!(buffer.push(&[Bytes::from(vec![0; 7])], 0, &slabs), 7);
        assert_eq!(buffer.push(&[Bytes::from(vec![1; 100])], 0, &slabs), SLAB_BYTES);
        assert_eq!(
            buffer.push(&[Bytes::from(vec![1; 50]), Bytes::from(vec![1; 50])], 0, &slabs),
            0
        );
        assert_eq!(
            buffer.push(std::slice::from_ref(&large), 0, &slabs),
            SHARED_BYTES_MIN
        );
        assert_eq!(buffer.push(&[Bytes::from(vec![3; 10])], 0, &slabs), SLAB_BYTES);
        // One that does not fit into what is left of a slab goes on in another.
        assert_eq!(
            buffer.push(&[Bytes::from(vec![4; SLAB_BYTES - 1])], 0, &slabs),
            SLAB_BYTES
        );
        // In parts it is copied, whatever its size.
        let half = Bytes::from(vec![5; SLAB_BYTES]);
        assert_eq!(buffer.push(&[half.clone(), half], 0, &slabs), 2 * SLAB_BYTES);
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
                (3, kib_16),
                (4, kib_16),
                (5, kib_16),
                (5, 9)
            ]
        );
        assert_eq!(segments[2].bytes().as_ptr(), large.as_ptr());
        assert_eq!((buffer.len(), buffer.capacity(), buffer.take().len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn slabs_are_used_again_and_freed_when_nobody_wants_them() {
        let slabs = Arc::default();
        let mut buffer = Buffer::default();
        let free = |slabs: &Slabs| slabs.0.lock().slabs.len();
        for _ in 0..3 {
            buffer.push(&[Bytes::from(vec![1; SLAB_BYTES])], usize::MAX, &slabs);
        }
        let firsts = |segments: &[Segment]| -> Vec<*const u8> {
            segments.iter().map(|segment| segment.bytes().as_ptr()).collect()
        };
        let segments = buffer.take();
        let before = firsts(&segments);
        drop(segments);
        assert_eq!(free(&slabs), 3);
        // The first is as long as its message: of the same size, it is one of them too.
        for _ in 0..2 {
            buffer.push(&[Bytes::from(vec![2; SLAB_BYTES])], usize::MAX, &slabs);
        }
        let segments = buffer.take();
        assert!(firsts(&segments).iter().all(|slab| before.contains(slab)));
        assert!(
            segments
                .iter()
                .all(|segment| segment.bytes() == vec![2; SLAB_BYTES])
        );
        assert_eq!(free(&slabs), 1);
        drop(segments);
        let look = async || {
            slabs.look(Instant::now());
            tokio::time::advance(UNWANTED).await;
            slabs.look(Instant::now());
            free(&slabs)
        };
        // There was none at first.
        assert_eq!(look().await, 3);
        buffer.push(&[Bytes::from(vec![2; SLAB_BYTES])], usize::MAX, &slabs);
        drop(buffer.take());
        slabs.look(Instant::now());
        assert_eq!(free(&slabs), 3);
        assert_eq!(look().await, 1);
        assert_eq!(look().await, 0);
        // Those that do not fit beside what is in use go at once.
        for _ in 0..3 {
            buffer.push(&[Bytes::from(vec![2; SLAB_BYTES])], usize::MAX, &slabs);
        }
        drop(buffer.take());
        slabs.keep(3 * SLAB_BYTES - 1);
        assert_eq!(free(&slabs), 2);
        slabs.keep(0);
        assert_eq!(free(&slabs), 0);
        // What has another size is nobody else's.
        buffer.push(&[Bytes::from(vec![3; 7])], 0, &slabs);
        drop(buffer.take());
        assert_eq!(free(&slabs), 0);
    }

    #[test]
    fn a_slice_does_not_keep_what_is_much_larger() {
        let check = |len: usize, whole: usize, is_shared: bool| {
            let all = Bytes::from(vec![1; whole]);
            let mut buffer = Buffer::default();
            let slabs = Arc::default();
            assert_eq!(
                buffer.push(&[all.slice(..len)], whole, &slabs),
                len,
                "{len} of {whole}"
            );
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
