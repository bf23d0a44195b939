//! Functions that only `transform` has for metrics: those that change a metric's kind, its points, or make others of it.
//!
//! They work on the encoded message of one metric, taken apart ([`message`]), and hand back another in its place, or more
//! of them; [`reshape`] runs programs with such statements metric by metric, since a view cannot grow nodes.

mod aggregate;
mod convert;
mod exponential;
mod extract;
mod message;
mod reshape;

use wire::field::Fields;

use crate::editors::read;
use crate::error::{Error, Result};
use crate::eval::{Arg, Cx};
use crate::functions::{Def, lit_str};
use crate::paths::{Context, Level};
use message::Message;

pub(crate) use reshape::Shape;

pub(crate) const DEFS: &[&[Def]] = &[aggregate::DEFS, convert::DEFS, exponential::DEFS, extract::DEFS];

/// Numbers of a metric's fields.
pub(crate) const NAME: u32 = 1;
pub(crate) const DESCRIPTION: u32 = 2;
pub(crate) const UNIT: u32 = 3;
/// Numbers of the kinds of data in a metric.
pub(crate) const GAUGE: u32 = 5;
pub(crate) const SUM: u32 = 7;
pub(crate) const HISTOGRAM: u32 = 9;
pub(crate) const EXPONENTIAL: u32 = 10;
pub(crate) const SUMMARY: u32 = 11;
/// Numbers in each kind of data.
pub(crate) const POINTS: u32 = 1;
pub(crate) const TEMPORALITY: u32 = 2;
pub(crate) const MONOTONIC: u32 = 3;
/// Numbers in each kind of point.
pub(crate) const START: u32 = 2;
pub(crate) const TIME: u32 = 3;
pub(crate) const COUNT: u32 = 4;
pub(crate) const POINT_SUM: u32 = 5;
/// Numbers in a number point.
pub(crate) const AS_DOUBLE: u32 = 4;
pub(crate) const AS_INT: u32 = 6;

pub(crate) const CUMULATIVE: u64 = 2;

const METRIC: &[Context] = &[Context::Metric];

/// Number of the attributes in a point of this kind.
pub(crate) fn attributes_of(kind: u32) -> u32 {
    match kind {
        HISTOGRAM => 9,
        EXPONENTIAL => 1,
        _ => 7,
    }
}

/// One metric taken apart.
pub(crate) struct Metric<'m> {
    /// Its message without the data.
    pub(crate) head: Message<'m>,
    /// Which kind of data it has; 0 for none.
    pub(crate) kind: u32,
    pub(crate) data: Message<'m>,
}

impl<'m> Metric<'m> {
    fn read(raw: &'m [u8]) -> Metric<'m> {
        let mut head = Message::read(raw);
        let is_data = |n: u32| matches!(n, GAUGE | SUM | HISTOGRAM | EXPONENTIAL | SUMMARY);
        let fields = Fields::new(raw, 0).map_while(std::result::Result::ok);
        let (kind, data) = match fields.filter(|f| is_data(f.number)).last() {
            Some(field) => (field.number, Message::read(&raw[field.value..field.end])),
            None => (0, Message::default()),
        };
        head.retain(|n| !is_data(n));
        Metric { head, kind, data }
    }

    /// A metric with this name, the other's description, and a unit.
    pub(crate) fn made(of: &Metric<'_>, suffix: &[u8], unit: &[u8], kind: u32) -> Metric<'static> {
        let mut head = Message::default();
        head.set_bytes(NAME, [of.head.bytes(NAME), suffix].concat());
        head.set_bytes(DESCRIPTION, of.head.bytes(DESCRIPTION).to_vec());
        head.set_bytes(UNIT, unit.to_vec());
        Metric {
            head,
            kind,
            data: Message::default(),
        }
    }

    /// The encoded message; a metric of some kind has its data even if that is empty.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut whole = self.head.clone();
        if self.kind != 0 {
            whole.add(self.kind, self.data.write());
        }
        whole.write()
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            GAUGE => "Gauge",
            SUM => "Sum",
            HISTOGRAM => "Histogram",
            EXPONENTIAL => "ExponentialHistogram",
            SUMMARY => "Summary",
            _ => "Empty",
        }
    }
}

/// A number point with the attributes and times of another point, and no value yet.
pub(crate) fn number_point(kind: u32, point: &Message<'_>) -> Message<'static> {
    let mut made = Message::default();
    for number in [START, TIME] {
        if let Some(time) = point.fixed(number) {
            made.set_fixed(number, time);
        }
    }
    for attribute in point.all(attributes_of(kind)) {
        made.add(attributes_of(GAUGE), attribute.to_vec());
    }
    made
}

/// A temporality by its name, as statements have it.
fn temporality(arg: &Arg) -> Option<u64> {
    match lit_str(arg) {
        Some(b"delta") => Some(1),
        Some(b"cumulative") => Some(CUMULATIVE),
        _ => None,
    }
}

fn known_temporality(arg: &Arg) -> std::result::Result<(), String> {
    match temporality(arg) {
        Some(_) => Ok(()),
        None => Err("the temporality must be \"delta\" or \"cumulative\"".into()),
    }
}

/// Lets `change` work on the metric of the item: what it puts aside is added behind the scope's metrics, and if it says so
/// the metric is replaced.
fn with_metric(
    cx: &mut Cx<'_, '_>,
    change: impl FnOnce(&mut Metric<'_>, &mut Vec<Vec<u8>>) -> Result<bool>,
) -> Result<()> {
    let raw = cx.view.raw(cx.item[Level::Record as usize]);
    let Some(shape) = cx.shape.as_deref_mut() else {
        return Err(Error::new("metrics cannot be made here"));
    };
    let mut metric = Metric::read(raw);
    let mut made = Vec::new();
    let changed = change(&mut metric, &mut made)?;
    shape.make(made)?;
    if changed {
        shape.replaced = Some(metric.write());
    }
    Ok(())
}

/// An argument that is text, if it was given.
fn text(args: &[Arg], i: usize, cx: &Cx<'_, '_>) -> Result<Option<Vec<u8>>> {
    let read = read(args, cx);
    if !read.has(i) {
        return Ok(None);
    }
    read.str(i).map(|text| Some(text.into_owned()))
}

fn suffix(arg: &Arg, default: &'static str) -> Vec<u8> {
    lit_str(arg).unwrap_or(default.as_bytes()).to_vec()
}
