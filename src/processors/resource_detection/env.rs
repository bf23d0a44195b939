//! Detector `env`: attributes that stand in the environment.

use super::Found;

/// Where they stand; the second is the older name.
const VARIABLES: [&str; 2] = ["OTEL_RESOURCE_ATTRIBUTES", "OTEL_RESOURCE"];
/// Longest key or value, in characters.
const PART_MAX: usize = 256;

/// Reads the first of the variables that is not blank.
pub(super) fn detect() -> Result<Found, String> {
    let set = |name: &&str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    match VARIABLES
        .iter()
        .find_map(|name| set(name).map(|text| (name, text)))
    {
        Some((name, text)) => read(&text).map_err(|error| format!("{name}: {error}")),
        None => Ok(Found::default()),
    }
}

/// Reads `k=v,k=v`: spaces around keys and values do not count, a value is percent-decoded and its `+` are spaces. One
/// bad pair makes all of it bad. Errors name the place, not the text: values may be private.
fn read(text: &str) -> Result<Found, String> {
    let mut found = Found::default();
    let mut rest = text.trim();
    let mut place = 1;
    loop {
        let bad = |what: &str| Err(format!("pair {place} {what}"));
        // The key ends at the first `=`, wherever commas stand before it.
        let Some((key, after)) = rest.split_once('=') else {
            return bad("has no \"=\"");
        };
        let (value, next) = match after.split_once(',') {
            Some((value, next)) => (value, Some(next)),
            None => (after, None),
        };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() {
            return bad("has no key");
        }
        if !key.is_ascii() || !value.is_ascii() || key.len() > PART_MAX || value.len() > PART_MAX {
            return bad("is longer than 256 characters, or not ASCII");
        }
        match unescape(value) {
            Some(value) => found.put(key, &value),
            None => return bad("has a \"%\" without two hexadecimal digits"),
        }
        // A comma may end the list.
        match next.filter(|n| !n.is_empty()) {
            Some(next) => rest = next,
            None => return Ok(found),
        }
        place += 1;
    }
}

fn unescape(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                (digit()? << 4 | digit()?) as u8
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_as_the_collector_does() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = read(text).map(|found| found.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        };
        check("a=1", Ok("a=1"));
        check("a=1,b=2", Ok("a=1 b=2"));
        check(" a = 1 , b = 2 ", Ok("a=1 b=2"));
        check("a=1,", Ok("a=1"));
        check("a=", Ok("a="));
        check("a=b=c", Ok("a=b=c"));
        check(
            "example.org/test-1=test%20%C3%BC+x,k8s.pod=p%2C1",
            Ok("example.org/test-1=test ü x k8s.pod=p,1"),
        );
        check("a=1,a=2", Ok("a=2"));
        // Commas before the first `=` are the key's.
        check("x,y=1", Ok("x,y=1"));
        check("a", Err("pair 1 has no \"=\""));
        check("a=1,b", Err("pair 2 has no \"=\""));
        check("=1", Err("pair 1 has no key"));
        check("a=%", Err("pair 1 has a \"%\" without two hexadecimal digits"));
        check(
            "a=1,b=%zz",
            Err("pair 2 has a \"%\" without two hexadecimal digits"),
        );
        check("ü=1", Err("pair 1 is longer than 256 characters, or not ASCII"));
        let long = format!("a={}", "x".repeat(257));
        check(&long, Err("pair 1 is longer than 256 characters, or not ASCII"));
        check(&long[..long.len() - 1], Ok(&long[..long.len() - 1]));
    }
}
