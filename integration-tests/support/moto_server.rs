//! moto as a process of its own.

use std::path::PathBuf;

use super::server::Server;
use super::{free_port, get};

/// A running moto, and its port.
pub async fn moto(program: PathBuf, environment: &[(&str, &str)]) -> (Server, u16) {
    let port = free_port();
    let arguments = ["--host", "127.0.0.1", "--port", &port.to_string()];
    let ready = || async move { get(port, "/moto-api/").await.is_some() };
    let moto = Server::start(program, &arguments, environment, ready).await;
    (moto, port)
}
