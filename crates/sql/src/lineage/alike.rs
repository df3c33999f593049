//! Several search paths that may be in force, or several relations that a name can mean: where a statement's output is masked alike
//! whichever it is, that is the answer.

use std::sync::Arc;

use super::{MaskedOutput, OutputColumn};
use crate::{SearchPath, SearchPaths};

/// Judges under each path by itself: a statement's names are all looked up under one. `under` gives the output; nothing where
/// the statement names what is not there under the path and nothing that is masked: then the server refuses it, or nothing masked
/// can come back. Nothing is agreed on where one path is refused, or is masked otherwise.
pub(super) fn agreed<E>(
    paths: &SearchPaths,
    mut under: impl FnMut(&SearchPaths) -> Result<Option<MaskedOutput>, E>,
) -> Option<MaskedOutput> {
    if paths.is_unknown() || paths.candidates().len() < 2 {
        return None;
    }
    let alone = |path: &SearchPath| SearchPaths::known(path.clone(), "");
    let mut agreed: Option<MaskedOutput> = None;
    for path in paths.candidates() {
        let Some(output) = under(&alone(path)).ok()? else { continue };
        agreed = Some(match agreed {
            None => output,
            Some(before) => merged(before, output)?,
        });
    }
    agreed
}

/// Either of two outputs that are masked alike; nothing where they are not.
pub(super) fn merged(one: MaskedOutput, other: MaskedOutput) -> Option<MaskedOutput> {
    match (one, other) {
        (MaskedOutput::Clear, MaskedOutput::Clear) => Some(MaskedOutput::Clear),
        (MaskedOutput::Rows(one), MaskedOutput::Rows(other)) => {
            Some(MaskedOutput::Rows(columns(&one, &other)?))
        }
        (MaskedOutput::Copy(one), MaskedOutput::Copy(other)) => {
            Some(MaskedOutput::Copy(columns(&one, &other)?))
        }
        // Rows whose places are known, and rows of which it is only known that nothing in them is masked.
        (MaskedOutput::Clear, MaskedOutput::Rows(rows) | MaskedOutput::Copy(rows))
        | (MaskedOutput::Rows(rows) | MaskedOutput::Copy(rows), MaskedOutput::Clear) => {
            rows.iter().all(|column| column.mask.is_none()).then_some(MaskedOutput::Clear)
        }
        _ => None,
    }
}

fn columns(one: &[OutputColumn], other: &[OutputColumn]) -> Option<Arc<[OutputColumn]>> {
    let merged = |(one, other): (&OutputColumn, &OutputColumn)| {
        (one.mask == other.mask).then(|| OutputColumn {
            origin: one.origin.filter(|origin| other.origin == Some(*origin)),
            type_oid: one.type_oid.filter(|of| other.type_oid == Some(*of)),
            mask: one.mask.clone(),
        })
    };
    (one.len() == other.len())
        .then(|| one.iter().zip(other).map(merged).collect::<Option<Arc<[_]>>>())
        .flatten()
}

/// Every choice of one meaning for each name; nothing where there are more than anybody has a use for.
pub(super) fn choices<'n>(several: &[(&'n str, Vec<u32>)]) -> Option<Vec<Vec<(&'n str, u32)>>> {
    const MOST: usize = 8;
    let mut all: Vec<Vec<(&'n str, u32)>> = vec![Vec::new()];
    for (name, meanings) in several {
        if all.len().saturating_mul(meanings.len()) > MOST {
            return None;
        }
        let longer = |before: &Vec<(&'n str, u32)>, meaning: u32| {
            before.iter().copied().chain([(*name, meaning)]).collect()
        };
        all = all
            .iter()
            .flat_map(|before| meanings.iter().map(move |meaning| longer(before, *meaning)))
            .collect();
    }
    Some(all)
}
