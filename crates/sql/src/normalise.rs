//! A text without its literals, as a cache key.

pub(crate) fn with_key<R>(_text: &str, use_key: impl FnOnce(Option<&str>) -> R) -> R {
    use_key(None)
}
