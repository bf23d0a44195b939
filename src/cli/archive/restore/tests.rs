use bytes::Bytes;
use evidence::digest::sha256;

use super::*;
use crate::cli::archive::test_kit;

fn named(writer: &str, index: u64) -> Named {
    Named {
        writer: writer.into(),
        index,
        ..test_kit::named().0
    }
}

fn head(writer: &str, size: u64) -> LogHead {
    LogHead {
        origin: format!("a/b/{writer}/019aa1c2-5be0-7abc-8def-0123456789ab"),
        size,
        root: sha256(writer.as_bytes()),
        last: None,
        is_closed: false,
    }
}

#[test]
fn a_rate_is_records_a_second() {
    let check = |text: &str, expected: Option<u64>| assert_eq!(rate(text).ok(), expected, "{text}");
    check("20000/s", Some(20_000));
    check("5", Some(5));
    check("0/s", None);
    check("-1/s", None);
    check("5/m", None);
    check("", None);
}

#[tokio::test(start_paused = true)]
async fn a_rate_holds_over_time() {
    let mut rate = Rate::new(100);
    assert_eq!(rate.piece(), 10);
    let begin = Instant::now();
    for _ in 0..31 {
        rate.wait(10).await;
    }
    let took = begin.elapsed();
    assert!((3_000..3_010).contains(&took.as_millis()), "{took:?}");
    assert_eq!(Rate::new(3).piece(), 1);
}

#[test]
fn what_a_far_side_may_drop_is_told() {
    let oldest = named("gw-0", 5).obj.ev.expect("times")[0];
    let check = |signal: &str, age_ms: i64, expected: &[&str]| {
        let mut named = named("gw-0", 5);
        named.obj.signal = signal.to_owned();
        let told = old(&[named], Time::from_millis(oldest.millis() + age_ms));
        let words: Vec<&str> = told
            .iter()
            .map(|line| line.split_once(": by its defaults ").expect(line).1)
            .collect();
        assert_eq!(words, expected, "{signal} {age_ms}");
    };
    const HOUR: i64 = 3_600_000;
    check("logs", 168 * HOUR, &[]);
    let loki = "Loki drops what is older than 168h (reject_old_samples_max_age)";
    check("logs", 168 * HOUR + 1, &[loki]);
    check("metrics", HOUR, &[]);
    let others = "Prometheus and Mimir drop what is older than the newest sample of its series (out_of_order_time_window)";
    check("metrics", HOUR + 1, &[others]);
    check("traces", 9_999 * HOUR, &[]);
    assert_eq!(old(&[], Time::from_millis(0)), Vec::<String>::new());
}

#[test]
fn a_filter_says_what_was_asked_for() {
    assert_eq!(filter(&Part::default(), None), "all");
    let part = Part {
        tenant: Some("acme".to_owned()),
        from: Some("2025-11-20".to_owned()),
        class: Some("pci".to_owned()),
        ..Part::default()
    };
    let said = filter(&part, Some("severity_number >= 17"));
    assert_eq!(
        said,
        "from=2025-11-20 tenant=acme class=pci where=severity_number >= 17"
    );
}

#[test]
fn a_job_goes_on_with_the_list_that_it_began_with() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("job.json");
    let open = |filter: &str, to: &str| Job::open(Some(&path), filter, to, &Part::default());
    let mut job = open("all", "far:4317").expect("a new one");
    let mut logs = Logs {
        heads: vec![head("gw-0", 8)],
        objects: vec![named("gw-0", 5)],
        ..Logs::default()
    };
    job.settle(&mut logs).expect("its first time");
    (job.object, job.requests, job.records) = (Some("k".to_owned()), 7, 70);
    job.save(Some(&path)).expect("it is written");

    let mut again = open("all", "far:4317").expect("the same");
    assert_eq!(again, job);
    // Meanwhile another log began, and the first one grew.
    let objects = vec![named("gw-0", 5), named("gw-0", 8), named("gw-1", 2)];
    let grown = |root: Digest| Logs {
        heads: vec![head("gw-0", 20), head("gw-1", 4)],
        objects: objects.clone(),
        roots: [((head("gw-0", 8).origin, 8), root)].into(),
        ..Logs::default()
    };
    let mut logs = grown(sha256(b"gw-0"));
    again.settle(&mut logs).expect("it is still part of it");
    assert_eq!(logs.objects, [named("gw-0", 5)]);
    let mut rewritten = grown(sha256(b"another"));
    assert_eq!(again.settle(&mut rewritten).expect_err("another log").exit, 2);
    let mut cut = Logs::default();
    assert_eq!(again.settle(&mut cut).expect_err("no such log").exit, 2);

    for (filter, to) in [("tenant=a", "far:4317"), ("all", "near:4317")] {
        let told = open(filter, to).expect_err("another job");
        assert!(told.told.contains("another restore"), "{}", told.told);
    }
    std::fs::write(&path, "{").expect("it is written");
    assert_eq!(open("all", "far:4317").expect_err("no job").exit, 64);
}

#[test]
fn a_mark_says_where_a_record_comes_from() {
    let plain = test_kit::logs(0..3);
    let mut chunk = select::chunk(Signal::Logs, Bytes::from(plain)).expect("a request");
    mark(Signal::Logs, &mut chunk, "id", "data/x").expect("it is marked");
    let mut json = Vec::new();
    codec::otlp_json::write(Signal::Logs, &chunk.bytes(), &mut json).expect("it is written");
    let told: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let attributes = told["resourceLogs"][0]["resource"]["attributes"].to_string();
    assert_eq!(
        attributes,
        "[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}},\
         {\"key\":\"weir.replay.id\",\"value\":{\"stringValue\":\"id\"}},\
         {\"key\":\"weir.replay.object\",\"value\":{\"stringValue\":\"data/x\"}}]"
    );
    assert_eq!(chunk.shape.items, 3);
    assert_eq!(wire::count_items(Signal::Logs, &chunk.bytes()), 3);
}
