//! One attempt on one channel: secrets read, the message made and sent. No memory, no retries.

use std::{pin::Pin, sync::Arc, time::Duration};

use portcullis_core::{Clock, Secret};
use portcullis_policy::{Channel, Notification, ResolveSecret, SecretRef, Smtp, Url};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value as Json;
use tokio_rustls::TlsConnector;

use crate::{
    Notice, email,
    failed::Failed,
    http::{Http, Post, Words},
    slack, smtp, teams, webhook,
};

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The platform's.
    #[default]
    Platform,
    /// These and no others.
    These(RootCertStore),
}

/// What sends one notice to one channel: the product's [`Sender`], or a script in tests.
pub(crate) trait SendNotice: Send + Sync {
    /// Whether the channel took it. On success the text says what went wrong besides.
    fn send<'a>(&'a self, channel: &'a Notification, notice: &'a Notice) -> Sending<'a>;
}

pub(crate) type Sending<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, Failed>> + Send + 'a>>;

/// Sends over the network.
pub(crate) struct Sender {
    http: Http,
    tls: TlsConnector,
    timeout: Duration,
    secrets: Arc<dyn ResolveSecret>,
    clock: Arc<dyn Clock>,
}

impl Sender {
    pub(crate) fn new(
        secrets: Arc<dyn ResolveSecret>,
        clock: Arc<dyn Clock>,
        roots: Roots,
        timeout: Duration,
    ) -> Result<Self, String> {
        let roots = match roots {
            Roots::These(roots) => roots,
            Roots::Platform => {
                let mut roots = RootCertStore::empty();
                // Roots that cannot be read are left out; with none, every delivery over TLS fails and says so.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        // aws-lc-rs, whatever the process has installed.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            http: Http::new(&tls, timeout)?,
            tls: TlsConnector::from(Arc::new(tls)),
            timeout,
            secrets,
            clock,
        })
    }

    /// Answers somebody who pressed a button.
    pub(crate) async fn respond(&self, to: &slack::ResponseUrl, reply: &slack::Reply) -> Result<(), Failed> {
        self.post(to.url(), &[], bytes(&reply.body()), Words::Slack).await
    }

    async fn attempt(&self, channel: &Notification, notice: &Notice) -> Result<Option<String>, Failed> {
        match &channel.channel {
            Channel::Slack { url, signing_secret, users: _, team: _ } => {
                let buttons = match signing_secret {
                    Some(_) => slack::Buttons::Answer,
                    None => slack::Buttons::LinkOnly,
                };
                let body = bytes(&slack::body(notice, buttons));
                self.post(&self.address(url).await?, &[], body, Words::Slack).await.map(|()| None)
            }
            Channel::Teams { url } => {
                let body = bytes(&teams::body(notice));
                self.post(&self.address(url).await?, &[], body, Words::Ignored).await.map(|()| None)
            }
            Channel::Webhook { url, secret } => {
                let (url, secret) = (self.address(url).await?, self.secret(secret).await?);
                let body = bytes(&webhook::body(notice));
                let headers = webhook::headers(notice, &body, &secret, self.clock.now());
                self.post(&url, &headers, body, Words::Ignored).await.map(|()| None)
            }
            Channel::Email { smtp, from, to } => self.mail(smtp, from, to, notice).await,
        }
    }

    async fn mail(
        &self,
        smtp: &Smtp,
        from: &str,
        to: &[String],
        notice: &Notice,
    ) -> Result<Option<String>, Failed> {
        let content = email::compose(notice, from, to)?;
        let password = match &smtp.password {
            Some(reference) => Some(self.secret(reference).await?),
            None => None,
        };
        let server = smtp::Server { smtp, password: password.as_ref(), tls: &self.tls, step: self.timeout };
        smtp::send(&server, &smtp::Mail { from, to, content: &content }).await
    }

    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        words: Words,
    ) -> Result<(), Failed> {
        self.http.post(Post { url, headers, body, words }).await
    }

    /// The address a reference names. Neither it nor why it is none is told: it is a secret.
    async fn address(&self, reference: &SecretRef) -> Result<Url, Failed> {
        let text = self.secret(reference).await?;
        let url = Url::parse(text.expose().trim());
        url.map_err(|_| Failed::channel(format!("what `{reference}` names is no URL")))
    }

    /// Read at each attempt, so that a rotated secret is picked up; in a thread, because files can hang.
    async fn secret(&self, reference: &SecretRef) -> Result<Secret<String>, Failed> {
        let (secrets, wanted) = (Arc::clone(&self.secrets), reference.clone());
        let read = tokio::task::spawn_blocking(move || secrets.resolve(&wanted)).await;
        // A secret that is missing now may be there later.
        read.map_err(|_| Failed::channel(format!("cannot read the secret `{reference}`")))?
            .map_err(Failed::channel)
    }
}

impl SendNotice for Sender {
    fn send<'a>(&'a self, channel: &'a Notification, notice: &'a Notice) -> Sending<'a> {
        Box::pin(self.attempt(channel, notice))
    }
}

fn bytes(body: &Json) -> Vec<u8> {
    body.to_string().into_bytes()
}
