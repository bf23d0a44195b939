//! Configurations that change under load: nobody notices but the books.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use telemetry::{Column, Node, Place};
use weir::service::reload::Fate;
use wire::Signal;

use crate::support::client::{self, LOGS};
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::{sample, until};

/// What may differ from one configuration to the next.
#[derive(Clone, Default)]
struct Draft {
    /// In the body limit of the receiver.
    door: usize,
    /// In the value that a processor writes.
    stage: usize,
    /// In the queue of the exporter.
    queue: usize,
    /// Whether there is a second exporter.
    second: bool,
}

impl Draft {
    fn text(&self, first: SocketAddr, second: SocketAddr) -> String {
        let Draft {
            door, stage, queue, ..
        } = self;
        let (more, list) = match self.second {
            true => (
                format!("  otlp_grpc/second: {{endpoint: \"{second}\", tls: {{insecure: true}}}}\n"),
                "[otlp_grpc, otlp_grpc/second]",
            ),
            false => (String::new(), "[otlp_grpc]"),
        };
        format!(
            r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}", max_recv_msg_size_mib: {mib}}}
      http: {{endpoint: "127.0.0.1:{{http}}", max_request_body_size: {size}}}
processors:
  resource: {{attributes: [{{key: stage, value: "{stage}", action: upsert}}]}}
exporters:
  otlp_grpc: {{endpoint: "{first}", tls: {{insecure: true}}, sending_queue: {{queue_size: {queue}}}}}
{more}service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], processors: [resource], exporters: {list}}}
"#,
            mib = 4 + door,
            size = (4 + door) << 20,
            queue = 5000 + queue,
        )
    }
}

/// A client with one connection, which it keeps while the server does.
struct Client {
    at: SocketAddr,
    grpc: bool,
    /// Connections made so far.
    opened: usize,
    way: Option<Way>,
}

enum Way {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Tries again what never left, and what met a GOAWAY: both were not looked at, and every client does so. Were one
    /// of them taken all the same, the other end would have too many.
    async fn request(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, String> {
        let copy = request.clone();
        let mut unsent = Some(request);
        while let Some(request) = unsent.take() {
            let way = match self.way.take() {
                Some(way) => way,
                None => self.connect().await?,
            };
            let way = self.way.insert(way);
            let ready = match way {
                Way::Http1(send) => send.ready().await,
                Way::Http2(send) => send.ready().await,
            };
            if ready.is_err() {
                (self.way, unsent) = (None, Some(request));
                continue;
            }
            let sent = match way {
                Way::Http1(send) => send.try_send_request(request).await,
                Way::Http2(send) => send.try_send_request(request).await,
            };
            match sent {
                Ok(response) => return Ok(response),
                Err(mut error) => {
                    unsent = error.take_message();
                    self.way = None;
                    let error = error.into_error();
                    let source =
                        std::error::Error::source(&error).and_then(|e| e.downcast_ref::<h2::Error>());
                    let turned_away = |e: &h2::Error| {
                        e.is_remote() && e.is_go_away() && e.reason() == Some(h2::Reason::NO_ERROR)
                    };
                    if source.is_some_and(turned_away) {
                        unsent = Some(copy.clone());
                    }
                    if unsent.is_none() {
                        return Err(format!("{error:?}"));
                    }
                }
            }
        }
        unreachable!("the loop ends with an answer or an error")
    }

    async fn connect(&mut self) -> Result<Way, String> {
        self.opened += 1;
        let socket = tokio::net::TcpStream::connect(self.at).await;
        let socket = socket.map_err(|e| format!("cannot connect: {e}"))?;
        socket.set_nodelay(true).unwrap();
        let io = TokioIo::new(socket);
        Ok(match self.grpc {
            false => {
                let (send, connection) = http1::handshake(io).await.map_err(|e| e.to_string())?;
                tokio::spawn(connection);
                Way::Http1(send)
            }
            true => {
                let made = http2::handshake(TokioExecutor::new(), io).await;
                let (send, connection) = made.map_err(|e| e.to_string())?;
                tokio::spawn(connection);
                Way::Http2(send)
            }
        })
    }

    /// One request; what went wrong, if anything did.
    async fn send(&mut self, message: &Bytes) -> Result<(), String> {
        let (path, kind, body) = match self.grpc {
            true => (LOGS, "application/grpc", client::frame(0, message)),
            false => ("/v1/logs", "application/x-protobuf", message.clone()),
        };
        let request = http::Request::post(format!("http://{}{path}", self.at))
            .header("host", "weir")
            .header("content-type", kind)
            .header("te", "trailers")
            .body(Full::new(body))
            .unwrap();
        let response = self.request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| format!("{e:?}"))?;
        let code = head
            .headers
            .get("grpc-status")
            .or_else(|| body.trailers()?.get("grpc-status"));
        match (self.grpc, head.status.as_u16(), code) {
            (true, 200, Some(code)) if code == "0" => Ok(()),
            (false, 200, _) => Ok(()),
            (_, status, code) => Err(format!("{status} {code:?}")),
        }
    }
}

const REQUESTS: usize = 10_000;
const RELOADS: usize = 100;
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_requests_during_a_hundred_reloads_all_succeed() {
    let (first, second) = (Peer::start().await, Peer::start().await);
    let mut draft = Draft::default();
    let gateway = Arc::new(Gateway::start(&draft.text(first.addr, second.addr)).await);
    let message = Bytes::from(sample::logs(1).encode_to_vec());
    let (sent, reloads_done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients = (0..CLIENTS).map(|n| {
        let grpc = n % 2 == 0;
        let at = if grpc { gateway.grpc } else { gateway.http };
        let (sent, done, message) = (sent.clone(), reloads_done.clone(), message.clone());
        tokio::spawn(async move {
            let mut client = Client {
                at,
                grpc,
                opened: 0,
                way: None,
            };
            let mut failed = Vec::new();
            // at least the number asked for, and until the last reload is over
            while sent.fetch_add(1, Relaxed) < REQUESTS || !done.load(Relaxed) {
                failed.extend(client.send(&message).await.err());
            }
            sent.fetch_sub(1, Relaxed);
            (failed, client.opened)
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut kinds = [0; 6];
    for n in 0..RELOADS {
        let kind = n % 6;
        kinds[kind] += 1;
        match kind {
            0 => {}
            1 => draft.stage += 1,
            2 => draft.queue += 1,
            3 => draft.second = !draft.second,
            4 => draft.door = (draft.door + 1) % 50,
            _ => {
                let broken = draft.text(first.addr, second.addr).replace("upsert", "upset");
                let told = gateway.reload(&broken).await.unwrap_err().to_string();
                assert!(told.contains("test.yaml:") && told.contains("upset"), "{told}");
                continue;
            }
        }
        let diff = gateway.reload(&draft.text(first.addr, second.addr)).await;
        let diff = diff.unwrap_or_else(|faults| panic!("{faults}"));
        let changed = diff
            .components
            .values()
            .filter(|fate| **fate != Fate::Kept)
            .count();
        assert_eq!(changed, usize::from(kind != 0), "{diff}");
        // spread over the requests
        let due = REQUESTS * n / RELOADS;
        until("requests go on", || sent.load(Relaxed) >= due).await;
    }
    reloads_done.store(true, Relaxed);
    let mut failed = Vec::new();
    for client in clients {
        let (more, opened) = client.await.unwrap();
        failed.extend(more);
        // once at first, and when the receiver is another; twice if the old one was quicker to accept
        assert!(opened <= 1 + 2 * kinds[4], "{opened} connections");
    }
    assert_eq!(failed, Vec::<String>::new());
    let count = sent.load(Relaxed) as u64;
    assert!(count >= REQUESTS as u64, "{count} requests");
    assert_eq!(kinds, [17, 17, 17, 17, 16, 16]);
    let Ok(gateway) = Arc::try_unwrap(gateway) else {
        panic!("the clients are done");
    };
    let pipeline = gateway.books(Place::Node(Node::Pipeline("logs".into())), Signal::Logs);
    let books = |id: &str| gateway.books(Place::Node(Node::Exporter(id.into())), Signal::Logs);
    until("all is delivered", || {
        books("otlp_grpc").get(Column::Out) == count
    })
    .await;
    assert_eq!(pipeline.get(Column::Out), count);
    assert_eq!(first.logs().len() as u64, count, "none lost, none twice");
    until("and to the second", || books("otlp_grpc/second").held() == 0).await;
    assert_eq!(
        second.logs().len() as u64,
        books("otlp_grpc/second").get(Column::Out)
    );
    let metrics = gateway.metrics();
    assert!(metrics.contains("weir_reload_attempts 100"), "{metrics}");
    assert!(metrics.contains("weir_reload_failures 16"), "{metrics}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_takes_a_restart_is_refused_and_everything_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let text = format!(
        r#"
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{{http}}"}}}}}}}}
exporters:
  file: {{path: "{out}", sending_queue: {{enabled: true, storage: file_storage}}}}
extensions:
  file_storage: {{directory: "{disk}", create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
"#,
        out = out.display(),
        disk = folder.path().join("disk").display(),
    );
    let gateway = Gateway::start(&text).await;
    let refusals = [
        (
            "create_directory: true",
            "create_directory: true, fsync: false",
            "extensions::file_storage: queues on disk are in use: a change of their storage takes a restart of the process",
        ),
        (
            "sending_queue",
            "format: proto, sending_queue",
            "writes it in another format or compression: take another path, or restart the process",
        ),
    ];
    for (before, (from, to, why)) in refusals.into_iter().enumerate() {
        assert!(text.contains(from));
        let told = gateway
            .reload(&text.replace(from, to))
            .await
            .unwrap_err()
            .to_string();
        assert!(told.contains(why), "{told}");
        let logs = sample::logs(1).encode_to_vec();
        assert_eq!(
            client::post_otlp(gateway.http, "/v1/logs", &logs).await.status,
            200
        );
        let written = || std::fs::read_to_string(&out).unwrap().lines().count();
        until("the old one writes it", || written() == before + 1).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_files_next_exporter_goes_on_where_the_last_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let text = format!(
        r#"
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{{http}}"}}}}}}}}
exporters:
  file: {{path: "{out}", sending_queue: {{enabled: true}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
"#,
        out = out.display(),
    );
    let gateway = Gateway::start(&text).await;
    for (i, keys) in ["", "append: true, ", "rotation: {max_megabytes: 1}, ", ""]
        .into_iter()
        .enumerate()
    {
        if i > 0 {
            let next = text.replace("sending_queue", &format!("{keys}sending_queue"));
            gateway.reload(&next).await.expect("it takes over");
        }
        let logs = sample::logs(i as u64 + 1).encode_to_vec();
        assert_eq!(
            client::post_otlp(gateway.http, "/v1/logs", &logs).await.status,
            200
        );
        let lines = || std::fs::read_to_string(&out).unwrap().lines().count();
        until("it is written", || lines() == i + 1).await;
    }
    let text = std::fs::read_to_string(&out).unwrap();
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("a whole document");
    }
    gateway.stop().await;
}
