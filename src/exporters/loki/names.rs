//! Names and label strings as Loki reads them.
//!
//! In: names of attributes, any text. Out: names of labels and of structured metadata, by the rules that Loki 3.7 itself
//! has for OTLP (otlptranslator's `LabelNamer`), and the text of a stream's labels in the syntax of its selectors.

/// What stands for a name without any letter or digit, which Loki refuses with all that came beside it.
const NAMELESS: &[u8] = b"key_";

/// Appends the name that Loki makes of an attribute's: letters and digits of ASCII stay, runs of anything else are one
/// `_`, a digit in front gets `key_`; `__name__` keeps its underscores.
pub(super) fn sanitize(name: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let inner = name.strip_prefix(b"__").and_then(|name| name.strip_suffix(b"__"));
    if inner.is_some() {
        out.extend_from_slice(b"__");
    }
    let body = inner.unwrap_or(name);
    if inner.is_none() && body.first().is_some_and(u8::is_ascii_digit) {
        out.extend_from_slice(b"key_");
    }
    let (mut was_other, mut is_named) = (false, false);
    for &byte in body {
        if byte.is_ascii_alphanumeric() {
            out.push(byte);
            (was_other, is_named) = (false, true);
        } else if !std::mem::replace(&mut was_other, true) {
            out.push(b'_');
        }
    }
    if inner.is_some() {
        out.extend_from_slice(b"__");
    }
    if !is_named {
        out.truncate(start);
        out.extend_from_slice(NAMELESS);
    }
}

/// Appends the name that contrib's exporter makes of an attribute that a hint names: letters and digits of ASCII stay,
/// any other character is a `_`; a digit in front gets `key_`, a single `_` in front `key`. Letters that are no ASCII,
/// which contrib left alone, make Loki refuse the whole push.
pub(super) fn hinted(name: &[u8], out: &mut Vec<u8>) {
    match name {
        [] => out.extend_from_slice(NAMELESS),
        [b'0'..=b'9', ..] => out.extend_from_slice(b"key_"),
        [b'_', b'_', ..] => {}
        [first, ..] if !first.is_ascii_alphanumeric() => {
            let second = name.iter().skip(1).find(|byte| **byte & 0xc0 != 0x80);
            if second.is_none_or(u8::is_ascii_alphanumeric) {
                out.extend_from_slice(b"key");
            }
        }
        _ => {}
    }
    let inner = |byte: &&u8| **byte & 0xc0 != 0x80;
    out.extend(
        name.iter()
            .filter(inner)
            .map(|byte| match byte.is_ascii_alphanumeric() {
                true => *byte,
                false => b'_',
            }),
    );
}

/// Appends a value in double quotes, with the escapes that Loki's parser has from Go. What is no UTF-8 becomes U+FFFD.
pub(super) fn quote(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for part in value.utf8_chunks() {
        let text = part.valid().as_bytes();
        let mut from = 0;
        for (at, &byte) in text.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 | 0x7f => b"\\x",
                _ => continue,
            };
            out.extend_from_slice(&text[from..at]);
            out.extend_from_slice(escape);
            if escape == b"\\x" {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            from = at + 1;
        }
        out.extend_from_slice(&text[from..]);
        if !part.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Appends a text as JSON. What is no UTF-8 becomes U+FFFD.
pub(super) fn json_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for part in text.utf8_chunks() {
        let text = part.valid().as_bytes();
        let mut from = 0;
        for (at, &byte) in text.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 => b"\\u00",
                _ => continue,
            };
            out.extend_from_slice(&text[from..at]);
            out.extend_from_slice(escape);
            if escape == b"\\u00" {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            from = at + 1;
        }
        out.extend_from_slice(&text[from..]);
        if !part.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lokis() {
        let check = |name: &str, expected: &str| {
            let mut out = b"x".to_vec();
            sanitize(name.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out[1..]), expected, "{name:?}");
        };
        // Each was read back from what Loki's own library makes of it.
        check("level", "level");
        check("http.method", "http_method");
        check("k8s.pod.name", "k8s_pod_name");
        check("a..b", "a_b");
        check("a__b", "a_b");
        check("a.-/b", "a_b");
        check("_a", "_a");
        check("a_", "a_");
        check("__a", "_a");
        check("__a__", "__a__");
        check("__a.b__", "__a_b__");
        check("__1__", "__1__");
        check("1st", "key_1st");
        check("é", "key_");
        check("größe", "gr_e");
        check("a b", "a_b");
        check("_", "key_");
        check("...", "key_");
        check("", "key_");
        check("____", "key_");
        check("A1", "A1");
    }

    #[test]
    fn names_of_hints_are_contribs() {
        let check = |name: &str, expected: &str| {
            let mut out = b"x".to_vec();
            hinted(name.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out[1..]), expected, "{name:?}");
        };
        // What lokiexporter v0.130 sent.
        check("level", "level");
        check("k8s.pod.name", "k8s_pod_name");
        check("a..b", "a__b");
        check("a__b", "a__b");
        check("a-b", "a_b");
        check("1st", "key_1st");
        check("__x", "__x");
        check("__z__", "__z__");
        check("_y", "key_y");
        check("_", "key_");
        check("x_", "x_");
        check("A.B", "A_B");
        check(".a", "key_a");
        check("..a", "__a");
        // Ours.
        check("", "key_");
        check("größe", "gr__e");
        check("é", "key_");
        check("éa", "key_a");
        check("éé", "__");
    }

    #[test]
    fn values_are_quoted_as_go_reads_them() {
        let check = |value: &[u8], expected: &str| {
            let mut out = Vec::new();
            quote(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        };
        check(b"", r#""""#);
        check(b"plain", r#""plain""#);
        check("größe".as_bytes(), "\"größe\"");
        check(b"a\"b\\c\nd\re\tf", r#""a\"b\\c\nd\re\tf""#);
        check(b"\x00\x1f\x7f", r#""\x00\x1f\x7f""#);
        check(b"a\xffb\xc3", "\"a\u{fffd}b\u{fffd}\"");
    }

    #[test]
    fn json_reads_back() {
        let check = |text: &[u8]| {
            let mut out = Vec::new();
            json_text(text, &mut out);
            let read: String = serde_json::from_slice(&out).expect("it is JSON");
            assert_eq!(read, String::from_utf8_lossy(text));
        };
        check(b"");
        check(b"a\"b\\c\nd\re\tf\x00\x1f\x7f<&>");
        check("größe \u{2028} \u{1f600}".as_bytes());
        check(b"a\xffb");
    }
}
