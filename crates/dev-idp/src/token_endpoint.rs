//! The token endpoints: client credentials (secret or assertion), authorization codes (PKCE), device codes and refresh tokens, with
//! Entra's errors.
//!
//! INVARIANT(disabled-gets-nothing): every path to a token passes [`Client::prove`], which refuses a disabled
//! application after its proof, as Entra does. Tokens issued before stay valid.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest;
use axum::{
    Json,
    extract::{Form, Path, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    authorize::Code,
    claims::{self, ClientProof, GroupsForm, Issuance, Resource, TOKEN_EXCHANGE},
    directory::{Application, ApplicationKind, Lifetime, TokenVersion},
    idp::DevIdp,
    oauth_error::OAuthError,
    refresh::Granted,
};

/// More parameters than any of our grants has.
const MAX_PARAMETERS: usize = 24;
/// RFC 8628, section 3.4.
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The one kind of client assertion (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

type FormBody = Result<Form<Vec<(String, String)>>, FormRejection>;

pub(crate) async fn v1(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    form: FormBody,
) -> Response {
    answer(&idp, &tenant, TokenVersion::V1, &headers, form)
}

pub(crate) async fn v2(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    form: FormBody,
) -> Response {
    answer(&idp, &tenant, TokenVersion::V2, &headers, form)
}

fn answer(
    idp: &DevIdp,
    tenant: &str,
    endpoint: TokenVersion,
    headers: &HeaderMap,
    form: FormBody,
) -> Response {
    idp.count().token += 1;
    if idp.faults.issuer_failing() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let form = match form {
        Ok(Form(form)) => form,
        Err(rejection) => return rejection.into_response(),
    };
    let body = if tenant.parse() == Ok(idp.tenant()) {
        Parameters::new(form).and_then(|parameters| Request { idp, endpoint, headers, parameters }.body())
    } else {
        Err(OAuthError::unknown_tenant(tenant))
    };
    let no_store = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    match body {
        Ok(body) => (no_store, Json(body)).into_response(),
        Err(error) => (no_store, error.respond(idp)).into_response(),
    }
}

/// Form or query parameters, each given once.
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Result<Self, OAuthError> {
        if pairs.len() > MAX_PARAMETERS {
            return Err(OAuthError::invalid_request(90023, "The request has too many parameters."));
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if let Some(repeated) = parameters.insert(name.clone(), value).map(|_| name) {
                let message = format!("The parameter '{repeated}' is repeated.");
                return Err(OAuthError::invalid_request(90023, message));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter; an empty one counts as absent (RFC 6749, section 3.1).
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn require(&self, name: &str) -> Result<&str, OAuthError> {
        self.find(name).ok_or_else(|| {
            let message = format!("The request body must contain the following parameter: '{name}'.");
            OAuthError::invalid_request(900_144, message)
        })
    }
}

struct Request<'a> {
    idp: &'a DevIdp,
    endpoint: TokenVersion,
    headers: &'a HeaderMap,
    parameters: Parameters,
}

/// A client that has proved itself.
struct Client {
    app: Application,
    proof: ClientProof,
}

impl Request<'_> {
    fn body(&self) -> Result<Value, OAuthError> {
        match self.parameters.require("grant_type")? {
            "client_credentials" => self.client_credentials(),
            "authorization_code" => self.authorization_code(),
            "refresh_token" => self.refresh_token(),
            DEVICE_CODE => self.device_code(),
            other => Err(OAuthError {
                status: StatusCode::BAD_REQUEST,
                error: "unsupported_grant_type",
                code: 70003,
                message: format!("The app requested an unsupported grant type '{other}'."),
            }),
        }
    }

    fn client_credentials(&self) -> Result<Value, OAuthError> {
        let client = self.client()?;
        if client.proof == ClientProof::Public {
            return Err(OAuthError::no_proof());
        }
        let resource = match self.endpoint {
            TokenVersion::V1 => self.find_resource(self.parameters.require("resource")?)?,
            TokenVersion::V2 => {
                let scope = self.parameters.require("scope")?;
                let requested = scope.strip_suffix("/.default").filter(|rest| !rest.contains(' '));
                self.find_resource(requested.ok_or_else(|| OAuthError::scope(scope))?)?
            }
        };
        let lifetime = self.lifetime(&resource);
        let mut claims = {
            let world = self.idp.world();
            self.issuance(&resource, lifetime)?.app(&world, &client.app, client.proof)
        };
        if resource.is_token_exchange() {
            self.federate(&client.app, &mut claims);
        }
        self.success(&resource, lifetime, &claims)
    }

    fn authorization_code(&self) -> Result<Value, OAuthError> {
        let client = self.client()?;
        let code = self.redeem(&client.app)?;
        let refresh = self.first_refresh(&code.granted);
        self.user_tokens(&client, &code.granted, code.nonce.as_deref(), refresh)
    }

    fn device_code(&self) -> Result<Value, OAuthError> {
        let client = self.client()?;
        let code = self.parameters.require("device_code")?;
        let now = self.idp.clock().now();
        let polled = self.idp.world().devices.poll(code, client.app.client_id, now);
        let granted = polled.map_err(OAuthError::not_yet)?;
        let refresh = self.first_refresh(&granted);
        self.user_tokens(&client, &granted, None, refresh)
    }

    fn refresh_token(&self) -> Result<Value, OAuthError> {
        let client = self.client()?;
        let presented = self.parameters.require("refresh_token")?;
        let now = self.idp.clock().now();
        let rotated = self.idp.world().families.rotate(presented, client.app.client_id, now);
        let (granted, next) = rotated.map_err(OAuthError::worthless)?;
        // Entra gives tokens for other resources too; here what was granted is what there is.
        self.user_tokens(&client, &granted, None, Some(next))
    }

    fn first_refresh(&self, granted: &Granted) -> Option<String> {
        let now = self.idp.clock().now();
        granted.offline.then(|| self.idp.world().families.begin(granted.clone(), now))
    }

    /// Tokens for a client acting for a person.
    fn user_tokens(
        &self,
        client: &Client,
        granted: &Granted,
        nonce: Option<&str>,
        refresh: Option<String>,
    ) -> Result<Value, OAuthError> {
        let resource = self.find_resource(&granted.resource)?;
        let lifetime = self.lifetime(&resource);
        let issuance = self.issuance(&resource, lifetime)?;
        let id = client.app.client_id;
        let (claims, id_token) = {
            let world = self.idp.world();
            let user = world.users.get(&granted.user).filter(|user| user.enabled);
            let user = user.ok_or_else(OAuthError::user_disabled)?;
            let claims = issuance.user(&world, user, id, client.proof, &granted.scope);
            (claims, granted.openid.then(|| issuance.id_token(user, id, nonce)))
        };
        let mut body = self.success(&resource, lifetime, &claims)?;
        if let Some(body) = body.as_object_mut() {
            claims::set(body, "scope", json!(granted.granted));
            if let Some(claims) = id_token {
                claims::set(body, "id_token", json!(self.sign(TokenVersion::V2, &claims)?));
            }
            if let Some(refresh) = refresh {
                claims::set(body, "refresh_token", json!(refresh));
            }
        }
        Ok(body)
    }

    /// Takes the code out, so that it works once, and checks all it was bound to.
    fn redeem(&self, app: &Application) -> Result<Code, OAuthError> {
        let presented = self.parameters.require("code")?;
        let verifier = self.parameters.require("code_verifier")?;
        let redirect = self.parameters.require("redirect_uri")?;
        let now = self.idp.clock().now();
        let code = self.idp.world().codes.take(presented, now);
        let code = code.ok_or_else(|| {
            OAuthError::invalid_grant(
                70008,
                "The provided authorization code is expired, redeemed or unknown.",
            )
        })?;
        if code.granted.client != app.client_id || code.redirect_uri != redirect {
            let message = "The client or the redirect URI is not the one the code was issued to.";
            return Err(OAuthError::invalid_grant(70000, message));
        }
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        if challenge != code.challenge {
            let message =
                "The Code_Verifier does not match the code_challenge supplied in the authorization request.";
            return Err(OAuthError::invalid_grant(501_481, message));
        }
        Ok(code)
    }

    /// The client, by Basic credentials or by the form, but not by both.
    fn client(&self) -> Result<Client, OAuthError> {
        let basic = self.headers.get(header::AUTHORIZATION).map(|value| basic_credentials(value.as_bytes()));
        let basic = match basic {
            Some(None) => {
                return Err(OAuthError::invalid_request(90023, "The Authorization header is malformed."));
            }
            Some(Some(pair)) => Some(pair),
            None => None,
        };
        let given = self.parameters.find("client_secret");
        if basic.is_some() && given.is_some() {
            return Err(OAuthError::invalid_request(90023, "Several client credentials were given."));
        }
        let id = match &basic {
            Some((id, _)) => id.as_str(),
            None => self.parameters.require("client_id")?,
        };
        let secret = basic.as_ref().map(|(_, secret)| secret.as_str()).or(given);
        let app = id.parse::<Uuid>().ok().and_then(|id| self.idp.world().application(id).cloned());
        let app = app.ok_or_else(|| OAuthError::unknown_application(id))?;
        Client::prove(self, app, secret)
    }

    /// Whether the client assertion is a token of this issuer, made for exchange, that names this application: the
    /// blueprint's token for an agent, or one with the subject of the application's federated credential.
    fn assertion_is_good(&self, app: &Application, assertion: &str) -> bool {
        let now = self.idp.clock().now();
        let Some(claims) = self.idp.keys().verify(assertion, now) else { return false };
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let issuer = self.idp.issuer().ok();
        let agent = (app.kind == ApplicationKind::Agent)
            .then_some(app.parent_application)
            .flatten()
            .map(|parent| agent_subject(self.idp.tenant(), parent, app.client_id));
        let subjects = [agent.as_deref(), app.federated_subject.as_deref()];
        text("aud") == Some(TOKEN_EXCHANGE)
            && text("iss") == issuer.as_deref()
            && text("sub").is_some_and(|sub| subjects.contains(&Some(sub)))
    }

    /// Makes a blueprint's token one that its agent identity can present (`fmi_path`).
    fn federate(&self, app: &Application, claims: &mut Map<String, Value>) {
        if let Some(agent) = self.parameters.find("fmi_path").and_then(|path| path.parse().ok()) {
            claims::set(claims, "sub", json!(agent_subject(self.idp.tenant(), app.client_id, agent)));
        }
    }

    fn find_resource(&self, requested: &str) -> Result<Resource, OAuthError> {
        Resource::find(&self.idp.world(), requested).ok_or_else(|| OAuthError::unknown_resource(requested))
    }

    fn lifetime(&self, resource: &Resource) -> Lifetime {
        resource.lifetime().unwrap_or(self.idp.token_lifetime())
    }

    fn issuance<'a>(
        &'a self,
        resource: &'a Resource,
        lifetime: Lifetime,
    ) -> Result<Issuance<'a>, OAuthError> {
        Ok(Issuance {
            authority: self.idp.authority().map_err(|_| OAuthError::internal())?,
            tenant: self.idp.tenant(),
            now: self.idp.clock().now(),
            lifetime,
            version: resource.version(),
            resource,
            groups: GroupsForm::Natural,
        })
    }

    fn sign(&self, version: TokenVersion, claims: &Map<String, Value>) -> Result<String, OAuthError> {
        self.idp.keys().current().token(version, claims).map_err(|_| OAuthError::internal())
    }

    /// The v1.0 endpoint writes its numbers as strings.
    fn success(
        &self,
        resource: &Resource,
        lifetime: Lifetime,
        claims: &Map<String, Value>,
    ) -> Result<Value, OAuthError> {
        let token = self.sign(resource.version(), claims)?;
        let seconds = lifetime.duration().as_secs();
        let number = |name: &str| claims.get(name).map(Value::to_string);
        Ok(match self.endpoint {
            TokenVersion::V1 => json!({
                "token_type": "Bearer",
                "expires_in": seconds.to_string(),
                "ext_expires_in": seconds.to_string(),
                "expires_on": number("exp"),
                "not_before": number("nbf"),
                "resource": resource.requested,
                "access_token": token,
            }),
            TokenVersion::V2 => json!({
                "token_type": "Bearer",
                "expires_in": seconds,
                "ext_expires_in": seconds,
                "access_token": token,
            }),
        })
    }
}

impl Client {
    fn prove(request: &Request<'_>, app: Application, secret: Option<&str>) -> Result<Self, OAuthError> {
        let assertion = request.parameters.find("client_assertion");
        let proof = match (secret, assertion) {
            (Some(_), Some(_)) => {
                return Err(OAuthError::invalid_request(90023, "Several client credentials were given."));
            }
            (Some(given), None) => {
                if !app.secret.as_ref().is_some_and(|secret| secret.matches(given.as_bytes())) {
                    return Err(OAuthError::bad_secret(&app));
                }
                match app.kind {
                    ApplicationKind::ManagedIdentity => ClientProof::Assertion,
                    ApplicationKind::Application | ApplicationKind::Agent => ClientProof::Secret,
                }
            }
            (None, Some(assertion)) => {
                if request.parameters.require("client_assertion_type")? != JWT_BEARER
                    || !request.assertion_is_good(&app, assertion)
                {
                    return Err(OAuthError::bad_assertion());
                }
                ClientProof::Assertion
            }
            (None, None) if app.public_client => ClientProof::Public,
            (None, None) => return Err(OAuthError::no_proof()),
        };
        if app.enabled { Ok(Self { app, proof }) } else { Err(OAuthError::application_disabled(&app)) }
    }
}

/// The subject by which a blueprint's token names one of its agent identities.
fn agent_subject(tenant: Uuid, parent: Uuid, agent: Uuid) -> String {
    let encoded = |id: Uuid| URL_SAFE_NO_PAD.encode(id.to_bytes_le());
    format!("/eid1/c/pub/t/{}/a/{}/{agent}", encoded(tenant), encoded(parent))
}

/// Client id and secret of a Basic header, both form-encoded (RFC 6749, section 2.3.1).
fn basic_credentials(value: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decoded =
        |text: &str| Some(percent_decode_str(&text.replace('+', " ")).decode_utf8().ok()?.into_owned());
    Some((decoded(id)?, decoded(secret)?))
}
