//! Payload passthru mode: what messages say of it, and who may say it (WAMP, Payload Passthru Mode).

use super::hello::feature;
use super::open::Leave;
use super::options::{Entry, WrongOption};
use crate::types::passthru::{Attribute, Passthru};
use crate::types::value::Raw;
use crate::wamp::message::{Dict, Kind};

/// In which of its roles a client has announced payload passthru mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PassthruFeatures {
    pub publisher: bool,
    pub caller: bool,
    pub callee: bool,
}

impl PassthruFeatures {
    pub fn read(roles: Raw<'_>) -> Self {
        let has = |role| feature(roles, role, "payload_passthru_mode");
        Self { publisher: has("publisher"), caller: has("caller"), callee: has("callee") }
    }

    /// A message with such a payload, of a client that has not announced it, breaks the protocol.
    pub fn check(self, kind: Kind, passthru: Option<&Passthru>) -> Result<(), Leave> {
        let may = match kind {
            Kind::Publish => self.publisher,
            Kind::Call => self.caller,
            _ => self.callee,
        };
        if may || !passthru.is_some_and(Passthru::is_announced) {
            return Ok(());
        }
        Err(Leave::Violation(format!("{} with ppt_scheme: HELLO has not announced payload_passthru_mode", kind.name())))
    }
}

/// The attributes that options or details have; `None`: the payload is not passed through.
///
/// # Errors
/// One of them is no string.
pub(super) fn read(options: &Dict<'_>) -> Result<Option<Passthru>, WrongOption> {
    let mut all = Attributes::default();
    for (name, value) in options.entries() {
        if let Some(attribute) = Attribute::from_name(&name) {
            all.add(attribute, value)?;
        }
    }
    Ok(all.finish())
}

/// The attributes so far.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<(Attribute, String)>);

impl Attributes {
    /// # Errors
    /// It is no string.
    pub fn add(&mut self, attribute: Attribute, value: Raw<'_>) -> Result<(), WrongOption> {
        let value = Entry { name: attribute.name(), value }.text()?;
        self.0.push((attribute, value));
        Ok(())
    }

    /// `None`: the payload is not passed through.
    pub fn finish(self) -> Option<Passthru> {
        if self.0.is_empty() { None } else { Passthru::new(self.0) }
    }
}
