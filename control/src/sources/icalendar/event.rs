//! One event: when it is, whom it names, and which turn of its series it changes, where it does.

use std::collections::BTreeSet;

use icalendar::parser::{Component, Property};
use jiff::{SignedDuration, Span, ToSpan, Unit, Zoned};
use policies::Timestamp;

use super::rule::Rule;
use super::zones::Zones;
use crate::sources::icalendar::budget::{Budget, Fault, Turn};
use crate::sources::icalendar::moment::{Moment, When};
use crate::sources::icalendar::property::{all, first, names, parameter};

/// An event as it was read.
pub(super) struct Event {
    pub(super) uid: Option<String>,
    pub(super) sequence: i64,
    pub(super) which: Which,
    /// None where it was cancelled.
    pub(super) held: Result<Option<Held>, Fault>,
}

/// What an event is to the others of its UID.
pub(super) enum Which {
    /// All of it, whether it repeats or not.
    Series,
    /// One turn of it.
    Instance(When),
    /// One turn, and all that follow.
    FromThen(When),
    /// Some turn, but nobody knows which.
    Unclear,
}

/// An event that takes place.
pub(super) struct Held {
    names: Vec<String>,
    pub(super) start: Zoned,
    pub(super) length: Span,
    rule: Option<Rule>,
    /// More starts, some with a length of their own.
    more: Vec<(Zoned, Span)>,
    pub(super) but: Exceptions,
}

/// Turns that don't take place as their series says. What names no zone is by the series' own clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Exceptions(BTreeSet<When>);

impl Exceptions {
    pub(super) fn insert(&mut self, when: When) {
        self.0.insert(when);
    }

    pub(super) fn has(&self, start: &Zoned) -> bool {
        !self.0.is_empty()
            && [When::At(start.timestamp()), When::Clock(start.datetime()), When::Day(start.date())]
                .iter()
                .any(|when| self.0.contains(when))
    }
}

impl Event {
    pub(super) fn read(event: &Component<'_>, zones: &Zones<'_>) -> Self {
        let uid = first(event, "UID").map(|it| it.val.as_str().to_owned());
        let sequence = first(event, "SEQUENCE").and_then(|it| it.val.as_str().parse().ok());
        let is_cancelled = first(event, "STATUS")
            .is_some_and(|status| status.val.as_str().eq_ignore_ascii_case("CANCELLED"));
        Self {
            uid: uid.filter(|uid| !uid.is_empty()),
            sequence: sequence.unwrap_or(0),
            which: which(event, zones),
            held: match is_cancelled {
                true => Ok(None),
                false => Held::read(event, zones).map(Some),
            },
        }
    }
}

fn which(event: &Component<'_>, zones: &Zones<'_>) -> Which {
    let mut ids = all(event, "RECURRENCE-ID");
    match (ids.next(), ids.next()) {
        (None, _) => Which::Series,
        (Some(_), Some(_)) => Which::Unclear,
        (Some(id), None) => {
            let Some(moment) = Moment::of(id, zones) else { return Which::Unclear };
            match parameter(id, "RANGE") {
                None => Which::Instance(moment.when),
                Some(range) if range.eq_ignore_ascii_case("THISANDFUTURE") => {
                    Which::FromThen(moment.when)
                }
                Some(_) => Which::Unclear,
            }
        }
    }
}

impl Held {
    fn read(event: &Component<'_>, zones: &Zones<'_>) -> Result<Self, Fault> {
        let start = first(event, "DTSTART").ok_or("it has no beginning")?;
        let start = Moment::of(start, zones).ok_or("its beginning can't be read")?;
        let length = length(event, &start, zones)?;
        if first(event, "EXRULE").is_some() {
            return Err("EXRULE is not supported");
        }
        let mut rules = all(event, "RRULE");
        let rule = rules.next().map(|rule| Rule::read(rule.val.as_str(), zones)).transpose()?;
        if rules.next().is_some() {
            return Err("it has more than one RRULE");
        }
        let mut more = Vec::new();
        for (property, text) in listed(event, "RDATE") {
            more.push(added(property, text, length, zones).ok_or("an RDATE can't be read")?);
        }
        let mut but = Exceptions::default();
        for (property, text) in listed(event, "EXDATE") {
            let moment = Moment::read(text, parameter(property, "TZID"), zones);
            but.insert(moment.ok_or("an EXDATE can't be read")?.when);
        }
        Ok(Self { names: names(event), start: start.zoned, length, rule, more, but })
    }

    pub(super) fn repeats(&self) -> bool {
        self.rule.is_some() || !self.more.is_empty()
    }

    /// Hands on each start before the span ends, with its length, and each of them once.
    pub(super) fn starts(
        &self,
        span: super::budget::Span,
        budget: &mut Budget,
        mut take: impl FnMut(&Zoned, Span, &mut Budget) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        let mut once = |start: &Zoned, length: Span, budget: &mut Budget| {
            if seen.insert(start.timestamp()) { take(start, length, budget) } else { Ok(()) }
        };
        for (start, length) in &self.more {
            budget.repeat()?;
            once(start, *length, budget)?;
        }
        match &self.rule {
            None => once(&self.start, self.length, budget),
            Some(rule) => rule.starts(&self.start, span.1, budget, |start, budget| {
                once(start, self.length, budget)
            }),
        }
    }

    /// The turn that begins then, where it overlaps the span.
    pub(super) fn turn(
        &self,
        start: &Zoned,
        length: Span,
        (since, until): super::budget::Span,
    ) -> Result<Option<Turn>, Fault> {
        let end = start.checked_add(length).map_err(|_| "it never ends")?;
        let instant = |at: &Zoned| Timestamp::from_millis(at.timestamp().as_millisecond());
        let (from, end) = (instant(start), instant(&end));
        if from >= end {
            return Err("it ends before it begins");
        }
        let is_within = end > since && from < until;
        Ok(is_within.then(|| Turn { names: self.names.clone(), from, until: end }))
    }
}

/// Exact between two moments; whole days stay whole where a clock is set between them.
fn length(event: &Component<'_>, start: &Moment, zones: &Zones<'_>) -> Result<Span, Fault> {
    match (first(event, "DTEND"), first(event, "DURATION")) {
        (Some(end), _) => {
            let end = Moment::of(end, zones).ok_or("its end can't be read")?;
            between(start, &end).ok_or("its end is no end of its beginning")
        }
        (None, Some(duration)) => {
            duration_of(duration.val.as_str()).ok_or("its duration can't be read")
        }
        (None, None) if start.is_day() => Ok(1.day()),
        (None, None) => Err("it has no end"),
    }
}

fn between(start: &Moment, end: &Moment) -> Option<Span> {
    match (start.is_day(), end.is_day()) {
        (true, true) => start.zoned.date().until((Unit::Day, end.zoned.date())).ok(),
        (false, false) => {
            let exact: SignedDuration =
                end.zoned.timestamp().duration_since(start.zoned.timestamp());
            Span::new().try_seconds(exact.as_secs()).ok()
        }
        (true, false) | (false, true) => None,
    }
}

/// `P1D`, `PT12H`, `P2W`.
fn duration_of(text: &str) -> Option<Span> {
    let text = text.strip_prefix('+').unwrap_or(text);
    text.starts_with('P').then(|| text.parse().ok()).flatten()
}

/// A start that a series has besides its rule: a moment, or a period with an end of its own.
fn added(
    property: &Property<'_>,
    text: &str,
    length: Span,
    zones: &Zones<'_>,
) -> Option<(Zoned, Span)> {
    let moment = |text: &str| Moment::read(text, parameter(property, "TZID"), zones);
    let Some((start, end)) = text.split_once('/') else {
        return moment(text).map(|start| (start.zoned, length));
    };
    let start = moment(start)?;
    let length = match duration_of(end) {
        Some(length) => length,
        None => between(&start, &moment(end)?)?,
    };
    Some((start.zoned, length))
}

/// The single values of properties that are lists.
fn listed<'c>(
    component: &'c Component<'_>,
    name: &'static str,
) -> impl Iterator<Item = (&'c Property<'c>, &'c str)> {
    all(component, name).flat_map(|it| it.val.as_str().split(',').map(move |text| (it, text)))
}
