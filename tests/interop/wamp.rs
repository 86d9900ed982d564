//! WAMP clients among themselves.
