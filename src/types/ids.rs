//! Numbers that name things. One type each, so that a subscription is never taken for a registration.

/// Largest id that WAMP allows: 2^53, so that JavaScript can hold it (WAMP, IDs).
pub const ID_MAX: u64 = 1 << 53;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A session of any protocol in a realm: random over 1..=2^53 (WAMP, IDs, global scope).
    SessionId,
    /// A topic or pattern that somebody is subscribed to; the same for all its subscribers (router scope).
    SubscriptionId,
    /// A procedure that somebody registered (router scope).
    RegistrationId,
    /// One publication: random over 1..=2^53 (global scope).
    PublicationId,
    /// A request of a peer, counted by that peer (session scope).
    RequestId,
    /// A call given to a callee, counted by the router for that callee (session scope).
    InvocationId,
}
