//! What peers say to each other of a payload that nobody in between is to read (WAMP, Payload Passthru Mode).

use serde::{Deserialize, Serialize};

/// One of the attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Attribute {
    PptScheme,
    PptSerializer,
    PptCipher,
    PptKeyid,
    /// The three of an older draft, which autobahn-python speaks.
    EncAlgo,
    EncSerializer,
    EncKey,
}

impl Attribute {
    pub const ALL: [Self; 7] = [
        Self::PptScheme,
        Self::PptSerializer,
        Self::PptCipher,
        Self::PptKeyid,
        Self::EncAlgo,
        Self::EncSerializer,
        Self::EncKey,
    ];

    /// As options and details have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PptScheme => "ppt_scheme",
            Self::PptSerializer => "ppt_serializer",
            Self::PptCipher => "ppt_cipher",
            Self::PptKeyid => "ppt_keyid",
            Self::EncAlgo => "enc_algo",
            Self::EncSerializer => "enc_serializer",
            Self::EncKey => "enc_key",
        }
    }

    /// The attribute of this name. Most options are none, which their first letters tell.
    #[inline]
    pub fn from_name(name: &str) -> Option<Self> {
        if !name.starts_with("ppt_") && !name.starts_with("enc_") {
            return None;
        }
        Self::ALL.into_iter().find(|attribute| attribute.name() == name)
    }

    /// A payload is passed through if this one is there and not empty.
    const fn begins(self) -> bool {
        matches!(self, Self::PptScheme | Self::EncAlgo)
    }
}

/// The attributes of a payload that is passed through as it is: each once, in the order in which they came, and with one of them the
/// scheme or algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Passthru(Vec<(Attribute, String)>);

impl Passthru {
    /// `None`: they do not say that the payload is passed through.
    pub fn new(all: impl IntoIterator<Item = (Attribute, String)>) -> Option<Self> {
        let mut kept: Vec<(Attribute, String)> = Vec::new();
        for (attribute, value) in all {
            // Of duplicate options the last one counts.
            kept.retain(|(known, _)| *known != attribute);
            kept.push((attribute, value));
        }
        kept.iter().any(|(attribute, value)| attribute.begins() && !value.is_empty()).then_some(Self(kept))
    }

    /// Whether this is the mode of the specification, which peers announce as `payload_passthru_mode`.
    pub fn is_announced(&self) -> bool {
        self.0.iter().any(|(attribute, value)| *attribute == Attribute::PptScheme && !value.is_empty())
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(attribute, value)| (attribute.name(), value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_without_a_scheme_are_none() {
        let keyid = (Attribute::PptKeyid, "k".to_owned());
        assert_eq!(Passthru::new([keyid.clone()]), None);
        assert_eq!(Passthru::new([keyid.clone(), (Attribute::PptScheme, String::new())]), None);
        let found = Passthru::new([keyid, (Attribute::PptScheme, "wamp".to_owned())]).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), [("ppt_keyid", "k"), ("ppt_scheme", "wamp")]);
        assert!(found.is_announced());
    }

    #[test]
    fn the_older_draft_is_not_announced() {
        let found = Passthru::new([(Attribute::EncAlgo, "cryptobox".to_owned())]).unwrap();
        assert!(!found.is_announced());
    }

    #[test]
    fn each_attribute_is_found_by_its_name() {
        for attribute in Attribute::ALL {
            assert_eq!(Attribute::from_name(attribute.name()), Some(attribute));
        }
        assert_eq!(Attribute::from_name("ppt_"), None);
        assert_eq!(Attribute::from_name("acknowledge"), None);
    }

    #[test]
    fn of_duplicates_the_last_counts() {
        let twice = [(Attribute::PptScheme, "a".to_owned()), (Attribute::PptScheme, "b".to_owned())];
        assert_eq!(Passthru::new(twice).unwrap().iter().collect::<Vec<_>>(), [("ppt_scheme", "b")]);
    }
}
