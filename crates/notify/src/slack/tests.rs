use portcullis_core::{Secret, Timestamp};
use portcullis_policy::NoticeKind;
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderValue};

use super::*;
use crate::notice::fixture;

/// The example of Slack's page on verifying requests.
const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const AT: i64 = 1_531_420_618;
const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
    &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

fn headers(at: &str, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("X-Slack-Request-Timestamp", HeaderValue::from_str(at).unwrap());
    headers.insert("X-Slack-Signature", HeaderValue::from_str(signature).unwrap());
    headers
}

fn secret() -> Secret<String> {
    Secret::new(SECRET.to_owned())
}

#[test]
fn slack_s_own_example_verifies_once() {
    let (verifier, now) = (Verifier::default(), Timestamp::from_seconds(AT + 2));
    let headers = headers(&AT.to_string(), SIGNATURE);
    assert_eq!(verifier.verify(&headers, BODY.as_bytes(), &secret(), now), Ok(()));
    for later in [now, Timestamp::from_seconds(AT + 299)] {
        let again = verifier.verify(&headers, BODY.as_bytes(), &secret(), later);
        assert_eq!(again, Err(NotFromSlack::Replayed));
    }
}

#[test]
fn what_slack_did_not_sign_like_this_is_refused() {
    let good = headers(&AT.to_string(), SIGNATURE);
    let now = Timestamp::from_seconds(AT);
    let verify = |headers: &HeaderMap, body: &str, secret: &str, now: Timestamp| {
        Verifier::default().verify(headers, body.as_bytes(), &Secret::new(secret.to_owned()), now)
    };
    let other = BODY.replace("roadrunner", "coyote");
    assert_eq!(verify(&good, &other, SECRET, now), Err(NotFromSlack::Signature));
    assert_eq!(verify(&good, BODY, "another secret", now), Err(NotFromSlack::Signature));
    assert_eq!(verify(&headers("1531420619", SIGNATURE), BODY, SECRET, now), Err(NotFromSlack::Signature));
    for (seconds, expected) in [
        (-301, Err(NotFromSlack::Time)),
        (-300, Ok(())),
        (300, Ok(())),
        (301, Err(NotFromSlack::Time)),
        (86_400, Err(NotFromSlack::Time)),
    ] {
        assert_eq!(verify(&good, BODY, SECRET, Timestamp::from_seconds(AT + seconds)), expected, "{seconds}");
    }
    let upper = SIGNATURE.to_uppercase();
    let cut = &SIGNATURE[..SIGNATURE.len() - 1];
    let long = format!("{SIGNATURE}00");
    for signature in ["", "v0=", "v1=00", &upper, cut, &long, &SIGNATURE.replace('a', "g")] {
        let answer = verify(&headers(&AT.to_string(), signature), BODY, SECRET, now);
        assert_eq!(answer, Err(NotFromSlack::Form), "{signature}");
    }
    for at in ["", "-1", "+1531420618", "1531420618.0", "1531420618 ", "9999999999999", "nan"] {
        assert_eq!(verify(&headers(at, SIGNATURE), BODY, SECRET, now), Err(NotFromSlack::Form), "{at}");
    }
    let mut twice = good.clone();
    twice.append("x-slack-signature", HeaderValue::from_static(SIGNATURE));
    assert_eq!(verify(&twice, BODY, SECRET, now), Err(NotFromSlack::Form));
    assert_eq!(verify(&HeaderMap::new(), BODY, SECRET, now), Err(NotFromSlack::Form));
}

#[test]
fn a_call_that_was_refused_is_not_remembered() {
    let (verifier, now) = (Verifier::default(), Timestamp::from_seconds(AT));
    let good = headers(&AT.to_string(), SIGNATURE);
    let other = Secret::new("another".to_owned());
    assert_eq!(verifier.verify(&good, BODY.as_bytes(), &other, now), Err(NotFromSlack::Signature));
    assert_eq!(verifier.verify(&good, BODY.as_bytes(), &secret(), now), Ok(()));
}

fn payload(change: impl FnOnce(&mut Json)) -> Vec<u8> {
    let mut payload = json!({
        "type": "block_actions",
        "user": { "id": "U0123ABC", "username": "sam", "team_id": "T9" },
        "team": { "id": "T9", "domain": "example" },
        "api_app_id": "A1",
        "token": "not looked at",
        "container": { "type": "message" },
        "response_url": "https://hooks.slack.com/actions/T9/1/secret",
        "actions": [{ "type": "button", "block_id": "b", "action_id": APPROVE, "action_ts": "1.2",
                      "value": "req_01998f6f0b7a7000a000000000000001" }],
    });
    change(&mut payload);
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("payload", &payload.to_string());
    form.finish().into_bytes()
}

fn parse(body: &[u8]) -> Result<Interaction, InvalidInteraction> {
    Interaction::parse(body, ResponseHosts::Slack)
}

#[test]
fn somebody_is_of_a_workspace_only_where_all_that_slack_says_is_that_one() {
    let of = |change: fn(&mut Json)| parse(&payload(change)).unwrap().is_of("T9");
    assert!(of(|_| ()));
    assert!(of(|p| p["user"] = json!({ "id": "U0123ABC" })));
    assert!(!of(|p| p["user"]["team_id"] = "T8".into()), "a guest by Slack Connect");
    assert!(!of(|p| p["team"]["id"] = "T8".into()), "another workspace with the app");
    assert!(
        !of(|p| (p["team"], p["enterprise"]) = (Json::Null, json!({ "id": "E9" }))),
        "nobody knows which"
    );
}

#[test]
fn a_pressed_button_is_read() {
    let read = parse(&payload(|_| ())).unwrap();
    assert_eq!((read.user.as_str(), read.team.as_str(), read.action), ("U0123ABC", "T9", Action::Approve));
    assert_eq!(read.request.to_string(), "req_01998f6f0b7a7000a000000000000001");
    assert!(!format!("{read:?}").contains("secret"), "the address is a secret");
    let deny = parse(&payload(|p| p["actions"][0]["action_id"] = DENY.into())).unwrap();
    let open = parse(&payload(|p| p["actions"][0]["action_id"] = OPEN.into())).unwrap();
    assert_eq!((deny.action, open.action), (Action::Deny, Action::Open));
    // An app of a whole organisation gets no team.
    let whole = payload(|p| {
        p["team"] = Json::Null;
        p["enterprise"] = json!({ "id": "E7" });
    });
    assert_eq!(parse(&whole).unwrap().team, "E7");
}

#[test]
fn what_is_no_press_of_our_buttons_is_refused() {
    type Change = fn(&mut Json);
    let changes: [(Change, InvalidInteraction); 11] = [
        (|p| p["type"] = "view_submission".into(), InvalidInteraction::Action),
        (|p| p["actions"] = json!([]), InvalidInteraction::Action),
        (|p| p["actions"] = json!([p["actions"][0], p["actions"][0]]), InvalidInteraction::Action),
        (|p| p["actions"][0]["action_id"] = "approve_everything".into(), InvalidInteraction::Action),
        (|p| p["actions"][0]["value"] = Json::Null, InvalidInteraction::Request),
        (
            |p| p["actions"][0]["value"] = "win_01998f6f0b7a7000a000000000000001".into(),
            InvalidInteraction::Request,
        ),
        (|p| p["user"]["id"] = "".into(), InvalidInteraction::Form),
        (|p| p["user"]["id"] = "U1 U2".into(), InvalidInteraction::Form),
        (|p| p["team"] = Json::Null, InvalidInteraction::Form),
        (|p| p["user"] = "U1".into(), InvalidInteraction::Form),
        (|p| p["response_url"] = Json::Null, InvalidInteraction::Form),
    ];
    for (at, (change, expected)) in changes.into_iter().enumerate() {
        assert_eq!(parse(&payload(change)), Err(expected), "change {at}");
    }
    assert_eq!(parse(b""), Err(InvalidInteraction::Form));
    assert_eq!(parse(b"payload={"), Err(InvalidInteraction::Form));
    let good = payload(|_| ());
    assert_eq!(
        parse(&[good.as_slice(), b"&", &good].concat()),
        Err(InvalidInteraction::Form),
        "two payloads"
    );
    assert_eq!(parse(&vec![b'a'; 256 * 1024 + 1]), Err(InvalidInteraction::TooLong));
}

#[test]
fn answers_go_to_slack_and_nowhere_else() {
    let at = |url: &str, hosts| {
        let body = payload(|p| p["response_url"] = url.into());
        Interaction::parse(&body, hosts).is_ok()
    };
    for elsewhere in [
        "http://hooks.slack.com/actions/1",
        "https://hooks.slack.com.evil.example/1",
        "https://evil.example/hooks.slack.com",
        "https://hooks.slack.com@evil.example/1",
        "https://user@hooks.slack.com/1",
        "https://hooks.slack.com:8443/1",
        "https://127.0.0.1/1",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "hooks.slack.com/1",
    ] {
        assert!(!at(elsewhere, ResponseHosts::Slack), "{elsewhere}");
    }
    assert!(at("https://HOOKS.slack.com:443/actions/1", ResponseHosts::Slack));
    assert!(at("http://127.0.0.1:8080/1", ResponseHosts::SlackOrLoopback));
    assert!(!at("http://10.0.0.1:8080/1", ResponseHosts::SlackOrLoopback));
}

#[test]
fn buttons_that_answer_are_there_only_while_there_is_something_to_answer() {
    let has = |notice: &Notice, buttons| {
        let body = body(notice, buttons).to_string();
        (body.contains(APPROVE), body.contains(DENY), body.contains(OPEN))
    };
    let mut notice = fixture::notice();
    assert_eq!(has(&notice, Buttons::Answer), (true, true, true));
    assert_eq!(has(&notice, Buttons::LinkOnly), (false, false, true));
    notice.kind = NoticeKind::BreakGlass;
    assert_eq!(has(&notice, Buttons::Answer), (false, false, true));
    let mut answered = fixture::answered();
    assert_eq!(has(&answered, Buttons::Answer), (false, false, true));
    answered.link = format!("https://gateway.example.com/{}", "x".repeat(MAX_URL)).parse().unwrap();
    assert_eq!(has(&answered, Buttons::Answer), (false, false, false), "no actions block without elements");
}

#[test]
fn a_cut_is_marked_and_no_entity_is_halved() {
    assert_eq!(escape("a&b<c>d", 100), "a&amp;b&lt;c&gt;d");
    assert_eq!(escape("abcd", 4), "abcd");
    assert_eq!(escape("abcde", 4), "abc…");
    assert_eq!(escape("a&b", 6), "a…", "`a&amp;` and a mark are seven");
    assert_eq!(escape("a&", 6), "a&amp;");
}

/// Every text object of a message, with the type it has.
fn texts(json: &Json, found: &mut Vec<(String, String)>) {
    match json {
        Json::Object(fields) => {
            if let (Some(Json::String(kind)), Some(Json::String(text))) =
                (fields.get("type"), fields.get("text"))
            {
                found.push((kind.clone(), text.clone()));
            }
            fields.values().for_each(|value| texts(value, found));
        }
        Json::Array(values) => values.iter().for_each(|value| texts(value, found)),
        _ => {}
    }
}

fn assert_inert(notice: &Notice) {
    let body = body(notice, Buttons::Answer);
    let mut found = Vec::new();
    texts(&body["blocks"], &mut found);
    for (kind, text) in found {
        assert!((1..=MAX_SECTION).contains(&text.chars().count()), "{text:?}");
        match kind.as_str() {
            "plain_text" => {
                assert!(!text.contains(['<', '>']), "{text:?}");
                assert!(text.split('@').skip(1).all(|rest| rest.starts_with(['\u{2060}', '…'])), "{text:?}");
            }
            // Only our labels and dates are markup.
            "mrkdwn" => assert!(text.starts_with('*') || text.starts_with("<!date^1"), "{text:?}"),
            other => panic!("{other}"),
        }
    }
    let fallback = body["text"].as_str().unwrap();
    assert!(!fallback.contains(['<', '>']) && fallback.chars().count() <= MAX_SECTION);
    for mention in ["@here", "@channel", "@everyone"] {
        assert!(!fallback.contains(mention), "{fallback}");
    }
    let blocks = body["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50);
    for block in blocks {
        let fields = block["fields"].as_array().map_or(0, Vec::len);
        assert!(fields <= MAX_FIELDS && fields % 2 == 0);
    }
}

proptest! {
    #[test]
    fn nothing_a_requester_writes_is_markup_or_too_long(who in "\\PC{0,400}", why in "(?s).{0,3000}", note in "[<>&!@#|*_`{}$\\[\\]()\\s]{0,900}") {
        for mut notice in [fixture::notice(), fixture::answered()] {
            notice.requester.clone_from(&who);
            notice.requester_key.clone_from(&why);
            notice.reason.clone_from(&why);
            notice.summary.clone_from(&note);
            if let Some(answered) = &mut notice.answered {
                answered.note.clone_from(&note);
                answered.by.clone_from(&who);
            }
            assert_inert(&notice.bounded());
        }
    }
}

#[test]
fn the_longest_texts_stay_within_the_limits() {
    for fill in ["&", "<!channel>", "😀", "@here "] {
        let mut notice = fixture::notice();
        let long = fill.repeat(100_000);
        for text in [&mut notice.requester, &mut notice.reason, &mut notice.summary, &mut notice.needs] {
            text.clone_from(&long);
        }
        let notice = notice.bounded();
        assert_inert(&notice);
        // Teams takes 28 KB, and less has been seen.
        assert!(crate::teams::body(&notice).to_string().len() < 20_000);
    }
}
