//! The rows that the state is stored in: their keys, and what the values are.
//!
//! ```text
//! n                                          Numbers
//! i entry                                    incarnation
//! k realm NUL topic                          KeyRow: the value of a key
//! h realm NUL topic                          HeldRow: a key held with a will
//! w ticket                                   WaitRow: a publish that waits
//! s realm NUL client id                      SessionRow
//! l realm NUL client id                      WillRow
//! u realm NUL client id NUL filter           SubscriptionRow
//! p realm NUL client id NUL packet id        empty: a QoS 2 message that was not released
//! c realm NUL 'c' client id, or 'd' name     Cursor
//! d realm NUL name                           DurableRow
//! f realm NUL pattern                        first number that is available
//! ```
//!
//! The letter is one byte; numbers in keys are big-endian (entry, ticket: 8 bytes, packet id: 2), so that they sort. Topics
//! have NUL, which no topic contains, for `/`: so they sort level by level, as in `router::retained`. Values are MessagePack, except
//! [`KeyRow`].

use super::StateError;

pub const NUMBERS: u8 = b'n';

pub(super) fn damaged(key: &[u8]) -> StateError {
    StateError::Damaged(key.escape_ascii().to_string())
}
