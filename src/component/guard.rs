//! What stands before a server: its authenticator and its middlewares.
//!
//! A server asks [`Guard::admit`] once a request's head is there and before it reads any of the body. Who is not let
//! in is counted, and told to the log at most every ten seconds: a stranger who guesses must not fill it.

use std::time::Duration;

use config::Optional;
use http::Uri;
use http::header::{AUTHORIZATION, HeaderMap};
use net::auth::{Caller, Denied, Identity, Middleware, ServerAuth, Unadmitted};
use net::blocks::{AuthBlock, MiddlewareBlock};
use net::server::Peer;
use parking_lot::Mutex;
use std::sync::Arc;
use telemetry::Telemetry;
use tokio::time::Instant;
use tracing::warn;

use crate::audit::{Attempt, Audit};
use crate::{BuildContext, Fault, Host, host};

/// The authenticator and the middlewares of one server.
pub struct Guard {
    component: String,
    /// As the audit trail names it.
    object: String,
    transport: &'static str,
    auth: Option<(String, Arc<dyn ServerAuth>)>,
    params: Vec<String>,
    middlewares: Vec<(String, Arc<dyn Middleware>)>,
    telemetry: Telemetry,
    said: Mutex<Said>,
    audit: Option<Arc<dyn Audit>>,
}

/// What the log was told.
#[derive(Default)]
struct Said {
    at: Option<Instant>,
    unsaid: u64,
}

/// An authenticator that takes longer counts as unavailable.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
const LOG_PAUSE: Duration = Duration::from_secs(10);

impl Guard {
    /// Finds the extensions that a server's `auth` and `middlewares` name. `transport` is `grpc` or `http`.
    pub fn new(
        cx: &BuildContext,
        host: &dyn Host,
        transport: &'static str,
        auth: &Optional<AuthBlock>,
        middlewares: &[MiddlewareBlock],
    ) -> Result<Guard, Fault> {
        let auth = auth.get();
        let found = auth.map(|block| {
            let id = &block.authenticator;
            Ok::<_, Fault>((id.clone(), host::server_auth(host, id)?))
        });
        let middlewares = middlewares
            .iter()
            .map(|block| Ok((block.id.clone(), host::middleware(host, &block.id)?)));
        Ok(Guard {
            component: cx.id.to_string(),
            object: format!("receiver/{}", cx.id),
            transport,
            auth: found.transpose()?,
            params: auth.map(|block| block.request_params.clone()).unwrap_or_default(),
            middlewares: middlewares.collect::<Result<_, Fault>>()?,
            telemetry: cx.telemetry.clone(),
            said: Mutex::default(),
            audit: host.audit(),
        })
    }

    /// Of something else than a receiver: the audit trail says so.
    pub fn of(mut self, kind: &str) -> Guard {
        self.object = format!("{kind}/{}", self.component);
        self
    }

    /// Whether who is let in has shown a credential.
    pub fn authenticates(&self) -> bool {
        self.auth.is_some()
    }

    /// Who sends this request; an empty identity where nobody asks.
    pub async fn admit(&self, headers: &HeaderMap, uri: &Uri, peer: &Peer) -> Result<Identity, Unadmitted> {
        let identity = match &self.auth {
            None => Identity::default(),
            Some((id, auth)) => {
                let params = parameters(uri.query().unwrap_or(""), &self.params);
                let caller = Caller {
                    headers,
                    params: &params,
                    peer,
                };
                let asked = tokio::time::timeout(AUTH_TIMEOUT, auth.authenticate(caller)).await;
                let slow = || Denied::Unavailable("the authenticator did not answer in time".into());
                let answer = asked.unwrap_or_else(|_| Err(slow()));
                if let Some(audit) = &self.audit {
                    self.tell(&**audit, id, headers, peer, &answer);
                }
                answer.map_err(|denied| {
                    self.refused(id, &denied, peer);
                    Unadmitted::Denied(denied)
                })?
            }
        };
        for (id, middleware) in &self.middlewares {
            middleware.admit().map_err(|away| {
                self.count("weir_middleware_refused_requests", ("middleware", id), "busy");
                Unadmitted::TurnedAway(away)
            })?;
        }
        Ok(identity)
    }

    /// Who tried to get in, and who did.
    fn tell(
        &self,
        audit: &dyn Audit,
        id: &str,
        headers: &HeaderMap,
        peer: &Peer,
        answer: &Result<Identity, Denied>,
    ) {
        let attempt = Attempt {
            object: &self.object,
            transport: self.transport,
            authenticator: id,
            scheme: scheme(headers),
            client: peer.addr.map(|addr| addr.ip()),
        };
        match answer {
            Ok(identity) => audit.admitted(&attempt, principal(identity).unwrap_or(id)),
            Err(denied) => audit.denied(&attempt, denied.reason()),
        }
    }

    fn refused(&self, id: &str, denied: &Denied, peer: &Peer) {
        self.count("weir_auth_failures", ("authenticator", id), denied.reason());
        let more = {
            let mut said = self.said.lock();
            if said.at.is_some_and(|at| at.elapsed() < LOG_PAUSE) {
                said.unsaid += 1;
                return;
            }
            said.at = Some(Instant::now());
            std::mem::take(&mut said.unsaid)
        };
        warn!(
            component = %self.component,
            transport = self.transport,
            authenticator = id,
            peer = ?peer.addr,
            error = %denied,
            more_before = more,
            "a request was not let in"
        );
    }

    fn count(&self, name: &'static str, by: (&'static str, &str), reason: &'static str) {
        let labels = vec![
            ("component", self.component.clone()),
            ("transport", self.transport.to_owned()),
            (by.0, by.1.to_owned()),
            ("reason", reason.to_owned()),
        ];
        self.telemetry.metrics.counter(name, labels).add(1);
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let auth = self.auth.as_ref().map(|(id, _)| id);
        f.debug_struct("Guard")
            .field("authenticator", &auth)
            .finish_non_exhaustive()
    }
}

/// Which kind of credential a request shows: `basic`, `bearer`, `other` or `none`. Nothing else of the header is told.
pub fn scheme(headers: &HeaderMap) -> &'static str {
    let Some(shown) = headers.get(AUTHORIZATION) else {
        return "none";
    };
    let word = shown.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
    match word {
        word if word.eq_ignore_ascii_case(b"basic") => "basic",
        word if word.eq_ignore_ascii_case(b"bearer") => "bearer",
        _ => "other",
    }
}

/// What an identity is called, by the attributes that are names and never credentials.
fn principal(identity: &Identity) -> Option<&str> {
    let named = |name: &str| identity.attributes.iter().find(|(known, _)| known == name);
    let found = ["username", "subject"].into_iter().find_map(named);
    found.map(|(_, value)| value.as_str())
}

/// The wanted parameters of a query, decoded; the first of each name, as Go's `url.Query` reads them.
fn parameters(query: &str, wanted: &[String]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    if wanted.is_empty() {
        return found;
    }
    for pair in query.split('&').filter(|pair| !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (unescape(name), unescape(value)) else {
            continue;
        };
        if wanted.contains(&name) && !found.iter().any(|(n, _)| *n == name) {
            found.push((name, value));
        }
    }
    found
}

/// `%41` and `+`; none if it is not well formed or not text.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use net::auth::{BoxFuture, TurnedAway};

    use super::*;
    use crate::test_kit::{Lonely, context};

    /// Lets in who says `k=let me in`; `k=slow` never gets an answer.
    struct Porter;

    impl ServerAuth for Porter {
        fn authenticate<'a>(&'a self, caller: Caller<'a>) -> BoxFuture<'a, Result<Identity, Denied>> {
            Box::pin(async move {
                match caller.value("k") {
                    Some("let me in") => Ok(Identity {
                        attributes: vec![("name".into(), "friend".into())],
                    }),
                    Some("slow") => std::future::pending().await,
                    Some(_) => Err(Denied::Forbidden("not you".into())),
                    None => Err(Denied::Unauthenticated("say k".into())),
                }
            })
        }
    }

    struct Full;

    impl Middleware for Full {
        fn admit(&self) -> Result<(), TurnedAway> {
            Err(TurnedAway {
                message: "full".into(),
                retry_after: None,
            })
        }
    }

    fn guard(auth: bool, full: bool) -> Guard {
        let auth: Option<(String, Arc<dyn ServerAuth>)> =
            auth.then(|| ("porter".into(), Arc::new(Porter) as _));
        let middlewares: Vec<(String, Arc<dyn Middleware>)> = full
            .then(|| ("full".into(), Arc::new(Full) as _))
            .into_iter()
            .collect();
        Guard {
            auth,
            params: vec!["k".into()],
            middlewares,
            ..Guard::new(&context("otlp"), &Lonely::default(), "http", &Optional::None, &[])
                .expect("nothing is asked for")
        }
    }

    async fn ask(guard: &Guard, header: Option<&'static str>, uri: &str) -> Result<Identity, Unadmitted> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("k", HeaderValue::from_static(value));
        }
        let uri = uri.parse().expect("tests write URIs rightly");
        guard.admit(&headers, &uri, &Peer::default()).await
    }

    fn counted(guard: &Guard, name: &str) -> Vec<(String, f64)> {
        let families = guard.telemetry.metrics.read();
        let text = telemetry::render::prometheus(&guard.telemetry, &Default::default());
        assert!(!families.is_empty(), "{text}");
        text.lines()
            .filter(|l| l.starts_with(name))
            .filter_map(|l| {
                let reason = l.split("reason=\"").nth(1)?.split('"').next()?;
                let value = l.rsplit(' ').next()?.parse().ok()?;
                Some((reason.to_owned(), value))
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn asks_the_authenticator_and_then_the_middlewares() {
        let porter = guard(true, false);
        let identity = ask(&porter, Some("let me in"), "/").await.expect("a friend");
        assert_eq!(identity.attributes, [("name".to_owned(), "friend".to_owned())]);
        assert_eq!(format!("{identity:?}"), "{\"name\"}");
        assert!(ask(&porter, None, "/?a=b&k=let+me%20in").await.is_ok());

        let check = |answer: Result<Identity, Unadmitted>, code: u8, text: &str, again: Option<u64>| {
            let status = answer.expect_err("not let in").status();
            assert_eq!((status.code.0, status.message.as_str()), (code, text));
            assert_eq!(status.retry_after, again.map(Duration::from_secs));
        };
        check(ask(&porter, None, "/").await, 16, "say k", None);
        check(ask(&porter, Some("x"), "/").await, 7, "not you", None);
        check(
            ask(&porter, Some("slow"), "/").await,
            14,
            "the authenticator did not answer in time",
            Some(1),
        );
        let mut reasons = counted(&porter, "weir_auth_failures");
        reasons.sort_by(|a, b| a.0.cmp(&b.0));
        let each = |reason: &str| (reason.to_owned(), 1.0);
        assert_eq!(
            reasons,
            [each("forbidden"), each("unauthenticated"), each("unavailable")]
        );

        let full = guard(true, true);
        check(ask(&full, None, "/").await, 16, "say k", None);
        check(ask(&full, Some("let me in"), "/").await, 8, "full", Some(1));
        assert_eq!(counted(&full, "weir_middleware_refused"), [each("busy")]);
        assert!(ask(&guard(false, false), None, "/").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_hears_of_refusals_every_ten_seconds() {
        let guard = guard(true, false);
        for _ in 0..1000 {
            assert!(ask(&guard, None, "/").await.is_err());
        }
        assert_eq!(guard.said.lock().unsaid, 999);
        tokio::time::advance(LOG_PAUSE).await;
        assert!(ask(&guard, None, "/").await.is_err());
        assert_eq!(guard.said.lock().unsaid, 0);
        assert_eq!(
            counted(&guard, "weir_auth_failures"),
            [("unauthenticated".to_owned(), 1001.0)]
        );
    }

    #[test]
    fn resolves_with_the_collectors_words() {
        let host = Lonely::default();
        let auth = Optional::Some(AuthBlock {
            authenticator: "x".into(),
            request_params: Vec::new(),
        });
        let fault = Guard::new(&context("otlp"), &host, "grpc", &auth, &[]).expect_err("no such extension");
        assert_eq!(
            fault.to_string(),
            "failed to resolve authenticator \"x\": authenticator not found"
        );
        let middlewares = [MiddlewareBlock { id: "m".into() }];
        let fault = Guard::new(&context("otlp"), &host, "grpc", &Optional::None, &middlewares);
        assert_eq!(
            fault.expect_err("no such extension").to_string(),
            "failed to resolve middleware \"m\": middleware not found"
        );
    }

    #[test]
    fn reads_queries_as_go_does() {
        #[track_caller]
        fn check(query: &str, expected: &[(&str, &str)]) {
            let wanted = ["k".to_owned(), "ä".to_owned()];
            let found = parameters(query, &wanted);
            let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(found, expected, "{query}");
        }
        check("", &[]);
        check("k", &[("k", "")]);
        check("k=1&k=2", &[("k", "1")]);
        check("a=1&k=a%3Db%26c+d&%C3%A4=x", &[("k", "a=b&c d"), ("ä", "x")]);
        check("k=%zz&k=%4", &[]);
        check("k=1;j=2", &[]);
        check("K=1&k=%ff", &[]);
    }
}
