//! What somebody may have meant to write.

/// The candidate that a few slips of the finger turn into the text, where there is one.
pub(super) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let typed: Vec<char> = text.chars().take(64).collect();
    let slips = (typed.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&typed, candidate), candidate))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: characters to insert, remove or replace.
fn distance(typed: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=typed.len()).collect();
    for (nth, wanted) in candidate.chars().enumerate() {
        let mut diagonal = nth;
        let mut left = nth + 1;
        let mut next = vec![left];
        for (above, found) in row.iter().skip(1).zip(typed) {
            left = (diagonal + usize::from(*found != wanted)).min(1 + left.min(*above));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood() {
        let keys = ["address", "databases", "hold", "tls", "labels"];
        for (typed, meant) in [
            ("adress", Some("address")),
            ("database", Some("databases")),
            ("Hold", Some("hold")),
            ("lables", Some("labels")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, keys), meant, "{typed:?}");
        }
    }

    #[test]
    fn distances_are_levenshteins() {
        for (one, other, slips) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3)] {
            let one: Vec<char> = one.chars().collect();
            assert_eq!(distance(&one, other), slips);
        }
    }
}
