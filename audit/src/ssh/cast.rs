//! The terminal of a session as asciicast, version 2 (<https://docs.asciinema.org/manual/asciicast/v2/>).
//!
//! That format is text, so bytes that are no UTF-8 become U+FFFD in it; the recording keeps them. It is as
//! it was, with all that acts on a terminal: to look at it, a player has to clean it.

use serde_json::json;

use super::Ssh;
use crate::event::{Event, Kind, Value};

/// The export of one channel: push events, get lines.
#[derive(Debug)]
pub struct Cast {
    ch: u32,
    timestamp: Option<i64>,
    title: String,
    /// When its terminal was opened.
    opened: Option<u64>,
    output: Decoder,
    input: Decoder,
}

impl Cast {
    /// The export of this channel. `timestamp` is when the session began, in seconds of Unix time.
    pub fn new(ch: u32, title: &str, timestamp: Option<i64>) -> Cast {
        let (output, input) = (Decoder::default(), Decoder::default());
        Cast { ch, timestamp, title: title.to_owned(), opened: None, output, input }
    }

    /// The lines that an event makes: none where it isn't of this terminal.
    pub fn lines(&mut self, event: &Event<'_>) -> String {
        let Kind::Ssh(ssh) = &event.kind else { return String::new() };
        if ssh.channel() != Some(self.ch) {
            return String::new();
        }
        match ssh {
            Ssh::Terminal { term, columns, rows, .. } => {
                let term = String::from_utf8_lossy(term.as_bytes()).into_owned();
                self.head(event.t, *columns, *rows, Some(term))
            }
            Ssh::Resize { columns, rows, .. } => {
                self.line(event.t, "r", &format!("{columns}x{rows}"))
            }
            Ssh::Output { data, .. } | Ssh::Stderr { data, .. } => {
                let text = self.output.push(data.as_bytes());
                self.line(event.t, "o", &text)
            }
            Ssh::Input { data: Value::Text(text), .. } => self.typed(event.t, text.as_bytes()),
            Ssh::Input { data: Value::Bytes(bytes), .. } => self.typed(event.t, bytes),
            Ssh::StreamCut { stream, kept, .. } => {
                let word = stream.word();
                let text = format!("{word}: beyond its first {kept} bytes only a digest is kept");
                self.line(event.t, "m", &text)
            }
            Ssh::StreamDigest { stream, bytes, sha256, .. } => {
                let text = format!("{}: {bytes} bytes, SHA-256 {sha256}", stream.word());
                self.line(event.t, "m", &text)
            }
            Ssh::Closed { .. } => {
                let text = self.output.finish();
                self.line(event.t, "o", text)
            }
            Ssh::Input {
                data: Value::Null | Value::Hashed { .. } | Value::Cut { .. } | Value::Omitted(_),
                ..
            }
            | Ssh::Opened { .. }
            | Ssh::Refused { .. }
            | Ssh::Env { .. }
            | Ssh::Shell { .. }
            | Ssh::Exec { .. }
            | Ssh::Subsystem { .. }
            | Ssh::Signal { .. }
            | Ssh::Break { .. }
            | Ssh::Exit { .. }
            | Ssh::ExitSignal { .. }
            | Ssh::File { .. }
            | Ssh::FileDone { .. }
            | Ssh::FileClosed { .. }
            | Ssh::Listen { .. }
            | Ssh::Unlisten { .. } => String::new(),
        }
    }

    fn typed(&mut self, t: u64, bytes: &[u8]) -> String {
        let text = self.input.push(bytes);
        self.line(t, "i", &text)
    }

    fn head(&mut self, t: u64, width: u32, height: u32, term: Option<String>) -> String {
        if self.opened.is_some() {
            return String::new();
        }
        self.opened = Some(t);
        let mut head = json!({
            "version": 2, "width": width, "height": height, "title": self.title,
        });
        if let (Some(head), Some(timestamp)) = (head.as_object_mut(), self.timestamp) {
            head.insert("timestamp".to_owned(), timestamp.into());
        }
        if let (Some(head), Some(term)) = (head.as_object_mut(), term) {
            head.insert("env".to_owned(), json!({ "TERM": term }));
        }
        format!("{head}\n")
    }

    /// One line, after a head of the usual size where no terminal was asked for.
    fn line(&mut self, t: u64, code: &str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let head = self.head(t, 80, 24, None);
        let at = t.saturating_sub(self.opened.unwrap_or(t));
        let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
        format!("{head}[{seconds}.{micros:06}, {}, {}]\n", json!(code), json!(text))
    }
}

/// Text out of bytes that may be cut within a character; what is none becomes U+FFFD.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a character: three bytes at most.
    held: Vec<u8>,
}

impl Decoder {
    /// The text up to here.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(self.held.len() + bytes.len());
        self.held.extend_from_slice(bytes);
        let mut rest = &self.held[..];
        while let Err(error) = std::str::from_utf8(rest) {
            let (good, bad) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, &[]));
            text.push_str(&String::from_utf8_lossy(good));
            rest = bad;
            let Some(length) = error.error_len() else { break };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = rest.get(length..).unwrap_or_default();
        }
        if let Ok(good) = std::str::from_utf8(rest) {
            text.push_str(good);
            rest = &[];
        }
        self.held = rest.to_owned();
        text
    }

    /// What stands for a character that never came to its end.
    pub fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.held).is_empty() { "" } else { "\u{fffd}" }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::Digest;
    use crate::event::Text;
    use crate::ssh::Stream;

    fn exported(events: &[(u64, Ssh<'_>)]) -> String {
        let mut cast = Cast::new(1, "deploy@web-1", Some(1_700_000_000));
        events
            .iter()
            .map(|(t, ssh)| cast.lines(&Event { t: *t, kind: Kind::Ssh(ssh.clone()) }))
            .collect()
    }

    fn output(data: &[u8]) -> Ssh<'_> {
        Ssh::Output { ch: 1, data: Text::from(data) }
    }

    #[test]
    fn a_terminal_becomes_a_header_and_a_line_for_each_event() {
        let terminal = Ssh::Terminal { ch: 1, term: "xterm".into(), columns: 100, rows: 30 };
        let other = Ssh::Output { ch: 2, data: "not this one".into() };
        let cast = exported(&[
            (500, Ssh::Shell { ch: 1 }),
            (1_000, terminal),
            (2_000, output(b"$ \x1b[31m\xc3")),
            (2_500, other),
            (1_501_000, output(b"\xbc\xff\r\n")),
            (1_600_000, Ssh::Input { ch: 1, data: Value::Text("ls\r".into()) }),
            (1_600_001, Ssh::Input { ch: 1, data: Value::Omitted(9) }),
            (2_001_000, Ssh::Resize { ch: 1, columns: 80, rows: 24 }),
            (2_001_001, output(b"\xe2\x82")),
            (2_001_002, Ssh::Closed { ch: 1, bytes_in: 0, bytes_out: 0 }),
        ]);
        let (head, lines) = cast.split_once('\n').unwrap();
        let head: serde_json::Value = serde_json::from_str(head).unwrap();
        let title = "deploy@web-1";
        let env = json!({ "TERM": "xterm" });
        let want = json!({
            "version": 2, "width": 100, "height": 30, "timestamp": 1_700_000_000, "title": title, "env": env,
        });
        assert_eq!(head, want);
        let want = [
            r#"[0.001000, "o", "$ \u001b[31m"]"#,
            "[1.500000, \"o\", \"ü\u{fffd}\\r\\n\"]",
            r#"[1.599000, "i", "ls\r"]"#,
            r#"[2.000000, "r", "80x24"]"#,
            "[2.000002, \"o\", \"\u{fffd}\"]",
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), want);
    }

    #[test]
    fn what_is_not_kept_of_a_stream_is_said_in_a_marker() {
        let (stream, sha256) = (Stream::Output, Digest([0xab; 32]));
        let cast = exported(&[
            (0, output(b"kept")),
            (1, Ssh::StreamCut { ch: 1, stream, kept: 4 }),
            (2, Ssh::StreamDigest { ch: 1, stream, bytes: 9, sha256, last: true }),
        ]);
        let cut = "[0.000001, \"m\", \"stdout: beyond its first 4 bytes only a digest is kept\"]\n";
        assert!(cast.contains(cut), "{cast}");
        let digest = format!("[0.000002, \"m\", \"stdout: 9 bytes, SHA-256 {sha256}\"]\n");
        assert!(cast.ends_with(&digest), "{cast}");
    }

    #[test]
    fn output_without_a_terminal_has_the_usual_size() {
        let cast = exported(&[(7, output(b"done\n"))]);
        assert!(cast.contains(r#""width":80"#), "{cast}");
        assert!(cast.ends_with("[0.000000, \"o\", \"done\\n\"]\n"), "{cast}");
    }

    proptest! {
        #[test]
        fn text_is_the_same_wherever_it_is_cut(bytes: Vec<u8>, sizes in proptest::collection::vec(1usize..5, 1..6)) {
            let (mut decoder, mut text) = (Decoder::default(), String::new());
            let (mut rest, mut sizes) = (&bytes[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                text += &decoder.push(piece);
                rest = after;
                prop_assert!(decoder.held.len() <= 3);
            }
            text += decoder.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
