//! One gateway with a receiver for each way in: in clear, over TLS, over TLS with a client's certificate, and over TLS
//! with each authenticator. All lead to one recording peer, answered after delivery.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::free_port;
use super::gateway::{Gateway, weir};
use super::peer::Peer;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Plain,
    Tls,
    Mtls,
    /// With `user` and `pass word`.
    Basic,
    /// With `t0ken`.
    Bearer,
}

pub const WAYS: [Way; 5] = [Way::Plain, Way::Tls, Way::Mtls, Way::Basic, Way::Bearer];

pub struct Doors {
    pub gateway: Gateway,
    pub peer: Peer,
    pub pki: Pki,
    /// gRPC and HTTP, by [`WAYS`].
    ports: [(u16, u16); 5],
}

/// A certificate authority of this test, a server at `localhost` and a client.
pub struct Pki {
    dir: tempfile::TempDir,
}

impl Pki {
    pub fn new() -> Pki {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, "authority");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        for (name, usage) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let mut params = CertificateParams::new(names).unwrap();
            params.extended_key_usages = vec![usage];
            params.use_authority_key_identifier_extension = true;
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &ca).unwrap();
            std::fs::write(dir.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Pki { dir }
    }

    /// `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Doors {
    pub async fn open() -> Doors {
        let peer = Peer::start().await;
        let pki = Pki::new();
        let ports = WAYS.map(|_| (free_port(), free_port()));
        let mut receivers = String::new();
        for (way, (grpc, http)) in WAYS.iter().zip(ports) {
            let tls = "cert_file: '{pki}/server.pem', key_file: '{pki}/server.key'";
            let keys = match way {
                Way::Plain => String::new(),
                Way::Tls => format!("tls: {{{tls}}}"),
                Way::Mtls => format!("tls: {{{tls}, client_ca_file: '{{pki}}/ca.pem'}}"),
                Way::Basic => format!("tls: {{{tls}}}, auth: {{authenticator: basicauth}}"),
                Way::Bearer => format!("tls: {{{tls}}}, auth: {{authenticator: bearertokenauth}}"),
            };
            receivers.push_str(&format!(
                "  otlp/{way:?}: {{protocols: {{grpc: {{endpoint: 'localhost:{grpc}', {keys}}}, \
                 http: {{endpoint: 'localhost:{http}', {keys}}}}}}}\n"
            ));
        }
        let config = format!(
            "receivers:
{receivers}exporters:
  otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}
extensions:
  health_check: {{endpoint: '127.0.0.1:{{health}}'}}
  basicauth: {{htpasswd: {{inline: 'user:pass word'}}}}
  bearertokenauth: {{token: t0ken}}
service:
  extensions: [health_check, basicauth, bearertokenauth]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}}}
  pipelines:
    traces: &all {{receivers: [{all}], exporters: [otlp_grpc]}}
    logs: *all
    metrics: *all
",
            peer.addr,
            all = WAYS.map(|way| format!("otlp/{way:?}")).join(", "),
        );
        let config = config.replace("{pki}", pki.dir().to_str().unwrap());
        let gateway = Gateway::run(&weir(), &config).await;
        Doors {
            gateway,
            peer,
            pki,
            ports,
        }
    }

    /// `http://localhost:4317` of this way in.
    pub fn url(&self, way: Way, grpc: bool) -> String {
        let at = WAYS.iter().position(|w| *w == way).expect("a way of the list");
        let port = if grpc { self.ports[at].0 } else { self.ports[at].1 };
        let scheme = if way == Way::Plain { "http" } else { "https" };
        format!("{scheme}://localhost:{port}")
    }

    /// The variables by which every SDK is told where to and with what to send.
    pub fn variables(&self, way: Way, grpc: bool) -> Vec<(&'static str, String)> {
        let file = |name| self.pki.file(name).to_str().unwrap().to_owned();
        let mut all = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.url(way, grpc)),
            ("OTEL_EXPORTER_OTLP_INSECURE", (way == Way::Plain).to_string()),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000".to_owned()),
        ];
        if way != Way::Plain {
            all.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", file("ca.pem")));
        }
        match way {
            Way::Mtls => all.extend([
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", file("client.pem")),
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", file("client.key")),
            ]),
            // user:pass word
            Way::Basic => all.push((
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Basic%20dXNlcjpwYXNzIHdvcmQ%3D".to_owned(),
            )),
            Way::Bearer => all.push((
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20t0ken".to_owned(),
            )),
            Way::Plain | Way::Tls => {}
        }
        all
    }
}
