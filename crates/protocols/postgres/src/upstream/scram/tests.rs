//! RFC 7677's example, and servers that lie.

use super::*;

const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &[u8] =
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

fn scram() -> Scram {
    Scram::with_nonce(Binding::Impossible, NONCE.to_owned()).0
}

fn keys(challenge: &Challenge) -> Arc<Keys> {
    Arc::new(Keys::derive("pencil", challenge.salt(), challenge.iterations()))
}

// RFC 7677 section 3, with the empty user name that PostgreSQL has; so that the proof differs and is recomputed here.
#[test]
fn the_example_of_rfc_7677_verifies_up_to_the_user_name() {
    let challenge = scram().challenge(SERVER_FIRST).unwrap();
    assert_eq!(challenge.iterations().get(), 4096);
    let keys = keys(&challenge);
    // With the RFC's own messages the keys give the RFC's own proof and signature.
    let signed = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                  s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let challenge = Challenge { signed: signed.to_owned(), ..challenge };
    let (reply, verify) = challenge.answer(&keys);
    assert_eq!(
        reply,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    verify.finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
}

#[test]
fn a_server_without_the_password_is_not_believed() {
    let verify = || {
        let challenge = scram().challenge(SERVER_FIRST).unwrap();
        let keys = keys(&challenge);
        challenge.answer(&keys).1
    };
    assert_eq!(verify().finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(Error::Signature));
    assert_eq!(verify().finish(b"v="), Err(Error::Signature));
    assert_eq!(verify().finish(b""), Err(Error::Malformed("final")));
    assert_eq!(verify().finish(b"e=other-error"), Err(Error::Server("other-error".into())));
}

#[test]
fn a_malformed_first_message_is_refused() {
    for (message, error) in [
        (&b"r=someoneelse,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"[..], Error::Nonce),
        (b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", Error::Nonce),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0", Error::Iterations(0)),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=100001", Error::Iterations(100_001)),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999", Error::Iterations(u32::MAX)),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=+4096", Error::Malformed("first")),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", Error::Malformed("first")),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", Error::Malformed("first")),
        (b"m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", Error::Malformed("first")),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,x=y", Error::Malformed("first")),
        (b"", Error::Malformed("first")),
        (b"\xff", Error::Malformed("first")),
    ] {
        assert_eq!(scram().challenge(message).unwrap_err(), error, "{}", message.escape_ascii());
    }
}

#[test]
fn each_login_has_its_own_nonce_and_says_what_it_is_bound_to() {
    let first = |binding| Scram::begin(binding).unwrap().1;
    assert_ne!(first(Binding::Impossible), first(Binding::Impossible));
    assert!(first(Binding::Impossible).starts_with("n,,n=,r="));
    assert!(first(Binding::NotOffered).starts_with("y,,n=,r="));
    assert!(first(Binding::ServerEndPoint(vec![1])).starts_with("p=tls-server-end-point,,n=,r="));
}

#[tokio::test]
async fn a_password_is_salted_once_and_a_changed_one_again() {
    let cache = SaltedPasswords::new();
    let (one, two) = (Secret::new("one".to_owned()), Secret::new("two".to_owned()));
    let rounds = NonZeroU32::new(2).unwrap();
    let first = cache.keys(&one, b"salt", rounds).await.unwrap();
    assert!(Arc::ptr_eq(&first, &cache.keys(&one, b"salt", rounds).await.unwrap()));
    for other in [
        cache.keys(&two, b"salt", rounds).await.unwrap(),
        cache.keys(&one, b"other", rounds).await.unwrap(),
        cache.keys(&one, b"salt", NonZeroU32::new(3).unwrap()).await.unwrap(),
    ] {
        assert_ne!(other.client.expose(), first.client.expose());
    }
    assert_eq!(cache.len(), 4);
}

#[tokio::test]
async fn the_cache_is_bounded_and_drops_the_longest_unused() {
    let cache = SaltedPasswords::new();
    let password = Secret::new("p".to_owned());
    let rounds = NonZeroU32::MIN;
    let first = cache.keys(&password, b"first", rounds).await.unwrap();
    for number in 0..1100_u32 {
        cache.keys(&password, &number.to_be_bytes(), rounds).await.unwrap();
        // Used all the while, so that it stays.
        assert!(Arc::ptr_eq(&first, &cache.keys(&password, b"first", rounds).await.unwrap()));
    }
    assert_eq!(cache.len(), 1024);
}

#[test]
fn nothing_that_prints_shows_a_key() {
    let challenge = scram().challenge(SERVER_FIRST).unwrap();
    assert_eq!(format!("{:?}", keys(&challenge)), "Keys(…)");
}
