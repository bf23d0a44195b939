//! Clients that never rest: over gRPC and HTTP, on connections of their own, from one life of the gateway to the next.
//! They remember what was answered with a yes; what was refused or left unanswered is not sent again, so that whatever
//! arrives twice was sent twice by the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::client::frame;
use super::records::Batch;

/// Who sends what.
#[derive(Clone, Debug)]
pub struct Plan {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// Connections of each kind.
    pub connections: usize,
    /// Records of a request.
    pub records: u64,
    /// Bytes of text in a record.
    pub text: usize,
    /// Each so manieth request is marked; 0 = none.
    pub marked: u64,
    /// Between an answer and the next request.
    pub pause: Duration,
    /// Sent along with each request, and to be found nowhere afterwards.
    pub token: String,
}

struct Shared {
    plan: Plan,
    next: AtomicU64,
    done: AtomicBool,
    acknowledged: Mutex<Vec<Batch>>,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

/// What became of a request.
enum Answer {
    Yes,
    No,
    None,
}

impl Load {
    pub fn start(plan: Plan) -> Load {
        let connections = plan.connections;
        let shared = Arc::new(Shared {
            plan,
            next: AtomicU64::new(0),
            done: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            refused: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        });
        let mut clients = JoinSet::new();
        for n in 0..2 * connections {
            clients.spawn(client(shared.clone(), n % 2 == 0));
        }
        Load { shared, clients }
    }

    /// Requests that were answered with a yes.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().len()
    }

    /// Requests that were refused, and requests that got no answer.
    pub fn others(&self) -> (u64, u64) {
        (
            self.shared.refused.load(Relaxed),
            self.shared.unanswered.load(Relaxed),
        )
    }

    /// Ends; what was answered with a yes.
    pub async fn stop(mut self) -> Vec<Batch> {
        self.shared.done.store(true, Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.shared.acknowledged.lock())
    }
}

type Body = Full<Bytes>;

enum Connection {
    Grpc(hyper::client::conn::http2::SendRequest<Body>),
    Http(hyper::client::conn::http1::SendRequest<Body>),
}

impl Connection {
    async fn open(plan: &Plan, grpc: bool) -> Option<Connection> {
        let socket = TcpStream::connect(if grpc { plan.grpc } else { plan.http })
            .await
            .ok()?;
        socket.set_nodelay(true).ok()?;
        let io = TokioIo::new(socket);
        if grpc {
            let (send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .ok()?;
            tokio::spawn(connection);
            Some(Connection::Grpc(send))
        } else {
            let (send, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
            tokio::spawn(connection);
            Some(Connection::Http(send))
        }
    }

    async fn send(&mut self, plan: &Plan, batch: &Batch) -> hyper::Result<Answer> {
        let request = |kind: &str, grpc: bool| {
            let authority = if grpc { "http://weir" } else { "" };
            Request::post(format!("{authority}{}", batch.path(grpc)))
                .header("content-type", kind)
                .header("te", "trailers")
                .header("host", "weir")
                .header("authorization", format!("Bearer {}", plan.token))
                .header("x-api-key", &plan.token)
                .header("x-tenant", "acme")
        };
        let yes = match self {
            Connection::Grpc(send) => {
                send.ready().await?;
                let body = Full::new(frame(0, &batch.message()));
                let request = request("application/grpc", true).body(body).unwrap();
                let (head, body) = send.send_request(request).await?.into_parts();
                let body = body.collect().await?;
                let trailers = body.trailers().unwrap_or(&head.headers);
                let Some(status) = trailers.get("grpc-status") else {
                    return Ok(Answer::None);
                };
                status == "0"
            }
            Connection::Http(send) => {
                send.ready().await?;
                let body = Full::new(batch.message().into());
                let request = request("application/x-protobuf", false).body(body).unwrap();
                let (head, body) = send.send_request(request).await?.into_parts();
                body.collect().await?;
                head.status == 200
            }
        };
        Ok(if yes { Answer::Yes } else { Answer::No })
    }
}

/// One connection at a time, one request at a time.
async fn client(shared: Arc<Shared>, grpc: bool) {
    let plan = &shared.plan;
    let mut connection: Option<Connection> = None;
    while !shared.done.load(Relaxed) {
        let Some(open) = &mut connection else {
            connection = Connection::open(plan, grpc).await;
            if connection.is_none() {
                // Nobody listens between two lives.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            continue;
        };
        let number = shared.next.fetch_add(1, Relaxed);
        let batch = Batch {
            first: number * plan.records,
            records: plan.records,
            is_trace: number % 4 == 3,
            is_marked: plan.marked > 0 && number % plan.marked == plan.marked - 1,
            text: plan.text,
        };
        let answer = timeout(Duration::from_secs(20), open.send(plan, &batch)).await;
        match answer {
            Ok(Ok(Answer::Yes)) => shared.acknowledged.lock().push(batch),
            Ok(Ok(Answer::No)) => {
                shared.refused.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(Ok(Answer::None) | Err(_)) | Err(_) => {
                shared.unanswered.fetch_add(1, Relaxed);
                connection = None;
            }
        }
        tokio::time::sleep(plan.pause).await;
    }
}
