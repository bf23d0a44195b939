//! Labels: what of a record names its stream.
//!
//! A [`Set`] is built for a resource and, where a record has labels of its own, on top of that for the record; its text
//! is what Loki knows the stream by. [`Rules`] are the configuration, compiled: names sanitised, templates cut.

use component::template;

use super::config::{Config, Format, Limits, Mode, Source};
use super::names;

/// Labels by name, each once; names are sanitised.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: u32,
    value: u32,
    end: u32,
}

impl Set {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and values, so that two sets that were made in the same order are equal exactly if these bytes are.
    pub(super) fn append_key(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            out.extend_from_slice(&(entry.end - entry.name).to_le_bytes());
            out.extend_from_slice(&(entry.value - entry.name).to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
    }

    /// Sets a label whose name is sanitised; its value is what `write` appends. Nothing with an empty value.
    pub(super) fn set(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let value = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() == value {
            self.bytes.truncate(start);
            return;
        }
        let entry = Entry {
            name: start as u32,
            value: value as u32,
            end: self.bytes.len() as u32,
        };
        let bytes = &self.bytes;
        let name_of = |e: &Entry| &bytes[e.name as usize..e.value as usize];
        match self.entries.iter().position(|e| name_of(e) == name_of(&entry)) {
            Some(at) => self.entries[at] = entry,
            None => self.entries.push(entry),
        }
    }

    /// All of another set, over what is here.
    pub(super) fn merge(&mut self, other: &Set) {
        for (name, value) in other.iter() {
            self.set(name, |out| out.extend_from_slice(value));
        }
    }

    /// By name, once they are [sorted](Set::sort).
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|e| {
            (
                &self.bytes[e.name as usize..e.value as usize],
                &self.bytes[e.value as usize..e.end as usize],
            )
        })
    }

    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.entries.sort_unstable_by(|a, b| {
            bytes[a.name as usize..a.value as usize].cmp(&bytes[b.name as usize..b.value as usize])
        });
    }

    /// What Loki would refuse the stream for.
    pub(super) fn fault(&self, limits: &Limits) -> Option<&'static str> {
        let over = |len: usize, max: u32| max > 0 && len > max as usize;
        if self.entries.is_empty() {
            return Some("no_labels");
        }
        let counted = self.iter().filter(|(name, _)| *name != b"service_name").count();
        if over(counted, limits.max_label_names) {
            return Some("too_many_labels");
        }
        for (name, value) in self.iter() {
            if over(name.len(), limits.max_label_name_length) {
                return Some("label_name_too_long");
            }
            // What is no UTF-8 grows when it is replaced.
            let len = value.utf8_chunks().map(|part| match part.invalid() {
                [] => part.valid().len(),
                _ => part.valid().len() + '\u{fffd}'.len_utf8(),
            });
            if over(len.sum(), limits.max_label_value_length) {
                return Some("label_value_too_long");
            }
        }
        None
    }

    /// Appends `{a="b", c="d"}`; the set is sorted.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(name);
            out.push(b'=');
            names::quote(value, out);
        }
        out.push(b'}');
    }

    /// Appends `{"a":"b","c":"d"}`; the set is sorted.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            names::json_text(name, out);
            out.push(b':');
            names::json_text(value, out);
        }
        out.push(b'}');
    }
}

/// A label's text with places to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(pub(super) Vec<Piece>);

/// A part of a label's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As it stands there.
    Text(Vec<u8>),
    /// The name of the tenant.
    Tenant,
    /// An attribute of the resource.
    Resource(Vec<u8>),
    /// An attribute of the record.
    Attribute(Vec<u8>),
}

impl Template {
    /// Cuts a text at its `%{...}`.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("%{") {
            let Some((name, behind)) = from.split_once('}') else {
                return Err("a %{ is not closed".into());
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(match name.split_once('.') {
                None if name == "tenant" => Piece::Tenant,
                Some(("resource", key)) if !key.is_empty() => Piece::Resource(key.into()),
                Some(("attribute", key)) if !key.is_empty() => Piece::Attribute(key.into()),
                _ => {
                    return Err(format!(
                        "%{{{name}}} is none of %{{tenant}}, %{{resource.NAME}}, %{{attribute.NAME}}"
                    ));
                }
            });
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Template(pieces))
    }

    /// Whether it needs the record.
    fn is_of_record(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Attribute(_)))
    }
}

/// An attribute and the label that it becomes.
#[derive(Clone, Debug)]
pub(super) struct Promoted {
    pub(super) key: Vec<u8>,
    pub(super) label: Vec<u8>,
}

/// The configuration, compiled.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) exporter: bool,
    pub(super) job: bool,
    pub(super) instance: bool,
    pub(super) level: bool,
    pub(super) hints: bool,
    /// Whether the hint for the tenant counts.
    pub(super) tenant_hint: bool,
    pub(super) format: Format,
    pub(super) metadata: bool,
    pub(super) dropped: Vec<Vec<u8>>,
    pub(super) resource: Vec<Promoted>,
    pub(super) attributes: Vec<Promoted>,
    /// Templates of the resource, by label.
    pub(super) of_resource: Vec<(Vec<u8>, Template)>,
    /// Those that need the record.
    pub(super) of_record: Vec<(Vec<u8>, Template)>,
    pub(super) limits: Limits,
    /// The attribute that names the tenant.
    pub(super) tenant_key: Option<Vec<u8>>,
    pub(super) is_json: bool,
    pub(super) backfill_shard: String,
}

impl Rules {
    pub(super) fn new(config: &Config) -> Rules {
        let defaults = &config.default_labels_enabled;
        let on = |given: Option<bool>| given.unwrap_or(config.labels.is_none());
        let label = |name: &str| {
            let mut out = Vec::new();
            names::sanitize(name.as_bytes(), &mut out);
            out
        };
        let labels = config.labels.clone().unwrap_or_default();
        let promoted = |all: &std::collections::BTreeMap<String, String>| -> Vec<Promoted> {
            let promote = |(key, name): (&String, &String)| Promoted {
                key: key.clone().into_bytes(),
                label: label(if name.is_empty() { key } else { name }),
            };
            all.iter().map(promote).collect()
        };
        let templates = labels.fixed.iter().filter_map(|(name, text)| {
            // Those that cannot be read were refused with the configuration.
            Some((label(name), Template::parse(text).ok()?))
        });
        let (of_record, of_resource) = templates.partition(|(_, template)| template.is_of_record());
        let mode = config.structured_metadata.mode.unwrap_or(match config.format {
            Format::Raw => Mode::All,
            _ => Mode::None,
        });
        Rules {
            exporter: on(defaults.exporter),
            job: on(defaults.job),
            instance: on(defaults.instance),
            level: on(defaults.level),
            hints: config.hints,
            tenant_hint: config.hints,
            format: config.format,
            metadata: mode == Mode::All,
            dropped: config
                .structured_metadata
                .drop
                .iter()
                .map(|key| key.clone().into_bytes())
                .collect(),
            resource: promoted(&labels.resource),
            attributes: promoted(&labels.attributes),
            of_resource,
            of_record,
            limits: config.limits,
            tenant_key: (config.tenant.from == Source::Attribute)
                .then(|| config.tenant.key.clone().into_bytes()),
            is_json: config.encoding == super::config::Encoding::Json,
            backfill_shard: config.backfill_shard.clone(),
        }
    }

    /// Whether where records go depends on the gateway's own tenants.
    pub(super) fn is_by_tenant(&self) -> bool {
        let all = self.of_resource.iter().chain(&self.of_record);
        all.flat_map(|(_, template)| &template.0)
            .any(|piece| *piece == Piece::Tenant)
    }
}

/// What the gateway's own tenant is called where there is none.
pub(super) const NOBODY: &str = template::NOBODY;

#[cfg(test)]
mod tests {
    use super::*;

    fn set(all: &[(&str, &str)]) -> Set {
        let mut set = Set::default();
        for (name, value) in all {
            set.set(name.as_bytes(), |out| out.extend_from_slice(value.as_bytes()));
        }
        set.sort();
        set
    }

    #[test]
    fn a_set_has_each_name_once_in_order() {
        let check = |all: &[(&str, &str)], text: &str, json: &str| {
            let (set, mut out) = (set(all), Vec::new());
            set.write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
            out.clear();
            set.write_json(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), json);
        };
        check(&[], "{}", "{}");
        check(
            &[("job", "a"), ("exporter", "OTLP"), ("job", "b\"c"), ("empty", "")],
            r#"{exporter="OTLP", job="b\"c"}"#,
            r#"{"exporter":"OTLP","job":"b\"c"}"#,
        );
    }

    #[test]
    fn sets_over_limits_are_told_apart() {
        let limits = Limits {
            max_label_names: 2,
            max_label_name_length: 12,
            max_label_value_length: 3,
            ..Limits::default()
        };
        let check = |all: &[(&str, &str)], expected: Option<&str>| {
            assert_eq!(set(all).fault(&limits), expected, "{all:?}");
        };
        check(&[], Some("no_labels"));
        check(&[("a", "1"), ("b", "2")], None);
        check(&[("a", "1"), ("b", "2"), ("service_name", "x")], None);
        check(&[("a", "1"), ("b", "2"), ("c", "3")], Some("too_many_labels"));
        check(&[("a", "1234")], Some("label_value_too_long"));
        let mut odd = Set::default();
        odd.set(b"a", |out| out.push(0xff));
        assert_eq!(odd.fault(&limits), None);
        // U+FFFD stands for it, which has three bytes.
        odd.set(b"a", |out| out.extend_from_slice(b"1\xff"));
        assert_eq!(odd.fault(&limits), Some("label_value_too_long"));
        check(&[("abcdefghijklm", "1")], Some("label_name_too_long"));
        let off = Limits {
            max_label_names: 0,
            max_label_name_length: 0,
            max_label_value_length: 0,
            ..limits
        };
        assert_eq!(
            set(&[("abcdefghijklm", "1234"), ("b", "2"), ("c", "3")]).fault(&off),
            None
        );
    }

    #[test]
    fn templates_are_cut_at_their_places() {
        let check = |text: &str, expected: Result<Vec<Piece>, &str>| {
            let parsed = Template::parse(text).map(|template| template.0);
            assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
        };
        check("", Ok(vec![]));
        check("eu1", Ok(vec![Piece::Text("eu1".into())]));
        check(
            "a-%{tenant}/%{resource.k8s.pod.name}%{attribute.x}",
            Ok(vec![
                Piece::Text("a-".into()),
                Piece::Tenant,
                Piece::Text("/".into()),
                Piece::Resource("k8s.pod.name".into()),
                Piece::Attribute("x".into()),
            ]),
        );
        check("%{tenant", Err("a %{ is not closed"));
        let unknown = "%{body} is none of %{tenant}, %{resource.NAME}, %{attribute.NAME}";
        check("%{body}", Err(unknown));
    }
}
