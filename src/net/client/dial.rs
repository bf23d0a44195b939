//! Connections: to a name's addresses, through a proxy, under TLS.
//!
//! Everything here makes one connection or says why not; who needs it sets the time limit. Nothing is sent twice.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::BoxError;
use crate::proxy::Proxy;
use crate::resolve::{Resolve, host_port};

/// For a connection from the look-up of its name to the end of its handshakes.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unacknowledged before the kernel gives a connection up.
const UNACKED_MAX: Duration = Duration::from_secs(20);
/// How long an address is tried alone, as Go has it.
const NEXT_AFTER: Duration = Duration::from_millis(300);
/// Addresses of one name beyond these are not tried.
const TRIED_MAX: usize = 16;
/// What a proxy may answer to CONNECT.
const PROXY_HEAD_MAX: usize = 8 << 10;

/// What bytes go through.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Any connection.
pub(super) type Stream = Box<dyn Io>;

/// To one address.
pub(super) async fn to_address(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&stream);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(UNACKED_MAX))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKED_MAX))?;
    Ok(stream)
}

/// To a unix socket.
pub(super) async fn to_socket(path: &str) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// To whichever address of a name answers first; each is given a start over the next.
pub(super) async fn to_name(resolver: &dyn Resolve, host: &str, port: u16) -> Result<TcpStream, BoxError> {
    let found = resolver.resolve(host, port).await;
    let found = found.map_err(|e| format!("cannot resolve {host}: {e}"))?;
    let mut waiting: VecDeque<SocketAddr> = found.into_iter().take(TRIED_MAX).collect();
    let mut tried = JoinSet::new();
    let mut why: BoxError = format!("no address for {host}").into();
    loop {
        let next = waiting.pop_front();
        match next {
            Some(address) => {
                tried.spawn(async move { (address, to_address(address).await) });
            }
            None if tried.is_empty() => return Err(why),
            None => {}
        }
        let ended = match waiting.is_empty() {
            true => tried.join_next().await,
            false => match tokio::time::timeout(NEXT_AFTER, tried.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
        };
        match ended {
            Some(Ok((_, Ok(stream)))) => return Ok(stream),
            Some(Ok((address, Err(error)))) => why = format!("cannot connect to {address}: {error}").into(),
            Some(Err(error)) => why = error.into(),
            None => {}
        }
    }
}

/// To a proxy; `tls` encrypts the way there if the proxy wants that.
pub(super) async fn to_proxy(
    resolver: &dyn Resolve,
    proxy: &Proxy,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<Stream, BoxError> {
    let stream = to_name(resolver, &proxy.host, proxy.port).await;
    let stream: Stream = Box::new(stream.map_err(|e| format!("proxy: {e}"))?);
    if !proxy.tls {
        return Ok(stream);
    }
    let mut config = match tls {
        Some(config) => config.as_ref().clone(),
        None => crate::tls::ClientTls::default().load(&[])?.as_ref().clone(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(proxy.host.clone()).map_err(|e| format!("proxy: {e}"))?;
    Ok(Box::new(secure(stream, Arc::new(config), name).await?))
}

/// Asks a proxy for a way to `host:port`. What comes behind its answer stays in the stream.
pub(super) async fn tunnel(
    mut stream: Stream,
    proxy: &Proxy,
    host: &str,
    port: u16,
    agent: &str,
) -> Result<Stream, BoxError> {
    let to = host_port(host, port);
    let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: {agent}\r\n").into_bytes();
    if let Some(value) = proxy.authorization() {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head).await?;
    stream.flush().await?;
    let mut answer = Vec::with_capacity(256);
    // Byte by byte, once a connection: what follows the head is the target's.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == PROXY_HEAD_MAX {
            return Err(format!("the proxy's answer to CONNECT {to} is too long").into());
        }
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) => return Err(format!("the proxy did not answer CONNECT {to}: {error}").into()),
        }
    }
    let line = answer.split(|b| *b == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next()) {
        (Some("HTTP/1.0" | "HTTP/1.1"), Some(status)) if status.len() == 3 && status.starts_with('2') => {
            Ok(stream)
        }
        _ => Err(format!("the proxy refused CONNECT {to}: {}", line.escape_default()).into()),
    }
}

/// The client's side of a TLS handshake.
pub(super) async fn secure<S: Io>(
    stream: S,
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<TlsStream<S>> {
    TlsConnector::from(config).connect(name, stream).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::auth::BoxFuture;

    struct Fixed(Vec<SocketAddr>);

    impl Resolve for Fixed {
        fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            Box::pin(async { Ok(self.0.clone()) })
        }
    }

    #[tokio::test]
    async fn takes_the_first_address_that_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bad = gone.local_addr().unwrap();
        drop(gone);
        let stream = to_name(&Fixed(vec![bad, good]), "x", 1).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = to_name(&Fixed(vec![bad]), "x", 1).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot connect to {bad}: ")),
            "{error}"
        );
        let error = to_name(&Fixed(vec![]), "x", 1).await.unwrap_err().to_string();
        assert_eq!(error, "no address for x");
    }

    async fn answered(answer: &[u8]) -> (String, Result<Vec<u8>, String>) {
        let (ours, mut theirs) = tokio::io::duplex(16 << 10);
        theirs.write_all(answer).await.unwrap();
        let proxy = Proxy::parse("http://u:p@proxy:1").unwrap();
        let got = match tunnel(Box::new(ours), &proxy, "fd00::1", 4317, "Weir/1").await {
            Ok(mut stream) => {
                let mut behind = vec![0; 5];
                stream.read_exact(&mut behind).await.unwrap();
                Ok(behind)
            }
            Err(error) => Err(error.to_string()),
        };
        let mut asked = String::new();
        // The tunnel is gone, so this ends.
        theirs.read_to_string(&mut asked).await.unwrap();
        (asked, got)
    }

    #[tokio::test]
    async fn a_tunnel_begins_behind_the_proxys_answer() {
        let (asked, got) = answered(b"HTTP/1.1 200 Connection established\r\nx: y\r\n\r\nhello").await;
        assert_eq!(
            asked,
            "CONNECT [fd00::1]:4317 HTTP/1.1\r\nHost: [fd00::1]:4317\r\nUser-Agent: Weir/1\r\n\
             Proxy-Authorization: Basic dTpw\r\n\r\n"
        );
        assert_eq!(got, Ok(b"hello".to_vec()));
        let check = async |answer: &[u8], expected: &str| {
            let error = answered(answer).await.1.unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "refused CONNECT [fd00::1]:4317: HTTP/1.1 407 Proxy",
        )
        .await;
        check(b"SSH-2.0 hello\r\n\r\n", "refused CONNECT").await;
        check(b"HTTP/1.1 20 OK\r\n\r\n", "refused CONNECT").await;
        check(&[b'a'; 9 << 10], "is too long").await;
    }
}
