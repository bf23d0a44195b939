//! Feature gates: `--feature-gates=a,-b,+c`.
//!
//! The collector's gates are accepted, so that a container's arguments need not change; those that mean
//! nothing here do nothing. A gate that nobody knows is a warning and no error: arguments are written for
//! other versions.

use std::collections::BTreeMap;

use crate::diag::nearest;
use crate::{Diag, Diags};

/// What became of the gates that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gates {
    set: BTreeMap<String, bool>,
}

/// A gate that may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// `service.profilesSupport`.
    pub id: &'static str,
    /// How far it has come, which decides whether it is on by default.
    pub stage: GateStage,
    /// What it does here.
    pub description: &'static str,
}

/// How far a gate has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateStage {
    /// Off unless switched on.
    Alpha,
    /// On unless switched off.
    Beta,
}

impl GateStage {
    /// `Alpha`, `Beta`.
    pub fn as_str(self) -> &'static str {
        match self {
            GateStage::Alpha => "Alpha",
            GateStage::Beta => "Beta",
        }
    }
}

const fn gate(id: &'static str, stage: GateStage, description: &'static str) -> Gate {
    Gate {
        id,
        stage,
        description,
    }
}

/// By id.
const KNOWN: [Gate; 21] = [
    gate(
        Gates::MERGE_APPEND,
        GateStage::Alpha,
        "Joins the lists of extensions, receivers and exporters that several sources give, instead of replacing them",
    ),
    gate(
        Gates::ROUTING_IGNORES,
        GateStage::Alpha,
        "Lets error_mode of the routing connector be ignore where it is not written",
    ),
    gate(
        "ottl.contexts.enableOTelColContext",
        GateStage::Beta,
        "Accepted, without effect: the context otelcol is always there",
    ),
    gate(
        "ottl.functions.enableLambda",
        GateStage::Alpha,
        "Accepted, without effect: no function takes a lambda",
    ),
    gate(
        "pdata.useProtoPooling",
        GateStage::Alpha,
        "Accepted, without effect",
    ),
    gate(
        "pkg.exporterhelper.queueBatchEnabled",
        GateStage::Alpha,
        "Accepted, without effect",
    ),
    gate(
        Gates::FILTER_IGNORES,
        GateStage::Beta,
        "Lets error_mode of the filter processor be ignore where it is not written, else propagate",
    ),
    gate(
        "processor.tailsamplingprocessor.disableinvertdecisions",
        GateStage::Beta,
        "Accepted, without effect: an inverted policy has no veto",
    ),
    gate(
        Gates::COUNT_BYTES_SAMPLED,
        GateStage::Alpha,
        "Shows count_bytes_sampled of the tail_sampling processor",
    ),
    gate(
        Gates::COUNT_SPANS_SAMPLED,
        GateStage::Alpha,
        "Shows count_spans_sampled of the tail_sampling processor",
    ),
    gate(
        Gates::RECORD_POLICY,
        GateStage::Alpha,
        "Writes which policy sampled a trace to the attributes of its scopes",
    ),
    gate(
        "processor.tailsamplingprocessor.tailstorageextension",
        GateStage::Alpha,
        "Accepted, without effect: storage of the tail_sampling processor takes the place of tail_storage",
    ),
    gate(
        Gates::TRANSFORM_IGNORES,
        GateStage::Beta,
        "Lets error_mode of the transform processor be ignore where it is not written, else propagate",
    ),
    gate(
        "receiverhelper.newReceiverMetrics",
        GateStage::Alpha,
        "Accepted, without effect",
    ),
    gate(
        Gates::NO_PIPELINES,
        GateStage::Alpha,
        "Lets a configuration be without receivers, exporters and pipelines",
    ),
    gate(
        "service.partialReload",
        GateStage::Alpha,
        "Accepted, without effect",
    ),
    gate(
        "service.partialReloadReceivers",
        GateStage::Beta,
        "Accepted, without effect",
    ),
    gate(
        Gates::PROFILES,
        GateStage::Alpha,
        "Lets pipelines of profiles run",
    ),
    gate(
        "telemetry.newPipelineTelemetry",
        GateStage::Alpha,
        "Accepted, without effect",
    ),
    gate(
        Gates::FLATTEN_LOGS,
        GateStage::Alpha,
        "Lets flatten_data of the transform processor be true",
    ),
    gate(
        Gates::TRIM_FILES,
        GateStage::Alpha,
        "Takes the final newline off what ${file:...} gives, for secrets that an editor wrote",
    ),
];

impl Gates {
    /// Lists of several sources are joined.
    pub const MERGE_APPEND: &str = "confmap.enableMergeAppendOption";
    /// `count_bytes_sampled` of `tail_sampling` is shown.
    pub const COUNT_BYTES_SAMPLED: &str = "processor.tailsamplingprocessor.metricstatcountbytessampled";
    /// `count_spans_sampled` of `tail_sampling` is shown.
    pub const COUNT_SPANS_SAMPLED: &str = "processor.tailsamplingprocessor.metricstatcountspanssampled";
    /// `error_mode` of `filter` is `ignore` by default, else `propagate`.
    pub const FILTER_IGNORES: &str = "processor.filter.defaultErrorModeIgnore";
    /// `flatten_data` of `transform` may be true.
    pub const FLATTEN_LOGS: &str = "transform.flatten.logs";
    /// A configuration may be without pipelines.
    pub const NO_PIPELINES: &str = "service.AllowNoPipelines";
    /// Pipelines of profiles may run.
    pub const PROFILES: &str = "service.profilesSupport";
    /// `tail_sampling` writes which policy sampled a trace.
    pub const RECORD_POLICY: &str = "processor.tailsamplingprocessor.recordpolicy";
    /// `error_mode` of `routing` is `ignore` by default, else `propagate`.
    pub const ROUTING_IGNORES: &str = "connector.routing.defaultErrorModeIgnore";
    /// `error_mode` of `transform` is `ignore` by default, else `propagate`.
    pub const TRANSFORM_IGNORES: &str = "processor.transform.defaultErrorModeIgnore";
    /// `${file:..}` gives no final newline.
    pub const TRIM_FILES: &str = "weir.trimFileNewline";

    /// All gates, by id.
    pub fn known() -> &'static [Gate] {
        &KNOWN
    }

    /// Gates that are on beside the defaults: for tests and built-in configurations.
    pub fn with(ids: &[&str]) -> Self {
        Gates {
            set: ids.iter().map(|id| ((*id).to_owned(), true)).collect(),
        }
    }

    /// Reads the values of all `--feature-gates` arguments, in order, the later counting. Gives warnings for
    /// gates that are not known.
    ///
    /// Errors: an empty element, or one with characters that no gate has.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<(Self, Vec<Diag>), Diags> {
        let (mut gates, mut faults, mut warnings) = (Self::default(), Vec::new(), Vec::new());
        let fault = |message: String| Diag::new(None, "--feature-gates", message);
        for argument in arguments.into_iter().filter(|argument| !argument.is_empty()) {
            for (index, element) in argument.split(',').enumerate() {
                let (id, on) = match element.as_bytes().first() {
                    Some(b'-') => (&element[1..], false),
                    Some(b'+') => (&element[1..], true),
                    _ => (element, true),
                };
                if id.is_empty() {
                    faults.push(fault(format!("empty feature gate identifier at index {index}")));
                    continue;
                }
                if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
                    faults.push(fault(format!("invalid character(s) in feature gate \"{id}\"")));
                    continue;
                }
                let names = || KNOWN.iter().map(|gate| gate.id);
                if !names().any(|name| name == id) {
                    let mut warning = fault(format!("no such feature gate \"{id}\""));
                    warning.help = nearest(id, names()).map(|near| format!("did you mean \"{near}\"?"));
                    warnings.push(warning);
                }
                gates.set.insert(id.to_owned(), on);
            }
        }
        Diags::check(faults)?;
        Ok((gates, warnings))
    }

    /// The gate is on, by argument or by default. An unknown one is off.
    pub fn is_on(&self, id: &str) -> bool {
        let default = || {
            KNOWN
                .iter()
                .any(|gate| gate.id == id && gate.stage == GateStage::Beta)
        };
        self.set.get(id).copied().unwrap_or_else(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        let ids: Vec<&str> = Gates::known().iter().map(|gate| gate.id).collect();
        assert!(ids.is_sorted() && ids.len() == 21, "{ids:?}");
    }

    #[test]
    fn reads_gates() {
        let check = |arguments: &[&str], id: &str, on: bool| {
            let (gates, warnings) = Gates::parse(arguments.iter().copied()).unwrap();
            assert_eq!(
                (gates.is_on(id), warnings),
                (on, Vec::new()),
                "{arguments:?} {id}"
            );
        };
        check(&[], "service.profilesSupport", false);
        check(&[""], "service.partialReloadReceivers", true);
        check(
            &["-service.partialReloadReceivers"],
            "service.partialReloadReceivers",
            false,
        );
        check(&["service.profilesSupport"], "service.profilesSupport", true);
        check(
            &[
                "pdata.useProtoPooling,+service.AllowNoPipelines",
                "-pdata.useProtoPooling",
            ],
            "pdata.useProtoPooling",
            false,
        );
    }

    #[test]
    fn warns_of_unknown_gates_and_refuses_nonsense() {
        let (_, warnings) = Gates::parse(["service.profileSupport"]).unwrap();
        let shown = warnings[0].to_string();
        assert!(
            shown.ends_with("did you mean \"service.profilesSupport\"?"),
            "{shown}"
        );
        let refuse = |argument: &str, expected: &str| {
            let shown = Gates::parse([argument]).unwrap_err().to_string();
            assert_eq!(shown, format!("--feature-gates: {expected}"), "{argument}");
        };
        refuse(
            "service.AllowNoPipelines,,",
            "empty feature gate identifier at index 1\n--feature-gates: empty feature gate identifier at index 2",
        );
        refuse("-", "empty feature gate identifier at index 0");
        refuse("a b", "invalid character(s) in feature gate \"a b\"");
    }
}
