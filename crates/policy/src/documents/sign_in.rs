//! A provider's `sign_in:`.

use crate::{
    SignIn, SignInToken,
    documents::{
        keys,
        reader::{Reader, shown},
        tree::Entry,
    },
};

/// What a provider says besides, which its `sign_in` must fit.
pub(super) struct Beside<'a> {
    pub(super) is_entra: bool,
    pub(super) audience: &'a [String],
    pub(super) allow_users: bool,
}

/// Reads it. `None` where it is refused.
pub(super) fn read(reader: &mut Reader<'_>, entry: &Entry, beside: &Beside<'_>) -> Option<SignIn> {
    let fields = reader.fields(&entry.value, &keys::SIGN_IN)?;
    let client = reader.required(&fields, "client_id").and_then(|node| {
        let text = reader.text(node, "`client_id`")?.to_owned();
        Some(reader.placed(node, text))
    });
    let client_secret = fields.get("client_secret").map(|node| reader.secret(node, "`client_secret`"));
    let token = fields.get("token").and_then(|node| {
        let words = [SignInToken::Access, SignInToken::Id].map(|token| (token.as_str(), token));
        reader.word(node, "`token`", &words)
    });
    let token = token.unwrap_or_default();
    let scopes = fields.get("scopes").map(|node| {
        let scopes = reader.many(node, "`scopes`", |reader, item| {
            let text = reader.text(item, "a scope")?;
            // RFC 6749 section 3.3
            let good = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
            if !good {
                let message = format!("`{}` is no OAuth scope", shown(text));
                reader.error_help(
                    &item.span,
                    message,
                    "scopes are visible ASCII without spaces; write several as a list",
                );
            }
            good.then(|| text.to_owned())
        });
        reader.placed(node, scopes)
    });
    if !beside.allow_users {
        reader.error_help(
            &entry.key_span,
            "nobody could sign in: this provider's tokens of people are not accepted",
            "add `users: allow` to the provider",
        );
    }
    if token == SignInToken::Id {
        if let Some(client) = client.as_ref().filter(|client| !beside.audience.contains(&client.value)) {
            reader.error_at(
                &client.place,
                format!(
                    "an id token is for its application, and `{}` is not in `audience`",
                    shown(&client.value)
                ),
                "add the client id to the provider's `audience`, or use `token: access`",
            );
        }
        if let Some(scopes) =
            scopes.as_ref().filter(|scopes| !scopes.value.iter().any(|scope| scope == "openid"))
        {
            reader.error_at(
                &scopes.place,
                "without the scope `openid` no id token is issued",
                "add `openid`, or use `token: access`",
            );
        }
    }
    let scopes = match scopes {
        Some(scopes) => scopes.value,
        None => default_scopes(token, beside),
    };
    // a secret that was written and refused does not make a public client
    let client_secret = match client_secret {
        Some(None) => return None,
        Some(Some(secret)) => Some(secret),
        None => None,
    };
    Some(SignIn { client_id: client?.value, client_secret, scopes, token })
}

/// `openid profile`; of Entra also `offline_access`, and for an access token the scopes of the first audience.
fn default_scopes(token: SignInToken, beside: &Beside<'_>) -> Vec<String> {
    let mut scopes = Vec::new();
    if beside.is_entra
        && token == SignInToken::Access
        && let Some(first) = beside.audience.first()
    {
        scopes.push(format!("{}/.default", first.trim_end_matches('/')));
    }
    scopes.extend(["openid", "profile"].map(str::to_owned));
    if beside.is_entra {
        scopes.push("offline_access".to_owned());
    }
    scopes
}
