//! moto, which knows versions and locks as boto sends and reads them: our headers mean to it what they should.

use objects::blocks::{Auth, S3};
use objects::test_kit::conformance;

use super::server::Server;
use super::{free_port, get, installed};

#[tokio::test(flavor = "multi_thread")]
async fn locks_and_versions_are_understood() {
    let Some(program) = installed("venv/bin/moto_server") else {
        return;
    };
    let port = free_port();
    let arguments = ["--host", "127.0.0.1", "--port", &port.to_string()];
    let ready = || async move { get(port, "/moto-api/").await.is_some() };
    let _moto = Server::start(program, &arguments, &[], ready).await;
    let anybody = S3 {
        endpoint: format!("http://127.0.0.1:{port}"),
        force_path_style: true,
        auth: Auth {
            access_key_id: "anybody".into(),
            secret_access_key: "anything".to_owned().into(),
            ..Auth::default()
        },
        ..S3::default()
    };
    conformance::shows_locks(&anybody, &anybody).await;
}
