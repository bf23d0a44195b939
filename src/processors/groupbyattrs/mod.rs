//! Processor `groupbyattrs`: moves attributes of items to their resources, and items under the resources that result.
//!
//! Keys, defaults, results and metrics are those of the collector's processor (contrib 0.155). Without keys it compacts:
//! equal resources, scopes and metrics of one request become one. What a group-by cannot keep is lost as it is there:
//! schema URLs, `dropped_attributes_count` of resources, headers of what was merged into another. Items of different
//! tenants never meet.

mod regroup;

use bytes::Bytes;
use component::prelude::*;
use parking_lot::Mutex;
use telemetry::{Counter, Histogram};
use wire::Origin;
use wire::view::{Depth, Scratch, View};

use regroup::{HEADER_BYTES_MAX, regroup};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "groupbyattrs",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, signal| {
        let config: Config = section.parse()?;
        Ok(Processor::Reshape(Arc::new(GroupByAttrs::new(
            &config, cx, signal,
        ))))
    },
};

/// `groupbyattrs`: which attributes are moved.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keys of attributes that items are grouped by. Empty ones are ignored. Default none: what is equal is merged.
    pub keys: Vec<String>,
}

struct GroupByAttrs {
    keys: Vec<Box<[u8]>>,
    grouped: Counter,
    plain: Counter,
    groups: Histogram,
    /// Memory of views, for calls that run at the same time.
    pool: Mutex<Vec<Scratch>>,
}

impl GroupByAttrs {
    fn new(config: &Config, cx: &BuildContext, signal: Signal) -> GroupByAttrs {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        for key in config.keys.iter().filter(|key| !key.is_empty()) {
            if keys.iter().any(|known| **known == *key.as_bytes()) {
                tracing::warn!(component = %cx.id, key, "a grouping key is named twice");
            } else {
                keys.push(key.as_bytes().into());
            }
        }
        let [grouped, plain, groups] = match signal {
            Signal::Traces => [
                "otelcol_processor_groupbyattrs_num_grouped_spans",
                "otelcol_processor_groupbyattrs_num_non_grouped_spans",
                "otelcol_processor_groupbyattrs_span_groups",
            ],
            Signal::Metrics => [
                "otelcol_processor_groupbyattrs_num_grouped_metrics",
                "otelcol_processor_groupbyattrs_num_non_grouped_metrics",
                "otelcol_processor_groupbyattrs_metric_groups",
            ],
            Signal::Logs | Signal::Profiles => [
                "otelcol_processor_groupbyattrs_num_grouped_logs",
                "otelcol_processor_groupbyattrs_num_non_grouped_logs",
                "otelcol_processor_groupbyattrs_log_groups",
            ],
        };
        let metrics = &cx.telemetry.metrics;
        let labels = || vec![("processor", cx.id.to_string())];
        GroupByAttrs {
            keys,
            grouped: metrics.counter(grouped, labels()),
            plain: metrics.counter(plain, labels()),
            groups: metrics.histogram(groups, labels()),
            pool: Mutex::default(),
        }
    }

    /// Each owner's chunks become one. What holds no item stays as it is.
    fn run(&self, mut payload: Payload) -> Result<Payload, Refusal> {
        let mut owners: Vec<Vec<Chunk>> = Vec::new();
        for chunk in payload.chunks {
            let is_owner = |known: &&mut Vec<Chunk>| is_same(&known[0].origin, &chunk.origin);
            match owners.iter_mut().find(is_owner) {
                Some(known) => known.push(chunk),
                None => owners.push(vec![chunk]),
            }
        }
        payload.chunks = Vec::with_capacity(owners.len());
        for chunks in owners {
            if chunks.iter().all(|c| c.shape.items == 0) {
                payload.chunks.extend(chunks);
            } else {
                payload.chunks.push(self.regroup(payload.signal, chunks)?);
            }
        }
        Ok(payload)
    }

    /// The chunks of one owner as one chunk.
    fn regroup(&self, signal: Signal, chunks: Vec<Chunk>) -> Result<Chunk, Refusal> {
        let mut whole = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            whole.push(match chunk.shape.non_canonical {
                true => wire::normalize(signal, &chunk.bytes(), false)
                    .map_err(malformed)?
                    .into(),
                false => chunk.bytes(),
            });
        }
        let mut scratches: Vec<Scratch> = {
            let mut pool = self.pool.lock();
            whole.iter().map(|_| pool.pop().unwrap_or_default()).collect()
        };
        let done = self.views(signal, &whole, &mut scratches);
        self.pool.lock().append(&mut scratches);
        let done = done?;
        self.grouped.add(done.grouped);
        self.plain.add(done.plain);
        self.groups.observe(done.groups as f64);
        let mut shape = wire::Shape {
            items: (done.grouped + done.plain) as u32,
            ..wire::Shape::default()
        };
        shape.unknown_fields = chunks.iter().any(|c| c.shape.unknown_fields);
        let mut chunk = Chunk::new(Bytes::from(done.bytes), shape);
        chunk.origin = chunks.into_iter().next().map(|c| c.origin).unwrap_or_default();
        Ok(chunk)
    }

    fn views(
        &self,
        signal: Signal,
        whole: &[Bytes],
        scratches: &mut [Scratch],
    ) -> Result<regroup::Regrouped, Refusal> {
        let views = scratches.iter_mut().zip(whole);
        let views = views.map(|(scratch, bytes)| View::new(scratch, signal, bytes, Depth::Record));
        let views = views.collect::<Result<Vec<_>, _>>().map_err(malformed)?;
        regroup(signal, &self.keys, &views).ok_or_else(|| {
            let mib = HEADER_BYTES_MAX >> 20;
            Refusal::Invalid(format!(
                "groupbyattrs: resources and scopes of one request pass {mib} MiB"
            ))
        })
    }
}

impl Reshape for GroupByAttrs {
    fn reshape(&self, payload: Payload, _cx: &mut ReshapeCx) -> Result<Payload, Refusal> {
        self.run(payload)
    }
}

fn is_same(a: &Origin, b: &Origin) -> bool {
    (a.slot, &a.tenant) == (b.slot, &b.tenant)
}

fn malformed(error: wire::Malformed) -> Refusal {
    Refusal::Invalid(error.to_string())
}

#[cfg(test)]
mod tests;
