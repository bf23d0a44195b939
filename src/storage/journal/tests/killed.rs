//! A process with a journal on the real disk, killed at every named point: what it was answered is there.
//!
//! The process is this test binary again, running [`child`] alone, which tells on its standard output what it knows.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use super::*;

const DIRECTORY: &str = "WEIR_JOURNAL_CHILD";

fn data(i: u32) -> Vec<u8> {
    format!("record {i} ").repeat(50).into_bytes()
}

/// Appends, sends, completes, claims and keeps a blob, until segments were copied and removed.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let disk = RealDisk::open(Path::new(&directory)).unwrap();
    let (journal, _) = Journal::open(Arc::new(disk), options()).unwrap();
    let (a, dead) = two(&journal);
    let tell = |what: &str, n: u64| {
        let mut out = io::stdout().lock();
        writeln!(out, "\n{what} {n}").and_then(|()| out.flush()).unwrap();
    };
    for i in 0..400u32 {
        let is_kept = i % 12 == 0;
        let to = [a, dead];
        let seq = append(&journal, 2, &to[..1 + usize::from(is_kept)], &data(i)).unwrap();
        if is_kept {
            tell("kept", u64::from(i) << 40 | seq.0);
            claims(&journal, dead, (i, seq), &tell);
        }
        block_on(journal.dispatched(a, seq));
        tell("sent", seq.0);
        journal.complete(seq, a, 0..2);
        if i % 16 == 0 {
            journal.put_blob("books", &i.to_le_bytes()).unwrap();
            tell("blob", u64::from(i));
        }
    }
    journal.close();
}

/// Claims a piece of a record; takes the claim back, or completes it, or leaves it.
fn claims(journal: &Journal, to: DestId, (i, seq): (u32, Seq), tell: &impl Fn(&str, u64)) {
    let mut set = Set::new();
    set.add_piece(seq, 1, 2);
    let token = format!("life#{i}");
    let claim = Claim {
        token: token.clone(),
        rules: "0123456789abcdef".into(),
        note: "a note ".repeat(20),
        set: set.clone(),
    };
    block_on(journal.claim(to, claim)).unwrap();
    tell("claimed", seq.0);
    tell("ending", seq.0);
    match i % 36 {
        0 => drop(block_on(journal.settle(to, &token, &set)).unwrap()),
        12 => block_on(journal.release(to, &token)).unwrap(),
        _ => return,
    }
    tell(if i % 36 == 0 { "settled" } else { "released" }, seq.0);
}

/// What was claimed is claimed, and what was settled is settled.
fn check_claims(journal: &Journal, to: DestId, told: &BTreeMap<&str, Vec<u64>>, point: &str) {
    let of = |what| told.get(what).map_or(&[][..], Vec::as_slice);
    let has = |what, seq: &Seq| of(what).contains(&seq.0);
    let claimed: Vec<Seq> = journal
        .claims(to)
        .iter()
        .flat_map(|c| c.set.runs().map(|r| r.first()))
        .collect();
    for seq in of("claimed").iter().map(|seq| Seq(*seq)) {
        let (is_claimed, is_over) = (
            claimed.contains(&seq),
            has("settled", &seq) || has("released", &seq),
        );
        // The last one was on its way.
        let is_last = of("ending").last() == Some(&seq.0);
        assert!(
            is_claimed != is_over || (is_last && !is_claimed),
            "{point}: claim of {seq:?}"
        );
        let left = journal.remaining(seq, to);
        let cut = journal.cut(to, seq);
        if has("settled", &seq) {
            assert_eq!(left, [0..1], "{point}: {seq:?}");
            let cut = cut.unwrap();
            assert_eq!(
                (cut.of, cut.owed, &*cut.rules),
                (2, vec![0], "0123456789abcdef"),
                "{point}"
            );
        } else if !is_last {
            assert_eq!((left, cut), (vec![0..2], None), "{point}: {seq:?}");
        }
    }
    assert!(claimed.len() <= of("claimed").len() + 1, "{point}");
}

/// What a child told before its end.
fn told(out: &[u8]) -> BTreeMap<&str, Vec<u64>> {
    let text = std::str::from_utf8(out).unwrap();
    let mut told: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    // The last line may be cut off.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for (what, n) in whole.lines().filter_map(|line| line.split_once(' ')) {
        let whats = ["kept", "sent", "blob", "claimed", "ending", "settled", "released"];
        if let (true, Ok(n)) = (whats.contains(&what), n.parse()) {
            told.entry(what).or_default().push(n);
        }
    }
    told
}

#[test]
fn what_was_answered_is_there_whichever_point_it_died_at() {
    let mut kills = 0;
    for (point, nth) in crate::crash::POINTS
        .iter()
        .flat_map(|point| [(point, 1), (point, 3)])
    {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::killed::child", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .env("WEIR_CRASH_AT", format!("{point}:{nth}"))
            .output()
            .unwrap();
        let was_killed = child.status.signal() == Some(9);
        assert!(was_killed || child.status.success(), "{point}: {child:?}");
        assert!(was_killed || nth > 1, "{point} is never passed");
        kills += u32::from(was_killed);
        let told = told(&child.stdout);
        let of = |what| told.get(what).map_or(&[][..], Vec::as_slice);

        let disk = RealDisk::open(dir.path()).unwrap();
        let (journal, found) = Journal::open(Arc::new(disk), options()).unwrap();
        assert_eq!(found.damage, Vec::<String>::new(), "{point}");
        let (a, dead) = two(&journal);
        let owed: Vec<Seq> = journal.owed(dead).iter().map(|o| o.seq).collect();
        for (i, seq) in of("kept")
            .iter()
            .map(|n| ((n >> 40) as u32, Seq(n & ((1 << 40) - 1))))
        {
            assert!(owed.contains(&seq), "{point}:{nth} lost record {i}");
            assert_eq!(journal.read(seq).unwrap(), data(i), "{point}");
        }
        // One more than was told at most: it was on its way.
        assert!(owed.len() <= of("kept").len() + 1, "{point}: {}", owed.len());
        let sent = of("sent").last().copied().unwrap_or(0);
        for owed in journal.owed(a) {
            assert!(owed.maybe_sent || owed.seq.0 > sent, "{point}: {owed:?}");
        }
        let blob = journal.blob("books").unwrap();
        let blob = blob.map(|b| u64::from(u32::from_le_bytes(b[..].try_into().unwrap())));
        let known = of("blob").last().copied();
        assert!(
            blob == known || blob == Some(known.map_or(0, |n| n + 16)),
            "{point}: {blob:?} {known:?}"
        );
        check_claims(&journal, dead, &told, point);
        // And it goes on from there.
        append(&journal, 1, &[a], b"afterwards").unwrap();
    }
    assert!(kills >= crate::crash::POINTS.len() as u32 * 3 / 2, "{kills}");
}
