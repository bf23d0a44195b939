//! The journal against disks that fail, and against a model that remembers what was promised.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::sim::{Failure, SimDisk};
use super::*;

mod backlog;
mod encrypted;
mod faults;
#[cfg(feature = "crash-points")]
mod killed;
mod lives;

const SEGMENT: u64 = 4096;

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT,
        ..Options::default()
    }
}

fn open(disk: &SimDisk) -> (Journal, Found) {
    Journal::open(Arc::new(disk.clone()), options()).unwrap()
}

fn head(items: u32, destinations: &[DestId]) -> Head {
    Head {
        kind: 1,
        items,
        tenant: None,
        destinations: destinations.into(),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn append(journal: &Journal, items: u32, to: &[DestId], data: &[u8]) -> Result<Seq, Error> {
    let head = head(items, to);
    let room = journal.reserve(&head, data.len()).unwrap();
    let (front, back) = data.split_at(data.len() / 2);
    let parts = vec![Bytes::copy_from_slice(front), Bytes::copy_from_slice(back)];
    block_on(journal.append(head, parts, room))
}

fn two(journal: &Journal) -> (DestId, DestId) {
    let id = |name| journal.destination(name, Quota::default()).unwrap();
    (id("exporter/a/logs"), id("exporter/b\n/logs"))
}

/// Has the writer turn until something holds.
fn turn_until(journal: &Journal, id: DestId, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        let seq = append(journal, 1, &[id], &[0; 500]).unwrap();
        journal.complete(seq, id, 0..1);
    }
    panic!("it never holds");
}

#[test]
fn what_was_appended_is_owed_until_all_are_done() {
    let disk = SimDisk::default();
    let (journal, found) = open(&disk);
    assert_eq!(found, Found::default());
    let (a, b) = two(&journal);
    let first = append(&journal, 10, &[a, b], b"first").unwrap();
    let second = append(&journal, 3, &[b], b"second").unwrap();
    assert!(first < second);
    assert_eq!(journal.read(first).unwrap(), &b"first"[..]);
    journal.complete(first, b, 2..5);
    journal.complete(first, a, 0..10);
    journal.complete(first, a, 0..10);
    let owed = |journal: &Journal, id| -> Vec<(Seq, Vec<Range<u32>>)> {
        journal
            .owed(id)
            .into_iter()
            .map(|o| (o.seq, o.remaining))
            .collect()
    };
    let expected = vec![(first, vec![0..2, 5..10]), (second, Vec::from([0..3]))];
    assert_eq!((owed(&journal, a), owed(&journal, b)), (vec![], expected.clone()));
    let amounts: Vec<(String, u64, u64)> = journal
        .destinations()
        .into_iter()
        .map(|d| (d.name, d.records, d.items))
        .collect();
    assert_eq!(
        amounts,
        [
            ("exporter/a/logs".into(), 0, 0),
            ("exporter/b\n/logs".into(), 2, 10)
        ]
    );
    journal.close();
    assert!(matches!(append(&journal, 1, &[a], b"late"), Err(Error::Closed)));
    let (again, found) = open(&disk);
    assert_eq!((found.records, found.scanned, found.damage.len()), (2, 0, 0));
    assert_eq!(two(&again), (a, b));
    assert_eq!((owed(&again, a), owed(&again, b)), (vec![], expected));
    assert_eq!(again.read(second).unwrap(), &b"second"[..]);
    again.complete(first, b, 0..10);
    assert!(matches!(again.read(first), Err(Error::Gone { seq }) if seq == first));
}

#[test]
fn one_write_serves_many_destinations() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, b) = two(&journal);
    let c = journal.destination("c", Quota::default()).unwrap();
    append(&journal, 1, &[a], b"opens the segment").unwrap();
    let before = disk.written();
    append(&journal, 1, &[a, b, c], &[7; 1000]).unwrap();
    let written = disk.written() - before;
    assert!((1000..1100).contains(&written), "{written}");
}

#[test]
fn who_comes_together_is_synced_together() {
    let disk = SimDisk::default();
    let (journal, _) = Journal::open(Arc::new(disk.clone()), Options::default()).unwrap();
    let (a, _) = two(&journal);
    append(&journal, 1, &[a], b"opens the segment").unwrap();
    let before = disk.syncs();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let journal = journal.clone();
            runtime.spawn(async move {
                let head = head(1, &[a]);
                let room = journal.reserve(&head, 4).unwrap();
                journal
                    .append(head, vec![Bytes::from_static(b"data")], room)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut seqs: Vec<Seq> = tasks.into_iter().map(|t| runtime.block_on(t).unwrap()).collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!((seqs.len(), journal.owed(a).len()), (1000, 1001));
    assert!(disk.syncs() - before <= 1000);
}

#[test]
fn quotas_hold_for_all_or_none() {
    let (journal, _) = open(&SimDisk::default());
    let (a, b) = two(&journal);
    let quota = Quota {
        items: Some(10),
        ..Quota::default()
    };
    assert_eq!(journal.destination("exporter/b\n/logs", quota).unwrap(), b);
    let first = append(&journal, 6, &[a, b], b"x").unwrap();
    let short = journal.reserve(&head(5, &[a, b]), 1).err().unwrap();
    assert_eq!(short, Shortage::Destinations(vec![b]));
    let held = journal.reserve(&head(4, &[a, b]), 1).unwrap();
    assert!(journal.reserve(&head(1, &[b]), 1).is_err());
    drop(held);
    journal.complete(first, b, 0..2);
    assert!(journal.reserve(&head(6, &[b]), 1).is_ok());
    assert!(journal.reserve(&head(7, &[b]), 1).is_err());
}

#[test]
fn one_dead_destination_does_not_pin_the_disk() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, dead) = two(&journal);
    let mut owed = Vec::new();
    for i in 0..400u32 {
        let data = [i as u8; 500];
        if i % 40 == 0 {
            owed.push((append(&journal, 2, &[a, dead], &data).unwrap(), i as u8));
            journal.complete(owed.last().unwrap().0, dead, 0..1);
        } else {
            let seq = append(&journal, 1, &[a], &data).unwrap();
            journal.complete(seq, a, 0..1);
        }
    }
    for (seq, _) in &owed {
        journal.complete(*seq, a, 0..2);
    }
    // 400 records took some 60 segments; the 10 that are owed fit into two, and no
    // segment with less than a quarter of live bytes stays.
    turn_until(&journal, a, || journal.bytes() <= 8 * SEGMENT);
    let check = |journal: &Journal, exact: bool| {
        let still = journal.owed(dead);
        assert_eq!(still.len(), 10);
        for (owed, (seq, byte)) in still.iter().zip(&owed) {
            assert_eq!(owed.seq, *seq);
            // What was done a moment ago may be owed again after a power failure.
            let known = [Vec::from([1..2]), Vec::from([0..2])];
            assert!(
                known[..2 - usize::from(exact)].contains(&owed.remaining),
                "{owed:?}"
            );
            assert_eq!(journal.read(*seq).unwrap(), vec![*byte; 500]);
        }
    };
    check(&journal, true);
    for seed in 0..20 {
        let (after, found) = open(&disk.crash(seed));
        assert_eq!(found.damage, Vec::<String>::new());
        check(&after, false);
    }
}

#[test]
fn a_journal_of_another_version_is_refused() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, _) = two(&journal);
    append(&journal, 1, &[a], b"x").unwrap();
    journal.close();
    let file = Disk::open(&disk, "0000000001.segment").unwrap();
    let mut header = [0; 64];
    file.read_at(&mut header, 0).unwrap();
    header[8] = 2;
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &header[..60]) as u32;
    header[60..].copy_from_slice(&sum.to_le_bytes());
    let twice = [IoSlice::new(&header), IoSlice::new(&header)];
    file.write_at(&twice, 0).unwrap();
    let error = Journal::open(Arc::new(disk), options()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "0000000001.segment has format version 2, and this knows those up to 1"
    );
}

#[test]
fn a_destination_has_one_reader_at_a_time() {
    let (journal, _) = open(&SimDisk::default());
    let (id, _) = two(&journal);
    let seq = append(&journal, 4, &[id], b"data").unwrap();
    assert_eq!(journal.last(), Some(seq));
    journal.complete(seq, id, 1..3);
    assert_eq!(journal.remaining(seq, id), [0..1, 3..4]);
    block_on(async {
        let first = journal.turn(id).await;
        assert!(first.is_first);
        let other = tokio::spawn({
            let journal = journal.clone();
            async move { journal.turn(id).await.is_first }
        });
        tokio::task::yield_now().await;
        assert!(!other.is_finished());
        drop(first);
        assert!(!other.await.unwrap());
    });
}
