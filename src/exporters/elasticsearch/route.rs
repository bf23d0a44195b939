//! Which index or data stream a document goes to, and what else attributes say about where and how it is stored.
//!
//! In: the attributes of a record, its scope and its resource, and the settings of a signal. Out: a name. The order is
//! the collector's: a static index; `elasticsearch.index`; `data_stream.*`; the collector itself, the format of an encoding,
//! the receiver or the connector that the scope tells; `{type}-generic-default`. What a record does not say is worked out
//! once for its scope.

use codec::time::Civil;
use wire::view::{Any, Value};

use super::json::padded;

/// What attributes of one map say about storing. The first of several counts, as it is looked up in the collector.
#[derive(Clone, Copy, Default)]
pub(super) struct Hints<'a> {
    index: Option<Value<'a>>,
    dataset: Option<Value<'a>>,
    namespace: Option<Value<'a>>,
    kind: Option<Value<'a>>,
    prefix: Option<Value<'a>>,
    suffix: Option<Value<'a>>,
    /// Of a resource or a scope: how its documents are shaped.
    pub(super) mode: Option<Value<'a>>,
    pub(super) id: Option<Value<'a>>,
    pub(super) pipeline: Option<Value<'a>>,
    /// A list of wishes.
    mapping: Option<Value<'a>>,
    /// Of a scope: what was decoded.
    format: Option<Value<'a>>,
}

/// Whether a key is none of a user's, but says where and how a document is stored.
#[inline]
pub(super) fn is_hint(key: &[u8]) -> bool {
    let Some(b'd' | b'e') = key.first() else {
        return false;
    };
    matches!(
        key,
        b"data_stream.type"
            | b"data_stream.dataset"
            | b"data_stream.namespace"
            | b"elasticsearch.index"
            | b"elasticsearch.mapping.hints"
            | b"elasticsearch.document_id"
            | b"elasticsearch.ingest_pipeline"
            | b"elastic.mapping.mode"
    )
}

impl<'a> Hints<'a> {
    /// Notes what an attribute says.
    #[inline]
    pub(super) fn note(&mut self, key: &[u8], value: Value<'a>) {
        let Some(b'd' | b'e') = key.first() else {
            return;
        };
        let slot = match key {
            b"data_stream.type" => &mut self.kind,
            b"data_stream.dataset" => &mut self.dataset,
            b"data_stream.namespace" => &mut self.namespace,
            b"elasticsearch.index" => &mut self.index,
            b"elasticsearch.index.prefix" => &mut self.prefix,
            b"elasticsearch.index.suffix" => &mut self.suffix,
            b"elasticsearch.document_id" => &mut self.id,
            b"elasticsearch.ingest_pipeline" => &mut self.pipeline,
            b"elasticsearch.mapping.hints" => &mut self.mapping,
            b"encoding.format" => &mut self.format,
            b"elastic.mapping.mode" => &mut self.mode,
            _ => return,
        };
        slot.get_or_insert(value);
    }

    pub(super) fn of(attributes: impl Iterator<Item = (&'a [u8], Value<'a>)>) -> Hints<'a> {
        let mut hints = Hints::default();
        attributes.for_each(|(key, value)| hints.note(key, value));
        hints
    }

    /// Whether this is among the wishes.
    pub(super) fn wishes(&self, hint: &[u8]) -> bool {
        match self.mapping.map(|value| value.any()) {
            Some(Any::List(mut hints)) => hints.any(|value| value.as_str() == Some(hint)),
            _ => false,
        }
    }

    /// Whether no document is wished for, as where something before this has made of the item what is to be stored.
    #[inline]
    pub(super) fn forbids(&self) -> bool {
        self.mapping.is_some() && self.wishes(b"_noindex")
    }

    /// Whether anything is said about the place.
    fn names_place(&self) -> bool {
        let places = [
            &self.index,
            &self.dataset,
            &self.namespace,
            &self.kind,
            &self.prefix,
            &self.suffix,
        ];
        places.iter().any(|place| place.is_some())
    }
}

/// Where the documents of one signal go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// `logs`, `metrics` or `traces`.
    pub(super) kind: &'static str,
    /// All of them go here; empty = attributes say.
    pub(super) index: String,
    /// Attributes say, whether there is an index or not; it stands between their prefix and suffix.
    pub(super) dynamic: bool,
    /// A date behind the index: separator and format.
    pub(super) dated: Option<(String, Vec<DatePart>)>,
}

/// Where a document goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) index: Vec<u8>,
    /// Of a data stream; empty for an index.
    pub(super) kind: &'static str,
    pub(super) dataset: Vec<u8>,
    pub(super) namespace: Vec<u8>,
}

/// What of a scope counts for its documents.
#[derive(Clone, Copy, Default)]
pub(super) struct Around<'a> {
    pub(super) scope_name: &'a [u8],
    pub(super) scope: Hints<'a>,
    pub(super) resource: Hints<'a>,
}

/// How documents are shaped matters to their place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// `.otel` ends the dataset.
    Otel,
    /// `data_stream.type` may be said.
    Typed,
    Plain,
}

/// Longest dataset and namespace in bytes.
const NAME_BYTES_MAX: usize = 100;

impl Places {
    /// Whether a record with these hints may go elsewhere than others of its scope.
    #[inline]
    pub(super) fn depends_on(&self, record: &Hints<'_>) -> bool {
        (self.index.is_empty() || self.dynamic) && record.names_place()
    }

    /// Where a document goes; `nanos` is its time. `out` is written over.
    ///
    /// Errors: `data_stream.type` is said, and is none that this signal can have.
    pub(super) fn find(
        &self,
        naming: Naming,
        record: &Hints<'_>,
        around: &Around<'_>,
        nanos: u64,
        out: &mut Route,
    ) -> Result<(), &'static str> {
        out.index.clear();
        out.dataset.clear();
        out.namespace.clear();
        out.kind = "";
        self.place(naming, record, around, out)?;
        if let Some((separator, format)) = &self.dated {
            // A name with a date is an index and no data stream.
            out.kind = "";
            out.index.extend_from_slice(separator.as_bytes());
            DatePart::write(format, nanos, &mut out.index);
        }
        Ok(())
    }

    fn place(
        &self,
        naming: Naming,
        record: &Hints<'_>,
        around: &Around<'_>,
        out: &mut Route,
    ) -> Result<(), &'static str> {
        if !self.index.is_empty() && !self.dynamic {
            out.index.extend_from_slice(self.index.as_bytes());
            return Ok(());
        }
        let (scope, resource) = (&around.scope, &around.resource);
        let nearest =
            |pick: fn(&Hints<'_>) -> bool| [record, scope, resource].into_iter().find(|hints| pick(hints));
        if let Some(index) = nearest(|h| is_said(h.index)).and_then(|h| h.index) {
            index.as_string(&mut out.index);
            return Ok(());
        }
        let dataset = nearest(|h| is_said(h.dataset)).and_then(|h| h.dataset);
        let namespace = nearest(|h| is_said(h.namespace)).and_then(|h| h.namespace);
        if dataset.is_none() && namespace.is_none() {
            let farthest = |pick: fn(&Hints<'_>) -> bool| {
                [resource, scope, record].into_iter().find(|hints| pick(hints))
            };
            let prefix = farthest(|h| is_said(h.prefix)).and_then(|h| h.prefix);
            let suffix = farthest(|h| is_said(h.suffix)).and_then(|h| h.suffix);
            if prefix.is_some() || suffix.is_some() {
                prefix.inspect(|prefix| prefix.as_string(&mut out.index));
                out.index.extend_from_slice(self.index.as_bytes());
                suffix.inspect(|suffix| suffix.as_string(&mut out.index));
                return Ok(());
            }
        }
        out.kind = self.kind;
        if naming == Naming::Typed
            && let Some(kind) = nearest(|h| is_said(h.kind)).and_then(|h| h.kind)
        {
            out.kind = match kind.as_str() {
                Some(b"logs") => "logs",
                Some(b"metrics") => "metrics",
                _ => return Err("data_stream.type cannot be other than logs or metrics"),
            };
        }
        match dataset {
            Some(dataset) => dataset.as_string(&mut out.dataset),
            None => out
                .dataset
                .extend_from_slice(of_scope(around).unwrap_or(b"generic")),
        }
        match namespace {
            Some(namespace) => namespace.as_string(&mut out.namespace),
            None => out.namespace.extend_from_slice(b"default"),
        }
        let ending: &[u8] = if naming == Naming::Otel { b".otel" } else { b"" };
        sanitize(&mut out.dataset, true, NAME_BYTES_MAX - ending.len());
        out.dataset.extend_from_slice(ending);
        sanitize(&mut out.namespace, false, NAME_BYTES_MAX);
        let parts: [&[u8]; 5] = [out.kind.as_bytes(), b"-", &out.dataset, b"-", &out.namespace];
        for part in parts {
            out.index.extend_from_slice(part);
        }
        Ok(())
    }
}

/// Where an event of a span goes in mode `ecs`: to the errors of all services, or to the logs of its own.
pub(super) fn ecs_event(
    event: &Hints<'_>,
    around: &Around<'_>,
    is_error: bool,
    service: &[u8],
    out: &mut Route,
) {
    out.kind = "logs";
    out.dataset.clear();
    out.dataset
        .extend_from_slice(if is_error { b"apm.error" } else { b"apm.app" });
    if !is_error && !service.is_empty() {
        out.dataset.push(b'.');
        out.dataset.extend_from_slice(service);
    }
    out.namespace.clear();
    let mut all = [event, &around.scope, &around.resource].into_iter();
    match all.find_map(|hints| hints.namespace.filter(|name| is_said(Some(*name)))) {
        Some(namespace) => namespace.as_string(&mut out.namespace),
        None => out.namespace.extend_from_slice(b"default"),
    }
    sanitize(&mut out.dataset, true, NAME_BYTES_MAX);
    sanitize(&mut out.namespace, false, NAME_BYTES_MAX);
    out.index.clear();
    let parts: [&[u8]; 5] = [b"logs", b"-", &out.dataset, b"-", &out.namespace];
    for part in parts {
        out.index.extend_from_slice(part);
    }
}

/// An empty text says nothing.
fn is_said(value: Option<Value<'_>>) -> bool {
    value.is_some_and(|value| !value.raw().is_empty() && value.as_str() != Some(b""))
}

/// The dataset that a scope tells.
fn of_scope<'a>(around: &Around<'a>) -> Option<&'a [u8]> {
    const COLLECTOR: [&[u8]; 5] = [
        b"go.opentelemetry.io/collector/receiver/receiverhelper",
        b"go.opentelemetry.io/collector/scraper/scraperhelper",
        b"go.opentelemetry.io/collector/processor/processorhelper",
        b"go.opentelemetry.io/collector/exporter/exporterhelper",
        b"go.opentelemetry.io/collector/service",
    ];
    let name = around.scope_name;
    if COLLECTOR.contains(&name) {
        return Some(b"collectortelemetry");
    }
    let format = around.scope.format.and_then(|format| format.as_str());
    format
        .filter(|format| !format.is_empty())
        .or_else(|| component(name, b"/receiver/", b"receiver"))
        .or_else(|| component(name, b"/connector/", b"connector"))
}

/// The component in a scope's name: `hostmetricsreceiver` of `.../receiver/hostmetricsreceiver/internal/...`.
fn component<'a>(scope_name: &'a [u8], before: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let starts = scope_name.windows(before.len()).enumerate();
    for (at, _) in starts.filter(|(_, window)| *window == before) {
        let rest = &scope_name[at + before.len()..];
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let word = &rest[..rest.iter().position(|b| !is_word(b)).unwrap_or(rest.len())];
        // One letter at least stands before it.
        let last = word.windows(end.len()).rposition(|window| window == end);
        if let Some(last) = last.filter(|last| *last > 0) {
            return Some(&word[..last + end.len()]);
        }
    }
    None
}

/// Makes a name one that Elasticsearch takes: lower case, without what names must not have, and no longer than `max`.
fn sanitize(name: &mut Vec<u8>, is_dataset: bool, max: usize) {
    let foreign = |b: u8| b"\\/*?\"<>| ,#:".contains(&b) || is_dataset && b == b'-';
    if name.is_ascii() {
        for b in name.iter_mut() {
            *b = if foreign(*b) { b'_' } else { b.to_ascii_lowercase() };
        }
        return name.truncate(max);
    }
    let mut clean = String::with_capacity(name.len());
    for c in String::from_utf8_lossy(name).chars() {
        match u8::try_from(c) {
            Ok(b) if b.is_ascii() && foreign(b) => clean.push('_'),
            _ => clean.extend(c.to_lowercase()),
        }
    }
    clean.truncate(clean.floor_char_boundary(max));
    *name = clean.into_bytes();
}

/// A piece of a date's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DatePart {
    /// As it stands.
    Text(String),
    /// A conversion of strftime.
    Field(char),
}

impl DatePart {
    /// Errors: a conversion that is not known, in words.
    pub(super) fn parse(format: &str) -> Result<Vec<DatePart>, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some('%') => text.push('%'),
                Some(field @ ('Y' | 'm' | 'd' | 'y' | 'j' | 'H' | 'M' | 'S')) => {
                    if !text.is_empty() {
                        parts.push(DatePart::Text(std::mem::take(&mut text)));
                    }
                    parts.push(DatePart::Field(field));
                }
                other => {
                    let other = other.map_or(String::new(), String::from);
                    return Err(format!(
                        "unknown conversion %{other}; known are %Y %y %m %d %j %H %M %S %%"
                    ));
                }
            }
        }
        if !text.is_empty() {
            parts.push(DatePart::Text(text));
        }
        Ok(parts)
    }

    fn write(format: &[DatePart], nanos: u64, out: &mut Vec<u8>) {
        let time = Civil::from_unix_nanos(nanos);
        for part in format {
            let (number, width) = match part {
                DatePart::Text(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                DatePart::Field('Y') => (time.year as u64, 4),
                DatePart::Field('y') => (time.year as u64 % 100, 2),
                DatePart::Field('m') => (u64::from(time.month), 2),
                DatePart::Field('d') => (u64::from(time.day), 2),
                DatePart::Field('H') => (u64::from(time.hour), 2),
                DatePart::Field('M') => (u64::from(time.minute), 2),
                DatePart::Field('S') => (u64::from(time.second), 2),
                DatePart::Field(_) => (day_of_year(&time), 3),
            };
            padded(number, width, out);
        }
    }
}

fn day_of_year(time: &Civil) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let year = time.year;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month = usize::from(time.month.clamp(1, 12)) - 1;
    BEFORE[month] + u64::from(time.day) + u64::from(is_leap && month > 1)
}

#[cfg(test)]
mod tests {
    use wire::view::{NewValue, any_encode};

    use super::*;

    fn encoded(all: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let value = |text: &str| {
            let mut out = Vec::new();
            any_encode(NewValue::Str(text.as_bytes()), &mut out);
            out
        };
        all.iter()
            .map(|(k, v)| (k.as_bytes().to_vec(), value(v)))
            .collect()
    }

    fn hints(all: &[(Vec<u8>, Vec<u8>)]) -> Hints<'_> {
        Hints::of(all.iter().map(|(k, v)| (&**k, Value::new(v))))
    }

    const DYNAMIC: Places = Places {
        kind: "logs",
        index: String::new(),
        dynamic: false,
        dated: None,
    };

    type Texts<'a> = &'a [(&'a str, &'a str)];

    #[track_caller]
    fn check(
        places: &Places,
        naming: Naming,
        all: [Texts<'_>; 3],
        scope_name: &str,
        expected: &str,
    ) -> Route {
        let [record, scope, resource] = all.map(encoded);
        let around = Around {
            scope_name: scope_name.as_bytes(),
            scope: hints(&scope),
            resource: hints(&resource),
        };
        let mut route = Route::default();
        let found = places.find(
            naming,
            &hints(&record),
            &around,
            86_400_000_000_000 * 59,
            &mut route,
        );
        let index = found.map(|()| String::from_utf8(route.index.clone()).unwrap());
        assert_eq!(index.unwrap_or_else(|e| format!("fault: {e}")), expected);
        route
    }

    #[test]
    fn attributes_say_where_a_document_goes() {
        use Naming::{Otel, Plain, Typed};
        fn dynamic(naming: Naming, all: [Texts<'_>; 3], expected: &str) -> Route {
            check(&DYNAMIC, naming, all, "", expected)
        }
        let route = dynamic(Otel, [&[], &[], &[]], "logs-generic.otel-default");
        assert_eq!((route.kind, &*route.dataset), ("logs", &b"generic.otel"[..]));
        dynamic(Plain, [&[], &[], &[]], "logs-generic-default");
        let dataset = "data_stream.dataset";
        dynamic(
            Otel,
            [&[(dataset, "a")], &[(dataset, "b")], &[(dataset, "c")]],
            "logs-a.otel-default",
        );
        dynamic(
            Otel,
            [&[], &[(dataset, "b")], &[(dataset, "c")]],
            "logs-b.otel-default",
        );
        dynamic(Otel, [&[], &[], &[(dataset, "c")]], "logs-c.otel-default");
        dynamic(
            Plain,
            [&[], &[], &[("data_stream.namespace", "prod")]],
            "logs-generic-prod",
        );
        // An empty text is no name.
        dynamic(Plain, [&[(dataset, "")], &[], &[]], "logs-generic-default");
        let foreign = r#"A-b\c/d*e?f"g<h>i|j k,l#m:n"#;
        dynamic(
            Plain,
            [&[(dataset, foreign)], &[], &[]],
            "logs-a_b_c_d_e_f_g_h_i_j_k_l_m_n-default",
        );
        let both = &[("data_stream.namespace", foreign), (dataset, "É")];
        dynamic(Plain, [both, &[], &[]], "logs-é-a-b_c_d_e_f_g_h_i_j_k_l_m_n");
        let long = "é".repeat(60);
        let cut = format!("logs-{}.otel-default", "é".repeat(47));
        dynamic(Otel, [&[(dataset, &long)], &[], &[]], &cut);
        let index = "elasticsearch.index";
        let route = dynamic(
            Otel,
            [&[(index, "Mine")], &[(dataset, "b")], &[(index, "other")]],
            "Mine",
        );
        assert_eq!(route.kind, "");
        let (prefix, suffix) = ("elasticsearch.index.prefix", "elasticsearch.index.suffix");
        dynamic(
            Plain,
            [&[(prefix, "r-")], &[(suffix, "-s")], &[(prefix, "p-")]],
            "p--s",
        );
        dynamic(
            Plain,
            [&[(prefix, "r-"), (dataset, "d")], &[], &[]],
            "logs-d-default",
        );
        let kind = "data_stream.type";
        dynamic(Plain, [&[(kind, "metrics")], &[], &[]], "logs-generic-default");
        dynamic(Typed, [&[(kind, "metrics")], &[], &[]], "metrics-generic-default");
        dynamic(
            Typed,
            [&[(kind, "traces")], &[], &[]],
            "fault: data_stream.type cannot be other than logs or metrics",
        );
    }

    #[test]
    fn receivers_name_the_dataset() {
        let check =
            |name: &str, expected: &str| check(&DYNAMIC, Naming::Otel, [&[], &[], &[]], name, expected);
        let path =
            "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/hostmetricsreceiver/internal";
        check(path, "logs-hostmetricsreceiver.otel-default");
        check(
            "x/receiver/receiver_receiverx",
            "logs-receiver_receiver.otel-default",
        );
        check(
            "x/receiver/other/receiver/areceiver",
            "logs-areceiver.otel-default",
        );
        check("receiver/areceiver", "logs-generic.otel-default");
        check("x/receiver/", "logs-generic.otel-default");
        check("x/receiver/receiver", "logs-generic.otel-default");
        check(
            "x/connector/spanmetricsconnector",
            "logs-spanmetricsconnector.otel-default",
        );
        check(
            "x/connector/aconnector/receiver/areceiver",
            "logs-areceiver.otel-default",
        );
        check(
            "go.opentelemetry.io/collector/service",
            "logs-collectortelemetry.otel-default",
        );
    }

    #[test]
    fn the_format_of_an_encoding_names_the_dataset() {
        let name = "x/receiver/areceiver";
        let format = &[("encoding.format", "aws.elbaccess")];
        let check = |all: [Texts<'_>; 3], expected: &str| {
            check(&DYNAMIC, Naming::Otel, all, name, expected);
        };
        check([&[], format, &[]], "logs-aws.elbaccess.otel-default");
        check(
            [&[("data_stream.dataset", "d")], format, &[]],
            "logs-d.otel-default",
        );
        check(
            [&[], &[("encoding.format", "")], &[]],
            "logs-areceiver.otel-default",
        );
        // Only a scope says it.
        check([format, &[], format], "logs-areceiver.otel-default");
    }

    #[test]
    fn a_list_of_wishes_may_forbid_a_document() {
        let check = |value: NewValue<'_>, expected: bool| {
            let mut out = Vec::new();
            any_encode(value, &mut out);
            let hints = Hints::of([(&b"elasticsearch.mapping.hints"[..], Value::new(&out))].into_iter());
            assert_eq!(hints.forbids(), expected);
        };
        check(NewValue::Str(b"_noindex"), false);
        // A list of texts: ArrayValue { values: [{ string_value }] }.
        let list = |text: &[u8]| {
            let mut out = vec![
                0x2a,
                text.len() as u8 + 4,
                0x0a,
                text.len() as u8 + 2,
                0x0a,
                text.len() as u8,
            ];
            out.extend_from_slice(text);
            out
        };
        for (text, expected) in [(&b"_noindex"[..], true), (b"_doc_count", false)] {
            let out = list(text);
            let hints = Hints::of([(&b"elasticsearch.mapping.hints"[..], Value::new(&out))].into_iter());
            assert_eq!(hints.forbids(), expected);
        }
    }

    #[test]
    fn static_and_dated_indices() {
        let fixed = Places {
            index: "app".into(),
            ..DYNAMIC
        };
        check(
            &fixed,
            Naming::Otel,
            [&[("elasticsearch.index", "x")], &[], &[]],
            "",
            "app",
        );
        let between = Places {
            dynamic: true,
            ..fixed.clone()
        };
        check(
            &between,
            Naming::Plain,
            [&[("elasticsearch.index.prefix", "p-")], &[], &[]],
            "",
            "p-app",
        );
        check(
            &between,
            Naming::Plain,
            [&[], &[], &[]],
            "",
            "logs-generic-default",
        );
        let dated = |places: &Places, format: &str| Places {
            dated: Some(("-".into(), DatePart::parse(format).unwrap())),
            ..places.clone()
        };
        let route = check(
            &dated(&fixed, "%Y.%m.%d"),
            Naming::Plain,
            [&[], &[], &[]],
            "",
            "app-1970.03.01",
        );
        assert_eq!(route.kind, "");
        check(
            &dated(&DYNAMIC, "%y%j%%"),
            Naming::Otel,
            [&[], &[], &[]],
            "",
            "logs-generic.otel-default-70060%",
        );
        assert!(
            DatePart::parse("%Q")
                .unwrap_err()
                .starts_with("unknown conversion %Q")
        );
        assert!(DatePart::parse("%").is_err());
        for (year, day) in [(2024, 61), (2023, 60), (2000, 61), (1900, 60)] {
            let time = Civil {
                year,
                month: 3,
                day: 1,
                hour: 0,
                minute: 0,
                second: 0,
                nanos: 0,
            };
            assert_eq!(day_of_year(&time), day, "{year}");
        }
    }
}
