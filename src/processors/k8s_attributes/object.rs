//! Objects of the API server: only what is used of them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A kind of object, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Pods,
    Namespaces,
    Nodes,
    ReplicaSets,
    Deployments,
    StatefulSets,
    DaemonSets,
    Jobs,
}

impl Kind {
    pub(super) const ALL: [Kind; 8] = [
        Kind::Pods,
        Kind::Namespaces,
        Kind::Nodes,
        Kind::ReplicaSets,
        Kind::Deployments,
        Kind::StatefulSets,
        Kind::DaemonSets,
        Kind::Jobs,
    ];

    /// Its path; kinds that live in namespaces are asked for in one if it is not empty.
    pub(super) fn path(self, namespace: &str) -> String {
        let (group, name) = match self {
            Kind::Pods => ("api/v1", "pods"),
            Kind::Namespaces => return "/api/v1/namespaces".into(),
            Kind::Nodes => return "/api/v1/nodes".into(),
            Kind::ReplicaSets => ("apis/apps/v1", "replicasets"),
            Kind::Deployments => ("apis/apps/v1", "deployments"),
            Kind::StatefulSets => ("apis/apps/v1", "statefulsets"),
            Kind::DaemonSets => ("apis/apps/v1", "daemonsets"),
            Kind::Jobs => ("apis/batch/v1", "jobs"),
        };
        match namespace {
            "" => format!("/{group}/{name}"),
            namespace => format!("/{group}/namespaces/{namespace}/{name}"),
        }
    }

    /// Only pods are needed whole; of the others the server sends the metadata alone.
    pub(super) fn is_whole(self) -> bool {
        self == Kind::Pods
    }
}

/// Any object. What only pods have is empty for the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Object {
    pub(super) metadata: Meta,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) creation_timestamp: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) owner_references: Vec<Owner>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) controller: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) node_name: String,
    pub(super) hostname: String,
    pub(super) host_network: bool,
    pub(super) containers: Vec<ContainerSpec>,
    pub(super) init_containers: Vec<ContainerSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerSpec {
    pub(super) name: String,
    pub(super) image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(rename = "podIP")]
    pub(super) pod_ip: String,
    pub(super) start_time: Option<String>,
    pub(super) container_statuses: Vec<ContainerStatus>,
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
    #[serde(rename = "imageID")]
    pub(super) image_id: String,
    pub(super) restart_count: i64,
}

/// An object of which the server sends the metadata alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MetaOnly {
    metadata: Meta,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    /// Null where there are none.
    items: Option<Vec<T>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PageMeta {
    pub(super) resource_version: String,
    /// Asks for the next page; empty on the last.
    pub(super) r#continue: String,
}

/// Reads one page of a list.
pub(super) fn page(kind: Kind, body: &[u8]) -> serde_json::Result<(PageMeta, Vec<Object>)> {
    if kind.is_whole() {
        let page: Page<Object> = serde_json::from_slice(body)?;
        return Ok((page.metadata, page.items.unwrap_or_default()));
    }
    let page: Page<MetaOnly> = serde_json::from_slice(body)?;
    let items = page.items.unwrap_or_default().into_iter().map(Object::from);
    Ok((page.metadata, items.collect()))
}

/// One line of a watch.
#[derive(Debug)]
pub(super) enum Event {
    Added(Object),
    Modified(Object),
    Deleted(Object),
    /// Nothing happened up to this version.
    Bookmark(String),
    /// The watch is over; 410 = its version is too old.
    Error(Failure),
}

/// What the server says when it says no.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) message: String,
}

/// Reads one line of a watch.
pub(super) fn event(kind: Kind, line: &[u8]) -> serde_json::Result<Event> {
    #[derive(Deserialize)]
    struct Head {
        r#type: String,
    }
    #[derive(Deserialize)]
    struct Body<T> {
        object: T,
    }
    let object = || match kind.is_whole() {
        true => serde_json::from_slice::<Body<Object>>(line).map(|b| b.object),
        false => serde_json::from_slice::<Body<MetaOnly>>(line).map(|b| b.object.into()),
    };
    let head: Head = serde_json::from_slice(line)?;
    Ok(match head.r#type.as_str() {
        "ADDED" => Event::Added(object()?),
        "MODIFIED" => Event::Modified(object()?),
        "DELETED" => Event::Deleted(object()?),
        "BOOKMARK" => {
            let mark: Body<MetaOnly> = serde_json::from_slice(line)?;
            Event::Bookmark(mark.object.metadata.resource_version)
        }
        _ => Event::Error(serde_json::from_slice::<Body<Failure>>(line)?.object),
    })
}

impl From<MetaOnly> for Object {
    fn from(object: MetaOnly) -> Object {
        Object {
            metadata: object.metadata,
            ..Object::default()
        }
    }
}
