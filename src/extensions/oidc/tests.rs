use component::test_kit::{Lonely, context, faults, section};
use net::server::Peer;
use serde_json::json;

use super::*;
use crate::issuer;
use crate::jwt::test_kit::{Pair, ec, rsa, set};

component::component_tests!(FACTORY, "issuer_url: http://127.0.0.1:9\naudience: weir");

fn build(yaml: &str) -> Arc<dyn Extension> {
    let built = (FACTORY.build)(section(yaml), &context("oidc"));
    built.unwrap_or_else(|fault| panic!("{fault}"))
}

async fn start(yaml: &str) -> Result<Arc<dyn ServerAuth>, String> {
    let built = build(yaml);
    let started = built.start(Arc::new(Lonely::default())).await;
    started.map_err(|fault| fault.to_string())?;
    assert!(built.client_auth().is_none());
    Ok(built.server_auth().expect("a server authenticator"))
}

async fn ask(auth: &dyn ServerAuth, header: &str) -> Result<Identity, Denied> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", header.parse().unwrap());
    let peer = Peer::default();
    let caller = Caller {
        headers: &headers,
        params: &[],
        peer: &peer,
    };
    auth.authenticate(caller).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of a good token, with some changed.
fn claims(issuer: &str, changes: Value) -> Value {
    let mut all = json!({ "iss": issuer, "aud": "weir", "sub": "me", "exp": now() + 60 });
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn bearer(pair: &Pair, alg: &str, kid: &str, claims: &Value) -> String {
    format!("Bearer {}", pair.token(json!({ "alg": alg, "kid": kid }), claims))
}

#[track_caller]
fn refused(answer: Result<Identity, Denied>, expected: &str) {
    assert_eq!(answer, Err(Denied::Unauthenticated(expected.to_owned())));
}

#[test]
fn tells_faults() {
    let check = |yaml: &str, expected: &str| {
        let told = faults((FACTORY.build)(section(yaml), &context("oidc")));
        assert!(told.contains(expected), "{told}");
    };
    check("{}", NO_ISSUER);
    check(
        "{issuer_url: 'https://a'}",
        "no Audience provided for the OIDC configuration",
    );
    check("{audience: a}", NO_ISSUER);
    check("{providers: [{audience: a}]}", NO_ISSUER);
    check("{providers: [{issuer_url: 'https://a'}]}", "no Audience provided");
    check(
        "{issuer_url: 'https://a', audience: a, providers: [{issuer_url: 'https://a', audience: b}]}",
        "duplicate issuer URL found: https://a",
    );
    check(
        "{providers: [{issuer_url: 'https://a', audience: a, ignore_issuer: true}, {issuer_url: 'https://b', audience: b}]}",
        "ignore_issuer cannot be true when multiple providers are configured",
    );
    check(
        "{issuer_url: a, audience: a}",
        "must begin with https:// or http://",
    );
    check(
        "{issuer_url: 'https://a', audience: a, attribute: 'a b'}",
        "invalid header name",
    );
    build("{providers: [{issuer_url: 'https://a', ignore_audience: true}]}");
}

#[tokio::test]
async fn takes_tokens_of_the_issuer_for_us_and_in_time() {
    let issuer = issuer::Issuer::start().await;
    let (pair, stranger) = (ec("a", "ES256"), ec("a", "ES256"));
    issuer.publish(&set(&[&pair]));
    let url = issuer.url();
    let yaml = format!("{{issuer_url: '{url}', audience: weir, groups_claim: groups}}");
    let auth = start(&yaml).await.unwrap();
    let said = async |changes: Value| {
        let claims = claims(&url, changes);
        ask(&*auth, &bearer(&pair, "ES256", "a", &claims)).await
    };
    let groups = || json!({ "groups": ["x", 1], "flag": true, "raw": "shadowed" });
    let identity = said(groups()).await.unwrap();
    let attribute = |name: &str| {
        let mut found = identity.attributes.iter().filter(|(n, _)| n == name);
        let value = found.next().map(|(_, value)| value.clone());
        assert!(found.next().is_none(), "{name} twice");
        value.unwrap_or_default()
    };
    assert_eq!(attribute("subject"), "me");
    assert_eq!(attribute("membership"), r#"["x","1"]"#);
    assert_eq!(attribute("flag"), "true");
    assert_eq!(attribute("aud"), "weir");
    assert!(attribute("raw").starts_with("ey"));

    let with = |more: Value| {
        let mut all = groups();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    for good in [
        json!({ "aud": ["other", "weir"] }),
        json!({ "nbf": now() + 200 }),
        json!({ "exp": (now() + 60) as f64 + 0.5 }),
    ] {
        assert!(said(with(good.clone())).await.is_ok(), "{good}");
    }
    for (bad, text) in [
        (
            json!({ "iss": "https://other" }),
            "the token is of another issuer",
        ),
        (json!({ "iss": null }), "the token is of another issuer"),
        (json!({ "aud": "other" }), "the token is for another audience"),
        (json!({ "aud": [] }), "the token is for another audience"),
        (json!({ "aud": null }), "the token is for another audience"),
        (json!({ "exp": now() - 1 }), "token is expired"),
        (json!({ "exp": null }), "token is expired"),
        (json!({ "exp": "tomorrow" }), "token is expired"),
        (json!({ "nbf": now() + 400 }), "the token is not valid yet"),
        (json!({ "nbf": "x" }), "the token is not valid yet"),
    ] {
        refused(said(with(bad)).await, &format!("failed to verify token: {text}"));
    }
    refused(
        said(json!({})).await,
        "failed to get groups from claims in the token: groups claim from the OIDC configuration not found on the token returned by the OIDC provider",
    );
    let forged = bearer(&stranger, "ES256", "a", &claims(&url, groups()));
    refused(
        ask(&*auth, &forged).await,
        "failed to verify token: failed to verify signature",
    );
    for text in ["Bearer", "Bearer a b", "token", "Bearer "] {
        refused(ask(&*auth, text).await, "invalid authorization header format");
    }
    refused(
        ask(&*auth, "Bearer a.b.c").await,
        "failed to parse the token: malformed token",
    );
    refused(ask(&*auth, "").await, "authentication didn't succeed");
}

#[tokio::test]
async fn several_providers_are_told_apart_by_their_issuer() {
    let (one, two) = (issuer::Issuer::start().await, issuer::Issuer::start().await);
    let (first, second) = (rsa("k", "RS256"), ec("k", "ES384"));
    one.publish(&set(&[&first]));
    two.publish(&set(&[&second]));
    let yaml = format!(
        "{{providers: [{{issuer_url: '{}', audience: weir}}, {{issuer_url: '{}', ignore_audience: true, username_claim: name}}]}}",
        one.url(),
        two.url()
    );
    let auth = start(&yaml).await.unwrap();
    let token = |pair: &Pair, alg: &str, issuer: &str, changes: Value| {
        bearer(pair, alg, "k", &claims(issuer, changes))
    };
    assert!(
        ask(&*auth, &token(&first, "RS256", &one.url(), json!({})))
            .await
            .is_ok()
    );
    let identity = ask(
        &*auth,
        &token(&second, "ES384", &two.url(), json!({ "name": "n", "aud": "x" })),
    )
    .await;
    assert_eq!(
        identity.unwrap().attributes[0],
        ("subject".to_owned(), "n".to_owned())
    );
    // One issuer's key does not sign for the other.
    refused(
        ask(&*auth, &token(&second, "ES384", &one.url(), json!({}))).await,
        "failed to verify token: failed to verify signature",
    );
    refused(
        ask(&*auth, &token(&first, "RS256", "https://third", json!({}))).await,
        "no OIDC provider configured for the issuer of the token",
    );
    for (bad, text) in [
        (
            json!({}),
            "username claim from the OIDC configuration not found on the token returned by the OIDC provider",
        ),
        (
            json!({ "name": 5 }),
            "the username returned by the OIDC provider isn't a regular string",
        ),
    ] {
        refused(
            ask(&*auth, &token(&second, "ES384", &two.url(), bad)).await,
            &format!("failed to get subject from claims in the token: {text}"),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn new_keys_are_found_when_they_are_needed_but_not_asked_for_all_the_time() {
    let issuer = issuer::Issuer::start().await;
    let (old, new) = (ec("old", "ES256"), ec("new", "ES256"));
    issuer.publish(&set(&[&old]));
    let url = issuer.url();
    let auth = start(&format!("{{issuer_url: '{url}', audience: weir}}"))
        .await
        .unwrap();
    let say = async |pair: &Pair, kid: &str| {
        ask(&*auth, &bearer(pair, "ES256", kid, &claims(&url, json!({})))).await
    };
    assert!(say(&old, "old").await.is_ok());
    assert_eq!(issuer.asked().len(), 2);
    issuer.publish(&set(&[&new]));
    for _ in 0..20 {
        assert!(say(&new, "new").await.is_err());
    }
    assert_eq!(
        issuer.asked().len(),
        2,
        "asked at start, and not again within ten seconds"
    );
    tokio::time::advance(REFRESH_PAUSE).await;
    assert!(say(&new, "new").await.is_ok());
    assert!(say(&old, "old").await.is_err());
    assert_eq!(issuer.asked().len(), 4);

    // Removed keys are forgotten after a quarter of an hour, also if nobody shows a new one.
    issuer.publish(&set(&[&old]));
    tokio::time::advance(REFRESH_AFTER).await;
    assert!(say(&new, "new").await.is_err());
    assert!(say(&old, "old").await.is_ok());
    // An issuer that is away leaves the keys as they are.
    issuer.answer("/keys", 500, "");
    tokio::time::advance(REFRESH_AFTER).await;
    assert!(say(&old, "old").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn starts_without_an_issuer_that_is_away_but_not_with_a_wrong_one() {
    let issuer = issuer::Issuer::start().await;
    let pair = ec("a", "ES256");
    let url = issuer.url();
    let yaml = format!("{{issuer_url: '{url}', audience: weir}}");
    let told = start(&yaml).await.err().unwrap();
    assert!(told.starts_with("failed to get configuration from at least one configured auth server: failed to create OIDC provider for"), "{told}");
    assert!(told.ends_with("answered 404"), "{told}");
    issuer.publish("{}");
    let told = start(&yaml).await.err().unwrap();
    assert!(told.contains("failed to parse JWKS"), "{told}");
    issuer.publish(&set(&[&pair]));
    let told = start(&format!("{{issuer_url: '{url}/', audience: weir}}"))
        .await
        .err()
        .unwrap();
    assert!(told.contains("issuer did not match"), "{told}");

    issuer.answer("/keys", 503, "");
    let auth = start(&yaml).await.unwrap();
    let token = bearer(&pair, "ES256", "a", &claims(&url, json!({})));
    let text = "the keys of the issuer cannot be read now";
    assert_eq!(ask(&*auth, &token).await, Err(Denied::Unavailable(text.into())));
    issuer.publish(&set(&[&pair]));
    tokio::time::advance(REFRESH_PAUSE).await;
    assert!(ask(&*auth, &token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keys_may_stand_in_a_file_that_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let yaml = format!(
        "{{providers: [{{issuer_url: here, audience: weir, ignore_issuer: true, public_keys_file: '{}'}}]}}",
        path.display()
    );
    let told = start(&yaml).await.err().unwrap();
    assert!(told.contains("failed to load JWKS file"), "{told}");
    let (one, two) = (ec("a", "ES512"), ec("a", "ES512"));
    std::fs::write(&path, set(&[&one])).unwrap();
    let auth = start(&yaml).await.unwrap();
    let say =
        async |pair: &Pair| ask(&*auth, &bearer(pair, "ES512", "a", &claims("anybody", json!({})))).await;
    assert!(say(&one).await.is_ok());
    assert!(say(&two).await.is_err());
    std::fs::write(&path, set(&[&two])).unwrap();
    tokio::time::advance(StdDuration::from_secs(1)).await;
    assert!(say(&two).await.is_ok());
    assert!(say(&one).await.is_err());
}
