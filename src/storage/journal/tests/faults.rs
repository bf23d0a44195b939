//! Disks that fail, fill up and damage what lies on them: refused while it lasts, and recovered without a restart.

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
