//! A client for a bucket: whom to believe, which way to go, and who we are.

use aws_config::BehaviorVersion;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
    SharedHttpClient,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use net::tls::ClientTls;

use crate::blocks::S3;
use crate::error::{Class, StoreError};

/// The name of our sessions in a role's trail.
const SESSION: &str = "weir";
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// What may leave a connection that the store is about to close, and which the next call must not meet: MinIO reads no
/// further than the head of a write that it refuses. Nothing is tried again here; the word for it closes the connection.
/// That something is not there is how reads are answered, and closes none.
#[derive(Debug)]
struct Refused;

impl ClassifyRetry for Refused {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let status = context.response().map(|response| response.status());
        match status.is_some_and(|status| status.is_client_error() && status.as_u16() != 404) {
            true => RetryAction::transient_error(),
            false => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Refused"
    }
}

/// A client as `config` says. Asks nobody anything yet; credentials are looked for when the first call needs them.
pub(super) async fn client(config: &S3) -> Result<Client, StoreError> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(config.timeout.0)
        .build();
    let http = http_client(config).await?;
    let region = Region::new(config.region.clone());
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region.clone())
        .timeout_config(timeouts)
        .http_client(http.clone());
    let auth = &config.auth;
    if !auth.profile.is_empty() {
        loader = loader.profile_name(&auth.profile);
    }
    if !auth.access_key_id.is_empty() {
        let token = Some(auth.session_token.expose().clone()).filter(|token| !token.is_empty());
        let secret = auth.secret_access_key.expose();
        loader = loader.credentials_provider(Credentials::new(
            &auth.access_key_id,
            secret,
            token,
            None,
            SESSION,
        ));
    }
    let shared = loader.load().await;
    let mut builder = aws_sdk_s3::config::Builder::from(&shared)
        // Who queues also retries; two that do multiply.
        .retry_config(RetryConfig::disabled())
        .retry_classifier(Refused)
        .force_path_style(config.force_path_style)
        // Ours is in the request already, and what is read is hashed by whoever believes nobody.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if !config.endpoint.is_empty() {
        builder = builder.endpoint_url(&config.endpoint);
    }
    if !auth.web_identity_token_file.is_empty() {
        let provider = WebIdentityTokenCredentialsProvider::builder()
            .configure(
                &ProviderConfig::empty()
                    .with_region(Some(region))
                    .with_http_client(http),
            )
            .static_configuration(StaticConfiguration {
                web_identity_token_file: (&auth.web_identity_token_file).into(),
                role_arn: config.role_arn.clone(),
                session_name: SESSION.into(),
            })
            .build();
        builder = builder.credentials_provider(SharedCredentialsProvider::new(provider));
    } else if !config.role_arn.is_empty() {
        let mut role = AssumeRoleProvider::builder(&config.role_arn)
            .session_name(SESSION)
            .region(region)
            .configure(&shared);
        if !config.external_id.is_empty() {
            role = role.external_id(&config.external_id);
        }
        builder = builder.credentials_provider(SharedCredentialsProvider::new(role.build().await));
    }
    Ok(Client::from_conf(builder.build()))
}

async fn http_client(config: &S3) -> Result<SharedHttpClient, StoreError> {
    let fault = |what: &str, e: &dyn std::fmt::Display| {
        StoreError::new(Class::Config, "connect", format!("{what}: {e}"))
    };
    let mut pem = config.tls.ca_pem.expose().clone().into_bytes();
    if !config.tls.ca_file.is_empty() {
        let read = tokio::fs::read(&config.tls.ca_file).await;
        pem = read.map_err(|e| fault("tls::ca_file", &e))?;
    }
    let believed = ClientTls {
        ca_file: config.tls.ca_file.clone(),
        ca_pem: config.tls.ca_pem.clone(),
        include_system_ca_certs_pool: config.tls.include_system_ca_certs_pool,
        ..ClientTls::default()
    };
    // The client underneath takes certificates that cannot be read for a broken promise.
    let roots = tokio::task::spawn_blocking(move || believed.load(&[]).map(drop)).await;
    let has_roots = match roots {
        Ok(Ok(())) => true,
        Ok(Err(_)) if pem.is_empty() && config.endpoint.starts_with("http://") => false,
        Ok(Err(e)) => return Err(fault("tls", &e)),
        Err(e) => return Err(fault("tls", &e)),
    };
    let system = has_roots && (pem.is_empty() || config.tls.include_system_ca_certs_pool);
    let mut trusted = TrustStore::empty().with_native_roots(system);
    if !pem.is_empty() {
        trusted = trusted.with_pem_certificate(pem);
    }
    let context = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|e| fault("tls", &e))?;
    let proxy = match config.proxy_url.expose().as_str() {
        // As everywhere in this program: what is on this machine is not looked for behind a proxy.
        "" if is_loopback(&config.endpoint) => ProxyConfig::disabled(),
        "" => ProxyConfig::from_env(),
        url => ProxyConfig::all(url).map_err(|e| fault("proxy_url", &e))?,
    };
    Ok(
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder();
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            connector
                .proxy_config(proxy.clone())
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .build()
        }),
    )
}

fn is_loopback(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        let check = |endpoint: &str, expected| assert_eq!(is_loopback(endpoint), expected, "{endpoint}");
        check("http://localhost:9000", true);
        check("https://LOCALHOST/path", true);
        check("http://127.0.0.1:9000", true);
        check("http://127.8.8.8", true);
        check("http://[::1]:9000/", true);
        check("", false);
        check("http://localhost.example.com", false);
        check("http://10.0.0.1:9000", false);
        check("http://[2001:db8::1]:9000", false);
        check("https://s3.example.com:443/127.0.0.1", false);
    }
}
