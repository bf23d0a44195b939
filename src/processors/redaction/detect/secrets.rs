//! Detectors of what is written in letters: mail addresses, tokens, credentials, keys.
//!
//! Tokens are told by their prefix, alphabet and length. Of a credential only the secret part is found: `Bearer ` and
//! `https://` stay.

use std::ops::Range;

use memchr::memmem;

use super::context::{before, byte, is_word, run, run_up_to};

// --- Mail ---

/// Ends of names that look like a mail address and are none: units of systemd, files.
const NO_TOP_LEVEL: &[&str] = &[
    "service", "slice", "socket", "scope", "mount", "timer", "target", "png", "jpg", "jpeg", "gif", "svg",
    "webp", "css", "js", "ts", "map", "json", "yaml", "yml", "html", "jar",
];

pub(super) fn email(text: &[u8], found: &mut Vec<Range<usize>>) {
    for at in memchr::memchr_iter(b'@', text) {
        if let Some(range) = email_at(text, at) {
            found.push(range);
        }
    }
}

fn email_at(text: &[u8], at: usize) -> Option<Range<usize>> {
    let is_local = |b: &u8| is_word(*b) || matches!(b, b'.' | b'%' | b'+' | b'-' | b'\'');
    let mut start = at
        - text[..at]
            .iter()
            .rev()
            .take(64)
            .take_while(|b| is_local(b))
            .count();
    start += run(text, start, |b| !is_word(b));
    let local = text.get(start..at)?;
    if local.is_empty() || local.ends_with(b".") {
        return None;
    }
    let is_domain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let mut end = at + 1 + run(text, at + 1, is_domain).min(254);
    while end > at + 1 && matches!(text[end - 1], b'.' | b'-') {
        end -= 1;
    }
    let domain = &text[at + 1..end];
    let dot = domain.iter().rposition(|b| *b == b'.')?;
    let (name, top) = (&domain[..dot], &domain[dot + 1..]);
    let plausible = !name.is_empty()
        && !name.starts_with(b"-")
        && !name.starts_with(b".")
        && !domain.windows(2).any(|w| w == b"..")
        && (2..=24).contains(&top.len())
        && (top.iter().all(u8::is_ascii_alphabetic) || top.starts_with(b"xn--"))
        && !NO_TOP_LEVEL
            .iter()
            .any(|t| top.eq_ignore_ascii_case(t.as_bytes()))
        && !is_word(byte(text, end));
    // `git@host.tld:path` names a repository.
    let repository = local == b"git" && byte(text, end) == b':';
    (plausible && !repository).then_some(start..end)
}

// --- Tokens ---

/// Longest token but for those that say how long they are, in bytes.
const TOKEN_MAX: usize = 256;

/// Every place behind a prefix that no word runs into, with how many bytes of the alphabet follow, up to a bound.
fn tokens(
    text: &[u8],
    prefix: &str,
    alphabet: impl Fn(u8) -> bool,
    mut each: impl FnMut(usize, usize, usize),
) {
    for at in memmem::find_iter(text, prefix.as_bytes()) {
        if !before(text, at).is_ascii_alphanumeric() {
            let body = at + prefix.len();
            each(at, body, run_up_to(text, body, TOKEN_MAX, &alphabet));
        }
    }
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Of base64 in the form for URLs, and of most tokens.
fn is_url_safe(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

pub(super) fn jwt(text: &[u8], found: &mut Vec<Range<usize>>) {
    let mut done = 0;
    for at in memmem::find_iter(text, b"eyJ") {
        // What begins within a header that is none begins none.
        if at < done || is_url_safe(before(text, at)) && before(text, at) != b'-' {
            continue;
        }
        let payload = at + run(text, at, is_url_safe) + 1;
        done = payload;
        let signature = payload + run(text, payload, is_url_safe) + 1;
        // Both are JSON objects: `{"` makes `eyJ`, `{}` and `{ ` make the others.
        let is_object = [b"eyJ", b"e30", b"eyA"]
            .iter()
            .any(|o| text.get(payload..).is_some_and(|t| t.starts_with(*o)));
        let dotted = byte(text, payload - 1) == b'.' && byte(text, signature - 1) == b'.';
        if payload - at > 11 && is_object && dotted {
            done = signature + run(text, signature, is_url_safe);
            found.push(at..done);
        }
    }
}

pub(super) fn aws_key(text: &[u8], key: &[u8], found: &mut Vec<Range<usize>>) {
    for prefix in ["AKIA", "ASIA"] {
        tokens(text, prefix, is_word, |at, body, len| {
            let id = &text[body..body + len];
            if len == 16 && id.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
                found.push(at..body + len);
            }
        });
    }
    // Secret keys have no prefix: forty bytes of base64 behind a name that says so.
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'+' | b'=');
    let is_secret = |at: usize| {
        let secret = &text[at..at + run_up_to(text, at, 41, is_base64)];
        let mixed = [u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit];
        secret.len() == 40 && mixed.iter().all(|is| secret.iter().any(is))
    };
    let names_secret = |text: &[u8]| text.windows(6).position(|w| w.eq_ignore_ascii_case(b"secret"));
    if names_secret(key).is_some() && is_secret(0) && text.len() == 40 {
        found.push(0..40);
    }
    let mut from = 0;
    while let Some(at) = names_secret(&text[from..]) {
        from += at + 6;
        let name = run_up_to(text, from, 32, is_url_safe);
        let gap = run_up_to(text, from + name, 8, |b| !is_base64(b) || b == b'=');
        let value = from + name + gap;
        if gap > 0 && is_secret(value) {
            found.push(value..value + 40);
        }
    }
}

pub(super) fn gcp_key(text: &[u8], found: &mut Vec<Range<usize>>) {
    tokens(text, "AIza", is_url_safe, |at, body, len| {
        if len == 35 {
            found.push(at..body + len);
        }
    });
    tokens(text, "GOCSPX-", is_url_safe, |at, body, len| {
        if len == 28 {
            found.push(at..body + len);
        }
    });
    let is_oauth = |b: u8| is_url_safe(b) || b == b'.';
    tokens(text, "ya29.", is_oauth, |at, body, len| {
        if len >= 20 {
            found.push(at..body + len);
        }
    });
}

pub(super) fn github_token(text: &[u8], found: &mut Vec<Range<usize>>) {
    for prefix in ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"] {
        tokens(text, prefix, is_alphanumeric, |at, body, len| {
            if len >= 36 {
                found.push(at..body + len);
            }
        });
    }
    tokens(text, "github_pat_", is_word, |at, body, len| {
        if len >= 59 {
            found.push(at..body + len);
        }
    });
}

pub(super) fn slack_token(text: &[u8], found: &mut Vec<Range<usize>>) {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    for prefix in [
        "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxc-", "xoxd-", "xoxe.", "xapp-",
    ] {
        tokens(text, prefix, is_token, |at, body, len| {
            if len >= 16 && text[body..body + len].iter().any(u8::is_ascii_digit) {
                found.push(at..body + len);
            }
        });
    }
    let is_path = |b: u8| b.is_ascii_alphanumeric() || b == b'/';
    for at in memmem::find_iter(text, b"hooks.slack.com/services/") {
        let body = at + b"hooks.slack.com/services/".len();
        let len = run(text, body, is_path);
        if len >= 30 {
            found.push(body..body + len);
        }
    }
}

pub(super) fn stripe_key(text: &[u8], found: &mut Vec<Range<usize>>) {
    for prefix in ["sk_live_", "rk_live_", "sk_test_", "rk_test_"] {
        tokens(text, prefix, is_alphanumeric, |at, body, len| {
            if len >= 16 {
                found.push(at..body + len);
            }
        });
    }
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'+' | b'=');
    tokens(text, "whsec_", is_base64, |at, body, len| {
        if len >= 24 {
            found.push(at..body + len);
        }
    });
}

// --- Credentials ---

/// Most of a credential that is looked at before it is taken for one, in bytes.
const PROOF_MAX: usize = 512;

/// Places behind a scheme's name in any case and the blanks that follow it; `find` says where what it found there ends.
fn behind_scheme(text: &[u8], scheme: &str, mut find: impl FnMut(usize) -> Option<usize>) {
    let mut from = 0;
    while let Some(at) = text[from..]
        .windows(scheme.len())
        .position(|w| w.eq_ignore_ascii_case(scheme.as_bytes()))
    {
        let at = from + at;
        from = at + scheme.len();
        let blanks = match &text[from..] {
            [b'%', b'2', b'0', ..] => 3,
            rest => run_up_to(rest, 0, 4, |b| {
                matches!(b, b' ' | b':' | b'=' | b'"' | b'\'' | b'+')
            }),
        };
        if blanks > 0 && !is_word(before(text, at)) {
            from = find(from + blanks).unwrap_or(from);
        }
    }
}

pub(super) fn bearer(text: &[u8], found: &mut Vec<Range<usize>>) {
    let is_token = |b: u8| is_url_safe(b) || matches!(b, b'.' | b'~' | b'+' | b'/' | b'=');
    behind_scheme(text, "bearer", |at| {
        let len = run_up_to(text, at, PROOF_MAX, is_token);
        let token = &text[at..at + len];
        // Words have no digits.
        let is =
            len >= 16 && token.iter().any(u8::is_ascii_digit) && token.iter().any(u8::is_ascii_alphabetic);
        is.then(|| {
            let end = at + run(text, at, is_token);
            found.push(at..end);
            end
        })
    });
}

pub(super) fn basic_auth(text: &[u8], found: &mut Vec<Range<usize>>) {
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'+' | b'-' | b'_');
    behind_scheme(text, "basic", |at| {
        let len = run_up_to(text, at, PROOF_MAX, is_base64);
        (len >= 4 && holds_credentials(&text[at..at + len])).then(|| {
            let end = at + run(text, at, is_base64);
            let end = end + run_up_to(text, end, 2, |b| b == b'=');
            found.push(at..end);
            end
        })
    });
    // `scheme://user:password@host`.
    for at in memchr::memchr_iter(b'@', text) {
        let stops =
            |b: &u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'"' | b'\'' | b'<' | b'>' | b'*' | b'@');
        let start = at
            - text[..at]
                .iter()
                .rev()
                .take(TOKEN_MAX)
                .take_while(|b| !stops(b))
                .count();
        let user_info = &text[start..at];
        let has_password = user_info
            .iter()
            .position(|b| *b == b':')
            .is_some_and(|i| i + 1 < user_info.len());
        let host = byte(text, at + 1);
        let ours = user_info.starts_with(b"hmac:");
        if has_password && text[..start].ends_with(b"://") && !ours && (is_word(host) || host == b'[') {
            found.push(start..at);
        }
    }
}

/// Whether this is base64 of printable text with a colon in it. The last bits of a text that was cut are let go.
fn holds_credentials(text: &[u8]) -> bool {
    let (mut word, mut bits, mut colon) = (0u32, 0, false);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            _ => 63,
        };
        word = word << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let byte = (word >> bits) as u8;
            colon |= byte == b':';
            if byte < 0x20 || byte == 0x7f {
                return false;
            }
        }
    }
    colon
}

// --- Private keys ---

pub(super) fn private_key(text: &[u8], found: &mut Vec<Range<usize>>) {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut from = 0;
    while let Some(at) = memmem::find(&text[from..], BEGIN) {
        let start = from + at;
        from = start + BEGIN.len();
        let label = &text[from..from
            + run(text, from, |b| {
                b.is_ascii_uppercase() || b == b' ' || b.is_ascii_digit()
            })];
        if memmem::find(label, b"PRIVATE KEY").is_none() {
            continue;
        }
        // Without its end all of the rest may be key.
        let rest = from + label.len();
        let end = match memmem::find(&text[rest..], b"-----END ") {
            Some(end) => {
                let end = rest + end + 9;
                let label = run(text, end, |b| {
                    b.is_ascii_uppercase() || b == b' ' || b.is_ascii_digit()
                });
                end + label + run(text, end + label, |b| b == b'-').min(5)
            }
            None => text.len(),
        };
        found.push(start..end);
        from = end;
    }
}
