//! Log records as pushes to Loki, per record: labels, line, structured metadata, and the snappy around them.
//!
//! `cargo bench -p weir-wire --bench loki [-- ROW...]`; see `support.rs` for the payload. Sizes are of the requests that
//! come in.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

mod counting;
mod support;

use std::hint::black_box;

use config::Section;
use exporters::loki::Pushes;
use wire::{Chunk, Limits, Payload, Signal};

use support::{Row, measure};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Five labels of a resource.
const LABELS: &str = "format: raw, labels: {resource: {service.name: service_name, service.namespace: namespace, \
    tenant.id: tenant, k8s.cluster.name: cluster}, static: {gateway: weir}}";
/// What is left out so that twenty fields are beside the line.
const DROPPED: &str = "k8s.pod.name, k8s.node.name, service.version, protocol, response_flags, upstream_local, \
    downstream_local, route_name, sni, mtls, retries, weight, dest_workload";

fn main() {
    let payloads = support::payloads();
    let mut rows: Vec<Row> = Vec::new();
    let rows_of = [
        (
            "push, 5 labels, 20 fields",
            format!("{LABELS}, structured_metadata: {{drop: [{DROPPED}]}}"),
        ),
        ("push, 5 labels, all 33 fields", LABELS.to_owned()),
        (
            "push, lines alone",
            format!("{LABELS}, structured_metadata: {{mode: none}}"),
        ),
        ("push, contrib's JSON", String::new()),
        ("push, contrib's logfmt", "format: logfmt".to_owned()),
        (
            "push as JSON, not compressed",
            format!("{LABELS}, encoding: json"),
        ),
    ];
    for (name, keys) in rows_of {
        let section = Section::from_yaml(&format!("{{{keys}}}")).expect("it is YAML");
        let Ok(mut pushes) = Pushes::new(section) else {
            panic!("the keys are known")
        };
        measure(&mut rows, name, &payloads, |request| {
            let shape = wire::validate(Signal::Logs, request, &Limits::default()).expect("it is well formed");
            let chunk = Chunk::new(request.to_vec().into(), shape);
            let batch = Payload::new(Signal::Logs, chunk, Default::default());
            black_box(pushes.write(&batch).expect("it is well formed"));
        });
    }
    support::print(&payloads, &rows);
}
