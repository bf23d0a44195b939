//! Which members of a JSON text a place lies in.
//!
//! No parser: what is no JSON gives keys that mean nothing, or none. The text is folded, so that escaped JSON within a
//! string reads like any other. One pass, however many places are asked for.

use std::ops::Range;

/// Deeper levels are not told apart.
const DEPTH_MAX: usize = 32;

/// Where in a text the walk is, and the keys that lead there.
#[derive(Debug, Default)]
pub(super) struct Members {
    at: usize,
    depth: usize,
    /// Key of each open level; empty in a list, and before an object's first key.
    keys: [Range<usize>; DEPTH_MAX],
    /// The last string: it is a key once a colon follows.
    last: Range<usize>,
    within: bool,
}

impl Members {
    /// Goes on to a place behind the last one, and gives the keys around it, outermost first.
    pub(super) fn at<'t>(
        &mut self,
        text: &'t [u8],
        place: usize,
    ) -> impl Iterator<Item = &'t [u8]> + use<'_, 't> {
        while self.at < place {
            let byte = text[self.at];
            match byte {
                b'"' if self.within => {
                    self.last.end = self.at;
                    self.within = false;
                }
                b'"' => {
                    self.last = self.at + 1..self.at + 1;
                    self.within = true;
                }
                _ if self.within => {}
                b'{' | b'[' => {
                    self.depth += 1;
                    self.set(0..0);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b':' => self.set(self.last.clone()),
                _ => {}
            }
            self.at += 1;
        }
        self.keys[..self.depth.min(DEPTH_MAX)]
            .iter()
            .map(|key| &text[key.clone()])
    }

    fn set(&mut self, key: Range<usize>) {
        if let Some(level) = self.depth.checked_sub(1).filter(|level| *level < DEPTH_MAX) {
            self.keys[level] = key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_to_a_place() {
        let text = br#"log: {"a": {"b": ["x", {"c d": "HERE"}], "e": "THERE"}, "f": "LAST"} END"#;
        let mut members = Members::default();
        for (word, expected) in [
            ("x", "a,b,"),
            ("HERE", "a,b,,c d"),
            ("THERE", "a,e"),
            ("LAST", "f"),
            ("END", ""),
        ] {
            let at = memchr::memmem::find(text, word.as_bytes()).unwrap();
            let keys: Vec<_> = members.at(text, at).map(String::from_utf8_lossy).collect();
            assert_eq!(keys.join(","), expected, "{word}");
        }
    }
}
