//! The whole processor against an API server whose answers the tests script.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration as StdDuration;

use component::test_kit::{Lonely, context, section};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::access::{Credential, Settings};
use super::stage::Stage;
use super::*;
use crate::test_kit::{logs, map, run_all, show};

// --- the server ---

/// What a watcher is sent.
enum Step {
    /// A line.
    Event(Value),
    /// Half a line, and the connection breaks.
    Break,
    /// The server ends the watch.
    End,
}

#[derive(Default)]
struct Cluster {
    /// By path, then by name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    version: u64,
    /// Answers instead of what is there, by path: status and message. 0 = no answer at all.
    refusals: HashMap<String, (u16, &'static str)>,
    /// Those who watch, by path.
    watchers: Vec<(String, mpsc::Sender<Step>)>,
    /// Heads of all requests.
    asked: Vec<String>,
    page: Option<usize>,
}

struct Api {
    address: SocketAddr,
    cluster: Arc<Mutex<Cluster>>,
    server: JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Api {
    async fn start() -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cluster = Arc::new(Mutex::new(Cluster::default()));
        let shared = cluster.clone();
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, shared.clone()));
            }
        });
        Api {
            address,
            cluster,
            server,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            server: format!("http://{}", self.address),
            ..Settings::default()
        }
    }

    /// Puts an object there, and tells nobody.
    fn put_silently(&self, path: &str, mut object: Value) -> Value {
        let mut cluster = self.cluster.lock();
        cluster.version += 1;
        object["metadata"]["resourceVersion"] = json!(cluster.version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        cluster
            .objects
            .entry(path.to_owned())
            .or_default()
            .insert(name, object.clone());
        object
    }

    /// Puts an object there, and tells who watches.
    async fn put(&self, path: &str, kind: &str, object: Value) {
        let object = self.put_silently(path, object);
        self.tell(path, Step::Event(json!({"type": kind, "object": object})))
            .await;
    }

    /// Takes an object away.
    fn remove_silently(&self, path: &str, name: &str) -> Value {
        let mut cluster = self.cluster.lock();
        cluster.version += 1;
        cluster
            .objects
            .get_mut(path)
            .and_then(|all| all.remove(name))
            .unwrap()
    }

    /// Sends it to the one who watches.
    async fn tell(&self, path: &str, step: Step) {
        let watcher = until("somebody watches", || {
            let cluster = self.cluster.lock();
            let mut watchers = cluster.watchers.iter().rev();
            watchers
                .find(|(p, w)| p == path && !w.is_closed())
                .map(|(_, w)| w.clone())
        });
        watcher.await.send(step).await.unwrap();
    }

    fn asked(&self, what: &str) -> usize {
        self.cluster
            .lock()
            .asked
            .iter()
            .filter(|head| head.contains(what))
            .count()
    }
}

async fn serve(mut socket: TcpStream, cluster: Arc<Mutex<Cluster>>) {
    let mut buffer = Vec::new();
    loop {
        let mut piece = [0; 4096];
        while !buffer.windows(4).any(|w| w == b"\r\n\r\n") {
            match socket.read(&mut piece).await {
                Ok(len) if len > 0 => buffer.extend_from_slice(&piece[..len]),
                _ => return,
            }
        }
        let head = String::from_utf8(std::mem::take(&mut buffer)).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        let refusal = {
            let mut cluster = cluster.lock();
            cluster.asked.push(head.clone());
            cluster.refusals.get(path).copied()
        };
        let (status, body) = match refusal {
            Some((0, _)) => return std::future::pending().await,
            Some((code, message)) => (code, json!({"kind": "Status", "code": code, "message": message})),
            None if parameter("watch").is_some() => return watch(socket, path, &cluster).await,
            None => {
                let cluster = cluster.lock();
                let objects = cluster
                    .objects
                    .get(path)
                    .into_iter()
                    .flatten()
                    .map(|(_, o)| o.clone());
                let from: usize = parameter("continue").map_or(0, |c| c.parse().unwrap());
                let page = cluster.page.unwrap_or(1000);
                let mut items: Vec<Value> = objects.skip(from).take(page + 1).collect();
                let next = match items.len() > page {
                    true => (from + page).to_string(),
                    false => String::new(),
                };
                items.truncate(page);
                let meta = json!({"resourceVersion": cluster.version.to_string(), "continue": next});
                (200, json!({"kind": "List", "metadata": meta, "items": items}))
            }
        };
        let body = body.to_string();
        let reply = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if socket.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn watch(mut socket: TcpStream, path: &str, cluster: &Mutex<Cluster>) {
    let (sender, mut steps) = mpsc::channel(16);
    cluster.lock().watchers.push((path.to_owned(), sender));
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut gone = [0];
    loop {
        let step = tokio::select! {
            step = steps.recv() => step,
            // Who watches has let go.
            _ = socket.read(&mut gone) => return,
        };
        let (text, is_last) = match step {
            Some(Step::Event(event)) => (format!("{event}\n"), false),
            Some(Step::Break) => ("{\"type\":\"ADD".to_owned(), true),
            Some(Step::End) => (String::new(), true),
            None => return,
        };
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        if socket.write_all(chunk.as_bytes()).await.is_err() || is_last {
            return;
        }
    }
}

/// Asks again until there is something.
async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask() {
                return found;
            }
            tokio::time::sleep(StdDuration::from_millis(2)).await;
        }
    };
    let limit = StdDuration::from_secs(20);
    tokio::time::timeout(limit, asking)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

// --- the processor ---

const PODS: &str = "/api/v1/pods";
const REPLICA_SETS: &str = "/apis/apps/v1/replicasets";

fn stage(yaml: &str) -> Stage {
    try_stage(yaml).unwrap()
}

fn try_stage(yaml: &str) -> Result<Stage, String> {
    stage_in(yaml, &context("k8s_attributes"))
}

fn stage_in(yaml: &str, cx: &BuildContext) -> Result<Stage, String> {
    let section = section(yaml);
    let config: Config = section
        .clone()
        .parse()
        .map_err(|e: ::config::Diags| e.to_string())?;
    Stage::new(config, &section, cx, Signal::Logs).map_err(|e| e.to_string())
}

async fn connected(yaml: &str, api: &Api) -> Stage {
    connected_in(yaml, api, &context("k8s_attributes")).await
}

async fn connected_in(yaml: &str, api: &Api, cx: &BuildContext) -> Stage {
    let stage = stage_in(yaml, cx).unwrap();
    let connected = stage
        .connect(Arc::new(Lonely::default()), || Ok(api.settings()))
        .await;
    connected.unwrap();
    stage
}

/// Attributes of a resource after the stage.
fn after(stage: &Stage, attributes: &str, peer: &str) -> String {
    let mut request = logs(LogRecord::default());
    request.resource_logs[0].resource = Some(Resource {
        attributes: map(attributes),
        ..Default::default()
    });
    let context = Context {
        peer: (!peer.is_empty()).then(|| SocketAddr::new(peer.parse().unwrap(), 9)),
        ..Context::default()
    };
    let out = run_all(&[stage], Signal::Logs, &request.encode_to_vec(), &context).unwrap();
    let out = ExportLogsServiceRequest::decode(&out[..]).unwrap();
    show(
        &out.resource_logs[0]
            .resource
            .clone()
            .unwrap_or_default()
            .attributes,
    )
}

async fn until_after(stage: &Stage, attributes: &str, expected: &str) {
    let mut last = String::new();
    let is_so = || {
        last = after(stage, attributes, "");
        (last == expected).then_some(())
    };
    let waited = tokio::time::timeout(StdDuration::from_secs(20), until(expected, is_so)).await;
    assert!(waited.is_ok(), "{last} never was {expected}");
}

fn pod(name: &str, ip: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-04-07T10:20:30Z",
            "labels": {"app": "web", "app.kubernetes.io/version": "1.2", "pod-template-hash": "abc"},
            "annotations": {"resource.opentelemetry.io/service.name": "checkout", "team": "t1"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-abc", "uid": "rs-1", "controller": true}]
        },
        "spec": {
            "nodeName": "n1", "hostname": "h",
            "containers": [{"name": "main", "image": "reg.test:5000/shop/web:7"}, {"name": "side", "image": "x"}]
        },
        "status": {
            "podIP": ip, "startTime": "2026-04-07T10:20:31Z",
            "containerStatuses": [
                {"name": "main", "containerID": "containerd://c-main", "restartCount": 2,
                 "imageID": "nginx@sha256:4b0e2d1a7f3c9e8d6b5a40312f1e0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4938"},
                {"name": "side", "containerID": "containerd://c-side", "restartCount": 0, "imageID": ""}
            ]
        }
    })
}

const WAIT: &str = "wait_for_metadata: true";

// --- what is found ---

#[tokio::test]
async fn a_pod_is_found_by_what_the_resource_says_or_where_it_came_from() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("web-abc-1", "10.1.0.7"));
    let stage = connected(
        &format!("{{{WAIT}, extract: {{metadata: [k8s.pod.name]}}}}"),
        &api,
    )
    .await;
    let named = "k8s.pod.name:\"web-abc-1\"";
    let check = |attributes: &str, peer: &str, expected: String| {
        assert_eq!(after(&stage, attributes, peer), expected, "{attributes} {peer}");
    };
    check("{}", "10.1.0.7", format!("{{{named}}}"));
    check("{}", "::ffff:10.1.0.7", format!("{{{named}}}"));
    check("{}", "10.1.0.8", "{}".into());
    check("{}", "", "{}".into());
    check(
        "{k8s.pod.ip: 10.1.0.7}",
        "10.1.0.8",
        format!("{{k8s.pod.ip:\"10.1.0.7\", {named}}}"),
    );
    check("{ip: 10.1.0.7}", "", format!("{{ip:\"10.1.0.7\", {named}}}"));
    check(
        "{host.name: 10.1.0.7}",
        "",
        format!("{{host.name:\"10.1.0.7\", {named}}}"),
    );
    check("{host.name: web}", "", "{host.name:\"web\"}".into());
    // What is there stays; what is empty does not count as there.
    check("{k8s.pod.name: x}", "10.1.0.7", "{k8s.pod.name:\"x\"}".into());
    check("{k8s.pod.name: \"\"}", "10.1.0.7", format!("{{{named}}}"));
}

#[tokio::test]
async fn the_first_association_whose_sources_are_all_there_counts() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("a", "10.1.0.1"));
    api.put_silently(PODS, pod("b", "10.1.0.2"));
    let mut host = pod("host", "10.0.0.1");
    host["spec"]["hostNetwork"] = json!(true);
    api.put_silently(PODS, host);
    let stage = connected(
        &format!(
            "{{{WAIT}, extract: {{metadata: [k8s.pod.uid], labels: [{{key: app, tag_name: app}}]}}, pod_association: [\
             {{sources: [{{from: resource_attribute, name: k8s.pod.name}}, \
             {{from: resource_attribute, name: k8s.namespace.name}}]}}, \
             {{sources: [{{from: resource_attribute, name: container.id}}]}}, \
             {{sources: [{{from: resource_attribute, name: app}}, {{from: connection}}]}}, \
             {{sources: [{{from: connection}}]}}]}}"
        ),
        &api,
    )
    .await;
    let check = |attributes: &str, peer: &str, expected: &str| {
        let found = after(&stage, attributes, peer);
        let uid = found
            .split("k8s.pod.uid:\"")
            .nth(1)
            .map_or("", |rest| rest.split('"').next().unwrap());
        assert_eq!(uid, expected, "{attributes} {peer}: {found}");
    };
    check("{k8s.pod.name: a, k8s.namespace.name: shop}", "10.1.0.2", "uid-a");
    // All sources are there, so the next association is not asked, whatever is found.
    check("{k8s.pod.name: c, k8s.namespace.name: shop}", "10.1.0.2", "");
    check("{k8s.pod.name: a}", "10.1.0.2", "uid-b");
    check("{container.id: c-side}", "", "uid-host");
    check("{app: web}", "10.1.0.1", "uid-a");
    check("{app: other}", "10.1.0.1", "");
    // Pods of the host's network are not found by its address.
    check("{}", "10.0.0.1", "");
}

#[tokio::test]
async fn everything_that_can_be_asked_for() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("web-abc-1", "10.1.0.7"));
    api.put_silently(
        REPLICA_SETS,
        json!({"metadata": {"name": "web-abc", "namespace": "shop", "uid": "rs-1",
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "d-1", "controller": true}]}}),
    );
    api.put_silently(
        "/apis/apps/v1/deployments",
        json!({"metadata": {"name": "web", "uid": "d-1", "labels": {"tier": "gold"}}, "status": {"replicas": 3}}),
    );
    let namespace = |name: &str| json!({"metadata": {"name": name, "uid": format!("ns-{name}"), "labels": {"env": "prod"}}});
    api.put_silently("/api/v1/namespaces", namespace("shop"));
    api.put_silently("/api/v1/namespaces", namespace("kube-system"));
    api.put_silently(
        "/api/v1/nodes",
        json!({"metadata": {"name": "n1", "uid": "node-1", "annotations": {"zone": "z1"}}}),
    );
    let metadata = [
        "k8s.pod.name, k8s.pod.hostname, k8s.pod.ip, k8s.namespace.name, k8s.pod.start_time, k8s.pod.uid",
        "k8s.replicaset.uid, k8s.replicaset.name, k8s.deployment.name, k8s.deployment.uid, k8s.node.name",
        "k8s.node.uid, k8s.cluster.uid, container.id, container.image.name, container.image.tag",
        "container.image.repo_digests, k8s.container.name, service.version, service.instance.id, service.name",
        "service.namespace",
    ];
    let yaml = format!(
        "{{{WAIT}, extract: {{metadata: [{}], otel_annotations: true, \
         labels: [{{key: env, from: namespace, tag_name: env}}, {{key_regex: (a).*p, tag_name: 'l.$1', from: pod}}, \
         {{key: tier, from: deployment}}], annotations: [{{key: zone, from: node}}, {{key: team}}]}}}}",
        metadata.join(", ")
    );
    let stage = connected(&yaml, &api).await;
    let digest =
        "docker.io/library/nginx@sha256:4b0e2d1a7f3c9e8d6b5a40312f1e0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4938";
    let expected = [
        "k8s.container.name:\"main\"",
        "k8s.pod.ip:\"10.1.0.7\"",
        "k8s.pod.name:\"web-abc-1\"",
        // The annotation outranks the label, the deployment and the pod.
        "service.name:\"checkout\"",
        "k8s.pod.hostname:\"h\"",
        "k8s.namespace.name:\"shop\"",
        "service.namespace:\"shop\"",
        "k8s.pod.start_time:\"2026-04-07T10:20:30Z\"",
        "k8s.pod.uid:\"uid-web-abc-1\"",
        "k8s.replicaset.uid:\"rs-1\"",
        "k8s.replicaset.name:\"web-abc\"",
        "k8s.deployment.name:\"web\"",
        "k8s.node.name:\"n1\"",
        "l.a:\"web\"",
        "service.version:\"1.2\"",
        "k8s.pod.annotations.team:\"t1\"",
        "k8s.deployment.uid:\"d-1\"",
        "k8s.cluster.uid:\"ns-kube-system\"",
        "container.image.name:\"reg.test:5000/shop/web\"",
        "container.image.tag:\"7\"",
        "service.instance.id:\"shop.web-abc-1.main\"",
        "container.id:\"c-main\"",
        &format!("container.image.repo_digests:[\"{digest}\"]"),
        "env:\"prod\"",
        "k8s.node.annotations.zone:\"z1\"",
        "k8s.node.uid:\"node-1\"",
        "k8s.deployment.label.tier:\"gold\"",
    ];
    let found = after(&stage, "{k8s.container.name: main}", "10.1.0.7");
    assert_eq!(found, format!("{{{}}}", expected.join(", ")));
    // Without a pod, the namespace and node that the resource names add theirs.
    let found = after(&stage, "{k8s.namespace.name: kube-system, k8s.node.name: n1}", "");
    assert_eq!(
        found,
        "{k8s.namespace.name:\"kube-system\", k8s.node.name:\"n1\", env:\"prod\", service.namespace:\"kube-system\", \
         k8s.node.annotations.zone:\"z1\", k8s.node.uid:\"node-1\"}"
    );
    // Of the other kinds only the metadata is asked for.
    assert_eq!(api.asked("as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), 4);
}

#[tokio::test]
async fn containers_are_chosen_as_the_collector_does() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("two", "10.1.0.2"));
    let mut one = pod("one", "10.1.0.1");
    one["spec"]["containers"].as_array_mut().unwrap().pop();
    let statuses = one["status"]["containerStatuses"].as_array_mut().unwrap();
    statuses.pop();
    let mut older = statuses[0].clone();
    older["restartCount"] = json!(1);
    older["containerID"] = json!("containerd://c-old");
    statuses.insert(0, older);
    api.put_silently(PODS, one);
    let yaml = format!("{{{WAIT}, extract: {{metadata: [container.id, container.image.tag]}}}}");
    let stage = connected(&yaml, &api).await;
    let check = |attributes: &str, peer: &str, expected: &str| {
        assert_eq!(after(&stage, attributes, peer), expected, "{attributes} {peer}");
    };
    check("{}", "10.1.0.2", "{}");
    let side = "container.image.tag:\"latest\", container.id:\"c-side\"";
    check(
        "{k8s.container.name: side}",
        "10.1.0.2",
        &format!("{{k8s.container.name:\"side\", {side}}}"),
    );
    check(
        "{container.id: c-side}",
        "10.1.0.2",
        "{container.id:\"c-side\", container.image.tag:\"latest\"}",
    );
    check(
        "{k8s.container.name: other}",
        "10.1.0.2",
        "{k8s.container.name:\"other\"}",
    );
    check(
        "{}",
        "10.1.0.1",
        "{container.image.tag:\"7\", container.id:\"c-main\"}",
    );
    let restarts = "k8s.container.restart_count";
    check(
        &format!("{{{restarts}: 1}}"),
        "10.1.0.1",
        &format!("{{{restarts}:1, container.image.tag:\"7\", container.id:\"c-old\"}}"),
    );
    check(
        &format!("{{{restarts}: \"9\"}}"),
        "10.1.0.1",
        &format!("{{{restarts}:\"9\", container.image.tag:\"7\"}}"),
    );
}

#[tokio::test]
async fn excluded_pods_are_not_found() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("jaeger-agent-1", "10.1.0.1"));
    let mut ignored = pod("quiet", "10.1.0.2");
    ignored["metadata"]["annotations"] = json!({"opentelemetry.io/k8s-processor/ignore": " True "});
    api.put_silently(PODS, ignored);
    let stage = connected(&format!("{{{WAIT}}}"), &api).await;
    assert_eq!(after(&stage, "{}", "10.1.0.1"), "{}");
    assert_eq!(after(&stage, "{}", "10.1.0.2"), "{}");
}

#[tokio::test]
async fn filters_are_asked_of_the_server() {
    let api = Api::start().await;
    let yaml = format!(
        "{{{WAIT}, extract: {{metadata: [k8s.deployment.uid, k8s.node.uid, k8s.cluster.uid]}}, filter: {{namespace: shop, \
         node: n1, fields: [{{key: status.phase, value: Running, op: not-equals}}], \
         labels: [{{key: app, value: web}}, {{key: old, op: does-not-exist}}]}}}}"
    );
    let _stage = connected(&yaml, &api).await;
    let pods = "GET /api/v1/namespaces/shop/pods?labelSelector=app%3Dweb%2C%21old\
                &fieldSelector=status.phase%21%3DRunning%2Cspec.nodeName%3Dn1&limit=500 ";
    assert_eq!(api.asked(pods), 1);
    assert_eq!(
        api.asked("GET /apis/apps/v1/namespaces/shop/replicasets?limit=500 "),
        1
    );
    assert_eq!(
        api.asked("GET /api/v1/nodes?fieldSelector=metadata.name%3Dn1&limit=500 "),
        1
    );
    assert_eq!(
        api.asked("GET /api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system&limit=500 "),
        1
    );
    assert_eq!(api.asked("GET /apis/batch"), 0);
}

#[tokio::test]
async fn passthrough_sets_the_address_and_asks_nobody() {
    let stage = stage("{passthrough: true}");
    stage.start(Arc::new(Lonely::default())).await.unwrap();
    assert_eq!(after(&stage, "{}", "10.1.0.7"), "{k8s.pod.ip:\"10.1.0.7\"}");
    assert_eq!(
        after(&stage, "{k8s.pod.ip: 1.1.1.1}", "10.1.0.7"),
        "{k8s.pod.ip:\"1.1.1.1\"}"
    );
    assert_eq!(after(&stage, "{}", ""), "{}");
}

// --- what changes ---

const NAME_ONLY: &str = "extract: {metadata: [k8s.pod.name]}";

fn named(ip: &str, name: &str) -> (String, String) {
    let asked = format!("{{ip: {ip}}}");
    let expected = match name {
        "" => format!("{{ip:\"{ip}\"}}"),
        name => format!("{{ip:\"{ip}\", k8s.pod.name:\"{name}\"}}"),
    };
    (asked, expected)
}

async fn until_named(stage: &Stage, ip: &str, name: &str) {
    let (asked, expected) = named(ip, name);
    until_after(stage, &asked, &expected).await;
}

#[tokio::test]
async fn what_changes_is_watched_and_what_is_gone_stays_for_the_grace_period() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("a", "10.1.0.1"));
    let yaml = format!("{{{WAIT}, {NAME_ONLY}, pod_delete_grace_period: 1h}}");
    let stage = connected(&yaml, &api).await;
    until_named(&stage, "10.1.0.1", "a").await;
    api.put(PODS, "ADDED", pod("b", "10.1.0.2")).await;
    until_named(&stage, "10.1.0.2", "b").await;
    api.put(PODS, "MODIFIED", pod("b", "10.1.0.3")).await;
    until_named(&stage, "10.1.0.3", "b").await;
    // The address that it had is still found, and so is what is gone.
    until_named(&stage, "10.1.0.2", "b").await;
    let gone = api.remove_silently(PODS, "b");
    api.tell(PODS, Step::Event(json!({"type": "DELETED", "object": gone})))
        .await;
    api.put(PODS, "ADDED", pod("c", "10.1.0.4")).await;
    until_named(&stage, "10.1.0.4", "c").await;
    until_named(&stage, "10.1.0.3", "b").await;
    // An address that goes to a newer pod is the newer one's; an older one does not take it back.
    let mut newer = pod("d", "10.1.0.3");
    newer["status"]["startTime"] = json!("2026-04-07T11:00:00Z");
    api.put(PODS, "ADDED", newer).await;
    until_named(&stage, "10.1.0.3", "d").await;
    api.put(PODS, "ADDED", pod("e", "10.1.0.3")).await;
    api.put(PODS, "ADDED", pod("f", "10.1.0.6")).await;
    until_named(&stage, "10.1.0.6", "f").await;
    until_named(&stage, "10.1.0.3", "d").await;
}

#[tokio::test]
async fn a_watch_that_ends_or_breaks_is_taken_up_where_it_was() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("a", "10.1.0.1"));
    let stage = connected(&format!("{{{WAIT}, {NAME_ONLY}}}"), &api).await;
    let mark = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "40"}}});
    api.tell(PODS, Step::Event(mark)).await;
    api.tell(PODS, Step::Break).await;
    until("taken up", || {
        (api.asked("resourceVersion=40&") == 1).then_some(())
    })
    .await;
    api.cluster.lock().version = 41;
    api.put(PODS, "ADDED", pod("b", "10.1.0.2")).await;
    until_named(&stage, "10.1.0.2", "b").await;
    api.tell(PODS, Step::End).await;
    until("taken up", || {
        (api.asked("resourceVersion=42&") == 1).then_some(())
    })
    .await;
    assert_eq!(api.asked("/pods?limit=500"), 1, "listed once");
}

#[tokio::test]
async fn a_watch_that_is_too_old_begins_with_a_list() {
    let api = Api::start().await;
    api.cluster.lock().page = Some(2);
    for (name, ip) in [("a", "10.1.0.1"), ("b", "10.1.0.2"), ("c", "10.1.0.3")] {
        api.put_silently(PODS, pod(name, ip));
    }
    let yaml = format!("{{{WAIT}, {NAME_ONLY}, pod_delete_grace_period: 0s}}");
    let stage = connected(&yaml, &api).await;
    until_named(&stage, "10.1.0.3", "c").await;
    assert_eq!(api.asked("/pods?limit=500"), 2, "two pages");
    api.remove_silently(PODS, "a");
    api.put_silently(PODS, pod("d", "10.1.0.4"));
    let error = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}});
    api.tell(PODS, Step::Event(error)).await;
    until_named(&stage, "10.1.0.4", "d").await;
    stage.sweep();
    let (asked, expected) = named("10.1.0.1", "");
    assert_eq!(after(&stage, &asked, ""), expected);
    until_named(&stage, "10.1.0.2", "b").await;
    // A server that says it before the watch begins is heard too.
    api.cluster.lock().refusals.insert(PODS.into(), (410, "too old"));
    api.tell(PODS, Step::End).await;
    until("asked for the watch", || {
        (api.asked("&watch=true") + api.asked("?watch=true") >= 3).then_some(())
    })
    .await;
    api.put_silently(PODS, pod("e", "10.1.0.5"));
    api.cluster.lock().refusals.clear();
    until_named(&stage, "10.1.0.5", "e").await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_begins_with_a_list_too() {
    let api = Api::start().await;
    let stage = connected(&format!("{{{WAIT}, {NAME_ONLY}}}"), &api).await;
    api.put_silently(PODS, pod("a", "10.1.0.1"));
    api.tell(
        PODS,
        Step::Event(json!({"type": "ADDED", "object": {"metadata": "?"}})),
    )
    .await;
    until_named(&stage, "10.1.0.1", "a").await;
}

// --- what goes wrong ---

#[tokio::test]
async fn who_may_not_list_is_told_and_tries_again() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("a", "10.1.0.1"));
    api.cluster
        .lock()
        .refusals
        .insert(PODS.into(), (403, "pods is forbidden: no RBAC"));
    let stage = stage(&format!("{{{NAME_ONLY}}}"));
    let host = Arc::new(Lonely::default());
    stage.connect(host.clone(), || Ok(api.settings())).await.unwrap();
    let (component, status) = until("reported", || host.reports().pop()).await;
    assert_eq!(component, "processor:k8s_attributes");
    assert_eq!(
        status,
        Status::Recoverable("Pods: 403 Forbidden: pods is forbidden: no RBAC".into())
    );
    // Data passes meanwhile.
    assert_eq!(after(&stage, "{a: 1}", "10.1.0.1"), "{a:1}");
    api.cluster.lock().refusals.clear();
    until_named(&stage, "10.1.0.1", "a").await;
    until("well again", || {
        host.reports().pop().filter(|(_, status)| *status == Status::Ok)
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_server_that_is_silent_does_not_start() {
    let api = Api::start().await;
    api.cluster.lock().refusals.insert(PODS.into(), (0, ""));
    let stage = stage(&format!("{{{WAIT}, wait_for_metadata_timeout: 50ms}}"));
    let error = stage
        .connect(Arc::new(Lonely::default()), || Ok(api.settings()))
        .await
        .unwrap_err();
    assert_eq!(error, "failed to wait for caches to sync");
}

#[tokio::test]
async fn a_token_is_read_again_when_it_is_not_believed() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    api.put_silently(PODS, pod("a", "10.1.0.1"));
    api.cluster
        .lock()
        .refusals
        .insert(PODS.into(), (401, "Unauthorized"));
    let stage = stage(&format!("{{{NAME_ONLY}}}"));
    let settings = Settings {
        credential: Credential::File(file.clone()),
        ..api.settings()
    };
    stage
        .connect(Arc::new(Lonely::default()), || Ok(settings))
        .await
        .unwrap();
    until("asked", || {
        (api.asked("authorization: Bearer first\r\n") > 0).then_some(())
    })
    .await;
    std::fs::write(&file, "second\n").unwrap();
    until("asked", || {
        (api.asked("authorization: Bearer second\r\n") > 0).then_some(())
    })
    .await;
    api.cluster.lock().refusals.clear();
    until_named(&stage, "10.1.0.1", "a").await;
}

#[tokio::test]
async fn stopping_ends_the_watch() {
    let api = Api::start().await;
    let stage = connected(&format!("{{{WAIT}}}"), &api).await;
    until("watched", || {
        (!api.cluster.lock().watchers.is_empty()).then_some(())
    })
    .await;
    stage.stop().await;
    stage.stop().await;
    until("let go", || {
        api.cluster
            .lock()
            .watchers
            .iter()
            .all(|(_, w)| w.is_closed())
            .then_some(())
    })
    .await;
    assert_eq!(after(&stage, "{}", "10.1.0.1"), "{}");
}

/// A service in which pipelines of one component find each other.
#[derive(Default)]
struct Sharing(Mutex<HashMap<String, Shared>>);

impl Host for Sharing {
    fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn Consumer>, Fault> {
        Lonely::default().exporter(id)
    }

    fn extension(&self, id: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
        Lonely::default().extension(id)
    }

    fn report(&self, _: &str, _: Status) {}

    fn share(&self, owner: &str, what: &str, make: fn() -> Shared) -> Shared {
        let mut all = self.0.lock();
        all.entry(format!("{owner} {what}")).or_insert_with(make).clone()
    }
}

#[tokio::test]
async fn pipelines_of_one_component_share_what_they_know() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("a", "10.1.0.1"));
    let host = Arc::new(Sharing::default());
    let yaml = format!("{{{WAIT}, {NAME_ONLY}}}");
    let (one, other) = (stage(&yaml), stage(&yaml));
    for stage in [&one, &other] {
        stage.connect(host.clone(), || Ok(api.settings())).await.unwrap();
        until_named(stage, "10.1.0.1", "a").await;
    }
    assert_eq!(api.asked("/pods?limit=500"), 1);
    // Another configuration has its own.
    let third = stage(&format!("{{{WAIT}, {NAME_ONLY}, filter: {{node: n1}}}}"));
    third.connect(host, || Ok(api.settings())).await.unwrap();
    assert_eq!(api.asked("fieldSelector=spec.nodeName%3Dn1&limit=500"), 1);
}

#[test]
fn says_what_is_wrong() {
    let check = |yaml: &str, expected: &str| {
        let error = try_stage(yaml).err().unwrap_or_default();
        assert!(error.contains(expected), "{yaml}: {error}");
    };
    check(
        "{auth_type: oidc}",
        "valid values: none, serviceAccount, kubeConfig, tls",
    );
    check("{auth_type: tls}", "\"tls\" is not supported");
    check("{extract: {metadata: [k8s.pod.nam]}}", "k8s.pod.nam");
    check(
        "{extract: {labels: [{key: a, key_regex: b}]}}",
        "only one option is expected",
    );
    check("{extract: {labels: [{key_regex: '('}]}}", "extract::labels::0");
    check("{extract: {labels: [{key: a, from: cronjob}]}}", "valid values: ");
    check(
        "{filter: {fields: [{key: a, op: exists}]}}",
        "equals and not-equals",
    );
    check(
        "{filter: {node_from_env_var: WEIR_TEST_NO_SUCH_VARIABLE}}",
        "is not set",
    );
    check("{exclude: {pods: [{name: '['}]}}", "exclude::pods::0");
    let five = "{from: connection}, ".repeat(5);
    check(
        &format!("{{pod_association: [{{sources: [{five}]}}]}}"),
        "limit is 4",
    );
    check("{pod_association: [{from: connection}]}", "from");
    assert!(try_stage("{extract: {metadata: }, exclude: {pods: []}}").is_ok());
    let refusal = left_out(&section("{passthrough: true}")).to_string();
    assert!(refusal.contains("built without `kubernetes`"), "{refusal}");
}

#[test]
fn the_servers_place_is_found_by_the_environment() {
    let check = |auth, host: &str, port: &str, expected: Result<&str, &str>| {
        let found = Settings::find(auth, "", |name| match name {
            "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some(port.to_owned()),
            _ => Option::None,
        });
        let found = found.map(|settings| format!("{} {}", settings.server, settings.tls.ca_file));
        match expected {
            Ok(text) => assert_eq!(found.unwrap(), text),
            Err(text) => assert!(found.unwrap_err().contains(text)),
        }
    };
    use super::config::AuthType::*;
    let ca = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
    check(
        ServiceAccount,
        "10.0.0.1",
        "443",
        Ok(&format!("https://10.0.0.1:443 {ca}")),
    );
    check(
        ServiceAccount,
        "fd00::1",
        "443",
        Ok(&format!("https://[fd00::1]:443 {ca}")),
    );
    check(None, "10.0.0.1", "443", Ok("https://10.0.0.1:443 "));
    check(
        ServiceAccount,
        "",
        "443",
        Err("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"),
    );
    check(KubeConfig, "", "", Err("neither KUBECONFIG nor HOME is set"));
}

#[tokio::test]
async fn what_is_known_draws_from_the_memory_budget_and_what_finds_no_room_is_not_known() {
    let api = Api::start().await;
    api.put_silently(PODS, pod("a", "10.0.0.1"));
    let yaml = "{wait_for_metadata: true, pod_delete_grace_period: 0s, extract: {metadata: [k8s.pod.name]}, \
                pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.ip}]}]}";
    let cx = context("k8s_attributes");
    let stage = connected_in(yaml, &api, &cx).await;
    let one = cx.memory.used(Class::Nodes);
    assert!((1000..4000).contains(&one), "a pod takes {one} bytes");
    drop(stage);
    until("its room is free again", || {
        (cx.memory.used(Class::Nodes) == 0).then_some(())
    })
    .await;

    let narrow = BuildContext {
        memory: Arc::new(Memory::new(one + one / 2)),
        ..context("k8s_attributes")
    };
    api.put_silently(PODS, pod("b", "10.0.0.2"));
    let stage = connected_in(yaml, &api, &narrow).await;
    let named = |ip: &str| after(&stage, &format!("{{k8s.pod.ip: {ip}}}"), "").contains("k8s.pod.name");
    assert!(named("10.0.0.1") && !named("10.0.0.2"), "there is room for one");
    assert_eq!(narrow.memory.used(Class::Nodes), one);
    // What was known and has grown too large is not known as it was.
    let mut grown = pod("a", "10.0.0.1");
    grown["spec"]["containers"][0]["name"] = json!("x".repeat(one));
    api.put(PODS, "MODIFIED", grown).await;
    until("it is forgotten", || {
        stage.sweep();
        (!named("10.0.0.1")).then_some(())
    })
    .await;
    // There is room again for another one.
    let b = pod("b", "10.0.0.2");
    api.put(PODS, "MODIFIED", b).await;
    until("it is known", || named("10.0.0.2").then_some(())).await;
    assert_eq!(narrow.memory.used(Class::Nodes), one);
}
