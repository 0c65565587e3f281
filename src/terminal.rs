//! What people see: text that can't act on their terminal, tables, colours, times and questions.
//!
//! Statements, reasons, client names and server messages come from others. Whatever of that is
//! printed passes [`plain`] or [`plain_lines`] first, JSON passes [`json`], the output of a terminal passes
//! `Sanitizer`.

#[cfg(test)]
mod fuzz;
mod plain;
mod sanitize;

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use plain::acts;
pub use plain::{plain, plain_lines};
pub(crate) use sanitize::Sanitizer;

/// A value as indented JSON in which every such character is escaped.
#[must_use]
pub fn json(value: &Value) -> String {
    let mut shown = json_text(&format!("{value:#}"));
    shown.push('\n');
    shown
}

/// JSON, or lines of it, with the same escapes. In JSON such characters stand in strings only.
#[must_use]
pub(crate) fn json_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut units = [0; 2];
    for letter in text.chars() {
        if acts(letter) && letter != '\n' {
            for unit in letter.encode_utf16(&mut units) {
                // Writing to a string can't fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Rows under a header, as wide as the terminal allows. Cells are made plain here.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    table.trim_fmt() + "\n"
}

/// Prints to standard output. Text that others wrote has been made plain before.
///
/// # Errors
/// Where it can't be written, as when the reader has left.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints to standard error what isn't the result of the command.
pub fn note(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

/// An RFC 3339 instant in the time zone of the reader; what is none is shown as it is.
#[must_use]
pub fn moment(instant: &str) -> String {
    match instant.parse::<jiff::Timestamp>() {
        Ok(instant) => {
            let zoned = instant.to_zoned(jiff::tz::TimeZone::system());
            zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
        }
        Err(_) => plain(instant),
    }
}

/// Whether somebody sits there who can answer a question.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a yes; anything else is a no.
///
/// # Errors
/// Where nothing can be read.
pub fn agreed(question: &str) -> io::Result<bool> {
    let answer = line(&format!("{question} [y/N] "))?;
    Ok(["y", "yes"].contains(&answer.to_ascii_lowercase().as_str()))
}

/// Asks for a line, where somebody is there to be asked, and reads it.
///
/// # Errors
/// Where nothing can be read.
pub fn line(question: &str) -> io::Result<String> {
    if is_interactive() {
        let mut prompt = io::stderr().lock();
        prompt.write_all(question.as_bytes())?;
        prompt.flush()?;
    }
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Colours, where they are welcome.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// For standard output: in colour on a terminal, unless `NO_COLOR` says otherwise.
    #[must_use]
    pub fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(io::stdout().is_terminal() && !unwanted)
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn off() -> Self {
        Self(false)
    }

    /// Whether there are colours.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.0
    }

    /// Something to look at first.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Something that may be skipped.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Something to paste.
    #[must_use]
    pub fn command(self, text: &str) -> String {
        self.with("36", text)
    }

    /// Something that is well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something that isn't.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_as_an_escape() {
        for (text, shown) in [
            ("select 'ü'", "select 'ü'"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\rb\nc", "a\\u{d}b\\u{a}c"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}evil", "\\u{202e}evil"),
        ] {
            assert_eq!(plain(text), shown);
        }
        assert_eq!(plain_lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text: String) {
            prop_assert!(!plain(&text).chars().any(acts));
            prop_assert!(!plain_lines(&text).chars().any(|l| acts(l) && l != '\n' && l != '\t'));
        }

        #[test]
        fn json_stays_the_same_value(text: String) {
            let value = json!({ "text": text });
            let shown = super::json(&value);
            prop_assert!(!shown.chars().any(|letter| acts(letter) && letter != '\n'));
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
    }

    #[test]
    fn a_cell_can_not_break_its_row() {
        let shown = table(&["a"], &[vec!["x\ny\u{1b}".into()]]);
        assert_eq!(shown.lines().count(), 2, "{shown}");
    }
}
