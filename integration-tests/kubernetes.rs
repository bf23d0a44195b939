//! The program in a cluster: an API server that forbids and then allows, and what becomes of records meanwhile.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

use crate::signals::Running;
use crate::support::gateway::free_port;
use crate::support::peer::Peer;
use crate::support::{client, sample, until};

const POD: &str = r#"{"metadata": {"name": "web-abc-1", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
    "labels": {"pod-template-hash": "abc"},
    "ownerReferences": [{"kind": "ReplicaSet", "name": "web-abc", "uid": "r1", "controller": true}]},
  "spec": {"nodeName": "n1"}, "status": {"podIP": "10.1.0.7"}}"#;

/// An API server with one pod. Every watch ends at once.
async fn api(allows: Arc<AtomicBool>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let allows = allows.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let is_known = request
                    .headers()
                    .get("authorization")
                    .is_some_and(|v| v == "Bearer hush");
                let is_allowed = is_known && allows.load(Ordering::Relaxed);
                let is_watch = request.uri().query().is_some_and(|q| q.contains("watch=true"));
                let (status, body) = match (is_allowed, is_watch) {
                    (false, _) => (
                        StatusCode::FORBIDDEN,
                        r#"{"kind": "Status", "code": 403, "message": "pods is forbidden"}"#.to_owned(),
                    ),
                    (true, true) => (StatusCode::OK, String::new()),
                    (true, false) => (
                        StatusCode::OK,
                        format!(r#"{{"metadata": {{"resourceVersion": "7"}}, "items": [{POD}]}}"#),
                    ),
                };
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                std::future::ready(Ok::<_, Infallible>(response))
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    address
}

/// A file that says where the API server is, and who we are.
fn kubeconfig(folder: &Path, api: SocketAddr) -> String {
    let path = folder.join("config");
    let text = format!(
        "{{current-context: c, clusters: [{{name: k, cluster: {{server: 'http://{api}'}}}}], \
         users: [{{name: u, user: {{token: hush}}}}], contexts: [{{name: c, context: {{cluster: k, user: u}}}}]}}"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// One record of a resource with the pod's address.
fn record() -> Vec<u8> {
    let mut request = sample::logs(1);
    request.resource_logs.truncate(1);
    let resource = request.resource_logs[0].resource.get_or_insert_default();
    resource.attributes = vec![sample::attr("k8s.pod.ip", sample::text("10.1.0.7"))];
    request.encode_to_vec()
}

/// Keys and texts of the attributes of the last request's resource.
fn attributes(peer: &Peer) -> Vec<String> {
    let requests = peer.logs();
    let resource = requests.last().unwrap().resource_logs[0]
        .resource
        .clone()
        .unwrap();
    let each = resource.attributes.iter().map(|a| {
        let bytes = a.value.as_ref().unwrap().encode_to_vec();
        format!("{}={}", a.key, String::from_utf8_lossy(&bytes[2..]))
    });
    each.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_pass_while_the_api_server_forbids_and_are_named_once_it_allows() {
    let allows = Arc::new(AtomicBool::new(false));
    let api = api(allows.clone()).await;
    let peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig(folder.path(), api);
    let endpoint: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let config = format!(
        "yaml:{{receivers: {{otlp: {{protocols: {{http: {{endpoint: '{endpoint}'}}}}}}}}, \
         processors: {{k8s_attributes: {{auth_type: kubeConfig}}, \
         resource_detection: {{detectors: [env], override: false}}}}, \
         exporters: {{otlp_grpc: {{endpoint: 'http://{}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}}}, \
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{logs: {{receivers: [otlp], \
         processors: [k8s_attributes, resource_detection], exporters: [otlp_grpc]}}}}}}}}",
        peer.addr
    );
    let environment = [
        ("KUBECONFIG", kubeconfig.as_str()),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment=prod,k8s.cluster.name=eu%201",
        ),
    ];
    let mut gateway = Running::with(&config, &environment);
    let line = gateway.wait_for("the kubernetes API cannot be asked");
    assert!(line.contains("403 Forbidden: pods is forbidden"), "{line}");
    assert!(!line.contains("hush"), "{line}");
    until("it listens", || std::net::TcpStream::connect(endpoint).is_ok()).await;
    let answer = client::post_otlp(endpoint, "/v1/logs", &record()).await;
    assert_eq!(answer.status, 200);
    let detected = ["deployment.environment=prod", "k8s.cluster.name=eu 1"];
    let ip = "k8s.pod.ip=10.1.0.7";
    assert_eq!(attributes(&peer), [&[ip], &detected[..]].concat());

    allows.store(true, Ordering::Relaxed);
    gateway.wait_for("the kubernetes API answers again");
    let answer = client::post_otlp(endpoint, "/v1/logs", &record()).await;
    assert_eq!(answer.status, 200);
    let named = [
        "k8s.pod.name=web-abc-1",
        "k8s.namespace.name=shop",
        "k8s.pod.uid=u1",
        "k8s.deployment.name=web",
        "k8s.node.name=n1",
    ];
    assert_eq!(attributes(&peer), [&[ip], &named[..], &detected[..]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_namespace_is_the_tenant_that_the_exporter_names() {
    let api = api(Arc::new(AtomicBool::new(true))).await;
    let peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig(folder.path(), api);
    let endpoint: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let config = format!(
        "yaml:{{receivers: {{otlp: {{protocols: {{http: {{endpoint: '{endpoint}'}}}}}}}}, \
         processors: {{k8s_attributes: {{auth_type: kubeConfig, wait_for_metadata: true}}, \
         tenant: {{from: [{{kubernetes_namespace: true}}], unknown: {{default: nobody}}}}}}, \
         exporters: {{otlp_http: {{endpoint: 'http://{}/%{{tenant}}', compression: none, \
         headers: {{x-scope-orgid: '%{{tenant}}'}}, sending_queue: {{enabled: false}}}}}}, \
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{logs: {{receivers: [otlp], \
         processors: [k8s_attributes, tenant], exporters: [otlp_http]}}}}}}}}",
        peer.addr
    );
    let mut gateway = Running::with(&config, &[("KUBECONFIG", kubeconfig.as_str())]);
    gateway.wait_for("Everything is ready");
    // One of the pod, and one of an address that nobody has.
    let mut request = ExportLogsServiceRequest::decode(&record()[..]).unwrap();
    let mut stranger = request.resource_logs[0].clone();
    stranger.resource.get_or_insert_default().attributes =
        vec![sample::attr("k8s.pod.ip", sample::text("10.1.0.8"))];
    request.resource_logs.push(stranger);
    let answer = client::post_otlp(endpoint, "/v1/logs", &request.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let mut taken: Vec<(String, String)> = peer
        .taken()
        .iter()
        .map(|one| {
            let header = one.headers["x-scope-orgid"].to_str().unwrap();
            (one.path.clone(), header.to_owned())
        })
        .collect();
    taken.sort();
    let expected = [("/nobody/v1/logs", "nobody"), ("/shop/v1/logs", "shop")];
    assert_eq!(
        taken,
        expected.map(|(path, name)| (path.to_owned(), name.to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_clusters_runs() {
    let api = api(Arc::new(AtomicBool::new(true))).await;
    let peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig(folder.path(), api);
    let http: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/kubernetes.yaml");
    let mut text = std::fs::read_to_string(example).unwrap();
    let exporter = format!(
        "otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}}}",
        peer.addr
    );
    for (from, to) in [
        ("0.0.0.0:13133", "127.0.0.1:0"),
        ("0.0.0.0:4317", "127.0.0.1:0"),
        ("0.0.0.0:4318", &http.to_string()),
        (
            "  k8s_attributes:\n",
            "  k8s_attributes:\n    auth_type: kubeConfig\n",
        ),
        ("debug: {verbosity: basic}", &exporter),
        ("exporters: [debug]", "exporters: [otlp_grpc]"),
        (
            "\nservice:\n",
            "\nservice:\n  telemetry: {metrics: {level: none}}\n",
        ),
    ] {
        assert!(text.contains(from), "it does not name {from:?}");
        text = text.replace(from, to);
    }
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, text).unwrap();
    let environment = [("KUBECONFIG", kubeconfig.as_str())];
    let mut gateway = Running::with(path.to_str().unwrap(), &environment);
    gateway.wait_for("Everything is ready");
    // Until the pod is known, records pass without what it would have added.
    let named = |found: &[String]| {
        let has = |one: &str| found.iter().any(|attribute| attribute == one);
        has("k8s.pod.name=web-abc-1") && has("k8s.namespace.name=shop") && has("k8s.deployment.name=web")
    };
    let mut sent = 0;
    loop {
        let answer = client::post_otlp(http, "/v1/logs", &record()).await;
        assert_eq!(answer.status, 200);
        sent += 1;
        until("it came", || {
            let requests = peer.logs();
            requests.iter().map(|r| r.resource_logs.len()).sum::<usize>() == sent
        })
        .await;
        if named(&attributes(&peer)) {
            return;
        }
        assert!(sent < 200, "{:?}", attributes(&peer));
    }
}

#[test]
fn a_detector_that_is_not_here_says_so_and_the_gateway_runs() {
    let config = "yaml:{receivers: {nop: }, processors: {resourcedetection: {detectors: [gcp, eks]}}, exporters: {nop: }, \
        service: {telemetry: {metrics: {level: none}}, pipelines: {logs: {receivers: [nop], \
        processors: [resourcedetection], exporters: [nop]}}}}";
    let mut gateway = Running::with(config, &[]);
    gateway.wait_for("\"resourcedetection\" alias is deprecated; use \"resource_detection\" instead");
    for name in ["gcp", "eks"] {
        let line = gateway.wait_for("this resource detector is not part of this gateway and finds nothing");
        assert!(line.contains(name), "{line}");
    }
    gateway.wait_for("Everything is ready");
}

#[test]
fn a_variable_that_cannot_be_read_stops_the_start_and_is_not_shown() {
    let config = "yaml:{receivers: {nop: }, processors: {resource_detection: }, exporters: {nop: }, \
        service: {telemetry: {metrics: {level: none}}, pipelines: {logs: {receivers: [nop], \
        processors: [resource_detection], exporters: [nop]}}}}";
    let mut gateway = Running::with(config, &[("OTEL_RESOURCE_ATTRIBUTES", "a=1,hush")]);
    let line = gateway.wait_for("resource detection failed: OTEL_RESOURCE_ATTRIBUTES: pair 2 has no");
    assert!(!line.contains("hush"), "{line}");
}
