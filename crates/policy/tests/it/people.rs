//! Sign-in, roles and notifiers, as programs find them; and what the process file says about people.

use std::{sync::Arc, time::Duration};

use portcullis_policy::{
    Channel, ConsoleSettings, NoticeKind, Policy, Process, Role, RoleSet, SecretRef, SignIn, SignInToken,
    SmtpTls, SourceFile, Subject, Who, check, check_process,
};

fn policy(texts: &[&str]) -> Arc<Policy> {
    let files: Vec<SourceFile> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| SourceFile { path: format!("{at}.yaml").into(), text: (*text).to_owned() })
        .collect();
    let (policy, report) = check(&files);
    policy.unwrap_or_else(|| panic!("{}", report.render(false)))
}

const HEAD: &str = "identity:
  - {name: entra, kind: entra, tenant: 4c5a0d3e-0000-4000-8000-000000000001, audience: ['api://portcullis/', 'app'], users: allow, sign_in: SIGN_IN, groups: {platform: 11111111-1111-4111-8111-111111111111, oncall: 22222222-2222-4222-8222-222222222222}}
  - {name: web, kind: oidc, issuer: 'https://web.example.com', audience: app, claims: {roles: /roles}, sign_in: SIGN_IN}
";

fn sign_in(written: &str) -> [SignIn; 2] {
    let policy = policy(&[&HEAD.replace("SIGN_IN", written)]);
    [0, 1].map(|at: usize| policy.providers()[at].sign_in.clone().unwrap())
}

#[test]
fn sign_in_asks_for_what_its_provider_needs() {
    let [entra, web] = sign_in("{client_id: app}");
    assert_eq!(entra.scopes, ["api://portcullis/.default", "openid", "profile", "offline_access"]);
    assert_eq!(
        (web.scopes, web.token, web.client_secret),
        (vec!["openid".into(), "profile".into()], SignInToken::Access, None)
    );
    let [entra, web] = sign_in("{client_id: app, token: id, client_secret: env:SECRET}");
    assert_eq!(entra.scopes, ["openid", "profile", "offline_access"]);
    assert_eq!((web.token, web.client_secret), (SignInToken::Id, Some(SecretRef::Env("SECRET".into()))));
    let [entra, _] = sign_in("{client_id: app, scopes: x}");
    assert_eq!(entra.scopes, ["x"]);
}

#[test]
fn a_changed_sign_in_is_a_changed_provider() {
    let provider = |written: &str| Arc::clone(&policy(&[&HEAD.replace("SIGN_IN", written)]).providers()[0]);
    assert_eq!(provider("{client_id: app}"), provider("{client_id: app}"));
    assert_ne!(provider("{client_id: app}"), provider("{client_id: app, scopes: x}"));
}

#[test]
fn roles_are_joined_over_documents_and_admin_has_them_all() {
    let head = HEAD.replace("sign_in: SIGN_IN, ", "").replace(", sign_in: SIGN_IN", "");
    let policy = policy(&[
        &head,
        "roles: {admin: 'group:platform', auditor: ['role:web/audit']}\n",
        "roles: {approver: 'group:oncall', auditor: 'group:oncall', viewer: 'role:entra/reader'}\n",
    ]);
    let roles = |provider: &str, groups: &[&str], roles: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let who = Who {
            provider: Some(provider.to_owned()),
            groups: words(groups),
            roles: words(roles),
            ..Who::default()
        };
        policy.roles(&who.principal(&policy))
    };
    let listed = |set: RoleSet| set.iter().map(Role::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(listed(roles("entra", &["platform"], &[])), "viewer approver auditor admin");
    assert_eq!(listed(roles("entra", &["oncall"], &[])), "viewer approver auditor");
    assert_eq!(listed(roles("web", &[], &["audit"])), "viewer auditor");
    assert_eq!(listed(roles("entra", &[], &["reader"])), "viewer");
    // another provider's word, another's role: nothing
    assert!(roles("web", &["oncall", "platform"], &["reader"]).is_empty());
    assert!(roles("entra", &[], &["audit", "admin"]).is_empty());
    assert!(!RoleSet::NONE.has(Role::Viewer) && RoleSet::NONE.with(Role::Approver).has(Role::Viewer));
    assert!(!RoleSet::NONE.with(Role::Auditor).has(Role::Approver));
}

#[test]
fn notifiers_are_as_written_with_defaults_filled_in() {
    let head = HEAD.replace("SIGN_IN", "{client_id: app}");
    let policy = policy(&[
        &head,
        "connections: {prod-a: {protocol: postgres, address: 'h:1', database: d}, lab: {protocol: postgres, address: 'h:1', database: d}}
notifications:
  - {name: chat, kind: slack, url: env:SLACK, signing_secret: env:SIGNING, team: T0123ABC, users: {U0123ABC: 'id:web/kim'}, connections: ['prod-*']}
  - {name: teams, kind: teams, url: 'file:teams.url', events: [review, held, held]}
  - {name: hook, kind: webhook, url: env:HOOK, secret: env:KEY, events: expired}
  - {name: mail, kind: email, smtp: {host: mail.internal}, from: p@example.com, to: a@example.com}
  - {name: mail2, kind: email, smtp: {host: '::1', tls: none, username: u, password: env:P}, from: p@example.com, to: [a@example.com, b@example.com], events: [answered]}
",
    ]);
    let [chat, teams, hook, mail, mail2] = policy.notifications() else { panic!() };
    assert_eq!(
        (chat.name.as_str(), chat.channel.as_str(), chat.location.as_str()),
        ("chat", "slack", "1.yaml:3")
    );
    assert_eq!(chat.events, NoticeKind::DEFAULT);
    assert!(chat.covers(&"prod-a".parse().unwrap()) && !chat.covers(&"lab".parse().unwrap()));
    assert!(chat.tells(NoticeKind::BreakGlass) && !chat.tells(NoticeKind::Expired));
    let Channel::Slack { url, signing_secret: Some(_), users, team } = &chat.channel else { panic!() };
    assert_eq!(*url, SecretRef::Env("SLACK".into()));
    assert_eq!(team.as_deref(), Some("T0123ABC"));
    let (id, who) = users.first_key_value().unwrap();
    assert_eq!((id.as_str(), who.to_string().as_str()), ("U0123ABC", "id:web/kim"));
    assert!(matches!(who, Subject::Id(_)));
    assert_eq!(teams.channel, Channel::Teams { url: SecretRef::File("teams.url".into()) });
    assert_eq!(teams.events, [NoticeKind::Held, NoticeKind::Review]);
    assert!(teams.covers(&"lab".parse().unwrap()));
    assert!(matches!(&hook.channel, Channel::Webhook { .. }) && hook.events == [NoticeKind::Expired]);
    let Channel::Email { smtp, from, to } = &mail.channel else { panic!() };
    assert_eq!((smtp.port, smtp.tls, &smtp.username, &smtp.password), (587, SmtpTls::Starttls, &None, &None));
    assert_eq!((from.as_str(), to.len()), ("p@example.com", 1));
    let Channel::Email { smtp, to, .. } = &mail2.channel else { panic!() };
    assert_eq!((smtp.port, smtp.tls, smtp.username.as_deref(), to.len()), (25, SmtpTls::None, Some("u"), 2));
}

fn process(more: &str) -> Process {
    let text = format!("listen: {{web: '127.0.0.1:0'}}\ndata: var\npolicy: p.yaml\n{more}");
    let (process, report) = check_process(&SourceFile { path: "gateway.yaml".into(), text });
    assert_eq!(report.render(false), "");
    process.unwrap()
}

#[test]
fn the_process_file_says_where_people_find_the_gateway_and_for_how_long() {
    let defaults = process("");
    assert_eq!((defaults.public_url, defaults.console), (None, ConsoleSettings::default()));
    assert_eq!((defaults.limits.pending_requests, defaults.limits.pending_per_identity), (10_000, 20));
    let said = process(
        "public_url: https://gateway.example.com\nconsole: {idle: 5m, absolute: 1h}\nlimits: {pending_requests: 50, pending_per_identity: 5}\n",
    );
    assert_eq!(said.public_url.unwrap().as_str(), "https://gateway.example.com/");
    assert_eq!(
        (said.console.idle, said.console.absolute),
        (Duration::from_secs(300), Duration::from_secs(3_600))
    );
    assert_eq!((said.limits.pending_requests, said.limits.pending_per_identity), (50, 5));
    // a short session is not idle for longer than it lasts
    assert_eq!(process("console: {absolute: 5m}\n").console.idle, Duration::from_secs(300));
    assert!(process("public_url: http://127.0.0.1:8443\n").public_url.is_some());
}
