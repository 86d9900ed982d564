//! Frames of WebSocket messages (RFC 6455, 5.2).

use bytes::{Buf, Bytes, BytesMut};

pub const OPCODE_TEXT: u8 = 1;
pub const OPCODE_BINARY: u8 = 2;
pub const OPCODE_CLOSE: u8 = 8;
pub const OPCODE_PING: u8 = 9;

/// The header of a whole unmasked frame: `(bytes, how many of them)`.
pub fn header(opcode: u8, len: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x80 | opcode;
    match len {
        0..=125 => {
            header[1] = len as u8;
            (header, 2)
        }
        126..=65_535 => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            (header, 4)
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            (header, 10)
        }
    }
}

/// Appends a whole message as a client sends it. Its mask is zero: it hides nothing from those between, of whom there are none
/// within a process.
pub fn append_client_message(opcode: u8, payload: &[u8], out: &mut BytesMut) {
    let (mut header, len) = header(opcode, payload.len());
    header[1] |= 0x80;
    out.extend_from_slice(&header[..len]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Takes the unmasked frame at the front of `buffer`: its opcode and payload. `None`: it is not all there.
pub fn split(buffer: &mut BytesMut) -> Option<(u8, Bytes)> {
    let [first, second, rest @ ..] = &buffer[..] else { return None };
    let opcode = first & 0x0F;
    let (header_bytes, len) = match second & 0x7F {
        126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        len => (2, u64::from(len)),
    };
    let len = usize::try_from(len).ok()?;
    if buffer.len() - header_bytes.min(buffer.len()) < len {
        return None;
    }
    buffer.advance(header_bytes);
    Some((opcode, buffer.split_to(len).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_when_it_is_all_there() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; len];
            let (header, header_bytes) = header(OPCODE_TEXT, len);
            let frame = [&header[..header_bytes], &payload, b"next"].concat();
            for cut in 0..header_bytes + len {
                // Long payloads are alike all along.
                if cut < 20 || cut + 2 > header_bytes + len {
                    assert_eq!(split(&mut BytesMut::from(&frame[..cut])), None, "{len} cut at {cut}");
                }
            }
            let mut buffer = BytesMut::from(&frame[..]);
            assert_eq!(split(&mut buffer), Some((OPCODE_TEXT, Bytes::from(payload))));
            assert_eq!(&buffer[..], b"next");
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_waited_for_and_costs_nothing() {
        let mut buffer = BytesMut::from(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2][..]);
        assert_eq!(split(&mut buffer), None);
    }
}
