//! The output of a terminal that somebody else controlled, cleaned so that it can be shown on this one.
//!
//! A state machine over text. What comes out is printable text, line ends, tabs, backspaces, and of escape
//! sequences only colours, cursor movements, erasing, scrolling and the alternate screen, each written again
//! from numbers that were read. Titles, links, folders and prompt marks are dropped; any other string sent
//! to the terminal (the clipboard of OSC 52, DCS …) is shown as text, so that nothing can hide in one, and
//! so is one that doesn't end soon. Queries, modes, character sets and resets are dropped. Concealed text is
//! shown.

use std::fmt::Write as _;

use super::plain::{acts, plain};

/// The longest string to the terminal that is waited for, in characters.
const STRING_MAX: usize = 1024;

/// The longest sequence of numbers.
const NUMBERS_MAX: usize = 64;

/// The largest number that is passed on.
const NUMBER_MAX: u32 = 9_999;

/// What undoes whatever may have passed: colours, margins, wrapping, cursor, alternate screen.
pub(super) const UNDO: &str = "\u{1b}[0m\u{1b}[r\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

/// How a place where an escape stood is shown.
const ESCAPE_SHOWN: char = '\u{241b}';

/// Cleans what comes in.
#[derive(Debug)]
pub(crate) struct Sanitizer {
    state: State,
    /// Whether sequences may pass at all.
    sequences: bool,
}

#[derive(Debug)]
enum State {
    Text,
    /// After an escape.
    Escape,
    /// After an escape and what only says that one more character follows.
    Designation,
    /// Within a control sequence: what stands between `ESC [` and its last character.
    Control(String),
    /// Within a string to the terminal, after its introducer.
    Sent(Sent),
}

/// A string sent to the terminal.
#[derive(Debug)]
struct Sent {
    introducer: char,
    text: String,
    /// Whether its last character was an escape, which may begin its end.
    ending: bool,
}

impl Sanitizer {
    /// For a terminal where `sequences`, else for what takes only text.
    pub(crate) fn new(sequences: bool) -> Self {
        Self { state: State::Text, sequences }
    }

    /// Takes what comes next and returns what may be shown of it.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for letter in text.chars() {
            self.step(letter, &mut out);
        }
        out
    }

    /// What is left at the end, and what undoes the rest.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        self.abandon(&mut out);
        if self.sequences {
            out.push_str(UNDO);
        }
        out
    }

    fn step(&mut self, letter: char, out: &mut String) {
        match &mut self.state {
            State::Text => self.text(letter, out),
            State::Escape => self.escaped(letter, out),
            State::Designation => self.designation(letter, out),
            State::Control(_) => self.control(letter, out),
            State::Sent(_) => self.sent(letter, out),
        }
    }

    fn text(&mut self, letter: char, out: &mut String) {
        match letter {
            '\u{1b}' => self.state = State::Escape,
            '\n' | '\t' => out.push(letter),
            '\r' | '\u{8}' if self.sequences => out.push(letter),
            // A bell, padding, and shifts between character sets.
            '\r' | '\u{0}'..='\u{1f}' | '\u{7f}' => {}
            letter if acts(letter) => out.extend(letter.escape_unicode()),
            letter => out.push(letter),
        }
    }

    fn escaped(&mut self, letter: char, out: &mut String) {
        self.state = State::Text;
        match letter {
            '[' => self.state = State::Control(String::new()),
            ']' | 'P' | 'X' | '^' | '_' => {
                let (text, ending) = (String::new(), false);
                self.state = State::Sent(Sent { introducer: letter, text, ending });
            }
            ' '..='/' => self.state = State::Designation,
            // The cursor is saved, restored, or moved by one line.
            '7' | '8' | 'D' | 'E' | 'M' => self.pass(&format!("\u{1b}{letter}"), out),
            '\u{1b}' => self.state = State::Escape,
            letter if is_final(letter) || ('0'..='?').contains(&letter) => {}
            letter => self.text(letter, out),
        }
    }

    fn designation(&mut self, letter: char, out: &mut String) {
        if !(' '..='/').contains(&letter) {
            self.state = State::Text;
            if !letter.is_ascii_graphic() {
                self.text(letter, out);
            }
        }
    }

    fn control(&mut self, letter: char, out: &mut String) {
        let State::Control(numbers) = &mut self.state else { return };
        match letter {
            ' '..='?' if numbers.len() < NUMBERS_MAX => numbers.push(letter),
            letter if is_final(letter) => {
                let allowed = allowed(numbers, letter);
                self.state = State::Text;
                self.pass(&allowed.unwrap_or_default(), out);
            }
            letter => {
                self.abandon(out);
                self.text(letter, out);
            }
        }
    }

    fn sent(&mut self, letter: char, out: &mut String) {
        let State::Sent(sent) = &mut self.state else { return };
        let over = letter == '\u{7}' || sent.ending && letter == '\\';
        if over {
            if sent.is_ornament() {
                self.state = State::Text;
            }
            return self.abandon(out);
        }
        if sent.ending {
            self.abandon(out);
            return self.escaped(letter, out);
        }
        match letter {
            '\u{1b}' => sent.ending = true,
            letter if letter.is_control() || sent.text.chars().count() >= STRING_MAX => {
                self.abandon(out);
                self.text(letter, out);
            }
            letter => sent.text.push(letter),
        }
    }

    /// Shows what was held as the text that it is.
    fn abandon(&mut self, out: &mut String) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Text | State::Designation => {}
            State::Escape => out.push(ESCAPE_SHOWN),
            State::Control(numbers) => {
                out.push(ESCAPE_SHOWN);
                out.push('[');
                out.push_str(&numbers);
            }
            State::Sent(sent) => {
                out.push(ESCAPE_SHOWN);
                out.push(sent.introducer);
                out.push_str(&plain(&sent.text));
            }
        }
    }

    fn pass(&self, sequence: &str, out: &mut String) {
        if self.sequences {
            out.push_str(sequence);
        }
    }
}

impl Sent {
    /// Whether it is a title, a link, a folder or the mark of a prompt: such as shells send all the time.
    fn is_ornament(&self) -> bool {
        let number = self.text.split_once(';').map_or(&self.text[..], |(number, _)| number);
        self.introducer == ']' && matches!(number, "0" | "1" | "2" | "7" | "8" | "133")
    }
}

/// Whether this is the last character of a sequence.
fn is_final(letter: char) -> bool {
    ('@'..='~').contains(&letter)
}

/// The sequence written again, where it is one of those that may pass.
fn allowed(numbers: &str, last: char) -> Option<String> {
    let list = match last {
        'm' => colours(&parsed(numbers)?)?,
        'A'..='I'
        | 'L'
        | 'M'
        | 'P'
        | 'S'
        | 'T'
        | 'X'
        | 'Z'
        | '@'
        | '`'
        | 'a'
        | 'b'
        | 'd'
        | 'e'
        | 'f' => at_most(parsed(numbers)?, 2)?,
        'r' => at_most(parsed(numbers)?, 2)?,
        'J' | 'K' => parsed(numbers).filter(|list| matches!(list[..], [None | Some(0..=2)]))?,
        's' | 'u' if numbers.is_empty() => Vec::new(),
        'h' | 'l' => return modes(numbers, last),
        _ => return None,
    };
    let list: Vec<_> =
        list.iter().map(|it| it.map(|it| it.to_string()).unwrap_or_default()).collect();
    Some(format!("\u{1b}[{}{last}", list.join(";")))
}

/// Numbers between semicolons, any of which may be missing; `None` where there is anything else.
fn parsed(numbers: &str) -> Option<Vec<Option<u32>>> {
    // Colons part the pieces of one colour, and mean the same.
    let parts = numbers.split([';', ':']).map(|part| match part {
        "" => Some(None),
        digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(NUMBER_MAX).min(NUMBER_MAX)))
        }
        _ => None,
    });
    parts.collect()
}

fn at_most(list: Vec<Option<u32>>, most: usize) -> Option<Vec<Option<u32>>> {
    (list.len() <= most).then_some(list)
}

/// Colours and styles without what hides text.
fn colours(list: &[Option<u32>]) -> Option<Vec<Option<u32>>> {
    let (mut kept, mut rest) = (Vec::new(), list);
    while let Some((first, after)) = rest.split_first() {
        let taken = match (*first, after.first().copied().flatten()) {
            (Some(38 | 48 | 58), Some(5)) => 3,
            (Some(38 | 48 | 58), Some(2)) => 5,
            (Some(38 | 48 | 58), _) => return None,
            _ => 1,
        };
        let (colour, after) = rest.split_at_checked(taken)?;
        if *first != Some(8) {
            kept.extend_from_slice(colour);
        }
        rest = after;
    }
    (!kept.is_empty()).then_some(kept)
}

/// Wrapping, the cursor's visibility and the alternate screen; no mode that changes what is typed here.
fn modes(numbers: &str, last: char) -> Option<String> {
    let wanted = numbers.strip_prefix('?')?.split(';');
    let mut passed = String::new();
    for mode in wanted.filter(|mode| matches!(*mode, "7" | "25" | "47" | "1047" | "1048" | "1049"))
    {
        // Writing to a string can't fail.
        let _ = write!(passed, "\u{1b}[?{mode}{last}");
    }
    Some(passed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fuzz;
    use super::*;

    fn shown(text: &str) -> String {
        let mut sanitizer = Sanitizer::new(true);
        let shown = sanitizer.push(text) + &sanitizer.finish();
        shown.strip_suffix(UNDO).unwrap().to_owned()
    }

    #[test]
    fn colours_and_movements_pass_and_nothing_else_acts() {
        for (text, want) in [
            ("plain ü €\r\n\t\u{8}", "plain ü €\r\n\t\u{8}"),
            ("\u{1b}[1;31mred\u{1b}[m", "\u{1b}[1;31mred\u{1b}[m"),
            ("\u{1b}[38;5;8mx\u{1b}[38:2:1:2:3m", "\u{1b}[38;5;8mx\u{1b}[38;2;1;2;3m"),
            ("\u{1b}[8mhidden\u{1b}[1;8m", "hidden\u{1b}[1m"),
            ("\u{1b}[2J\u{1b}[3J\u{1b}[H\u{1b}[12;40H", "\u{1b}[2J\u{1b}[H\u{1b}[12;40H"),
            ("\u{1b}[99999999999A", "\u{1b}[9999A"),
            ("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?2004h\u{1b}[?1000;1006h", "\u{1b}[?1049h\u{1b}[?25l"),
            ("\u{1b}7\u{1b}8\u{1b}M", "\u{1b}7\u{1b}8\u{1b}M"),
            ("\u{1b}c\u{1b}=\u{1b}(0\u{1b}#8x", "x"),
            ("\u{1b}[c\u{1b}[6n\u{1b}[21t\u{1b}[>4;1m\u{1b}[!p\u{1b}[2 qx", "x"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "alink"),
            ("\u{1b}]52;c;ZXZpbA==\u{7}x", "␛]52;c;ZXZpbA==x"),
            ("\u{1b}]52;c;ZXZpbA==\u{1b}\\x", "␛]52;c;ZXZpbA==x"),
            ("\u{1b}P$q\"p\u{1b}\\x", "␛P$q\"px"),
            ("\u{1b}]0;never\nended", "␛]0;never\nended"),
            ("\u{1b}]0;cut\u{1b}[31mred", "␛]0;cut\u{1b}[31mred"),
            ("\u{1b}[31\nm", "␛[31\nm"),
            ("\u{1b}", "␛"),
            ("\u{1b}\u{1b}[1mx", "\u{1b}[1mx"),
            ("\u{9b}31m\u{7}\u{0}\u{e}\u{7f}", "\\u{9b}31m"),
            ("\u{202e}evil", "\\u{202e}evil"),
        ] {
            assert_eq!(shown(text), want, "{text:?}");
        }
    }

    #[test]
    fn nothing_hides_in_a_string_that_does_not_end() {
        let text = "x".repeat(STRING_MAX + 10);
        let shown = shown(&format!("\u{1b}]0;{text}"));
        assert_eq!(shown.matches('x').count(), text.len());
    }

    #[test]
    fn without_sequences_only_text_comes_out() {
        let mut sanitizer = Sanitizer::new(false);
        assert_eq!(sanitizer.push("\u{1b}[31mred\u{1b}[2J\r\n\u{8}x"), "red\nx");
        assert_eq!(sanitizer.finish(), "");
    }

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\u{1b}[".to_owned()),
            Just("\u{1b}]".to_owned()),
            Just("\u{1b}P".to_owned()),
            Just("\u{1b}\\".to_owned()),
            "[0-9;:?> !-/]{0,5}",
            "[@-~]",
            "\\PC{0,3}",
            any::<char>().prop_map(String::from),
            (0u8..0xa0).prop_map(|code| char::from(code).to_string()),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn only_what_may_pass_comes_out_wherever_it_is_cut(text in hostile(), at in 0usize..60) {
            let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
            let (first, second) = text.split_at(at);
            fuzz::check_in_two_pieces(first, second);
        }

        #[test]
        fn letters_and_digits_outside_of_sequences_stay(text in "[a-z0-9 ]{0,40}") {
            prop_assert_eq!(shown(&text), text);
        }
    }
}
