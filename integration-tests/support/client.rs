//! Clients: OTLP/gRPC over the h2 crate, anything over a raw socket.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// What a gRPC call ended with.
#[derive(Debug)]
pub struct GrpcAnswer {
    pub code: u8,
    pub message: String,
    /// Headers (trailers-only) or trailers.
    pub trailers: HeaderMap,
    pub body: Bytes,
}

/// One connection.
#[derive(Clone)]
pub struct Grpc {
    send: h2::client::SendRequest<Bytes>,
}

impl Grpc {
    pub async fn connect(addr: SocketAddr) -> Grpc {
        let socket = TcpStream::connect(addr).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Grpc::over(socket).await
    }

    /// Over a connection that is there, as one with TLS.
    pub async fn over(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Grpc {
        let (send, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Grpc { send }
    }

    pub async fn export(&self, path: &str, message: &[u8]) -> GrpcAnswer {
        self.call(path, frame(0, message), &[], true).await
    }

    /// A call with any framing and headers; `end` = half-close after the body.
    pub async fn call(&self, path: &str, body: Bytes, headers: &[(&str, &str)], end: bool) -> GrpcAnswer {
        let mut request = Request::post(format!("http://weir{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut send = self.send.clone().ready().await.unwrap();
        let (response, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
        // the server may answer before it has read all
        let _ = stream.send_data(body, end);
        let response = match tokio::time::timeout(Duration::from_secs(20), response)
            .await
            .expect("an answer in 20 s")
        {
            Ok(response) => response,
            Err(error) => panic!("{error}"),
        };
        let headers = response.headers().clone();
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            let _ = body.flow_control().release_capacity(data.len());
            bytes.put(data);
        }
        let trailers = match headers.contains_key("grpc-status") {
            true => headers,
            false => body.trailers().await.unwrap().expect("trailers"),
        };
        let text = |name: &str| trailers.get(name).map(|v| v.to_str().unwrap().to_owned());
        let code = text("grpc-status").expect("grpc-status").parse().unwrap();
        let message = text("grpc-message").unwrap_or_default();
        GrpcAnswer {
            code,
            message,
            trailers,
            body: bytes.freeze(),
        }
    }
}

/// A gRPC message with its prefix.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + message.len());
    out.put_u8(flag);
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out.freeze()
}

/// What an HTTP/1.1 server answered.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// Posts over HTTP/1.1 with nothing between us and the socket.
pub async fn post(addr: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpAnswer {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: weir\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("connection: close\r\n\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    raw(addr, &bytes).await
}

/// Posts protobuf.
pub async fn post_otlp(addr: SocketAddr, path: &str, body: &[u8]) -> HttpAnswer {
    post(addr, path, &[("content-type", "application/x-protobuf")], body).await
}

/// Writes bytes, reads one response until the server closes or has sent its content-length.
pub async fn raw(addr: SocketAddr, bytes: &[u8]) -> HttpAnswer {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    // the server may answer and close before it has read all
    let _ = socket.write_all(bytes).await;
    let mut got = Vec::new();
    let read = async {
        let mut buffer = [0u8; 16384];
        loop {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => got.extend_from_slice(&buffer[..n]),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("the connection closes within 20 s");
    let split = got
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a response head");
    let head = String::from_utf8_lossy(&got[..split]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    HttpAnswer {
        status,
        head,
        body: got[split + 4..].to_vec(),
    }
}
