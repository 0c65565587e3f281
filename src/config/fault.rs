//! What is wrong with a configuration, where, and how to fix it.
//!
//! A [`Fault`] points at a [`Site`]: file, line, column, and the line itself with a caret. A
//! [`Faults`] is never one fault out of several: whoever reads a configuration reports all that is
//! wrong with it, in the order of the file. A line that seems to hold a password is never shown.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

/// Longer lines are cut off where they are shown.
const SHOWN: usize = 160;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Site {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The spot in it, where the fault has one.
    #[serde(flatten)]
    pub spot: Option<Spot>,
}

/// A spot in a text, with the line around it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Spot {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant; at least one.
    #[serde(skip)]
    width: usize,
    /// The line, fit to be printed.
    #[serde(rename = "text")]
    excerpt: String,
}

impl Site {
    /// A file as a whole.
    #[must_use]
    pub fn file(name: &str) -> Self {
        let file = name.into();
        Self { file, spot: None }
    }

    /// So many characters at a line and column of a file, whose line is given.
    #[must_use]
    pub fn at(file: &Arc<str>, line: usize, column: usize, width: usize, text: &str) -> Self {
        let excerpt = printable(text);
        let room = (excerpt.chars().count() + 1).saturating_sub(column);
        let spot = Spot { line, column, width: width.min(room).max(1), excerpt };
        Self { file: Arc::clone(file), spot: Some(spot) }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.spot.iter().try_for_each(|spot| write!(f, ":{}:{}", spot.line, spot.column))
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.line.to_string().len();
        writeln!(f, "  {} | {}", self.line, self.excerpt)?;
        let indent = (self.column - 1).min(SHOWN);
        let carets = "^".repeat(self.width);
        write!(f, "  {:gutter$} | {:indent$}{carets}", "", "")
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Where.
    #[serde(flatten)]
    pub site: Site,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where the message doesn't say so already.
    pub remedy: Option<String>,
}

impl Fault {
    /// A fault that says by itself what to do.
    #[must_use]
    pub fn new(site: Site, message: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), None);
        Self { site, message, remedy }
    }

    /// The fault with what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.site, self.message)?;
        if let Some(spot) = &self.site.spot {
            write!(f, "\n{spot}")?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\n  to fix it: {remedy}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize)]
#[serde(transparent)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults in order; nothing where there is none.
    ///
    /// # Errors
    /// Where there is at least one fault.
    pub fn none_in(mut faults: Vec<Fault>) -> Result<(), Self> {
        faults.sort();
        faults.dedup();
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }

    /// These faults and others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self.0.sort();
        self
    }

    /// The faults; at least one.
    #[must_use]
    pub fn all(&self) -> &[Fault] {
        &self.0
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The line without what a terminal would act on, and without a password.
fn printable(line: &str) -> String {
    let shown = without_secret(line);
    shown.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Cuts a line off after `password =` and the like, since what follows may be one.
fn without_secret(line: &str) -> String {
    let ends = ["password", "passwd", "secret", "token"]
        .into_iter()
        .flat_map(|word| line.match_indices(word))
        .filter_map(|(at, word)| {
            let tail = line.get(at + word.len()..)?;
            let rest = tail.trim_start_matches([' ', '\t', '"', '\'']);
            let equals = at + word.len() + (tail.len() - rest.len());
            let value = rest.strip_prefix('=')?.trim_start();
            // A span, such as `token = "1h"`, is none.
            let plain = value.trim_matches(['"', '\'']);
            (plain.parse::<policies::Ttl>().is_err()).then_some(equals + 1)
        });
    match ends.min() {
        Some(end) => format!("{} …", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_place_line_caret_and_remedy() {
        let site = Site::at(&"postern.toml".into(), 12, 5, 3, "\tab üüü = 1");
        let fault = Fault::new(site, "`üüü` is no key").with_remedy("remove it");
        let expected = "postern.toml:12:5: `üüü` is no key\n  \
                    12 |  ab üüü = 1\n     |     ^^^\n  to fix it: remove it";
        assert_eq!(fault.to_string(), expected);
    }

    #[test]
    fn a_password_is_never_shown() {
        for line in [
            "password = \"hunter2\"",
            "logins = { app = { \"password\" = 'hunter2' } }",
            "client_secret= hunter2",
            "token_password\t=\"hunter2\"",
        ] {
            let fault = Fault::new(Site::at(&"f".into(), 1, 1, 99, line), "no");
            assert!(!fault.to_string().contains("hunter2"), "{fault}");
        }
        for line in ["password_file = \"a\"", "token = \"1h\"", "[sign_in]"] {
            assert_eq!(without_secret(line), line);
        }
    }

    #[test]
    fn faults_come_in_order_and_once() {
        let at = |line| Fault::new(Site::at(&"f".into(), line, 1, 1, ""), "no");
        let faults = Faults::none_in(vec![at(12), at(2), at(12)]).unwrap_err();
        assert_eq!(faults.all(), [at(2), at(12)]);
        assert_eq!(Faults::none_in(Vec::new()), Ok(()));
    }
}
