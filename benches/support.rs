//! What the benches share: payloads of a known shape, medians of rounds, a table.
//!
//! The payload is the one that the targets speak of: 512 access-log records in 4 resource groups, a body and 25 attributes
//! each, about 900 bytes a record, 12 % with something to redact. `WEIR_BENCH_PAYLOADS=dir` reads request bodies from
//! files instead, one request a file. Times are the thread's own.

use std::cell::Cell;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Allocations so far: counted where the bench takes `counting::Counting` for its allocator.
pub(crate) static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// What [`ALLOCATIONS`] says now.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

thread_local! {
    /// As [`ALLOCATIONS`], of this thread alone.
    pub(crate) static ALLOCATIONS_HERE: Cell<u64> = const { Cell::new(0) };
}

/// What [`ALLOCATIONS_HERE`] says now: the harness of tests allocates on a thread of its own.
pub(crate) fn allocations_here() -> u64 {
    ALLOCATIONS_HERE.get()
}

/// splitmix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Requests to measure with, and how many records they hold.
pub(crate) struct Payloads {
    /// Encoded requests.
    pub(crate) requests: Vec<Vec<u8>>,
    /// Records in all of them.
    pub(crate) records: usize,
    /// Bytes of all of them.
    pub(crate) bytes: usize,
}

/// Sixteen requests, generated or read.
pub(crate) fn payloads() -> Payloads {
    let requests: Vec<Vec<u8>> = match std::env::var_os("WEIR_BENCH_PAYLOADS") {
        Some(dir) => {
            let mut files: Vec<_> = std::fs::read_dir(dir)
                .expect("WEIR_BENCH_PAYLOADS names a directory")
                .map(|entry| entry.expect("its entries can be read").path())
                .collect();
            files.sort();
            files.truncate(16);
            files
                .iter()
                .map(|file| std::fs::read(file).expect("its files can be read"))
                // A gRPC message has five bytes before it.
                .map(|body| match body.as_slice() {
                    [0, _, _, _, _, message @ ..] => message.to_vec(),
                    _ => body,
                })
                .collect()
        }
        None => (0..16).map(|seed| request(seed, 512, 4)).collect(),
    };
    let records = requests
        .iter()
        .map(|r| wire::count_items(wire::Signal::Logs, r) as usize)
        .sum();
    let bytes = requests.iter().map(Vec::len).sum();
    Payloads {
        requests,
        records,
        bytes,
    }
}

fn field(number: u32, content: &[u8], out: &mut Vec<u8>) {
    wire::field::write_header(number, content.len(), out);
    out.extend_from_slice(content);
}

fn attribute(number: u32, key: &str, value: wire::view::NewValue<'_>, out: &mut Vec<u8>) {
    let (mut entry, mut any) = (Vec::new(), Vec::new());
    field(1, key.as_bytes(), &mut entry);
    wire::view::any_encode(value, &mut any);
    field(2, &any, &mut entry);
    field(number, &entry, out);
}

/// One `ExportLogsServiceRequest` of mesh access logs.
pub(crate) fn request(seed: u64, records: usize, groups: usize) -> Vec<u8> {
    let rng = &mut Rng(seed ^ 0x5eed);
    let mut out = Vec::new();
    for group in 0..groups {
        let (mut resource, mut resource_logs, mut scope_logs) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in [
            ("service.name", rng.pick(&SERVICES).to_owned()),
            ("service.namespace", format!("team-{group}")),
            ("service.version", format!("1.{}.{}", rng.below(40), rng.below(9))),
            ("tenant.id", format!("tenant-{group:03}")),
            ("k8s.cluster.name", "prod-eu-1".to_owned()),
            ("k8s.pod.name", format!("pod-{:x}", rng.bits())),
            ("k8s.node.name", format!("node-{}", rng.below(40))),
        ] {
            attribute(1, key, wire::view::NewValue::Str(value.as_bytes()), &mut resource);
        }
        field(1, &resource, &mut resource_logs);
        field(1, b"\x0a\x05envoy", &mut scope_logs);
        for i in 0..records / groups {
            let record = record(rng, (group * records / groups + i) as u64);
            field(2, &record, &mut scope_logs);
        }
        field(2, &scope_logs, &mut resource_logs);
        field(1, &resource_logs, &mut out);
    }
    out
}

const SERVICES: [&str; 6] = ["checkout", "payments", "catalog", "cart", "frontend", "accounts"];
const METHODS: [&str; 5] = ["GET", "GET", "POST", "PUT", "DELETE"];
const PATHS: [&str; 5] = [
    "/api/v1/orders",
    "/api/v1/cart/items",
    "/search",
    "/healthz",
    "/api/v1/sessions",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0) Chrome/126.0",
    "grpc-go/1.65.0",
    "kube-probe/1.29",
    "okhttp/4.12.0",
];

fn secret(rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => format!("email=user{}@mail.example.org", rng.below(1000)),
        1 => "card=4111-1111-1111-1111".to_owned(),
        2 => format!(
            "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.{:x}.{:x}",
            rng.bits(),
            rng.bits()
        ),
        _ => format!(
            "ssn={:03}-{:02}-{:04}",
            100 + rng.below(700),
            10 + rng.below(89),
            1000 + rng.below(8999)
        ),
    }
}

fn record(rng: &mut Rng, number: u64) -> Vec<u8> {
    use wire::view::NewValue::{Bool, Double, Int, Str};
    let dirty = rng.below(100) < 12;
    let place = rng.below(3);
    let method = rng.pick(&METHODS);
    let code = [200, 200, 201, 204, 301, 404, 429, 500][rng.below(8) as usize];
    let service = rng.pick(&SERVICES);
    let ip = |rng: &mut Rng| format!("10.{}.{}.{}", rng.below(64), rng.below(256), 1 + rng.below(254));
    let (up, down) = (ip(rng), ip(rng));
    let took = 1 + rng.below(400) as i64;
    let mut path = format!("{}/{}", rng.pick(&PATHS), rng.below(100_000));
    if dirty && place == 0 {
        write!(path, "?{}", secret(rng)).expect("a String takes all");
    }
    let (bytes_in, bytes_out) = (rng.below(4096) as i64, rng.below(65_536) as i64);
    let mut body = format!(
        "\"{method} {path} HTTP/2\" {code} - via_upstream {bytes_in} {bytes_out} {took} {took} \"{up}:8080\""
    );
    if dirty && place == 1 {
        write!(body, " {}", secret(rng)).expect("a String takes all");
    }
    let last = if dirty && place == 2 {
        secret(rng)
    } else {
        down.clone()
    };
    let mut out = vec![0x09];
    out.extend_from_slice(&(1_760_000_000_000_000_000 + number * 1_000_000).to_le_bytes());
    out.extend_from_slice(&[0x10, 9]);
    field(3, b"INFO", &mut out);
    let mut any = Vec::new();
    wire::view::any_encode(Str(body.as_bytes()), &mut any);
    field(5, &any, &mut out);
    let texts = |rng: &mut Rng| {
        let (hi, lo) = (rng.bits(), rng.bits());
        [
            format!(
                "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                hi >> 32,
                hi >> 16 & 0xffff,
                hi & 0xfff,
                lo >> 52,
                lo >> 16
            ),
            format!("{service}:8080"),
            format!("{up}:8080"),
            format!("outbound|8080||{service}"),
            format!("{down}:{}", 30_000 + rng.below(30_000)),
            format!("{service}-v1"),
        ]
    };
    let [id, authority, upstream, cluster, local, workload] = texts(rng);
    for (key, value) in [
        ("method", Str(method.as_bytes())),
        ("path", Str(path.as_bytes())),
        ("protocol", Str(b"HTTP/2")),
        ("response_code", Int(code)),
        ("response_flags", Str(b"-")),
        ("response_code_details", Str(b"via_upstream")),
        ("bytes_received", Int(bytes_in)),
        ("bytes_sent", Int(bytes_out)),
        ("duration", Int(took)),
        ("upstream_service_time", Int(took - 1)),
        ("user_agent", Str(rng.pick(&AGENTS).as_bytes())),
        ("request_id", Str(id.as_bytes())),
        ("authority", Str(authority.as_bytes())),
        ("upstream_host", Str(upstream.as_bytes())),
        ("upstream_cluster", Str(cluster.as_bytes())),
        ("upstream_local", Str(local.as_bytes())),
        ("downstream_local", Str(upstream.as_bytes())),
        ("downstream_remote", Str(local.as_bytes())),
        ("route_name", Str(b"default")),
        ("sni", Str(b"-")),
        ("mtls", Bool(rng.below(10) > 0)),
        ("retries", Int(rng.below(2) as i64)),
        ("weight", Double(rng.below(100) as f64 / 100.0)),
        ("dest_workload", Str(workload.as_bytes())),
        ("x_forwarded_for", Str(last.as_bytes())),
    ] {
        attribute(6, key, value, &mut out);
    }
    let id: Vec<u8> = [rng.bits(), rng.bits(), rng.bits()]
        .iter()
        .flat_map(|b| b.to_le_bytes())
        .collect();
    field(9, &id[..16], &mut out);
    field(10, &id[16..], &mut out);
    out
}

/// One line of the table.
pub(crate) struct Row {
    /// What was done.
    pub(crate) name: &'static str,
    /// Median over the rounds.
    pub(crate) ns_per_record: f64,
    /// Allocations of one round, by record.
    pub(crate) allocations_per_record: f64,
    /// Input bytes by time.
    pub(crate) gb_per_s: f64,
}

/// Whether the command line asks for this row: any argument that is part of its name, or none at all.
fn wanted(name: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .peekable();
    words.peek().is_none() || words.any(|word| name.contains(&word))
}

/// Adds a row, if it is wanted. Runs `work` once to warm up, then nine rounds; one round goes over all requests as often as takes about 0.1 s.
pub(crate) fn measure(
    rows: &mut Vec<Row>,
    name: &'static str,
    payloads: &Payloads,
    mut work: impl FnMut(&[u8]),
) {
    if !wanted(name) {
        return;
    }
    let mut pass = || {
        for request in &payloads.requests {
            work(black_box(request));
        }
    };
    let warm = time(&mut pass);
    let passes = (Duration::from_millis(100).as_nanos() / warm.as_nanos().max(1)).clamp(1, 1000) as u32;
    let before = allocations_here();
    pass();
    let allocated = allocations_here() - before;
    let mut rounds: Vec<Duration> = (0..9)
        .map(|_| time(&mut || (0..passes).for_each(|_| pass())) / passes)
        .collect();
    rounds.sort_unstable();
    let ns = rounds[rounds.len() / 2].as_nanos() as f64;
    rows.push(Row {
        name,
        ns_per_record: ns / payloads.records as f64,
        allocations_per_record: allocated as f64 / payloads.records as f64,
        gb_per_s: payloads.bytes as f64 / ns,
    });
}

/// Processor time of this thread, so that a busy machine disturbs little.
fn time(work: &mut dyn FnMut()) -> Duration {
    let now = || {
        let t = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(t.tv_sec.unsigned_abs(), t.tv_nsec as u32)
    };
    let start = now();
    work();
    now() - start
}

/// Prints rows under a heading.
#[expect(clippy::print_stdout, reason = "a bench is for reading")]
pub(crate) fn print(payloads: &Payloads, rows: &[Row]) {
    println!(
        "{} requests, {} records, {} bytes a record",
        payloads.requests.len(),
        payloads.records,
        payloads.bytes / payloads.records.max(1)
    );
    println!(
        "{:<34} {:>10} {:>12} {:>8}",
        "", "ns/record", "allocs/rec", "GB/s"
    );
    let is_counted = allocations() > 0;
    for row in rows {
        let allocations = match is_counted {
            true => format!("{:.4}", row.allocations_per_record),
            false => "-".to_owned(),
        };
        println!(
            "{:<34} {:>10.1} {:>12} {:>8.2}",
            row.name, row.ns_per_record, allocations, row.gb_per_s
        );
    }
}
