//! Clients against peers that do as they are told.

mod grpc;
mod http;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Means;
use crate::auth::BoxFuture;
use crate::proxy::Proxies;
use crate::resolve::Resolve;

/// A resolver whose answer tests choose; counts its look-ups.
#[derive(Clone, Default)]
struct Names(Arc<State>);

#[derive(Default)]
struct State {
    addresses: parking_lot::Mutex<Vec<SocketAddr>>,
    asked: AtomicUsize,
}

impl Names {
    fn of(addresses: &[SocketAddr]) -> Names {
        let names = Names::default();
        names.set(addresses);
        names
    }

    fn set(&self, addresses: &[SocketAddr]) {
        *self.0.addresses.lock() = addresses.to_vec();
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Relaxed)
    }

    /// Without proxies.
    fn means(&self) -> Means {
        Means {
            resolver: Arc::new(self.clone()),
            proxies: Proxies::default(),
        }
    }

    fn behind(&self, variable: &'static str, proxy: &str) -> Means {
        let proxy = proxy.to_owned();
        Means {
            resolver: Arc::new(self.clone()),
            proxies: Proxies::read(|name| (name == variable).then(|| proxy.clone())),
        }
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        self.0.asked.fetch_add(1, Relaxed);
        let addresses = self.0.addresses.lock().clone();
        Box::pin(async { Ok(addresses) })
    }
}

/// An address of the loopback network on a port.
fn at(host: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((IpAddr::from(host), port))
}

/// A proxy that sends every CONNECT to one address, whatever name it asks for. Keeps the heads that it read.
struct Tunnels {
    addr: SocketAddr,
    heads: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Tunnels {
    async fn to(target: SocketAddr) -> Tunnels {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    seen.lock().push(head);
                    let mut far = TcpStream::connect(target).await.unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut far).await;
                });
            }
        });
        Tunnels { addr, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

/// The head of a request, byte by byte; empty where the peer has gone.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Until it is so; the test's own patience is the limit.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}
