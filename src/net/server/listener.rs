//! A bound socket apart from who serves it, so that one server can take over from another without a moment in which
//! nobody listens: connections that wait in the kernel's queue belong to the socket, not to a server.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::Transport;
use super::stream::Stream;

/// A socket that is bound and listens. It closes with the last of its clones and of the servers that accept from it.
#[derive(Clone, Debug)]
pub struct Listener(Arc<Socket>);

/// A [`Listener`] that keeps nothing open.
#[derive(Clone, Debug)]
pub struct WeakListener(Weak<Socket>);

#[derive(Debug)]
enum Socket {
    Tcp(std::net::TcpListener, SocketAddr),
    Unix(StdUnixListener, PathBuf),
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// Binds to `host:port`, `:port`, or a path for unix sockets; `mode` = the permissions of the latter.
    ///
    /// Errors: as the system has them, with the address before them: `listen tcp 127.0.0.1:4317: ...`.
    pub async fn bind(endpoint: &str, transport: Transport, mode: Option<u32>) -> io::Result<Listener> {
        if transport == Transport::Unix {
            let path = PathBuf::from(endpoint);
            remove_left_over(&path).await?;
            let listener = match mode {
                Some(mode) => bind_with_mode(&path, mode)?,
                None => UnixListener::bind(&path)?,
            };
            return Ok(Listener(Arc::new(Socket::Unix(listener.into_std()?, path))));
        }
        let mut failure = io::Error::new(io::ErrorKind::InvalidInput, format!("no address for {endpoint}"));
        for addr in crate::resolve::listen_addresses(endpoint, transport).await? {
            let bound = async {
                let listener = TcpListener::bind(addr).await?;
                let addr = listener.local_addr()?;
                Ok(Listener(Arc::new(Socket::Tcp(listener.into_std()?, addr))))
            };
            match bound.await {
                Ok(listener) => return Ok(listener),
                Err(e) => {
                    let e: io::Error = e;
                    failure = io::Error::new(e.kind(), format!("listen tcp {addr}: {e}"));
                }
            }
        }
        Err(failure)
    }

    /// Where it listens: the port that was given for port 0. Unspecified for unix sockets.
    pub fn local_addr(&self) -> SocketAddr {
        match &*self.0 {
            Socket::Tcp(_, addr) => *addr,
            Socket::Unix(..) => SocketAddr::from(([0, 0, 0, 0], 0)),
        }
    }

    /// The path of a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match &*self.0 {
            Socket::Tcp(..) => None,
            Socket::Unix(_, path) => Some(path),
        }
    }

    /// A reference that does not keep it open.
    pub fn downgrade(&self) -> WeakListener {
        WeakListener(Arc::downgrade(&self.0))
    }

    /// An acceptor of its own, beside those of other servers.
    pub(super) fn acceptor(&self) -> io::Result<Acceptor> {
        let accepts = match &*self.0 {
            Socket::Tcp(socket, _) => Accepts::Tcp(TcpListener::from_std(socket.try_clone()?)?),
            Socket::Unix(socket, _) => Accepts::Unix(UnixListener::from_std(socket.try_clone()?)?),
        };
        Ok(Acceptor {
            accepts,
            _open: self.clone(),
        })
    }
}

impl WeakListener {
    /// The listener, if it is still open.
    pub fn upgrade(&self) -> Option<Listener> {
        self.0.upgrade().map(Listener)
    }
}

/// What one server accepts with.
pub(super) struct Acceptor {
    accepts: Accepts,
    _open: Listener,
}

enum Accepts {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.accepts {
            Accepts::Tcp(l) => l.accept().await.map(|(s, a)| (Stream::Tcp(s), Some(a))),
            Accepts::Unix(l) => l.accept().await.map(|(s, _)| (Stream::Unix(s), None)),
        }
    }
}

/// Removes a socket that nobody answers on: of a process that died. Anything else stays, and binding says so.
async fn remove_left_over(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    match is_socket && UnixStream::connect(path).await.is_err() {
        true => std::fs::remove_file(path),
        false => Ok(()),
    }
}

/// Binds beside the path and moves there, so that nobody finds the socket before it has its permissions.
fn bind_with_mode(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))
        .and_then(|()| std::fs::rename(&beside, path))
        .inspect_err(|_| _ = std::fs::remove_file(&beside))?;
    Ok(listener)
}
