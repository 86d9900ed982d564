//! What entries tell each other of their callees. It is told as interest in events is: the whole set with each new link, then
//! changes, numbered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::OutOfStep;
use crate::router::dealer::Offer;
use crate::types::topic::TopicPattern;

/// Patterns whose callees an entry tells, and bytes of their texts. What comes beyond is called at its own entry alone.
pub const OFFERS_MAX: usize = 100_000;
pub const OFFERS_BYTES_MAX: usize = 32 << 20;

/// A pattern of a realm.
pub type OfferKey = (Arc<str>, TopicPattern);

/// What an entry has for a pattern; none: nobody any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    pub realm: Arc<str>,
    pub pattern: TopicPattern,
    pub offers: Vec<Offer>,
}

/// What an entry tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldOffers {
    /// One more than what was told before; the number of that if this is the whole set.
    pub version: u64,
    /// It replaces what was told before.
    pub whole: bool,
    pub offered: Vec<Offered>,
}

/// What this entry tells the others.
#[derive(Debug)]
pub struct OwnOffers {
    offers: HashMap<OfferKey, Vec<Offer>>,
    bytes: usize,
    changed: HashSet<OfferKey>,
    version: u64,
    left_out: u64,
    offers_max: usize,
}

/// What another entry has told. It is forgotten with the link.
#[derive(Debug, Default)]
pub struct TheirOffers {
    /// `None`: nothing was told.
    version: Option<u64>,
    known: HashSet<OfferKey>,
}

impl Default for OwnOffers {
    fn default() -> Self {
        Self::new(OFFERS_MAX)
    }
}

impl OwnOffers {
    /// `offers_max`: see [`OFFERS_MAX`].
    pub fn new(offers_max: usize) -> Self {
        let (offers, changed) = (HashMap::new(), HashSet::new());
        Self { offers, bytes: 0, changed, version: 0, left_out: 0, offers_max }
    }

    /// Registrations that were not told, for there were too many.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Says what callees there are for a pattern now.
    pub fn set(&mut self, realm: &Arc<str>, pattern: TopicPattern, offers: Vec<Offer>) {
        let key = (realm.clone(), pattern);
        let bytes = key.1.filter().or(key.1.prefix()).map_or(0, str::len);
        match (self.offers.contains_key(&key), offers.is_empty()) {
            (false, true) => return,
            (false, false) if self.offers.len() >= self.offers_max || self.bytes + bytes > OFFERS_BYTES_MAX => {
                self.left_out += 1;
                return;
            }
            (false, false) => {
                self.bytes += bytes;
                self.offers.insert(key.clone(), offers);
            }
            (true, true) => {
                self.bytes -= bytes;
                self.offers.remove(&key);
            }
            (true, false) => drop(self.offers.insert(key.clone(), offers)),
        }
        self.changed.insert(key);
    }

    /// What is to be told to those who were told all before; `None`: nothing has changed.
    pub fn take(&mut self) -> Option<ToldOffers> {
        if self.changed.is_empty() {
            return None;
        }
        self.version += 1;
        let now = |key: OfferKey| {
            let offers = self.offers.get(&key).cloned().unwrap_or_default();
            Offered { realm: key.0, pattern: key.1, offers }
        };
        let offered = std::mem::take(&mut self.changed).into_iter().map(now).collect();
        Some(ToldOffers { version: self.version, whole: false, offered })
    }

    /// All that was told so far, for one who was told nothing yet. [`OwnOffers::take`] goes first.
    pub fn whole_set(&self) -> ToldOffers {
        let offered = |((realm, pattern), offers): (&OfferKey, &Vec<Offer>)| Offered {
            realm: realm.clone(),
            pattern: pattern.clone(),
            offers: offers.clone(),
        };
        ToldOffers { version: self.version, whole: true, offered: self.offers.iter().map(offered).collect() }
    }
}

impl TheirOffers {
    /// Takes what the peer tells. Returns what is another now, or may be.
    ///
    /// # Errors
    /// It does not follow what was told before; nothing is changed.
    pub fn hear(&mut self, told: ToldOffers) -> Result<Vec<Offered>, OutOfStep> {
        let ToldOffers { version, whole, mut offered } = told;
        if !whole && self.version.and_then(|version| version.checked_add(1)) != Some(version) {
            return Err(OutOfStep::new(self.version, version));
        }
        self.version = Some(version);
        if whole {
            let now: HashSet<OfferKey> = offered.iter().map(key_of).collect();
            let gone = self.known.difference(&now).cloned();
            offered.extend(gone.map(|(realm, pattern)| Offered { realm, pattern, offers: Vec::new() }));
        }
        for one in &offered {
            match one.offers.is_empty() {
                true => self.known.remove(&key_of(one)),
                false => self.known.insert(key_of(one)),
            };
        }
        Ok(offered)
    }
}

fn key_of(offered: &Offered) -> OfferKey {
    (offered.realm.clone(), offered.pattern.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::output::InvocationPolicy;
    use crate::types::topic::MatchPolicy;

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::from_uri(text, MatchPolicy::Exact).unwrap()
    }

    fn offers(members: u32) -> Vec<Offer> {
        let policy = InvocationPolicy::First;
        Vec::from_iter((members > 0).then_some(Offer {
            policy,
            members,
            first_ms: 1,
            last_ms: 2,
            authid: None,
            client_id: None,
            nodes: Vec::new(),
        }))
    }

    fn set(own: &mut OwnOffers, text: &str, members: u32) {
        own.set(&Arc::from("realm1"), pattern(text), offers(members));
    }

    /// `uri members` of what has changed, sorted.
    fn lines(offered: &[Offered]) -> Vec<String> {
        let members = |one: &Offered| one.offers.first().map_or(0, |offer| offer.members);
        let line = |one: &Offered| format!("{} {}", one.pattern.uri().0, members(one));
        let mut lines: Vec<String> = offered.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn changes_are_told_once_and_follow_each_other() {
        let (mut own, mut theirs) = (OwnOffers::default(), TheirOffers::default());
        assert_eq!(theirs.hear(own.whole_set()), Ok(Vec::new()));
        set(&mut own, "a", 1);
        set(&mut own, "a", 2);
        set(&mut own, "b", 1);
        assert_eq!(lines(&theirs.hear(own.take().unwrap()).unwrap()), ["a 2", "b 1"]);
        assert_eq!(own.take(), None);
        set(&mut own, "a", 0);
        set(&mut own, "never", 0);
        assert_eq!(lines(&theirs.hear(own.take().unwrap()).unwrap()), ["a 0"]);
    }

    #[test]
    fn whoever_misses_a_change_has_to_ask_and_the_whole_set_takes_back_what_is_gone() {
        let (mut own, mut theirs) = (OwnOffers::default(), TheirOffers::default());
        set(&mut own, "a", 1);
        set(&mut own, "b", 1);
        let first = own.take().unwrap();
        assert!(theirs.hear(first).is_err(), "nothing was told before");
        theirs.hear(own.whole_set()).unwrap();
        set(&mut own, "a", 0);
        own.take().unwrap();
        set(&mut own, "c", 3);
        assert!(theirs.hear(own.take().unwrap()).is_err());
        assert_eq!(lines(&theirs.hear(own.whole_set()).unwrap()), ["a 0", "b 1", "c 3"]);
    }

    #[test]
    fn only_so_many_are_told() {
        let mut own = OwnOffers::new(2);
        ["a", "b", "c"].iter().for_each(|text| set(&mut own, text, 1));
        set(&mut own, "a", 5);
        assert_eq!(lines(&own.whole_set().offered), ["a 5", "b 1"]);
        assert_eq!(own.left_out(), 1);
        set(&mut own, "b", 0);
        set(&mut own, "d", 1);
        assert_eq!(lines(&own.whole_set().offered), ["a 5", "d 1"]);
    }
}
