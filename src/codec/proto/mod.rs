//! Messages of protocols beyond OTLP, generated from `proto/`; a test here holds the generated files to their sources.
//!
//! After a change to a `.proto` file: `UPDATE=1 cargo test -p weir-codec proto`.

/// Google's common messages.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod google {
    /// Well-known types.
    pub mod protobuf {
        include!("google.protobuf.rs");
    }
    /// Results of calls.
    pub mod rpc {
        include!("google.rpc.rs");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message;

    use super::google::{protobuf, rpc};

    const SOURCES: [&str; 2] = ["google/rpc/status.proto", "google/rpc/error_details.proto"];
    const GENERATED: [&str; 2] = ["google.protobuf.rs", "google.rpc.rs"];

    #[test]
    fn generated_code_is_what_its_sources_say() {
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let proto_dir = crate_dir.join("../../proto");
        let out_dir = tempfile::tempdir().unwrap();
        let files = protox::compile(SOURCES.map(|s| proto_dir.join(s)), [&proto_dir]).unwrap();
        prost_build::Config::new()
            .compile_well_known_types()
            .out_dir(out_dir.path())
            .compile_fds(files)
            .unwrap();
        for name in GENERATED {
            let fresh = std::fs::read_to_string(out_dir.path().join(name)).unwrap();
            let kept = crate_dir.join("proto").join(name);
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&kept, &fresh).unwrap();
            }
            let same = std::fs::read_to_string(&kept).is_ok_and(|text| text == fresh);
            assert!(same, "{name} is stale: UPDATE=1 cargo test -p weir-codec proto");
        }
        let made = std::fs::read_dir(out_dir.path()).unwrap().count();
        assert_eq!(made, GENERATED.len(), "list every generated file in GENERATED");
    }

    #[test]
    fn retry_info_has_the_bytes_that_other_implementations_send() {
        let info = rpc::RetryInfo {
            retry_delay: Some(protobuf::Duration {
                seconds: 2,
                nanos: 500_000_000,
            }),
        };
        assert_eq!(
            info.encode_to_vec(),
            [0x0a, 8, 0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]
        );
    }
}
