//! Text of others on a terminal.

/// The longest text of others that is shown, in characters.
const LONGEST: usize = 1_000;

/// A text of others as it may be shown on a terminal: nothing in it moves the cursor.
pub(crate) fn sanitize(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(shown).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_moves_the_cursor_and_it_is_bounded() {
        assert_eq!(sanitize("Alice\u{1b}[2J\r\nBob"), "Alice [2J  Bob");
        assert_eq!(sanitize(&"x".repeat(2_000)).len(), LONGEST);
    }
}
