use super::*;

fn key(text: &str) -> Option<String> {
    with_key(text, |key| {
        key.map(|key| key.replace('\u{1}', "§s").replace('\u{2}', "§i").replace('\u{3}', "§d"))
    })
}

#[test]
fn literals_are_taken_out_and_everything_else_is_kept() {
    for (text, expected) in [
        ("SELECT 'a', 1, 1.5", "SELECT §s, §i, §d"),
        ("SELECT 'it''s' , \"it's\"", "SELECT §s , \"it's\""),
        ("SELECT a1, t2.b3, \"x 1\"", "SELECT a1, t2.b3, \"x 1\""),
        ("SELECT -1+1-1", "SELECT -§i+§i-§i"),
        ("select  'x'\n'y'", "select  §s\n§s"),
        ("SELECT 1e5, 0x1F, 1_0, 1., .5, 1..2", "SELECT 1e5, 0x1F, 1_0, 1., .5, 1..2"),
        ("SELECT 123456789, 1234567890", "SELECT §i, 1234567890"),
        ("SELECT 1234567890.5", "SELECT §d"),
        ("SELECT a[1], b[1:2]", "SELECT a[§i], b[§i:§i]"),
        ("SELECT ''''''", "SELECT §s"),
        ("SELECT é1, 1é", "SELECT é1, 1é"),
        ("SELECT '-- /* $ \" \n é'", "SELECT §s"),
    ] {
        assert_eq!(key(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_could_move_the_border_of_a_literal_has_no_key() {
    for text in [
        "SELECT E'a'",
        "SELECT e'a'",
        "SELECT B'1'",
        "SELECT N'a'",
        "SELECT U&'a'",
        "SELECT U&\"a\"",
        "SELECT a'b'",
        "SELECT 1'b'",
        "SELECT é'b'",
        "SELECT a\"b\"",
        "SELECT $1 + 1",
        "SELECT $$a$$",
        "SELECT a$b$",
        "SELECT 'a\\'",
        "SELECT \\'a'",
        "SELECT 'a' -- b",
        "SELECT 'a' /* b */",
        "SELECT 'a' */",
        "SELECT 'open",
        "SELECT \"open",
        "SELECT \"a\nb\"",
        "SELECT \u{1} , 'a'",
        "SELECT \u{b} , 'a'",
        "SHORT",
    ] {
        assert_eq!(key(text), None, "{text}");
    }
}

#[test]
fn every_prefix_of_a_text_is_handled() {
    let text = "SELECT 'a''b', 1.5, \"c\"\"d\", 12 FROM t WHERE x = '' AND y = 1.";
    for (end, _) in text.char_indices() {
        let _ = key(&text[..end]);
    }
    assert!(key(text).is_some());
}
