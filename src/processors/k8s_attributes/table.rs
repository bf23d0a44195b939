//! What is known about the cluster, in the form in which it is asked for.
//!
//! Informers write, pipelines read. Pods that are gone stay findable for the grace period: their last records may still
//! be on their way. Each kind holds a bounded number of objects; beyond it new ones are not taken, which is said once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::time::Instant;
use tracing::warn;

use super::associate::{self, Key};
use super::config::{From, Rules};
use super::extract::{self, Controllers, Tags};
use super::object::{Kind, Object};

/// A pod, as far as it is used.
#[derive(Debug, Default)]
pub(super) struct Pod {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) namespace: String,
    /// Empty if the rules do not ask for it.
    pub(super) node: String,
    pub(super) ip: String,
    pub(super) host_network: bool,
    /// RFC 3339.
    started: Option<String>,
    /// Excluded: known, and not found.
    is_ignored: bool,
    pub(super) tags: Tags,
    pub(super) containers: Vec<Container>,
    /// Uid of the owner of each kind.
    pub(super) replica_set: Option<String>,
    pub(super) stateful_set: Option<String>,
    pub(super) daemon_set: Option<String>,
    pub(super) job: Option<String>,
    keys: Vec<Key>,
}

/// A container of a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) spec_name: String,
    /// Whether it ever was started.
    pub(super) has_status: bool,
    /// The rest is there if the rules ask for it.
    pub(super) name: Option<String>,
    pub(super) image_name: Option<String>,
    pub(super) image_tag: Option<String>,
    pub(super) instance_id: Option<String>,
    pub(super) service_version: Option<String>,
    pub(super) runs: Vec<Run>,
    /// Without the runtime's prefix.
    pub(super) ids: Vec<String>,
}

/// One start of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) restarts: i64,
    pub(super) id: Option<String>,
    pub(super) digest: Option<String>,
}

impl Container {
    pub(super) fn new(name: &str) -> Container {
        Container {
            spec_name: name.to_owned(),
            ..Container::default()
        }
    }
}

impl Pod {
    pub(super) fn container_ids(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().flat_map(|c| &c.ids).map(String::as_str)
    }

    /// The one of this name, else of this id, else the only one.
    pub(super) fn container(&self, name: &str, id: &str) -> Option<&Container> {
        if !name.is_empty() {
            return self.containers.iter().find(|c| c.spec_name == name);
        }
        let mut with_id = self.containers.iter().filter(|c| c.has_status);
        if !id.is_empty() {
            return with_id.find(|c| c.ids.iter().any(|known| known == id));
        }
        match (with_id.next(), with_id.next()) {
            (Some(only), None) => Some(only),
            _ => self.containers.first().filter(|_| self.containers.len() == 1),
        }
    }
}

/// Most objects of one kind. A pod takes about 2 KiB.
const OBJECTS_MAX: usize = 500_000;
/// How often what is gone is looked at.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Table {
    rules: Arc<Rules>,
    grace: Duration,
    known: RwLock<Known>,
    was_full: AtomicBool,
}

/// What pipelines read.
#[derive(Debug, Default)]
pub(super) struct Known {
    pods: HashMap<Key, Arc<Pod>>,
    by_uid: HashMap<String, Arc<Pod>>,
    gone: VecDeque<Gone>,
    pub(super) namespaces: HashMap<String, Other>,
    pub(super) nodes: HashMap<String, Other>,
    /// By uid.
    replica_sets: HashMap<String, Controller>,
    jobs: HashMap<String, (Controller, Tags)>,
    workloads: HashMap<String, Tags>,
    pub(super) cluster_uid: Option<String>,
}

/// A key that will not be found any more.
#[derive(Debug)]
struct Gone {
    key: Key,
    uid: String,
    until: Instant,
}

/// A namespace or a node.
#[derive(Debug, Default)]
pub(super) struct Other {
    pub(super) uid: String,
    pub(super) tags: Tags,
}

/// What a replica set or job belongs to; empty if to nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) name: String,
    pub(super) uid: String,
}

impl Controller {
    fn of(object: &Object, kind: &str) -> Controller {
        let mut owners = object.metadata.owner_references.iter();
        let owner = owners.find(|o| o.kind == kind && o.controller);
        owner.map_or_else(Controller::default, |o| Controller {
            name: o.name.clone(),
            uid: o.uid.clone(),
        })
    }
}

impl Controllers for Known {
    fn deployment(&self, replica_set: &str) -> Option<&str> {
        self.replica_sets.get(replica_set).map(|c| c.name.as_str())
    }

    fn cron_job(&self, job: &str) -> Option<&str> {
        self.jobs.get(job).map(|(c, _)| c.name.as_str())
    }
}

impl Known {
    /// The pod of a key, unless it is excluded.
    pub(super) fn pod(&self, key: &[u8]) -> Option<&Pod> {
        self.pods.get(key).map(|pod| &**pod).filter(|pod| !pod.is_ignored)
    }

    /// Whether the key is known at all.
    pub(super) fn is_known(&self, key: &[u8]) -> bool {
        self.pods.contains_key(key)
    }

    /// The deployment of a replica set.
    pub(super) fn deployment_uid(&self, replica_set: &str) -> Option<&str> {
        let controller = self.replica_sets.get(replica_set)?;
        Some(controller.uid.as_str()).filter(|uid| !uid.is_empty())
    }

    /// The cron job of a job.
    pub(super) fn cron_job_uid(&self, job: &str) -> Option<&str> {
        let (controller, _) = self.jobs.get(job)?;
        Some(controller.uid.as_str()).filter(|uid| !uid.is_empty())
    }

    /// What is known of a deployment, stateful set, daemon set or job.
    pub(super) fn workload(&self, uid: &str) -> Option<&Tags> {
        self.workloads
            .get(uid)
            .or_else(|| self.jobs.get(uid).map(|(_, tags)| tags))
    }

    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Pods => self.by_uid.len(),
            Kind::Namespaces => self.namespaces.len(),
            Kind::Nodes => self.nodes.len(),
            Kind::ReplicaSets => self.replica_sets.len(),
            Kind::Jobs => self.jobs.len(),
            Kind::Deployments | Kind::StatefulSets | Kind::DaemonSets => self.workloads.len(),
        }
    }
}

impl Table {
    pub(super) fn new(rules: Arc<Rules>, grace: Duration) -> Table {
        Table {
            rules,
            grace,
            known: RwLock::default(),
            was_full: AtomicBool::new(false),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read()
    }

    /// Keys by which pods are found.
    pub(super) fn len(&self) -> usize {
        self.known.read().pods.len()
    }

    /// Takes what is new or has changed. `is_new`: it was not there before, so that there must be room.
    pub(super) fn put(&self, kind: Kind, object: Object, is_new: bool) {
        let mut known = self.known.write();
        if is_new && known.count(kind) >= OBJECTS_MAX {
            if !self.was_full.swap(true, Relaxed) {
                warn!(
                    ?kind,
                    most = OBJECTS_MAX,
                    "too many objects: further ones are not known"
                );
            }
            return;
        }
        let rules = &*self.rules;
        let meta = &object.metadata;
        let tags = |from| extract::other(from, meta, rules);
        match kind {
            Kind::Pods => self.put_pod(&mut known, &object),
            Kind::Namespaces => {
                if meta.name == "kube-system" {
                    known.cluster_uid = Some(meta.uid.clone());
                }
                let tags = tags(From::Namespace);
                let uid = meta.uid.clone();
                known.namespaces.insert(meta.name.clone(), Other { uid, tags });
            }
            Kind::Nodes => {
                let (uid, tags) = (meta.uid.clone(), tags(From::Node));
                known.nodes.insert(meta.name.clone(), Other { uid, tags });
            }
            Kind::ReplicaSets => {
                let owner = Controller::of(&object, "Deployment");
                known.replica_sets.insert(meta.uid.clone(), owner);
            }
            Kind::Jobs => {
                let owner = Controller::of(&object, "CronJob");
                known.jobs.insert(meta.uid.clone(), (owner, tags(From::Job)));
            }
            Kind::Deployments => drop(known.workloads.insert(meta.uid.clone(), tags(From::Deployment))),
            Kind::StatefulSets => drop(known.workloads.insert(meta.uid.clone(), tags(From::StatefulSet))),
            Kind::DaemonSets => drop(known.workloads.insert(meta.uid.clone(), tags(From::DaemonSet))),
        }
    }

    fn put_pod(&self, known: &mut Known, object: &Object) {
        let pod = Arc::new(self.pod(object, known));
        let old = known.by_uid.get(&pod.uid).cloned();
        for key in &pod.keys {
            // An address goes from pod to pod; what is said late about the older one does not take it back.
            let is_older = |there: &Arc<Pod>| match (&pod.started, &there.started) {
                (Some(started), Some(there)) => started < there,
                _ => false,
            };
            if !known.pods.get(key).is_some_and(is_older) {
                known.pods.insert(key.clone(), pod.clone());
            }
        }
        if let Some(old) = old {
            // Keys that it had: an address may come back, a container does not.
            let lost = old.keys.iter().filter(|key| pod.keys.binary_search(key).is_err());
            let lost: Vec<Key> = lost.cloned().collect();
            self.let_go(known, lost, &pod.uid);
        }
        known.by_uid.insert(pod.uid.clone(), pod);
    }

    fn pod(&self, object: &Object, known: &Known) -> Pod {
        use super::config::Field;
        let rules = &*self.rules;
        let meta = &object.metadata;
        let reads_node = rules.has(Field::NodeName) || rules.has(Field::NodeUid) || rules.reads(From::Node);
        let owner = |kind: &str| {
            let mut owners = meta.owner_references.iter();
            owners.find(|o| o.kind == kind).map(|o| o.uid.clone())
        };
        let ignore = meta.annotations.get("opentelemetry.io/k8s-processor/ignore");
        let is_excluded = rules
            .excluded
            .iter()
            .any(|pattern| pattern.is_match(&mut pattern.cache(), meta.name.as_bytes()));
        let mut pod = Pod {
            uid: meta.uid.clone(),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            node: if reads_node {
                object.spec.node_name.clone()
            } else {
                String::new()
            },
            ip: object.status.pod_ip.clone(),
            host_network: object.spec.host_network,
            started: object.status.start_time.clone(),
            is_ignored: is_excluded || ignore.is_some_and(|v| v.trim().eq_ignore_ascii_case("true")),
            replica_set: owner("ReplicaSet"),
            stateful_set: owner("StatefulSet"),
            daemon_set: owner("DaemonSet"),
            job: owner("Job"),
            ..Pod::default()
        };
        if !pod.is_ignored {
            pod.tags = extract::pod(object, rules, known);
            pod.containers = extract::containers(object, rules);
        }
        pod.keys = associate::keys(&pod, rules);
        pod
    }

    /// Forgets what is gone: pods after the grace period, the rest at once. `name` is the object's.
    pub(super) fn remove(&self, kind: Kind, uid: &str, name: &str) {
        let mut known = self.known.write();
        match kind {
            Kind::Pods => {
                if let Some(pod) = known.by_uid.remove(uid) {
                    self.let_go(&mut known, pod.keys.clone(), uid);
                }
            }
            Kind::Namespaces => drop(known.namespaces.remove(name)),
            Kind::Nodes => drop(known.nodes.remove(name)),
            Kind::ReplicaSets => drop(known.replica_sets.remove(uid)),
            Kind::Jobs => drop(known.jobs.remove(uid)),
            Kind::Deployments | Kind::StatefulSets | Kind::DaemonSets => drop(known.workloads.remove(uid)),
        }
    }

    fn let_go(&self, known: &mut Known, keys: Vec<Key>, uid: &str) {
        let until = Instant::now() + self.grace;
        let uid = || uid.to_owned();
        known.gone.extend(keys.into_iter().map(|key| Gone {
            key,
            uid: uid(),
            until,
        }));
    }

    /// Forgets the keys whose grace period is over, unless they are somebody's again.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut known = self.known.write();
        while known.gone.front().is_some_and(|gone| gone.until <= now) {
            let Some(gone) = known.gone.pop_front() else {
                break;
            };
            let known = &mut *known;
            let is_back = |pod: &Arc<Pod>| pod.keys.binary_search(&gone.key).is_ok();
            let is_its = known.pods.get(&gone.key).is_some_and(|pod| pod.uid == gone.uid);
            if is_its && !known.by_uid.get(&gone.uid).is_some_and(is_back) {
                known.pods.remove(&gone.key);
            }
        }
        if known.pods.capacity() > 4 * known.pods.len().max(64) {
            known.pods.shrink_to_fit();
        }
    }
}
