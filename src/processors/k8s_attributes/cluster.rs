//! What all pipelines of one component know of the cluster, and the tasks that keep it so.

use std::sync::Arc;
use std::time::Duration;

use component::{Host, Memory, Status};
use telemetry::Telemetry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::access::Access;
use super::config::{Config, Field, From, Rules};
use super::informer::Informer;
use super::meters::Meters;
use super::object::Kind;
use super::table::{SWEEP_EVERY, Table};

/// How long pods wait for what is listed beside them; after that they are listed all the same.
const BESIDE_MAX: Duration = Duration::from_secs(5);

/// The table and its informers; these end when the last pipeline lets go of it.
pub(super) struct Cluster {
    pub(super) table: Arc<Table>,
    pods: watch::Receiver<bool>,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Begins to list and to watch.
    pub(super) fn start(
        config: &Config,
        rules: &Arc<Rules>,
        access: Access,
        (telemetry, memory): (&Telemetry, &Arc<Memory>),
        reports: (Arc<dyn Host>, String),
    ) -> Cluster {
        let table = Arc::new(Table::new(
            rules.clone(),
            config.pod_delete_grace_period.0,
            memory.clone(),
        ));
        let meters = Arc::new(Meters::new(telemetry));
        let access = Arc::new(access);
        let mut tasks = JoinSet::new();
        let mut healths = Vec::new();
        let informer = |kind: Kind, healths: &mut Vec<_>| {
            let (synced, is_synced) = watch::channel(false);
            let (health, how) = watch::channel(None);
            healths.push((kind, how));
            let mut informer = Informer {
                kind,
                namespace: rules.namespace.clone(),
                label_selector: String::new(),
                field_selector: String::new(),
                access: access.clone(),
                table: table.clone(),
                meters: meters.clone(),
                synced,
                health,
            };
            match kind {
                Kind::Pods => {
                    informer.label_selector.clone_from(&rules.label_selector);
                    informer.field_selector.clone_from(&rules.field_selector);
                }
                Kind::Nodes if !rules.node.is_empty() => {
                    informer.field_selector = format!("metadata.name={}", rules.node);
                }
                Kind::Namespaces if !rules.reads(From::Namespace) => {
                    informer.field_selector = "metadata.name=kube-system".into();
                }
                _ => {}
            }
            (informer, is_synced)
        };
        let mut beside = Vec::new();
        for kind in needed(config, rules) {
            let (informer, is_synced) = informer(kind, &mut healths);
            beside.push(is_synced);
            tasks.spawn(informer.run());
        }
        let (informer, pods) = informer(Kind::Pods, &mut healths);
        tasks.spawn(async move {
            let all = async {
                for mut is_synced in beside {
                    let _ = is_synced.wait_for(|synced| *synced).await;
                }
            };
            let _ = timeout(BESIDE_MAX, all).await;
            informer.run().await;
        });
        let swept = table.clone();
        let counted = meters.clone();
        tasks.spawn(async move {
            loop {
                sleep(SWEEP_EVERY).await;
                swept.sweep();
                counted.table(swept.len());
            }
        });
        tasks.spawn(report(healths, reports));
        Cluster {
            table,
            pods,
            _tasks: tasks,
        }
    }

    /// Waits until all pods are known; false if that takes longer.
    pub(super) async fn is_synced_within(&self, limit: Duration) -> bool {
        let mut pods = self.pods.clone();
        let waited = timeout(limit, pods.wait_for(|synced| *synced)).await;
        matches!(waited, Ok(Ok(_)))
    }
}

/// The kinds that rules need beside pods.
fn needed(config: &Config, rules: &Rules) -> Vec<Kind> {
    let from_replica_set = config.extract.deployment_name_from_replicaset;
    let all = [
        (Kind::ReplicaSets, rules.reads_replica_sets(from_replica_set)),
        (
            Kind::Namespaces,
            rules.reads(From::Namespace) || rules.has(Field::ClusterUid),
        ),
        (Kind::Nodes, rules.reads(From::Node) || rules.has(Field::NodeUid)),
        (Kind::Deployments, rules.reads(From::Deployment)),
        (Kind::StatefulSets, rules.reads(From::StatefulSet)),
        (Kind::DaemonSets, rules.reads(From::DaemonSet)),
        (Kind::Jobs, rules.reads_jobs()),
    ];
    all.into_iter()
        .filter_map(|(kind, is)| is.then_some(kind))
        .collect()
}

/// Says how the component is: as well as the worst of its informers.
async fn report(mut healths: Vec<(Kind, watch::Receiver<Option<String>>)>, to: (Arc<dyn Host>, String)) {
    let (host, component) = to;
    loop {
        let changes: Vec<_> = healths
            .iter_mut()
            .map(|(_, how)| Box::pin(how.changed()))
            .collect();
        if first(changes).await.is_err() {
            return;
        }
        let worst = healths.iter().find_map(|(kind, how)| {
            let error = how.borrow().clone()?;
            Some(Status::Recoverable(format!("{kind:?}: {error}")))
        });
        host.report(&component, worst.unwrap_or(Status::Ok));
    }
}

/// The first of several futures that is ready.
async fn first<F: Future + Unpin>(mut all: Vec<F>) -> F::Output {
    std::future::poll_fn(|cx| {
        for future in &mut all {
            if let std::task::Poll::Ready(output) = std::pin::Pin::new(future).poll(cx) {
                return std::task::Poll::Ready(output);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
