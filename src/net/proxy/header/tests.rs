use proptest::prelude::*;

use super::*;

fn v1(line: &str) -> Result<Option<String>, ProxyError> {
    read_v1(line.as_bytes()).map(|header| header.source.map(|source| source.to_string()))
}

#[test]
fn a_line_of_version_1_names_the_client() {
    assert_eq!(v1("PROXY TCP4 1.2.3.4 5.6.7.8 40000 1883\r\n"), Ok(Some("1.2.3.4:40000".to_owned())));
    assert_eq!(v1("PROXY TCP6 fd00::1 ::1 1 2\r\n"), Ok(Some("[fd00::1]:1".to_owned())));
    assert_eq!(v1("PROXY UNKNOWN\r\n"), Ok(None));
    assert_eq!(v1("PROXY UNKNOWN ffff::1 ::1 1 2\r\n"), Ok(None));
}

#[test]
fn whatever_else_stands_in_the_line_is_refused() {
    for line in [
        "PROXY TCP4 1.2.3.4 5.6.7.8 40000 1883\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 40000\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 40000 1883 \r\n",
        "PROXY TCP4 1.2.3.4  5.6.7.8 40000 1883\r\n",
        "PROXY TCP4 ::1 ::1 40000 1883\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 40000 1883\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 040 1883\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +40 1883\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 1883\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "\r\n",
    ] {
        assert_eq!(v1(line), Err(ProxyError::Malformed), "{line:?}");
    }
}

/// A header of version 2 around these bytes.
fn v2(command: u8, transport: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, transport, len[0], len[1]][..], rest].concat()
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = (value.len() as u16).to_be_bytes();
    [&[kind, len[0], len[1]], value].concat()
}

const FROM_TO: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 0x9c, 0x40, 0x07, 0x5b];

#[test]
fn a_header_of_version_2_names_the_client() {
    let source = |bytes: &[u8]| read_v2(bytes).map(|header| header.source.map(|source| source.to_string()));
    assert_eq!(source(&v2(0x21, 0x11, &FROM_TO)), Ok(Some("1.2.3.4:40000".to_owned())));
    let mut v6 = [0; 36];
    (v6[0], v6[15], v6[33]) = (0xfd, 1, 9);
    assert_eq!(source(&v2(0x21, 0x21, &v6)), Ok(Some("[fd00::1]:9".to_owned())));
    assert_eq!(source(&v2(0x20, 0x11, &FROM_TO)), Ok(None), "the proxy asks for itself");
    assert_eq!(source(&v2(0x20, 0, &[])), Ok(None));
    assert_eq!(source(&v2(0x21, 0, &[1, 2, 3])), Ok(None));
}

#[test]
fn a_header_of_version_2_that_is_wrong_is_refused() {
    assert_eq!(read_v2(&v2(0x21, 0x12, &FROM_TO)), Err(ProxyError::NotTcp), "UDP");
    assert_eq!(read_v2(&v2(0x21, 0x31, &[0; 216])), Err(ProxyError::NotTcp), "a UNIX socket");
    assert_eq!(read_v2(&v2(0x22, 0x11, &FROM_TO)), Err(ProxyError::Malformed), "no such command");
    assert_eq!(read_v2(&v2(0x11, 0x11, &FROM_TO)), Err(ProxyError::Malformed), "no such version");
    assert_eq!(read_v2(&v2(0x21, 0x11, &FROM_TO[..11])), Err(ProxyError::Malformed));
    let cut = [&FROM_TO[..], &[SSL, 0, 9, 1]].concat();
    assert_eq!(read_v2(&v2(0x21, 0x11, &cut)), Err(ProxyError::Malformed));
    let mut short = v2(0x21, 0x11, &FROM_TO);
    short.pop();
    assert_eq!(read_v2(&short), Err(ProxyError::Malformed));
}

/// What is said of TLS in an extension with these flags and result.
fn tls(flags: u8, verify: u32) -> Option<Tls> {
    let parts = [extension(0x21, b"TLSv1.3"), extension(SSL_COMMON_NAME, b"press"), extension(SSL_CERTIFICATE, b"der")];
    let ssl = [&[flags][..], &verify.to_be_bytes(), &parts.concat()].concat();
    let rest = [&FROM_TO[..], &extension(AUTHORITY, b"A.Example"), &extension(SSL, &ssl), &extension(0x04, &[0; 5])];
    read_v2(&v2(0x21, 0x11, &rest.concat())).unwrap().tls
}

#[test]
fn a_certificate_counts_only_if_it_was_shown_and_verified() {
    let verified = Some(Verified { common_name: Some("press".to_owned()), der: Some(b"der".to_vec()) });
    let server_name = Some("a.example".to_owned());
    assert_eq!(tls(0x01 | 0x02, 0), Some(Tls { verified: verified.clone(), server_name: server_name.clone() }));
    assert_eq!(tls(0x01 | 0x04, 0), Some(Tls { verified, server_name: server_name.clone() }));
    assert_eq!(tls(0x01 | 0x02, 1), Some(Tls { verified: None, server_name: server_name.clone() }));
    assert_eq!(tls(0x01, 0), Some(Tls { verified: None, server_name }), "it showed none");
    assert_eq!(tls(0x02, 0), None, "it does not speak TLS");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(rest in prop::collection::vec(any::<u8>(), 0..80), command: u8, transport: u8) {
        let _ = read_v1(&rest);
        let _ = read_v2(&v2(command, transport, &rest));
        let _ = read_v2(&v2(0x21, 0x11, &[&FROM_TO[..], &rest].concat()));
    }
}
