//! The stage in a pipeline: looks resources up and writes what is known.

use arc_swap::ArcSwapOption;
use component::prelude::*;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use wire::view::{Any, Kind, NewValue, View};

use super::access::{Access, Settings};
use super::associate::{self, Maker, text};
use super::cluster::Cluster;
use super::config::{Config, Field, Rules};
use super::extract::Tags;
use super::meters::Asked;
use super::table::{Container, Known, Pod};
use crate::literal::Literal;

/// One pipeline's.
pub(super) struct Stage {
    id: ComponentId,
    config: Config,
    rules: Arc<Rules>,
    telemetry: telemetry::Telemetry,
    memory: Arc<Memory>,
    agent: String,
    asked: Asked,
    /// Empty until the start, and with `passthrough`.
    cluster: ArcSwapOption<Shared>,
    makers: Mutex<Vec<Maker>>,
}

/// What the pipelines of a component share.
type Shared = OnceCell<Cluster>;

impl Stage {
    pub(super) fn new(
        config: Config,
        section: &Section,
        cx: &BuildContext,
        signal: Signal,
    ) -> Result<Stage, Fault> {
        let rules = Rules::new(&config, |name| std::env::var(name).ok()).map_err(|faults| {
            let each = faults.into_iter().map(|(key, text)| section.diag(&key, text));
            ::config::Diags(each.collect())
        })?;
        Ok(Stage {
            id: cx.id.clone(),
            asked: Asked::new(&cx.telemetry, &rules, signal),
            rules: Arc::new(rules),
            config,
            telemetry: cx.telemetry.clone(),
            memory: cx.memory.clone(),
            agent: cx.info.user_agent(),
            cluster: ArcSwapOption::empty(),
            makers: Mutex::default(),
        })
    }

    /// Begins to watch, or joins the pipeline of this component that already does. `find` says where the server is.
    pub(super) async fn connect(
        &self,
        host: Arc<dyn Host>,
        find: impl FnOnce() -> Result<Settings, String>,
    ) -> Result<(), String> {
        let owner = format!("processor:{}", self.id);
        let shared = host.share(&owner, &format!("{:?}", self.config), || Arc::<Shared>::default());
        let shared = shared.downcast::<Shared>().unwrap_or_default();
        let config = &self.config;
        let made = shared.get_or_try_init(async || {
            let access = Access::new(find()?, &self.agent)?;
            let reports = (host.clone(), owner.clone());
            Ok::<Cluster, String>(Cluster::start(
                config,
                &self.rules,
                access,
                (&self.telemetry, &self.memory),
                reports,
            ))
        });
        let cluster = made.await?;
        if config.wait_for_metadata && !cluster.is_synced_within(config.wait_for_metadata_timeout.0).await {
            return Err("failed to wait for caches to sync".into());
        }
        self.cluster.store(Some(shared.clone()));
        Ok(())
    }

    /// Forgets now what would be forgotten within half a minute.
    #[cfg(test)]
    pub(super) fn sweep(&self) {
        let shared = self.cluster.load();
        let cluster = shared.as_ref().and_then(|shared| shared.get());
        cluster.expect("it is connected").table.sweep();
    }

    fn run(&self, view: &mut View<'_>, context: &Context, maker: &mut Maker) {
        let ip = associate::peer(context);
        let shared = self.cluster.load();
        let cluster = shared.as_ref().and_then(|shared| shared.get());
        let known = cluster.map(|cluster| cluster.table.read());
        for n in view.nodes() {
            if view.kind(n) == Kind::Resource && !view.is_removed(n) {
                self.resource(view, n, &ip, known.as_deref(), maker);
            }
        }
    }

    fn resource(&self, view: &mut View<'_>, n: u32, ip: &str, known: Option<&Known>, maker: &mut Maker) {
        let rules = &*self.rules;
        let made = maker.of_resource(view, n, rules, ip);
        if let Some(made) = made
            && (self.config.passthrough || rules.has(Field::PodIp))
            && let Some(ip) = maker.connection_of(made, &rules.associations, ip)
        {
            put(view, n, Field::PodIp.as_str(), ip);
        }
        if self.config.passthrough {
            return;
        }
        let pod = match (made, known) {
            (Some(_), Some(known)) => {
                let pod = known.pod(maker.key());
                if pod.is_none() && !known.is_known(maker.key()) {
                    self.asked.miss();
                }
                pod
            }
            (Some(_), None) => {
                self.asked.miss();
                None
            }
            (None, _) => None,
        };
        self.asked
            .count(made.map(|m| m.association.unwrap_or(0)), pod.is_some());
        if let (Some(pod), Some(known)) = (pod, known) {
            put_all(view, n, &pod.tags);
            above(view, n, pod, known, rules);
            container(view, n, pod);
        }
        if let Some(known) = known {
            around(view, n, pod, known, rules);
        }
    }
}

/// What of the pod's owners is looked up when it is asked for, as it may come later than the pod.
fn above(view: &mut View<'_>, n: u32, pod: &Pod, known: &Known, rules: &Rules) {
    let mut put_if = |field: Field, value: Option<&str>| {
        if let Some(value) = value
            && rules.has(field)
        {
            put(view, n, field.as_str(), value.as_bytes());
        }
    };
    let set = pod.replica_set.as_deref();
    put_if(
        Field::DeploymentUid,
        set.and_then(|uid| known.deployment_uid(uid)),
    );
    let job = pod.job.as_deref();
    put_if(Field::CronJobUid, job.and_then(|uid| known.cron_job_uid(uid)));
    put_if(Field::ClusterUid, known.cluster_uid.as_deref());
}

/// What the resource's container adds.
fn container(view: &mut View<'_>, n: u32, pod: &Pod) {
    let of = |field: Field| text(view, n, field.as_str());
    let (name, id) = (of(Field::ContainerName), of(Field::ContainerId));
    let as_text = |bytes| std::str::from_utf8(bytes).unwrap_or("\u{fffd}");
    let Some(found) = pod.container(as_text(name), as_text(id)) else {
        return;
    };
    let mut put_if = |field: Field, value: &Option<String>| {
        if let Some(value) = value {
            put(view, n, field.as_str(), value.as_bytes());
        }
    };
    put_if(Field::ContainerName, &found.name);
    put_if(Field::ContainerImageName, &found.image_name);
    put_if(Field::ContainerImageTag, &found.image_tag);
    put_if(Field::ServiceInstanceId, &found.instance_id);
    put_if(Field::ServiceVersion, &found.service_version);
    run(view, n, found);
}

/// What the container's run adds: that with the resource's count of restarts, else the last one.
fn run(view: &mut View<'_>, n: u32, container: &Container) {
    let restarts = match view.get(n, b"k8s.container.restart_count").map(|v| v.any()) {
        None => container.runs.iter().map(|run| run.restarts).max(),
        Some(Any::Int(count)) => Some(count),
        Some(Any::Str(text)) => std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()),
        Some(_) => None,
    };
    let Some(run) = container.runs.iter().rfind(|run| Some(run.restarts) == restarts) else {
        return;
    };
    let (id, digests) = (
        Field::ContainerId.as_str(),
        Field::ContainerImageRepoDigests.as_str(),
    );
    if let Some(value) = &run.id
        && view.find(n, id.as_bytes()).is_none()
    {
        view.put(n, id.as_bytes(), NewValue::Str(value.as_bytes()));
    }
    if let Some(digest) = &run.digest
        && view.find(n, digests.as_bytes()).is_none()
    {
        let mut encoded = Vec::new();
        Literal::List(vec![Literal::Str(digest.clone())]).encode(&mut encoded);
        view.put(n, digests.as_bytes(), NewValue::Encoded(&encoded));
    }
}

/// What the namespace, the node and the workloads add: those of the pod, else those that the resource names.
fn around(view: &mut View<'_>, n: u32, pod: Option<&Pod>, known: &Known, rules: &Rules) {
    let named = |view: &View<'_>, of_pod: Option<&str>, field: Field| match of_pod {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => String::from_utf8_lossy(text(view, n, field.as_str())).into_owned(),
    };
    let namespace = named(view, pod.map(|p| p.namespace.as_str()), Field::NamespaceName);
    if !namespace.is_empty() {
        if let Some(namespace) = known.namespaces.get(&namespace) {
            put_all(view, n, &namespace.tags);
        }
        if rules.has(Field::ServiceNamespace) {
            put(view, n, Field::ServiceNamespace.as_str(), namespace.as_bytes());
        }
    }
    let node = named(view, pod.map(|p| p.node.as_str()), Field::NodeName);
    if let Some(node) = known.nodes.get(&node) {
        put_all(view, n, &node.tags);
        if !node.uid.is_empty() {
            put(view, n, Field::NodeUid.as_str(), node.uid.as_bytes());
        }
    }
    let deployment = pod.and_then(|p| known.deployment_uid(p.replica_set.as_deref()?));
    let workloads = [
        (deployment, Field::DeploymentUid),
        (pod.and_then(|p| p.stateful_set.as_deref()), Field::StatefulSetUid),
        (pod.and_then(|p| p.daemon_set.as_deref()), Field::DaemonSetUid),
        (pod.and_then(|p| p.job.as_deref()), Field::JobUid),
    ];
    for (of_pod, field) in workloads {
        let uid = named(view, of_pod, field);
        if let Some(tags) = known.workload(&uid) {
            put_all(view, n, tags);
        }
    }
}

fn put_all(view: &mut View<'_>, n: u32, tags: &Tags) {
    for (key, value) in tags.iter() {
        put(view, n, key, value.as_bytes());
    }
}

/// Sets what is absent or empty.
fn put(view: &mut View<'_>, n: u32, key: &str, value: &[u8]) {
    match view.find(n, key.as_bytes()) {
        None => view.put(n, key.as_bytes(), NewValue::Str(value)),
        Some(at) => {
            let is_empty = matches!(
                view.value(n, at).any(),
                Any::Empty | Any::Str([]) | Any::Bytes([])
            );
            if is_empty && !value.is_empty() {
                view.set(n, at, NewValue::Str(value));
            }
        }
    }
}

impl Tree for Stage {
    fn start(&self, host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            if self.config.passthrough {
                return Ok(());
            }
            let variable = |name: &str| std::env::var(name).ok();
            let find = || Settings::find(self.config.auth_type, &self.config.context, variable);
            self.connect(host, find).await.map_err(Fault::World)
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.cluster.store(None);
        ready(())
    }

    fn touches(&self) -> Touches {
        Touches {
            depth: Depth::Resource,
            reads_content: true,
            drops_unknown: false,
            writes: true,
        }
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        let pooled = self.makers.lock().pop();
        let mut maker = pooled.unwrap_or_default();
        self.run(view, cx.context, &mut maker);
        self.makers.lock().push(maker);
        Ok(())
    }
}
