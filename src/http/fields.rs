//! Reading what a request says: the fields of a JSON object, the parameters of a query.

use std::borrow::Cow;

use bytes::Bytes;

use super::answer::Failure;
use crate::queue::condition::When;
use crate::types::ids::SessionId;
use crate::types::payload::Format;
use crate::types::value::Raw;

/// One field of a JSON object.
pub struct Field<'a> {
    pub name: Cow<'a, str>,
    pub value: Raw<'a>,
}

/// The fields of a body. Those that are null are absent, as everywhere, but for those in which null is a value.
///
/// # Errors
/// It is not one JSON object.
pub fn fields<'a>(body: &'a [u8], nullable: &'static [&str]) -> Result<impl Iterator<Item = Field<'a>>, Failure> {
    let object = Raw::parse(Format::Json, body).map_err(|error| Failure::Invalid(format!("not JSON: {error}")))?;
    if !object.is_map() {
        return Err(Failure::Invalid("the body must be a JSON object".to_owned()));
    }
    let fields = object.entries().map(|(name, value)| Field { name, value });
    Ok(fields.filter(|field| !field.value.is_null() || nullable.contains(&&*field.name)))
}

impl<'a> Field<'a> {
    fn wrong<T>(&self, must_be: &str) -> Result<T, Failure> {
        Err(Failure::Invalid(format!("{} must be {must_be}", self.name)))
    }

    fn or_wrong<T>(&self, value: Option<T>, must_be: &str) -> Result<T, Failure> {
        value.map_or_else(|| self.wrong(must_be), Ok)
    }

    /// The failure of a field that nobody knows.
    pub fn unknown<T>(&self, known: &str) -> Result<T, Failure> {
        Err(Failure::Invalid(format!("there is no field {:?}; there are {known}", self.name)))
    }

    pub fn text(&self) -> Result<String, Failure> {
        self.or_wrong(self.value.as_text(), "a string").map(Cow::into_owned)
    }

    pub fn bool(&self) -> Result<bool, Failure> {
        self.or_wrong(self.value.as_bool(), "true or false")
    }

    pub fn uint(&self) -> Result<u64, Failure> {
        self.or_wrong(self.value.as_u64(), "a whole number, not negative")
    }

    /// A boolean as MQTT spells it.
    pub fn one_or_zero(&self) -> Result<bool, Failure> {
        let value = self.value.as_u64().filter(|value| *value <= 1);
        self.or_wrong(value, "0 or 1").map(|value| value == 1)
    }

    /// A condition on the retained value.
    pub fn when(&self) -> Result<When, Failure> {
        self.or_wrong(When::read(self.value), "null, an object of fields or the number of an event")
    }

    /// An encoded list.
    pub fn list(&self) -> Result<&'a [u8], Failure> {
        self.or_wrong(self.value.is_list().then_some(self.value.bytes()), "a list")
    }

    /// An encoded object.
    pub fn object(&self) -> Result<&'a [u8], Failure> {
        self.or_wrong(self.value.is_map().then_some(self.value.bytes()), "an object")
    }

    pub fn texts<C: FromIterator<String>>(&self) -> Result<C, Failure> {
        let item = |item: Raw<'_>| item.as_text().map(Cow::into_owned);
        self.items(item, "a list of strings")
    }

    pub fn sessions<C: FromIterator<SessionId>>(&self) -> Result<C, Failure> {
        self.items(|item| item.as_u64().map(SessionId), "a list of session ids")
    }

    fn items<T, C: FromIterator<T>>(&self, read: impl Fn(Raw<'_>) -> Option<T>, must_be: &str) -> Result<C, Failure> {
        if !self.value.is_list() {
            return self.wrong(must_be);
        }
        self.value.items().map(|item| self.or_wrong(read(item), must_be)).collect()
    }

    /// A string, or binary as WAMP writes it in JSON.
    pub fn text_or_binary(&self) -> Result<Bytes, Failure> {
        let text = self.value.as_text().map(|text| Bytes::from(text.into_owned()));
        let bytes = text.or_else(|| self.value.as_binary().map(|bytes| Bytes::from(bytes.into_owned())));
        self.or_wrong(bytes, "a string")
    }

    /// An object of strings, or of lists of strings where a name is there several times.
    pub fn pairs(&self) -> Result<Vec<(String, String)>, Failure> {
        const MUST_BE: &str = "an object of strings or lists of strings";
        self.object().or_else(|_| self.wrong(MUST_BE))?;
        let mut pairs = Vec::new();
        for (name, value) in self.value.entries() {
            let (one, several) = (Some(value).filter(|value| !value.is_list()), value.items());
            for text in one.into_iter().chain(several) {
                pairs.push((name.to_string(), self.or_wrong(text.as_text(), MUST_BE)?.into_owned()));
            }
        }
        Ok(pairs)
    }
}

/// The parameters of a query (`a=b&c=d`), decoded as forms encode them: `+` is a space, `%` begins two hexadecimal digits.
///
/// # Errors
/// One is not UTF-8.
pub fn parameters(query: &str) -> Result<Vec<(String, String)>, Failure> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name)?, decode(value)?))
    });
    let decoded: Option<Vec<_>> = decoded.collect();
    decoded.ok_or_else(|| Failure::Invalid("the query is not UTF-8".to_owned()))
}

/// A segment of a path, decoded; `None`: it is empty, or not UTF-8.
pub fn decoded(segment: &str) -> Option<String> {
    decode(&segment.replace('+', "%2B")).filter(|text| !text.is_empty())
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
                out.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            (other, _) => out.push(*other),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Option<&[(&str, &str)]>) {
        let pairs = parameters(query).ok();
        let pairs = pairs.as_ref().map(|pairs| pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>());
        assert_eq!(pairs.as_deref(), expected, "{query:?}");
    }

    #[test]
    fn a_query_is_decoded_as_forms_encode_it() {
        check("", Some(&[]));
        check("a=b&c=d", Some(&[("a", "b"), ("c", "d")]));
        check("a=b=c&&d", Some(&[("a", "b=c"), ("d", "")]));
        check("a%20b=c+d%2Be", Some(&[("a b", "c d+e")]));
        check("t=%C3%A9&u=é", Some(&[("t", "é"), ("u", "é")]));
        check("a=%&b=%4&c=%zz&d=%+1", Some(&[("a", "%"), ("b", "%4"), ("c", "%zz"), ("d", "% 1")]));
        check("a=%ff", None);
    }

    #[test]
    fn a_field_that_is_null_is_absent_and_one_of_another_type_is_named() {
        let body = br#"{"a": null, "b": "text", "c": {"x": ["1", "2"], "y": "3"}}"#;
        let fields: Vec<_> = fields(body, &[]).expect("an object").collect();
        assert_eq!(fields.iter().map(|field| &*field.name).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(fields[0].bool(), Err(Failure::Invalid("b must be true or false".to_owned())));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields[1].pairs(), Ok(vec![pair("x", "1"), pair("x", "2"), pair("y", "3")]));
    }

    #[test]
    fn a_body_is_one_json_object() {
        for wrong in ["", "[]", "1", "{", "{}{}", "nul", "{\"a\":1,}"] {
            assert!(fields(wrong.as_bytes(), &[]).is_err(), "{wrong:?}");
        }
    }
}
