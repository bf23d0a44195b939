//! Dead letters and best-effort branches in whole graphs of scripted components.

use std::time::Duration;

use component::{Code, Outcome, Refusal};
use telemetry::{Column, Totals};
use tokio::time::Instant;

use super::tests::{World, exporter, spec};
use super::*;
use crate::test_kit::*;

const S: fn(u64) -> Duration = Duration::from_secs;

fn letters(world: &World, from: &str, to: &str) -> Totals {
    edge_totals(&world.cx, exporter(from), exporter(to))
}

// --- dead letters ---

#[tokio::test(start_paused = true)]
async fn what_a_queue_gives_up_goes_to_the_dead_letter() {
    let retry = "retry_on_failure: {initial_interval: 1s, max_interval: 1s, max_elapsed_time: 3s}";
    for (act, more, reason) in [
        (Act::Reject, "", "rejected"),
        (Act::TooLarge, "", "too_large"),
        (Act::Panic, "", "rejected"),
        (Act::Retry, "", "retries_exhausted"),
        (Act::Deny, ", on_auth_error: reject", "rejected"),
    ] {
        let text = format!(
            "in = {{}}\nout/a = {{sending_queue: , dead_letter: out/dead, {retry}{more}}}\nout/dead = {{}}\n\
             logs: in | | out/a"
        );
        let script = Script::by(move |_| act.clone());
        let world = World::start(&text, &[("out/a", script.clone())]).await;
        assert_eq!(world.send(logs(1)).await, Ok(Outcome::all()));
        while world.row(exporter("out/a")).held() > 0 {
            tokio::time::sleep(S(1)).await;
        }
        assert_eq!(world.script("out/dead").sizes(), [1], "{reason}");
        let a = world.row(exporter("out/a"));
        assert_eq!((a.failed[reason], a.failed_all()), (1, 1));
        assert_eq!(letters(&world, "out/a", "out/dead").accepted(), 1);
        assert_eq!(world.row(exporter("out/dead")).get(Column::Out), 1);
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_hears_that_the_dead_letter_has_it() {
    for queue in ["", "sending_queue: {wait_for_result: true}, "] {
        let text = format!(
            "in = {{}}\nout/a = {{{queue}dead_letter: out/dead}}\nout/dead = {{}}\nlogs: in | | out/a"
        );
        let scripts = [("out/a", Script::by(|_| Act::Reject))];
        let world = World::start(&text, &scripts).await;
        let outcome = world.send(logs(3)).await.expect("the dead letter has it");
        assert_eq!(
            (outcome.rejected_items(), outcome.message().as_str()),
            (3, "bad data")
        );
        let a = world.row(exporter("out/a"));
        assert_eq!((a.get(Column::In), a.failed["rejected"], a.refused()), (3, 3, 0));
        assert_eq!(world.script("out/dead").taken.lock().len(), 3);
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_comes_again_while_the_dead_letter_is_down() {
    for queue in ["", "sending_queue: {wait_for_result: true}, "] {
        let text = format!(
            "in = {{}}\nout/a = {{{queue}dead_letter: out/dead}}\n\
             out/dead = {{retry_on_failure: {{enabled: false}}}}\nlogs: in | | out/a"
        );
        let scripts = [
            ("out/a", Script::by(|_| Act::Reject)),
            ("out/dead", Script::new([Act::RetryAfter(S(9)), Act::Reject])),
        ];
        let world = World::start(&text, &scripts).await;
        let refusal = world.send(logs(3)).await.expect_err("safe nowhere");
        assert_eq!(
            (refusal.is_retryable(), refusal.retry_after()),
            (true, Some(S(9)))
        );
        let refusal = world.send(logs(3)).await.expect_err("wanted nowhere");
        assert_eq!(refusal.code(), Code::INVALID_ARGUMENT);
        world.send(logs(3)).await.expect("the dead letter is back");
        let edge = letters(&world, "out/a", "out/dead");
        assert_eq!((edge.offered(), edge.accepted(), edge.refused()), (9, 3, 6));
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_down_is_asked_again_within_bounds() {
    let text = "in = {}\nout/a = {sending_queue: , dead_letter: out/dead}\n\
                out/dead = {retry_on_failure: {enabled: false}}\nlogs: in | | out/a";
    for (acts, reason, delivered) in [
        (vec![Act::Retry, Act::Retry], "rejected", 2),
        (vec![Act::Retry; 100], "dead_letter_failed", 0),
        (vec![Act::Reject], "dead_letter_failed", 0),
    ] {
        let scripts = [
            ("out/a", Script::by(|_| Act::Reject)),
            ("out/dead", Script::new(acts)),
        ];
        let world = World::start(text, &scripts).await;
        let start = Instant::now();
        world.send(logs(2)).await.expect("room");
        while world.row(exporter("out/a")).held() > 0 {
            tokio::time::sleep(S(1)).await;
        }
        assert!(start.elapsed() <= S(301), "{:?}", start.elapsed());
        assert_eq!(
            world.script("out/a").sizes(),
            [2],
            "the far side is not asked again"
        );
        assert_eq!(world.row(exporter("out/a")).failed[reason], 2, "{reason}");
        assert_eq!(world.row(exporter("out/dead")).get(Column::Out), delivered);
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_only_the_rejected_chunk_goes_to_the_dead_letter() {
    let text = "in = {}\nbatch = {}\nout/a = {sending_queue: , dead_letter: out/dead}\nout/dead = {}\n\
                logs: in | batch | out/a";
    let bad = |p: &Payload| p.chunks.iter().any(|c| c.shape.items == 3);
    let script = Script::by(move |p| if bad(p) { Act::Reject } else { Act::Take });
    let world = World::start(text, &[("out/a", script)]).await;
    for items in [1, 3, 2] {
        world.send(logs(items)).await.expect("room");
    }
    while world.row(exporter("out/a")).held() > 0 {
        tokio::time::sleep(S(1)).await;
    }
    assert_eq!(world.script("out/a").sizes(), [6, 1, 3, 2]);
    assert_eq!(world.script("out/dead").sizes(), [3]);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_dead_letters_is_drained_in_its_order() {
    // Nothing is delivered before the end: the first hangs, the second refuses, the third has a queue of its own.
    let text = "in = {}\nout/a = {timeout: 0, sending_queue: {num_consumers: 1}, dead_letter: out/b}\n\
                out/b = {sending_queue: , dead_letter: out/c}\nout/c = {sending_queue: }\nlogs: in | | out/a";
    let scripts = [
        ("out/a", Script::by(|_| Act::Hang)),
        ("out/b", Script::by(|_| Act::Reject)),
    ];
    let world = World::start(text, &scripts).await;
    for items in [1, 2, 3] {
        world.send(logs(items)).await.expect("room");
    }
    settle().await;
    let start = Instant::now();
    world.finish().await;
    assert_eq!(start.elapsed(), S(5), "half of the time for the first");
    let mut sizes = world.script("out/c").sizes();
    sizes.sort();
    assert_eq!(sizes, [1, 2, 3]);
    let of = |id: &str| world.row(exporter(id));
    assert_eq!(
        (of("out/a").failed["shutdown"], of("out/b").failed["rejected"]),
        (6, 6)
    );
    assert_eq!(of("out/c").get(Column::Out), 6);
}

#[test]
fn a_dead_letter_must_be_there_lead_away_and_take_the_signal() {
    let check = |text: &str, expected: &[&str]| {
        let faults = Graph::build(spec(text), &context()).err().unwrap_or_default();
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), expected.len(), "{text}: {faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{fault:?} does not say {expected:?}");
        }
    };
    check(
        "in = {}\nout = {dead_letter: otlp}\notlp = {}\nlogs: in | | out",
        &[],
    );
    check(
        "in = {}\nout = {dead_letter: out/none}\nlogs: in | | out",
        &["dead_letter: failed to build pipelines: the dead letter \"out/none\" is not an exporter"],
    );
    check(
        "in = {}\nout = {dead_letter: out}\nlogs: in | | out",
        &["cycle detected: exporter \"out\" -> exporter \"out\""],
    );
    check(
        "in = {}\nout = {dead_letter: out/a}\nout/a = {dead_letter: out/b}\nout/b = {dead_letter: out/a}\nlogs: in | | out",
        &[
            "cycle detected: exporter \"out/a\" -> exporter \"out/b\" -> exporter \"out/a\"",
            "cycle detected: exporter \"out/b\" -> exporter \"out/a\" -> exporter \"out/b\"",
        ],
    );
    check(
        "in = {}\nout = {dead_letter: otlp}\notlp = {}\ntraces: in | | out",
        &["the dead letter \"otlp\" does not take traces\n  help: it knows logs"],
    );
}

// --- best effort ---

fn edge_to(world: &World, id: &str) -> Totals {
    edge_totals(&world.cx, Node::Pipeline("logs".into()), exporter(id))
}

const SPARE: &str = "in = {}\nout/a = {}\nout/b = {delivery: best_effort, retry_on_failure: {enabled: false}}\n\
                     logs: in | | out/a out/b";

#[tokio::test(start_paused = true)]
async fn a_best_effort_branch_has_no_say() {
    use Act::{Hang, Panic, Reject, Retry, Take, TakeAfter, TakeBut};
    for (b, accepted, dropped) in [
        (Take, 3, 0),
        (TakeAfter(S(4)), 3, 0),
        (TakeBut(1), 3, 0),
        (Retry, 0, 3),
        (Reject, 0, 3),
        (Panic, 0, 3),
        (Hang, 0, 3),
    ] {
        let name = format!("{b:?}");
        let world = World::start(SPARE, &[("out/b", Script::new([b]))]).await;
        let start = Instant::now();
        assert_eq!(world.send(logs(3)).await, Ok(Outcome::all()), "{name}");
        assert_eq!(start.elapsed(), Duration::ZERO, "{name}");
        world.finish().await;
        let edge = edge_to(&world, "out/b");
        assert_eq!((edge.offered(), edge.accepted()), (3, accepted), "{name}");
        assert_eq!(
            edge.dropped.get("best_effort").copied().unwrap_or(0),
            dropped,
            "{name}"
        );
        assert_eq!(edge_to(&world, "out/a").accepted(), 3);
        assert_eq!(world.row(exporter("out/b")).get(Column::In), accepted, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_best_effort_branch_took_of_a_refused_request_comes_twice() {
    let scripts = [
        ("out/a", Script::new([Act::Reject])),
        ("out/b", Script::new([Act::TakeAfter(S(1)), Act::Retry])),
    ];
    let world = World::start(SPARE, &scripts).await;
    world.send(logs(3)).await.expect_err("the required one rejects");
    world.send(logs(4)).await.expect("taken");
    world.finish().await;
    let edge = edge_to(&world, "out/b");
    assert_eq!(
        (edge.duplicates(), edge.refused(), edge.dropped["best_effort"]),
        (3, 0, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_required_queue_is_busy_before_a_best_effort_branch_has_moved() {
    let text = "in = {}\nout/a = {sending_queue: {queue_size: 1, num_consumers: 1}}\nout/b = {delivery: best_effort}\n\
                logs: in | | out/a out/b";
    let world = World::start(text, &[("out/a", Script::new([Act::TakeAfter(S(1))]))]).await;
    world.send(logs(1)).await.expect("room");
    assert_eq!(
        world.send(logs(2)).await,
        Err(Refusal::Busy { retry_after: None })
    );
    world.finish().await;
    assert_eq!(world.script("out/b").sizes(), [1]);
    let edge = edge_to(&world, "out/b");
    assert_eq!((edge.accepted(), edge.refused()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn alone_it_answers_when_handed_over_and_takes_so_many_at_a_time() {
    let text = "in = {}\nout/b = {timeout: 0, delivery: best_effort}\nlogs: in | | out/b";
    let world = World::start(text, &[("out/b", Script::by(|_| Act::TakeAfter(S(2))))]).await;
    for _ in 0..130 {
        assert_eq!(world.send(logs(1)).await, Ok(Outcome::all()));
    }
    settle().await;
    assert_eq!(
        world.script("out/b").sizes().len(),
        100,
        "the others were dropped at once"
    );
    tokio::time::sleep(S(3)).await;
    world.send(logs(1)).await.expect("room again");
    world.finish().await;
    let edge = edge_to(&world, "out/b");
    assert_eq!((edge.accepted(), edge.dropped["best_effort"]), (101, 30));
    assert_eq!(world.cx.memory.used(component::Class::Waiting), 0);
    assert_eq!(world.graph.plan().best_effort(), ["out/b"]);
    assert_eq!(world.graph.plan().unanswered(), ["logs"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_answers_whatever_its_delivery_is_in_pipelines() {
    let text = "in = {}\nout/a = {dead_letter: out/b}\nout/b = {delivery: best_effort, retry_on_failure: {enabled: false}}\n\
                logs: in | | out/a out/b";
    let scripts = [
        ("out/a", Script::by(|_| Act::Reject)),
        ("out/b", Script::by(|_| Act::Retry)),
    ];
    let world = World::start(text, &scripts).await;
    let refusal = world.send(logs(1)).await.expect_err("safe nowhere");
    assert!(refusal.is_retryable(), "{refusal:?}");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_a_best_effort_branch_is_drained_with_what_waits_before_it() {
    let text = "in = {}\nout/a = {}\n\
                out/b = {delivery: best_effort, sending_queue: {queue_size: 1, num_consumers: 1, block_on_overflow: true}}\n\
                logs: in | | out/a out/b";
    let slow = Script::by(|_| Act::TakeAfter(Duration::from_millis(900)));
    let world = World::start(text, &[("out/b", slow)]).await;
    for _ in 0..3 {
        world.send(logs(1)).await.expect("taken");
    }
    tokio::time::sleep(S(10)).await;
    world.finish().await;
    let edge = edge_to(&world, "out/b");
    assert_eq!(
        (edge.accepted(), edge.dropped_all()),
        (3, 0),
        "waited for room, for two seconds at most"
    );
}
