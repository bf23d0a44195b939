//! A report as text of 80 columns.
//!
//! Doors, edges and nodes have a table each. A name that does not fit its column has a line of its own; what has no
//! column stands below, item by item: carried in, created, merged, each rule and each reason.

use std::fmt::Write;

use super::{Column, Kind, Line, Report, Totals};

const WIDTH: usize = 80;
const NUMBER_MIN: usize = 9;

type Read = fn(&Totals) -> u64;

/// A table's columns, and what of the totals they show.
fn columns(kind: Kind) -> &'static [(&'static str, Read)] {
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
    for (what, map) in [("dropped", &totals.dropped), ("failed", &totals.failed)] {
        notes.extend(map.iter().map(|(name, n)| format!("{what}{{{name}}} {n}")));
    }
    notes
}

impl Report {
    /// Tables of what is not zero, and a last line that says whether the books balance. Lines are at most 80 columns
    /// wide, where names allow.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (kind, title) in [
            (Kind::Door, "Doors"),
            (Kind::Edge, "Edges"),
            (Kind::Node, "Nodes"),
        ] {
            let lines = self.lines.iter().filter(|line| line.kind == kind);
            let lines: Vec<&Line> = lines
                .filter(|line| line.since_start != Totals::default())
                .collect();
            if !lines.is_empty() {
                table(&mut out, title, kind, &lines);
                out.push('\n');
            }
        }
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

fn table(out: &mut String, title: &str, kind: Kind, lines: &[&Line]) {
    let columns = columns(kind);
    let widths: Vec<usize> = columns
        .iter()
        .map(|(name, read)| {
            let numbers = lines.iter().map(|line| read(&line.since_start).to_string().len());
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
    for line in lines {
        let name = name(line);
        let numbers = cells(&|i| columns[i].1(&line.since_start).to_string());
        if name.chars().count() + 2 <= room {
            let _ = writeln!(out, "  {name:<width$}{numbers}", width = room - 2);
        } else {
            let _ = writeln!(out, "  {name}\n{:room$}{numbers}", "");
        }
        fold(out, &notes(kind, &line.since_start));
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
}
