//! The token: as a password and by OAUTHBEARER.

use super::*;

const CHALLENGE: &str = r#"{"status":"invalid_token","scope":"api://gw/.default"}"#;

fn bearer() -> Method {
    Method::OauthBearer { challenge: Arc::from(CHALLENGE) }
}

/// A client past its startup packet, asked for its token.
async fn asked(minor: u16, method: Method) -> (DuplexStream, JoinHandle<Result<Asked, Failed>>) {
    let (mut client, server) = negotiating(Plaintext::Allowed);
    client.write_all(&startup_packet(minor)).await.unwrap();
    let negotiated = session(server).await;
    (client, tokio::spawn(async move { negotiated.credentials(&method, LIMIT).await }))
}

async fn asked_for_password() -> (DuplexStream, JoinHandle<Result<Asked, Failed>>) {
    let (mut client, server) = asked(0, Method::Password).await;
    assert_eq!(tag_and_body(&mut client).await, (b'R', vec![0, 0, 0, 3]));
    (client, server)
}

async fn asked_for_bearer() -> (DuplexStream, JoinHandle<Result<Asked, Failed>>) {
    let (mut client, server) = asked(0, bearer()).await;
    assert_eq!(tag_and_body(&mut client).await, (b'R', b"\0\0\0\x0aOAUTHBEARER\0\0".to_vec()));
    (client, server)
}

async fn presented(server: JoinHandle<Result<Asked, Failed>>) -> (Credentials, Waiting) {
    match server.await.unwrap() {
        Ok(Asked::Presented(credentials, waiting)) => (credentials, waiting),
        other => panic!("nothing presented: {other:?}"),
    }
}

fn initial(mechanism: &[u8], response: Option<&[u8]>) -> BytesMut {
    let mut out = BytesMut::new();
    SaslInitialResponse { mechanism, response }.encode(&mut out);
    out
}

const GREETING: Greeting<'static> = Greeting { parameters: &[], process: 7, key: b"four", notices: b"" };

#[tokio::test]
async fn a_token_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    for (length, passes) in [(LIMIT, true), (LIMIT + 1, false)] {
        let (mut client, server) = asked_for_password().await;
        let mut out = BytesMut::new();
        frontend::password_message(&mut out, &vec![b'x'; length]);
        client.write_all(&out).await.unwrap();
        if passes {
            assert_eq!(presented(server).await.0.token.expose().len(), LIMIT);
        } else {
            assert_eq!(fatal(&mut client).await.0, "28P01");
            assert!(matches!(server.await.unwrap(), Err(Failed { error: Error::TokenTooLong { .. }, .. })));
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_at_the_password_request_is_no_failed_login() {
    let (client, server) = asked_for_password().await;
    drop(client);
    assert!(matches!(server.await.unwrap(), Ok(Asked::Left(_))));
    let (mut client, server) = asked_for_password().await;
    client.write_all(b"X\0\0\0\x04").await.unwrap();
    assert!(matches!(server.await.unwrap(), Ok(Asked::Left(_))));
}

#[tokio::test]
async fn what_is_no_password_is_refused() {
    let password = |text: &[u8]| {
        let mut out = BytesMut::new();
        out.put_u8(b'p');
        out.put_u32(u32::try_from(text.len() + 4).unwrap());
        out.put_slice(text);
        out
    };
    for (bytes, code) in [
        (password(b"\0"), "28P01"),
        (password(b"\xff\xfe\0"), "28P01"),
        (password(b"no end"), "08P01"),
        (password(b"two\0ends\0"), "08P01"),
        (BytesMut::from(&b"p\0\0\0\x03"[..]), "08P01"),
        (BytesMut::from(&b"Q\0\0\0\x09SELECT\0"[..]), "08P01"),
    ] {
        let (mut client, server) = asked_for_password().await;
        client.write_all(&bytes).await.unwrap();
        assert_eq!(fatal(&mut client).await.0, code, "{}", bytes.escape_ascii());
        assert!(server.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn credentials_are_what_was_sent_and_accept_sends_one_greeting() {
    let (mut client, server) = asked_for_password().await;
    let mut out = BytesMut::new();
    frontend::password_message(&mut out, b"a.b.c");
    client.write_all(&out).await.unwrap();
    let (credentials, waiting) = presented(server).await;
    assert_eq!(credentials.connection_name, "prod-logs");
    assert_eq!(credentials.database.as_deref(), Some("logs"));
    assert_eq!(credentials.parameters, [("application_name".to_owned(), "test".to_owned())]);
    assert_eq!((credentials.version, credentials.token.expose().as_str()), (ProtocolVersion::V3_0, "a.b.c"));
    assert!(!format!("{credentials:?}").contains("a.b.c"));
    let parameters = [(b"server_version".to_vec(), b"15.1".to_vec())];
    let (transport, reported) =
        waiting.accept(&Greeting { parameters: &parameters, ..GREETING }).await.unwrap();
    assert!(reported.is_delivered());
    drop(transport);
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    let mut frames = Frames::new(Direction::Backend, &bytes);
    let mut tags = String::new();
    while let Ok(Next::Frame(frame)) = frames.next() {
        tags.push(char::from(frame.tag));
    }
    assert_eq!(tags, "RSKZ");
}

#[tokio::test]
async fn a_newer_protocol_is_negotiated_before_the_password_and_gets_a_long_key() {
    let (mut client, server) = asked(9999, Method::Password).await;
    assert_eq!(tag_and_body(&mut client).await, (b'v', vec![0, 3, 0, 2, 0, 0, 0, 0]));
    assert_eq!(tag_and_body(&mut client).await.0, b'R');
    let mut out = BytesMut::new();
    frontend::password_message(&mut out, b"a.b.c");
    client.write_all(&out).await.unwrap();
    let (credentials, waiting) = presented(server).await;
    assert_eq!((credentials.version, waiting.cancel_key_length()), (ProtocolVersion::V3_2, 32));
    // A key of the wrong length would be misread: the client is refused instead.
    let failed = waiting.accept(&GREETING).await.unwrap_err();
    assert!(failed.reported.is_delivered());
    assert_eq!(fatal(&mut client).await.0, "XX000");
}

#[tokio::test]
async fn a_bearer_token_is_presented_and_accepted_without_a_final_message() {
    let (mut client, server) = asked_for_bearer().await;
    client.write_all(&initial(b"OAUTHBEARER", Some(b"n,,\x01auth=Bearer a.b-c\x01\x01"))).await.unwrap();
    let (credentials, waiting) = presented(server).await;
    assert_eq!(credentials.token.expose(), "a.b-c");
    let (_transport, _reported) = waiting.accept(&GREETING).await.unwrap();
    assert_eq!(tag_and_body(&mut client).await, (b'R', vec![0, 0, 0, 0]));
}

#[tokio::test]
async fn a_bearer_client_may_send_its_response_later() {
    let (mut client, server) = asked_for_bearer().await;
    client.write_all(&initial(b"OAUTHBEARER", None)).await.unwrap();
    assert_eq!(tag_and_body(&mut client).await, (b'R', vec![0, 0, 0, 11]));
    let mut out = BytesMut::new();
    frontend::sasl_response(&mut out, b"y,,\x01auth=bearer x\x01\x01");
    client.write_all(&out).await.unwrap();
    assert_eq!(presented(server).await.0.token.expose(), "x");
}

async fn reads_the_challenge(client: &mut DuplexStream) {
    let (tag, body) = tag_and_body(client).await;
    assert_eq!((tag, &body[..4], &body[4..]), (b'R', &[0, 0, 0, 11][..], CHALLENGE.as_bytes()));
    let mut out = BytesMut::new();
    frontend::sasl_response(&mut out, b"\x01");
    client.write_all(&out).await.unwrap();
}

#[tokio::test]
async fn discovery_is_answered_and_is_no_failed_login() {
    let (mut client, server) = asked_for_bearer().await;
    client.write_all(&initial(b"OAUTHBEARER", Some(b"n,,\x01auth=\x01\x01"))).await.unwrap();
    reads_the_challenge(&mut client).await;
    assert_eq!(fatal(&mut client).await.0, "28P01");
    assert!(matches!(server.await.unwrap(), Ok(Asked::Left(reported)) if reported.is_delivered()));
}

#[tokio::test]
async fn a_refused_bearer_token_is_answered_with_the_challenge_and_a_refused_principal_is_not() {
    for (answer, challenged, code) in [
        (Answer::NotAuthenticated { message: "expired".into() }, true, "28P01"),
        (Answer::NoAccess, false, "28000"),
    ] {
        let (mut client, server) = asked_for_bearer().await;
        client.write_all(&initial(b"OAUTHBEARER", Some(b"n,,\x01auth=Bearer x\x01\x01"))).await.unwrap();
        let (_, waiting) = presented(server).await;
        let refused = tokio::spawn(async move { waiting.refuse(&Error::Refused(answer)).await });
        if challenged {
            reads_the_challenge(&mut client).await;
        }
        assert_eq!(fatal(&mut client).await.0, code);
        assert!(refused.await.unwrap().is_delivered());
    }
}

#[tokio::test]
async fn malformed_bearer_messages_are_refused() {
    for (mechanism, response) in [
        (&b"SCRAM-SHA-256"[..], &b"n,,n=,r=x"[..]),
        (b"OAUTHBEARER", b"p=tls-unique,,\x01auth=Bearer x\x01\x01"),
        (b"OAUTHBEARER", b"n,a=me,\x01auth=Bearer x\x01\x01"),
        (b"OAUTHBEARER", b"n,,auth=Bearer x\x01\x01"),
        (b"OAUTHBEARER", b"n,,\x01auth=Bearer x\x01"),
        (b"OAUTHBEARER", b"n,,\x01auth=Bearer x\x01\x01more"),
        (b"OAUTHBEARER", b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01"),
        (b"OAUTHBEARER", b"n,,\x01host=h\x01\x01"),
        (b"OAUTHBEARER", b"n,,\x01a1=x\x01\x01"),
        (b"OAUTHBEARER", b""),
    ] {
        let (mut client, server) = asked_for_bearer().await;
        client.write_all(&initial(mechanism, Some(response))).await.unwrap();
        assert_eq!(fatal(&mut client).await.0, "08P01", "{}", response.escape_ascii());
        assert!(matches!(server.await.unwrap(), Err(Failed { error: Error::Sasl(_), .. })));
    }
    for response in [
        &b"n,,\x01auth=Basic x\x01\x01"[..],
        b"n,,\x01auth=Bearer\x01\x01",
        b"n,,\x01auth=Bearer a b\x01\x01",
        b"n,,\x01auth=Bearer ==\x01\x01",
    ] {
        let (mut client, server) = asked_for_bearer().await;
        client.write_all(&initial(b"OAUTHBEARER", Some(response))).await.unwrap();
        reads_the_challenge(&mut client).await;
        assert_eq!(fatal(&mut client).await.0, "28P01");
        assert!(matches!(server.await.unwrap(), Err(Failed { error: Error::MalformedToken, .. })));
    }
}
