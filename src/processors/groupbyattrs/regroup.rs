//! Items under the resources, scopes and metrics where they belong.
//!
//! In: views of the chunks of one owner, and keys. Out: one request. Items that had none of the keys are slices of what
//! came; of the others only the attribute list is written again. Equal resources become one (whatever the order of their
//! attributes), scopes of one name and version become one, metrics of one name and type too; of each the first one's
//! header stays. Everything stands where it first appeared.

use std::collections::HashMap;

use wire::field::{Fields, LEN};
use wire::otlp::{self, NodeKind, Role};
use wire::view::identity::{self, Order};
use wire::view::{Kind, NodeId, Value, View};
use wire::{Signal, write};

/// What came out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Regrouped {
    /// The request.
    pub(super) bytes: Vec<u8>,
    /// Resources in it.
    pub(super) groups: usize,
    /// Items that had a key.
    pub(super) grouped: u64,
    /// Items that had none.
    pub(super) plain: u64,
}

/// Most bytes of headers (resources, scopes, metrics without their points) that one request may come to. Each item may
/// get headers of its own, so they are what can grow.
pub(super) const HEADER_BYTES_MAX: usize = 256 << 20;

/// A node of one of the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct At {
    view: u32,
    node: NodeId,
}

struct Group<'v> {
    attributes: Vec<(&'v [u8], Value<'v>)>,
    scopes: Vec<Scope>,
}

struct Scope {
    first: At,
    /// Log records or spans.
    items: Vec<Item>,
    metrics: Vec<Metric>,
}

struct Metric {
    first: At,
    points: Vec<Item>,
}

struct Item {
    at: At,
    /// Whether it had a key, so that its attributes are written again.
    had: bool,
}

/// Regroups everything that the views hold. `None` if the headers would pass [`HEADER_BYTES_MAX`].
pub(super) fn regroup(signal: Signal, keys: &[Box<[u8]>], views: &[View<'_>]) -> Option<Regrouped> {
    let mut plan = Plan {
        keys,
        views,
        groups: Vec::new(),
        header_bytes: 0,
        done: Regrouped::default(),
        by_source: HashMap::new(),
        by_content: HashMap::new(),
        scopes: HashMap::new(),
        scopes_by_name: HashMap::new(),
        metrics: HashMap::new(),
        metrics_by_name: HashMap::new(),
        order: Order::default(),
        key: Vec::new(),
    };
    for (i, view) in views.iter().enumerate() {
        for node in view.nodes().filter(|&n| view.kind(n).is_item()) {
            plan.place(At { view: i as u32, node })?;
        }
    }
    let mut out =
        Vec::with_capacity(plan.header_bytes + views.iter().map(|v| v.bytes().len()).sum::<usize>());
    for group in &plan.groups {
        plan.write_group(signal, group, &mut out);
    }
    Some(Regrouped {
        bytes: out,
        groups: plan.groups.len(),
        ..plan.done
    })
}

struct Plan<'v> {
    keys: &'v [Box<[u8]>],
    views: &'v [View<'v>],
    groups: Vec<Group<'v>>,
    header_bytes: usize,
    done: Regrouped,
    /// By the resource an item came with and the values it brought.
    by_source: HashMap<Vec<u8>, usize>,
    /// By the attributes that come of both.
    by_content: HashMap<Vec<u8>, usize>,
    scopes: HashMap<(usize, At), usize>,
    scopes_by_name: HashMap<(usize, &'v [u8], &'v [u8]), usize>,
    metrics: HashMap<(usize, usize, At), usize>,
    metrics_by_name: HashMap<(usize, usize, &'v [u8], u32), usize>,
    order: Order,
    key: Vec<u8>,
}

impl<'v> Plan<'v> {
    fn view(&self, at: At) -> &'v View<'v> {
        &self.views[at.view as usize]
    }

    fn above(&self, at: At) -> At {
        let node = self.view(at).parent(at.node);
        At {
            node: node.expect("an item is in a scope, which is in a resource group"),
            ..at
        }
    }

    fn place(&mut self, at: At) -> Option<()> {
        let view = self.view(at);
        let above = self.above(at);
        let is_point = view.kind(above.node) == Kind::Metric;
        let scope = if is_point { self.above(above) } else { above };
        let resource = self.above(scope);
        let (group, had) = self.group(at, resource)?;
        let item = Item { at, had };
        let place = self.scope(group, scope);
        if is_point {
            let metric = self.metric(group, place, above);
            self.groups[group].scopes[place].metrics[metric].points.push(item);
        } else {
            self.groups[group].scopes[place].items.push(item);
        }
        *(if had {
            &mut self.done.grouped
        } else {
            &mut self.done.plain
        }) += 1;
        (self.header_bytes <= HEADER_BYTES_MAX).then_some(())
    }

    /// The group of an item, and whether it had a key.
    fn group(&mut self, at: At, resource: At) -> Option<(usize, bool)> {
        let view = self.view(at);
        let mut source = std::mem::take(&mut self.key);
        source.clear();
        source.extend_from_slice(&resource.view.to_le_bytes());
        source.extend_from_slice(&resource.node.to_le_bytes());
        let mut had = false;
        for key in self.keys {
            match view.get(at.node, key) {
                Some(value) => {
                    source.push(1);
                    identity::text(value.raw(), &mut source);
                    had = true;
                }
                None => source.push(0),
            }
        }
        if let Some(&known) = self.by_source.get(&source) {
            self.key = source;
            return Some((known, had));
        }
        let mut attributes: Vec<_> = {
            let view = self.view(resource);
            let all = 0..view.attrs(resource.node);
            all.map(|i| (view.key(resource.node, i), view.value(resource.node, i)))
                .collect()
        };
        for key in self.keys {
            if let Some(i) = view.find(at.node, key) {
                let (key, value) = (view.key(at.node, i), view.value(at.node, i));
                match attributes.iter_mut().find(|(k, _)| *k == key) {
                    Some(entry) => entry.1 = value,
                    None => attributes.push((key, value)),
                }
            }
        }
        let mut content = Vec::new();
        self.order
            .entries(attributes.len(), |i| attributes[i], &mut content);
        let next = self.groups.len();
        let group = *self.by_content.entry(content).or_insert(next);
        if group == next {
            let bytes = attributes.iter().map(|(k, v)| k.len() + v.raw().len() + 16);
            self.header_bytes += bytes.sum::<usize>() + 16;
            self.groups.push(Group {
                attributes,
                scopes: Vec::new(),
            });
        }
        self.by_source.insert(source, group);
        (self.header_bytes <= HEADER_BYTES_MAX).then_some((group, had))
    }

    fn scope(&mut self, group: usize, at: At) -> usize {
        if let Some(&known) = self.scopes.get(&(group, at)) {
            return known;
        }
        let view = self.view(at);
        let name = (group, view.text(at.node, 1), view.text(at.node, 2));
        let scopes = &mut self.groups[group].scopes;
        let next = scopes.len();
        let place = *self.scopes_by_name.entry(name).or_insert(next);
        if place == next {
            self.header_bytes += inner(view.raw(at.node)).len() + 16;
            scopes.push(Scope {
                first: at,
                items: Vec::new(),
                metrics: Vec::new(),
            });
        }
        self.scopes.insert((group, at), place);
        place
    }

    fn metric(&mut self, group: usize, scope: usize, at: At) -> usize {
        if let Some(&known) = self.metrics.get(&(group, scope, at)) {
            return known;
        }
        let view = self.view(at);
        let data = view.metric_data(at.node).unwrap_or(0);
        let name = (group, scope, view.text(at.node, 1), data);
        let metrics = &mut self.groups[group].scopes[scope].metrics;
        let next = metrics.len();
        let place = *self.metrics_by_name.entry(name).or_insert(next);
        if place == next {
            let fields = Fields::new(view.raw(at.node), 0).map_while(Result::ok);
            let header = fields.filter(|f| f.number != data).map(|f| f.end - f.start);
            self.header_bytes += header.sum::<usize>() + 32;
            metrics.push(Metric {
                first: at,
                points: Vec::new(),
            });
        }
        self.metrics.insert((group, scope, at), place);
        place
    }

    // --- writing ---

    fn write_group(&self, signal: Signal, group: &Group<'_>, out: &mut Vec<u8>) {
        write::message(1, out, |out| {
            write::message(1, out, |out| {
                for (key, value) in &group.attributes {
                    write::message(1, out, |out| {
                        write::bytes(1, key, out);
                        write::bytes(2, value.raw(), out);
                    });
                }
            });
            for scope in &group.scopes {
                write::message(otlp::SCOPES, out, |out| self.write_scope(signal, scope, out));
            }
        });
    }

    fn write_scope(&self, signal: Signal, scope: &Scope, out: &mut Vec<u8>) {
        write::bytes(1, inner(self.view(scope.first).raw(scope.first.node)), out);
        for item in &scope.items {
            self.write_item(signal, 2, item, out);
        }
        for metric in &scope.metrics {
            write::message(2, out, |out| self.write_metric(signal, metric, out));
        }
    }

    /// The metric's own fields in their order, and its data where it stood: points, then what is said of all.
    fn write_metric(&self, signal: Signal, metric: &Metric, out: &mut Vec<u8>) {
        let view = self.view(metric.first);
        let raw = view.raw(metric.first.node);
        let data = view.metric_data(metric.first.node);
        for field in Fields::new(raw, 0).map_while(Result::ok) {
            if Some(field.number) != data {
                out.extend_from_slice(&raw[field.start..field.end]);
                continue;
            }
            write::message(field.number, out, |out| {
                for point in &metric.points {
                    self.write_item(signal, 1, point, out);
                }
                let rest = Fields::new(&raw[..field.end], field.value).map_while(Result::ok);
                for field in rest.filter(|f| f.number != 1) {
                    out.extend_from_slice(&raw[field.start..field.end]);
                }
            });
        }
    }

    fn write_item(&self, signal: Signal, number: u32, item: &Item, out: &mut Vec<u8>) {
        let view = self.view(item.at);
        let raw = view.raw(item.at.node);
        if item.had {
            write::message(number, out, |out| {
                without(signal, view.kind(item.at.node), raw, self.keys, out);
            });
        } else {
            write::bytes(number, raw, out);
        }
    }
}

/// Content of field 1 of a group: its resource or scope; empty if there is none.
fn inner(group: &[u8]) -> &[u8] {
    let mut fields = Fields::new(group, 0).map_while(Result::ok);
    let found = fields.find(|f| f.number == 1 && f.wire == LEN);
    found.map_or(&[], |f| &group[f.value..f.end])
}

/// Appends a record without the attributes of these keys: the last one takes the place of each that goes, as in the
/// collector.
fn without(signal: Signal, kind: NodeKind, raw: &[u8], keys: &[Box<[u8]>], out: &mut Vec<u8>) {
    let list = otlp::node(signal, kind).with_role(Role::Attributes);
    let is_attribute = |f: &wire::field::Field| f.wire == LEN && list.is_some_and(|l| l.number == f.number);
    let fields = || Fields::new(raw, 0).map_while(Result::ok);
    let mut kept: Vec<_> = fields().filter(is_attribute).collect();
    for key in keys {
        let is_it = |f: &wire::field::Field| inner(&raw[f.value..f.end]) == &**key;
        if let Some(i) = kept.iter().position(is_it) {
            kept.swap_remove(i);
        }
    }
    let mut kept = Some(kept);
    for field in fields() {
        if !is_attribute(&field) {
            out.extend_from_slice(&raw[field.start..field.end]);
            continue;
        }
        for entry in kept.take().into_iter().flatten() {
            out.extend_from_slice(&raw[entry.start..entry.end]);
        }
    }
}
