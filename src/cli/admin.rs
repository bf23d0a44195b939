//! A client of a running gateway's admin listener, over TCP or a unix socket.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use config::Section;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::{Given, Sources};
use crate::service::admin::{Address, Settings, read_token};
use crate::service::providers;

/// Answers that are larger are no answers of a gateway.
const ANSWER_MAX: usize = 256 << 20;
const CALL_TIME: Duration = Duration::from_secs(150);

/// Which gateway.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Target {
    /// Its admin listener: host:port or unix:///path; without it, service::admin of --config
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin: Option<String>,
    /// A file with the token that the listener asks for
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
}

/// A gateway that can be asked.
pub(super) struct Client {
    at: Address,
    token: Option<Vec<u8>>,
}

impl Target {
    /// Finds the listener, in the arguments or in the configuration.
    pub(super) fn client(&self, sources: &Sources) -> Result<Client, String> {
        let (at, configured) = match &self.admin {
            Some(text) => (
                Address::parse(text).map_err(|e| format!("--admin {text}: {e}"))?,
                None,
            ),
            None => {
                let settings = of_config(sources)?;
                (settings.at, settings.token_file)
            }
        };
        let file = self.token_file.as_ref().or(configured.as_ref());
        let token = file.map(|path| read_token(path)).transpose()?;
        Ok(Client { at, token })
    }
}

/// `service::admin` of the configuration, whatever else is wrong with it.
fn of_config(sources: &Sources) -> Result<Settings, String> {
    if sources.config.is_empty() && sources.set.is_empty() {
        return Err(
            "which gateway? --admin 127.0.0.1:PORT or unix:///PATH, or --config with service::admin"
                .to_owned(),
        );
    }
    let Given { texts, gates } = sources.read()?;
    let (document, _) =
        config::load(&texts, &providers::World, &gates).map_err(|faults| faults.report(false))?;
    let section: Option<&Section> = document.service.own.get("admin");
    let section = section.ok_or(
        "this configuration has no service::admin: add service: {admin: {endpoint: 127.0.0.1:8889}} and restart, \
         or say --admin",
    )?;
    Settings::read(section.clone()).map_err(|faults| faults.report(false))
}

impl Client {
    /// One call. Errors: in words, with the gateway's own where it said no.
    pub(super) async fn call(&self, method: Method, path: &str) -> Result<Bytes, String> {
        let answered = tokio::time::timeout(CALL_TIME, self.exchange(method, path)).await;
        let (status, body) =
            answered.map_err(|_| format!("{}: no answer in {CALL_TIME:?}", self.name()))??;
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            let why = match status {
                StatusCode::UNAUTHORIZED => "the gateway asks for its token: --token-file FILE".to_owned(),
                _ => text.trim().to_owned(),
            };
            return Err(format!("{}: {status}: {why}", self.name()));
        }
        Ok(body)
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), String> {
        let failed = |e: &dyn std::fmt::Display| {
            format!(
                "{}: {e}; is the gateway running, with service::admin there?",
                self.name()
            )
        };
        match &self.at {
            Address::Tcp(at) => {
                let stream = TcpStream::connect(at).await.map_err(|e| failed(&e))?;
                self.ask(TokioIo::new(stream), at, method, path).await
            }
            Address::Unix(at) => {
                let stream = UnixStream::connect(at).await.map_err(|e| failed(&e))?;
                self.ask(TokioIo::new(stream), "localhost", method, path).await
            }
        }
    }

    async fn ask<T>(
        &self,
        io: TokioIo<T>,
        host: &str,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Bytes), String>
    where
        TokioIo<T>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", self.name());
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = &self.token {
            let value = HeaderValue::from_bytes(&[b"Bearer ", token.as_slice()].concat());
            let mut value = value.map_err(|_| "the token has bytes that no header may have".to_owned())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| failed(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(|e| failed(&e))?;
        let connection = tokio::spawn(connection);
        let answered = async {
            let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|e| failed(&e))?;
            Ok((status, body.to_bytes()))
        };
        let answered = answered.await;
        connection.abort();
        answered
    }

    fn name(&self) -> String {
        match &self.at {
            Address::Tcp(at) => at.clone(),
            Address::Unix(path) => format!("unix://{path}"),
        }
    }
}

/// A value as it stands in a query.
pub(super) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b'~' => {
                out.push(byte as char)
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
