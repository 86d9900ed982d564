//! Where a broker is, and as whom to go there: `mqtts://alice:secret@example.org:8883`.

use std::borrow::Cow;
use std::fmt;

/// What is to be spoken; it decides which URLs are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Mqtt,
    Wamp,
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// MQTT packets as they are.
    Tcp,
    /// WAMP over RawSocket.
    RawSocket,
    WebSocket,
}

/// A broker's address. Shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    pub protocol: Protocol,
    pub carrier: Carrier,
    pub tls: bool,
    pub user: Option<String>,
    pub password: Option<String>,
    /// A name or an IP address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// Begins with `/`; empty unless the carrier is WebSocket.
    pub path: String,
}

/// Why a text is no URL here. The user's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("the URL begins with {found}://, expected {expected}")]
    Scheme { found: String, expected: &'static str },
    #[error("the URL names no host")]
    NoHost,
    #[error("the port must be from 1 to 65535, not {0:?}")]
    Port(String),
    #[error("a '[' without its ']'")]
    Bracket,
    #[error("'%' must be followed by two hexadecimal digits, and all of it be UTF-8")]
    Escape,
    #[error("the URL has a path, which only ws:// and wss:// have")]
    Path,
    #[error("the URL contains white space or control characters")]
    Characters,
}

impl Protocol {
    /// Scheme, carrier, TLS, port if the URL names none.
    fn schemes(self) -> &'static [(&'static str, Carrier, bool, u16)] {
        match self {
            Protocol::Mqtt => &[
                ("mqtt", Carrier::Tcp, false, 1883),
                ("mqtts", Carrier::Tcp, true, 8883),
                ("ws", Carrier::WebSocket, false, 80),
                ("wss", Carrier::WebSocket, true, 443),
            ],
            Protocol::Wamp => &[
                ("ws", Carrier::WebSocket, false, 80),
                ("wss", Carrier::WebSocket, true, 443),
                ("rs", Carrier::RawSocket, false, 9001),
                ("rss", Carrier::RawSocket, true, 9001),
            ],
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Protocol::Mqtt => "mqtt://, mqtts://, ws:// or wss://",
            Protocol::Wamp => "ws://, wss://, rs:// or rss://",
        }
    }

    /// The path of a WebSocket URL that has none.
    fn path(self) -> &'static str {
        match self {
            Protocol::Mqtt => "/mqtt",
            Protocol::Wamp => "/ws",
        }
    }
}

impl Url {
    /// Reads a URL. Without `scheme://` it is the protocol's first one; a WebSocket URL without path gets the path on which
    /// fennec speaks the protocol. Special characters in user and password are percent-encoded.
    ///
    /// # Errors
    /// What is wrong with it; no message contains the password.
    pub fn parse(text: &str, protocol: Protocol) -> Result<Url, UrlError> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(UrlError::Characters);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or((protocol.schemes()[0].0, text));
        let known = protocol.schemes().iter().find(|(name, ..)| name.eq_ignore_ascii_case(scheme));
        let &(_, carrier, tls, default_port) =
            known.ok_or_else(|| UrlError::Scheme { found: scheme.to_owned(), expected: protocol.expected() })?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, address) = authority.rsplit_once('@').map_or((None, authority), |(login, at)| (Some(login), at));
        let (user, password) = read_login(login)?;
        let (host, port) = read_address(address, default_port)?;
        let path = match (carrier, path) {
            (Carrier::WebSocket, "") => protocol.path(),
            (Carrier::WebSocket, path) => path,
            (_, "" | "/") => "",
            _ => return Err(UrlError::Path),
        };
        Ok(Url { protocol, carrier, tls, user, password, host, port, path: path.to_owned() })
    }

    /// Host and port as they are written in a URL and in HTTP's `Host`.
    pub fn authority(&self) -> String {
        let host = &self.host;
        if host.contains(':') { format!("[{host}]:{}", self.port) } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_this = |(_, carrier, tls, _): &&(&str, Carrier, bool, u16)| (*carrier, *tls) == (self.carrier, self.tls);
        let scheme = self.protocol.schemes().iter().find(is_this).map_or("", |(name, ..)| *name);
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

type Login = (Option<String>, Option<String>);

fn read_login(login: Option<&str>) -> Result<Login, UrlError> {
    let Some(login) = login else { return Ok((None, None)) };
    let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
    Ok((Some(unescape(user)?).filter(|user| !user.is_empty()), password.map(unescape).transpose()?))
}

fn read_address(address: &str, default_port: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(UrlError::Bracket)?;
            (host, after.strip_prefix(':').or(if after.is_empty() { None } else { Some(after) }))
        }
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let port = match port {
        None => default_port,
        Some(text) => text.parse().ok().filter(|port| *port != 0).ok_or_else(|| UrlError::Port(text.to_owned()))?,
    };
    Ok((host.to_owned(), port))
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> Result<String, UrlError> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(UrlError::Escape)?;
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(text) => Ok(text.to_owned()),
        Cow::Owned(_) => Err(UrlError::Escape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, protocol: Protocol, expected: Result<&str, UrlError>) {
        let url = Url::parse(text, protocol);
        assert_eq!(url.map(|url| url.to_string()), expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn what_a_url_leaves_out_is_as_fennec_listens() {
        check("mqtt://example.org", Protocol::Mqtt, Ok("mqtt://example.org:1883"));
        check("MQTTS://example.org", Protocol::Mqtt, Ok("mqtts://example.org:8883"));
        check("127.0.0.1:1884", Protocol::Mqtt, Ok("mqtt://127.0.0.1:1884"));
        check("ws://h:9000", Protocol::Mqtt, Ok("ws://h:9000/mqtt"));
        check("ws://h:9000/", Protocol::Mqtt, Ok("ws://h:9000/"));
        check("ws://h:9000", Protocol::Wamp, Ok("ws://h:9000/ws"));
        check("wss://h/wamp?x=1", Protocol::Wamp, Ok("wss://h:443/wamp?x=1"));
        check("rs://[::1]:9001", Protocol::Wamp, Ok("rs://[::1]:9001"));
        check("rss://h/", Protocol::Wamp, Ok("rss://h:9001"));
        check("mqtt://[::1]", Protocol::Mqtt, Ok("mqtt://[::1]:1883"));
    }

    #[test]
    fn user_and_password_are_read_and_never_shown() {
        let url = Url::parse("mqtt://a%40b:p%3Aw@ü@h", Protocol::Mqtt).unwrap();
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("a@b"), Some("p:w@ü")));
        assert_eq!(format!("{url} {url:?}"), "mqtt://h:1883 Url(mqtt://h:1883)");
        let url = Url::parse("mqtt://:secret@h", Protocol::Mqtt).unwrap();
        assert_eq!((url.user, url.password.as_deref()), (None, Some("secret")));
        assert_eq!(Url::parse("mqtt://alice@h", Protocol::Mqtt).unwrap().password, None);
    }

    #[test]
    fn what_is_no_url_is_refused_by_its_part() {
        let wrong = |found: &str, expected| UrlError::Scheme { found: found.to_owned(), expected };
        check("rs://h", Protocol::Mqtt, Err(wrong("rs", "mqtt://, mqtts://, ws:// or wss://")));
        check("mqtt://h", Protocol::Wamp, Err(wrong("mqtt", "ws://, wss://, rs:// or rss://")));
        check("mqtt://", Protocol::Mqtt, Err(UrlError::NoHost));
        check("mqtt://u:p@:1883", Protocol::Mqtt, Err(UrlError::NoHost));
        check("mqtt://h:0", Protocol::Mqtt, Err(UrlError::Port("0".to_owned())));
        check("mqtt://h:", Protocol::Mqtt, Err(UrlError::Port(String::new())));
        check("mqtt://h:1:2", Protocol::Mqtt, Err(UrlError::Port("1:2".to_owned())));
        check("mqtt://[::1", Protocol::Mqtt, Err(UrlError::Bracket));
        check("mqtt://[::1]x", Protocol::Mqtt, Err(UrlError::Port("x".to_owned())));
        check("mqtt://h/path", Protocol::Mqtt, Err(UrlError::Path));
        check("mqtt://a%4:b@h", Protocol::Mqtt, Err(UrlError::Escape));
        check("mqtt://a%ü:b@h", Protocol::Mqtt, Err(UrlError::Escape));
        check("mqtt://a%ff:b@h", Protocol::Mqtt, Err(UrlError::Escape));
        check("mqtt://h h", Protocol::Mqtt, Err(UrlError::Characters));
    }
}
