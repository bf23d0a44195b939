//! Processor `redaction`: removes attributes, and masks what must not pass in values and log bodies.
//!
//! Keys, defaults and results are those of the collector's redaction processor, in order of attributes too. Looked at:
//! attributes of resources, scopes, spans, span events, data points and log records, and log bodies. Not looked at, as
//! there: span links, exemplars, names, status messages, schema URLs, severity and event names. The block `detect` is our
//! own, and looks there too.
//!
//! A chunk is searched once as a whole for what no match can be without (`find`); only the values found that way meet a
//! regular expression. That changes the cost, never the result.

mod apply;
mod body;
pub mod detect;
mod find;
mod mask;
mod rules;
mod summary;
mod url;

use codec::pattern::Pattern;
use component::prelude::*;
use parking_lot::Mutex;
use telemetry::{Counter, names};
use wire::view::View;

use apply::Program;
use detect::Detection;
use find::Finder;
use mask::Mask;
use rules::{Rules, Scratch};
use summary::Summary;
use url::Urls;

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "redaction",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Logs, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, signal| {
        let config: Config = section.clone().parse()?;
        let counter = |rule: &str, action: &'static str| {
            let labels = vec![
                ("action", action.to_owned()),
                ("processor", cx.id.to_string()),
                ("rule", rule.to_owned()),
                ("signal", signal.as_str().to_owned()),
            ];
            cx.telemetry.metrics.counter(names::REDACTION_FINDINGS, labels)
        };
        let redaction =
            Redaction::new(&config, signal, counter).map_err(|(key, message)| section.fault(key, message))?;
        Ok(Processor::Tree(Arc::new(redaction)))
    },
};

/// `redaction`: what passes, and how.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keep attributes whatever their key is. Default false: then only `allowed_keys` stay, and without any of them
    /// nothing does.
    pub allow_all_keys: bool,
    /// Keys of attributes that stay.
    pub allowed_keys: Vec<String>,
    /// Keys of attributes that stay as they are; their values are not looked at.
    pub ignored_keys: Vec<String>,
    /// The same, as regular expressions that match anywhere in the key.
    pub ignored_key_patterns: Vec<String>,
    /// Regular expressions; an attribute whose key matches has its value masked whole.
    pub blocked_key_patterns: Vec<String>,
    /// Regular expressions; what matches in a value is masked, one expression after the other.
    pub blocked_values: Vec<String>,
    /// Regular expressions; a value in which one matches is let alone.
    pub allowed_values: Vec<String>,
    /// Look at values that are no text as well, as the text they would be. Default false.
    pub redact_all_types: bool,
    /// Put a hash in the place of what is masked instead of `****`: `md5`, `sha1`, `sha3`, `hmac-sha256` or
    /// `hmac-sha512`. Without a key, a hash of something that can be guessed protects nothing.
    pub hash_function: String,
    /// Key of the `hmac-` functions: at least 32 bytes for `hmac-sha256`, 64 for `hmac-sha512`.
    pub hmac_key: Secret<String>,
    /// Tell in attributes what was done: `debug` (which keys), `info` (how many) or `silent`, the default.
    pub summary: String,
    /// Makes routes of URLs: `/orders/22j?x=1` becomes `/orders/*`.
    pub url_sanitizer: UrlSanitizer,
    /// Removes literals from database statements. Not supported: only `enabled: false` loads.
    pub db_sanitizer: DbSanitizer,
    /// Conditions under which an item is let alone; younger than the version that is followed here. Only an empty list
    /// loads.
    pub skip_conditions: Vec<String>,
    /// Finds secrets and personal data by what they are. The collector has no such thing.
    pub detect: detect::Config,
}

/// `url_sanitizer`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UrlSanitizer {
    /// Whether it runs. Default false. Then every text in a log body is taken for a URL too.
    pub enabled: bool,
    /// Keys of attributes that hold URLs.
    pub attributes: Vec<String>,
    /// Whether names of client and server spans are shortened too. Default true.
    pub sanitize_span_name: bool,
}

impl Default for UrlSanitizer {
    fn default() -> Self {
        UrlSanitizer {
            enabled: false,
            attributes: Vec::new(),
            sanitize_span_name: true,
        }
    }
}

/// `db_sanitizer`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DbSanitizer {
    /// Whether names of spans are changed too. Default true.
    pub sanitize_span_name: bool,
    /// Whether statements without a named system are changed. Default false.
    pub allow_fallback_without_system: bool,
    /// SQL statements.
    pub sql: Database,
    /// Redis commands.
    pub redis: Database,
    /// Valkey commands.
    pub valkey: Database,
    /// Memcached commands.
    pub memcached: Database,
    /// MongoDB queries.
    pub mongo: Database,
    /// OpenSearch queries.
    pub opensearch: Database,
    /// Elasticsearch queries.
    pub es: Database,
}

impl Default for DbSanitizer {
    fn default() -> Self {
        DbSanitizer {
            sanitize_span_name: true,
            allow_fallback_without_system: false,
            sql: Database::default(),
            redis: Database::default(),
            valkey: Database::default(),
            memcached: Database::default(),
            mongo: Database::default(),
            opensearch: Database::default(),
            es: Database::default(),
        }
    }
}

impl DbSanitizer {
    fn is_on(&self) -> bool {
        let all = [
            &self.sql,
            &self.redis,
            &self.valkey,
            &self.memcached,
            &self.mongo,
            &self.opensearch,
            &self.es,
        ];
        all.iter().any(|d| d.enabled)
    }
}

/// One kind of database in `db_sanitizer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Whether it runs. Default false.
    pub enabled: bool,
    /// Keys of attributes that hold statements.
    pub attributes: Vec<String>,
}

/// Where a configuration is wrong, and how.
type Wrong = (&'static str, String);

struct Redaction {
    /// The collector's rules; none if they do nothing.
    program: Option<Program>,
    detection: Option<Detection>,
    depth: Depth,
    /// One for each call that runs at the same time.
    pool: Mutex<Vec<(Scratch, detect::Scratch)>>,
}

impl Redaction {
    fn new(
        config: &Config,
        signal: Signal,
        counter: impl FnMut(&str, &'static str) -> Counter,
    ) -> Result<Redaction, Wrong> {
        let refused = |key, message: &str| Err((key, message.to_owned()));
        if config.db_sanitizer.is_on() {
            return refused(
                "db_sanitizer",
                "db_sanitizer is not supported: turn it off, and mask literals by blocked_values or blocked_key_patterns",
            );
        }
        if !config.skip_conditions.is_empty() {
            return refused(
                "skip_conditions",
                "skip_conditions is not supported: remove it, and list what is to stay under ignored_keys or allowed_values",
            );
        }
        let compile = |key: &'static str, sources: &[String]| {
            let each = sources
                .iter()
                .map(|source| Pattern::new(source).map_err(|error| (key, format!("{error}: `{source}`"))));
            each.collect::<Result<Vec<Pattern>, Wrong>>()
        };
        let keys = |list: &[String]| list.iter().map(|k| k.clone().into_bytes()).collect();
        let blocked_values = compile("blocked_values", &config.blocked_values)?;
        let rules = Rules {
            allow_all_keys: config.allow_all_keys,
            allowed_keys: keys(&config.allowed_keys),
            ignored_keys: keys(&config.ignored_keys),
            ignored_key_patterns: compile("ignored_key_patterns", &config.ignored_key_patterns)?,
            blocked_key_patterns: compile("blocked_key_patterns", &config.blocked_key_patterns)?,
            allowed_values: compile("allowed_values", &config.allowed_values)?,
            finder: Finder::new(&blocked_values),
            blocked_values,
            all_types: config.redact_all_types,
            mask: Mask::new(&config.hash_function, config.hmac_key.expose())?,
            urls: Urls::new(&config.url_sanitizer),
        };
        let detection = Detection::new(&config.detect, counter).map_err(|message| ("detect", message))?;
        Ok(Redaction {
            depth: match signal {
                Signal::Traces => Depth::All,
                Signal::Metrics if detection.is_some() => Depth::All,
                _ => Depth::Record,
            },
            program: (!rules.do_nothing()).then(|| Program::new(rules, Summary::new(&config.summary))),
            detection,
            pool: Mutex::default(),
        })
    }
}

impl Tree for Redaction {
    fn touches(&self) -> Touches {
        Touches {
            depth: self.depth,
            reads_content: true,
            drops_unknown: true,
            writes: true,
        }
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        let mut scratch = self.pool.lock().pop().unwrap_or_else(|| {
            let rules = self.program.as_ref().map(|program| program.rules.scratch());
            (rules.unwrap_or_default(), detect::Scratch::default())
        });
        if let Some(program) = &self.program {
            program.run(view, &mut scratch.0);
        }
        if let Some(detection) = &self.detection {
            detection.run(view, cx, &mut scratch.1);
        }
        self.pool.lock().push(scratch);
        Ok(())
    }
}

#[cfg(test)]
mod redteam;
#[cfg(test)]
mod tests;
