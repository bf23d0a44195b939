//! The state journal: what became of objects, a line a change. It holds no records.
//!
//! In: lines of one session, each synced where it promises something. Out, after a restart: the objects that are not
//! done yet, and how far each came. A torn last line was promised to nobody.

use std::collections::{BTreeMap, BTreeSet};

use codec::base64::{self, Alphabet};
use component::{Claim, Set};
use evidence::entry::Obj;
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub(super) enum Line {
    /// A part has its first frame. Only for salvage where the journal is lost.
    Part(Begun),
    /// The part lies under its number, whole and synced.
    Sealed(Box<Sealed>),
    /// The store has the object.
    Put { seq: u64, ver: Option<String> },
    /// The log names it, at this index.
    Logged { seq: u64, i: u64 },
    /// The log says that the number stands for nothing.
    Gap { seq: u64, i: u64 },
    /// The journal says that these are complete.
    Done { seqs: Vec<u64> },
}

/// Whose records a part gathers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) part: String,
    pub(super) class: String,
    pub(super) tenant: String,
    pub(super) signal: String,
    pub(super) hour: u64,
    /// Name of the rules that its records were split by.
    #[serde(default)]
    pub(super) rules: String,
    /// The journal that has the records, in hex; without one none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) j: Option<String>,
}

/// All that will be said of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// Its entry, but for the version.
    pub(super) obj: Obj,
    pub(super) class: String,
    /// Name of the rules that its records were split by.
    pub(super) rules: String,
    /// The journal that has the records, in hex; without one none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) j: Option<String>,
    /// Which of its records; in Base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) set: String,
    /// The number whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<u64>,
    /// The part that it was, as [`Begun::part`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<String>,
}

impl Sealed {
    pub(super) fn new(obj: Obj, class: &str, rules: &str, journal: Option<u128>, set: &Set) -> Sealed {
        Sealed {
            obj,
            class: class.to_owned(),
            rules: rules.to_owned(),
            j: journal.map(journal_name),
            set: base64::encode(Alphabet::Standard, &set.to_bytes()),
            from: None,
            part: None,
        }
    }

    /// Which records of this journal it holds; of another one none.
    pub(super) fn set_of(&self, journal: Option<u128>) -> Set {
        if self.j != journal.map(journal_name) || self.j.is_none() {
            return Set::new();
        }
        let bytes = base64::decode(Alphabet::Standard, &self.set);
        bytes
            .and_then(|bytes| Set::from_bytes(&bytes))
            .unwrap_or_default()
    }

    /// What the journal is told of it before the store is.
    pub(super) fn claim(&self, token: String, set: Set) -> Claim {
        let mut obj = self.obj.clone();
        let mut note = serde_json::to_string(&obj).unwrap_or_default();
        if note.len() > NOTE_BYTES_MAX {
            (obj.svc, obj.svc_more) = (obj.svc.map(|_| Vec::new()), true);
            note = serde_json::to_string(&obj).unwrap_or_default();
        }
        Claim {
            token,
            rules: self.rules.clone(),
            note,
            set,
        }
    }
}

/// The most that a claim's note takes.
const NOTE_BYTES_MAX: usize = 4 << 10;

/// A journal's number as lines have it.
pub(super) fn journal_name(journal: u128) -> String {
    format!("{journal:032x}")
}

/// How far an object came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Live {
    pub(super) sealed: Sealed,
    /// The store has it, under this version.
    pub(super) put: Option<Option<String>>,
    /// The log names it, at this index.
    pub(super) logged: Option<u64>,
}

/// What a state journal says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct State {
    /// Objects that are not done, by number.
    pub(super) live: BTreeMap<u64, Live>,
    /// Numbers that stand for nothing, as the log says.
    pub(super) gaps: BTreeSet<u64>,
    /// Parts that were begun and not sealed, by name.
    pub(super) parts: BTreeMap<String, Begun>,
    /// Every number that was ever seen.
    pub(super) seen: BTreeSet<u64>,
}

impl Line {
    /// With its newline.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("text and numbers are always JSON");
        bytes.push(b'\n');
        bytes
    }
}

impl State {
    /// Reads a file's content; gives the number of bytes that are whole lines too. A whole line that cannot be read is an
    /// error: the file was damaged, and nothing may be guessed from it.
    pub(super) fn read(bytes: &[u8]) -> Result<(State, usize), String> {
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut state = State::default();
        for (n, line) in bytes[..whole]
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .enumerate()
        {
            let line = serde_json::from_slice(line).map_err(|e| format!("line {}: {e}", n + 1))?;
            state.take(line);
        }
        Ok((state, whole))
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Part(begun) => {
                self.parts.insert(begun.part.clone(), begun);
            }
            Line::Sealed(sealed) => {
                if let Some(from) = sealed.from {
                    self.live.remove(&from);
                }
                if let Some(part) = &sealed.part {
                    self.parts.remove(part);
                }
                let seq = sealed.obj.seq;
                self.seen.insert(seq);
                let live = Live {
                    sealed: *sealed,
                    put: None,
                    logged: None,
                };
                self.live.insert(seq, live);
            }
            Line::Put { seq, ver } => {
                if let Some(live) = self.live.get_mut(&seq) {
                    live.put = Some(ver);
                }
            }
            Line::Logged { seq, i } => {
                if let Some(live) = self.live.get_mut(&seq) {
                    live.logged = Some(i);
                }
            }
            Line::Gap { seq, .. } => {
                self.live.remove(&seq);
                self.gaps.insert(seq);
                self.seen.insert(seq);
            }
            Line::Done { seqs } => seqs.iter().for_each(|seq| {
                self.live.remove(seq);
            }),
        }
    }

    /// The lines that still mean something.
    pub(super) fn lines(&self) -> Vec<u8> {
        let parts = self.parts.values().cloned().map(Line::Part);
        let mut out: Vec<u8> = parts.flat_map(|line| line.bytes()).collect();
        for seq in &self.gaps {
            out.extend(Line::Gap { seq: *seq, i: 0 }.bytes());
        }
        for (seq, live) in &self.live {
            let mut sealed = live.sealed.clone();
            (sealed.from, sealed.part) = (None, None);
            out.extend(Line::Sealed(Box::new(sealed)).bytes());
            if let Some(ver) = &live.put {
                let ver = ver.clone();
                out.extend(Line::Put { seq: *seq, ver }.bytes());
            }
            if let Some(i) = live.logged {
                out.extend(Line::Logged { seq: *seq, i }.bytes());
            }
        }
        out
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use component::Seq;
    use evidence::digest::sha256;
    use evidence::time::Time;

    pub(in crate::archiver) fn obj(seq: u64) -> Obj {
        Obj {
            seq,
            key: format!("data/{seq}"),
            ver: None,
            size: 3,
            sha256: sha256(b"abc"),
            fmt: "otlp_proto".into(),
            cmp: "zstd".into(),
            enc: None,
            tenant: "t".into(),
            signal: "logs".into(),
            n: 5,
            raw: 9,
            ev: None,
            ad: [Time::from_millis(0); 2],
            sev: None,
            svc: Some(vec!["s".into()]),
            svc_more: false,
            class: None,
            lock: None,
            of: None,
            adopted: None,
        }
    }

    fn sealed(seq: u64, from: Option<u64>) -> Line {
        let mut set = Set::new();
        set.add(Seq(seq));
        let mut sealed = Sealed::new(obj(seq), "std", "r", Some(7), &set);
        sealed.from = from;
        Line::Sealed(Box::new(sealed))
    }

    #[test]
    fn lines_tell_how_far_each_object_came() {
        let check = |lines: &[Line], expected: &[(u64, Option<Option<&str>>, Option<u64>)]| {
            let bytes: Vec<u8> = lines.iter().flat_map(Line::bytes).collect();
            let (state, whole) = State::read(&bytes).expect("whole lines");
            assert_eq!(whole, bytes.len());
            let came = |s: &State| -> Vec<(u64, Option<Option<String>>, Option<u64>)> {
                s.live
                    .iter()
                    .map(|(seq, l)| (*seq, l.put.clone(), l.logged))
                    .collect()
            };
            let expected: Vec<_> = expected
                .iter()
                .map(|(s, p, l)| (*s, p.map(|v| v.map(String::from)), *l))
                .collect();
            assert_eq!(came(&state), expected);
            // What is compacted says the same.
            let (again, _) = State::read(&state.lines()).expect("whole lines");
            assert_eq!((came(&again), &again.gaps), (expected, &state.gaps));
        };
        let put = |seq, ver: Option<&str>| Line::Put {
            seq,
            ver: ver.map(String::from),
        };
        check(&[], &[]);
        check(&[sealed(0, None)], &[(0, None, None)]);
        check(
            &[sealed(0, None), put(0, Some("v"))],
            &[(0, Some(Some("v")), None)],
        );
        check(
            &[
                sealed(0, None),
                sealed(1, None),
                put(1, None),
                Line::Logged { seq: 1, i: 9 },
            ],
            &[(0, None, None), (1, Some(None), Some(9))],
        );
        check(&[sealed(0, None), Line::Done { seqs: vec![0, 3] }], &[]);
        check(&[sealed(0, None), Line::Gap { seq: 0, i: 4 }], &[]);
        check(&[sealed(0, None), sealed(1, Some(0))], &[(1, None, None)]);
        check(&[put(5, None)], &[]);
    }

    #[test]
    fn a_part_is_known_until_it_is_sealed() {
        let begun = |part: &str| {
            Line::Part(Begun {
                part: part.into(),
                class: "std".into(),
                tenant: "t".into(),
                signal: "logs".into(),
                hour: 7,
                rules: "r".into(),
                j: Some(journal_name(7)),
            })
        };
        let mut whole = sealed(0, None);
        if let Line::Sealed(sealed) = &mut whole {
            sealed.part = Some("a".into());
        }
        let bytes: Vec<u8> = [begun("a"), begun("b"), whole]
            .iter()
            .flat_map(Line::bytes)
            .collect();
        let (state, _) = State::read(&bytes).expect("whole lines");
        let (again, _) = State::read(&state.lines()).expect("whole lines");
        let names = |s: &State| s.parts.keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            (names(&state), names(&again)),
            (vec!["b".to_owned()], vec!["b".to_owned()])
        );
    }

    #[test]
    fn a_torn_line_is_nothing_and_a_damaged_one_is_told() {
        let mut bytes = sealed(0, None).bytes();
        let whole = bytes.len();
        bytes.extend_from_slice(b"{\"k\":\"put\",\"se");
        let (state, len) = State::read(&bytes).expect("a torn line is no fault");
        assert_eq!((state.live.len(), len), (1, whole));
        bytes.extend_from_slice(b"\n");
        assert!(State::read(&bytes).expect_err("damaged").starts_with("line 2:"));
    }

    #[test]
    fn a_set_belongs_to_one_journal() {
        let Line::Sealed(sealed) = sealed(3, None) else {
            panic!("it is one");
        };
        assert_eq!(sealed.set_of(Some(7)).runs().count(), 1);
        assert!(sealed.set_of(Some(8)).is_empty());
        assert!(sealed.set_of(None).is_empty());
        let memory = Sealed::new(obj(0), "std", "r", None, &sealed.set_of(Some(7)));
        assert!(memory.set_of(None).is_empty());
    }

    #[test]
    fn a_claim_tells_all_that_its_entry_will() {
        let Line::Sealed(mut sealed) = sealed(3, None) else {
            panic!("it is one");
        };
        let claim = sealed.claim("o#3".into(), Set::new());
        assert_eq!(
            serde_json::from_str::<Obj>(&claim.note).expect("it is one"),
            sealed.obj
        );
        sealed.obj.svc = Some((0..32).map(|n| format!("{n:0200}")).collect());
        let claim = sealed.claim("o#3".into(), Set::new());
        assert!(claim.note.len() <= NOTE_BYTES_MAX);
        assert_eq!(
            serde_json::from_str::<Obj>(&claim.note)
                .expect("it is one")
                .sha256,
            sealed.obj.sha256
        );
    }
}
