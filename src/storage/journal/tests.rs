//! The journal against disks that fail, and against a model that remembers what was promised.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::sim::{Failure, SimDisk};
use super::*;

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
fn the_whole_journal_has_a_bound_and_room_again() {
    let disk = SimDisk::default();
    let bounded = Options {
        bytes_max: Some(3 * SEGMENT),
        ..options()
    };
    let (journal, _) = Journal::open(Arc::new(disk), bounded).unwrap();
    let (a, _) = two(&journal);
    let mut seqs = Vec::new();
    let full = loop {
        let head = head(1, &[a]);
        let Ok(room) = journal.reserve(&head, 1000) else {
            break true;
        };
        match block_on(journal.append(head, vec![Bytes::from(vec![1; 1000])], room)) {
            Ok(seq) => seqs.push(seq),
            Err(Error::Full) => break false,
            Err(error) => panic!("{error}"),
        }
        assert!(journal.bytes() <= 3 * SEGMENT);
    };
    assert!(seqs.len() >= 6, "{} {full}", seqs.len());
    for seq in seqs {
        journal.complete(seq, a, 0..1);
    }
    let again = (0..1000).any(|_| {
        std::thread::yield_now();
        let head = head(1, &[a]);
        let room = journal.reserve(&head, 1000).unwrap();
        block_on(journal.append(head, vec![Bytes::from(vec![1; 1000])], room)).is_ok()
    });
    assert!(again, "no room again");
}

#[test]
fn a_disk_that_recovers_takes_records_again() {
    for failure in [Failure::Io, Failure::ReadOnly, Failure::Sync] {
        let disk = SimDisk::default();
        let (journal, _) = open(&disk);
        let (a, _) = two(&journal);
        let safe = append(&journal, 1, &[a], b"safe").unwrap();
        disk.fail(Some(failure));
        let error = append(&journal, 1, &[a], b"refused").unwrap_err();
        assert_eq!(
            matches!(error, Error::ReadOnly),
            failure == Failure::ReadOnly,
            "{error}"
        );
        disk.fail(None);
        let again = append(&journal, 1, &[a], b"again").unwrap();
        assert_eq!(journal.read(safe).unwrap(), &b"safe"[..]);
        let seqs: Vec<Seq> = journal.owed(a).into_iter().map(|o| o.seq).collect();
        assert_eq!(seqs, [safe, again], "{failure:?}");
        // After a power failure too; what was refused may lie there, what was taken does.
        for seed in 0..20 {
            let (found, _) = open(&disk.crash(seed));
            let seqs: Vec<Seq> = found.owed(a).into_iter().map(|o| o.seq).collect();
            assert!(
                seqs.contains(&safe) && seqs.contains(&again),
                "{failure:?} {seqs:?}"
            );
        }
    }
}

#[test]
fn a_full_disk_is_full_until_it_is_not() {
    let disk = SimDisk::with_capacity(3 * SEGMENT);
    let (journal, _) = open(&disk);
    let (a, _) = two(&journal);
    let mut taken = 0;
    let error = loop {
        match append(&journal, 1, &[a], &[1; 1500]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full), "{error}");
    assert!(taken >= 2);
    disk.set_capacity(None);
    append(&journal, 1, &[a], &[1; 1500]).unwrap();
    assert_eq!(journal.owed(a).len(), taken + 1);
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
    for _ in 0..2000 {
        if journal.bytes() <= 8 * SEGMENT {
            break;
        }
        let seq = append(&journal, 1, &[a], b"the writer turns").unwrap();
        journal.complete(seq, a, 0..1);
    }
    assert!(journal.bytes() <= 8 * SEGMENT, "{}", journal.bytes());
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

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// What was promised: data, and who is owed which items.
#[derive(Default)]
struct Model {
    records: BTreeMap<Seq, (Vec<u8>, BTreeMap<DestId, Vec<bool>>)>,
    /// Everything that was ever tried: nothing else may come back.
    tried: Vec<Vec<u8>>,
}

impl Model {
    /// Everything promised is there; what is there beyond that was tried or done before.
    fn check(&self, journal: &Journal, destinations: &[DestId], exact: bool) {
        let mut now: BTreeMap<Seq, (Vec<u8>, BTreeMap<DestId, Vec<bool>>)> = BTreeMap::new();
        for id in destinations {
            for owed in journal.owed(*id) {
                let data = journal.read(owed.seq).unwrap().to_vec();
                assert!(self.tried.contains(&data), "never written");
                let mut items = vec![false; owed.items as usize];
                for i in owed.remaining.iter().cloned().flatten() {
                    items[i as usize] = true;
                }
                let record = now.entry(owed.seq).or_insert_with(|| (data, BTreeMap::new()));
                record.1.insert(*id, items);
            }
        }
        for (seq, (data, owed)) in &self.records {
            for (id, items) in owed.iter().filter(|(_, items)| items.contains(&true)) {
                let (found, there) = now.get(seq).unwrap_or_else(|| panic!("{seq:?} is lost"));
                assert_eq!(found, data);
                let there = there
                    .get(id)
                    .unwrap_or_else(|| panic!("{seq:?} is lost for {id:?}"));
                for (i, owed) in items.iter().enumerate() {
                    assert!(!owed || there[i], "item {i} of {seq:?} is lost for {id:?}");
                    assert!(
                        !exact || *owed == there[i],
                        "item {i} of {seq:?} came back for {id:?}"
                    );
                }
            }
        }
    }
}

/// One life of a journal: appends, completions, ends and accidents in random order. Says how often each happened.
fn live(seed: u64) -> [u64; 4] {
    let rng = &mut Rng(seed);
    let mut counts = [0; 4];
    let mut disk = SimDisk::default();
    let (mut journal, _) = open(&disk);
    let ids: Vec<DestId> = ["a", "b", "c"]
        .map(|n| journal.destination(n, Quota::default()).unwrap())
        .to_vec();
    let mut model = Model::default();
    // What is done may be owed again after a crash, and after a failure of the disk, which cannot note it.
    let mut exact = true;
    for step in 0..60 {
        match rng.below(20) {
            0..=9 => {
                let mut data = vec![step as u8; rng.below(2500) as usize];
                data.extend_from_slice(&seed.to_le_bytes());
                data.push(step as u8);
                let to: Vec<DestId> = ids.iter().copied().filter(|_| rng.below(2) == 0).collect();
                let items = rng.below(6) as u32 + 1;
                model.tried.push(data.clone());
                match append(&journal, items, &to, &data) {
                    Ok(seq) => {
                        let owed = to.iter().map(|id| (*id, vec![true; items as usize])).collect();
                        model.records.insert(seq, (data, owed));
                        counts[0] += 1;
                    }
                    Err(_) => counts[1] += 1,
                }
            }
            10..=16 => {
                let all: Vec<Seq> = model.records.keys().copied().collect();
                let Some(seq) = (!all.is_empty()).then(|| all[rng.below(all.len() as u64) as usize]) else {
                    continue;
                };
                let Some((_, owed)) = model.records.get_mut(&seq) else {
                    continue;
                };
                let id = ids[rng.below(3) as usize];
                let Some(items) = owed.get_mut(&id) else { continue };
                let (start, end) = match rng.below(2) {
                    0 => (0, items.len()),
                    _ => (rng.below(3) as usize, rng.below(6) as usize),
                };
                journal.complete(seq, id, start as u32..end as u32);
                items.iter_mut().take(end).skip(start).for_each(|i| *i = false);
            }
            17 => {
                journal.close();
                disk.fail(None);
                journal = open(&disk).0;
                model.check(&journal, &ids, exact);
                counts[2] += 1;
            }
            18 => match rng.below(3) {
                0 => {
                    disk.fail(Some(Failure::Sync));
                    exact = false;
                }
                1 => {
                    disk.fail(Some(Failure::Io));
                    exact = false;
                }
                _ => disk.fail(None),
            },
            _ => {
                disk.fail(None);
                disk.burn_after(rng.below(12));
                // It may end in the middle of this.
                let data = vec![0xee; 1 + rng.below(3000) as usize];
                model.tried.push(data.clone());
                if let Ok(seq) = append(&journal, 1, &ids, &data) {
                    let owed = ids.iter().map(|id| (*id, vec![true])).collect();
                    model.records.insert(seq, (data, owed));
                }
                disk = disk.crash(rng.below(u64::MAX));
                exact = false;
                journal = open(&disk).0;
                model.check(&journal, &ids, exact);
                counts[3] += 1;
            }
        }
    }
    counts
}

#[test]
fn nothing_promised_is_lost_whatever_happens() {
    let seeds = std::env::var("WEIR_JOURNAL_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(400);
    let mut counts = [0; 4];
    for seed in 0..seeds {
        let lived = std::panic::catch_unwind(|| live(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        counts.iter_mut().zip(lived).for_each(|(sum, n)| *sum += n);
    }
    assert!(counts.iter().all(|n| *n > seeds / 2), "{counts:?}");
}

#[test]
fn a_flipped_bit_costs_one_record_at_most() {
    for seed in 0..300 {
        let disk = SimDisk::default();
        let (journal, _) = open(&disk);
        let (a, _) = two(&journal);
        let data = |i: u8| vec![i; 300];
        let seqs: Vec<Seq> = (0..30)
            .map(|i| append(&journal, 1, &[a], &data(i)).unwrap())
            .collect();
        if seed % 2 == 0 {
            journal.close();
        }
        let disk = disk.crash(seed);
        disk.flip(seed);
        let (journal, found) = open(&disk);
        if journal.destinations().len() < 2 {
            // The table was hit.
            assert!(!found.damage.is_empty());
            continue;
        }
        let readable: Vec<Seq> = seqs
            .iter()
            .copied()
            .filter(|s| journal.read(*s).is_ok())
            .collect();
        assert!(readable.len() >= 29, "seed {seed}: {} of 30", readable.len());
        for (i, seq) in seqs.iter().enumerate() {
            match journal.read(*seq) {
                Ok(bytes) => assert_eq!(bytes, data(i as u8)),
                Err(error) => assert!(
                    matches!(error, Error::Damaged { .. } | Error::Gone { .. }),
                    "{error}"
                ),
            }
        }
    }
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
        let first = journal.claim(id).await;
        assert!(first.is_first);
        let other = tokio::spawn({
            let journal = journal.clone();
            async move { journal.claim(id).await.is_first }
        });
        tokio::task::yield_now().await;
        assert!(!other.is_finished());
        drop(first);
        assert!(!other.await.unwrap());
    });
}
