//! A thousand tenants of three signals at 10 MB/s over the border of an hour: what it takes is counted, not timed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use component::prelude::*;
use component::{Pieces, Seq};
use tokio::time::Instant;

use super::super::facts::Facts;
use super::super::gather::{Framing, Gather, Limits};
use super::super::partition::{Bounds, Key, Roll};
use super::super::rules::Rules;
use super::super::split::Piece;
use super::super::spool::Part;
use super::rig::{NOW_MS, Rig};

const TENANTS: usize = 1000;
const SIGNALS: [Signal; 3] = [Signal::Logs, Signal::Traces, Signal::Metrics];
/// Each partition sends so much each half minute: 10 MB/s of all.
const MESSAGE_BYTES: usize = 100_000;
const EVERY_S: usize = 30;
const MIB: u64 = 1 << 20;
/// An object's records are complete when the head above it is in the store.
const COVERED_AFTER: Duration = Duration::from_secs(70);

/// What is ready without waiting.
fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    poll(&mut pin!(work))
}

fn poll<T>(work: &mut Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// A message for a partition, taken as soon as there is room.
async fn take(
    gather: &Gather,
    rules: &Rules,
    (signal, tenant): (Signal, &Arc<str>),
    message: &Bytes,
    (seq, admitted_ms): (u64, u64),
) -> Result<(), Refusal> {
    let piece = Piece {
        class: 0,
        tenant: tenant.clone(),
        messages: vec![vec![message.clone()]],
        facts: Facts {
            items: 100,
            ..Facts::default()
        },
    };
    let receipt = Receipt {
        seq: Seq(seq),
        admitted_ms,
        owed: Pieces::All,
        rules: None,
    };
    let make = || {
        Part::new(
            "0123456789abcdef".into(),
            Some("/var/lib/weir/archive/spool".as_ref()),
        )
    };
    gather
        .take(rules, signal, vec![piece], &receipt, make, |_, _| {})
        .await
}

#[tokio::test(start_paused = true)]
async fn who_appends_waits_for_who_compresses_and_no_buffer_leaves_early_for_that() {
    let rules = Rules::new(&Rig::new("").config());
    let gather = gather(&rules);
    let tenants: Vec<Arc<str>> = (0..6).map(|n| format!("tenant-{n}").into()).collect();
    let [large, small] = [MIB as usize, 100_000].map(|len| Bytes::from(vec![7; len]));
    let of = |n: usize| (Signal::Logs, &tenants[n]);
    assert!(at_once(take(&gather, &rules, of(5), &small, (0, NOW_MS))).is_some());
    for n in 0..4 {
        assert!(at_once(take(&gather, &rules, of(n), &large, (1, NOW_MS))).is_some());
    }
    let mut full = gather.framings();
    let sketch = |all: &[Framing]| -> Vec<(u64, &str)> { all.iter().map(|f| (f.bytes, f.why)).collect() };
    assert_eq!(sketch(&full), [(MIB, "full"); 4]);
    // Four are enough: the next one waits, and nobody is sent away for its sake.
    let mut waits = pin!(take(&gather, &rules, of(4), &small, (2, NOW_MS)));
    assert!(poll(&mut waits).is_none());
    assert!(gather.framings().is_empty());
    let mut compressed = |n: usize| {
        for framing in full.drain(..n) {
            let mut part = framing.part;
            part.pretend(framing.bytes / 4);
            gather.framed(&framing.key, part, framing.bytes, framing.capacity);
        }
    };
    compressed(1);
    assert!(matches!(poll(&mut waits), Some(Ok(()))));
    // What is full counts before it is handed out, and what ends an object counts as well.
    assert!(at_once(take(&gather, &rules, of(0), &large, (3, NOW_MS))).is_some());
    gather.flush();
    compressed(2);
    let closed = gather.closed(Instant::now());
    let leaving: usize = closed
        .iter()
        .map(|closed| closed.partition.buffer.capacity())
        .sum();
    assert_eq!(leaving, MIB as usize + 2 * small.len());
    let most = gather.buffered();
    assert_eq!(most, leaving + MIB as usize);
    for n in 1..3 {
        assert!(at_once(take(&gather, &rules, of(n), &large, (4, NOW_MS))).is_some());
    }
    assert!(at_once(take(&gather, &rules, of(5), &small, (5, NOW_MS))).is_none());
    gather.let_go(leaving, 0);
    assert!(at_once(take(&gather, &rules, of(5), &small, (5, NOW_MS))).is_some());
}

/// The defaults with a journal.
fn gather(rules: &Rules) -> Gather {
    Gather::new(Limits {
        writer: "gw-0".into(),
        rules: rules.id().into(),
        bounds: Bounds {
            max_age: Duration::from_secs(60),
            max_age_small: Duration::from_secs(900),
            min_bytes: 4 * MIB,
            max_bytes: 64 * MIB,
            max_raw_bytes: 512 * MIB,
            max_records: 1_000_000,
        },
        chunk_bytes: MIB as usize,
        buffer_bytes_max: 192 << 20,
        leaving_bytes_max: 4 << 20,
        spool_bytes_max: 20 << 30,
        partitions_max: 8192,
    })
}

#[derive(Default)]
struct Counted {
    /// By partition without its hour, and by the hour in which it was finished.
    finished: HashMap<(Signal, Arc<str>, u64), usize>,
    /// By partition with its hour.
    of_hour: HashMap<Key, usize>,
    rolls: HashMap<Roll, usize>,
    frames: HashMap<&'static str, usize>,
    open_most: usize,
    buffered_most: usize,
    state_most: usize,
}

#[tokio::test(start_paused = true)]
async fn three_thousand_partitions_over_an_hours_border_stay_within_their_bounds() {
    let rules = Rules::new(&Rig::new("").config());
    let gather = gather(&rules);
    let names: Vec<Arc<str>> = (0..TENANTS).map(|n| format!("tenant-{n}").into()).collect();
    let message = Bytes::from(vec![7; MESSAGE_BYTES]);
    let mut counted = Counted::default();
    let mut covering: VecDeque<(Instant, u64)> = VecDeque::new();
    let mut seq = 0;
    // From 14:50 to 16:10, so that one whole hour is among them.
    let (from_ms, seconds) = (NOW_MS + 45 * 60_000, 80 * 60);
    for second in 0..seconds {
        let now_ms = from_ms + second as u64 * 1000;
        for at in (second % EVERY_S..TENANTS * SIGNALS.len()).step_by(EVERY_S) {
            let of = (SIGNALS[at % SIGNALS.len()], &names[at / SIGNALS.len()]);
            let taken = at_once(take(&gather, &rules, of, &message, (seq, now_ms)));
            seq += 1;
            assert!(matches!(taken, Some(Ok(()))), "it waits at second {second}");
        }
        counted.buffered_most = counted.buffered_most.max(gather.buffered());
        for framing in gather.framings() {
            *counted.frames.entry(framing.why).or_default() += 1;
            let mut part = framing.part;
            part.pretend(framing.bytes * 2 / 9);
            gather.framed(&framing.key, part, framing.bytes, framing.capacity);
        }
        counted.open_most = counted.open_most.max(gather.open_partitions());
        if second % 600 == 0 {
            let most = gather.state_bytes().into_iter().max();
            counted.state_most = counted.state_most.max(most.unwrap_or_default());
        }
        // The exporter looks each second; it is the same five times as fast.
        let closed = match second % 5 {
            0 => gather.closed(Instant::now()),
            _ => Vec::new(),
        };
        for closed in closed {
            let (signal, tenant) = (closed.key.signal, closed.key.tenant.clone());
            *counted
                .finished
                .entry((signal, tenant, now_ms / 3_600_000))
                .or_default() += 1;
            *counted.rolls.entry(closed.why).or_default() += 1;
            *counted.of_hour.entry(closed.key).or_default() += 1;
            let (capacity, bytes) = (
                closed.partition.buffer.capacity(),
                closed.partition.buffer.len() as u64,
            );
            let (part, rest) = (closed.partition.stored_bytes, bytes * 2 / 9);
            gather.let_go(capacity, rest);
            covering.push_back((Instant::now() + COVERED_AFTER, part + rest));
        }
        while covering.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            let (_, bytes) = covering.pop_front().expect("it was there");
            gather.free_spool(bytes);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    // Nothing is finished for want of room, and what memory asks for is frames.
    let whys: HashSet<Roll> = counted.rolls.keys().copied().collect();
    assert_eq!(whys, HashSet::from([Roll::Small]));
    let frames: HashSet<&str> = counted.frames.keys().copied().collect();
    assert_eq!(frames, HashSet::from(["full", "pressure"]));
    let most = |counts: &mut dyn Iterator<Item = &usize>| counts.max().copied();
    assert_eq!(most(&mut counted.of_hour.values()), Some(5));
    assert_eq!(most(&mut counted.finished.values()), Some(5));
    // The hour in the middle is whole.
    let whole = (from_ms / 3_600_000) + 1;
    let objects = |hour: u64| {
        let of = counted.of_hour.iter().filter(|(key, _)| key.hour == hour);
        (of.clone().count(), of.map(|(_, n)| n).sum::<usize>())
    };
    let (partitions, all) = objects(whole);
    assert_eq!(partitions, TENANTS * SIGNALS.len());
    assert!(all <= 5 * partitions, "{all} objects of {partitions} partitions");
    // Both hours are open for a while.
    assert_eq!(counted.open_most, 2 * TENANTS * SIGNALS.len());
    assert!(counted.buffered_most <= 192 << 20, "{}", counted.buffered_most);
    assert!(counted.state_most <= 2 << 10, "{}", counted.state_most);
}
