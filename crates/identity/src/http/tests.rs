use portcullis_testkit::{ServerCertificate, TestCa};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server on `https://localhost` that gives every request this answer; the address it is at.
async fn serve(certificate: &ServerCertificate, answer: &'static str) -> Url {
    let chain =
        CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_err() {
                continue;
            }
            stream.write_all(answer.as_bytes()).await.ok();
            stream.shutdown().await.ok();
        }
    });
    format!("https://localhost:{port}/keys").parse().unwrap()
}

fn trusting(ca: &TestCa) -> Http {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    Http::trusting(roots).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nretry-after: 999999\r\n\r\n{}";

#[tokio::test]
async fn https_is_verified_against_the_roots() {
    let (ca, stranger) = (TestCa::new(), TestCa::new());
    let http = trusting(&ca);
    let answer = http.get(&serve(&ca.localhost(), OK).await, None).await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice(), answer.retry_after),
        (200, b"{}".as_slice(), Some(MAX_RETRY_AFTER))
    );
    for certificate in [ca.expired(), ca.not_yet_valid(), ca.wrong_host(), stranger.localhost()] {
        let failed = http.get(&serve(&certificate, OK).await, None).await;
        assert!(matches!(failed, Err(HttpError::Transport(_))));
    }
}

#[tokio::test]
async fn answers_are_bounded_and_redirects_are_not_followed() {
    let ca = TestCa::new();
    let (http, certificate) = (trusting(&ca), ca.localhost());
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n";
    assert!(matches!(http.get(&serve(&certificate, announced).await, None).await, Err(HttpError::TooLong)));
    let unannounced: &'static str = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(MAX_BODY + 1)).leak();
    assert!(matches!(http.get(&serve(&certificate, unannounced).await, None).await, Err(HttpError::TooLong)));
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: https://localhost:1/\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(http.get(&serve(&certificate, elsewhere).await, None).await.unwrap().status, 302);
}

#[tokio::test]
async fn other_addresses_are_not_asked() {
    let http = Http::trusting(RootCertStore::empty()).unwrap();
    for url in ["http://idp.example/keys", "ftp://127.0.0.1/keys"] {
        assert!(matches!(http.get(&url.parse().unwrap(), None).await, Err(HttpError::Address)), "{url}");
    }
}

#[test]
fn only_https_and_loopback_http_may_be_asked() {
    for (url, expected) in [
        ("https://login.microsoftonline.com/x", true),
        ("http://127.0.0.1:8080/x", true),
        ("http://[::1]:8080/x", true),
        ("http://localhost:8080/x", true),
        ("http://login.microsoftonline.com/x", false),
        ("http://127.0.0.1.example.com/x", false),
        ("http://localhost.example.com/x", false),
        ("http://169.254.169.254/metadata", false),
        ("http://0.0.0.0/x", false),
        ("https://user:secret@idp.example/x", false),
        ("ftp://127.0.0.1/x", false),
        ("file:///etc/passwd", false),
    ] {
        assert_eq!(is_allowed(&url.parse().unwrap()), expected, "{url}");
    }
}
