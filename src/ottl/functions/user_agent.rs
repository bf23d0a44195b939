//! Who sent a request, by what the header `User-Agent` says: the program and its version, the system and its version.
//!
//! The rules are those of uap-core (`data/agents.txt`), some six hundred expressions in an order that decides: browsers
//! call themselves by each other's names. A rule is compiled when a text first holds the literals that the rule cannot
//! match without, and answers are kept for texts that come again. What no rule knows is `Other`.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{LazyLock, OnceLock};

use codec::pattern::Pattern;
use wire::scan::{Hit, Scan};

use super::{Args, Def, any};
use crate::editors::{expand, group};
use crate::error::Result;
use crate::value::{Map, MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[
    Def::get("UserAgent", &[any("user_agent")], |a| parse(&a)).prepared(|_, _| {
        // Read when a statement is compiled, not when the first record comes.
        LazyLock::force(&RULES);
        Ok(())
    }),
];

/// Bytes of a text that the rules see. Longer ones are no header, and each rule would walk through all of it.
const SEEN_MAX: usize = 2048;
/// Answers that are kept, each in the place that its text's hash says.
const KEPT: usize = 256;
/// What a rule gives at most: a name and four parts of a version.
const PARTS: usize = 5;

struct Rules {
    programs: Vec<Rule>,
    systems: Vec<Rule>,
}

struct Rule {
    source: &'static str,
    parts: [&'static str; PARTS],
    /// No match without a hit; none if nothing is known.
    gate: Option<Scan>,
    /// Made when first needed; none if it cannot be compiled, which a test excludes.
    pattern: OnceLock<Option<Pattern>>,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let (programs, systems) = include_str!("../data/agents.txt")
        .split_once("= os_parsers\n")
        .unwrap_or_default();
    let rules = |text: &'static str, parts| {
        let lines = text.lines().filter(|line| !line.starts_with(['#', '=']));
        lines.map(|line| Rule::new(line, parts)).collect()
    };
    Rules {
        programs: rules(programs, 4),
        systems: rules(systems, 5),
    }
});

impl Rule {
    fn new(line: &'static str, parts: usize) -> Rule {
        let mut columns = line.split('\t');
        let source = columns.next().unwrap_or("");
        let mut given = ["$1", "$2", "$3", "$4", "$5"];
        for (i, part) in given.iter_mut().enumerate() {
            match columns.next() {
                Some(text) if !text.is_empty() => *part = text,
                _ if i >= parts => *part = "",
                _ => {}
            }
        }
        Rule {
            source,
            parts: given,
            gate: Pattern::gates_of(source).ok().flatten().map(Scan::new),
            pattern: OnceLock::new(),
        }
    }

    /// Name and version; none if the rule does not match, or gives no name.
    fn apply(&self, text: &[u8], hits: &mut Vec<Hit>) -> Option<(Vec<u8>, Vec<u8>)> {
        if let Some(gate) = &self.gate
            && !gate.hits_any(text, |_| true, hits)
        {
            return None;
        }
        let pattern = self
            .pattern
            .get_or_init(|| Pattern::seldom(self.source).ok())
            .as_ref()?;
        let mut groups = pattern.groups(&mut pattern.cache(), text)?;
        // The whole match, which no template shows.
        groups.insert(0, None);
        let part = |i: usize| {
            let mut out = Vec::new();
            expand(
                self.parts[i].as_bytes(),
                |name| group(pattern, name),
                &groups,
                text,
                &mut out,
            );
            out
        };
        let name = part(0);
        if name.is_empty() {
            return None;
        }
        let mut version = part(1);
        for more in (2..PARTS).map(part).filter(|more| !more.is_empty()) {
            version.push(b'.');
            version.extend_from_slice(&more);
        }
        Some((name, version))
    }
}

/// The answers so far, and room for searching.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    hits: Vec<Hit>,
    /// Texts with their maps, encoded.
    kept: Vec<Option<(Box<[u8]>, Box<[u8]>)>>,
}

impl Agents {
    /// The encoded map for a text.
    fn map(&mut self, text: &[u8]) -> Vec<u8> {
        if text.len() > SEEN_MAX {
            return map(text, &mut self.hits);
        }
        self.kept.resize(KEPT, None);
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(text);
        let place = &mut self.kept[hash as usize % KEPT];
        match place {
            Some((known, map)) if **known == *text => map.to_vec(),
            _ => {
                let map = map(text, &mut self.hits);
                *place = Some((text.into(), map.as_slice().into()));
                map
            }
        }
    }
}

fn map(text: &[u8], hits: &mut Vec<Hit>) -> Vec<u8> {
    let seen = &text[..text.len().min(SEEN_MAX)];
    let mut first = |rules: &[Rule]| {
        let found = rules.iter().find_map(|rule| rule.apply(seen, hits));
        found.unwrap_or_else(|| (b"Other".to_vec(), Vec::new()))
    };
    let (name, version) = first(&RULES.programs);
    let (system, system_version) = first(&RULES.systems);
    let mut map = MapBuilder::default();
    map.put_str("user_agent.name", &name);
    map.put_str("user_agent.original", text);
    map.put_str("user_agent.version", &version);
    map.put_str("os.name", &system);
    if !system_version.is_empty() {
        map.put_str("os.version", &system_version);
    }
    map.finish()
}

fn parse(a: &Args<'_>) -> Result<Val<'static>> {
    let text = a.str(0)?;
    let map = a.cx.tools.agents.borrow_mut().map(&text);
    Ok(Val::Map(Map::Encoded(map.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_compiles() {
        assert_eq!((RULES.programs.len(), RULES.systems.len()), (365, 202));
        for rule in RULES.programs.iter().chain(&RULES.systems) {
            let pattern = Pattern::seldom(rule.source).unwrap_or_else(|e| panic!("{}: {e}", rule.source));
            assert!(
                pattern.group_names().iter().all(Option::is_none),
                "{}",
                rule.source
            );
        }
    }

    #[test]
    fn answers_stay_the_same() {
        let mut agents = Agents::default();
        let texts: Vec<String> = (0..2 * KEPT).map(|n| format!("curl/8.{n} (x{n})")).collect();
        let first: Vec<_> = texts.iter().map(|text| agents.map(text.as_bytes())).collect();
        for (text, expected) in texts.iter().zip(first) {
            assert_eq!(agents.map(text.as_bytes()), expected);
            assert_eq!(map(text.as_bytes(), &mut Vec::new()), expected);
        }
        let long = [b"curl/8.7.1 ".as_slice(), &vec![b'x'; 2 * SEEN_MAX]].concat();
        assert_eq!(agents.map(&long), map(&long, &mut Vec::new()));
        assert_eq!(
            agents
                .kept
                .iter()
                .flatten()
                .filter(|(text, _)| text.len() > SEEN_MAX)
                .count(),
            0
        );
    }
}
