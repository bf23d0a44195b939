//! What `Section` promises to the authors of components.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::*;
use crate::{Duration, MapList, Optional, Secret};

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    endpoint: String,
    timeout: Duration,
    limit: u32,
    delta: i64,
    ratio: f64,
    verbose: bool,
    mode: Mode,
    names: Vec<String>,
    ids: Vec<ComponentId>,
    retry: Retry,
    headers: MapList<Secret<String>>,
    password: Secret<String>,
    maybe: Option<String>,
    ports: BTreeMap<u16, String>,
    blocks: HashMap<String, Retry>,
    keepalive: Optional<Retry>,
    queue: Optional<Retry>,
    #[serde(deserialize_with = "Optional::none_by_default")]
    tls: Optional<Retry>,
    list: Vec<Retry>,
    grpc: Optional<Section>,
    #[serde(alias = "old_name")]
    new_name: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Plain,
    VeryLoud,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Retry {
    initial_interval: Duration,
    max: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial_interval: Duration(std::time::Duration::from_secs(5)),
            max: 7,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: "localhost:1".into(),
            timeout: Duration(std::time::Duration::from_secs(30)),
            limit: 10,
            delta: -1,
            ratio: 0.5,
            verbose: true,
            mode: Mode::Plain,
            names: vec!["n".into()],
            ids: Vec::new(),
            retry: Retry {
                max: 3,
                ..Retry::default()
            },
            headers: MapList::default(),
            password: Secret::default(),
            maybe: None,
            ports: BTreeMap::new(),
            blocks: HashMap::new(),
            keepalive: Optional::Default(Retry::default()),
            queue: Optional::Some(Retry::default()),
            tls: Optional::None,
            list: Vec::new(),
            grpc: Optional::Default(Section::default()),
            new_name: 1,
        }
    }
}

fn parse(text: &str) -> Result<Config, Diags> {
    Section::from_yaml(text).unwrap().parse()
}

#[track_caller]
fn check(text: &str, change: impl FnOnce(&mut Config)) {
    let mut expected = Config::default();
    change(&mut expected);
    assert_eq!(
        parse(text).map_err(|faults| faults.to_string()),
        Ok(expected),
        "{text}"
    );
}

/// Each expected line is the start of one fault, places included.
#[track_caller]
fn refuse(text: &str, expected: &[&str]) {
    let faults = parse(text).unwrap_err().0;
    let found: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{text}:\n  {found}\n  {expected}");
    }
}

fn retry(ms: u64, max: u32) -> Retry {
    Retry {
        initial_interval: Duration(std::time::Duration::from_millis(ms)),
        max,
    }
}

#[test]
fn absent_and_null_keys_keep_the_default() {
    check("", |_| {});
    check("{}", |_| {});
    for key in [
        "endpoint", "timeout", "limit", "ratio", "verbose", "mode", "names", "retry", "list", "blocks",
    ] {
        check(&format!("{key}:"), |_| {});
    }
    // The default of the field, not that of its type.
    check("retry: {max: }", |c| c.retry = retry(5000, 7));
}

#[test]
fn reads_scalars_as_the_collector_does() {
    check("endpoint: \"123\"", |c| c.endpoint = "123".into());
    check("limit: 0x10", |c| c.limit = 16);
    check("limit: 4_000", |c| c.limit = 4000);
    check("limit: 12.9", |c| c.limit = 12);
    check("delta: -5", |c| c.delta = -5);
    check("ratio: 1", |c| c.ratio = 1.0);
    check("verbose: False", |c| c.verbose = false);
    check("mode: very_loud", |c| c.mode = Mode::VeryLoud);
    check("maybe: x", |c| c.maybe = Some("x".into()));
    check("maybe: ~", |_| {});
    check("timeout: 1h30m", |c| {
        c.timeout.0 = std::time::Duration::from_secs(5400)
    });
    check("timeout: 5", |c| c.timeout.0 = std::time::Duration::from_nanos(5));
    check("timeout: 0", |c| c.timeout.0 = std::time::Duration::ZERO);
    check("names: [a, b]", |c| c.names = vec!["a".into(), "b".into()]);
    check("names: a, b", |c| c.names = vec!["a".into(), " b".into()]);
    check("names: \"\"", |c| c.names = Vec::new());
    check("ids: [otlp, otlp/x]", |c| {
        c.ids = vec!["otlp".parse().unwrap(), "otlp/x".parse().unwrap()]
    });
    check("ports: {80: http}", |c| drop(c.ports.insert(80, "http".into())));
    check("blocks: {a: , b: {max: 1}}", |c| {
        c.blocks = [("a".to_owned(), retry(5000, 7)), ("b".to_owned(), retry(5000, 1))].into();
    });
    check("old_name: 4", |c| c.new_name = 4);
    let headers = || {
        MapList(vec![
            ("A".to_owned(), Secret::new("1".to_owned())),
            ("b".to_owned(), Secret::new("2".to_owned())),
        ])
    };
    check("headers: {b: \"2\", A: \"1\"}", |c| c.headers = headers());
    check(
        "headers: [{name: A, value: \"1\"}, {name: b, value: \"2\"}]",
        |c| c.headers = headers(),
    );
}

#[test]
fn refuses_scalars_as_the_collector_does() {
    refuse(
        "endpoint: 123",
        &["yaml::1:11: 'endpoint' expected type 'string', got unconvertible type 'int'; put it in quotes"],
    );
    refuse(
        "endpoint: [a]",
        &["yaml::1:11: 'endpoint' expected type 'string', got unconvertible type '[]interface {}'"],
    );
    refuse(
        "limit: -1",
        &["yaml::1:8: 'limit' cannot parse value as 'uint32': -1 overflows uint"],
    );
    refuse(
        "limit: 5000000000",
        &["yaml::1:8: 'limit' cannot parse value as 'uint32': 5000000000 overflows uint"],
    );
    refuse(
        "limit: \"4\"",
        &["yaml::1:8: 'limit' expected type 'uint32', got unconvertible type 'string'"],
    );
    refuse(
        "verbose: \"true\"",
        &["yaml::1:10: 'verbose' expected type 'bool', got unconvertible type 'string'"],
    );
    refuse(
        "verbose: yes",
        &["yaml::1:10: 'verbose' expected type 'bool', got unconvertible type 'string'"],
    );
    refuse(
        "timeout: \"5\"",
        &["yaml::1:10: 'timeout' time: missing unit in duration \"5\""],
    );
    refuse(
        "timeout: 1d",
        &["yaml::1:10: 'timeout' time: unknown unit \"d\" in duration \"1d\""],
    );
    refuse(
        "timeout: 1.5",
        &["yaml::1:10: 'timeout' expected a duration, e.g. 5s or 1h30m, got float"],
    );
    refuse(
        "timeout: -1",
        &["yaml::1:10: 'timeout' duration -1 must be non-negative"],
    );
    refuse(
        "ids: otlp",
        &["yaml::1:6: 'ids[0]' source data must be an array or slice, got string"],
    );
    refuse(
        "ids: [a b]",
        &["yaml::1:7: 'ids[0]' in \"a b\" id: invalid character(s) in type \"a b\""],
    );
    refuse(
        "names: {a: b}",
        &["yaml::1:8: 'names' source data must be an array or slice, got map[string]interface {}"],
    );
    refuse(
        "retry: x",
        &["yaml::1:8: 'retry' expected type 'map[string]interface {}', got unconvertible type 'string'"],
    );
    refuse(
        "mode: very_lound",
        &["yaml::1:7: 'mode' invalid value \"very_lound\"; did you mean \"very_loud\"?"],
    );
    refuse(
        "mode: x",
        &["yaml::1:7: 'mode' invalid value \"x\"; valid values: plain, very_loud"],
    );
    refuse(
        "ports: {x: y}",
        &["yaml::1:9: 'ports' expected an integer as key, got \"x\""],
    );
    refuse(
        "headers: [{name: a, value: x}, {name: a, value: y}]",
        &["yaml::1:10: 'headers' duplicate keys in map-style list: [a]"],
    );
    refuse(
        "{new_name: 1, old_name: 2}",
        &["yaml::1:1: '' key \"new_name\" is given under two of its names"],
    );
}

#[test]
fn reports_all_faults_at_once_in_the_order_of_the_source() {
    let text = "\
endpont: x
timeout: 1d
retry:
  maxx: 1
  initial_interval: 5
limit: no
list:
  - max: x
  - max: 5
    foo: 1
  - max: y
blocks: {b: {max: z}}
";
    refuse(
        text,
        &[
            "yaml::1:1: '' has invalid keys: endpont; did you mean \"endpoint\"?",
            "yaml::2:10: 'timeout' time: unknown unit",
            "yaml::4:3: 'retry' has invalid keys: maxx; did you mean \"max\"?",
            "yaml::6:8: 'limit' expected type 'uint32'",
            "yaml::8:10: 'list[0].max' expected type 'uint32'",
            "yaml::10:5: 'list[1]' has invalid keys: foo; valid keys: initial_interval, max",
            "yaml::11:10: 'list[2].max' expected type 'uint32'",
            "yaml::12:19: 'blocks.b.max' expected type 'uint32'",
        ],
    );
    let many: String = (0..300).map(|_| "  - {max: x}\n").collect();
    assert_eq!(parse(&format!("list:\n{many}")).unwrap_err().0.len(), 100);
}

#[test]
fn switches_have_three_states() {
    let (on, off) = (|| Optional::Some(Retry::default()), || Optional::<Retry>::None);
    check("keepalive:", |c| c.keepalive = on());
    check("keepalive: {}", |c| c.keepalive = on());
    check("keepalive: {max: 1}", |c| {
        c.keepalive = Optional::Some(retry(5000, 1))
    });
    check("keepalive: {enabled: true, max: 1}", |c| {
        c.keepalive = Optional::Some(retry(5000, 1))
    });
    check("keepalive: {enabled: false, max: 1}", |c| c.keepalive = off());
    check("queue:", |c| c.queue = on());
    check("queue: {enabled: false}", |c| c.queue = off());
    check("tls:", |_| {});
    check("tls: {}", |c| c.tls = on());
    check("tls: {enabled: false}", |_| {});
    refuse(
        "queue: {enabled: \"no\"}",
        &[
            "yaml::1:18: 'queue.enabled' unexpected type string for 'enabled': got 'no' value expected 'true' or 'false'",
        ],
    );
    refuse(
        "queue: {enabled: false, foo: 1}",
        &["yaml::1:25: 'queue' has invalid keys: foo"],
    );
    refuse(
        "queue: 5",
        &["yaml::1:8: 'queue' expected type 'map[string]interface {}'"],
    );
    assert_eq!(Config::default().keepalive.get(), None);
    assert_eq!(Config::default().queue.into_option(), Some(Retry::default()));
}

#[test]
fn a_block_with_defaults_of_its_place_is_a_section() {
    let port = |text: &str| -> Option<Result<u32, String>> {
        let mut section = parse(text).unwrap().grpc.into_option()?;
        section.default_to("max", "4317").unwrap();
        Some(section.parse::<Retry>().map(|c| c.max).map_err(|f| f.to_string()))
    };
    assert_eq!(port(""), None);
    assert_eq!(port("grpc: {enabled: false}"), None);
    assert_eq!(port("grpc:"), Some(Ok(4317)));
    assert_eq!(port("grpc: {max: 5}"), Some(Ok(5)));
    assert_eq!(
        port("grpc: {enabled: true, initial_interval: 1s}"),
        Some(Ok(4317))
    );
    let fault = port("grpc: {maxx: 5}").unwrap().unwrap_err();
    assert!(
        fault.starts_with("yaml::1:8: 'grpc' has invalid keys: maxx; did you mean \"max\"?"),
        "{fault}"
    );
}

#[test]
fn secrets_stay_out_of_messages() {
    #[derive(Clone, Debug, Deserialize, Serialize)]
    #[serde(default, deny_unknown_fields)]
    #[derive(Default)]
    struct Keys {
        #[allow(dead_code)]
        key: Secret<Duration>,
        #[allow(dead_code)]
        pin: Secret<String>,
        #[allow(dead_code)]
        count: Secret<u8>,
    }
    let check = |text: &str, line: &str| {
        let faults = Section::from_yaml(text).unwrap().parse::<Keys>().unwrap_err();
        let shown = format!("{faults} {faults:?}");
        assert!(shown.starts_with(line), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("4711"), "{shown}");
    };
    check(
        "key: hunter2",
        "yaml::1:1: 'key' time: invalid duration [REDACTED]\n  help: write a duration with its unit, e.g. 300ms, 5s or 1h30m\n  1 | key: ...\n",
    );
    check(
        "pin: 4711",
        "yaml::1:1: 'pin' expected type 'string', got unconvertible type 'int'\n  help: put it in quotes\n  1 | pin:",
    );
    check(
        "count: 4711",
        "yaml::1:1: 'count' cannot parse value as 'uint8': value overflows uint\n  help: write a number from 0 to 255\n  1 | count: ...",
    );
    check(
        "{pin: hunter2, foo: 4711}",
        "yaml::1:16: '' has invalid keys: foo; valid keys: key, pin, count\n  1 | ... foo: ...",
    );
    let section = Section::from_yaml("pin: hunter2").unwrap();
    assert!(!format!("{section:?}").contains("hunter2"));
}

// --- Blocks ---

#[derive(Clone, Debug, PartialEq, Default, Deserialize, Serialize)]
#[serde(default)]
struct Net {
    endpoint: String,
    #[serde(rename = "compression_type", alias = "compression")]
    zip: String,
    shared: u8,
}

#[derive(Clone, Debug, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    path: String,
    shared: u8,
}

#[test]
fn blocks_are_taken_and_the_rest_is_parsed() {
    let mut section = Section::from_yaml("{path: /x, endpoint: e, compression: gzip}").unwrap();
    let net: Net = section.take().unwrap();
    assert_eq!(
        net,
        Net {
            endpoint: "e".into(),
            zip: "gzip".into(),
            shared: 0
        }
    );
    assert_eq!(section.keys().collect::<Vec<_>>(), ["path"]);
    assert_eq!(
        section.parse::<Own>().unwrap(),
        Own {
            path: "/x".into(),
            shared: 0
        }
    );
}

#[test]
fn a_shared_key_goes_to_the_first_taker() {
    let mut section = Section::from_yaml("shared: 4").unwrap();
    assert_eq!(section.take::<Net>().unwrap().shared, 4);
    assert_eq!(section.clone().take::<Own>().unwrap().shared, 0);
    assert!(section.is_empty());
    assert_eq!(section.parse::<Own>().unwrap().shared, 0);
}

#[test]
fn typos_of_either_block_are_found_by_the_last() {
    let mut section = Section::from_yaml("endpoind: e\npaht: /x\n").unwrap();
    section.take::<Net>().unwrap();
    let faults = section.parse::<Own>().unwrap_err();
    let keys: Vec<&str> = faults.0.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(keys, ["has invalid keys: endpoind", "has invalid keys: paht"]);
}

#[test]
fn faults_find_their_key_after_it_was_taken() {
    let mut section = Section::from_yaml("endpoint: e\nprotocols:\n  grpc: {tls: [{a.b: 1}]}\n").unwrap();
    section.take::<Net>().unwrap();
    let check =
        |key: &str, expected: &str| assert_eq!(section.diag(key, "bad").to_string(), expected, "{key}");
    check("endpoint", "yaml::1:1 endpoint: bad");
    check("protocols.grpc.tls", "yaml::3:10 protocols::grpc::tls: bad");
    check(
        "protocols.grpc.tls.0.a.b",
        "yaml::3:17 protocols::grpc::tls::0::a.b: bad",
    );
    check("protocols.http.x", "yaml::2:1 protocols::http::x: bad");
    check("", "yaml::1:1: bad");
    let raw = section.clone().take_raw("protocols").unwrap();
    assert_eq!(
        raw.diag("grpc", "bad").to_string(),
        "yaml::3:3 protocols::grpc: bad"
    );
    assert_eq!(raw.place().unwrap().to_string(), "yaml::2:1");
    assert_eq!(raw.path(), "protocols");
}

#[test]
fn take_refuses_what_has_no_list_of_keys() {
    let mut section = Section::from_yaml("a: 1").unwrap();
    let fault = section.take::<BTreeMap<String, u8>>().unwrap_err().to_string();
    assert!(fault.contains("has no list of keys to take"), "{fault}");
    assert!(section.take::<Optional<Retry>>().is_err());
}

#[test]
fn a_missing_key_is_named_at_its_section() {
    #[derive(Clone, Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code)]
        must: String,
        #[allow(dead_code)]
        retry: Retry,
    }
    #[derive(Clone, Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code)]
        inner: Inner,
    }
    let parse = |text: &str| Section::from_yaml(text).unwrap().parse::<Outer>();
    let check = |text: &str, expected: &str| {
        let faults = parse(text).unwrap_err();
        assert_eq!(
            (faults.0.len(), faults.0[0].to_string().as_str()),
            (1, expected),
            "{text}"
        );
    };
    check("", "yaml::1:1: '' missing key \"inner\"");
    check("inner: {retry: {}}", "yaml::1:1: 'inner' missing key \"must\"");
    // One fault, though the key then is missing.
    check(
        "inner: {must: 5, retry: {}}",
        "yaml::1:15: 'inner.must' expected type 'string', got unconvertible type 'int'; put it in quotes",
    );
    // And what stands beside it is found all the same.
    let faults = parse("inner: {must: 5, retry: {max: x}}\nfoo: 1").unwrap_err();
    assert_eq!(faults.0.len(), 3, "{faults}");
    // A null where there is no default is the zero of its type.
    let parsed = parse("inner: {must: , retry: }").unwrap();
    assert_eq!(
        (parsed.inner.must.as_str(), parsed.inner.retry),
        ("", Retry::default())
    );
}

impl Validate for Retry {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        if self.max == 0 {
            faults.push(("max".into(), "must be positive".into()));
        }
    }
}

#[test]
fn rules_are_checked_with_places() {
    let section = Section::from_yaml("initial_interval: 1s\nmax: 0").unwrap();
    let faults = section.parse_valid::<Retry>().unwrap_err();
    assert_eq!(
        faults.to_string(),
        "yaml::2:1 max: must be positive\n  2 | max: ...\n    | ^^^"
    );
    assert!(Section::default().parse_valid::<Retry>().is_ok());
}

#[test]
fn an_unknown_type_names_the_valid_ones() {
    let id = ComponentId::parse("oltp/x").unwrap();
    let fault = Section::default().type_fault(&id, &["nop", "otlp"]).to_string();
    assert_eq!(
        fault,
        "'' unknown type: \"oltp\" for id: \"oltp/x\" (valid values: [nop otlp])\n  help: did you mean \"otlp\"?"
    );
}

#[test]
fn sections_are_equal_by_content() {
    let a = Section::from_yaml("{a: 1, b: {c: [x]}}").unwrap();
    let b = Section::from_yaml("b:\n  c:\n  - x\na: 0x1\n").unwrap();
    assert_eq!(a, b);
    let mut c = Section::from_yaml("{a: 1, b: {c: [x]}, endpoint: e}").unwrap();
    assert_ne!(a, c);
    c.take::<Net>().unwrap();
    assert_eq!(a, c);
}

proptest::proptest! {
    #[test]
    fn reading_a_config_never_panics(text in "([a-z_]{1,8}|endpoint|timeout|retry|list|queue|headers|enabled): ?[ a-z0-9\\[\\]{}:,\\n-]{0,40}") {
        if let Ok(section) = Section::from_yaml(&text)
            && let Err(faults) = section.parse::<Config>()
        {
            proptest::prop_assert!(!faults.0.is_empty() && !faults.to_string().is_empty());
        }
    }
}
