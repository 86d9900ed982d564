//! Store and forward between an edge and a centre, over links that come and go.
//!
//! ```text
//! edge: log --cursor--> numbers --CALL fennec.uplink.exchange--> centre: checked, published, number recorded in one commit
//!       log <---------------------------RESULT------------------ numbers <--cursor-- log
//! ```
//!
//! What is published at the edge on the configured topics reaches the centre once per number and in the order of the numbers; the
//! centre sends down in the answers by the same rules. The edge opens the one connection, so it works through NAT and proxies.
//!
//! - [`machine`]: the rules, without IO.

pub mod machine;
