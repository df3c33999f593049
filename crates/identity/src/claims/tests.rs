use serde_json::json;

use super::*;

const NOW: i64 = 1_790_000_000;

fn times(claims: &Value) -> Result<Lifetime, Error> {
    Claims::new(claims.as_object().unwrap()).check_times(Timestamp::from_seconds(NOW))
}

#[test]
fn dates_are_whole_seconds_and_nothing_is_coerced() {
    for bad in [
        json!(1_790_004_500.0),
        json!(1_790_004_500.5),
        json!("1790004500"),
        json!(-1),
        json!(1e30),
        json!(null),
    ] {
        let refused = times(&json!({ "exp": bad }));
        assert!(matches!(refused, Err(Error::Claims { .. })), "{bad}: {refused:?}");
        let refused = times(&json!({ "exp": NOW + 60, "nbf": bad }));
        assert!(matches!(refused, Err(Error::Claims { .. })), "{bad}: {refused:?}");
    }
    assert!(matches!(times(&json!({})), Err(Error::Claims { .. })));
    assert!(matches!(times(&json!({ "exp": i64::MAX })), Err(Error::Claims { .. })));
    assert!(matches!(times(&json!({ "exp": u64::MAX })), Err(Error::Claims { .. })));
}

#[test]
fn clocks_may_differ_by_sixty_seconds_and_no_more() {
    assert!(times(&json!({ "exp": NOW - 59, "iat": NOW - 3600 })).is_ok());
    assert!(matches!(times(&json!({ "exp": NOW - 60 })), Err(Error::Expired)));
    assert!(times(&json!({ "exp": NOW + 3600, "nbf": NOW + 60, "iat": NOW + 60 })).is_ok());
    assert!(matches!(times(&json!({ "exp": NOW + 3600, "nbf": NOW + 61 })), Err(Error::NotYetValid { .. })));
    assert!(matches!(times(&json!({ "exp": NOW + 3600, "iat": NOW + 61 })), Err(Error::NotYetValid { .. })));
    assert!(matches!(times(&json!({ "exp": NOW + 10, "iat": NOW + 10 })), Err(Error::Claims { .. })));
}

#[test]
fn the_audience_is_a_string_or_strings_one_of_which_is_ours() {
    let accepted = ["api://gw".to_owned(), "6b1f".to_owned()];
    let check = |audience: Value| {
        let claims = json!({ "aud": audience });
        Claims::new(claims.as_object().unwrap()).check_audience(&accepted)
    };
    for good in [json!("api://gw"), json!("6b1f"), json!(["x", "api://gw"])] {
        assert_eq!(check(good.clone()), Ok(()), "{good}");
    }
    for other in
        [json!("api://gw/"), json!("API://GW"), json!([]), json!(["x"]), json!(""), json!("api://gw 6b1f")]
    {
        assert_eq!(check(other.clone()), Err(Error::Audience), "{other}");
    }
    for malformed in [json!(1), json!(null), json!({"a": "api://gw"}), json!(["api://gw", 1]), json!(true)] {
        assert!(matches!(check(malformed.clone()), Err(Error::Claims { .. })), "{malformed}");
    }
}

#[test]
fn lists_are_arrays_or_separated_by_spaces() {
    let read = |value: Value| list(&value, "x");
    assert_eq!(read(json!("a b  c")).unwrap(), ["a", "b", "c"]);
    assert_eq!(read(json!(["a b", "c"])).unwrap(), ["a b", "c"]);
    assert_eq!(read(json!("")).unwrap(), Vec::<String>::new());
    for bad in
        [json!(1), json!({}), json!([1]), json!([""]), json!(["a\nb"]), json!("a\u{0}b"), json!([["a"]])]
    {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn pointers_reach_inside_and_into_names_with_slashes() {
    let claims = json!({ "realm_access": { "roles": ["r"] }, "https://ns/groups": ["g"], "a~b": 1 });
    let claims = Claims::new(claims.as_object().unwrap());
    assert_eq!(claims.pointer("/realm_access/roles"), Some(&json!(["r"])));
    assert_eq!(claims.pointer("/https:~1~1ns~1groups"), Some(&json!(["g"])));
    assert_eq!(claims.pointer("/a~0b"), Some(&json!(1)));
    assert_eq!(claims.pointer("/realm_access/none"), None);
    assert_eq!(claims.pointer(""), None);
    assert_eq!(claims.pointer("realm_access"), None);
}

#[test]
fn text_that_would_disturb_a_terminal_or_a_log_is_not_text() {
    for bad in
        [json!(""), json!("a\u{1b}[2J"), json!("a\r\nb"), json!("x".repeat(1025)), json!(1), json!(null)]
    {
        assert_eq!(text(Some(&bad)), None, "{bad}");
    }
    assert_eq!(text(Some(&json!("Zoë"))), Some("Zoë"));
}

#[test]
fn a_guid_is_eight_four_four_four_twelve() {
    assert!(is_guid("4c5a0d3e-0000-4000-8000-000000000001"));
    for bad in [
        "",
        "4c5a0d3e000040008000000000000001",
        "{4c5a0d3e-0000-4000-8000-00000000001}",
        "4c5a0d3e-0000-4000-8000-00000000000g",
    ] {
        assert!(!is_guid(bad), "{bad}");
    }
    assert!(!is_guid("4c5a0d3e-0000-4000-8000-0000/../../ab"));
}
