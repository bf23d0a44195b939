//! The harness against scripted exporters, in paused time.

use std::sync::Arc;
use std::time::Duration;

use component::{Class, Code, FlushPolicy, Memory, Outcome, Refusal, Status};
use telemetry::{Column, Node};
use wire::{Encoding, Twin};

use super::*;
use crate::test_kit::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn direct() -> Settings {
    Settings {
        timeout: Some(S(5)),
        retry: Some(retry(MS(100))),
        ..Settings::default()
    }
}

fn queue(size: usize) -> QueueSettings {
    QueueSettings {
        consumers: 1,
        size,
        sizer: Sizer::Requests,
        block: false,
        wait_for_result: false,
        storage: None,
        overflow: Overflow::Refuse,
        batch: None,
    }
}

fn queued(size: usize) -> Settings {
    Settings {
        queue: Some(queue(size)),
        ..direct()
    }
}

fn policy(items_min: usize, items_max: Option<usize>) -> FlushPolicy {
    FlushPolicy {
        items_min,
        items_max,
        bytes_min: None,
        bytes_max: None,
        timeout: MS(200),
        metadata_keys: Vec::new(),
        cardinality_max: None,
    }
}

fn batched(items_min: usize, items_max: Option<usize>) -> Settings {
    let mut settings = queued(1000);
    settings.queue.as_mut().expect("on").batch = Some(policy(items_min, items_max));
    settings
}

fn pipeline_batch(items_min: usize, items_max: Option<usize>) -> Option<PipelineBatch> {
    Some(PipelineBatch {
        policy: policy(items_min, items_max),
        processor: "batch".into(),
    })
}

/// Waits until the exporter has seen so many attempts.
async fn attempts(rig: &Rig, count: usize) {
    while rig.script.seen.lock().len() < count {
        tokio::time::advance(MS(1)).await;
        settle().await;
    }
}

// --- direct ---

#[tokio::test(start_paused = true)]
async fn direct_answers_after_delivery() {
    let rig = Rig::new(Script::new([Act::TakeAfter(MS(30))]), direct());
    let start = Instant::now();
    assert_eq!(rig.send(logs(3)).await, Ok(Outcome::all()));
    assert_eq!(start.elapsed(), MS(30));
    assert_eq!(rig.totals().get(Column::Out), 3);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn direct_retries_while_the_caller_waits() {
    let rig = Rig::new(Script::new([Act::Retry, Act::Retry]), direct());
    let start = Instant::now();
    assert_eq!(rig.send(logs(3)).await, Ok(Outcome::all()));
    assert_eq!(start.elapsed(), MS(300), "100 ms, then 200 ms");
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn direct_gives_back_when_the_next_try_is_beyond_the_callers_time() {
    for (deadline, tries) in [(None, 5), (Some(S(10)), 7), (Some(MS(50)), 1)] {
        let rig = Rig::new(Script::by(|_| Act::Retry), direct());
        let payload = deadline.map_or_else(|| logs(3), |d| with_deadline(logs(3), d));
        let refusal = rig.send(payload).await.expect_err("nothing is ever taken");
        assert!(matches!(refusal, Refusal::Unavailable { .. }), "{refusal:?}");
        assert_eq!(rig.script.sizes().len(), tries, "{deadline:?}");
        let totals = rig.totals();
        assert_eq!((totals.get(Column::In), totals.refused()), (0, 3));
        rig.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_after_an_attempt_is_counted_once() {
    let waiting = Settings {
        queue: Some(QueueSettings {
            wait_for_result: true,
            ..queue(10)
        }),
        ..direct()
    };
    for settings in [direct(), waiting] {
        let rig = Rig::new(Script::new([Act::Reject, Act::RetryAfter(S(7))]), settings);
        rig.send(logs(3)).await.expect_err("rejected");
        assert_eq!(rig.totals().refused(), 3);
        rig.send(logs(4)).await.expect_err("too long a pause");
        assert_eq!(rig.totals().refused(), 7);
        tokio::time::sleep(S(7)).await;
        assert_eq!(rig.send(logs(5)).await, Ok(Outcome::all()));
        let totals = rig.totals();
        assert_eq!((totals.refused(), totals.get(Column::Out)), (7, 5));
        rig.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn direct_tells_the_far_sides_word() {
    let rig = Rig::new(
        Script::new([Act::Reject, Act::RetryAfter(S(7)), Act::Deny, Act::Panic]),
        direct(),
    );
    let refusal = rig.send(logs(3)).await.expect_err("rejected");
    assert_eq!(
        (refusal.code(), refusal.message().as_str()),
        (Code::INVALID_ARGUMENT, "bad data")
    );
    let refusal = rig.send(logs(3)).await.expect_err("slow down");
    assert_eq!(refusal.retry_after(), Some(S(7)));
    let refusal = rig.send(logs(3)).await.expect_err("denied");
    assert!(refusal.is_retryable(), "{refusal:?}");
    assert_eq!(*rig.reports.0.lock(), [Status::Permanent("401".into())]);
    let refusal = rig.send(logs(3)).await.expect_err("panics");
    assert_eq!(refusal.code(), Code::INTERNAL);
    assert_eq!(rig.send(logs(3)).await, Ok(Outcome::all()));
    assert_eq!(rig.reports.0.lock().last(), Some(&Status::Ok));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_after_its_timeout_and_is_tried_again() {
    let settings = Settings {
        timeout: Some(MS(500)),
        ..direct()
    };
    let rig = Rig::new(Script::new([Act::Hang]), settings);
    let start = Instant::now();
    assert_eq!(rig.send(logs(3)).await, Ok(Outcome::all()));
    assert_eq!(start.elapsed(), MS(600));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_halved_and_one_item_alone_is_rejected() {
    let too_large = |max| Script::by(move |p| if p.items > max { Act::TooLarge } else { Act::Take });
    let rig = Rig::new(too_large(3), direct());
    assert_eq!(rig.send(logs(10)).await, Ok(Outcome::all()));
    assert_eq!(rig.script.sizes(), [10, 5, 3, 2, 5, 3, 2]);
    rig.finish().await;

    let rig = Rig::new(too_large(0), direct());
    let refusal = rig.send(logs(2)).await.expect_err("no item fits");
    assert!(!refusal.is_retryable());
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn is_cut_before_it_is_sent_where_the_exporter_has_a_limit() {
    let settings = Settings {
        bytes_max: Some(100),
        ..direct()
    };
    let rig = Rig::new(Script::new([]), settings);
    assert_eq!(rig.send(logs(40)).await, Ok(Outcome::all()));
    assert!(rig.script.seen.lock().iter().all(|s| s.payload.len() <= 100));
    assert_eq!(rig.script.sizes().iter().sum::<usize>(), 40);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_part_that_moved_is_booked_as_duplicate_when_the_rest_is_refused() {
    let rig = Rig::new(
        Script::by(|p| {
            if p.chunks.len() > 1 {
                Act::KeepLast
            } else {
                Act::Retry
            }
        }),
        direct(),
    );
    let mut payload = logs(3);
    payload.chunks.push(chunk(4));
    payload.items = 7;
    let refusal = rig.send(payload).await.expect_err("the rest is never taken");
    assert!(refusal.is_retryable());
    let edge = edge_totals(
        &rig.cx,
        Node::Pipeline("logs".into()),
        Node::Exporter("out".into()),
    );
    assert_eq!((edge.offered(), edge.refused(), edge.duplicates()), (7, 4, 3));
    assert_eq!(rig.totals().get(Column::Out), 3);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn items_that_the_far_side_rejects_are_booked_and_told() {
    for settings in [direct(), queued(10)] {
        let awaited = settings.queue.is_none();
        let rig = Rig::new(Script::new([Act::TakeBut(2)]), settings);
        let outcome = rig.send(logs(5)).await.expect("taken");
        assert_eq!(outcome.rejected_items(), if awaited { 2 } else { 0 });
        rig.finish().await;
        let totals = rig.totals();
        assert_eq!(
            (totals.get(Column::Out), totals.failed["rejected: too_old"]),
            (3, 2)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_untouched_chunk_keeps_its_compressed_twin_unless_queued() {
    for (settings, kept) in [(direct(), true), (queued(10), false)] {
        let rig = Rig::new(Script::new([]), settings);
        let mut payload = logs(1);
        payload.chunks[0].twin = Some(Arc::new(Twin {
            encoding: Encoding::Gzip,
            bytes: "gz".into(),
        }));
        rig.send(payload).await.expect("taken");
        rig.finish().await;
        assert_eq!(
            rig.script.seen.lock()[0].payload.twin(Encoding::Gzip).is_some(),
            kept
        );
    }
}

// --- queue ---

#[tokio::test(start_paused = true)]
async fn a_queue_answers_at_once_and_delivers_later() {
    let rig = Rig::new(Script::new([Act::TakeAfter(S(1))]), queued(10));
    let start = Instant::now();
    assert_eq!(rig.send(logs(3)).await, Ok(Outcome::all()));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(rig.totals().held(), 3);
    assert_eq!(rig.cx.memory.used(Class::Queues), logs(3).len());
    rig.finish().await;
    assert_eq!(rig.totals().get(Column::Out), 3);
    assert_eq!(rig.cx.memory.used(Class::Queues), 0);
}

#[tokio::test(start_paused = true)]
async fn room_is_held_until_the_export_has_ended() {
    let rig = Rig::new(Script::new([Act::TakeAfter(S(1))]), queued(2));
    rig.send(logs(1)).await.expect("room");
    settle().await;
    assert_eq!(rig.script.sizes(), [1], "in flight");
    rig.send(logs(1)).await.expect("room");
    assert_eq!(rig.send(logs(1)).await, Err(Refusal::Busy { retry_after: None }));
    tokio::time::sleep(MS(1001)).await;
    settle().await;
    rig.send(logs(1)).await.expect("room again");
    rig.finish().await;
    let edge = edge_totals(
        &rig.cx,
        Node::Pipeline("logs".into()),
        Node::Exporter("out".into()),
    );
    assert_eq!((edge.accepted(), edge.refused()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn counts_in_requests_items_or_bytes() {
    let size_of_3 = logs(3).len();
    for (sizer, size, fits) in [
        (Sizer::Requests, 2, 2),
        (Sizer::Items, 9, 3),
        (Sizer::Items, 8, 2),
        (Sizer::Bytes, 2 * size_of_3, 2),
        (Sizer::Bytes, 2 * size_of_3 - 1, 1),
    ] {
        let mut settings = queued(size);
        settings.queue.as_mut().expect("on").sizer = sizer;
        let rig = Rig::new(Script::by(|_| Act::TakeAfter(S(1))), settings);
        let mut taken = 0;
        while rig.send(logs(3)).await.is_ok() {
            taken += 1;
        }
        assert_eq!(taken, fits, "{sizer:?} {size}");
        rig.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_is_refused_for_good() {
    let mut settings = queued(5);
    settings.queue.as_mut().expect("on").sizer = Sizer::Items;
    let rig = Rig::new(Script::new([]), settings);
    let refusal = rig.send(logs(6)).await.expect_err("larger than the queue");
    assert!(!refusal.is_retryable());
    assert!(
        refusal.message().starts_with("element size too large"),
        "{refusal:?}"
    );
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_room_until_their_deadline() {
    let mut settings = queued(1);
    settings.queue.as_mut().expect("on").block = true;
    let rig = Rig::new(Script::by(|_| Act::TakeAfter(S(1))), settings);
    rig.send(logs(1)).await.expect("room");
    let start = Instant::now();
    assert_eq!(
        rig.send(with_deadline(logs(1), MS(400))).await,
        Err(Refusal::Busy { retry_after: None })
    );
    assert_eq!(start.elapsed(), MS(400));
    rig.send(logs(1)).await.expect("room after a second");
    assert_eq!(start.elapsed(), S(1));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_budget_bounds_queues_too() {
    let mut rig = Rig::new(Script::by(|_| Act::TakeAfter(S(1))), queued(10));
    rig.cx.memory = Arc::new(Memory::new(logs(1).len() + 1));
    rig.harness = Harness::new(
        &ComponentId::parse("out").expect("an id"),
        Signal::Logs,
        rig.script.clone(),
        queued(10),
        &rig.cx.telemetry,
        &rig.cx.memory,
    );
    rig.way = Arc::new(crate::pipeline::fanout::Fanout::new(vec![edge(
        &rig.cx,
        "logs",
        "out",
        rig.harness.entry(None),
    )]));
    rig.harness.start(rig.reports.clone());
    rig.send(logs(1)).await.expect("fits");
    assert_eq!(rig.send(logs(1)).await, Err(Refusal::Busy { retry_after: None }));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_parked_and_frees_its_consumer() {
    let rig = Rig::new(Script::new([Act::Retry]), queued(10));
    rig.send(logs(1)).await.expect("room");
    rig.send(logs(2)).await.expect("room");
    settle().await;
    assert_eq!(rig.script.sizes(), [1, 2], "the one consumer went on");
    attempts(&rig, 3).await;
    assert_eq!(rig.script.sizes(), [1, 2, 1]);
    let seen = rig.script.seen.lock().clone();
    assert_eq!(seen[2].at - seen[0].at, MS(100));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn gives_up_and_books_why() {
    let mut no_retry = queued(10);
    no_retry.retry = None;
    let mut short = queued(10);
    short.retry.as_mut().expect("on").elapsed_max = Some(S(1));
    for (settings, act, reason) in [
        (queued(10), Act::Reject, "rejected"),
        (queued(10), Act::TooLarge, "too_large"),
        (queued(10), Act::Panic, "rejected"),
        (no_retry.clone(), Act::Retry, "retry_disabled"),
        (no_retry, Act::Deny, "retry_disabled"),
        (short, Act::Retry, "retries_exhausted"),
    ] {
        let rig = Rig::new(Script::by(move |_| act.clone()), settings);
        rig.send(logs(1)).await.expect("room");
        while rig.totals().held() > 0 {
            tokio::time::advance(MS(10)).await;
            settle().await;
        }
        assert_eq!(rig.totals().failed.get(reason), Some(&1), "{:?}", rig.totals());
        rig.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn gives_up_after_so_many_retries() {
    let limited = |mut settings: Settings| {
        let retry = settings.retry.as_mut().expect("on");
        (retry.elapsed_max, retry.retries_max) = (None, Some(3));
        settings
    };
    let rig = Rig::new(Script::by(|_| Act::Retry), limited(queued(10)));
    rig.send(logs(2)).await.expect("room");
    while rig.totals().held() > 0 {
        tokio::time::advance(MS(10)).await;
        settle().await;
    }
    assert_eq!(rig.script.sizes(), [2; 4]);
    assert_eq!(rig.totals().failed.get("retries_exhausted"), Some(&2));
    rig.finish().await;
    // Whoever waits gets it back.
    let rig = Rig::new(Script::by(|_| Act::Retry), limited(direct()));
    let refusal = rig.send(logs(2)).await.expect_err("nothing is ever taken");
    assert!(matches!(refusal, Refusal::Unavailable { .. }), "{refusal:?}");
    assert_eq!((rig.script.sizes().len(), rig.totals().refused()), (4, 2));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_still_owed_is_sent_again() {
    let rig = Rig::new(Script::new([Act::KeepLast]), queued(10));
    let mut payload = logs(3);
    payload.chunks.push(chunk(4));
    payload.items = 7;
    rig.send(payload).await.expect("room");
    attempts(&rig, 2).await;
    assert_eq!(rig.script.sizes(), [7, 4]);
    rig.finish().await;
    assert_eq!(rig.totals().get(Column::Out), 7);
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_of_a_part_that_arrived_is_booked_and_told() {
    let awaited = || {
        let mut settings = queued(10);
        settings.queue.as_mut().expect("on").wait_for_result = true;
        settings
    };
    for (settings, told) in [(direct(), 2), (queued(10), 0), (awaited(), 2)] {
        let rig = Rig::new(Script::new([Act::KeepLastBut(2)]), settings);
        let mut payload = logs(3);
        payload.chunks.push(chunk(4));
        payload.items = 7;
        let answer = rig.spawn(payload).await;
        attempts(&rig, 2).await;
        assert_eq!(rig.script.sizes(), [7, 4]);
        let outcome = answer.await.expect("it does not panic").expect("taken");
        assert_eq!(outcome.rejected_items(), told);
        rig.finish().await;
        let totals = rig.totals();
        assert_eq!(
            (totals.get(Column::Out), totals.failed["rejected: too_old"]),
            (5, 2)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waits_long_and_never_gives_up_without_permission() {
    let mut settings = queued(10);
    settings.retry.as_mut().expect("on").elapsed_max = Some(S(1));
    let rig = Rig::new(Script::new([Act::Deny, Act::Deny]), settings);
    let start = Instant::now();
    rig.send(logs(1)).await.expect("room");
    while rig.totals().held() > 0 {
        tokio::time::advance(MS(100)).await;
        settle().await;
    }
    assert!(
        start.elapsed() >= S(90) && start.elapsed() < S(92),
        "30 s, then 60 s: {:?}",
        start.elapsed()
    );
    assert_eq!(
        *rig.reports.0.lock(),
        [Status::Permanent("401".into()), Status::Ok]
    );
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn wait_for_result_tells_the_result() {
    let mut settings = queued(10);
    settings.queue.as_mut().expect("on").wait_for_result = true;
    let rig = Rig::new(
        Script::new([Act::TakeAfter(MS(50)), Act::Retry, Act::Take, Act::Reject]),
        settings,
    );
    let start = Instant::now();
    assert_eq!(rig.send(logs(1)).await, Ok(Outcome::all()));
    assert_eq!(start.elapsed(), MS(50));
    assert_eq!(rig.send(logs(1)).await, Ok(Outcome::all()), "after a retry");
    let refusal = rig.send(logs(1)).await.expect_err("rejected");
    assert_eq!(refusal.message(), "bad data");
    assert_eq!(rig.totals().get(Column::In), 2);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_started_attempt_outlives_its_callers_patience_and_is_answered_truly() {
    let mut settings = queued(10);
    settings.queue.as_mut().expect("on").wait_for_result = true;
    let rig = Rig::new(Script::new([Act::TakeAfter(S(1))]), settings);
    let first = rig.spawn(with_deadline(logs(1), MS(100))).await;
    let second = rig.spawn(with_deadline(logs(2), MS(100))).await;
    let refusal = second.await.expect("no panic").expect_err("its turn never came");
    assert!(refusal.is_retryable());
    assert_eq!(
        first.await.expect("no panic"),
        Ok(Outcome::all()),
        "it was under way"
    );
    settle().await;
    assert_eq!(rig.script.sizes(), [1], "what was given back is not sent");
    rig.finish().await;
}

// --- batch ---

#[tokio::test(start_paused = true)]
async fn gathers_until_there_is_enough_or_time_is_up() {
    let rig = Rig::new(Script::new([]), batched(10, None));
    for _ in 0..3 {
        rig.send(logs(4)).await.expect("room");
    }
    settle().await;
    assert_eq!(rig.script.sizes(), [12]);
    rig.send(logs(4)).await.expect("room");
    let start = Instant::now();
    attempts(&rig, 2).await;
    assert_eq!(rig.script.sizes(), [12, 4]);
    assert!(
        start.elapsed() >= MS(200) && start.elapsed() <= MS(202),
        "{:?}",
        start.elapsed()
    );
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn cuts_at_the_most_and_keeps_the_rest_gathering() {
    let rig = Rig::new(Script::new([]), batched(10, Some(10)));
    rig.send(logs(7)).await.expect("room");
    rig.send(logs(18)).await.expect("room");
    settle().await;
    assert_eq!(rig.script.sizes(), [10, 10]);
    rig.send(logs(6)).await.expect("room");
    settle().await;
    assert_eq!(rig.script.sizes(), [10, 10, 10]);
    rig.finish().await;
    assert_eq!(
        rig.script.sizes(),
        [10, 10, 10, 1],
        "the drain sends what is left"
    );
    let mut names = rig.script.taken.lock().clone();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 31);
}

#[tokio::test(start_paused = true)]
async fn metadata_values_do_not_meet() {
    let mut settings = batched(100, None);
    let batch = settings
        .queue
        .as_mut()
        .and_then(|q| q.batch.as_mut())
        .expect("on");
    batch.metadata_keys = vec!["X-Tenant".into()];
    batch.cardinality_max = Some(2);
    let rig = Rig::new(Script::new([]), settings);
    for value in ["a", "b", "a"] {
        rig.send(with_metadata(logs(1), "x-tenant", value))
            .await
            .expect("room");
    }
    let refusal = rig
        .send(with_metadata(logs(1), "x-tenant", "c"))
        .await
        .expect_err("a third value");
    assert_eq!(
        refusal,
        Refusal::Invalid("too many batcher metadata-value combinations".into())
    );
    attempts(&rig, 2).await;
    let seen = rig.script.seen.lock().clone();
    for attempt in &seen {
        let value = &attempt.payload.context.metadata("x-tenant")[0];
        assert_eq!(attempt.items, if value == "a" { 2 } else { 1 });
    }
    rig.finish().await;
}

/// Whether a queue gathers or a pipeline's `batch` does: a tenant that is named by a header is not lost, nor are two in
/// one batch.
#[tokio::test(start_paused = true)]
async fn metadata_that_the_exporter_reads_does_not_meet() {
    let settings = |settings: Settings| Settings {
        apart_by: vec!["x-scope-orgid".into()],
        ..settings
    };
    let limited = pipeline_batch(100, None).map(|mut batch| {
        batch.policy.cardinality_max = Some(1);
        batch
    });
    for (settings, batch) in [
        (settings(batched(100, None)), None),
        (settings(queued(1000)), limited.clone()),
        (settings(batched(100, None)), limited),
    ] {
        let rig = Rig::with_batch(Script::new([]), settings, batch);
        for value in ["a", "b", "a"] {
            let sent = rig.send(with_metadata(logs(1), "x-scope-orgid", value)).await;
            assert_eq!(sent, Ok(Outcome::all()));
        }
        attempts(&rig, 2).await;
        let mut seen: Vec<(String, usize)> = rig
            .script
            .seen
            .lock()
            .iter()
            .map(|one| {
                (
                    one.payload.context.metadata("x-scope-orgid")[0].clone(),
                    one.items,
                )
            })
            .collect();
        seen.sort();
        assert_eq!(seen, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        rig.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_batch_goes_once_more_in_the_pieces_it_was_made_of() {
    let bad = logs(2);
    let name = records(&bad)[0];
    let rig = Rig::new(
        Script::by(move |p| {
            if records(p).contains(&name) {
                Act::Reject
            } else {
                Act::Take
            }
        }),
        batched(6, None),
    );
    rig.send(logs(2)).await.expect("room");
    rig.send(bad).await.expect("room");
    rig.send(logs(2)).await.expect("room");
    settle().await;
    assert_eq!(rig.script.sizes(), [6, 2, 2, 2]);
    rig.finish().await;
    let totals = rig.totals();
    assert_eq!((totals.get(Column::Out), totals.failed["rejected"]), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_a_batch_holds_its_callers() {
    let rig = Rig::with_batch(
        Script::new([Act::TakeAfter(MS(50))]),
        direct(),
        pipeline_batch(10, None),
    );
    let start = Instant::now();
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(rig.spawn(logs(4)).await);
    }
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), Ok(Outcome::all()));
    }
    assert_eq!(start.elapsed(), MS(50));
    assert_eq!(rig.script.sizes(), [12]);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_early_when_callers_wait_and_nothing_more_comes() {
    let rig = Rig::with_batch(Script::new([]), direct(), pipeline_batch(8192, None));
    let start = Instant::now();
    assert_eq!(rig.send(logs(4)).await, Ok(Outcome::all()));
    assert_eq!(start.elapsed(), batch::QUIET);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_would_be_gone_before_the_retry_is_told_at_once() {
    let settings = Settings {
        retry: Some(retry(S(1))),
        ..direct()
    };
    let rig = Rig::with_batch(Script::new([Act::Retry]), settings, pipeline_batch(6, None));
    let start = Instant::now();
    let hasty = rig.spawn(with_deadline(logs(3), MS(500))).await;
    let patient = rig.spawn(with_deadline(logs(3), S(60))).await;
    assert!(
        hasty
            .await
            .expect("no panic")
            .expect_err("too late for it")
            .is_retryable()
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(patient.await.expect("no panic"), Ok(Outcome::all()));
    assert_eq!(rig.script.sizes(), [6, 3]);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn each_caller_of_a_batch_is_answered_for_its_own_part() {
    let bad = logs(2);
    let name = records(&bad)[0];
    let script = Script::by(move |p| {
        if records(p).contains(&name) {
            Act::Reject
        } else {
            Act::Take
        }
    });
    let rig = Rig::with_batch(script, direct(), pipeline_batch(6, None));
    let first = rig.spawn(logs(2)).await;
    let second = rig.spawn(bad).await;
    let third = rig.spawn(logs(2)).await;
    assert_eq!(first.await.expect("no panic"), Ok(Outcome::all()));
    let refusal = second.await.expect("no panic").expect_err("the bad one");
    assert_eq!(refusal.message(), "bad data");
    assert_eq!(third.await.expect("no panic"), Ok(Outcome::all()));
    let totals = rig.totals();
    assert_eq!((totals.get(Column::In), totals.get(Column::Out)), (4, 4));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_cut_across_batches_hears_once_and_what_moved_is_booked() {
    let mut settings = direct();
    settings.retry = None;
    let rig = Rig::with_batch(
        Script::new([Act::Take, Act::Retry]),
        settings,
        pipeline_batch(4, Some(4)),
    );
    let refusal = rig
        .send(logs(6))
        .await
        .expect_err("its second part was not taken");
    assert!(refusal.is_retryable());
    let edge = edge_totals(
        &rig.cx,
        Node::Pipeline("logs".into()),
        Node::Exporter("out".into()),
    );
    assert_eq!((edge.refused(), edge.duplicates()), (2, 4));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn one_tenants_trouble_does_not_slow_the_others() {
    let mut settings = queued(1000);
    settings.queue.as_mut().expect("on").consumers = 2;
    let is_bad = |p: &Payload| p.chunks[0].origin.tenant.as_deref() == Some("bad");
    let script = Script::by(move |p| {
        if is_bad(p) {
            Act::RetryAfter(S(60))
        } else {
            Act::Take
        }
    });
    let rig = Rig::new(script, settings);
    for _ in 0..50 {
        rig.send(logs_of("bad", 1)).await.expect("room");
        rig.send(logs_of("good", 1)).await.expect("room");
    }
    settle().await;
    assert_eq!(rig.script.taken.lock().len(), 50, "all of the good one");
    let bad = rig
        .script
        .seen
        .lock()
        .iter()
        .filter(|s| is_bad(&s.payload))
        .count();
    assert!(bad <= 2, "the far side asked for a pause, and got {bad} attempts");
    rig.finish().await;
    let by_tenant = rig
        .cx
        .telemetry
        .ledger
        .row(Place::Node(Node::Exporter("out".into())), Signal::Logs);
    for (tenant, totals) in by_tenant.by_tenant() {
        match tenant.as_deref() {
            Some("good") => assert_eq!(totals.get(Column::Out), 50),
            Some("bad") => assert_eq!(totals.failed["shutdown"], 50),
            _ => assert_eq!(totals.get(Column::In), 0),
        }
    }
}

// --- the end ---

#[tokio::test(start_paused = true)]
async fn a_drain_tries_everything_once_more() {
    let rig = Rig::new(
        Script::new([Act::RetryAfter(S(100)), Act::Take, Act::Retry]),
        queued(10),
    );
    for items in [1, 2, 3] {
        rig.send(logs(items)).await.expect("room");
    }
    settle().await;
    rig.finish().await;
    let totals = rig.totals();
    // The parked one was taken; which of the others met the script's refusal is the queue's business.
    assert_eq!(totals.get(Column::Out) + totals.failed_all(), 6);
    assert_eq!(totals.failed.keys().collect::<Vec<_>>(), ["shutdown"]);
    let refusal = rig.send(logs(1)).await.expect_err("closed");
    assert!(refusal.is_retryable());
    assert_books_balance(&rig.cx);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_deadline_is_booked_as_failed() {
    let mut settings = queued(10);
    settings.timeout = None;
    let rig = Rig::new(Script::by(|_| Act::Hang), settings);
    for items in [1, 2, 3] {
        rig.send(logs(items)).await.expect("room");
    }
    let start = Instant::now();
    rig.finish().await;
    assert_eq!(start.elapsed(), S(10));
    assert_eq!(rig.totals().failed["shutdown"], 6);
    assert_eq!(rig.cx.memory.used(Class::Queues), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_waiting_of_callers() {
    let rig = Rig::new(
        Script::by(|_| Act::Retry),
        Settings {
            retry: Some(retry(S(1))),
            ..direct()
        },
    );
    let caller = rig.spawn(with_deadline(logs(1), S(60))).await;
    let start = Instant::now();
    rig.harness.close();
    let refusal = caller.await.expect("no panic").expect_err("not delivered");
    assert!(refusal.is_retryable());
    assert_eq!(start.elapsed(), Duration::ZERO);
    rig.finish().await;
}

// --- chance ---

mod any_outcome {
    use super::*;
    use proptest::prelude::*;

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => Just(Act::Take),
            2 => (1..2000u64).prop_map(|ms| Act::TakeAfter(MS(ms))),
            1 => Just(Act::TakeBut(1)),
            3 => Just(Act::Retry),
            1 => (1..10u64).prop_map(|s| Act::RetryAfter(S(s))),
            1 => Just(Act::KeepLast),
            1 => Just(Act::KeepLastBut(1)),
            1 => Just(Act::Reject),
            1 => Just(Act::TooLarge),
            1 => Just(Act::Deny),
            1 => Just(Act::Panic),
            1 => Just(Act::Hang),
        ]
    }

    #[derive(Clone, Debug)]
    struct Run {
        acts: Vec<Act>,
        sends: Vec<(usize, u64, Option<u64>, u8)>,
        settings: Settings,
        batch: Option<PipelineBatch>,
    }

    fn run() -> impl Strategy<Value = Run> {
        let send = (1..8usize, 0..400u64, prop::option::of(10..3000u64), 0..3u8);
        let queue = prop::option::of((1..4usize, 1..20usize, any::<bool>(), any::<bool>()));
        let batch = prop::option::of((1..12usize, prop::option::of(12..15usize)));
        (
            prop::collection::vec(act(), 0..40),
            prop::collection::vec(send, 1..25),
            queue,
            batch,
        )
            .prop_map(|(acts, sends, queue, batch)| {
                let settings = Settings {
                    queue: queue.map(|(consumers, size, block, wait_for_result)| QueueSettings {
                        consumers,
                        size,
                        sizer: Sizer::Requests,
                        block,
                        wait_for_result,
                        storage: None,
                        overflow: Overflow::Refuse,
                        batch: None,
                    }),
                    ..direct()
                };
                let batch = batch.and_then(|(min, max)| pipeline_batch(min, max));
                Run {
                    acts,
                    sends,
                    settings,
                    batch,
                }
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the far side does: the books balance, and nothing that was acknowledged is missing but what the
        /// books name as failed.
        #[test]
        fn nothing_acknowledged_is_missing(run in run()) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(play(run));
        }
    }

    async fn play(run: Run) {
        let rig = Rig::with_batch(
            Script::new(run.acts.clone()),
            run.settings.clone(),
            run.batch.clone(),
        );
        let mut callers = Vec::new();
        for (items, pause, deadline, tenant) in run.sends {
            let mut payload = match tenant {
                0 => logs(items),
                1 => logs_of("a", items),
                _ => logs_of("b", items),
            };
            if let Some(deadline) = deadline {
                payload = with_deadline(payload, MS(deadline));
            }
            if items > 3 {
                let mut more = chunk(1);
                more.origin = payload.chunks[0].origin.clone();
                payload.chunks.push(more);
                payload.items += 1;
            }
            let names = records(&payload);
            callers.push((names, rig.spawn(payload).await));
            tokio::time::sleep(MS(pause)).await;
        }
        let mut acknowledged = Vec::new();
        let mut rejected = 0;
        for (names, caller) in callers {
            if let Ok(outcome) = caller.await.expect("no caller panics") {
                rejected += outcome.rejected_items();
                acknowledged.extend(names);
            }
        }
        tokio::time::sleep(S(1000)).await;
        rig.finish().await;
        let taken: std::collections::HashSet<u64> = rig.script.taken.lock().iter().copied().collect();
        let missing = acknowledged.iter().filter(|name| !taken.contains(name)).count() as u64;
        let failed = rig.totals().failed_all();
        assert!(missing <= failed, "{missing} missing, {failed} booked as failed");
        if run.settings.queue.as_ref().is_none_or(|q| q.wait_for_result) {
            assert!(
                missing <= rejected,
                "{missing} missing, callers were told of {rejected}"
            );
        }
        assert_eq!(rig.cx.memory.used(Class::Queues), 0);
    }
}
