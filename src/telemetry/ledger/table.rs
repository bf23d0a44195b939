//! A report as text of 80 columns.
//!
//! Doors, edges and nodes have a table each. A name that does not fit its column has a line of its own; what has no
//! column stands below, item by item: carried in, created, merged, each rule and each reason.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use codec::time::Civil;

use super::{Column, Difference, Kind, Line, Report, Totals};

const WIDTH: usize = 80;
const NUMBER_MIN: usize = 9;

type Columns = &'static [(&'static str, fn(&Totals) -> u64)];

/// A table's columns, and what of the totals they show.
fn columns(kind: Kind) -> Columns {
    match kind {
        Kind::Door => &[
            ("offered", Totals::offered),
            ("accepted", Totals::accepted),
            ("refused", Totals::refused),
        ],
        Kind::Edge => &[
            ("offered", Totals::offered),
            ("accepted", Totals::accepted),
            ("refused", Totals::refused),
            ("doubled", Totals::duplicates),
        ],
        Kind::Node => &[
            ("came", Totals::sources),
            ("out", |t| t.get(Column::Out)),
            ("dropped", Totals::dropped_all),
            ("failed", Totals::failed_all),
            ("held", Totals::held),
        ],
    }
}

/// The same over all lives: what is held is no sum of anything.
fn lifetime_columns(kind: Kind) -> Columns {
    let all = columns(kind);
    match kind {
        Kind::Node => &all[..all.len() - 1],
        _ => all,
    }
}

/// What is said below a line, if it is not zero.
fn notes(kind: Kind, totals: &Totals) -> Vec<String> {
    let by_column = [
        Column::CarriedIn,
        Column::Created,
        Column::Merged,
        Column::PossibleDuplicates,
        Column::Refused,
    ];
    let is_shown = |c: &Column| kind == Kind::Node && totals.get(*c) > 0;
    let by_column = by_column.into_iter().filter(is_shown);
    let mut notes: Vec<String> = by_column
        .map(|c| format!("{} {}", c.as_str(), totals.get(c)))
        .collect();
    for (what, map) in totals.by_name() {
        notes.extend(map.iter().map(|(name, n)| format!("{what}{{{name}}} {n}")));
    }
    notes
}

impl Report {
    /// Tables of what is not zero, and a last line that says whether the books balance. Lines are at most 80 columns
    /// wide, where names allow.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        if let Some(lives) = &self.lives {
            let since = Civil::from_system(UNIX_EPOCH + Duration::from_millis(lives.since_ms)).rfc3339();
            let _ = writeln!(
                out,
                "Over {}, since {since}\n",
                count(lives.lives, "life", "lives")
            );
            self.tables(&mut out, lifetime_columns, |line| line.lifetime.as_ref());
            let title = "Found in the journal at a start, beyond what the books said:";
            differences(&mut out, title, &lives.unbooked);
            let title = "Of earlier lives, waiting in the journal:";
            differences(&mut out, title, &lives.waiting);
            out.push_str("Since this start\n\n");
        }
        self.tables(&mut out, columns, |line| Some(&line.since_start));
        match self.balanced {
            true => out.push_str("The books balance: every record that came is accounted for.\n"),
            false => {
                out.push_str("The books do not balance:\n");
                for fault in &self.faults {
                    let _ = writeln!(out, "  {fault}");
                }
            }
        }
        out
    }
}

impl Report {
    fn tables(&self, out: &mut String, columns: fn(Kind) -> Columns, totals: fn(&Line) -> Option<&Totals>) {
        for (kind, title) in [
            (Kind::Door, "Doors"),
            (Kind::Edge, "Edges"),
            (Kind::Node, "Nodes"),
        ] {
            let lines = self.lines.iter().filter(|line| line.kind == kind);
            let lines = lines.filter_map(|line| Some((line, totals(line)?)));
            let lines: Vec<_> = lines
                .filter(|(_, totals)| **totals != Totals::default())
                .collect();
            if !lines.is_empty() {
                table(out, title, kind, columns(kind), &lines);
                out.push('\n');
            }
        }
    }
}

fn differences(out: &mut String, title: &str, list: &[Difference]) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}");
    for d in list {
        let _ = writeln!(out, "  {} {} {:+}", d.place, d.signal, d.items);
    }
    out.push('\n');
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn table(out: &mut String, title: &str, kind: Kind, columns: Columns, lines: &[(&Line, &Totals)]) {
    let widths: Vec<usize> = columns
        .iter()
        .map(|(name, read)| {
            let numbers = lines.iter().map(|(_, totals)| read(totals).to_string().len());
            numbers.max().unwrap_or(0).max(name.len()).max(NUMBER_MIN)
        })
        .collect();
    // Each number has two spaces before it.
    let numbers: usize = widths.iter().map(|width| width + 1).sum();
    let room = WIDTH.saturating_sub(numbers);
    let cells = |read: &dyn Fn(usize) -> String| -> String {
        let cells = widths.iter().enumerate();
        cells.map(|(i, width)| format!(" {:>width$}", read(i))).collect()
    };
    let _ = writeln!(out, "{title:<room$}{}", cells(&|i| columns[i].0.to_owned()));
    for (line, totals) in lines {
        let name = name(line);
        let numbers = cells(&|i| columns[i].1(totals).to_string());
        if name.chars().count() + 2 <= room {
            let _ = writeln!(out, "  {name:<width$}{numbers}", width = room - 2);
        } else {
            let _ = writeln!(out, "  {name}\n{:room$}{numbers}", "");
        }
        fold(out, &notes(kind, totals));
    }
}

fn name(line: &Line) -> String {
    // A table of doors need not say that each is one.
    let place = line.place.strip_prefix("door ").unwrap_or(&line.place);
    match &line.tenant {
        None => format!("{place} {}", line.signal),
        Some(tenant) => format!("{place} {} [{}]", line.signal, printable(tenant)),
    }
}

/// Tenants are named by clients: nothing of theirs may move a cursor.
fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(64).map(safe).collect()
}

/// Notes one after another, in as many lines as they need.
fn fold(out: &mut String, notes: &[String]) {
    const INDENT: &str = "      ";
    let mut line = String::new();
    for note in notes {
        if !line.is_empty() && INDENT.len() + line.len() + 2 + note.len() > WIDTH {
            let _ = writeln!(out, "{INDENT}{line},");
            line.clear();
        }
        if !line.is_empty() {
            line.push_str(", ");
        }
        line.push_str(note);
    }
    if !line.is_empty() {
        let _ = writeln!(out, "{INDENT}{line}");
    }
}

#[cfg(test)]
mod tests {
    use wire::Signal;

    use super::*;
    use crate::{Ledger, Node, Place};

    #[test]
    fn tables_stay_within_80_columns_and_fold_what_does_not_fit() {
        let ledger = Ledger::default();
        let row = |place| ledger.row(place, Signal::Logs);
        let door = row(Place::Door {
            receiver: "otlp".into(),
            transport: "grpc",
        });
        door.add_items(Column::Offered, None, 12);
        door.add_items(Column::Accepted, None, 12);
        let edge = row(Place::Edge {
            from: Node::Receiver("otlp".into()),
            to: Node::Exporter("otlp_grpc/next".into()),
        });
        edge.add_items(Column::Offered, None, 12);
        edge.add_items(Column::Accepted, None, 12);
        let node = row(Place::Node(Node::Exporter("otlp_grpc/next".into())));
        node.add_items(Column::In, None, 12);
        node.add_items(Column::CarriedIn, None, 12_345_678_901);
        node.add_items(Column::Out, None, 12_345_678_904);
        node.add_items(Column::Held, None, 1);
        node.add_items(Column::PossibleDuplicates, None, 2);
        node.fail_items("rejected", None, 3);
        node.fail_items(
            "a reason with so many words that its line must be folded",
            None,
            4,
        );
        node.drop_items("drop_oldest", None, 1);
        row(Place::Node(Node::Exporter("idle".into())));
        let other = row(Place::Node(Node::Connector("f".into())));
        other.add_items(Column::In, Some(&"a\u{1b}[31m".into()), 1);
        other.add_items(Column::Out, Some(&"a\u{1b}[31m".into()), 1);
        let text = Report::of(&ledger).to_text();
        let expected = [
            "Doors                                                offered  accepted   refused",
            "  otlp (grpc) logs                                        12        12         0",
            "",
            "Edges                                      offered  accepted   refused   doubled",
            "  receiver otlp -> exporter otlp_grpc/next logs",
            "                                                12        12         0         0",
            "",
            "Nodes                             came         out   dropped    failed      held",
            "  connector f logs [a\u{fffd}[31m]",
            "                                     1           1         0         0         0",
            "  exporter otlp_grpc/next logs",
            "                           12345678913 12345678904         1         7         1",
            "      carried_in 12345678901, possible_duplicates 2, dropped{drop_oldest} 1,",
            "      failed{a reason with so many words that its line must be folded} 4,",
            "      failed{rejected} 3",
            "",
            "The books balance: every record that came is accounted for.",
        ];
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, expected, "\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn all_lives_stand_above_this_one() {
        let row = |ledger: &Ledger| ledger.row(Place::Node(Node::Exporter("a".into())), Signal::Logs);
        let first = Ledger::default();
        row(&first).add_items(Column::In, None, 10);
        row(&first).add_items(Column::Out, None, 4);
        row(&first).add_items(Column::Held, None, 6);
        let second = Ledger::default();
        let found = [(("exporter a".to_owned(), "logs".to_owned()), 8)].into();
        second.remember(first.keep(1_700_000_000_000, false), &found);
        row(&second).add_items(Column::CarriedIn, None, 5);
        row(&second).add_items(Column::Out, None, 5);
        let text = Report::of(&second).to_text();
        let expected = [
            "Over 2 lives, since 2023-11-14T22:13:20Z",
            "",
            "Nodes                                         came       out   dropped    failed",
            "  exporter a logs                               10         9         0         0",
            "",
            "Found in the journal at a start, beyond what the books said:",
            "  exporter a logs +2",
            "",
            "Of earlier lives, waiting in the journal:",
            "  exporter a logs +3",
            "",
            "Since this start",
            "",
            "Nodes                               came       out   dropped    failed      held",
            "  exporter a logs                      5         5         0         0         0",
            "      carried_in 5",
            "",
            "The books balance: every record that came is accounted for.",
        ];
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, expected, "\n{text}");
    }
}
