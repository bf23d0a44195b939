//! Rows by name: what a scrape is gathered into.

use std::collections::HashMap;

/// Rows by name, in the order in which they came.
pub(super) struct Table<T> {
    rows: Vec<(String, T)>,
    at: HashMap<String, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table {
            rows: Vec::new(),
            at: HashMap::new(),
        }
    }
}

impl<T> Table<T> {
    pub(super) fn row(&mut self, key: &str, make: impl FnOnce() -> T) -> &mut T {
        let at = match self.at.get(key) {
            Some(at) => *at,
            None => {
                self.rows.push((key.to_owned(), make()));
                self.at.insert(key.to_owned(), self.rows.len() - 1);
                self.rows.len() - 1
            }
        };
        &mut self.rows[at].1
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().map(|(_, row)| row)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.iter_mut().map(|(_, row)| row)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let before = self.rows.len();
        self.rows.retain(|(_, row)| keep(row));
        if self.rows.len() < before {
            self.at = self
                .rows
                .iter()
                .enumerate()
                .map(|(at, (key, _))| (key.clone(), at))
                .collect();
        }
    }
}
