//! `weir archive cat`: prints records, or objects as they are. Each object is compared with its digest before its first
//! record is printed.

mod rows;

use std::io::Write;

use clap::{Args, ValueEnum};
use wire::{Chunk, Signal};

use super::later::Identity;
use super::logs::{Believed, Logs, Named, Wanted};
use super::object::{self, Stored};
use super::own_log::{OwnLog, Who, restored};
use super::reading::Reading;
use super::restore::{Conditions, filter};
use super::which::{Part, Which};
use super::{Failure, UNKNOWN, interrupted, select, text};
use crate::cli::{Sources, say_error};

/// Options of `weir archive cat`.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Objects as ls names them, such as gw-0#1, or by key; without any, all that --from, --to, --tenant, --signal and --class leave
    #[arg(value_name = "OBJECT")]
    objects: Vec<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    believed: Believed,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    identity: Identity,
    /// Only records for which this holds, as processor filter has conditions: severity_number >= 17
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// How to print
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Form::Json)]
    form: Form,
    /// Prints objects even if they are not what their entries say
    #[arg(long)]
    unchecked: bool,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A line for each record, short
    Json,
    /// Lines of OTLP/JSON requests
    OtlpJson,
    /// One OTLP request
    OtlpProto,
    /// A line for each record
    Csv,
    /// The objects' bytes as they are stored
    Raw,
}

/// Why printing ends.
enum Ended {
    /// The reader went away.
    Gone,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended::Failed(failure)
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Ended::Gone,
            _ => Ended::Failed(Failure::unknown(format!("standard output: {error}"))),
        }
    }
}

/// Runs it; the exit code.
pub(super) async fn run(sources: &Sources, arguments: &Arguments) -> Result<u8, Failure> {
    arguments.identity.refused()?;
    if arguments.form == Form::Raw && arguments.condition.is_some() {
        return Err(Failure::usage(
            "-o raw prints objects, of which --where cannot choose records",
        ));
    }
    let archive = arguments.which.open(sources).await?;
    let reading = Reading::of(&archive);
    let wanted = Wanted {
        part: arguments.part.clone(),
        ..Wanted::default()
    };
    let mut logs = Logs::read(&reading, &arguments.believed, &wanted).await?;
    let is_broken = logs.tell();
    let meant = meant(std::mem::take(&mut logs.objects), &arguments.objects)?;
    if arguments.form == Form::OtlpProto && meant.windows(2).any(|two| two[0].obj.signal != two[1].obj.signal)
    {
        return Err(Failure::usage(
            "-o otlp-proto is one request, so of one signal: say --signal",
        ));
    }
    let mut conditions = Conditions::new(arguments.condition.as_deref(), &meant)?;
    let mut said = filter(&arguments.part, arguments.condition.as_deref());
    if !arguments.objects.is_empty() {
        said = format!("{} of {said}", arguments.objects.join(" "));
    }
    let log = match archive.is_copy {
        true => None,
        false => Some(OwnLog::open(&archive, &logs, &arguments.who, &format!("cat of {said}")).await?),
    };
    let mut printing = Printing {
        out: std::io::BufWriter::new(std::io::stdout()),
        form: arguments.form,
        has_title: false,
        records: 0,
        bytes: 0,
    };
    let all = async {
        for named in &meant {
            if !conditions.may_be_in(named) {
                continue;
            }
            printing
                .object(&reading, named, &mut conditions, arguments.unchecked)
                .await?;
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = all => ended,
        failure = interrupted() => Err(Ended::Failed(failure)),
    };
    let flushed = printing.out.flush().map_err(Ended::from);
    if let Some(log) = log {
        let done = restored(&said, "cat", printing.records, printing.bytes, &arguments.who);
        let closed = log.close(done).await;
        // Why it ended comes first.
        match (&ended, closed) {
            (Err(Ended::Failed(_)), Err(failure)) => say_error(&failure.told),
            (_, closed) => drop(closed?),
        }
    }
    match ended.and(flushed) {
        Ok(()) | Err(Ended::Gone) => {}
        Err(Ended::Failed(failure)) => return Err(failure),
    }
    if conditions.failed() > 0 {
        let n = text::grouped(conditions.failed());
        say_error(&format!(
            "on {n} records the condition failed; they were left out"
        ));
        return Ok(if is_broken { 1 } else { UNKNOWN });
    }
    Ok(u8::from(is_broken))
}

/// The objects that are named, in order of admission; all if none is.
fn meant(objects: Vec<Named>, names: &[String]) -> Result<Vec<Named>, Failure> {
    for name in names {
        match objects.iter().filter(|named| named.is(name)).count() {
            0 => {
                return Err(Failure::usage(format!(
                    "{name}: no signed log names such an object"
                )));
            }
            1 => {}
            n => {
                let told = format!("{name}: {n} sessions have one; say which, as ls does");
                return Err(Failure::usage(told));
            }
        }
    }
    let is_meant = |named: &Named| names.is_empty() || names.iter().any(|name| named.is(name));
    Ok(objects.into_iter().filter(is_meant).collect())
}

struct Printing<W> {
    out: W,
    form: Form,
    has_title: bool,
    records: u64,
    bytes: u64,
}

impl<W: Write> Printing<W> {
    async fn object(
        &mut self,
        reading: &Reading,
        named: &Named,
        conditions: &mut Conditions,
        unchecked: bool,
    ) -> Result<(), Ended> {
        let stored = object::fetch(reading, &named.obj, unchecked).await?;
        self.bytes += named.obj.size;
        self.stored(stored, named, conditions).await
    }

    async fn stored(
        &mut self,
        stored: Stored,
        named: &Named,
        conditions: &mut Conditions,
    ) -> Result<(), Ended> {
        let key = &named.obj.key;
        if self.form == Form::Raw {
            std::io::copy(&mut stored.reader()?, &mut self.out)?;
            self.records += named.obj.n;
            return Ok(());
        }
        let damaged = |why: String| Failure::unknown(format!("{key}: {why}"));
        let Some(signal) = Signal::parse(&named.obj.signal) else {
            return Err(damaged(format!("no such signal: {:?}", named.obj.signal)).into());
        };
        let mut requests = object::requests(stored, &named.obj);
        while let Some(bytes) = requests.recv().await {
            let mut chunk = select::chunk(signal, bytes.map_err(damaged)?).map_err(damaged)?;
            conditions.keep(signal, &mut chunk).map_err(damaged)?;
            if chunk.shape.items > 0 {
                self.chunk(signal, &chunk, &named.obj.tenant)
                    .map_err(|ended| match ended {
                        Ended::Failed(failure) => damaged(failure.told).into(),
                        gone => gone,
                    })?;
            }
        }
        Ok(())
    }

    fn chunk(&mut self, signal: Signal, chunk: &Chunk, tenant: &str) -> Result<(), Ended> {
        self.records += u64::from(chunk.shape.items);
        let bytes = chunk.bytes();
        if self.form == Form::OtlpProto {
            return Ok(self.out.write_all(&bytes)?);
        }
        let mut json = Vec::new();
        codec::otlp_json::write(signal, &bytes, &mut json).map_err(|e| Failure::unknown(e.to_string()))?;
        match self.form {
            Form::OtlpJson => {
                self.out.write_all(&json)?;
                self.out.write_all(b"\n")?;
            }
            Form::Csv => {
                if !std::mem::replace(&mut self.has_title, true) {
                    writeln!(self.out, "{}", rows::COLUMNS)?;
                }
                for row in rows::of(signal, &json).map_err(Failure::unknown)? {
                    writeln!(self.out, "{}", row.csv(signal, tenant))?;
                }
            }
            Form::Json | Form::OtlpProto | Form::Raw => {
                for row in rows::of(signal, &json).map_err(Failure::unknown)? {
                    writeln!(self.out, "{}", row.json())?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cli::archive::test_kit;

    async fn print(form: Form, condition: Option<&str>) -> (Vec<u8>, u64) {
        let (named, stored) = test_kit::named();
        let mut conditions = Conditions::new(condition, std::slice::from_ref(&named)).expect("a condition");
        let mut printing = Printing {
            out: Vec::new(),
            form,
            has_title: false,
            records: 0,
            bytes: 0,
        };
        let stored = Stored::Memory(Bytes::from(stored));
        let done = printing.stored(stored, &named, &mut conditions).await;
        assert!(done.is_ok(), "{form:?}");
        (printing.out, printing.records)
    }

    #[tokio::test]
    async fn records_are_printed_in_every_form() {
        let (_, stored) = test_kit::named();
        assert_eq!(print(Form::Raw, None).await, (stored, 3));
        assert_eq!(print(Form::OtlpProto, None).await, (test_kit::logs(0..3), 3));
        let text = |out: (Vec<u8>, u64)| (String::from_utf8(out.0).expect("text"), out.1);
        let (lines, n) = text(print(Form::OtlpJson, Some("severity_number == 2")).await);
        assert_eq!((lines.lines().count(), n), (1, 1));
        let mut back = Vec::new();
        codec::otlp_json::read(Signal::Logs, lines.trim_end().as_bytes(), &mut back).expect("OTLP/JSON");
        assert_eq!(back, test_kit::logs(2..3));
        assert_eq!(
            text(print(Form::Json, Some("severity_number == 2")).await),
            (
                "{\"time\":\"2025-11-20T14:05:02.000Z\",\"service\":\"shop\",\"severity\":\"TRACE2\",\"body\":\"record 2\"}\n"
                    .to_owned(),
                1
            )
        );
        assert_eq!(
            text(print(Form::Csv, Some("severity_number == 2")).await),
            (
                format!(
                    "{}\n2025-11-20T14:05:02.000Z,logs,acme,shop,TRACE2,,record 2,,,\n",
                    rows::COLUMNS
                ),
                1
            )
        );
        assert_eq!(
            print(Form::Json, Some("severity_number == 20")).await,
            (Vec::new(), 0)
        );
    }

    #[test]
    fn what_is_named_must_be_there_once() {
        let one = test_kit::named().0;
        let mut other = one.clone();
        other.session = "019aa1c2-5be0-7abc-8def-999999999999".into();
        let objects = vec![one, other];
        let check = |names: &[&str], expected: Result<usize, &str>| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            match (meant(objects.clone(), &names), expected) {
                (Ok(found), Ok(n)) => assert_eq!(found.len(), n, "{names:?}"),
                (Err(failure), Err(why)) => {
                    assert_eq!(failure.exit, 64);
                    assert!(failure.told.contains(why), "{}", failure.told);
                }
                (found, expected) => panic!("{names:?}: {found:?}, not {expected:?}"),
            }
        };
        check(&[], Ok(2));
        check(&["gw-0/0123456789ab#3"], Ok(1));
        check(&["gw-0/0123456789ab#3", "gw-0/999999999999#3"], Ok(2));
        check(&["gw-0#3"], Err("2 sessions"));
        check(&["gw-9#3"], Err("no signed log"));
    }
}
