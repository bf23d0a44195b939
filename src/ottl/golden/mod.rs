//! Whole statements on whole requests.

mod editors;
mod functions;
mod kit;
mod metrics;
mod oracle;
mod paths;
mod programs;
mod recorded;

/// Every function has two rows at least, one of them with what it refuses: a line of a test with its call, and with the
/// message.
#[test]
fn every_function_has_its_rows() {
    use crate::Functions;
    let files = [
        include_str!("editors.rs"),
        include_str!("functions.rs"),
        include_str!("metrics.rs"),
        include_str!("programs.rs"),
    ];
    let rows: Vec<&str> = files.iter().flat_map(|text| text.split(";\n")).collect();
    let calls = |row: &str, name: &str| {
        let call = format!("{name}(");
        let mut before = row.match_indices(&call).map(|(at, _)| row[..at].chars().last());
        before.any(|c| !c.is_some_and(|c| c.is_alphanumeric() || c == '_'))
    };
    let sets = [Functions::Transform, Functions::Filter, Functions::Routing];
    let mut lacking: Vec<&str> = Vec::new();
    for def in sets
        .into_iter()
        .flat_map(Functions::all)
        .filter(|def| def.name != "route")
    {
        let refused = |row: &&&str| ["fault: ", "error: ", "refuses("].iter().any(|w| row.contains(w));
        let named = || rows.iter().filter(|row| calls(row, def.name));
        if named().count() < 2 || named().filter(refused).count() == 0 {
            lacking.push(def.name);
        }
    }
    assert_eq!(
        lacking, [""; 0],
        "functions without a row, or without one that they refuse"
    );
}
