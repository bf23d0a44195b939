//! Connector `failover`: sends to the first of several levels of pipelines that takes the data.
//!
//! In and out: whole payloads, unchanged. A level that refuses for now is passed over until `retry_interval` has gone by;
//! then one payload tries it again while the others keep to the level that works. Before a payload is refused all
//! levels have been asked. One that is refused for good is offered to the levels below too, but says nothing about the
//! level. Keys and defaults are those of the collector's connector; nothing is held.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use component::prelude::*;
use parking_lot::Mutex;
use tokio::time::Instant;

/// `failover`.
pub static FACTORY: ConnectorFactory = ConnectorFactory {
    kind: "failover",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Signal::Logs, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, joint| {
        let config: Config = section.clone().parse_valid()?;
        if config.retry_gap.is_some() || config.max_retries.is_some() {
            tracing::warn!(
                connector = %cx.id,
                "retry_gap and max_retries have no effect any more: a level is tried again each retry_interval"
            );
        }
        let levels = levels(&config, &section, &*joint.ways)?;
        Ok(Connector::Plain(Arc::new(Failover {
            id: cx.id.clone(),
            levels,
            retry_interval: config.retry_interval.0,
            ways: joint.ways,
            books: joint.books,
        })))
    },
};

/// `failover`: pipelines by priority.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Levels, the preferred one first, each with the pipelines that get the data. Required, at least one.
    pub priority_levels: Vec<Vec<String>>,
    /// How long a level that refused is passed over. Default 10m.
    pub retry_interval: Duration,
    /// No longer of use.
    pub retry_gap: Option<Duration>,
    /// No longer of use.
    pub max_retries: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            priority_levels: Vec::new(),
            retry_interval: Duration(std::time::Duration::from_secs(600)),
            retry_gap: None,
            max_retries: None,
        }
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        if self.priority_levels.is_empty() {
            let message = "no pipelines are defined in the priority list";
            faults.push(("priority_levels".into(), message.into()));
        }
        for (at, _) in self
            .priority_levels
            .iter()
            .enumerate()
            .filter(|(_, level)| level.is_empty())
        {
            faults.push((format!("priority_levels.{at}"), "a level needs a pipeline".into()));
        }
        if self.retry_interval.0.is_zero() {
            faults.push(("retry_interval".into(), "retry interval must be positive".into()));
        }
    }
}

/// Finds the pipelines of each level among those that are known.
fn levels(config: &Config, section: &Section, ways: &dyn Ways) -> Result<Vec<Level>, Fault> {
    let known = ways.pipelines();
    let mut faults = Vec::new();
    let mut levels = Vec::new();
    for (at, names) in config.priority_levels.iter().enumerate() {
        let mut level = Level::default();
        for (place, name) in names.iter().enumerate() {
            match known.iter().position(|id| id.to_string() == *name) {
                Some(way) if !level.ways.contains(&way) => level.ways.push(way),
                Some(_) => {}
                None if known.is_empty() => {}
                None => {
                    let key = format!("priority_levels.{at}.{place}");
                    let message = format!("\"{name}\" is no pipeline that this connector leads to");
                    faults.push(section.diag(&key, message));
                }
            }
        }
        levels.push(level);
    }
    config::Diags::check(faults)?;
    Ok(levels)
}

struct Failover {
    id: ComponentId,
    levels: Vec<Level>,
    retry_interval: std::time::Duration,
    ways: Arc<dyn Ways>,
    books: Books,
}

/// Pipelines that all get what the level gets.
#[derive(Default)]
struct Level {
    ways: Vec<usize>,
    /// Until when it is passed over.
    down: Mutex<Option<Instant>>,
    /// Whether a payload is trying it again.
    is_tried: AtomicBool,
}

impl Level {
    /// Whether it may be asked, and whether that is a trial.
    fn is_open(&self, now: Instant) -> Option<bool> {
        match *self.down.lock() {
            None => Some(false),
            Some(until) if now < until => None,
            Some(_) => (!self.is_tried.swap(true, Relaxed)).then_some(true),
        }
    }
}

impl Failover {
    async fn offer(&self, at: usize, payload: &Payload) -> Result<Outcome, Refusal> {
        let level = &self.levels[at];
        let parts = level.ways.iter().map(|way| (*way, payload.clone()));
        let outcome = self.ways.send(parts.collect()).await?;
        let copies = level.ways.len().saturating_sub(1) as u64;
        for chunk in &payload.chunks {
            let items = u64::from(chunk.shape.items) * copies;
            self.books.created(chunk.origin.tenant.as_ref(), items);
        }
        if level.down.lock().take().is_some() {
            tracing::info!(connector = %self.id, level = at, "the level takes data again");
        }
        Ok(outcome)
    }

    /// Notes that a level refused, if that says something about it.
    fn note(&self, at: usize, refusal: &Refusal) {
        if !refusal.is_retryable() {
            return;
        }
        let until = Instant::now() + self.retry_interval;
        if self.levels[at].down.lock().replace(until).is_none() {
            let error = refusal.message();
            tracing::warn!(connector = %self.id, level = at, error, "the level refuses data, those below it get it");
        }
    }

    async fn send(&self, payload: Payload) -> Result<Outcome, Refusal> {
        let now = Instant::now();
        let open: Vec<Option<bool>> = self.levels.iter().map(|level| level.is_open(now)).collect();
        let answer = self.ask(&payload, &open).await;
        let trials = open
            .iter()
            .zip(&self.levels)
            .filter(|(open, _)| **open == Some(true));
        trials.for_each(|(_, level)| level.is_tried.store(false, Relaxed));
        answer
    }

    /// Asks the levels that are open, in order; those that are passed over only where all of these refuse.
    async fn ask(&self, payload: &Payload, open: &[Option<bool>]) -> Result<Outcome, Refusal> {
        let places = |is_open: bool| (0..open.len()).filter(move |at| open[*at].is_some() == is_open);
        let is_over = || {
            let end = payload.context.deadline.map(Instant::from_std);
            end.is_some_and(|end| Instant::now() >= end)
        };
        let mut refused: Option<Refusal> = None;
        for at in places(true).chain(places(false)) {
            if refused.is_some() && is_over() {
                break;
            }
            match self.offer(at, payload).await {
                Ok(outcome) => return Ok(outcome),
                Err(refusal) => {
                    self.note(at, &refusal);
                    // One that may go away counts more than one that will not: the data may be taken later.
                    if refused.as_ref().is_none_or(|before| !before.is_retryable()) {
                        refused = Some(refusal);
                    }
                }
            }
        }
        Err(refused.unwrap_or_else(|| Refusal::unavailable("no level of pipelines takes data")))
    }
}

impl Consumer for Failover {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(self.send(payload))
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::{Branches, context, faults, section, totals};
    use telemetry::Column;

    use super::*;

    component::component_tests!(FACTORY, "priority_levels: [[a]]");

    const IDS: [&str; 3] = ["logs/1", "logs/2", "logs/3"];

    struct Rig {
        cx: BuildContext,
        branches: Arc<Branches>,
        connector: Arc<dyn Consumer>,
    }

    fn rig(levels: &str) -> Rig {
        let cx = context("failover");
        let branches = Branches::new(&IDS);
        let yaml = format!("{{priority_levels: {levels}, retry_interval: 1m}}");
        let joint = branches.joint(&cx.telemetry, Signal::Logs, Signal::Logs);
        match (FACTORY.build)(section(&yaml), &cx, joint) {
            Ok(Connector::Plain(connector)) => Rig {
                cx,
                branches,
                connector,
            },
            Ok(Connector::Node(_)) => panic!("it owns nothing"),
            Err(fault) => panic!("{fault}"),
        }
    }

    impl Rig {
        async fn send(&self) -> Result<Outcome, Refusal> {
            let shape = wire::Shape {
                items: 2,
                ..wire::Shape::default()
            };
            let chunk = Chunk::new("any".into(), shape);
            self.connector
                .consume(Payload::new(Signal::Logs, chunk, Arc::default()))
                .await
        }

        /// Payloads offered to each so far.
        fn offered(&self) -> [usize; 3] {
            IDS.map(|id| self.branches.sink(id).taken().len())
        }

        fn refuse(&self, id: &str, refusal: Option<Refusal>) {
            self.branches.sink(id).refuse(refusal);
        }
    }

    fn busy() -> Option<Refusal> {
        Some(Refusal::Busy { retry_after: None })
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_that_refuses_is_passed_over_for_a_while() {
        let rig = rig("[[logs/1], [logs/2], [logs/3]]");
        rig.send().await.expect("taken");
        assert_eq!(rig.offered(), [1, 0, 0]);
        rig.refuse("logs/1", busy());
        rig.send().await.expect("taken by the next");
        rig.send().await.expect("taken by the next");
        assert_eq!(rig.offered(), [2, 2, 0], "the first is not asked again");
        rig.refuse("logs/2", busy());
        rig.send().await.expect("taken by the last");
        assert_eq!(rig.offered(), [2, 3, 1]);
        rig.refuse("logs/1", None);
        pass(59).await;
        rig.send().await.expect("taken by the last");
        assert_eq!(rig.offered(), [2, 3, 2]);
        pass(2).await;
        rig.send().await.expect("taken by the first");
        rig.send().await.expect("taken by the first");
        assert_eq!(rig.offered(), [4, 3, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_refuse_all_are_asked_and_the_client_may_come_again() {
        let rig = rig("[[logs/1], [logs/2]]");
        rig.refuse("logs/1", busy());
        rig.refuse("logs/2", Some(Refusal::Invalid("bad".into())));
        for n in 1..4 {
            assert_eq!(rig.send().await, Err(Refusal::Busy { retry_after: None }));
            assert_eq!(
                rig.offered(),
                [n, n, 0],
                "what is passed over is asked before all is refused"
            );
        }
        assert_eq!(
            totals(&rig.cx.telemetry, "connector", Signal::Logs).get(Column::Created),
            0
        );
    }

    #[tokio::test(start_paused = true)]
    async fn bad_data_says_nothing_about_a_level() {
        let rig = rig("[[logs/1], [logs/2]]");
        rig.refuse("logs/1", Some(Refusal::Invalid("bad".into())));
        rig.send().await.expect("taken by the next");
        rig.refuse("logs/1", None);
        rig.send().await.expect("taken by the first");
        assert_eq!(rig.offered(), [2, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_of_several_gets_it_several_times_and_books_the_copies() {
        let rig = rig("[[logs/1, logs/2, logs/1], [logs/3]]");
        rig.send().await.expect("taken");
        assert_eq!(rig.offered(), [1, 1, 0]);
        assert_eq!(
            totals(&rig.cx.telemetry, "connector", Signal::Logs).get(Column::Created),
            2
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_once_the_client_has_gone() {
        let rig = rig("[[logs/1], [logs/2]]");
        rig.refuse("logs/1", busy());
        let context = Context {
            deadline: Some(Instant::now().into_std()),
            ..Context::default()
        };
        let chunk = Chunk::new("any".into(), wire::Shape::default());
        let payload = Payload::new(Signal::Logs, chunk, Arc::new(context));
        rig.connector
            .consume(payload)
            .await
            .expect_err("it would be delivered twice");
        assert_eq!(rig.offered(), [1, 0, 0]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |yaml: &str, expected: &str| {
            let cx = context("failover");
            let joint = Branches::new(&IDS).joint(&cx.telemetry, Signal::Logs, Signal::Logs);
            let told = faults((FACTORY.build)(section(yaml), &cx, joint));
            assert!(told.contains(expected), "{yaml}: {told}");
        };
        check("{}", "no pipelines are defined");
        check("priority_levels: [[logs/1], []]", "a level needs a pipeline");
        check("priority_levels: [[logs/4]]", "\"logs/4\" is no pipeline");
        check(
            "{priority_levels: [[logs/1]], retry_interval: 0s}",
            "must be positive",
        );
    }
}
