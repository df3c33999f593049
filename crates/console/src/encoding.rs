//! Which encoding of a file is sent.

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Brotli (RFC 7932).
    Brotli,
    /// Gzip (RFC 1952).
    Gzip,
    /// As it is.
    Identity,
}

impl Encoding {
    /// The best first.
    pub(crate) const ALL: [Self; 3] = [Self::Brotli, Self::Gzip, Self::Identity];

    /// The word for `Content-Encoding`; `None` where that header is left out.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }

    /// What the names of files encoded so end with.
    pub(crate) const fn extension(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some(".br"),
            Self::Gzip => Some(".gz"),
            Self::Identity => None,
        }
    }

    /// Those that an `Accept-Encoding` (RFC 9110 section 12.5.3) takes, the best first. As it is always counts: who refuses even
    /// that is sent it all the same, which the section allows.
    pub(crate) fn accepted(header: &str) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |encoding| encoding.as_str().is_none_or(|word| takes(header, word)))
    }
}

fn takes(header: &str, word: &str) -> bool {
    header.split(',').any(|part| {
        let mut pieces = part.split(';').map(str::trim);
        let named = pieces.next().is_some_and(|name| name.eq_ignore_ascii_case(word));
        let refused = pieces.any(|piece| {
            let weight = piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_sent_only_to_who_takes_it() {
        let accepted = |header| Encoding::accepted(header).collect::<Vec<_>>();
        assert_eq!(accepted(""), [Encoding::Identity]);
        assert_eq!(accepted("gzip, deflate, br, zstd"), Encoding::ALL);
        assert_eq!(accepted("br;q=0, GZIP;q=0.5"), [Encoding::Gzip, Encoding::Identity]);
        assert_eq!(accepted("*"), [Encoding::Identity]);
        assert_eq!(accepted("identity;q=0"), [Encoding::Identity]);
        assert_eq!(accepted("brotli"), [Encoding::Identity]);
    }
}
