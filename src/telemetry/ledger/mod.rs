//! The books: where every record went.
//!
//! A row stands for one place and one signal, its columns are counted for each tenant (tenants above
//! [`TENANTS_MAX`] count as `other`). Three kinds of place, three laws, and two links between them ([`Ledger::check`]):
//!
//! ```text
//! door   offered = accepted + refused
//! edge   offered = accepted + refused + duplicates + dropped    duplicates: taken here, though the caller was refused;
//!                                                           dropped: not taken here, though the caller was told yes
//! node   in + created + carried_in = out + dropped{rule} + merged + failed{reason} + held
//! link   a node's in = what its incoming edges accepted and duplicated
//! link   what a node's outgoing edge accepted and dropped = the node's out
//! ```
//!
//! Beside the law stands what rules changed in records that went on: `touched{rule}`.
//!
//! Every row is booked once the answer is known, whole payloads at a time; so the laws hold at any moment at which
//! nothing is between two bookings, and always once the gateway is at rest.

mod fan;
mod lives;
mod report;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use wire::{Payload, Signal};

pub use fan::Fan;
pub use lives::{Difference, Ended, Kept, Lives};
pub use report::{Kind, Line, Report};

/// Tenants that get columns of their own in a row; the rest share `other`.
pub const TENANTS_MAX: usize = 1000;

/// Rules that are told apart among those that [touched](Row::touch_items) something; the rest share `other`.
pub const RULES_MAX: usize = 128;

/// Whose columns the tenants beyond [`TENANTS_MAX`] share, and the rules beyond [`RULES_MAX`].
const OTHER: &str = "other";

/// A component or pipeline, as the books name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A receiver: books nothing itself, only its doors and edges do.
    Receiver(String),
    /// A pipeline: what went into its first processor and what left its last.
    Pipeline(String),
    /// One processor of one pipeline.
    Processor {
        /// The pipeline's id.
        pipeline: String,
        /// The processor's id.
        id: String,
    },
    /// A connector.
    Connector(String),
    /// An exporter with its harness.
    Exporter(String),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Receiver(id) => write!(f, "receiver {id}"),
            Node::Pipeline(id) => write!(f, "pipeline {id}"),
            Node::Processor { pipeline, id } => write!(f, "processor {id} in {pipeline}"),
            Node::Connector(id) => write!(f, "connector {id}"),
            Node::Exporter(id) => write!(f, "exporter {id}"),
        }
    }
}

/// Where a row is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A receiver towards its clients.
    Door {
        /// The receiver's id.
        receiver: String,
        /// `grpc`, `http`, ...
        transport: &'static str,
    },
    /// Between two nodes.
    Edge {
        /// Who calls.
        from: Node,
        /// Who is called.
        to: Node,
    },
    /// Within a node.
    Node(Node),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Door { receiver, transport } => write!(f, "door {receiver} ({transport})"),
            Place::Edge { from, to } => write!(f, "{from} -> {to}"),
            Place::Node(node) => node.fmt(f),
        }
    }
}

/// What is counted without a name beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Column {
    /// Came to a door or edge.
    Offered,
    /// Taken: the answer was yes.
    Accepted,
    /// Given back: the answer was no, and nothing was kept. At an exporter, what it tried before: no part of its law.
    Refused,
    /// Taken by this branch although the caller was told no: a retry will bring it again.
    Duplicates,
    /// Came into a node, and stayed its duty.
    In,
    /// Made here (connectors, aggregating processors).
    Created,
    /// Found in a journal at start.
    CarriedIn,
    /// Went on: to the next node, or delivered.
    Out,
    /// Became part of another record.
    Merged,
    /// Owed right now. The one column that also shrinks.
    Held,
    /// Of what was carried in: its sending may have begun before the stop, so the far side may see it twice. No part of
    /// any law.
    PossibleDuplicates,
}

const COLUMNS: usize = 11;

impl Column {
    /// Every column, in the order in which tables show them.
    pub const ALL: [Column; COLUMNS] = [
        Column::Offered,
        Column::Accepted,
        Column::Refused,
        Column::Duplicates,
        Column::In,
        Column::Created,
        Column::CarriedIn,
        Column::Out,
        Column::Merged,
        Column::Held,
        Column::PossibleDuplicates,
    ];

    /// `offered`, `carried_in`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Column::Offered => "offered",
            Column::Accepted => "accepted",
            Column::Refused => "refused",
            Column::Duplicates => "duplicates",
            Column::In => "in",
            Column::Created => "created",
            Column::CarriedIn => "carried_in",
            Column::Out => "out",
            Column::Merged => "merged",
            Column::Held => "held",
            Column::PossibleDuplicates => "possible_duplicates",
        }
    }
}

/// All rows of one gateway.
#[derive(Default)]
pub struct Ledger {
    rows: RwLock<BTreeMap<(Place, Signal), Arc<Row>>>,
    /// By the nodes that they leave; there are a few for each pipeline.
    fans: RwLock<Vec<Arc<Fan>>>,
    /// Of earlier lives.
    memory: RwLock<Option<lives::Memory>>,
    /// By reader.
    marks: Mutex<BTreeMap<String, Arc<Bookmark>>>,
    /// Where exporters send: labels by exporter and signal.
    pub(crate) peers: RwLock<BTreeMap<(String, Signal), crate::metrics::Labels>>,
}

impl Ledger {
    /// The row of a place, made at first use. Keep it; look-ups take a lock.
    pub fn row(&self, place: Place, signal: Signal) -> Arc<Row> {
        if let Some(row) = self.rows.read().get(&(place.clone(), signal)) {
            return row.clone();
        }
        self.rows
            .write()
            .entry((place.clone(), signal))
            .or_insert_with(|| Arc::new(Row::new(place, signal)))
            .clone()
    }

    /// Every row, ordered by place and signal.
    pub fn rows(&self) -> Vec<Arc<Row>> {
        self.rows.read().values().cloned().collect()
    }

    /// What this reader was told last; whoever reads under the same name goes on there.
    pub fn bookmark(&self, reader: &str) -> Arc<Bookmark> {
        self.marks.lock().entry(reader.to_owned()).or_default().clone()
    }

    /// Checks every law and every link; the answer lists each breach. Meaningful at rest only.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let faults: Vec<String> = self.breaches().into_iter().map(|breach| breach.told).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Every law and every link that does not hold at this moment.
    fn breaches(&self) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let mut breach = |law: String, how: String| {
            breaches.push(Breach {
                told: format!("{law}: {how}"),
                law,
            });
        };
        let rows = self.rows();
        for row in &rows {
            let t = row.total();
            let (left, right) = match row.place {
                Place::Door { .. } => (t.offered(), t.accepted() + t.refused()),
                Place::Edge { .. } => (
                    t.offered(),
                    t.accepted() + t.refused() + t.duplicates() + t.dropped_all(),
                ),
                Place::Node(_) => (t.sources(), t.sinks()),
            };
            if left != right {
                breach(
                    format!("{} {}", row.place, row.signal.as_str()),
                    format!("{left} came, {right} accounted for: {t}"),
                );
            }
            let Place::Node(node) = &row.place else { continue };
            let incoming: Vec<_> = edges(&rows, row.signal, |_, to| to == node).collect();
            let came: u64 = incoming.iter().map(|(_, e)| e.accepted() + e.duplicates()).sum();
            if !incoming.is_empty() && came != t.get(Column::In) {
                breach(
                    format!("{node} {}, what came", row.signal.as_str()),
                    format!("edges brought {came}, it booked {}", t.get(Column::In)),
                );
            }
            if matches!(node, Node::Exporter(_)) {
                continue;
            }
            for (to, edge) in edges(&rows, row.signal, |from, _| from == node) {
                let took = edge.accepted() + edge.dropped_all();
                let out = t.get(Column::Out);
                let (all, there) = self.left(node, to, row.signal).unwrap_or((out, out));
                if took != there || all != out {
                    breach(
                        format!("{node} {}, what {to} took", row.signal.as_str()),
                        format!("sent out {out}, {there} of it that way, an edge took {took}"),
                    );
                }
            }
        }
        breaches
    }
}

/// One account: a row and a tenant.
pub type At = (Place, Signal, Option<Arc<str>>);

/// How far a reader came who tells what was booked since. It is there as long as the ledger is, so that a component
/// that is built anew does not tell again what the one before it told.
#[derive(Default)]
pub struct Bookmark(Mutex<BTreeMap<At, Totals>>);

impl Bookmark {
    /// What was told of an account; nothing at first.
    pub fn of(&self, at: &At) -> Totals {
        self.0.lock().get(at).cloned().unwrap_or_default()
    }

    /// This is told.
    pub fn set(&self, at: At, totals: Totals) {
        self.0.lock().insert(at, totals);
    }

    /// Accounts of which something was told.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether nothing was told yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A law that does not hold.
struct Breach {
    /// Of what; the same at each reading.
    law: String,
    told: String,
}

fn edges<'a>(
    rows: &'a [Arc<Row>],
    signal: Signal,
    pick: impl Fn(&Node, &Node) -> bool + 'a,
) -> impl Iterator<Item = (&'a Node, Totals)> + 'a {
    rows.iter().filter_map(move |row| match &row.place {
        Place::Edge { from, to } if row.signal == signal && pick(from, to) => Some((to, row.total())),
        _ => None,
    })
}

/// The columns of one place and signal.
pub struct Row {
    /// Where.
    pub place: Place,
    /// Of what.
    pub signal: Signal,
    nobody: Account,
    tenants: RwLock<HashMap<Arc<str>, Arc<Account>>>,
}

impl Row {
    fn new(place: Place, signal: Signal) -> Row {
        Row {
            place,
            signal,
            nobody: Account::default(),
            tenants: RwLock::default(),
        }
    }

    /// Adds a payload's items to a column, each chunk's under its tenant.
    pub fn add(&self, column: Column, payload: &Payload) {
        self.each(payload, |account, items| account.add(column, items));
    }

    /// Takes a payload's items off [`Column::Held`].
    pub fn release(&self, payload: &Payload) {
        self.each(payload, |account, items| account.sub_held(items));
    }

    /// Books a payload's items as ended by a rule.
    pub fn drop_all(&self, rule: &str, payload: &Payload) {
        self.each(payload, |account, items| {
            account.end(&account.dropped, rule, items)
        });
    }

    /// Books a payload's items as failed for a reason.
    pub fn fail_all(&self, reason: &str, payload: &Payload) {
        self.each(payload, |account, items| {
            account.end(&account.failed, reason, items)
        });
    }

    /// Adds items of one tenant to a column.
    pub fn add_items(&self, column: Column, tenant: Option<&Arc<str>>, items: u64) {
        self.with(tenant, |account| account.add(column, items));
    }

    /// Takes items of one tenant off [`Column::Held`].
    pub fn release_items(&self, tenant: Option<&Arc<str>>, items: u64) {
        self.with(tenant, |account| account.sub_held(items));
    }

    /// Books items of one tenant as ended by a rule.
    pub fn drop_items(&self, rule: &str, tenant: Option<&Arc<str>>, items: u64) {
        self.with(tenant, |account| account.end(&account.dropped, rule, items));
    }

    /// Books items of one tenant as failed for a reason.
    pub fn fail_items(&self, reason: &str, tenant: Option<&Arc<str>>, items: u64) {
        self.with(tenant, |account| account.end(&account.failed, reason, items));
    }

    /// Notes what a rule changed in records of one tenant, in places. No part of any law.
    pub fn touch_items(&self, rule: &str, tenant: Option<&Arc<str>>, places: u64) {
        self.with(tenant, |account| account.touch(rule, places));
    }

    /// The columns over all tenants.
    pub fn total(&self) -> Totals {
        let mut sum = self.nobody.totals();
        for account in self.tenants.read().values() {
            sum.merge(&account.totals());
        }
        sum
    }

    /// The columns of each tenant; `None` for records that have no tenant.
    pub fn by_tenant(&self) -> Vec<(Option<Arc<str>>, Totals)> {
        let mut all = vec![(None, self.nobody.totals())];
        all.extend(
            self.tenants
                .read()
                .iter()
                .map(|(name, account)| (Some(name.clone()), account.totals())),
        );
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn each(&self, payload: &Payload, book: impl Fn(&Account, u64)) {
        if payload.chunks.iter().all(|c| c.origin.tenant.is_none()) {
            return book(&self.nobody, payload.items as u64);
        }
        for chunk in &payload.chunks {
            self.with(chunk.origin.tenant.as_ref(), |account| {
                book(account, u64::from(chunk.shape.items))
            });
        }
    }

    fn with(&self, tenant: Option<&Arc<str>>, book: impl FnOnce(&Account)) {
        let Some(tenant) = tenant else {
            return book(&self.nobody);
        };
        let known = self.tenants.read().get(tenant).cloned();
        let account = known.unwrap_or_else(|| {
            let mut tenants = self.tenants.write();
            let name = if tenants.len() < TENANTS_MAX {
                tenant.clone()
            } else {
                Arc::from(OTHER)
            };
            tenants.entry(name).or_default().clone()
        });
        book(&account);
    }
}

/// Columns of one tenant at one place.
#[derive(Default)]
struct Account {
    columns: [AtomicU64; COLUMNS],
    dropped: Mutex<BTreeMap<String, u64>>,
    failed: Mutex<BTreeMap<String, u64>>,
    touched: Mutex<BTreeMap<String, u64>>,
}

impl Account {
    fn add(&self, column: Column, items: u64) {
        self.columns[column as usize].fetch_add(items, Relaxed);
    }

    fn sub_held(&self, items: u64) {
        let before = self.columns[Column::Held as usize].fetch_sub(items, Relaxed);
        debug_assert!(before >= items, "released {items} of {before} held");
    }

    fn end(&self, of: &Mutex<BTreeMap<String, u64>>, name: &str, items: u64) {
        let mut map = of.lock();
        match map.get_mut(name) {
            Some(n) => *n += items,
            None => {
                map.insert(name.to_owned(), items);
            }
        }
    }

    fn touch(&self, rule: &str, places: u64) {
        plus_bounded(&mut self.touched.lock(), rule, places);
    }

    fn totals(&self) -> Totals {
        Totals {
            columns: std::array::from_fn(|i| self.columns[i].load(Relaxed)),
            dropped: self.dropped.lock().clone(),
            failed: self.failed.lock().clone(),
            touched: self.touched.lock().clone(),
        }
    }
}

/// Adds to a name, or to `other` where there are too many.
fn plus_bounded(map: &mut BTreeMap<String, u64>, name: &str, n: u64) {
    if let Some(known) = map.get_mut(name) {
        *known += n;
        return;
    }
    let others = usize::from(map.contains_key(OTHER));
    let name = if map.len() - others < RULES_MAX {
        name
    } else {
        OTHER
    };
    *map.entry(name.to_owned()).or_default() += n;
}

/// A reading of one row or account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "report::Told", into = "report::Told")]
pub struct Totals {
    columns: [u64; COLUMNS],
    /// Items ended on purpose, by rule.
    pub dropped: BTreeMap<String, u64>,
    /// Items lost, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Places that were changed in items that went on, by rule. No part of any law.
    pub touched: BTreeMap<String, u64>,
}

impl Totals {
    /// One column.
    pub fn get(&self, column: Column) -> u64 {
        self.columns[column as usize]
    }

    /// [`Column::Offered`].
    pub fn offered(&self) -> u64 {
        self.get(Column::Offered)
    }

    /// [`Column::Accepted`].
    pub fn accepted(&self) -> u64 {
        self.get(Column::Accepted)
    }

    /// [`Column::Refused`].
    pub fn refused(&self) -> u64 {
        self.get(Column::Refused)
    }

    /// [`Column::Duplicates`].
    pub fn duplicates(&self) -> u64 {
        self.get(Column::Duplicates)
    }

    /// [`Column::Held`].
    pub fn held(&self) -> u64 {
        self.get(Column::Held)
    }

    /// Items ended on purpose, by all rules.
    pub fn dropped_all(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Items lost, for all reasons.
    pub fn failed_all(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Left side of a node's law.
    pub fn sources(&self) -> u64 {
        self.get(Column::In) + self.get(Column::Created) + self.get(Column::CarriedIn)
    }

    /// Right side of a node's law.
    pub fn sinks(&self) -> u64 {
        self.get(Column::Out)
            + self.dropped_all()
            + self.get(Column::Merged)
            + self.failed_all()
            + self.held()
    }

    fn merge(&mut self, other: &Totals) {
        for (mine, theirs) in self.columns.iter_mut().zip(other.columns) {
            *mine += theirs;
        }
        for (mine, theirs) in [
            (&mut self.dropped, &other.dropped),
            (&mut self.failed, &other.failed),
        ] {
            for (name, n) in theirs {
                *mine.entry(name.clone()).or_default() += n;
            }
        }
        for (rule, places) in &other.touched {
            plus_bounded(&mut self.touched, rule, *places);
        }
    }

    /// What has a name beside it: how it ended, or what was done, and by what.
    fn by_name(&self) -> [(&'static str, &BTreeMap<String, u64>); 3] {
        [
            ("dropped", &self.dropped),
            ("failed", &self.failed),
            ("touched", &self.touched),
        ]
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (column, n) in Column::ALL.iter().zip(self.columns).filter(|(_, n)| *n > 0) {
            write!(f, "{space}{} {n}", column.as_str())?;
            space = ", ";
        }
        for (kind, map) in self.by_name() {
            for (name, n) in map {
                write!(f, "{space}{kind}{{{name}}} {n}")?;
                space = ", ";
            }
        }
        Ok(())
    }
}
