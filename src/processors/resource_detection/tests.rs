use component::test_kit::{Lonely, context};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::*;
use crate::test_kit::{logs, map, run, show};

fn build(yaml: &str) -> Result<Detection, String> {
    let mut section = Section::from_yaml(yaml).map_err(|e| e.to_string())?;
    let http = section.take().map_err(|e| e.to_string())?;
    section.take::<Elsewhere>().map_err(|e| e.to_string())?;
    let config: Config = section.clone().parse().map_err(|e| e.to_string())?;
    Detection::new(&config, &http, &section, &context("resource_detection")).map_err(|e| e.to_string())
}

fn found(attributes: &[(&str, &str)], schema_url: &'static str) -> Found {
    let mut found = Found::default();
    for (key, value) in attributes {
        found.put(key, value);
    }
    found.schema_url = schema_url;
    found
}

#[test]
fn merges_as_the_collector_does() {
    let check = |yaml: &str, before: &str, expected: &str| {
        let detection = build(yaml).unwrap();
        detection
            .found
            .store(Arc::new(found(&[("host.name", "n7"), ("os.type", "linux")], "")));
        let mut request = logs(LogRecord::default());
        request.resource_logs[0].resource = Some(Resource {
            attributes: map(before),
            ..Default::default()
        });
        let bytes = request.encode_to_vec();
        let out = run(&detection, Signal::Logs, &bytes);
        let after = ExportLogsServiceRequest::decode(&out[..]).unwrap();
        let resource = after.resource_logs[0].resource.clone().unwrap();
        assert_eq!(show(&resource.attributes), expected, "{yaml} {before}");
        assert_eq!(
            out == bytes,
            before == expected.replace(':', ": "),
            "{yaml} {before}"
        );
    };
    check("{}", "{}", "{host.name:\"n7\", os.type:\"linux\"}");
    check(
        "{}",
        "{a: 1, os.type: x}",
        "{a:1, os.type:\"linux\", host.name:\"n7\"}",
    );
    check(
        "{override: false}",
        "{a: 1, os.type: x}",
        "{a:1, os.type:\"x\", host.name:\"n7\"}",
    );
    // Nothing changes: the very bytes go on.
    let same = "{os.type: \"linux\", host.name: \"n7\"}";
    check("{}", same, "{os.type:\"linux\", host.name:\"n7\"}");
    check(
        "{override: false}",
        "{host.name: \"a\", os.type: 2}",
        "{host.name:\"a\", os.type:2}",
    );
}

#[test]
fn the_schema_is_set_where_there_is_none() {
    let detection = build("{}").unwrap();
    detection
        .found
        .store(Arc::new(found(&[("a", "1")], "https://x.test/1")));
    let mut request = logs(LogRecord::default());
    request.resource_logs.push(request.resource_logs[0].clone());
    request.resource_logs[1].schema_url = "https://y.test/2".into();
    let out = run(&detection, Signal::Logs, &request.encode_to_vec());
    let out = ExportLogsServiceRequest::decode(&out[..]).unwrap();
    let schemas: Vec<&str> = out.resource_logs.iter().map(|r| r.schema_url.as_str()).collect();
    assert_eq!(schemas, ["https://x.test/1", "https://y.test/2"]);
}

#[test]
fn an_earlier_detector_wins() {
    let mut all = found(&[("a", "1"), ("b", "1")], "");
    all.join(found(&[("b", "2"), ("c", "2")], "two"));
    all.join(found(&[("c", "3")], "three"));
    assert_eq!(all, found(&[("a", "1"), ("b", "1"), ("c", "2")], "two"));
}

#[test]
fn says_what_is_wrong() {
    let check = |yaml: &str, expected: &str| {
        let error = build(yaml).err().unwrap_or_default();
        assert!(error.contains(expected), "{yaml}: {error}");
    };
    check(
        "{detectors: [env, ec3]}",
        "invalid detector key: ec3 (valid values: [env system akamai aks ",
    );
    check("{detectors: []}", "at least one detector is needed");
    check(
        "{system: {hostname_sources: [dhcp]}}",
        "valid values: os, dns, cname, lookup",
    );
    check(
        "{system: {resource_attributes: {host.nam: {enabled: true}}}}",
        "host.nam",
    );
    check("{overide: true}", "overide");
    let accepted = "{detectors: [ env , system, gcp, eks], timeout: 2s, ec2: {tags: [a]}, endpoint: x}";
    assert_eq!(build(accepted).err(), None);
}

#[tokio::test]
async fn detection_runs_at_start_and_what_is_not_here_finds_nothing() {
    let detection = build(
        "{detectors: [gcp, system], system: {hostname_sources: [os]}, attributes: [os.type, cloud.provider], \
         refresh_interval: 1h}",
    )
    .unwrap();
    detection.start(Arc::new(Lonely::default())).await.unwrap();
    assert_eq!(detection.found.load().to_string(), "os.type=linux");
    detection.stop().await;
    detection.stop().await;
}
