//! What a user writes.

use component::prelude::*;
use net::GrpcClientConfig;

/// `loadbalancing`: sends what belongs together to one of several backends.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// By what backends are chosen: `traceID`, `service`, `attributes`; for metrics also `resource`, `metric`,
    /// `streamID`. Default `traceID`, for metrics `service`. Logs go by their trace whatever stands here.
    pub routing_key: String,
    /// The attributes of `routing_key: attributes`, looked for in resource, scope and record; for traces also
    /// `span.name` and `span.kind`.
    pub routing_attributes: Vec<String>,
    /// How backends are reached.
    pub protocol: Protocol,
    /// Which backends there are. Exactly one of its keys.
    pub resolver: Resolver,
}

/// How backends are reached.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Protocol {
    /// An `otlp_grpc` exporter without `endpoint`. Its `sending_queue`, `retry_on_failure` and `timeout` count where
    /// the load balancer has none of its own.
    pub otlp: GrpcClientConfig,
}

/// Where backends are found.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resolver {
    /// A list.
    #[serde(rename = "static")]
    pub fixed: Option<Static>,
    /// The addresses of a name.
    pub dns: Option<Dns>,
    /// Not offered: use `dns` with a headless service.
    pub k8s: Option<K8s>,
    /// Not offered.
    pub aws_cloud_map: Option<CloudMap>,
}

/// `resolver.static`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Static {
    /// `host` or `host:port`; without a port 4317.
    pub hostnames: Vec<String>,
}

/// `resolver.dns`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// The name. Required.
    pub hostname: String,
    /// Of every backend; empty is 4317.
    pub port: String,
    /// How often the name is looked up. Default 5s.
    pub interval: Duration,
    /// Longest time of one look-up. Default 1s.
    pub timeout: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            hostname: String::new(),
            port: String::new(),
            interval: Duration(std::time::Duration::from_secs(5)),
            timeout: Duration(std::time::Duration::from_secs(1)),
        }
    }
}

/// `resolver.k8s`, which is known in order to be refused as a whole.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct K8s {
    /// `name.namespace`.
    pub service: String,
    /// Of the backends.
    pub ports: Vec<u16>,
    /// Longest time of one look-up.
    pub timeout: Duration,
    /// Names in the place of addresses.
    pub return_hostnames: bool,
}

/// `resolver.aws_cloud_map`, which is known in order to be refused as a whole.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CloudMap {
    /// Of the service.
    pub namespace: String,
    /// The service.
    pub service_name: String,
    /// Of the backends.
    pub port: Option<u16>,
    /// Which instances count.
    pub health_status: String,
    /// How often it is looked up.
    pub interval: Duration,
    /// Longest time of one look-up.
    pub timeout: Duration,
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: &str, message: &str| faults.push((key.to_owned(), message.to_owned()));
        let resolver = &self.resolver;
        if resolver.k8s.is_some() {
            fault(
                "resolver.k8s",
                "the resolver k8s is not offered; use dns with the name of a headless service",
            );
        }
        if resolver.aws_cloud_map.is_some() {
            fault(
                "resolver.aws_cloud_map",
                "the resolver aws_cloud_map is not offered; use dns or static",
            );
        }
        match (&resolver.fixed, &resolver.dns) {
            (None, None) if resolver.k8s.is_none() && resolver.aws_cloud_map.is_none() => fault(
                "resolver",
                "no resolvers specified for the exporter; write static or dns",
            ),
            (Some(_), Some(_)) => fault("resolver", "only one resolver should be specified"),
            _ => {}
        }
        if resolver
            .fixed
            .as_ref()
            .is_some_and(|fixed| fixed.hostnames.is_empty())
        {
            fault(
                "resolver.static.hostnames",
                "no hostnames specified to be used by the static resolver",
            );
        }
        if let Some(dns) = &resolver.dns {
            if dns.hostname.is_empty() {
                fault(
                    "resolver.dns.hostname",
                    "no hostname specified to be used by the DNS resolver",
                );
            }
            if !dns.port.is_empty() && dns.port.parse::<u16>().is_err() {
                fault("resolver.dns.port", "not a port");
            }
            if dns.interval.0.is_zero() {
                fault("resolver.dns.interval", "must be positive");
            }
        }
        let known = [
            "",
            "traceID",
            "service",
            "resource",
            "metric",
            "streamID",
            "attributes",
        ];
        if !known.contains(&self.routing_key.as_str()) {
            fault(
                "routing_key",
                "unsupported routing_key; traceID, service, attributes, resource, metric or streamID",
            );
        }
        if self.routing_key == "attributes" && self.routing_attributes.is_empty() {
            fault(
                "routing_attributes",
                "routing_key is attributes, but no attributes are named",
            );
        }
    }
}
