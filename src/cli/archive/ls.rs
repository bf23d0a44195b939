//! `weir archive ls`: the objects that signed logs name, in order of admission. No object is looked at.

use clap::Args;
use evidence::entry::Obj;
use serde::Serialize;

use super::Failure;
use super::logs::{Believed, Logs, Named, Wanted};
use super::reading::Reading;
use super::text;
use super::which::{Part, Which};
use crate::cli::{Sources, say};

/// Options of `weir archive ls`.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    believed: Believed,
    #[command(flatten)]
    part: Part,
    /// A line of JSON for each object, with all that its entry says
    #[arg(long)]
    json: bool,
    /// Accepted: this command logs nothing
    #[arg(long)]
    no_log: bool,
}

/// Runs it; the exit code.
pub(super) async fn run(sources: &Sources, arguments: &Arguments) -> Result<u8, Failure> {
    let archive = arguments.which.open(sources).await?;
    let wanted = Wanted {
        part: arguments.part.clone(),
        ..Wanted::default()
    };
    let logs = Logs::read(&Reading::of(&archive), &arguments.believed, &wanted).await?;
    let is_broken = logs.tell();
    match arguments.json {
        true => {
            for named in &logs.objects {
                say(&line(named, &logs));
            }
        }
        false => say(table(&logs).trim_end()),
    }
    Ok(u8::from(is_broken))
}

fn line(named: &Named, logs: &Logs) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        object: String,
        session: &'a str,
        index: u64,
        #[serde(flatten)]
        obj: &'a Obj,
    }
    let line = Line {
        object: named.name(logs),
        session: &named.session,
        index: named.index,
        obj: &named.obj,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

const TITLES: [&str; 8] = [
    "TIME (admitted)",
    "RECORDS",
    "SIZE",
    "SEV>=ERROR",
    "LOCK UNTIL",
    "HOLD",
    "ENC",
    "OBJECT",
];

fn table(logs: &Logs) -> String {
    let mut rows = vec![TITLES.map(str::to_owned)];
    rows.extend(logs.objects.iter().map(|named| row(named, logs)));
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(&text::printable(line.trim_end()));
        out.push('\n');
    }
    out
}

fn row(named: &Named, logs: &Logs) -> [String; 8] {
    let obj = &named.obj;
    let none = || "-".to_owned();
    let time = obj.ad[0].to_string();
    let day = |until: evidence::time::Second| until.to_string()[..10].to_owned();
    [
        time.trim_end_matches('Z').to_owned(),
        text::grouped(obj.n),
        text::bytes(obj.size),
        obj.sev.map_or_else(none, |sev| text::grouped(sev[5] + sev[6])),
        obj.lock.as_ref().map_or_else(none, |lock| day(lock.until)),
        match obj.lock.as_ref().is_some_and(|lock| lock.hold) {
            true => "on".to_owned(),
            false => none(),
        },
        obj.enc.as_ref().map_or_else(none, |enc| enc.kid.join(",")),
        named.name(logs),
    ]
}

#[cfg(test)]
mod tests {
    use evidence::entry::{Enc, Lock};

    use super::*;
    use crate::cli::archive::test_kit;

    fn logs() -> Logs {
        let (plain, _) = test_kit::named();
        let mut locked = plain.clone();
        locked.obj.seq = 12;
        locked.obj.n = 1_200;
        locked.obj.size = 4_790;
        locked.obj.sev = Some([0, 0, 0, 1_000, 100, 99, 1]);
        locked.obj.lock = Some(Lock {
            mode: "COMPLIANCE".to_owned(),
            until: "2025-11-21T00:00:00Z".parse().expect("a second"),
            hold: true,
        });
        locked.obj.enc = Some(Enc {
            alg: "age-v1".to_owned(),
            kid: vec!["acme/2025-11".to_owned()],
        });
        Logs {
            objects: vec![plain, locked],
            sessions: [("gw-0".to_owned(), 1)].into(),
            ..Logs::default()
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_object() {
        let size = test_kit::named().1.len();
        assert_eq!(
            table(&logs()),
            format!(
                "TIME (admitted)          RECORDS  SIZE     SEV>=ERROR  LOCK UNTIL  HOLD  ENC           OBJECT\n\
                 2025-11-20T14:05:00.000  3        {size:<3} B    0           -           -     -             gw-0#3\n\
                 2025-11-20T14:05:00.000  1,200    4.7 KiB  100         2025-11-21  on    acme/2025-11  gw-0#12\n"
            )
        );
    }

    #[test]
    fn a_line_of_json_has_all_that_the_entry_says() {
        let logs = logs();
        let told: serde_json::Value = serde_json::from_str(&line(&logs.objects[1], &logs)).expect("JSON");
        assert_eq!(told["object"], "gw-0#12");
        assert_eq!(told["session"], "019aa1c2-5be0-7abc-8def-0123456789ab");
        assert_eq!(told["index"], 5);
        assert_eq!(told["tenant"], "acme");
        assert_eq!(told["lock"]["until"], "2025-11-21T00:00:00Z");
        assert_eq!(told["sha256"], logs.objects[1].obj.sha256.to_string());
    }
}
