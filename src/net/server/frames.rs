//! HTTP/2 frames, seen from outside: enough of them to know how a client behaves.
//!
//! [`Frames`] follows one direction of a connection by the nine bytes that head each frame, and keeps nothing else.
//! [`Manners`] counts what a client sends beside requests, and says when it is too much: pings more often than the
//! policy allows (grpc-go's rules), streams opened only to be reset, frames that carry nothing.

use std::time::Duration;

use tokio::time::Instant;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const HEAD_LEN: usize = 9;

/// How often a client may ping: configgrpc's `keepalive.enforcement_policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingPolicy {
    /// Shortest time between two pings.
    pub min_interval: Duration,
    /// Pings count by `min_interval` even while no stream is open; else once in two hours is often enough.
    pub without_stream: bool,
}

/// What a client without streams may do where nobody allowed more.
const IDLE_PING_INTERVAL: Duration = Duration::from_secs(2 * 3600);
/// Early pings since the last answer that are borne; grpc-go's number.
const STRIKES_MAX: u32 = 2;
/// Resets from here on are compared with the streams that there were.
const RESETS_FREE: u64 = 500;
/// Frames that carry nothing: as many at once, and as many more each second and each request.
const IDLE_FRAMES_MAX: u64 = 1000;
const IDLE_FRAMES_PER_SECOND: u64 = 100;
const IDLE_FRAMES_PER_REQUEST: u64 = 10;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    len: usize,
    pub(super) kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn read(head: [u8; HEAD_LEN]) -> Frame {
        let [a, b, c, kind, flags, d, e, f, g] = head;
        Frame {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([d & 0x7f, e, f, g]),
        }
    }
}

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_LEN],
    have: usize,
    kind: u8,
    /// Of the payload.
    left: usize,
    /// Headers that go on in the next frame.
    block_open: bool,
    /// Frames so far, a list of headers counted once.
    begun: u64,
}

impl Frames {
    /// Calls `each` for every frame whose head ends within `bytes`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (HEAD_LEN - self.have).min(bytes.len());
            self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have == HEAD_LEN {
                let frame = Frame::read(self.head);
                self.have = 0;
                self.left = frame.len;
                self.kind = frame.kind;
                if matches!(frame.kind, HEADERS | CONTINUATION) {
                    self.block_open = frame.flags & END_HEADERS == 0;
                }
                self.begun += u64::from(frame.kind != CONTINUATION);
                each(frame);
            }
        }
    }

    /// Not within a frame.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// The number of what a client sends in one go and has begun: any frame but DATA, or headers of several frames.
    pub(super) fn owed(&self) -> Option<u64> {
        let owed = self.block_open || self.have > 0 || (self.left > 0 && self.kind != DATA);
        owed.then_some(self.begun)
    }
}

/// Counts what a client does beside sending requests.
#[derive(Debug)]
pub(super) struct Manners {
    pings: Option<PingPolicy>,
    last_ping: Option<Instant>,
    strikes: u32,
    /// Something was answered since the last ping.
    answered: bool,
    opened: u64,
    resets: u64,
    last_stream: u32,
    idle_frames_left: u64,
    refilled: Instant,
}

impl Manners {
    pub(super) fn new(pings: Option<PingPolicy>) -> Manners {
        Manners {
            pings,
            last_ping: None,
            strikes: 0,
            answered: false,
            opened: 0,
            resets: 0,
            last_stream: 0,
            idle_frames_left: IDLE_FRAMES_MAX,
            refilled: Instant::now(),
        }
    }

    /// The highest stream that was opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// We sent headers or data: whoever gets answers may ask whether we are there.
    pub(super) fn answer_sent(&mut self) {
        self.answered = true;
    }

    /// `Err` = enough, in HTTP/2's customary words. `finished` = streams that have ended so far.
    pub(super) fn judge(&mut self, frame: Frame, finished: u64) -> Result<(), &'static str> {
        match frame.kind {
            HEADERS if frame.stream > self.last_stream => {
                self.last_stream = frame.stream;
                self.opened += 1;
                self.idle_frames_left =
                    (self.idle_frames_left + IDLE_FRAMES_PER_REQUEST).min(IDLE_FRAMES_MAX);
                Ok(())
            }
            // Bounded by HTTP/2 itself: a stream's trailers, a header list's size.
            HEADERS | CONTINUATION => Ok(()),
            DATA if frame.len > 0 || frame.flags & END_STREAM != 0 => Ok(()),
            RST_STREAM => {
                self.resets += 1;
                let too_many = self.resets > RESETS_FREE && self.resets > self.opened / 2;
                if too_many { Err("too_many_resets") } else { Ok(()) }
            }
            PING if frame.flags & ACK == 0 => {
                self.ping(finished)?;
                self.idle_frame()
            }
            _ => self.idle_frame(),
        }
    }

    fn ping(&mut self, finished: u64) -> Result<(), &'static str> {
        let Some(policy) = self.pings else { return Ok(()) };
        let now = Instant::now();
        let before = self.last_ping.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
            return Ok(());
        }
        let wanted = if self.opened > finished || policy.without_stream {
            policy.min_interval
        } else {
            IDLE_PING_INTERVAL
        };
        if before.is_some_and(|before| now.duration_since(before) < wanted) {
            self.strikes += 1;
        }
        if self.strikes > STRIKES_MAX {
            return Err("too_many_pings");
        }
        Ok(())
    }

    fn idle_frame(&mut self) -> Result<(), &'static str> {
        if self.idle_frames_left == 0 {
            let now = Instant::now();
            let waited = now.duration_since(self.refilled).as_millis() as u64;
            self.refilled = now;
            self.idle_frames_left = (waited * IDLE_FRAMES_PER_SECOND / 1000).min(IDLE_FRAMES_MAX);
        }
        match self.idle_frames_left.checked_sub(1) {
            Some(left) => {
                self.idle_frames_left = left;
                Ok(())
            }
            None => Err("too_many_control_frames"),
        }
    }
}

/// GOAWAY with `ENHANCE_YOUR_CALM`.
pub(super) fn goaway(last_stream: u32, text: &'static str) -> Vec<u8> {
    const GOAWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: u32 = 0xb;
    let len = (8 + text.len()) as u32;
    let mut out = len.to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let mut out = (payload as u32).to_be_bytes()[1..].to_vec();
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&stream.to_be_bytes());
        out.resize(out.len() + payload, 0xaa);
        out
    }

    fn head(kind: u8, flags: u8, stream: u32) -> Frame {
        Frame {
            len: 0,
            kind,
            flags,
            stream,
        }
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let bytes = [
            frame(4, 0, 0, 12),
            frame(HEADERS, 0, 1, 30),
            frame(CONTINUATION, END_HEADERS, 1, 5),
            frame(DATA, END_STREAM, 1, 70_000),
            frame(PING, 0, 0, 8),
        ]
        .concat();
        for step in [1, 2, 9, 10, 1000, bytes.len()] {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(step) {
                frames.feed(part, |f| seen.push((f.kind, f.flags, f.stream, f.len)));
            }
            assert_eq!(
                seen,
                [
                    (4, 0, 0, 12),
                    (1, 0, 1, 30),
                    (9, 4, 1, 5),
                    (0, 1, 1, 70_000),
                    (6, 0, 0, 8)
                ],
                "{step}"
            );
            assert!(frames.is_between());
        }
    }

    #[test]
    fn headers_are_owed_until_they_end_and_data_is_not() {
        let check = |bytes: &[u8], owed: bool, between: bool| {
            let mut frames = Frames::default();
            frames.feed(bytes, |_| {});
            assert_eq!(
                (frames.owed().is_some(), frames.is_between()),
                (owed, between),
                "{bytes:?}"
            );
        };
        check(&[], false, true);
        check(&[0], true, false);
        check(&frame(HEADERS, END_HEADERS, 1, 20), false, true);
        check(&frame(HEADERS, END_HEADERS, 1, 20)[..20], true, false);
        check(&frame(HEADERS, 0, 1, 20), true, true);
        check(&frame(DATA, 0, 1, 20)[..20], false, false);
        check(&frame(PING, 0, 0, 8)[..12], true, false);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_follow_the_rules_of_grpc_go() {
        let policy = |seconds, without_stream| {
            Some(PingPolicy {
                min_interval: Duration::from_secs(seconds),
                without_stream,
            })
        };
        // Pings every `every` seconds, with or without an open stream: which is the one too many?
        let check = async |pings, every: u64, open: bool, expected: Option<u32>| {
            let mut manners = Manners::new(pings);
            if open {
                manners.judge(head(HEADERS, END_HEADERS, 1), 0).unwrap();
            }
            let mut refused = None;
            for n in 1..=20 {
                if manners.judge(head(PING, 0, 0), 0).is_err() {
                    refused = Some(n);
                    break;
                }
                tokio::time::advance(Duration::from_secs(every)).await;
            }
            assert_eq!(refused, expected, "{pings:?} {every} {open}");
        };
        // The first is free, then three strikes.
        check(policy(300, false), 30, true, Some(4)).await;
        check(policy(300, false), 300, true, None).await;
        check(policy(300, false), 300, false, Some(4)).await;
        check(policy(300, false), 7200, false, None).await;
        check(policy(300, true), 300, false, None).await;
        check(policy(10, true), 9, false, Some(4)).await;
        check(None, 0, true, None).await;
        // Answers forgive.
        let mut manners = Manners::new(policy(300, false));
        for _ in 0..50 {
            manners.answer_sent();
            assert_eq!(manners.judge(head(PING, 0, 0), 0), Ok(()));
            assert_eq!(manners.judge(head(PING, ACK, 0), 0), Ok(()), "an answer to ours");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_are_only_opened_to_be_reset_are_too_many() {
        // Every `nth` stream is reset; after how many resets is it enough?
        let check = |nth: u32, expected: Option<u64>| {
            let mut manners = Manners::new(None);
            let mut resets = 0;
            for n in 0..5000u32 {
                manners.judge(head(HEADERS, END_HEADERS, 2 * n + 1), 0).unwrap();
                if n % nth == 0 {
                    resets += 1;
                    if manners.judge(head(RST_STREAM, 0, 2 * n + 1), 0).is_err() {
                        assert_eq!(Some(resets), expected);
                        return;
                    }
                }
            }
            assert_eq!(None, expected);
        };
        check(1, Some(501));
        check(3, None);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_carry_nothing_are_rationed() {
        let mut manners = Manners::new(None);
        let sent = |manners: &mut Manners, frame: Frame| {
            let mut n = 0u64;
            while n < 100_000 && manners.judge(frame, 0).is_ok() {
                n += 1;
            }
            n
        };
        const SETTINGS: u8 = 4;
        assert_eq!(sent(&mut manners, head(SETTINGS, 0, 0)), 1000);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(sent(&mut manners, head(PING, 0, 0)), 200, "so many each second");
        manners.judge(head(HEADERS, END_HEADERS, 1), 0).unwrap();
        assert_eq!(sent(&mut manners, head(8, 0, 0)), 10, "and with each request");
        assert_eq!(sent(&mut manners, head(DATA, 0, 1)), 0, "empty data");
        let full = Frame {
            len: 1,
            ..head(DATA, 0, 1)
        };
        assert_eq!(sent(&mut manners, full), 100_000);
        assert_eq!(sent(&mut manners, head(DATA, END_STREAM, 1)), 100_000);
    }

    #[test]
    fn says_goodbye_in_one_frame() {
        let bytes = goaway(7, "too_many_pings");
        let mut seen = Vec::new();
        let mut frames = Frames::default();
        frames.feed(&bytes, |f| seen.push((f.kind, f.stream, f.len)));
        assert_eq!(seen, [(7, 0, 22)]);
        assert!(frames.is_between());
        assert_eq!(bytes[9..17], [0, 0, 0, 7, 0, 0, 0, 11]);
    }
}
