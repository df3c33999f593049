//! [`HashKey`]: the key of `hash`.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// The characters of a hash: 80 bits, so that among a billion values the chance of two that look alike is below one in
/// a million.
pub const HASH_LENGTH: usize = 20;

/// What hashes are keyed with. Two values have the same hash where they are the same bytes and the key is the same.
///
/// Without the key nobody can tell a value from its hash by trying all card numbers; whoever sees hashes still learns which
/// rows hold the same value, which is what they are for. The key is cleared by the crypto library when it is dropped.
#[derive(Clone)]
pub struct HashKey(hmac::Key);

impl HashKey {
    /// A key of its own.
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()))
    }

    /// The key for one purpose (a connection's name), made from a secret: HMAC-SHA-256 over the label.
    pub fn derive(secret: &[u8], label: &str) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut context = hmac::Context::with_key(&secret);
        context.update(b"portcullis mask hash\0");
        context.update(label.as_bytes());
        let tag = context.sign();
        let mut key = Zeroizing::new([0; 32]);
        key.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        Self::new(key)
    }

    /// The hash of a value as text: 20 lower-case hex digits.
    pub(crate) fn text(&self, value: &[u8]) -> [u8; HASH_LENGTH] {
        let tag = hmac::sign(&self.0, value);
        let mut text = [b'0'; HASH_LENGTH];
        for (digits, byte) in text.chunks_exact_mut(2).zip(tag.as_ref()) {
            for (digit, value) in digits.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = hex_digit(value);
            }
        }
        text
    }

    /// The hash of a value as a UUID of version 8 (RFC 9562, section 5.8), 122 of its bits from the hash.
    pub(crate) fn uuid(&self, value: &[u8]) -> [u8; 16] {
        let tag = hmac::sign(&self.0, value);
        let mut uuid = [0; 16];
        uuid.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        uuid[6] = 0x80 | (uuid[6] & 0x0f);
        uuid[8] = 0x80 | (uuid[8] & 0x3f);
        uuid
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(..)")
    }
}

/// `0` to `f` for 0 to 15.
pub(crate) const fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value & 15) - 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_stable_for_a_key_and_differs_between_keys_and_values() {
        let key = HashKey::derive(b"secret", "orders");
        assert_eq!(key.text(b"a"), HashKey::derive(b"secret", "orders").text(b"a"));
        assert_ne!(key.text(b"a"), key.text(b"b"));
        assert_ne!(key.text(b"a"), HashKey::derive(b"secret", "records").text(b"a"));
        assert_ne!(key.text(b"a"), HashKey::derive(b"other", "orders").text(b"a"));
        assert!(key.text(b"a").iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        assert_eq!(format!("{key:?}"), "HashKey(..)");
    }

    #[test]
    fn a_hash_is_the_start_of_hmac_sha_256() {
        // RFC 4231, test case 2, key padded as HMAC itself pads it.
        let mut key = Zeroizing::new([0; 32]);
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(&HashKey::new(key).text(b"what do ya want for nothing?"), b"5bdcc146bf60754e6a04");
    }
}
