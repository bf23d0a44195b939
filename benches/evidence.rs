//! What it costs to verify a log: entries a second and core, on level `log`, and what one entry costs its writer.
//!
//! `cargo bench -p weir-evidence --features test-kit --bench evidence [-- ENTRIES]` (default 400,000). The log is that of a
//! busy gateway: segments of 300 entries, nearly all of which name objects (about 650 bytes), each with a ledger of twenty
//! rows, a head of another log and a signed head of its own. Times are the thread's own.

#![allow(clippy::print_stdout, reason = "its table is what it is for")]

use std::time::Duration;

use evidence::digest::sha256;
use evidence::entry::{Kind, Obj, Peer, PeerHead};
use evidence::names::{Origin, Session};
use evidence::note::{Policy, Signer};
use evidence::test_kit::{Store, Writer, options};
use evidence::time::Time;
use evidence::verify::{Inventory, Level, Options, SessionReader, Trust, Verifier};
use rustix::time::{ClockId, clock_gettime};

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn main() {
    let wanted = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(400_000);
    let now = Time::from_millis(1_763_647_500_000);
    let origin = Origin::new("logs.example.com/prod", "gw-0", Session::new(now, [7; 10])).expect("names");
    let mut w = Writer::open(origin, Signer::generate().expect("a key"), now, None);
    let mut store = Store::default();
    // One object is stored; all entries look like its own.
    let obj = w.stored(&mut store, "tenant-00", 512, b"an object");
    store.files.clear();
    w.seq = 0;
    let begin = cpu();
    while w.log.size() < wanted {
        for n in 0..296u64 {
            let next = entry(w.seq, n, &obj);
            w.append(next);
            w.seq += 1;
            if n % 9 == 8 {
                w.wait(1_000);
            }
        }
        let heads = vec![PeerHead {
            origin: "logs.example.com/prod/gw-1/019aa1c2-6000-7def-8abc-ba9876543210".to_owned(),
            size: w.log.size(),
            root: w.log.root(),
        }];
        w.append(Kind::Peer(Peer { heads }));
        w.books = (0..20)
            .map(|t| (format!("tenant-{t:02}"), [named(t), named(t), 0]))
            .collect();
        w.seal(&mut store);
    }
    let entries = w.log.size() as f64;
    let written = (cpu() - begin).as_secs_f64();
    let bytes: usize = store
        .files
        .values()
        .filter_map(|v| v[0].bytes.as_ref())
        .map(Vec::len)
        .sum();
    println!(
        "written    {:8.0} entries/s  {:5.2} us an entry  {:4.0} bytes an entry",
        entries / written,
        written * 1e6 / entries,
        bytes as f64 / entries
    );
    for _ in 0..3 {
        let read = verify(&store, &w);
        println!(
            "verified   {:8.0} entries/s  {:5.2} us an entry",
            entries / read,
            read * 1e6 / entries
        );
    }
}

/// How many records of tenant `t` one segment names.
fn named(t: u64) -> u64 {
    (0..296).filter(|n| n % 20 == t).count() as u64 * 512
}

fn entry(seq: u64, n: u64, like: &Obj) -> Kind {
    let mut obj = like.clone();
    let tenant = format!("tenant-{:02}", n % 20);
    obj.key = obj
        .key
        .replace("tenant-00", &tenant)
        .replace("0000000000", &format!("{seq:010}"));
    obj.tenant = tenant;
    obj.seq = seq;
    obj.sha256 = sha256(&seq.to_be_bytes());
    obj.svc = Some(vec!["cart".to_owned(), "checkout".to_owned()]);
    Kind::Obj(Box::new(obj))
}

/// Seconds to verify the log, the comparison with others included.
fn verify(store: &Store, w: &Writer) -> f64 {
    let options = Options {
        level: Level::Log,
        ..options(w.now)
    };
    let trust = Trust::new(Policy::parse(&w.log_line()).expect("a policy"));
    let inventory = Inventory::of(store.list("_weir/v1/"));
    let begin = cpu();
    let mut verifier = Verifier::new(trust.clone(), options.clone(), &inventory);
    for ((writer, session), files) in &inventory.logs {
        let mut reader = SessionReader::new(&trust, &options, writer, session).expect("names");
        let read = |key: &str| store.files[key][0].bytes.as_deref().expect("content");
        for file in &files.checkpoints {
            reader.checkpoint(file.number, read(&file.key));
        }
        for file in &files.segments {
            reader.segment(file.number, read(&file.key), file.modified);
        }
        verifier.session(reader.finish());
    }
    let report = verifier.finish(w.now, w.now);
    let took = (cpu() - begin).as_secs_f64();
    // Another writer's heads are all that is missing.
    assert!(
        report.findings.iter().all(|f| f.what == "session_missing"),
        "{:?}",
        report.findings
    );
    took
}
