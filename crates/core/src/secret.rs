//! [`Secret`]: a value that cannot be printed, serialised or compared by accident.

use std::fmt;

use zeroize::Zeroize;

/// A secret value: no `Display`, no `Serialize`, no `PartialEq`; zeroed on drop; read only through [`Secret::expose`].
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, at its one use.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + AsRef<[u8]>> Secret<T> {
    /// Whether the two are equal, in time that depends on the lengths only.
    pub fn matches(&self, other: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_ref(), other).is_ok()
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(…)");
    }

    #[test]
    fn matches_compares_whole_values() {
        let secret = Secret::new("abc".to_owned());
        assert!(secret.matches(b"abc"));
        assert!(!secret.matches(b"ab"));
        assert!(!secret.matches(b"abd"));
    }
}
