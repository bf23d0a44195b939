//! MinIO, which enforces locks: what tier 1 believes of a store holds there too.

use objects::blocks::{Auth, S3};
use objects::test_kit::conformance;

use super::server::Server;
use super::{free_port, get, installed};

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_kept_against_an_administrator() {
    let Some(program) = installed("minio/minio") else {
        return;
    };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let arguments = ["server", "--quiet", "--address", &address, "{dir}"];
    let environment = [
        ("MINIO_ROOT_USER", "weir"),
        ("MINIO_ROOT_PASSWORD", "weir-weir"),
        ("MINIO_BROWSER", "off"),
        ("MINIO_UPDATE", "off"),
    ];
    let ready = || async move {
        let answer = get(port, "/minio/health/ready").await;
        answer.is_some_and(|(status, _)| status == 200)
    };
    let _minio = Server::start(program, &arguments, &environment, ready).await;
    let root = S3 {
        endpoint: format!("http://{address}"),
        force_path_style: true,
        auth: Auth {
            access_key_id: "weir".into(),
            secret_access_key: "weir-weir".to_owned().into(),
            ..Auth::default()
        },
        ..S3::default()
    };
    conformance::enforces_locks(&root, &root).await;
}
