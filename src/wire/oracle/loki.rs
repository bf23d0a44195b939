//! What pushes to Loki allocate: by batch and by stream, never by record. Alone in its process, with an allocator that
//! counts.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

#[path = "../../../benches/counting.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod counting;
#[path = "../../../benches/support.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod support;

use config::Section;
use exporters::loki::Pushes;
use wire::{Chunk, Limits, Payload, Shape, Signal};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

#[test]
fn pushes_allocate_by_batch_and_stream() {
    let labels = "labels: {resource: {service.name: service_name, service.namespace: namespace, tenant.id: tenant, \
        k8s.cluster.name: cluster}, static: {gateway: weir}}";
    let format = |keys: &str| format!("format: raw, {labels}, {keys}");
    // For each stream its labels, once more where records have labels of their own, and the body.
    let cases = [
        (format(""), 4 + 1),
        (format("structured_metadata: {drop: [sni, mtls, retries]}"), 4 + 1),
        (format("encoding: json"), 4 + 1),
        ("default_labels_enabled: {level: false}".to_owned(), 4 + 1),
        (
            "format: logfmt, default_labels_enabled: {level: false}".to_owned(),
            4 + 1,
        ),
        // All have one severity.
        (String::new(), 4 + 4 + 1),
        // One of two truths, in each of four resources.
        (
            "format: raw, labels: {attributes: {mtls: ''}}".to_owned(),
            8 + 2 + 1,
        ),
    ];
    for (keys, expected) in cases {
        let Ok(mut pushes) = Pushes::new(Section::from_yaml(&format!("{{{keys}}}")).expect("it is YAML"))
        else {
            panic!("the keys are known")
        };
        let counted = [512, 1024, 2048].map(|records| {
            let request = support::request(1, records, 4);
            let shape: Shape =
                wire::validate(Signal::Logs, &request, &Limits::default()).expect("it is well formed");
            let chunk = Chunk::new(request.into(), shape);
            let batch = Payload::new(Signal::Logs, chunk, Default::default());
            // Once to warm the buffers that are kept.
            pushes.write(&batch).expect("it is well formed");
            let before = support::allocations_here();
            let body = pushes.write(&batch).expect("it is well formed");
            let allocated = support::allocations_here() - before;
            assert!(body.is_some_and(|body| body.len() > 100 * records));
            allocated
        });
        assert_eq!(
            counted, [expected; 3],
            "{keys}: allocations for 512, 1024, 2048 records"
        );
    }
}
