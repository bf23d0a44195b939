//! `smoke SECONDS [TARGET...]`: runs each target on its seeds and on mutations of them, for so long in all.
//!
//! The generator is fixed, so a failure comes again; the failing input is printed as hex and written to
//! `artifacts/TARGET`, to be named and moved to `corpus/`. Exits with 1 if a target panicked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzz::{CANARY, Rng, TARGETS, Target, mutate};

/// Inputs kept beside the seeds, so that mutations build on mutations.
const KEPT_MAX: usize = 512;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(Ok(seconds)) = args.next().map(|s| s.parse::<u64>()) else {
        eprintln!("usage: smoke SECONDS [TARGET...]");
        return ExitCode::from(2);
    };
    let names: Vec<String> = args.collect();
    let targets: Vec<Target> = if names.is_empty() {
        TARGETS.to_vec()
    } else {
        let all = TARGETS.iter().chain([&CANARY]);
        all.filter(|t| names.iter().any(|n| n == t.name))
            .copied()
            .collect()
    };
    if targets.is_empty() {
        eprintln!("no such target");
        return ExitCode::from(2);
    }
    let share = Duration::from_secs(seconds) / targets.len() as u32;
    let mut failed = false;
    for target in targets {
        failed |= !drive(target, share);
    }
    ExitCode::from(u8::from(failed))
}

/// Runs one target; false if it panicked.
#[allow(clippy::disallowed_methods, reason = "the real clock is what is asked for")]
fn drive(target: Target, time: Duration) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    files.sort();
    let mut corpus: Vec<Vec<u8>> = files.iter().filter_map(|f| std::fs::read(f).ok()).collect();
    if corpus.is_empty() {
        eprintln!("{}: no seeds in {}", target.name, folder.display());
        return false;
    }
    let seeds = corpus.len();
    let rng = &mut Rng(0x005e_ed0f_3e1c_0de5);
    let start = Instant::now();
    let mut runs = 0u64;
    for input in &corpus {
        runs += 1;
        if !holds(target, input) {
            return false;
        }
    }
    while start.elapsed() < time {
        for _ in 0..64 {
            let mut input = corpus[rng.below(corpus.len())].clone();
            let other = rng.below(corpus.len());
            mutate(&mut input, &corpus[other], rng);
            runs += 1;
            if !holds(target, &input) {
                return false;
            }
            // Without coverage nothing tells which inputs are good; a few are kept by chance.
            if rng.below(200) == 0 {
                if corpus.len() < seeds + KEPT_MAX {
                    corpus.push(input);
                } else {
                    let at = seeds + rng.below(KEPT_MAX);
                    corpus[at] = input;
                }
            }
        }
    }
    println!("{}: {runs} inputs from {seeds} seeds, held", target.name);
    true
}

fn holds(target: Target, input: &[u8]) -> bool {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok() {
        return true;
    }
    let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
    eprintln!("{}: failed on {hex}", target.name);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    if std::fs::create_dir_all(&folder).is_ok() && std::fs::write(folder.join(target.name), input).is_ok() {
        eprintln!("{}: written to {}", target.name, folder.display());
    }
    false
}
