use portcullis_core::{GroupRef, Timestamp};

use super::*;

fn eval(source: &str) -> Result<bool, ConditionError> {
    let condition = Condition::compile(source)?;
    let mut principal = values::with_sample_facts(|facts| facts.principal.clone()).unwrap();
    principal.groups = vec![GroupRef { id: "1".to_owned(), name: Some("oncall".to_owned()) }];
    principal.roles = vec!["Reader".to_owned()];
    principal.name = "triage-agent".to_owned();
    condition.holds(&Facts {
        now: "2026-01-05T13:37:00Z".parse::<Timestamp>().unwrap(),
        source: "10.1.2.3".parse().unwrap(),
        client: "psql",
        principal: &principal,
        connection: &"prod-logs".parse().unwrap(),
    })
}

#[test]
fn every_variable_and_function_works() {
    for source in [
        r#"source.ip in cidr("10.0.0.0/8") && now.hour() >= 6"#,
        r#"!(source.ip in cidr("192.168.0.0/16"))"#,
        r#"source.ip == "10.1.2.3""#,
        r#"source.ip == ip("10.1.2.3")"#,
        "now.hour() == 13 && now.minute() == 37 && now.day() == 5 && now.month() == 1 && now.year() == 2026",
        "now.weekday() == 1 && now.weekday() in [1, 2, 3, 4, 5]",
        r#"now < timestamp("2027-01-01T00:00:00Z")"#,
        r#"now.getHours("Europe/Berlin") == 14"#,
        r#""oncall" in principal.groups"#,
        r#"principal.roles.exists(r, r == "Reader")"#,
        r#"principal.name.startsWith("triage-") && principal.kind == "application""#,
        r#"client == "psql" && connection == "prod-logs""#,
        r#"client.matches("^psql$")"#,
        r#"has(principal.app) && principal.id != """#,
        "size(principal.groups) == 1",
        "true && true && true && true && true && true && true && true && true && true && true && true",
        "now.weekday() in [1, 2, 3, 4, 5] && (now.hour() >= 6 && now.hour() < 20) && !(principal.roles.exists(r, r == 'x'))",
    ] {
        assert_eq!(eval(source), Ok(true), "{source}");
    }
}

#[test]
fn what_does_not_evaluate_is_an_error_and_never_true() {
    for (source, part) in [
        ("principal.nam == 'x'", "there is no `nam`"),
        ("now.hour() >= '6'", "does not work on"),
        ("source.ip in cidr('10.0.0.0/33')", "is no network"),
        ("source.ip in cidr('10.0.0.1/8')", "is no network"),
        ("1", "not a yes or no"),
        ("principal.groups[7] == 'x'", "out of bounds"),
        ("client in cidr('10.0.0.0/8')", "only an address"),
    ] {
        let error = eval(source).unwrap_err().to_string();
        assert!(error.contains(part), "{source}: {error}");
    }
}

#[test]
fn unknown_names_are_told_when_compiled() {
    let unknown = |source: &str| match Condition::compile(source) {
        Err(ConditionError::Unknown { name, .. }) => name,
        other => panic!("{source}: {other:?}"),
    };
    assert_eq!(unknown("sorce.ip == 'x'"), "sorce");
    assert_eq!(unknown("now.hours() > 3"), "hours");
    assert_eq!(unknown("network('10.0.0.0/8') == 1"), "network");
    assert!(matches!(Condition::compile("1 +"), Err(ConditionError::Syntax { .. })));
}

#[test]
fn a_mapped_address_is_its_v4_address() {
    let condition = Condition::compile(r#"source.ip in cidr("10.0.0.0/8")"#).unwrap();
    let holds = |ip: &str| {
        values::with_sample_facts(|facts| condition.holds(&Facts { source: ip.parse().unwrap(), ..*facts }))
            .unwrap()
    };
    assert_eq!(holds("::ffff:10.1.2.3"), Ok(true));
    assert_eq!(holds("::ffff:11.1.2.3"), Ok(false));
}

/// What the bounds let through is parsed and evaluated on a small stack, without optimisation.
#[test]
fn the_costliest_conditions_allowed_fit_a_small_stack() {
    let work = || {
        for text in [
            format!("{}true{}", "(".repeat(16), ")".repeat(16)),
            format!("{}true", "!".repeat(16)),
            format!("principal{} == 1", ".a".repeat(63)),
            format!("principal{} == 1", ".a".repeat(10)),
            format!("now{} == 1", ".hour()".repeat(64)),
            format!("now{} == 1", ".hour()".repeat(10)),
            format!("true{}", " ? true : false".repeat(4)),
            format!("{}true{}", "true ? (".repeat(4), ") : false".repeat(4)),
            format!("true{}", " && true".repeat(31)),
            format!("true{}", " && true || false".repeat(15)),
            format!("{}1{} == 1", "[".repeat(16), "]".repeat(16)),
            format!("1{} == 1", " + 1".repeat(60)),
            format!("1{} == 1", " + 1".repeat(10)),
            format!("{}'a'{} == 'a'", "string(".repeat(16), ")".repeat(16)),
            "principal.groups.exists(g, g == 'a' && g != 'b')".to_owned(),
            format!("principal{} == 1", "[0]".repeat(60)),
        ] {
            if let Ok(condition) = Condition::compile(&text) {
                let _ = condition.try_out();
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}
