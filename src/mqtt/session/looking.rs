//! SUBSCRIBE that asks for older events: it waits until a reading thread has found where they begin, and so does what the client
//! sends behind it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Open, Violation};
use crate::mqtt::Settings;
use crate::mqtt::codec::{self, Packet, Role, Subscribe};
use crate::mqtt::past::Asked;
use crate::mqtt::topic::Filter;
use crate::node::link::Link;
use crate::node::log::history::Busy;
use crate::node::past::{Found, Target};
use crate::store::StoreError;

/// A SUBSCRIBE that waits.
pub(super) struct Looking {
    asked: Asked,
    /// The packet.
    frame: Box<[u8]>,
    places: Arc<Places>,
}

/// Where the older events of a topic filter begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Found(Found),
    /// It cannot be found now.
    Unreadable,
    /// Nothing was looked for: the filter is none that could be asked about.
    None,
}

/// What a SUBSCRIBE is to be given of the past.
pub(super) struct Past {
    /// See [`Asked::snapshot`].
    pub snapshot: bool,
    /// One per topic filter.
    pub places: Vec<Place>,
}

/// Places as they are found.
struct Places {
    /// `None`: it is being looked for.
    found: Mutex<Vec<Option<Place>>>,
    link: Arc<Link>,
}

impl Places {
    fn set(&self, at: usize, place: Place) {
        let mut found = self.found.lock();
        found[at] = Some(place);
        let all = found.iter().all(Option::is_some);
        drop(found);
        if all {
            self.link.wake();
        }
    }

    /// All of them, if they are known.
    fn all(&self) -> Option<Vec<Place>> {
        self.found.lock().iter().copied().collect()
    }
}

impl From<Result<Found, StoreError>> for Place {
    fn from(found: Result<Found, StoreError>) -> Self {
        match found {
            Ok(found) => Self::Found(found),
            Err(error) => {
                tracing::warn!(%error, "the past of a subscription cannot be read");
                Self::Unreadable
            }
        }
    }
}

impl Open {
    /// Begins to look for what a SUBSCRIBE asks for.
    pub(super) fn look_back(&mut self, subscribe: &Subscribe<'_>, asked: Asked, frame: &[u8]) {
        let filters: Vec<_> = subscribe.subscriptions.iter().map(|subscription| subscription.filter).collect();
        let found = Mutex::new(vec![None; filters.len()]);
        let places = Arc::new(Places { found, link: self.link.clone() });
        for (at, filter) in filters.into_iter().enumerate() {
            match Filter::parse(filter) {
                Ok(Filter { group: None, pattern }) => {
                    let target = Target { realm: self.publisher.realm.name.clone(), pattern, filter: None };
                    let told = places.clone();
                    let then = move |_: &_, found: Result<Found, StoreError>| told.set(at, found.into());
                    if let Err(Busy) = self.publisher.node.find_since(target, asked.since.clone(), then) {
                        places.set(at, Place::Unreadable);
                    }
                }
                _ => places.set(at, Place::None),
            }
        }
        self.looking = Some(Box::new(Looking { asked, frame: frame.into(), places }));
    }

    /// Goes on with a SUBSCRIBE for which everything was found.
    pub(super) fn go_on(&mut self, settings: &Settings) -> Result<(), Violation> {
        let Some(places) = self.looking.as_ref().and_then(|looking| looking.places.all()) else { return Ok(()) };
        let Some(looking) = self.looking.take() else { return Ok(()) };
        let past = Past { snapshot: looking.asked.snapshot, places };
        if let Packet::Subscribe(subscribe) = codec::decode(&looking.frame, self.level, Role::Server)? {
            self.subscribe_from(&subscribe, settings, Some(&past));
        }
        Ok(())
    }
}
