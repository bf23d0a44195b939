//! The addresses of a cluster: taken in turn, left alone for a while when they do not answer, and told by the cluster
//! itself where that is wished.
//!
//! A node that cannot be reached, or says that it is unavailable, is passed over for a second, then for twice as long
//! each time, up to a minute; the first answer makes it whole again. If all are down, the one whose time ends first is
//! tried: nothing is held back for the sake of the list.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use codec::base64::{self, Alphabet};
use http::Uri;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

/// Addresses, and how they do.
pub(super) struct Nodes {
    nodes: ArcSwap<Vec<Arc<Node>>>,
    next: AtomicUsize,
}

/// One address.
pub(super) struct Node {
    url: Uri,
    down: Mutex<Option<Down>>,
}

#[derive(Clone, Copy)]
struct Down {
    until: Instant,
    /// Times in a row.
    times: u32,
}

const DOWN_MIN: Duration = Duration::from_secs(1);
const DOWN_MAX: Duration = Duration::from_secs(60);

impl Nodes {
    /// At least one.
    pub(super) fn new(urls: Vec<Uri>) -> Nodes {
        Nodes {
            nodes: ArcSwap::from_pointee(urls.into_iter().map(Node::new).collect()),
            next: AtomicUsize::new(0),
        }
    }

    /// Those that there are now; what is known of one that stays is kept. None at all changes nothing.
    pub(super) fn replace(&self, urls: Vec<Uri>) {
        if urls.is_empty() {
            return;
        }
        let known = self.nodes.load();
        let same = |url: &Uri| known.iter().find(|node| node.url == *url).cloned();
        let nodes: Vec<_> = urls
            .into_iter()
            .map(|url| same(&url).unwrap_or_else(|| Node::new(url)))
            .collect();
        if nodes.len() != known.len() || nodes.iter().any(|node| same(&node.url).is_none()) {
            tracing::info!(nodes = nodes.len(), "the cluster says where its nodes are");
        }
        self.nodes.store(Arc::new(nodes));
    }

    /// Whose turn it is.
    pub(super) fn pick(&self) -> Arc<Node> {
        let nodes = self.nodes.load();
        let count = nodes.len();
        let first = self.next.fetch_add(1, Relaxed);
        let now = Instant::now();
        let until = |at: usize| nodes[at].down.lock().map_or(now, |down| down.until.max(now));
        let order = (0..count).map(|i| first.wrapping_add(i) % count);
        let at = order.min_by_key(|at| until(*at)).unwrap_or(0);
        nodes[at].clone()
    }

    /// It answered.
    pub(super) fn is_well(&self, node: &Node) {
        if let Some(down) = node.down.lock().take() {
            let times = down.times;
            tracing::info!(node = shown(&node.url), times, "the node answers again");
        }
    }

    /// It did not, or said that it cannot.
    pub(super) fn is_down(&self, node: &Node) {
        let mut down = node.down.lock();
        let times = down.map_or(0, |down| down.times).saturating_add(1);
        let pause = DOWN_MIN.saturating_mul(1 << (times - 1).min(6)).min(DOWN_MAX);
        *down = Some(Down {
            until: Instant::now() + pause,
            times,
        });
        if times == 1 && self.nodes.load().len() > 1 {
            tracing::warn!(
                node = shown(&node.url),
                "the node does not answer; others are asked meanwhile"
            );
        }
    }
}

impl Node {
    fn new(url: Uri) -> Arc<Node> {
        Arc::new(Node {
            url,
            down: Mutex::default(),
        })
    }

    /// Of its `_bulk`.
    pub(super) fn url(&self) -> &Uri {
        &self.url
    }
}

// --- Discovery ---

/// When a cluster is asked for its nodes, and whom. No task of its own: a batch that is sent when it is time asks first.
pub(super) struct Discovery {
    /// Addresses as they are configured: asked when those that were told do not answer.
    seeds: Vec<Uri>,
    on_start: bool,
    every: Option<Duration>,
    state: Mutex<Due>,
}

#[derive(Clone, Copy, Default)]
struct Due {
    at: Option<Instant>,
    /// Times in a row that nobody told.
    failures: usize,
}

/// Before it is asked again after it did not tell.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// As many nodes are believed to be there.
const NODES_MAX: usize = 1000;

impl Discovery {
    pub(super) fn new(seeds: Vec<Uri>, on_start: bool, every: Duration) -> Discovery {
        Discovery {
            seeds,
            on_start,
            every: Some(every).filter(|every| !every.is_zero()),
            state: Mutex::default(),
        }
    }

    pub(super) fn seeds(&self) -> &[Uri] {
        &self.seeds
    }

    /// Time begins.
    pub(super) fn start(&self) {
        let now = Instant::now();
        self.state.lock().at = match (self.on_start, self.every) {
            (true, _) => Some(now),
            (false, every) => every.map(|every| now + every),
        };
    }

    /// Whom to ask, if it is time; then it is nobody else's turn for a while. `picked` is one that is in use.
    pub(super) fn due(&self, picked: impl FnOnce() -> Uri) -> Option<Uri> {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.at.filter(|at| *at <= now)?;
        state.at = Some(now + ASK_AGAIN);
        let seed = state.failures / 2 % self.seeds.len().max(1);
        let whom = match state.failures % 2 {
            0 => picked(),
            _ => self.seeds.get(seed).cloned().unwrap_or_else(picked),
        };
        let path = whom.path().strip_suffix("/_bulk").unwrap_or_default();
        let mut parts = whom.clone().into_parts();
        parts.path_and_query = format!("{path}/_nodes/http").parse().ok();
        Uri::from_parts(parts).ok()
    }

    /// Whether the cluster told.
    pub(super) fn is_done(&self, told: bool) {
        let mut state = self.state.lock();
        if told {
            state.failures = 0;
            state.at = self.every.map(|every| Instant::now() + every);
        } else {
            state.failures = state.failures.wrapping_add(1);
        }
    }
}

/// The URLs of `_bulk` in an answer to `_nodes/http`; those that are masters alone take no documents. `scheme` is that
/// of whoever answered.
///
/// Errors: it is no such answer.
pub(super) fn told(answer: &[u8], scheme: &str) -> Result<Vec<Uri>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        nodes: BTreeMap<Cow<'a, str>, Told<'a>>,
    }
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow, default)]
        roles: Vec<Cow<'a, str>>,
        #[serde(borrow, default)]
        http: Option<Door<'a>>,
    }
    #[derive(Deserialize)]
    struct Door<'a> {
        #[serde(borrow)]
        publish_address: Cow<'a, str>,
    }
    let answer: Answer<'_> = serde_json::from_slice(answer)?;
    let nodes = answer.nodes.values().filter(|node| node.roles != ["master"]);
    let urls = nodes.filter_map(|node| {
        let address = node.http.as_ref()?.publish_address.as_ref();
        // A name before the slash is what certificates are for; the port stands behind the address.
        let address = match address.split_once('/') {
            Some((name, address)) if !name.is_empty() => {
                let (_, port) = address.rsplit_once(':')?;
                Cow::from(format!("{name}:{port}"))
            }
            Some((_, address)) => Cow::from(address),
            None => Cow::from(address),
        };
        let url = format!("{scheme}://{address}/_bulk").parse::<Uri>().ok()?;
        url.host().is_some_and(|host| !host.is_empty()).then_some(url)
    });
    Ok(urls.take(NODES_MAX).collect())
}

/// Scheme, host and path: a query may hold a key.
pub(super) fn shown(url: &Uri) -> String {
    let authority = url.authority().map_or("", |a| a.as_str());
    format!(
        "{}://{authority}{}",
        url.scheme_str().unwrap_or("http"),
        url.path()
    )
}

/// The URL behind a cloud id: `name:base64(host$elasticsearch[$kibana])`.
pub(super) fn of_cloud(id: &str) -> Result<String, String> {
    let (_, encoded) = id
        .split_once(':')
        .ok_or("invalid CloudID: there is no colon in it")?;
    let decoded = base64::decode(Alphabet::Standard, encoded);
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or("invalid CloudID: what follows the colon is not base64")?;
    let mut parts = decoded.split('$');
    match (parts.next(), parts.next()) {
        (Some(host), Some(cluster)) if !host.is_empty() && !cluster.is_empty() => {
            // A port belongs behind the whole name.
            let (host, port) = host.split_once(':').unwrap_or((host, "443"));
            let (cluster, port) = cluster.split_once(':').unwrap_or((cluster, port));
            Ok(format!("https://{cluster}.{host}:{port}"))
        }
        _ => Err("invalid CloudID: it names no cluster".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Nodes {
        Nodes::new(
            (0..count)
                .map(|i| format!("http://n{i}:9200").parse().unwrap())
                .collect(),
        )
    }

    /// Numbers in the names of those that are picked.
    fn picks(nodes: &Nodes, count: usize) -> Vec<usize> {
        let number = |node: Arc<Node>| node.url.host().unwrap()[1..].parse().unwrap();
        (0..count).map(|_| number(nodes.pick())).collect()
    }

    fn is_down(nodes: &Nodes, at: usize) {
        nodes.is_down(&nodes.nodes.load()[at]);
    }

    fn is_well(nodes: &Nodes, at: usize) {
        nodes.is_well(&nodes.nodes.load()[at]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_down_are_passed_over_for_a_while() {
        let three = nodes(3);
        assert_eq!(picks(&three, 6), [0, 1, 2, 0, 1, 2]);
        is_down(&three, 1);
        assert_eq!(picks(&three, 6), [0, 2, 2, 0, 2, 2]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(picks(&three, 3), [0, 1, 2]);
        // Longer each time, until it answers.
        is_down(&three, 1);
        tokio::time::advance(Duration::from_millis(1999)).await;
        assert_eq!(picks(&three, 3), [0, 2, 2]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(picks(&three, 3), [0, 1, 2]);
        is_well(&three, 1);
        is_down(&three, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(picks(&three, 3), [0, 1, 2]);
        for _ in 0..40 {
            is_down(&three, 2);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(picks(&three, 3), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_are_down_the_one_that_comes_first_is_tried() {
        let two = nodes(2);
        is_down(&two, 0);
        is_down(&two, 0);
        is_down(&two, 1);
        assert_eq!(picks(&two, 4), [1, 1, 1, 1]);
        let one = nodes(1);
        is_down(&one, 0);
        assert_eq!(picks(&one, 2), [0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_come_and_go_and_what_is_known_of_them_stays() {
        let url = |at: usize| format!("http://n{at}:9200").parse().unwrap();
        let nodes = nodes(2);
        is_down(&nodes, 1);
        nodes.replace(vec![url(1), url(5), url(7)]);
        assert_eq!(picks(&nodes, 4), [5, 5, 7, 5]);
        nodes.replace(Vec::new());
        assert_eq!(picks(&nodes, 2), [5, 7]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(picks(&nodes, 3), [1, 5, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_is_asked_when_it_is_time() {
        let url = |text: &str| -> Uri { text.parse().unwrap() };
        let seeds = || vec![url("http://a:1/p/_bulk"), url("http://b:2/_bulk")];
        let due = |discovery: &Discovery| {
            let whom = discovery.due(|| url("https://c:3/_bulk"));
            whom.map(|url| url.to_string())
        };
        let after = async |s| tokio::time::advance(Duration::from_secs(s)).await;
        const PICKED: Option<&str> = Some("https://c:3/_nodes/http");

        // Never; once, until it tells; at intervals.
        let never = Discovery::new(seeds(), false, Duration::ZERO);
        never.start();
        let once = Discovery::new(seeds(), true, Duration::ZERO);
        assert_eq!(due(&once), None);
        once.start();
        for whom in [
            PICKED,
            Some("http://a:1/p/_nodes/http"),
            PICKED,
            Some("http://b:2/_nodes/http"),
            PICKED,
            Some("http://a:1/p/_nodes/http"),
        ] {
            assert_eq!(due(&once).as_deref(), whom);
            assert_eq!(due(&once), None);
            once.is_done(false);
            assert_eq!(due(&once), None);
            after(30).await;
        }
        assert_eq!(due(&once).as_deref(), PICKED);
        once.is_done(true);
        after(3_600).await;
        assert_eq!((due(&once), due(&never)), (None, None));

        let often = Discovery::new(seeds(), false, Duration::from_secs(60));
        often.start();
        for _ in 0..3 {
            assert_eq!(due(&often), None);
            after(60).await;
            assert_eq!(due(&often).as_deref(), PICKED);
            often.is_done(true);
        }
    }

    #[test]
    fn addresses_that_a_cluster_tells() {
        let check = |nodes: &str, expected: &[&str]| {
            let answer = format!(r#"{{"_nodes":{{"total":1}},"cluster_name":"c","nodes":{{{nodes}}}}}"#);
            let found: Vec<String> = told(answer.as_bytes(), "https")
                .unwrap()
                .iter()
                .map(Uri::to_string)
                .collect();
            assert_eq!(found, expected, "{nodes}");
        };
        let node = |roles: &str, http: &str| format!(r#""a":{{"name":"x","roles":[{roles}]{http}}}"#);
        let at = |address: &str| {
            node(
                r#""data","master""#,
                &format!(r#","http":{{"bound_address":[],"publish_address":"{address}","max":1}}"#),
            )
        };
        check("", &[]);
        check(&at("10.0.0.7:9200"), &["https://10.0.0.7:9200/_bulk"]);
        check(
            &at("es-1.example/10.0.0.7:9201"),
            &["https://es-1.example:9201/_bulk"],
        );
        check(&at("[::1]:9200"), &["https://[::1]:9200/_bulk"]);
        check(&at("es-1/[::1]:9202"), &["https://es-1:9202/_bulk"]);
        check(&at("/10.0.0.7:9200"), &["https://10.0.0.7:9200/_bulk"]);
        check(&at("no address"), &[]);
        check(&at(""), &[]);
        check(
            &node(r#""master""#, r#","http":{"publish_address":"m:9200"}"#),
            &[],
        );
        check(&node("", ""), &[]);
        let two =
            r#""b":{"http":{"publish_address":"b:1"}},"a":{"roles":[],"http":{"publish_address":"a:1"}}"#;
        check(two, &["https://a:1/_bulk", "https://b:1/_bulk"]);
        for wrong in ["", "{}", "[]", "<html>", r#"{"nodes":[]}"#] {
            assert!(told(wrong.as_bytes(), "http").is_err(), "{wrong}");
        }
    }

    #[test]
    fn cloud_ids() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let id = format!("name:{}", base64::encode(Alphabet::Standard, text.as_bytes()));
            assert_eq!(
                of_cloud(&id).as_deref().map_err(|e| e.as_str()),
                expected,
                "{text}"
            );
        };
        check("cloud.example$abc$def", Ok("https://abc.cloud.example:443"));
        check("cloud.example$abc", Ok("https://abc.cloud.example:443"));
        check("cloud.example:9243$abc$def", Ok("https://abc.cloud.example:9243"));
        check("cloud.example$abc:9244$def", Ok("https://abc.cloud.example:9244"));
        check("cloud.example", Err("invalid CloudID: it names no cluster"));
        check("$abc", Err("invalid CloudID: it names no cluster"));
        assert!(of_cloud("plain").is_err() && of_cloud("a:%%%").is_err());
        assert_eq!(
            of_cloud("foo:YmFyLmNsb3VkLmVzLmlvJGFiYzEyMyRkZWY0NTY=").unwrap(),
            "https://abc123.bar.cloud.es.io:443"
        );
    }
}
