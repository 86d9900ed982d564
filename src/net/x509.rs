//! What a certificate says of its owner (RFC 5280): names and validity.
//!
//! Only reads. Who is to be trusted is decided by rustls: nothing here may be used of a client's certificate that it did not
//! verify.

use std::net::IpAddr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::types::peer::{Certificate, CertificateName};
use crate::types::time::parse_rfc3339;

#[cfg(test)]
mod tests;

/// What is read of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The number that its issuer gave it, as it stands there.
    pub serial: Vec<u8>,
    /// Seconds since 1970 at which it begins and ceases to be valid; before 1970 it is 0.
    pub not_before_s: u64,
    pub not_after_s: u64,
    /// See [`Certificate::common_name`].
    pub common_name: Option<String>,
    /// See [`Certificate::names`].
    pub names: Vec<CertificateName>,
}

/// What rustls verified, as the gates know it. What cannot be read of it is left out.
pub fn certificate(der: &[u8]) -> Certificate {
    let (common_name, names) = facts(der).map(|facts| (facts.common_name, facts.names)).unwrap_or_default();
    let fingerprint = Some(Sha256::digest(der).into());
    Certificate { der: Bytes::copy_from_slice(der), common_name, names, fingerprint }
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Reads a certificate. `None`: it is none.
pub fn facts(der: &[u8]) -> Option<Facts> {
    let mut tbs = Der(Der(Der(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
    if tbs.next_is(VERSION) {
        tbs.next()?;
    }
    let serial = tbs.expect(INTEGER)?.to_vec();
    tbs.expect(SEQUENCE)?; // algorithm
    tbs.expect(SEQUENCE)?; // issuer
    let mut validity = Der(tbs.expect(SEQUENCE)?);
    let (not_before_s, not_after_s) = (validity.time()?, validity.time()?);
    let common_name = common_name(tbs.expect(SEQUENCE)?)?;
    tbs.expect(SEQUENCE)?; // key
    let mut names = Vec::new();
    while let Some((tag, content)) = tbs.next() {
        if tag == EXTENSIONS {
            names = alternative_names(Der(content).expect(SEQUENCE)?)?;
        }
    }
    Some(Facts { serial, not_before_s, not_after_s, common_name, names })
}

/// `None`: it cannot be read. `Some(None)`: there is none.
fn common_name(subject: &[u8]) -> Option<Option<String>> {
    let (mut sets, mut found) = (Der(subject), None);
    while !sets.0.is_empty() {
        let mut set = Der(sets.expect(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Der(set.expect(SEQUENCE)?);
            if attribute.expect(OID)? == COMMON_NAME {
                let (tag, value) = attribute.next()?;
                found = text(tag, value).or(found);
            }
        }
    }
    Some(found)
}

fn text(tag: u8, value: &[u8]) -> Option<String> {
    let text = match tag {
        UTF8 | PRINTABLE | IA5 => std::str::from_utf8(value).ok()?.to_owned(),
        BMP if value.len().is_multiple_of(2) => {
            let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<String, _>>().ok()?
        }
        _ => return None,
    };
    // A name that is made to look like another in a log is no name.
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<CertificateName>> {
    let mut extensions = Der(extensions);
    while !extensions.0.is_empty() {
        let mut extension = Der(extensions.expect(SEQUENCE)?);
        if extension.expect(OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        while !extension.next_is(OCTETS) {
            extension.next()?; // critical
        }
        let (mut all, mut names) = (Der(Der(extension.expect(OCTETS)?).expect(SEQUENCE)?), Vec::new());
        while !all.0.is_empty() {
            let (tag, value) = all.next()?;
            names.extend(general_name(tag, value));
        }
        return Some(names);
    }
    Some(Vec::new())
}

fn general_name(tag: u8, value: &[u8]) -> Option<CertificateName> {
    Some(match tag {
        0x81 => CertificateName::Email(text(IA5, value)?),
        0x82 => CertificateName::Dns(text(IA5, value)?.to_ascii_lowercase()),
        0x86 => CertificateName::Uri(text(IA5, value)?),
        0x87 => CertificateName::Ip(match value.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
        }),
        _ => return None,
    })
}

/// What is left of a sequence of elements.
#[derive(Clone, Copy)]
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    /// The next element: its tag and content.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let len = match first {
            0..=0x7f => usize::from(*first),
            0x81..=0x84 => {
                let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = behind;
                bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(len)?;
        self.0 = behind;
        Some((*tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.next().filter(|next| next.0 == tag).map(|next| next.1)
    }

    fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// Seconds since 1970, 0 for what is before (RFC 5280, 4.1.2.5: always in UTC, always with seconds).
    fn time(&mut self) -> Option<u64> {
        let (tag, text) = self.next()?;
        let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        let century = if digits < "50" { "20" } else { "19" };
        let whole = match (tag, digits.len()) {
            (UTC_TIME, 12) => format!("{century}{digits}"),
            (GENERALIZED_TIME, 14) => digits.to_owned(),
            _ => return None,
        };
        let part = |at: usize| whole.get(at..at + 2);
        let (year, month, day) = (whole.get(..4)?, part(4)?, part(6)?);
        let (hour, minute, second) = (part(8)?, part(10)?, part(12)?);
        let us = parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"));
        Some(us.unwrap_or(0) / 1_000_000)
    }
}
