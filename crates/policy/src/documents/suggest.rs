//! "Did you mean": the nearest known word by edit distance.

/// Longer words are not compared: the distance is quadratic.
const MAX_COMPARED: usize = 64;

/// Nor are words with so many others: somebody waits for the answer.
const MAX_KNOWN: usize = 500;

/// The nearest of `known`, if it is near: at most a third of the word's letters differ (and at least one may).
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 4);
    known
        .take(MAX_KNOWN)
        // As many letters more or fewer are as many differences: most words are not looked at.
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit * 4)
        .map(|candidate| (distance(&word, &candidate.to_lowercase(), limit), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`.
pub(crate) fn list<'k>(words: impl Iterator<Item = &'k str>) -> String {
    joined(words, "and")
}

/// `a`, `b` or `c`.
pub(crate) fn either<'k>(words: impl Iterator<Item = &'k str>) -> String {
    joined(words, "or")
}

fn joined<'k>(words: impl Iterator<Item = &'k str>, last_by: &str) -> String {
    let quoted: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {last_by} {last}", rest.join(", ")),
    }
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. More than `limit` is not counted out.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > MAX_COMPARED || b.len() > MAX_COMPARED || a.len().abs_diff(b.len()) > limit {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&previous, j) + usize::from(ca != cb)).min(at(&previous, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
        // A swap reaches back over two rows.
        if before.iter().chain(&previous).all(|distance| *distance > limit) {
            return usize::MAX;
        }
    }
    previous.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["connection", "lifetime", "scope", "to"];
        let find = |word| nearest(word, known.iter().copied());
        assert_eq!(find("lifetme"), Some("lifetime"));
        assert_eq!(find("Scope"), Some("scope"));
        assert_eq!(find("socpe"), Some("scope"));
        assert_eq!(find("conection"), Some("connection"));
        assert_eq!(find("frequency"), None);
    }
}
