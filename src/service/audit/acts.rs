//! The acts of the roof: a process that starts and stops, configurations that come and go, orders.

use component::audit::{Act, Actor, Ended};
use config::Diags;
use evidence::digest::sha256;

use super::crowd::shortened;
use crate::service::INFO;

/// Faults that are told, and of each so much.
const FAULTS_MAX: usize = 20;

/// What a configuration was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::service) struct Origin {
    /// SHA-256 of its texts, one after another: of a single file what `sha256sum` says.
    pub(in crate::service) sha256: String,
    /// The change that it belongs to, where it says so.
    pub(in crate::service) change: Option<String>,
}

impl Origin {
    /// Of these texts. The change is named by a comment `# weir-change: ID` at the head of one of them, else by the
    /// variable `WEIR_CHANGE_ID`.
    pub(in crate::service) fn of(sources: &[(String, String)]) -> Origin {
        let texts: Vec<&str> = sources.iter().map(|(_, text)| text.as_str()).collect();
        let named = texts.iter().find_map(|text| change_of(text));
        let change = named.or_else(|| std::env::var("WEIR_CHANGE_ID").ok());
        let change = change.map(|id| shortened(id.trim())).filter(|id| !id.is_empty());
        Origin {
            sha256: sha256(texts.concat().as_bytes()).to_string(),
            change,
        }
    }

    fn on(&self, act: Act) -> Act {
        match &self.change {
            Some(change) => act.with("change_id", change.as_str()),
            None => act,
        }
    }
}

/// In the comments before anything else.
fn change_of(text: &str) -> Option<String> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let mut head = lines.take_while(|line| line.is_empty() || line.starts_with('#') || *line == "---");
    let found = head.find_map(|line| line.trim_start_matches(['#', ' ']).strip_prefix("weir-change:"));
    found.map(|id| id.trim().to_owned())
}

/// The process runs.
pub(in crate::service) fn started(origin: &Origin) -> Act {
    let act = Act::new("process.start", object()).by(os_user());
    origin.on(act
        .with("version", INFO.version)
        .with("config_sha256", origin.sha256.as_str())
        .with("pid", std::process::id()))
}

/// The process is about to end; `why` if it could not go on.
pub(in crate::service) fn stopped(origin: &Origin, why: Option<&str>) -> Act {
    let act = Act::new("process.stop", object()).with("config_sha256", origin.sha256.as_str());
    match why {
        None => act.with("reason", "asked to"),
        Some(why) => act.with("reason", shortened(why)).ended(Ended::Failure),
    }
}

/// The first configuration.
pub(in crate::service) fn loaded(origin: &Origin, text: Option<String>) -> Act {
    let act = Act::new("config.load", "config").by(os_user());
    let act = act.with("new_sha256", origin.sha256.as_str());
    origin.on(act.with("text_sha256", text))
}

/// Another configuration took the place of the one before.
pub(in crate::service) fn reloaded(
    trigger: &str,
    old: &Origin,
    new: &Origin,
    text: Option<String>,
    changed: Vec<String>,
    at_restart: &[String],
) -> Act {
    let act = Act::new("config.reload", "config").by(actor_of(trigger));
    new.on(act
        .with("trigger", trigger)
        .with("old_sha256", old.sha256.as_str())
        .with("new_sha256", new.sha256.as_str())
        .with("text_sha256", text)
        .with("changed", changed)
        .with("at_restart", at_restart.to_vec()))
}

/// Another configuration was not taken.
pub(in crate::service) fn rejected(trigger: &str, running: &Origin, Diags(faults): &Diags) -> Act {
    let told = faults.iter().take(FAULTS_MAX);
    let told: Vec<String> = told
        .map(|fault| shortened(&format!("{}: {}", fault.path, fault.message)))
        .collect();
    Act::new("config.reject", "config")
        .by(actor_of(trigger))
        .ended(Ended::Failure)
        .with("trigger", trigger)
        .with("running_sha256", running.sha256.as_str())
        .with("faults", told)
        .with("fault_count", faults.len())
}

/// An order of somebody who was let in; the parameters' digest stands for them.
pub(in crate::service) fn admin_call(who: Actor, call: &str, arguments: &str, status: u16) -> Act {
    let outcome = match status {
        200..=299 => Ended::Success,
        401 | 403 => Ended::Denied,
        _ => Ended::Failure,
    };
    Act::new("admin.call", format!("admin/{call}"))
        .by(who)
        .ended(outcome)
        .with("verb", "POST")
        .with("call", call)
        .with("parameters_sha256", sha256(arguments.as_bytes()).to_string())
        .with("status", status)
}

/// A component will not work any more.
pub(in crate::service) fn disabled(component: &str) -> Act {
    Act::new("exporter.disabled", component).ended(Ended::Failure)
}

fn object() -> String {
    format!("{}/{}", INFO.command, INFO.version)
}

/// Who is behind a reload: a signal comes from a user of the machine, an order has a record of its own.
fn actor_of(trigger: &str) -> Actor {
    match trigger {
        "hangup" => os_user(),
        _ => Actor::SYSTEM,
    }
}

/// The user that the process runs as, by name where the machine has one.
fn os_user() -> Actor {
    let uid = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Actor::new("os_user", name.unwrap_or_else(|| format!("uid:{uid}")))
}

/// What the machine is called, as an archive calls its writer.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    evidence::names::writer_of_host(name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_named_in_the_comments_before_anything_else() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(change_of(text).as_deref(), expected, "{text}");
        }
        check("# weir-change: CHG-7\nreceivers: {}", Some("CHG-7"));
        check(
            "---\n\n# a gateway\n#weir-change:CHG-7  \nreceivers: {}",
            Some("CHG-7"),
        );
        check("receivers: {}\n# weir-change: CHG-7", None);
        check("# our weir-change: CHG-7", None);
        check("", None);
    }

    #[test]
    fn the_digest_of_one_file_is_that_of_its_bytes() {
        let origin = Origin::of(&[("a.yaml".to_owned(), "abc".to_owned())]);
        assert_eq!(
            origin.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn an_order_has_its_parameters_as_a_digest() {
        let act = admin_call(Actor::new("token", "ab"), "journal_discard", "destination=x", 404);
        assert_eq!(
            (act.outcome, act.object.as_str()),
            (Ended::Failure, "admin/journal_discard")
        );
        let text = serde_json::Value::Object(act.details).to_string();
        assert!(!text.contains("destination=x"), "{text}");
    }
}
