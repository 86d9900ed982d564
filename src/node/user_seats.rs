//! How many connections each user has (`limits.connections_per_user_max`).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Node;
use super::metrics::Limited;
use super::users::{ANONYMOUS, User};

/// Connections by user.
#[derive(Debug, Default)]
pub struct UserSeats {
    taken: Mutex<HashMap<Arc<str>, usize>>,
}

/// One connection of a user, until this is dropped.
pub struct UserSeat {
    node: Arc<Node>,
    /// `None`: nobody in particular, who is not counted.
    name: Option<Arc<str>>,
}

impl Node {
    /// Counts one more connection of this user. `replaces`: it takes the place of another, which is about to end. `None`: it has as
    /// many as it may; that is counted.
    pub fn seat_of(self: &Arc<Self>, user: &User, replaces: bool) -> Option<UserSeat> {
        if *user.name == *ANONYMOUS {
            return Some(UserSeat { node: self.clone(), name: None });
        }
        let mut taken = self.user_seats.taken.lock();
        let count = taken.entry(user.name.clone()).or_default();
        if *count >= self.limits.connections_per_user_max && !replaces {
            self.metrics.limited(Limited::ConnectionsPerUser, 1);
            return None;
        }
        *count += 1;
        Some(UserSeat { node: self.clone(), name: Some(user.name.clone()) })
    }
}

impl Drop for UserSeat {
    fn drop(&mut self) {
        let Some(name) = &self.name else { return };
        let mut taken = self.node.user_seats.taken.lock();
        if let Some(count) = taken.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                taken.remove(name);
            }
        }
    }
}
