//! Exporter `otlp_grpc` (alias `otlp`): OTLP over gRPC.
//!
//! In: every signal. Out: one unary call a batch, its chunks one after another as they lie in memory, or compressed
//! into one member; a body that came in with the same compression and was not touched goes out as it came. Keys,
//! defaults and classification of errors are otelcol's (v0.159). Delivery: at least once (harness).

use std::sync::OnceLock;

use bytes::Bytes;
use codec::otlp_response::Partial;
use component::prelude::*;
use component::template;
use http::uri::PathAndQuery;
use net::client::GrpcClient;
use net::observe::Calls;
use net::resolve::Target;
use net::{Compression, GrpcClientConfig};
use tokio::time::Instant;
use wire::Encoding;

/// This exporter type.
pub(crate) static FACTORY: ExporterFactory = ExporterFactory {
    kind: "otlp_grpc",
    aliases: &["otlp"],
    keys: &[Shape::of::<GrpcClientConfig>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Stability::Alpha),
        (Signal::Profiles, Stability::Development),
    ],
    // Peers refuse messages above 4 MiB unless told otherwise.
    harness: Harness {
        batch_bytes_max: Some(4 << 20),
        ..Harness::QUEUE_RETRY_TIMEOUT
    },
    build: |section, cx| Ok(Exporter::Push(Arc::new(OtlpGrpc::build(section, cx)?))),
};

struct OtlpGrpc {
    id: String,
    config: GrpcClientConfig,
    agent: String,
    compression: Option<(&'static str, Encoding)>,
    /// Those that name the tenant.
    headers: TenantHeaders,
    client: OnceLock<GrpcClient>,
    calls: Calls,
}

impl OtlpGrpc {
    fn build(section: Section, cx: &BuildContext) -> Result<OtlpGrpc, Fault> {
        let config: GrpcClientConfig = section.parse_valid()?;
        let compression = config.compression.unwrap_or(Compression::Gzip);
        if let Ok(Target::Dns { host, port } | Target::Passthrough { host, port }) =
            Target::parse(&config.endpoint)
        {
            for signal in Signal::ALL {
                let peer = vec![
                    ("server.address", host.clone()),
                    ("server.port", port.to_string()),
                ];
                cx.telemetry.ledger.set_peer(&cx.id.to_string(), signal, peer);
            }
        }
        Ok(OtlpGrpc {
            calls: Calls::new(&cx.telemetry),
            id: cx.id.to_string(),
            agent: cx.info.user_agent(),
            compression: compression.grpc().map_err(Fault::World)?,
            headers: TenantHeaders::of(
                config
                    .headers
                    .iter()
                    .map(|(name, value)| (name, &**value.expose())),
            ),
            config,
            client: OnceLock::new(),
        })
    }
}

impl Push for OtlpGrpc {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        let made = GrpcClient::new(&self.config, &self.agent).and_then(|client| {
            host::client_middlewares(&*host, &self.config.middlewares, "gRPC").map_err(|e| e.to_string())?;
            let Some(block) = self.config.auth.get() else {
                return Ok(client);
            };
            let auth = host::client_auth(&*host, &block.authenticator, "gRPC").map_err(|e| e.to_string())?;
            client.with_auth(auth)
        });
        let made = made.map_err(|e| Fault::World(format!("exporter {}: {e}", self.id)));
        ready(made.map(|client| {
            let _ = self.client.set(client);
        }))
    }

    fn authenticator(&self) -> Option<ComponentId> {
        let block = self.config.auth.get()?;
        ComponentId::parse(&block.authenticator).ok()
    }

    fn by_tenant(&self) -> bool {
        !self.headers.is_empty()
    }

    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        self.export_until(batch, None)
    }

    fn export_until<'a>(
        &'a self,
        batch: &'a Payload,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        Box::pin(async move {
            let client = self
                .client
                .get()
                .ok_or_else(|| ExportError::retry("not started"))?;
            let tenants;
            let client = match self.by_tenant() {
                false => client,
                true => {
                    tenants = client.with_headers(self.headers.expand(template::one_of(batch)?));
                    &tenants
                }
            };
            let path = PathAndQuery::from_static(wire::otlp::export_path(batch.signal));
            let reply = match self.compression {
                None => {
                    let chunks: Vec<Bytes> = batch.parts().cloned().collect();
                    let call = client.unary_until(&path, None, &chunks, &batch.context, deadline);
                    self.calls.rpc(path.as_str(), call).await
                }
                Some((token, encoding)) => {
                    let body = compressed(batch, encoding, 0).await?;
                    let body = [body];
                    let call = client.unary_until(&path, Some(token), &body, &batch.context, deadline);
                    self.calls.rpc(path.as_str(), call).await
                }
            };
            let reply = reply.map_err(ExportError::from_call)?;
            // The batch was taken; an answer that cannot be read changes nothing about that.
            let partial = Partial::decode(&reply.message).unwrap_or_else(|e| Partial {
                rejected: 0,
                message: format!("the answer could not be read: {e}"),
            });
            Ok(Outcome::of_partial(
                &self.id,
                batch.signal,
                partial.rejected,
                partial.message,
            ))
        })
    }
}

#[cfg(test)]
mod tests;
