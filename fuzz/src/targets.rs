//! The targets. Inputs: one byte for the signal, one for a choice, then the encoded request.

use std::sync::Arc;

use bytes::Bytes;
use wire::view::{Depth, Finished, NewValue, Scratch, View};
use wire::{Chunk, Context, Cut, Limits, Payload, Signal};

fn open(input: &[u8]) -> Option<(Signal, u8, &[u8])> {
    let [signal, choice, bytes @ ..] = input else {
        return None;
    };
    Some((Signal::ALL[*signal as usize % 4], *choice, bytes))
}

/// What passes the door can be walked by everyone else; what is strict is a part of what is lenient.
pub fn validate(input: &[u8]) {
    let Some((signal, choice, bytes)) = open(input) else {
        return;
    };
    let lenient = Limits {
        depth_max: u32::from(choice),
        strict_utf8: false,
    };
    let strict = Limits {
        strict_utf8: true,
        ..lenient
    };
    let shape = wire::validate(signal, bytes, &lenient);
    if let Ok(strict) = wire::validate(signal, bytes, &strict) {
        assert_eq!(shape, Ok(strict));
    }
    match shape {
        Ok(shape) => {
            if !shape.non_canonical {
                assert_eq!(wire::count_items(signal, bytes), shape.items);
            }
            let mut scratch = Scratch::default();
            View::new(&mut scratch, signal, bytes, Depth::All).expect("what is valid can be indexed");
        }
        Err(malformed) => {
            assert!(malformed.position <= bytes.len());
            wire::count_items(signal, bytes);
        }
    }
}

/// Edits leave something valid, and untouched views leave nothing changed.
pub fn view(input: &[u8]) {
    let Some((signal, choice, bytes)) = open(input) else {
        return;
    };
    let valid = wire::validate(signal, bytes, &Limits::default()).is_ok_and(|s| !s.non_canonical);
    let depth = [Depth::Resource, Depth::Scope, Depth::Record, Depth::All][choice as usize % 4];
    let mut scratch = Scratch::default();
    let Ok(mut view) = View::new(&mut scratch, signal, bytes, depth) else {
        assert!(!valid);
        return;
    };
    let mut rendered = Vec::new();
    view.locate_range(0..bytes.len(), |_, _| {});
    let mut state = choice;
    for n in view.nodes() {
        rendered.clear();
        for i in 0..view.attrs(n) {
            view.value(n, i).as_string(&mut rendered);
            assert!(view.find(n, view.key(n, i)).is_some_and(|first| first <= i));
        }
        if let Some(body) = view.body(n) {
            body.as_string(&mut rendered);
        }
        state = state.wrapping_mul(167).wrapping_add(13);
        match state >> 4 {
            0 => view.put(n, b"key", NewValue::Str(&rendered)),
            1 => view.remove(n, 0),
            2 => view.retain(n, |key, _| key.len() % 2 == 0),
            3 => view.set(n, 0, NewValue::Int(-1)),
            4 => view.copy_value((n, 0), n, b"copy"),
            5 => view.rename(n, 0, b"name"),
            6 => view.set_body(n, NewValue::Bool(true)),
            7 => view.set_text(n, u32::from(state & 15), &rendered),
            8 => view.set_number(n, u32::from(state & 15), 300),
            9 => view.remove_node(n),
            _ => {}
        }
    }
    let edited = view.is_edited();
    match view.finish() {
        Finished::Unchanged => assert!(!edited),
        Finished::Edited { bytes, items } => {
            assert!(edited);
            if valid {
                // Text that was written over an id is the writer's fault.
                match wire::validate(signal, &bytes, &Limits::default()) {
                    Ok(shape) => assert_eq!(shape.items, items),
                    Err(m) => assert!(
                        matches!(m.reason, wire::Reason::TraceId | wire::Reason::SpanId),
                        "{m}"
                    ),
                }
            }
        }
    }
}

/// Pieces hold all items, within the limit, and are valid if the whole was.
pub fn split(input: &[u8]) {
    let Some((signal, choice, bytes)) = open(input) else {
        return;
    };
    let limit = Cut {
        items_max: (choice & 1 == 0).then_some(1 + choice as usize / 32),
        bytes_max: (choice & 2 == 0).then_some(choice as usize * 4),
    };
    let Ok(shape) = wire::validate(signal, bytes, &Limits::default()) else {
        // Not for a gateway's eyes, but it must not fall over either.
        let chunk = Chunk::new(Bytes::copy_from_slice(bytes), wire::Shape::default());
        wire::split_chunk(signal, &chunk, limit);
        return;
    };
    let chunk = Chunk::new(Bytes::copy_from_slice(bytes), shape);
    let payload = Payload::new(signal, chunk, Arc::new(Context::default()));
    let mut items = 0;
    for piece in wire::split(payload, limit) {
        assert!(signal == Signal::Profiles || limit.items_max.is_none_or(|max| piece.items <= max));
        for chunk in &piece.chunks {
            let shape = wire::validate(signal, &chunk.bytes(), &Limits::default()).expect("pieces are valid");
            assert_eq!(shape.items, chunk.shape.items);
        }
        items += piece.items;
    }
    assert_eq!(items, shape.items as usize);
}

/// What anyone can put into a store: lines, notes, policies, names, and whole logs that a verifier reads. What can be read
/// is written again as what it was. One byte for the choice comes first.
pub fn evidence(input: &[u8]) {
    use evidence::entry::Entry;
    use evidence::names::{EvidenceKey, Origin};
    use evidence::note::{Endorsement, Note, Policy, Proof, Signer, Vkey};
    use evidence::verify::{Options, SessionReader, Trust};

    let [choice, bytes @ ..] = input else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    match choice % 6 {
        0 => {
            let Ok(entry) = Entry::parse(bytes) else {
                return;
            };
            // Keys that were left out are written as null, so a line at the limit may pass it.
            if bytes.len() < 50_000 {
                let again = entry.write().expect("what was read can be written");
                assert_eq!(Entry::parse(again.as_bytes()), Ok(entry));
            }
        }
        1 => {
            if let Ok(note) = Note::parse(bytes) {
                assert_eq!(note.to_string().as_bytes(), bytes);
                let _ = Endorsement::parse(note.text());
            }
        }
        2 => {
            if let Ok(policy) = Policy::parse(&text) {
                let lines = policy.logs.len() + policy.roots.len() + policy.pins.len() + policy.revoked.len();
                assert!(lines <= text.lines().count());
            }
            let _ = Signer::from_text(&text);
        }
        3 => {
            if let Ok(proof) = Proof::parse(bytes) {
                assert_eq!(Proof::parse(proof.text().as_bytes()).as_ref(), Ok(&proof));
                assert!(proof.verify(b"no entry", &[]).is_err());
            }
        }
        4 => {
            if let Some(key) = EvidenceKey::parse(&text) {
                assert_eq!(key.key(), text);
                assert!(text.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
            if let Ok(vkey) = text.parse::<Vkey>() {
                assert_eq!(vkey.to_string().parse(), Ok(vkey));
            }
        }
        _ => {
            let origin = "a/w/019aa1c2-5be0-7abc-8def-0123456789ab";
            let origin: Origin = origin.parse().expect("an origin");
            let trust = Trust::new(Policy::parse("").expect("a policy"));
            let options = Options::new(evidence::time::Time::from_millis(0));
            let reader = SessionReader::new(&trust, &options, origin.writer(), origin.session());
            let mut reader = reader.expect("names of an origin");
            let mut start = 0;
            for segment in bytes.split(|c| *c == 0) {
                reader.checkpoint(start, segment);
                reader.segment(start, segment, None);
                start += segment.iter().filter(|c| **c == b'\n').count() as u64;
            }
            reader.finish();
        }
    }
}

/// Any text is a statement, or has a fault whose place lies within it. One byte for the signal comes first.
pub fn ottl_parse(input: &[u8]) {
    let [signal, text @ ..] = input else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    for (conditions, statements) in [(&[&*text][..], &[][..]), (&[], &[&*text])] {
        let group = ottl::Group {
            signal: Signal::ALL[*signal as usize % 4],
            functions: ottl::Functions::Transform,
            context: None,
            conditions,
            statements,
        };
        if let Err(faults) = ottl::Program::new(&group) {
            assert!(!faults.0.is_empty());
            for fault in &faults.0 {
                let (line, column) = fault.place();
                let shown = fault
                    .statement
                    .split('\n')
                    .nth(line - 1)
                    .expect("there is such a line");
                assert!(column <= shown.chars().count() + 1);
                assert!(fault.to_string().contains('^'));
            }
        }
    }
}

/// A statement, a zero byte, and a request: what a program leaves is well formed if the request was.
pub fn ottl_run(input: &[u8]) {
    let Some((signal, _, rest)) = open(input) else {
        return;
    };
    let Some(at) = rest.iter().position(|b| *b == 0) else {
        return;
    };
    let (text, bytes) = (String::from_utf8_lossy(&rest[..at]), &rest[at + 1..]);
    let statements: Vec<&str> = text.split(';').collect();
    let group = ottl::Group {
        signal,
        functions: ottl::Functions::Transform,
        context: None,
        conditions: &[],
        statements: &statements,
    };
    let Ok(program) = ottl::Program::new(&group) else {
        return;
    };
    let valid = wire::validate(signal, bytes, &Limits::default()).is_ok_and(|s| !s.non_canonical);
    let mut scratch = Scratch::default();
    let Ok(mut view) = View::new(&mut scratch, signal, bytes, program.depth()) else {
        assert!(!valid);
        return;
    };
    let client = Context::default();
    let env = ottl::Env {
        context: &client,
        now: &|| ottl::Time::new(1_700_000_000, 0),
        random: &|bytes| bytes.fill(7),
    };
    let room = &mut ottl::Scratch::default();
    if program.reshapes() {
        let made = program.reshape(bytes, &env, room, ottl::ErrorMode::Ignore, &mut |_, _| {});
        if let (Ok(Some(made)), true) = (made, valid) {
            match wire::validate(signal, &made, &Limits::default()) {
                Ok(shape) => assert!(!shape.non_canonical),
                // As below.
                Err(m) => assert!(
                    matches!(m.reason, wire::Reason::Depth | wire::Reason::Utf8),
                    "{m}"
                ),
            }
        }
        return;
    }
    program
        .run(&mut view, &env, room, ottl::ErrorMode::Ignore, &mut |_, error| {
            assert!(!error.to_string().is_empty());
        })
        .expect("errors are ignored");
    if let Finished::Edited { bytes, items } = view.finish()
        && valid
    {
        match wire::validate(signal, &bytes, &Limits::default()) {
            Ok(shape) => assert_eq!(shape.items, items),
            // What a statement nests or spells is the user's.
            Err(m) => assert!(
                matches!(m.reason, wire::Reason::Depth | wire::Reason::Utf8),
                "{m}"
            ),
        }
    }
}

/// The result is canonical, and normal already.
pub fn normalize(input: &[u8]) {
    let Some((signal, choice, bytes)) = open(input) else {
        return;
    };
    let drop_unknown = choice & 1 == 0;
    let Ok(normal) = wire::normalize(signal, bytes, drop_unknown) else {
        wire::validate(signal, bytes, &Limits::default()).expect_err("valid payloads can be normalised");
        return;
    };
    let limits = Limits {
        depth_max: u32::MAX,
        strict_utf8: false,
    };
    let shape = wire::validate(signal, &normal, &limits).expect("what is normal is valid");
    assert!(!shape.non_canonical);
    assert!(!drop_unknown || !shape.unknown_fields);
    assert_eq!(
        wire::normalize(signal, &normal, drop_unknown).as_deref(),
        Ok(normal.as_slice())
    );
}

/// What is read from JSON is well formed, in canonical form unless the text gives a field twice, no larger than promised,
/// and reads again from what is written of it. The rest of the input is text here, not a request.
pub fn json(input: &[u8]) {
    let Some((signal, choice, text)) = open(input) else {
        return;
    };
    let before = vec![7; choice as usize % 3];
    let mut out = before.clone();
    if let Err(invalid) = codec::otlp_json::read(signal, text, &mut out) {
        assert!(out == before && invalid.position <= text.len(), "{invalid}");
        return;
    }
    let bytes = &out[before.len()..];
    assert!(bytes.len() <= text.len() * codec::otlp_json::GROWTH_MAX);
    let limits = Limits {
        depth_max: u32::MAX,
        strict_utf8: false,
    };
    let shape = wire::validate(signal, bytes, &limits).expect("what was read is well formed");
    assert!(!shape.unknown_fields);
    let normal = wire::normalize(signal, bytes, false).expect("what is valid can be normalised");
    if !shape.non_canonical {
        assert_eq!(normal, bytes);
    }
    // All zeros are left out by the writer, so one round settles.
    let mut written = Vec::new();
    codec::otlp_json::write(signal, &normal, &mut written).expect("what is normal can be written");
    let mut again = Vec::new();
    codec::otlp_json::read(signal, &written, &mut again).expect("what was written can be read");
    let mut rewritten = Vec::new();
    codec::otlp_json::write(signal, &again, &mut rewritten).expect("what was read can be written");
    assert!(written == rewritten, "{}", String::from_utf8_lossy(&written));
}

/// What is read of a page to scrape is the same when written down and read again; no line gives two.
pub fn exposition(input: &[u8]) {
    use codec::exposition::{Format, Label, Line, Reader};
    let [choice, bytes @ ..] = input else {
        return;
    };
    let format = [Format::Text, Format::OpenMetrics][*choice as usize % 2];
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::new(&text, format);
    let quoted = |text: &str| {
        let escaped = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("\"{escaped}\"")
    };
    let mut lines = 0;
    while let Ok(Some(line)) = reader.read() {
        lines += 1;
        let Line::Sample(sample) = line else { continue };
        let mut again = format!("{{{}", quoted(&sample.name));
        for (name, value) in &reader.labels {
            again += &format!(",{}={}", quoted(name), quoted(value));
        }
        again += &format!("}} {:?}", sample.value);
        if let Some(ms) = sample.timestamp_ms {
            again += &format!(" {ms}");
        }
        let mut second = Reader::new(&again, Format::Text);
        let Ok(Some(Line::Sample(read))) = second.read() else {
            panic!("not read again: {again}");
        };
        assert_eq!(read.name, sample.name);
        assert!(read.value == sample.value || (read.value.is_nan() && sample.value.is_nan()));
        assert_eq!(read.timestamp_ms, sample.timestamp_ms);
        let owned = |labels: &[Label<'_>]| -> Vec<(String, String)> {
            labels
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect()
        };
        assert_eq!(owned(&second.labels), owned(&reader.labels));
    }
    assert!(lines <= text.lines().count());
}

/// Panics if a valid request has a log record with an attribute `canary` that is not the one of the seed.
pub fn canary(input: &[u8]) {
    let Some((_, _, bytes)) = open(input) else {
        return;
    };
    let mut scratch = Scratch::default();
    let Ok(view) = View::new(&mut scratch, Signal::Logs, bytes, Depth::Record) else {
        return;
    };
    for n in view.nodes() {
        if let Some(value) = view.get(n, b"canary") {
            assert_eq!(value.as_str(), Some(&b"sings"[..]), "the canary was heard");
        }
    }
}
