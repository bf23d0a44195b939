//! What stands before an HTTP service: headers on every answer, and CORS.
//!
//! A browser asks first (preflight) and is answered here, before any authenticator; every other request goes on, and
//! its answer is marked for the origin that asked. The rules are those of the library behind confighttp: credentials
//! are allowed, an origin may hold one `*`, and a lone `*` is answered as such, which browsers take without
//! credentials only.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode};

use crate::blocks::{CorsBlock, HttpServerConfig, header};
use crate::server::{Body, BoxFuture, Incoming, Peer, Service};

/// Headers that a script may send wherever it may send anything.
const SAFE_HEADERS: [&str; 6] = [
    "accept",
    "accept-language",
    "content-language",
    "content-type",
    "origin",
    "x-requested-with",
];
const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::HEAD];
const TRUE: HeaderValue = HeaderValue::from_static("true");
const VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// A service with the config's `response_headers` and `cors` before it.
pub(crate) fn fronted(config: &HttpServerConfig, inner: Arc<dyn Service>) -> Arc<dyn Service> {
    let headers: Vec<_> = config
        .response_headers
        .iter()
        .filter_map(|(name, value)| header(name, value.expose()).ok())
        .collect();
    let cors = config.cors.get().and_then(Cors::new);
    if headers.is_empty() && cors.is_none() {
        return inner;
    }
    Arc::new(Front { headers, cors, inner })
}

struct Front {
    headers: Vec<(HeaderName, HeaderValue)>,
    cors: Option<Cors>,
    inner: Arc<dyn Service>,
}

impl Service for Front {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> BoxFuture<Response<Body>> {
        Box::pin(async move {
            let mut response = match &self.cors {
                None => self.inner.clone().call(request, peer).await,
                Some(cors) if is_preflight(request.method(), request.headers()) => {
                    cors.preflight(request.headers())
                }
                Some(cors) => {
                    let marks = cors.marks(request.method(), request.headers());
                    let mut response = self.inner.clone().call(request, peer).await;
                    response.headers_mut().extend(marks);
                    response
                }
            };
            for (name, value) in &self.headers {
                response.headers_mut().insert(name.clone(), value.clone());
            }
            response
        })
    }

    fn cut_off(&self, reason: &'static str) {
        self.inner.cut_off(reason);
    }
}

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
    method == Method::OPTIONS && asked.is_some_and(|asked| !asked.is_empty())
}

/// Who may ask, and with what.
struct Cors {
    /// In lower case.
    origins: Vec<Origin>,
    any_origin: bool,
    /// In lower case.
    headers: Vec<String>,
    any_header: bool,
    exposed: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

enum Origin {
    Exactly(String),
    Between(String, String),
}

impl Cors {
    /// `None` without origins: the rest means nothing then.
    fn new(block: &CorsBlock) -> Option<Cors> {
        if block.allowed_origins.is_empty() {
            if !block.allowed_headers.is_empty() {
                tracing::warn!(
                    "the CORS configuration specifies allowed headers but no allowed origins, and is ignored"
                );
            }
            return None;
        }
        let origin = |text: &String| {
            let text = text.to_lowercase();
            match text.split_once('*') {
                Some((before, after)) => Origin::Between(before.to_owned(), after.to_owned()),
                None => Origin::Exactly(text),
            }
        };
        let exposed = block.exposed_headers.join(", ");
        Some(Cors {
            origins: block.allowed_origins.iter().map(origin).collect(),
            any_origin: block.allowed_origins.iter().any(|o| o == "*"),
            headers: block.allowed_headers.iter().map(|h| h.to_lowercase()).collect(),
            any_header: block.allowed_headers.iter().any(|h| h == "*"),
            exposed: HeaderValue::try_from(exposed).ok().filter(|v| !v.is_empty()),
            max_age: (block.max_age != 0).then(|| HeaderValue::from(block.max_age.max(0))),
        })
    }

    /// What `Access-Control-Allow-Origin` says to the origin that asks, if anything.
    fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let asked = headers.get(ORIGIN)?;
        if self.any_origin {
            return Some(HeaderValue::from_static("*"));
        }
        let text = asked.to_str().ok()?.to_lowercase();
        let allowed = self.origins.iter().any(|origin| match origin {
            Origin::Exactly(one) => *one == text,
            Origin::Between(before, after) => {
                text.len() >= before.len() + after.len()
                    && text.starts_with(before.as_str())
                    && text.ends_with(after.as_str())
            }
        });
        allowed.then(|| asked.clone())
    }

    fn allows(&self, header: &str) -> bool {
        let header = header.trim().to_lowercase();
        header.is_empty() || SAFE_HEADERS.contains(&header.as_str()) || self.headers.contains(&header)
    }

    fn preflight(&self, headers: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let out = response.headers_mut();
        out.insert(VARY, VARY_PREFLIGHT);
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let method = asked.filter(|asked| METHODS.iter().any(|m| m.as_str().as_bytes() == asked.as_bytes()));
        let (Some(origin), Some(method)) = (self.origin(headers), method) else {
            return response;
        };
        let wanted: Vec<_> = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().collect();
        let good = |value: &&HeaderValue| {
            value
                .to_str()
                .is_ok_and(|list| list.split(',').all(|one| self.allows(one)))
        };
        if !self.any_header && !wanted.iter().all(good) {
            return response;
        }
        out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        out.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        for list in wanted {
            out.append(ACCESS_CONTROL_ALLOW_HEADERS, list.clone());
        }
        out.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        if let Some(age) = &self.max_age {
            out.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        response
    }

    /// What the answer to a request carries.
    fn marks(&self, method: &Method, headers: &HeaderMap) -> HeaderMap {
        let mut out = HeaderMap::new();
        out.insert(VARY, VARY_ORIGIN);
        let Some(origin) = self.origin(headers).filter(|_| METHODS.contains(method)) else {
            return out;
        };
        out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if let Some(exposed) = &self.exposed {
            out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
        out.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], headers: &[&str]) -> Cors {
        let owned = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        Cors::new(&CorsBlock {
            allowed_origins: owned(origins),
            allowed_headers: owned(headers),
            exposed_headers: owned(&["X-One", "x-two"]),
            max_age: 7200,
        })
        .unwrap()
    }

    fn request(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    fn text(headers: &HeaderMap, name: &str) -> Option<String> {
        headers.get(name).map(|v| v.to_str().unwrap().to_owned())
    }

    #[test]
    fn origins_match_whole_or_around_one_star() {
        let check = |allowed: &str, asked: &str, expected: Option<&str>| {
            let got = cors(&[allowed], &[]).origin(&request(&[("origin", asked)]));
            assert_eq!(
                got.as_ref().map(|v| v.to_str().unwrap()),
                expected,
                "{allowed} {asked}"
            );
        };
        let same = |allowed, asked| check(allowed, asked, Some(asked));
        let other = |allowed, asked| check(allowed, asked, None);
        check("*", "https://x.org", Some("*"));
        same("https://x.org", "https://x.org");
        same("https://X.org", "https://x.ORG");
        same("https://*.x.org", "https://a.b.x.org");
        same("https://*", "https://x.org");
        same("http*://x.org", "https://x.org");
        other("https://x.org", "http://x.org");
        other("https://x.org", "https://x.org.evil");
        other("https://*.x.org", "https://x.org");
        other("https://*.x.org", "https://a.x.org.evil");
        other("https://a*a.org", "https://a.org");
        other("https://*.*.org", "https://a.b.org");
        assert_eq!(cors(&["*"], &[]).origin(&HeaderMap::new()), None);
    }

    #[test]
    fn a_preflight_is_answered_for_what_it_asks() {
        let asks = |origin: &str, method: &str, headers: &str| {
            request(&[
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", headers),
            ])
        };
        // Which origin is allowed, if any.
        let check = |cors: &Cors, request: &HeaderMap, expected: Option<&str>| {
            assert!(is_preflight(&Method::OPTIONS, request));
            let response = cors.preflight(request);
            assert_eq!(response.status(), 204);
            let headers = response.headers();
            assert!(text(headers, "vary").unwrap().starts_with("Origin, "));
            let got = text(headers, "access-control-allow-origin");
            assert_eq!(got.as_deref(), expected, "{request:?}");
            assert_eq!(headers.len() > 1, expected.is_some(), "{headers:?}");
            response
        };
        let some = cors(&["https://x.org"], &["X-Token"]);
        let asked = asks("https://x.org", "POST", "content-type,x-token");
        let response = check(&some, &asked, Some("https://x.org"));
        let headers = response.headers();
        let got: Vec<_> = [
            "access-control-allow-methods",
            "access-control-allow-headers",
            "access-control-allow-credentials",
            "access-control-max-age",
        ]
        .map(|name| text(headers, name).unwrap())
        .into();
        assert_eq!(got, ["POST", "content-type,x-token", "true", "7200"]);
        check(&some, &asks("https://y.org", "POST", ""), None);
        check(&some, &asks("https://x.org", "DELETE", ""), None);
        check(&some, &asks("https://x.org", "post", ""), None);
        check(&some, &asks("https://x.org", "POST", "x-token, x-other"), None);
        check(
            &some,
            &asks("https://x.org", "GET", "X-TOKEN"),
            Some("https://x.org"),
        );
        let any = cors(&["*"], &["*"]);
        check(&any, &asks("https://y.org", "POST", "x-whatever"), Some("*"));
        let without = request(&[("access-control-request-method", "POST")]);
        check(&any, &without, None);
        assert!(!is_preflight(&Method::OPTIONS, &request(&[("origin", "x")])));
        assert!(!is_preflight(&Method::POST, &asked));
    }

    #[test]
    fn answers_are_marked_for_the_origin_that_asked() {
        let some = cors(&["https://x.org"], &[]);
        let marks = some.marks(&Method::POST, &request(&[("origin", "https://x.org")]));
        let got = [
            "vary",
            "access-control-allow-origin",
            "access-control-expose-headers",
            "access-control-allow-credentials",
        ]
        .map(|name| text(&marks, name).unwrap());
        assert_eq!(got, ["Origin", "https://x.org", "X-One, x-two", "true"]);
        for (method, asked) in [
            (Method::POST, request(&[("origin", "https://y.org")])),
            (Method::POST, HeaderMap::new()),
            (Method::PUT, request(&[("origin", "https://x.org")])),
        ] {
            assert_eq!(some.marks(&method, &asked).len(), 1);
        }
    }

    #[test]
    fn without_origins_there_is_no_cors() {
        let block = CorsBlock {
            allowed_headers: vec!["x".into()],
            max_age: 5,
            ..CorsBlock::default()
        };
        assert!(Cors::new(&block).is_none());
    }
}
