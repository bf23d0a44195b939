//! What it does when nothing fails.

use std::time::Duration;

use component::Collect;
use evidence::entry::Kind;
use tokio::time::Instant;

use super::rig::{NOW_MS, Rig, archived, entries, layouts};

#[tokio::test(start_paused = true)]
async fn what_is_appended_lies_in_the_store_under_a_log() {
    let rig = Rig::new("");
    for n in 0..20 {
        rig.record(if n % 3 == 0 { &["a", "b"] } else { &["a"] }, 3);
    }
    rig.live(0).await;
    rig.assert_whole("one life");
    let copy = rig.copy();
    let keys: Vec<&String> = copy.files.keys().filter(|key| key.starts_with("data/")).collect();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].starts_with("data/v1/class=std/tenant=a/signal=logs/dt=2025-11-20/hour=14/logs_gw-0_"));
    assert!(keys[0].ends_with(".binpb.zst"));
    let kinds: Vec<String> = entries(&copy)
        .iter()
        .map(|entry| entry.kind.name().to_owned())
        .collect();
    assert_eq!(kinds[..4], ["seg", "open", "start", "worm"]);
    assert!(copy.files.contains_key("_weir/v1/archive.json"));
}

#[tokio::test(start_paused = true)]
async fn beside_others_it_lies_where_the_first_record_came() {
    let [_, (layout, begin)] = layouts();
    let rig = Rig::new("roll: {max_age: 600s}").laid_out(layout);
    std::fs::create_dir_all(rig.dir.path().join("store/year=2025")).expect("a directory");
    for other in ["logs_482910334.json", "year=2025/notes.txt"] {
        std::fs::write(rig.dir.path().join("store").join(other), "x").expect("it is written");
    }
    let archive = rig.start(0).await.expect("it starts");
    // 14:05:00, 14:08 and 14:11; 15:02 is another hour.
    for (minutes, tenant) in [(3, "a"), (3, "b"), (51, "a"), (0, "a")] {
        rig.record(&[tenant], 2);
        rig.journal.pump(&archive).await;
        tokio::time::sleep(Duration::from_secs(minutes * 60)).await;
    }
    rig.pump(&archive).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("a life of an hour");
    let mut found = Vec::new();
    for entry in entries(&rig.copy()) {
        if let Kind::Obj(obj) = entry.kind {
            let (folder, file) = obj.key.rsplit_once('/').expect("it lies in one");
            assert!(
                file.starts_with("logs_gw-0-") && file.ends_with(".binpb.zst"),
                "{file}"
            );
            assert_eq!(obj.class.as_deref(), Some("std"));
            found.push((folder.to_owned(), obj.tenant.clone(), obj.n));
        }
    }
    found.sort();
    let hour = "year=2025/month=11/day=20/hour=";
    assert!(begin.starts_with(hour));
    let expected = [
        ("14/minute=05", "a", 4),
        ("14/minute=08", "b", 2),
        ("15/minute=02", "a", 2),
    ];
    let expected = expected.map(|(minute, tenant, n)| (format!("{hour}{minute}"), tenant.to_owned(), n));
    assert_eq!(found, expected);
    let report = rig.verify();
    assert_eq!((report.totals.orphans, report.totals.others), (0, 2));
    assert_eq!(report.not_proved.len(), 4);
    let founding = std::fs::read_to_string(rig.dir.path().join("store/_weir/v1/archive.json"));
    assert!(founding.expect("it is there").contains("\"layout\":\"awss3/v1\""));
}

#[tokio::test(start_paused = true)]
async fn an_archive_of_another_layout_is_not_written_to() {
    for order in [[0, 1], [1, 0]] {
        let rig = Rig::new("");
        let [first, second] = order.map(|at| layouts()[at].0.clone());
        let rig = rig.laid_out(first);
        rig.record(&["a"], 1);
        rig.live(0).await;
        let rig = rig.laid_out(second);
        let told = rig.start(0).await.err().expect("it does not start");
        let [own, there] = order.map(|at| ["hive/v1", "awss3/v1"][1 - at]);
        let expected = format!("holds an archive of layout {there}, and this exporter writes {own}");
        assert!(told.contains(&expected), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_where_it_stood() {
    let rig = Rig::new("");
    for life in 0..4 {
        rig.record(&["a"], life + 1);
        rig.live(0).await;
    }
    rig.assert_whole("four lives");
    let entries = entries(&rig.copy());
    let count = |name: &str| entries.iter().filter(|entry| entry.kind.name() == name).count();
    assert_eq!((count("open"), count("start")), (1, 4));
    let clean = entries.iter().filter_map(|entry| match &entry.kind {
        Kind::Start(start) => Some((start.clean, start.journal.clone())),
        _ => None,
    });
    let clean: Vec<_> = clean.collect();
    assert_eq!(clean[0].1.as_deref(), Some("new"));
    assert!(
        clean[1..]
            .iter()
            .all(|start| *start == (true, Some("same".into()))),
        "{clean:?}"
    );
    let seqs: Vec<u64> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Obj(obj) => Some(obj.seq),
            _ => None,
        })
        .collect();
    assert_eq!(seqs, [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn hours_do_not_mix_and_hostile_names_stay_in_their_place() {
    let rig = Rig::new("");
    rig.record(&["../../etc", "a=b/c", "größe"], 1);
    rig.live(0).await;
    rig.assert_whole("odd tenants");
    let copy = rig.copy();
    let tenants: Vec<&str> = copy
        .files
        .keys()
        .filter_map(|key| key.strip_prefix("data/v1/class=std/tenant=")?.split('/').next())
        .collect();
    assert_eq!(tenants, ["..%2F..%2Fetc", "a%3Db%2Fc", "gr%C3%B6%C3%9Fe"]);
    let other = Rig::new("");
    let hour = 3_600_000;
    let payload = |name: &str| super::rig::logs(&[("t", &[format!("t/{name}")])]);
    for (name, at) in [("x", NOW_MS - 2 * hour), ("y", NOW_MS), ("z", NOW_MS - hour)] {
        other.journal.push(payload(name), at);
    }
    other.live(0).await;
    let copy = other.copy();
    let hours: Vec<&str> = copy
        .files
        .keys()
        .filter_map(|key| {
            key.strip_prefix("data/")?
                .split("hour=")
                .nth(1)?
                .split('/')
                .next()
        })
        .collect();
    assert_eq!(hours, ["12", "13", "14"]);
    assert_eq!(archived(&copy).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn in_memory_nothing_needs_a_journal() {
    for yaml in ["ack: memory", "ack: memory\nspool: memory"] {
        let rig = Rig::new(yaml);
        for _ in 0..5 {
            rig.record(&["a", "b"], 2);
        }
        rig.live(0).await;
        rig.assert_whole(yaml);
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_is_asked_for_and_a_directory_is_nobody_elses() {
    let rig = Rig::new("");
    let mut nowhere = Rig::new("");
    nowhere.journal = super::rig::Journal::new(None);
    let told = nowhere.start(0).await.err().expect("it needs one");
    assert!(
        told.contains("no storage: is set") && told.contains("ack: memory"),
        "{told}"
    );
    let archive = rig.start(0).await.expect("it starts");
    let told = rig.start(0).await.err().expect("it is in use");
    assert!(told.contains("used by another archive"), "{told}");
    drop(archive);
}

#[tokio::test(start_paused = true)]
async fn without_a_lock_it_does_not_start_unless_told() {
    let rig = Rig::new("lock: {required: true}");
    let told = rig.start(0).await.err().expect("a directory locks nothing");
    assert!(told.contains("lock.required: false"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_new_session_names_the_one_before_and_goes_on() {
    let rig = Rig::new("");
    rig.record(&["a"], 3);
    let archive = rig.start(0).await.expect("it starts");
    rig.pump(&archive).await;
    let shared = archive
        .running
        .lock()
        .as_ref()
        .map(|running| running.shared.clone())
        .expect("it runs");
    crate::archiver::start::roll(&shared).await.expect("it rolls");
    drop(shared);
    rig.record(&["a"], 2);
    rig.pump(&archive).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.record(&["a"], 1);
    rig.live(0).await;
    rig.assert_whole("two sessions");
    let entries = entries(&rig.copy());
    let opens: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Open(open) => Some((
                open.session.clone(),
                open.prev_session.clone().map(|head| head.session),
            )),
            _ => None,
        })
        .collect();
    let [(first, None), (_, Some(before))] = opens.as_slice() else {
        panic!("{opens:?}");
    };
    assert_eq!(first, before);
    assert_eq!(
        entries
            .iter()
            .filter(|entry| entry.kind.name() == "close")
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tenants_of_three_signals_are_small() {
    let rig = Rig::new("");
    let archive = rig.start(0).await.expect("it starts");
    let shared = archive
        .running
        .lock()
        .as_ref()
        .map(|running| running.shared.clone())
        .expect("it runs");
    let names: Vec<String> = (0..3000).map(|n| format!("tenant-{n}")).collect();
    for name in &names {
        rig.record(&[name], 1);
    }
    rig.journal.pump(&archive).await;
    let sizes = shared.gather.state_bytes();
    assert_eq!(sizes.len(), 3000);
    assert!(
        sizes.iter().all(|bytes| *bytes <= 2 << 10),
        "{:?}",
        sizes.iter().max()
    );
    assert!(
        shared.gather.buffered() <= 3000 * (16 << 10),
        "{}",
        shared.gather.buffered()
    );
    drop(shared);
    archive.stop(Instant::now()).await;
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_whoever_comes_then_waits() {
    let rig = Rig::new("max_buffer_bytes: 64KiB\nroll: {chunk_bytes: 16KiB}\ncompress_workers: 1");
    let archive = rig.start(0).await.expect("it starts");
    for _ in 0..200 {
        rig.record(&["a", "b", "c", "d"], 20);
    }
    let shared = archive
        .running
        .lock()
        .as_ref()
        .map(|running| running.shared.clone())
        .expect("it runs");
    rig.journal.pump(&archive).await;
    assert!(
        shared.gather.buffered() <= 64 << 10,
        "{}",
        shared.gather.buffered()
    );
    drop(shared);
    rig.pump(&archive).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("little memory");
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_stop_signs_at_once() {
    let rig = Rig::new("");
    let archive = rig.start(0).await.expect("it starts");
    // The first head is in the store, the next one is not due.
    tokio::time::sleep(Duration::from_secs(5)).await;
    rig.record(&["a"], 3);
    rig.journal.pump(&archive).await;
    let began = Instant::now();
    archive.stop(began + Duration::from_secs(10)).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    rig.assert_whole("stopped at once");
}
