use super::*;
use crate::entry::{Close, Note, Open};
use crate::tree::root_of;

const SESSION: &str = "019aa1c2-5be0-7abc-8def-0123456789ab";
const SEGMENTS: [&str; 2] = [
    include_str!(
        "../testdata/vectors/_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/seg/00000000000000000000.jsonl"
    ),
    include_str!(
        "../testdata/vectors/_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/seg/00000000000000000005.jsonl"
    ),
];

fn origin() -> Origin {
    format!("logs.example.com/prod/gw-0/{SESSION}")
        .parse()
        .expect("an origin")
}

fn note(text: &str) -> Kind {
    Kind::Note(Note {
        by: None,
        text: text.to_owned(),
    })
}

fn at(millis: i64) -> Time {
    Time::from_millis(millis)
}

#[test]
fn the_vectors_are_written_again_byte_for_byte() {
    let mut log = Log::open(origin());
    let roots = [
        "dc1fffaa155e405bd03e92a237ddff7a2c2d504cf892a5b9deaebc05d5b35759",
        "1f092f078ec5ffd9cc0ebfd99abc0c5597fb171f0011e76cbe6f1e0abf0c6b1d",
    ];
    for (text, root) in SEGMENTS.into_iter().zip(roots) {
        let mut written = Vec::new();
        for line in text.lines().skip(1) {
            let entry = Entry::parse(line.as_bytes()).expect("an entry");
            let appended = log.append(entry.kind, entry.t).expect("room");
            assert_eq!((appended.index, appended.t), (entry.i, entry.t));
            written.extend(appended.bytes);
        }
        assert_eq!(log.open_bytes(), written);
        assert_eq!(log.state(), None);
        let segment = log.seal().expect("a segment");
        assert_eq!(String::from_utf8_lossy(&segment.bytes), text);
        assert_eq!(segment.root.to_string(), root);
        assert_eq!(segment.key, origin().segment_key(segment.start));
        assert_eq!(log.seal(), None);
    }
    assert_eq!(log.size(), 8);
    let replayed = Log::replay(origin(), SEGMENTS.map(str::as_bytes)).expect("a log");
    assert_eq!(replayed, log);
    assert!(Log::replay(origin(), [SEGMENTS[1].as_bytes()]).is_err());
    assert!(Log::replay(origin(), [SEGMENTS[0].trim_end().as_bytes()]).is_err());
}

#[test]
fn the_vectors_proofs_are_those_of_the_tree() {
    let lines: Vec<&str> = SEGMENTS.iter().flat_map(|s| s.lines()).collect();
    let leaves: Vec<Digest> = lines
        .iter()
        .map(|l| crate::tree::leaf_hash(l.as_bytes()))
        .collect();
    let hashes: Vec<String> = leaves.iter().map(Digest::to_string).collect();
    assert_eq!(
        hashes,
        [
            "4edacad27b5afd436a2dbe4f10a9084eb3f2e6ddf923d8e16197437dfffed1e5",
            "33d050fcdcead50d28754dc3aa1d950afa742a361cf7689e3f88987388e13f35",
            "db18fe1a85fbc748f3805c67636ccce3061c9da79414fbffa113637228007dff",
            "429a7d23a0a8a6a42d58ee816a6b2d45893cb495621e92157f3805cf3aba969b",
            "b22b9b9d9bc32163cb50cf9d2473204c6f985e044b1e8d1882887a46b2d45777",
            "62d13076647d52aa7d254fb6eaa965ea9f3b1ed93175aadd256cce8e788c2085",
            "cb76e32ecffb755ed33abe802291a83fb66794fed22496d238684c313fd0a56a",
            "67d8e763eef91056d15ed8b98c1985358f92fe255e7647f6aff29cb6d230b5f9",
        ]
    );
    let base64 = |proof: Option<Vec<Digest>>| -> Vec<String> {
        proof.expect("a proof").iter().map(Digest::to_base64).collect()
    };
    let inclusion = crate::tree::prove_inclusion(&leaves, 3);
    assert_eq!(
        base64(inclusion.clone()),
        [
            "2xj+GoX7x0jzgFxnY2zM4wYcnaeUFPv/oRNjcigAff8=",
            "/4ngJjvUDR2FURmoi1bHAtY9pdNVTGLaRmwfk4uPgbg=",
            "XVeJl0heJXkOA/pBOVWqv3aGBgjP/U1Uq1+W2Pnh3sA=",
        ]
    );
    let consistency = crate::tree::prove_consistency(&leaves, 5);
    assert_eq!(
        base64(consistency.clone()),
        [
            "siubnZvDIWPLUM+dJHMgTG+YXgRLHo0Ygoh6RrLUV3c=",
            "YtEwdmR9Uqp9JU+26qll6p87HtkxdardJWzOjniMIIU=",
            "bAAL9oC7RiWpG5xcK+o4ET7Sh32EpqXHem4+c2usDrU=",
            "5Jbv+65WAQipiE+5RqEhbqMkTmPdum1s8w+rhEs8Q2E=",
        ]
    );
    let (old, new) = (root_of(&leaves[..5]), root_of(&leaves));
    let inclusion = inclusion.expect("a proof");
    assert!(crate::tree::check_inclusion(&leaves[3], 3, 8, &inclusion, &new));
    let consistency = consistency.expect("a proof");
    assert!(crate::tree::check_consistency(5, &old, 8, &new, &consistency));
}

#[test]
fn times_never_go_back() {
    let mut log = Log::open(origin());
    let check = |log: &mut Log, now: i64, t: i64| {
        assert_eq!(log.append(note("x"), at(now)).map(|a| a.t), Ok(at(t)));
    };
    check(&mut log, 1_000, 1_000);
    check(&mut log, 3_600_000, 3_600_000);
    check(&mut log, 5, 3_600_000);
    log.seal();
    check(&mut log, 5, 3_600_000);
    let next = log.open_bytes().to_vec();
    let text = String::from_utf8(next).expect("text");
    assert_eq!(text.matches("1970-01-01T01:00:00.000Z").count(), 2, "{text}");
}

#[test]
fn a_full_segment_is_sealed_first() {
    let mut log = Log::open(origin());
    for i in 1..SEGMENT_ENTRIES_MAX {
        assert!(!log.is_full());
        assert_eq!(log.append(note("x"), at(0)).map(|a| a.index), Ok(i));
    }
    assert!(log.is_full());
    let before = log.clone();
    assert_eq!(log.append(note("x"), at(0)), Err(LogError::Full));
    assert_eq!(log, before);
    let segment = log.seal().expect("a segment");
    assert_eq!((segment.start, segment.size), (0, 1_000));
    // By bytes: 70 lines of nearly 60,000 reach 4 MiB.
    let long = note(&"x".repeat(59_900));
    let mut n = 0;
    while !log.is_full() {
        log.append(long.clone(), at(0)).expect("room");
        n += 1;
    }
    assert_eq!(n, 69);
    assert_eq!(log.append(long, at(0)), Err(LogError::Full));
    assert!(log.append(note("short"), at(0)).is_ok());
    assert!(
        log.seal()
            .is_some_and(|segment| segment.bytes.len() <= SEGMENT_BYTES_MAX)
    );
    let too_long = note(&"x".repeat(60_000));
    let before = log.clone();
    assert!(matches!(
        log.append(too_long, at(0)),
        Err(LogError::Entry(EntryError::TooLong(_)))
    ));
    let seg = Kind::Seg(Seg { start: 0, prev: None });
    assert_eq!(log.append(seg, at(0)), Err(LogError::Seg));
    assert_eq!(log, before);
}

#[test]
fn sessions_end() {
    let mut log = Log::open(origin());
    assert!(!log.is_due_to_roll(at(i64::MAX)));
    log.append(note("x"), at(1_000)).expect("room");
    assert!(!log.is_due_to_roll(at(1_000 + SESSION_MILLIS_MAX - 1)));
    assert!(log.is_due_to_roll(at(1_000 + SESSION_MILLIS_MAX)));
    let close = Kind::Close(Close {
        why: "rollover".to_owned(),
        next_session: None,
    });
    log.append(close, at(1_000)).expect("room");
    assert!(log.is_closed());
    assert_eq!(log.append(note("x"), at(1_000)), Err(LogError::Closed));
    log.seal();
    let state = log.state().expect("sealed");
    let resumed = Log::resume(origin(), &state, b"").expect("a log");
    assert!(resumed.log.is_closed());
    let size = SESSION_ENTRIES_MAX - 2 * SEGMENT_ENTRIES_MAX;
    let old = Log {
        tree: Tree::resume(size, vec![state.subtrees[0]; size.count_ones() as usize]).expect("a tree"),
        ..Log::open(origin())
    };
    assert!(old.is_due_to_roll(at(0)));
}

/// After a crash at any byte of what was written, the log goes on where the last whole line ended.
#[test]
fn a_log_resumes_after_any_cut() {
    let mut log = Log::open(origin());
    let open = Open {
        archive: "logs.example.com/prod".to_owned(),
        writer: "gw-0".to_owned(),
        session: SESSION.to_owned(),
        bucket: "b".to_owned(),
        region: String::new(),
        vkey: "v".to_owned(),
        prev_session: None,
    };
    log.append(Kind::Open(open), at(10)).expect("room");
    log.seal();
    let state = log.state().expect("sealed");
    let kept = serde_json::to_string(&state).expect("text");
    let state: State = serde_json::from_str(&kept).expect("a state");
    // Two segments after the state: the first was sealed, its fate in the store is unknown.
    let mut next = Vec::new();
    next.extend(log.append(note("a"), at(20)).expect("room").bytes);
    next.extend(log.append(note("b"), at(30)).expect("room").bytes);
    let sealed = log.seal().expect("a segment");
    next.extend(log.append(note("c"), at(40)).expect("room").bytes);
    let open = log.clone();
    for cut in 0..=next.len() {
        let resumed = Log::resume(origin(), &state, &next[..cut]).expect("a log");
        let whole = next[..cut].iter().filter(|c| **c == b'\n').count();
        assert_eq!(resumed.entries.len(), whole, "{cut}");
        assert_eq!(resumed.log.size(), 2 + whole as u64);
        assert_eq!(next[..cut].len() - resumed.whole, cut - resumed.whole);
        let bytes: Vec<u8> = resumed.segments.iter().flat_map(|s| s.bytes.clone()).collect();
        assert_eq!(bytes, next[..resumed.whole]);
        assert!(resumed.log.state().is_some());
        if whole >= 4 {
            assert_eq!(resumed.segments[0], sealed);
        }
        let mut log = resumed.log;
        assert_eq!(
            log.append(note("d"), at(50)).map(|a| a.index),
            Ok(2 + whole as u64 + 1)
        );
    }
    let resumed = Log::resume(origin(), &state, &next).expect("a log");
    assert_eq!(resumed.log.root(), open.root());
}

#[test]
fn a_log_that_was_changed_on_disk_does_not_resume() {
    let mut log = Log::open(origin());
    log.append(note("a"), at(10)).expect("room");
    log.seal();
    let state = log.state().expect("sealed");
    let next = log.append(note("b"), at(20)).expect("room").bytes;
    let text = String::from_utf8(next).expect("text");
    let check = |state: &State, text: &str, what: &str| {
        let error = Log::resume(origin(), state, text.as_bytes())
            .expect_err(what)
            .to_string();
        assert!(error.contains(what), "{error}");
    };
    check(&state, &text.replace("\"i\":3", "\"i\":4"), "out of order");
    check(&state, &text.replace("00.020Z", "00.001Z"), "out of order");
    check(
        &state,
        &text.replace("\"start\":2", "\"start\":1"),
        "does not follow",
    );
    check(
        &state,
        text.lines()
            .nth(1)
            .map(|l| format!("{l}\n"))
            .as_deref()
            .unwrap_or(""),
        "without a seg",
    );
    check(&state, "garbage\n", "line 1");
    let larger = State {
        size: 3,
        ..state.clone()
    };
    check(&larger, "", "hashes");
    let other = State {
        subtrees: vec![Digest([1; 32])],
        ..state.clone()
    };
    check(&other, "", "last segment");
    let none = State {
        subtrees: Vec::new(),
        ..state
    };
    check(&none, "", "hashes");
}
