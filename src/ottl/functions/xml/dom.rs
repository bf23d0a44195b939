//! XML as a tree of nodes in the order of the text, and as text again.
//!
//! Fragments with several elements beside each other are read too. Entities are the five of XML and numbers; what a
//! document declares is not looked at, so nothing expands.

use crate::error::{Error, Result};

/// Deepest nesting of elements.
const DEPTH_MAX: usize = 256;

/// A parsed text. Node 0 holds all others.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) parent: usize,
    pub(super) kind: Kind,
    pub(super) children: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Root,
    Element {
        name: String,
        attributes: Vec<(String, String)>,
    },
    Text(String),
    CData(String),
    Comment(String),
    /// What stands between the angle brackets: instructions, declarations.
    Other(String),
    /// What was taken out.
    Gone,
}

fn wrong(what: &'static str) -> Error {
    Error::new(what)
}

impl Tree {
    /// Reads a text. Errors: it is no XML, or nested too deep.
    pub(super) fn read(text: &str) -> Result<Tree> {
        let root = Node {
            parent: 0,
            kind: Kind::Root,
            children: Vec::new(),
        };
        let mut tree = Tree { nodes: vec![root] };
        let mut open = vec![0];
        // What stands before the first tag is lost in the collector too.
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let at = *open.last().unwrap_or(&0);
            let Some(tag) = rest.strip_prefix('<') else {
                let end = rest.find('<').unwrap_or(rest.len());
                if at == 0 && !rest[..end].trim().is_empty() {
                    return Err(wrong("the XML has text outside of all elements"));
                }
                tree.add(at, Kind::Text(unescape(&rest[..end])?));
                rest = &rest[end..];
                continue;
            };
            let until = |text: &'_ str, end: &str| text.find(end).ok_or(wrong("the XML ends within a tag"));
            if let Some(inner) = tag.strip_prefix("!--") {
                let end = until(inner, "-->")?;
                tree.add(at, Kind::Comment(inner[..end].to_owned()));
                rest = &inner[end + 3..];
            } else if let Some(inner) = tag.strip_prefix("![CDATA[") {
                let end = until(inner, "]]>")?;
                tree.add(at, Kind::CData(inner[..end].to_owned()));
                rest = &inner[end + 3..];
            } else if tag.starts_with('?') {
                let end = until(tag, "?>")?;
                tree.add(at, Kind::Other(tag[..end + 1].to_owned()));
                rest = &tag[end + 2..];
            } else if tag.starts_with('!') {
                let end = declaration_end(tag).ok_or(wrong("the XML ends within a tag"))?;
                tree.add(at, Kind::Other(tag[..end].to_owned()));
                rest = &tag[end + 1..];
            } else if let Some(inner) = tag.strip_prefix('/') {
                let end = until(inner, ">")?;
                let name = inner[..end].trim_end();
                if at == 0 || tree.name(at) != name {
                    return Err(wrong("the XML closes an element that is not open"));
                }
                open.pop();
                rest = &inner[end + 1..];
            } else {
                let (kind, is_closed, more) = element(tag)?;
                let id = tree.add(at, kind);
                if !is_closed {
                    if open.len() > DEPTH_MAX {
                        return Err(wrong("the XML is nested too deep"));
                    }
                    open.push(id);
                }
                rest = more;
            }
        }
        match open.len() {
            1 => Ok(tree),
            _ => Err(wrong("the XML ends within an element")),
        }
    }

    pub(super) fn add(&mut self, parent: usize, kind: Kind) -> usize {
        let id = self.nodes.len();
        self.nodes.push(Node {
            parent,
            kind,
            children: Vec::new(),
        });
        self.nodes[parent].children.push(id);
        id
    }

    /// Copies what a node of another tree holds below a node of this one.
    pub(super) fn graft(&mut self, parent: usize, other: &Tree, from: usize) {
        for child in &other.nodes[from].children {
            let id = self.add(parent, other.nodes[*child].kind.clone());
            self.graft(id, other, *child);
        }
    }

    /// Takes a node and all below it out: it is not written.
    pub(super) fn remove(&mut self, id: usize) {
        self.nodes[id].kind = Kind::Gone;
    }

    /// Name of an element; empty for all else.
    pub(super) fn name(&self, id: usize) -> &str {
        match &self.nodes[id].kind {
            Kind::Element { name, .. } => name,
            _ => "",
        }
    }

    pub(super) fn attributes(&self, id: usize) -> &[(String, String)] {
        match &self.nodes[id].kind {
            Kind::Element { attributes, .. } => attributes,
            _ => &[],
        }
    }

    pub(super) fn is_element(&self, id: usize) -> bool {
        matches!(self.nodes[id].kind, Kind::Element { .. })
    }

    /// All text in a node.
    pub(super) fn text(&self, id: usize) -> String {
        let mut out = String::new();
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            match &self.nodes[id].kind {
                Kind::Text(text) | Kind::CData(text) => out.push_str(text),
                _ => waiting.extend(self.nodes[id].children.iter().rev()),
            }
        }
        out
    }

    /// Appends a node as XML. White space around texts stays, but where `xml:space="default"` is said.
    pub(super) fn write(&self, id: usize, out: &mut String) {
        self.write_as(id, true, out);
    }

    fn write_as(&self, id: usize, spaces: bool, out: &mut String) {
        let node = &self.nodes[id];
        let said = self.attributes(id).iter().find(|(key, _)| key == "xml:space");
        let spaces = match said.map(|(_, value)| value.as_str()) {
            Some("preserve") => true,
            Some("default") => false,
            _ => spaces,
        };
        let inner = |out: &mut String| {
            let children = node.children.iter();
            children.for_each(|child| self.write_as(*child, spaces, out));
        };
        match &node.kind {
            Kind::Root => inner(out),
            Kind::Element { name, attributes } => {
                out.push('<');
                out.push_str(name);
                for (key, value) in attributes {
                    out.push(' ');
                    out.push_str(key);
                    out.push_str("=\"");
                    escape(value, out);
                    out.push('"');
                }
                out.push('>');
                inner(out);
                out.push_str("</");
                out.push_str(name);
                out.push('>');
            }
            Kind::Text(text) if spaces => escape(text, out),
            Kind::Text(text) => escape(text.trim(), out),
            Kind::CData(text) => {
                out.push_str("<![CDATA[");
                out.push_str(text);
                out.push_str("]]>");
            }
            Kind::Gone => {}
            Kind::Comment(text) => {
                out.push_str("<!--");
                out.push_str(text);
                out.push_str("-->");
            }
            Kind::Other(text) => {
                out.push('<');
                out.push_str(text);
                out.push('>');
            }
        }
    }
}

/// Where a declaration such as `!DOCTYPE a [...]` ends.
fn declaration_end(text: &str) -> Option<usize> {
    let mut depth = 0i32;
    text.bytes().position(|b| {
        depth += match b {
            b'[' | b'<' => 1,
            b']' => -1,
            b'>' if depth > 0 => -1,
            _ => 0,
        };
        b == b'>' && depth <= 0
    })
}

/// What a tag opens, whether it closes it too, and what follows.
fn element(tag: &str) -> Result<(Kind, bool, &str)> {
    let name_end = |text: &str| {
        let end = |c: char| c.is_whitespace() || matches!(c, '/' | '>' | '=' | '<' | '"' | '\'');
        text.find(end).unwrap_or(text.len())
    };
    let (name, mut rest) = tag.split_at(name_end(tag));
    if name.is_empty() {
        return Err(wrong("the XML has a tag without a name"));
    }
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        let kind = |attributes| Kind::Element {
            name: name.to_owned(),
            attributes,
        };
        if let Some(more) = rest.strip_prefix('>') {
            return Ok((kind(attributes), false, more));
        }
        if let Some(more) = rest.strip_prefix("/>") {
            return Ok((kind(attributes), true, more));
        }
        let (key, more) = rest.split_at(name_end(rest));
        let value = more.trim_start().strip_prefix('=').map(str::trim_start);
        let quoted =
            value.and_then(|v| Some((v.chars().next().filter(|c| matches!(c, '"' | '\''))?, v.get(1..)?)));
        let Some(((quote, value), _)) = quoted.zip((!key.is_empty()).then_some(())) else {
            return Err(wrong("the XML has a tag that is no tag"));
        };
        let end = value.find(quote).ok_or(wrong("the XML ends within a tag"))?;
        attributes.push((key.to_owned(), unescape(&value[..end])?));
        rest = &value[end + 1..];
    }
}

fn unescape(text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let unknown = wrong("the XML has an unknown entity");
        let end = rest[at..].find(';').ok_or(unknown.clone())? + at;
        let entity = &rest[at + 1..end];
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        out.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => match entity.strip_prefix("#x").map(|hex| number(hex, 16)) {
                Some(c) => c.ok_or(unknown)?,
                None => entity
                    .strip_prefix('#')
                    .and_then(|d| number(d, 10))
                    .ok_or(unknown)?,
            },
        });
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Appends a text with what means something in XML written otherwise.
pub(super) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}
