//! What somebody may have meant to write.

/// The candidate that a few typing errors turn into the text, where there is one.
pub(super) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let text: String = text.chars().take(64).collect();
    let most = (text.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(&text, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_understood() {
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
}
