//! A component's part of the configuration, taken apart block by block.

use crate::Diags;
use serde::de::DeserializeOwned;

/// One component's map, with places.
#[derive(Clone, Debug, Default)]
pub struct Section {}

impl Section {
    /// Takes the keys of `T` out of the map and parses them; what is absent takes `T`'s default.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, Diags> {
        Err(Diags(Vec::new()))
    }

    /// Parses what is left; a key that is unknown to `T` is a fault with the nearest name.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, Diags> {
        Err(Diags(Vec::new()))
    }

    /// A fault at a key of this section (dotted path below it, or empty for the section itself). Works before and
    /// after the key was taken.
    pub fn fault(&self, _key: &str, message: impl Into<String>) -> Diags {
        Diags(vec![crate::Diag {
            place: None,
            path: String::new(),
            message: message.into(),
            help: None,
        }])
    }
}
