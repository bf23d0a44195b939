//! The listener on real sockets, before a gateway made up for it.

use std::os::unix::fs::PermissionsExt;

use config::Gates;
use telemetry::{Column, Node, Place};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use wire::Signal;

use super::*;

#[derive(Default)]
struct Toy {
    telemetry: Telemetry,
    ready: std::sync::atomic::AtomicBool,
    journals: parking_lot::Mutex<Vec<Named>>,
    trail: std::sync::OnceLock<Arc<Trail>>,
}

impl Gateway for Toy {
    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn is_ready(&self) -> bool {
        self.ready.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn plan(&self) -> String {
        "the plan".to_owned()
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn journals(&self) -> Vec<Named> {
        self.journals.lock().clone()
    }

    fn configuration(&self) -> String {
        "{\"service\":{}}".to_owned()
    }

    fn trail(&self) -> Option<&Trail> {
        self.trail.get().map(|trail| &**trail)
    }

    fn reload(&self) -> component::BoxFuture<'_, Result<String, String>> {
        component::ready(reloaded(self.is_ready()))
    }
}

/// Says no while it is not ready.
fn reloaded(ready: bool) -> Result<String, String> {
    match ready {
        true => Ok("exporter b: added\n".to_owned()),
        false => Err("gw.yaml:1:2: no".to_owned()),
    }
}

fn settings(at: &str, token_file: Option<&std::path::Path>) -> Settings {
    Settings {
        at: Address::parse(at).unwrap(),
        token_file: token_file.map(|path| path.display().to_string()),
    }
}

async fn listen(settings: &Settings) -> (Listener, Arc<Toy>) {
    let toy = Arc::new(Toy::default());
    let listener = Listener::start(settings, toy.clone()).await.unwrap();
    (listener, toy)
}

/// Status and body of one request; `head` holds lines that end in CRLF.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str, head: &str) -> (u16, String) {
    let text = format!("{request} HTTP/1.1\r\n{head}connection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

const HOST: &str = "host: localhost\r\n";

#[test]
fn an_address_is_checked_before_anything_is_opened() {
    #[track_caller]
    fn check(admin: &str, expected: Result<(), &str>) {
        let text = format!(
            "receivers: {{nop: }}\nexporters: {{nop: }}\nservice:\n  admin: {admin}\n  pipelines: {{logs: {{receivers: [nop], exporters: [nop]}}}}\n"
        );
        let told = crate::service::validate(&[("gw.yaml".into(), text)], &Gates::default());
        match (told, expected) {
            (Ok(_), Ok(())) => {}
            (Ok(_), Err(expected)) => panic!("{admin}: nothing said, not even {expected}"),
            (Err(faults), Ok(())) => panic!("{admin}: {faults}"),
            (Err(faults), Err(expected)) => assert!(faults.to_string().contains(expected), "{faults}"),
        }
    }
    check("{endpoint: '127.0.0.1:8889'}", Ok(()));
    check("{endpoint: 'localhost:8889'}", Ok(()));
    check("{endpoint: '[::1]:8889'}", Ok(()));
    check("{endpoint: 'unix:///run/weir.sock'}", Ok(()));
    check("{endpoint: '0.0.0.0:8889', token_file: /etc/weir/token}", Ok(()));
    let open = "{endpoint: '0.0.0.0:8889'}";
    let told = "gw.yaml:4:11 service::admin::endpoint: 0.0.0.0:8889 is reached by other machines, and nobody is asked";
    check(open, Err(told));
    check(
        open,
        Err("help: add token_file: a file with a token, or listen on 127.0.0.1:PORT or unix:///path"),
    );
    check("{endpoint: 'gateway:8889'}", Err("reached by other machines"));
    check("{endpoint: ':8889'}", Err("write host:port"));
    check(
        "{endpoint: 'unix://run/weir.sock'}",
        Err("with the path from the root on"),
    );
    check("", Err("service::admin::endpoint: write host:port"));
    check("{endpont: 'localhost:1'}", Err("endpont"));
    check("[]", Err("'service.admin' expected type"));
}

#[tokio::test]
async fn orders_are_refused_while_the_audit_trail_is_full() {
    let (listener, toy) = listen(&settings("127.0.0.1:0", None)).await;
    let addr = listener.local_addr();
    let ask = async |request: &str| {
        let stream = TcpStream::connect(addr).await.unwrap();
        ask(stream, request, HOST).await
    };
    toy.ready.store(true, std::sync::atomic::Ordering::Relaxed);
    let trail = Trail::new(&toy.telemetry, &Arc::new(component::Memory::new(1 << 20)));
    trail.want(&super::super::audit::keys::Wanted {
        is_on: true,
        ..Default::default()
    });
    toy.trail.set(trail.clone()).ok().unwrap();
    let order = "POST /-/reload";
    assert_eq!(ask(order).await.0, 200);
    while !trail.is_full() {
        trail.tell(component::audit::Act::new("test", "test").with("much", "x".repeat(100_000)));
    }
    let refused = "orders are refused while the audit trail is full: see the log\n";
    assert_eq!(ask(order).await, (503, refused.to_owned()));
    assert_eq!(ask("POST /-/journal/discard?destination=x").await.0, 503);
    // Who only looks may.
    assert_eq!(ask("GET /-/ready").await.0, 200);
}

#[tokio::test]
async fn answers_what_the_gateway_knows() {
    let (listener, toy) = listen(&settings("127.0.0.1:0", None)).await;
    let addr = listener.local_addr();
    let get = async |path: &str| {
        let stream = TcpStream::connect(addr).await.unwrap();
        ask(stream, &format!("GET {path}"), HOST).await
    };
    let own = |text: &str| text.to_owned();
    assert_eq!(get("/-/ready").await, (503, own("not ready\n")));
    toy.ready.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(get("/-/ready").await, (200, own("ready\n")));
    assert_eq!(get("/-/healthy").await, (200, own("healthy\n")));
    assert_eq!(get("/-/plan").await, (200, own("the plan\n")));
    assert_eq!(get("/-/config").await, (200, own("{\"service\":{}}\n")));
    assert_eq!(get("/-/ledger?format=xml").await.0, 400);
    let (status, text) = get("/").await;
    assert_eq!(status, 404);
    assert!(text.contains("GET  /-/ledger"), "{text}");
    let stream = TcpStream::connect(addr).await.unwrap();
    assert_eq!(ask(stream, "POST /-/ledger", HOST).await.0, 405);
    let stream = TcpStream::connect(addr).await.unwrap();
    assert_eq!(ask(stream, "HEAD /-/healthy", HOST).await, (200, String::new()));

    let post = async || {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (status, text) = ask(stream, "POST /-/reload", HOST).await;
        (status, serde_json::from_str::<serde_json::Value>(&text).unwrap())
    };
    let told = serde_json::json!({"reloaded": true, "changes": "exporter b: added"});
    assert_eq!(post().await, (200, told));
    assert_eq!(get("/-/reload").await.0, 405);
    toy.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    let told = serde_json::json!({"reloaded": false, "error": "gw.yaml:1:2: no"});
    assert_eq!(post().await, (400, told));

    let row = |place| toy.telemetry.ledger.row(place, Signal::Logs);
    let node = row(Place::Node(Node::Exporter("otlp".into())));
    node.add_items(Column::In, Some(&"a".into()), 3);
    node.add_items(Column::Out, Some(&"a".into()), 3);
    let (status, text) = get("/-/ledger").await;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({"balanced": true, "faults": [], "lines": [
        {"kind": "node", "place": "exporter otlp", "signal": "logs", "tenant": "a", "since_start": {"in": 3, "out": 3}},
    ]});
    assert_eq!((status, told), (200, expected));
    node.add_items(Column::In, None, 1);
    let (_, text) = get("/-/ledger?tenant=b&format=text").await;
    assert_eq!(
        text,
        "The books do not balance:\n  exporter otlp logs: 4 came, 3 accounted for: in 4, out 3\n"
    );
    listener.stop().await;
}

#[tokio::test]
async fn pages_of_strangers_are_turned_away() {
    let (listener, toy) = listen(&settings("localhost:0", None)).await;
    let addr = listener.local_addr();
    let check = async |head: &str, expected: u16| {
        let stream = TcpStream::connect(addr).await.unwrap();
        assert_eq!(ask(stream, "GET /-/healthy", head).await.0, expected, "{head}");
    };
    check("host: localhost\r\n", 200).await;
    check("host: LOCALHOST:8889\r\n", 200).await;
    check("host: 127.0.0.1:8889\r\n", 200).await;
    check("host: [::1]\r\n", 200).await;
    check("host: [::1]:8889\r\n", 200).await;
    check("host: evil.example:8889\r\n", 403).await;
    check("host: localhost.evil.example\r\n", 403).await;
    check("host: 127.0.0.1.evil.example\r\n", 403).await;
    check("", 403).await;
    check("host: localhost\r\norigin: https://evil.example\r\n", 403).await;
    check("host: localhost\r\norigin: null\r\n", 403).await;
    check("host: localhost\r\nsec-fetch-site: cross-site\r\n", 403).await;
    check("host: localhost\r\ncontent-length: 1048577\r\n", 413).await;
    let counted = |reason: &str| {
        let metrics = &toy.telemetry.metrics;
        metrics
            .counter("weir_admin_refused", vec![("reason", reason.to_owned())])
            .get()
    };
    assert_eq!(["host", "browser", "body"].map(counted), [4, 3, 1]);
    listener.stop().await;
}

#[tokio::test]
async fn a_token_is_asked_for_and_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let (listener, _) = listen(&settings("127.0.0.1:0", Some(&file))).await;
    let addr = listener.local_addr();
    let check = async |head: &str, expected: u16| {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (status, body) = ask(stream, "GET /-/healthy", &format!("{HOST}{head}")).await;
        assert_eq!(status, expected, "{head}");
        assert!(!body.contains("0123456789"), "{body}");
    };
    check("", 401).await;
    check("authorization: Bearer 0123456789abcdef\r\n", 200).await;
    check("authorization: bearer  0123456789abcdef\r\n", 200).await;
    check("authorization: Bearer 0123456789abcde\r\n", 401).await;
    check("authorization: Bearer \r\n", 401).await;
    check("authorization: Basic 0123456789abcdef\r\n", 401).await;
    check("authorization: 0123456789abcdef\r\n", 401).await;
    std::fs::write(&file, "fedcba9876543210").unwrap();
    check("authorization: Bearer 0123456789abcdef\r\n", 401).await;
    check("authorization: Bearer fedcba9876543210\r\n", 200).await;
    // A token that is gone lets nobody in, rather than everybody.
    std::fs::write(&file, "").unwrap();
    check("authorization: Bearer \r\n", 500).await;
    check("authorization: Bearer fedcba9876543210\r\n", 500).await;
    listener.stop().await;
    let told = Listener::start(&settings("127.0.0.1:0", Some(&file)), Arc::new(Toy::default())).await;
    let told = told.err().map(|fault| fault.to_string()).unwrap_or_default();
    assert!(
        told.ends_with("a token has 16 to 4096 bytes, this one 0"),
        "{told}"
    );
}

#[tokio::test]
async fn a_unix_socket_is_private_and_outlives_a_dead_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let at = format!("unix://{}", path.display());
    // Of a process that died without taking it away.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (listener, _) = listen(&settings(&at, None)).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let answer = ask(
        UnixStream::connect(&path).await.unwrap(),
        "GET /-/healthy",
        "host: x\r\n",
    )
    .await;
    assert_eq!(answer, (200, "healthy\n".to_owned()));
    // A second gateway does not take it from one that lives.
    let second = Listener::start(&settings(&at, None), Arc::new(Toy::default())).await;
    assert!(second.is_err());
    let answer = ask(
        UnixStream::connect(&path).await.unwrap(),
        "GET /-/healthy",
        "host: x\r\n",
    )
    .await;
    assert_eq!(answer.0, 200);
    let names = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["admin.sock"]);
    listener.stop().await;
    // A file that is no socket is not ours to remove.
    let file = folder.path().join("precious");
    std::fs::write(&file, "data").unwrap();
    let third = Listener::start(
        &settings(&format!("unix://{}", file.display()), None),
        Arc::new(Toy::default()),
    )
    .await;
    assert!(third.is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "data");
}

#[test]
fn a_bearer_is_read_as_it_is_written() {
    #[track_caller]
    fn check(header: &str, expected: Option<&str>) {
        assert_eq!(bearer(header.as_bytes()), expected.map(str::as_bytes), "{header}");
    }
    check("Bearer abc", Some("abc"));
    check("BEARER   abc ", Some("abc"));
    check("Bearer ", Some(""));
    check("Bearer", None);
    check("Basic abc", None);
    check("", None);
}

/// A journal that owes `exporter/gone/logs` five items of one tenant and two of nobody.
async fn journal(folder: &std::path::Path) -> storage::Journal {
    let disk = Arc::new(storage::journal::disk::RealDisk::open(folder).unwrap());
    let (journal, _) = storage::Journal::open(disk, storage::Options::default()).unwrap();
    let id = journal
        .destination("exporter/gone/logs", Default::default())
        .unwrap();
    for (tenant, items) in [(Some("acme"), 5), (Some("~1f"), 2)] {
        let head = storage::journal::Head {
            kind: Signal::Logs.index() as u8,
            items,
            destinations: [id].into(),
            tenant: tenant.map(Into::into),
        };
        let room = journal.reserve(&head, 3).unwrap();
        journal.append(head, vec!["abc".into()], room).await.unwrap();
    }
    journal
}

#[tokio::test]
async fn what_nobody_reads_for_is_shown_and_can_be_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path()).await;
    let (listener, toy) = listen(&settings("127.0.0.1:0", None)).await;
    let id = config::ComponentId::parse("file_storage/a").unwrap();
    toy.journals.lock().push((id, journal.clone()));
    let addr = listener.local_addr();
    let call = async |request: &str| {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (status, text) = ask(stream, request, HOST).await;
        (
            status,
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default(),
        )
    };
    let destination = async || {
        let (_, told) = call("GET /-/journal").await;
        let told = &told["journals"][0];
        assert_eq!(
            (&told["storage"], &told["trouble"]),
            (&"file_storage/a".into(), &serde_json::Value::Null)
        );
        let one = &told["destinations"][0];
        assert_eq!(one["name"], "exporter/gone/logs");
        (
            one["records"].as_u64().unwrap(),
            one["items"].as_u64().unwrap(),
            one["orphan"].as_bool().unwrap(),
        )
    };
    assert_eq!(destination().await, (2, 7, true));
    assert_eq!(
        call("GET /-/status").await.1["journals"],
        call("GET /-/journal").await.1["journals"]
    );

    let path = "/-/journal/discard?destination=exporter%2Fgone%2Flogs";
    let post = format!("POST {path}");
    assert_eq!(call(&format!("GET {path}")).await.0, 405);
    assert_eq!(
        call("POST /-/journal/discard?destination=exporter/other/logs")
            .await
            .0,
        404
    );
    assert_eq!(call(&format!("{post}&storage=file_storage/b")).await.0, 404);
    // Before all pipelines run nobody knows who will read for it, and whoever reads keeps it.
    assert_eq!(call(&post).await.0, 409);
    toy.ready.store(true, std::sync::atomic::Ordering::Relaxed);
    let found = journal.destinations()[0].id;
    let turn = journal.turn(found).await;
    assert_eq!(destination().await, (2, 7, false));
    assert_eq!(call(&post).await.0, 409);
    assert_eq!(toy.telemetry.ledger.rows().len(), 0);
    drop(turn);
    let row = toy
        .telemetry
        .ledger
        .row(Place::Node(Node::Exporter("gone".into())), Signal::Logs);
    // Whoever had it has carried it in.
    row.add_items(Column::CarriedIn, Some(&"acme".into()), 5);
    row.add_items(Column::Held, Some(&"acme".into()), 5);
    row.add_items(Column::CarriedIn, None, 2);
    row.add_items(Column::Held, None, 2);
    let (status, told) = call(&post).await;
    assert_eq!((status, &told["discarded_items"]), (200, &7.into()));
    assert_eq!(destination().await, (0, 0, false));
    assert_eq!(row.total().to_string(), "carried_in 7, dropped{discarded} 7");
    assert_eq!(toy.telemetry.ledger.check(), Ok(()));
    let orders = |outcome: &str| {
        let labels = vec![
            ("call", "journal_discard".to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        toy.telemetry.metrics.counter("weir_admin_orders", labels).get()
    };
    assert_eq!(["200", "404", "409"].map(orders), [1, 2, 2]);
    listener.stop().await;
}

#[tokio::test]
async fn what_nobody_ever_read_is_carried_in_as_it_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path()).await;
    let toy = Toy::default();
    toy.ready.store(true, std::sync::atomic::Ordering::Relaxed);
    let id = config::ComponentId::parse("file_storage").unwrap();
    toy.journals.lock().push((id, journal));
    let query = "destination=exporter/gone/logs&storage=file_storage";
    let answer = calls::call(&toy, &Method::POST, DISCARD, query).await;
    assert_eq!(answer.status, 200);
    let row = toy
        .telemetry
        .ledger
        .row(Place::Node(Node::Exporter("gone".into())), Signal::Logs);
    assert_eq!(row.total().to_string(), "carried_in 7, dropped{discarded} 7");
    let acme = &row.by_tenant()[1];
    assert_eq!((acme.0.as_deref(), acme.1.dropped_all()), (Some("acme"), 5));
}
