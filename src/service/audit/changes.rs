//! What is other in one configuration than in another, path by path, for those who must approve changes.
//!
//! Secrets are compared and never shown; so is what stands before an `@` in a URL.

use std::collections::BTreeSet;

use config::Effective;

use crate::service::effective::Parts;

/// Paths that are named; beyond them the number of those that are not.
const PATHS_MAX: usize = 100;
const VALUE_MAX: usize = 160;
const LINE_MAX: usize = 600;

/// The whole configuration with every default, as YAML; secrets and users in URLs are covered.
pub(in crate::service) fn text_of(parts: &Parts) -> String {
    without_users(&parts.effective().to_yaml())
}

/// Lines such as `exporters.otlp.timeout: 5s -> 10s`, ordered, at most [`PATHS_MAX`] and one that says how many more.
pub(in crate::service) fn changes(old: &Parts, new: &Parts) -> Vec<String> {
    let bare = |parts: &Parts| config::with_secrets(|| parts.effective());
    let mut all = Vec::new();
    let (was, is) = (bare(old), bare(new));
    walk("", (&was, &old.effective()), (&is, &new.effective()), &mut all);
    let more = all.len().saturating_sub(PATHS_MAX);
    all.truncate(PATHS_MAX);
    // Keys may be as long as somebody likes.
    all.iter_mut().for_each(|line| *line = cut(line, LINE_MAX));
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all
}

/// Of each side the value and how it may be shown.
fn walk(path: &str, old: (&Effective, &Effective), new: (&Effective, &Effective), all: &mut Vec<String>) {
    if old.0 == new.0 {
        return;
    }
    let (Effective::Map(was), Effective::Map(is)) = (old.0, new.0) else {
        return all.push(format!("{path}: {} -> {}", shown(old.1), shown(new.1)));
    };
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for key in keys {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        match (was.get(key), is.get(key)) {
            (Some(a), Some(b)) => walk(&path, (a, member(old.1, key)), (b, member(new.1, key)), all),
            (Some(_), None) => all.push(format!("{path}: removed")),
            (None, _) => all.push(format!("{path}: added")),
        }
    }
}

fn member<'a>(map: &'a Effective, key: &str) -> &'a Effective {
    match map {
        Effective::Map(entries) => entries.get(key).unwrap_or(&Effective::Null),
        _ => &Effective::Null,
    }
}

/// On one line, not too long.
fn shown(value: &Effective) -> String {
    let text = match value {
        Effective::Text(text) => text.clone(),
        Effective::Duration(_) => serde_json::to_string(value).unwrap_or_default().replace('"', ""),
        value => serde_json::to_string(value).unwrap_or_default(),
    };
    cut(&without_users(&text), VALUE_MAX)
}

/// At most so many characters.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// `https://user:password@host` without the user.
fn without_users(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let authority = part
            .find(['/', '"', '\'', ' ', '\n', '?', '#'])
            .unwrap_or(part.len());
        let start = part[..authority].rfind('@').map_or(0, |at| at + 1);
        clean.push_str("://");
        if start > 0 {
            clean.push_str("[REDACTED]@");
        }
        clean.push_str(&part[start..]);
    }
    clean
}

#[cfg(test)]
mod tests {
    use config::Gates;

    use super::*;

    const OLD: &str = "
receivers:
  otlp: {protocols: {grpc: {}}}
exporters:
  otlp_grpc: {endpoint: localhost:1, tls: {insecure: true}, timeout: 5s, headers: {x-key: hunter2}}
  debug: {}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [otlp], exporters: [otlp_grpc, debug]}
";

    fn parts(text: &str) -> Parts {
        let source = [("gw.yaml".to_owned(), text.to_owned())];
        let loaded = crate::service::load(&source, &Gates::default()).unwrap();
        let parts = Parts::of(&loaded);
        crate::service::Service::build(loaded).unwrap();
        parts
    }

    #[track_caller]
    fn check(replaced: &[(&str, &str)], expected: &[&str]) {
        let mut new = OLD.to_owned();
        for (from, to) in replaced {
            assert!(new.contains(from), "{from}");
            new = new.replace(from, to);
        }
        assert_eq!(changes(&parts(OLD), &parts(&new)), expected);
    }

    #[test]
    fn paths_and_values_are_named_and_secrets_covered() {
        check(&[], &[]);
        check(
            &[("timeout: 5s", "timeout: 10s")],
            &["exporters.otlp_grpc.timeout: 5s -> 10s"],
        );
        check(
            &[("hunter2", "swordfish")],
            &[
                r#"exporters.otlp_grpc.headers: [{"name":"x-key","value":"[REDACTED]"}] -> [{"name":"x-key","value":"[REDACTED]"}]"#,
            ],
        );
        check(
            &[("[otlp_grpc, debug]", "[otlp_grpc]"), ("  debug: {}\n", "")],
            &[
                "exporters.debug: removed",
                "service.pipelines.logs.exporters: [\"otlp_grpc\",\"debug\"] -> [\"otlp_grpc\"]",
            ],
        );
        check(
            &[("localhost:1,", "'http://me:hunter2@localhost:1',")],
            &["exporters.otlp_grpc.endpoint: localhost:1 -> http://[REDACTED]@localhost:1"],
        );
    }

    #[test]
    fn the_whole_text_shows_no_secret() {
        let with_user = OLD.replace("localhost:1,", "'http://me:letmein@localhost:1',");
        let text = text_of(&parts(&with_user));
        assert!(
            text.contains("endpoint: http://[REDACTED]@localhost:1\n"),
            "{text}"
        );
        assert!(text.contains("timeout: 5s\n"), "{text}");
        for secret in ["hunter2", "letmein"] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    #[test]
    fn users_of_urls_are_covered() {
        let check = |text: &str, expected: &str| assert_eq!(without_users(text), expected);
        check("plain @ text", "plain @ text");
        check("https://h/p?a=b@c", "https://h/p?a=b@c");
        check("https://u:p@h/x", "https://[REDACTED]@h/x");
        check("https://u:p@q@h", "https://[REDACTED]@h");
        check(
            r#"["a://u@h","b://v@i"]"#,
            r#"["a://[REDACTED]@h","b://[REDACTED]@i"]"#,
        );
    }
}
