//! A text without its literals, for places that must not show them: what a statement looks like, not what it is about.
//!
//! By the lexer alone: nothing recurses, so that any thread may ask.

use pg_query::protobuf::Token;

/// The text with `?` for each constant, without comments, blanks folded. Nothing where the lexer does not get to its end.
pub fn without_literals(text: &str) -> Option<String> {
    let scanned = pg_query::scan(text).ok()?;
    let mut shape = String::with_capacity(text.len());
    let mut end = 0;
    for token in &scanned.tokens {
        let from = usize::try_from(token.start).ok()?;
        let to = usize::try_from(token.end).ok()?;
        let between = text.get(end..from)?;
        end = to;
        let kind = Token::try_from(token.token).ok()?;
        if matches!(kind, Token::SqlComment | Token::CComment) {
            shape.push(' ');
            continue;
        }
        if !shape.is_empty() && !between.is_empty() && !shape.ends_with(' ') {
            shape.push(' ');
        }
        let constant = matches!(
            kind,
            Token::Iconst | Token::Fconst | Token::Sconst | Token::Usconst | Token::Bconst | Token::Xconst
        );
        shape.push_str(if constant { "?" } else { text.get(from..to)? });
    }
    shape.truncate(shape.trim_end().len());
    Some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_literal_is_left() {
        let shape = |text: &str| without_literals(text).unwrap();
        assert_eq!(
            shape("UPDATE t SET a = 'secret', b=E'x\\'y' /* hush */ WHERE c > -1.5e3 AND d = $1"),
            "UPDATE t SET a = ?, b=? WHERE c > -? AND d = $1"
        );
        assert_eq!(shape("SELECT $$a 'b' c$$, U&'d', B'1', X'ff', 7 -- eight"), "SELECT ?, ?, ?, ?, ?");
        assert_eq!(shape("select \"Odd 'name'\" from t"), "select \"Odd 'name'\" from t");
        assert_eq!(shape("SELECT 'é', 'ü' FROM größe"), "SELECT ?, ? FROM größe");
        assert_eq!(without_literals("SELECT 'open"), None);
        assert_eq!(shape(""), "");
    }
}
