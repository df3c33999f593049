//! What an approval of a message binds to, of the message itself.

use portcullis_access::requests::{Digest, Mode};

use super::{ByName, Given, Subject, Why};

/// Over the message as it goes upstream, the texts it refers to by name, the declared types, what all of it was judged to do, the
/// settings that decide what it means, which rules hold it, and what ran before it where it commits.
pub(super) fn digest(subject: &Subject<'_>, why: &Why, by_name: &[ByName], meaning: &str) -> Digest {
    let types: Vec<u8> = subject.types.iter().flat_map(|oid| oid.to_be_bytes()).collect();
    let resources = format!("{:?}", why.resources);
    let rules = why.rules.iter().map(|rule| rule.rule.name.as_str()).collect::<Vec<_>>().join("\n");
    let ran = match &why.commit {
        Some(commit) => format!("{:?} {:?} {}", commit.rows, commit.ran, commit.more),
        None => String::new(),
    };
    // Drivers number their statements: the same operation comes again under other names. What they mean is in the text.
    let named: [&[u8]; 4] = match (&subject.values, why.mode()) {
        (Given::Bind(bind), Mode::Ticket) => {
            [b"Bind", bind.formats.as_bytes(), bind.values.as_bytes(), bind.result_formats.as_bytes()]
        }
        _ => [b"", subject.bytes, b"", b""],
    };
    let fixed: [&[u8]; 7] = [
        b"postgres",
        subject.text.as_bytes(),
        &types,
        resources.as_bytes(),
        meaning.as_bytes(),
        rules.as_bytes(),
        ran.as_bytes(),
    ];
    Digest::of(fixed.into_iter().chain(named).chain(by_name_parts(by_name)))
}

fn by_name_parts(by_name: &[ByName]) -> impl Iterator<Item = &[u8]> {
    by_name.iter().flat_map(|it| [it.name.as_bytes(), it.text.as_bytes()])
}

/// What was approved to be run by name: held against what it is when the portal runs.
pub(in crate::inspect) fn digest_by_name(by_name: &[ByName]) -> Digest {
    Digest::of(by_name_parts(by_name))
}
