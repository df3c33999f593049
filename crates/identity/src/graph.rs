//! Asking Microsoft Graph about one identity: is it there, is it enabled, which groups is it in.
//!
//! Every address is built from configuration and verified ids; nothing a token offers is followed.
//! <https://learn.microsoft.com/graph/api/serviceprincipal-get>, <https://learn.microsoft.com/graph/api/directoryobject-getmembergroups>.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis_core::{Clock, Principal, PrincipalKind, Secret, Timestamp};
use portcullis_policy::{Entra, GraphCredential, GraphLiveness, ResolveSecret, SecretRef};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    claims::is_guid,
    http::{Answer, Http},
    json,
};

/// Requests to one directory under way at once, however many principals are due.
const AT_ONCE: usize = 8;
/// Pause after 429 without `Retry-After`.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);
/// Longest wait for one of those.
const SLOT_WAIT: Duration = Duration::from_secs(5);
/// After the gateway's own token was refused, how long it is not asked for again.
const TOKEN_RETRY: Duration = Duration::from_secs(2);
/// RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What the directory says about an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// There, enabled, and in these groups, nested ones included.
    Good {
        groups: Vec<String>,
        /// What the directory calls it: an application's token holds no name.
        name: Option<String>,
    },
    Disabled,
    Deleted,
}

/// Whom to ask about. The ids are GUIDs, so they can stand in an address as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    person: bool,
    object_id: String,
    /// The agent that acts for the subject: it has to be good too.
    actor: Option<String>,
}

impl Subject {
    /// `None` where the ids are not the directory's.
    pub(crate) fn of(principal: &Principal) -> Option<Self> {
        let delegated = principal.subject.is_some();
        let person = principal.kind == PrincipalKind::User || delegated;
        let subject = Self {
            person,
            object_id: principal.object_id.clone(),
            actor: principal.actor.clone().filter(|_| delegated),
        };
        let valid = is_guid(&subject.object_id) && subject.actor.as_deref().is_none_or(is_guid);
        valid.then_some(subject)
    }
}

/// One tenant's Graph, and the gateway's own access to it.
pub(crate) struct Graph {
    http: Arc<Http>,
    secrets: Arc<dyn ResolveSecret>,
    clock: Arc<dyn Clock>,
    base: String,
    token_url: String,
    scope: String,
    credential: GraphCredential,
    token: tokio::sync::Mutex<Access>,
    paused_until: Mutex<Timestamp>,
    slots: Semaphore,
}

/// The gateway's own access to Graph.
#[derive(Default)]
struct Access {
    token: Option<Token>,
    failure: Option<(Timestamp, String)>,
}

struct Token {
    value: Arc<Secret<String>>,
    renew_at: Timestamp,
}

enum Failure {
    /// The gateway's own token was refused.
    Unauthorized,
    Other(String),
}

impl From<String> for Failure {
    fn from(detail: String) -> Self {
        Self::Other(detail)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthorized => f.write_str("graph refuses the gateway's own token"),
            Self::Other(detail) => f.write_str(detail),
        }
    }
}

impl Graph {
    pub(crate) fn new(
        entra: &Entra,
        liveness: &GraphLiveness,
        http: Arc<Http>,
        secrets: Arc<dyn ResolveSecret>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            http,
            secrets,
            clock,
            base: format!("{}/v1.0", liveness.graph),
            token_url: format!("{}/{}/oauth2/v2.0/token", entra.authority_base(), entra.tenant),
            // The resource's name, whatever address it is reached at.
            scope: format!("{}/.default", entra.cloud.graph()),
            credential: liveness.credential.clone(),
            token: tokio::sync::Mutex::default(),
            paused_until: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
        }
    }

    /// Asks. An error is "not known"; its text is for operators. Cancel safe.
    pub(crate) async fn look_up(&self, subject: &Subject) -> Result<Finding, String> {
        // Bounded, so that with a directory that hangs even the last of many principals learns in time that nothing is known.
        let slot = tokio::time::timeout(SLOT_WAIT, self.slots.acquire()).await;
        let Ok(Ok(_slot)) = slot else {
            return Err("graph is too slow: too many questions are waiting".to_owned());
        };
        if self.clock.now() < *self.pause() {
            return Err("graph asked the gateway to wait".to_owned());
        }
        let token = self.token().await?;
        let found = match self.ask(subject, &token).await {
            Err(Failure::Unauthorized) => {
                self.forget(&token).await;
                let token = self.token().await?;
                self.ask(subject, &token).await
            }
            found => found,
        };
        found.map_err(|failure| failure.to_string())
    }

    async fn ask(&self, subject: &Subject, token: &Secret<String>) -> Result<Finding, Failure> {
        let (object, fields) = if subject.person {
            (format!("users/{}", subject.object_id), "id,displayName,accountEnabled")
        } else {
            let fields = "id,appId,displayName,accountEnabled,servicePrincipalType,disabledByMicrosoftStatus";
            (format!("servicePrincipals/{}", subject.object_id), fields)
        };
        // The three are independent; asking at once keeps opening a session at one round trip.
        let (account, groups, actor) = tokio::join!(
            self.account(format!("{object}?$select={fields}"), token),
            self.groups(&object, token),
            async {
                match &subject.actor {
                    None => Ok(Account::Enabled(None)),
                    Some(app) => {
                        let path = format!(
                            "servicePrincipals(appId='{app}')?$select=id,appId,accountEnabled,disabledByMicrosoftStatus"
                        );
                        self.account(path, token).await
                    }
                }
            },
        );
        // What one answer settles is settled, whatever became of the others.
        match (&account, &actor, &groups) {
            (Ok(Account::Gone), _, _) | (_, Ok(Account::Gone), _) | (_, _, Ok(None)) => {
                return Ok(Finding::Deleted);
            }
            (Ok(Account::Disabled), _, _) | (_, Ok(Account::Disabled), _) => return Ok(Finding::Disabled),
            _ => {}
        }
        match (account?, actor?, groups?) {
            (Account::Enabled(name), Account::Enabled(_), Some(groups)) => Ok(Finding::Good { groups, name }),
            _ => Ok(Finding::Deleted),
        }
    }

    async fn account(&self, path: String, token: &Secret<String>) -> Result<Account, Failure> {
        let answer =
            self.http.get(&self.url(&path)?, Some(token)).await.map_err(|error| error.to_string())?;
        let Some(object) = self.read(&answer)? else {
            return Ok(Account::Gone);
        };
        // `NotDisabled` and null are the two ways to say that Microsoft has not disabled it.
        let by_microsoft = match object.get("disabledByMicrosoftStatus") {
            None | Some(Value::Null) => false,
            Some(status) => status != "NotDisabled",
        };
        match object.get("accountEnabled") {
            Some(Value::Bool(true)) if !by_microsoft => {
                let name = object.get("displayName").and_then(Value::as_str).filter(|name| !name.is_empty());
                Ok(Account::Enabled(name.map(|name| name.chars().take(MAX_NAME).collect())))
            }
            Some(Value::Bool(_)) => Ok(Account::Disabled),
            _ => Err(Failure::Other("graph does not say whether the account is enabled".to_owned())),
        }
    }

    /// All groups, nested ones included; `None` where the object is gone.
    async fn groups(&self, object: &str, token: &Secret<String>) -> Result<Option<Vec<String>>, Failure> {
        let url = self.url(&format!("{object}/getMemberGroups"))?;
        let body = json!({ "securityEnabledOnly": false });
        let answer = self.http.post_json(&url, token, &body).await.map_err(|error| error.to_string())?;
        let Some(found) = self.read(&answer)? else {
            return Ok(None);
        };
        let ids =
            found.get("value").and_then(Value::as_array).ok_or_else(|| "graph lists no groups".to_owned())?;
        let ids: Option<Vec<String>> = ids.iter().map(|id| id.as_str().map(str::to_owned)).collect();
        if found.contains_key("@odata.nextLink") {
            // This call does not page; half a list must not be taken for the whole.
            return Err(Failure::Other("graph lists only some of the groups".to_owned()));
        }
        ids.map(Some).ok_or_else(|| Failure::Other("graph lists groups that are not text".to_owned()))
    }

    /// The object in an answer; `None` for 404.
    fn read(&self, answer: &Answer) -> Result<Option<serde_json::Map<String, Value>>, Failure> {
        match answer.status {
            200 => match json::object(&answer.body) {
                Ok(object) => Ok(Some(object)),
                Err(_) => Err(Failure::Other("graph answered with something other than an object".to_owned())),
            },
            404 => Ok(None),
            401 => Err(Failure::Unauthorized),
            403 => Err(Failure::Other(
                "graph refuses: the gateway's application needs Application.Read.All and GroupMember.Read.All (and User.Read.All for people)"
                    .to_owned(),
            )),
            status @ (429 | 503) => {
                self.wait_as_told(answer);
                Err(Failure::Other(format!("graph answered with status {status}")))
            }
            status => Err(Failure::Other(format!("graph answered with status {status}"))),
        }
    }

    /// RFC 6585 section 4: nothing is asked until the directory wants to be asked again.
    fn wait_as_told(&self, answer: &Answer) {
        let wait = match (answer.status, answer.retry_after) {
            (_, Some(wait)) => wait,
            (429, None) => DEFAULT_PAUSE,
            _ => return,
        };
        let until = self.clock.now().plus(wait);
        let mut paused = self.pause();
        *paused = until.max(*paused);
    }

    fn url(&self, path: &str) -> Result<Url, String> {
        format!("{}/{path}", self.base).parse().map_err(|_| "graph's address is not an address".to_owned())
    }

    fn pause(&self) -> std::sync::MutexGuard<'_, Timestamp> {
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn forget(&self, refused: &Arc<Secret<String>>) {
        let mut access = self.token.lock().await;
        if access.token.as_ref().is_some_and(|token| Arc::ptr_eq(&token.value, refused)) {
            access.token = None;
        }
    }

    /// The gateway's own token for Graph: one request at a time, kept until a fifth of its life is left.
    async fn token(&self) -> Result<Arc<Secret<String>>, String> {
        let mut access = self.token.lock().await;
        let now = self.clock.now();
        if let Some(token) = access.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(Arc::clone(&token.value));
        }
        if let Some((_, detail)) = access.failure.as_ref().filter(|(at, _)| now.since(*at) < TOKEN_RETRY) {
            return Err(detail.clone());
        }
        match self.request_token().await {
            Ok((value, life)) => {
                access.failure = None;
                let fresh = Token { value: Arc::new(value), renew_at: now.plus(life.mul_f64(0.8)) };
                Ok(Arc::clone(&access.token.insert(fresh).value))
            }
            Err(detail) => {
                access.failure = Some((self.clock.now(), detail.clone()));
                Err(detail)
            }
        }
    }

    async fn request_token(&self) -> Result<(Secret<String>, Duration), String> {
        let url: Url =
            self.token_url.parse().map_err(|_| "the token endpoint is not an address".to_owned())?;
        let (client_id, proof) = self.proof()?;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client_id.as_str()),
            ("scope", self.scope.as_str()),
        ];
        match &proof {
            Proof::Secret(secret) => form.push(("client_secret", secret.expose())),
            Proof::Assertion(assertion) => {
                form.push(("client_assertion_type", JWT_BEARER));
                form.push(("client_assertion", assertion.expose().trim()));
            }
        }
        let answer =
            self.http.post_form(&url, &form).await.map_err(|error| format!("token endpoint: {error}"))?;
        let body = json::object(&answer.body).unwrap_or_default();
        if answer.status != 200 {
            self.wait_as_told(&answer);
            // `invalid_client` and the like (RFC 6749 section 5.2) tells an operator what to repair; nothing else is repeated.
            let code = body.get("error").and_then(Value::as_str).unwrap_or_default();
            let plain =
                code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let code = if plain { code } else { "" };
            return Err(format!(
                "token endpoint: refuses the gateway's own credential: status {} {code}",
                answer.status
            )
            .trim_end()
            .to_owned());
        }
        let value = body
            .get("access_token")
            .and_then(Value::as_str)
            .ok_or("token endpoint: answers without a token")?;
        let seconds = match body.get("expires_in") {
            Some(Value::Number(number)) => number.as_u64(),
            // Entra's v1.0 endpoint answers with text.
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        Ok((Secret::new(value.to_owned()), Duration::from_secs(seconds.unwrap_or(300).min(86_400))))
    }

    /// The gateway's client id and what proves it, read anew each time so that rotation is picked up.
    fn proof(&self) -> Result<(String, Proof), String> {
        let read = |reference: &SecretRef| self.secrets.resolve(reference).map_err(|error| error.to_string());
        let variable = |name: &str| read(&SecretRef::Env(name.to_owned()));
        match &self.credential {
            GraphCredential::Secret { client_id, client_secret } => {
                Ok((client_id.clone(), Proof::Secret(read(client_secret)?)))
            }
            GraphCredential::Federated { client_id, token_file } => {
                Ok((client_id.clone(), Proof::Assertion(read(&SecretRef::File(token_file.clone()))?)))
            }
            GraphCredential::Environment => {
                let client_id = variable("AZURE_CLIENT_ID")?.expose().clone();
                if let Ok(file) = variable("AZURE_FEDERATED_TOKEN_FILE") {
                    let file = PathBuf::from(file.expose());
                    return Ok((client_id, Proof::Assertion(read(&SecretRef::File(file))?)));
                }
                Ok((client_id, Proof::Secret(variable("AZURE_CLIENT_SECRET")?)))
            }
        }
    }
}

/// The longest name kept, in characters: Entra's own limit for a display name.
const MAX_NAME: usize = 256;

enum Account {
    Enabled(Option<String>),
    Disabled,
    Gone,
}

enum Proof {
    Secret(Secret<String>),
    Assertion(Secret<String>),
}
