//! Text -> statements.

use std::sync::Arc;

use crate::{Analysis, AnalysisError, analysis::Shape};

pub(crate) fn analyze(text: Arc<str>) -> Result<Analysis, AnalysisError> {
    pg_query::parse(&text, pg_query::ParserOptions::DEFAULT).map_err(|e| AnalysisError::Syntax { message: e.to_string() })?;
    Err::<Analysis, _>(AnalysisError::Internal("not judged yet")).or_else(|e: AnalysisError| {
        if text.is_empty() { Ok(Analysis { text, shape: Arc::new(Shape::new(Vec::new(), true)) }) } else { Err(e) }
    })
}
