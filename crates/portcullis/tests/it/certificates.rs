//! The gateway's certificate: given by files, replaced while it runs.

use portcullis_testkit::{Scratch, TestCa};

use crate::lab::Lab;

#[tokio::test]
async fn a_replaced_certificate_is_presented_to_new_clients() {
    let (first, second, files) = (TestCa::new(), TestCa::new(), Scratch::new());
    first.localhost().write_to(files.path());
    let dir = files.path().display();
    let mut lab =
        Lab::with(&format!("tls: {{ certificate: {dir}/server.crt, key: {dir}/server.key }}\n")).await;
    assert_eq!(status(&lab, &first).await, Some(200));
    assert_eq!(status(&lab, &second).await, None, "another authority is not trusted");

    second.localhost().write_to(files.path());
    lab.gateway.wait_for_line("certificate replaced").await;
    assert_eq!(status(&lab, &second).await, Some(200));
    assert_eq!(status(&lab, &first).await, None);

    files.write("server.crt", "no certificate");
    lab.gateway.wait_for_line("cannot be used").await;
    assert_eq!(status(&lab, &second).await, Some(200), "a bad pair never replaces a good one");
}

/// What `/healthz` answers a client that trusts this authority only.
async fn status(lab: &Lab, ca: &TestCa) -> Option<u16> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let trusted = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([trusted]).no_proxy().build().unwrap();
    Some(http.get(format!("{}/healthz", lab.url())).send().await.ok()?.status().as_u16())
}
