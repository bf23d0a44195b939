//! XML: to maps, and documents from which parts are taken, put in, or written otherwise.

mod dom;
mod xpath;

use std::collections::HashMap;

use super::{Args, Def, Kind, any, lit_utf8, of, opt};
use crate::error::{Error, Result};
use crate::eval::Arg;
use crate::functions::Ready;
use crate::value::{ListBuilder, MapBuilder, Val};
use dom::{Kind as NodeKind, Tree, escape};
pub(crate) use xpath::XPath;
use xpath::{Pick, text_of};

/// Bytes that one call may put into a document.
const INSERTED_MAX: usize = 16 << 20;
/// Bytes that one call may take out of one: nodes that lie in each other are written more than once.
const WRITTEN_MAX: usize = 64 << 20;

pub(crate) const DEFS: &[Def] = &[
    Def::get("ParseXML", &[any("target")], |a| {
        let tree = Tree::read(&a.utf8(0)?)?;
        let roots: Vec<usize> = elements(&tree, 0).collect();
        match roots[..] {
            [root] => Ok(Val::Map(crate::value::Map::Encoded(whole(&tree, root).into()))),
            [] => Err(Error::new("the XML has no element")),
            _ => Err(Error::new("trailing bytes after parsing xml")),
        }
    }),
    Def::get("ParseSimplifiedXML", &[any("target")], |a| {
        let tree = needed(&a.utf8(0)?)?;
        Ok(simplified(&tree, 0).value())
    }),
    Def::get("GetXML", &[any("target"), of("xpath", Kind::Str)], |a| {
        let Some(tree) = document(&a.utf8(0)?)? else {
            return Ok(Val::text(""));
        };
        let mut out = String::new();
        for pick in picks(&a, 1, &tree)? {
            match (pick.attribute, &tree.nodes[pick.node].kind) {
                (0, NodeKind::Element { .. }) => tree.write(pick.node, &mut out),
                (0, NodeKind::Text(text) | NodeKind::CData(text)) => escape(text, &mut out),
                (0, _) => {}
                _ => escape(&text_of(&tree, pick), &mut out),
            }
            if out.len() > WRITTEN_MAX {
                return Err(Error::new("the XPath picks too much"));
            }
        }
        Ok(Val::text(out))
    })
    .prepared(|args, _| prepare(args, 1, "/")),
    Def::get("RemoveXML", &[any("target"), of("xpath", Kind::Str)], |a| {
        let Some(mut tree) = document(&a.utf8(0)?)? else {
            return Ok(Val::text(""));
        };
        // From behind, so that the places of those before stay.
        for pick in picks(&a, 1, &tree)?.into_iter().rev() {
            take_out(&mut tree, pick);
        }
        Ok(written(&tree))
    })
    .prepared(|args, _| prepare(args, 1, "/")),
    Def::get(
        "InsertXML",
        &[any("target"), of("xpath", Kind::Str), any("sub_document")],
        |a| {
            let mut tree = Tree::read(&a.utf8(0)?)?;
            let text = a.utf8(2)?;
            let part = needed(&text)?;
            let picks = picks(&a, 1, &tree)?;
            if picks.len().saturating_mul(text.len()) > INSERTED_MAX {
                return Err(Error::new("too much would be inserted"));
            }
            for pick in picks {
                if pick.attribute > 0 || !(pick.node == 0 || tree.is_element(pick.node)) {
                    return Err(Error::new("InsertXML XPath selected non-element"));
                }
                tree.graft(pick.node, &part, 0);
            }
            Ok(written(&tree))
        },
    )
    .prepared(|args, _| prepare(args, 1, "/")),
    Def::get(
        "ConvertAttributesToElementsXML",
        &[any("target"), opt("xpath", Kind::Str)],
        |a| {
            let mut tree = needed(&a.utf8(0)?)?;
            let picks = picks(&a, 1, &tree)?;
            for pick in picks.iter().filter(|pick| pick.attribute > 0) {
                let found = tree.attributes(pick.node).get(pick.attribute - 1).cloned();
                if let Some((name, value)) = found {
                    let attributes = Vec::new();
                    let id = tree.add(pick.node, NodeKind::Element { name, attributes });
                    tree.add(id, NodeKind::Text(value));
                }
            }
            let attributes = picks.into_iter().filter(|pick| pick.attribute > 0);
            attributes.rev().for_each(|pick| take_out(&mut tree, pick));
            Ok(written(&tree))
        },
    )
    .prepared(|args, _| prepare(args, 1, "//@*")),
    Def::get(
        "ConvertTextToElementsXML",
        &[
            any("target"),
            opt("xpath", Kind::Str),
            opt("element_name", Kind::Str),
        ],
        |a| {
            let mut tree = needed(&a.utf8(0)?)?;
            let name = a.lit_str(2).filter(|name| !name.is_empty()).unwrap_or(b"value");
            let name = String::from_utf8_lossy(name).into_owned();
            for pick in picks(&a, 1, &tree)?
                .into_iter()
                .filter(|pick| pick.attribute == 0)
            {
                wrap_texts(&mut tree, pick.node, &name);
            }
            Ok(written(&tree))
        },
    )
    .prepared(|args, _| prepare(args, 1, "/")),
];

/// A document; none of an empty text.
fn document(text: &str) -> Result<Option<Tree>> {
    match text {
        "" => Ok(None),
        text => needed(text).map(Some),
    }
}

/// A document, which has an element at least.
fn needed(text: &str) -> Result<Tree> {
    let tree = Tree::read(text)?;
    let has_element = elements(&tree, 0).next().is_some();
    match has_element {
        true => Ok(tree),
        false => Err(Error::new("the XML has no element")),
    }
}

fn prepare(args: &mut [Arg], i: usize, default: &str) -> std::result::Result<(), String> {
    let compiled = XPath::new(lit_utf8(&args[i])?.unwrap_or(default))?;
    args[i] = Arg::Ready(Ready::XPath(compiled));
    Ok(())
}

fn picks(a: &Args<'_>, i: usize, tree: &Tree) -> Result<Vec<Pick>> {
    match a.ready(i) {
        Some(Ready::XPath(path)) => path.pick(tree),
        _ => Err(Error::new("the XPath was not prepared")),
    }
}

fn written(tree: &Tree) -> Val<'static> {
    let mut out = String::new();
    tree.write(0, &mut out);
    Val::text(out)
}

/// Takes an attribute, an element, a text or a comment out; all else stays.
fn take_out(tree: &mut Tree, pick: Pick) {
    match (pick.attribute.checked_sub(1), &mut tree.nodes[pick.node].kind) {
        (Some(i), NodeKind::Element { attributes, .. }) if i < attributes.len() => {
            attributes.remove(i);
        }
        (None, NodeKind::Root | NodeKind::Other(_)) => {}
        (None, _) => tree.remove(pick.node),
        _ => {}
    }
}

fn elements(tree: &Tree, id: usize) -> impl Iterator<Item = usize> {
    let children = tree.nodes[id].children.iter().copied();
    children.filter(|child| tree.is_element(*child))
}

/// Wraps each text that does not stand alone, anywhere in a node: beside elements, or beside other texts.
fn wrap_texts(tree: &mut Tree, id: usize, name: &str) {
    let mut waiting = vec![id];
    while let Some(id) = waiting.pop() {
        waiting.extend(elements(tree, id));
        let children = tree.nodes[id].children.clone();
        let is_text = |child: &usize| matches!(tree.nodes[*child].kind, NodeKind::Text(_));
        let texts: Vec<usize> = (0..children.len()).filter(|i| is_text(&children[*i])).collect();
        if texts.len() + elements(tree, id).count() < 2 {
            continue;
        }
        for i in texts {
            let name = name.to_owned();
            let attributes = Vec::new();
            let wrapper = tree.add(id, NodeKind::Element { name, attributes });
            tree.nodes[id].children.pop();
            tree.nodes[id].children[i] = wrapper;
            tree.nodes[wrapper].children.push(children[i]);
            tree.nodes[children[i]].parent = wrapper;
        }
    }
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// An element with `tag`, and what it has of `attributes`, `content` and `children`.
fn whole(tree: &Tree, id: usize) -> Vec<u8> {
    let mut map = MapBuilder::default();
    map.put_str("tag", local(tree.name(id)).as_bytes());
    let attributes = tree.attributes(id);
    if !attributes.is_empty() {
        let mut inner = MapBuilder::default();
        let numbered = attributes.iter().enumerate();
        let last: HashMap<&str, usize> = numbered.map(|(i, (key, _))| (local(key), i)).collect();
        for (i, (key, value)) in attributes.iter().enumerate() {
            // Of two with one name behind their prefixes the last counts.
            if last.get(local(key)) == Some(&i) {
                inner.put_str(local(key), value.as_bytes());
            }
        }
        map.put_raw(b"attributes", &inner.finish());
    }
    let content: String = tree.nodes[id]
        .children
        .iter()
        .filter_map(|child| match &tree.nodes[*child].kind {
            NodeKind::Text(text) | NodeKind::CData(text) => Some(text.trim()),
            _ => None,
        })
        .collect();
    if !content.is_empty() {
        map.put_str("content", content.as_bytes());
    }
    let mut children = elements(tree, id).peekable();
    if children.peek().is_some() {
        let mut list = ListBuilder::default();
        children.for_each(|child| list.push_raw(&whole(tree, child)));
        map.put_raw(b"children", &list.finish());
    }
    map.finish()
}

/// Elements by their names, those that occur more than once as lists; texts where there are no elements. Attributes, and
/// elements with nothing in them, are left out.
fn simplified(tree: &Tree, id: usize) -> MapBuilder {
    let mut map = MapBuilder::default();
    let children: Vec<usize> = elements(tree, id).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    children
        .iter()
        .for_each(|child| *counts.entry(tree.name(*child)).or_default() += 1);
    let mut lists: Vec<ListBuilder> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut places: Vec<(&str, Option<Vec<u8>>)> = Vec::new();
    for child in children {
        let name = tree.name(child);
        let value = simplified_value(tree, child);
        if counts.get(name).is_none_or(|n| *n < 2) {
            places.extend(value.map(|value| (name, Some(value))));
            continue;
        }
        if tree.nodes[child].children.is_empty() {
            continue;
        }
        let at = *known.entry(name).or_insert_with(|| {
            lists.push(ListBuilder::default());
            places.push((name, None));
            lists.len() - 1
        });
        if let Some(value) = value {
            lists[at].push_raw(&value);
        }
    }
    let mut lists = lists.into_iter();
    for (name, value) in places {
        let value = value.or_else(|| lists.next().map(ListBuilder::finish));
        map.put_raw(local(name).as_bytes(), &value.unwrap_or_default());
    }
    map
}

fn simplified_value(tree: &Tree, id: usize) -> Option<Vec<u8>> {
    if elements(tree, id).next().is_some() {
        let inner = simplified(tree, id).finish();
        // A map of nothing is left out.
        let is_empty = matches!(wire::view::Value::new(&inner).any(), wire::view::Any::Map(entries) if entries.count() == 0);
        return (!is_empty).then_some(inner);
    }
    let first = tree.nodes[id]
        .children
        .iter()
        .find_map(|child| match &tree.nodes[*child].kind {
            NodeKind::Text(text) | NodeKind::CData(text) => Some(text),
            _ => None,
        })?;
    let mut raw = Vec::new();
    wire::view::any_encode(wire::view::NewValue::Str(first.as_bytes()), &mut raw);
    (!first.is_empty()).then_some(raw)
}
