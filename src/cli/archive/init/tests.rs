use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use evidence::names::{DATA, Layout};
use evidence::note::Policy;
use objects::FileStore;
use objects::blocks::S3;

use super::*;
use crate::cli::archive::which::{ClassKeys, LockKeys};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("store")).expect("a directory");
        Place { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn archive(&self) -> Archive {
        Archive {
            store: Arc::new(FileStore::new(self.at("store"))),
            is_copy: false,
            intervals: None,
            configured: None,
        }
    }

    fn arguments(&self, name: &str, root: &str, writer: &str) -> Arguments {
        Arguments {
            which: Which::default(),
            archive: Some(name.to_owned()),
            root_key: self.at(root),
            writer_key: Some(self.at(writer)),
            writer: "*".to_owned(),
            valid: "1y".to_owned(),
            retention: "1y".to_owned(),
            policy: self.at("trust.policy"),
            print_policy: false,
            print_lifecycle: false,
            terraform: false,
            json: false,
        }
    }

    async fn found(&self, name: &str, root: &str, writer: &str) -> Result<Founded, Failure> {
        found(&self.archive(), &self.arguments(name, root, writer), None).await
    }
}

#[tokio::test]
async fn an_archive_is_founded_and_its_root_key_endorses_writers() {
    let place = Place::new();
    let founded = place
        .found("a.example/b", "root.key", "gw.key")
        .await
        .expect("founded");
    assert!(founded.is_new);
    for key in ["root.key", "gw.key"] {
        let mode = fs::metadata(place.at(key)).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let policy = fs::read_to_string(place.at("trust.policy")).expect("a policy");
    let policy = Policy::parse(&policy).expect("a policy");
    let root = signer(&place.at("root.key")).expect("the root key");
    assert_eq!(policy.roots, [root.vkey("a.example/b").expect("a name")]);
    let text = fs::read(place.at("store").join(ARCHIVE)).expect("archive.json");
    let founding: Founding = serde_json::from_slice(&text).expect("archive.json");
    assert_eq!((founding.v, founding.archive.as_str()), (1, "a.example/b"));
    assert_eq!(founding.root_vkeys, [founded.root]);
    let note = fs::read(place.at("store").join(&founded.endorsement)).expect("an endorsement");
    let endorsement = Endorsement::verify(&note, &policy.roots).expect("it is signed");
    let writer = signer(&place.at("gw.key")).expect("the writer's key");
    assert!(endorsement.covers("a.example/b", "gw-7", writer.public(), now()));

    // Another writer, by the same root key; nothing else changes.
    let again = place
        .found("a.example/b", "root.key", "cli.key")
        .await
        .expect("endorsed");
    assert!(!again.is_new);
    assert_ne!(again.endorsement, founded.endorsement);
    assert_eq!(
        fs::read(place.at("store").join(ARCHIVE)).expect("archive.json"),
        text
    );
    // And the same writer again: it is endorsed.
    let same = place
        .found("a.example/b", "root.key", "cli.key")
        .await
        .expect("endorsed");
    assert_eq!(same.endorsement, again.endorsement);

    let refused = async |name: &str, root: &str, expected: &str| {
        let failure = place.found(name, root, "gw.key").await.expect_err(expected);
        assert_eq!(failure.exit, 64);
        assert!(failure.told.contains(expected), "{}", failure.told);
    };
    refused("another/name", "root.key", "an archive of another name").await;
    refused("a.example/b", "lost.key", "founded already").await;
    assert!(!place.at("lost.key").exists());
    refused("a.example/b", "gw.key", "is not a root key").await;
    refused("A", "root.key", "archive").await;
}

#[tokio::test]
async fn a_policy_that_is_there_is_never_overwritten() {
    let place = Place::new();
    fs::write(place.at("trust.policy"), "quorum none\n").expect("written");
    let failure = place
        .found("a/b", "root.key", "gw.key")
        .await
        .expect_err("a file is there");
    assert!(
        failure.told.contains("add the line\nroot a/b+"),
        "{}",
        failure.told
    );
    assert_eq!(
        fs::read_to_string(place.at("trust.policy")).expect("it is there"),
        "quorum none\n"
    );
    assert!(!place.at("store").join(ARCHIVE).exists());
}

fn bucket(prefix: &str, classes: &[(&str, &str)]) -> Bucket {
    laid_out(prefix, classes, (Layout::Hive, DATA)).expect("retentions")
}

fn laid_out(
    prefix: &str,
    classes: &[(&str, &str)],
    (layout, data): (Layout, &str),
) -> Result<Bucket, Failure> {
    let s3 = S3 {
        bucket: "acme-weir-logs".to_owned(),
        region: "eu-central-1".to_owned(),
        prefix: prefix.to_owned(),
        ..S3::default()
    };
    let classes = classes
        .iter()
        .map(|(name, retention)| ClassKeys::named(name, retention));
    let lock = LockKeys {
        classes: classes.collect(),
        ..LockKeys::default()
    };
    let configured = Configured {
        id: "archive".to_owned(),
        archive: "a/b".to_owned(),
        writer: String::new(),
        key: None,
        lock,
        create: false,
        ack: String::new(),
        roll: Default::default(),
        storage: None,
        layout,
        data: data.to_owned(),
    };
    Bucket::of(&s3, Some(&configured))
}

#[test]
fn beside_others_objects_are_what_begins_as_their_folders_do() {
    let awss3 = |data, classes: &[(&str, &str)]| laid_out("own", classes, (Layout::Awss3, data));
    let bucket = awss3("year=", &[]).expect("retentions");
    let told = bucket.policies().to_string();
    assert!(told.contains("arn:aws:s3:::acme-weir-logs/own/year=*"), "{told}");
    assert!(!told.contains("data/"), "{told}");
    let told = bucket.lifecycle().expect("one class").to_string();
    assert!(
        told.contains("\"Prefix\":\"own/year=\"") && !told.contains("data/"),
        "{told}"
    );
    assert!(
        bucket
            .terraform()
            .expect("one class")
            .contains("prefix = \"own/year=\"")
    );
    let told = awss3("year=", &[("pci", "7y")]).expect("retentions").lifecycle();
    assert!(told.expect_err("two classes").told.contains("keys name no class"));
    let told = awss3("", &[]).err().expect("no folder").told;
    assert!(told.contains("begins with a time"), "{told}");
}

#[test]
fn policies_name_the_bucket_and_its_prefix() {
    let told = bucket("", &[]).policies();
    let rows = told["bucket"]["Statement"].as_array().expect("statements");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["Sid"].as_str()).collect();
    assert_eq!(
        names,
        [
            "OnlyConditionalWrites",
            "OnlyLocked",
            "MinimumRetention",
            "NoDeletes",
            "TlsOnly"
        ]
    );
    assert!(
        rows.iter()
            .all(|row| row["Effect"] == "Deny" && row["Principal"] == "*")
    );
    assert_eq!(
        rows[0]["Resource"],
        json!([
            "arn:aws:s3:::acme-weir-logs/data/*",
            "arn:aws:s3:::acme-weir-logs/_weir/*"
        ])
    );
    let days = &rows[2]["Condition"]["NumericLessThan"]["s3:object-lock-remaining-retention-days"];
    assert_eq!(days, "399");
    assert_eq!(
        rows[3]["NotResource"],
        "arn:aws:s3:::acme-weir-logs/_weir/v1/selftest/*"
    );
    let told = bucket("/prod/", &[("debug", "30d"), ("pci", "7y")]).policies();
    let rows = &told["bucket"]["Statement"];
    assert_eq!(rows[1]["Resource"], "arn:aws:s3:::acme-weir-logs/prod/data/*");
    let days = &rows[2]["Condition"]["NumericLessThan"]["s3:object-lock-remaining-retention-days"];
    assert_eq!(days, "29");
    // Who writes never deletes, and who verifies never writes.
    let allowed = |who: &str| told[who].to_string();
    for forbidden in ["Delete", "Bypass", "Lifecycle", "PutBucket", "s3:*"] {
        assert!(!allowed("writer").contains(forbidden), "{forbidden}");
        assert!(!allowed("verifier").contains(forbidden), "{forbidden}");
    }
    assert!(!allowed("verifier").contains("s3:Put"));
}

#[test]
fn a_lifecycle_has_a_rule_for_each_class() {
    let told = bucket("prod", &[("pci", "7y")]).lifecycle().expect("names");
    let rules = told["Rules"].as_array().expect("rules");
    let short: Vec<(&str, &str, u64)> = rules
        .iter()
        .map(|rule| {
            let text = |value: &'static str| rule[value].as_str().unwrap_or_default();
            let prefix = rule["Filter"]["Prefix"].as_str().unwrap_or_default();
            (
                text("ID"),
                prefix,
                rule["Expiration"]["Days"].as_u64().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("weir-class-std", "prod/data/v1/class=std/", 402),
            ("weir-class-pci", "prod/data/v1/class=pci/", 2_557),
            ("weir-delete-markers", "prod/data/v1/", 0),
        ]
    );
}

#[test]
fn terraform_has_bucket_lock_policy_and_lifecycle() {
    let text = bucket("", &[("pci", "7y")]).terraform().expect("names");
    for line in [
        "  bucket              = \"acme-weir-logs\"",
        "  object_lock_enabled = true",
        "    status = \"Enabled\"",
        "  policy = <<-POLICY",
        "    id     = \"weir-class-pci\"",
        "      prefix = \"data/v1/class=pci/\"",
        "      days = 2557",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
    }
    assert_eq!(text.matches('{').count(), text.matches('}').count());
}
