//! Reads a TOML document section by section, and goes on after a fault.
//!
//! A [`Section`] hands out the values of its keys; what it wasn't asked for when it is finished is
//! an unknown key. Every fault is put down in the [`Document`] with its place, and the reader gets
//! `None` or the default, so that one run finds them all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Site};
use super::nearest::nearest;

/// The text of a file, and what was found wrong in it.
pub(super) struct Document<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    faults: RefCell<Vec<Fault>>,
    /// Every key that was asked for.
    keys: RefCell<Vec<Key>>,
}

/// A key that a section may have, as the code that reads it declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The section, such as `targets.orders`; empty at the top.
    pub section: String,
    /// Its name.
    pub name: &'static str,
    /// What kind of value it takes; none where only its own code knows.
    pub kind: Option<String>,
    /// What it is where nobody writes it; none where that follows from something else.
    pub default: Option<String>,
}

impl<'t> Document<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            file: file.into(),
            text,
            lines: std::iter::once(0).chain(breaks).collect(),
            faults: RefCell::default(),
            keys: RefCell::default(),
        }
    }

    /// The table that the text is. Where its syntax is broken, what can't be read is left out.
    pub(super) fn parse(&self) -> Spanned<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let mut message = error.message().to_owned();
            if message.contains("duplicate key") {
                message.push_str(": it is defined twice");
            }
            self.fault(error.span().unwrap_or(0..0), message);
        }
        table
    }

    pub(super) fn has_faults(&self) -> bool {
        !self.faults.borrow().is_empty()
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }

    /// The keys that were asked for, in order.
    pub(super) fn into_keys(self) -> Vec<Key> {
        self.keys.into_inner()
    }

    pub(super) fn fault(&self, span: Range<usize>, message: impl Into<String>) {
        self.put(Fault::new(self.site(span), message));
    }

    pub(super) fn put(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    /// Where a span of bytes is, for people.
    pub(super) fn site(&self, span: Range<usize>) -> Site {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start = line.checked_sub(1).and_then(|at| self.lines.get(at)).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or_default();
        let text = rest.lines().next().unwrap_or_default();
        let column = chars(self.text, start..span.start) + 1;
        let end = span.end.min(start + text.len());
        Site::at(&self.file, line, column, chars(self.text, span.start..end), text)
    }
}

fn chars(text: &str, span: Range<usize>) -> usize {
    text.get(span).map_or(0, |part| part.chars().count())
}

/// A value and the place where it was written.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub site: Site,
}

/// Two are the same where their values are, wherever these stand.
impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A value that is still to be read.
#[derive(Clone, Copy)]
pub(super) struct Value<'d> {
    document: &'d Document<'d>,
    spanned: &'d Spanned<DeValue<'d>>,
}

impl<'d> Value<'d> {
    pub(super) fn raw(self) -> &'d DeValue<'d> {
        self.spanned.get_ref()
    }

    pub(super) fn site(self) -> Site {
        self.document.site(self.spanned.span())
    }

    pub(super) fn fault(self, message: impl Into<String>) {
        self.document.fault(self.spanned.span(), message);
    }

    pub(super) fn fault_with_remedy(self, message: impl Into<String>, remedy: impl Into<String>) {
        self.document.put(Fault::new(self.site(), message).with_remedy(remedy));
    }

    /// Faults a value of another type than wanted.
    pub(super) fn unfit(self, wanted: &str) {
        let article = match self.raw().type_str() {
            kind @ ("integer" | "array") => format!("an {kind}"),
            kind => format!("a {kind}"),
        };
        self.fault(format!("this is {article}, but {wanted} is wanted"));
    }

    pub(super) fn text(self, wanted: &str) -> Option<&'d str> {
        let text = self.raw().as_str();
        if text.is_none() {
            self.unfit(&format!("{wanted} in quotes"));
        }
        text
    }

    /// Parses a text, whose error says what is wrong with it.
    pub(super) fn parse<T>(self, wanted: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        match self.text(wanted)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(error.to_string());
                None
            }
        }
    }

    /// A whole number between two bounds.
    pub(super) fn number(self, least: u64, most: u64) -> Option<u64> {
        let Some(integer) = self.raw().as_integer() else {
            self.unfit("a whole number");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.fault(format!("a whole number from {least} to {most} is wanted"));
        }
        number
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let listed = words.join("`, `");
        let text = self.text(&format!("one of `{listed}`"))?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let guess = nearest(text, words.iter().copied());
            let guess = guess.map_or(String::new(), |word| format!(": did you mean `{word}`?"));
            self.fault(format!("`{}` is none of `{listed}`{guess}", text.escape_debug()));
        }
        found.map(|(_, value)| *value)
    }

    /// The items of a list; anything else is a fault and an empty list.
    pub(super) fn items(self, wanted: &str) -> impl Iterator<Item = Value<'d>> {
        let array = self.raw().as_array();
        if array.is_none() {
            self.unfit(wanted);
        }
        let document = self.document;
        let items = array.into_iter().flat_map(|array| array.iter());
        items.map(move |spanned| Value { document, spanned })
    }

    pub(super) fn section(self, path: impl Into<String>) -> Option<Section<'d>> {
        let Some(table) = self.raw().as_table() else {
            self.unfit("a table");
            return None;
        };
        let span = self.spanned.span();
        Some(Section::new(self.document, table, span, path.into()))
    }
}

/// A table whose keys are taken out one by one.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    path: String,
    span: Range<usize>,
    entries: BTreeMap<&'d str, (Range<usize>, &'d Spanned<DeValue<'d>>)>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    pub(super) fn new(
        document: &'d Document<'d>,
        table: &'d DeTable<'d>,
        span: Range<usize>,
        path: String,
    ) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), (key.span(), value)))
            .collect();
        Self { document, path, span, entries, known: Vec::new() }
    }

    /// The value of a key, where it is there; the caller knows what kind of value it takes.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.declared(key, None, None)
    }

    fn declared(
        &mut self,
        key: &'static str,
        kind: Option<String>,
        default: Option<String>,
    ) -> Option<Value<'d>> {
        let section = self.path.clone();
        self.document.keys.borrow_mut().push(Key { section, name: key, kind, default });
        self.known.push(key);
        let (_, spanned) = self.entries.remove(key)?;
        let document = self.document;
        Some(Value { document, spanned })
    }

    /// Reads a key that may be left out. A value that can't be read is a fault and none.
    pub(super) fn take<T: Field>(&mut self, key: &'static str) -> Option<T> {
        self.declared(key, Some(T::kind()), None).and_then(T::read)
    }

    pub(super) fn take_or<T: Field + Shown>(&mut self, key: &'static str, default: T) -> T {
        let value = self.declared(key, Some(T::kind()), Some(default.shown()));
        value.and_then(T::read).unwrap_or(default)
    }

    /// Reads one of a few words.
    pub(super) fn choice_or<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let usual = choices.iter().position(|(_, value)| *value == default);
        let usual = usual.and_then(|nth| words.get(nth).cloned());
        let value = self.declared(key, Some(words.join(", ")), usual);
        value.and_then(|value| value.choice(choices)).unwrap_or(default)
    }

    /// Reads a whole number between two bounds.
    pub(super) fn count_or(&mut self, key: &'static str, most: u32, default: u32) -> u32 {
        let kind = format!("number from 1 to {most}");
        let value = self.declared(key, Some(kind), Some(default.to_string()));
        let number = value.and_then(|value| value.number(1, most.into()));
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    }

    /// Reads a path, from the folder of the configuration file.
    pub(super) fn path(&mut self, key: &'static str, base: &Path) -> Option<Located<PathBuf>> {
        let value = self.declared(key, Some(PathBuf::kind()), None);
        value.and_then(|value| path(value, base))
    }

    /// Reads a key that has to be there.
    pub(super) fn need<T: Field>(&mut self, key: &'static str, example: &str) -> Option<T> {
        match self.declared(key, Some(T::kind()), Some("required".into())) {
            Some(value) => T::read(value),
            None => {
                self.missing(format!("`{key}` is missing"), example);
                None
            }
        }
    }

    /// A table below this one; an empty one where it isn't there.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'d> {
        let path = self.path_of(key);
        self.known.push(key);
        let there = self.entries.remove(key).and_then(|(span, spanned)| {
            let document = self.document;
            let mut section = Value { document, spanned }.section(path.clone())?;
            section.span = span;
            Some(section)
        });
        there.unwrap_or_else(|| Section {
            document: self.document,
            path,
            span: self.span.start..self.span.start,
            entries: BTreeMap::new(),
            known: Vec::new(),
        })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A value that nobody wrote down, at the place where it could stand.
    pub(super) fn located<T>(&self, value: T) -> Located<T> {
        let site = self.site();
        Located { value, site }
    }

    /// The values of all keys that are left, for tables whose keys are names.
    pub(super) fn named<K>(self, what: &str) -> Vec<(K, &'d str, Range<usize>, Value<'d>)>
    where
        K: FromStr,
        K::Err: std::fmt::Display,
    {
        self.document.keys.borrow_mut().push(Key {
            section: self.path.clone(),
            name: "NAME",
            kind: None,
            default: None,
        });
        self.into_entries(what)
    }

    fn into_entries<K>(self, what: &str) -> Vec<(K, &'d str, Range<usize>, Value<'d>)>
    where
        K: FromStr,
        K::Err: std::fmt::Display,
    {
        let document = self.document;
        let mut named = Vec::new();
        for (key, (span, spanned)) in self.entries {
            match key.parse::<K>() {
                Ok(name) => named.push((name, key, span, Value { document, spanned })),
                Err(error) => document.fault(span, format!("in {what}: {error}")),
            }
        }
        named
    }

    /// The tables of all keys that are left, for tables of tables.
    pub(super) fn sections<K>(self, what: &str) -> Vec<(K, Section<'d>)>
    where
        K: FromStr,
        K::Err: std::fmt::Display,
    {
        let path = self.path.clone();
        let named = self.into_entries(what).into_iter();
        named
            .filter_map(|(name, key, span, value)| {
                let mut section = value.section(format!("{path}.{key}"))?;
                section.span = span;
                Some((name, section))
            })
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn document(&self) -> &'d Document<'d> {
        self.document
    }

    pub(super) fn site(&self) -> Site {
        self.document.site(self.span.clone())
    }

    /// Faults the name of the section.
    pub(super) fn fault(&self, message: impl Into<String>) {
        self.document.put(Fault::new(self.site(), message));
    }

    /// Faults the section as a whole.
    pub(super) fn missing(&self, message: impl Into<String>, example: &str) {
        let message = format!("{} in [{}]", message.into(), self.path);
        self.document
            .put(Fault::new(self.site(), message).with_remedy(format!("write `{example}` there")));
    }

    /// Faults what nobody asked for.
    pub(super) fn finish(self) {
        for (key, (span, _)) in &self.entries {
            let place = match self.path.as_str() {
                "" => "at the top".to_owned(),
                path => format!("in [{path}]"),
            };
            let message = format!("unknown key `{}` {place}", key.escape_debug());
            let fault = Fault::new(self.document.site(span.clone()), message);
            self.document.put(fault.with_remedy(self.advice(key)));
        }
    }

    fn advice(&self, key: &str) -> String {
        if key == "password" {
            return "a password never stands here: write it to a file, and name that with \
                    `password_file`"
                .into();
        }
        match nearest(key, self.known.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("remove it; known are `{}`", self.known.join("`, `")),
        }
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

/// A path, from the folder of the configuration file.
pub(super) fn path(value: Value<'_>, base: &Path) -> Option<Located<PathBuf>> {
    let mut read = Located::<PathBuf>::read(value)?;
    read.value = base.join(read.value);
    Some(read)
}

/// A type that can stand as a value.
pub(super) trait Field: Sized {
    /// What kind of value it is, for the reference.
    fn kind() -> String;

    /// Reads the value, or puts down what is wrong with it.
    fn read(value: Value<'_>) -> Option<Self>;
}

/// A value that a reader writes the same way.
pub(super) trait Shown {
    /// The text.
    fn shown(&self) -> String;
}
