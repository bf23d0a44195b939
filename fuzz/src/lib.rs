//! Fuzz targets: functions of bytes that must not panic, one per parser, each with a seed corpus of its own.
//!
//! A target checks what it can (agreement of two readers, limits kept), not only that nothing falls over. The first byte
//! of an input chooses the signal, so that one corpus serves all. `smoke` drives them on stable, cargo-fuzz where a
//! nightly is present.

pub mod targets;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Panics on a fault.
    pub run: fn(&[u8]),
}

/// All targets that must hold.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "validate",
        run: targets::validate,
    },
    Target {
        name: "view",
        run: targets::view,
    },
    Target {
        name: "split",
        run: targets::split,
    },
    Target {
        name: "normalize",
        run: targets::normalize,
    },
    Target {
        name: "json",
        run: targets::json,
    },
    Target {
        name: "exposition",
        run: targets::exposition,
    },
    Target {
        name: "ottl_parse",
        run: targets::ottl_parse,
    },
    Target {
        name: "ottl_run",
        run: targets::ottl_run,
    },
    Target {
        name: "evidence",
        run: targets::evidence,
    },
];

/// Fails on purpose, deep within a message: a runner that does not find it finds nothing.
pub const CANARY: Target = Target {
    name: "canary",
    run: targets::canary,
};

/// Small fixed-seed generator: the same inputs in the same order on every machine.
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits (splitmix64).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}

/// Changes an input: bits, bytes, cuts, repeats, splices with another, and bytes that mean something to protobuf or to JSON.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    const TELLING: [u8; 24] = [
        0x00, 0x01, 0x0a, 0x12, 0x1a, 0x2a, 0x32, 0x7f, 0x80, 0xc2, 0x3e, 0xff, b'{', b'}', b'[', b']', b'"',
        b'\\', b',', b':', b'-', b'e', b'u', b'n',
    ];
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(input.len() + 1);
        let rest = input.len() - at;
        match rng.below(8) {
            0 if rest > 0 => input[at] ^= 1 << rng.below(8),
            1 if rest > 0 => input[at] = TELLING[rng.below(TELLING.len())],
            2 if rest > 0 => input[at] = input[at].wrapping_add(rng.bits() as u8 % 3).wrapping_sub(1),
            3 => input.insert(at, rng.bits() as u8),
            4 if rest > 0 => {
                input.drain(at..at + 1 + rng.below(rest.min(8)));
            }
            5 if rest > 0 => {
                let part = input[at..at + 1 + rng.below(rest.min(64))].to_vec();
                let to = rng.below(input.len() + 1);
                input.splice(to..to, part);
            }
            6 if !other.is_empty() => {
                let from = rng.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.truncate(input.len().saturating_sub(rng.below(4))),
        }
    }
    input.truncate(1 << 16);
}
