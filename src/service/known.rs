//! The component types that collectors have and Weir has not, each with what to do about it.
//!
//! A configuration that works elsewhere must not end in "unknown type": the fault says whether the component is planned,
//! belongs to an agent, has a better way here, or stays with a collector that is chained over OTLP. Types that Weir has
//! are in the registry and not here; `docs/components/types.md` shows both, and a test keeps that page equal to this
//! table. Names are compared without underscores, since the collector is renaming `filelog` to `file_log` and so on.

/// What becomes of a component type that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Being built, in the order of the roadmap.
    Planned,
    /// Wanted, without a date.
    Later,
    /// Reads the machine, the cluster or the system it stands beside.
    Agent,
    /// Stays with a collector before or behind the gateway.
    Collector,
    /// As [`Answer::Collector`], but no component of otelcol-contrib.
    Distribution,
    /// Something that is here does the same: the text says what to write.
    Instead(&'static str),
    /// Nothing does it, and nothing needs to: the text says why.
    Remove(&'static str),
    /// A placeholder of tests and documentation; no published collector has it.
    Example,
}

impl Answer {
    /// One word, for the table in the documentation.
    pub fn word(self) -> &'static str {
        match self {
            Answer::Planned => "planned",
            Answer::Later => "later",
            Answer::Agent => "agent",
            Answer::Collector => "collector",
            Answer::Distribution => "distribution",
            Answer::Instead(_) => "instead",
            Answer::Remove(_) => "remove",
            Answer::Example => "example",
        }
    }

    /// What to do about a component of this section (`receivers`, ...) and type.
    pub fn advice(self, section: &str, kind: &str) -> String {
        let chain = match section {
            "receivers" => "let a collector receive it and send it to this gateway over otlp",
            "exporters" => "let a collector behind this gateway deliver it, reached by otlp_grpc",
            "extensions" => "keep the collector that needs it in front, and take it out here",
            _ => "let a collector before or behind this gateway do it, chained over otlp",
        };
        match self {
            Answer::Planned => format!("planned; until then {chain}"),
            Answer::Later => format!("wanted, without a date; until then {chain}"),
            Answer::Agent if section == "receivers" => {
                format!(
                    "{kind} belongs to an agent: keep the agent for it and point it at this gateway over otlp"
                )
            }
            Answer::Agent => {
                format!(
                    "{kind} serves an agent: keep the agent for it and point it at this gateway over otlp"
                )
            }
            Answer::Collector => chain.to_owned(),
            Answer::Distribution => {
                format!("{kind} is part of a vendor's distribution: keep that for it; {chain}")
            }
            Answer::Instead(text) | Answer::Remove(text) => text.to_owned(),
            Answer::Example => {
                "a name from tests and documentation, which no published collector has: remove it".to_owned()
            }
        }
    }
}

/// The answer for a type of a section, if any collector is known to have it.
pub fn answer(section: &str, kind: &str) -> Option<Answer> {
    all()
        .find(|(s, name, _)| *s == section && same(name, kind))
        .map(|(.., answer)| answer)
}

/// Section, type and answer of every row, in the order of the table.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str, Answer)> {
    KNOWN
        .iter()
        .flat_map(|(section, answer, names)| names.iter().map(|name| (*section, *name, *answer)))
}

/// Equal but for underscores.
fn same(a: &str, b: &str) -> bool {
    let is_letter = |byte: &u8| *byte != b'_';
    a.bytes().filter(is_letter).eq(b.bytes().filter(is_letter))
}

type Row = (&'static str, Answer, &'static [&'static str]);

const OPENCENSUS: Answer = Answer::Instead(
    "OpenCensus has ended: let its clients send OTLP, to the receiver otlp, or let a collector translate",
);
const JAEGER: Answer =
    Answer::Instead("Jaeger takes OTLP itself: use otlp_grpc with an endpoint like jaeger:4317");
const JAEGER_STORAGE: Answer = Answer::Instead(
    "this is Jaeger's own store: keep Jaeger for it, and use otlp_grpc with an endpoint like jaeger:4317",
);
const JAEGER_SERVER: Answer = Answer::Remove(
    "this is a part of Jaeger: keep Jaeger for it, and remove it here and from service::extensions",
);
const PROMETHEUS: Answer = Answer::Instead(
    "Prometheus and Mimir take OTLP themselves: use otlp_http with an endpoint like \
     http://prometheus:9090/api/v1/otlp; for others let a collector behind this gateway deliver it",
);
const LOGGING: Answer = Answer::Instead(
    "the logging exporter has been deprecated, use the debug exporter instead; verbosity: detailed stands for \
     loglevel: debug",
);
const TAKES_OTLP: Answer = Answer::Instead(
    "the vendor takes OTLP itself: use otlp_http or otlp_grpc with the vendor's endpoint, and its key in headers",
);
const SPANMETRICS: Answer = Answer::Instead(
    "this processor became the connector span_metrics: name it among the exporters and the receivers of pipelines",
);
const ROUTING: Answer = Answer::Instead(
    "this processor became the connector routing: name it among the exporters and the receivers of pipelines",
);
const NO_PROCESSOR: Answer = Answer::Remove("it does nothing: take it out of the pipeline");
const BALLAST: Answer = Answer::Remove(
    "there is no garbage collector to steer: remove it here and from service::extensions; memory_limiter bounds memory",
);
const GO_RUNTIME: Answer = Answer::Remove(
    "there is no Go runtime to tune: remove it here and from service::extensions; the container's limits are obeyed",
);
const REMOTE: Answer =
    Answer::Remove("this gateway is managed by its files: remove it here and from service::extensions");
const PROXY: Answer = Answer::Remove(
    "forwarding other people's HTTP is left to a proxy: remove it here and from service::extensions",
);
const DEBUGGING: Answer =
    Answer::Remove("the metrics on port 8888 say what it said: remove it here and from service::extensions");
const SIGNING: Answer = Answer::Instead(
    "let a collector or a signing proxy behind this gateway sign the requests, and point the exporter at it",
);

#[rustfmt::skip]
const KNOWN: &[Row] = &[
    ("receivers", Answer::Planned, &["loki"]),
    ("receivers", Answer::Later, &[
        "datadog", "envoyals", "filelog", "fluentforward", "jaeger", "kafka", "otlpjsonfile", "splunk_hec", "statsd",
        "syslog", "tcplog", "udplog", "webhookevent", "zipkin",
    ]),
    ("receivers", Answer::Agent, &[
        "active_directory_ds", "aerospike", "apache", "apachespark", "awscloudwatch", "awscontainerinsightreceiver",
        "awsecscontainermetrics", "azuremonitor", "bigip", "chrony", "ciscoos", "cloudfoundry", "couchdb",
        "docker_stats", "elasticsearch", "expvar", "filestats", "flinkmetrics", "github", "gitlab", "gitprovider",
        "googlecloudmonitoring", "googlecloudspanner", "haproxy", "hostmetrics", "httpcheck", "huaweicloudcesreceiver",
        "icmpcheckreceiver", "iis", "jmx", "journald", "k8s_cluster", "k8s_events", "k8sobjects", "kafkametrics",
        "kubeletstats", "memcached", "mongodb", "mongodbatlas", "mysql", "namedpipe", "nginx", "nsxt", "ntp", "obi",
        "oracledb", "podman_stats", "postgresql", "profiling", "prometheus_simple", "purefa", "purefb", "rabbitmq",
        "receiver_creator", "redfish", "redis", "riak", "saphana", "smartagent", "snmp", "snowflake",
        "splunkenterprise", "sqlquery", "sqlserver", "sshcheck", "systemd", "tcpcheck", "tlscheck", "vcenter",
        "windowseventlog", "windowsperfcounters", "windowsservice", "zookeeper",
    ]),
    ("receivers", Answer::Collector, &[
        "awsfirehose", "awslambda", "awsxray", "azureblob", "azureeventhub", "carbon", "cloudflare", "collectd",
        "faro", "googlecloudpubsub", "influxdb", "libhoney", "netflow", "otelarrow", "prometheusremotewrite",
        "pulsar", "sapm", "signalfx", "skywalking", "solace", "stef", "wavefront",
    ]),
    ("receivers", OPENCENSUS, &["opencensus"]),
    ("receivers", Answer::Distribution, &["clickhousesystemtablesreceiver", "kymastats"]),
    ("receivers", Answer::Example, &["examplereceiver", "foo"]),

    ("processors", Answer::Collector, &[
        "coralogix", "datadogsemantics", "deltatocumulative", "deltatorate", "dnslookup", "drain", "geoip", "interval",
        "isolationforest", "lookup", "metricsgeneration", "metricstarttime", "metricstransform", "remotetap", "schema",
        "sumologic", "unroll",
    ]),
    ("processors", SPANMETRICS, &["spanmetrics"]),
    ("processors", ROUTING, &["routing"]),
    ("processors", NO_PROCESSOR, &["nop"]),
    ("processors", Answer::Distribution, &[
        "adaptive_sampling", "beat", "casttosum", "concurrentbatch", "ecsattributes", "elasticapm",
        "elasticinframetrics", "gen_ai_normalizer", "istio_enrichment", "istio_noise_filter", "logcount",
        "metricextract", "metricstats", "ratelimit", "removeemptyvalues", "resourceattributetransposer",
        "service_enrichment", "signozllmpricing", "signozspanmapper", "signozspanmetrics", "symbolicator", "truthbeam",
        "usage",
    ]),
    ("processors", Answer::Example, &["exampleprocessor", "processor", "processor2"]),

    ("exporters", Answer::Later, &["kafka", "opensearch", "splunk_hec", "syslog", "zipkin"]),
    ("exporters", LOGGING, &["logging"]),
    ("exporters", JAEGER, &["jaeger", "jaeger_thrift"]),
    ("exporters", JAEGER_STORAGE, &["jaeger_storage_exporter"]),
    ("exporters", OPENCENSUS, &["opencensus"]),
    ("exporters", PROMETHEUS, &["prometheus", "prometheusremotewrite"]),
    ("exporters", TAKES_OTLP, &["coralogix", "dynatrace", "honeycomb", "lightstep", "newrelic"]),
    ("exporters", Answer::Collector, &[
        "alertmanager", "alibabacloud_logservice", "awscloudwatchlogs", "awsemf", "awskinesis", "awsxray", "azureblob",
        "azuredataexplorer", "azuremonitor", "bmchelix", "carbon", "cassandra", "clickhouse", "datadog", "dataset",
        "doris", "faro", "googlecloud", "googlecloudpubsub", "googlecloudstorage", "googlemanagedprometheus",
        "googlesecops", "honeycombmarker", "influxdb", "logicmonitor", "logzio", "mezmo", "otelarrow", "pulsar",
        "rabbitmq", "sapm", "sentry", "signalfx", "skywalking", "stef", "sumologic", "tencentcloud_logservice",
        "tinybird",
    ]),
    ("exporters", Answer::Distribution, &[
        "clickhouselogsexporter", "clickhousetraces", "enhance_indexing_s3_exporter", "googleservicecontrol",
        "metadataexporter", "signozclickhousemeter", "signozclickhousemetrics", "slim", "zharp",
    ]),
    ("exporters", Answer::Example, &["bar", "e", "exampleexporter", "nop1", "nop2", "nop3"]),

    ("connectors", Answer::Collector, &[
        "datadog", "exceptions", "grafanacloud", "metricsaslogs", "otlpjson", "roundrobin", "servicegraph",
        "signaltometrics", "slowsql", "sum",
    ]),
    ("connectors", Answer::Distribution, &["elasticapm", "profilingmetrics", "signozmeter"]),
    ("connectors", Answer::Example, &["example", "nop"]),

    ("extensions", BALLAST, &["memory_ballast"]),
    ("extensions", GO_RUNTIME, &["cgroup_runtime"]),
    ("extensions", REMOTE, &["bindplane", "honeycomb", "opamp"]),
    ("extensions", PROXY, &["awsproxy", "http_forwarder"]),
    ("extensions", DEBUGGING, &["expvar"]),
    ("extensions", SIGNING, &["azure_auth", "googleclientauth", "sigv4auth"]),
    ("extensions", JAEGER_SERVER, &["badger", "jaeger_query", "jaeger_storage", "remote_sampling"]),
    ("extensions", Answer::Agent, &[
        "cfgarden_observer", "docker_observer", "ecs_observer", "ecs_task_observer", "host_observer",
        "k8s_leader_elector", "k8s_observer", "kafkatopics_observer", "smartagent",
    ]),
    ("extensions", Answer::Collector, &[
        "ack", "asapclient", "avro_log_encoding", "aws_logs_encoding", "awscloudwatchmetricstreams_encoding",
        "azure_encoding", "datadog", "db_storage", "google_cloud_logentry_encoding", "jaeger_encoding",
        "jaegerremotesampling", "json_log_encoding", "otlp_encoding", "redis_storage", "remotetap",
        "skywalking_encoding", "solarwindsapmsettings", "sumologic", "text_encoding", "tpm", "zipkin_encoding",
    ]),
    ("extensions", Answer::Distribution, &["alloyengine", "pebble"]),
    ("extensions", Answer::Example, &["ext", "ext2", "nop", "nop2", "nop3"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_type_is_found_in_both_spellings_and_only_in_its_section() {
        let check = |section, kind, expected: Option<&str>| {
            assert_eq!(
                answer(section, kind).map(Answer::word),
                expected,
                "{section} {kind}"
            );
        };
        check("receivers", "hostmetrics", Some("agent"));
        check("receivers", "host_metrics", Some("agent"));
        check("receivers", "k8scluster", Some("agent"));
        check("receivers", "file_log", Some("later"));
        check("receivers", "hostmetric", None);
        check("receivers", "transform", None);
        check("processors", "transform", None);
        check("processors", "metrics_transform", Some("collector"));
        check("exporters", "prometheus_remote_write", Some("instead"));
        check("exporters", "opencensus", Some("instead"));
        check("receivers", "loki", Some("planned"));
        check("extensions", "memory_ballast", Some("remove"));
        check("extensions", "", None);
    }

    #[test]
    fn advice_says_what_to_do() {
        let check = |section, kind, expected: &str| {
            let answer = answer(section, kind).expect("the type is in the table");
            assert_eq!(answer.advice(section, kind), expected);
        };
        check(
            "receivers",
            "host_metrics",
            "host_metrics belongs to an agent: keep the agent for it and point it at this gateway over otlp",
        );
        check(
            "receivers",
            "loki",
            "planned; until then let a collector receive it and send it to this gateway over otlp",
        );
        check(
            "processors",
            "interval",
            "let a collector before or behind this gateway do it, chained over otlp",
        );
        check(
            "exporters",
            "clickhouse",
            "let a collector behind this gateway deliver it, reached by otlp_grpc",
        );
    }

    #[test]
    fn no_type_has_two_answers() {
        let mut seen = HashSet::new();
        for (section, name, _) in all() {
            let plain = name.replace('_', "");
            assert!(seen.insert((section, plain)), "{section} {name} is there twice");
            assert!(!name.is_empty() && name == name.to_lowercase(), "{name}");
        }
        assert!(seen.len() > 250, "{} types", seen.len());
    }
}
