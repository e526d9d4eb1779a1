//! Pins: the keys that peers may have, by their hash.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A public key, by the SHA-256 of its `SubjectPublicKeyInfo`. It stays the same when a certificate is
/// renewed for the same key. Written as curl's `--pinnedpubkey` has it: `sha256//` and base64.
///
/// ```text
/// openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der \
///   | openssl dgst -sha256 -binary | base64
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyPin([u8; 32]);

/// A text that is not a pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no pin; write sha256// and the 44 characters of base64 that stand for the key's SHA-256"
)]
pub struct InvalidPin;

const PREFIX: &str = "sha256//";

impl KeyPin {
    /// The pin of a public key, given as the DER of its `SubjectPublicKeyInfo`.
    pub fn of_public_key(der: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, der);
        let mut pin = [0; 32];
        pin.copy_from_slice(digest.as_ref());
        Self(pin)
    }
}

impl FromStr for KeyPin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidPin)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| InvalidPin)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPin)
    }
}

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_and_printed_and_nothing_else_is_one() {
        // SHA-256 of the empty text.
        let text = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(KeyPin::of_public_key(b"").to_string(), text);
        assert_eq!(text.parse(), Ok(KeyPin::of_public_key(b"")));
        for wrong in [
            "",
            "sha256//",
            "sha256//AAAA",
            &text[8..],
            "sha1//AAAA",
            &text[..50],
        ] {
            assert_eq!(wrong.parse::<KeyPin>(), Err(InvalidPin), "{wrong}");
        }
    }
}
