//! Connector `tenant`: sends each tenant's records to the pipelines that are given for it.
//!
//! In: payloads in which processor `tenant` has named whose each chunk is. Out: the same chunks, whole, each to the
//! pipelines of its tenant, all others to the default ones. Nothing is read and nothing copied. What no list names is
//! dropped, and booked under `tenant_unrouted`.

use std::collections::BTreeMap;

use component::prelude::*;
use component::template::is_tenant_name;
use config::PipelineId;

/// `tenant`.
pub static FACTORY: ConnectorFactory = ConnectorFactory {
    kind: "tenant",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Signal::Logs, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    build: |section, _, joint| Ok(Connector::Plain(Arc::new(Switch::new(section, joint)?))),
};

/// `tenant`: which tenant goes where. A list may name pipelines of several signals; those of the signal count.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// By tenant: each of these pipelines gets all that is its.
    pub pipelines: BTreeMap<String, Vec<PipelineId>>,
    /// For tenants without pipelines of the signal, and for what has no tenant. Default none: it is dropped.
    pub default_pipelines: Vec<PipelineId>,
}

const UNROUTED: &str = "tenant_unrouted";

struct Switch {
    /// Places among the ways.
    tenants: BTreeMap<String, Vec<usize>>,
    others: Vec<usize>,
    ways: Arc<dyn Ways>,
    books: Books,
}

impl Switch {
    fn new(section: Section, joint: Joint) -> Result<Switch, Fault> {
        let config: Config = section.clone().parse()?;
        let places = |key: &str, ids: &[PipelineId]| {
            let of_signal = ids.iter().filter(|id| id.signal == joint.to.as_str());
            let place = |id: &PipelineId| {
                let at = joint.ways.pipelines().iter().position(|known| known == id);
                let text = || format!("pipeline \"{id}\" does not have this connector as a receiver");
                at.ok_or_else(|| Fault::from(section.fault(key, text())))
            };
            let mut places = of_signal.map(place).collect::<Result<Vec<usize>, Fault>>()?;
            places.sort_unstable();
            places.dedup();
            Ok::<_, Fault>(places)
        };
        let mut tenants = BTreeMap::new();
        for (name, ids) in &config.pipelines {
            let key = format!("pipelines.{name}");
            if !is_tenant_name(name) {
                return Err(section
                    .fault(&key, format!("{name:?} cannot be a tenant's name"))
                    .into());
            }
            tenants.insert(name.clone(), places(&key, ids)?);
        }
        tenants.retain(|_, places| !places.is_empty());
        Ok(Switch {
            tenants,
            others: places("default_pipelines", &config.default_pipelines)?,
            ways: joint.ways,
            books: joint.books,
        })
    }

    fn places(&self, tenant: Option<&Arc<str>>) -> &[usize] {
        tenant
            .and_then(|name| self.tenants.get(&**name))
            .unwrap_or(&self.others)
    }
}

impl Consumer for Switch {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let Payload {
                signal,
                chunks,
                context,
                ..
            } = payload;
            let mut parts: BTreeMap<usize, Payload> = BTreeMap::new();
            // Items by what is booked about them once the answer is yes: dropped, or made.
            let (mut dropped, mut copied) = (Vec::new(), Vec::new());
            for chunk in chunks {
                let (tenant, items) = (chunk.origin.tenant.clone(), u64::from(chunk.shape.items));
                let places = self.places(tenant.as_ref());
                match places.len() {
                    0 => dropped.push((tenant, items)),
                    1 => {}
                    n => copied.push((tenant, items * (n as u64 - 1))),
                }
                for at in places {
                    let part = parts.entry(*at).or_insert_with(|| Payload {
                        signal,
                        chunks: Vec::new(),
                        items: 0,
                        context: context.clone(),
                    });
                    part.items += items as usize;
                    part.chunks.push(chunk.clone());
                }
            }
            let outcome = match parts.is_empty() {
                true => Outcome::all(),
                false => self.ways.send(parts.into_iter().collect()).await?,
            };
            for (tenant, items) in dropped {
                self.books.dropped(UNROUTED, tenant.as_ref(), items);
            }
            for (tenant, items) in copied {
                self.books.created(tenant.as_ref(), items);
            }
            Ok(outcome)
        })
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::{Branches, books, context, faults, section, totals};
    use telemetry::Column;
    use wire::Shape as Items;

    use super::*;

    component::component_tests!(FACTORY);

    const PIPELINES: &[&str] = &["logs/a", "logs/b", "logs/rest"];

    fn payload(tenants: &[(Option<&str>, u32)]) -> Payload {
        let chunk = |(tenant, items): &(Option<&str>, u32)| {
            let shape = Items {
                items: *items,
                ..Items::default()
            };
            let mut chunk = Chunk::new("x".into(), shape);
            chunk.origin.tenant = tenant.map(Into::into);
            chunk
        };
        Payload {
            signal: Signal::Logs,
            chunks: tenants.iter().map(chunk).collect(),
            items: tenants.iter().map(|(_, items)| *items as usize).sum(),
            context: Arc::default(),
        }
    }

    #[tokio::test]
    async fn each_tenant_goes_its_way() {
        let check = async |yaml: &str, expected: [&str; 3], dropped: u64, created: u64| {
            let cx = context("tenant");
            let ways = Branches::new(PIPELINES);
            let joint = ways.joint(&cx.telemetry, Signal::Logs, Signal::Logs);
            let Ok(Connector::Plain(switch)) = (FACTORY.build)(section(yaml), &cx, joint) else {
                panic!("{yaml}");
            };
            let all = payload(&[
                (Some("a"), 1),
                (Some("b"), 2),
                (None, 4),
                (Some("a"), 8),
                (Some("c"), 16),
            ]);
            assert_eq!(switch.consume(all).await, Ok(Outcome::all()));
            for (pipeline, expected) in PIPELINES.iter().zip(expected) {
                let taken = ways.sink(pipeline).taken();
                let chunks = taken.iter().flat_map(|p| {
                    assert_eq!(
                        p.items,
                        p.chunks.iter().map(|c| c.shape.items as usize).sum::<usize>()
                    );
                    p.chunks.iter().map(|c| c.shape.items.to_string())
                });
                assert_eq!(
                    chunks.collect::<Vec<_>>().join(" "),
                    expected,
                    "{yaml}: {pipeline}"
                );
            }
            let totals = totals(&cx.telemetry, "connector", Signal::Logs);
            assert_eq!(totals.dropped.get(UNROUTED).copied().unwrap_or(0), dropped);
            assert_eq!(totals.get(Column::Created), created);
            let _ = books(&cx.telemetry, "connector", Signal::Logs);
        };
        let rest = "default_pipelines: [logs/rest]";
        check(
            &format!("{{pipelines: {{a: [logs/a], b: [logs/b]}}, {rest}}}"),
            ["1 8", "2", "4 16"],
            0,
            0,
        )
        .await;
        check(
            "{pipelines: {a: [logs/a, logs/b, logs/b]}}",
            ["1 8", "1 8", ""],
            22,
            9,
        )
        .await;
        check(
            &format!("{{pipelines: {{a: [traces/a]}}, {rest}}}"),
            ["", "", "1 2 4 8 16"],
            0,
            0,
        )
        .await;
        check("{}", ["", "", ""], 31, 0).await;
    }

    #[tokio::test]
    async fn a_refusal_leaves_no_trace_in_the_books() {
        let cx = context("tenant");
        let ways = Branches::new(PIPELINES);
        ways.sink("logs/a")
            .refuse(Some(Refusal::Busy { retry_after: None }));
        let joint = ways.joint(&cx.telemetry, Signal::Logs, Signal::Logs);
        let yaml = "{pipelines: {a: [logs/a, logs/b]}}";
        let Ok(Connector::Plain(switch)) = (FACTORY.build)(section(yaml), &cx, joint) else {
            panic!("{yaml}");
        };
        let refusal = switch.consume(payload(&[(Some("a"), 1), (None, 4)])).await;
        assert_eq!(refusal, Err(Refusal::Busy { retry_after: None }));
        let totals = totals(&cx.telemetry, "connector", Signal::Logs);
        assert_eq!((totals.dropped_all(), totals.get(Column::Created)), (0, 0));
    }

    #[test]
    fn faults_name_the_pipeline() {
        let check = |yaml: &str, expected: &str| {
            let cx = context("tenant");
            let joint = Branches::new(PIPELINES).joint(&cx.telemetry, Signal::Logs, Signal::Logs);
            let told = faults((FACTORY.build)(section(yaml), &cx, joint).map(|_| ()));
            assert!(told.contains(expected), "{yaml}: {told}");
        };
        check(
            "pipelines: {a: [logs/x]}",
            "pipeline \"logs/x\" does not have this connector",
        );
        check(
            "default_pipelines: [logs/x]",
            "pipeline \"logs/x\" does not have this connector",
        );
        check("pipelines: {a/b: [logs/a]}", "cannot be a tenant's name");
        check("pipelines: {a: [nonsense]}", "nonsense");
    }
}
