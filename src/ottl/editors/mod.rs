//! Editors: functions that change the item.

mod maps;
mod replace;
mod span_name;

pub(crate) use maps::rune_floor;
pub(crate) use replace::{expand, group};

use wire::view::{Any, Values};

use crate::error::{Error, Result};
use crate::eval::{Arg, Cx, Node};
use crate::functions::{Args, Def, Kind, any, of, opt};
use crate::value::{ListBuilder, Val};

pub(crate) const DEFS: &[Def] = &[
    Def::edit("set", &[of("target", Kind::Path), any("value")], set),
    Def::edit(
        "append",
        &[
            of("target", Kind::Path),
            opt("value", Kind::Value),
            opt("values", Kind::List),
        ],
        append,
    )
    .prepared(|args, _| match args {
        [_, Arg::Absent, Arg::Absent] => Err("at least one of \"value\" and \"values\" must be given".into()),
        _ => Ok(()),
    }),
    Def::edit(
        "delete_index",
        &[
            of("target", Kind::Path),
            any("start_index"),
            opt("end_index", Kind::Value),
        ],
        delete_index,
    ),
    maps::DELETE_KEY,
    maps::DELETE_MATCHING_KEYS,
    maps::KEEP_MATCHING_KEYS,
    maps::KEEP_KEYS,
    maps::LIMIT,
    maps::MERGE_MAPS,
    maps::FLATTEN,
    maps::STRINGIFY_ALL,
    maps::TRUNCATE_ALL,
    replace::REPLACE_MATCH,
    replace::REPLACE_ALL_MATCHES,
    replace::REPLACE_PATTERN,
    replace::REPLACE_ALL_PATTERNS,
    span_name::SET_SEMCONV_SPAN_NAME,
    Def::edit(ROUTE, &[], |_, _| Ok(())),
];

/// Changes nothing: says that a routing table takes the item.
pub(crate) const ROUTE: &str = "route";

/// What the arguments are read from.
pub(crate) fn read<'c>(args: &'c [Arg], cx: &'c Cx<'_, '_>) -> Args<'c> {
    Args { args, cx: cx.read() }
}

/// The path that an editor changes.
pub(super) fn target(args: &[Arg]) -> Result<&crate::access::Access> {
    match args.first() {
        Some(Arg::Target(access)) => Ok(access),
        _ => Err(Error::new("the target is no path")),
    }
}

fn set(args: &[Arg], cx: &mut Cx<'_, '_>) -> Result<()> {
    let target = target(args)?;
    if let Some(Arg::Value(Node::Const(value))) = args.get(1) {
        return if value.is_nil() {
            Ok(())
        } else {
            target.set(cx, value)
        };
    }
    // From one attribute to another as it is.
    if let Some(Arg::Value(Node::Path(source))) = args.get(1)
        && let (Some((from, key)), Some((to, new))) = (source.attribute(cx), target.attribute(cx))
    {
        if let Some(i) = cx.view.find(from, key)
            && !matches!(cx.view.value(from, i).any(), Any::Empty)
        {
            cx.view.copy_value((from, i), to, new);
        }
        return Ok(());
    }
    // Read, copied to where it does not depend on the view, written.
    let mut room = std::mem::take(&mut cx.room);
    let result = match read(args, cx).any(1) {
        Ok(Val::Nil) => Ok(()),
        Ok(value) => {
            let value = value.store(&mut room);
            target.set(cx, &value)
        }
        Err(error) => Err(error),
    };
    cx.room = room;
    result
}

fn append(args: &[Arg], cx: &mut Cx<'_, '_>) -> Result<()> {
    let target = target(args)?;
    let list = {
        let read = read(args, cx);
        let mut list = ListBuilder::default();
        match target.get(cx.read())? {
            Val::Nil => {}
            old @ Val::List(_) => old
                .items()
                .into_iter()
                .flatten()
                .for_each(|v| list.push_raw(v.raw())),
            scalar => list.push(&scalar)?,
        }
        if read.has(1) {
            list.push(&read.any(1)?)?;
        }
        for node in read.nodes(2) {
            list.push(&node.eval(cx.read())?)?;
        }
        list.value()
    };
    target.set(cx, &list)
}

fn delete_index(args: &[Arg], cx: &mut Cx<'_, '_>) -> Result<()> {
    let target = target(args)?;
    let kept = {
        let read = read(args, cx);
        let value = target.get(cx.read())?;
        let Some(items) = value.items() else {
            return Err(Error::expected("list", &value));
        };
        let start = read.int(1)?;
        let end = if read.has(2) {
            read.int(2)?
        } else {
            start.saturating_add(1)
        };
        without(items, start, end)?
    };
    target.set(cx, &kept)
}

/// A list without the values from `start` to before `end`.
fn without(items: Values<'_>, start: i64, end: i64) -> Result<Val<'static>> {
    let len = items.count() as i64;
    if !(0..len).contains(&start) {
        return Err(Error::text(format!(
            "start index {start} is out of bounds of the list of {len}"
        )));
    }
    if end < start || end > len {
        return Err(Error::text(format!(
            "end index {end} is out of bounds of the list of {len}, or before the start"
        )));
    }
    let mut kept = ListBuilder::default();
    for (i, item) in items.enumerate() {
        if !(start..end).contains(&(i as i64)) {
            kept.push_raw(item.raw());
        }
    }
    Ok(kept.value())
}
