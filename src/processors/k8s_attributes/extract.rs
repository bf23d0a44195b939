//! What becomes attributes: of a pod, of its containers, and of what it belongs to.

use codec::pattern::Pattern;

use super::config::{Field, FieldRule, From, Key, Rules};
use super::image::Image;
use super::object::{Meta, Object, Owner};
use super::table::{Container, Run, text_bytes};

/// Attributes in the order in which they were found; a later one of the same name takes the place of the earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags(Vec<(Box<str>, Box<str>)>);

impl Tags {
    pub(super) fn put(&mut self, key: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| **known == *key) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((key.into(), value.into())),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| **known == *key)
            .map(|(_, value)| &**value)
    }

    /// What they take, about.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.iter().flat_map(|(key, value)| [key, value]);
        texts.map(text_bytes).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Names that replica sets and jobs have of those they belong to, where those are watched.
pub(super) trait Controllers {
    /// The deployment of a replica set: `None` if the replica set is not known, empty if it has none.
    fn deployment(&self, replica_set: &str) -> Option<&str>;
    /// The cron job of a job, likewise.
    fn cron_job(&self, job: &str) -> Option<&str>;
}

/// A pod's attributes, but for those that change with other objects (`k8s.deployment.uid`, `k8s.cronjob.uid`,
/// `k8s.cluster.uid`, those of its namespace and node).
pub(super) fn pod(object: &Object, rules: &Rules, controllers: &dyn Controllers) -> Tags {
    use Field::*;
    let meta = &object.metadata;
    let mut tags = Tags::default();
    let mut put = |field: Field, value: &str| {
        if rules.has(field) {
            tags.put(field.as_str(), value);
        }
    };
    put(PodName, &meta.name);
    put(ServiceName, &meta.name);
    put(PodHostname, &object.spec.hostname);
    put(PodIp, &object.status.pod_ip);
    put(NamespaceName, &meta.namespace);
    put(ServiceNamespace, &meta.namespace);
    if let Some(created) = &meta.creation_timestamp {
        put(PodStartTime, created);
    }
    put(PodUid, &meta.uid);
    for owner in &meta.owner_references {
        // What a service is called: its deployment before its replica set, its cron job before its job.
        let above = match owner.kind.as_str() {
            "ReplicaSet" => {
                put(ReplicaSetUid, &owner.uid);
                put(ReplicaSetName, &owner.name);
                let hash = meta.labels.get("pod-template-hash").map_or("", String::as_str);
                let known = controllers.deployment(&owner.uid);
                let name = known.unwrap_or_else(|| deployment_of(&owner.name, hash));
                (!name.is_empty()).then_some((DeploymentName, name))
            }
            "DaemonSet" => {
                put(DaemonSetUid, &owner.uid);
                put(DaemonSetName, &owner.name);
                None
            }
            "StatefulSet" => {
                put(StatefulSetUid, &owner.uid);
                put(StatefulSetName, &owner.name);
                None
            }
            "Job" => {
                put(JobUid, &owner.uid);
                put(JobName, &owner.name);
                let known = controllers.cron_job(&owner.uid);
                let name = known.unwrap_or_else(|| cron_job_of(owner, meta));
                (!name.is_empty()).then_some((CronJobName, name))
            }
            _ => continue,
        };
        put(ServiceName, &owner.name);
        if let Some((field, name)) = above {
            put(field, name);
            put(ServiceName, name);
        }
    }
    put(NodeName, &object.spec.node_name);
    labels_and_annotations(From::Pod, meta, rules, &mut tags, |tags| {
        let mut copy = |label: &str, field: Field| {
            if rules.has(field)
                && let Some(value) = meta.labels.get(label)
            {
                tags.put(field.as_str(), value);
            }
        };
        copy("app.kubernetes.io/name", ServiceName);
        copy("app.kubernetes.io/instance", ServiceName);
        copy("app.kubernetes.io/version", ServiceVersion);
    });
    tags
}

/// Attributes out of labels and annotations of something that is no pod.
pub(super) fn other(from: From, meta: &Meta, rules: &Rules) -> Tags {
    let mut tags = Tags::default();
    labels_and_annotations(from, meta, rules, &mut tags, |_| {});
    tags
}

/// Annotations come last: what somebody wrote there on purpose outranks labels that are there by convention.
fn labels_and_annotations(
    from: From,
    meta: &Meta,
    rules: &Rules,
    tags: &mut Tags,
    between: impl FnOnce(&mut Tags),
) {
    let owner = match from {
        From::Pod => "k8s.pod.labels.",
        From::Namespace => "k8s.namespace.labels.",
        From::Node => "k8s.node.labels.",
        From::Deployment => "k8s.deployment.label.",
        From::StatefulSet => "k8s.statefulset.label.",
        From::DaemonSet => "k8s.daemonset.label.",
        From::Job => "k8s.job.label.",
    };
    for rule in rules.labels.iter().filter(|r| r.from == from) {
        rule.apply(&meta.labels, owner, tags);
    }
    between(tags);
    let owner = owner.replace("label", "annotation");
    for rule in rules.annotations.iter().filter(|r| r.from == from) {
        rule.apply(&meta.annotations, &owner, tags);
    }
}

impl FieldRule {
    fn apply(&self, from: &std::collections::BTreeMap<String, String>, default: &str, tags: &mut Tags) {
        match &self.key {
            Key::Exact(key) => {
                if let Some(value) = from.get(key) {
                    match self.name.as_str() {
                        "" => tags.put(&format!("{default}{key}"), value),
                        name => tags.put(name, value),
                    }
                }
            }
            Key::Matching(pattern) => {
                // A name without a group to put in it would be the same for all keys.
                let is_named = !self.name.is_empty() && !pattern.group_names().is_empty();
                let mut cache = pattern.cache();
                for (key, value) in from.iter().filter(|(_, value)| !value.is_empty()) {
                    if let Some(name) = named(pattern, &mut cache, key, &self.name) {
                        match is_named {
                            true => tags.put(&name, value),
                            false => tags.put(&format!("{default}{key}"), value),
                        }
                    }
                }
            }
        }
    }
}

/// The template with the groups of the match in it; `None` if the key does not match.
fn named(
    pattern: &Pattern,
    cache: &mut codec::pattern::PatternCache,
    key: &str,
    template: &str,
) -> Option<String> {
    let mut out = Vec::new();
    let is_match = pattern.replace_all_groups(cache, key.as_bytes(), &mut out, |groups, out| {
        let group = |i: usize| match groups.get(i) {
            Some(Some((start, end))) => &key[*start..*end],
            _ => "",
        };
        out.extend_from_slice(
            expanded(template, |name| match name.parse::<usize>() {
                Ok(number) => group(number),
                Err(_) => pattern.group_number(name).map_or("", group),
            })
            .as_bytes(),
        );
    });
    is_match.then(|| String::from_utf8_lossy(&out).into_owned())
}

/// As Go's `Expand`: `$name`, `${name}`, `$1`, `$$`; what is no reference stands for itself.
fn expanded<'a>(template: &str, group: impl Fn(&str) -> &'a str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let (name, next) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or(("", after)),
            None => after.split_at(after.find(|c| !is_word(c)).unwrap_or(after.len())),
        };
        match !name.is_empty() && name.chars().all(is_word) {
            true => {
                out.push_str(group(name));
                rest = next;
            }
            false => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

/// A replica set of a deployment is called like it, with the hash of the pod's template behind.
fn deployment_of<'a>(replica_set: &'a str, hash: &str) -> &'a str {
    let name = match hash.is_empty() {
        true => None,
        false => replica_set.strip_suffix(hash),
    };
    name.and_then(|name| name.strip_suffix('-')).unwrap_or("")
}

/// A job of a cron job is called like it, with the minute it was due behind: eight digits, at most a day from when the
/// pod was made.
fn cron_job_of<'a>(job: &'a Owner, pod: &Meta) -> &'a str {
    const SKEW_MINUTES_MAX: i64 = 24 * 60;
    let Some((name, minutes)) = job.name.rsplit_once('-') else {
        return "";
    };
    let created = pod.creation_timestamp.as_deref().and_then(unix_minutes);
    match (minutes.len() == 8, minutes.parse::<i64>(), created) {
        (true, Ok(due), Some(created))
            if minutes.bytes().all(|b| b.is_ascii_digit()) && (created - due).abs() <= SKEW_MINUTES_MAX =>
        {
            name
        }
        _ => "",
    }
}

/// Of `2026-04-07T10:20:30Z`.
fn unix_minutes(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute) = (number(11..13)?, number(14..16)?);
    // Days since 1970, counting years from March.
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 1440 + hour * 60 + minute)
}

/// What is known about each container, in the order of the pod's lists.
pub(super) fn containers(object: &Object, rules: &Rules) -> Vec<Container> {
    use Field::*;
    if !rules.reads_containers() {
        return Vec::new();
    }
    let mut all: Vec<Container> = Vec::new();
    for spec in object.spec.containers.iter().chain(&object.spec.init_containers) {
        let mut container = Container::new(&spec.name);
        if let Some(image) = Image::parse(&spec.image) {
            let text = |is_on: bool, text: &str| is_on.then(|| text.to_owned());
            container.image_name = text(rules.has(ContainerImageName), image.repository);
            container.image_tag = text(rules.has(ContainerImageTag), image.tag.unwrap_or("latest"));
            container.service_version = image.version().filter(|_| rules.has(ServiceVersion));
        }
        all.push(container);
    }
    let meta = &object.metadata;
    let status = &object.status;
    for run in status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
    {
        let at = all
            .iter()
            .position(|c| c.spec_name == run.name)
            .unwrap_or_else(|| {
                all.push(Container::new(&run.name));
                all.len() - 1
            });
        let container = &mut all[at];
        container.has_status = true;
        if rules.has(ContainerName) {
            container.name = Some(run.name.clone());
        }
        if rules.has(ServiceInstanceId) {
            container.instance_id = Some(format!("{}.{}.{}", meta.namespace, meta.name, run.name));
        }
        let id = run
            .container_id
            .split_once("://")
            .map_or(run.container_id.as_str(), |(_, id)| id);
        container.ids.push(id.to_owned());
        if rules.has(ContainerId) || rules.has(ContainerImageRepoDigests) {
            let digest = Image::parse(&run.image_id).and_then(|image| image.canonical());
            container.runs.push(Run {
                restarts: run.restart_count,
                id: Some(id.to_owned()).filter(|id| rules.has(ContainerId) && !id.is_empty()),
                digest: digest.filter(|_| rules.has(ContainerImageRepoDigests)),
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_templates_as_go_does() {
        let check = |template: &str, expected: &str| {
            let group = |name: &str| match name {
                "1" => "one",
                "key" => "two",
                _ => "",
            };
            assert_eq!(expanded(template, group), expected, "{template}");
        };
        check("$1", "one");
        check("a.$1.b", "a.one.b");
        check("${1}x", "onex");
        check("$1x", "");
        check("${key}_$$", "two_$");
        check("$", "$");
        check("a$-b", "a$-b");
        check("${", "${");
        check("${a b}", "${a b}");
        check("plain", "plain");
    }

    #[test]
    fn reads_the_minute_of_a_timestamp() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(unix_minutes(text), expected, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T12:34:56Z", Some(951_827_696 / 60));
        check("2026-04-07T10:20:30Z", Some(1_775_557_230 / 60));
        check("", None);
        check("2026-04-07", None);
        check("2026-0\u{e9}-07T10:20:30Z", None);
    }

    #[test]
    fn names_of_controllers_are_read_off_their_objects() {
        let check = |set: &str, hash: &str, expected: &str| {
            assert_eq!(deployment_of(set, hash), expected, "{set} {hash}");
        };
        check("web-5d4f8c", "5d4f8c", "web");
        check("web", "", "");
        check("web-5d4f8c", "other", "");
        check("5d4f8c", "5d4f8c", "");
        let check = |job: &str, created: &str, expected: &str| {
            let owner = Owner {
                name: job.into(),
                ..Owner::default()
            };
            let meta = Meta {
                creation_timestamp: Some(created.into()),
                ..Meta::default()
            };
            assert_eq!(cron_job_of(&owner, &meta), expected, "{job}");
        };
        // 29 592 620 minutes after 1970 is the time of the pod.
        check("nightly-29592620", "2026-04-07T10:20:30Z", "nightly");
        check("nightly-29592000", "2026-04-07T10:20:30Z", "nightly");
        check("nightly-20260407", "2026-04-07T10:20:30Z", "");
        check("nightly-2959262", "2026-04-07T10:20:30Z", "");
        check("nightly-+9592620", "2026-04-07T10:20:30Z", "");
        check("nightly", "2026-04-07T10:20:30Z", "");
    }
}
