use proptest::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType, date_time_ymd};

use super::*;

fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn names_and_validity_are_read_as_they_were_written() {
    let der = made(|params| {
        params.distinguished_name.push(DnType::OrganizationName, "Mill");
        params.distinguished_name.push(DnType::CommonName, "press-17 ü");
        params.not_before = date_time_ymd(2024, 2, 29);
        params.not_after = date_time_ymd(2051, 3, 1);
        params.serial_number = Some(vec![1, 2, 3].into());
        params.subject_alt_names = vec![
            SanType::DnsName("Press.Example.ORG".try_into().unwrap()),
            SanType::Rfc822Name("press@example.org".try_into().unwrap()),
            SanType::URI("urn:press:17".try_into().unwrap()),
            SanType::IpAddress("10.0.0.7".parse().unwrap()),
            SanType::IpAddress("fd00::7".parse().unwrap()),
        ];
    });
    let facts = facts(&der).unwrap();
    assert_eq!(facts.serial, [1, 2, 3]);
    // `date -u -d 2024-02-29 +%s` and so on: one is a UTCTime, the other a GeneralizedTime.
    assert_eq!((facts.not_before_s, facts.not_after_s), (1_709_164_800, 2_561_241_600));
    assert_eq!(facts.common_name.as_deref(), Some("press-17 ü"));
    let names = [
        CertificateName::Dns("press.example.org".to_owned()),
        CertificateName::Email("press@example.org".to_owned()),
        CertificateName::Uri("urn:press:17".to_owned()),
        CertificateName::Ip("10.0.0.7".parse().unwrap()),
        CertificateName::Ip("fd00::7".parse().unwrap()),
    ];
    assert_eq!(facts.names, names);
    let known = certificate(&der);
    assert_eq!((known.common_name, known.names), (facts.common_name, facts.names));
    assert_eq!(known.fingerprint, Some(Sha256::digest(&der).into()));
}

#[test]
fn a_certificate_without_names_has_none() {
    let facts = facts(&made(|_| {})).unwrap();
    assert_eq!((facts.common_name, facts.names), (None, vec![]));
}

#[test]
fn a_name_with_control_characters_is_no_name() {
    let der = made(|params| params.distinguished_name.push(DnType::CommonName, "admin\u{0}.evil"));
    assert_eq!(facts(&der).unwrap().common_name, None);
    let der = made(|params| {
        params.distinguished_name.push(DnType::CommonName, DnValue::BmpString("Ä".try_into().unwrap()));
    });
    assert_eq!(facts(&der).unwrap().common_name.as_deref(), Some("Ä"));
}

proptest! {
    #[test]
    fn what_is_cut_or_damaged_is_no_reason_to_panic(at in 0..400_usize, value: u8, cut in 0..400_usize) {
        let mut der = made(|params| {
            params.distinguished_name.push(DnType::CommonName, "x");
            params.subject_alt_names = vec![SanType::DnsName("a.b".try_into().unwrap())];
        });
        let len = der.len();
        der[at % len] = value;
        let _ = facts(&der);
        der.truncate(cut % len);
        prop_assert_eq!(facts(&der), None);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = facts(&bytes);
    }
}
