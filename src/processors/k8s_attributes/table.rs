//! What is known about the cluster, in the form in which it is asked for.
//!
//! Informers write, pipelines read. Pods that are gone stay findable for the grace period: their last records may still
//! be on their way. Each kind holds a bounded number of objects, and all of it draws from the memory budget: what finds
//! no room is not known, which is said.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use component::{Class, Memory, Reservation};
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
    /// What it takes; none until it is taken.
    room: Option<Reservation>,
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

impl Container {
    fn bytes(&self) -> usize {
        let some = [
            &self.name,
            &self.image_name,
            &self.image_tag,
            &self.instance_id,
            &self.service_version,
        ];
        let runs = self.runs.iter().flat_map(|run| [&run.id, &run.digest]);
        let texts = some.into_iter().chain(runs).flatten().chain(&self.ids);
        size_of::<Container>()
            + self.runs.len() * size_of::<Run>()
            + text_bytes(&self.spec_name)
            + texts.map(|text| text_bytes(text)).sum::<usize>()
    }
}

impl Pod {
    pub(super) fn container_ids(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().flat_map(|c| &c.ids).map(String::as_str)
    }

    /// What its texts take, about. Its keys stand in the table too, and after it among those that go.
    fn bytes(&self) -> usize {
        let own = [&self.uid, &self.name, &self.namespace, &self.node, &self.ip];
        let owners = [&self.replica_set, &self.stateful_set, &self.daemon_set, &self.job];
        let some = owners.into_iter().chain([&self.started]).flatten();
        let keys = self
            .keys
            .iter()
            .map(|key| 3 * (key.len() + AROUND_TEXT) + AROUND_TEXT);
        let containers = self.containers.iter().map(Container::bytes);
        own.into_iter()
            .chain(some)
            .map(|text| text_bytes(text))
            .sum::<usize>()
            + size_of::<Pod>()
            + self.tags.bytes()
            + keys.chain(containers).sum::<usize>()
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

/// Most objects of one kind.
const OBJECTS_MAX: usize = 500_000;
/// What an object takes beside its texts: places in the maps, and what the informer notes of it.
const AROUND: usize = 320;
/// What a text takes beside its bytes: a pointer, a length, and what the allocator adds.
const AROUND_TEXT: usize = 32;
/// How often what is gone is looked at.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Table {
    rules: Arc<Rules>,
    grace: Duration,
    memory: Arc<Memory>,
    known: RwLock<Known>,
    /// That there is no room was said since the last sweep.
    is_told: AtomicBool,
}

/// What pipelines read.
#[derive(Debug, Default)]
pub(super) struct Known {
    pods: HashMap<Key, Arc<Pod>>,
    by_uid: HashMap<String, Arc<Pod>>,
    gone: VecDeque<Gone>,
    pub(super) namespaces: HashMap<String, Held<Other>>,
    pub(super) nodes: HashMap<String, Held<Other>>,
    /// By uid.
    replica_sets: HashMap<String, Held<Controller>>,
    jobs: HashMap<String, Held<(Controller, Tags)>>,
    workloads: HashMap<String, Held<Tags>>,
    pub(super) cluster_uid: Option<String>,
}

/// Something with the room that it takes.
#[derive(Debug)]
pub(super) struct Held<T>(
    T,
    #[expect(dead_code, reason = "it is given back on drop")] Reservation,
);

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
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

    fn bytes(&self) -> usize {
        text_bytes(&self.name) + text_bytes(&self.uid)
    }
}

/// What a text takes, about.
pub(super) fn text_bytes(text: &str) -> usize {
    AROUND_TEXT + text.len()
}

impl Controllers for Known {
    fn deployment(&self, replica_set: &str) -> Option<&str> {
        self.replica_sets.get(replica_set).map(|c| c.name.as_str())
    }

    fn cron_job(&self, job: &str) -> Option<&str> {
        self.jobs.get(job).map(|job| job.0.0.name.as_str())
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
        let (controller, _) = &**self.jobs.get(job)?;
        Some(controller.uid.as_str()).filter(|uid| !uid.is_empty())
    }

    /// What is known of a deployment, stateful set, daemon set or job.
    pub(super) fn workload(&self, uid: &str) -> Option<&Tags> {
        let of_job = || self.jobs.get(uid).map(|job| &job.0.1);
        self.workloads.get(uid).map(|held| &held.0).or_else(of_job)
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
    pub(super) fn new(rules: Arc<Rules>, grace: Duration, memory: Arc<Memory>) -> Table {
        Table {
            rules,
            grace,
            memory,
            known: RwLock::default(),
            is_told: AtomicBool::new(false),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read()
    }

    /// Keys by which pods are found.
    pub(super) fn len(&self) -> usize {
        self.known.read().pods.len()
    }

    /// Takes what is new or has changed. False if there is no room for it: then it is not known, and what was known of
    /// it is forgotten, for it is no longer so. `is_new`: it was not there before.
    pub(super) fn put(&self, kind: Kind, object: Object, is_new: bool) -> bool {
        let mut known = self.known.write();
        let taken = if is_new && known.count(kind) >= OBJECTS_MAX {
            Err("as many objects of one kind as can be known")
        } else {
            let taken = self.take(&mut known, kind, &object);
            taken.ok_or("the memory for held data is used up")
        };
        let meta = &object.metadata;
        if let Err(why) = taken {
            if !self.is_told.swap(true, Relaxed) {
                warn!(
                    ?kind,
                    why, "further objects are not known: what belongs to them passes as it is"
                );
            }
            self.forget(&mut known, kind, &meta.uid, &meta.name);
        }
        taken.is_ok()
    }

    /// `None` if there is no room.
    fn take(&self, known: &mut Known, kind: Kind, object: &Object) -> Option<()> {
        let rules = &*self.rules;
        let meta = &object.metadata;
        let (uid, name) = (meta.uid.clone(), meta.name.clone());
        let tags = |from| extract::other(from, meta, rules);
        let room = |texts: usize| {
            let bytes = AROUND + 2 * meta.uid.len() + 2 * meta.name.len() + texts;
            self.memory.reserve(Class::Nodes, bytes)
        };
        match kind {
            Kind::Pods => {
                let mut pod = self.pod(object, known);
                pod.room = Some(room(pod.bytes())?);
                self.put_pod(known, pod);
            }
            Kind::Namespaces | Kind::Nodes => {
                let from = match kind {
                    Kind::Nodes => From::Node,
                    _ => From::Namespace,
                };
                let tags = tags(from);
                let room = room(tags.bytes())?;
                if kind == Kind::Namespaces && name == "kube-system" {
                    known.cluster_uid = Some(uid.clone());
                }
                let all = match kind {
                    Kind::Nodes => &mut known.nodes,
                    _ => &mut known.namespaces,
                };
                all.insert(name, Held(Other { uid, tags }, room));
            }
            Kind::ReplicaSets => {
                let owner = Controller::of(object, "Deployment");
                let room = room(owner.bytes())?;
                known.replica_sets.insert(uid, Held(owner, room));
            }
            Kind::Jobs => {
                let (owner, tags) = (Controller::of(object, "CronJob"), tags(From::Job));
                let room = room(owner.bytes() + tags.bytes())?;
                known.jobs.insert(uid, Held((owner, tags), room));
            }
            Kind::Deployments | Kind::StatefulSets | Kind::DaemonSets => {
                let tags = tags(match kind {
                    Kind::Deployments => From::Deployment,
                    Kind::StatefulSets => From::StatefulSet,
                    _ => From::DaemonSet,
                });
                let room = room(tags.bytes())?;
                known.workloads.insert(uid, Held(tags, room));
            }
        }
        Some(())
    }

    fn put_pod(&self, known: &mut Known, pod: Pod) {
        let pod = Arc::new(pod);
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
        self.forget(&mut self.known.write(), kind, uid, name);
    }

    fn forget(&self, known: &mut Known, kind: Kind, uid: &str, name: &str) {
        match kind {
            Kind::Pods => {
                if let Some(pod) = known.by_uid.remove(uid) {
                    self.let_go(known, pod.keys.clone(), uid);
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
        self.is_told.store(false, Relaxed);
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
