//! Keys of well-known services.
//!
//! A key is found by the prefix its service gives it and the characters that follow, not glued to a letter or digit before.
//! Where the service has one length the key ends there and nothing of its kind may follow. Secrets without a shape of their
//! own (the secret half of an AWS key pair, a Twilio auth token) are not found.
//!
//! **References**: the pages of the services on their tokens; for GitHub
//! <https://github.blog/engineering/behind-githubs-new-authentication-token-formats/>, for AWS
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html>, for GitLab
//! <https://docs.gitlab.com/security/tokens/>, for Slack <https://docs.slack.dev/authentication/tokens>, for Stripe
//! <https://docs.stripe.com/keys>, for Azure <https://learn.microsoft.com/purview/sit-defn-azure-storage-account-key>.

use std::ops::Range;

use super::{
    Edges, at, before,
    runs::{Class, Runs},
};

/// The shape of a key: `prefix`, then at least `least` of `class`. The byte at `trigger` is what the scanner stops at.
#[derive(Debug)]
struct Shape {
    prefix: &'static [u8],
    trigger: usize,
    class: Class,
    least: usize,
    /// The number of characters is `least`, no more.
    exact: bool,
    /// The prefix is not part of the key: `AccountKey=`.
    bare: bool,
}

const fn key(prefix: &'static str, trigger: usize, class: Class, least: usize) -> Shape {
    Shape { prefix: prefix.as_bytes(), trigger, class, least, exact: false, bare: false }
}

const fn exact(prefix: &'static str, trigger: usize, class: Class, length: usize) -> Shape {
    Shape { exact: true, ..key(prefix, trigger, class, length) }
}

const fn setting(prefix: &'static str, class: Class, least: usize) -> Shape {
    Shape { bare: true, ..key(prefix, prefix.len() - 1, class, least) }
}

use Class::{Alnum, Base64, Dotted, Hex, Upper, Word};

const SHAPES: [Shape; 73] = [
    // AWS access key ids
    exact("AKIA", 2, Upper, 16),
    exact("ASIA", 2, Upper, 16),
    exact("ABIA", 2, Upper, 16),
    // GitHub
    key("ghp_", 3, Alnum, 36),
    key("gho_", 3, Alnum, 36),
    key("ghu_", 3, Alnum, 36),
    key("ghs_", 3, Alnum, 36),
    key("ghr_", 3, Alnum, 36),
    key("github_pat_", 6, Word, 40),
    // GitLab
    key("glpat-", 5, Dotted, 20),
    key("gldt-", 4, Dotted, 20),
    key("glrt-", 4, Dotted, 20),
    key("glptt-", 5, Word, 20),
    key("glcbt-", 5, Word, 20),
    key("glft-", 4, Word, 20),
    key("glimt-", 5, Word, 20),
    key("glsoat-", 6, Word, 20),
    key("glagent-", 7, Word, 20),
    // Slack
    key("xoxa-", 4, Word, 10),
    key("xoxb-", 4, Word, 10),
    key("xoxc-", 4, Word, 10),
    key("xoxd-", 4, Word, 10),
    key("xoxe-", 4, Word, 10),
    key("xoxo-", 4, Word, 10),
    key("xoxp-", 4, Word, 10),
    key("xoxr-", 4, Word, 10),
    key("xoxs-", 4, Word, 10),
    key("xapp-", 4, Word, 10),
    // Stripe
    key("sk_live_", 2, Alnum, 10),
    key("sk_test_", 2, Alnum, 10),
    key("rk_live_", 2, Alnum, 10),
    key("rk_test_", 2, Alnum, 10),
    key("whsec_", 5, Base64, 24),
    // Google
    key("AIza", 2, Word, 35),
    key("GOCSPX-", 6, Word, 28),
    // npm, PyPI, RubyGems, Docker
    key("npm_", 3, Alnum, 36),
    key("pypi-AgE", 4, Word, 50),
    exact("rubygems_", 8, Hex, 48),
    key("dckr_pat_", 4, Word, 20),
    // SendGrid, Twilio, Mailgun
    key("SG.", 1, Dotted, 66),
    exact("SK", 1, Hex, 32),
    exact("key-", 3, Hex, 32),
    // OpenAI, Anthropic, Hugging Face and others
    key("sk-ant-", 2, Word, 20),
    key("sk-proj-", 2, Word, 20),
    key("sk-svcacct-", 2, Word, 20),
    key("sk-admin-", 2, Word, 20),
    key("sk-or-v1-", 2, Word, 20),
    key("sk-", 2, Alnum, 32),
    key("hf_", 2, Alnum, 30),
    key("api_org_", 3, Alnum, 30),
    key("gsk_", 3, Alnum, 40),
    key("xai-", 3, Alnum, 60),
    key("pplx-", 4, Alnum, 40),
    key("r8_", 2, Alnum, 37),
    // DigitalOcean
    key("dop_v1_", 3, Hex, 64),
    key("doo_v1_", 3, Hex, 64),
    key("dor_v1_", 3, Hex, 64),
    // Azure: storage accounts, service bus, shared access signatures
    setting("AccountKey=", Base64, 40),
    setting("SharedAccessKey=", Base64, 40),
    setting("sig=", Base64, 40),
    // HashiCorp Vault
    key("hvs.", 1, Dotted, 24),
    key("hvb.", 1, Dotted, 24),
    // Shopify, Square, Linear, Notion, Grafana, Supabase, PlanetScale, Postman, New Relic, age, 1Password
    exact("shpat_", 5, Hex, 32),
    exact("shpss_", 5, Hex, 32),
    key("sq0csp-", 6, Word, 43),
    key("lin_api_", 3, Alnum, 32),
    key("ntn_", 3, Alnum, 40),
    key("glsa_", 4, Word, 32),
    exact("sbp_", 3, Hex, 40),
    key("pscale_pw_", 6, Word, 32),
    key("PMAK-", 4, Word, 59),
    exact("AGE-SECRET-KEY-1", 3, Upper, 58),
    key("ops_eyJ", 3, Base64, 100),
];

/// Which shapes to try at a byte, by the byte and the one before it.
#[derive(Debug)]
pub(crate) struct Keys {
    triggers: Vec<Trigger>,
    /// For each byte its place in `triggers`, or a place that is not there.
    places: [u8; 256],
}

/// A byte that is part of prefixes and seldom of anything else.
#[derive(Debug)]
struct Trigger {
    byte: u8,
    shapes: Vec<&'static Shape>,
    /// Whether a byte stands before the trigger in one of the shapes.
    before: [bool; 256],
}

impl Keys {
    pub(crate) fn new() -> Self {
        let mut triggers: Vec<Trigger> = Vec::new();
        let mut places = [u8::MAX; 256];
        for shape in &SHAPES {
            let byte = at(shape.prefix, shape.trigger);
            let place = triggers.iter().position(|trigger| trigger.byte == byte).unwrap_or(triggers.len());
            if place == triggers.len() {
                triggers.push(Trigger { byte, shapes: Vec::new(), before: [false; 256] });
            }
            if let Some(known) = places.get_mut(usize::from(byte)) {
                *known = u8::try_from(place).unwrap_or(u8::MAX);
            }
            let Some(trigger) = triggers.get_mut(place) else { continue };
            if let Some(before) = trigger.before.get_mut(usize::from(at(shape.prefix, shape.trigger - 1))) {
                *before = true;
            }
            trigger.shapes.push(shape);
        }
        Self { triggers, places }
    }

    /// The bytes to stop at.
    pub(crate) fn triggers(&self) -> impl Iterator<Item = u8> {
        self.triggers.iter().map(|trigger| trigger.byte).chain([b'~'])
    }

    /// The keys whose trigger stands here.
    pub(crate) fn find(
        &self,
        text: &[u8],
        trigger: usize,
        edges: Edges,
        runs: &mut Runs,
        mut found: impl FnMut(Range<usize>) -> bool,
    ) -> bool {
        let (byte, previous) = (at(text, trigger), before(text, trigger, 1));
        if byte == b'~' {
            return azure_client_secret(text, trigger, edges, runs).is_some_and(found);
        }
        let place = self.places.get(usize::from(byte)).copied().unwrap_or(u8::MAX);
        let Some(known) = self.triggers.get(usize::from(place)) else { return false };
        if known.before.get(usize::from(previous)) != Some(&true) {
            return false;
        }
        known.shapes.iter().any(|shape| shape.find(text, trigger, edges, runs).is_some_and(&mut found))
    }
}

impl Shape {
    fn find(&self, text: &[u8], trigger: usize, edges: Edges, runs: &mut Runs) -> Option<Range<usize>> {
        let start = trigger.checked_sub(self.trigger)?;
        if !text.get(start..)?.starts_with(self.prefix) {
            return None;
        }
        if edges == Edges::Closed && before(text, start, 1).is_ascii_alphanumeric() {
            return None;
        }
        let body = start + self.prefix.len();
        let mut end = runs.end(self.class, text, body);
        if self.class == Dotted && edges == Edges::Closed {
            // The full stop of a sentence.
            end -= text.get(body..end)?.iter().rev().take(4).take_while(|byte| **byte == b'.').count();
        }
        let length = end - body;
        let fits = if self.exact && edges == Edges::Closed {
            length == self.least && !at(text, end).is_ascii_alphanumeric()
        } else {
            length >= self.least
        };
        fits.then_some(if self.bare { body } else { start }..end)
    }
}

/// A client secret of an Entra application: three characters, a digit, `Q~` and 31 to 34 more.
fn azure_client_secret(text: &[u8], tilde: usize, edges: Edges, runs: &mut Runs) -> Option<Range<usize>> {
    let start = tilde.checked_sub(5)?;
    let shaped = before(text, tilde, 1) == b'Q'
        && before(text, tilde, 2).is_ascii_digit()
        && text.get(start..start + 3)?.iter().all(|byte| Class::Tilde.has(*byte));
    if !shaped || (edges == Edges::Closed && Class::Tilde.has(before(text, start, 1))) {
        return None;
    }
    let end = runs.end(Class::Tilde, text, tilde + 1);
    let length = end - tilde - 1;
    (length >= 31 && (edges == Edges::Open || length <= 34)).then_some(start..end)
}
