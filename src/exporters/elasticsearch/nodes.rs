//! The addresses of a cluster: taken in turn, and left alone for a while when they do not answer.
//!
//! A node that cannot be reached, or says that it is unavailable, is passed over for a second, then for twice as long
//! each time, up to a minute; the first answer makes it whole again. If all are down, the one whose time ends first is
//! tried: nothing is held back for the sake of the list.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use codec::base64::{self, Alphabet};
use http::Uri;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Addresses, and how they do.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    next: AtomicUsize,
}

struct Node {
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
        let node = |url| Node {
            url,
            down: Mutex::default(),
        };
        Nodes {
            nodes: urls.into_iter().map(node).collect(),
            next: AtomicUsize::new(0),
        }
    }

    pub(super) fn urls(&self) -> impl Iterator<Item = &Uri> {
        self.nodes.iter().map(|node| &node.url)
    }

    /// Whose turn it is: its number and its URL.
    pub(super) fn pick(&self) -> (usize, &Uri) {
        let count = self.nodes.len();
        let first = self.next.fetch_add(1, Relaxed);
        let now = Instant::now();
        let until = |at: usize| self.nodes[at].down.lock().map_or(now, |down| down.until.max(now));
        let order = (0..count).map(|i| first.wrapping_add(i) % count);
        let at = order.min_by_key(|at| until(*at)).unwrap_or(0);
        (at, &self.nodes[at].url)
    }

    /// It answered.
    pub(super) fn is_well(&self, at: usize) {
        if let Some(down) = self.nodes[at].down.lock().take() {
            let (node, times) = (self.shown(at), down.times);
            tracing::info!(node, times, "the node answers again");
        }
    }

    /// It did not, or said that it cannot.
    pub(super) fn is_down(&self, at: usize) {
        let mut down = self.nodes[at].down.lock();
        let times = down.map_or(0, |down| down.times).saturating_add(1);
        let pause = DOWN_MIN.saturating_mul(1 << (times - 1).min(6)).min(DOWN_MAX);
        *down = Some(Down {
            until: Instant::now() + pause,
            times,
        });
        if times == 1 && self.nodes.len() > 1 {
            let node = self.shown(at);
            tracing::warn!(node, "the node does not answer; others are asked meanwhile");
        }
    }

    fn shown(&self, at: usize) -> String {
        shown(&self.nodes[at].url)
    }
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

    fn picks(nodes: &Nodes, count: usize) -> Vec<usize> {
        (0..count).map(|_| nodes.pick().0).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_down_are_passed_over_for_a_while() {
        let three = nodes(3);
        assert_eq!(picks(&three, 6), [0, 1, 2, 0, 1, 2]);
        three.is_down(1);
        assert_eq!(picks(&three, 6), [0, 2, 2, 0, 2, 2]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(picks(&three, 3), [0, 1, 2]);
        // Longer each time, until it answers.
        three.is_down(1);
        tokio::time::advance(Duration::from_millis(1999)).await;
        assert_eq!(picks(&three, 3), [0, 2, 2]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(picks(&three, 3), [0, 1, 2]);
        three.is_well(1);
        three.is_down(1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(picks(&three, 3), [0, 1, 2]);
        for _ in 0..40 {
            three.is_down(2);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(picks(&three, 3), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_are_down_the_one_that_comes_first_is_tried() {
        let two = nodes(2);
        two.is_down(0);
        two.is_down(0);
        two.is_down(1);
        assert_eq!(picks(&two, 4), [1, 1, 1, 1]);
        let one = nodes(1);
        one.is_down(0);
        assert_eq!(picks(&one, 2), [0, 0]);
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
