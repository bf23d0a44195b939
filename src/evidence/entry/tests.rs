use proptest::prelude::*;

use super::*;

const SEGMENTS: [&str; 2] = [
    include_str!(
        "../testdata/vectors/_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/seg/00000000000000000000.jsonl"
    ),
    include_str!(
        "../testdata/vectors/_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/seg/00000000000000000005.jsonl"
    ),
];
const KINDS: &str = include_str!("../testdata/kinds.jsonl");

fn lines() -> impl Iterator<Item = &'static str> {
    SEGMENTS.into_iter().chain([KINDS]).flat_map(str::lines)
}

#[test]
fn every_kind_is_written_as_it_is_read() {
    let mut kinds = std::collections::BTreeSet::new();
    for line in lines() {
        let entry = Entry::parse(line.as_bytes()).expect(line);
        assert!(!matches!(entry.kind, Kind::Other(_)), "{line}");
        assert_eq!(entry.write().as_deref(), Ok(line));
        kinds.insert(entry.kind.name().to_owned());
    }
    assert_eq!(kinds.len(), 18, "{kinds:?}");
}

#[test]
fn unknown_kinds_and_keys_are_read() {
    let line = r#"{"v":1,"i":7,"t":"2025-11-20T14:10:00.000Z","k":"later","x":{"y":[1,-2.5,null,true,"z"]}}"#;
    let entry = Entry::parse(line.as_bytes()).expect("an entry");
    assert_eq!(entry.i, 7);
    assert_eq!(entry.kind, Kind::Other("later".to_owned()));
    let line = r#" {"k":"audit", "new":{}, "hash":"3f0a7c1d5b9e2846aa10c7d3e5f6b8091a2b3c4d5e6f708192a3b4c5d6e7f809","seq":1,"t":"2025-11-20T14:10:00.000Z","i":7,"v":1}"#;
    let entry = Entry::parse(&line.as_bytes()[1..]).expect("an entry");
    assert!(matches!(entry.kind, Kind::Audit(Audit { seq: 1, .. })));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let malformed = |line: &str| match Entry::parse(line.as_bytes()) {
        Err(EntryError::Malformed(_)) => {}
        other => panic!("{line}: {other:?}"),
    };
    const T: &str = r#""t":"2025-11-20T14:10:00.000Z""#;
    for rest in [
        r#""k":"x","k":"x""#,
        r#""k":"x","v":1"#,
        r#""k":"x","\u006b":"y""#,
        r#""k":"x","y":{"z":1,"z":1}"#,
        r#""k":"x","y":[{"z":1,"a":2,"z":1}]"#,
        r#""k":"x","y":9007199254740992"#,
        r#""k":"x","y":-9007199254740992"#,
        r#""k":"x","y":99999999999999999999999"#,
        r#""k":"x","y":1e300"#,
        r#""k":"x","y":NaN"#,
        r#""k":"x","y":"\ud800""#,
        r#""k":"x",}"#,
        r#""k":1"#,
        r#""x":1"#,
        r#""k":"seg","start":-1,"prev":null"#,
        r#""k":"seg","start":0.5,"prev":null"#,
        r#""k":"audit","seq":1,"hash":"3F""#,
    ] {
        malformed(&format!("{{\"v\":1,\"i\":7,{T},{rest}}}"));
    }
    malformed(&format!("{{\"v\":1,{T},\"k\":\"x\"}}"));
    malformed(r#"{"v":1,"i":7,"t":"2025-11-20","k":"x"}"#);
    malformed("[1,7]");
    malformed("");
    malformed(&format!("{{\"v\":1,\"i\":7,{T},\"k\":\"x\"}} {{}}"));
    malformed(&format!("\u{feff}{{\"v\":1,\"i\":7,{T},\"k\":\"x\"}}"));
    let many: String = (0..60).map(|i| format!(",\"a{}\":1", i % 59)).collect();
    malformed(&format!("{{\"v\":1,\"i\":7,{T},\"k\":\"x\"{many}}}"));
    malformed(&format!(
        "{{\"v\":1,\"i\":7,{T},\"k\":\"x\",\"y\":{}",
        "[".repeat(20_000)
    ));

    let check = |line: String, expected: EntryError| assert_eq!(Entry::parse(line.as_bytes()), Err(expected));
    check(
        format!("{{\"v\":2,\"i\":7,{T},\"k\":\"x\"}}"),
        EntryError::Version,
    );
    check(
        format!("{{\"v\":1,\t\"i\":7,{T},\"k\":\"x\"}}"),
        EntryError::Control(7),
    );
    check(
        format!("{{\"v\":1,\"i\":7,{T},\"k\":\"x\"}}\r"),
        EntryError::Control(52),
    );
    let line = |n: usize| format!("{{\"v\":1,\"i\":7,{T},\"k\":\"x\",\"y\":\"{}\"}}", "y".repeat(n));
    let rest = line(0).len();
    assert!(Entry::parse(line(60_000 - rest).as_bytes()).is_ok());
    check(line(60_001 - rest), EntryError::TooLong(60_001));
    assert_eq!(
        Entry::parse(b"{\"v\":1,\xff}"),
        Err(EntryError::Malformed("not UTF-8".to_owned()))
    );
}

#[test]
fn what_nobody_could_read_is_not_written() {
    let entry = |kind| Entry {
        i: 7,
        t: "2025-11-20T14:10:00.000Z".parse().expect("a time"),
        kind,
    };
    let note = |text: String| Kind::Note(Note { by: None, text });
    let line = entry(note("a\nb\u{1}".to_owned())).write().expect("a line");
    assert!(line.ends_with(r#""k":"note","text":"a\nb\u0001"}"#), "{line}");
    assert_eq!(
        entry(note("x".repeat(60_000))).write(),
        Err(EntryError::TooLong(60_065))
    );
    let audit = Audit {
        seq: INTEGER_MAX + 1,
        hash: crate::digest::sha256(b""),
    };
    assert!(matches!(
        entry(Kind::Audit(audit)).write(),
        Err(EntryError::Malformed(_))
    ));
}

#[test]
fn rows_balance_with_every_term() {
    let reasons = |n: u64| [("a".to_owned(), n), ("b".to_owned(), 1)].into();
    let row = Row {
        open: 1,
        carried_in: 2,
        admitted: 30,
        created: 4,
        arch: 5,
        drop: reasons(6),
        merged: 7,
        failed: reasons(8),
        lost: 9,
        held: 0,
        dup: 100,
        ..Row::default()
    };
    assert_eq!((row.incoming(), row.outgoing()), (37, 37));
    assert!(row.balances());
    let edits: [fn(&mut Row); 10] = [
        |r| r.open += 1,
        |r| r.carried_in += 1,
        |r| r.admitted += 1,
        |r| r.created += 1,
        |r| r.arch += 1,
        |r| *r.drop.get_mut("a").expect("a reason") += 1,
        |r| r.merged += 1,
        |r| *r.failed.get_mut("b").expect("a reason") += 1,
        |r| r.lost += 1,
        |r| r.held += 1,
    ];
    for edit in edits {
        let mut row = row.clone();
        edit(&mut row);
        assert!(!row.balances());
    }
    let most = Row {
        open: u64::MAX,
        admitted: u64::MAX,
        held: u64::MAX,
        ..Row::default()
    };
    assert!(!most.balances());
    let edge = EdgeRow {
        admitted: 3,
        out: 2,
        held: 1,
        ..EdgeRow::default()
    };
    assert!(edge.balances());
    assert!(!EdgeRow { lost: 1, ..edge }.balances());
    let door = DoorRow {
        offered: 9,
        accepted: 2,
        refused: reasons(6),
        ..DoorRow::default()
    };
    assert!(door.balances());
    assert!(!DoorRow { accepted: 3, ..door }.balances());
}

#[test]
fn many_rows_make_several_entries() {
    let row = |i: usize| Row {
        tenant: format!("{i:0>100}"),
        signal: "logs".to_owned(),
        admitted: (i % 2) as u64,
        arch: (i % 2) as u64,
        ..Row::default()
    };
    let edge = |i: usize| EdgeRow {
        edge: format!("exporter otlp/{i}"),
        admitted: 1,
        out: 1,
        ..EdgeRow::default()
    };
    let door = |i: usize| DoorRow {
        receiver: format!("otlp/{i}"),
        offered: 1,
        accepted: 1,
        ..DoorRow::default()
    };
    let ledger = Ledger {
        f: Time::from_millis(0),
        to: Time::from_millis(60_000),
        rows: (0..6_000).map(row).collect(),
        pend: vec![[1, 2]],
        part: None,
        edges: (0..900).map(edge).collect(),
        door: (0..700).map(door).collect(),
        unknown: Vec::new(),
        skew_ms: Some(3),
    };
    let parts = ledger.clone().split();
    let n = parts.len() as u64;
    assert!(n > 5);
    let (mut rows, mut edges, mut doors) = (Vec::new(), Vec::new(), Vec::new());
    for (k, part) in (1..).zip(&parts) {
        assert_eq!(part.part, Some([k, n]));
        assert_eq!((part.f, part.to), (ledger.f, ledger.to));
        assert_eq!(part.pend.is_empty(), k < n);
        assert_eq!(part.skew_ms.is_some(), k == n);
        rows.extend(part.rows.iter().cloned());
        edges.extend(part.edges.iter().cloned());
        doors.extend(part.door.iter().cloned());
        assert!(part.rows.len() + part.edges.len() + part.door.len() <= 300);
        let entry = Entry {
            i: 0,
            t: part.to,
            kind: Kind::Ledger(part.clone()),
        };
        assert!(entry.write().expect("short enough").len() < 50_000);
    }
    let expected: Vec<Row> = (0..6_000).map(row).filter(|row| row.admitted > 0).collect();
    assert_eq!(rows, expected);
    assert_eq!((&edges, &doors), (&ledger.edges, &ledger.door));
    let empty = Ledger {
        rows: Vec::new(),
        edges: Vec::new(),
        door: Vec::new(),
        ..ledger
    };
    assert_eq!(empty.clone().split(), [empty]);
}

#[test]
fn a_gap_is_one_number_or_a_range() {
    let gap = |seq, seqs| Gap {
        seq,
        seqs,
        why: String::new(),
        n: None,
        detail: String::new(),
        adopted: None,
    };
    assert_eq!(gap(Some(3), None).range(), Some([3, 3]));
    assert_eq!(gap(None, Some([3, 5])).range(), Some([3, 5]));
    assert_eq!(gap(None, Some([5, 3])).range(), None);
    assert_eq!(gap(Some(1), Some([3, 5])).range(), None);
    assert_eq!(gap(None, None).range(), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::parse(&bytes);
    }

    #[test]
    fn changed_lines_are_read_or_refused(n: usize, at: usize, byte: u8, cut: bool) {
        let all: Vec<&str> = lines().collect();
        let mut line = all[n % all.len()].as_bytes().to_vec();
        let at = at % line.len();
        line[at] = byte;
        if cut {
            line.truncate(at);
        }
        if let Ok(entry) = Entry::parse(&line) {
            let again = entry.write().expect("what can be read can be written");
            let reread = Entry::parse(again.as_bytes()).expect("what was written can be read");
            // `1.0` and escapes are written in their one form; what they say stays.
            prop_assert_eq!(reread, entry);
        }
    }
}
