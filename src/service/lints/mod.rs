//! What works, and is probably not what was wanted.
//!
//! Said by `weir validate` and `weir plan`, as warnings: a listener without TLS that other machines reach, locks that
//! cannot be undone, and answers that come before delivery. Looks at effective values, so that a default counts like a written value.

use std::net::IpAddr;

use config::{Diag, Effective, Section};
use engine::pipeline::Plan;

use super::effective::Parts;

mod archive;
mod samplers;

/// All lints, of the configuration and of what it becomes.
pub(super) fn all(parts: &Parts, plan: &Plan) -> Vec<Diag> {
    let mut found = Vec::new();
    for (_, section) in parts.of_kind("receivers") {
        plaintext_listeners(section, &section.effective(), String::new(), &mut found);
    }
    samplers::lint(parts, &mut found);
    archive::lint(parts, &mut found);
    found.extend(answered_too_early(plan));
    found.extend(super::tenants::lints(parts, &plan.nodes()));
    found
}

/// Walks down to the blocks of servers: they are known by a key that no client has.
fn plaintext_listeners(section: &Section, value: &Effective, path: String, found: &mut Vec<Diag>) {
    let Effective::Map(entries) = value else { return };
    let tls_is_off = match entries.get("tls") {
        Some(Effective::Map(tls)) => tls.get("enabled") == Some(&Effective::Bool(false)),
        _ => true,
    };
    if let (Some(Effective::Text(endpoint)), true, true) = (
        entries.get("endpoint"),
        entries.contains_key("include_metadata"),
        tls_is_off,
    ) && is_reached_by_others(endpoint)
    {
        let message = format!(
            "{endpoint} is open to other machines without TLS: what they send can be read on the way"
        );
        let key = format!("{path}endpoint");
        let help = "give it tls, or an address of localhost where a proxy or mesh encrypts";
        found.push(section.diag(&key, message).with_help(help));
    }
    for (key, value) in entries {
        plaintext_listeners(section, value, format!("{path}{key}."), found);
    }
}

/// A host that is not this machine alone. Names other than `localhost` are taken for others'.
fn is_reached_by_others(endpoint: &str) -> bool {
    if endpoint.starts_with('/') || endpoint.starts_with("unix:") {
        return false;
    }
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) => !ip.to_canonical().is_loopback(),
        Err(_) => host != "localhost",
    }
}

/// Where the configuration's own choice makes an answer less than a promise: said, for nobody reads it in a default.
fn answered_too_early(plan: &Plan) -> Vec<Diag> {
    let queues = plan.volatile().into_iter().map(|(id, size)| {
        let message = format!("acknowledged when queued in memory: a crash loses up to {size}");
        Diag::new(None, format!("exporters::{id}"), message)
            .with_help("sending_queue: {wait_for_result: true} or {enabled: false} answers after delivery")
    });
    let unsynced = plan.unsynced().into_iter().map(|id| {
        let message = "acknowledged when written: a power failure can lose what was acknowledged last";
        Diag::new(None, format!("exporters::{id}"), message)
            .with_help("take `fsync: false` out of its storage")
    });
    let unkept = plan.unkept().into_iter().map(|(id, keys)| {
        let message = format!(
            "client metadata that looks like credentials is not kept on disk, and what reads it behind the queue finds \
             nothing: {}",
            keys.join(", ")
        );
        Diag::new(None, format!("exporters::{id}"), message)
            .with_help("its storage can keep it, encrypted: `persist_sensitive_metadata: true`")
    });
    let best_effort = plan.best_effort().into_iter().map(|id| {
        let message = "best effort: nobody is told what it does not take, and it is dropped";
        Diag::new(None, format!("exporters::{id}::delivery"), message)
    });
    let unanswered = plan.unanswered().into_iter().map(|id| {
        let message = "acknowledged whatever becomes of it: every exporter here is best effort";
        Diag::new(None, format!("service::pipelines::{id}"), message)
            .with_help("make one of them `delivery: required`")
    });
    let holds = plan.holding().into_iter().map(|(pipeline, id, held_max)| {
        let message =
            format!("acknowledged before delivery: {id} holds data in memory for up to {held_max:?}");
        Diag::new(None, format!("service::pipelines::{pipeline}"), message)
    });
    queues
        .chain(unsynced)
        .chain(unkept)
        .chain(best_effort)
        .chain(unanswered)
        .chain(holds)
        .collect()
}

#[cfg(test)]
mod tests {
    use config::Gates;

    use super::*;

    #[test]
    fn what_a_queue_on_disk_does_not_promise_is_said() {
        let said = |storage: &str| {
            let text = format!(
                "extensions:\n  file_storage: {{directory: /d{storage}}}\n  \
                 headers_setter: {{headers: [{{key: a, from_context: X-Token}}, {{key: b, from_context: x-tenant}}]}}\n\
                 receivers: {{nop: }}\nexporters:\n  otlp_http: {{endpoint: 'http://localhost:1', auth: \
                 {{authenticator: headers_setter}}, sending_queue: {{storage: file_storage}}}}\n\
                 service: {{extensions: [file_storage, headers_setter], pipelines: {{logs: {{receivers: [nop], \
                 exporters: [otlp_http]}}}}}}\n"
            );
            let (_, warnings) = super::super::validate(&[("gw.yaml".into(), text)], &Gates::default())
                .unwrap_or_else(|faults| panic!("{faults}"));
            let shown = warnings.iter().map(|w| w.message.clone());
            let of_disk = |w: &String| w.contains("power failure") || w.contains("credentials");
            shown.filter(of_disk).collect::<Vec<_>>()
        };
        let unkept = "client metadata that looks like credentials is not kept on disk, and what reads it behind the \
                      queue finds nothing: x-token";
        assert_eq!(said(""), [unkept]);
        assert_eq!(
            said(", fsync: false"),
            [
                "acknowledged when written: a power failure can lose what was acknowledged last",
                unkept
            ]
        );
        let asked = ", encryption: {key_env: K}, persist_sensitive_metadata: true";
        assert_eq!(said(asked), Vec::<String>::new());
    }

    #[test]
    fn an_address_is_ours_alone_or_not() {
        let check = |endpoint: &str, expected: bool| {
            assert_eq!(is_reached_by_others(endpoint), expected, "{endpoint}");
        };
        check("0.0.0.0:4317", true);
        check("[::]:4317", true);
        check(":4317", true);
        check("10.1.2.3:4317", true);
        check("gateway:4317", true);
        check("localhost:4317", false);
        check("127.0.0.1:4317", false);
        check("[::1]:4317", false);
        check("[::ffff:127.0.0.1]:4317", false);
        check("/run/weir.sock", false);
        check("unix:/run/weir.sock", false);
    }

    /// Warnings about listeners, for what stands below `protocols`.
    fn listeners(protocols: &str) -> Vec<String> {
        let text = format!(
            "receivers:\n  otlp:\n    protocols: {{{protocols}}}\nexporters: {{debug: }}\n\
             service: {{pipelines: {{logs: {{receivers: [otlp], exporters: [debug]}}}}}}\n"
        );
        let (_, warnings) = super::super::validate(&[("gw.yaml".into(), text)], &Gates::default())
            .unwrap_or_else(|faults| panic!("{faults}"));
        let shown = warnings.iter().map(ToString::to_string);
        shown.filter(|w| w.contains("without TLS")).collect()
    }

    #[test]
    fn a_plaintext_listener_is_named_with_its_place() {
        assert_eq!(listeners("grpc: , http: "), Vec::<String>::new());
        assert_eq!(
            listeners("grpc: {endpoint: \"0.0.0.0:4317\"}, http: "),
            [
                "gw.yaml:3:24 receivers::otlp::protocols::grpc::endpoint: 0.0.0.0:4317 is open to other machines without \
                 TLS: what they send can be read on the way; give it tls, or an address of localhost where a proxy or \
                 mesh encrypts"
            ]
        );
        let tls = "grpc: {endpoint: \"0.0.0.0:4317\", tls: {cert_file: c.pem, key_file: k.pem}}";
        assert_eq!(listeners(tls), Vec::<String>::new());
        let off =
            "grpc: {endpoint: \"0.0.0.0:4317\", tls: {enabled: false, cert_file: c.pem, key_file: k.pem}}";
        assert_eq!(listeners(off).len(), 1);
    }
}
