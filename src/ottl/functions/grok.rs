//! Grok: expressions put together from named ones, with the type of each field.
//!
//! The names are those that people know from Logstash: words, numbers, addresses, paths, dates, and the common formats of
//! access logs and syslog. Whoever needs another gives it in `pattern_definitions`. Nothing here looks around or goes
//! back, as Go's expressions cannot.

use codec::pattern::Pattern;

use super::{Def, Kind, Prepare, Ready, any, lit_bool, lit_utf8, of, opt};
use crate::compile::texts;
use crate::error::{Error, Result};
use crate::eval::{Arg, Tools};
use crate::value::{Map, MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[Def::get(
    "ExtractGrokPatterns",
    &[
        any("target"),
        of("pattern", Kind::Str),
        opt("named_captures_only", Kind::Bool),
        opt("pattern_definitions", Kind::Strs),
    ],
    |a| {
        let text = a.str(0)?;
        match a.ready(1) {
            Some(Ready::Grok(grok)) => grok.fields(a.cx.tools, &text),
            _ => Err(Error::new("the pattern was not prepared")),
        }
    },
)
.prepared(prepare)];

/// A compiled grok expression.
#[derive(Debug)]
pub(crate) struct Grok {
    number: usize,
    pattern: Pattern,
    /// What each group means; none for one that means nothing.
    fields: Vec<Option<Field>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: String,
    kind: Type,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    Text,
    Int,
    Float,
    Bool,
}

/// Longest expression, with all names replaced. Definitions that name each other could double it without end.
const EXPANDED_MAX: usize = 256 << 10;
/// How deep names may lie in each other.
const DEPTH_MAX: u32 = 64;
/// Begins the names of groups that are ours.
const OURS: &str = "grok__";

fn prepare(args: &mut [Arg], prepare: &mut Prepare) -> std::result::Result<(), String> {
    let source = lit_utf8(&args[1])?.unwrap_or("").to_owned();
    let mut own = Vec::new();
    for definition in texts(&args[3]) {
        let definition = String::from_utf8(definition).map_err(|_| "a definition is not UTF-8")?;
        let parts = definition
            .split_once('=')
            .filter(|(name, _)| !name.is_empty() && !name.contains(':'));
        let (name, pattern) =
            parts.ok_or_else(|| format!("{definition:?} is no definition, NAME=pattern"))?;
        own.push((name.to_owned(), pattern.to_owned()));
    }
    let mut expansion = Expansion {
        own: &own,
        named_only: lit_bool(&args[2]) == Some(true),
        fields: Vec::new(),
        types: Vec::new(),
        out: String::new(),
    };
    expansion.expand(&source, 0)?;
    let Expansion {
        fields,
        types,
        out,
        named_only,
        ..
    } = expansion;
    let kind = |name: &str| {
        let found = types.iter().rev().find(|(n, _)| n == name);
        found.map_or(Type::Text, |(_, kind)| *kind)
    };
    let Ready::Pattern(number, pattern) = prepare.pattern(&out)? else {
        return Err("the pattern was not prepared".into());
    };
    let fields: Vec<_> = pattern
        .group_names()
        .into_iter()
        .map(|group| {
            let group = group?;
            let ours = group.strip_prefix(OURS).and_then(|n| n.parse::<usize>().ok());
            let name = match ours {
                Some(n) => fields.get(n)?.clone(),
                None => group,
            };
            Some(Field {
                kind: kind(&name),
                name,
            })
        })
        .collect();
    if named_only && fields.iter().all(Option::is_none) {
        return Err("at least 1 named capture group must be supplied in the given pattern".into());
    }
    args[1] = Arg::Ready(Ready::Grok(Grok {
        number,
        pattern,
        fields,
    }));
    Ok(())
}

struct Expansion<'d> {
    own: &'d [(String, String)],
    named_only: bool,
    /// Names of our groups, by number.
    fields: Vec<String>,
    types: Vec<(String, Type)>,
    out: String,
}

impl Expansion<'_> {
    /// Appends a pattern with all names in it replaced.
    fn expand(&mut self, pattern: &str, depth: u32) -> std::result::Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("pattern definitions name each other in a circle".into());
        }
        let mut rest = pattern;
        while let Some(at) = rest.find("%{") {
            self.out.push_str(&rest[..at]);
            let Some(reference) = Reference::read(&rest[at..]) else {
                self.out.push_str("%{");
                rest = &rest[at + 2..];
                continue;
            };
            rest = &rest[at + reference.len..];
            let own = self.own.iter().rev().find(|(name, _)| name == reference.pattern);
            let known = own
                .map(|(_, pattern)| pattern.as_str())
                .or_else(|| builtin(reference.pattern));
            let known = known
                .ok_or_else(|| format!("pattern definition \"{}\" unknown", reference.pattern))?
                .to_owned();
            if let (Some(field), Some(kind)) = (reference.field, reference.kind) {
                let kind = match kind {
                    "string" => Type::Text,
                    "int" | "long" => Type::Int,
                    "double" | "float" => Type::Float,
                    "bool" | "boolean" => Type::Bool,
                    other => {
                        return Err(format!(
                            "the type of {field} must be int, long, double, float, boolean or string, but is {other}"
                        ));
                    }
                };
                self.types.push((field.to_owned(), kind));
            }
            if self.named_only && reference.field.is_none() {
                self.out.push_str("(?:");
            } else {
                self.out.push_str(&format!("(?P<{OURS}{}>", self.fields.len()));
                self.fields
                    .push(reference.field.unwrap_or(reference.pattern).to_owned());
            }
            self.expand(&known, depth + 1)?;
            self.out.push(')');
            if self.out.len() > EXPANDED_MAX {
                return Err("the pattern is too long with all definitions in it".into());
            }
        }
        self.out.push_str(rest);
        Ok(())
    }
}

/// `%{PATTERN}`, `%{PATTERN:field}` or `%{PATTERN:field:type}`.
struct Reference<'p> {
    pattern: &'p str,
    field: Option<&'p str>,
    kind: Option<&'p str>,
    len: usize,
}

impl<'p> Reference<'p> {
    /// What a text that begins with `%{` refers to; none if it is no reference.
    fn read(text: &'p str) -> Option<Reference<'p>> {
        let inner = &text[2..text.find('}')?];
        let mut parts = inner.split(':');
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let pattern = parts.next().filter(|p| !p.is_empty() && p.chars().all(is_word))?;
        let field = parts.next();
        let kind = parts.next();
        let whole = |part: Option<&str>, dots: bool| {
            part.is_none_or(|p| !p.is_empty() && p.chars().all(|c| is_word(c) || (dots && c == '.')))
        };
        let is_one = whole(field, true) && whole(kind, false) && parts.next().is_none();
        is_one.then_some(Reference {
            pattern,
            field,
            kind,
            len: inner.len() + 3,
        })
    }
}

impl Grok {
    /// The fields of the first match; an empty map if there is none. Errors: a field is not of its type.
    fn fields(&self, tools: &Tools, text: &[u8]) -> Result<Val<'static>> {
        let groups = tools.search(self.number, &self.pattern, |pattern, cache| {
            pattern.groups(cache, text)
        });
        let mut values: Vec<(&str, Val<'_>)> = Vec::new();
        for (field, range) in self.fields.iter().zip(groups.into_iter().flatten()) {
            let (Some(field), Some((start, end))) = (field, range) else {
                continue;
            };
            if start == end {
                continue;
            }
            let value = field.value(&text[start..end])?;
            match values.iter_mut().find(|(name, _)| *name == field.name) {
                Some(old) => old.1 = value,
                None => values.push((&field.name, value)),
            }
        }
        let mut map = MapBuilder::default();
        for (name, value) in &values {
            map.put(name.as_bytes(), value)?;
        }
        Ok(Val::Map(Map::Encoded(map.finish().into())))
    }
}

impl Field {
    fn value<'t>(&self, bytes: &'t [u8]) -> Result<Val<'t>> {
        let text = std::str::from_utf8(bytes).unwrap_or("");
        let wrong = |what: &str| Error::text(format!("field {} is no {what}", self.name));
        Ok(match self.kind {
            Type::Text => Val::str(bytes),
            Type::Int => Val::Int(text.parse().map_err(|_| wrong("whole number"))?),
            Type::Float => Val::Float(text.parse().map_err(|_| wrong("number"))?),
            Type::Bool => Val::Bool(match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(wrong("bool")),
            }),
        })
    }
}

fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, pattern)| *pattern)
}

/// The names that need no definition.
const BUILTIN: &[(&str, &str)] = &[
    // Texts.
    ("WORD", r"\b\w+\b"),
    ("NOTSPACE", r"\S+"),
    ("SPACE", r"\s*"),
    ("DATA", r".*?"),
    ("GREEDYDATA", r".*"),
    ("QUOTEDSTRING", r#""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"#),
    ("QS", "%{QUOTEDSTRING}"),
    ("UUID", r"[[:xdigit:]]{8}(?:-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}"),
    (
        "URN",
        r"urn:[0-9A-Za-z][0-9A-Za-z-]{0,31}:[0-9A-Za-z()+,.:=@;$_!*'/?#%-]+",
    ),
    ("USERNAME", r"[\w.-]+"),
    ("USER", "%{USERNAME}"),
    ("EMAILLOCALPART", r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"),
    ("EMAILADDRESS", "%{EMAILLOCALPART}@%{HOSTNAME}"),
    // Numbers.
    ("INT", r"[+-]?\d+"),
    ("POSINT", r"\b[1-9]\d*\b"),
    ("NONNEGINT", r"\b\d+\b"),
    ("BASE10NUM", r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)"),
    ("NUMBER", "(?:%{BASE10NUM})"),
    ("BASE16NUM", r"[+-]?(?:0x)?[[:xdigit:]]+"),
    ("BASE16FLOAT", r"[+-]?(?:0x)?[[:xdigit:]]+(?:\.[[:xdigit:]]*)?"),
    ("BOOL", "true|false"),
    // Networks.
    ("IP", "%{IPV6}|%{IPV4}"),
    (
        "IPV4",
        r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)",
    ),
    (
        "IPV6",
        concat!(
            // Those that end in an address of version 4 come first: their beginning is an address too.
            r"(?:(?:[[:xdigit:]]{1,4}:){6}(?:\d{1,3}\.){3}\d{1,3}",
            r"|(?:(?:[[:xdigit:]]{1,4}:){1,5}|:):(?:[[:xdigit:]]{1,4}:){0,4}(?:\d{1,3}\.){3}\d{1,3}",
            r"|(?:[[:xdigit:]]{1,4}:){7}[[:xdigit:]]{1,4}",
            r"|(?:[[:xdigit:]]{1,4}:){1,6}(?::[[:xdigit:]]{1,4}){1,6}",
            r"|::(?:[[:xdigit:]]{1,4}:){0,6}[[:xdigit:]]{1,4}",
            r"|(?:[[:xdigit:]]{1,4}:){1,7}:|::)(?:%\w+)?"
        ),
    ),
    (
        "HOSTNAME",
        r"\b[0-9A-Za-z][0-9A-Za-z-]{0,62}(?:\.[0-9A-Za-z][0-9A-Za-z-]{0,62})*(?:\.|\b)",
    ),
    ("IPORHOST", "%{IP}|%{HOSTNAME}"),
    ("HOSTPORT", "%{IPORHOST}:%{POSINT}"),
    ("MAC", "%{CISCOMAC}|%{WINDOWSMAC}|%{COMMONMAC}"),
    ("CISCOMAC", r"(?:[[:xdigit:]]{4}\.){2}[[:xdigit:]]{4}"),
    ("WINDOWSMAC", r"(?:[[:xdigit:]]{2}-){5}[[:xdigit:]]{2}"),
    ("COMMONMAC", r"(?:[[:xdigit:]]{2}:){5}[[:xdigit:]]{2}"),
    // Paths and addresses of things.
    ("PATH", "%{UNIXPATH}|%{WINPATH}"),
    ("UNIXPATH", r"(?:/[\w%!$@:.,+~-]*)+"),
    ("WINPATH", r"[A-Za-z]+:(?:\\[^\\?*]*)+"),
    ("TTY", r"/dev/(?:pts|tty[pq]?)\w*/?\d+"),
    ("URIPROTO", r"[A-Za-z][A-Za-z0-9+.-]+"),
    ("URIHOST", "%{IPORHOST}(?::%{POSINT})?"),
    ("URIPATH", r"(?:/[A-Za-z0-9$.+!*'(){},~:;=@#%&_-]*)+"),
    ("URIQUERY", r"[A-Za-z0-9$.+!*'|(){},~@#%&/=:;_?\[\]<>-]*"),
    ("URIPARAM", r"\?%{URIQUERY}"),
    ("URIPATHPARAM", r"%{URIPATH}(?:\?%{URIQUERY})?"),
    (
        "URI",
        r"%{URIPROTO}://(?:%{USER}(?::[^@]*)?@)?%{URIHOST}(?:%{URIPATH}(?:\?%{URIQUERY})?)?",
    ),
    // Dates.
    (
        "MONTH",
        concat!(
            r"\b(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?",
            r"|Sep(?:tember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b"
        ),
    ),
    ("MONTHNUM", "0?[1-9]|1[0-2]"),
    ("MONTHNUM2", "0[1-9]|1[0-2]"),
    ("MONTHDAY", r"0[1-9]|[12]\d|3[01]|[1-9]"),
    (
        "DAY",
        r"\b(?:Mon(?:day)?|Tue(?:sday)?|Wed(?:nesday)?|Thu(?:rsday)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?)\b",
    ),
    ("YEAR", r"(?:\d\d){1,2}"),
    ("HOUR", r"2[0-3]|[01]?\d"),
    ("MINUTE", r"[0-5]\d"),
    // Minutes have had 61 seconds.
    ("SECOND", r"(?:[0-5]?\d|60)(?:[:.,]\d+)?"),
    ("TIME", "%{HOUR}:%{MINUTE}(?::%{SECOND})?"),
    ("DATE_US", "%{MONTHNUM}[/-]%{MONTHDAY}[/-]%{YEAR}"),
    ("DATE_EU", "%{MONTHDAY}[./-]%{MONTHNUM}[./-]%{YEAR}"),
    ("DATE", "%{DATE_US}|%{DATE_EU}"),
    ("DATESTAMP", "%{DATE}[- ]%{TIME}"),
    ("ISO8601_TIMEZONE", "Z|[+-]%{HOUR}(?::?%{MINUTE})"),
    ("ISO8601_SECOND", "%{SECOND}"),
    (
        "TIMESTAMP_ISO8601",
        "%{YEAR}-%{MONTHNUM}-%{MONTHDAY}[T ]%{HOUR}:?%{MINUTE}(?::?%{SECOND})?%{ISO8601_TIMEZONE}?",
    ),
    ("TZ", "[APMCE][SED]T|UTC"),
    (
        "DATESTAMP_RFC822",
        "%{DAY} %{MONTH} %{MONTHDAY} %{YEAR} %{TIME} %{TZ}",
    ),
    (
        "DATESTAMP_RFC2822",
        "%{DAY}, %{MONTHDAY} %{MONTH} %{YEAR} %{TIME} %{ISO8601_TIMEZONE}",
    ),
    (
        "DATESTAMP_OTHER",
        "%{DAY} %{MONTH} %{MONTHDAY} %{TIME} %{TZ} %{YEAR}",
    ),
    (
        "DATESTAMP_EVENTLOG",
        "%{YEAR}%{MONTHNUM2}%{MONTHDAY}%{HOUR}%{MINUTE}%{SECOND}",
    ),
    ("HTTPDATE", "%{MONTHDAY}/%{MONTH}/%{YEAR}:%{TIME} %{INT}"),
    // Syslog.
    ("SYSLOGTIMESTAMP", "%{MONTH} +%{MONTHDAY} %{TIME}"),
    ("PROG", r"[!-Z\\^-~]+"),
    ("SYSLOGPROG", r"%{PROG}(?:\[\d+\])?"),
    ("SYSLOGHOST", "%{IPORHOST}"),
    ("SYSLOGFACILITY", "<%{NONNEGINT}.%{NONNEGINT}>"),
    (
        "SYSLOGBASE",
        "%{SYSLOGTIMESTAMP:timestamp} (?:%{SYSLOGFACILITY} )?%{SYSLOGHOST:host.hostname} %{SYSLOGPROG}:",
    ),
    (
        "LOGLEVEL",
        concat!(
            "(?i:alert|trace|debug|notice|info(?:rmation)?|warn(?:ing)?|err(?:or)?",
            "|crit(?:ical)?|fatal|severe|emerg(?:ency)?)"
        ),
    ),
    // Access logs.
    ("HTTPDUSER", "%{EMAILADDRESS}|%{USER}"),
    (
        "HTTPD_COMMONLOG",
        concat!(
            r"%{IPORHOST:source.address} (?:-|%{HTTPDUSER:apache.access.user.identity})",
            r" (?:-|%{HTTPDUSER:user.name}) \[%{HTTPDATE:timestamp}\]",
            r#" "(?:%{WORD:http.request.method} %{NOTSPACE:url.original}"#,
            r#"(?: HTTP/%{NUMBER:http.version})?|%{DATA})""#,
            r" (?:-|%{INT:http.response.status_code:int}) (?:-|%{INT:http.response.body.bytes:int})"
        ),
    ),
    (
        "HTTPD_COMBINEDLOG",
        r#"%{HTTPD_COMMONLOG} "(?:-|%{DATA:http.request.referrer})" "(?:-|%{DATA:user_agent.original})""#,
    ),
    ("COMMONAPACHELOG", "%{HTTPD_COMMONLOG}"),
    ("COMBINEDAPACHELOG", "%{HTTPD_COMBINEDLOG}"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_compiles_and_matches_what_it_is_called_for() {
        let check = |pattern: &str, text: &str, expected: &str| {
            let mut expansion = Expansion {
                own: &[],
                named_only: true,
                fields: Vec::new(),
                types: Vec::new(),
                out: String::new(),
            };
            expansion
                .expand(&format!("%{{{pattern}}}"), 0)
                .expect("it is known");
            let compiled = Pattern::new(&expansion.out).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            let mut cache = compiled.cache();
            let mut out = Vec::new();
            compiled.replace_all(&mut cache, text.as_bytes(), &mut out, |found, out| {
                out.extend_from_slice(b"<");
                out.extend_from_slice(found);
                out.extend_from_slice(b">");
            });
            assert_eq!(String::from_utf8_lossy(&out), expected, "{pattern}");
        };
        check("IPV4", "a 10.0.0.255 b", "a <10.0.0.255> b");
        check("IPV6", "::1 x", "<::1> x");
        check("IPV6", "fe80::1:2%eth0", "<fe80::1:2%eth0>");
        check("IPV6", "2001:db8:0:0:0:0:0:1", "<2001:db8:0:0:0:0:0:1>");
        check("IPV6", "::ffff:1.2.3.4", "<::ffff:1.2.3.4>");
        check("MAC", "00:1A:2b:3c:4d:5e", "<00:1A:2b:3c:4d:5e>");
        check(
            "UUID",
            "x 123e4567-e89b-12d3-a456-426614174000",
            "x <123e4567-e89b-12d3-a456-426614174000>",
        );
        check("QS", r#"a "b \" c" d"#, r#"a <"b \" c"> d"#);
        check("NUMBER", "-1.5", "<-1.5>");
        check(
            "TIMESTAMP_ISO8601",
            "2024-01-02T03:04:05.678+01:00",
            "<2024-01-02T03:04:05.678+01:00>",
        );
        check(
            "HTTPDATE",
            "10/Oct/2000:13:55:36 -0700",
            "<10/Oct/2000:13:55:36 -0700>",
        );
        check("SYSLOGTIMESTAMP", "Jan  2 03:04:05", "<Jan  2 03:04:05>");
        check(
            "URI",
            "https://u:p@host.org:8080/a/b?c=d",
            "<https://u:p@host.org:8080/a/b?c=d>",
        );
        check("EMAILADDRESS", "to a.b@c.org", "to <a.b@c.org>");
        check("LOGLEVEL", "WARNING", "<WARNING>");
        for (name, _) in BUILTIN {
            let mut expansion = Expansion {
                own: &[],
                named_only: false,
                fields: Vec::new(),
                types: Vec::new(),
                out: String::new(),
            };
            expansion
                .expand(&format!("%{{{name}}}"), 0)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            Pattern::new(&expansion.out).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}
