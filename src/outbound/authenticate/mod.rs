//! Who somebody is, decided elsewhere: by a WAMP procedure of the operator's, or by an HTTP endpoint.
//!
//! ```text
//! Evidence --> procedure (CALL in a realm) or hook (POST) --> what it says, read strictly --> Answer
//! ```
//!
//! Nobody there, too late, an error, nonsense: each is a denial.
//!
//! - `procedure`: dynamic authenticators, as Crossbar has them.
//! - `hook`: HTTP.
//! - `said`: what both answer.

mod hook;
mod procedure;
mod said;

pub use hook::{Hook, HookSettings};
pub use procedure::{Authenticator, Authenticators};
