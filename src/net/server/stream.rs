//! The bytes of one connection, with an eye on the clock and on manners.
//!
//! [`Wire`] stands between a socket (or TLS) and hyper. It tells HTTP/2 from HTTP/1.1 by the first bytes, ends a
//! connection that is in the middle of a request's head for too long or does not take what we write, and follows the
//! frames of HTTP/2. Whoever sends too many useless ones is told to calm down, and gets a second to hear it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};

use super::frames::{DATA, Frames, HEADERS, Manners, PingPolicy, goaway};
use super::pulse::Pulse;

/// What begins every HTTP/2 connection.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const SLOW_HEAD: &str = "slow_head";
pub(super) const NOT_TAKEN: &str = "answer_not_taken";
/// A client that was told to go may still send: so long, and so much, is read and dropped, or a reset would overtake
/// our last words.
const PARTING_TIME: Duration = Duration::from_secs(1);
const PARTING_BYTES: usize = 1 << 20;

/// An accepted socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(super) enum Io {
    Plain(Stream),
    Tls(Box<tokio_rustls::server::TlsStream<Stream>>),
}

macro_rules! delegate {
    ($type:ty, $($variant:path),+) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_read(cx, buf),)+
                }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_write(cx, buf),)+
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_write_vectored(cx, bufs),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $($variant(s) => s.is_write_vectored(),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_shutdown(cx),)+
                }
            }
        }
    };
}

delegate!(Stream, Stream::Tcp, Stream::Unix);
delegate!(Io, Io::Plain, Io::Tls);

/// How long one thing may take; its timer is made when it is first needed.
struct Deadline {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The number of what it runs for.
    running: Option<u64>,
}

impl Deadline {
    fn new(after: Duration) -> Deadline {
        Deadline {
            after,
            sleep: None,
            running: None,
        }
    }

    /// Starts unless it runs for the same thing already; true once the time is over. Else the task is woken then.
    fn is_over(&mut self, cx: &mut Context<'_>, thing: u64) -> bool {
        let after = self.after;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        if self.running.replace(thing) != Some(thing) {
            sleep.as_mut().reset(Instant::now() + after);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    fn stop(&mut self) {
        self.running = None;
    }
}

/// Which protocol a connection turned out to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(super) struct Wire {
    io: Io,
    /// Read to tell the version, not yet handed on.
    ahead: Vec<u8>,
    pulse: Arc<Pulse>,
    speaks: Speaks,
    head: Deadline,
    write: Deadline,
    parting: Option<Parting>,
}

enum Speaks {
    /// How many calls there were when the last bytes came between two of them.
    Http1(Option<u64>),
    Http2(Box<Http2>),
}

struct Http2 {
    /// Of the preface, still to come.
    preface: usize,
    incoming: Frames,
    outgoing: Frames,
    manners: Manners,
}

/// The end of a connection whose client may still send: it was told to calm down, or refused before all was read.
struct Parting {
    end: Deadline,
    words: Vec<u8>,
    said: usize,
    closed: bool,
    heard: usize,
}

impl Parting {
    fn new(words: Vec<u8>) -> Parting {
        Parting {
            end: Deadline::new(PARTING_TIME),
            words,
            said: 0,
            closed: false,
            heard: 0,
        }
    }
}

impl Wire {
    /// `head_timeout` is for what a client sends in one go, `write_timeout` for the socket to take anything.
    pub(super) fn new(io: Io, pulse: Arc<Pulse>, head_timeout: Duration, write_timeout: Duration) -> Wire {
        Wire {
            io,
            ahead: Vec::new(),
            pulse,
            speaks: Speaks::Http1(None),
            head: Deadline::new(head_timeout),
            write: Deadline::new(write_timeout),
            parting: None,
        }
    }

    /// Reads until the first bytes tell the version.
    pub(super) async fn version(&mut self, pings: Option<PingPolicy>) -> io::Result<Version> {
        let mut first = [0; PREFACE.len()];
        let mut have = 0;
        let read = async {
            while have < first.len() && PREFACE.starts_with(&first[..have]) {
                match self.io.read(&mut first[have..]).await? {
                    0 => break,
                    n => have += n,
                }
            }
            Ok::<_, io::Error>(())
        };
        match tokio::time::timeout(self.head.after, read).await {
            Ok(read) => read?,
            Err(_) => {
                self.pulse.cut_off(SLOW_HEAD);
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.ahead = first[..have].to_vec();
        if first != *PREFACE {
            return Ok(Version::Http1);
        }
        self.speaks = Speaks::Http2(Box::new(Http2 {
            preface: PREFACE.len(),
            incoming: Frames::default(),
            outgoing: Frames::default(),
            manners: Manners::new(pings),
        }));
        Ok(Version::Http2)
    }

    /// Looks at what was read; `Err` = enough.
    fn look(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        match &mut self.speaks {
            Speaks::Http1(begun) => {
                if self.pulse.is_idle() {
                    *begun = Some(self.pulse.begun());
                    self.pulse.touch();
                }
                Ok(())
            }
            Speaks::Http2(http2) => {
                let skipped = http2.preface.min(bytes.len());
                http2.preface -= skipped;
                bytes = &bytes[skipped..];
                let mut verdict = Ok(());
                let finished = self.pulse.finished();
                let manners = &mut http2.manners;
                http2.incoming.feed(bytes, |frame| {
                    if verdict.is_ok() {
                        verdict = manners.judge(frame, finished);
                    }
                });
                verdict
            }
        }
    }

    /// The number of what the client is in the middle of, if that has to come in time: a head, or a frame but DATA.
    fn owed(&self) -> Option<u64> {
        match &self.speaks {
            Speaks::Http1(begun) => {
                begun.filter(|calls| self.pulse.is_idle() && *calls == self.pulse.begun())
            }
            Speaks::Http2(http2) => http2.incoming.owed(),
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        if let Speaks::Http2(http2) = &mut self.speaks {
            let manners = &mut http2.manners;
            http2.outgoing.feed(bytes, |frame| {
                if matches!(frame.kind, HEADERS | DATA) {
                    manners.answer_sent();
                }
            });
        }
    }

    fn part(&mut self, text: &'static str) {
        let words = match &self.speaks {
            Speaks::Http2(http2) if http2.outgoing.is_between() => goaway(http2.manners.last_stream(), text),
            _ => Vec::new(),
        };
        self.parting = Some(Parting::new(words));
    }

    /// Our last answer was written before the request was read to its end, as far as anybody knows.
    fn may_be_unread(&self) -> bool {
        matches!(self.speaks, Speaks::Http1(_)) && (self.pulse.was_refused() || self.owed().is_some())
    }

    /// Says the last words, closes our half, and reads until the client has closed its own or had its time.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(parting) = &mut self.parting else {
            return Poll::Ready(());
        };
        if parting.end.is_over(cx, 0) {
            return Poll::Ready(());
        }
        let io = &mut self.io;
        while parting.said < parting.words.len() {
            match ready!(Pin::new(&mut *io).poll_write(cx, &parting.words[parting.said..])) {
                Ok(n) if n > 0 => parting.said += n,
                _ => return Poll::Ready(()),
            }
        }
        if !parting.closed {
            if ready!(Pin::new(&mut *io).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            parting.closed = true;
        }
        let mut scratch = [0; 4096];
        while parting.heard < PARTING_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => parting.heard += buf.filled().len(),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }

    /// A write that waits has to move in time.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write.stop();
        } else if self.write.is_over(cx, 0) {
            self.pulse.cut_off(NOT_TAKEN);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.parting.is_none() {
            let before = buf.filled().len();
            if this.ahead.is_empty() {
                match Pin::new(&mut this.io).poll_read(cx, buf) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending => match this.owed() {
                        Some(thing) if this.head.is_over(cx, thing) => {
                            this.pulse.cut_off(SLOW_HEAD);
                            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                        }
                        Some(_) => return Poll::Pending,
                        None => {
                            this.head.stop();
                            return Poll::Pending;
                        }
                    },
                }
            } else {
                let n = this.ahead.len().min(buf.remaining());
                buf.put_slice(&this.ahead[..n]);
                this.ahead.drain(..n);
            }
            match this.look(&buf.filled()[before..]) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(text) => {
                    this.pulse.cut_off(text);
                    buf.set_filled(before);
                    this.part(text);
                }
            }
        }
        ready!(this.poll_part(cx));
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.parting.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = &polled {
            self.wrote(&buf[..*n]);
        }
        self.in_time(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.parting.is_some() {
            return Poll::Ready(Ok(bufs.iter().map(|b| b.len()).sum()));
        }
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(n)) = &polled {
            let mut left = *n;
            for buf in bufs {
                let part = left.min(buf.len());
                self.wrote(&buf[..part]);
                left -= part;
            }
        }
        self.in_time(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.parting.is_some() {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.in_time(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.parting.is_none() {
            if !self.may_be_unread() {
                let polled = Pin::new(&mut self.io).poll_shutdown(cx);
                return self.in_time(cx, polled);
            }
            self.parting = Some(Parting::new(Vec::new()));
        }
        self.poll_part(cx).map(Ok)
    }
}
