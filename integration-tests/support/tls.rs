//! Certificates of an authority of our own, and clients that show theirs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A client's certificate and key.
pub type Client = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// An authority's certificate, and those that it has given to the server and to clients of these SPIFFE ids.
///
/// The authority's and the server's are the files `ca.pem`, `server.pem` and `server.key` of the folder; the last client's
/// are `client.pem` and `client.key`.
pub fn certificates(dir: &Path, clients: &[&str]) -> Vec<Client> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    let give = |params: CertificateParams| {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &authority).unwrap(), key)
    };
    let (server, key) = give(CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
    std::fs::write(dir.join("server.pem"), server.pem()).unwrap();
    std::fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
    let of_client = |id: &&str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI((*id).try_into().unwrap())];
        let (certificate, key) = give(params);
        std::fs::write(dir.join("client.pem"), certificate.pem()).unwrap();
        std::fs::write(dir.join("client.key"), key.serialize_pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        (vec![certificate.der().clone()], key)
    };
    clients.iter().map(of_client).collect()
}

/// A server with that folder's certificate, for HTTP/1.1 and for clients that show one of the same authority.
pub fn acceptor(dir: &Path) -> tokio_rustls::TlsAcceptor {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(dir.join("server.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap(),
        )
        .unwrap();
    Arc::new(config).into()
}

/// A connection of a protocol (`h2`, `http/1.1`) on which the client has shown its certificate; it believes the
/// authority of that folder.
pub async fn connect(
    dir: &Path,
    addr: SocketAddr,
    protocol: &str,
    (chain, key): Client,
) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let socket = TcpStream::connect(addr).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector
        .connect(ServerName::try_from("localhost").unwrap(), socket)
        .await
        .unwrap()
}
