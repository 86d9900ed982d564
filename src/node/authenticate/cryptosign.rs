//! WAMP-Cryptosign: the client signs a challenge with its Ed25519 key (WAMP, Cryptosign-based Authentication).

use ring::signature::{ED25519, UnparsedPublicKey};
use subtle::ConstantTimeEq;

use crate::node::users::unhex;

/// What a client has to sign: the challenge, with the channel binding mixed in if there is one.
pub fn message(challenge: &[u8; 32], channel: Option<&[u8; 32]>) -> [u8; 32] {
    let mut message = *challenge;
    for (byte, bound) in message.iter_mut().zip(channel.unwrap_or(&[0; 32])) {
        *byte ^= bound;
    }
    message
}

/// Whether this is the hexadecimal text of a signature of `message` by the owner of `key`, and of the message behind it.
pub fn is_signed(key: &[u8; 32], message: &[u8; 32], signed: &str) -> bool {
    let Some(bytes) = unhex::<96>(signed) else { return false };
    let (signature, said) = bytes.split_at(64);
    let same = bool::from(said.ct_eq(message));
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok() && same
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    const CHANNEL: &str = "62e935ae755f3d48f80d4d59f6121358c435722a67e859cc0caa8b539027f2ff";

    /// The vectors of the specification: channel id, private key, challenge, what the client sends.
    const VECTORS: [(Option<&str>, &str, &str, &str); 4] = [
        (
            None,
            "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "b32675b221f08593213737bef8240e7c15228b07028e19595294678c90d11c0cae80a357331bfc5cc9fb71081464e6e75013517c2cf067ad566a6b7b728e5d03ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ),
        (
            None,
            "6e1fde9cf9e2359a87420b65a87dc0c66136e66945196ba2475990d8a0c3a25b",
            "b05e6b8ad4d69abf74aa3be3c0ee40ae07d66e1895b9ab09285a2f1192d562d2",
            "7beb282184baadd08f166f16dd683b39cab53816ed81e6955def951cb2ddad1ec184e206746fd82bda075af03711d3d5658fc84a76196b0fa8d1ebc92ef9f30bb05e6b8ad4d69abf74aa3be3c0ee40ae07d66e1895b9ab09285a2f1192d562d2",
        ),
        (
            Some(CHANNEL),
            "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "9b6f41540c9b95b4b7b281c3042fa9c54cef43c842d62ea3fd6030fcb66e70b3e80d49d44c29d1635da9348d02ec93f3ed1ef227dfb59a07b580095c2b82f80f9d16ca518aa0c2b707f2b2a609edeca73bca8dd59817a633f35574ac6fd80d00",
        ),
        (
            Some(CHANNEL),
            "d511fe78e23934b3dadb52fcd022974b80bd92bccc7c5cf404e46cc0a8a2f5cd",
            "b26c1f87c13fc1da14997f1b5a71995dff8fbe0a62fae8473c7bdbd05bfb607d",
            "305aaa3ac25e98f651427688b3fc43fe7d8a68a7ec1d7d61c61517c519bd4a427c3015599d83ca28b4c652333920223844ef0725eb5dc2febfd6af7677b73f01d0852a29b460fc92ec943242ac638a053bbacc200512b18b30d15083cbdc9282",
        ),
    ];

    #[test]
    fn the_vectors_of_the_specification_are_right_and_nothing_else_is() {
        for (channel, private, challenge, signed) in VECTORS {
            let pair = Ed25519KeyPair::from_seed_unchecked(&unhex::<32>(private).unwrap()).unwrap();
            let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
            let channel = channel.map(|channel| unhex::<32>(channel).unwrap());
            let challenge = unhex::<32>(challenge).unwrap();
            let message = message(&challenge, channel.as_ref());
            assert!(is_signed(&key, &message, signed));
            assert!(is_signed(&key, &message, &signed.to_uppercase()));
            let mut other = message;
            other[31] ^= 1;
            assert!(!is_signed(&key, &other, signed), "another challenge: a replay");
            let mut wrong = key;
            wrong[0] ^= 1;
            assert!(!is_signed(&wrong, &message, signed), "another key");
            if channel.is_some() {
                assert!(!is_signed(&key, &challenge, signed), "another channel");
            }
            for cut in ["", &signed[..190], &signed[..128], &format!("{signed}00"), &signed.replace('f', "g"), "é"] {
                assert!(!is_signed(&key, &message, cut), "{cut}");
            }
        }
    }
}
