//! The table of destinations: a name a line, in order of their numbers, each with its sum.

use std::io::{ErrorKind, IoSlice};

use super::disk::{Disk, read_all, replace};
use super::recover::Found;
use super::{Error, format};

pub(super) const TABLE: &str = "destinations";
const TABLE_HEADER: &str = "weir journal destinations 1";

/// Writes all names, in order of their numbers: a new file in place of the old one.
pub(super) fn write(disk: &dyn Disk, names: &[String]) -> Result<(), Error> {
    let mut text = format!("{TABLE_HEADER}\n");
    for name in names {
        // One name a line, whatever is in it.
        let name = name.escape_default().to_string();
        text.push_str(&format!("{name}\t{:08x}\n", format::crc(&[name.as_bytes()])));
    }
    let points = ["journal.table.before_rename", "journal.table.after_rename"];
    replace(disk, TABLE, &[IoSlice::new(text.as_bytes())], points)
        .map_err(|e| Error::io("write the journal's table of destinations", e))
}

/// All names, in order of their numbers. One that cannot be read is called by its number.
pub(super) fn read(disk: &dyn Disk, found: &mut Found) -> Result<Vec<String>, Error> {
    let bytes = match disk.open(TABLE) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.and_then(|f| read_all(&*f)),
    }
    .map_err(|e| Error::io("read the journal's table of destinations", e))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    if lines.next() != Some(TABLE_HEADER) {
        found.damage.push(format!("{TABLE}: not a table of destinations"));
    }
    let names = lines.enumerate().map(|(i, line)| {
        parse(line).unwrap_or_else(|| {
            found.damage.push(missing(i));
            unnamed(i)
        })
    });
    Ok(names.collect())
}

fn parse(line: &str) -> Option<String> {
    let (name, sum) = line.split_once('\t')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (sum == format::crc(&[name.as_bytes()])).then(|| unescape(name))?
}

/// Of a destination whose name cannot be read, or that only records know.
pub(super) fn missing(id: usize) -> String {
    format!("{TABLE}: destination {id} has no name")
}

/// What a destination is called whose name is lost.
pub(super) fn unnamed(id: usize) -> String {
    format!("?{id}")
}

fn unescape(line: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            'u' => {
                let hex: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?
            }
            other => other,
        });
    }
    Some(out)
}
