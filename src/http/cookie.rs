//! The cookie of browsers that come back (RFC 6265).

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue};

use crate::node::Node;
use crate::node::authenticate::cookies::Carried;

/// Its name; with TLS browsers are told to believe it of this very host only (RFC 6265bis, `__Host-`).
const NAME: &str = "fennec";
const SECURE_NAME: &str = "__Host-fennec";

/// What a request carries, and the header that gives it a cookie if it has none. `None`: cookies are not used.
pub fn carried(node: &Node, headers: &HeaderMap, tls: bool, now_ms: u64) -> Option<(Carried, Option<HeaderValue>)> {
    let age_s = node.limits.http_cookie_s;
    if age_s == 0 {
        return None;
    }
    let name = if tls { SECURE_NAME } else { NAME };
    let (carried, told) = node.cookies.open(named(headers, name), now_ms)?;
    let secure = if tls { "; Secure" } else { "" };
    let header = told.map(|told| format!("{name}={told}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"));
    Some((carried, header.and_then(|header| HeaderValue::from_str(&header).ok())))
}

/// The values of all cookies of this name.
fn named<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::node_with;
    use crate::types::limits::Limits;

    #[test]
    fn cookies_are_found_among_others_and_given_only_where_they_are_used() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=b; fennec=one;fennecs=x"));
        headers.append(COOKIE, HeaderValue::from_static("fennec=two"));
        assert_eq!(named(&headers, NAME).collect::<Vec<_>>(), ["one", "two"]);
        assert!(carried(&node_with(Limits::default()).0, &headers, true, 0).is_none());
        let (node, _) = node_with(Limits { http_cookie_s: 60, ..Limits::default() });
        let (_, header) = carried(&node, &headers, true, 0).unwrap();
        let header = header.unwrap().to_str().unwrap().to_owned();
        assert!(header.starts_with("__Host-fennec="), "{header}");
        assert!(header.ends_with("; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"), "{header}");
        let (_, header) = carried(&node, &headers, false, 0).unwrap();
        assert!(!header.unwrap().to_str().unwrap().contains("Secure"));
    }
}
