//! Documents that come by the API: what is asked of whoever keeps them, and what is asked of who brings them.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use axum::http::{HeaderMap, header};
use portcullis_policy::{Policy, Report, SourceFile};

use crate::Problem;

/// The most documents of one set.
pub const MAX_DOCUMENTS: usize = 100;
/// The longest all documents of one set may be together, in bytes.
pub const MAX_DOCUMENTS_BYTES: usize = 4 * 1024 * 1024;
/// The longest name of a document, in bytes.
const MAX_NAME: usize = 100;

/// Keeps the documents, where the API manages them.
pub trait ManagedDocuments: Send + Sync {
    /// What `check` says of them, within what they may name.
    fn check(&self, files: &[SourceFile]) -> (Option<Arc<Policy>>, Report);

    /// Puts them in force and writes them down, instead of the set that was seen; `by` is who brought them. One at a time; blocks.
    ///
    /// # Errors
    /// Nothing changed.
    fn replace(&self, files: Vec<SourceFile>, seen: &IfMatch, by: &str) -> Result<(), NotReplaced>;
}

/// Why the documents in force stay.
#[derive(Debug)]
pub enum NotReplaced {
    /// They are not those that were seen.
    Changed,
    /// The new ones have errors.
    Unusable(Report),
    /// They could not be written, journalled or put in force. For the log.
    Failed(String),
}

/// What an `If-Match` header asks for (RFC 9110 section 13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: whatever there is.
    Any,
    /// One of these, compared strongly.
    One(Vec<String>),
}

impl IfMatch {
    /// From a request; none where it has no such header. What is no tag matches nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut tags = Vec::new();
        for value in headers.get_all(header::IF_MATCH) {
            let text = value.to_str().unwrap_or_default();
            // Our own tags hold no comma.
            tags.extend(text.split(',').map(|tag| tag.trim().to_owned()));
        }
        match tags.as_slice() {
            [] => None,
            [one] if one == "*" => Some(Self::Any),
            _ => Some(Self::One(tags)),
        }
    }

    /// Whether a thing with this tag is meant.
    pub fn is(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::One(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// The tag of a set of documents: over names and texts.
pub fn etag(files: &[SourceFile]) -> String {
    let mut all = Context::new(&SHA256);
    for file in files {
        for part in [file.path.as_os_str().as_encoded_bytes(), file.text.as_bytes()] {
            all.update(&(part.len() as u64).to_be_bytes());
            all.update(part);
        }
    }
    let hex: String = all.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether a document may be called this: a plain file name that ends in `.yaml`.
pub fn is_document_name(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".yaml") else { return false };
    name.len() <= MAX_NAME
        && stem.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Whether documents are short enough to be looked at.
pub(crate) fn not_too_long(files: &[SourceFile]) -> Result<(), Problem> {
    match files.iter().map(|file| file.text.len()).sum::<usize>() {
        0..=MAX_DOCUMENTS_BYTES => Ok(()),
        _ => Err(Problem::too_large(MAX_DOCUMENTS_BYTES)),
    }
}

/// Whether a set of documents can be kept: names and sizes.
pub(crate) fn acceptable(files: &[SourceFile]) -> Result<(), Problem> {
    let unusable = |detail: String| Err(Problem::unusable("documents", detail));
    if files.len() > MAX_DOCUMENTS {
        return unusable(format!("at most {MAX_DOCUMENTS} documents are kept"));
    }
    not_too_long(files)?;
    let mut names: Vec<String> =
        files.iter().map(|file| file.path.to_string_lossy().to_ascii_lowercase()).collect();
    if !files.iter().all(|file| file.path.to_str().is_some_and(is_document_name)) {
        return unusable(
            "a document is called `NAME.yaml`: letters, digits, `-`, `_` and `.`, no folders".to_owned(),
        );
    }
    names.sort_unstable();
    names.dedup();
    if names.len() < files.len() {
        return unusable("two documents have the same name".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { path: name.into(), text: text.to_owned() }
    }

    #[test]
    fn names_are_plain() {
        for good in ["a.yaml", "10-orders.yaml", "A_b.c.yaml"] {
            assert!(is_document_name(good), "{good}");
        }
        for bad in [
            "",
            ".yaml",
            "..yaml",
            "a.yml",
            "a",
            "../a.yaml",
            "/a.yaml",
            "a/b.yaml",
            "a\\b.yaml",
            ".a.yaml",
            "-a.yaml",
            "a b.yaml",
            "a\0.yaml",
            "ä.yaml",
            "a.yaml\n",
            "a.yaml/",
            "~a.yaml",
        ] {
            assert!(!is_document_name(bad), "{bad:?}");
        }
        assert!(!is_document_name(&format!("{}.yaml", "a".repeat(100))));
    }

    #[test]
    fn a_set_is_bounded() {
        let many = |count: usize| (0..count).map(|n| file(&format!("{n}.yaml"), "")).collect::<Vec<_>>();
        assert!(acceptable(&many(MAX_DOCUMENTS)).is_ok());
        assert!(acceptable(&many(MAX_DOCUMENTS + 1)).is_err());
        assert!(acceptable(&[]).is_ok());
        let half = "x".repeat(MAX_DOCUMENTS_BYTES / 2);
        assert!(acceptable(&[file("a.yaml", &half), file("b.yaml", &half)]).is_ok());
        assert!(acceptable(&[file("a.yaml", &half), file("b.yaml", &half), file("c.yaml", "x")]).is_err());
        assert!(acceptable(&[file("a.yaml", ""), file("A.yaml", "")]).is_err(), "one file on some disks");
        assert!(acceptable(&[file("../a.yaml", "")]).is_err());
    }

    #[test]
    fn a_tag_is_of_names_texts_and_where_they_end() {
        let tags = [
            etag(&[]),
            etag(&[file("a.yaml", "")]),
            etag(&[file("b.yaml", "")]),
            etag(&[file("a.yaml", "x")]),
            etag(&[file("a.yaml", "x"), file("b.yaml", "")]),
            etag(&[file("a.yaml", ""), file("b.yaml", "x")]),
        ];
        assert_eq!(tags.iter().collect::<std::collections::BTreeSet<_>>().len(), tags.len());
        assert_eq!(etag(&[file("a.yaml", "x")]), etag(&[file("a.yaml", "x")]));
    }

    #[test]
    fn if_match_is_read_as_the_rfc_says() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().unwrap());
            }
            IfMatch::of(&headers)
        };
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["*"]), Some(IfMatch::Any));
        assert!(read(&["\"a\", \"b\""]).unwrap().is("\"b\""));
        assert!(read(&["\"a\"", "\"b\""]).unwrap().is("\"b\""));
        for weak in ["W/\"a\"", "a", "", "\"b\"", "*, \"b\""] {
            assert!(!read(&[weak]).unwrap().is("\"a\""), "{weak}");
        }
    }
}
