//! What is promised of text that others wrote, for `tests/fuzz` to try to break. The inputs in
//! `tests/fuzz/seeds` are tests here.

use super::plain::acts;
use super::sanitize::{Sanitizer, UNDO};

#[cfg(test)]
#[path = "../../tests/fuzz/seeds.rs"]
mod seeds;

/// Whatever was written to somebody else's terminal, here only what may pass comes out.
pub(crate) fn sanitize(bytes: &[u8]) {
    let Some((cut, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let cut = text.char_indices().nth(usize::from(*cut)).map_or(text.len(), |(at, _)| at);
    let (first, second) = text.split_at(cut);
    check_in_two_pieces(first, second);
}

/// The same for a text that comes in two pieces.
pub(crate) fn check_in_two_pieces(first: &str, second: &str) {
    let text = [first, second].concat();
    let mut cut = Sanitizer::new(true);
    let cut = cut.push(first) + &cut.push(second) + &cut.finish();
    let mut whole = Sanitizer::new(true);
    let shown = whole.push(&text) + &whole.finish();
    assert_eq!(cut, shown);
    let shown = shown.strip_suffix(UNDO).expect("what may have passed is undone");
    let left = without_what_may_pass(shown);
    assert!(
        !left.contains(|it| acts(it) && !matches!(it, '\n' | '\t' | '\r' | '\u{8}')),
        "{left:?}"
    );
    let mut plain = Sanitizer::new(false);
    let left = plain.push(&text) + &plain.finish();
    assert!(!left.contains(|it| acts(it) && !matches!(it, '\n' | '\t')), "{left:?}");
}

/// What is left of a text when the sequences that may pass are taken out of it.
fn without_what_may_pass(mut text: &str) -> String {
    let mut left = String::new();
    while let Some((before, after)) = text.split_once('\u{1b}') {
        left += before;
        let rest = after.strip_prefix(['7', '8', 'D', 'E', 'M']).or_else(|| {
            let control = after.strip_prefix('[')?;
            let control = control.strip_prefix('?').unwrap_or(control);
            let rest = control.trim_start_matches(|it: char| it.is_ascii_digit() || it == ';');
            let finals = "ABCDEFGHILMPSTXZ@`abdefrJKsumhl";
            rest.strip_prefix(|last: char| finals.contains(last))
        });
        assert!(rest.is_some(), "an escape before {after:?}");
        text = rest.unwrap_or_default();
    }
    left + text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_holds() {
        super::seeds::each("sanitize", super::sanitize);
    }
}
