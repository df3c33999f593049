//! Mail, by a server that follows a script.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use portcullis_notify::{Delivery, DeliveryState, Notice, Roots};
use portcullis_policy::{Channel, Notification, Smtp, SmtpTls};
use portcullis_testkit::TestCa;

use crate::{
    mail_server::{MailServer, Script},
    world::{World, acceptor, channel, env, hostile, is, notice, roots},
};

const PASSWORD: &str = "pa55word";

fn email(port: u16, tls: SmtpTls, to: &[&str]) -> Arc<Notification> {
    let username = (tls != SmtpTls::None).then(|| "gateway".to_owned());
    let password = username.is_some().then(|| env("PASSWORD"));
    channel(
        "mail",
        Channel::Email {
            smtp: Smtp { host: "localhost".to_owned(), port, tls, username, password },
            from: "portcullis@example.com".to_owned(),
            to: to.iter().map(|to| (*to).to_owned()).collect(),
        },
    )
}

struct Post {
    server: MailServer,
    delivery: Delivery,
}

async fn post(script: Script, tls: SmtpTls, to: &[&str], notice: Notice) -> Post {
    let ca = TestCa::new();
    let server = MailServer::start(script, Some(acceptor(&ca))).await;
    let world = World::with(&[("PASSWORD", PASSWORD)], roots(&ca), Duration::from_secs(10));
    let delivery = world.tell(&email(server.port, tls, to), notice).await;
    Post { server, delivery }
}

#[tokio::test]
async fn mail_goes_over_starttls_with_a_login() {
    let post =
        post(Script::default(), SmtpTls::Starttls, &["oncall@example.com", "leads@example.com"], notice())
            .await;
    assert_eq!((post.delivery.state, post.delivery.last_error), (DeliveryState::Delivered, None));
    let told = post.server.told();
    let login = BASE64_STANDARD.encode(format!("\0gateway\0{PASSWORD}"));
    assert_eq!(
        told.commands,
        [
            "EHLO [127.0.0.1]",
            "STARTTLS",
            "tls EHLO [127.0.0.1]",
            &format!("tls AUTH PLAIN {login}"),
            "tls MAIL FROM:<portcullis@example.com>",
            "tls RCPT TO:<oncall@example.com>",
            "tls RCPT TO:<leads@example.com>",
            "tls DATA",
            "tls QUIT",
        ][..told.commands.len()]
    );
    assert!(told.commands.len() >= 8, "the last word may not have been heard yet");
    assert_eq!(told.mails.len(), 1);
}

#[tokio::test]
async fn mail_goes_over_tls_from_the_first_byte_with_the_other_login() {
    let script = Script { implicit: true, offers: (&[], &["AUTH LOGIN"]), ..Script::default() };
    let post = post(script, SmtpTls::Implicit, &["oncall@example.com"], notice()).await;
    assert_eq!(post.delivery.state, DeliveryState::Delivered);
    let commands = post.server.told().commands;
    assert!(commands.iter().all(|command| command.starts_with("tls ")));
    let said = [BASE64_STANDARD.encode("gateway"), BASE64_STANDARD.encode(PASSWORD)];
    assert_eq!(
        commands[1..4],
        ["tls AUTH LOGIN".to_owned(), format!("tls {}", said[0]), format!("tls {}", said[1])]
    );
}

#[tokio::test]
async fn mail_goes_in_the_clear_to_loopback_where_the_documents_say_so() {
    let post = post(Script::default(), SmtpTls::None, &["oncall@example.com"], notice()).await;
    assert_eq!(post.delivery.state, DeliveryState::Delivered);
    assert!(post.server.told().commands.iter().all(|command| !command.contains("AUTH")));
}

/// Header and the two parts, decoded, as a golden file.
fn readable(mail: &str) -> String {
    let mut parts = mail.split("--=_ntc_").map(|part| part.replace('\r', ""));
    let mut readable = parts.next().unwrap();
    for part in parts {
        let (head, content) = part.split_once("\n\n").unwrap_or((&part, ""));
        let decoded = BASE64_STANDARD.decode(content.replace('\n', "")).unwrap();
        let text = String::from_utf8(decoded).unwrap().replace('\r', "");
        readable.push_str(&format!("--=_ntc_{head}\n\n{text}"));
    }
    readable
        .chars()
        .map(|c| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() })
        .collect()
}

#[tokio::test]
async fn a_mail_has_text_and_html() {
    let post = post(Script::default(), SmtpTls::None, &["oncall@example.com"], notice()).await;
    insta::assert_snapshot!(readable(&post.server.told().mails[0]));
}

#[tokio::test]
async fn a_mail_has_hostile_text_as_text() {
    let post = post(Script::default(), SmtpTls::None, &["oncall@example.com"], hostile()).await;
    let told = post.server.told();
    assert_eq!(told.mails.len(), 1);
    insta::assert_snapshot!(readable(&told.mails[0]));
}

#[tokio::test]
async fn a_server_without_tls_gets_neither_the_password_nor_the_mail() {
    let script = Script { offers: (&["AUTH PLAIN LOGIN"], &[]), ..Script::default() };
    let post = post(script, SmtpTls::Starttls, &["oncall@example.com"], notice()).await;
    assert_eq!(post.delivery.state, DeliveryState::Failed);
    let error = post.delivery.last_error.unwrap();
    assert!(error.starts_with("the mail server does not offer STARTTLS; nothing was sent"), "{error}");
    let told = post.server.told();
    assert!(told.commands.iter().all(|command| command == "EHLO [127.0.0.1]"), "{:?}", told.commands);
}

#[tokio::test]
async fn what_a_server_says_ahead_of_tls_is_not_taken_for_its_answer_under_tls() {
    let says = vec![("STARTTLS", "220 go\r\n250-evil\r\n250 AUTH PLAIN")];
    let post =
        post(Script { says, ..Script::default() }, SmtpTls::Starttls, &["oncall@example.com"], notice())
            .await;
    assert_eq!(post.delivery.state, DeliveryState::Failed);
    assert!(post.delivery.last_error.unwrap().starts_with("the mail server spoke ahead of TLS"));
    assert!(post.server.told().commands.iter().all(|command| !command.contains("AUTH")));
}

#[tokio::test]
async fn a_stranger_s_certificate_gets_nothing() {
    let server = MailServer::start(Script::default(), Some(acceptor(&TestCa::new()))).await;
    let world = World::with(&[("PASSWORD", PASSWORD)], roots(&TestCa::new()), Duration::from_secs(10));
    let delivery =
        world.tell(&email(server.port, SmtpTls::Starttls, &["oncall@example.com"]), notice()).await;
    assert_eq!(delivery.state, DeliveryState::Failed);
    let error = delivery.last_error.unwrap();
    assert!(error.starts_with("no TLS: invalid peer certificate"), "{error}");
    assert!(server.told().commands.iter().all(|command| !command.starts_with("tls ")));
}

#[tokio::test]
async fn refusals_are_final_or_not_as_their_codes_say_and_the_server_s_words_are_not_kept() {
    for (command, says, attempts, expected) in [
        ("MAIL", "550 5.7.1 go away, pa55word", 1, "the mail server answered 550 5.7.1 to MAIL"),
        ("RCPT", "550 5.1.1 nobody", 1, "the mail server answered 550 5.1.1 to RCPT"),
        ("RCPT", "451 4.7.1 greylisted", 12, "the mail server answered 451 4.7.1 to RCPT"),
        (".", "552 5.3.4 too big", 1, "the mail server answered 552 5.3.4 to the content"),
        ("AUTH", "535 5.7.8 wrong pa55word", 12, "the mail server answered 535 5.7.8 to AUTH"),
        ("EHLO", "421 4.3.2 not now", 12, "the mail server answered 421 4.3.2 to EHLO"),
        ("MAIL", "hello?", 12, "what answers is no mail server"),
    ] {
        let script = Script { says: vec![(command, says)], ..Script::default() };
        let post = post(script, SmtpTls::Starttls, &["oncall@example.com"], notice()).await;
        assert_eq!(
            (post.delivery.state, post.delivery.attempts),
            (DeliveryState::Failed, attempts),
            "{says}"
        );
        let error = post.delivery.last_error.unwrap();
        assert!(error.starts_with(expected) && !error.contains(PASSWORD), "{error}");
        assert_eq!(post.server.told().mails.len(), 0);
    }
}

#[tokio::test]
async fn a_recipient_that_is_refused_does_not_cost_the_others_their_mail_and_is_in_the_log() {
    let says = vec![("RCPT TO:<gone@example.com>", "550 5.1.1 nobody")];
    let to = ["oncall@example.com", "gone@example.com"];
    let post = post(Script { says, ..Script::default() }, SmtpTls::Starttls, &to, notice()).await;
    assert_eq!(post.delivery.state, DeliveryState::Delivered);
    assert_eq!(post.delivery.last_error.as_deref(), Some("1 of 2 recipients refused: 550 5.1.1"));
    assert_eq!(post.server.told().mails.len(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    let greeting: &'static str = format!("220-{}", "x".repeat(100_000)).leak();
    let post =
        post(Script { greeting, ..Script::default() }, SmtpTls::Starttls, &["oncall@example.com"], notice())
            .await;
    assert!(post.delivery.last_error.unwrap().starts_with("the mail server's answer is too long"));
}

#[tokio::test]
async fn a_mail_server_that_does_not_answer_is_left_after_the_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let world = World::with(&[("PASSWORD", PASSWORD)], Roots::Platform, Duration::from_millis(100));
    world.notifier.notify(&[email(port, SmtpTls::Starttls, &["oncall@example.com"])], notice());
    let retried = world.until("mail", is(DeliveryState::Retrying)).await;
    assert_eq!(retried.last_error.as_deref(), Some("no answer: timed out"));
    drop(silent);
}
