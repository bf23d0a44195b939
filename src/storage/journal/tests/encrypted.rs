//! Encryption at rest: nothing in clear, old clear segments read on, wrong keys told.

use super::*;

fn key(byte: u8) -> Option<Key> {
    Some(Key::new(&[byte; 32]))
}

fn open_with(disk: &SimDisk, key: Option<Key>) -> Result<(Journal, Found), Error> {
    let options = Options { key, ..options() };
    Journal::open(Arc::new(disk.clone()), options)
}

fn append_of(journal: &Journal, tenant: &str, to: &[DestId], data: &str) -> Seq {
    let head = Head {
        tenant: Some(tenant.into()),
        ..head(2, to)
    };
    let room = journal.reserve(&head, data.len()).unwrap();
    block_on(journal.append(head, vec![Bytes::copy_from_slice(data.as_bytes())], room)).unwrap()
}

fn tenants(journal: &Journal, id: DestId) -> Vec<(String, Bytes)> {
    let owed = journal.owed(id).into_iter();
    owed.map(|o| (o.tenant.unwrap().to_string(), journal.read(o.seq).unwrap()))
        .collect()
}

#[test]
fn neither_tenant_nor_data_lies_there_in_clear() {
    for is_closed in [true, false] {
        let disk = SimDisk::default();
        let (journal, _) = open_with(&disk, key(1)).unwrap();
        let (a, b) = two(&journal);
        let expected: Vec<(String, Bytes)> = (0..10)
            .map(|i| {
                let (tenant, data) = (format!("acme-{i}"), format!("secret-{i}").repeat(50));
                append_of(&journal, &tenant, &[a, b], &data);
                (tenant, data.into())
            })
            .collect();
        journal.put_blob("books", b"acme-secret").unwrap();
        if is_closed {
            journal.close();
        }
        let disk = disk.crash(1);
        assert!(!disk.holds(b"acme") && !disk.holds(b"secret"));
        let (journal, found) = open_with(&disk, key(1)).unwrap();
        assert_eq!((found.records, found.damage.len()), (10, 0));
        assert_eq!(tenants(&journal, a), expected);
        assert_eq!(tenants(&journal, b), expected);
        assert_eq!(journal.blob("books").unwrap().unwrap(), &b"acme-secret"[..]);
        assert!(journal.segments().iter().all(|s| s.is_encrypted));
    }
}

#[test]
fn a_wrong_key_and_none_are_told_and_change_nothing() {
    for is_closed in [true, false] {
        let disk = SimDisk::default();
        let (journal, _) = open_with(&disk, key(1)).unwrap();
        let (a, _) = two(&journal);
        append_of(&journal, "acme", &[a], "data");
        if is_closed {
            journal.close();
        }
        let disk = disk.kill();
        let written = disk.written();
        let error = |key| open_with(&disk, key).err().unwrap().to_string();
        assert_eq!(
            error(None),
            "0000000001.segment is encrypted, and no key is configured"
        );
        assert_eq!(
            error(key(2)),
            "0000000001.segment is encrypted with another key than the configured one"
        );
        assert_eq!(disk.written(), written);
        let (journal, _) = open_with(&disk, key(1)).unwrap();
        assert_eq!(tenants(&journal, a), [("acme".to_owned(), Bytes::from("data"))]);
    }
}

#[test]
fn what_lay_there_in_clear_is_read_and_moves_under_the_key() {
    let disk = SimDisk::default();
    let (journal, _) = open_with(&disk, None).unwrap();
    let (a, dead) = two(&journal);
    let data = "in clear ".repeat(60);
    let mut expected = vec![("acme-old".to_owned(), Bytes::from(data.clone()))];
    let old = append_of(&journal, "acme-old", &[a, dead], &data);
    for _ in 0..5 {
        let seq = append(&journal, 1, &[a], &[0; 500]).unwrap();
        journal.complete(seq, a, 0..1);
    }
    journal.close();
    assert!(disk.holds(b"acme-old"));
    let (journal, _) = open_with(&disk, key(1)).unwrap();
    append_of(&journal, "acme-new", &[dead], "sealed");
    expected.push(("acme-new".to_owned(), "sealed".into()));
    journal.complete(old, a, 0..2);
    assert_eq!(tenants(&journal, dead), expected);
    // The old segment is nearly empty: what is owed of it is written once more, and it goes.
    turn_until(&journal, a, || !disk.holds(b"acme"));
    assert!(journal.health().counts.copied >= 1);
    let sums = |journal: &Journal| -> Vec<(u64, u64, u64)> {
        let all = journal.destinations().into_iter();
        all.map(|d| (d.records, d.items, d.bytes)).collect()
    };
    let (before, live) = (sums(&journal), journal.health().live_bytes);
    journal.close();
    let (journal, found) = open_with(&disk, key(1)).unwrap();
    assert_eq!(found.damage, Vec::<String>::new());
    assert_eq!(tenants(&journal, dead), expected);
    assert_eq!((sums(&journal), journal.health().live_bytes), (before, live));
}

#[test]
fn a_flipped_bit_of_a_header_costs_nothing() {
    for seed in 0..100u64 {
        let disk = SimDisk::default();
        let (journal, _) = open_with(&disk, key(1)).unwrap();
        let (a, _) = two(&journal);
        append_of(&journal, "acme", &[a], "data");
        if seed % 2 == 0 {
            journal.close();
        }
        let disk = disk.crash(seed);
        let file = Disk::open(&disk, "0000000001.segment").unwrap();
        let (at, mut byte) = (seed * 128 / 100, [0]);
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[IoSlice::new(&[byte[0] ^ 1 << (seed % 8)])], at)
            .unwrap();
        let (journal, found) = open_with(&disk, key(1)).unwrap();
        assert_eq!(found.damage, Vec::<String>::new());
        assert_eq!(tenants(&journal, a), [("acme".to_owned(), Bytes::from("data"))]);
    }
}

#[test]
fn a_place_that_a_failure_met_is_never_written_again() {
    for (failure, key) in [Failure::Sync, Failure::Io]
        .into_iter()
        .flat_map(|f| [(f, None), (f, key(1))])
    {
        let disk = SimDisk::default();
        let (journal, _) = open_with(&disk, key).unwrap();
        let (a, _) = two(&journal);
        let before = append(&journal, 1, &[a], b"before").unwrap();
        disk.fail(Some(failure));
        append(&journal, 1, &[a], b"refused").unwrap_err();
        disk.fail(None);
        let after = append(&journal, 1, &[a], b"after").unwrap();
        assert!(
            after.0 >> 24 > before.0 >> 24,
            "{failure:?}: {before:?} {after:?}"
        );
    }
}

#[test]
fn no_two_texts_share_a_key_and_a_place() {
    // The same text at the same place of two segments, and in two journals, looks different each time.
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for _ in 0..4 {
        let disk = SimDisk::default();
        let (journal, _) = open_with(&disk, key(1)).unwrap();
        let (a, _) = two(&journal);
        for _ in 0..4 {
            append(&journal, 1, &[a], &[7; 3000]).unwrap();
        }
        let names = disk.list().unwrap().into_iter();
        for name in names.filter(|n| n.ends_with(".segment")) {
            let file = Disk::open(&disk, &name).unwrap();
            let mut text = vec![0; 1000];
            assert_eq!(file.read_at(&mut text, 300).unwrap(), 1000);
            seen.push(text);
        }
    }
    assert!(seen.len() >= 12, "{}", seen.len());
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all);
}
