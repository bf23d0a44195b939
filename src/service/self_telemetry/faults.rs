//! What is wrong or doubtful in a section, each at its key, all at once.

use config::{Diag, Diags, Section};

/// Gathers while a section is read.
pub(super) struct Faults<'a> {
    section: &'a Section,
    faults: Vec<Diag>,
    warnings: Vec<Diag>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(section: &'a Section) -> Faults<'a> {
        Faults {
            section,
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Dotted path of the key below the section, and what is wrong there.
    pub(super) fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(self.section.diag(key, message));
    }

    /// Works, but the user should know.
    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push(self.section.diag(key, message));
    }

    /// A fault unless it holds.
    pub(super) fn rule(&mut self, holds: bool, key: &str, message: &str) {
        if !holds {
            self.fault(key, message);
        }
    }

    /// Takes over the faults of a part.
    pub(super) fn extend(&mut self, Diags(more): Diags) {
        self.faults.extend(more);
    }

    /// The warnings, if there is no fault.
    pub(super) fn finish(self) -> Result<Vec<Diag>, Diags> {
        Diags::check(self.faults)?;
        Ok(self.warnings)
    }
}
