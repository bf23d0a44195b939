//! Finds candidates in whole buffers: literals, and long runs of bytes of one class.
//!
//! In: any bytes, best a whole chunk (a call on each of its values costs more than the search itself). Out: [`Hit`]s,
//! regions in which an occurrence of a [`Gate`] lies. A hit proves nothing and may cover more than the occurrence; but
//! where there is no hit, there is no occurrence. What a hit means, and which value it lies in, is for the caller: this
//! module knows neither rules nor messages.
//!
//! Literals are searched by `memmem`, one pass each (cheaper on encoded protobuf than one automaton up to some sixty
//! literals: common leading bytes make it stop too often). Classes and literals of any case have kernels of their own,
//! AVX2 where the processor has it, and a scalar twin with equal results.

mod masks;
mod runs;
mod set;

pub use set::ByteSet;

use memchr::memmem::Finder;

use masks::{Kernel, Masks};
use runs::Regions;

/// Hits of one gate that are nearer to each other than this become one: it bounds their number by the buffer's length.
pub const HIT_DISTANCE: usize = 16;

/// Classes up to this size may be searched together in one pass.
const GROUP_CLASS_MAX: usize = 24;

/// Runs shorter than this are searched for alone, since a larger class would find too many of them.
const GROUP_LEN_MIN: usize = 6;

/// Most gates in one pass for runs.
const GROUP_GATES_MAX: usize = 16;

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// These bytes.
    Literal(Literal),
    /// These bytes, ASCII letters in either case.
    LiteralAnyCase(Literal),
    /// A run of bytes of a class.
    Run(ClassRun),
}

/// Bytes, and what stands beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The bytes themselves. Not empty.
    pub bytes: Box<[u8]>,
    /// A byte of this set stands right before them; `None` if anything may, or nothing.
    pub before: Option<ByteSet>,
    /// The same right behind them.
    pub after: Option<ByteSet>,
}

impl Literal {
    /// A literal that may stand anywhere.
    pub fn new(bytes: &[u8]) -> Literal {
        Literal {
            bytes: bytes.into(),
            before: None,
            after: None,
        }
    }

    /// Whether its neighbours in the buffer are as asked for.
    #[inline]
    fn fits(&self, buffer: &[u8], start: usize) -> bool {
        let is_in = |set: &Option<ByteSet>, at: Option<usize>| match set {
            None => true,
            Some(set) => at.and_then(|at| buffer.get(at)).is_some_and(|b| set.contains(*b)),
        };
        is_in(&self.before, start.checked_sub(1)) && is_in(&self.after, Some(start + self.bytes.len()))
    }
}

/// At least `min_len` bytes in a row, all of `class`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassRun {
    /// Which bytes.
    pub class: ByteSet,
    /// How many; at least 1.
    pub min_len: usize,
    /// What else the run holds, anywhere: at least so many bytes of a set.
    pub needs: Vec<(ByteSet, usize)>,
}

impl ClassRun {
    /// Whether a run of the class, as long as it goes, is long enough and holds what it needs.
    fn accepts(&self, run: &[u8]) -> bool {
        let holds = |(set, count): &(ByteSet, usize)| {
            run.iter().filter(|b| set.contains(**b)).take(*count).count() == *count
        };
        run.len() >= self.min_len && self.needs.iter().all(holds)
    }
}

/// A region that holds at least one occurrence of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
    /// Place of the gate in the list given to [`Scan::new`].
    pub gate: usize,
}

impl Hit {
    /// The offset behind the last byte.
    pub fn end(&self) -> usize {
        self.offset + self.len
    }
}

/// Gates, ready to be searched for.
#[derive(Clone, Debug)]
pub struct Scan {
    passes: Vec<Pass>,
    gates: usize,
}

/// One walk over the buffer.
#[derive(Clone, Debug)]
enum Pass {
    Literal {
        finder: Box<Finder<'static>>,
        literal: Literal,
        gate: usize,
    },
    AnyCase {
        literal: Literal,
        masks: Masks,
        gate: usize,
    },
    Runs {
        masks: Masks,
        /// Bytes of all members.
        class: ByteSet,
        min_len: usize,
        members: Vec<(usize, ClassRun)>,
        /// True if a run of this pass is at once a run of its one member.
        exact: bool,
    },
}

impl Scan {
    /// Compiles the gates; their places in the list are what [`Hit::gate`] names.
    ///
    /// An empty literal or a run of length 0 would be everywhere: such a gate is taken as a run of one byte of any
    /// kind, so that it hits in everything that is not empty.
    pub fn new(gates: Vec<Gate>) -> Scan {
        Scan::with_kernel(gates, Kernel::detect())
    }

    /// The same, never with vector instructions: for tests and for comparison.
    pub fn new_scalar(gates: Vec<Gate>) -> Scan {
        Scan::with_kernel(gates, Kernel::Scalar)
    }

    fn with_kernel(gates: Vec<Gate>, kernel: Kernel) -> Scan {
        let count = gates.len();
        let mut passes = Vec::new();
        let mut groups: Vec<Vec<(usize, ClassRun)>> = Vec::new();
        for (gate, what) in gates.into_iter().enumerate() {
            let run = match what {
                Gate::Literal(literal) if !literal.bytes.is_empty() => {
                    let finder = Box::new(Finder::new(&literal.bytes).into_owned());
                    passes.push(Pass::Literal {
                        finder,
                        literal,
                        gate,
                    });
                    continue;
                }
                Gate::LiteralAnyCase(l) if !l.bytes.is_empty() => {
                    let masks = Masks::pair(&l.bytes, kernel);
                    passes.push(Pass::AnyCase {
                        literal: l,
                        masks,
                        gate,
                    });
                    continue;
                }
                Gate::Run(run) if run.min_len > 0 => run,
                Gate::Literal(_) | Gate::LiteralAnyCase(_) | Gate::Run(_) => ClassRun {
                    class: ByteSet::ALL,
                    min_len: 1,
                    needs: Vec::new(),
                },
            };
            match groups.iter_mut().find(|g| groupable(g, &run)) {
                Some(group) => group.push((gate, run)),
                None => groups.push(vec![(gate, run)]),
            }
        }
        passes.extend(groups.into_iter().map(|members| {
            let class = members
                .iter()
                .fold(ByteSet::EMPTY, |all, (_, run)| all.union(&run.class));
            let min_len = members.iter().map(|(_, run)| run.min_len).min().unwrap_or(1);
            Pass::Runs {
                masks: Masks::class(&class, kernel),
                class,
                min_len,
                exact: members.len() == 1,
                members,
            }
        }));
        Scan { passes, gates: count }
    }

    /// How many gates there are.
    pub fn gates(&self) -> usize {
        self.gates
    }

    /// Appends all hits. Those of one gate are in ascending order, disjoint and at least [`HIT_DISTANCE`] apart; gates
    /// follow each other in no stated order. No allocation but for the growth of `hits`.
    pub fn find(&self, bytes: &[u8], hits: &mut Vec<Hit>) {
        for pass in &self.passes {
            match pass {
                Pass::Literal {
                    finder,
                    literal,
                    gate,
                } => find_literal(finder, literal, bytes, Regions::new(*gate, hits)),
                Pass::AnyCase { literal, masks, gate } => {
                    let mut regions = Regions::new(*gate, hits);
                    masks.each_bit(bytes, |start| {
                        let end = start + literal.bytes.len();
                        let found = bytes.get(start..end);
                        if found.is_some_and(|f| f.eq_ignore_ascii_case(&literal.bytes))
                            && literal.fits(bytes, start)
                        {
                            regions.add(start, end);
                        }
                    });
                }
                Pass::Runs {
                    masks,
                    min_len,
                    members,
                    exact: true,
                    ..
                } => {
                    let (gate, run) = &members[0];
                    let mut regions = Regions::new(*gate, hits);
                    masks.each_run(bytes, *min_len, |start, end| {
                        if run.accepts(&bytes[start..end]) {
                            regions.add(start, end);
                        }
                    });
                }
                Pass::Runs {
                    masks,
                    class,
                    min_len,
                    members,
                    exact: false,
                } => {
                    let mut last = [None; GROUP_GATES_MAX];
                    masks.each_run(bytes, *min_len, |start, end| {
                        for ((gate, run), last) in members.iter().zip(&mut last) {
                            // What the whole run does not hold no part of it does.
                            if !run.accepts(&bytes[start..end]) {
                                continue;
                            }
                            let mut regions = Regions::resume(*gate, *last, hits);
                            match run.class == *class {
                                true => regions.add(start, end),
                                false => refine(&bytes[start..end], start, run, &mut regions),
                            }
                            *last = regions.last();
                        }
                    });
                }
            }
        }
    }

    /// True if any gate of `wanted` hits. For single values.
    pub fn hits_any(&self, bytes: &[u8], wanted: impl Fn(usize) -> bool, hits: &mut Vec<Hit>) -> bool {
        hits.clear();
        self.find(bytes, hits);
        hits.iter().any(|hit| wanted(hit.gate))
    }
}

/// Whether one pass for all of them finds few more runs than one pass each.
fn groupable(group: &[(usize, ClassRun)], run: &ClassRun) -> bool {
    let class = group.iter().fold(run.class, |all, (_, r)| all.union(&r.class));
    let same = group.iter().all(|(_, r)| r.class == run.class);
    let shortest = group
        .iter()
        .map(|(_, r)| r.min_len)
        .fold(run.min_len, |a, b| a.min(b));
    group.len() < GROUP_GATES_MAX && shortest >= GROUP_LEN_MIN && (same || class.len() <= GROUP_CLASS_MAX)
}

/// Overlapping occurrences count: an occurrence that begins in bytes of no interest must not hide the next one.
fn find_literal(finder: &Finder<'_>, literal: &Literal, bytes: &[u8], mut regions: Regions<'_>) {
    let mut from = 0;
    while let Some(found) = finder.find(&bytes[from..]) {
        let start = from + found;
        if literal.fits(bytes, start) {
            regions.add(start, start + literal.bytes.len());
        }
        from = start + 1;
    }
}

/// Runs of one class within a run of a larger class, which begins at `base`.
fn refine(run: &[u8], base: usize, want: &ClassRun, regions: &mut Regions<'_>) {
    let mut start = 0;
    for at in 0..=run.len() {
        if at == run.len() || !want.class.contains(run[at]) {
            if want.accepts(&run[start..at]) {
                regions.add(base + start, base + at);
            }
            start = at + 1;
        }
    }
}

#[cfg(test)]
mod tests;
