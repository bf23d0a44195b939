//! The OpenTelemetry SDK for Python through an outage of the backends, two kills of the gateway and a reload: whatever the
//! SDK was told is taken, arrives.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use super::kills::records::Batch;
use super::kills::{Queue, Setup, World};
use super::{beside, installed, run};

async fn rides_it_out(protocol: &str, queue: Queue) -> Option<usize> {
    let python = installed("venv/bin/python")?;
    // The SDK is the only client.
    let setup = Setup {
        queue,
        connections: 0,
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    let mut process = world.start(None);
    assert!(world.listens(&mut process).await, "{}", process.said());
    let mut command = Command::new(python);
    let port = if protocol == "grpc" {
        world.grpc
    } else {
        world.http.port()
    };
    command
        .arg(beside("steady.py"))
        .args(["--endpoint", &format!("http://127.0.0.1:{port}")])
        .args(["--protocol", protocol, "--secs", "8"])
        .env_remove("REQUESTS_CA_BUNDLE");
    let sdk = tokio::spawn(run(command));

    // It begins to send, and is cut off from one backend, then from both.
    while world.sinks[0].taken() == 0 {
        assert!(!sdk.is_finished(), "the SDK sent nothing");
        sleep(Duration::from_millis(10)).await;
    }
    world.sinks[1].refuse(100);
    sleep(Duration::from_secs(1)).await;
    world.sinks[0].refuse(100);
    sleep(Duration::from_secs(1)).await;
    process.kill();
    let mut process = world.start(None);
    assert!(world.listens(&mut process).await, "{}", process.said());
    sleep(Duration::from_secs(1)).await;
    world.heal();
    process.signal(rustix::process::Signal::HUP);
    sleep(Duration::from_secs(1)).await;
    process.kill();
    let mut process = world.start(None);
    assert!(world.listens(&mut process).await, "{}", process.said());

    let said = sdk.await.unwrap();
    let said: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let taken = said["taken"].as_array().unwrap();
    let taken: BTreeSet<u64> = taken.iter().map(|n| n.as_u64().unwrap()).collect();
    let batches: Vec<Batch> = taken.iter().copied().map(Batch::of_one).collect();
    let missing = world.missing_of(batches).await;
    for (sink, missing) in missing.iter().enumerate() {
        assert!(
            missing.is_empty(),
            "{} of {} that the SDK got rid of are not in sink {sink}: {:?}\n{}",
            missing.len(),
            taken.len(),
            &missing[..missing.len().min(50)],
            process.said()
        );
    }
    process.stop().await;
    Some(taken.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn python_over_grpc() {
    let taken = rides_it_out("grpc", Queue::Disk).await;
    assert_ne!(taken, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn python_over_http() {
    let taken = rides_it_out("http", Queue::Disk).await;
    assert_ne!(taken, Some(0));
}
