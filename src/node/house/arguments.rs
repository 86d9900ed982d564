//! Arguments of the broker's procedures: by place or by name, options in a dict behind them or by name too.

use std::collections::VecDeque;

use super::answer::Failure;
use super::callee::Call;
use crate::queue::condition::{KeyWill, When};
use crate::types::payload::Format;
use crate::types::topic::{MatchPolicy, Topic, TopicPattern};
use crate::types::value::{Raw, Value};

/// What a call brings along.
pub(super) struct Arguments {
    positional: VecDeque<Value>,
    named: Vec<(String, Value)>,
}

/// The options of a call.
pub(super) struct Options(Vec<(String, Value)>);

impl Arguments {
    /// # Errors
    /// They cannot be read: the bytes are not what the configuration says of the procedure.
    pub fn read(call: &Call) -> Result<Self, Failure> {
        let payload = call.payload.as_ref();
        let args = payload.as_args(call.codec, Format::MsgPack).map_err(|error| Failure::invalid(error.to_string()))?;
        let value = |part: Option<&[u8]>| part.map(|bytes| Raw::checked(Format::MsgPack, bytes).to_value());
        let positional = match value(args.args.as_deref()) {
            Some(Value::List(items)) => items.into(),
            Some(_) => return Err(Failure::invalid("arguments that are hidden cannot be read")),
            None => VecDeque::new(),
        };
        let named = match value(args.kwargs.as_deref()) {
            Some(Value::Map(entries)) => entries,
            _ => Vec::new(),
        };
        Ok(Self { positional, named })
    }

    /// All of them: by place, by name.
    pub fn into_parts(self) -> (Vec<Value>, Vec<(String, Value)>) {
        (self.positional.into(), self.named)
    }

    /// The next argument, which has this name if it is not told by its place.
    pub fn next(&mut self, name: &str) -> Option<Value> {
        if !self.positional.is_empty() {
            return self.positional.pop_front();
        }
        let at = self.named.iter().rposition(|(key, _)| key == name)?;
        Some(self.named.swap_remove(at).1)
    }

    /// The next argument if it is a text, told by its place.
    pub fn next_text(&mut self, name: &'static str) -> Result<Option<String>, Failure> {
        match self.positional.front() {
            None | Some(Value::Map(_)) => Ok(None),
            Some(Value::Null) => {
                self.positional.pop_front();
                Ok(None)
            }
            Some(_) => self.text(name).map(Some),
        }
    }

    fn required(&mut self, name: &'static str) -> Result<Value, Failure> {
        self.next(name).ok_or_else(|| Failure::invalid(format!("the argument {name} is missing")))
    }

    /// The next argument as a topic, written as WAMP writes it.
    pub fn topic(&mut self, name: &'static str) -> Result<Topic, Failure> {
        let value = self.required(name)?;
        let uri = value.as_str().ok_or_else(|| wrong(name, "a URI"))?;
        Topic::from_uri(uri).map_err(|error| Failure::new("wamp.error.invalid_uri", format!("{name} {error}")))
    }

    /// The next argument as it is.
    pub fn value(&mut self, name: &'static str) -> Result<Value, Failure> {
        self.required(name)
    }

    pub fn text(&mut self, name: &'static str) -> Result<String, Failure> {
        match self.required(name)? {
            Value::Text(text) => Ok(text),
            _ => Err(wrong(name, "a string")),
        }
    }

    pub fn id(&mut self, name: &'static str) -> Result<u64, Failure> {
        self.required(name)?.as_u64().ok_or_else(|| wrong(name, "an id"))
    }

    /// What is left: the options, of which these are known.
    ///
    /// # Errors
    /// There is something else, or an option that nobody knows.
    pub fn options(self, known: &[&str]) -> Result<Options, Failure> {
        let options = self.any_options()?;
        if let Some((name, _)) = options.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            return Err(Failure::invalid(format!("there is no option {name:?}; there are: {known}")));
        }
        Ok(options)
    }

    /// What is left: options, whatever they are.
    ///
    /// # Errors
    /// There is something else.
    pub fn any_options(mut self) -> Result<Options, Failure> {
        let mut options = self.named;
        match self.positional.pop_front() {
            None | Some(Value::Null) => {}
            Some(Value::Map(entries)) => options.extend(entries),
            Some(_) => return Err(Failure::invalid("the last argument must be a dict of options")),
        }
        if !self.positional.is_empty() {
            return Err(Failure::invalid("there are too many arguments"));
        }
        Ok(Options(options))
    }
}

fn wrong(name: &str, expected: &str) -> Failure {
    Failure::invalid(format!("{name} must be {expected}"))
}

impl Options {
    /// The value of an option, even if it is null.
    pub fn any(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().rposition(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The value of an option that is there and not null.
    fn some(&mut self, name: &str) -> Option<Value> {
        self.any(name).filter(|value| !value.is_null())
    }

    pub fn bool(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        let value = self.some(name);
        value.map(|value| value.as_bool().ok_or_else(|| wrong(name, "a boolean"))).transpose()
    }

    pub fn uint(&mut self, name: &str, expected: &str) -> Result<Option<u64>, Failure> {
        let value = self.some(name);
        value.map(|value| value.as_u64().ok_or_else(|| wrong(name, expected))).transpose()
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.some(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    pub fn topic(&mut self, name: &str) -> Result<Option<Topic>, Failure> {
        let Some(uri) = self.text(name)? else { return Ok(None) };
        let topic = Topic::from_uri(&uri);
        topic.map(Some).map_err(|error| Failure::new("wamp.error.invalid_uri", format!("{name} {error}")))
    }

    /// The option `when`, in which null is a value.
    pub fn when(&mut self) -> Result<Option<When>, Failure> {
        let Some(value) = self.any("when") else { return Ok(None) };
        let json = value.to_bytes(Format::Json);
        let when = When::read(Raw::checked(Format::Json, &json));
        when.map(Some).ok_or_else(|| wrong("when", "null, a dict of fields or the number of an event"))
    }

    /// The option `will`, in which null is a value.
    pub fn will(&mut self) -> Option<KeyWill> {
        let packed = self.any("will")?.to_bytes(Format::MsgPack);
        Some(KeyWill::read(Raw::checked(Format::MsgPack, &packed)))
    }
}

/// A pattern of keys as WAMP writes it; `*` and a last `#` are wildcards unless `match` says otherwise.
pub(super) fn pattern(uri: Option<Value>, options: &mut Options) -> Result<TopicPattern, Failure> {
    let policy = match options.text("match")? {
        Some(name) => name.parse().map_err(|_| wrong("match", "one of exact, prefix, wildcard, fox"))?,
        None => MatchPolicy::Fox,
    };
    let uri = match uri {
        None | Some(Value::Null) => "#".to_owned(),
        Some(Value::Text(uri)) => uri,
        Some(_) => return Err(wrong("pattern", "a URI pattern")),
    };
    let pattern = TopicPattern::from_uri(&uri, policy);
    pattern.map_err(|error| Failure::new("wamp.error.invalid_uri", format!("the pattern {error}")))
}
