use std::os::unix::fs::symlink;

use portcullis_dev_idp::{DevIdp, Directory, Running};
use portcullis_testkit::ManualClock;

use super::*;

const LATER: Timestamp = Timestamp::from_seconds(4_000_000_000);
const GATEWAY: &str = "https://gateway.example:8443";
const CLI: &str = "9f2c0000-0000-4000-8000-0000000000f2";
const TENANT: &str = "4c5a0d3e-0000-4000-8000-000000000001";

fn kept(issuer: &str, expires_at: Timestamp, refresh: Option<&str>) -> Kept {
    Kept {
        gateway: GATEWAY.to_owned(),
        ca: None,
        provider: SignInView {
            name: "entra".to_owned(),
            kind: "entra".to_owned(),
            issuer: issuer.to_owned(),
            client_id: CLI.to_owned(),
            scopes: ["api://portcullis/.default", "openid", "offline_access"].map(str::to_owned).to_vec(),
            device: true,
            token: "access".to_owned(),
        },
        tokens: Tokens {
            token: Secret::new("access-token".to_owned()),
            expires_at,
            refresh: refresh.map(|text| Secret::new(text.to_owned())),
            id: None,
        },
    }
}

fn place() -> (tempfile::TempDir, Place) {
    let scratch = tempfile::tempdir().unwrap();
    let place = Place(scratch.path().join("state/portcullis"));
    (scratch, place)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

async fn issuer(clock: &ManualClock) -> Running {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo/directory.yaml");
    let directory = Directory::load(&path).unwrap();
    DevIdp::new(directory, Arc::new(clock.clone())).unwrap().start().await.unwrap()
}

/// A refresh token of sam, by the device flow.
async fn refresh_token(idp: &Running) -> String {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = format!("{}/{TENANT}/oauth2", idp.authority().unwrap());
    let post = async |path: &str, form: &[(&str, &str)]| {
        http.post(format!("{base}/{path}")).form(form).send().await.unwrap().bytes().await.unwrap()
    };
    let scope = "api://portcullis/.default openid offline_access";
    let begun = post("v2.0/devicecode", &[("client_id", CLI), ("scope", scope)]).await;
    let begun: serde_json::Value = serde_json::from_slice(&begun).unwrap();
    post("deviceauth", &[("user_code", begun["user_code"].as_str().unwrap()), ("user", "sam")]).await;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", CLI),
        ("device_code", begun["device_code"].as_str().unwrap()),
    ];
    let tokens: serde_json::Value = serde_json::from_slice(&post("v2.0/token", &form).await).unwrap();
    tokens["refresh_token"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_kept_is_for_its_owner_only_and_reads_back() {
    let (_scratch, place) = place();
    assert!(place.find(GATEWAY).unwrap().is_none() && place.only().unwrap().is_none());
    let path = place.keep(&kept("https://idp.example", Timestamp::from_seconds(100), Some("r"))).unwrap();
    assert_eq!((mode(&path), mode(&place.0)), (0o600, 0o700));
    let found = place.find("https://GATEWAY.example:8443/").unwrap().unwrap();
    assert_eq!(found.tokens.token.expose(), "access-token");
    assert_eq!(found.tokens.refresh.unwrap().expose(), "r");
    assert_eq!(place.only().unwrap().unwrap().gateway, GATEWAY);
    assert!(place.find("https://gateway.example").unwrap().is_none(), "another port is another gateway");
    assert!(!format!("{:?}", place.find(GATEWAY).unwrap()).contains("access-token"));
    assert!(place.forget(GATEWAY).unwrap() && !place.forget(GATEWAY).unwrap());
}

#[test]
fn a_folder_that_others_may_enter_is_narrowed() {
    let (_scratch, place) = place();
    fs::create_dir_all(&place.0).unwrap();
    fs::set_permissions(&place.0, Permissions::from_mode(0o777)).unwrap();
    place.keep(&kept("https://idp.example", LATER, None)).unwrap();
    assert_eq!(mode(&place.0), 0o700);
}

#[test]
fn a_token_that_others_can_read_is_not_used_and_is_replaced() {
    let (_scratch, place) = place();
    let path = place.keep(&kept("https://idp.example", LATER, None)).unwrap();
    for wide in [0o640, 0o604, 0o660, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
        let said = place.find(GATEWAY).unwrap_err().to_string();
        assert!(said.contains("can be read by others") && said.contains("portcullis login"), "{said}");
        assert!(!said.contains("access-token"));
    }
    place.keep(&kept("https://idp.example", LATER, None)).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert!(place.find(GATEWAY).unwrap().is_some());
}

#[test]
fn a_link_in_place_of_a_token_is_neither_read_nor_written_through() {
    let (scratch, place) = place();
    let path = place.keep(&kept("https://idp.example", LATER, None)).unwrap();
    let elsewhere = scratch.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let said = place.find(GATEWAY).unwrap_err().to_string();
    assert!(said.contains("is a link"), "{said}");

    let before = fs::read(&elsewhere).unwrap();
    place.keep(&kept("https://idp.example", Timestamp::from_seconds(7), None)).unwrap();
    assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(fs::read(&elsewhere).unwrap(), before, "what the link pointed at is untouched");

    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, path.with_extension("new")).unwrap();
    place.keep(&kept("https://idp.example", Timestamp::from_seconds(7), None)).unwrap();
    assert_eq!(fs::read(&elsewhere).unwrap(), before, "nor by way of the unfinished file");

    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(place.forget(GATEWAY).unwrap() && elsewhere.exists(), "logging out removes the link alone");
}

#[test]
fn damaged_files_are_said_to_be_so() {
    let (_scratch, place) = place();
    let path = place.keep(&kept("https://idp.example", LATER, None)).unwrap();
    fs::write(&path, "{\"token\": 7").unwrap();
    assert!(place.find(GATEWAY).unwrap_err().to_string().contains("is no kept sign-in"));
}

#[test]
fn names_of_files_stay_in_the_folder() {
    let (_scratch, place) = place();
    for gateway in
        ["https://[::1]:8443", "https://gateway.example/../../x", "https://gateway.example/a%2F..%2Fb"]
    {
        let path = place.file(&gateway_name(gateway).unwrap());
        assert_eq!(path.parent().unwrap(), place.0, "{gateway}");
        assert!(!path.file_name().unwrap().to_str().unwrap().contains(['/', '%', '[']));
    }
    assert!(gateway_name("http://gateway.example").is_err());
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_and_the_next_refresh_token_kept() {
    let clock = ManualClock::default();
    let (idp, (_scratch, place)) = (issuer(&clock).await, place());
    let first = refresh_token(&idp).await;
    let ends = clock.now().plus(Duration::from_secs(600));
    place.keep(&kept(&idp.issuer().unwrap(), ends, Some(&first))).unwrap();
    let present = async || place.present(GATEWAY, Arc::new(clock.clone())).await;

    assert_eq!(present().await.unwrap().unwrap().expose(), "access-token");
    clock.advance(Duration::from_secs(500));
    let asked = idp.requests().token;
    let renewed = present().await.unwrap().unwrap();
    assert_ne!(renewed.expose(), "access-token");
    assert_eq!(present().await.unwrap().unwrap().expose(), renewed.expose());
    assert_eq!(idp.requests().token, asked + 1, "once");
    let now = place.find(GATEWAY).unwrap().unwrap();
    assert_ne!(now.tokens.refresh.unwrap().expose(), &first);
    assert!(now.tokens.expires_at > clock.now());
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_used_to_its_end_and_no_longer() {
    let clock = ManualClock::default();
    let (idp, (_scratch, place)) = (issuer(&clock).await, place());
    let ends = clock.now().plus(Duration::from_secs(60));
    place.keep(&kept(&idp.issuer().unwrap(), ends, Some("not.good"))).unwrap();
    let present = async || place.present(GATEWAY, Arc::new(clock.clone())).await;
    assert_eq!(present().await.unwrap().unwrap().expose(), "access-token");
    clock.advance(Duration::from_secs(60));
    let said = present().await.unwrap_err().to_string();
    assert!(said.contains("your sign-in is over") && said.contains("portcullis login"), "{said}");
    assert!(!said.contains("not.good"));

    idp.set_issuer_failing(true);
    let said = present().await.unwrap_err().to_string();
    assert!(said.contains("has to be renewed"), "{said}");

    place.keep(&kept(&idp.issuer().unwrap(), ends, None)).unwrap();
    assert!(present().await.unwrap_err().to_string().contains("your sign-in is over"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_at_the_same_time_renew_once() {
    let clock = ManualClock::default();
    let (idp, (_scratch, place)) = (issuer(&clock).await, place());
    let first = refresh_token(&idp).await;
    place.keep(&kept(&idp.issuer().unwrap(), clock.now(), Some(&first))).unwrap();
    let asked = idp.requests().token;
    let one = || {
        let (place, clock) = (place.clone(), clock.clone());
        // A thread of its own, as a command has: the lock is waited for where the command waits.
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(place.present(GATEWAY, Arc::new(clock))).unwrap().unwrap().expose().clone()
        })
    };
    let (a, b, c) = tokio::join!(one(), one(), one());
    let tokens = [a.unwrap(), b.unwrap(), c.unwrap()];
    assert!(tokens.iter().all(|token| *token == tokens[0] && token != "access-token"));
    assert_eq!(idp.requests().token, asked + 1);
}
