//! Bodies that are there already: sent without copying.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::server::Call;

/// A body made of buffers, perhaps with trailers.
#[derive(Debug, Default)]
pub struct Body {
    /// In reverse: the next one is the last.
    data: Vec<Bytes>,
    len: u64,
    trailers: Option<HeaderMap>,
    /// Ends with this body.
    call: Option<Call>,
}

impl Body {
    /// Nothing.
    pub fn empty() -> Body {
        Body::default()
    }

    /// Buffers one after another.
    pub fn chunks(chunks: impl IntoIterator<Item = Bytes>) -> Body {
        let mut data: Vec<Bytes> = chunks.into_iter().filter(|c| !c.is_empty()).collect();
        data.reverse();
        let len = data.iter().map(|c| c.len() as u64).sum();
        Body {
            data,
            len,
            trailers: None,
            call: None,
        }
    }

    pub(crate) fn with_call(mut self, call: Call) -> Body {
        self.call = Some(call);
        self
    }

    /// The same with trailers behind.
    pub fn with_trailers(mut self, trailers: HeaderMap) -> Body {
        self.trailers = Some(trailers);
        self
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::chunks([bytes])
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::from(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::from(Bytes::from(text))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.data.pop() {
            Some(bytes) => {
                self.len -= bytes.len() as u64;
                Some(Frame::data(bytes))
            }
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

/// Buffers that are read as one: what h2 cuts into frames without copying.
#[derive(Debug, Default)]
pub struct Parts {
    /// In reverse: the next one is the last.
    data: Vec<Bytes>,
    len: usize,
}

impl Parts {
    /// Buffers one after another.
    pub fn new(chunks: impl IntoIterator<Item = Bytes>) -> Parts {
        let mut data: Vec<Bytes> = chunks.into_iter().filter(|c| !c.is_empty()).collect();
        data.reverse();
        let len = data.iter().map(Bytes::len).sum();
        Parts { data, len }
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.data.last().map_or(&[], |c| c)
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [std::io::IoSlice<'a>]) -> usize {
        let mut n = 0;
        for (slot, chunk) in dst.iter_mut().zip(self.data.iter().rev()) {
            *slot = std::io::IoSlice::new(chunk);
            n += 1;
        }
        n
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advanced {count} of {}", self.len);
        self.len -= count;
        while count > 0 {
            let next = self.data.last_mut().expect("count is at most what is left");
            if next.len() > count {
                next.advance(count);
                return;
            }
            count -= next.len();
            self.data.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_as_one_buffer() {
        let text = ["ab", "", "cde", "f"];
        for step in 1..7 {
            let mut parts = Parts::new(text.map(|t| Bytes::from_static(t.as_bytes())));
            let mut got = Vec::new();
            while parts.has_remaining() {
                let n = step.min(parts.remaining());
                let mut slices = [std::io::IoSlice::new(&[]); 4];
                let filled = parts.chunks_vectored(&mut slices);
                let all: Vec<u8> = slices[..filled].iter().flat_map(|s| s.iter().copied()).collect();
                got.extend_from_slice(&all[..n]);
                parts.advance(n);
            }
            assert_eq!(got, b"abcdef");
        }
    }
}
