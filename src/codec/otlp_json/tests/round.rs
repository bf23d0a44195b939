//! There and back, and against a reader and a writer that are not ours.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development as p;
use prost::Message as _;
use wire::Signal;
use wire::field::{Fields, write_header};
use wire::otlp::{self, Kind, Message};
use wire::test_kit::{Request, Rng};

use crate::otlp_json::write::always;
use crate::otlp_json::{read, write};

/// The message with all the empty messages in it that JSON always shows; the rest as it was.
fn filled(shape: &'static Message, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in shape.fields {
        let mut is_there = false;
        for field in Fields::new(bytes, 0).map(Result::unwrap) {
            if field.number != row.number {
                continue;
            }
            is_there = true;
            let Kind::Message(nested) = row.kind else {
                out.extend_from_slice(&bytes[field.start..field.end]);
                continue;
            };
            let content = filled(nested, &bytes[field.value..field.end]);
            write_header(row.number, content.len(), &mut out);
            out.extend_from_slice(&content);
        }
        if !is_there && always(row.name, row.kind) {
            write_header(row.number, 0, &mut out);
        }
    }
    out
}

#[track_caller]
fn check(signal: Signal, bytes: &[u8]) {
    let expected = filled(otlp::request(signal), bytes);
    let mut json = Vec::new();
    write(signal, bytes, &mut json).unwrap();
    serde_json::from_slice::<serde_json::Value>(&json).unwrap();
    let mut got = Vec::new();
    let done = read(signal, &json, &mut got);
    let json = String::from_utf8(json).unwrap();
    assert_eq!(done, Ok(()), "{json}");
    assert!(got == expected, "{json}\n{got:?}\n{expected:?}");
}

#[test]
fn whatever_is_written_is_read_as_the_same_bytes() {
    let mut wide = 0;
    for seed in 0..600 {
        let signal = [Signal::Logs, Signal::Traces, Signal::Metrics][seed as usize % 3];
        let bytes = Request::random(signal, &mut Rng(seed)).encode();
        wide += usize::from(bytes.len() > 16_384);
        check(signal, &bytes);
    }
    assert!(wide > 10, "lengths of three bytes are among them: {wide}");
    for seed in 0..50 {
        check(Signal::Profiles, &profiles(&mut Rng(seed)).encode_to_vec());
    }
}

/// Every field of profiles, with numbers of any width.
fn profiles(rng: &mut Rng) -> ExportProfilesServiceRequest {
    let mut i32 = || rng.bits() as i32 >> (rng.below(32));
    let indices = vec![i32(), i32(), 0];
    let attribute = KeyValue {
        key: String::new(),
        key_strindex: i32(),
        value: Some(AnyValue {
            value: Some(Value::StringValueStrindex(i32())),
        }),
    };
    let mapping = p::Mapping {
        filename_strindex: i32(),
        attribute_indices: indices.clone(),
        memory_start: rng.bits(),
        memory_limit: rng.bits() >> 40,
        file_offset: u64::MAX,
    };
    let mut i32 = || rng.bits() as i32;
    let dictionary = p::ProfilesDictionary {
        mapping_table: vec![p::Mapping::default(), mapping],
        location_table: vec![p::Location {
            mapping_index: i32(),
            address: u64::MAX,
            lines: vec![p::Line {
                function_index: i32(),
                line: i64::MIN,
                column: i64::from(i32()),
            }],
            attribute_indices: indices.clone(),
        }],
        function_table: vec![p::Function {
            name_strindex: i32(),
            system_name_strindex: i32(),
            filename_strindex: i32(),
            start_line: -1,
        }],
        link_table: vec![p::Link {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
        }],
        string_table: vec![String::new(), "größe".into()],
        attribute_table: vec![p::KeyValueAndUnit {
            key_strindex: i32(),
            value: Some(AnyValue {
                value: Some(Value::BoolValue(false)),
            }),
            unit_strindex: i32(),
        }],
        stack_table: vec![p::Stack {
            location_indices: indices.clone(),
        }],
    };
    let value_type = p::ValueType {
        type_strindex: i32(),
        unit_strindex: i32(),
    };
    let profile = p::Profile {
        sample_type: Some(value_type),
        samples: vec![p::Sample {
            stack_index: i32(),
            attribute_indices: indices.clone(),
            link_index: i32(),
            values: vec![i64::MIN, 0, i64::MAX],
            timestamps_unix_nano: vec![u64::MAX, 1],
        }],
        time_unix_nano: 1,
        duration_nano: u64::MAX,
        period_type: Some(p::ValueType::default()),
        period: i64::MIN,
        profile_id: vec![0xab; 16],
        dropped_attributes_count: u32::MAX,
        original_payload_format: "pprof".into(),
        original_payload: vec![0, 255, 254, 3, 4],
        attribute_indices: indices,
    };
    ExportProfilesServiceRequest {
        resource_profiles: vec![p::ResourceProfiles {
            resource: Some(opentelemetry_proto::tonic::resource::v1::Resource {
                attributes: vec![attribute],
                ..Default::default()
            }),
            scope_profiles: vec![p::ScopeProfiles {
                profiles: vec![profile, p::Profile::default()],
                ..Default::default()
            }],
            schema_url: "u".into(),
        }],
        dictionary: Some(dictionary),
    }
}

/// What another's writer says is read as what it meant.
#[test]
fn anothers_text_is_read() {
    #[track_caller]
    fn check<M: prost::Message + PartialEq + Default + serde::Serialize>(signal: Signal, message: &M) {
        let text = serde_json::to_string(message).unwrap();
        let mut bytes = Vec::new();
        let done = read(signal, text.as_bytes(), &mut bytes);
        assert_eq!(done, Ok(()), "{text}");
        assert!(M::decode(bytes.as_slice()).as_ref() == Ok(message), "{text}");
    }
    for seed in 0..300 {
        let signal = [Signal::Logs, Signal::Traces, Signal::Metrics][seed as usize % 3];
        match Request::random(signal, &mut Rng(seed)) {
            Request::Logs(request) => check(signal, &request),
            Request::Traces(request) => check(signal, &request),
            Request::Metrics(request) => check(signal, &request),
        }
    }
    for seed in 0..50 {
        let mut request = profiles(&mut Rng(seed));
        // The other writes these bytes and those of links as lists of numbers, which no reader of OTLP/JSON takes.
        request.dictionary.as_mut().unwrap().link_table.clear();
        let mut text = serde_json::to_string(&request).unwrap();
        for payload in ["[0,255,254,3,4]", "[]"] {
            text = text.replace(&format!(r#""originalPayload":{payload},"#), "");
        }
        request.resource_profiles[0].scope_profiles[0].profiles[0]
            .original_payload
            .clear();
        let mut bytes = Vec::new();
        read(Signal::Profiles, text.as_bytes(), &mut bytes).unwrap();
        assert!(
            ExportProfilesServiceRequest::decode(bytes.as_slice()).as_ref() == Ok(&request),
            "{text}"
        );
    }
}
