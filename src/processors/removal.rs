//! Removal of several entries of a map, one after another, as Go's maps do it: the first entry with the key goes, and the
//! last entry of the map takes its place.

/// Up to this many entries, a key is looked for; in larger maps the entry itself goes. Both are the same unless a key
/// stands there twice, and only the order of what stays can differ.
const SEARCHED_MAX: usize = 256;

/// Which entry is where. Reused.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// Entry in each slot.
    entries: Vec<u32>,
    /// Slot of each entry.
    slots: Vec<u32>,
}

impl Removal {
    /// Removes the entries `denied` (places in the map of `count` entries as it is now), in their order.
    ///
    /// `first` gives the first slot with the same key as a slot, `remove` removes a slot.
    pub(crate) fn run<M: ?Sized>(
        &mut self,
        count: usize,
        denied: &[u32],
        map: &mut M,
        first: impl Fn(&M, usize) -> Option<usize>,
        mut remove: impl FnMut(&mut M, usize),
    ) {
        if denied.is_empty() {
            return;
        }
        let Removal { entries, slots } = self;
        entries.clear();
        entries.extend(0..count as u32);
        slots.clone_from(entries);
        for entry in denied {
            let own = slots[*entry as usize] as usize;
            let slot = match count <= SEARCHED_MAX {
                true => first(map, own).unwrap_or(own),
                false => own,
            };
            // An earlier twin goes in its place; when the twin's turn comes, this one goes.
            let twin = entries[slot];
            entries[own] = twin;
            slots[twin as usize] = own as u32;
            remove(map, slot);
            let Some(last) = entries.pop() else {
                return;
            };
            if slot < entries.len() {
                entries[slot] = last;
                slots[last as usize] = slot as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_the_same_as_removing_by_key(keys in prop::collection::vec(0u8..6, 0..20), denied in 0u8..64) {
            let is_denied = |key: u8| denied >> key & 1 == 1;
            let mut expected: Vec<(u8, usize)> = keys.iter().copied().zip(0..).collect();
            for key in keys.iter().filter(|k| is_denied(**k)) {
                let at = expected.iter().position(|(k, _)| k == key).unwrap();
                expected.swap_remove(at);
            }
            let mut map: Vec<(u8, usize)> = keys.iter().copied().zip(0..).collect();
            let places: Vec<u32> = (0..keys.len() as u32).filter(|i| is_denied(keys[*i as usize])).collect();
            Removal::default().run(
                map.len(),
                &places,
                &mut map,
                |map, slot| map.iter().position(|(k, _)| *k == map[slot].0),
                |map, slot| { map.swap_remove(slot); },
            );
            prop_assert_eq!(map, expected);
        }
    }

    #[test]
    fn large_maps_lose_all_that_is_denied() {
        let mut map: Vec<u32> = (0..10_000).collect();
        let denied: Vec<u32> = (0..10_000).filter(|i| i % 3 != 0).collect();
        Removal::default().run(
            map.len(),
            &denied,
            &mut map,
            |_, slot| Some(slot),
            |map, slot| {
                map.swap_remove(slot);
            },
        );
        map.sort_unstable();
        assert_eq!(map, (0..10_000).filter(|i| i % 3 == 0).collect::<Vec<u32>>());
    }
}
