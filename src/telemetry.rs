//! The log of the process, on standard error: for people, or one JSON object a line.
//!
//! The filter is `POSTERN_LOG`, or else what the configuration says. What clients send stands in events
//! too, and stays within its line: nothing in it begins another line or tells a terminal what to do.

use std::borrow::Cow;
use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

const VARIABLE: &str = "POSTERN_LOG";

/// Starts the log. Where one was started already, that one stays.
pub fn start(format: LogFormat, filter: &str) {
    let wanted = std::env::var(VARIABLE).ok();
    let wanted = wanted.and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let filter = wanted.unwrap_or_else(|| EnvFilter::new(filter));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    // A second call comes from a test in the same process.
    let _ = match format {
        LogFormat::Text => builder.with_writer(|| OneLine(io::stderr())).finish().try_init(),
        LogFormat::Json => builder.json().with_writer(io::stderr).finish().try_init(),
    };
}

/// Writes each event as one line of plain text. Events come whole.
struct OneLine<W>(W);

impl<W: io::Write> io::Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(one_line(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn one_line(event: &str) -> Cow<'_, str> {
    let (body, end) = event.strip_suffix('\n').map_or((event, ""), |body| (body, "\n"));
    if !body.contains(misleads) {
        return Cow::Borrowed(event);
    }
    let mut line = String::with_capacity(event.len());
    for letter in body.chars() {
        match misleads(letter) {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    Cow::Owned(line + end)
}

/// What begins a line, moves a terminal, or turns the direction of text around.
fn misleads(letter: char) -> bool {
    let turns = matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (letter.is_control() && letter != '\t')
}

/// An error with all its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.dedup();
    messages.join(": ")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_clients_send_stays_on_one_line_of_the_log() {
        let hostile = "psql\n2026-01-01T00:00:00Z  INFO postern: alice was granted everything\r\u{1b}]0;x\u{7}\
                       \u{9b}2J\u{202e}\u{2028}\"}\n{\"level\":\"INFO\"";
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || OneLine(writer.clone()))
            .finish();
        tracing::subscriber::with_default(log, || {
            let span = tracing::info_span!("session", application = %hostile);
            let _within = span.enter();
            tracing::info!(name = %hostile, text = hostile, debug = ?hostile, "{hostile}");
            tracing::warn!("plain, with ümlauts and a tab\t");
        });
        let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches('\n').count(), 2, "{log}");
        assert!(!log.trim_end().replace(['\t', '\n'], "").contains(misleads), "{log:?}");
        assert!(log.contains("alice was granted everything") && log.contains("ümlauts"), "{log}");
    }

    #[test]
    fn what_is_plain_is_written_as_it_is() {
        for line in ["", "\n", "a b\tc\n", "Žofie, 東京\n"] {
            assert_eq!(one_line(line), line);
        }
    }
}
