//! From a permit to an upstream session: dial, log in with the connection's credential, begin as the scope demands.
//!
//! **Promises.** INVARIANT(no-bypass): nothing is dialed without a [`Permit`]. A read-only scope makes the upstream session
//! read-only in a way that `RESET` and `DISCARD` lead back to, and a server that does not confirm it gets no statement. The
//! client's own startup parameters are kept; those that would change how statements are read or who runs them are judged
//! like the `SET` they are.

use std::time::Duration;

use portcullis_access::Permit;
use portcullis_core::{Principal, Timestamp, Verb};
use portcullis_policy::SessionRules;
use portcullis_proxy::{Failing, gate::Gate};
use portcullis_sql::{
    SettingChange, SettingScope, SettingValue,
    settings::{self, SettingVerdict},
};

use crate::{
    error::Error,
    upstream::{self, Logins, Upstream},
};

/// The longest `application_name` the server keeps (`NAMEDATALEN - 1`).
const MAX_APPLICATION_NAME: usize = 63;
/// How much of a principal's id stands behind its name.
const SHORT_ID: usize = 8;
/// The longest reason that is kept, in characters: what `access` takes.
const MAX_REASON: usize = 1000;
/// How much of it the client's own name may take.
const MAX_CLIENT_NAME: usize = 24;

/// Dials and logs in as the permit's connection says. Not cancel safe: a dropped future closes the transport.
///
/// # Errors
/// The upstream cannot be reached, does not meet the TLS that is demanded, or refuses the credential.
pub(crate) async fn open(
    gate: &Gate,
    logins: &Logins,
    permit: &Permit,
    parameters: &[(String, String)],
) -> Result<Upstream, upstream::Error> {
    // As libpq does: without a database, the one named like the user.
    let user = permit.connection().credential.as_ref().map_or("", |credential| credential.username.as_str());
    let database = permit.facts().database.as_deref().unwrap_or(user);
    let mut attempt = Attempt { gate, permit, began: gate.clock.now(), over: false };
    let opened = upstream::connect(permit, &*gate.dial, &*gate.secrets, logins, database, parameters).await;
    attempt.over = true;
    match &opened {
        Ok(_) => attempt.note(None),
        Err(error) => attempt.note(error.failing()),
    }
    opened
}

/// How long an upstream may leave somebody waiting who then gives up, before that says something of the upstream.
const SILENCE: Duration = Duration::from_secs(5);

/// One attempt to open a session, for what it says of the upstream.
struct Attempt<'a> {
    gate: &'a Gate,
    permit: &'a Permit,
    began: Timestamp,
    over: bool,
}

impl Attempt<'_> {
    fn note(&self, failing: Option<Failing>) {
        let now = self.gate.clock.now();
        self.gate.health.note(self.permit.connection(), failing, now, || self.gate.access.policy());
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.over && self.gate.clock.now().since(self.began) >= SILENCE {
            self.note(Some(Failing::Timeout));
        }
    }
}

/// The parameter in which a client says why it comes: for approvers, never for the upstream.
const REASON: &str = "portcullis.reason";

/// Takes out of the startup parameters why the client comes: `portcullis.reason`, by itself or in `options`.
pub(crate) fn take_reason(parameters: &mut Vec<(String, String)>) -> String {
    let mut reason = String::new();
    parameters.retain_mut(|(name, value)| {
        if name.eq_ignore_ascii_case(REASON) {
            reason = std::mem::take(value);
            return false;
        }
        if name == "options" && value.to_ascii_lowercase().contains("portcullis") {
            let (words, given) = words_without_reason(value);
            if let Some(given) = given {
                (*value, reason) = (words, given);
            }
        }
        true
    });
    reason.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect::<String>().trim().to_owned()
}

/// The words of `options` but for those that say why, as they were written; and why.
fn words_without_reason(text: &str) -> (String, Option<String>) {
    let (mut kept, mut reason) = (Vec::new(), None);
    let mut words = written_words(text).into_iter().peekable();
    while let Some((written, word)) = words.next() {
        let pair = |setting: &str| {
            let (name, value) = setting.split_once('=')?;
            name.trim().eq_ignore_ascii_case(REASON).then(|| value.to_owned())
        };
        if word == "-c" {
            if let Some(given) = words.peek().and_then(|(_, setting)| pair(setting)) {
                words.next();
                reason = Some(given);
                continue;
            }
        } else if let Some(given) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).and_then(pair)
        {
            reason = Some(given);
            continue;
        }
        kept.push(written);
    }
    (kept.join(" "), reason)
}

/// The words of `options`, each as it is written and as the server reads it: see [`options`].
fn written_words(text: &str) -> Vec<(String, String)> {
    let mut words = vec![];
    let (mut written, mut word, mut escaped) = (String::new(), String::new(), false);
    for c in text.chars() {
        if c.is_ascii_whitespace() && !escaped {
            if !written.is_empty() {
                words.push((std::mem::take(&mut written), std::mem::take(&mut word)));
            }
            continue;
        }
        written.push(c);
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            word.push(c);
            escaped = false;
        }
    }
    if !written.is_empty() {
        words.push((written, word));
    }
    words
}

/// The startup parameters for the upstream, from the client's.
///
/// # Errors
/// A parameter that this session may not set.
pub(crate) fn parameters(
    asked: Vec<(String, String)>,
    permit: &Permit,
) -> Result<Vec<(String, String)>, Error> {
    let rules = permit.rules();
    let mut parameters = Vec::with_capacity(asked.len() + 2);
    let mut application = String::new();
    for (name, value) in asked {
        match name.as_str() {
            "application_name" => application = value,
            "default_transaction_read_only" if rules.is_read_only() => {}
            _ => {
                if !rules.is_pass_through() {
                    check(&name, &value, rules)?;
                }
                parameters.push((name, value));
            }
        }
    }
    parameters.push(("application_name".to_owned(), application_name(&application, permit.principal())));
    if rules.is_read_only() {
        parameters.push(("default_transaction_read_only".to_owned(), "on".to_owned()));
    }
    Ok(parameters)
}

fn check(name: &str, value: &str, rules: &SessionRules) -> Result<(), Error> {
    let refused = |name: &str, why: &str| Error::Denied {
        reason: format!("startup parameter `{name}` is not allowed: {why}"),
        rule: Some("startup parameters".to_owned()),
        hint: Some("leave the parameter out".to_owned()),
    };
    let changes = match name {
        "options" => options(value).map_err(|why| refused(name, why))?,
        _ => vec![(name.to_owned(), value.to_owned())],
    };
    for (name, value) in changes {
        let change = SettingChange {
            name: name.to_ascii_lowercase().replace('-', "_").into(),
            value: SettingValue::Known(value.into()),
            scope: SettingScope::Session,
            reset: false,
        };
        if rules.is_read_only() && change.name.ends_with("transaction_read_only") {
            return Err(refused(&name, "the session is read-only"));
        }
        match settings::judge(&change) {
            SettingVerdict::Harmless => {}
            SettingVerdict::Never(why) => return Err(refused(&name, why)),
            SettingVerdict::Identity => return Err(refused(&name, "the connection's own role is used")),
            SettingVerdict::Admin => {
                let resource = format!("server/setting/{}", change.name);
                if !rules.scope().iter().any(|rule| rule.covers(Verb::Admin, &resource)) {
                    return Err(refused(&name, &format!("it needs `admin` on `{resource}`")));
                }
            }
        }
    }
    Ok(())
}

/// The settings in a startup packet's `options`: `-c name=value`, `-cname=value` and `--name=value`, words split at white
/// space, a backslash before a character taken as it is (`pg_split_opts` in the server's postinit.c). Other switches of the
/// server are not for clients of the gateway.
fn options(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut words = vec![];
    let (mut word, mut escaped, mut open) = (String::new(), false, false);
    for c in text.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            c if c.is_ascii_whitespace() && !escaped => {
                if std::mem::take(&mut open) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                word.push(c);
                (escaped, open) = (false, true);
            }
        }
    }
    if open {
        words.push(word);
    }
    let mut settings = vec![];
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") if word == "-c" => words.next().ok_or("`-c` without a setting")?,
            Some(setting) => setting.to_owned(),
            None => return Err("only `-c name=value` is understood"),
        };
        let (name, value) = setting.split_once('=').ok_or("a setting without a value")?;
        settings.push((name.trim().to_owned(), value.to_owned()));
    }
    Ok(settings)
}

/// `<client> [<who>]`, so that the server's own log and `pg_stat_activity` name who it is: the principal's name and the first
/// eight characters of its id, or the whole id where the name says no more. Printable ASCII only, as the server keeps it.
fn application_name(client: &str, principal: &Principal) -> String {
    let plain = |text: &str, most: usize| -> String {
        text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(most).collect()
    };
    let client = plain(client, MAX_CLIENT_NAME);
    let room = MAX_APPLICATION_NAME - client.len() - "  []".len();
    let named =
        principal.name != principal.object_id && Some(&principal.name) != principal.application_id.as_ref();
    let who = match room.checked_sub(SHORT_ID + 1) {
        Some(room) if named => {
            format!("{}/{}", plain(&principal.name, room), plain(&principal.object_id, SHORT_ID))
        }
        _ => plain(&principal.object_id, room),
    };
    if client.is_empty() { format!("[{who}]") } else { format!("{client} [{who}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_is_taken_out_and_the_rest_stays_as_it_was_written() {
        let take = |name: &str, value: &str| {
            let mut parameters = vec![(name.to_owned(), value.to_owned())];
            let reason = take_reason(&mut parameters);
            (reason, parameters.into_iter().next().map(|(_, value)| value))
        };
        let rest = |text: &str| Some(text.to_owned());
        assert_eq!(take("portcullis.reason", " ticket 7\n"), ("ticket 7".to_owned(), None));
        assert_eq!(
            take("options", r"-c a=b\ c -c Portcullis.Reason=why\ not --d=e"),
            ("why not".to_owned(), rest(r"-c a=b\ c --d=e"))
        );
        assert_eq!(take("options", "-cportcullis.reason=x"), ("x".to_owned(), rest("")));
        assert_eq!(take("options", "--portcullis.reason=x -c b=c"), ("x".to_owned(), rest("-c b=c")));
        assert_eq!(
            take("options", "-c a=portcullis.reason"),
            (String::new(), rest("-c a=portcullis.reason"))
        );
        assert_eq!(take("options", "-c x"), (String::new(), rest("-c x")));
    }

    #[test]
    fn options_are_read_as_the_server_reads_them() {
        let read = |text: &str| options(text).unwrap();
        assert_eq!(read("-c a=b"), [("a".to_owned(), "b".to_owned())]);
        assert_eq!(
            read("-ca=b  --c-d=e"),
            [("a".to_owned(), "b".to_owned()), ("c-d".to_owned(), "e".to_owned())]
        );
        assert_eq!(read(r"-c a=b\ c"), [("a".to_owned(), "b c".to_owned())]);
        assert_eq!(read(r"-c a=b\\"), [("a".to_owned(), "b\\".to_owned())]);
        assert!(read("").is_empty());
        for odd in ["-f s", "-c", "-c a", "x", "-B 1"] {
            assert!(options(odd).is_err(), "{odd}");
        }
    }
}
