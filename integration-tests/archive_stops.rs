//! Commands over an archive that are killed, that are told to stop, and that find what cannot be read now.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use objects::test_kit::{Bucket, FakeS3, Fault};
use prost::Message;
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::archive::{config, numbers, weir};
use crate::archive_verify::{BUCKET, in_bucket};
use crate::support::gateway::Gateway;
use crate::support::kills::archive;
use crate::support::kills::records::Batch;
use crate::support::peer::{Answer, Peer};
use crate::support::{client, sample};

/// `weir archive` at work.
struct Running(Option<Child>);

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("archive").args(arguments).env("USER", "ana");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().expect("the binary runs")))
    }

    fn send(&self, signal: Signal) {
        let child = self.0.as_ref().expect("it runs");
        let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process has a number");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Its end: exit code, what it printed, what it said.
    async fn ended(mut self) -> (Option<i32>, String, String) {
        let child = self.0.take().expect("it runs");
        let output = tokio::task::spawn_blocking(move || child.wait_with_output());
        let output: Output = output.await.expect("it is waited for").expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// An archive with an object of spans, and logs that go in four requests.
struct Archive {
    folder: tempfile::TempDir,
}

const SPANS: Range<u64> = 0..100;
/// A request of these is more than a mebibyte.
const LOGS: u64 = 550;
const ALL: u64 = 100 + 4 * LOGS;

impl Archive {
    async fn filled() -> Archive {
        let folder = tempfile::tempdir().unwrap();
        let post = async |batch: Batch| {
            let gateway = Gateway::start(&config(folder.path())).await;
            for first in (batch.first..ALL)
                .step_by(batch.records as usize)
                .take(if batch.is_trace { 1 } else { 4 })
            {
                let batch = Batch { first, ..batch };
                let answer = client::post_otlp(gateway.http, batch.path(false), &batch.message()).await;
                assert_eq!(answer.status, 200);
            }
            gateway.stop().await;
        };
        let batch = |first: u64, records: u64, is_trace: bool| Batch {
            records,
            is_trace,
            text: 2_000,
            ..Batch::of_one(first)
        };
        post(batch(SPANS.start, SPANS.end, true)).await;
        post(batch(SPANS.end, LOGS, false)).await;
        Archive { folder }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn restore(&self, sink: &Peer) -> Vec<String> {
        let own = |text: &str| text.to_owned();
        let to = format!("http://{}", sink.addr);
        let (store, key, job) = (self.at("archive"), self.at("cli.key"), self.at("job.json"));
        let mut arguments = vec![own("restore"), own("--store"), store, own("--key"), key];
        arguments.extend([own("--resume"), job, own("--to-otlp"), to]);
        arguments
    }

    /// Restores until the peer holds a request.
    async fn restoring(&self, sink: &Peer) -> Running {
        let arguments = self.restore(sink);
        let running = Running::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        until("the peer gets four requests", || sink.received().len() == 4).await;
        running
    }

    /// Goes on; how many records went.
    async fn resumed(&self, sink: &Peer) -> u64 {
        let before: usize = numbers(sink).values().sum();
        let arguments = self.restore(sink);
        let (exit, told, said) = weir(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(exit, 0, "{told}{said}");
        assert_eq!(self.job()["finished"], true);
        let after: usize = numbers(sink).values().sum();
        (after - before) as u64
    }

    fn job(&self) -> Value {
        let text = fs::read(self.at("job.json")).expect("a job file");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Records of each restore that the archive's logs tell of.
    fn logged(&self) -> Vec<u64> {
        let restores = archive::restores(&self.store());
        restores.iter().map(|restore| restore.n).collect()
    }
}

/// Takes the spans and two requests of the logs; the third waits.
fn three_then_hold() -> [Answer; 4] {
    [Answer::Ok, Answer::Ok, Answer::Ok, Answer::Hold]
}

#[tokio::test]
async fn a_restore_killed_between_two_acknowledgements_goes_on() {
    let archive = Archive::filled().await;
    let sink = Peer::scripted(three_then_hold()).await;
    let running = archive.restoring(&sink).await;
    running.send(Signal::KILL);
    let (exit, ..) = running.ended().await;
    assert_eq!(exit, None);
    let before = numbers(&sink);
    assert_eq!(before, (0..SPANS.end + 2 * LOGS).map(|n| (n, 1)).collect());
    let went = archive.resumed(&sink).await;
    let after = numbers(&sink);
    assert_eq!(
        after.keys().copied().collect::<Vec<_>>(),
        (0..ALL).collect::<Vec<_>>()
    );
    // An object that was done is never sent again; of the one under way only what had been taken already.
    for (n, times) in after {
        let is_sure = SPANS.contains(&n) || !before.contains_key(&n);
        assert!(times == 1 || !is_sure && times == 2, "{n} came {times} times");
    }
    // The one that was killed could not say what it did.
    assert_eq!(archive.logged(), [went]);
}

#[tokio::test]
async fn a_restore_that_is_told_to_stop_remembers_all_that_was_taken() {
    let archive = Archive::filled().await;
    let sink = Peer::scripted(three_then_hold()).await;
    let running = archive.restoring(&sink).await;
    running.send(Signal::TERM);
    let (exit, told, said) = running.ended().await;
    assert_eq!(exit, Some(4), "{told}{said}");
    let taken = SPANS.end + 2 * LOGS;
    // How many objects the logs are in depends on the hour.
    assert!(told.starts_with("sent 1,200 records of "), "{told}");
    assert!(said.contains("Error: interrupted\n"), "{said}");
    let job = archive.job();
    assert_eq!(
        (job["records"].as_u64(), job["finished"].as_bool()),
        (Some(taken), Some(false))
    );
    assert_eq!(archive.logged(), [taken]);
    assert_eq!(archive.resumed(&sink).await, ALL - taken);
    assert_eq!(
        numbers(&sink),
        (0..ALL).map(|n| (n, 1)).collect::<BTreeMap<_, _>>()
    );
    let mut logged = archive.logged();
    logged.sort_unstable();
    assert_eq!(logged, [ALL - taken, taken]);
}

/// A locked bucket with an object of seven records; its configuration's file and a policy.
async fn bucket(fake: &FakeS3, folder: &Path) -> (String, String) {
    fake.add(BUCKET, Bucket::locked());
    let text = in_bucket(fake, folder);
    let at = |name: &str| folder.join(name).display().to_string();
    let (config, policy, root) = (at("weir.yaml"), at("trust.policy"), at("root.key"));
    fs::write(&config, text.replace("{http}", "4318")).unwrap();
    let init = [
        "init",
        "--config",
        &config,
        "--root-key",
        &root,
        "--policy",
        &policy,
    ];
    let (exit, _, said) = weir(&init).await;
    assert_eq!(exit, 0, "{said}");
    let gateway = Gateway::start(&text).await;
    let answer = client::post_otlp(gateway.http, "/v1/logs", &sample::logs(7).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    (config, policy)
}

#[tokio::test]
async fn a_verification_that_is_told_to_stop_says_that_nothing_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeS3::start().await;
    let (config, policy) = bucket(&fake, folder.path()).await;
    fake.script(http::Method::GET, "/seg/", Fault::Hang);
    let before = fake.requests().len();
    let verify = ["verify", "--config", &config, "--policy", &policy, "--json"];
    let running = Running::start(&verify);
    until("the segment is asked for", || {
        let requests = fake.requests();
        requests[before..].iter().any(|seen| seen.path.contains("/seg/"))
    })
    .await;
    running.send(Signal::TERM);
    let (exit, told, said) = running.ended().await;
    assert_eq!((exit, said.as_str()), (Some(4), "Error: interrupted\n"));
    let verdict: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&verdict["verdict"], &verdict["exit"]),
        (&Value::from("unknown"), &Value::from(4))
    );
}

#[tokio::test]
async fn what_lies_in_a_storage_class_that_is_not_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeS3::start().await;
    let (config, policy) = bucket(&fake, folder.path()).await;
    let with = |command: &'static str| [command, "--config", &config, "--policy", &policy];
    let tenant = ["--tenant", "default"];
    let (exit, listed, _) = weir(&[&with("ls")[..], &tenant, &["--json"]].concat()).await;
    assert_eq!(exit, 0);
    let entry: Value = serde_json::from_str(listed.lines().next().expect("an object")).unwrap();
    let key = entry["key"].as_str().expect("a key");
    let asleep = |restore: &str| {
        fake.script(
            http::Method::GET,
            key,
            Fault::Answer(403, "InvalidObjectState", Vec::new()),
        );
        let mut headers = vec![("x-amz-storage-class", "DEEP_ARCHIVE".to_owned())];
        if !restore.is_empty() {
            headers.push(("x-amz-restore", restore.to_owned()));
        }
        fake.script(http::Method::HEAD, key, Fault::Answer(200, "", headers));
    };
    let told_of = |what: &str| {
        format!(
            "{key}: GetObject 403 InvalidObjectState: it lies in storage class DEEP_ARCHIVE, from which nothing is \
             read; {what}"
        )
    };
    // One object that cannot be read now; all else is looked at.
    asleep("");
    let (exit, told, said) = weir(&[&with("verify")[..], &["--level", "full"]].concat()).await;
    assert_eq!(exit, 4, "{told}{said}");
    assert!(
        told.contains(&format!("could not read {}", told_of("ask for a copy"))),
        "{told}"
    );
    assert!(told.ends_with("UNKNOWN   exit 4\n"), "{told}");
    let sink = Peer::start().await;
    let to = sink.addr.to_string();
    let job = folder.path().join("job.json").display().to_string();
    let restore = [&with("restore")[..], &["--to-otlp", &to, "--resume", &job]].concat();
    asleep("ongoing-request=\"true\"");
    let (exit, told, said) = weir(&restore).await;
    assert_eq!(exit, 4, "{told}{said}");
    assert!(said.contains(&told_of("a copy is being restored")), "{said}");
    assert!(sink.received().is_empty());
    // Once it is there the same job goes on.
    let (exit, told, said) = weir(&restore).await;
    assert_eq!(exit, 0, "{told}{said}");
    assert_eq!(sink.logs(), [sample::logs(7)]);
}
