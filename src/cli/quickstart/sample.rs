//! Mesh access logs and spans as a service mesh sends them, with secrets in them as users leave them there.
//!
//! Written field by field into OTLP protobuf (names and numbers: [`wire::otlp`]); chance has a fixed seed, so two runs
//! show the same records.

use wire::Signal;
use wire::field::{FIXED64, write_header};
use wire::otlp::{self, Message, NodeKind};
use wire::varint;
use wire::view::{NewValue, any_encode};

/// One request, and what to look for on the other side.
pub(super) struct Request {
    /// Encoded `ExportLogsServiceRequest` or `ExportTraceServiceRequest`.
    pub message: Vec<u8>,
    /// Items in it.
    pub items: u64,
}

/// A record to show before and after.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Value of its `request_id` attribute.
    pub id: String,
    /// What holds the secret: `body`, or the name of an attribute.
    pub place: &'static str,
    /// The text as it was sent.
    pub before: String,
}

/// Sample traffic: access logs, spans, and the records worth showing.
pub(super) struct Sample {
    pub logs: Vec<Request>,
    pub traces: Vec<Request>,
    pub shown: Vec<Shown>,
}

/// Requests of each signal, and records in each.
const REQUESTS: u64 = 20;
const RECORDS: u64 = 50;

/// Every this many records hold a secret.
const SECRET_EVERY: u64 = 9;

const SECRETS: [&str; 4] = [
    "email=alice.smith@example.com",
    "card=4111 1111 1111 1111",
    "auth=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmVk",
    "key=sk_live_4eC39HqLyjWDarjtT1zdp7dc",
];

/// Makes the sample; `now_ns` is the time of the last record.
pub(super) fn sample(now_ns: u64) -> Sample {
    let mut dice = Dice(7);
    let mut shown = Vec::new();
    let start_ns = now_ns.saturating_sub(REQUESTS * RECORDS * 1_000_000);
    let logs = requests(Signal::Logs, "log_records", |k| {
        log_record(&mut dice, &mut shown, start_ns, k)
    });
    let traces = requests(Signal::Traces, "spans", |k| {
        span(&mut dice, &mut shown, start_ns, k)
    });
    Sample { logs, traces, shown }
}

/// Wraps records into requests: one resource, one scope each.
fn requests(signal: Signal, list: &str, mut record: impl FnMut(u64) -> Writer) -> Vec<Request> {
    let mut resource = Writer::new(&otlp::RESOURCE);
    resource.attributes(&[
        ("service.name", "checkout"),
        ("k8s.namespace.name", "shop"),
        ("k8s.container.name", "istio-proxy"),
    ]);
    let mut request = |n: u64| {
        let mut scope = Writer::new(otlp::node(signal, NodeKind::Scope));
        for k in n * RECORDS..(n + 1) * RECORDS {
            scope.bytes(list, &record(k).out);
        }
        let mut group = Writer::new(otlp::node(signal, NodeKind::Resource));
        group.bytes("resource", &resource.out);
        group.bytes(group.shape.fields[1].name, &scope.out);
        let mut request = Writer::new(otlp::request(signal));
        request.bytes(request.shape.fields[0].name, &group.out);
        Request {
            message: request.out,
            items: RECORDS,
        }
    };
    (0..REQUESTS).map(&mut request).collect()
}

fn log_record(dice: &mut Dice, shown: &mut Vec<Shown>, start_ns: u64, k: u64) -> Writer {
    let access = Access::new(dice, k, "log");
    let body = format!(
        "\"{} {} HTTP/2\" {} - {} {}",
        access.method, access.path, access.code, access.bytes, access.duration_ms
    );
    access.show(shown, "body", &body);
    let mut record = Writer::new(&otlp::LOG_RECORD);
    record.fixed64("time_unix_nano", start_ns + k * 1_000_000);
    record.bytes("body", &string(&body));
    record.attributes(&access.attributes());
    record
}

fn span(dice: &mut Dice, shown: &mut Vec<Shown>, start_ns: u64, k: u64) -> Writer {
    let access = Access::new(dice, k, "span");
    let url = format!("https://shop.example.com{}", access.path);
    access.show(shown, "http.url", &url);
    let mut span = Writer::new(&otlp::SPAN);
    span.bytes("trace_id", &u128::from(k + 1).to_be_bytes());
    span.bytes("span_id", &(k + 1).to_be_bytes());
    span.bytes("name", b"ingress");
    span.fixed64("start_time_unix_nano", start_ns + k * 1_000_000);
    span.fixed64(
        "end_time_unix_nano",
        start_ns + (k + access.duration_ms) * 1_000_000,
    );
    span.attributes(&access.attributes());
    span.attributes(&[("http.url", &url)]);
    span
}

/// One access to the shop.
struct Access {
    id: String,
    method: &'static str,
    path: String,
    code: &'static str,
    bytes: u64,
    duration_ms: u64,
    secret: Option<usize>,
}

impl Access {
    fn new(dice: &mut Dice, k: u64, kind: &str) -> Access {
        let secret = k
            .is_multiple_of(SECRET_EVERY)
            .then_some((k / SECRET_EVERY) as usize % SECRETS.len());
        let mut path = dice
            .pick(&["/api/cart", "/api/orders", "/search", "/api/payments"])
            .to_owned();
        path.push_str(&format!("/{}", dice.below(1000)));
        if let Some(secret) = secret {
            path.push_str(&format!("?{}", SECRETS[secret]));
        }
        Access {
            id: format!("{kind}-{k}"),
            method: dice.pick(&["GET", "GET", "POST"]),
            path,
            code: dice.pick(&["200", "200", "200", "404", "503"]),
            bytes: dice.below(5000),
            duration_ms: 1 + dice.below(300),
            secret,
        }
    }

    /// Remembers the first record of each kind of secret.
    fn show(&self, shown: &mut Vec<Shown>, place: &'static str, before: &str) {
        let Some(secret) = self.secret else { return };
        let seen = shown
            .iter()
            .any(|s| s.place == place && s.before.contains(SECRETS[secret]));
        if !seen {
            shown.push(Shown {
                id: self.id.clone(),
                place,
                before: before.to_owned(),
            });
        }
    }

    fn attributes(&self) -> [(&str, &str); 6] {
        [
            ("request_id", &self.id),
            ("method", self.method),
            ("path", &self.path),
            ("response_code", self.code),
            ("upstream_cluster", "outbound|8080||checkout"),
            ("user_agent", "okhttp/4.12.0"),
        ]
    }
}

fn string(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    any_encode(NewValue::Str(value.as_bytes()), &mut out);
    out
}

/// A message being written.
struct Writer {
    shape: &'static Message,
    out: Vec<u8>,
}

impl Writer {
    fn new(shape: &'static Message) -> Writer {
        Writer {
            shape,
            out: Vec::new(),
        }
    }

    fn number(&self, name: &str) -> u32 {
        self.shape
            .named(name)
            .expect("the sample names fields of the table")
            .number
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        write_header(self.number(name), value.len(), &mut self.out);
        self.out.extend_from_slice(value);
    }

    fn fixed64(&mut self, name: &str, value: u64) {
        varint::write(
            u64::from(self.number(name)) << 3 | u64::from(FIXED64),
            &mut self.out,
        );
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn attributes(&mut self, pairs: &[(&str, &str)]) {
        for (key, value) in pairs {
            let mut pair = Writer::new(&otlp::KEY_VALUE);
            pair.bytes("key", key.as_bytes());
            pair.bytes("value", &string(value));
            self.bytes("attributes", &pair.out);
        }
    }
}

/// Numbers that look like chance (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len() as u64) as usize]
    }
}
