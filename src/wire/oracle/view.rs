//! Random edit programs over random requests: on a view, and on prost types.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use proptest::prelude::*;
use prost::Message as _;

use super::naive::{self, Node};
use crate::Signal;
use crate::test_kit::{self, KEYS, Request, Rng, disguise};
use crate::view::{Depth, Finished, Glance, Kind, NewValue, Part, Scratch, Value, View};

const SIGNALS: [Signal; 3] = [Signal::Logs, Signal::Traces, Signal::Metrics];

fn decode(value: Value<'_>) -> AnyValue {
    AnyValue::decode(value.raw()).unwrap()
}

fn value_of(kv: &KeyValue) -> AnyValue {
    kv.value.clone().unwrap_or_default()
}

/// Everything that both can read is the same.
fn assert_same(view: &View<'_>, request: &mut Request, removed: &[u32]) {
    let mut n = 0;
    naive::visit(request, &mut |node| {
        assert_eq!(view.kind(n), node.kind);
        assert_eq!(view.attrs(n), node.attrs.len(), "attributes of node {n}");
        for (i, kv) in node.attrs.iter().enumerate() {
            assert_eq!(view.key(n, i), kv.key.as_bytes());
            assert_eq!(decode(view.value(n, i)), value_of(kv));
        }
        for key in KEYS {
            let first = node.attrs.iter().position(|kv| kv.key == key);
            assert_eq!(view.find(n, key.as_bytes()), first);
        }
        if let Some(body) = node.body {
            assert_eq!(view.body(n).map(decode), *body);
        }
        for (number, text) in node.texts {
            assert_eq!(
                view.text(n, number),
                text.as_bytes(),
                "{:?} text {number}",
                node.kind
            );
        }
        for (number, value) in node.numbers {
            let bits = view.number(n, number).unwrap_or(0);
            assert_eq!(bits, value.get(), "{:?} number {number}", node.kind);
        }
        n += 1;
    });
    assert_eq!(view.nodes(), 0..n);
    for n in view.nodes() {
        let mut up = Some(n);
        let mut gone = false;
        while let Some(m) = up {
            gone |= removed.contains(&m);
            up = view.parent(m);
        }
        assert_eq!(view.is_removed(n), gone);
    }
}

/// One random write on both sides; gives the node.
fn write(view: &mut View<'_>, request: &mut Request, removed: &mut Vec<u32>, rng: &mut Rng) -> u32 {
    let nodes = view.nodes().end;
    let n = rng.below(nodes as usize) as u32;
    let key = *rng.pick(&KEYS);
    let value = test_kit::any(rng, 2);
    let encoded = value.encode_to_vec();
    let text = test_kit::text(rng);
    let i = rng.below(8);
    let bits = rng.bits();
    let op = rng.below(12);
    // Where a value is copied from.
    let from = rng.below(nodes as usize) as u32;
    let copied = (i < view.attrs(from)).then(|| decode(view.value(from, i)));
    match op {
        0 | 1 => view.put(n, key.as_bytes(), NewValue::Encoded(&encoded)),
        2 => view.put(n, key.as_bytes(), NewValue::Str(text.as_bytes())),
        3 => view.set(n, i, NewValue::Encoded(&encoded)),
        4 => view.remove(n, i),
        5 => view.retain(n, |k, _| (k.len() as u64) & 1 == bits & 1),
        6 => view.copy_value((from, i), n, key.as_bytes()),
        7 => view.rename(n, i, key.as_bytes()),
        8 => view.set_body(n, NewValue::Encoded(&encoded)),
        9 | 10 => {}
        _ if rng.chance(30) => {
            view.remove_node(n);
            removed.push(n);
        }
        _ => {}
    }
    let mut id = 0;
    let mut field_edits = Vec::new();
    naive::visit(request, &mut |node| {
        if id == n {
            let at = node.attrs.iter().position(|kv| kv.key == key);
            let put = |attrs: &mut Vec<KeyValue>, value: AnyValue| match at {
                Some(at) => attrs[at].value = Some(value),
                None => attrs.push(KeyValue {
                    key: key.into(),
                    value: Some(value),
                    ..KeyValue::default()
                }),
            };
            let Node {
                attrs,
                body,
                mut texts,
                mut numbers,
                ..
            } = node;
            match op {
                0 | 1 => put(attrs, value.clone()),
                2 => {
                    let value =
                        opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text.clone());
                    put(attrs, AnyValue { value: Some(value) });
                }
                3 if i < attrs.len() => attrs[i].value = Some(value.clone()),
                4 if i < attrs.len() => {
                    attrs.swap_remove(i);
                }
                5 => attrs.retain(|kv| (kv.key.len() as u64) & 1 == bits & 1),
                6 => {
                    if let Some(value) = copied.clone() {
                        put(attrs, value);
                    }
                }
                7 if i < attrs.len() => attrs[i].key = key.into(),
                8 => {
                    if let Some(body) = body {
                        *body = Some(value.clone());
                    }
                }
                9 if !texts.is_empty() => {
                    let (number, slot) = texts.swap_remove(i % texts.len());
                    *slot = text.clone();
                    field_edits.push((number, None));
                }
                10 if !numbers.is_empty() => {
                    let (number, mut slot) = numbers.swap_remove(i % numbers.len());
                    slot.set(bits);
                    field_edits.push((number, Some(slot.get())));
                }
                _ => {}
            }
        }
        id += 1;
    });
    for (number, value) in field_edits {
        match value {
            None => view.set_text(n, number, text.as_bytes()),
            Some(value) => view.set_number(n, number, value),
        }
    }
    n
}

fn run(seed: u64) {
    let rng = &mut Rng(seed);
    let signal = *rng.pick(&SIGNALS);
    let mut request = Request::random(signal, rng);
    let mut bytes = request.encode();
    if rng.chance(60) {
        let unknown = rng.chance(50);
        bytes = disguise(signal, &bytes, unknown, rng);
        assert_eq!(Request::decode(signal, &bytes).unwrap(), request);
    }
    let mut scratch = Scratch::default();
    // A used scratch must not be seen.
    View::new(&mut scratch, signal, &bytes, Depth::Record)
        .unwrap()
        .finish();
    let mut view = View::new(&mut scratch, signal, &bytes, Depth::All).unwrap();
    assert_same(&view, &mut request, &[]);
    let mut removed = Vec::new();
    let mut touched = Vec::new();
    if view.nodes().end > 0 {
        for _ in 0..rng.below(12) {
            touched.push(write(&mut view, &mut request, &mut removed, rng));
        }
    }
    assert_same(&view, &mut request, &removed);
    // Records that nobody wrote to leave byte for byte, in their order.
    let untouched: Vec<&[u8]> = view
        .nodes()
        .filter(|&n| view.kind(n).is_item() || view.kind(n) == Kind::Metric)
        .filter(|&n| (n..view.subtree_end(n)).all(|m| !touched.contains(&m) && !view.is_removed(m)))
        .filter(|&n| view.parent(n).is_none_or(|p| view.kind(p) != Kind::Metric))
        .map(|n| view.raw(n))
        .collect();
    let edited = view.is_edited();
    naive::prune(&mut request, &removed);
    match view.finish() {
        Finished::Unchanged => assert!(!edited),
        Finished::Edited { bytes: out, items } => {
            assert!(edited);
            assert_eq!(items, naive::items(&mut request));
            let mut got = Request::decode(signal, &out).unwrap();
            naive::fill_values(&mut got);
            naive::fill_values(&mut request);
            assert_eq!(got, request);
            let mut pos = 0;
            for raw in untouched {
                let at = memchr::memmem::find(&out[pos..], raw).expect("an untouched record is there");
                pos += at + raw.len();
            }
            crate::validate(signal, &out, &crate::Limits::default()).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn programs_do_the_same_as_on_prost_types(seed: u64) {
        run(seed);
    }

    #[test]
    fn every_depth_shows_the_same_nodes(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = *rng.pick(&SIGNALS);
        let mut request = Request::random(signal, rng);
        let bytes = disguise(signal, &request.encode(), true, rng);
        for depth in [Depth::None, Depth::Resource, Depth::Scope, Depth::Record, Depth::All] {
            let mut kinds = Vec::new();
            naive::visit(&mut request, &mut |node| {
                let shown = match node.kind {
                    Kind::Resource => Depth::Resource,
                    Kind::Scope => Depth::Scope,
                    Kind::Event | Kind::Link | Kind::Exemplar => Depth::All,
                    _ => Depth::Record,
                };
                if shown <= depth {
                    kinds.push((node.kind, node.attrs.len()));
                }
            });
            let mut scratch = Scratch::default();
            let view = View::new(&mut scratch, signal, &bytes, depth).unwrap();
            let seen: Vec<_> = view.nodes().map(|n| (view.kind(n), view.attrs(n))).collect();
            prop_assert_eq!(&seen, &kinds);
            // Groups know their items however deep the index goes, and lose them when they go.
            let items: u32 = view.nodes().filter(|&n| view.parent(n).is_none()).map(|n| view.items(n)).sum();
            if depth > Depth::None {
                prop_assert_eq!(items, naive::items(&mut request));
                let mut scratch = Scratch::default();
                let mut view = View::new(&mut scratch, signal, &bytes, depth).unwrap();
                if view.nodes().end > 0 {
                    let gone = view.items(0);
                    view.remove_node(0);
                    let Finished::Edited { items: left, .. } = view.finish() else {
                        panic!("a removal is an edit");
                    };
                    prop_assert_eq!(left + gone, items);
                }
            }
        }
    }

    #[test]
    fn offsets_lead_back_to_what_lies_there(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = *rng.pick(&SIGNALS);
        let request = Request::random(signal, rng);
        let bytes = disguise(signal, &request.encode(), true, rng);
        let mut scratch = Scratch::default();
        let view = View::new(&mut scratch, signal, &bytes, Depth::All).unwrap();
        for n in view.nodes() {
            let mut parts = vec![Part::Body];
            for i in 0..view.attrs(n) {
                parts.extend([Part::AttrKey(i), Part::AttrValue(i)]);
            }
            for part in parts {
                let Some(extent) = view.extent(n, part).filter(|e| !e.is_empty()) else { continue };
                prop_assert_eq!(view.locate(extent.start), Some((n, part)));
                prop_assert_eq!(view.locate(extent.end - 1), Some((n, part)));
                // A range that begins before it and ends in it finds it last.
                let mut last = None;
                let before = extent.start.saturating_sub(rng.below(24));
                view.locate_range(before..extent.start + 1, |n, part| last = Some((n, part)));
                prop_assert_eq!(last, Some((n, part)));
            }
        }
        view.locate_range(0..bytes.len() + 9, |_, _| {});
    }

    /// What is turned away before it is indexed is what would have been removed afterwards.
    #[test]
    fn sifting_is_removing(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = *rng.pick(&SIGNALS);
        let bytes = Request::random(signal, rng).encode();
        let share = [0, 30, 90, 100][rng.below(4)];
        let mut asked = Vec::new();
        let (mut first, mut second) = (Scratch::default(), Scratch::default());
        let mut sifted = View::sifted(&mut first, signal, &bytes, Depth::All, |record| {
            asked.push((record.to_vec(), rng.chance(share)));
            asked[asked.len() - 1].1
        }).unwrap();
        let mut whole = View::new(&mut second, signal, &bytes, Depth::All).unwrap();
        let records: Vec<_> = whole.nodes()
            .filter(|&n| matches!(whole.kind(n), Kind::LogRecord | Kind::Span))
            .collect();
        prop_assert!(records.iter().map(|&n| whole.raw(n)).eq(asked.iter().map(|(raw, _)| raw.as_slice())));
        for (&n, (_, passes)) in records.iter().zip(&asked) {
            if !passes {
                whole.remove_node(n);
            }
        }
        let live = |view: &View<'_>| -> Vec<_> {
            let live = view.nodes().filter(|&n| !view.is_removed(n));
            live.map(|n| (view.kind(n), view.raw(n).to_vec(), view.attrs(n), view.items(n))).collect()
        };
        prop_assert_eq!(live(&sifted), live(&whole));
        for view in [&mut sifted, &mut whole] {
            let left = view.nodes().find(|&n| view.kind(n).is_item() && !view.is_removed(n));
            if let Some(n) = left {
                view.put(n, b"k", NewValue::Int(7));
            }
        }
        prop_assert_eq!(sifted.finish(), whole.finish());
    }

    /// A glance at a record's bytes finds what its index does.
    #[test]
    fn a_glance_sees_what_a_view_does(seed: u64) {
        let rng = &mut Rng(seed);
        let (signal, kind, texts) = *rng.pick(&[
            (Signal::Logs, Kind::LogRecord, [9, 3]),
            (Signal::Traces, Kind::Span, [1, 3]),
        ]);
        let mut bytes = Request::random(signal, rng).encode();
        if rng.chance(50) {
            bytes = crate::normalize(signal, &disguise(signal, &bytes, true, rng), false).unwrap();
        }
        let glance = Glance::new(signal, kind, &texts, KEYS.iter().map(|key| key.as_bytes().to_vec()).collect());
        let mut scratch = Scratch::default();
        let view = View::new(&mut scratch, signal, &bytes, Depth::Record).unwrap();
        for n in view.nodes().filter(|&n| view.kind(n) == kind) {
            let (mut found, mut values) = ([&b"old"[..]; 2], [Some(Value::new(b"old")); KEYS.len()]);
            glance.look(view.raw(n), &mut found, &mut values).unwrap();
            prop_assert_eq!(found, texts.map(|number| view.text(n, number)));
            prop_assert_eq!(values, KEYS.map(|key| view.get(n, key.as_bytes())));
        }
    }

    #[test]
    fn rubbish_never_panics(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = *rng.pick(&SIGNALS);
        let mut bytes = Request::random(signal, rng).encode();
        super::validate::mutate(&mut bytes, rng);
        let mut scratch = Scratch::default();
        if let Ok(mut view) = View::new(&mut scratch, signal, &bytes, Depth::All) {
            let mut out = Vec::new();
            for n in view.nodes() {
                for i in 0..view.attrs(n) {
                    view.value(n, i).as_string(&mut out);
                }
                if let Some(body) = view.body(n) {
                    body.as_string(&mut out);
                }
            }
            for _ in 0..6 {
                let nodes = view.nodes().end as usize;
                if nodes == 0 {
                    break;
                }
                let n = rng.below(nodes) as u32;
                match rng.below(6) {
                    0 => view.put(n, b"a", NewValue::Int(5)),
                    1 => view.remove(n, 0),
                    2 => view.set_text(n, rng.below(17) as u32, b"x"),
                    3 => view.set_number(n, rng.below(17) as u32, 9),
                    4 => view.set_body(n, NewValue::Bool(true)),
                    _ => view.remove_node(n),
                }
            }
            view.locate_range(0..bytes.len(), |_, _| {});
            view.finish();
        }
    }
}

#[test]
fn a_group_without_resource_gets_one() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs::default()],
    };
    let bytes = request.encode_to_vec();
    let mut scratch = Scratch::default();
    let mut view = View::new(&mut scratch, Signal::Logs, &bytes, Depth::Resource).unwrap();
    view.put(0, b"k", NewValue::Str(b"v"));
    view.set_number(0, 2, 7);
    let Finished::Edited { bytes, items: 0 } = view.finish() else {
        panic!("a write is an edit");
    };
    let got = ExportLogsServiceRequest::decode(&*bytes).unwrap();
    let resource = got.resource_logs[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes[0].key, "k");
    assert_eq!(resource.dropped_attributes_count, 7);
}

#[test]
fn many_appends_to_two_maps_stay_apart() {
    let mut rng = Rng(11);
    let mut request = Request::random(Signal::Traces, &mut rng);
    while naive::items(&mut request) == 0 {
        request = Request::random(Signal::Traces, &mut rng);
    }
    let bytes = request.encode();
    let mut scratch = Scratch::default();
    let mut view = View::new(&mut scratch, Signal::Traces, &bytes, Depth::All).unwrap();
    let before = (view.attrs(0), view.attrs(1));
    for i in 0..300u32 {
        let key = format!("n{i}");
        view.put(i & 1, key.as_bytes(), NewValue::Int(i64::from(i)));
    }
    assert_eq!((view.attrs(0), view.attrs(1)), (before.0 + 150, before.1 + 150));
    for i in 0..300u32 {
        let value = view.get(i & 1, format!("n{i}").as_bytes()).unwrap();
        assert!(matches!(value.any(), crate::view::Any::Int(v) if v == i64::from(i)));
    }
}

#[test]
fn an_odd_entry_that_gets_its_own_value_back_is_whole() {
    // Its length is in long form, so the entry does not lie where it would if we had written it.
    let entry = [0x32, 0x88, 0x00, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v'];
    let other = [0x32, 5, 0x0a, 1, b'j', 0x12, 0];
    let mut bytes = [&entry[..], &other].concat();
    for number in [2, 2, 1] {
        let mut out = Vec::new();
        crate::field::write_header(number, bytes.len(), &mut out);
        out.append(&mut bytes);
        bytes = out;
    }
    let mut scratch = Scratch::default();
    let mut view = View::new(&mut scratch, Signal::Logs, &bytes, Depth::Record).unwrap();
    view.copy_value((2, 0), 2, b"j");
    view.copy_value((2, 1), 2, b"k");
    view.remove(2, 1);
    let Finished::Edited { bytes: out, .. } = view.finish() else {
        panic!("a write is an edit");
    };
    assert!(out.ends_with(&entry));
}

/// A metric whose data ends where it ends itself: a number appended to the one, an attribute to the other.
#[test]
fn what_is_appended_to_a_frame_stays_in_it() {
    run(8_964_440_080_506_872_448);
}

#[test]
fn messages_lists_and_cleared_numbers_are_written() {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1 as m;

    let point = m::ExponentialHistogramDataPoint {
        count: 7,
        scale: 3,
        positive: Some(m::exponential_histogram_data_point::Buckets {
            offset: 1,
            bucket_counts: vec![1, 2],
        }),
        ..Default::default()
    };
    let number = m::NumberDataPoint {
        value: Some(m::number_data_point::Value::AsDouble(0.0)),
        ..Default::default()
    };
    let histogram = m::HistogramDataPoint {
        bucket_counts: vec![1, 2, 300],
        explicit_bounds: vec![0.5],
        ..Default::default()
    };
    let metric = |data| m::Metric {
        data: Some(data),
        ..Default::default()
    };
    let mut request = ExportMetricsServiceRequest {
        resource_metrics: vec![m::ResourceMetrics {
            scope_metrics: vec![m::ScopeMetrics {
                metrics: vec![
                    metric(m::metric::Data::ExponentialHistogram(m::ExponentialHistogram {
                        data_points: vec![point],
                        ..Default::default()
                    })),
                    metric(m::metric::Data::Gauge(m::Gauge {
                        data_points: vec![number],
                    })),
                    metric(m::metric::Data::Histogram(m::Histogram {
                        data_points: vec![histogram],
                        ..Default::default()
                    })),
                ],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let bytes = request.encode_to_vec();
    let mut scratch = Scratch::default();
    let mut view = View::new(&mut scratch, Signal::Metrics, &bytes, Depth::Record).unwrap();
    let of = |view: &View<'_>, kind| view.nodes().find(|n| view.kind(*n) == kind).unwrap();
    let (exp, gauge, histogram) = (
        of(&view, Kind::ExpHistogramPoint),
        of(&view, Kind::NumberPoint),
        of(&view, Kind::HistogramPoint),
    );
    let buckets = m::exponential_histogram_data_point::Buckets {
        offset: -4,
        bucket_counts: vec![9],
    };
    assert_eq!(view.text(exp, 8), [8, 2, 18, 2, 1, 2]);
    view.set_content(exp, 8, &buckets.encode_to_vec());
    assert_eq!(view.text(exp, 8), buckets.encode_to_vec());
    view.clear_number(exp, 4);
    assert_eq!(view.number(exp, 4), None);
    // Written once more, it is there again.
    view.clear_number(exp, 6);
    view.set_number(exp, 6, 2);
    assert_eq!(view.number(gauge, 4), Some(0));
    view.clear_number(gauge, 4);
    view.set_number(gauge, 6, 5);
    assert_eq!((view.number(gauge, 4), view.number(gauge, 6)), (None, Some(5)));
    assert_eq!(view.text(histogram, 6).len(), 24);
    view.set_content(histogram, 6, &7u64.to_le_bytes());
    view.set_content(histogram, 7, &[]);
    // Neither nodes nor attributes are written so, nor what does not exist.
    view.set_content(histogram, 8, b"x");
    view.set_content(histogram, 9, b"x");
    view.set_content(histogram, 16, b"x");
    view.clear_number(histogram, 9);
    let Finished::Edited { bytes, items } = view.finish() else {
        panic!("it was edited");
    };
    assert_eq!(items, 3);
    let metrics = &mut request.resource_metrics[0].scope_metrics[0].metrics;
    if let Some(m::metric::Data::ExponentialHistogram(e)) = &mut metrics[0].data {
        e.data_points[0].positive = Some(buckets);
        e.data_points[0].count = 0;
        e.data_points[0].scale = 1;
    }
    if let Some(m::metric::Data::Gauge(g)) = &mut metrics[1].data {
        g.data_points[0].value = Some(m::number_data_point::Value::AsInt(5));
    }
    if let Some(m::metric::Data::Histogram(h)) = &mut metrics[2].data {
        h.data_points[0].bucket_counts = vec![7];
        h.data_points[0].explicit_bounds = vec![];
    }
    assert_eq!(ExportMetricsServiceRequest::decode(&*bytes).unwrap(), request);
}
