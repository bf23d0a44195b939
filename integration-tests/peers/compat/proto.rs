//! Protobuf bytes from text, for messages that no encoder would write: `1:{1:"key" 2:{3:-1}} 1000:{}`.
//!
//! A field is `NUMBER:` and a value: `{...}` a message, `"..."` bytes (with `\n \" \\ \xHH`), a whole number a varint,
//! `5i32` and `5i64` fixed ones, `0.5f64` a double. A bare `` `0aff` `` stands for raw bytes, without a field.

/// The bytes. Panics at the first thing that is not in the language.
pub fn encode(text: &str) -> Vec<u8> {
    let mut rest = text;
    let out = fields(&mut rest, 0);
    assert!(rest.is_empty(), "left over: {rest}");
    out
}

fn fields(rest: &mut &str, depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        *rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('}') {
            assert!(rest.is_empty() == (depth == 0), "braces: {rest}");
            return out;
        }
        if let Some(after) = rest.strip_prefix('`') {
            let (raw, after) = after.split_once('`').expect("a closing `");
            out.extend(hex(raw));
            *rest = after;
            continue;
        }
        let (number, after) = rest.split_once(':').expect("NUMBER:");
        let number: u64 = number.trim().parse().expect("a field number");
        *rest = after.trim_start();
        field(number, rest, depth, &mut out);
    }
}

fn field(number: u64, rest: &mut &str, depth: usize, out: &mut Vec<u8>) {
    if let Some(inner) = rest.strip_prefix('{') {
        *rest = inner;
        let message = fields(rest, depth + 1);
        *rest = rest.strip_prefix('}').expect("a closing brace");
        bytes(number, &message, out);
    } else if let Some(text) = rest.strip_prefix('"') {
        let (value, after) = string(text);
        *rest = after;
        bytes(number, &value, out);
    } else {
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '}')
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        *rest = after;
        if let Some(double) = word.strip_suffix("f64") {
            varint(number << 3 | 1, out);
            out.extend(double.parse::<f64>().expect("a double").to_le_bytes());
        } else if let Some(fixed) = word.strip_suffix("i64") {
            varint(number << 3 | 1, out);
            out.extend(fixed.parse::<u64>().expect("a fixed64").to_le_bytes());
        } else if let Some(fixed) = word.strip_suffix("i32") {
            varint(number << 3 | 5, out);
            out.extend(fixed.parse::<u32>().expect("a fixed32").to_le_bytes());
        } else {
            varint(number << 3, out);
            let value = word.parse::<i128>().expect("a varint");
            varint(value as u64, out);
        }
    }
}

fn bytes(number: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What stands before the closing quote, and what after.
fn string(text: &str) -> (Vec<u8>, &str) {
    let mut out = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &text[at + 1..]),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push(b'\n'),
                Some('x') => {
                    out.extend(hex(&text[at + 2..at + 4]));
                    chars.nth(1);
                }
                Some(c @ ('"' | '\\')) => out.push(c as u8),
                other => panic!("unknown escape {other:?}"),
            },
            c => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    panic!("a closing quote: {text}");
}

fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "pairs of digits: {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits"))
        .collect()
}

#[test]
fn the_language_says_every_wire_type() {
    let check = |text: &str, bytes: &[u8]| assert_eq!(encode(text), bytes, "{text}");
    check("", &[]);
    check("1:{}", &[0x0a, 0]);
    check(
        "1:{2:1 3:\"a\"} 4:300",
        &[0x0a, 5, 0x10, 1, 0x1a, 1, b'a', 0x20, 0xac, 2],
    );
    check("1000:0", &[0xc0, 0x3e, 0]);
    check(
        "1:-1",
        &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    );
    check("1:2i64 2:3i32", &[9, 2, 0, 0, 0, 0, 0, 0, 0, 0x15, 3, 0, 0, 0]);
    check("1:0.5f64", &[9, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f]);
    check(r#"1:"\x00\"\\\n" `ff`"#, &[0x0a, 4, 0, b'"', b'\\', b'\n', 0xff]);
}
