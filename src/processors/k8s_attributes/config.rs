//! What a user writes, and the rules that follow from it.

use codec::pattern::Pattern;
use component::prelude::*;

/// `k8s_attributes`: which pod a resource belongs to, and what of it becomes attributes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How the API server is reached: `serviceAccount` (default), `kubeConfig` or `none`.
    pub auth_type: AuthType,
    /// With `kubeConfig`: the context, instead of the current one.
    pub context: String,
    /// Accepted, without effect: each kind of object is listed once and then watched.
    pub kube_api_qps: f64,
    /// Accepted, without effect.
    pub kube_api_burst: u32,
    /// Only set `k8s.pod.ip` from the connection; ask no API server.
    pub passthrough: bool,
    /// What becomes attributes.
    pub extract: Extract,
    /// Which pods are known.
    pub filter: Filter,
    /// What a resource's pod is found by; the first of which all sources are there counts. Default: `k8s.pod.ip`, `ip`,
    /// the connection, `host.name` if it is an address.
    pub pod_association: Vec<Association>,
    /// Pods that are never found.
    pub exclude: Exclude,
    /// Start only when all pods are known.
    pub wait_for_metadata: bool,
    /// The start fails if that takes longer. Default 10 s.
    pub wait_for_metadata_timeout: Duration,
    /// Accepted, without effect: nothing is derived from what could be stale. Default 5 m.
    pub watch_sync_period: Duration,
    /// How long a pod that is gone is still found. Default 2 m.
    pub pod_delete_grace_period: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            auth_type: AuthType::default(),
            context: String::new(),
            kube_api_qps: 0.0,
            kube_api_burst: 0,
            passthrough: false,
            extract: Extract::default(),
            filter: Filter::default(),
            pod_association: Vec::new(),
            exclude: Exclude::default(),
            wait_for_metadata: false,
            wait_for_metadata_timeout: Duration(std::time::Duration::from_secs(10)),
            watch_sync_period: Duration(std::time::Duration::from_secs(300)),
            pod_delete_grace_period: Duration(std::time::Duration::from_secs(120)),
        }
    }
}

/// Who we are to the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AuthType {
    /// Nobody.
    None,
    /// The account of the pod that the gateway runs in.
    #[default]
    ServiceAccount,
    /// As kubectl.
    KubeConfig,
    /// Refused: collectors do not support it either.
    Tls,
}

/// `extract`: what becomes attributes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Extract {
    /// Attributes by name.
    pub metadata: Vec<Field>,
    /// Attributes out of labels.
    pub labels: Vec<Rule>,
    /// Attributes out of annotations.
    pub annotations: Vec<Rule>,
    /// A pod's annotation `resource.opentelemetry.io/foo` becomes `foo`.
    pub otel_annotations: bool,
    /// Accepted: a deployment's name comes from its replica set where those are watched, else from the pod's template
    /// hash. Default true.
    pub deployment_name_from_replicaset: bool,
}

impl Default for Extract {
    fn default() -> Extract {
        use Field::*;
        Extract {
            metadata: vec![
                ContainerImageName,
                ContainerImageTag,
                DeploymentName,
                NamespaceName,
                NodeName,
                PodName,
                PodStartTime,
                PodUid,
            ],
            labels: Vec::new(),
            annotations: Vec::new(),
            otel_annotations: false,
            deployment_name_from_replicaset: true,
        }
    }
}

macro_rules! fields {
    ($($name:ident = $text:literal,)*) => {
        /// An attribute that `extract::metadata` names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        pub enum Field {
            $(
                #[doc = concat!("`", $text, "`")]
                #[serde(rename = $text)]
                $name,
            )*
        }

        impl Field {
            /// As the attribute is called.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Field::$name => $text,)*
                }
            }
        }
    };
}

fields! {
    ContainerId = "container.id",
    ContainerImageName = "container.image.name",
    ContainerImageRepoDigests = "container.image.repo_digests",
    ContainerImageTag = "container.image.tag",
    ContainerImageTags = "container.image.tags",
    ClusterUid = "k8s.cluster.uid",
    ContainerName = "k8s.container.name",
    CronJobName = "k8s.cronjob.name",
    CronJobUid = "k8s.cronjob.uid",
    DaemonSetName = "k8s.daemonset.name",
    DaemonSetUid = "k8s.daemonset.uid",
    DeploymentName = "k8s.deployment.name",
    DeploymentUid = "k8s.deployment.uid",
    JobName = "k8s.job.name",
    JobUid = "k8s.job.uid",
    NamespaceName = "k8s.namespace.name",
    NodeName = "k8s.node.name",
    NodeUid = "k8s.node.uid",
    PodHostname = "k8s.pod.hostname",
    PodIp = "k8s.pod.ip",
    PodName = "k8s.pod.name",
    PodStartTime = "k8s.pod.start_time",
    PodUid = "k8s.pod.uid",
    ReplicaSetName = "k8s.replicaset.name",
    ReplicaSetUid = "k8s.replicaset.uid",
    StatefulSetName = "k8s.statefulset.name",
    StatefulSetUid = "k8s.statefulset.uid",
    ServiceInstanceId = "service.instance.id",
    ServiceName = "service.name",
    ServiceNamespace = "service.namespace",
    ServiceVersion = "service.version",
}

/// One label or annotation, or all whose key matches.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The attribute's name; with `key_regex`, `$1` and `${name}` are its groups. Default:
    /// `k8s.pod.labels.<key>` and the like.
    pub tag_name: String,
    /// The key.
    pub key: String,
    /// Matches the whole key.
    pub key_regex: String,
    /// Whose: `pod` (default), `namespace`, `node`, `deployment`, `statefulset`, `daemonset` or `job`.
    pub from: From,
}

/// Whose labels and annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// The pod's.
    #[default]
    #[serde(alias = "")]
    Pod,
    /// Its namespace's.
    Namespace,
    /// Those of the node it runs on.
    Node,
    /// Those of the deployment it belongs to.
    Deployment,
    /// Those of the stateful set.
    StatefulSet,
    /// Those of the daemon set.
    DaemonSet,
    /// Those of the job.
    Job,
}

/// `filter`: which pods are known.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Only those on this node.
    pub node: String,
    /// The environment variable that names the node. It must be set.
    pub node_from_env_var: String,
    /// Only those of this namespace; other kinds of objects are asked for there, too.
    pub namespace: String,
    /// By fields of the pod: `equals` or `not-equals`.
    pub fields: Vec<Selector>,
    /// By labels of the pod: `equals`, `not-equals`, `exists` or `does-not-exist`.
    pub labels: Vec<Selector>,
}

/// One condition.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// Field or label.
    pub key: String,
    /// What it is compared with.
    pub value: String,
    /// How. Default `equals`.
    pub op: Op,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// It is this.
    #[default]
    #[serde(alias = "")]
    Equals,
    /// It is not this.
    NotEquals,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// What a pod is found by: all of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Association {
    /// At most 4.
    pub sources: Vec<Source>,
}

/// One part of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// `connection` (the peer's address) or `resource_attribute`.
    pub from: Origin,
    /// The attribute.
    pub name: String,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The address that the request came from.
    Connection,
    /// An attribute of the resource.
    #[default]
    ResourceAttribute,
}

/// `exclude`: pods that are never found.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exclude {
    /// By name. Default: `jaeger-agent` and `jaeger-collector`.
    pub pods: Vec<ExcludePod>,
}

impl Default for Exclude {
    fn default() -> Exclude {
        let named = |name: &str| ExcludePod { name: name.into() };
        Exclude {
            pods: vec![named("jaeger-agent"), named("jaeger-collector")],
        }
    }
}

/// Pods by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExcludePod {
    /// A regular expression that is found anywhere in the name.
    pub name: String,
}

// --- rules ---

/// Most sources of one association.
const SOURCES_MAX: usize = 4;

/// What follows from a configuration, checked and compiled.
#[derive(Debug)]
pub(super) struct Rules {
    fields: Vec<Field>,
    pub(super) labels: Vec<FieldRule>,
    pub(super) annotations: Vec<FieldRule>,
    pub(super) associations: Vec<Association>,
    pub(super) excluded: Vec<Pattern>,
    /// Selectors as the API server reads them.
    pub(super) label_selector: String,
    pub(super) field_selector: String,
    pub(super) namespace: String,
    pub(super) node: String,
}

/// A label or annotation rule, compiled.
#[derive(Debug)]
pub(super) struct FieldRule {
    pub(super) from: From,
    pub(super) key: Key,
    /// Empty = the default.
    pub(super) name: String,
}

#[derive(Debug)]
pub(super) enum Key {
    Exact(String),
    Matching(Pattern),
}

impl Rules {
    /// Errors: every place that is wrong, by its key. `variable` reads the environment.
    pub(super) fn new(
        config: &Config,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Rules, Vec<(String, String)>> {
        let mut faults = Vec::new();
        let mut fault = |key: String, text: String| faults.push((key, text));
        if config.auth_type == AuthType::Tls {
            let text = "\"tls\" is not supported; use serviceAccount, kubeConfig or none";
            fault("auth_type".into(), text.into());
        }
        if config.kube_api_qps < 0.0 {
            fault("kube_api_qps".into(), "must not be negative".into());
        }
        for (i, association) in config.pod_association.iter().enumerate() {
            if association.sources.len() > SOURCES_MAX {
                let text = format!("too many association sources. limit is {SOURCES_MAX}");
                fault(format!("pod_association.{i}"), text);
            }
        }
        let mut compiled = |rules: &[Rule], what: &str| {
            let mut all = Vec::new();
            for (i, rule) in rules.iter().enumerate() {
                match FieldRule::new(rule) {
                    Ok(rule) => all.push(rule),
                    Err(text) => fault(format!("extract.{what}.{i}"), text),
                }
            }
            all
        };
        let labels = compiled(&config.extract.labels, "labels");
        let mut annotations = compiled(&config.extract.annotations, "annotations");
        if config.extract.otel_annotations {
            annotations.extend(FieldRule::new(&Rule {
                tag_name: "$1".into(),
                key_regex: r"resource\.opentelemetry\.io/(.+)".into(),
                ..Rule::default()
            }));
        }
        let mut excluded = Vec::new();
        let default = Exclude::default();
        let pods = match config.exclude.pods.is_empty() {
            true => &default.pods,
            false => &config.exclude.pods,
        };
        for (i, pod) in pods.iter().enumerate() {
            match Pattern::new(&pod.name) {
                Ok(pattern) => excluded.push(pattern),
                Err(error) => fault(format!("exclude.pods.{i}.name"), error.to_string()),
            }
        }
        let filter = &config.filter;
        let node = match filter.node_from_env_var.as_str() {
            "" => filter.node.clone(),
            name => variable(name).unwrap_or_else(|| {
                let text = format!("`node_from_env_var` is configured but envvar \"{name}\" is not set");
                fault("filter.node_from_env_var".into(), text);
                String::new()
            }),
        };
        let mut terms = Vec::new();
        for (i, selector) in filter.fields.iter().enumerate() {
            match selector.op {
                Op::Equals => terms.push(format!("{}={}", escaped(&selector.key), escaped(&selector.value))),
                Op::NotEquals => terms.push(format!(
                    "{}!={}",
                    escaped(&selector.key),
                    escaped(&selector.value)
                )),
                Op::Exists | Op::DoesNotExist => fault(
                    format!("filter.fields.{i}.op"),
                    "a field may only be compared by equals and not-equals".into(),
                ),
            }
        }
        if !node.is_empty() {
            terms.push(format!("spec.nodeName={}", escaped(&node)));
        }
        let label_terms: Vec<String> = filter.labels.iter().map(Selector::of_label).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Rules {
            fields: config.extract.metadata.clone(),
            labels,
            annotations,
            associations: config.pod_association.clone(),
            excluded,
            label_selector: label_terms.join(","),
            field_selector: terms.join(","),
            namespace: filter.namespace.clone(),
            node,
        })
    }

    pub(super) fn has(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    fn any(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.has(*field))
    }

    /// Whether labels or annotations of this are asked for.
    pub(super) fn reads(&self, from: From) -> bool {
        self.labels
            .iter()
            .chain(&self.annotations)
            .any(|rule| rule.from == from)
    }

    /// Whether containers are looked at.
    pub(super) fn reads_containers(&self) -> bool {
        use Field::*;
        self.any(&[
            ContainerImageName,
            ContainerName,
            ContainerImageTag,
            ContainerImageRepoDigests,
            ContainerId,
            ServiceVersion,
            ServiceInstanceId,
        ]) || self
            .associations
            .iter()
            .flat_map(|a| &a.sources)
            .any(|source| source.from == Origin::ResourceAttribute && source.name == ContainerId.as_str())
    }

    /// Whether replica sets are needed: without them a deployment's name is read off the pod.
    pub(super) fn reads_replica_sets(&self, from_replica_set: bool) -> bool {
        self.has(Field::DeploymentUid)
            || self.reads(From::Deployment)
            || (self.has(Field::DeploymentName) && !from_replica_set)
    }

    /// Whether jobs are needed: without them a cron job's name is read off its job's.
    pub(super) fn reads_jobs(&self) -> bool {
        self.has(Field::CronJobUid) || self.reads(From::Job)
    }
}

impl Selector {
    fn of_label(&self) -> String {
        let Selector { key, value, op } = self;
        match op {
            Op::Equals => format!("{key}={value}"),
            Op::NotEquals => format!("{key}!={value}"),
            Op::Exists => key.clone(),
            Op::DoesNotExist => format!("!{key}"),
        }
    }
}

/// As field selectors want it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl FieldRule {
    fn new(rule: &Rule) -> Result<FieldRule, String> {
        let key = match (rule.key.as_str(), rule.key_regex.as_str()) {
            (key, "") => Key::Exact(key.to_owned()),
            ("", regex) => {
                let pattern = Pattern::new(&format!("^(?:{regex})$")).map_err(|e| e.to_string())?;
                Key::Matching(pattern)
            }
            (key, regex) => {
                return Err(format!(
                    "Out of Key or KeyRegex only one option is expected to be configured at a time, currently \
                     Key:{key} and KeyRegex:{regex}"
                ));
            }
        };
        Ok(FieldRule {
            from: rule.from,
            key,
            name: rule.tag_name.clone(),
        })
    }
}
