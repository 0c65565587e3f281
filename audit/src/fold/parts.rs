//! Statements and values that come in parts, joined as far as they are shown.

use super::Fold;
use crate::event::{Text, Value};
use crate::prepared::values_weight;
use crate::statements::MAX_SHOWN;

/// The most bytes of values of one bind that are shown.
const MAX_VALUES: usize = 16 * 1024 * 1024;

/// The most values of one bind: what the protocol can say.
const MAX_BOUND: usize = 65_535;

/// Text or values that come in parts.
#[derive(Debug)]
pub(super) enum Joining {
    Query {
        n: u64,
        at: u64,
        text: Vec<u8>,
        truncated: bool,
    },
    Parse {
        name: Text<'static>,
        text: Vec<u8>,
        truncated: bool,
    },
    Bind {
        portal: Text<'static>,
        statement: Text<'static>,
        values: Vec<Value<'static>>,
        held: usize,
        truncated: bool,
    },
}

impl Fold {
    pub(super) fn query_part(&mut self, n: u64, at: u64, part: &[u8], last: bool) {
        if !matches!(&self.joining, Some(Joining::Query { n: known, .. }) if *known == n) {
            self.flush_joining();
            self.joining = Some(Joining::Query { n, at, text: Vec::new(), truncated: false });
        }
        if let Some(Joining::Query { text, truncated, .. }) = &mut self.joining {
            *truncated |= append(text, part);
        }
        if last {
            self.complete_joining(false);
        }
    }

    pub(super) fn parse_part(&mut self, statement: Text<'static>, part: &[u8], last: bool) {
        if !matches!(&self.joining, Some(Joining::Parse { name, .. }) if *name == statement) {
            self.flush_joining();
            self.joining =
                Some(Joining::Parse { name: statement, text: Vec::new(), truncated: false });
        }
        if let Some(Joining::Parse { text, truncated, .. }) = &mut self.joining {
            *truncated |= append(text, part);
        }
        if last {
            self.complete_joining(false);
        }
    }

    pub(super) fn bind_part(
        &mut self,
        to: Text<'static>,
        of: Text<'static>,
        part: Vec<Value<'static>>,
        last: bool,
    ) {
        let continues = matches!(&self.joining, Some(Joining::Bind { portal, statement, .. }) if *portal == to && *statement == of);
        if !continues {
            self.flush_joining();
            self.joining = Some(Joining::Bind {
                portal: to,
                statement: of,
                values: Vec::new(),
                held: 0,
                truncated: false,
            });
        }
        if let Some(Joining::Bind { values, held, truncated, .. }) = &mut self.joining {
            for value in part {
                *truncated |= !add_value(values, held, value);
            }
        }
        if last {
            self.complete_joining(false);
        }
    }

    /// Parts that never got their last one.
    pub(super) fn flush_joining(&mut self) {
        self.complete_joining(true);
    }

    pub(super) fn complete_joining(&mut self, cut: bool) {
        match self.joining.take() {
            Some(Joining::Query { n, at, text, truncated }) => {
                self.query(n, at, &text, truncated || cut)
            }
            Some(Joining::Parse { name, text, truncated }) => {
                self.parse(name, &text, truncated || cut)
            }
            Some(Joining::Bind { portal, statement, values, truncated, .. }) => {
                self.bind(portal, statement, values, truncated || cut);
            }
            None => {}
        }
    }
}

/// Adds a part as far as it is shown; whether something was left out.
fn append(text: &mut Vec<u8>, part: &[u8]) -> bool {
    let kept = part.get(..MAX_SHOWN.saturating_sub(text.len())).unwrap_or(part);
    text.extend_from_slice(kept);
    kept.len() < part.len()
}

/// Adds a value as far as it is shown; whether it is there as it was.
fn add_value(values: &mut Vec<Value<'static>>, held: &mut usize, value: Value<'static>) -> bool {
    if values.len() >= MAX_BOUND {
        return false;
    }
    let whole = *held <= MAX_VALUES;
    let value = if whole { value } else { left_out(value) };
    *held += values_weight(std::slice::from_ref(&value));
    values.push(value);
    whole
}

fn left_out(value: Value<'static>) -> Value<'static> {
    match value {
        Value::Text(text) => Value::omitted(text.as_bytes()),
        Value::Bytes(bytes) => Value::omitted(&bytes),
        Value::Cut { len, .. } => Value::Omitted(len),
        small @ (Value::Null | Value::Hashed { .. } | Value::Omitted(_)) => small,
    }
}
