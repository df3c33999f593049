//! Plans captured from PostgreSQL 15 and 18 (`testdata/plans`): tables of 10,000 rows and fewer, analysed.

use super::*;

fn captured(name: &str, version: u16) -> String {
    let path = format!("{}/testdata/plans/{name}-{version}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn rows(name: &str) -> Vec<u64> {
    [15, 18].map(|version| read(&captured(name, version), Conditions::Shown).unwrap().rows).to_vec()
}

#[test]
fn the_estimate_is_of_the_rows_that_change() {
    assert_eq!(rows("update"), [100, 100]);
    assert_eq!(rows("partitions"), [40, 40]);
    // Five thousand go and five thousand come.
    assert_eq!(rows("delete-cte"), [10_000, 10_000]);
    // A hundred go, whatever few of them are looked at.
    assert_eq!(rows("select-cte"), [100, 100]);
    // What a rule adds is counted, and what it takes away is not there.
    assert_eq!(rows("rule"), [2, 2]);
    assert_eq!(rows("nothing"), [0, 0]);
    assert_eq!(rows("insert"), [2, 2]);
    assert_eq!(rows("select"), [1, 1]);
}

#[test]
fn a_plan_reads_as_steps() {
    for version in [15, 18] {
        let plan = read(&captured("update", version), Conditions::Shown).unwrap();
        let scan = "  -> Seq Scan on orders  (about 100 rows, cost 189)";
        assert_eq!(plan.text, format!("Update on orders\n{scan}\n       Filter: (customer = 7)"));
        let plan = read(&captured("delete-cte", version), Conditions::Hidden).unwrap();
        assert!(plan.text.contains("-> CTE gone: Delete on orders"), "{}", plan.text);
        let plan = read(&captured("nothing", version), Conditions::Shown).unwrap();
        assert_eq!(plan.text, "nothing is done");
    }
}

#[test]
fn hidden_conditions_are_nowhere_in_the_text() {
    for name in
        ["update", "delete-cte", "select-cte", "join", "partitions", "rule", "select", "merge", "insert"]
    {
        for version in [15, 18] {
            let json = captured(name, version);
            let plan = read(&json, Conditions::Hidden).unwrap();
            let signs = ["=", "<", "Filter", "Cond", "note"];
            assert!(signs.iter().all(|sign| !plan.text.contains(sign)), "{name}: {}", plan.text);
            let shown = read(&json, Conditions::Shown).unwrap();
            assert_eq!(shown.rows, plan.rows);
            assert!(shown.text.len() >= plan.text.len());
        }
    }
}

#[test]
fn what_is_no_plan_is_not_read() {
    for odd in ["", "{}", "null", "[1]", "[{}]", "[{\"Plan\": 3}", "x"] {
        assert_eq!(read(odd, Conditions::Shown), None, "{odd}");
    }
    // Figures and shapes that nobody sends.
    for odd in [
        r#"[{"Plan": 3}]"#,
        r#"[{"Plan": {"Node Type": 1, "Plan Rows": "x", "Plans": {}}}]"#,
        r#"[{"Plan": {"Node Type": "ModifyTable", "Plans": [{"Parent Relationship": "Outer", "Plan Rows": -5}]}}]"#,
        r#"[{"Plan": {"Node Type": "Result", "Plan Rows": 1e300}}]"#,
    ] {
        assert!(read(odd, Conditions::Shown).is_some(), "{odd}");
    }
    // Deeper than is followed.
    let deep = format!("[{{\"Plan\": {}{{}}{}}}]", "{\"Plans\": [".repeat(500), "]}".repeat(500));
    assert_eq!(read(&deep, Conditions::Shown), None);
}

#[test]
fn a_long_plan_is_cut() {
    let step = r#"{"Node Type": "Seq Scan", "Relation Name": "t", "Parent Relationship": "Member", "Plan Rows": 2, "Filter": "F"}"#
        .replace('F', &"é".repeat(5000));
    let json = format!(
        r#"[{{"Plan": {{"Node Type": "Append", "Plan Rows": 2000, "Plans": [{}]}}}}]"#,
        [&*step; 1000].join(",")
    );
    let plan = read(&json, Conditions::Shown).unwrap();
    assert_eq!(plan.rows, 2000);
    assert!(plan.text.ends_with("… and 941 more steps"), "{}", plan.text);
    assert!(plan.text.len() < 64 * 1024);
}
