//! tokio-postgres over TLS that verifies the gateway in full, as `sslmode=verify-full` does.

use std::{
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use portcullis_testkit::drivers::DriverTarget;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::SslMode,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect},
};

/// rustls for tokio-postgres.
#[derive(Clone)]
pub struct Tls(pub Arc<ClientConfig>);

/// One transport to be secured.
pub struct Securing(Arc<ClientConfig>, ServerName<'static>);

/// A secured transport.
pub struct Secured(tokio_rustls::client::TlsStream<Socket>);

impl Tls {
    /// Trusts the certificates in the file `ca` only.
    pub fn trusting(ca: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Secured;
    type TlsConnect = Securing;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Securing, Self::Error> {
        Ok(Securing(Arc::clone(&self.0), ServerName::try_from(host.to_owned())?))
    }
}

impl TlsConnect<Socket> for Securing {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let Self(config, name) = self;
            tokio_rustls::TlsConnector::from(config).connect(name, stream).await.map(Secured)
        })
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl tokio_postgres::tls::TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// How `target` is reached.
pub fn config(target: &DriverTarget) -> Config {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(target.port)
        .user(&target.user)
        .password(&target.password)
        .dbname(&target.database)
        .ssl_mode(SslMode::Require);
    config
}

/// A session; its transport is driven by a task. Notices and notifications are dropped.
pub async fn connect(target: &DriverTarget) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = open(target).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A session, and what must be polled for it to move.
pub async fn open(
    target: &DriverTarget,
) -> Result<(Client, Connection<Socket, Secured>), tokio_postgres::Error> {
    config(target).connect(tls(target)).await
}

/// Trusts what `target` says.
pub fn tls(target: &DriverTarget) -> Tls {
    Tls::trusting(target.ca.as_deref().expect("a gateway has a certificate"))
}
