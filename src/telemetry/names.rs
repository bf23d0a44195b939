//! Every metric that Weir shows: name, unit, kind, help text, histogram bounds.
//!
//! `otelcol_*` names and units are the collector's (v0.159), so that dashboards and alerts go on working; what the
//! collector does not have is called `weir_*`. Four names stand for one row of the table where a metric is kept per
//! signal: the row ends in `_`, the name in what the items are called (`spans`, `log_records`, ...).

use wire::Signal;

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, but for a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl Kind {
    /// As in a `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// How much is shown: `service::telemetry::metrics::level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    None,
    /// What says whether the gateway works.
    Basic,
    /// And the batches.
    #[default]
    Normal,
    /// And sizes, durations, calls.
    Detailed,
}

impl Level {
    /// `none`, `basic`, `normal`, `detailed`, in any case.
    pub fn parse(text: &str) -> Option<Level> {
        let names = ["none", "basic", "normal", "detailed"];
        let all = [Level::None, Level::Basic, Level::Normal, Level::Detailed];
        let at = names.iter().position(|name| text.eq_ignore_ascii_case(name))?;
        Some(all[at])
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Def {
    /// Name, or the beginning of four names if it ends in `_`.
    pub name: &'static str,
    /// UCUM unit as the collector states it; empty if there is none.
    pub unit: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// One sentence for `# HELP`.
    pub help: &'static str,
    /// Shown from this level on.
    pub level: Level,
    /// Upper bounds of a histogram's buckets, ascending, without infinity.
    pub bounds: &'static [f64],
}

impl Def {
    const fn from(mut self, level: Level) -> Def {
        self.level = level;
        self
    }

    /// True if this row describes `name`.
    pub fn covers(&self, name: &str) -> bool {
        match self.name.strip_suffix('_') {
            None => self.name == name,
            Some(_) => name
                .strip_prefix(self.name)
                .is_some_and(|items| Signal::ALL.iter().any(|s| s.items_name() == items)),
        }
    }
}

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Def> {
    TABLE.iter().find(|def| def.covers(name))
}

/// The instrumentation scope that the collector states for a metric; ours is `weir`.
pub fn scope(name: &str) -> &'static str {
    let found = SCOPES.iter().find(|(prefix, _)| name.starts_with(prefix));
    found.map_or("weir", |(_, scope)| scope)
}

/// A row's name for one signal: `otelcol_receiver_accepted_` and logs make `otelcol_receiver_accepted_log_records`.
pub fn of_signal(prefix: &str, signal: Signal) -> String {
    format!("{prefix}{}", signal.items_name())
}

/// Books of a receiver's door.
pub const RECEIVER_ACCEPTED: &str = "otelcol_receiver_accepted_";
/// Books of a receiver's door.
pub const RECEIVER_REFUSED: &str = "otelcol_receiver_refused_";
/// What detectors found.
pub const REDACTION_FINDINGS: &str = "weir_redaction_findings";
/// Kept at zero, as the collector does: what failed inside is refused.
pub const RECEIVER_FAILED: &str = "otelcol_receiver_failed_";
/// Books of a processor.
pub const PROCESSOR_INCOMING: &str = "otelcol_processor_incoming_items";
/// Books of a processor.
pub const PROCESSOR_OUTGOING: &str = "otelcol_processor_outgoing_items";
/// Books of an exporter.
pub const EXPORTER_SENT: &str = "otelcol_exporter_sent_";
/// Books of an exporter.
pub const EXPORTER_SEND_FAILED: &str = "otelcol_exporter_send_failed_";
/// All books.
pub const LEDGER_ITEMS: &str = "weir_ledger_items";
/// All books, the column that shrinks.
pub const LEDGER_HELD: &str = "weir_ledger_held_items";
/// Records of the audit trail.
pub const AUDIT_RECORDS: &str = "weir_audit_records";
/// Whether there is no room for more of them.
pub const AUDIT_FULL: &str = "weir_audit_full";
/// Configurations that were to take the place of the one that runs.
pub const RELOAD_ATTEMPTS: &str = "weir_reload_attempts";
/// Those that did not.
pub const RELOAD_FAILURES: &str = "weir_reload_failures";
/// When the last one did.
pub const RELOAD_LAST_SUCCESS: &str = "weir_reload_last_success_timestamp_seconds";
/// Lines that never reached the log.
pub const LOG_LINES_DROPPED: &str = "weir_log_lines_dropped";

/// By beginnings of names, longer ones first.
const SCOPES: &[(&str, &str)] = &[
    (
        "otelcol_receiver_",
        "go.opentelemetry.io/collector/receiver/receiverhelper",
    ),
    (
        "otelcol_scraper_",
        "go.opentelemetry.io/collector/scraper/scraperhelper",
    ),
    (
        "otelcol_processor_batch_",
        "go.opentelemetry.io/collector/processor/batchprocessor",
    ),
    (
        "otelcol_processor_filter_",
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/filterprocessor",
    ),
    (
        "otelcol_processor_tail_sampling_",
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor",
    ),
    (
        "otelcol_processor_groupbytrace_",
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbytraceprocessor",
    ),
    (
        "otelcol_processor_probabilistic_sampler_",
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/probabilisticsamplerprocessor",
    ),
    (
        "otelcol_dedup_processor_",
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/logdedupprocessor",
    ),
    (
        "otelcol_processor_groupbyattrs_",
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbyattrsprocessor",
    ),
    (
        "otelcol_processor_memory_limiter_",
        "go.opentelemetry.io/collector/processor/memorylimiterprocessor",
    ),
    (
        "otelcol_processor_",
        "go.opentelemetry.io/collector/processor/processorhelper",
    ),
    (
        "otelcol_exporter_",
        "go.opentelemetry.io/collector/exporter/exporterhelper",
    ),
    (
        "otelcol_otelsvc_k8s_",
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/k8sattributesprocessor",
    ),
    (
        "otelcol.k8s.",
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/k8sattributesprocessor",
    ),
    ("otelcol_process_", "go.opentelemetry.io/collector/service"),
    (
        "http.",
        "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
    ),
    (
        "rpc.",
        "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc",
    ),
];

/// Time to answer a request over HTTP.
pub const HTTP_SERVER_DURATION: &str = "http.server.request.duration";
/// Bytes of a request over HTTP.
pub const HTTP_SERVER_REQUEST_SIZE: &str = "http.server.request.body.size";
/// Bytes of an answer over HTTP.
pub const HTTP_SERVER_RESPONSE_SIZE: &str = "http.server.response.body.size";
/// Time until a peer has answered over HTTP.
pub const HTTP_CLIENT_DURATION: &str = "http.client.request.duration";
/// Bytes of a request to a peer over HTTP.
pub const HTTP_CLIENT_REQUEST_SIZE: &str = "http.client.request.body.size";
/// Time to answer a call over gRPC.
pub const RPC_SERVER_DURATION: &str = "rpc.server.call.duration";
/// Time until a peer has answered over gRPC.
pub const RPC_CLIENT_DURATION: &str = "rpc.client.call.duration";

/// What the watches of a cluster saw, by kind of object and what happened to it.
#[rustfmt::skip]
pub const K8S_CHANGES: [[&str; 3]; 8] = [
    ["otelcol_otelsvc_k8s_pod_added", "otelcol_otelsvc_k8s_pod_updated", "otelcol_otelsvc_k8s_pod_deleted"],
    ["otelcol_otelsvc_k8s_namespace_added", "otelcol_otelsvc_k8s_namespace_updated", "otelcol_otelsvc_k8s_namespace_deleted"],
    ["otelcol_otelsvc_k8s_node_added", "otelcol_otelsvc_k8s_node_updated", "otelcol_otelsvc_k8s_node_deleted"],
    ["otelcol_otelsvc_k8s_replicaset_added", "otelcol_otelsvc_k8s_replicaset_updated", "otelcol_otelsvc_k8s_replicaset_deleted"],
    ["otelcol_otelsvc_k8s_deployment_added", "otelcol_otelsvc_k8s_deployment_updated", "otelcol_otelsvc_k8s_deployment_deleted"],
    ["otelcol_otelsvc_k8s_statefulset_added", "otelcol_otelsvc_k8s_statefulset_updated", "otelcol_otelsvc_k8s_statefulset_deleted"],
    ["otelcol_otelsvc_k8s_daemonset_added", "otelcol_otelsvc_k8s_daemonset_updated", "otelcol_otelsvc_k8s_daemonset_deleted"],
    ["otelcol_otelsvc_k8s_job_added", "otelcol_otelsvc_k8s_job_updated", "otelcol_otelsvc_k8s_job_deleted"],
];
/// Keys by which pods are found.
pub const K8S_POD_TABLE_SIZE: &str = "otelcol_otelsvc_k8s_pod_table_size";
/// Resources whose pod is not known.
pub const K8S_IP_LOOKUP_MISS: &str = "otelcol_otelsvc_k8s_ip_lookup_miss";
/// Resources whose pod was looked for.
pub const K8S_POD_ASSOCIATION: &str = "otelcol.k8s.pod.association";

/// Requests with own telemetry that were not taken.
pub const PUSH_FAILURES: &str = "weir_telemetry_push_failures";

const ITEMS: &[f64] = &[
    10., 25., 50., 75., 100., 250., 500., 750., 1000., 2000., 3000., 4000., 5000., 6000., 7000., 8000.,
    9000., 10000., 20000., 30000., 50000., 100000.,
];
const BYTES: &[f64] = &[
    128., 256., 512., 1024., 2048., 4096., 8192., 16384., 32768., 65536., 131072., 262144., 524288.,
    1048576., 2097152., 4194304., 8388608., 16777216.,
];
/// What the SDK takes where an instrument states none.
const DEFAULT: &[f64] = &[
    0., 5., 10., 25., 50., 75., 100., 250., 500., 750., 1000., 2500., 5000., 7500., 10000.,
];
const LATENCY_MS: &[f64] = &[0., 5., 10., 20., 50., 100., 200., 500., 1000., 2000., 5000.];
const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1., 2.5, 5., 7.5, 10.,
];

const fn row(name: &'static str, unit: &'static str, kind: Kind, help: &'static str) -> Def {
    Def {
        name,
        unit,
        kind,
        help,
        level: Level::Basic,
        bounds: &[],
    }
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    bounds: &'static [f64],
    help: &'static str,
) -> Def {
    Def {
        name,
        unit,
        kind: Kind::Histogram,
        help,
        level: Level::Detailed,
        bounds,
    }
}

use Kind::{Counter, Gauge};

/// All rows.
#[rustfmt::skip]
pub static TABLE: &[Def] = &[
    // doors
    row(RECEIVER_ACCEPTED, "{item}", Counter, "Items that the pipelines took from this receiver."),
    row(RECEIVER_REFUSED, "{item}", Counter, "Items that were given back to the client, nothing kept."),
    row(RECEIVER_FAILED, "{item}", Counter, "Items that failed inside the receiver; kept at zero, such items are refused."),
    row("weir_auth_failures", "{request}", Counter, "Requests that an authenticator did not let in."),
    row("weir_middleware_refused_requests", "{request}", Counter, "Requests that a middleware turned away before their body was read."),
    row("weir_receiver_malformed_requests", "{request}", Counter, "Requests refused before their items could be counted."),
    row("weir_receiver_cut_off_connections", "{connection}", Counter, "Connections ended for what their client did or left undone, or to make room."),
    // processors
    row(REDACTION_FINDINGS, "{finding}", Counter, "Findings of the rules of redaction, by what became of them."),
    row(PROCESSOR_INCOMING, "{item}", Counter, "Items that came into the processor."),
    row(PROCESSOR_OUTGOING, "{item}", Counter, "Items that left the processor."),
    row(K8S_CHANGES[0][0], "{event}", Counter, "Additions of pods that were seen.").from(Level::Normal),
    row(K8S_CHANGES[0][1], "{event}", Counter, "Updates of pods that were seen.").from(Level::Normal),
    row(K8S_CHANGES[0][2], "{event}", Counter, "Deletions of pods that were seen.").from(Level::Normal),
    row(K8S_CHANGES[1][0], "{event}", Counter, "Additions of namespaces that were seen.").from(Level::Normal),
    row(K8S_CHANGES[1][1], "{event}", Counter, "Updates of namespaces that were seen.").from(Level::Normal),
    row(K8S_CHANGES[1][2], "{event}", Counter, "Deletions of namespaces that were seen.").from(Level::Normal),
    row(K8S_CHANGES[2][0], "{event}", Counter, "Additions of nodes that were seen.").from(Level::Normal),
    row(K8S_CHANGES[2][1], "{event}", Counter, "Updates of nodes that were seen.").from(Level::Normal),
    row(K8S_CHANGES[2][2], "{event}", Counter, "Deletions of nodes that were seen.").from(Level::Normal),
    row(K8S_CHANGES[3][0], "{event}", Counter, "Additions of replica sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[3][1], "{event}", Counter, "Updates of replica sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[3][2], "{event}", Counter, "Deletions of replica sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[4][0], "{event}", Counter, "Additions of deployments that were seen.").from(Level::Normal),
    row(K8S_CHANGES[4][1], "{event}", Counter, "Updates of deployments that were seen.").from(Level::Normal),
    row(K8S_CHANGES[4][2], "{event}", Counter, "Deletions of deployments that were seen.").from(Level::Normal),
    row(K8S_CHANGES[5][0], "{event}", Counter, "Additions of stateful sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[5][1], "{event}", Counter, "Updates of stateful sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[5][2], "{event}", Counter, "Deletions of stateful sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[6][0], "{event}", Counter, "Additions of daemon sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[6][1], "{event}", Counter, "Updates of daemon sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[6][2], "{event}", Counter, "Deletions of daemon sets that were seen.").from(Level::Normal),
    row(K8S_CHANGES[7][0], "{event}", Counter, "Additions of jobs that were seen.").from(Level::Normal),
    row(K8S_CHANGES[7][1], "{event}", Counter, "Updates of jobs that were seen.").from(Level::Normal),
    row(K8S_CHANGES[7][2], "{event}", Counter, "Deletions of jobs that were seen.").from(Level::Normal),
    row(K8S_POD_TABLE_SIZE, "{key}", Gauge, "Keys by which pods are found."),
    row(K8S_IP_LOOKUP_MISS, "{resource}", Counter, "Resources whose pod is not known."),
    row(K8S_POD_ASSOCIATION, "{resource}", Counter, "Resources whose pod was looked for, by what, and whether it was found."),
    histogram("otelcol_processor_internal_duration", "s", DEFAULT, "Time a payload spent inside the processor."),
    histogram("otelcol_dedup_processor_aggregated_logs", "{records}", DEFAULT, "Log records that became one, of each one that went on.").from(Level::Basic),
    row("otelcol_processor_memory_limiter_accepted_", "{item}", Counter, "Items that the memory limiter let pass."),
    row("otelcol_processor_memory_limiter_refused_", "{item}", Counter, "Items that the memory limiter refused."),
    row("otelcol_processor_batch_batch_size_trigger_send", "{time}", Counter, "Batches sent because they were large enough.").from(Level::Normal),
    row("otelcol_processor_batch_timeout_trigger_send", "{time}", Counter, "Batches sent because they were old enough.").from(Level::Normal),
    row("otelcol_loadbalancer_num_resolutions", "{resolutions}", Counter, "Look-ups of backends, by what came of them."),
    row("otelcol_loadbalancer_num_backends", "{backends}", Gauge, "Backends that there are."),
    row("otelcol_loadbalancer_num_backend_updates", "{updates}", Counter, "How often the list of backends changed."),
    histogram("otelcol_loadbalancer_backend_latency", "ms", LATENCY_MS, "Time that a backend took to answer.").from(Level::Basic),
    row("otelcol_loadbalancer_backend_outcome", "{outcomes}", Counter, "Attempts at a backend, by what came of them."),
    row("otelcol_processor_filter_spans.filtered", "1", Counter, "Spans that the filter dropped."),
    row("otelcol_processor_filter_datapoints.filtered", "1", Counter, "Data points that the filter dropped."),
    row("otelcol_processor_filter_logs.filtered", "1", Counter, "Log records that the filter dropped."),
    histogram("otelcol_processor_batch_batch_send_size", "{unit}", ITEMS, "Items in a batch that was sent.").from(Level::Normal),
    histogram("otelcol_processor_batch_batch_send_size_bytes", "By", BYTES, "Encoded bytes of a batch that was sent."),
    row("otelcol_processor_batch_metadata_cardinality", "{combination}", Gauge, "Combinations of metadata values that are batched apart.").from(Level::Normal),
    row("otelcol_processor_probabilistic_sampler_count_traces_sampled", "{span}", Counter, "Spans by whether they were kept and by what that was decided."),
    row("otelcol_processor_probabilistic_sampler_count_logs_sampled", "{log_record}", Counter, "Log records by whether they were kept and by what that was decided."),
    row("weir_probabilistic_sampler_undecidable_items", "{item}", Counter, "Items on which the sampler could not decide, by reason; fail_closed says what became of them."),
    row("otelcol_processor_groupbyattrs_num_grouped_spans", "1", Counter, "Spans that had attributes grouped."),
    row("otelcol_processor_groupbyattrs_num_grouped_logs", "1", Counter, "Log records that had attributes grouped."),
    row("otelcol_processor_groupbyattrs_num_grouped_metrics", "1", Counter, "Data points that had attributes grouped."),
    row("otelcol_processor_groupbyattrs_num_non_grouped_spans", "1", Counter, "Spans that had no attributes grouped."),
    row("otelcol_processor_groupbyattrs_num_non_grouped_logs", "1", Counter, "Log records that had no attributes grouped."),
    row("otelcol_processor_groupbyattrs_num_non_grouped_metrics", "1", Counter, "Data points that had no attributes grouped."),
    histogram("otelcol_processor_groupbyattrs_span_groups", "1", DEFAULT, "Resources that came out of one request with spans.").from(Level::Basic),
    histogram("otelcol_processor_groupbyattrs_log_groups", "1", DEFAULT, "Resources that came out of one request with log records.").from(Level::Basic),
    histogram("otelcol_processor_groupbyattrs_metric_groups", "1", DEFAULT, "Resources that came out of one request with data points.").from(Level::Basic),
    row("weir_tenant_items", "{item}", Counter, "Items that came, by tenant; beyond 200 names they count as other."),
    row("weir_tenant_refused_items", "{item}", Counter, "Items that the tenant processor did not take, by reason: with their request (refused) or out of one (rejected)."),
    row("weir_tenant_known", "{tenant}", Gauge, "Tenants that the processor knows."),
    row("otelcol_processor_tail_sampling_count_traces_sampled", "{trace}", Counter, "Traces by what a policy said of them."),
    row("otelcol_processor_tail_sampling_count_spans_sampled", "{span}", Counter, "Spans of traces by what a policy said of them."),
    row("otelcol_processor_tail_sampling_count_bytes_sampled", "By", Counter, "Encoded bytes of traces by what a policy said of them."),
    row("otelcol_processor_tail_sampling_global_count_traces_sampled", "{trace}", Counter, "Traces by what was decided about them."),
    row("otelcol_processor_tail_sampling_early_releases_from_cache_decision", "{span}", Counter, "Parts of traces whose decision was remembered."),
    row("otelcol_processor_tail_sampling_new_trace_id_received", "{trace}", Counter, "Traces that were not known before."),
    histogram("otelcol_processor_tail_sampling_sampling_decision_timer_latency", "ms", DEFAULT, "Time that a tick's decisions took."),
    histogram("otelcol_processor_tail_sampling_sampling_late_span_age", "s", DEFAULT, "Time between a decision and spans that came after it."),
    row("otelcol_processor_tail_sampling_sampling_policy_evaluation_error", "{error}", Counter, "Policies and conditions that could not be asked."),
    row("otelcol_processor_tail_sampling_sampling_policy_execution_count", "{execution}", Counter, "Times that a policy was asked."),
    row("otelcol_processor_tail_sampling_sampling_policy_execution_time_sum", "us", Counter, "Time spent on asking a policy."),
    row("otelcol_processor_tail_sampling_sampling_trace_dropped_too_early", "{trace}", Counter, "Traces that had to make room before they were decided on."),
    histogram("otelcol_processor_tail_sampling_sampling_trace_removal_age", "s", DEFAULT, "How long traces were known that had to make room."),
    row("otelcol_processor_tail_sampling_sampling_traces_on_memory", "{trace}", Gauge, "Traces that are known."),
    row("otelcol_processor_tail_sampling_traces_dropped_too_large", "{trace}", Counter, "Traces that were dropped for their size."),
    row("otelcol_processor_groupbytrace_conf_num_traces", "{trace}", Gauge, "Most traces that are held."),
    row("otelcol_processor_groupbytrace_num_traces_in_memory", "{trace}", Gauge, "Traces that are held."),
    row("otelcol_processor_groupbytrace_incomplete_releases", "{trace}", Counter, "Traces released without all that was held of them; kept at zero, a release is whole."),
    row("otelcol_processor_groupbytrace_num_events_in_queue", "{event}", Gauge, "Events that wait for a worker; kept at zero, there is no such queue."),
    row("otelcol_processor_groupbytrace_traces_evicted", "{trace}", Counter, "Traces that had to make room."),
    row("otelcol_processor_groupbytrace_traces_released", "{trace}", Counter, "Traces that were handed on."),
    row("otelcol_processor_groupbytrace_spans_released", "{span}", Counter, "Spans that were handed on."),
    row("weir_processor_possible_duplicates", "{item}", Counter, "Items that were found on disk at the start and may have been handed on before."),
    row("weir_processor_unreadable_records", "{record}", Counter, "Records on disk that could not be read, and stay there."),
    row("weir_processor_panics", "{panic}", Counter, "Payloads refused because a processor panicked."),
    // exporters
    row(EXPORTER_SENT, "{item}", Counter, "Items that the exporter delivered."),
    row(EXPORTER_SEND_FAILED, "{item}", Counter, "Items that the exporter gave up on, or that the far side rejected."),
    row("otelcol_exporter_enqueue_failed_", "{item}", Counter, "Items that found no room in the sending queue."),
    row("otelcol_exporter_queue_size", "{batch}", Gauge, "What the sending queue holds, in units of its sizer."),
    row("otelcol_exporter_queue_capacity", "{batch}", Gauge, "What the sending queue may hold, in units of its sizer."),
    row("weir_exporter_possible_duplicates", "{item}", Counter, "Items that were found on disk at the start and may have been sent before."),
    row("weir_exporter_unreadable_records", "{record}", Counter, "Records on disk that could not be read, and stay there."),
    row("weir_exporter_panics", "{panic}", Counter, "Batches rejected because the exporter panicked."),
    row("otelcol_exporter_in_flight_requests", "{request}", Gauge, "Requests being sent or waiting for their next attempt."),
    histogram("otelcol_exporter_queue_batch_send_size", "{item}", ITEMS, "Items in a batch that left the sending queue."),
    histogram("otelcol_exporter_queue_batch_send_size_bytes", "By", BYTES, "Encoded bytes of a batch that left the sending queue."),
    histogram("otelcol_exporter_enqueue_size", "{item}", ITEMS, "Items in a request that entered the sending queue."),
    histogram("otelcol_exporter_enqueue_size_bytes", "By", BYTES, "Encoded bytes of a request that entered the sending queue."),
    // the journal
    row("weir_archive_objects", "{object}", Counter, "Objects that the store has and the log names, by class and signal."),
    row("weir_archive_bytes", "By", Counter, "Bytes of these objects: as they came (raw), as they lie there (stored)."),
    row("weir_archive_records", "{item}", Counter, "Items in these objects (archived), and items that no journal brought again (lost)."),
    histogram("weir_archive_put_seconds", "s", SECONDS, "Time until the store had answered a write."),
    row("weir_archive_put_retries", "{request}", Counter, "Writes of objects that have to be tried again, by the store's code."),
    row("weir_archive_put_denied", "{request}", Counter, "Those among them that the store did not permit."),
    row("weir_archive_key_conflicts", "{object}", Counter, "Objects whose key was taken, sent again under another number."),
    row("weir_archive_fenced", "{session}", Counter, "Times that another writer was found under our name."),
    row("weir_archive_ledger_imbalance", "{1}", Counter, "Looks at the books that found them wrong; never but for a fault of ours."),
    row("weir_archive_frames", "{frame}", Counter, "Buffers compressed before their object was finished, by why."),
    row("weir_archive_rolls", "{object}", Counter, "Objects that were finished, by why."),
    row("weir_archive_buffer_bytes", "By", Gauge, "Memory of what is not compressed yet."),
    row("weir_archive_spool_bytes", "By", Gauge, "Bytes of parts on the local disk or in memory."),
    row("weir_archive_open_partitions", "{object}", Gauge, "Objects being gathered."),
    row("weir_archive_oldest_unsealed_seconds", "s", Gauge, "Age of the oldest item that is in no finished object."),
    row("weir_archive_last_checkpoint_timestamp_seconds", "s", Gauge, "When a signed head last reached the store, in seconds since 1970."),
    row("weir_archive_log_size", "{entry}", Gauge, "Entries of the log under that head."),
    row("weir_archive_selftest_timestamp_seconds", "s", Gauge, "When the store's lock was last put to the proof, in seconds since 1970."),
    row("weir_archive_key_ops", "{operation}", Counter, "Signing keys made (create), changed (rotate) and used (sign), by result."),
    row("weir_archive_puts_month", "{request}", Gauge, "Writes to the store in a month if it goes on as in the last hour."),
    row("weir_archive_oldest_owed_seconds", "s", Gauge, "Age of the oldest item that no signed head in the store covers."),
    row("weir_archive_worm_ok", "{1}", Gauge, "1 if the store was shown to lock what it holds."),
    row("weir_archive_clock_skew_seconds", "s", Gauge, "The store's clock minus ours."),
    row("weir_archive_owed_records", "{item}", Gauge, "Items taken, and in no object that the log names."),
    row("weir_loki_cut_lines", "{record}", Counter, "Log lines that were longer than `limits.max_line_size` and were cut before they were sent to Loki."),
    row("weir_journal_bytes", "By", Gauge, "Bytes of all files of a storage's journal."),
    row("weir_journal_owed_bytes", "By", Gauge, "Bytes of records that some exporter is owed."),
    row("weir_journal_orphan_items", "{item}", Gauge, "Items on disk that are owed to exporters which do not read from there any more."),
    row("weir_journal_damaged_places", "{place}", Gauge, "Places of the journal that could not be read when it was opened."),
    row("weir_journal_appended_records", "{record}", Counter, "Records that were written and acknowledged."),
    row("weir_journal_appended_bytes", "By", Counter, "Bytes of records that were written and acknowledged."),
    row("weir_journal_refused_records", "{record}", Counter, "Records that the disk did not take."),
    row("weir_journal_syncs", "{sync}", Counter, "Times that records were written through to the disk, many at once."),
    row("weir_journal_sync_seconds", "s", Counter, "Time spent on that."),
    row("weir_journal_troubles", "{storage}", Gauge, "1 while the journal cannot do something and tries again, else 0."),
    // scrapers
    row("otelcol_scraper_scraped_", "{item}", Counter, "Items that the scraper read."),
    row("otelcol_scraper_errored_", "{item}", Counter, "Items that the scraper could not read."),
    // servers and clients
    histogram(HTTP_SERVER_DURATION, "s", SECONDS, "Time until a request over HTTP was answered."),
    histogram(HTTP_SERVER_REQUEST_SIZE, "By", DEFAULT, "Bytes of a request over HTTP, as announced."),
    histogram(HTTP_SERVER_RESPONSE_SIZE, "By", DEFAULT, "Bytes of an answer over HTTP."),
    histogram(HTTP_CLIENT_DURATION, "s", SECONDS, "Time until a peer had answered over HTTP."),
    histogram(HTTP_CLIENT_REQUEST_SIZE, "By", DEFAULT, "Bytes of a request to a peer over HTTP."),
    histogram(RPC_SERVER_DURATION, "s", SECONDS, "Time until a call over gRPC was answered."),
    histogram(RPC_CLIENT_DURATION, "s", SECONDS, "Time until a peer had answered over gRPC."),
    // the process
    row("otelcol_process_uptime", "s", Counter, "Seconds since the service started."),
    row("otelcol_process_cpu_seconds", "s", Counter, "User and system time of the process."),
    row("otelcol_process_memory_rss", "By", Gauge, "Resident memory of the process."),
    row("otelcol_process_runtime_heap_alloc_bytes", "By", Gauge, "Resident anonymous memory: heap and stacks."),
    row("otelcol_process_runtime_total_sys_memory_bytes", "By", Gauge, "Private writable memory mapped from the system."),
    // the admin listener
    row("weir_admin_orders", "{call}", Counter, "Calls that were to change something, by call and status."),
    row("weir_admin_refused", "{call}", Counter, "Calls to the admin listener that were turned away, by reason."),
    // the audit trail
    row(AUDIT_RECORDS, "{record}", Counter, "Audit records by outcome: delivered, rejected for good, lost because they could not be kept."),
    row(AUDIT_FULL, "", Gauge, "1 while the audit trail can take nothing; admin orders are refused then."),
    // the books, the logs
    row(LEDGER_ITEMS, "{item}", Counter, "The books: items by place, signal, column and rule."),
    row(LEDGER_HELD, "{item}", Gauge, "The books: items owed right now, by place and signal."),
    row(PUSH_FAILURES, "{request}", Counter, "Requests with own telemetry that were not taken, by signal."),
    row(RELOAD_ATTEMPTS, "{reload}", Counter, "Times that the configuration was read again."),
    row(RELOAD_FAILURES, "{reload}", Counter, "Times that the new configuration was not taken; everything went on as before."),
    row(RELOAD_LAST_SUCCESS, "s", Gauge, "When a new configuration was last taken, in seconds since 1970."),
    row(LOG_LINES_DROPPED, "{line}", Counter, "Log lines not written: limited (reason sampled), the sink or an outbox too slow (backlog, outbox), or not taken by the far side (unsent)."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_rows_by_name_and_by_signal() {
        #[track_caller]
        fn check(name: &str, expected: Option<(&str, Kind)>) {
            assert_eq!(find(name).map(|d| (d.name, d.kind)), expected, "{name}");
        }
        check(
            "otelcol_process_uptime",
            Some(("otelcol_process_uptime", Counter)),
        );
        check("otelcol_exporter_sent_spans", Some((EXPORTER_SENT, Counter)));
        check(
            "otelcol_exporter_sent_profile_samples",
            Some((EXPORTER_SENT, Counter)),
        );
        check("otelcol_exporter_sent_", None);
        check("otelcol_exporter_sent_things", None);
        check("otelcol_process", None);
    }

    #[test]
    fn levels_and_scopes_are_the_collectors() {
        #[track_caller]
        fn check(name: &str, level: Level, scope_end: &str) {
            assert_eq!(find(name).map(|d| d.level), Some(level), "{name}");
            assert!(scope(name).ends_with(scope_end), "{name}: {}", scope(name));
        }
        check("otelcol_exporter_sent_spans", Level::Basic, "/exporterhelper");
        check(
            "otelcol_exporter_queue_batch_send_size",
            Level::Detailed,
            "/exporterhelper",
        );
        check(
            "otelcol_exporter_enqueue_size_bytes",
            Level::Detailed,
            "/exporterhelper",
        );
        check(
            "otelcol_processor_batch_batch_send_size",
            Level::Normal,
            "/batchprocessor",
        );
        check(
            "otelcol_processor_batch_batch_send_size_bytes",
            Level::Detailed,
            "/batchprocessor",
        );
        check(
            "otelcol_processor_internal_duration",
            Level::Detailed,
            "/processorhelper",
        );
        check(
            "otelcol_processor_incoming_items",
            Level::Basic,
            "/processorhelper",
        );
        check("otelcol_process_uptime", Level::Basic, "collector/service");
        check("http.server.request.duration", Level::Detailed, "/otelhttp");
        check("rpc.client.call.duration", Level::Detailed, "/otelgrpc");
        check("weir_ledger_items", Level::Basic, "weir");
        assert_eq!(Level::parse("DETAILED"), Some(Level::Detailed));
        assert_eq!(Level::parse("more"), None);
        assert!(Level::None < Level::Basic && Level::Normal < Level::Detailed);
    }

    #[test]
    fn rows_are_well_formed() {
        for (i, def) in TABLE.iter().enumerate() {
            assert!(
                def.name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.'),
                "{}",
                def.name
            );
            assert!(def.help.ends_with('.'), "{}", def.name);
            assert!(
                TABLE[..i].iter().all(|d| d.name != def.name),
                "{} stands twice",
                def.name
            );
            assert_eq!(def.bounds.is_empty(), def.kind != Kind::Histogram, "{}", def.name);
            assert!(def.bounds.windows(2).all(|w| w[0] < w[1]), "{}", def.name);
        }
    }
}
