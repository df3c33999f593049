//! `tokio-postgres` on the other end.

use tokio_postgres::tls::{ChannelBinding, TlsConnect};

use super::*;

/// TLS for tokio-postgres, over a pipe.
struct Tls;

struct TlsStream(Transport);

impl TlsConnect<DuplexStream> for Tls {
    type Stream = TlsStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        Box::pin(async move { client_tls(stream, &[]).await.map(TlsStream) })
    }
}

impl tokio_postgres::tls::TlsStream for TlsStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl tokio::io::AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A server that takes the client to its credentials and lets `decide` answer.
fn gateway<F>(
    server: DuplexStream,
    decide: impl FnOnce(Credentials, Waiting) -> F + Send + 'static,
) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(async move {
        let negotiation =
            Accepted::new(Transport::duplex(server)).negotiate(&server_tls(), Plaintext::Refused).await;
        let Ok(Negotiation::Session(negotiated)) = negotiation else { panic!("{negotiation:?}") };
        let asked = negotiated.credentials(&Method::Password, 64 * 1024).await;
        let Ok(Asked::Presented(credentials, waiting)) = asked else { panic!("{asked:?}") };
        decide(credentials, waiting).await
    })
}

fn config(token: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.user("prod-logs").password(token).dbname("logs").application_name("triage");
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    config
}

#[tokio::test]
async fn a_driver_logs_in_with_a_token_of_twelve_kilobytes() {
    let (client, server) = duplex(PIPE);
    let token = "t".repeat(12 * 1024);
    let expected = token.clone();
    let gateway = gateway(server, |credentials, waiting| async move {
        assert_eq!(credentials.token.expose(), &expected);
        assert_eq!(credentials.connection_name, "prod-logs");
        assert!(waiting.is_encrypted());
        let parameters = [(b"server_version".to_vec(), b"15.1".to_vec())];
        let greeting = Greeting { parameters: &parameters, process: 7, key: b"four", notices: b"" };
        waiting.accept(&greeting).await.unwrap()
    });
    let (_client, connection) = config(&token).connect_raw(client, Tls).await.unwrap();
    assert_eq!(connection.parameter("server_version"), Some("15.1"));
    assert!(gateway.await.unwrap().1.is_delivered());
}

#[tokio::test]
async fn a_driver_sees_why_it_was_refused() {
    let (client, server) = duplex(PIPE);
    let gateway = gateway(server, |_, waiting| async move {
        waiting
            .refuse(&Error::Refused(Answer::WindowNeeded {
                connection: "prod-logs".into(),
                people: false,
                on_connect: false,
                link: None,
            }))
            .await
    });
    let Err(error) = config("a.b.c").connect_raw(client, Tls).await else { panic!("let in") };
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.severity()), ("28000", "FATAL"));
    assert!(error.hint().unwrap().contains("portcullis request prod-logs"));
    assert!(gateway.await.unwrap().is_delivered());
}
