//! The `tracestate` of a span, as far as sampling goes: its member `ot` with `th` and `rv`.
//!
//! In: the header's text. Out: what `ot` says, and the header written anew with another threshold or randomness; other
//! members and other fields of `ot` stay in their order. What breaks the grammar is an error, and the header is then left
//! alone.

use super::{DIGITS, Threshold, parse_randomness};

const BYTES_MAX: usize = 1024;
const MEMBERS_MAX: usize = 31;
const KEY_MAX: usize = 256;
const TENANT_MAX: usize = 241;
const SYSTEM_MAX: usize = 14;
const VALUE_MAX: usize = 256;

/// A header that breaks the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// What a header says about sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceState<'h> {
    header: &'h [u8],
    /// Value of `ot`.
    ot: &'h [u8],
    /// `rv` as it arrived, and as a number.
    randomness: Option<(&'h [u8], u64)>,
    threshold: Option<(&'h [u8], Threshold)>,
}

/// What is written in the place of the arrived `rv` or `th`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// Written if none arrived.
    pub(crate) randomness: Option<u64>,
    /// Written instead of what arrived; none leaves that.
    pub(crate) threshold: Option<Threshold>,
}

impl<'h> TraceState<'h> {
    /// Reads a header; empty is fine.
    pub(crate) fn parse(header: &'h [u8]) -> Result<TraceState<'h>, Unreadable> {
        let mut state = TraceState {
            header,
            ..TraceState::default()
        };
        if header.is_empty() {
            return Ok(state);
        }
        if header.len() > BYTES_MAX {
            return Err(Unreadable);
        }
        for (i, member) in members(header).enumerate() {
            let (key, value) = split_at(member, b'=').ok_or(Unreadable)?;
            if i >= MEMBERS_MAX || !is_key(key) || !is_value(value) {
                return Err(Unreadable);
            }
            if key == b"ot" {
                state.read_ot(value)?;
            }
        }
        Ok(state)
    }

    fn read_ot(&mut self, value: &'h [u8]) -> Result<(), Unreadable> {
        (self.ot, self.randomness, self.threshold) = (value, None, None);
        for field in value.split(|b| *b == b';') {
            let (key, value) = split_at(field, b':').ok_or(Unreadable)?;
            if !is_ot_key(key)
                || !value
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
            {
                return Err(Unreadable);
            }
            match key {
                b"rv" => self.randomness = Some((value, parse_randomness(value).ok_or(Unreadable)?)),
                b"th" => self.threshold = Some((value, Threshold::parse(value).ok_or(Unreadable)?)),
                _ => {}
            }
        }
        Ok(())
    }

    /// `rv`.
    pub(crate) fn randomness(&self) -> Option<u64> {
        self.randomness.map(|(_, r)| r)
    }

    /// `th`.
    pub(crate) fn threshold(&self) -> Option<Threshold> {
        self.threshold.map(|(_, t)| t)
    }

    /// Appends the header with `ot` in front: randomness, threshold, the rest of it, then the other members.
    pub(crate) fn write(&self, update: Update, out: &mut Vec<u8>) {
        let start = out.len();
        let randomness = match self.randomness {
            Some((text, _)) => Some(text.try_into().unwrap_or([b'0'; DIGITS])),
            None => update.randomness.map(super::digits),
        };
        if let Some(text) = &randomness {
            field(out, start, b"rv", text);
        }
        match (update.threshold, self.threshold) {
            (Some(threshold), _) => field(out, start, b"th", threshold.text().as_bytes()),
            (None, Some((text, _))) => field(out, start, b"th", text),
            (None, None) => {}
        }
        for part in self.ot.split(|b| *b == b';') {
            match split_at(part, b':') {
                Some((b"rv" | b"th", _)) | None => {}
                Some((key, value)) => field(out, start, key, value),
            }
        }
        for member in members(self.header).filter(|m| !m.starts_with(b"ot=")) {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(member);
        }
    }
}

/// The value of a member, whichever it is; none if there is none, or the header breaks the grammar.
pub(crate) fn get<'h>(header: &'h [u8], key: &[u8]) -> Option<&'h [u8]> {
    TraceState::parse(header).ok()?;
    let found = members(header).filter_map(|member| split_at(member, b'='));
    found.filter(|(k, _)| *k == key).map(|(_, value)| value).next()
}

fn field(out: &mut Vec<u8>, start: usize, key: &[u8], value: &[u8]) {
    out.extend_from_slice(if out.len() == start { b"ot=" } else { b";" });
    out.extend_from_slice(key);
    out.push(b':');
    out.extend_from_slice(value);
}

fn members(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_space = |b: &u8| *b == b' ' || *b == b'\t';
    header.split(|b| *b == b',').filter_map(move |member| {
        let from = member.iter().position(|b| !is_space(b))?;
        let to = member.iter().rposition(|b| !is_space(b))?;
        Some(&member[from..=to])
    })
}

fn split_at(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == mark)?;
    Some((&text[..at], &text[at + 1..]))
}

fn is_key(key: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(b);
    let starts = |part: &[u8]| part.first().is_some_and(u8::is_ascii_lowercase);
    match split_at(key, b'@') {
        None => starts(key) && key.len() <= KEY_MAX && key.iter().all(plain),
        Some((tenant, system)) => {
            let first = tenant.first().is_some_and(u8::is_ascii_digit) || starts(tenant);
            first
                && starts(system)
                && tenant.len() <= TENANT_MAX
                && system.len() <= SYSTEM_MAX
                && tenant.iter().chain(system).all(plain)
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    let plain = |b: &u8| (0x20..=0x7e).contains(b) && *b != b',' && *b != b'=';
    (1..=VALUE_MAX).contains(&value.len()) && value.last() != Some(&b' ') && value.iter().all(plain)
}

fn is_ot_key(key: &[u8]) -> bool {
    key.first().is_some_and(u8::is_ascii_lowercase)
        && key.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again_with_ot_in_front() {
        #[track_caller]
        fn check(header: &str, threshold: &str, randomness: Option<u64>, expected: Result<&str, Unreadable>) {
            let update = Update {
                randomness,
                threshold: Threshold::parse(threshold.as_bytes()),
            };
            let found = TraceState::parse(header.as_bytes()).map(|state| {
                let mut out = Vec::new();
                state.write(update, &mut out);
                String::from_utf8(out).unwrap()
            });
            assert_eq!(found.as_deref(), expected.as_ref().map(|t| *t), "{header}");
        }
        check("", "", None, Ok(""));
        check("", "8", None, Ok("ot=th:8"));
        check("", "8", Some(1), Ok("ot=rv:00000000000001;th:8"));
        check("ot=th:A0", "", None, Ok("ot=th:A0"));
        check("ot=th:A0", "b", None, Ok("ot=th:b"));
        check(
            "ot=x:1;th:8;rv:F00000000000Ab;y:-._",
            "C0",
            Some(1),
            Ok("ot=rv:F00000000000Ab;th:c;x:1;y:-._"),
        );
        check(
            " a=1 ,,\tot=x:1, 9t@sys=b c ",
            "0",
            None,
            Ok("ot=th:0;x:1,a=1,9t@sys=b c"),
        );
        check("a=1", "", None, Ok("a=1"));
        let long = format!("a={}", "x".repeat(257));
        let many = "a=1,".repeat(32);
        let big = format!("a={v},b={v},c={v},d={v},e=1", v = "x".repeat(255));
        for wrong in [
            "a", "=1", "a=", "a=1=2", "A=1", "1a=1", "a@1=1", "a@b@c=1", "a=\u{7f}", "ot=th:8;", "ot=th",
            "ot=th:g", "ot=th:", "ot=rv:1", "ot=X:1", "ot=x:~", "ot=:1", &long, &many, &big,
        ] {
            check(wrong, "8", None, Err(Unreadable));
        }
        check("ot=x:", "", None, Ok("ot=x:"));
        let most = "a=1,".repeat(31);
        assert!(TraceState::parse(most.as_bytes()).is_ok());
    }
}
