//! Random lives of random graphs: payloads, exporters that fail in every way, reloads, stops and kills. The books hold
//! in each life, and over all of them.
//!
//! The journal writes on a thread of its own, so time is not paused; what waits, waits for milliseconds.

use std::collections::BTreeSet;

use component::Extension;
use proptest::prelude::*;
use storage::Journal;
use storage::journal::Options;
use storage::journal::sim::SimDisk;
use telemetry::ledger::{Kept as Books, Kind, Report};
use tokio::time::Instant;

use super::tests::{World, exporter_scripts, spec};
use super::*;
use crate::test_kit::*;

const EXPORTERS: [&str; 3] = ["out/a", "out/b", "out/c"];

/// One storage, whatever its name.
struct Disk(Journal);

impl Extension for Disk {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        component::ready(Ok(()))
    }

    fn journal(&self) -> Option<Journal> {
        Some(self.0.clone())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        component::ready(())
    }
}

struct OneDisk(Journal);

impl Host for OneDisk {
    fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn Consumer>, Fault> {
        Err(Fault::World(format!("no {id} here")))
    }

    fn extension(&self, _: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
        Ok(Arc::new(Disk(self.0.clone())))
    }

    fn report(&self, _: &str, _: component::Status) {}
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, &'static str),
    Pause(u64),
    /// Another of the configurations.
    Reload(usize),
    /// The books are kept, as they are every few seconds.
    Keep,
}

#[derive(Clone, Debug)]
struct Life {
    config: usize,
    steps: Vec<Step>,
    /// The process is killed, rather than stopped.
    is_killed: bool,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Take),
        1 => (1..5u64).prop_map(|ms| Act::TakeAfter(Duration::from_millis(ms))),
        1 => Just(Act::TakeBut(1)),
        3 => Just(Act::Retry),
        1 => Just(Act::KeepLast),
        1 => Just(Act::KeepLastBut(1)),
        1 => Just(Act::Reject),
        1 => Just(Act::TooLarge),
        1 => Just(Act::Panic),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let tenant = prop::sample::select(vec!["", "t", "u"]);
    prop_oneof![
        12 => (1..6usize, tenant).prop_map(|(items, tenant)| Step::Send(items, tenant)),
        3 => (0..4u64).prop_map(Step::Pause),
        2 => (0..3usize).prop_map(Step::Reload),
        1 => Just(Step::Keep),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    let steps = prop::collection::vec(step(), 1..14);
    (0..3usize, steps, any::<bool>()).prop_map(|(config, steps, is_killed)| Life {
        config,
        steps,
        is_killed,
    })
}

/// What stands behind an exporter's id; those with a storage keep what they hold.
fn queue() -> impl Strategy<Value = &'static str> {
    const DURABLE: &str = "{sending_queue: {queue_size: 1000, storage: disk}, \
                           retry_on_failure: {initial_interval: 1ms, max_interval: 3ms}}";
    prop_oneof![
        2 => Just("{retry_on_failure: {initial_interval: 1ms}}"),
        1 => Just("{sending_queue: {queue_size: 3, num_consumers: 2}, retry_on_failure: {initial_interval: 1ms}}"),
        1 => Just("{delivery: best_effort, retry_on_failure: {initial_interval: 1ms}}"),
        1 => Just("{sending_queue: {queue_size: 3}, dead_letter: out/dead, retry_on_failure: {initial_interval: 1ms}}"),
        5 => Just(DURABLE),
    ]
}

/// Two pipelines, a connector between them, and one beside.
fn text() -> impl Strategy<Value = String> {
    let stages = || {
        let all = vec!["stage/plain", "stage/edit", "stage/drop", "batch"];
        prop::sample::subsequence(all, 0..=3)
    };
    let ends = || prop::sample::subsequence(EXPORTERS.to_vec(), 1..=3);
    let queues = prop::collection::vec(queue(), 3);
    (stages(), ends(), stages(), ends(), queues).prop_map(|(first, near, second, far, queues)| {
        let mut text = String::from(
            "in = {}\nstage/plain = {}\nstage/edit = {edit: true}\nstage/drop = {drop_first: true}\nbatch = {}\n\
             forward/1 = {}\nout/dead = {}\n",
        );
        for (id, queue) in EXPORTERS.iter().zip(&queues) {
            text += &format!("{id} = {queue}\n");
        }
        text += &format!("logs/1: in | {} | {} forward/1\n", first.join(" "), near.join(" "));
        text += &format!("logs/2: forward/1 | {} | {}\n", second.join(" "), far.join(" "));
        text + "logs/side: in | | out/a\n"
    })
}

/// Components that both texts have alike.
fn kept(before: &str, after: &str) -> Kept {
    let lines: BTreeSet<&str> = before.lines().collect();
    let mut kept = Kept::default();
    for line in after.lines().filter(|line| lines.contains(line)) {
        let Some((id, _)) = line.split_once(" = ") else {
            continue;
        };
        let id = ComponentId::parse(id).expect("an id");
        let all = match id.kind.as_str() {
            "in" => &mut kept.receivers,
            "out" => &mut kept.exporters,
            "forward" => &mut kept.connectors,
            _ => &mut kept.processors,
        };
        all.insert(id);
    }
    kept
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

/// One life; the answer is the disk and the books that the next one finds.
fn live(
    life: &Life,
    texts: &[String],
    disk: &SimDisk,
    books: Books,
    scripts: &[(&'static str, Arc<Script>)],
) -> (SimDisk, Books) {
    let runtime = runtime();
    let (journal, found) =
        Journal::open(Arc::new(disk.clone()), Options::default()).expect("the disk is well");
    assert_eq!(found.damage, Vec::<String>::new());
    let cx = context();
    let ledger = cx.telemetry.ledger.clone();
    let owed = journal
        .destinations()
        .into_iter()
        .filter(|d| d.items > 0)
        .map(|d| {
            let id = d
                .name
                .trim_start_matches("exporter/")
                .trim_end_matches("/logs")
                .to_owned();
            ((format!("exporter {id}"), "logs".to_owned()), d.items)
        });
    let was_clean = books.clean;
    let faults = ledger.remember(books, &owed.collect());
    assert_eq!(faults, Vec::<String>::new(), "after a clean stop: {was_clean}");
    let mut books = ledger.keep(0, false);
    let host: Arc<dyn Host> = Arc::new(OneDisk(journal.clone()));
    let next = runtime.block_on(async {
        let mut text = texts[life.config].clone();
        exporter_scripts(scripts);
        let graph = Graph::build(spec(&text), &cx).unwrap_or_else(|faults| panic!("{faults:?}"));
        graph.start(host.clone()).await.expect("starts");
        let mut world = World {
            cx: cx.clone(),
            graph: Arc::new(graph),
        };
        let mut callers = Vec::new();
        for step in &life.steps {
            match step {
                Step::Send(items, tenant) => {
                    let payload = match *tenant {
                        "" => logs(*items),
                        tenant => logs_of(tenant, *items),
                    };
                    let output = world.output(Signal::Logs);
                    callers.push(tokio::spawn(async move { output.consume(payload).await }));
                    tokio::task::yield_now().await;
                }
                Step::Pause(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
                Step::Reload(config) => {
                    let after = &texts[*config];
                    let graph = Graph::build_after(spec(after), &cx, &world.graph, &kept(&text, after))
                        .unwrap_or_else(|faults| panic!("{faults:?}"));
                    let retired = graph
                        .take_over(&world.graph, host.clone())
                        .await
                        .expect("takes over");
                    retired.drain(Instant::now() + Duration::from_secs(5)).await;
                    text.clone_from(after);
                    world.graph = Arc::new(graph);
                }
                Step::Keep => books = ledger.keep(1, false),
            }
        }
        if life.is_killed {
            return (disk.kill(), books);
        }
        for caller in callers {
            let _ = caller.await.expect("no caller panics");
        }
        world.graph.drain(Duration::from_secs(5)).await;
        if let Err(faults) = ledger.check() {
            panic!("the books do not balance:\n{}", faults.join("\n"));
        }
        journal.close();
        check_all_lives(&Report::of(&ledger));
        (disk.clone(), ledger.keep(2, true))
    });
    runtime.shutdown_background();
    next
}

/// For each node: in + created + unbooked = out + dropped + merged + failed + held + waiting.
fn check_all_lives(report: &Report) {
    assert_eq!(report.faults, Vec::<String>::new());
    let lives = report.lives.as_ref().expect("lives are counted");
    let mut sums: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for line in report.lines.iter().filter(|line| line.kind == Kind::Node) {
        let all = line.lifetime.clone().unwrap_or_default();
        let sum = sums.entry((&line.place, &line.signal)).or_default();
        *sum += all.sources() as i64 - all.sinks() as i64 - line.since_start.held() as i64;
    }
    for (list, sign) in [(&lives.unbooked, 1), (&lives.waiting, -1)] {
        for d in list {
            *sums.entry((&d.place, &d.signal)).or_default() += sign * d.items;
        }
    }
    for ((place, signal), sum) in sums {
        assert_eq!(sum, 0, "{place} {signal} over all lives");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is connected to what, however it answers, whenever it is reloaded, stopped or killed.
    #[test]
    fn books_hold_over_all_lives(
        texts in prop::collection::vec(text(), 3),
        lives in prop::collection::vec(life(), 1..4),
        a in prop::collection::vec(act(), 0..20),
        b in prop::collection::vec(act(), 0..20),
        c in prop::collection::vec(act(), 0..20),
    ) {
        let scripts = [
            ("out/a", Script::new(a)),
            ("out/b", Script::new(b)),
            ("out/c", Script::new(c)),
            ("out/dead", Script::new([])),
        ];
        let (mut disk, mut books) = (SimDisk::default(), Books::default());
        for life in &lives {
            (disk, books) = live(life, &texts, &disk, books, &scripts);
        }
        // One more, in order, in which everything is taken.
        let last = Life { config: 0, steps: Vec::new(), is_killed: false };
        live(&last, &texts, &disk, books, &scripts);
    }
}
