//! What is owed and waits: paging through it, marks of what may have been sent, discarding, looking in from outside.

use std::time::Duration;

use super::*;

fn seqs(owed: &[Owed]) -> Vec<Seq> {
    owed.iter().map(|o| o.seq).collect()
}

#[test]
fn a_backlog_is_read_by_the_page() {
    let (journal, _) = open(&SimDisk::default());
    let (a, b) = two(&journal);
    let all: Vec<Seq> = (0..20)
        .map(|i| append(&journal, 1, &[[a, b][i % 2]], &[0; 400]).unwrap())
        .collect();
    let of_a: Vec<Seq> = all.iter().copied().step_by(2).collect();
    let check = |after: Option<Seq>, max, expected: &[Seq]| {
        assert_eq!(seqs(&journal.owed_after(a, after, max)), expected);
    };
    check(None, 3, &of_a[..3]);
    check(None, 100, &of_a);
    check(None, 0, &[]);
    check(Some(of_a[2]), 3, &of_a[3..6]);
    // Behind a record of somebody else, and behind one that is done.
    check(Some(all[1]), 2, &of_a[1..3]);
    journal.complete(of_a[4], a, 0..1);
    check(Some(of_a[4]), 1, &of_a[5..6]);
    check(Some(of_a[3]), 1, &of_a[5..6]);
    check(Some(of_a[9]), 5, &[]);
    assert_eq!(seqs(&journal.oldest(a, 1)), of_a[..1]);
    assert_eq!(seqs(&journal.owed_after(DestId(77), None, 5)), []);
}

#[test]
fn what_may_have_been_sent_is_known_after_the_end() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, b) = two(&journal);
    let all: Vec<Seq> = (0..4)
        .map(|_| append(&journal, 1, &[a, b], b"x").unwrap())
        .collect();
    assert!(journal.owed(a).iter().all(|o| !o.maybe_sent));
    block_on(journal.dispatched(a, all[1]));
    // It is about the time before the journal was opened.
    assert!(journal.owed(a).iter().all(|o| !o.maybe_sent));
    let (journal, _) = open(&disk.kill());
    let sent =
        |journal: &Journal, id| -> Vec<bool> { journal.owed(id).iter().map(|o| o.maybe_sent).collect() };
    // Marks are written ahead, in the segment: more may be told than was sent, never less.
    assert_eq!(sent(&journal, a), [true; 4]);
    assert_eq!(sent(&journal, b), [false; 4]);
    let later = append(&journal, 1, &[a], b"later").unwrap();
    assert_eq!(sent(&journal, a), [true, true, true, true, false]);
    assert_eq!(journal.owed(a).last().unwrap().seq, later);
}

#[test]
fn a_mark_costs_a_write_now_and_then() {
    let disk = SimDisk::default();
    let wide = Options {
        segment_bytes: 1 << 20,
        ..options()
    };
    let (journal, _) = Journal::open(Arc::new(disk.clone()), wide).unwrap();
    let (a, _) = two(&journal);
    let all: Vec<Seq> = (0..1024)
        .map(|_| append(&journal, 1, &[a], b"x").unwrap())
        .collect();
    let before = disk.written();
    for seq in &all {
        block_on(journal.dispatched(a, *seq));
    }
    // Nothing is completed, so all that is written is marks, of 32 bytes, and the header of their file.
    let marks = (disk.written() - before) / 32 - 1;
    assert!((4..=9).contains(&marks), "{marks} marks");
    let (journal, _) = Journal::open(Arc::new(disk.kill()), options()).unwrap();
    assert!(journal.owed(a).iter().all(|o| o.maybe_sent));
}

#[test]
fn a_mark_that_cannot_be_written_keeps_nobody_from_sending() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, _) = two(&journal);
    let seq = append(&journal, 1, &[a], b"x").unwrap();
    disk.fail(Some(Failure::ReadOnly));
    block_on(journal.dispatched(a, seq));
    let trouble = journal.health().trouble.unwrap();
    assert_eq!(trouble.error, "the disk is read-only");
    assert!(trouble.since_ms > 1_600_000_000_000);
    disk.fail(None);
    block_on(journal.dispatched(a, seq));
    let (journal, _) = open(&disk.kill());
    assert!(journal.owed(a)[0].maybe_sent);
}

#[test]
fn a_damaged_mark_says_that_all_may_have_been_sent() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, b) = two(&journal);
    let seq = append(&journal, 1, &[a, b], b"x").unwrap();
    block_on(journal.dispatched(a, seq));
    journal.close();
    let file = Disk::open(&disk, "marks").unwrap();
    file.write_at(&[IoSlice::new(b"?")], 32 + 10).unwrap();
    let (journal, _) = open(&disk);
    assert!(journal.owed(a)[0].maybe_sent);
    assert!(!journal.owed(b)[0].maybe_sent);
    let later = append(&journal, 1, &[a], b"y").unwrap();
    assert!(!journal.owed_after(a, Some(seq), 1)[0].maybe_sent);
    // The next mark is a good one again.
    block_on(journal.dispatched(a, later));
    let (journal, _) = open(&disk.kill());
    append(&journal, 1, &[a], b"z").unwrap();
    let sent: Vec<bool> = journal.owed(a).iter().map(|o| o.maybe_sent).collect();
    assert_eq!(sent, [true, true, false]);
}

#[test]
fn what_is_discarded_is_told_by_tenant_and_kind() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, b) = two(&journal);
    let append = |kind, tenant: Option<&str>, items| {
        let head = Head {
            kind,
            tenant: tenant.map(Into::into),
            ..head(items, &[a, b])
        };
        let room = journal.reserve(&head, 1).unwrap();
        block_on(journal.append(head, vec![Bytes::from_static(b"x")], room)).unwrap()
    };
    let first = append(0, Some("acme"), 10);
    append(0, Some("acme"), 5);
    append(1, Some("acme"), 7);
    append(0, None, 1);
    journal.complete(first, a, 2..6);
    let row = |tenant: Option<&str>, kind, records, items| Discarded {
        tenant: tenant.map(Into::into),
        kind,
        records,
        items,
    };
    let expected = [
        row(None, 0, 1, 1),
        row(Some("acme"), 0, 2, 11),
        row(Some("acme"), 1, 1, 7),
    ];
    assert_eq!(journal.discard(a), expected);
    assert_eq!(journal.discard(a), []);
    assert_eq!(journal.owed(b).len(), 4);
    journal.close();
    let (journal, _) = open(&disk);
    assert_eq!((journal.owed(a).len(), journal.owed(b).len()), (0, 4));
}

#[test]
fn who_waits_for_room_is_told_of_it() {
    let (journal, _) = open(&SimDisk::default());
    let (a, _) = two(&journal);
    let quota = Quota {
        records: Some(1),
        ..Quota::default()
    };
    journal.destination("exporter/a/logs", quota).unwrap();
    let one = head(1, &[a]);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    for how in 0..2 {
        let held = journal.reserve(&one, 1).unwrap();
        let waiter = runtime.spawn({
            let (journal, one) = (journal.clone(), one.clone());
            async move {
                loop {
                    let room = journal.room();
                    match journal.reserve(&one, 1) {
                        Ok(_) => break,
                        Err(short) => assert_eq!(short, Shortage::Destinations(vec![a])),
                    }
                    room.await;
                }
            }
        });
        if how == 0 {
            drop(held);
        } else {
            let seq = block_on(journal.append(one.clone(), vec![Bytes::from_static(b"x")], held)).unwrap();
            journal.complete(seq, a, 0..1);
        }
        runtime.block_on(waiter).unwrap();
    }
}

#[test]
fn ages_come_back_and_stay_when_a_record_moves() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, dead) = two(&journal);
    let old = append(&journal, 1, &[dead], &[1; 100]).unwrap();
    let written = journal.owed(dead)[0].written_ms;
    assert!(written > 1_600_000_000_000);
    let mine = |journal: &Journal| journal.destinations().swap_remove(usize::from(dead.0));
    turn_until(&journal, a, || journal.health().counts.copied > 0);
    assert_eq!(journal.owed(dead)[0].written_ms, written);
    let (journal, _) = open(&disk.kill());
    let found = mine(&journal);
    assert_eq!((found.oldest_ms, found.newest_ms), (Some(written), Some(written)));
    journal.complete(old, dead, 0..1);
    assert_eq!((mine(&journal).oldest_ms, mine(&journal).newest_ms), (None, None));
}

#[test]
fn one_looks_in_from_outside_and_changes_nothing_until_asked() {
    let dir = tempfile::tempdir().unwrap();
    let files = || -> Vec<(String, u64)> {
        let all = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap());
        let mut all: Vec<_> = all
            .map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len()))
            .collect();
        all.sort();
        all
    };
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let (journal, _) = Journal::open(disk, options()).unwrap();
    let (a, b) = two(&journal);
    append(&journal, 4, &[a, b], &[0; 2000]).unwrap();
    append(&journal, 2, &[b], &[0; 2000]).unwrap();
    let error = Journal::open_offline(dir.path(), None).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is in use, it seems by a running gateway: ask that one over its admin endpoint, or stop it",
            dir.path().display()
        )
    );
    journal.close();
    assert!(matches!(journal.put_blob("late", b""), Err(Error::Closed)));
    assert!(matches!(
        journal.destination("late", Quota::default()),
        Err(Error::Closed)
    ));
    let before = files();
    let (journal, found) = Journal::open_offline(dir.path(), None).unwrap();
    assert_eq!((found.records, found.damage.len()), (2, 0));
    let owed: Vec<(u64, u64)> = journal
        .destinations()
        .iter()
        .map(|d| (d.records, d.items))
        .collect();
    assert_eq!(owed, [(1, 4), (2, 6)]);
    let segments: Vec<(u64, u64, bool)> = journal
        .segments()
        .iter()
        .map(|s| (s.number, s.records, s.has_index))
        .collect();
    assert_eq!(segments, [(1, 1, true), (2, 1, true)]);
    assert_eq!(journal.read(journal.owed(a)[0].seq).unwrap(), vec![0; 2000]);
    drop(journal);
    assert_eq!(files(), before);
    let (journal, _) = Journal::open_offline(dir.path(), None).unwrap();
    journal.discard(b);
    drop(journal);
    let (journal, _) = Journal::open_offline(dir.path(), None).unwrap();
    assert_eq!((journal.owed(a).len(), journal.owed(b).len()), (1, 0));
    let other = tempfile::tempdir().unwrap();
    for path in [other.path().to_owned(), other.path().join("none")] {
        let error = Journal::open_offline(&path, None).err().unwrap();
        assert!(error.to_string().starts_with("find a journal there: "), "{error}");
    }
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn a_name_that_is_damaged_costs_that_name_only() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, b) = two(&journal);
    append(&journal, 1, &[a, b], b"x").unwrap();
    journal.close();
    let file = Disk::open(&disk, "destinations").unwrap();
    let header = "weir journal destinations 1\n".len() as u64;
    file.write_at(&[IoSlice::new(b"E")], header).unwrap();
    let (journal, found) = open(&disk);
    assert_eq!(found.damage, ["destinations: destination 0 has no name"]);
    let names: Vec<(String, u64)> = journal
        .destinations()
        .into_iter()
        .map(|d| (d.name, d.records))
        .collect();
    assert_eq!(names, [("?0".into(), 1), ("exporter/b\n/logs".into(), 1)]);
    // What is asked for by the lost name is another one; the records of the old one are kept and shown.
    assert_eq!(
        journal.destination("exporter/a/logs", Quota::default()).unwrap(),
        DestId(2)
    );
    journal.close();
    let (journal, found) = open(&disk);
    assert_eq!((found.damage.len(), journal.owed(a).len()), (0, 1));
    assert_eq!(
        journal.destination("exporter/a/logs", Quota::default()).unwrap(),
        DestId(2)
    );
}

#[test]
fn a_lone_record_waits_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let (journal, _) = Journal::open(Arc::new(disk), options()).unwrap();
    let (a, _) = two(&journal);
    let before = journal.health();
    for i in 1..=5u64 {
        append(&journal, 1, &[a], b"alone").unwrap();
        let now = journal.health();
        assert_eq!(now.counts.appended - before.counts.appended, i);
        assert_eq!(now.syncs.counts.iter().sum::<u64>(), i);
    }
    assert!(journal.health().syncs.sum > Duration::ZERO);
}
