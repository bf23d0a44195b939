//! One exporter for many tenants: what one of them suffers costs the others nothing.

use std::collections::HashMap;
use std::time::Duration;

use component::Refusal;
use telemetry::Column;

use super::*;
use crate::test_kit::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn settings(consumers: usize, size: usize) -> Settings {
    Settings {
        timeout: Some(S(5)),
        retry: Some(RetrySettings {
            elapsed_max: None,
            ..retry(MS(100))
        }),
        queue: Some(QueueSettings {
            consumers,
            size,
            sizer: Sizer::Requests,
            block: false,
            wait_for_result: false,
            storage: None,
            overflow: Overflow::Refuse,
            batch: None,
        }),
        ..Settings::default()
    }
}

fn tenant(payload: &Payload) -> String {
    let tenant = payload.chunks[0].origin.tenant.as_deref();
    tenant.unwrap_or_default().to_owned()
}

/// Good tenants send a request every 10 ms each for so many seconds: when each was sent and how long it took to be tried,
/// in virtual ms. Beside them `bad` tenants send twice as often, and `act` is what they meet.
async fn latencies(bad: usize, act: Act, settings: Settings, seconds: u64) -> Vec<(u64, u64)> {
    let script = Script::by(move |p| match tenant(p).starts_with("bad") {
        true => act.clone(),
        false => Act::TakeAfter(MS(7)),
    });
    let rig = Rig::new(script, settings);
    let start = Instant::now();
    let mut sent: Vec<(u64, Instant)> = Vec::new();
    for turn in 0..seconds * 200 {
        for n in 0..bad {
            let refused = rig.send(logs_of(&format!("bad{n}"), 1)).await.is_err();
            assert!(!refused || turn > 0, "the first has room");
        }
        if turn % 2 == 0 {
            for name in ["a", "b", "c"] {
                let payload = logs_of(name, 1);
                sent.push((records(&payload)[0], Instant::now()));
                rig.send(payload)
                    .await
                    .expect("there is always room for a good one");
            }
        }
        tokio::time::sleep(MS(5)).await;
    }
    tokio::time::sleep(S(1)).await;
    let seen = rig.script.seen.lock().clone();
    let tried: HashMap<u64, Instant> = seen.iter().map(|s| (records(&s.payload)[0], s.at)).collect();
    rig.finish().await;
    let ms = |d: Duration| d.as_millis() as u64;
    sent.iter()
        .map(|(name, at)| (ms(*at - start), ms(tried[name] - *at)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_at_429_for_ever_leaves_the_others_p99_unchanged() {
    let p99 = |took: Vec<(u64, u64)>| {
        let mut took: Vec<u64> = took.into_iter().map(|(_, took)| took).collect();
        took.sort();
        (took.len(), took[took.len() * 99 / 100])
    };
    let alone = latencies(0, Act::Take, settings(4, 100), 2).await;
    assert_eq!(p99(alone), (600, 0));
    for act in [Act::RetryAfter(S(60)), Act::Retry] {
        let beside = latencies(1, act.clone(), settings(4, 100), 2).await;
        assert_eq!(p99(beside), (600, 0), "{act:?}");
    }
    let many = latencies(8, Act::Retry, settings(8, 400), 2).await;
    assert_eq!(p99(many), (600, 0), "nor do eight of them");
}

#[tokio::test(start_paused = true)]
async fn tenants_that_hang_have_half_of_the_consumers_once_that_is_known() {
    // Eight of them take every consumer, for five seconds, once.
    let took = latencies(8, Act::Hang, settings(8, 100_000), 20).await;
    let late = |from: u64, to: u64| {
        let within = took.iter().filter(|(sent, _)| (from..to).contains(sent));
        within.map(|(_, took)| *took).max()
    };
    assert!(
        late(0, 5_000).is_some_and(|ms| (4_000..=5_000).contains(&ms)),
        "{:?}",
        late(0, 5_000)
    );
    assert_eq!(
        late(12_000, 20_000),
        Some(0),
        "what gathered meanwhile is gone, and nothing waits any more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_cannot_be_delivered_leaves_room_for_others() {
    let script = Script::by(|p| match tenant(p).starts_with("bad") {
        true => Act::RetryAfter(S(600)),
        false => Act::TakeAfter(S(1)),
    });
    let rig = Rig::new(script, settings(4, 8));
    let fill = async |name: &str| {
        let mut taken = 0;
        while rig.send(logs_of(name, 1)).await.is_ok() {
            taken += 1;
        }
        taken
    };
    assert_eq!(fill("bad1").await, 6, "three quarters");
    assert_eq!(fill("bad2").await, 1, "of what is left");
    assert_eq!(fill("good").await, 1, "and still there is some");
    assert_eq!(
        rig.send(logs_of("good", 1)).await,
        Err(Refusal::Busy { retry_after: None })
    );
    tokio::time::sleep(S(2)).await;
    assert_eq!(fill("good").await, 1, "its own room is free again");
    rig.finish().await;
    // Without tenants nothing is shared: all of the queue is theirs.
    let rig = Rig::new(Script::by(|_| Act::RetryAfter(S(600))), settings(4, 8));
    let mut taken = 0;
    while rig.send(logs(1)).await.is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 8);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_whatever_they_have_queued() {
    let rig = Rig::new(Script::by(|_| Act::TakeAfter(MS(10))), settings(1, 1000));
    for _ in 0..50 {
        rig.send(logs_of("much", 1)).await.expect("room");
    }
    for _ in 0..3 {
        rig.send(logs_of("little", 1)).await.expect("room");
    }
    tokio::time::sleep(S(5)).await;
    let order: Vec<String> = rig
        .script
        .seen
        .lock()
        .iter()
        .map(|s| tenant(&s.payload))
        .collect();
    let places: Vec<usize> = (0..order.len()).filter(|at| order[*at] == "little").collect();
    assert_eq!(
        places,
        [2, 4, 6],
        "every other turn, though fifty stood before it"
    );
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_partitions_are_the_most_and_idle_ones_are_forgotten() {
    let rig = Rig::new(Script::new([]), settings(4, 1_000_000));
    for n in 0..10_100 {
        rig.send(logs_of(&format!("t{n}"), 1)).await.expect("room");
    }
    let known = || {
        let hub = rig.harness.hub.lock().clone().expect("a queue");
        hub.state.lock().keys.len()
    };
    assert_eq!(known(), 10_000, "the last hundred share one");
    while rig.totals().held() > 0 {
        tokio::time::sleep(MS(1)).await;
    }
    assert_eq!(rig.totals().get(Column::Out), 10_100);
    tokio::time::sleep(S(10)).await;
    rig.script.seen.lock().clear();
    // Whatever is due next finds them.
    rig.send(logs_of("t1", 1)).await.expect("room");
    rig.harness.hub.lock().clone().expect("a queue").tick();
    assert!(known() <= 1, "{} are still known", known());
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn callers_are_told_of_a_pause_that_the_far_side_asked_for_and_the_far_side_is_left_alone() {
    let mut settings = settings(4, 100);
    settings.queue.as_mut().expect("on").wait_for_result = true;
    let rig = Rig::new(Script::new([Act::RetryAfter(S(60))]), settings);
    let first = rig.send(logs(1)).await.expect_err("asked to wait");
    assert_eq!(first.retry_after(), Some(S(60)));
    tokio::time::sleep(S(20)).await;
    let second = rig.send(logs(1)).await.expect_err("the pause is not over");
    assert_eq!(second.retry_after(), Some(S(40)));
    assert_eq!(rig.script.sizes().len(), 1, "and it was not asked again");
    tokio::time::sleep(S(40)).await;
    rig.send(logs(1)).await.expect("the pause is over");
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_callers_are_told_no_for_counts_as_not_enqueued() {
    let mut settings = settings(4, 100);
    settings.queue.as_mut().expect("on").wait_for_result = true;
    let rig = Rig::new(Script::new([Act::Reject]), settings);
    rig.send(logs(3)).await.expect_err("rejected");
    rig.send(logs(2)).await.expect("taken");
    let labels = vec![("exporter", "out".to_owned())];
    let metrics = &rig.cx.telemetry.metrics;
    assert_eq!(metrics.counter(enqueue_failed(Signal::Logs), labels).get(), 3);
    assert_eq!(rig.totals().refused(), 3, "and as not sent");
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_takes_nothing_for_nothing() {
    let rig = Rig::new(Script::by(|_| Act::Reject), settings(4, 100));
    let mut empty = logs(1);
    empty.items = 0;
    empty.chunks.clear();
    assert_eq!(rig.send(empty).await, Ok(Outcome::all()));
    rig.finish().await;
    assert!(rig.script.sizes().is_empty());
}

fn tenants(payload: &Payload) -> Vec<String> {
    let tenants = payload.chunks.iter().map(|c| c.origin.tenant.as_deref());
    tenants.map(|t| t.unwrap_or("nobody").to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_tenants_have_in_one_request_goes_apart() {
    let script = Script::by(|p| match tenant(p).as_str() {
        "bad" => Act::RetryAfter(S(60)),
        _ => Act::Take,
    });
    let rig = Rig::new(script, settings(4, 100));
    rig.send(logs_of_all(&["a", "bad", "a", "b"]))
        .await
        .expect("room");
    rig.send(logs_of_all(&["bad", "a"])).await.expect("room");
    settle().await;
    let mut seen: Vec<_> = rig
        .script
        .seen
        .lock()
        .iter()
        .map(|s| tenants(&s.payload))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [vec!["a"], vec!["a", "a"], vec!["b"], vec!["bad"], vec!["bad"]]
    );
    assert_eq!((rig.totals().get(Column::Out), rig.totals().held()), (4, 2));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn tenants_of_one_request_meet_in_no_batch() {
    let mut settings = settings(4, 100);
    let queue = settings.queue.as_mut().expect("it is on");
    queue.batch = Some(FlushPolicy {
        items_min: 3,
        items_max: None,
        bytes_min: None,
        bytes_max: None,
        timeout: S(1),
        metadata_keys: Vec::new(),
        cardinality_max: None,
    });
    let rig = Rig::new(Script::new([]), settings);
    for _ in 0..3 {
        rig.send(logs_of_all(&["a", "b"])).await.expect("room");
    }
    settle().await;
    let seen: Vec<_> = rig
        .script
        .seen
        .lock()
        .iter()
        .map(|s| tenants(&s.payload))
        .collect();
    assert_eq!(seen, [["a", "a", "a"], ["b", "b", "b"]]);
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_answered_once_all_tenants_of_its_request_are() {
    let mut settings = settings(4, 100);
    settings.queue.as_mut().expect("it is on").wait_for_result = true;
    let script = Script::by(|p| match tenant(p).as_str() {
        "bad" => Act::Reject,
        _ => Act::TakeAfter(MS(100)),
    });
    let rig = Rig::new(script, settings);
    let start = Instant::now();
    let outcome = rig
        .send(logs_of_all(&["a", "bad", "b"]))
        .await
        .expect("most of it was taken");
    assert_eq!((outcome.rejected_items(), start.elapsed()), (1, MS(100)));
    rig.finish().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_tenants_are_sent_apart_where_the_exporter_tells_them_apart() {
    let check = async |by_tenant: bool, expected: &[&[&str]]| {
        let script = Script::new([]);
        script
            .by_tenant
            .store(by_tenant, std::sync::atomic::Ordering::Relaxed);
        let rig = Rig::new(script, Settings::default());
        rig.send(logs_of_all(&["a", "b", "a"])).await.expect("taken");
        let seen: Vec<_> = rig
            .script
            .seen
            .lock()
            .iter()
            .map(|s| tenants(&s.payload))
            .collect();
        assert_eq!(seen, expected);
        rig.finish().await;
    };
    check(false, &[&["a", "b", "a"]]).await;
    check(true, &[&["a", "a"], &["b"]]).await;
}

#[tokio::test(start_paused = true)]
async fn each_tenant_of_a_request_pays_for_its_part_of_the_queue() {
    let mut settings = settings(4, 16);
    settings.queue.as_mut().expect("it is on").sizer = Sizer::Items;
    let script = Script::by(|p| match tenant(p).as_str() {
        "bad" => Act::Hang,
        _ => Act::Take,
    });
    let rig = Rig::new(script, settings);
    let mut taken = 0;
    while taken < 16 && rig.send(logs_of_all(&["good", "bad"])).await.is_ok() {
        taken += 1;
        settle().await;
    }
    assert_eq!(
        taken, 7,
        "requests are held until their last part is done, up to the share of one"
    );
    assert!(rig.send(logs_of("bad", 1)).await.is_err(), "it has its share");
    rig.send(logs_of("other", 1))
        .await
        .expect("there is room for others");
    rig.finish().await;
}
