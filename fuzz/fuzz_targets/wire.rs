//! For cargo-fuzz: drives the target that `WEIR_FUZZ_TARGET` names (default `view`).
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("WEIR_FUZZ_TARGET").unwrap_or_else(|_| "view".to_owned());
    let found = fuzz::TARGETS
        .iter()
        .chain([&fuzz::CANARY])
        .find(|t| t.name == name);
    *found.expect("WEIR_FUZZ_TARGET names a target")
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
