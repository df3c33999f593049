//! Keyed fingerprints of bind values: equal values are seen to be equal, nothing else is learned.

use std::sync::Arc;

use aws_lc_rs::hmac;

/// The key, made once per gateway and kept in its data directory. Clones share it: it takes more than a kilobyte.
#[derive(Clone)]
pub struct FingerprintKey(Arc<hmac::Key>);

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey(…)")
    }
}

impl FingerprintKey {
    /// From 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// A key for another purpose, told apart by its label: HMAC-SHA-256 over the label.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let mut key = [0; 32];
        let tag = hmac::sign(&self.0, label.as_bytes());
        for (byte, of_tag) in key.iter_mut().zip(tag.as_ref()) {
            *byte = *of_tag;
        }
        key
    }

    /// Begins a fingerprint.
    pub fn start(&self) -> Fingerprint {
        Fingerprint(hmac::Context::with_key(&self.0))
    }
}

/// A fingerprint being made over values as they arrive. Each value is framed by its length, so that moving a byte from one
/// value to the next changes it.
#[derive(Clone)]
pub struct Fingerprint(hmac::Context);

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl Fingerprint {
    /// Begins a value of `length` bytes; `None` is null.
    pub fn value(&mut self, length: Option<u32>) {
        match length {
            None => self.0.update(&[0]),
            Some(length) => {
                self.0.update(&[1]);
                self.0.update(&length.to_be_bytes());
            }
        }
    }

    /// The next bytes of the value.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The first 16 bytes of the HMAC-SHA-256, as 32 hex digits.
    pub fn finish(self) -> String {
        use std::fmt::Write as _;
        let tag = self.0.sign();
        tag.as_ref().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_tells_values_apart() {
        let key = FingerprintKey::new(&[7; 32]);
        let of = |values: &[Option<&[u8]>]| {
            let mut print = key.start();
            for value in values {
                print.value(value.map(|v| u32::try_from(v.len()).unwrap()));
                print.bytes(value.unwrap_or_default());
            }
            print.finish()
        };
        assert_eq!(of(&[Some(b"ab"), Some(b"c")]), of(&[Some(b"ab"), Some(b"c")]));
        assert_ne!(of(&[Some(b"ab"), Some(b"c")]), of(&[Some(b"a"), Some(b"bc")]));
        assert_ne!(of(&[None]), of(&[Some(b"")]));
        assert_eq!(of(&[]).len(), 32);
    }
}
