//! What the journal costs: appending with and without sync and encryption, and opening after an end in order and a kill.
//!
//! `cargo bench -p weir-wire --bench journal [-- append|recover]`. `WEIR_BENCH_DIR=dir` says where the files lie (their
//! disk is what is measured; default the system's temporary directory), `WEIR_BENCH_MIB` how much is written for opening
//! it again. `null` is a disk that takes everything and keeps nothing: what the journal itself costs. CPU is of the whole
//! process, the journal's own thread included.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]
#![allow(clippy::print_stdout, reason = "its table is what it is for")]

mod counting;
#[allow(dead_code, reason = "only its payloads and counters")]
mod support;

use std::fs;
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::time::{ClockId, clock_gettime};
use storage::journal::disk::{Disk, File, RealDisk};
use storage::journal::{DestId, Head, Journal, Key, Options, Quota};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Records of one request; they are one record of the journal.
const ITEMS: u32 = 512;

fn main() {
    let wanted = |name: &str| {
        let mut words = std::env::args()
            .skip(1)
            .filter(|a| !a.starts_with('-'))
            .peekable();
        words.peek().is_none() || words.any(|word| word == name)
    };
    let dir = std::env::var_os("WEIR_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime starts");
    let requests = support::payloads().requests;
    let data: Vec<Bytes> = requests.into_iter().map(Bytes::from).collect();
    if wanted("append") {
        appends(&runtime, &dir, &data);
    }
    if wanted("recover") {
        recoveries(&runtime, &dir, &data);
    }
}

fn key() -> Option<Key> {
    Some(Key::new(&[7; 32]))
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

// --- Appending ---

/// A way to append.
struct Way {
    name: &'static str,
    on_disk: bool,
    sync: bool,
    key: Option<Key>,
    /// Who append at the same time.
    callers: u64,
    /// To so many destinations.
    destinations: usize,
    /// Appends of all of them.
    appends: u64,
}

fn appends(runtime: &Runtime, dir: &Path, data: &[Bytes]) {
    let way = |name, on_disk, sync, callers, destinations, appends| Way {
        name,
        on_disk,
        sync,
        key: None,
        callers,
        destinations,
        appends,
    };
    let with_key = |way: Way| Way { key: key(), ..way };
    let ways = [
        way("null, 1 caller", false, false, 1, 1, 4000),
        way("null, 1 caller, 3 destinations", false, false, 1, 3, 4000),
        with_key(way("null, 1 caller, encrypted", false, false, 1, 1, 4000)),
        way("disk, no sync, 1 caller", true, false, 1, 1, 1500),
        way("disk, sync, 1 caller", true, true, 1, 1, 500),
        way("disk, sync, 16 callers", true, true, 16, 1, 1600),
        way("disk, sync, 64 callers", true, true, 64, 1, 1600),
        with_key(way("disk, sync, 16 callers, encrypted", true, true, 16, 1, 1600)),
    ];
    let bytes = data.iter().map(Bytes::len).sum::<usize>() / data.len();
    println!("{ITEMS} records in an append of {bytes} bytes, completed at once");
    println!(
        "{:<36} {:>10} {:>10} {:>8} {:>9} {:>7} {:>7} {:>9} {:>7}",
        "", "cpu us", "cpu ns/rec", "MB/s", "appends/s", "p50 ms", "p99 ms", "a sync ms", "allocs"
    );
    for way in &ways {
        row(runtime, dir, data, way);
    }
}

fn row(runtime: &Runtime, dir: &Path, data: &[Bytes], way: &Way) {
    let directory = tempfile::tempdir_in(dir).expect("a directory can be made");
    let disk: Arc<dyn Disk> = if way.on_disk {
        Arc::new(RealDisk::open(directory.path()).expect("it can be opened"))
    } else {
        Arc::new(NullDisk)
    };
    let options = Options {
        sync: way.sync,
        key: way.key.clone(),
        ..Options::default()
    };
    let (journal, _) = Journal::open(disk, options).expect("it is empty");
    let to: Arc<[DestId]> = (0..way.destinations)
        .map(|i| destination(&journal, &format!("exporter/{i}/logs")))
        .collect();
    // The first one makes the segment.
    runtime.block_on(append(&journal, &to, &data[0]));
    let (wall, cpu, allocations) = (
        clock(ClockId::Monotonic),
        clock(ClockId::ProcessCPUTime),
        support::allocations(),
    );
    let each = way.appends / way.callers;
    let tasks: Vec<_> = (0..way.callers)
        .map(|caller| {
            let (journal, to, data) = (journal.clone(), to.clone(), data.to_vec());
            runtime.spawn(async move {
                let mut took = Vec::with_capacity(each as usize);
                for i in caller..caller + each {
                    let start = clock(ClockId::Monotonic);
                    append(&journal, &to, &data[i as usize % data.len()]).await;
                    took.push(clock(ClockId::Monotonic) - start);
                }
                took
            })
        })
        .collect();
    let mut took: Vec<Duration> = tasks
        .into_iter()
        .flat_map(|task| runtime.block_on(task).expect("appending does not panic"))
        .collect();
    took.sort_unstable();
    let ms = |of: usize| took[took.len() * of / 100].as_secs_f64() * 1e3;
    let wall = clock(ClockId::Monotonic) - wall;
    let cpu = clock(ClockId::ProcessCPUTime) - cpu;
    let allocations = support::allocations() - allocations;
    let n = (each * way.callers) as f64;
    let health = journal.health();
    let syncs = health.syncs.counts.iter().sum::<u64>().max(1) as f64;
    let bytes = data.iter().map(Bytes::len).sum::<usize>() as f64 / data.len() as f64;
    println!(
        "{:<36} {:>10.1} {:>10.1} {:>8.0} {:>9.0} {:>7.2} {:>7.2} {:>9.2} {:>7.1}",
        way.name,
        cpu.as_secs_f64() * 1e6 / n,
        cpu.as_secs_f64() * 1e9 / n / f64::from(ITEMS),
        bytes * n / wall.as_secs_f64() / 1e6,
        n / wall.as_secs_f64(),
        ms(50),
        ms(99),
        health.syncs.sum.as_secs_f64() * 1e3 / syncs,
        allocations as f64 / n,
    );
}

fn destination(journal: &Journal, name: &str) -> DestId {
    journal
        .destination(name, Quota::default())
        .expect("the table can be written")
}

async fn append(journal: &Journal, to: &Arc<[DestId]>, data: &Bytes) {
    let head = Head {
        kind: 2,
        items: ITEMS,
        tenant: None,
        destinations: to.clone(),
    };
    let room = journal.reserve(&head, data.len()).expect("there is no bound");
    let seq = journal
        .append(head, vec![data.clone()], room)
        .await
        .expect("the disk takes it");
    for id in to.iter() {
        journal.complete(seq, *id, 0..ITEMS);
    }
}

/// Takes everything and keeps nothing.
struct NullDisk;

impl Disk for NullDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(NullDisk))
    }

    fn open(&self, _: &str) -> io::Result<Arc<dyn File>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl File for NullDisk {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], _: u64) -> io::Result<()> {
        black_box(slices);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
}

// --- Opening ---

fn recoveries(runtime: &Runtime, dir: &Path, data: &[Bytes]) {
    let mib: usize = std::env::var("WEIR_BENCH_MIB")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(256);
    let small: Vec<Bytes> = data.iter().map(|d| d.slice(..d.len().min(1024))).collect();
    println!("\nopening {mib} MiB that are owed; cold = not in the page cache");
    println!(
        "{:<42} {:>9} {:>8} {:>9} {:>9} {:>10}",
        "", "records", "scanned", "warm ms", "cold ms", "10 GiB, s"
    );
    for (name, data, key) in [
        ("460 KB records", data, None),
        ("460 KB records, encrypted", data, key()),
        ("1 KB records", &small[..], None),
    ] {
        let live = tempfile::tempdir_in(dir).expect("a directory can be made");
        let killed = tempfile::tempdir_in(dir).expect("a directory can be made");
        fill(runtime, live.path(), data, mib << 20, &key, || {
            copy(live.path(), killed.path())
        });
        let more = 10.0 * 1024.0 / mib as f64;
        let closed = opening(live.path(), &key);
        closed.print(name, "closed", closed.cold * more);
        // However much is owed, one segment has no index.
        let after_kill = opening(killed.path(), &key);
        let scan = (after_kill.cold - closed.cold).max(0.0);
        after_kill.print(name, "killed", closed.cold * more + scan);
        for entry in fs::read_dir(live.path()).expect("it can be read") {
            let path = entry.expect("it can be read").path();
            if path.extension().is_some_and(|e| e == "segment") {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .expect("it can be opened");
                let len = file.metadata().expect("it has a length").len();
                file.set_len(len - 8).expect("it can be cut");
            }
        }
        let scanned = opening(live.path(), &key);
        scanned.print(name, "no index at all", scanned.cold * more);
    }
}

/// Writes so many bytes; calls `before_the_end` when all are written and the last segment is not closed.
fn fill(
    runtime: &Runtime,
    directory: &Path,
    data: &[Bytes],
    bytes: usize,
    key: &Option<Key>,
    before_the_end: impl FnOnce(),
) {
    let options = Options {
        sync: false,
        key: key.clone(),
        ..Options::default()
    };
    let disk = RealDisk::open(directory).expect("it can be opened");
    let (journal, _) = Journal::open(Arc::new(disk), options).expect("it is empty");
    let to: Arc<[DestId]> = [destination(&journal, "exporter/a/logs")].into();
    let mut written = 0;
    for data in data.iter().cycle() {
        let head = Head {
            kind: 2,
            items: ITEMS,
            tenant: Some("acme".into()),
            destinations: to.clone(),
        };
        let room = journal.reserve(&head, data.len()).expect("there is no bound");
        written += data.len();
        runtime
            .block_on(journal.append(head, vec![data.clone()], room))
            .expect("the disk takes it");
        if written >= bytes {
            break;
        }
    }
    before_the_end();
    journal.close();
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("it can be read") {
        let entry = entry.expect("it can be read");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
    }
}

/// How long opening took, in seconds.
struct Opening {
    records: u64,
    scanned: u64,
    warm: f64,
    cold: f64,
}

impl Opening {
    fn print(&self, name: &str, how: &str, of_ten_gib: f64) {
        println!(
            "{:<42} {:>9} {:>8} {:>9.1} {:>9.1} {:>10.2}",
            format!("{name}, {how}"),
            self.records,
            self.scanned,
            self.warm * 1e3,
            self.cold * 1e3,
            of_ten_gib,
        );
    }
}

/// Opens without changing anything, from the disk and from the page cache.
fn opening(directory: &Path, key: &Option<Key>) -> Opening {
    let open = || {
        let start = clock(ClockId::Monotonic);
        let (journal, found) = Journal::open_offline(directory, key.clone()).expect("it opens");
        let took = clock(ClockId::Monotonic) - start;
        assert_eq!(found.damage, Vec::<String>::new());
        drop(journal);
        (took.as_secs_f64(), found)
    };
    for entry in fs::read_dir(directory).expect("it can be read") {
        let file = fs::File::open(entry.expect("it can be read").path()).expect("it can be opened");
        file.sync_all().expect("it can be synced");
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
    }
    let (cold, found) = open();
    let mut warm: Vec<f64> = (0..5).map(|_| open().0).collect();
    warm.sort_unstable_by(f64::total_cmp);
    Opening {
        records: found.records,
        scanned: found.scanned,
        warm: warm[2],
        cold,
    }
}
