//! Tokens as a test wants them: right in everything but what the test is about.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    claims::{ClientProof, GroupsForm, Issuance},
    directory::{ApplicationKind, TokenVersion},
    error::Error,
    idp::DevIdp,
    keys::{self, SigningKey},
};

/// A token to mint: what Entra would say, with the changes made here.
#[derive(Clone, Debug)]
pub struct TokenSpec {
    subject: String,
    audience: String,
    client: Option<String>,
    version: Option<TokenVersion>,
    groups: GroupsClaim,
    claims: Vec<(String, Option<Value>)>,
    header: Vec<(String, Option<Value>)>,
    payload: Option<String>,
    signer: Signer,
}

/// Whether and how a minted token tells groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupsClaim {
    /// As the directory has it.
    #[default]
    Natural,
    /// `_claim_names`, as above 200 groups.
    Overage,
    /// Neither `groups` nor `_claim_names`.
    Absent,
}

/// What signs a minted token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signer {
    /// The current key.
    #[default]
    Current,
    /// A key that is not published, under the current key's `kid`.
    Unpublished,
    /// HS256 with the current public key (PEM) as the secret, and a header that says so: algorithm confusion.
    PublicKeyAsSecret,
    /// Nothing: `alg: none` and an empty signature.
    Nothing,
    /// The current key, with one bit of the signature turned.
    Damaged,
}

impl TokenSpec {
    /// A token of `subject` (application or user: name, client id or object id) for the resource `audience`, named as a
    /// client would name it.
    #[must_use]
    pub fn new(subject: &str, audience: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            audience: audience.to_owned(),
            client: None,
            version: None,
            groups: GroupsClaim::Natural,
            claims: Vec::new(),
            header: Vec::new(),
            payload: None,
            signer: Signer::Current,
        }
    }

    /// The format, against what the resource asks for.
    #[must_use]
    pub const fn version(mut self, version: TokenVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// The application that acts for a user; the first public client of the directory unless said.
    #[must_use]
    pub fn client(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    /// How groups are told.
    #[must_use]
    pub const fn groups(mut self, groups: GroupsClaim) -> Self {
        self.groups = groups;
        self
    }

    /// Sets a claim, whatever it was.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.push((name.to_owned(), None));
        self
    }

    /// Sets a header parameter, whatever it was.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Leaves a header parameter out.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.push((name.to_owned(), None));
        self
    }

    /// The payload's exact text instead of claims: duplicate keys, text that is not JSON. See [`DevIdp::claims`].
    #[must_use]
    pub fn payload(mut self, text: &str) -> Self {
        self.payload = Some(text.to_owned());
        self
    }

    /// What signs it.
    #[must_use]
    pub const fn signed_by(mut self, signer: Signer) -> Self {
        self.signer = signer;
        self
    }
}

impl DevIdp {
    /// Mints a token outside of every flow: disabled subjects, wrong signatures and nonsense claims included.
    pub fn mint(&self, spec: &TokenSpec) -> Result<String, Error> {
        let payload = match &spec.payload {
            Some(text) => URL_SAFE_NO_PAD.encode(text),
            None => keys::encode_object(&self.claims(spec)?),
        };
        let version = match spec.version {
            Some(version) => version,
            None => self.resource(&spec.audience)?.version(),
        };
        let keys = self.keys();
        let mut header = keys.current().header(version);
        match spec.signer {
            Signer::PublicKeyAsSecret => drop(header.insert("alg".to_owned(), "HS256".into())),
            Signer::Nothing => drop(header.insert("alg".to_owned(), "none".into())),
            Signer::Current | Signer::Unpublished | Signer::Damaged => {}
        }
        apply(&mut header, &spec.header);
        let message = format!("{}.{payload}", keys::encode_object(&header));
        let signature = match spec.signer {
            Signer::Current => keys.current().sign(message.as_bytes())?,
            Signer::Unpublished => SigningKey::generate()?.sign(message.as_bytes())?,
            Signer::PublicKeyAsSecret => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, keys.current().public_pem()?.as_bytes());
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            Signer::Nothing => Vec::new(),
            Signer::Damaged => {
                let mut signature = keys.current().sign(message.as_bytes())?;
                if let Some(first) = signature.first_mut() {
                    *first ^= 1;
                }
                signature
            }
        };
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims that [`DevIdp::mint`] would sign.
    pub fn claims(&self, spec: &TokenSpec) -> Result<Map<String, Value>, Error> {
        let resource = self.resource(&spec.audience)?;
        let world = self.world();
        let issuance = Issuance {
            authority: self.authority()?,
            tenant: self.tenant(),
            now: self.clock().now(),
            lifetime: resource.lifetime().unwrap_or(self.token_lifetime()),
            version: spec.version.unwrap_or(resource.version()),
            resource: &resource,
            groups: match spec.groups {
                GroupsClaim::Natural => GroupsForm::Natural,
                GroupsClaim::Overage => GroupsForm::Overage,
                GroupsClaim::Absent => GroupsForm::Absent,
            },
        };
        let subject = world.resolve(&spec.subject)?;
        let mut claims = if let Some(app) = world.principals.get(&subject) {
            let managed = app.kind == ApplicationKind::ManagedIdentity || app.secret.is_none();
            issuance.app(&world, app, if managed { ClientProof::Assertion } else { ClientProof::Secret })
        } else if let Some(user) = world.users.get(&subject) {
            let client = match &spec.client {
                Some(name) => world.principals.get(&world.resolve(name)?),
                None => world.principals.values().find(|app| app.public_client),
            };
            let client = client.ok_or_else(|| Error::Unknown("a public client".to_owned()))?;
            issuance.user(&world, user, client.client_id, ClientProof::Public, "user_impersonation")
        } else {
            return Err(Error::Unknown(spec.subject.clone()));
        };
        apply(&mut claims, &spec.claims);
        Ok(claims)
    }
}

fn apply(object: &mut Map<String, Value>, changes: &[(String, Option<Value>)]) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(object.insert(name.clone(), value.clone())),
            None => drop(object.remove(name)),
        }
    }
}
