//! What was typed, as far as the target showed it.
//!
//! A gateway doesn't see whether the terminal echoes. So a line that was typed is kept only where the very
//! next bytes that the target wrote are that line, up to and with its end; of all others, a password among
//! them, only the length is kept. That leaves out more than it must (lines that were edited, completed or
//! typed ahead), and all of it stands in the output as the target showed it.

use std::collections::VecDeque;

use crate::event::Value;

/// The longest line that is kept.
const LINE_MAX: usize = 4096;

/// The most bytes of lines that wait for the target to show them.
pub(crate) const HELD_MAX: usize = 64 * 1024;

/// What was typed and isn't decided yet.
#[derive(Debug, Default)]
pub struct Echo {
    typed: VecDeque<u8>,
    /// How much of the first line was shown.
    shown: usize,
    /// Whether the target has shown something else.
    differs: bool,
    /// Whether the line feed after a carriage return may still come.
    feed: bool,
}

impl Echo {
    /// Somebody typed. What is decided by that is returned.
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Value<'static>> {
        self.typed.extend(bytes);
        let mut decided = Vec::new();
        self.settle(&mut decided);
        while self.typed.len() > HELD_MAX {
            self.differs = true;
            self.settle(&mut decided);
        }
        decided
    }

    /// The target wrote. What is decided by that is returned.
    pub fn wrote(&mut self, bytes: &[u8]) -> Vec<Value<'static>> {
        let mut decided = Vec::new();
        for byte in bytes {
            let fed = std::mem::take(&mut self.feed);
            if fed && *byte == b'\n' {
                continue;
            }
            if self.compare(*byte) {
                self.settle(&mut decided);
            }
        }
        decided
    }

    /// How much is held.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.typed.len()
    }

    /// The terminal is gone: what wasn't shown never will be.
    pub fn finish(&mut self) -> Option<Value<'static>> {
        let left = std::mem::take(self).typed.len();
        (left > 0).then(|| omitted(left))
    }

    /// Whether that may decide a line: its end was shown, or something else.
    fn compare(&mut self, byte: u8) -> bool {
        let Some(next) = self.typed.get(self.shown) else {
            // All that was typed of a line is shown, and then comes what nobody typed.
            self.differs |= self.shown > 0;
            return false;
        };
        if self.differs {
            return false;
        }
        if *next == byte || ends_line(*next) && ends_line(byte) {
            self.shown += 1;
            self.feed = byte == b'\r';
        } else {
            self.differs = true;
        }
        self.differs || ends_line(byte)
    }

    /// Hands out lines that are whole, and either shown to their end or not the same as what was.
    fn settle(&mut self, decided: &mut Vec<Value<'static>>) {
        loop {
            let end = self.typed.iter().position(|byte| ends_line(*byte)).map(|end| end + 1);
            let long = self.typed.len().min(end.unwrap_or(usize::MAX)) > LINE_MAX;
            let line = match end {
                Some(end) if !long && !self.differs && self.shown == end => {
                    let line: Vec<u8> = self.typed.drain(..end).collect();
                    kept(line)
                }
                Some(end) if self.differs || long => omitted(self.typed.drain(..end).len()),
                None if long => omitted(self.typed.drain(..).len()),
                Some(_) | None => return,
            };
            (self.shown, self.differs) = (0, end.is_none());
            decided.push(line);
        }
    }
}

fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn kept(line: Vec<u8>) -> Value<'static> {
    match String::from_utf8(line) {
        Ok(text) => Value::Text(text.into()),
        Err(not_text) => Value::Bytes(not_text.into_bytes().into()),
    }
}

fn omitted(bytes: usize) -> Value<'static> {
    Value::Omitted(u64::try_from(bytes).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Typed(Vec<u8>),
        Wrote(Vec<u8>),
    }

    fn typed(text: &str) -> Step {
        Step::Typed(text.into())
    }

    fn wrote(text: &str) -> Step {
        Step::Wrote(text.into())
    }

    fn decided(steps: &[Step]) -> Vec<Value<'static>> {
        let mut echo = Echo::default();
        let mut all = Vec::new();
        for step in steps {
            all.extend(match step {
                Step::Typed(bytes) => echo.typed(bytes),
                Step::Wrote(bytes) => echo.wrote(bytes),
            });
        }
        all.extend(echo.finish());
        all
    }

    #[test]
    fn a_line_is_kept_where_the_target_showed_it_and_no_other() {
        let ls = || Value::Text("ls\r".into());
        let cases: [(&[Step], Vec<Value<'_>>); 10] = [
            (
                &[
                    wrote("$ "),
                    typed("l"),
                    wrote("l"),
                    typed("s"),
                    wrote("s"),
                    typed("\r"),
                    wrote("\r\na b\r\n$ "),
                ],
                vec![ls()],
            ),
            (&[typed("ls\r"), wrote("ls\r\n$ ")], vec![ls()]),
            (&[typed("ls\r"), wrote("ls\nout\n")], vec![ls()]),
            (&[typed("ls\rls\r"), wrote("ls\r\nls\r\n")], vec![ls(), ls()]),
            (
                &[wrote("Password: "), typed("hunter2\r"), wrote("\r\nWelcome")],
                vec![Value::Omitted(8)],
            ),
            (
                &[typed("hun"), typed("ter2\r"), wrote("\r\n$ "), typed("ls\r"), wrote("ls\r\n")],
                vec![Value::Omitted(8), ls()],
            ),
            (&[typed("hunter2\r"), wrote("hunter3\r\n")], vec![Value::Omitted(8)]),
            (
                &[typed("l"), wrote("l"), typed("\x7f"), wrote("\x08 \x08"), typed("x\r")],
                vec![Value::Omitted(4)],
            ),
            (&[typed("half"), wrote("half")], vec![Value::Omitted(4)]),
            (
                &[typed("l"), wrote("l"), wrote("news\r\n"), typed("s\r"), wrote("s\r\n")],
                vec![Value::Omitted(3)],
            ),
        ];
        for (steps, want) in cases {
            assert_eq!(decided(steps), want, "{steps:?}");
        }
    }

    #[test]
    fn an_endless_line_is_not_held() {
        let mut echo = Echo::default();
        for _ in 0..100 {
            echo.typed(&[b'a'; 1000]);
            assert!(echo.typed.len() <= LINE_MAX);
        }
    }

    #[test]
    fn lines_that_are_never_shown_are_not_held() {
        let (mut echo, line, mut decided) =
            (Echo::default(), [&[b'a'; 999][..], b"\r"].concat(), 0);
        for _ in 0..100 {
            decided += echo.typed(&line).len();
            assert!(echo.typed.len() <= HELD_MAX);
        }
        assert_eq!(decided, 100 - HELD_MAX / line.len());
        let last = [&line[..], b"\n"].concat();
        let shown = last.repeat(HELD_MAX / line.len());
        assert!(echo.wrote(&shown).iter().all(|line| matches!(line, Value::Text(_))));
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            "[ab\r]{0,6}".prop_map(|it| typed(&it)),
            "[ab\r\n]{0,6}".prop_map(|it| wrote(&it))
        ]
    }

    proptest! {
        #[test]
        fn every_byte_is_accounted_for(steps in proptest::collection::vec(step(), 0..20)) {
            let sent: usize = steps.iter().map(|step| match step {
                Step::Typed(bytes) => bytes.len(),
                Step::Wrote(_) => 0,
            }).sum();
            let counted: u64 = decided(&steps).iter().map(|value| match value {
                Value::Omitted(bytes) => *bytes,
                Value::Text(text) => text.len() as u64,
                Value::Bytes(_) | Value::Hashed { .. } | Value::Cut { .. } | Value::Null => {
                    unreachable!()
                }
            }).sum();
            prop_assert_eq!(sent as u64, counted);
        }

        #[test]
        fn what_was_never_written_is_never_kept(secret in "[a-z]{4,12}", noise in "[A-Z \r\n]{0,80}") {
            let cut = noise.len() / 2;
            let line = secret.clone() + "\r";
            let steps = [wrote(&noise[..cut]), typed(&line), wrote(&noise[cut..])];
            prop_assert_eq!(decided(&steps), [Value::Omitted(line.len() as u64)]);
        }
    }
}
