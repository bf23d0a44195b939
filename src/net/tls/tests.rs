//! Handshakes of a server with a plain rustls client, in memory.

use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use config::Duration;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{NamedGroup, ProtocolVersion, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// An authority, and a certificate of its for `localhost` with its key.
struct Authority {
    ca: String,
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &ca)
            .unwrap();
        Authority {
            ca: ca.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(server: &Authority, clients: &Authority) -> Files {
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        files.show(server);
        files.believe(&clients.ca);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn show(&self, server: &Authority) {
        std::fs::write(self.path("cert"), &server.certificate).unwrap();
        std::fs::write(self.path("key"), &server.key).unwrap();
    }

    fn believe(&self, ca: &str) {
        std::fs::write(self.path("clients"), ca).unwrap();
    }

    fn block(&self) -> ServerTls {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        ServerTls {
            cert_file: text(&self.path("cert")),
            key_file: text(&self.path("key")),
            ..ServerTls::default()
        }
    }

    fn clients(&self) -> String {
        self.path("clients").to_str().unwrap().to_owned()
    }
}

/// What both ends agreed on.
#[derive(Debug, PartialEq)]
struct Agreed {
    version: ProtocolVersion,
    suite: String,
    group: NamedGroup,
    shown: CertificateDer<'static>,
}

/// A client that takes everything and believes one authority.
fn client(believes: &Authority, shows: Option<&Authority>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(believes.ca.as_bytes()).unwrap())
        .unwrap();
    let provider = CryptoProvider {
        kx_groups: names::curves(&[]).unwrap(),
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match shows {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![own.leaf()], key).unwrap()
        }
    }
}

/// `None` = either end said no.
async fn shake(acceptor: &Arc<Acceptor>, client: rustls::ClientConfig) -> Option<Agreed> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = TlsAcceptor::from(acceptor.config().await);
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("localhost").unwrap();
    let (there, here) = tokio::join!(server.accept(far), connector.connect(name, near));
    let (there, here) = (there.ok()?, here.ok()?);
    let (_, session) = here.get_ref();
    assert_eq!(there.get_ref().1.protocol_version(), session.protocol_version());
    Some(Agreed {
        version: session.protocol_version()?,
        suite: format!("{:?}", session.negotiated_cipher_suite()?.suite()),
        group: session.negotiated_key_exchange_group()?.name(),
        shown: session.peer_certificates()?[0].clone(),
    })
}

#[tokio::test]
async fn versions_suites_and_curves_are_what_the_block_says() {
    let authority = Authority::new();
    let files = Files::new(&authority, &authority);
    let check = async |block: ServerTls, version: ProtocolVersion, suite: &str, group: NamedGroup| {
        assert_eq!(block.faults(), []);
        let acceptor = block.load(&[]).unwrap();
        let agreed = shake(&acceptor, client(&authority, None)).await;
        let expected = Agreed {
            version,
            suite: suite.to_owned(),
            group,
            shown: authority.leaf(),
        };
        assert_eq!(agreed, Some(expected));
    };
    let list = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    let v13 = ProtocolVersion::TLSv1_3;
    let v12 = ProtocolVersion::TLSv1_2;
    check(
        files.block(),
        v13,
        "TLS13_AES_256_GCM_SHA384",
        NamedGroup::X25519MLKEM768,
    )
    .await;
    for (name, max_version) in [
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "1.2"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "1.2"),
    ] {
        let block = ServerTls {
            cipher_suites: list(&[name, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"]),
            max_version: max_version.into(),
            curve_preferences: list(&["X25519"]),
            ..files.block()
        };
        check(block, v12, name, NamedGroup::X25519).await;
    }
    // Suites are for 1.2 alone.
    let block = ServerTls {
        cipher_suites: list(&["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]),
        ..files.block()
    };
    check(block, v13, "TLS13_AES_256_GCM_SHA384", NamedGroup::X25519MLKEM768).await;
    for (name, group) in [
        ("P256", NamedGroup::secp256r1),
        ("P384", NamedGroup::secp384r1),
        ("P521", NamedGroup::secp521r1),
        ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
    ] {
        let block = ServerTls {
            curve_preferences: list(&[name]),
            ..files.block()
        };
        check(block, v13, "TLS13_AES_256_GCM_SHA384", group).await;
    }
}

#[tokio::test]
async fn a_certificate_in_line_is_shown_without_a_file() {
    let authority = Authority::new();
    let block = ServerTls {
        cert_pem: Secret::new(authority.certificate.clone()),
        key_pem: Secret::new(authority.key.clone()),
        ca_pem: Secret::new(authority.ca.clone()),
        include_system_ca_certs_pool: true,
        ..ServerTls::default()
    };
    assert_eq!(block.faults(), []);
    let acceptor = block.load(&[]).unwrap();
    let agreed = shake(&acceptor, client(&authority, None)).await.unwrap();
    assert_eq!(agreed.shown, authority.leaf());
    let shown = format!("{acceptor:?} {block:?}");
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_read_again_after_the_interval() {
    let (first, second) = (Authority::new(), Authority::new());
    let files = Files::new(&first, &first);
    let block = ServerTls {
        reload_interval: Duration(StdDuration::from_secs(60)),
        ..files.block()
    };
    let acceptor = block.load(&[]).unwrap();
    let shown = async |believes: &Authority| {
        let agreed = shake(&acceptor, client(believes, None)).await;
        agreed.map(|agreed| agreed.shown)
    };
    let wait = async |seconds| tokio::time::advance(StdDuration::from_secs(seconds)).await;
    assert_eq!(shown(&first).await, Some(first.leaf()));
    files.show(&second);
    wait(59).await;
    assert_eq!(shown(&first).await, Some(first.leaf()), "not yet");
    wait(1).await;
    assert_eq!(shown(&second).await, Some(second.leaf()));
    assert_eq!(shown(&first).await, None);
    // Half of a new pair, then nonsense, then nothing: the old one stays.
    std::fs::write(files.path("cert"), &first.certificate).unwrap();
    wait(60).await;
    assert_eq!(shown(&second).await, Some(second.leaf()), "half of a pair");
    std::fs::write(files.path("cert"), "nonsense").unwrap();
    wait(60).await;
    assert_eq!(shown(&second).await, Some(second.leaf()), "nonsense");
    std::fs::remove_file(files.path("key")).unwrap();
    wait(60).await;
    assert_eq!(shown(&second).await, Some(second.leaf()), "no file");
    files.show(&first);
    assert_eq!(shown(&second).await, Some(second.leaf()), "not due");
    wait(60).await;
    assert_eq!(shown(&first).await, Some(first.leaf()));
    // Nothing is read again where nobody asked for it.
    let once = files.block().load(&[]).unwrap();
    files.show(&second);
    wait(100_000).await;
    let agreed = shake(&once, client(&first, None)).await.unwrap();
    assert_eq!(agreed.shown, first.leaf());
}

#[tokio::test(start_paused = true)]
async fn authorities_of_clients_are_read_again_once_a_second() {
    let (server, first, second) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::new(&server, &first);
    let block = |client_ca_file_reload| ServerTls {
        client_ca_file: files.clients(),
        client_ca_file_reload,
        // The certificates are all for servers and clients alike.
        max_version: "1.2".into(),
        ..files.block()
    };
    let acceptor = block(true).load(&[]).unwrap();
    let fixed = block(false).load(&[]).unwrap();
    // Who is let in: nobody without a certificate, the first, the second.
    let let_in = async |acceptor: &Arc<Acceptor>| {
        let mut all = Vec::new();
        for shows in [None, Some(&first), Some(&second)] {
            all.push(shake(acceptor, client(&server, shows)).await.is_some());
        }
        all
    };
    let wait = async |ms| tokio::time::advance(StdDuration::from_millis(ms)).await;
    assert_eq!(let_in(&acceptor).await, [false, true, false]);
    files.believe(&second.ca);
    wait(900).await;
    assert_eq!(let_in(&acceptor).await, [false, true, false], "not yet");
    wait(100).await;
    assert_eq!(let_in(&acceptor).await, [false, false, true]);
    for bad in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        files.believe(bad);
        wait(1000).await;
        assert_eq!(let_in(&acceptor).await, [false, false, true], "{bad:?}");
    }
    files.believe(&[first.ca.as_str(), &second.ca].concat());
    wait(1000).await;
    assert_eq!(let_in(&acceptor).await, [false, true, true]);
    assert_eq!(let_in(&fixed).await, [false, true, false], "nobody asked");
}

#[test]
fn faults_of_a_server_name_their_key() {
    let check = |block: ServerTls, expected: &[(&str, &str)]| {
        let faults = block.faults();
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for ((key, text), (want, part)) in faults.iter().zip(expected) {
            assert!(key == want && text.contains(part), "{key}: {text}");
        }
    };
    let good = ServerTls {
        cert_file: "c".into(),
        key_file: "k".into(),
        ..ServerTls::default()
    };
    check(good.clone(), &[]);
    let both = "provide either a CA file or the PEM-encoded string, but not both";
    let pair = "TLS configuration must include both certificate and key for server connections";
    check(
        ServerTls {
            key_file: String::new(),
            ca_file: "a".into(),
            ca_pem: Secret::new("b".into()),
            ..good.clone()
        },
        &[("ca_file", both), ("key_file", pair)],
    );
    check(ServerTls::default(), &[("cert_file", pair)]);
    check(
        ServerTls {
            tpm: Tpm {
                enabled: true,
                ..Tpm::default()
            },
            min_version: "1.4".into(),
            cipher_suites: vec!["x".into()],
            curve_preferences: vec!["y".into()],
            ..good
        },
        &[
            ("min_version", "unsupported TLS version: \"1.4\""),
            ("cipher_suites", "invalid TLS cipher suite: \"x\""),
            ("curve_preferences", "invalid curve type: \"y\""),
            ("tpm", "give the key as key_file"),
        ],
    );
}

#[test]
fn maps_versions_as_the_collector_names_them() {
    let check = |min: &str, max: &str, expected: Result<usize, &str>| {
        let got = versions(min, max).map(|v| v.len()).map_err(|e| e.0);
        assert_eq!(got, expected.map_err(str::to_owned), "{min} {max}");
    };
    check("", "", Ok(2));
    check("1.0", "", Ok(2));
    check("1.3", "", Ok(1));
    check("", "1.2", Ok(1));
    check(
        "2",
        "",
        Err("invalid TLS min_version: unsupported TLS version: \"2\""),
    );
    check(
        "1.3",
        "1.2",
        Err("invalid TLS configuration: min_version cannot be greater than max_version"),
    );
    check("1.0", "1.1", Err("invalid TLS max_version: \"1.1\" is below 1.2"));
}

#[test]
fn says_when_half_of_an_identity_is_missing() {
    let server = ServerTls {
        cert_file: "x".into(),
        ..ServerTls::default()
    };
    assert_eq!(server.faults()[0].0, "key_file");
    let client = ClientTls {
        key_file: "x".into(),
        ca_file: "a".into(),
        ca_pem: Secret::new("b".into()),
        ..ClientTls::default()
    };
    let keys: Vec<_> = client.faults().iter().map(|f| f.0).collect();
    assert_eq!(keys, ["ca_file", "cert_file"]);
}

#[test]
fn a_ca_turns_tls_on_in_spite_of_insecure() {
    let check = |insecure: bool, ca: &str, on: bool| {
        let tls = ClientTls {
            insecure,
            ca_file: ca.into(),
            ..ClientTls::default()
        };
        assert_eq!(tls.is_on(), on);
    };
    check(false, "", true);
    check(true, "", false);
    check(true, "ca.pem", true);
}
