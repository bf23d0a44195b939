//! Guards of the detectors in both directions: every row of `testdata` is found exactly, or not at all, and on numbers
//! and lines as logs are full of them the number of findings is pinned. Who moves one of them shows it here.

use std::ops::Range;

use super::detector::Detector;
use super::fold::Folded;

/// Findings of one detector, in the text as it is.
fn find(detector: Detector, text: &str, key: &str) -> Vec<Range<usize>> {
    let mut folded = Folded::default();
    let is_folded = folded.fold(text.as_bytes());
    let mut found = Vec::new();
    detector.find(
        folded.seen(text.as_bytes(), is_folded),
        key.as_bytes(),
        &mut found,
    );
    match is_folded {
        true => found.iter().map(|range| folded.origin(range)).collect(),
        false => found,
    }
}

fn rows(file: &str) -> impl Iterator<Item = &str> {
    file.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// The text without its marks, and what they mark.
fn marked(row: &str) -> (String, Vec<Range<usize>>) {
    let (mut text, mut ranges, mut start) = (String::new(), Vec::new(), 0);
    for c in row.chars() {
        match c {
            '‹' => start = text.len(),
            '›' => ranges.push(start..text.len()),
            c => text.push(c),
        }
    }
    (text, ranges)
}

fn show(text: &str, found: &[Range<usize>]) -> Vec<String> {
    found.iter().map(|range| text[range.clone()].to_owned()).collect()
}

#[test]
fn what_is_true_is_found() {
    let (mut wrong, mut count) = (Vec::new(), [0; 16]);
    for row in rows(include_str!("testdata/true.txt")) {
        let mut parts = row.splitn(3, '|');
        let (name, key, text) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let detector = Detector::ALL.into_iter().find(|d| d.as_str() == name).unwrap();
        let (text, expected) = marked(text);
        let found = find(detector, &text, key);
        count[detector as usize] += expected.len();
        if found != expected {
            wrong.push(format!("{row}\n    found {:?}", show(&text, &found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count.iter().all(|n| *n > 0), "a detector has no row: {count:?}");
}

#[test]
fn what_is_false_is_not_found() {
    let mut wrong = Vec::new();
    for row in rows(include_str!("testdata/false.txt")) {
        let (key, text) = row.split_once('|').unwrap();
        for detector in Detector::ALL {
            let found = find(detector, text, key);
            if !found.is_empty() {
                wrong.push(format!(
                    "{row}\n    {}: {:?}",
                    detector.as_str(),
                    show(text, &found)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
