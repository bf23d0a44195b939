//! The W3C `tracestate` header: read and changed by key.

/// A header that cannot be read.
#[derive(Debug, PartialEq)]
pub(crate) struct Unreadable;

const MEMBERS_MAX: usize = 32;

fn members(header: &[u8]) -> Result<Vec<(&[u8], &[u8])>, Unreadable> {
    let mut found: Vec<(&[u8], &[u8])> = Vec::new();
    for member in header.split(|b| *b == b',') {
        let member = member.trim_ascii();
        if member.is_empty() {
            continue;
        }
        let at = member.iter().position(|b| *b == b'=').ok_or(Unreadable)?;
        let (key, value) = (&member[..at], &member[at + 1..]);
        if !is_key(key)
            || !is_value(value)
            || found.iter().any(|(k, _)| *k == key)
            || found.len() == MEMBERS_MAX
        {
            return Err(Unreadable);
        }
        found.push((key, value));
    }
    Ok(found)
}

fn is_key(key: &[u8]) -> bool {
    let first = key
        .first()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(b);
    first && key.len() <= 256 && key.iter().all(rest)
}

fn is_value(value: &[u8]) -> bool {
    let plain = |b: &u8| (0x20..=0x7e).contains(b) && !b",=".contains(b);
    value.len() <= 256 && value.last() != Some(&b' ') && value.iter().all(plain)
}

/// The value of a key.
pub(crate) fn get<'h>(header: &'h [u8], key: &[u8]) -> Result<Option<&'h [u8]>, Unreadable> {
    Ok(members(header)?
        .into_iter()
        .find(|(k, _)| *k == key)
        .map(|(_, value)| value))
}

/// The header with this key in front; none if that cannot be, or the header cannot be read.
pub(crate) fn put(header: &[u8], key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let old = members(header).ok()?;
    if !is_key(key) || !is_value(value) {
        return None;
    }
    let mut out = [key, b"=", value].concat();
    // The last one makes room for a new one.
    for (k, v) in old.into_iter().filter(|(k, _)| *k != key).take(MEMBERS_MAX - 1) {
        out.push(b',');
        out.extend_from_slice(&[k, b"=", v].concat());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_and_moved_to_the_front() {
        let check = |header: &str, expected: Result<Option<&str>, Unreadable>| {
            let found =
                get(header.as_bytes(), b"a").map(|v| v.map(|v| String::from_utf8_lossy(v).into_owned()));
            assert_eq!(found, expected.map(|v| v.map(str::to_owned)), "{header}");
        };
        check("", Ok(None));
        check("a=1", Ok(Some("1")));
        check("b=2 , a=1", Ok(Some("1")));
        check("b=2", Ok(None));
        check("a", Err(Unreadable));
        check("a=1,a=2", Err(Unreadable));
        check("A=1", Err(Unreadable));
        let check = |header: &str, key: &str, value: &str, expected: Option<&str>| {
            let found = put(header.as_bytes(), key.as_bytes(), value.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{header}");
        };
        check("", "a", "1", Some("a=1"));
        check("b=2,a=1", "a", "3", Some("a=3,b=2"));
        check("b=2", "a", "x,y", None);
        check("b", "a", "1", None);
    }
}
