//! Processor `k8s_attributes`: adds to resources what Kubernetes knows about the pod they come from.
//!
//! Keys, defaults and results are those of the collector's Kubernetes attributes processor (v0.155). A pod is found by
//! the peer's address or by attributes; pods, and as far as rules ask for them namespaces, nodes and workloads, are
//! listed once and then watched. Pipelines of one component share what is known. Data never waits for the API server:
//! what is not known is not added. Built with the feature `kubernetes`; without it the type is refused by name.

#[cfg(feature = "kubernetes")]
mod access;
#[cfg(feature = "kubernetes")]
mod associate;
#[cfg(feature = "kubernetes")]
mod cluster;
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code))]
pub mod config;
#[cfg(feature = "kubernetes")]
mod extract;
#[cfg(feature = "kubernetes")]
mod image;
#[cfg(feature = "kubernetes")]
mod informer;
#[cfg(feature = "kubernetes")]
mod kubeconfig;
#[cfg(feature = "kubernetes")]
mod meters;
#[cfg(feature = "kubernetes")]
mod object;
#[cfg(feature = "kubernetes")]
mod stage;
#[cfg(feature = "kubernetes")]
mod table;

use component::prelude::*;

pub use self::config::Config;

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "k8s_attributes",
    aliases: &["k8sattributes"],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build,
};

#[cfg(feature = "kubernetes")]
fn build(section: Section, cx: &BuildContext, signal: Signal) -> Result<Processor, Fault> {
    let config: Config = section.clone().parse()?;
    let stage = stage::Stage::new(config, &section, cx, signal)?;
    Ok(Processor::Tree(Arc::new(stage)))
}

#[cfg(not(feature = "kubernetes"))]
fn build(section: Section, _: &BuildContext, _: Signal) -> Result<Processor, Fault> {
    Err(left_out(&section))
}

/// What the type is refused with where it was left out.
#[cfg(any(test, not(feature = "kubernetes")))]
fn left_out(section: &Section) -> Fault {
    let text = "this gateway was built without `kubernetes`: build it with that feature";
    section.fault("", text).into()
}

#[cfg(feature = "kubernetes")]
#[cfg(test)]
mod tests;
