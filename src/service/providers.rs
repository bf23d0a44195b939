//! The I/O behind `--config` and `${...}`: files, the environment, and one GET over HTTP.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use config::{Diag, Diags, Provider, Stage};
use http::{HeaderMap, StatusCode, Uri};
use net::HttpClientConfig;
use net::client::HttpClient;
use parking_lot::Mutex;

use super::reload::Stamp;

/// Largest text that is read as configuration.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// Longest time that a GET may take, from the connection to the last byte.
const GET_TIMEOUT: Duration = Duration::from_secs(30);

/// The schemes that [`World`] serves, and `yaml`, which needs no world.
pub const SCHEMES: [&str; 5] = ["env", "file", "http", "https", "yaml"];

/// Reads the real world.
pub struct World;

impl Provider for World {
    fn retrieve(&self, scheme: &str, opaque: &str) -> Result<Option<String>, String> {
        match scheme {
            "env" => Ok(std::env::var(opaque).ok()),
            "file" => read(opaque)
                .map(Some)
                .map_err(|why| format!("unable to read the file file:{opaque}: {why}")),
            "http" | "https" => get(&format!("{scheme}:{opaque}"), GET_TIMEOUT, TEXT_BYTES_MAX).map(Some),
            _ => Ok(None),
        }
    }
}

/// The real world, and the files that were read from it.
#[derive(Default)]
pub struct Noting(Mutex<Vec<Stamp>>);

impl Noting {
    /// Every file that was asked for, there or not, as it was before it was read.
    pub fn files(self) -> Vec<Stamp> {
        self.0.into_inner()
    }
}

impl Provider for Noting {
    fn retrieve(&self, scheme: &str, opaque: &str) -> Result<Option<String>, String> {
        if scheme == "file" {
            let stamp = Stamp::of(opaque.into());
            self.0.lock().push(stamp);
        }
        World.retrieve(scheme, opaque)
    }
}

/// A whole file; reading ends at the bound whatever its size is said to be.
pub(super) fn read(path: impl AsRef<Path>) -> Result<String, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| {
        let bound = TEXT_BYTES_MAX as u64 + 1;
        file.take(bound).read_to_end(&mut text)
    });
    read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    })?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!(
            "too large for a configuration: more than {TEXT_BYTES_MAX} bytes"
        ));
    }
    String::from_utf8(text).map_err(|_| "not UTF-8".to_owned())
}

/// One GET, answered with 200: no redirects, no credentials, at most `bytes_max` within `timeout`. The machine's
/// authorities are believed.
fn get(url: &str, timeout: Duration, bytes_max: usize) -> Result<String, String> {
    let shown = without_login(url);
    let failed = |why: String| format!("unable to download the file via HTTP GET for uri \"{shown}\": {why}");
    let uri: Uri = url
        .parse()
        .map_err(|error| failed(format!("not a URL: {error}")))?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(failed("the URL has no host".into()));
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(failed("credentials in the URL are not supported".into()));
    }
    let fetch = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let needs_tls = uri.scheme_str() == Some("https");
            let agent = super::INFO.user_agent();
            let client = HttpClient::new(&HttpClientConfig::default(), &agent, timeout, needs_tls)?;
            let reply = client.get(&uri, &HeaderMap::new(), bytes_max).await;
            reply.map_err(|error| error.to_string())
        })
    };
    // A thread of its own: whoever loads a configuration may stand within a runtime already.
    let reply = std::thread::scope(|scope| scope.spawn(fetch).join())
        .unwrap_or_else(|_| Err("the client panicked".into()))
        .map_err(failed)?;
    if reply.status != StatusCode::OK {
        let status = reply.status.as_u16();
        return Err(format!(
            "failed to load resource from uri \"{shown}\". status code: {status}"
        ));
    }
    String::from_utf8(reply.body.into()).map_err(|_| failed("the body is not UTF-8".into()))
}

/// A URL as it may be shown: a login before the host and a query may be secrets.
fn without_login(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("//") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}//{host}")
        }
        None => url.to_owned(),
    }
}

/// One `--config` argument: its name for messages, and its text.
pub fn source(argument: &str) -> Result<(String, String), Diags> {
    let (scheme, opaque) = config::source_uri(argument)?;
    let fault = |message: String| Diags::from(Diag::new(None, "--config", message).at(Stage::Resolve));
    let name = match scheme {
        "yaml" => return Ok(("yaml:".to_owned(), opaque.to_owned())),
        "file" => opaque.to_owned(),
        "http" | "https" => without_login(argument),
        _ => argument.to_owned(),
    };
    let failed = |message: String| fault(format!("cannot retrieve the configuration: {message}"));
    if scheme == "env" {
        let (variable, default) = opaque.split_once(":-").unwrap_or((opaque, ""));
        if !config::is_variable(variable) {
            return Err(failed(config::no_variable(variable)));
        }
        // One that is not set is an empty source, as in the collector.
        let text = World.retrieve(scheme, variable).map_err(failed)?;
        return Ok((
            format!("env:{variable}"),
            text.unwrap_or_else(|| default.to_owned()),
        ));
    }
    match World.retrieve(scheme, opaque).map_err(failed)? {
        Some(text) => Ok((name, text)),
        None => Err(fault(format!(
            "unsupported scheme on URI \"{name}\": one of {}",
            SCHEMES.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// Answers the first request with these bytes, and says at which URL.
    fn server(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
            // until the client has gone, so that an answer that never comes is silence and no reset
            let _ = stream.read(&mut [0]);
            String::from_utf8_lossy(&request).into_owned()
        });
        (format!("http://{address}/gw.yaml?token=hunter2"), served)
    }

    fn shown(result: Result<(String, String), Diags>) -> Result<(String, String), String> {
        result.map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_url_is_got_once_and_named_without_its_query() {
        let (url, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na: 1");
        let name = url.split('?').next().expect("a URL").to_owned();
        assert_eq!(shown(source(&url)), Ok((name, "a: 1".into())));
        let request = served.join().expect("a request");
        assert!(
            request.starts_with("GET /gw.yaml?token=hunter2 HTTP/1.1\r\n"),
            "{request}"
        );
    }

    #[test]
    fn another_status_a_silent_server_and_no_server_are_told_apart() {
        let (url, _served) = server("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        let name = url.split('?').next().expect("a URL").to_owned();
        assert_eq!(
            shown(source(&url)),
            Err(format!(
                "--config: cannot retrieve the configuration: failed to load resource from uri \"{name}\". status code: 404"
            ))
        );
        let (url, _served) = server("");
        let silent = get(&url, Duration::from_millis(50), TEXT_BYTES_MAX).expect_err("no answer");
        assert!(
            silent.contains("unable to download the file via HTTP GET for uri"),
            "{silent}"
        );
        assert!(!silent.contains("hunter2"), "{silent}");
        let refused = get("http://127.0.0.1:1/x", GET_TIMEOUT, TEXT_BYTES_MAX).expect_err("nobody listens");
        assert!(
            refused
                .starts_with("unable to download the file via HTTP GET for uri \"http://127.0.0.1:1/x\": "),
            "{refused}"
        );
    }

    #[test]
    fn a_body_without_end_is_not_read_to_its_end() {
        let (url, _served) = server("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\na: 1");
        let told = get(&url, Duration::from_millis(50), TEXT_BYTES_MAX).expect_err("the rest never comes");
        assert!(told.contains("unable to download"), "{told}");
    }

    #[test]
    fn a_body_over_the_bound_is_refused() {
        let fetch = |bytes_max| {
            let (url, _served) = server("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na: 1");
            get(&url, GET_TIMEOUT, bytes_max)
        };
        assert_eq!(fetch(4), Ok("a: 1".into()));
        let told = fetch(3).expect_err("one byte too many");
        assert!(told.ends_with("the body is longer than 3 bytes"), "{told}");
    }

    #[tokio::test]
    async fn a_url_can_be_got_from_within_a_runtime() {
        let (url, _served) = server("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx");
        assert_eq!(
            World.retrieve("http", url.trim_start_matches("http:")),
            Ok(Some("x".into()))
        );
    }

    #[test]
    fn logins_are_neither_used_nor_shown() {
        let told = shown(source("https://me:hunter2@host/x")).expect_err("a login");
        assert_eq!(
            told,
            "--config: cannot retrieve the configuration: unable to download the file via HTTP GET for uri \
             \"https://host/x\": credentials in the URL are not supported"
        );
    }

    #[test]
    fn arguments_are_told_apart() {
        let check = |argument: &str, expected: Result<(&str, &str), &str>| {
            let expected = expected
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .map_err(|told| format!("--config: {told}"));
            assert_eq!(shown(source(argument)), expected, "{argument}");
        };
        check("yaml:a::b: 5", Ok(("yaml:", "a::b: 5")));
        check("env:WEIR_NO_SUCH_VARIABLE", Ok(("env:WEIR_NO_SUCH_VARIABLE", "")));
        check(
            "env:WEIR_NO_SUCH_VARIABLE:-a: 1",
            Ok(("env:WEIR_NO_SUCH_VARIABLE", "a: 1")),
        );
        check(
            "env:1X",
            Err(
                "cannot retrieve the configuration: environment variable \"1X\" has invalid name: must match regex \
                 ^[a-zA-Z_][a-zA-Z0-9_]*$",
            ),
        );
        check(
            "s3:bucket",
            Err("unsupported scheme on URI \"s3:bucket\": one of env, file, http, https, yaml"),
        );
        check(
            "/no/such/file",
            Err(
                "cannot retrieve the configuration: unable to read the file file:/no/such/file: no such file or \
                 directory",
            ),
        );
        check("1:x", Err("invalid uri: \"1:x\""));
    }
}
