//! The page at `/metrics`, served for Prometheus.

use std::sync::Arc;

use bytes::Bytes;
use component::Fault;
use http::{Method, Request, Response, StatusCode, header};
use net::server::{self, Body, BoxFuture, Incoming, Peer, Server};
use telemetry::render::{self, Format, Shape};
use telemetry::{Level, Resource, Telemetry};

use super::metrics::PullSettings;
use super::views::Views;

/// Scrapers are few.
const CONNECTIONS_MAX: usize = 256;

/// What a page is made from.
pub(super) struct Page {
    pub(super) telemetry: Telemetry,
    pub(super) resource: Arc<Resource>,
    pub(super) level: Level,
    pub(super) views: Arc<Views>,
    pub(super) shape: Shape,
}

/// Binds and serves.
pub(super) async fn serve(settings: &PullSettings, page: Page) -> Result<Server, Fault> {
    let address = &settings.address;
    let limits = server::Settings {
        connections_max: CONNECTIONS_MAX,
        ..server::Settings::default()
    };
    Server::bind(address, limits, Arc::new(page))
        .await
        .map_err(|e| Fault::World(format!("binding address {address} for Prometheus exporter: {e}")))
}

impl Page {
    fn render(&self, accept: &str) -> (Vec<u8>, String) {
        let snapshot = self.views.of(&self.telemetry, self.level);
        let format = Format::negotiate(accept);
        let page = render::page(&snapshot, &self.resource, &self.shape, format);
        (page, format.content_type())
    }
}

impl server::Service for Page {
    fn call(self: Arc<Self>, request: Request<Incoming>, _peer: Peer) -> BoxFuture<Response<Body>> {
        let found =
            request.uri().path() == "/metrics" && matches!(*request.method(), Method::GET | Method::HEAD);
        let accept = request.headers().get_all(header::ACCEPT).iter();
        let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
        let (status, (text, kind)) = match found {
            true => (StatusCode::OK, self.render(&accept.join(","))),
            false => (
                StatusCode::NOT_FOUND,
                (
                    b"404 page not found: try /metrics\n".to_vec(),
                    "text/plain; charset=utf-8".to_owned(),
                ),
            ),
        };
        let mut response = Response::new(Body::from(Bytes::from(text)));
        *response.status_mut() = status;
        if let Ok(kind) = header::HeaderValue::try_from(kind) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        Box::pin(std::future::ready(response))
    }
}
