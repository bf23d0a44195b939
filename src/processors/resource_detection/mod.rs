//! Processor `resource_detection`: adds to every resource what is known about where the gateway runs.
//!
//! Keys, defaults, order and results are those of the collector's resource detection processor (v0.155). Detection runs
//! once at start, and again where `refresh_interval` says so; data only ever sees what was found last. `env` and
//! `system` are here; the detectors of clouds and platforms are taken by name, find nothing, and say so in the log.

mod env;
mod interfaces;
mod system;

use std::time::Duration as StdDuration;

use arc_swap::ArcSwap;
use component::prelude::*;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};
use wire::view::{Kind, NewValue, View, any_encode};

use crate::literal::Literal;

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "resource_detection",
    aliases: &["resourcedetection"],
    keys: &[
        Shape::of::<Config>(),
        Shape::of::<Elsewhere>(),
        Shape::of::<net::HttpClientConfig>(),
    ],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |mut section, cx, _signal| {
        let http: net::HttpClientConfig = section.take()?;
        section.take::<Elsewhere>()?;
        let config: Config = section.clone().parse()?;
        let detection = Detection::new(&config, &http, &section, cx)?;
        Ok(Processor::Tree(Arc::new(detection)))
    },
};

/// `resource_detection`: who looks, and what becomes of what is there already. Beside these keys stand those of an HTTP
/// client; of them only `timeout` has an effect: detection is given up after it (default 5 s).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who looks; what an earlier one finds stands. Default: `env`.
    pub detectors: Vec<String>,
    /// What is found replaces what a resource has. Default true.
    pub r#override: bool,
    /// The only attributes that are set; empty = all. Gone from collectors since v0.142: use `resource_attributes`.
    pub attributes: Vec<String>,
    /// Look again this often; 0 (default) = once, at start.
    pub refresh_interval: Duration,
    /// What `system` looks for.
    pub system: system::Config,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            detectors: vec!["env".into()],
            r#override: true,
            attributes: Vec::new(),
            refresh_interval: Duration::default(),
            system: system::Config::default(),
        }
    }
}

/// A switch that is off unless the user says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Off {
    enabled: bool,
}

/// A switch that is on unless the user says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct On {
    enabled: bool,
}

impl Default for On {
    fn default() -> On {
        On { enabled: true }
    }
}

/// Detectors that are elsewhere: their names, and the keys with their settings, which are taken as they are.
macro_rules! elsewhere {
    ($($detector:literal: $key:ident,)* ; $($bare:literal,)*) => {
        const ELSEWHERE: &[&str] = &[$($detector,)* $($bare,)*];

        /// Settings of detectors that are not here; accepted without effect.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        struct Elsewhere {
            $(
                #[serde(skip_serializing_if = "Option::is_none")]
                $key: Option<Literal>,
            )*
        }
    };
}

elsewhere! {
    "akamai": akamai,
    "aks": aks,
    "alibaba_ecs": alibaba_ecs,
    "azure": azure,
    "consul": consul,
    "digitalocean": digitalocean,
    "docker": docker,
    "ec2": ec2,
    "ecs": ecs,
    "eks": eks,
    "elastic_beanstalk": elasticbeanstalk,
    "gcp": gcp,
    "heroku": heroku,
    "hetzner": hetzner,
    "ibmcloud_classic": ibmcloud_classic,
    "ibmcloud_vpc": ibmcloud_vpc,
    "k8s_api": k8s_api,
    "k8snode": k8snode,
    "kubeadm": kubeadm,
    "lambda": lambda,
    "nova": nova,
    "openshift": openshift,
    "oraclecloud": oraclecloud,
    "scaleway": scaleway,
    "tencent_cvm": tencent_cvm,
    "upcloud": upcloud,
    "vultr": vultr,
    ;
    "dynatrace",
}

// --- what is found ---

/// Attributes in the order in which they were found, encoded.
#[derive(Clone, Debug, Default, PartialEq)]
struct Found {
    attributes: Vec<(String, Vec<u8>)>,
    /// Empty if the detector names none.
    schema_url: &'static str,
}

impl Found {
    fn put(&mut self, key: &str, value: &str) {
        self.put_any(key, NewValue::Str(value.as_bytes()));
    }

    fn put_int(&mut self, key: &str, value: i64) {
        self.put_any(key, NewValue::Int(value));
    }

    fn put_list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let mut encoded = Vec::new();
        Literal::List(values.map(Literal::Str).collect()).encode(&mut encoded);
        self.put_any(key, NewValue::Encoded(&encoded));
    }

    fn put_any(&mut self, key: &str, value: NewValue<'_>) {
        let mut encoded = Vec::new();
        any_encode(value, &mut encoded);
        match self.attributes.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = encoded,
            None => self.attributes.push((key.to_owned(), encoded)),
        }
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|(key, _)| key.as_str())
    }

    /// Adds what a later detector found: what is there stands.
    fn join(&mut self, later: Found) {
        for (key, value) in later.attributes {
            if self.attributes.iter().all(|(known, _)| *known != key) {
                self.attributes.push((key, value));
            }
        }
        if self.schema_url.is_empty() {
            self.schema_url = later.schema_url;
        }
    }

    /// Adds it to one resource; what is the same stays as it is.
    fn apply(&self, view: &mut View<'_>, n: u32, overrides: bool) {
        const SCHEMA_URL: u32 = 3;
        if !self.schema_url.is_empty() && view.text(n, SCHEMA_URL).is_empty() {
            view.set_text(n, SCHEMA_URL, self.schema_url.as_bytes());
        }
        for (key, value) in &self.attributes {
            match view.find(n, key.as_bytes()) {
                None => view.put(n, key.as_bytes(), NewValue::Encoded(value)),
                Some(at) if overrides && view.value(n, at).raw() != value => {
                    view.set(n, at, NewValue::Encoded(value));
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        for (i, (key, value)) in self.attributes.iter().enumerate() {
            text.extend_from_slice(if i == 0 { b"" } else { b" " });
            text.extend_from_slice(key.as_bytes());
            text.push(b'=');
            wire::view::Value::new(value).as_string(&mut text);
        }
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

// --- detection ---

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detector {
    Env,
    System,
    /// Not here.
    Elsewhere(&'static str),
}

/// What one run of all detectors needs.
#[derive(Clone, Debug)]
struct Plan {
    detectors: Vec<Detector>,
    system: system::Config,
    only: Vec<String>,
    timeout: StdDuration,
}

struct Detection {
    id: ComponentId,
    plan: Plan,
    overrides: bool,
    refresh: StdDuration,
    found: Arc<ArcSwap<Found>>,
    refreshing: Mutex<Option<JoinHandle<()>>>,
}

const TIMEOUT: StdDuration = StdDuration::from_secs(5);
const RETRY_FIRST: StdDuration = StdDuration::from_secs(1);

impl Detection {
    fn new(
        config: &Config,
        http: &net::HttpClientConfig,
        section: &Section,
        cx: &BuildContext,
    ) -> Result<Detection, Fault> {
        let mut faults = Vec::new();
        let mut detectors = Vec::new();
        for (i, name) in config.detectors.iter().enumerate() {
            match (name.trim(), ELSEWHERE.iter().find(|known| **known == name.trim())) {
                ("env", _) => detectors.push(Detector::Env),
                ("system", _) => detectors.push(Detector::System),
                (_, Some(known)) => detectors.push(Detector::Elsewhere(known)),
                (name, None) => {
                    let valid = ["env", "system"].iter().chain(ELSEWHERE).copied();
                    let text = format!(
                        "invalid detector key: {name} (valid values: [{}])",
                        valid.collect::<Vec<&str>>().join(" ")
                    );
                    faults.push(section.diag(&format!("detectors.{i}"), text));
                }
            }
        }
        if config.detectors.is_empty() {
            faults.push(section.diag("detectors", "at least one detector is needed"));
        }
        config::Diags::check(faults)?;
        Ok(Detection {
            id: cx.id.clone(),
            plan: Plan {
                detectors,
                system: config.system.clone(),
                only: config.attributes.clone(),
                timeout: http.timeout.map_or(TIMEOUT, |t| t.0),
            },
            overrides: config.r#override,
            refresh: config.refresh_interval.0,
            found: Arc::default(),
            refreshing: Mutex::default(),
        })
    }

    fn say_what_is_elsewhere(&self) {
        let component = &self.id;
        for detector in &self.plan.detectors {
            if let Detector::Elsewhere(name) = detector {
                warn!(
                    %component,
                    detector = name,
                    "this resource detector is not part of this gateway and finds nothing: let the agent detect it, or \
                     put the attributes in OTEL_RESOURCE_ATTRIBUTES"
                );
            }
        }
        if !self.plan.only.is_empty() {
            warn!(
                %component,
                "\"attributes\" is gone from collectors since v0.142; use resource_attributes of the detector"
            );
        }
    }
}

impl Plan {
    /// Runs all detectors; one that fails is asked again until the time is over.
    async fn run(&self) -> Result<Found, String> {
        let end = Instant::now() + self.timeout;
        let mut all = Found::default();
        for detector in &self.detectors {
            match detector {
                Detector::Env => all.join(env::detect()?),
                Detector::System => all.join(self.system(end).await?),
                Detector::Elsewhere(_) => {}
            }
        }
        if !self.only.is_empty() {
            all.attributes.retain(|(key, _)| self.only.contains(key));
        }
        Ok(all)
    }

    async fn system(&self, end: Instant) -> Result<Found, String> {
        let mut pause = RETRY_FIRST;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match system::detect(&self.system, left).await {
                Ok(found) => return Ok(found),
                Err(error) if Instant::now() + pause >= end => return Err(error),
                Err(error) => warn!(error, "failed to detect resource, will retry"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// What the pipelines of one component share: the first detection.
type First = OnceCell<Arc<Found>>;

impl Tree for Detection {
    fn start(&self, host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let owner = format!("processor:{}", self.id);
            let shared = host.share(&owner, &format!("{:?}", self.plan), || Arc::<First>::default());
            let first = shared.downcast::<First>().unwrap_or_default();
            let found = first.get_or_try_init(async || {
                self.say_what_is_elsewhere();
                let found = self.plan.run().await?;
                let attributes: Vec<&str> = found.keys().collect();
                info!(component = %self.id, ?attributes, "detected resource information");
                Ok(Arc::new(found))
            });
            let failed = |error: String| Fault::World(format!("resource detection failed: {error}"));
            self.found.store(found.await.map_err(failed)?.clone());
            if !self.refresh.is_zero() {
                let (plan, found, every) = (self.plan.clone(), self.found.clone(), self.refresh);
                let task = tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(every).await;
                        match plan.run().await {
                            Ok(new) => found.store(Arc::new(new)),
                            Err(error) => {
                                warn!(error, "resource refresh failed; what was found before stands")
                            }
                        }
                    }
                });
                *self.refreshing.lock() = Some(task);
            }
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let task = self.refreshing.lock().take();
        Box::pin(async move {
            if let Some(task) = task {
                task.abort();
                let _ = task.await;
            }
        })
    }

    fn touches(&self) -> Touches {
        Touches {
            depth: Depth::Resource,
            reads_content: true,
            drops_unknown: false,
            writes: true,
        }
    }

    fn apply(&self, view: &mut View<'_>, _: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        let found = self.found.load();
        for n in view.nodes() {
            if view.kind(n) == Kind::Resource && !view.is_removed(n) {
                found.apply(view, n, self.overrides);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
