//! Actions over one map.

use aws_lc_rs::digest::{SHA256, digest};
use codec::pattern::{Pattern, PatternCache};
use parking_lot::Mutex;
use wire::Context;
use wire::view::{Any, NewValue, NodeId, View};

use super::{Actions, ContextKey, Does, From, Source, Type};

/// What actions write to: one a running call, reused.
#[derive(Debug, Default)]
pub struct Scratch {
    /// One for each action; none where it has no pattern.
    caches: Vec<Option<PatternCache>>,
    /// Values from the context, as text; none if the context has no such thing.
    context: Vec<Option<String>>,
    text: Vec<u8>,
}

/// Scratches of calls that are over.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Scratch>>);

impl Pool {
    /// Runs `f` with a scratch that fits the actions, for a client's context.
    pub fn with<T>(&self, actions: &Actions, context: &Context, f: impl FnOnce(&mut Scratch) -> T) -> T {
        let pooled = self.0.lock().pop();
        let mut scratch = pooled.unwrap_or_else(|| actions.scratch());
        scratch.context.clear();
        scratch
            .context
            .extend(actions.context.iter().map(|key| key.resolve(context)));
        let result = f(&mut scratch);
        self.0.lock().push(scratch);
        result
    }
}

impl Actions {
    fn scratch(&self) -> Scratch {
        let caches = self.list.iter().map(|action| match &action.does {
            Does::Delete(pattern) | Does::Hash(pattern) => pattern.as_ref().map(Pattern::cache),
            Does::Extract(pattern, _) => Some(pattern.cache()),
            _ => None,
        });
        Scratch {
            caches: caches.collect(),
            ..Scratch::default()
        }
    }

    /// Runs all of them on the attributes of one node.
    pub fn run(&self, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        for (i, action) in self.list.iter().enumerate() {
            let key = &action.key[..];
            match &action.does {
                Does::Insert(from) => {
                    if view.find(n, key).is_none() {
                        write(view, n, key, from, s);
                    }
                }
                Does::Update(Source {
                    from: From::Value(value),
                    ..
                }) => {
                    if let Some(at) = view.find(n, key) {
                        view.set(n, at, NewValue::Encoded(value));
                    }
                }
                Does::Update(from) => {
                    if view.find(n, key).is_some() {
                        write(view, n, key, from, s);
                    }
                }
                Does::Upsert(from) => write(view, n, key, from, s),
                Does::Delete(pattern) => {
                    remove(view, n, key);
                    if let (Some(pattern), Some(cache)) = (pattern, &mut s.caches[i]) {
                        view.retain(n, |key, _| !pattern.is_match(cache, key));
                    }
                }
                Does::Hash(pattern) => {
                    if let Some(at) = view.find(n, key) {
                        hash(view, n, at, &mut s.text);
                    }
                    if let (Some(pattern), Some(cache)) = (pattern, &mut s.caches[i]) {
                        for at in 0..view.attrs(n) {
                            if pattern.is_match(cache, view.key(n, at)) {
                                hash(view, n, at, &mut s.text);
                            }
                        }
                    }
                }
                Does::Extract(pattern, names) => {
                    if let Some(cache) = &mut s.caches[i] {
                        extract(view, n, key, (pattern, names), cache, &mut s.text);
                    }
                }
                Does::Convert(to) => {
                    if let Some(at) = view.find(n, key) {
                        convert(view, n, at, *to, &mut s.text);
                    }
                }
            }
        }
    }
}

/// Overwrites in place, or appends; nothing if the source is not there and has no default.
fn write(view: &mut View<'_>, n: NodeId, key: &[u8], source: &Source, s: &Scratch) {
    match &source.from {
        From::Value(value) => return view.put(n, key, NewValue::Encoded(value)),
        From::Attribute(name) => {
            if let Some(at) = view.find(n, name) {
                return view.copy_value((n, at), n, key);
            }
        }
        From::Context(place) => {
            if let Some(Some(text)) = s.context.get(*place) {
                return view.put(n, key, NewValue::Str(text.as_bytes()));
            }
        }
    }
    if let Some(default) = &source.default {
        view.put(n, key, NewValue::Encoded(default));
    }
}

fn remove(view: &mut View<'_>, n: NodeId, key: &[u8]) {
    // Without a key the pattern alone counts; an attribute may be without a key too, and is not meant.
    if !key.is_empty()
        && let Some(at) = view.find(n, key)
    {
        view.remove(n, at);
    }
}

/// SHA-256 in lowercase hexadecimal: of text its bytes, of a number its 8 bytes from the lowest, of a boolean one byte;
/// of everything else, nothing.
fn hash(view: &mut View<'_>, n: NodeId, at: usize, out: &mut Vec<u8>) {
    let hash = match view.value(n, at).any() {
        Any::Str(text) => Some(digest(&SHA256, text)),
        Any::Bool(b) => Some(digest(&SHA256, &[u8::from(b)])),
        Any::Int(i) => Some(digest(&SHA256, &i.to_le_bytes())),
        Any::Double(d) => Some(digest(&SHA256, &d.to_le_bytes())),
        _ => None,
    };
    out.clear();
    for byte in hash.as_ref().map_or(&[][..], |h| h.as_ref()) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    view.set(n, at, NewValue::Str(out));
}

fn extract(
    view: &mut View<'_>,
    n: NodeId,
    key: &[u8],
    (pattern, names): (&Pattern, &[Vec<u8>]),
    cache: &mut PatternCache,
    text: &mut Vec<u8>,
) {
    let value = view.find(n, key).and_then(|at| view.value(n, at).as_str());
    let Some(value) = value else {
        return;
    };
    let Some(groups) = pattern.groups(cache, value) else {
        return;
    };
    // A group may be written to the attribute that is read here.
    text.clear();
    text.extend_from_slice(value);
    for (name, group) in names.iter().zip(groups) {
        let found = group.map_or(&[][..], |(start, end)| &text[start..end]);
        view.put(n, name, NewValue::Str(found));
    }
}

fn convert(view: &mut View<'_>, n: NodeId, at: usize, to: Type, text: &mut Vec<u8>) {
    let value = view.value(n, at);
    let as_text = |t: &[u8]| std::str::from_utf8(t).ok().map(str::to_owned);
    let new = match (to, value.any()) {
        (Type::String, Any::Str(_)) => None,
        (Type::String, _) => {
            text.clear();
            value.as_string(text);
            Some(NewValue::Str(text))
        }
        (Type::Int, Any::Double(d)) => Some(NewValue::Int(int(d))),
        (Type::Int, Any::Bool(b)) => Some(NewValue::Int(i64::from(b))),
        (Type::Int, Any::Str(t)) => as_text(t).and_then(|t| t.parse().ok()).map(NewValue::Int),
        (Type::Double, Any::Int(i)) => Some(NewValue::Double(i as f64)),
        (Type::Double, Any::Bool(b)) => Some(NewValue::Double(f64::from(u8::from(b)))),
        (Type::Double, Any::Str(t)) => as_text(t).and_then(|t| double(&t)).map(NewValue::Double),
        _ => None,
    };
    if let Some(new) = new {
        view.set(n, at, new);
    }
}

/// As Go converts on the machines that we run on: what does not fit is the smallest integer.
fn int(d: f64) -> i64 {
    const LIMIT: f64 = (1_u64 << 63) as f64;
    match (-LIMIT..LIMIT).contains(&d) {
        true => d as i64,
        false => i64::MIN,
    }
}

/// As Go's `ParseFloat`: what is too large is no number.
pub(crate) fn double(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let spelled = || text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    (value.is_finite() || value.is_nan() || spelled()).then_some(value)
}

impl ContextKey {
    /// Several values are joined with `;`.
    fn resolve(&self, context: &Context) -> Option<String> {
        match self {
            ContextKey::Peer => Some(
                context
                    .peer
                    .map_or(String::new(), |p| p.ip().to_canonical().to_string()),
            ),
            ContextKey::Metadata(name) => {
                let values = context.metadata(name);
                (!values.is_empty()).then(|| values.join(";"))
            }
            ContextKey::Auth(name) => {
                let values: Vec<&str> = context
                    .auth
                    .iter()
                    .filter(|(key, _)| key == name)
                    .map(|(_, value)| value.as_str())
                    .collect();
                (!values.is_empty()).then(|| values.join(";"))
            }
        }
    }
}
