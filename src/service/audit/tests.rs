use std::collections::VecDeque;

use component::template::OWN_TENANT;
use component::{Outcome, Refusal};
use config::ComponentId;
use evidence::digest::Digest;
use serde::Serialize;
use storage::Journal;
use storage::journal::Options;
use storage::journal::sim::{Failure, SimDisk};
use telemetry::Place;
use wire::{Payload, Signal};

use super::*;

/// Takes what comes, after it has refused as often as it was told to.
#[derive(Default)]
struct Taker {
    refusals: Mutex<VecDeque<Refusal>>,
    taken: Mutex<Vec<Bytes>>,
    told: tokio::sync::Notify,
}

impl Consumer for Taker {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        if let Some(refusal) = self.refusals.lock().pop_front() {
            return component::ready(Err(refusal));
        }
        for chunk in &payload.chunks {
            assert_eq!(chunk.origin.tenant.as_deref(), Some(OWN_TENANT));
            self.taken.lock().push(chunk.bytes());
        }
        self.told.notify_waiters();
        component::ready(Ok(Outcome::all()))
    }
}

impl Taker {
    async fn has(&self, records: usize) {
        loop {
            let told = self.told.notified();
            if self.taken.lock().len() >= records {
                return;
            }
            told.await;
        }
    }

    /// The acts in order, once the chain was found whole.
    fn acts(&self) -> Vec<String> {
        self.acts_of(true)
    }

    /// The acts in order; with `whole` none is missing among them.
    fn acts_of(&self, whole: bool) -> Vec<String> {
        let taken = self.taken.lock();
        let mut checked = chain::Trails::default();
        let acts = taken.iter().map(|bytes| {
            for record in chain::records(bytes).unwrap() {
                checked.push(&"taken".into(), &record);
            }
            let request = json(bytes);
            let record = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
            let name = record["eventName"].as_str().unwrap();
            name.strip_prefix("weir.audit.").unwrap().to_owned()
        });
        let acts: Vec<String> = acts.collect();
        assert_eq!(checked.broken(whole), []);
        assert_eq!(checked.len(), acts.len() as u64);
        acts
    }
}

fn json(bytes: &[u8]) -> serde_json::Value {
    let shape = wire::validate(Signal::Logs, bytes, &wire::Limits::default()).unwrap();
    assert_eq!(
        (shape.items, shape.non_canonical, shape.unknown_fields),
        (1, false, false)
    );
    let mut out = Vec::new();
    codec::otlp_json::write(Signal::Logs, bytes, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn trail(fail_closed: bool) -> Arc<Trail> {
    let trail = Trail::new(&Telemetry::default(), &Arc::new(Memory::new(1 << 20)));
    let wanted = Wanted {
        is_on: true,
        fail_closed,
        storage: None,
        writer: Some("gw-0".to_owned()),
        certs: Vec::new(),
    };
    assert!(trail.want(&wanted));
    assert!(!trail.want(&wanted));
    trail
}

fn journal(disk: &SimDisk) -> Option<(ComponentId, Option<Journal>)> {
    let (journal, _) = Journal::open(Arc::new(disk.clone()), Options::default()).unwrap();
    Some((ComponentId::parse("file_storage").unwrap(), Some(journal)))
}

fn act(name: &'static str) -> Act {
    Act::new(name, "test")
}

fn outcomes(trail: &Trail, outcome: &str) -> u64 {
    let labels = vec![("outcome", outcome.to_owned())];
    trail
        .telemetry
        .metrics
        .counter(names::AUDIT_RECORDS, labels)
        .get()
}

#[test]
fn a_record_is_an_otlp_log_with_its_text_as_it_is() {
    #[derive(Serialize)]
    struct Details {
        scheme: &'static str,
        reason: &'static str,
        count: u32,
    }
    let first = "a9eb7da0ccf1fdb3ef91bae9b0a8d060b72b4763adff3f7a6f3b191bfff05984";
    let mut trail = chain::Trail::after(0, Digest(evidence::digest::unhex(first).unwrap()));
    let actor = chain::Actor {
        kind: "client".to_owned(),
        id: "203.0.113.9".to_owned(),
    };
    let record = trail.record(&chain::Act {
        t: "2025-11-20T14:05:44.020Z".parse().unwrap(),
        act: "authn.failure",
        actor: &actor,
        out: chain::Out::Failure,
        obj: "receiver/otlp",
        d: Details {
            scheme: "bearer",
            reason: "unknown_token",
            count: 3,
        },
    });
    let act = Act::new("authn.failure", "receiver/otlp")
        .by(component::audit::Actor::new("client", "203.0.113.9"))
        .ended(Ended::Failure);
    let bytes = encode(&record.unwrap(), &act, 1_763_647_544_020, &resource(Some("gw-0")));
    let body = r#"{"v":1,"seq":1,"t":"2025-11-20T14:05:44.020Z","act":"authn.failure","actor":{"type":"client","id":"203.0.113.9"},"out":"failure","obj":"receiver/otlp","d":{"scheme":"bearer","reason":"unknown_token","count":3}}"#;
    let text = |key: &str, value: &str| serde_json::json!({"key": key, "value": {"stringValue": value}});
    let expected = serde_json::json!({"resourceLogs": [{
        "resource": {"attributes": [text("service.name", "weir"), text("service.instance.id", "gw-0")]},
        "scopeLogs": [{
            "scope": {"name": "weir.audit", "version": env!("CARGO_PKG_VERSION")},
            "logRecords": [{
                "timeUnixNano": "1763647544020000000",
                "observedTimeUnixNano": "1763647544020000000",
                "severityNumber": 17,
                "severityText": "ERROR",
                "eventName": "weir.audit.authn.failure",
                "body": {"stringValue": body},
                "attributes": [
                    {"key": "weir.audit.seq", "value": {"intValue": "1"}},
                    text("weir.audit.prev", first),
                    text("weir.audit.hash", "946dcfbdacf7905ad1b8a650b1b009c467fc0a848e6b2f0188304ee6009427ec"),
                    text("weir.audit.act", "authn.failure"),
                    text("weir.audit.out", "failure"),
                    text("weir.audit.actor.id", "203.0.113.9"),
                ],
            }],
        }],
    }]});
    assert_eq!(json(&bytes), expected);
}

#[test]
fn how_it_ended_is_the_severity() {
    let check = |outcome: Ended, number: u64, word: &str| {
        let act = act("a").ended(outcome);
        let record = chain::Trail::default().record(&chain::Act {
            t: Time::from_millis(0),
            act: "a",
            actor: &chain::Actor {
                kind: String::new(),
                id: String::new(),
            },
            out: chain::Out::Success,
            obj: "",
            d: (),
        });
        let request = json(&encode(&record.unwrap(), &act, 1, &Resource::default()));
        let record = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["severityNumber"], number);
        assert_eq!(record["severityText"], word);
    };
    check(Ended::Success, 9, "INFO");
    check(Ended::Denied, 13, "WARN");
    check(Ended::Failure, 17, "ERROR");
}

#[tokio::test]
async fn records_wait_for_the_pipeline_and_for_one_that_is_busy() {
    let trail = trail(false);
    trail.tell(act("one"));
    trail.open(None).await.unwrap();
    trail.tell(act("two"));
    assert_eq!(trail.head(), None);
    let taker = Arc::new(Taker::default());
    taker.refusals.lock().extend([
        Refusal::Busy { retry_after: None },
        Refusal::unavailable("not yet"),
    ]);
    let next: Arc<dyn Consumer> = taker.clone();
    trail.connect(next.clone());
    taker.has(2).await;
    trail.finish(act("last"), Duration::from_secs(20)).await;
    trail.disconnect(&next).await;
    trail.tell(act("late"));
    assert_eq!(taker.acts(), ["one", "two", "last"]);
    assert_eq!(trail.head().unwrap().0, 2);
    assert_eq!(outcomes(&trail, "delivered"), 3);
    let place = Place::Door {
        receiver: "audit".to_owned(),
        transport: "internal",
    };
    let row = trail.telemetry.ledger.row(place, Signal::Logs).total();
    assert_eq!((row.offered(), row.accepted(), row.refused()), (7, 3, 4));
}

#[tokio::test]
async fn what_is_refused_for_good_holds_up_nobody() {
    let trail = trail(false);
    trail.open(None).await.unwrap();
    let taker = Arc::new(Taker::default());
    taker.refusals.lock().push_back(Refusal::Invalid("no".to_owned()));
    trail.tell(act("one"));
    trail.connect(taker.clone());
    let mut moved = trail.moved.subscribe();
    while trail.head().is_none() {
        moved.changed().await.unwrap();
    }
    trail.tell(act("two"));
    taker.has(1).await;
    assert_eq!(taker.acts_of(false), ["two"]);
    assert_eq!(
        (outcomes(&trail, "rejected"), outcomes(&trail, "delivered")),
        (1, 1)
    );
}

#[tokio::test]
async fn a_trail_without_room_says_so_and_later_what_it_lost() {
    for fail_closed in [false, true] {
        let trail = trail(fail_closed);
        trail.open(None).await.unwrap();
        let door = || trail.memory.reserve(component::Class::Door, 0).is_some();
        let mut told = 0;
        while !trail.is_full() {
            trail.tell(act("one").with("much", "x".repeat(1000)));
            told += 1;
        }
        assert_eq!(door(), !fail_closed);
        for _ in 0..5 {
            trail.tell(act("lost"));
        }
        let taker = Arc::new(Taker::default());
        trail.connect(taker.clone());
        taker.has(told).await;
        let mut moved = trail.moved.subscribe();
        while trail.is_full() {
            moved.changed().await.unwrap();
        }
        assert!(door());
        trail.tell(act("again"));
        taker.has(told + 2).await;
        assert_eq!(taker.acts()[told..], ["audit.gap", "again"]);
        assert_eq!(outcomes(&trail, "lost"), 5);
        let gap = json(&taker.taken.lock()[told]).to_string();
        assert!(gap.contains(r#"\"d\":{\"lost\":5}"#), "{gap}");
    }
}

#[tokio::test]
async fn a_journal_keeps_what_nobody_took() {
    let disk = SimDisk::default();
    let first = trail(false);
    first.open(journal(&disk)).await.unwrap();
    first.tell(act("one"));
    // Nobody is connected: what is on disk stays there.
    first.finish(act("two"), Duration::from_secs(20)).await;
    assert_eq!(first.head().unwrap().0, 1);
    drop(first);
    let second = trail(false);
    let disk = disk.crash(1);
    second.open(journal(&disk)).await.unwrap();
    second.tell(act("three"));
    let taker = Arc::new(Taker::default());
    second.connect(taker.clone());
    taker.has(3).await;
    assert_eq!(taker.acts(), ["one", "two", "three"]);
    second.finish(act("four"), Duration::from_secs(20)).await;
    assert!(second.state.lock().store.as_ref().unwrap().is_empty());
}

#[tokio::test]
async fn a_journal_that_takes_nothing_makes_the_trail_full_until_it_does() {
    let disk = SimDisk::default();
    let trail = trail(true);
    trail.open(journal(&disk)).await.unwrap();
    disk.fail(Some(Failure::ReadOnly));
    let mut moved = trail.moved.subscribe();
    trail.tell(act("one"));
    while !trail.is_full() {
        moved.changed().await.unwrap();
    }
    assert!(trail.memory.reserve(component::Class::Door, 0).is_none());
    disk.fail(None);
    while trail.is_full() {
        moved.changed().await.unwrap();
    }
    assert!(trail.memory.reserve(component::Class::Door, 0).is_some());
    assert_eq!(trail.head().unwrap().0, 0);
}

#[tokio::test]
async fn a_trail_that_is_off_says_nothing() {
    let trail = Trail::new(&Telemetry::default(), &Arc::new(Memory::new(1 << 20)));
    trail.tell(act("one"));
    trail.finish(act("two"), Duration::from_secs(20)).await;
    assert!(trail.state.lock().waiting.is_empty());
    assert_eq!(trail.head(), None);
}
