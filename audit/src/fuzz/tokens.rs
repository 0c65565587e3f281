//! A lexer of SQL apart from the masker's: it sees the whole text at once, and knows no grammar.

/// The text without the content of its literals and comments.
pub(crate) fn skeleton(text: &[u8]) -> Vec<u8> {
    let mut lexer = Lexer { text, at: 0, out: Vec::new(), word: 0, continues: false };
    while lexer.at < text.len() {
        lexer.token();
    }
    lexer.out
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// How many bytes of a word stand right before.
    word: usize,
    /// Whether a literal with backslashes ended, and nothing but white space came since.
    continues: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self) {
        let rest = self.rest();
        if rest.starts_with(b"--") {
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.skip(end.unwrap_or(rest.len()), b"--");
        } else if rest.starts_with(b"/*") {
            let (length, whole) = comment(rest);
            self.skip(length, if whole { b"/**/" } else { b"/*" });
            self.continues = false;
        } else if rest.starts_with(b"'") {
            self.literal();
        } else if rest.starts_with(b"\"") {
            let end = rest.iter().skip(1).position(|byte| *byte == b'"');
            self.copy(end.map_or(rest.len(), |end| end + 2));
        } else if let Some(tag) = self.tag() {
            let body = rest.get(tag.len()..).unwrap_or_default();
            let end = body.windows(tag.len()).position(|at| at == tag);
            let tags = if end.is_some() { [&tag[..], &tag].concat() } else { tag.clone() };
            self.skip(end.map_or(rest.len(), |end| end + 2 * tag.len()), &tags);
            self.continues = false;
        } else {
            self.copy(1);
        }
    }

    fn skip(&mut self, bytes: usize, instead: &[u8]) {
        self.at += bytes;
        self.word = 0;
        self.out.extend_from_slice(instead);
    }

    fn copy(&mut self, bytes: usize) {
        let copied = self.rest().get(..bytes).unwrap_or_default().to_vec();
        self.continues &= copied.iter().all(u8::is_ascii_whitespace);
        let word = if matches!(copied[..], [byte] if is_word(byte)) { self.word + 1 } else { 0 };
        self.skip(bytes, &copied);
        self.word = word;
    }

    fn literal(&mut self) {
        let e = self.word == 1
            && self.text.get(self.at - 1).is_some_and(|byte| matches!(byte, b'e' | b'E'));
        let extended = e || (self.continues && self.on_another_line());
        let rest = self.rest();
        let mut at = 1;
        while at < rest.len() {
            at += match rest.get(at..).unwrap_or_default() {
                [b'\\', _, ..] if extended => 2,
                [b'\'', b'\'', ..] => 2,
                [b'\'', ..] => {
                    self.skip(at + 1, b"''");
                    self.continues = extended;
                    return;
                }
                _ => 1,
            };
        }
        self.skip(rest.len(), b"'");
    }

    fn on_another_line(&self) -> bool {
        let since = self.out.iter().rev().take_while(|byte| **byte != b'\'');
        since.into_iter().any(|byte| matches!(byte, b'\n' | b'\r'))
    }

    /// The tag of a dollar quote that stands here, with its dollars.
    fn tag(&self) -> Option<Vec<u8>> {
        let name = self.rest().strip_prefix(b"$")?;
        let length = name.iter().take_while(|byte| is_word(**byte) && **byte != b'$').count();
        let tag = self.rest().get(..length + 2).filter(|tag| tag.ends_with(b"$"))?;
        let digit = name.first().is_some_and(u8::is_ascii_digit);
        (!digit && self.word == 0).then(|| tag.to_vec())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// The length of the comment that begins here, and whether it ends.
fn comment(text: &[u8]) -> (usize, bool) {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        match text.get(at..) {
            Some([b'/', b'*', ..]) => (at, depth) = (at + 2, depth + 1),
            Some([b'*', b'/', ..]) => (at, depth) = (at + 2, depth - 1),
            Some([_, ..]) => at += 1,
            Some([]) | None => return (text.len(), false),
        }
    }
    (at, true)
}
