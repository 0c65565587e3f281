//! Masking of a text that comes in pieces.

use super::chars::Char;
use super::grammar::Language;
use super::index_set::IndexSet;
use super::layer::Layer;

/// The longest body of code, and what follows it, that is kept until its language is known.
const MAX_DEFERRED: usize = 64 * 1024;

/// A body of code whose language comes after it: masked, and as it is.
#[derive(Debug, Clone, Default)]
struct Deferred {
    masked: Vec<u8>,
    plain: Vec<u8>,
}

/// Masks the secrets of one SQL text, which may come in any pieces.
///
/// ```
/// let (mut masker, mut out) = (audit::Masker::default(), Vec::new());
/// masker.feed(b"alter role bob pass", false, &mut out);
/// masker.feed(b"word 'x'", true, &mut out);
/// assert_eq!(out, b"alter role bob password '***'");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Masker {
    layer: Layer,
    deferred: Option<Deferred>,
    params: IndexSet,
}

impl Masker {
    /// Masks the next piece into `out`. With the `last` one, everything is out and the masker is as
    /// new, but for [`take_params`](Masker::take_params).
    pub fn feed(&mut self, chunk: &[u8], last: bool, out: &mut Vec<u8>) {
        for byte in chunk {
            self.byte(*byte, out);
        }
        if last {
            self.finish(out);
        }
    }

    /// The parameters of the last whole text that stand in the place of secrets.
    pub fn take_params(&mut self) -> IndexSet {
        std::mem::take(&mut self.params)
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        let Some(deferred) = &mut self.deferred else {
            self.layer.step(Char::plain(byte), out);
            self.deferred = self.layer.deferred().map(|_| Deferred::default());
            return;
        };
        deferred.plain.push(byte);
        self.layer.step(Char::plain(byte), &mut deferred.masked);
        match self.layer.deferred() {
            Some(Language::Unknown) if deferred.plain.len() < MAX_DEFERRED => {}
            Some(Language::Known) => self.settle(true, out),
            Some(Language::Unknown | Language::Foreign) | None => self.settle(false, out),
        }
    }

    /// Lets out a deferred body: masked, if it is in a language that is read here.
    fn settle(&mut self, readable: bool, out: &mut Vec<u8>) {
        let Some(deferred) = self.deferred.take() else { return };
        let held = self.layer.settle_deferred(readable);
        if readable {
            out.extend_from_slice(&deferred.masked);
        } else {
            let sent = deferred.plain.len().saturating_sub(held);
            out.extend_from_slice(deferred.plain.get(..sent).unwrap_or_default());
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(deferred) = &mut self.deferred {
            self.layer.suspend(&mut deferred.masked);
            let readable = self.layer.final_language() == Language::Known;
            self.layer.settle_deferred(true);
            self.settle_whole(readable, out);
        }
        self.layer.suspend(out);
        self.params = self.layer.end_tokens().clone();
        self.layer = Layer::default();
    }

    fn settle_whole(&mut self, readable: bool, out: &mut Vec<u8>) {
        let Some(deferred) = self.deferred.take() else { return };
        out.extend_from_slice(if readable { &deferred.masked } else { &deferred.plain });
    }
}
