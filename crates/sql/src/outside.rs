//! Texts the analysis gave up on.

use std::sync::Arc;

use portcullis_core::StatementKind;

use crate::{
    Analysis, Statement,
    analysis::{Shape, Uses},
    lineage::Plan,
};

impl Analysis {
    /// A text that could not be analysed, for sessions in which nothing is judged: one statement of unknown kind that is not
    /// classified because of `why`.
    pub fn opaque(text: &str, why: &str) -> Self {
        let statement = Statement {
            range: None,
            kinds: vec![StatementKind::word("unknown")],
            uses: Uses::default(),
            lacks_where: false,
            unclassified: Some(why.into()),
            settings: Vec::new(),
            transaction: None,
            leaves_read_only: false,
            effect: None,
            explain_only: false,
            opaque: true,
            plan: Arc::new(Plan::Opaque("a text that cannot be read")),
            copy_out: None,
        };
        Self { text: text.into(), shape: Arc::new(Shape::new(vec![statement], true)) }
    }
}
