//! Who may send, and who we are: each authenticator through the whole gateway, against peers that are not ours.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use bytes::Bytes;
use codec::base64::{self, Alphabet};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use prost::Message;
use serde_json::json;
use weir::service::{Service, load};

use crate::support::client::{self, Grpc, HttpAnswer, LOGS};
use crate::support::gateway::{Gateway, free_port};
use crate::support::peer::{Answer, Peer};
use crate::support::sample;

/// A gateway whose receiver has `server` in both protocols and whose exporter has `client`.
fn through(peer: &Peer, extensions: &str, server: &str, exporter: &str) -> String {
    let names: Vec<&str> = extensions
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(name, _)| name)
        .collect();
    let exporter = exporter.replace("{peer}", &peer.addr.to_string());
    format!(
        r#"
extensions:
{extensions}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}", include_metadata: true{server}}}
      http: {{endpoint: "127.0.0.1:{{http}}", include_metadata: true, response_headers: {{x-always: here}}{server}}}
exporters:
  {exporter}
service:
  extensions: [{names}]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [{kind}]}}
"#,
        names = names.join(", "),
        kind = exporter.split(':').next().unwrap(),
    )
}

const OTLP_HTTP: &str =
    "otlp_http: {endpoint: 'http://{peer}', compression: none, sending_queue: {enabled: false}{more}}";

fn otlp_http(more: &str) -> String {
    OTLP_HTTP.replace("{more}", more)
}

fn logs() -> Vec<u8> {
    sample::logs(1).encode_to_vec()
}

async fn post(gateway: &Gateway, headers: &[(&str, &str)]) -> HttpAnswer {
    let mut all = vec![("content-type", "application/x-protobuf")];
    all.extend_from_slice(headers);
    client::post(gateway.http, "/v1/logs", &all, &logs()).await
}

async fn call(gateway: &Gateway, headers: &[(&str, &str)]) -> (u8, String) {
    let grpc = Grpc::connect(gateway.grpc).await;
    let answer = grpc.call(LOGS, client::frame(0, &logs()), headers, true).await;
    (answer.code, answer.message)
}

fn basic(pair: &str) -> String {
    format!("Basic {}", base64::encode(Alphabet::Standard, pair.as_bytes()))
}

/// The series of a counter, with its labels.
fn counted(gateway: &Gateway, name: &str, labels: &[&str]) -> Option<f64> {
    let text = gateway.metrics();
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn basicauth_lets_in_refuses_and_says_so() {
    let peer = Peer::start().await;
    let extensions = "  basicauth/srv: {htpasswd: {inline: 'acme:hunter2'}}\n  headers_setter: {headers: [{key: x-scope-orgid, from_attribute: username}, {key: x-from, from_context: x-tenant, default_value: nobody}]}\n";
    let config = through(
        &peer,
        extensions,
        ", auth: {authenticator: basicauth/srv}",
        &otlp_http(", auth: {authenticator: headers_setter}"),
    );
    let gateway = Gateway::start(&config).await;
    let good = basic("acme:hunter2");
    let answer = post(&gateway, &[("authorization", &good), ("x-tenant", "t1")]).await;
    assert_eq!(
        (answer.status, answer.header("x-always").as_deref()),
        (200, Some("here"))
    );
    assert_eq!(call(&gateway, &[("authorization", &good)]).await.0, 0);
    let sent = peer.taken();
    assert_eq!(sent.len(), 2);
    for (one, from) in sent.iter().zip(["t1", "nobody"]) {
        assert_eq!(one.headers["x-scope-orgid"], "acme");
        assert_eq!(one.headers["x-from"], from);
        assert!(
            !one.headers.contains_key("authorization"),
            "credentials stay here"
        );
    }

    let bad = basic("acme:hunter3");
    let answer = post(&gateway, &[("authorization", &bad)]).await;
    assert_eq!(
        (answer.status, answer.header("x-always").as_deref()),
        (401, Some("here"))
    );
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/x-protobuf")
    );
    // google.rpc.Status { code: 16, message }
    assert_eq!(answer.body, b"\x08\x10\x12\x13invalid credentials");
    let answer = client::post(gateway.http, "/v1/logs", &[], &logs()).await;
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(answer.body, br#"{"code":16,"message":"no basic auth provided"}"#);
    // Nobody learns which paths there are without a credential.
    assert_eq!(client::post_otlp(gateway.http, "/nothing", b"").await.status, 401);
    let unauthenticated = |text: &str| (16, text.to_owned());
    assert_eq!(
        call(&gateway, &[("authorization", &bad)]).await,
        unauthenticated("invalid credentials")
    );
    assert_eq!(
        call(&gateway, &[]).await,
        unauthenticated("no basic auth provided")
    );
    assert_eq!(peer.received().len(), 2);
    let labels = [
        "component=\"otlp\"",
        "authenticator=\"basicauth/srv\"",
        "reason=\"unauthenticated\"",
    ];
    let of = |transport: &'static str| [&labels[..], &[transport]].concat();
    assert_eq!(
        counted(&gateway, "weir_auth_failures", &of("transport=\"http\"")),
        Some(3.0)
    );
    assert_eq!(
        counted(&gateway, "weir_auth_failures", &of("transport=\"grpc\"")),
        Some(2.0)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_servers_token_is_changed_while_it_runs() {
    let peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let extensions = format!("  bearertokenauth: {{filename: '{}'}}\n", path.display());
    let server = ", auth: {authenticator: bearertokenauth}";
    let gateway = Gateway::start(&through(&peer, &extensions, server, &otlp_http(""))).await;
    for token in ["Bearer one", "Bearer two"] {
        assert_eq!(post(&gateway, &[("authorization", token)]).await.status, 200);
        assert_eq!(call(&gateway, &[("authorization", token)]).await.0, 0);
    }
    let three = [("authorization", "Bearer three")];
    assert_eq!(post(&gateway, &three).await.status, 401);
    std::fs::write(&path, "three\n").unwrap();
    let changed = async {
        while post(&gateway, &three).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), changed)
        .await
        .expect("the new token is taken");
    let (code, text) = call(&gateway, &[("authorization", "Bearer one")]).await;
    assert_eq!((code, text.as_str()), (16, "scheme or token does not match"));
    gateway.stop().await;
}

#[tokio::test]
async fn an_exporter_says_its_new_token_as_soon_as_the_old_is_refused() {
    let refused = || Answer::Http {
        status: 401,
        retry_after: None,
    };
    let peer = Peer::scripted([Answer::Ok, refused()]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "one").unwrap();
    let extensions = format!("  bearertokenauth: {{filename: '{}'}}\n", path.display());
    let exporter = otlp_http(", auth: {authenticator: bearertokenauth}");
    let gateway = Gateway::start(&through(&peer, &extensions, "", &exporter)).await;
    assert_eq!(post(&gateway, &[]).await.status, 200);
    std::fs::write(&path, "two").unwrap();
    assert_eq!(post(&gateway, &[]).await.status, 200);
    let said: Vec<_> = peer
        .received()
        .iter()
        .map(|r| r.headers["authorization"].clone())
        .collect();
    // The file is read within a second, or after the refusal: what is refused may be either.
    assert_eq!(said[0], "Bearer one");
    assert_eq!(said.last().unwrap(), "Bearer two");
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_exporter_that_has_nothing_else_to_say_answers_unavailable() {
    let peer = Peer::start().await;
    peer.always(Answer::Http {
        status: 401,
        retry_after: None,
    });
    let extensions = "  basicauth: {client_auth: {username: me, password: hunter2}}\n";
    let exporter = otlp_http(", retry_on_failure: {enabled: false}, auth: {authenticator: basicauth}");
    let gateway = Gateway::start(&through(&peer, extensions, "", &exporter)).await;
    assert_eq!(post(&gateway, &[]).await.status, 503);
    let received = peer.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].headers["authorization"], basic("me:hunter2"));
    gateway.stop().await;
}

#[tokio::test]
async fn credentials_do_not_travel_over_grpc_in_plain_text() {
    let peer = Peer::start().await;
    for extension in [
        "basicauth: {client_auth: {username: me, password: hunter2}}",
        "bearertokenauth: {token: hunter2}",
        "oauth2client: {client_id: a, client_secret: hunter2, token_url: 'http://127.0.0.1:9/'}",
        "headers_setter: {headers: [{key: a, value: b}], additional_auth: bearertokenauth/x}\n  bearertokenauth/x: {token: hunter2}",
    ] {
        let name = extension.split(':').next().unwrap();
        let exporter = format!(
            "otlp_grpc: {{endpoint: '{{peer}}', tls: {{insecure: true}}, auth: {{authenticator: {name}}}}}"
        );
        let told = cannot_start(&through(&peer, &format!("  {extension}\n"), "", &exporter)).await;
        assert!(
            told.contains("the credentials require transport level security"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
    }
}

/// Starts what cannot be started, and returns what it says.
async fn cannot_start(config: &str) -> String {
    let text = config
        .replace("{grpc}", &free_port().to_string())
        .replace("{http}", &free_port().to_string());
    let loaded = match load(&[("test.yaml".to_owned(), text)], &config::Gates::default()) {
        Ok(loaded) => loaded,
        Err(faults) => panic!("{faults}"),
    };
    let service = match Service::build(loaded) {
        Ok(service) => service,
        Err(faults) => panic!("{faults}"),
    };
    let fault = service.start().await.expect_err("it must not start");
    fault.to_string()
}

#[tokio::test]
async fn what_is_named_and_not_there_ends_the_start_with_the_collectors_words() {
    let peer = Peer::start().await;
    let none = "  zpages/other: {}\n";
    let check = async |extensions: &str, server: &str, exporter: &str, expected: &str| {
        let told = cannot_start(&through(&peer, extensions, server, exporter)).await;
        assert!(told.contains(expected), "{told}");
    };
    let plain = otlp_http("");
    check(
        none,
        ", auth: {authenticator: basicauth/x}",
        &plain,
        "failed to resolve authenticator \"basicauth/x\": authenticator not found",
    )
    .await;
    check(
        none,
        ", auth: {authenticator: zpages/other}",
        &plain,
        "requested authenticator is not a server authenticator",
    )
    .await;
    check(
        none,
        "",
        &otlp_http(", auth: {authenticator: zpages/other}"),
        "requested authenticator is not a HTTP client authenticator",
    )
    .await;
    check(
        none,
        "",
        "otlp_grpc: {endpoint: '{peer}', auth: {authenticator: zpages/other}}",
        "requested authenticator is not a gRPC client authenticator",
    )
    .await;
    check(
        none,
        ", middlewares: [{id: memory_limiter}]",
        &plain,
        "failed to resolve middleware \"memory_limiter\": middleware not found",
    )
    .await;
}

#[tokio::test]
async fn the_memory_limiter_turns_away_before_the_body() {
    let peer = Peer::start().await;
    let extensions = "  memory_limiter: {check_interval: 2s, limit_mib: 2, spike_limit_mib: 1}\n";
    let server = ", middlewares: [{id: memory_limiter}]";
    let gateway = Gateway::start(&through(&peer, extensions, server, &otlp_http(""))).await;
    let answer = post(&gateway, &[]).await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (429, &b"Too Many Requests\n"[..])
    );
    assert_eq!(answer.header("retry-after").as_deref(), Some("2"));
    assert_eq!(answer.header("x-always").as_deref(), Some("here"));
    let grpc = Grpc::connect(gateway.grpc).await;
    // Not a byte of the body is sent: the answer comes all the same.
    let answer = grpc.call(LOGS, Bytes::new(), &[], false).await;
    assert_eq!(answer.code, 8, "{answer:?}");
    assert!(
        answer.trailers.contains_key("grpc-status-details-bin"),
        "RetryInfo: {answer:?}"
    );
    let labels = [
        "middleware=\"memory_limiter\"",
        "transport=\"http\"",
        "component=\"otlp\"",
    ];
    assert_eq!(
        counted(&gateway, "weir_middleware_refused_requests", &labels),
        Some(1.0)
    );
    assert_eq!(peer.received().len(), 0);
    gateway.stop().await;
}

// --- Servers of tokens and keys ---

/// Answers by path, and keeps what it was asked.
struct Tokens {
    url: String,
    answers: Arc<Mutex<Vec<(String, u16, String)>>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tokens {
    async fn start() -> Tokens {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (answers, asked) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (known, seen) = (answers.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (known, seen) = (known.clone(), seen.clone());
                let service =
                    hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let (known, seen) = (known.clone(), seen.clone());
                        async move {
                            let path = request.uri().path().to_owned();
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            let answer = known
                                .lock()
                                .unwrap()
                                .iter()
                                .rev()
                                .find(|(p, _, _)| *p == path)
                                .cloned();
                            seen.lock()
                                .unwrap()
                                .push((path.clone(), String::from_utf8(body.to_vec()).unwrap()));
                            let (_, status, text): (String, u16, String) =
                                answer.unwrap_or((path, 404, String::new()));
                            let mut response = http::Response::new(Full::new(Bytes::from(text)));
                            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
                            Ok::<_, Infallible>(response)
                        }
                    });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Tokens {
            url,
            answers,
            asked,
            task,
        }
    }

    fn answer(&self, path: &str, status: u16, body: serde_json::Value) {
        let answer = (path.to_owned(), status, body.to_string());
        self.answers.lock().unwrap().push(answer);
    }
}

#[tokio::test]
async fn oauth2client_fetches_a_token_and_waits_for_its_server() {
    let (peer, tokens) = (Peer::start().await, Tokens::start().await);
    let extensions = format!(
        "  oauth2client: {{client_id: me, client_secret: hunter2, token_url: '{}/token', scopes: [write]}}\n",
        tokens.url
    );
    let exporter = otlp_http(
        ", auth: {authenticator: oauth2client}, retry_on_failure: {initial_interval: 1100ms, randomization_factor: 0}",
    );
    tokens.answer("/token", 503, json!({}));
    let gateway = Gateway::start(&through(&peer, &extensions, "", &exporter)).await;
    let posted = post(&gateway, &[]);
    let later = async {
        while tokens.asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        tokens.answer(
            "/token",
            200,
            json!({ "access_token": "fresh", "expires_in": 3600 }),
        );
    };
    let (answer, ()) = tokio::join!(posted, later);
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(post(&gateway, &[]).await.status, 200);
    let said: Vec<_> = peer
        .received()
        .iter()
        .map(|r| r.headers["authorization"].clone())
        .collect();
    assert_eq!(said, ["Bearer fresh", "Bearer fresh"]);
    let asked = tokens.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].1, "grant_type=client_credentials&scope=write");
    gateway.stop().await;
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Signer {
        Signer(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self) -> serde_json::Value {
        let point = &self.0.public_key().as_ref()[1..];
        let text = |bytes: &[u8]| base64::encode(Alphabet::Url, bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": text(&point[..32]), "y": text(&point[32..]) })
    }

    fn bearer(&self, claims: &serde_json::Value) -> String {
        let text = |value: &serde_json::Value| base64::encode(Alphabet::Url, value.to_string().as_bytes());
        let signed = format!(
            "{}.{}",
            text(&json!({ "alg": "ES256", "kid": "k" })),
            text(claims)
        );
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!(
            "Bearer {signed}.{}",
            base64::encode(Alphabet::Url, signature.as_ref())
        )
    }
}

#[tokio::test]
async fn oidc_lets_in_whose_token_the_issuer_signed() {
    let (peer, tokens, signer) = (Peer::start().await, Tokens::start().await, Signer::new());
    let found = json!({ "issuer": tokens.url, "jwks_uri": format!("{}/keys", tokens.url) });
    tokens.answer("/.well-known/openid-configuration", 200, found);
    tokens.answer("/keys", 200, json!({ "keys": [signer.jwk()] }));
    let extensions = format!(
        "  oidc: {{providers: [{{issuer_url: '{}', audience: weir, username_claim: email}}]}}\n  headers_setter: {{headers: [{{key: x-who, from_attribute: subject}}, {{key: x-team, from_attribute: team}}]}}\n",
        tokens.url
    );
    let exporter = otlp_http(", auth: {authenticator: headers_setter}");
    let server = ", auth: {authenticator: oidc}";
    let gateway = Gateway::start(&through(&peer, &extensions, server, &exporter)).await;
    let expiry = |from_now: i64| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        json!({ "iss": tokens.url, "aud": "weir", "email": "a@b", "team": "red", "exp": now + from_now })
    };
    let good = signer.bearer(&expiry(60));
    assert_eq!(post(&gateway, &[("authorization", &good)]).await.status, 200);
    assert_eq!(call(&gateway, &[("authorization", &good)]).await.0, 0);
    for one in peer.taken() {
        assert_eq!(
            (&one.headers["x-who"], &one.headers["x-team"]),
            (&"a@b".parse().unwrap(), &"red".parse().unwrap())
        );
    }
    let (late, forged) = (signer.bearer(&expiry(-1)), Signer::new().bearer(&expiry(60)));
    for (token, text) in [
        (&late, "failed to verify token: token is expired"),
        (&forged, "failed to verify token: failed to verify signature"),
    ] {
        assert_eq!(post(&gateway, &[("authorization", token)]).await.status, 401);
        assert_eq!(
            call(&gateway, &[("authorization", token)]).await,
            (16, text.to_owned())
        );
    }
    assert_eq!(peer.received().len(), 2);
    let labels = ["authenticator=\"oidc\"", "transport=\"grpc\""];
    assert_eq!(counted(&gateway, "weir_auth_failures", &labels), Some(2.0));
    gateway.stop().await;
}

// --- What the log hears ---

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One thread: whatever the gateway says comes to this test's own subscriber.
#[tokio::test(flavor = "current_thread")]
async fn the_log_hears_of_refusals_once_and_never_a_credential() {
    let lines = Lines::default();
    let sink = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || sink.clone())
        .finish();
    // With one subscriber alone, a place that another thread meets first is switched off for all.
    let _other = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);
    let peer = Peer::start().await;
    peer.always(Answer::Http {
        status: 401,
        retry_after: None,
    });
    let secrets = ["Secret-of-server", "Secret-of-client", "Secret-of-stranger"];
    let extensions = format!(
        "  basicauth: {{htpasswd: {{inline: 'a:{}'}}}}\n  bearertokenauth: {{token: {}}}\n",
        secrets[0], secrets[1]
    );
    let exporter = otlp_http(", retry_on_failure: {enabled: false}, auth: {authenticator: bearertokenauth}");
    let server = ", auth: {authenticator: basicauth}";
    let gateway = Gateway::start(&through(&peer, &extensions, server, &exporter)).await;
    let (good, bad) = (
        basic(&format!("a:{}", secrets[0])),
        basic(&format!("a:{}", secrets[2])),
    );
    for _ in 0..20 {
        assert_eq!(post(&gateway, &[("authorization", &bad)]).await.status, 401);
    }
    // The far side refuses our token: that is logged too.
    assert_eq!(post(&gateway, &[("authorization", &good)]).await.status, 503);
    gateway.stop().await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("a request was not let in").count(), 1, "{log}");
    let encoded = [&good[6..], &bad[6..]];
    for secret in secrets.iter().copied().chain(encoded) {
        assert!(!log.contains(secret), "{secret} in the log:\n{log}");
    }
}
