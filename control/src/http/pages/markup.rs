//! HTML in which only what we wrote is markup.
//!
//! [`Markup::raw`] takes text that stands in this program; everything else, wherever it is from,
//! passes [`Markup::text`], which is fit for element content and for quoted attributes.

use std::fmt;
use std::fmt::Write;

use policies::Timestamp;

use crate::platform::sanitize::misleads;

/// A piece of HTML.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds markup of our own. The lifetime keeps anything out that was made at run time.
    pub(super) fn raw(mut self, ours: &'static str) -> Self {
        self.0.push_str(ours);
        self
    }

    /// Adds text of anybody's.
    pub(super) fn text(mut self, theirs: impl fmt::Display) -> Self {
        // Writing to a string can't fail; a `Display` that claims so leaves its text short.
        let _ = write!(Escape(&mut self.0), "{theirs}");
        self
    }

    /// Adds another piece.
    pub(super) fn piece(mut self, other: &Self) -> Self {
        self.0.push_str(&other.0);
        self
    }

    /// Adds a row of a description list.
    pub(super) fn row(self, term: &'static str, value: impl fmt::Display) -> Self {
        self.raw("<dt>").raw(term).raw("</dt><dd>").text(value).raw("</dd>")
    }

    /// Adds an instant to the second, in UTC; the exact one goes with it.
    pub(super) fn time(self, at: Timestamp) -> Self {
        let exact = at.to_string();
        let in_seconds = exact.split_once('.').map_or(exact.as_str(), |(seconds, _)| seconds);
        let shown = in_seconds.replacen('T', " ", 1);
        self.raw("<time datetime=\"").text(&exact).raw("\">").text(shown).raw(" UTC</time>")
    }

    /// Adds a row with an instant, as people read one.
    pub(super) fn moment(self, term: &'static str, at: Timestamp) -> Self {
        self.raw("<dt>").raw(term).raw("</dt><dd>").time(at).raw("</dd>")
    }

    /// Adds a row with an instant to come, and how long it is until then.
    pub(super) fn ahead(self, term: &'static str, at: Timestamp, now: Timestamp) -> Self {
        let row = self.raw("<dt>").raw(term).raw("</dt><dd>").time(at);
        let left = now.until(at).duration().as_secs();
        let (hours, minutes) = (left / 3_600, left % 3_600 / 60);
        match (hours, minutes) {
            (0, 0) => row.raw("</dd>"),
            (0, minutes) => row.raw(", in ").text(minutes).raw(" min</dd>"),
            (hours, minutes) => {
                row.raw(", in ").text(hours).raw(" h ").text(minutes).raw(" min</dd>")
            }
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                letter if misleads(letter) => self.0.push('\u{fffd}'),
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_others_say_is_text() {
        for (theirs, html) in [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onload='x'&amp;", "&quot; onload=&#39;x&#39;&amp;amp;"),
            ("a\u{202e}b\0\u{1b}[31m", "a\u{fffd}b\u{fffd}\u{fffd}[31m"),
            ("Žofie, 東京", "Žofie, 東京"),
        ] {
            assert_eq!(Markup::new().text(theirs).finish(), html);
        }
    }

    #[test]
    fn an_instant_is_told_to_the_second_and_with_what_is_left() {
        let now = Timestamp::from_millis(1_800_000_000_123);
        let html = Markup::new().moment("Asked", now).finish();
        let exact = "<time datetime=\"2027-01-15T08:00:00.123Z\">2027-01-15 08:00:00 UTC</time>";
        assert_eq!(html, format!("<dt>Asked</dt><dd>{exact}</dd>"));
        for (minutes, message) in
            [(0, "</dd>"), (38, ", in 38 min</dd>"), (62, ", in 1 h 2 min</dd>")]
        {
            let ends = now.after(policies::Ttl::from_secs(minutes * 60 + 5));
            let html = Markup::new().ahead("Ends", ends, now).finish();
            assert!(html.ends_with(&format!(" UTC</time>{message}")), "{html}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_out(theirs in ".{0,200}") {
            let html = Markup::new().text(&theirs).finish();
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
        }
    }
}
