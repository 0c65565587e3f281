//! Texts that others wrote, made safe to show: the one place that knows which letters mislead.

/// The beginning of a text that an unauthenticated client chose, on one line.
pub(crate) fn clip(text: &str, most: usize) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(most).map(plain).collect()
}

/// A control, but for the end of a line and a tab.
pub(crate) fn is_odd(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
}

/// Controls, and what turns the direction of text around: a reason could look like another.
pub(crate) fn misleads(letter: char) -> bool {
    let turns = matches!(
        letter,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    );
    turns || is_odd(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_text_is_short_and_on_one_line() {
        assert_eq!(clip("a\nb\u{1b}[31m\0é", 6), "a b [3");
    }
}
