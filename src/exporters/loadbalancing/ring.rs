//! The ring of the collector's load balancer: the same backends and keys give the same choice, there and here.
//!
//! Each backend has a hundred places on a circle of 36,000; a key belongs to the first place at or after its own.

use crc_fast::CrcAlgorithm::Crc32IsoHdlc;

const PLACES: u32 = 36_000;
const PLACES_EACH: u8 = 100;

/// Backends on the circle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ring {
    /// Ascending; each with the backend's number.
    places: Vec<(u32, u16)>,
}

impl Ring {
    /// Of these backends, which are sorted. Where two of them meet, the earlier one stays.
    pub(super) fn new(backends: &[String]) -> Ring {
        let mut places: Vec<(u32, u16)> = Vec::with_capacity(backends.len() * usize::from(PLACES_EACH));
        let mut taken = vec![false; PLACES as usize];
        for (number, backend) in (0u16..).zip(backends) {
            let mut name = backend.clone().into_bytes();
            name.push(0);
            for i in 0..PLACES_EACH {
                if let Some(last) = name.last_mut() {
                    *last = i;
                }
                let place = place(&name);
                if !std::mem::replace(&mut taken[place as usize], true) {
                    places.push((place, number));
                }
            }
        }
        places.sort_unstable();
        Ring { places }
    }

    /// The backend of a key; there must be one.
    pub(super) fn find(&self, key: &[u8]) -> u16 {
        let place = place(key);
        let at = self.places.partition_point(|(p, _)| *p < place);
        self.places
            .get(at)
            .or(self.places.first())
            .map_or(0, |(_, number)| *number)
    }
}

fn place(bytes: &[u8]) -> u32 {
    crc_fast::checksum(Crc32IsoHdlc, bytes) as u32 % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(n: usize) -> Vec<String> {
        (1..=n).map(|i| format!("backend-{i}:4317")).collect()
    }

    #[test]
    fn has_the_places_that_the_collector_gives() {
        let ring = Ring::new(&backends(3));
        assert_eq!(ring.places.len(), 297);
        assert_eq!(ring.places[..3], [(44, 1), (107, 1), (304, 2)]);
    }

    #[test]
    fn keys_belong_to_the_backends_that_the_collector_chooses() {
        let ring = Ring::new(&backends(3));
        let check = |key: &[u8], at: u32, backend: u16| {
            assert_eq!((place(key), ring.find(key)), (at, backend), "{key:?}");
        };
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736u128;
        check(&trace.to_be_bytes(), 4869, 0);
        check(&1u128.to_be_bytes(), 12931, 2);
        check(b"checkout", 6414, 1);
    }

    #[test]
    fn one_more_backend_moves_few_keys() {
        let (three, four) = (Ring::new(&backends(3)), Ring::new(&backends(4)));
        let keys = (0..10_000u32).map(u32::to_be_bytes);
        let moved = keys.filter(|key| three.find(key) != four.find(key)).count();
        assert!((1500..3500).contains(&moved), "{moved} of 10,000");
        let keys = (0..10_000u32).map(u32::to_be_bytes);
        let mut strays = keys.filter(|key| three.find(key) != four.find(key) && four.find(key) != 3);
        assert_eq!(strays.next(), None, "what moves goes to the new one");
    }
}
