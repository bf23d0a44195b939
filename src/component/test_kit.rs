//! What the tests of every component share (feature `test-kit`).
//!
//! [`component_tests!`](crate::component_tests) gives a factory the tests that all need: its defaults build, an unknown
//! key is refused by name, and it may be started and stopped, and stopped again. [`Sink`] stands for the next
//! consumer, [`Lonely`] for a service that has nothing else.

use std::fmt::Debug;
use std::sync::Arc;

use config::{ComponentId, Effective, PipelineId, Section, Shape};
use parking_lot::Mutex;
use telemetry::{Place, Telemetry, Totals};
use wire::{Payload, Signal};

use crate::{
    Books, BoxFuture, BuildContext, BuildInfo, Connector, ConnectorFactory, Consumer, Exporter,
    ExporterFactory, Extension, ExtensionFactory, Fault, Host, Joint, Memory, Node, Outcome, Outputs,
    Processor, ProcessorFactory, Receiver, ReceiverFactory, Refusal, Reshape, Status, Stop, Tree, Ways,
    ready,
};

/// Three tests for one factory: `component_tests!(FACTORY)`, or `component_tests!(FACTORY, "path: x")` where a config
/// without keys is not enough. What listens must be told port 0.
#[macro_export]
macro_rules! component_tests {
    ($factory:expr) => {
        $crate::component_tests!($factory, "{}");
    };
    ($factory:expr, $minimal:expr) => {
        #[test]
        fn builds_with_defaults() {
            $crate::test_kit::builds(&$factory, $minimal);
        }

        #[test]
        fn refuses_an_unknown_key() {
            $crate::test_kit::refuses_unknown_key(&$factory, $minimal);
        }

        #[test]
        fn starts_once_and_stops_twice() {
            $crate::test_kit::lives(&$factory, $minimal);
        }
    };
}

/// A factory of any kind.
pub trait Kit {
    /// Name in the config.
    fn kind(&self) -> &'static str;

    /// The blocks of keys that it says it reads.
    fn keys(&self) -> &'static [Shape];

    /// Builds one, for every signal it offers.
    fn try_build(&self, section: Section, cx: &BuildContext) -> Result<Life, Fault>;
}

/// What was built, as far as it lives.
pub enum Life {
    /// Nothing to start.
    None,
    /// A receiver.
    Receiver(Arc<dyn Receiver>),
    /// An exporter.
    Exporter(Exporter),
    /// An extension.
    Extension(Arc<dyn Extension>),
    /// What processors and connectors came to, one for each signal (or pair of signals).
    Stages(Vec<Stage>),
}

/// A processor or connector that lives.
pub enum Stage {
    /// A tree.
    Tree(Arc<dyn Tree>),
    /// A reshape.
    Reshape(Arc<dyn Reshape>),
    /// A node.
    Node(Arc<dyn Node>),
}

/// The books of a processor of this name in `pipeline` `test`, and what they say so far: [`totals`].
pub fn books(telemetry: &Telemetry, id: &str, signal: Signal) -> Books {
    Books::new(telemetry.ledger.row(place(id), signal))
}

/// What is in the books of a processor that were made by [`books`].
pub fn totals(telemetry: &Telemetry, id: &str, signal: Signal) -> Totals {
    telemetry.ledger.row(place(id), signal).total()
}

fn place(id: &str) -> Place {
    Place::Node(telemetry::Node::Processor {
        pipeline: "test".into(),
        id: id.into(),
    })
}

/// Pipelines behind a connector, each of them a [`Sink`].
pub struct Branches {
    ids: Vec<PipelineId>,
    sinks: Vec<Arc<Sink>>,
}

impl Branches {
    /// Pipelines of these ids.
    ///
    /// # Panics
    /// If one is none.
    pub fn new(ids: &[&str]) -> Arc<Branches> {
        let parse = |id: &&str| PipelineId::parse(id).unwrap_or_else(|_| panic!("{id:?} is no pipeline"));
        Arc::new(Branches {
            ids: ids.iter().map(parse).collect(),
            sinks: ids.iter().map(|_| Arc::default()).collect(),
        })
    }

    /// What stands for the pipeline of this id.
    ///
    /// # Panics
    /// If there is none.
    pub fn sink(&self, id: &str) -> &Sink {
        let at = self.ids.iter().position(|known| known.to_string() == id);
        &self.sinks[at.unwrap_or_else(|| panic!("no pipeline {id}"))]
    }

    /// What a connector is built with that stands before these; counted in the books of `connector`.
    pub fn joint(self: &Arc<Branches>, telemetry: &Telemetry, from: Signal, to: Signal) -> Joint {
        Joint {
            from,
            to,
            next: self.clone(),
            ways: self.clone(),
            books: books(telemetry, "connector", from),
            made: books(telemetry, "connector", to),
        }
    }
}

impl Consumer for Branches {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        self.send((0..self.sinks.len()).map(|at| (at, payload.clone())).collect())
    }
}

impl Ways for Branches {
    fn pipelines(&self) -> &[PipelineId] {
        &self.ids
    }

    fn send(&self, parts: Vec<(usize, Payload)>) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let mut answer = Ok(Outcome::all());
            for (at, part) in parts {
                let one = self.sinks[at].consume(part).await;
                answer = answer.and(one);
            }
            answer
        })
    }
}

/// A context with books and a budget of its own.
pub fn context(id: &str) -> BuildContext {
    BuildContext {
        id: ComponentId::parse(id).expect("tests name components rightly"),
        telemetry: Telemetry::default(),
        memory: Arc::new(Memory::new(256 << 20)),
        info: BuildInfo {
            command: "weir",
            version: "0.0.0",
        },
        gates: Arc::default(),
    }
}

/// A section out of YAML.
///
/// # Panics
/// If it is none.
pub fn section(yaml: &str) -> Section {
    Section::from_yaml(yaml).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The texts of all faults of a build that must fail.
#[track_caller]
pub fn faults<T>(built: Result<T, Fault>) -> String {
    match built {
        Ok(_) => panic!("it was built"),
        Err(fault) => fault.to_string(),
    }
}

/// Builds from `minimal`, and reads the keys that the factory names, no more and no fewer.
///
/// # Panics
/// If it does not.
#[track_caller]
pub fn builds(factory: &dyn Kit, minimal: &str) {
    let section = section(minimal);
    if let Err(fault) = factory.try_build(section.clone(), &context(factory.kind())) {
        panic!("{fault}");
    }
    let mut read: Vec<String> = match section.effective() {
        Effective::Map(entries) => entries.into_keys().collect(),
        _ => Vec::new(),
    };
    let mut named = Shape::keys(factory.keys());
    read.sort();
    named.sort();
    assert_eq!(named, read, "`keys` of the factory, and what it reads");
}

/// Refuses `minimal` with one key more, and names the key.
#[track_caller]
pub fn refuses_unknown_key(factory: &dyn Kit, minimal: &str) {
    let minimal = if minimal == "{}" { "" } else { minimal };
    let yaml = format!("{minimal}\nno_such_key: 1\n");
    let told = faults(factory.try_build(section(&yaml), &context(factory.kind())));
    assert!(told.contains("no_such_key"), "{told}");
}

/// Starts, stops, and stops again; and stops without a start.
#[track_caller]
pub fn lives(factory: &dyn Kit, minimal: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime needs only threads");
    let build = || {
        factory
            .try_build(section(minimal), &context(factory.kind()))
            .unwrap_or_else(|fault| panic!("{fault}"))
    };
    runtime.block_on(async {
        let life = build();
        if let Err(fault) = life.start(Arc::new(Lonely::default())).await {
            panic!("{fault}");
        }
        life.stop().await;
        life.stop().await;
        build().stop().await;
    });
}

impl Life {
    /// Starts it; a receiver with a [`Sink`] for each signal.
    pub async fn start(&self, host: Arc<dyn Host>) -> Result<(), Fault> {
        match self {
            Life::Receiver(receiver) => {
                let mut outputs = Outputs::default();
                for signal in Signal::ALL {
                    outputs.set(signal, Arc::new(Sink::default()));
                }
                receiver.start(outputs, host).await
            }
            Life::Exporter(Exporter::Push(push)) => push.start(host).await,
            Life::Extension(extension) => extension.start(host).await,
            Life::Stages(stages) => {
                for stage in stages {
                    match stage {
                        Stage::Tree(tree) => tree.start(host.clone()).await?,
                        Stage::Reshape(reshape) => reshape.start(host.clone()).await?,
                        Stage::Node(node) => node.start(host.clone()).await?,
                    }
                }
                Ok(())
            }
            Life::None | Life::Exporter(Exporter::Collect(_)) => Ok(()),
        }
    }

    /// Stops it.
    pub async fn stop(&self) {
        match self {
            Life::Receiver(receiver) => receiver.stop().await,
            Life::Exporter(Exporter::Push(push)) => push.stop().await,
            Life::Extension(extension) => extension.stop().await,
            Life::Stages(stages) => {
                for stage in stages {
                    match stage {
                        Stage::Tree(tree) => tree.stop().await,
                        Stage::Reshape(reshape) => reshape.stop().await,
                        Stage::Node(node) => {
                            let (_switch, stop) = Stop::new();
                            node.drain(stop).await;
                        }
                    }
                }
            }
            Life::None | Life::Exporter(Exporter::Collect(_)) => {}
        }
    }
}

impl Kit for ReceiverFactory {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn keys(&self) -> &'static [Shape] {
        self.keys
    }

    fn try_build(&self, section: Section, cx: &BuildContext) -> Result<Life, Fault> {
        (self.build)(section, cx).map(Life::Receiver)
    }
}

impl Kit for ExporterFactory {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn keys(&self) -> &'static [Shape] {
        self.keys
    }

    fn try_build(&self, section: Section, cx: &BuildContext) -> Result<Life, Fault> {
        (self.build)(section, cx).map(Life::Exporter)
    }
}

impl Kit for ExtensionFactory {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn keys(&self) -> &'static [Shape] {
        self.keys
    }

    fn try_build(&self, section: Section, cx: &BuildContext) -> Result<Life, Fault> {
        (self.build)(section, cx).map(Life::Extension)
    }
}

impl Kit for ConnectorFactory {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn keys(&self) -> &'static [Shape] {
        self.keys
    }

    fn try_build(&self, section: Section, cx: &BuildContext) -> Result<Life, Fault> {
        let mut stages = Vec::new();
        for (from, to, _) in self.signals {
            let ways = Branches::new(&[]);
            let built = (self.build)(section.clone(), cx, ways.joint(&cx.telemetry, *from, *to))?;
            if let Connector::Node(node) = built {
                stages.push(Stage::Node(node));
            }
        }
        Ok(Life::Stages(stages))
    }
}

impl Kit for ProcessorFactory {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn keys(&self) -> &'static [Shape] {
        self.keys
    }

    fn try_build(&self, section: Section, cx: &BuildContext) -> Result<Life, Fault> {
        let mut stages = Vec::new();
        for (signal, _) in self.signals {
            stages.extend(match (self.build)(section.clone(), cx, *signal)? {
                Processor::Tree(tree) => Some(Stage::Tree(tree)),
                Processor::Reshape(reshape) => Some(Stage::Reshape(reshape)),
                Processor::Node(make) => {
                    let books = books(&cx.telemetry, self.kind, *signal);
                    Some(Stage::Node(make(Arc::new(Sink::default()), books)))
                }
                Processor::Gate(_) | Processor::Flush(_) => None,
            });
        }
        Ok(Life::Stages(stages))
    }
}

/// Takes everything, or answers as it is told to, and keeps what it was offered.
#[derive(Default)]
pub struct Sink {
    taken: Mutex<Vec<Payload>>,
    refusal: Mutex<Option<Refusal>>,
}

impl Sink {
    /// Every payload offered so far, also those refused.
    pub fn taken(&self) -> Vec<Payload> {
        self.taken.lock().clone()
    }

    /// What it answers from now on; `None` = yes.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        *self.refusal.lock() = refusal;
    }
}

impl Consumer for Sink {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        self.taken.lock().push(payload);
        ready(match &*self.refusal.lock() {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(Outcome::all()),
        })
    }
}

/// A service without any other component; keeps what was reported.
#[derive(Default)]
pub struct Lonely {
    reports: Mutex<Vec<(String, Status)>>,
}

impl Lonely {
    /// Statuses reported so far, with the component's name.
    pub fn reports(&self) -> Vec<(String, Status)> {
        self.reports.lock().clone()
    }
}

impl Host for Lonely {
    fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn Consumer>, Fault> {
        Err(Fault::World(format!("no exporter {id}")))
    }

    fn extension(&self, id: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
        Err(Fault::World(format!("no extension {id}")))
    }

    fn report(&self, component: &str, status: Status) {
        self.reports.lock().push((component.to_owned(), status));
    }
}

impl Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Life::None => "None",
            Life::Receiver(_) => "Receiver",
            Life::Exporter(_) => "Exporter",
            Life::Extension(_) => "Extension",
            Life::Stages(_) => "Stages",
        })
    }
}
