use crate::websocket::*;

#[test]
fn masked_frame_is_that_of_the_specification() {
    // RFC 6455, 5.7: a single-frame masked text message.
    let mut frame = Vec::new();
    push_masked(&mut frame, TEXT, b"Hello", u32::from_ne_bytes([0x37, 0xFA, 0x21, 0x3D]));
    assert_eq!(frame, [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]);
}

#[test]
fn a_patch_anywhere_is_masked_like_the_whole() {
    let key = [1, 2, 3, 4];
    let mut whole = *b"0123456789";
    mask(&mut whole, key, 0);
    for at in 0..10 {
        let mut part = b"0123456789"[at..].to_vec();
        mask(&mut part, key, at);
        assert_eq!(part, whole[at..]);
    }
}

#[test]
fn server_frames_are_cut_where_they_end() {
    assert_eq!(frame(&[0x81, 2, b'h', b'i', 0x81]).unwrap(), Some(Frame { opcode: TEXT, body_at: 2, end: 4 }));
    assert_eq!(frame(&[0x81, 2, b'h']).unwrap(), None);
    let long = [&[0x81, 126, 1, 0][..], &[0; 256]].concat();
    assert_eq!(frame(&long).unwrap(), Some(Frame { opcode: TEXT, body_at: 4, end: 260 }));
    assert!(frame(&[0x01, 0]).is_err());
    assert!(frame(&[0x81, 0x80]).is_err());
}
