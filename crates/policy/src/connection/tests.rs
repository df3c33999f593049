use super::*;

#[test]
fn addresses_with_and_without_ports() {
    let parse = |text: &str| Address::parse(text, Some(5432)).map(|address| address.to_string());
    for (text, expected) in [
        ("db.internal:6432", "db.internal:6432"),
        ("db.internal", "db.internal:5432"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("[2001:db8::1]:5433", "[2001:db8::1]:5433"),
        ("[::1]", "[::1]:5432"),
        ("::1", "[::1]:5432"),
    ] {
        assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
    }
    for bad in [
        "",
        ":5432",
        "db:0",
        "db:65536",
        "db:x",
        "[::1",
        "[db]:1",
        "a b:1",
        "-a:1",
        "a..b:1",
        "user@db:1",
        "db/x:1",
        "[::1]x",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert!("db".parse::<Address>().is_err());
}

fn connection(database: Option<&str>, databases: &[&str]) -> Connection {
    Connection {
        name: "prod-logs".parse().unwrap(),
        description: None,
        protocol: Protocol::Postgres,
        address: "h:1".parse().unwrap(),
        tls: UpstreamTls::default(),
        database: database.map(str::to_owned),
        databases: databases.iter().map(|name| (*name).to_owned()).collect(),
        credential: None,
        authentication: None,
        location: String::new(),
    }
}

#[test]
fn only_listed_databases_open_and_the_connections_name_means_the_default() {
    let both = connection(Some("logs"), &["archive"]);
    assert_eq!(both.database_for(None), Some("logs"));
    assert_eq!(both.database_for(Some("")), Some("logs"));
    assert_eq!(both.database_for(Some("prod-logs")), Some("logs"));
    assert_eq!(both.database_for(Some("archive")), Some("archive"));
    assert_eq!(both.database_for(Some("postgres")), None);
    assert_eq!(both.database_for(Some("LOGS")), None);
    let several = connection(None, &["a", "b"]);
    assert_eq!(several.database_for(None), None);
    assert_eq!(several.database_for(Some("b")), Some("b"));
    assert_eq!(connection(None, &["a"]).database_for(None), Some("a"));
    assert_eq!(connection(None, &["prod-logs", "x"]).database_for(Some("prod-logs")), Some("prod-logs"));
}

#[test]
fn where_a_connection_stands_does_not_make_it_another() {
    let one = connection(Some("logs"), &[]);
    let moved =
        Connection { location: "p.yaml:9".to_owned(), description: Some("x".to_owned()), ..one.clone() };
    assert_eq!(one, moved);
    assert_ne!(one, connection(Some("other"), &[]));
}
