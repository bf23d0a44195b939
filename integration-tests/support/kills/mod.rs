//! The gateway between clients that never rest and backends that count, killed again and again and started on the same
//! directory and ports: at the end every record that was acknowledged must have arrived.
//!
//! Two backends hang on one pipeline, a gRPC exporter and an HTTP one, so that each request is owed twice. Duplicates are
//! allowed where a kill cuts off what was being sent, and where it forgets what was completed a moment ago; more are not.
//! A run that fails keeps its directory and says its seed: `WEIR_CRASH_SEED` repeats its choices, if not the scheduler's.

#![allow(clippy::print_stderr, reason = "a run says its seed and its figures")]

pub mod archive;
pub mod load;
pub mod process;
pub mod records;
pub mod sink;
pub mod soak;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use archive::Archived;
use load::{Load, Plan};
use objects::blocks::S3;
use process::Process;
use records::Batch;
use sink::Sink;

use super::free_port;

/// How long before a kill a completion may have happened and not be on disk: the journal's writer gathers completions
/// for 20 ms, the rest is for a machine that is busy with other tests.
const COMPLETION: Duration = Duration::from_millis(500);

/// Items that a start found owed though they may have been sent.
const POSSIBLE_DUPLICATES: &str = "weir_exporter_possible_duplicates";

/// Attempts at the same time, of each exporter and signal; a reload adds up to two.
const CONSUMERS: u64 = 4;

/// splitmix64.
#[derive(Clone, Copy, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// The seed of this run: `WEIR_CRASH_SEED`, else the clock's.
pub fn seed() -> u64 {
    let given = std::env::var("WEIR_CRASH_SEED").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("the clock is past 1970").as_nanos() as u64 % 1_000_000_007
    })
}

/// Where exporters keep what they have to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Answered when it is in memory.
    Memory,
    /// In memory, answered when it has arrived.
    Waiting,
    /// Answered when it is on disk.
    Disk,
}

/// What is killed, and under which load.
#[derive(Clone, Debug)]
pub struct Setup {
    pub queue: Queue,
    pub fsync: bool,
    /// Of the journal, small so that segments come and go.
    pub segment: u64,
    /// Connections over gRPC, and as many over HTTP.
    pub connections: usize,
    /// Records of a request.
    pub records: u64,
    /// Bytes of text in a record.
    pub text: usize,
    /// Between an answer and the next request of the same connection.
    pub pause: Duration,
    /// The backends answer late, refuse now and then, and one holds fast to a twentieth.
    pub unwell: bool,
    /// Further keys of the storage.
    pub storage: &'static str,
    /// An archive takes all of it too, from the same journal.
    pub archive: bool,
    /// Where the archive is, under locks of a day; a directory without any if this is not said.
    pub bucket: Option<S3>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            queue: Queue::Disk,
            fsync: true,
            segment: 64 << 10,
            connections: 2,
            records: 10,
            text: 300,
            pause: Duration::from_millis(3),
            unwell: true,
            storage: "",
            archive: false,
            bucket: None,
        }
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// It kills itself at the n-th pass of a named point; killed after a while if it does not come by.
    At(&'static str, u64),
    /// So long after it was started.
    After(Duration),
    /// So long after it listened.
    Listening(Duration),
    /// Asked to read its configuration again, in which both exporters have changed, and killed so long after.
    Reloading(Duration),
    /// In order.
    Stop,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub lives: usize,
    /// Kills by where they happened.
    pub kills: BTreeMap<String, usize>,
    pub acknowledged: u64,
    pub refused: u64,
    pub unanswered: u64,
    /// Records that a backend got though it had got them before.
    pub duplicates: u64,
    /// As many might have been.
    pub duplicates_max: u64,
    /// As many as the gateway said there might be.
    pub duplicates_told: u64,
}

/// Everything around the gateway.
pub struct World {
    setup: Setup,
    /// The configuration.
    text: String,
    seed: u64,
    pub rng: Rng,
    dir: Option<tempfile::TempDir>,
    pub sinks: [Sink; 2],
    load: Option<Load>,
    token: String,
    pub grpc: u16,
    pub http: SocketAddr,
    metrics: u16,
    /// Clients do not send to the gateway itself.
    is_relayed: bool,
    /// What was acknowledged, once clients have stopped.
    acknowledged: Vec<Batch>,
    pub report: Report,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take()
            && std::thread::panicking()
        {
            eprintln!("seed {}; kept: {}", self.seed, dir.keep().display());
        }
    }
}

impl World {
    pub async fn begin(setup: Setup) -> World {
        let mut rng = Rng(seed());
        let sinks = [
            Sink::start(rng.below(1 << 40)).await,
            Sink::start(rng.below(1 << 40)).await,
        ];
        let [grpc, http, metrics] = std::array::from_fn(|_| free_port());
        let behind = [sinks[0].addr, sinks[1].addr];
        World::between([grpc, http], sinks, setup, [grpc, http, metrics], behind)
    }

    /// One in which others stand between the clients and the gateway (`doors` = where clients send to, gRPC and HTTP), and
    /// between it and the sinks (`behind`, gRPC and HTTP). `ports` are the gateway's own: gRPC, HTTP and metrics.
    pub fn between(
        doors: [u16; 2],
        sinks: [Sink; 2],
        setup: Setup,
        ports: [u16; 3],
        behind: [SocketAddr; 2],
    ) -> World {
        let seed = seed();
        let mut rng = Rng(seed);
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let token = format!("planted{:016x}token", rng.below(u64::MAX));
        let load = Load::start(Plan {
            grpc: at(doors[0]),
            http: at(doors[1]),
            connections: setup.connections,
            records: setup.records,
            text: setup.text,
            marked: 20,
            pause: setup.pause,
            token: token.clone(),
        });
        let dir = tempfile::tempdir().unwrap();
        let text = config(&setup, dir.path(), ports, behind);
        std::fs::write(dir.path().join("config.yaml"), &text).unwrap();
        World {
            setup,
            text,
            seed,
            rng,
            dir: Some(dir),
            sinks,
            load: Some(load),
            token,
            grpc: ports[0],
            http: at(ports[1]),
            metrics: ports[2],
            is_relayed: doors != ports[..2],
            acknowledged: Vec::new(),
            report: Report::default(),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("kept until the end").path()
    }

    pub fn storage(&self) -> PathBuf {
        self.path().join("storage")
    }

    pub fn acknowledged(&self) -> usize {
        self.load.as_ref().expect("works until the end").acknowledged()
    }

    /// Starts the gateway.
    pub fn start(&mut self, crash_at: Option<&str>) -> Process {
        self.report.lives += 1;
        let log = self.path().join(format!("life-{:03}.log", self.report.lives));
        Process::start(&self.path().join("config.yaml"), log, crash_at)
    }

    /// Waits until the gateway listens. False: it ended before.
    pub async fn listens(&self, process: &mut Process) -> bool {
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(self.http).await.is_err() {
            if process.ended().is_some() {
                return false;
            }
            assert!(
                Instant::now() < end,
                "the gateway does not listen: {}",
                process.said()
            );
            sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// The sum of a metric's series; none if the gateway does not tell.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let page = get(self.metrics, "/metrics").await?;
        let values = page.lines().filter_map(|line| {
            let series = line.strip_prefix(name)?;
            let value = series.rsplit_once(' ')?.1;
            series
                .starts_with([' ', '{', '_'])
                .then(|| value.parse::<f64>().ok())?
        });
        Some(values.sum::<f64>() as u64)
    }

    /// One life under load. False: the point where it was to end was not come by.
    pub async fn live(&mut self, end: End) -> bool {
        if self.setup.unwell {
            for sink in &self.sinks {
                sink.refuse([0, 0, 20, 60][self.rng.below(4) as usize]);
                sink.pause([0, 5, 30][self.rng.below(3) as usize]);
            }
            self.sinks[1].hold(true);
        }
        let crash_at = match end {
            End::At(point, n) => Some(format!("{point}:{n}")),
            _ => None,
        };
        let mut process = self.start(crash_at.as_deref());
        let mut reached = true;
        let name = match end {
            End::At(point, _) => {
                // From when it listens: a busy machine takes its time to start it.
                self.listens(&mut process).await;
                let mut ended = process.ends_within(Duration::from_secs(3)).await;
                if ended.is_none() {
                    // Some points are come by on the way out.
                    process.signal(rustix::process::Signal::TERM);
                    ended = process.ends_within(Duration::from_secs(40)).await;
                }
                use std::os::unix::process::ExitStatusExt;
                let status = ended.unwrap_or_else(|| panic!("it does not stop: {}", process.said()));
                reached = status.signal() == Some(9);
                assert!(
                    reached || status.success(),
                    "at {point}: {status}: {}",
                    process.said()
                );
                point
            }
            End::After(time) => {
                sleep(time).await;
                "at random"
            }
            End::Listening(time) => {
                assert!(self.listens(&mut process).await, "{}", process.said());
                sleep(time).await;
                self.report.duplicates_told += self.metric(POSSIBLE_DUPLICATES).await.unwrap_or(0);
                "at random"
            }
            End::Reloading(time) => {
                assert!(self.listens(&mut process).await, "{}", process.said());
                let consumers = CONSUMERS as usize + self.report.lives % 3;
                let changed = self.text.replace(
                    &format!("num_consumers: {CONSUMERS}"),
                    &format!("num_consumers: {consumers}"),
                );
                std::fs::write(self.path().join("config.yaml"), changed).unwrap();
                process.signal(rustix::process::Signal::HUP);
                sleep(time).await;
                "in a reload"
            }
            End::Stop => {
                assert!(self.listens(&mut process).await, "{}", process.said());
                process.stop().await;
                *self.report.kills.entry("stopped".into()).or_default() += 1;
                return true;
            }
        };
        let late = Instant::now();
        let ended = process.ended();
        assert!(
            matches!(end, End::At(..)) || ended.is_none(),
            "it ended by itself: {ended:?} {}",
            process.said()
        );
        process.kill();
        self.keeps_no_token();
        if reached {
            *self.report.kills.entry(name.into()).or_default() += 1;
        }
        self.report.duplicates_max += self.cut_off(late);
        reached
    }

    /// Records that may come again after a kill: what was being sent, and what was completed a moment before.
    pub fn cut_off(&self, killed: Instant) -> u64 {
        // Logs and spans are queues of their own.
        let mut in_flight = 2 * (CONSUMERS + 2) * self.setup.records;
        if self.is_relayed {
            // Whoever stands before us sends again what was not answered.
            in_flight += 2 * self.setup.connections as u64 * self.setup.records;
        }
        let completed = |sink: &Sink| sink.taken_since(killed - COMPLETION);
        self.sinks.iter().map(|sink| in_flight + completed(sink)).sum()
    }

    /// Makes the backends well.
    pub fn heal(&self) {
        for sink in &self.sinks {
            sink.refuse(0);
            sink.pause(0);
            sink.hold(false);
        }
    }

    /// Records that were acknowledged and did not come, by backend; as soon as there are none, or nothing comes any more.
    pub async fn missing(&mut self) -> [Vec<u64>; 2] {
        let (refused, unanswered) = self.load.as_ref().expect("works until the end").others();
        let batches = self.load.take().expect("works until the end").stop().await;
        (self.report.refused, self.report.unanswered) = (refused, unanswered);
        self.missing_of(batches).await
    }

    /// The same for what others were told is taken.
    pub async fn missing_of(&mut self, batches: Vec<Batch>) -> [Vec<u64>; 2] {
        self.report.acknowledged = batches.iter().map(|b: &Batch| b.records).sum();
        let (mut taken, mut since) = (0, Instant::now());
        loop {
            let missing = [self.sinks[0].missing(&batches), self.sinks[1].missing(&batches)];
            let now = self.sinks[0].taken() + self.sinks[1].taken();
            if now > taken {
                (taken, since) = (now, Instant::now());
            }
            let patience = if self.setup.queue == Queue::Memory { 2 } else { 20 };
            if missing.iter().all(Vec::is_empty) || since.elapsed() > Duration::from_secs(patience) {
                self.report.duplicates = self.sinks.iter().map(Sink::again).sum();
                self.acknowledged = batches;
                return missing;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until each exporter of this life has sent what its receivers accepted, and owes nothing.
    pub async fn balances(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut sums = Vec::new();
            for name in [
                "otelcol_receiver_accepted_log_records",
                "otelcol_receiver_accepted_spans",
                "otelcol_exporter_sent_log_records",
                "otelcol_exporter_sent_spans",
                "otelcol_exporter_queue_size",
            ] {
                sums.push(
                    self.metric(name)
                        .await
                        .unwrap_or_else(|| panic!("{name} is served")),
                );
            }
            if sums[2] == 2 * sums[0] && sums[3] == 2 * sums[1] && sums[4] == 0 {
                return;
            }
            assert!(Instant::now() < end, "accepted, sent to two, and owed: {sums:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A last life with backends that are well. Everything that was acknowledged must arrive, not much of it twice, and
    /// the token must be nowhere.
    pub async fn finish(mut self) -> Report {
        self.heal();
        let mut process = self.start(None);
        assert!(self.listens(&mut process).await, "{}", process.said());
        let missing = self.missing().await;
        self.report.duplicates_told += self.metric(POSSIBLE_DUPLICATES).await.unwrap_or(0);
        let report = self.report.clone();
        eprintln!("seed {}: {report:?}", self.seed);
        for (sink, missing) in missing.iter().enumerate() {
            assert!(
                missing.is_empty(),
                "{} of {} acknowledged records are not in sink {sink}, the first are {:?}; the last life said: {}",
                missing.len(),
                report.acknowledged,
                &missing[..missing.len().min(50)],
                process.said(),
            );
        }
        assert!(
            report.duplicates <= report.duplicates_max,
            "more came twice than was cut off: {report:?}"
        );
        if self.setup.queue == Queue::Disk {
            self.delivers_the_rest().await;
        }
        process.stop().await;
        self.keeps_no_token();
        if self.setup.queue == Queue::Disk {
            self.owes_nothing();
        }
        if let Some(bucket) = &self.setup.bucket {
            archive::download(bucket, &self.path().join("archive")).await;
        }
        if self.setup.archive {
            self.archived_once();
        }
        report
    }

    /// All that was acknowledged is in the archive, and nothing is there twice, also not what nobody was told of.
    fn archived_once(&self) {
        let numbers = Archived::verified(&self.path().join("archive")).numbers();
        let all = self.acknowledged.iter().flat_map(Batch::numbers);
        let missing: Vec<u64> = all.filter(|n| !numbers.contains_key(n)).collect();
        let first = &missing[..missing.len().min(50)];
        assert!(
            missing.is_empty(),
            "{} are not archived: {first:?}",
            missing.len()
        );
        let twice: Vec<_> = numbers.iter().filter(|(_, count)| **count > 1).take(50).collect();
        assert!(twice.is_empty(), "archived more than once: {twice:?}");
    }

    /// Records for which nobody was answered may be on disk too; a stop would leave them there.
    async fn delivers_the_rest(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.metric("otelcol_exporter_queue_size").await != Some(0) {
            assert!(Instant::now() < end, "something stays queued");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The journal of a gateway that delivered all and stopped in order has nothing left to deliver.
    fn owes_nothing(&self) {
        let key = storage::journal::Key::parse(process::KEY.as_bytes()).expect("a key of 64 hex digits");
        let (journal, _) = storage::Journal::open_offline(&self.storage(), Some(key)).unwrap();
        // A bucket is not waited for at a stop: what the gateway says last of itself is archived in its next life.
        let last = |name: &str| u64::from(self.setup.bucket.is_some() && name == "exporter/archive/logs");
        for destination in journal.destinations() {
            assert!(destination.records <= last(&destination.name), "{destination:?}");
            assert_eq!(destination.items, destination.records, "{destination:?}");
        }
        journal.close();
    }

    /// What authenticates a client is nowhere on the disk.
    fn keeps_no_token(&self) {
        let found = files_with(self.path(), self.token.as_bytes());
        assert!(found.is_empty(), "the token lies in {found:?}");
    }
}

/// What is served at a path; none if nobody listens.
async fn get(port: u16, path: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// Files below a directory that hold these bytes.
pub fn files_with(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let text = std::fs::read(entry.path()).unwrap();
                if memchr::memmem::find(&text, bytes).is_some() {
                    found.push(entry.path());
                }
            }
        }
    }
    found
}

fn config(setup: &Setup, dir: &Path, ports: [u16; 3], sinks: [SocketAddr; 2]) -> String {
    let [grpc, http, metrics] = ports;
    let [first, second] = sinks;
    let (queue, extension) = match setup.queue {
        Queue::Memory => ("", "[]"),
        Queue::Waiting => (", wait_for_result: true", "[]"),
        Queue::Disk => (", storage: file_storage", "[file_storage]"),
    };
    let extensions = format!(
        "extensions:
  file_storage:
    directory: '{}/storage'
    create_directory: true
    fsync: {}
    segment_size: {}
{}",
        dir.display(),
        setup.fsync,
        setup.segment,
        setup.storage,
    );
    let extensions = if setup.queue == Queue::Disk {
        extensions.as_str()
    } else {
        ""
    };
    let retry = "retry_on_failure: {initial_interval: 20ms, max_interval: 200ms}";
    // Objects and heads in quick succession, so that many lives have many of them.
    let dir = dir.display();
    let place = match &setup.bucket {
        Some(bucket) => format!(
            "{{s3: {}}}\n    lock: {{retention: 1d}}",
            archive::keys(bucket, "")
        ),
        None => format!("{{file: {{path: '{dir}/archive'}}}}\n    lock: {{required: false}}"),
    };
    let (archive, third) = match setup.archive {
        true => (
            format!(
                "
  archive:
    archive: example/kills
    writer: gw-0
    create: true
    store: {place}
    state_dir: '{dir}/state'
    storage: file_storage
    roll: {{max_age: 100ms, min_bytes: 0, max_age_small: 0s}}
    log: {{checkpoint_interval: 100ms}}"
            ),
            ", archive",
        ),
        false => (String::new(), ""),
    };
    format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}', include_metadata: true}}
      http: {{endpoint: '127.0.0.1:{http}', include_metadata: true}}
{extensions}exporters:
  otlp_grpc: {{endpoint: '{first}', tls: {{insecure: true}}, compression: none, {retry}, sending_queue: {{num_consumers: {CONSUMERS}, queue_size: 100000{queue}}}}}
  otlp_http: {{endpoint: 'http://{second}', compression: none, {retry}, sending_queue: {{num_consumers: {CONSUMERS}, queue_size: 100000{queue}}}}}{archive}
service:
  extensions: {extension}
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_grpc, otlp_http{third}]}}
    traces: {{receivers: [otlp], exporters: [otlp_grpc, otlp_http{third}]}}
"
    )
}
