//! Every decoder of bytes from outside, for the fuzzer and for tests that replay what it found.

use crate::slack::{Interaction, ResponseHosts};

/// A call of Slack's. It is read or refused; what is read names Slack and nobody else.
pub fn fuzz_interaction(bytes: &[u8]) {
    if let Ok(interaction) = Interaction::parse(bytes, ResponseHosts::Slack) {
        debug_assert_eq!(interaction.response_url.url().host_str(), Some("hooks.slack.com"));
        debug_assert!(!interaction.user.is_empty() && !interaction.team.is_empty());
    }
}

/// What a mail server says.
pub fn fuzz_mail_answers(bytes: &[u8]) {
    crate::smtp::fuzz_answers(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_break_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), text in "[0-9]{0,3}[- ]?[A-Z0-9. =\\r\\n-]{0,200}", json in "payload=[\\PC]{0,300}") {
            for bytes in [bytes.as_slice(), text.as_bytes(), json.as_bytes()] {
                fuzz_interaction(bytes);
                fuzz_mail_answers(bytes);
            }
        }
    }

    #[test]
    fn mail_answers_that_were_found_or_thought_of() {
        for bytes in [
            &b"250-a\r\n250 b\r\n"[..],
            b"250",
            b"250\n",
            b"2\xff0 x\r\n",
            b"\xc3\x28\r\n",
            "25é ok\r\n".as_bytes(),
            "250é ok\r\n".as_bytes(),
            b"99999 x\r\n",
            b"+25 x\r\n",
            b"\r\n\r\n",
            &[b'2'; 10_000],
        ] {
            fuzz_mail_answers(bytes);
        }
    }
}
