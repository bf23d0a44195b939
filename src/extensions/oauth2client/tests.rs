use component::test_kit::{Lonely, context, faults, section};
use serde_json::json;

use super::*;
use crate::issuer::Issuer;
use crate::jwt::test_kit::{rsa, set};
use crate::jwt::{Key, Token as Jwt};

component::component_tests!(
    FACTORY,
    "client_id: a\nclient_secret: b\ntoken_url: http://127.0.0.1:9/token"
);

async fn start(yaml: &str) -> Result<Arc<dyn ClientAuth>, String> {
    let built = (FACTORY.build)(section(yaml), &context("oauth2client"));
    let built = built.unwrap_or_else(|fault| panic!("{fault}"));
    let started = built.start(Arc::new(Lonely::default())).await;
    started.map_err(|fault| fault.to_string())?;
    assert!(built.server_auth().is_none());
    Ok(built.client_auth().expect("a client authenticator"))
}

async fn said(auth: &dyn ClientAuth) -> Result<String, String> {
    let mut headers = HeaderMap::new();
    let done = auth.authorize(&mut headers, &Context::default()).await;
    done.map_err(|e| e.to_string())?;
    let value = headers.remove(AUTHORIZATION).unwrap();
    assert_eq!(format!("{value:?}"), "Sensitive");
    Ok(value.to_str().unwrap().to_owned())
}

fn grant(issuer: &Issuer, token: &str, life_s: Option<u64>) {
    let mut answer = json!({ "access_token": token, "token_type": "bearer" });
    if let Some(life) = life_s {
        answer["expires_in"] = json!(life);
    }
    issuer.answer("/token", 200, &answer.to_string());
}

fn credentials(issuer: &Issuer, more: &str) -> String {
    let url = issuer.url();
    format!("{{client_id: 'a b', client_secret: 'hunter:2', token_url: '{url}/token'{more}}}")
}

#[test]
fn tells_faults() {
    let check = |yaml: &str, expected: &str| {
        let told = faults((FACTORY.build)(section(yaml), &context("oauth2client")));
        assert!(told.contains(expected) && !told.contains("hunter2"), "{told}");
    };
    check("{}", "no ClientID provided in the OAuth2 exporter configuration");
    check(
        "{}",
        "no ClientSecret provided in OAuth Client Credentials configuration",
    );
    check(
        "{}",
        "no TokenURL provided in OAuth Client Credentials configuration",
    );
    check(
        "{client_id: a, client_secret: hunter2, token_url: x}",
        "token_url must begin with",
    );
    check("{grant_type: password}", "invalid grant type");
    let jwt = "grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer'";
    check(&format!("{{{jwt}}}"), "no ClientCertificateKey provided");
    check(
        &format!("{{{jwt}, signature_algorithm: HS256}}"),
        "invalid signature algorithm",
    );
    check(
        "{endpoint_params: {client_secret: hunter2}}",
        "oauth2: cannot overwrite parameter \"client_secret\"",
    );
    check(
        "{scopes: [a], endpoint_params: {scope: b}}",
        "oauth2: cannot overwrite parameter \"scope\"",
    );
    check("{tls: {cert_file: x}}", "tls");
    let config: Config = section("{client_secret: hunter2, client_certificate_key: hunter2}")
        .parse()
        .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.expiry_buffer.0.as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn fetches_a_token_and_keeps_it_until_it_is_nearly_over() {
    let issuer = Issuer::start().await;
    grant(&issuer, "one", Some(600));
    let more = ", scopes: [x, 'y/z'], endpoint_params: {audience: api, more: ['1', '2']}, expiry_buffer: 1m";
    let auth = start(&credentials(&issuer, more)).await.unwrap();
    assert!(auth.needs_tls());
    for _ in 0..3 {
        assert_eq!(said(&*auth).await.unwrap(), "Bearer one");
    }
    let [(path, headers, body)] = &issuer.asked()[..] else {
        panic!("asked once")
    };
    assert_eq!(path, "/token");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let pair = base64::encode(Alphabet::Standard, b"a+b:hunter%3A2");
    assert_eq!(headers["authorization"], format!("Basic {pair}"));
    assert_eq!(
        body,
        "grant_type=client_credentials&scope=x+y%2Fz&audience=api&more=1&more=2"
    );
    grant(&issuer, "two", None);
    tokio::time::advance(StdDuration::from_secs(538)).await;
    assert_eq!(said(&*auth).await.unwrap(), "Bearer one");
    tokio::time::advance(StdDuration::from_secs(2)).await;
    assert_eq!(said(&*auth).await.unwrap(), "Bearer two");
    // Without an end it is kept.
    tokio::time::advance(StdDuration::from_secs(1_000_000)).await;
    assert_eq!(said(&*auth).await.unwrap(), "Bearer two");
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_old_token_serves_while_no_new_one_comes() {
    let issuer = Issuer::start().await;
    grant(&issuer, "one", Some(100));
    let auth = start(&credentials(&issuer, "")).await.unwrap();
    assert_eq!(said(&*auth).await.unwrap(), "Bearer one");
    issuer.answer("/token", 500, "");
    // The buffer is longer than its life: half of that counts.
    tokio::time::advance(StdDuration::from_secs(51)).await;
    for _ in 0..5 {
        assert_eq!(said(&*auth).await.unwrap(), "Bearer one");
    }
    assert_eq!(issuer.asked().len(), 2, "a failure is remembered for a second");
    tokio::time::advance(StdDuration::from_secs(50)).await;
    assert_eq!(
        said(&*auth).await,
        Err("oauth2: cannot fetch token: 500 ".to_owned())
    );
    grant(&issuer, "two", Some(100));
    tokio::time::advance(FAILURE_PAUSE).await;
    assert_eq!(said(&*auth).await.unwrap(), "Bearer two");
}

#[tokio::test(start_paused = true)]
async fn one_request_at_a_time() {
    let issuer = Issuer::start().await;
    grant(&issuer, "one", Some(600));
    let auth = start(&credentials(&issuer, "")).await.unwrap();
    let (a, b, c) = tokio::join!(said(&*auth), said(&*auth), said(&*auth));
    assert_eq!([a, b, c], [(); 3].map(|()| Ok("Bearer one".to_owned())));
    assert_eq!(issuer.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_fetched_anew_once() {
    let issuer = Issuer::start().await;
    grant(&issuer, "one", Some(600));
    let auth = start(&credentials(&issuer, "")).await.unwrap();
    assert!(!auth.refused().await);
    assert_eq!(said(&*auth).await.unwrap(), "Bearer one");
    assert!(
        !auth.refused().await,
        "a new token that is refused is not replaced by its like"
    );
    tokio::time::advance(REFUSED_AFTER).await;
    grant(&issuer, "two", Some(600));
    assert!(auth.refused().await);
    assert_eq!(said(&*auth).await.unwrap(), "Bearer two");
}

#[tokio::test]
async fn tells_what_the_server_said_and_nothing_that_was_sent() {
    let issuer = Issuer::start().await;
    let check = async |status: u16, body: &str, expected: &str| {
        issuer.answer("/token", status, body);
        let auth = start(&credentials(&issuer, "")).await.unwrap();
        assert_eq!(said(&*auth).await, Err(expected.to_owned()));
    };
    check(
        401,
        r#"{"error":"invalid_client","error_description":"no client with hunter:2"}"#,
        "oauth2: cannot fetch token: 401 invalid_client",
    )
    .await;
    check(200, "{}", "oauth2: server response missing access_token").await;
    check(200, "<html>", "oauth2: server response missing access_token").await;
    check(
        200,
        r#"{"access_token":"a\nb"}"#,
        "oauth2: the token is not valid in a header",
    )
    .await;
    let auth = start("{client_id: a, client_secret: hunter2, token_url: 'http://127.0.0.1:1/'}")
        .await
        .unwrap();
    let told = said(&*auth).await.unwrap_err();
    assert!(
        told.starts_with("oauth2: cannot fetch token: ") && !told.contains("hunter2"),
        "{told}"
    );
}

#[tokio::test]
async fn credentials_go_into_the_body_where_the_header_is_not_taken() {
    let issuer = Issuer::start().await;
    issuer.answer("/token", 401, "{}");
    let auth = start(&credentials(&issuer, "")).await.unwrap();
    assert!(said(&*auth).await.is_err());
    let asked = issuer.asked();
    assert_eq!(asked.len(), 2);
    assert!(!asked[1].1.contains_key("authorization"));
    assert_eq!(
        asked[1].2,
        "grant_type=client_credentials&client_id=a+b&client_secret=hunter%3A2"
    );
}

#[tokio::test(start_paused = true)]
async fn signs_a_jwt_and_reads_its_files_again() {
    let issuer = Issuer::start().await;
    grant(&issuer, "one", Some(600));
    let (pair, folder) = (rsa("k", "RS384"), tempfile::tempdir().unwrap());
    let (key, id) = (folder.path().join("key.pem"), folder.path().join("id"));
    std::fs::write(&key, &pair.pem).unwrap();
    std::fs::write(&id, "client\n").unwrap();
    let url = issuer.url();
    let yaml = format!(
        "{{grant_type: '{JWT_BEARER}', client_id_file: '{}', client_certificate_key_file: '{}', token_url: '{url}/token', \
         client_certificate_key_id: k, signature_algorithm: RS384, scopes: [x], claims: {{level: 5, sub: other}}, \
         endpoint_params: {{grant_type: own}}}}",
        id.display(),
        key.display()
    );
    let auth = start(&yaml).await.unwrap();
    assert_eq!(said(&*auth).await.unwrap(), "Bearer one");
    let body = String::from_utf8(issuer.asked()[0].2.to_vec()).unwrap();
    assert!(!issuer.asked()[0].1.contains_key("authorization"));
    let (front, assertion) = body.split_once("&assertion=").unwrap();
    assert_eq!(front, "scope=x&grant_type=own");
    let token = Jwt::read(assertion).unwrap();
    let keys = Key::read_set(set(&[&pair]).as_bytes()).unwrap();
    assert!(token.is_signed_by(&keys[0]));
    assert_eq!(token.key_id.as_deref(), Some("k"));
    let claim = |name: &str| token.claims[name].clone();
    assert_eq!(claim("iss"), "client");
    assert_eq!(claim("sub"), "other");
    assert_eq!(claim("aud"), format!("{url}/token"));
    assert_eq!(claim("scope"), "x");
    assert_eq!(claim("level"), 5);
    assert_eq!(
        claim("exp").as_u64().unwrap() - claim("iat").as_u64().unwrap(),
        1800
    );
    assert_eq!(claim("jti").as_str().unwrap().len(), 36);
    std::fs::write(&key, "hunter2").unwrap();
    assert_eq!(
        start(&yaml).await.err().as_deref(),
        Some("the private key is not PEM")
    );
}
