//! Text that can't act on a terminal, nor disguise other text.

/// Text for one line: what would act on a terminal, or disguise other text, is shown as an escape.
#[must_use]
pub fn plain(text: &str) -> String {
    escaped(text, acts)
}

/// Text of several lines; line feeds and tabs stay.
#[must_use]
pub fn plain_lines(text: &str) -> String {
    escaped(text, |letter| acts(letter) && !matches!(letter, '\n' | '\t'))
}

fn escaped(text: &str, wanted: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if wanted(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Controls, and what reorders or hides text: directions, zero widths, separators, tags.
pub(super) fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
