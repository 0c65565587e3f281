//! What a session has prepared and bound, as far as its events tell.
//!
//! Names lead to what they stand for; the oldest are forgotten beyond a bound, because a recording
//! doesn't say when a statement is closed. It doesn't say either which Parse the target took: a
//! refused or skipped one leaves the statement before it in place. So where a failure came between
//! a Parse or Bind and the first success that used it, what the name stood for before is kept as
//! well: nobody can pass one statement off as another.

use std::sync::Arc;

use crate::event::{Text, Value};
use crate::names::Weight;
use crate::renamings::{Renamed, Renames};
use crate::statements::Alternative;

/// The most earlier texts that are kept of one name.
const MAX_EARLIER: usize = 8;

/// Text for display: the start of it, where it is very long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The text.
    pub(crate) text: Arc<str>,
    /// Whether there is more than this.
    pub(crate) truncated: bool,
    /// What running it may do to names.
    pub(crate) renames: Renames,
}

/// A prepared statement as one Parse made it.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// Its text.
    pub(crate) shown: Shown,
    /// What the name may still stand for if that Parse was not taken, oldest first.
    pub(crate) earlier: Vec<Shown>,
    /// Whether there is more of that.
    pub(crate) more: bool,
    /// How many doubts the session had seen when the Parse was sent.
    pub(crate) doubts_before: u64,
    /// How many texts that rename statements had been sent before.
    pub(crate) renamings: u64,
}

/// What may have run: a text, where it is known, with values.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The number of the Bind.
    id: u64,
    shown: Option<Shown>,
    values: Arc<[Value<'static>]>,
}

/// A portal: a statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    /// The number of the Bind.
    pub(crate) id: u64,
    /// The name of the statement that it was made from, and what that stood for.
    pub(crate) prepared: Option<(Text<'static>, Prepared)>,
    /// The values.
    pub(crate) values: Arc<[Value<'static>]>,
    /// Whether there are more or longer values than these.
    pub(crate) truncated: bool,
    /// What the name may still stand for if that Bind was not taken, oldest first.
    pub(crate) earlier: Vec<Candidate>,
    /// What it may stand for even if it was.
    pub(crate) renamed: Vec<Candidate>,
    /// Whether there is more of either.
    pub(crate) more: bool,
    /// How many doubts the session had seen when the Bind was sent.
    pub(crate) doubts_before: u64,
    /// How many texts that rename portals had been sent before.
    pub(crate) renamings: u64,
}

impl Shown {
    /// Text that does nothing to names.
    pub(crate) fn unambiguous(text: Arc<str>) -> Shown {
        Shown { text, truncated: false, renames: Renames::default() }
    }
}

impl Prepared {
    /// What a Parse makes of its name.
    pub(crate) fn over(previous: Option<&Prepared>, renamed: Renamed, shown: Shown) -> Prepared {
        let mut new = Prepared {
            shown,
            earlier: Vec::new(),
            more: renamed.forgotten,
            doubts_before: 0,
            renamings: 0,
        };
        if let Some(previous) = previous {
            new.more |= previous.more;
            new.earlier.clone_from(&previous.earlier);
            new.earlier.push(previous.shown.clone());
        }
        new.earlier.extend(renamed.texts);
        new.earlier.retain(|earlier| earlier.text != new.shown.text);
        new.more |= new.earlier.len() > MAX_EARLIER;
        new.earlier.truncate(MAX_EARLIER);
        new
    }

    /// Forgets what the name stood for before the Parse of `taken`, which the target took.
    pub(crate) fn settle(&mut self, taken: &Arc<str>) {
        if Arc::ptr_eq(&self.shown.text, taken) {
            self.earlier.clear();
            self.more = false;
        } else if let Some(at) =
            self.earlier.iter().position(|earlier| Arc::ptr_eq(&earlier.text, taken))
        {
            self.earlier.drain(..at);
        }
    }
}

impl Portal {
    /// A portal that no Bind is known of.
    pub(crate) fn unknown() -> Portal {
        Portal {
            id: 0,
            prepared: None,
            values: Arc::from([]),
            truncated: false,
            earlier: Vec::new(),
            renamed: Vec::new(),
            more: false,
            doubts_before: 0,
            renamings: 0,
        }
    }

    /// Adds what SQL may have let the name stand for since.
    pub(crate) fn rename(&mut self, renamed: Renamed, with_values: bool) {
        let values = if with_values { Arc::clone(&self.values) } else { Arc::from([]) };
        let id = self.id;
        self.renamed.extend(renamed.texts.into_iter().map(|shown| Candidate {
            id,
            shown: Some(shown),
            values: Arc::clone(&values),
        }));
        self.more |= renamed.forgotten;
    }

    /// Keeps what the name stood for before this Bind.
    pub(crate) fn replace(&mut self, previous: Portal) {
        let own = previous.prepared.as_ref().map(|(_, prepared)| prepared.shown.clone());
        let statement = previous.statement_earlier();
        self.more |= previous.more || previous.prepared.is_some_and(|(_, prepared)| prepared.more);
        self.earlier = previous.earlier;
        self.earlier.extend(statement);
        self.earlier.push(Candidate { id: previous.id, shown: own, values: previous.values });
        self.earlier.extend(previous.renamed);
        self.more |= self.earlier.len() > MAX_EARLIER;
        self.earlier.truncate(MAX_EARLIER);
    }

    /// Forgets what the name stood for before the Bind of this number, which the target took.
    pub(crate) fn settle(&mut self, taken: u64) {
        self.earlier.retain(|earlier| earlier.id >= taken);
        if self.id == taken {
            self.more = false;
        }
    }

    /// What may have run instead, given the doubts seen by the time of the answer; and whether
    /// there is more.
    pub(crate) fn otherwise(&self, doubts: u64) -> (Vec<Alternative>, bool) {
        let (mut all, mut more) = (Vec::new(), self.more && !self.renamed.is_empty());
        if self.doubts_before != doubts {
            all.extend(self.earlier.iter().cloned());
            more |= self.more;
        }
        if let Some((_, prepared)) = &self.prepared
            && prepared.doubts_before != doubts
        {
            all.extend(self.statement_earlier());
            more |= prepared.more;
        }
        all.extend(self.renamed.iter().cloned());
        let mut otherwise = Vec::new();
        for alternative in all.into_iter().map(Candidate::into_alternative) {
            if !otherwise.contains(&alternative) {
                otherwise.push(alternative);
            }
        }
        (otherwise, more)
    }

    /// The texts that may give names a meaning when it is run, whatever it stands for.
    pub(crate) fn renames(&self) -> Vec<(Renames, Arc<str>)> {
        let statement = self
            .prepared
            .iter()
            .flat_map(|(_, prepared)| std::iter::once(&prepared.shown).chain(&prepared.earlier));
        let earlier = self.earlier.iter().filter_map(|earlier| earlier.shown.as_ref());
        let renaming = statement.chain(earlier).filter(|shown| shown.renames != Renames::default());
        renaming.map(|shown| (shown.renames, Arc::clone(&shown.text))).collect()
    }

    fn statement_earlier(&self) -> Vec<Candidate> {
        let earlier = self.prepared.iter().flat_map(|(_, prepared)| &prepared.earlier);
        let candidate = |shown: &Shown| Candidate {
            id: self.id,
            shown: Some(shown.clone()),
            values: Arc::clone(&self.values),
        };
        earlier.map(candidate).collect()
    }
}

impl Candidate {
    fn into_alternative(self) -> Alternative {
        Alternative { text: self.shown.map(|shown| shown.text), values: self.values }
    }

    fn weight(&self) -> usize {
        self.shown.as_ref().map_or(0, |shown| shown.text.len()) + values_weight(&self.values)
    }
}

impl Weight for Prepared {
    fn weight(&self) -> usize {
        self.shown.text.len() + self.earlier.iter().map(|earlier| earlier.text.len()).sum::<usize>()
    }
}

impl Weight for Portal {
    fn weight(&self) -> usize {
        let prepared = self.prepared.as_ref().map_or(0, |(_, prepared)| prepared.weight());
        let others = self.earlier.iter().chain(&self.renamed).map(Candidate::weight).sum::<usize>();
        prepared + others + values_weight(&self.values)
    }
}

/// What values weigh, in bytes.
pub(crate) fn values_weight(values: &[Value<'_>]) -> usize {
    values.iter().map(value_weight).sum()
}

fn value_weight(value: &Value<'_>) -> usize {
    let held = match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Cut { first, .. } => first.as_bytes().len(),
        Value::Null | Value::Hashed { .. } | Value::Omitted(_) => 0,
    };
    held + size_of::<Value<'_>>()
}
