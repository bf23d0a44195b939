//! The gateway in this process, from a configuration text, on ports of its own.

use std::net::SocketAddr;
use std::time::Duration;

use weir::service::reload::Diff;
use weir::service::{Service, load};

/// A running gateway.
pub struct Gateway {
    service: std::sync::Arc<Service>,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

/// A port that is free now.
///
/// Not one that was handed out before: whoever has it may not listen yet.
pub fn free_port() -> u16 {
    static GIVEN: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap();
    loop {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        if !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}

impl Gateway {
    /// Starts with a configuration in which `{grpc}` and `{http}` stand for ports. Own metrics are off.
    pub async fn start(config: &str) -> Gateway {
        let (grpc, http) = (free_port(), free_port());
        let text = config
            .replace("{grpc}", &grpc.to_string())
            .replace("{http}", &http.to_string());
        let loaded = match load(
            &[("test.yaml".to_owned(), text.clone())],
            &config::Gates::default(),
        ) {
            Ok(loaded) => loaded,
            Err(faults) => panic!("{faults}\n{text}"),
        };
        let service = match Service::build(loaded) {
            Ok(service) => service,
            Err(faults) => panic!("{faults}\n{text}"),
        };
        service.start().await.expect("the gateway starts");
        Gateway::of(service, grpc, http)
    }

    fn of(service: std::sync::Arc<Service>, grpc: u16, http: u16) -> Gateway {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Gateway {
            service,
            grpc: at(grpc),
            http: at(http),
        }
    }

    /// Applies another configuration, with the same ports.
    pub async fn reload(&self, config: &str) -> Result<Diff, config::Diags> {
        let text = config
            .replace("{grpc}", &self.grpc.port().to_string())
            .replace("{http}", &self.http.port().to_string());
        let loaded = load(&[("test.yaml".to_owned(), text)], &config::Gates::default())?;
        self.service.apply("test", loaded).await
    }

    pub fn telemetry(&self) -> &telemetry::Telemetry {
        self.service.telemetry()
    }

    /// Prometheus text.
    pub fn metrics(&self) -> String {
        telemetry::render::prometheus(self.telemetry(), &Default::default())
    }

    /// The totals of one row.
    pub fn books(&self, place: telemetry::Place, signal: wire::Signal) -> telemetry::Totals {
        self.telemetry().ledger.row(place, signal).total()
    }

    /// Stops, and checks that every record is accounted for and nothing is held.
    pub async fn stop(self) {
        self.service.stop(Duration::from_secs(10)).await;
        self.assert_books_balance();
    }

    /// Stops with data on disk, and checks that it is so many items and that every record is accounted for.
    pub async fn stop_holding(self, items: u64) {
        self.service.stop(Duration::from_secs(10)).await;
        self.assert_laws();
        let rows = self.telemetry().ledger.rows();
        let held: u64 = rows.iter().map(|row| row.total().held()).sum();
        assert_eq!(held, items, "held at the end");
    }

    /// Stops, with or without data on disk, and checks that every record is accounted for.
    pub async fn stop_holding_some(self) {
        self.service.stop(Duration::from_secs(10)).await;
        self.assert_laws();
    }

    /// Every law and link of the ledger; nothing held.
    pub fn assert_books_balance(&self) {
        self.assert_laws();
        for row in self.telemetry().ledger.rows() {
            assert_eq!(row.total().held(), 0, "{} still holds items", row.place);
        }
    }

    /// Every law and link of the ledger.
    fn assert_laws(&self) {
        let ledger = &self.telemetry().ledger;
        if let Err(faults) = ledger.check() {
            let rows: Vec<String> = ledger
                .rows()
                .iter()
                .map(|r| format!("{} {}: {}", r.place, r.signal.as_str(), r.total()))
                .collect();
            panic!(
                "the books do not balance:\n{}\nall rows:\n{}",
                faults.join("\n"),
                rows.join("\n")
            );
        }
        let unnamed = self.telemetry().metrics.undefined();
        assert!(
            unnamed.is_empty(),
            "metrics that telemetry/names.rs does not have: {unnamed:?}"
        );
    }
}
