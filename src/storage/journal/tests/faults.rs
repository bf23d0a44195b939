//! Disks that fail, fill up and damage what lies on them: refused while it lasts, and recovered without a restart.

use std::io;

use super::*;

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
fn a_dead_destination_in_a_bounded_journal_leaves_room_for_the_others() {
    for key in [None, Some(Key::new(&[1; 32]))] {
        let bounded = Options {
            bytes_max: Some(12 * SEGMENT),
            key,
            ..options()
        };
        let disk = SimDisk::default();
        let (journal, _) = Journal::open(Arc::new(disk.clone()), bounded).unwrap();
        let (a, dead) = two(&journal);
        // Every third record pins its segment, up to half of what the journal may take.
        let mut pinned = Vec::new();
        for i in 0..2000u32 {
            let is_pin = i % 3 == 0 && journal.health().live_bytes < 6 * SEGMENT;
            let to = if is_pin { [a, dead] } else { [a, a] };
            let to = &to[..1 + usize::from(is_pin)];
            let seq = append(&journal, 1, to, &[i as u8; 700])
                .unwrap_or_else(|e| panic!("record {i}, {:?}: {e}", journal.health()));
            journal.complete(seq, a, 0..1);
            pinned.extend(is_pin.then_some((seq, i as u8)));
            assert!(journal.bytes() <= 12 * SEGMENT, "{}", journal.bytes());
        }
        assert!(pinned.len() > 25, "{}", pinned.len());
        for (owed, (seq, byte)) in journal.owed(dead).iter().zip(&pinned) {
            assert_eq!(owed.seq, *seq);
            assert_eq!(journal.read(*seq).unwrap(), vec![*byte; 700]);
        }
    }
}

#[test]
fn completions_that_a_full_disk_refused_are_noted_when_it_has_room() {
    for failure in [None, Some(Failure::ReadOnly), Some(Failure::Io)] {
        let disk = SimDisk::default();
        let (journal, _) = open(&disk);
        let (a, _) = two(&journal);
        let all: Vec<Seq> = (0..3).map(|_| append(&journal, 4, &[a], b"x").unwrap()).collect();
        match failure {
            None => disk.set_capacity(Some(disk.used())),
            failure => disk.fail(failure),
        }
        journal.complete(all[0], a, 0..4);
        journal.complete(all[1], a, 1..2);
        wait_until(|| journal.health().trouble.is_some());
        // What is done is done: it is not owed again as long as the process lives.
        assert_eq!(journal.owed(a).len(), 2);
        disk.fail(None);
        disk.set_capacity(None);
        wait_until(|| journal.health().trouble.is_none());
        let (after, _) = open(&disk.kill());
        let owed: Vec<(Seq, Vec<Range<u32>>)> =
            after.owed(a).into_iter().map(|o| (o.seq, o.remaining)).collect();
        assert_eq!(owed, [(all[1], vec![0..1, 2..4]), (all[2], Vec::from([0..4]))]);
    }
}

/// Waits for what the writer does by itself.
fn wait_until(holds: impl Fn() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        for _ in 0..1000 {
            if holds() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("it never holds");
    });
}

#[test]
fn what_fails_is_told_until_it_works() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, _) = two(&journal);
    append(&journal, 1, &[a], b"x").unwrap();
    let trouble = || journal.health().trouble.map(|t| t.error);
    assert_eq!(trouble(), None);
    for (failure, expected) in [
        (Failure::ReadOnly, "the disk is read-only"),
        (Failure::Io, "create a segment of the journal: input/output error"),
        (
            Failure::Sync,
            "create a segment of the journal: input/output error",
        ),
    ] {
        disk.fail(Some(failure));
        append(&journal, 1, &[a], b"refused").unwrap_err();
        assert_eq!(trouble().as_deref(), Some(expected));
        disk.fail(None);
        append(&journal, 1, &[a], b"taken").unwrap();
        // What else it could not do meanwhile it tries again by itself.
        wait_until(|| trouble().is_none());
    }
    let counts = journal.health().counts;
    assert_eq!((counts.appended, counts.refused), (4, 3));
}

/// A disk whose driver is broken.
struct Bomb(SimDisk);

impl Disk for Bomb {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str, room: u64) -> io::Result<Arc<dyn disk::File>> {
        assert!(!name.ends_with(".segment"), "the bomb goes off");
        self.0.create(name, room)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn disk::File>> {
        Disk::open(&self.0, name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }
}

#[test]
fn nobody_waits_for_a_writer_that_panicked() {
    let (journal, _) = Journal::open(Arc::new(Bomb(SimDisk::default())), options()).unwrap();
    let (a, _) = two(&journal);
    for _ in 0..2 {
        assert!(matches!(append(&journal, 1, &[a], b"x"), Err(Error::Closed)));
    }
    block_on(journal.dispatched(a, Seq(1)));
    journal.close();
}

#[test]
fn a_segment_that_could_not_be_begun_does_not_stay() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, _) = two(&journal);
    // Creating succeeds, the sync of its name fails, and removing it does too.
    disk.fail_after(2, Failure::Io);
    append(&journal, 1, &[a], b"refused").unwrap_err();
    assert_eq!(disk.list().unwrap(), ["0000000001.segment", "destinations"]);
    append(&journal, 1, &[a], b"refused").unwrap_err();
    disk.fail(None);
    append(&journal, 1, &[a], b"taken").unwrap();
    let mut names = disk.list().unwrap();
    names.retain(|n| n.ends_with(".segment"));
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(journal.owed(a).len(), 1);
}

#[test]
fn a_damaged_record_holds_up_its_segment_until_it_is_completed() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, dead) = two(&journal);
    let bad = append(&journal, 1, &[dead], &[1; 300]).unwrap();
    let good = append(&journal, 1, &[dead], &[2; 300]).unwrap();
    let seq = append(&journal, 1, &[a], &[3; 2500]).unwrap();
    journal.close();
    let file = Disk::open(&disk, "0000000001.segment").unwrap();
    file.write_at(&[IoSlice::new(b"?")], 128 + 200).unwrap();
    let (journal, found) = open(&disk);
    // A start reads indexes, and no records that it has them of.
    assert_eq!((found.records, found.damage.len()), (3, 0));
    journal.complete(seq, a, 0..1);
    assert!(matches!(journal.read(bad), Err(Error::Damaged { seq }) if seq == bad));
    assert_eq!(journal.read(good).unwrap(), vec![2; 300]);
    turn_until(&journal, a, || journal.health().counts.damaged >= 2);
    assert_eq!(journal.segments()[0].number, 1);
    // Given up and booked by whom it is owed to, it is in nobody's way.
    journal.complete(bad, dead, 0..1);
    turn_until(&journal, a, || journal.segments()[0].number > 1);
    assert_eq!(journal.owed(dead).len(), 1);
    assert_eq!(journal.read(good).unwrap(), vec![2; 300]);
}

#[test]
fn damage_is_told_apart_from_what_was_on_its_way() {
    let disk = SimDisk::default();
    let (journal, _) = open(&disk);
    let (a, _) = two(&journal);
    let all: Vec<Seq> = (0..3)
        .map(|i| append(&journal, 1, &[a], &[i; 300]).unwrap())
        .collect();
    let offsets: Vec<u64> = {
        let state = journal.shared().state.lock();
        all.iter().map(|seq| state.locate(*seq).unwrap().offset).collect()
    };
    let check = |record: usize, damage: &[String], torn: u64| {
        let disk = disk.kill();
        let file = Disk::open(&disk, "0000000001.segment").unwrap();
        file.write_at(&[IoSlice::new(b"?")], offsets[record] + 100)
            .unwrap();
        let (journal, found) = open(&disk);
        assert_eq!((found.records, found.scanned), (2, 1));
        assert_eq!((&found.damage[..], found.torn), (damage, torn));
        let there: Vec<Seq> = journal.owed(a).iter().map(|o| o.seq).collect();
        let others: Vec<Seq> = all.iter().copied().filter(|s| *s != all[record]).collect();
        assert_eq!(there, others);
    };
    let [first, second, third] = [offsets[0], offsets[1], offsets[2]];
    let told = |from, to| [format!("0000000001.segment: bytes {from} to {to} cannot be read")];
    check(0, &told(first, second), 0);
    check(1, &told(second, third), 0);
    // Nothing says that the last one was safe before the end.
    check(2, &[], 1);
}
