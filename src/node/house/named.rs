//! Arguments of procedures that rooms above answer, by name.

use super::answer::Failure;
use super::guests::GuestCall;
use crate::types::value::Value;

/// What a call brings along, each to be taken once. What is null is not there.
pub struct NamedArguments(Vec<(String, Value)>);

impl GuestCall {
    /// The arguments by name: the first may be told by its place, as this one; the last may be a dict of the others.
    ///
    /// # Errors
    /// They cannot be read, or there are more.
    pub fn named(&self, first: &str) -> Result<NamedArguments, Failure> {
        let (args, mut named) = self.arguments()?;
        for (at, value) in args.into_iter().enumerate() {
            match value {
                Value::Map(entries) => named.extend(entries),
                value if at == 0 => named.push((first.to_owned(), value)),
                _ => return Err(Failure::invalid("there are too many arguments")),
            }
        }
        Ok(NamedArguments(named))
    }
}

impl NamedArguments {
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().rposition(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.is_null())
    }

    /// # Errors
    /// It is something else.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let wrong = || Failure::invalid(format!("{name} must be a string"));
        self.take(name).map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).transpose()
    }

    /// # Errors
    /// It is something else, or not there.
    pub fn required(&mut self, name: &str) -> Result<String, Failure> {
        self.text(name)?.ok_or_else(|| Failure::invalid(format!("the argument {name} is missing")))
    }

    /// Replaces a number, if there is another.
    ///
    /// # Errors
    /// It is something else, or too large.
    pub fn uint(&mut self, name: &str, into: &mut u32) -> Result<(), Failure> {
        if let Some(value) = self.take(name) {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            *into = number.ok_or_else(|| Failure::invalid(format!("{name} must be a number")))?;
        }
        Ok(())
    }

    /// One or several.
    ///
    /// # Errors
    /// They are something else.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let wrong = || Failure::invalid(format!("{name} must be a string or a list of strings"));
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Text(one)) => Ok(vec![one]),
            Some(value) => {
                let list = value.as_list().ok_or_else(wrong)?;
                list.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
        }
    }

    /// All were taken.
    ///
    /// # Errors
    /// There is one that nobody knows.
    pub fn end(self) -> Result<(), Failure> {
        match self.0.first() {
            Some((name, _)) => Err(Failure::invalid(format!("there is no argument {name:?}"))),
            None => Ok(()),
        }
    }
}
