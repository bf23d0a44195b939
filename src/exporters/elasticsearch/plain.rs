//! Mapping modes `none`, `raw` and `ecs`: documents of fields with dotted names.
//!
//! `none` has `Attributes.*`, `Resource.*`, `Scope.*` beside OTLP's own fields in their old spelling, `raw` the same
//! without the prefix of attributes and events, `ecs` what OpenTelemetry's conventions are called in the Elastic Common
//! Schema, as objects. Names and conversions are those of the collector's exporter (v0.157). What a scope's records have
//! in common is added first, and stays while their own fields come and go.

use codec::otlp_json::quote;
use wire::view::{Any, Value};

use super::fields::{Message, is_id};
use super::flat::{Document, Item};
use super::json::{self, Pairs, comma};
use super::otel::Log;
use super::route::Route;

/// How fields are called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    None,
    Raw,
    Ecs,
}

impl Style {
    fn attributes(self) -> &'static [u8] {
        match self {
            Style::None => b"Attributes.",
            Style::Raw | Style::Ecs => b"",
        }
    }

    fn is_nested(self) -> bool {
        self == Style::Ecs
    }

    fn protected(self) -> fn(&[u8]) -> bool {
        match self {
            Style::Ecs => |key| RESOURCE.iter().any(|(_, to)| to.as_bytes() == key),
            _ => |_| false,
        }
    }

    /// Writes what was gathered.
    pub(super) fn write<'a>(self, document: &mut Document<'a>, pairs: &mut Pairs<'a>, out: &mut Vec<u8>) {
        document.write(self.is_nested(), self.protected(), pairs, out);
    }
}

/// Attributes of resources that have another name in ECS; an empty name: they have no place there.
const RESOURCE: &[(&str, &str)] = &[
    ("client.address", "client.ip"),
    ("cloud.platform", "cloud.service.name"),
    ("container.image.tags", "container.image.tag"),
    ("deployment.environment", "service.environment"),
    ("deployment.environment.name", "service.environment"),
    ("faas.instance", "faas.id"),
    ("faas.trigger", "faas.trigger.type"),
    ("host.arch", "host.architecture"),
    ("k8s.cluster.name", "orchestrator.cluster.name"),
    ("k8s.container.name", "kubernetes.container.name"),
    ("k8s.cronjob.name", "kubernetes.cronjob.name"),
    ("k8s.daemonset.name", "kubernetes.daemonset.name"),
    ("k8s.deployment.name", "kubernetes.deployment.name"),
    ("k8s.job.name", "kubernetes.job.name"),
    ("k8s.namespace.name", "kubernetes.namespace"),
    ("k8s.node.name", "kubernetes.node.name"),
    ("k8s.pod.name", "kubernetes.pod.name"),
    ("k8s.pod.uid", "kubernetes.pod.uid"),
    ("k8s.replicaset.name", "kubernetes.replicaset.name"),
    ("k8s.statefulset.name", "kubernetes.statefulset.name"),
    ("os.description", "host.os.full"),
    ("os.name", "host.os.name"),
    ("os.type", "host.os.platform"),
    ("os.version", "host.os.version"),
    ("process.command_line", "process.args"),
    ("process.executable.name", "process.title"),
    ("process.executable.path", "process.executable"),
    ("process.parent_pid", "process.parent.pid"),
    ("process.runtime.name", "service.runtime.name"),
    ("process.runtime.version", "service.runtime.version"),
    ("service.instance.id", "service.node.name"),
    ("source.address", "source.ip"),
    ("telemetry.distro.name", ""),
    ("telemetry.distro.version", ""),
    ("telemetry.sdk.language", "service.language.name"),
    ("telemetry.sdk.name", ""),
    ("telemetry.sdk.version", "service.language.version"),
];

/// The same of log records.
fn log_name(key: &[u8]) -> Option<&'static str> {
    Some(match key {
        b"event.name" => "event.action",
        b"exception.message" => "error.message",
        b"exception.stacktrace" => "error.stacktrace",
        b"exception.type" => "error.type",
        b"exception.escaped" => "event.error.exception.handled",
        b"http.response.body.size" => "http.response.encoded_body_size",
        _ => return None,
    })
}

/// The same of spans.
fn span_name(key: &[u8], is_transaction: bool) -> Option<&'static str> {
    Some(match key {
        b"messaging.destination.name" if is_transaction => "transaction.message.queue.name",
        b"messaging.destination.name" => "span.message.queue.name",
        b"messaging.operation.name" => "span.action",
        b"db.system" => "span.db.type",
        b"db.namespace" => "span.db.instance",
        b"db.query.text" => "span.db.statement",
        b"http.response.body.size" => "http.response.encoded_body_size",
        _ => return None,
    })
}

/// What the records of a scope have in common.
pub(super) fn around<'a>(
    style: Style,
    resource: Message<'a>,
    scope: Message<'a>,
    document: &mut Document<'a>,
) {
    document.clear();
    if style == Style::Ecs {
        ecs_resource(resource, document);
        for (key, value) in scope.attributes(3) {
            document.attribute(b"", key, value);
        }
        return;
    }
    for (key, value) in resource.attributes(1) {
        document.attribute(b"Resource.", key, value);
    }
    for (key, value) in scope.attributes(3) {
        document.attribute(b"Scope.", key, value);
    }
    document.add(b"Scope.", b"name", Item::Text(scope.sub(1).0));
    document.add(b"Scope.", b"version", Item::Text(scope.sub(2).0));
}

/// A resource in the words of ECS.
pub(super) fn ecs_resource<'a>(resource: Message<'a>, document: &mut Document<'a>) {
    let has_hostname = resource.attribute(1, b"host.hostname").is_some();
    for (key, value) in resource.attributes(1) {
        if key == b"host.name" {
            document.attribute(b"", key, value);
            if !has_hostname {
                document.attribute(b"", b"host.hostname", value);
            }
            continue;
        }
        match RESOURCE.binary_search_by(|(from, _)| from.as_bytes().cmp(key)) {
            Ok(at) if RESOURCE[at].1.is_empty() => {}
            Ok(at) => document.attribute(b"", RESOURCE[at].1.as_bytes(), value),
            Err(_) => document.attribute(b"", key, value),
        }
    }
    let text = |key: &[u8]| resource.attribute(1, key).and_then(|value| value.as_str());
    let by_name: Option<&[u8]> = match text(b"os.name") {
        Some(b"Android") => Some(b"android"),
        Some(b"iOS") => Some(b"ios"),
        _ => None,
    };
    let by_type: Option<&[u8]> = match text(b"os.type") {
        Some(known @ (b"windows" | b"linux")) => Some(known),
        Some(b"darwin") => Some(b"macos"),
        Some(b"aix" | b"hpux" | b"solaris") => Some(b"unix"),
        _ => None,
    };
    document.text("host.os.type", by_name.or(by_type).unwrap_or_default());
}

/// `data_stream.*`, if it is one.
pub(super) fn data_stream(style: Style, route: &Route, document: &mut Document<'_>) {
    if route.kind.is_empty() {
        return;
    }
    let prefix = style.attributes();
    document.copied(prefix, "data_stream.type", route.kind.as_bytes());
    document.copied(prefix, "data_stream.dataset", &route.dataset);
    document.copied(prefix, "data_stream.namespace", &route.namespace);
}

/// Adds a log record, whose attributes are `pairs`.
pub(super) fn log<'a>(
    style: Style,
    log: &Log<'a>,
    route: &Route,
    pairs: &mut Pairs<'a>,
    document: &mut Document<'a>,
) {
    if style == Style::Ecs {
        for (key, value) in pairs.all.drain(..).flatten() {
            let name = log_name(key).map_or(key, str::as_bytes);
            document.attribute(b"", name, value);
        }
        data_stream(style, route, document);
        document.add(b"", b"@timestamp", Item::Time(log.at()));
        document.id("trace.id", log.trace);
        document.id("span.id", log.span);
        if log.severity != 0 {
            document.add(b"", b"event.severity", Item::Int(log.severity as i64));
        }
        document.text("log.level", log.severity_text);
        message(log.body, pairs, document);
        return;
    }
    document.add(b"", b"@timestamp", Item::Time(log.at()));
    document.id("TraceId", log.trace);
    document.id("SpanId", log.span);
    document.add(b"", b"TraceFlags", Item::Int(log.flags as i64));
    document.text("SeverityText", log.severity_text);
    document.add(b"", b"SeverityNumber", Item::Int(log.severity as i64));
    document.attribute(b"", b"Body", log.body);
    for (key, value) in pairs.all.drain(..).flatten() {
        document.attribute(style.attributes(), key, value);
    }
    data_stream(style, route, document);
}

/// `message`: a body as text, whatever it is.
fn message<'a>(body: Value<'a>, pairs: &mut Pairs<'a>, document: &mut Document<'a>) {
    match body.any() {
        Any::Empty => {}
        Any::Str(text) => document.add(b"", b"message", Item::Text(text)),
        _ => {
            let mut text = Vec::new();
            body.as_string(&mut text);
            if text.is_empty() {
                // Go's encoder makes nothing of what holds a number that JSON does not know.
                json::value(body, pairs, &mut text);
            }
            document.copied(b"", "message", &text);
        }
    }
}

const KINDS: [&str; 6] = [
    "UNSPECIFIED",
    "INTERNAL",
    "SERVER",
    "CLIENT",
    "PRODUCER",
    "CONSUMER",
];

/// Adds a span with its events; its attributes are `pairs`.
pub(super) fn span<'a>(
    style: Style,
    span: Message<'a>,
    route: &Route,
    pairs: &mut Pairs<'a>,
    document: &mut Document<'a>,
) {
    let (start, end) = (span.number(7), span.number(8));
    let kind = KINDS.get(span.number(6) as usize).copied();
    let status = span.sub(15);
    if style == Style::Ecs {
        let event = span.attribute(9, b"processor.event");
        let is_transaction = event.is_some_and(|event| event.as_str() == Some(b"transaction"));
        for (key, value) in pairs.all.drain(..).flatten() {
            let name = span_name(key, is_transaction).map_or(key, str::as_bytes);
            document.attribute(b"", name, value);
        }
        data_stream(style, route, document);
        document.add(b"", b"@timestamp", Item::Time(start));
        document.id("trace.id", span.sub(1).0);
        document.id("span.id", span.sub(2).0);
        document.text("span.name", span.sub(5).0);
        document.id("parent.id", span.sub(4).0);
        let outcome: &[u8] = match status.number(3) {
            1 => b"success",
            2 => b"failure",
            _ => b"",
        };
        document.text("event.outcome", outcome);
        if span.each(13).next().is_some() {
            document.written(b"", b"span.links", |out| ecs_links(span, out));
        }
        if let Some(kind) = kind.filter(|kind| *kind != KINDS[0]) {
            document.add(b"", b"span.kind", Item::Text(kind.as_bytes()));
        }
        return;
    }
    document.add(b"", b"@timestamp", Item::Time(start));
    document.add(b"", b"EndTimestamp", Item::Time(end));
    document.id("TraceId", span.sub(1).0);
    document.id("SpanId", span.sub(2).0);
    document.id("ParentSpanId", span.sub(4).0);
    document.text("Name", span.sub(5).0);
    if let Some(kind) = kind {
        document.written(b"", b"Kind", |out| {
            out.extend_from_slice(b"\"SPAN_KIND_");
            out.extend_from_slice(kind.as_bytes());
            out.push(b'"');
        });
    }
    document.add(b"", b"TraceStatus", Item::Int(status.number(3) as i64));
    document.text("TraceStatusDescription", status.sub(2).0);
    let links = links_text(span);
    document.copied(b"", "Link", &links);
    document.add(
        b"",
        b"Duration",
        Item::Int((end as i64).wrapping_sub(start as i64) / 1000),
    );
    for (key, value) in pairs.all.drain(..).flatten() {
        document.attribute(style.attributes(), key, value);
    }
    data_stream(style, route, document);
    let events: &[u8] = if style == Style::Raw { b"" } else { b"Events." };
    let mut prefix = Vec::new();
    for event in span.each(11) {
        prefix.clear();
        prefix.extend_from_slice(events);
        prefix.extend_from_slice(event.sub(2).0);
        prefix.push(b'.');
        document.add(&prefix, b"time", Item::Time(event.number(1)));
        for (key, value) in event.attributes(3) {
            document.attribute(&prefix, key, value);
        }
    }
}

/// Whether an event tells of an exception, as mode `ecs` has it.
pub(super) fn is_exception(event: Message<'_>) -> bool {
    let has = |key: &[u8]| event.attribute(3, key).is_some();
    event.sub(2).0 == b"exception" && (has(b"exception.type") || has(b"exception.message"))
}

/// Adds an event of a span in mode `ecs`, where it is a document of its own.
pub(super) fn ecs_event<'a>(
    span: Message<'a>,
    event: Message<'a>,
    route: &Route,
    document: &mut Document<'a>,
) {
    let is_exception = is_exception(event);
    for (key, value) in event.attributes(3) {
        let name: &[u8] = match key {
            b"exception.type" => b"error.exception.type",
            b"exception.message" => b"error.exception.message",
            b"exception.stacktrace" => b"error.stack_trace",
            // Where it goes, and what Elastic's own processor writes.
            b"exception.escaped"
            | b"data_stream.type"
            | b"data_stream.dataset"
            | b"data_stream.namespace"
            | b"error.grouping_name" => continue,
            key => key,
        };
        document.attribute(b"", name, value);
    }
    data_stream(Style::Ecs, route, document);
    document.add(b"", b"@timestamp", Item::Time(event.number(1)));
    document.id("trace.id", span.sub(1).0);
    let transaction = span.attribute(9, b"transaction.id");
    match transaction.map(|id| id.as_str().unwrap_or_default()) {
        Some(id) => {
            document.text("transaction.id", id);
            document.text("span.id", id);
            if is_exception {
                document.text("parent.id", id);
            }
        }
        None if is_exception => document.id("parent.id", span.sub(2).0),
        None => document.id("span.id", span.sub(2).0),
    }
    if !is_exception {
        document.text("event.kind", b"event");
        document.text("message", event.sub(2).0);
    }
}

fn ecs_links(span: Message<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    for link in span.each(13) {
        comma(out);
        out.extend_from_slice(b"{\"trace\":{\"id\":");
        json::hex(link.sub(1).0, out);
        out.extend_from_slice(b"},\"span\":{\"id\":");
        json::hex(link.sub(2).0, out);
        out.extend_from_slice(b"}}");
    }
    out.push(b']');
}

/// Links as JSON within a text.
fn links_text(span: Message<'_>) -> Vec<u8> {
    let mut out = b"[".to_vec();
    let mut pairs = Pairs::default();
    let hex = |id: &[u8], out: &mut Vec<u8>| match is_id(id) {
        true => json::hex(id, out),
        false => quote(b"", out),
    };
    for link in span.each(13) {
        comma(&mut out);
        out.extend_from_slice(b"{\"attribute\":{");
        pairs.all.extend(link.attributes(4).map(Some));
        let all = pairs.all.len();
        pairs.last_counts(0);
        for at in 0..all {
            if let Some((key, value)) = pairs.all[at] {
                json::key(key, &mut out);
                json::value(value, &mut pairs, &mut out);
            }
        }
        pairs.all.clear();
        out.extend_from_slice(b"},\"spanID\":");
        hex(link.sub(2).0, &mut out);
        out.extend_from_slice(b",\"traceID\":");
        hex(link.sub(1).0, &mut out);
        out.push(b'}');
    }
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(RESOURCE.is_sorted_by(|a, b| a.0 < b.0));
    }
}
