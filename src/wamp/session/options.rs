//! Reading options: their types, and what is said when one is wrong.

use crate::types::ids::{ID_MAX, SessionId};
use crate::types::value::Raw;

/// An option that is not what it must be: `wamp.error.invalid_argument`. Options that nobody knows are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option {name} must be {expected}")]
pub struct WrongOption {
    pub name: &'static str,
    pub expected: &'static str,
}

/// An option under its name, known to be there and not null.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub name: &'static str,
    pub value: Raw<'a>,
}

impl<'a> Entry<'a> {
    pub fn wrong<T>(self, expected: &'static str) -> Result<T, WrongOption> {
        Err(WrongOption { name: self.name, expected })
    }

    pub fn or_wrong<T>(self, value: Option<T>, expected: &'static str) -> Result<T, WrongOption> {
        value.ok_or(WrongOption { name: self.name, expected })
    }

    pub fn bool(self) -> Result<bool, WrongOption> {
        self.or_wrong(self.value.as_bool(), "a boolean")
    }

    pub fn uint(self, expected: &'static str) -> Result<u64, WrongOption> {
        self.or_wrong(self.value.as_u64(), expected)
    }

    pub fn text(self) -> Result<String, WrongOption> {
        self.or_wrong(self.value.as_text(), "a string").map(|text| text.into_owned())
    }

    pub fn texts<C: FromIterator<String>>(self) -> Result<C, WrongOption> {
        self.list("a list of strings", |item| item.as_text().map(|text| text.into_owned()))
    }

    pub fn sessions<C: FromIterator<SessionId>>(self) -> Result<C, WrongOption> {
        let id = |item: Raw<'_>| item.as_u64().filter(|id| (1..=ID_MAX).contains(id)).map(SessionId);
        self.list("a list of session ids", id)
    }

    fn list<T, C: FromIterator<T>>(
        self,
        expected: &'static str,
        read: impl Fn(Raw<'a>) -> Option<T>,
    ) -> Result<C, WrongOption> {
        if !self.value.is_list() {
            return self.wrong(expected);
        }
        self.or_wrong(self.value.items().map(read).collect(), expected)
    }
}
