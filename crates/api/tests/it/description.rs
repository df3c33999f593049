//! The API's description: checked in, and what is served.

use std::path::Path;

use crate::world::World;

#[test]
fn the_description_is_the_one_checked_in() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json"));
    let made = format!("{}\n", serde_json::to_string_pretty(&portcullis_api::openapi()).unwrap());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "crates/api/openapi.json is not what the routes say: look at the change, then run with BLESS=1"
    );
}

#[tokio::test]
async fn the_description_is_served_and_complete() {
    let world = World::new().await;
    let served = world.nobody().get("/openapi.json").await.json();
    assert_eq!(served, portcullis_api::openapi());
    let text = served.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let name = reference.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{reference}"));
        assert!(served["components"]["schemas"].get(name).is_some(), "{reference} is nowhere");
    }
    // Every path it has is answered: by something that is no "nothing answers here".
    for (path, methods) in served["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path
                .strip_prefix("/api/v1")
                .unwrap()
                .replace("{id}", "x")
                .replace("{name}", "x")
                .replace("{provider}", "x");
            let method: reqwest::Method = method.to_uppercase().parse().unwrap();
            let answer = world.nobody().bare(method, &path).send().await.unwrap();
            assert_ne!(answer.status(), 405, "{path}");
            assert!(!answer.text().await.unwrap().contains("nothing answers"), "{path}");
        }
    }
}
