//! `weir journal ls`: what the journals hold, as a table of 80 columns or as JSON.

use serde_json::Value;

use crate::cli::archive::text::bytes;
use crate::cli::say;

/// Prints what a gateway or a directory told.
pub(super) fn show(told: &Value, as_json: bool) -> Result<(), String> {
    match as_json {
        true => say(&serde_json::to_string_pretty(told).unwrap_or_default()),
        false => say(text(told).trim_end()),
    }
    Ok(())
}

fn text(told: &Value) -> String {
    let mut out = String::new();
    for journal in told["journals"].as_array().into_iter().flatten() {
        let word = |key: &str| journal[key].as_str().unwrap_or_default();
        let amount = |key: &str| bytes(journal[key].as_u64().unwrap_or_default());
        let (bytes, live) = (amount("bytes"), amount("live_bytes"));
        out.push_str(&format!("{}: {bytes}, {live} of it owed\n", word("storage")));
        if let Some(error) = journal["trouble"]["error"].as_str() {
            let since = journal["trouble"]["since"].as_str().unwrap_or_default();
            out.push_str(&format!("  trouble since {since}: {error}\n"));
        }
        for damage in journal["damage"].as_array().into_iter().flatten() {
            out.push_str(&format!("  damaged: {}\n", damage.as_str().unwrap_or_default()));
        }
        let destinations = journal["destinations"].as_array().map_or(&[][..], Vec::as_slice);
        if destinations.is_empty() {
            out.push_str("  no destinations\n");
        } else {
            out.push_str(&format!(
                "  {:<40}{:>10}{:>12}{:>14}\n",
                "destination", "records", "items", "bytes"
            ));
        }
        for destination in destinations {
            out.push_str(&row(destination));
        }
        out.push('\n');
    }
    if out.is_empty() {
        out.push_str("no journals: no file_storage is in use\n");
    }
    out
}

fn row(destination: &Value) -> String {
    let name = destination["name"].as_str().unwrap_or_default();
    let number = |key: &str| destination[key].as_u64().unwrap_or_default();
    let numbers = format!(
        "{:>10}{:>12}{:>14}",
        number("records"),
        number("items"),
        number("bytes")
    );
    let mut out = match name.chars().count() < 40 {
        true => format!("  {name:<40}{numbers}\n"),
        false => format!("  {name}\n{:42}{numbers}\n", ""),
    };
    if let Some(oldest) = destination["oldest"].as_str() {
        let orphan = match destination["orphan"] == true {
            true => ", orphaned: no exporter empties it",
            false => "",
        };
        out.push_str(&format!("      since {oldest}{orphan}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_are_80_columns_wide() {
        let told = json!({"journals": [
            {
                "storage": "file_storage/a", "bytes": 70_000_000, "live_bytes": 1000, "segments": 2,
                "trouble": {"error": "the disk is full", "since": "2026-01-02T03:04:05Z"},
                "destinations": [
                    {"name": "exporter/otlp/logs", "records": 2, "items": 1024, "bytes": 921_600,
                     "oldest": "2026-01-02T03:04:05Z", "orphan": true},
                    {"name": "exporter/otlp_grpc/a_name_that_is_very_long/logs", "records": 0, "items": 0, "bytes": 0,
                     "oldest": null, "orphan": false},
                ],
            },
            {"storage": "/var/lib/b", "bytes": 0, "live_bytes": 0, "damage": ["0001.segment: a hole"], "destinations": []},
        ]});
        let expected = "\
file_storage/a: 66.8 MiB, 1000 B of it owed
  trouble since 2026-01-02T03:04:05Z: the disk is full
  destination                                records       items         bytes
  exporter/otlp/logs                               2        1024        921600
      since 2026-01-02T03:04:05Z, orphaned: no exporter empties it
  exporter/otlp_grpc/a_name_that_is_very_long/logs
                                                   0           0             0

/var/lib/b: 0 B, 0 B of it owed
  damaged: 0001.segment: a hole
  no destinations

";
        let text = text(&told);
        assert_eq!(text, expected);
        assert_eq!(
            super::text(&json!({})),
            "no journals: no file_storage is in use\n"
        );
    }
}
