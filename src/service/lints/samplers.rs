//! Samplers behind one another: what they leave of the data together.
//!
//! Follows the way of spans and log records through pipelines and the connectors between them, and looks at each
//! `probabilistic_sampler` with those that stand before it.

use std::collections::BTreeSet;

use config::{ComponentId, Diag, Effective, Section};
use engine::pipeline::PipelineSpec;

use super::Parts;

/// A sampler on the way.
#[derive(Clone, Debug, PartialEq)]
struct Sampler {
    id: String,
    percent: f64,
    /// It decides by a hash of its own, and takes what others wrote for somebody else's.
    hashes: bool,
    /// It keeps a share of what arrives, not of what there was.
    multiplies: bool,
    fail_closed: bool,
}

/// Ways longer than this are circles, or nobody's.
const HOPS_MAX: usize = 32;

pub(super) fn lint(parts: &Parts, found: &mut Vec<Diag>) {
    let mut walk = Walk {
        parts,
        said: BTreeSet::new(),
        found,
    };
    let connectors = parts.of_kind("connectors");
    for pipeline in parts.pipelines() {
        let is_connector = |id: &ComponentId| connectors.iter().any(|(c, _)| c == id);
        if !pipeline.receivers.iter().all(is_connector) {
            walk.pipeline(pipeline, &[], 0);
        }
    }
}

struct Walk<'a> {
    parts: &'a Parts,
    /// What was said of which sampler.
    said: BTreeSet<(String, String)>,
    found: &'a mut Vec<Diag>,
}

impl Walk<'_> {
    fn pipeline(&mut self, pipeline: &PipelineSpec, before: &[Sampler], hops: usize) {
        let parts = self.parts;
        let mut before = before.to_vec();
        for id in &pipeline.processors {
            let known = parts.of_kind("processors").iter().find(|(p, _)| p == id);
            if let Some((_, section)) = known
                && id.kind == "probabilistic_sampler"
                && let Some(sampler) = sampler(id, &section.effective())
            {
                if let Some((key, message, help)) = fault(&sampler, &before) {
                    self.say(id, section, key, message, help);
                }
                before.push(sampler);
            }
        }
        if hops == HOPS_MAX {
            return;
        }
        for next in parts.pipelines() {
            if next.signal == pipeline.signal
                && pipeline.exporters.iter().any(|id| next.receivers.contains(id))
            {
                self.pipeline(next, &before, hops + 1);
            }
        }
    }

    fn say(&mut self, id: &ComponentId, section: &Section, key: &str, message: String, help: &'static str) {
        if self.said.insert((id.to_string(), message.clone())) {
            self.found.push(section.diag(key, message).with_help(help));
        }
    }
}

fn sampler(id: &ComponentId, value: &Effective) -> Option<Sampler> {
    let Effective::Map(entries) = value else {
        return None;
    };
    let text = |key: &str| match entries.get(key) {
        Some(Effective::Text(text)) => text.as_str(),
        _ => "",
    };
    let mode = text("mode");
    Some(Sampler {
        id: id.to_string(),
        percent: match entries.get("sampling_percentage")? {
            Effective::Float(percent) => *percent,
            Effective::Int(percent) => *percent as f64,
            _ => return None,
        },
        hashes: matches!(mode, "" | "hash_seed"),
        multiplies: mode == "proportional",
        fail_closed: entries.get("fail_closed") != Some(&Effective::Bool(false)),
    })
}

/// Key, message and help of what is wrong with a sampler behind others.
fn fault(sampler: &Sampler, before: &[Sampler]) -> Option<(&'static str, String, &'static str)> {
    if sampler.percent == 0.0 {
        let message = "sampling_percentage is 0: everything is dropped but what has a priority".to_owned();
        return Some(("sampling_percentage", message, "give it a percentage"));
    }
    let first = before.iter().rev().find(|b| b.percent > 0.0)?;
    if sampler.hashes && sampler.fail_closed {
        let message = format!(
            "everything is dropped: what {} lets pass carries its threshold, which mode hash_seed takes for another \
             sampler's",
            first.id
        );
        let help = "mode: proportional or equalizing go together with others";
        return Some(("mode", message, help));
    }
    if sampler.multiplies {
        let shares = before.iter().filter(|b| b.percent > 0.0);
        let left = shares.fold(sampler.percent, |left, b| left * b.percent.min(100.0) / 100.0);
        let message = format!("shares multiply: behind {} about {left:.3} % are left", first.id);
        return Some((
            "mode",
            message,
            "mode: equalizing keeps its share of what there was first",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use config::Gates;

    /// Warnings about samplers, for processors and the pipelines' rows.
    fn said(processors: &str, pipelines: &str) -> Vec<String> {
        let text = format!(
            "receivers: {{nop: }}\nexporters: {{debug: }}\nconnectors: {{forward: }}\n\
             processors: {{{processors}}}\nservice: {{pipelines: {{{pipelines}}}}}\n"
        );
        let (_, warnings) = super::super::super::validate(&[("gw.yaml".into(), text)], &Gates::default())
            .unwrap_or_else(|faults| panic!("{faults}"));
        let of_samplers = warnings
            .iter()
            .filter(|w| w.path.contains("probabilistic_sampler"));
        of_samplers.map(|w| w.message.clone()).collect()
    }

    const ONE: &str = "traces: {receivers: [nop], processors: [probabilistic_sampler/a, probabilistic_sampler/b], \
                       exporters: [debug]}";
    const TWO: &str = "traces/in: {receivers: [nop], processors: [probabilistic_sampler/a], exporters: [forward]}, \
                       traces: {receivers: [forward], processors: [probabilistic_sampler/b], exporters: [debug]}";

    #[test]
    fn samplers_that_leave_nothing_are_named() {
        let pair =
            |a: &str, b: &str| format!("probabilistic_sampler/a: {{{a}}}, probabilistic_sampler/b: {{{b}}}");
        let nothing = "everything is dropped: what probabilistic_sampler/a lets pass carries its threshold, which mode \
                       hash_seed takes for another sampler's";
        let hash = "sampling_percentage: 50";
        for pipelines in [ONE, TWO] {
            assert_eq!(said(&pair(hash, hash), pipelines), [nothing]);
            let open = pair(hash, "sampling_percentage: 50, fail_closed: false");
            assert_eq!(said(&open, pipelines), Vec::<String>::new());
            let equal = pair(hash, "sampling_percentage: 10, mode: equalizing");
            assert_eq!(said(&equal, pipelines), Vec::<String>::new());
            let share = pair(hash, "sampling_percentage: 10, mode: proportional");
            assert_eq!(
                said(&share, pipelines),
                ["shares multiply: behind probabilistic_sampler/a about 5.000 % are left"]
            );
            assert_eq!(
                said(&pair("", hash), pipelines),
                ["sampling_percentage is 0: everything is dropped but what has a priority"]
            );
        }
        let apart = "traces/a: {receivers: [nop], processors: [probabilistic_sampler/a], exporters: [debug]}, \
                     traces/b: {receivers: [nop], processors: [probabilistic_sampler/b], exporters: [debug]}";
        assert_eq!(said(&pair(hash, hash), apart), Vec::<String>::new());
    }
}
