//! What every match of an expression must hold.
//!
//! The expression is laid out as a row of elements, each with the bytes it may be made of and how many there are at
//! least. From the row come candidates: a literal (neighbours of one fixed byte each), or a run (any neighbours, the
//! union of their bytes); an alternation needs a gate for each branch. The candidate that promises the least work wins:
//! a pass over the buffer costs something, and each hit costs a regex on one value. The estimates decide speed alone;
//! every candidate is right, which is what the property tests hold.

use std::ops::Range;

use regex_syntax::hir::{Class, Hir, HirKind};
use wire::scan::{ByteSet, ClassRun, Gate, Literal};

/// Elements looked at in one row; what lies further back gives no gates.
const ELEMENTS_MAX: usize = 96;

/// Gates of one expression; an alternation with more branches gives none.
const GATES_MAX: usize = 32;

/// What a run is asked for beside its length, at most.
const NEEDS_MAX: usize = 4;

/// Nesting looked into; `regex-syntax` has a limit of its own above this.
const DEPTH_MAX: usize = 64;

/// Estimated nanoseconds, for a record of `RECORD_BYTES`.
const RECORD_BYTES: f64 = 900.0;
const LITERAL_PASS: f64 = 16.0;
const ANY_CASE_PASS: f64 = 30.0;
const RUN_PASS: f64 = 30.0;
const HIT: f64 = 90.0;
/// What running the expression on every value costs; a gate above this is of no use.
const EVERY_VALUE: f64 = 700.0;

/// The gates of which every match holds at least one.
pub(super) fn necessary(hir: &Hir) -> Option<Vec<Gate>> {
    if hir.properties().minimum_len().unwrap_or(0) == 0 {
        return None;
    }
    let best = best(&row(hir, DEPTH_MAX))?;
    (best.cost < EVERY_VALUE).then_some(best.gates)
}

/// Gates, and what they cost.
#[derive(Clone, Debug)]
struct Candidate {
    gates: Vec<Gate>,
    cost: f64,
}

/// A part of an expression that every match goes through, in its place in the row.
#[derive(Clone, Debug)]
struct Element {
    /// Bytes it may consume.
    set: ByteSet,
    /// How many it consumes at least.
    min_len: usize,
    /// Set if it is exactly one byte.
    fixed: Option<Fixed>,
    /// The best gates of its inside, where that takes part in every match.
    inner: Option<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fixed {
    Byte(u8),
    /// An ASCII letter in either case; the lower one.
    Letter(u8),
}

fn row(hir: &Hir, depth: usize) -> Vec<Element> {
    let mut out = Vec::new();
    lay_out(hir, depth, &mut out);
    out
}

fn lay_out(hir: &Hir, depth: usize, out: &mut Vec<Element>) {
    if depth == 0 || out.len() >= ELEMENTS_MAX {
        // A row may end anywhere, but what lies within it must be whole: an unknown element separates.
        out.push(Element::unknown());
        return;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => lay_out_literal(&literal.0, out),
        HirKind::Class(class) => out.push(Element::class(class)),
        HirKind::Capture(capture) => lay_out(&capture.sub, depth - 1, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| lay_out(part, depth - 1, out)),
        HirKind::Repetition(repeat) => {
            let (min, max) = (repeat.min as usize, repeat.max.map(|m| m as usize));
            let inside = row(&repeat.sub, depth - 1);
            if min == 1 && max == Some(1) {
                out.extend(inside);
                return;
            }
            let set = union(&inside);
            let once: usize = total(&inside);
            out.push(Element {
                set,
                min_len: once.saturating_mul(min),
                fixed: None,
                inner: if min > 0 { best(&inside) } else { None },
            });
        }
        HirKind::Alternation(branches) => {
            let rows: Vec<Vec<Element>> = branches.iter().map(|b| row(b, depth - 1)).collect();
            out.push(Element {
                set: rows.iter().fold(ByteSet::EMPTY, |all, r| all.union(&union(r))),
                min_len: rows.iter().map(|r| total(r)).min().unwrap_or(0),
                fixed: None,
                inner: either(&rows),
            });
        }
    }
}

/// One character after another; U+FFFD may stand for any broken byte.
fn lay_out_literal(bytes: &[u8], out: &mut Vec<Element>) {
    for piece in bytes.utf8_chunks() {
        for c in piece.valid().chars() {
            if c == char::REPLACEMENT_CHARACTER {
                out.push(Element::of(not_ascii(), 1));
                continue;
            }
            let mut utf8 = [0; 4];
            out.extend(c.encode_utf8(&mut utf8).bytes().map(Element::byte));
        }
        out.extend(piece.invalid().iter().map(|b| Element::byte(*b)));
    }
}

impl Element {
    fn of(set: ByteSet, min_len: usize) -> Element {
        Element {
            set,
            min_len,
            fixed: None,
            inner: None,
        }
    }

    fn byte(byte: u8) -> Element {
        Element {
            fixed: Some(Fixed::Byte(byte)),
            ..Element::of(ByteSet::of(&[byte]), 1)
        }
    }

    fn unknown() -> Element {
        Element::of(ByteSet::ALL, 0)
    }

    fn class(class: &Class) -> Element {
        let mut set = ByteSet::EMPTY;
        match class {
            Class::Unicode(class) => {
                for range in class.ranges() {
                    if range.start().is_ascii() {
                        set.insert_range(range.start() as u8, (range.end() as u32).min(0x7F) as u8);
                    }
                    if !range.end().is_ascii() {
                        set = set.union(&not_ascii());
                    }
                }
            }
            Class::Bytes(class) => {
                for range in class.ranges() {
                    set.insert_range(range.start(), range.end());
                }
            }
        }
        let members: Vec<u8> = set.iter().take(3).collect();
        let fixed = match members[..] {
            [one] if one.is_ascii() => Some(Fixed::Byte(one)),
            [upper, lower] if lower.is_ascii_lowercase() && upper == lower.to_ascii_uppercase() => {
                Some(Fixed::Letter(lower))
            }
            _ => None,
        };
        Element {
            fixed,
            ..Element::of(set, 1)
        }
    }
}

fn not_ascii() -> ByteSet {
    let mut set = ByteSet::EMPTY;
    set.insert_range(0x80, 0xFF);
    set
}

fn union(row: &[Element]) -> ByteSet {
    row.iter().fold(ByteSet::EMPTY, |all, e| all.union(&e.set))
}

fn total(row: &[Element]) -> usize {
    row.iter().fold(0, |all, e| all.saturating_add(e.min_len))
}

/// A gate for each branch, or none.
fn either(branches: &[Vec<Element>]) -> Option<Candidate> {
    let mut all = Candidate {
        gates: Vec::new(),
        cost: 0.0,
    };
    for branch in branches {
        let one = best(branch)?;
        all.gates.extend(one.gates);
        all.cost += one.cost;
    }
    (all.gates.len() <= GATES_MAX).then_some(all)
}

/// The cheapest gates of a row.
fn best(row: &[Element]) -> Option<Candidate> {
    let inner = row.iter().filter_map(|e| e.inner.clone());
    inner
        .chain(literals(row))
        .chain(runs(row))
        .min_by(|a, b| a.cost.total_cmp(&b.cost))
}

/// The longest stretches of fixed bytes, each with the bytes that may stand beside it.
fn literals(row: &[Element]) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut from = 0;
    while from < row.len() {
        let len = row[from..].iter().take_while(|e| e.fixed.is_some()).count();
        if len > 0 {
            found.push(literal(row, from..from + len));
        }
        from += len.max(1);
    }
    found
}

fn literal(row: &[Element], stretch: Range<usize>) -> Candidate {
    // An element of at least one byte has its last byte right before what follows; of others nothing is known.
    let beside = |at: Option<usize>| {
        let element = at.and_then(|at| row.get(at)).filter(|e| e.min_len > 0)?;
        Some(element.set)
    };
    let (before, after) = (beside(stretch.start.checked_sub(1)), beside(Some(stretch.end)));
    let stretch = &row[stretch];
    let any_case = stretch.iter().any(|e| matches!(e.fixed, Some(Fixed::Letter(_))));
    let bytes = stretch.iter().filter_map(|e| match e.fixed? {
        Fixed::Byte(b) | Fixed::Letter(b) => Some(b),
    });
    let literal = Literal {
        bytes: bytes.collect(),
        before,
        after,
    };
    let own: f64 = stretch.iter().map(|e| share(&e.set)).product();
    let (pass, gate) = match any_case {
        true => (ANY_CASE_PASS, Gate::LiteralAnyCase(literal)),
        false => (LITERAL_PASS, Gate::Literal(literal)),
    };
    Candidate {
        gates: vec![gate],
        cost: pass + HIT * RECORD_BYTES * own,
    }
}

/// Every window of neighbours; the cheapest of them.
fn runs(row: &[Element]) -> Option<Candidate> {
    let row = &row[..row.len().min(ELEMENTS_MAX)];
    let (mut best, mut best_cost) = (None, f64::INFINITY);
    for from in 0..row.len() {
        let mut set = ByteSet::EMPTY;
        let mut min_len: usize = 0;
        for (i, e) in row[from..].iter().enumerate() {
            set = set.union(&e.set);
            min_len = min_len.saturating_add(e.min_len);
            if min_len == 0 || e.min_len == 0 {
                continue;
            }
            // Bytes of a class come in flocks: each one costs the next half its surprise.
            let share = share(&set).powf(0.5 * min_len as f64);
            let cost = RUN_PASS + HIT * RECORD_BYTES * share;
            if cost < best_cost {
                (best, best_cost) = (Some((from..from + i + 1, set, min_len)), cost);
            }
        }
    }
    let (window, class, min_len) = best?;
    let run = ClassRun {
        class,
        min_len,
        needs: needs(&row[window], &class),
    };
    Some(Candidate {
        gates: vec![Gate::Run(run)],
        cost: best_cost,
    })
}

/// What a run holds beside its length: for each smaller set in the window, as many bytes as its elements consume.
fn needs(window: &[Element], class: &ByteSet) -> Vec<(ByteSet, usize)> {
    let mut needs: Vec<(ByteSet, usize)> = Vec::new();
    for set in window.iter().filter(|e| e.min_len > 0).map(|e| e.set) {
        if set == *class || needs.iter().any(|(known, _)| *known == set) {
            continue;
        }
        let within = window.iter().filter(|e| e.set.union(&set) == set);
        needs.push((set, within.fold(0, |all: usize, e| all.saturating_add(e.min_len))));
    }
    // The rarest first: it says no soonest.
    needs.sort_by_key(|(set, _)| set.len());
    needs.truncate(NEEDS_MAX);
    needs
}

/// Roughly which part of the bytes of encoded telemetry is in a set.
fn share(set: &ByteSet) -> f64 {
    let all: f64 = set
        .iter()
        .map(|byte| match byte {
            b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b'c' | b'd' => 0.035,
            b'j' | b'q' | b'x' | b'z' | b'k' => 0.008,
            b'a'..=b'z' => 0.02,
            b'0'..=b'9' => 0.015,
            b'A'..=b'Z' => 0.004,
            b'-' | b'.' | b'/' | b'_' | b' ' | b':' => 0.012,
            0..=0x1F => 0.01,
            0x21..=0x7F => 0.0015,
            0x80.. => 0.0005,
        })
        .sum();
    all.min(0.95)
}
