//! What may pass, and how it looks.
//!
//! Each processor is a file or folder named like its type in the configuration; [`ALL`] is the table from which the
//! service builds them. Those that change data are programs over a view of one chunk (`Tree`); none of them does
//! I/O while data passes: what some know of the world around them, they learn beside it.

pub mod attributes;
pub mod batch;
pub mod cumulativetodelta;
pub mod filter;
pub mod groupbyattrs;
pub mod groupbytrace;
pub mod k8s_attributes;
pub mod logdedup;
pub mod memory_limiter;
pub mod probabilistic_sampler;
pub mod redaction;
pub mod resource;
pub mod resource_detection;
pub mod span;
pub mod tail_sampling;
pub mod tenant;
pub mod transform;

pub mod actions;
pub mod groups;
pub mod literal;
pub mod matching;
mod removal;
mod sampling;
#[cfg(test)]
mod test_kit;
mod traces;

use component::ProcessorFactory;

/// Every processor that this gateway has.
pub static ALL: &[&ProcessorFactory] = &[
    &attributes::FACTORY,
    &batch::FACTORY,
    &cumulativetodelta::FACTORY,
    &filter::FACTORY,
    &groupbyattrs::FACTORY,
    &groupbytrace::FACTORY,
    &logdedup::FACTORY,
    &k8s_attributes::FACTORY,
    &memory_limiter::FACTORY,
    &probabilistic_sampler::FACTORY,
    &redaction::FACTORY,
    &resource::FACTORY,
    &resource_detection::FACTORY,
    &span::FACTORY,
    &tail_sampling::FACTORY,
    &transform::FACTORY,
    &tenant::FACTORY,
];
