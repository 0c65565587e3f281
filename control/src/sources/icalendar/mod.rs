//! Reading who is on call from an iCalendar feed (RFC 5545): events with a beginning and an end, and
//! whom they name.
//!
//! The crate `icalendar` reads the text and `rrule` the rules of repetition. This module bounds both,
//! and decides which of several events counts: an event with a `RECURRENCE-ID` takes the place of one
//! turn of its series, wherever it moves that turn to. What can't be understood is left out and
//! counted, so that nobody is on call by a guess; where a change of a series can't be placed, the
//! whole series is left out.

pub(crate) mod budget;
mod event;
mod moment;
mod property;
mod rule;
#[cfg(test)]
mod tests;
mod text;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use event::{Event, Which};
use jiff::tz::TimeZone;
use zones::Zones;

use crate::sources::icalendar::budget::{Budget, Fault, Span, Turn};
use crate::sources::icalendar::moment::When;

/// How many events a feed may have.
const MOST_EVENTS: usize = 5_000;
/// How long reading a feed may take. One rule that never comes true takes a fraction of it.
const LONGEST: Duration = Duration::from_secs(2);
/// How many reasons are kept, and how long a name of an event is in them.
const MOST_REASONS: usize = 5;
const LONGEST_UID: usize = 60;

/// What a feed holds, how much of it is left out, and the first reasons for that.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Feed {
    pub(crate) turns: Vec<Turn>,
    pub(crate) unread: usize,
    pub(crate) reasons: Vec<String>,
}

impl Feed {
    fn leave_out(&mut self, uid: Option<&str>, fault: Fault) {
        self.unread += 1;
        if self.reasons.len() < MOST_REASONS {
            let name: String = uid.unwrap_or("(no UID)").chars().take(LONGEST_UID).collect();
            self.reasons.push(format!("{name}: {fault}"));
        }
    }
}

/// Reads all turns that overlap a duration.
pub(crate) fn read(text: &str, zone: &TimeZone, span: Span) -> Result<Feed, Fault> {
    read_within(text, zone, span, LONGEST)
}

/// The same in the time that is given.
pub(crate) fn read_within(
    text: &str,
    zone: &TimeZone,
    span: Span,
    time: Duration,
) -> Result<Feed, Fault> {
    let (plain, junk) = text::plain(text)?;
    let calendar = text::parse(&plain)?;
    let zones = Zones::of(&calendar, zone);
    let events = calendar.components.iter();
    let events = events.filter(|it| it.name.as_str().eq_ignore_ascii_case("VEVENT"));
    let events: Vec<Event> = events.map(|event| Event::read(event, &zones)).collect();
    if events.len() > MOST_EVENTS {
        return Err("it has too many events");
    }
    let mut reading = Reading { span, budget: Budget::within(time), feed: Feed::default() };
    for _ in 0..junk {
        reading.feed.leave_out(None, "a line is none of iCalendar's");
    }
    reading.take_in(&Revisions::of(&events), &events);
    Ok(reading.feed)
}

/// Which of the events of one UID count.
#[derive(Default)]
struct Revisions<'e> {
    /// The newest `SEQUENCE` of each series: what is older was replaced.
    newest: BTreeMap<&'e str, i64>,
    /// The turns that were changed, each by the newest event about it.
    changed: BTreeMap<&'e str, BTreeMap<When, &'e Event>>,
    /// Series of which some change says of no turn that it is the one.
    unclear: BTreeSet<&'e str>,
    /// Series that don't go on as they were from some turn on.
    split: BTreeMap<&'e str, Vec<When>>,
    /// Series of which something is left.
    held: BTreeSet<&'e str>,
}

impl<'e> Revisions<'e> {
    fn of(events: &'e [Event]) -> Self {
        let mut revisions = Self::default();
        for event in events {
            let Some(uid) = event.uid.as_deref() else { continue };
            match &event.which {
                Which::Series => {
                    let newest = revisions.newest.entry(uid).or_insert(event.sequence);
                    *newest = event.sequence.max(*newest);
                }
                Which::Instance(when) => {
                    let turns = revisions.changed.entry(uid).or_default();
                    let before = turns.get(when).is_some_and(|it| it.sequence > event.sequence);
                    if !before {
                        turns.insert(when.clone(), event);
                    }
                }
                Which::FromThen(when) => {
                    revisions.split.entry(uid).or_default().push(when.clone());
                }
                Which::Unclear => drop(revisions.unclear.insert(uid)),
            }
        }
        for event in events {
            if revisions.is_current(event) && !matches!(event.held, Ok(None)) {
                revisions.held.extend(event.uid.as_deref());
            }
        }
        revisions
    }

    /// Whether it is a series that no newer one of its UID replaced.
    fn is_current(&self, event: &Event) -> bool {
        let newest = event.uid.as_deref().and_then(|uid| self.newest.get(uid));
        matches!(event.which, Which::Series) && newest.is_none_or(|it| *it == event.sequence)
    }

    /// Whether it changes one turn, was not replaced, and what it belongs to was not cancelled.
    fn is_change(&self, event: &Event) -> bool {
        let (Some(uid), Which::Instance(when)) = (event.uid.as_deref(), &event.which) else {
            return false;
        };
        let newest = self.changed.get(uid).and_then(|turns| turns.get(when));
        newest.is_some_and(|newest| std::ptr::eq(*newest, event))
            && (!self.newest.contains_key(uid) || self.held.contains(uid))
    }
}

/// A feed that is being read.
struct Reading {
    span: Span,
    budget: Budget,
    feed: Feed,
}

impl Reading {
    fn take_in(&mut self, revisions: &Revisions<'_>, events: &[Event]) {
        for event in events {
            let uid = event.uid.as_deref();
            let turns = match &event.which {
                Which::Series if revisions.is_current(event) => self.series(event, revisions),
                Which::Instance(_) if uid.is_none() => Err("a change of one turn has no UID"),
                Which::Instance(_) if revisions.is_change(event) => self.tx(event),
                Which::Series | Which::Instance(_) => Ok(Vec::new()),
                Which::FromThen(_) => Err("RANGE=THISANDFUTURE is not supported"),
                Which::Unclear => Err("a change has a RECURRENCE-ID that can't be read"),
            };
            match turns {
                Ok(turns) => self.feed.turns.extend(turns),
                Err(fault) => self.feed.leave_out(uid, fault),
            }
        }
    }

    /// The turns of a series, without those that were changed.
    fn series(&mut self, event: &Event, revisions: &Revisions<'_>) -> Result<Vec<Turn>, Fault> {
        let Some(held) = event.held.as_ref().map_err(|fault| *fault)? else {
            return Ok(Vec::new());
        };
        let mut but = held.but.clone();
        let mut split = None;
        if let Some(uid) = event.uid.as_deref() {
            if revisions.unclear.contains(uid) {
                return Err("a change of it can't be placed");
            }
            let changed = revisions.changed.get(uid).into_iter().flat_map(BTreeMap::keys);
            changed.for_each(|when| but.insert(when.clone()));
            let splits = revisions.split.get(uid).into_iter().flatten();
            split = splits.map(|when| when.first(&held.start)).min();
        }
        let mut turns = Vec::new();
        held.starts(self.span, &mut self.budget, |start, length, budget| {
            let is_left = split.is_none_or(|split| start.timestamp() < split) && !but.has(start);
            if is_left && let Some(turn) = held.turn(start, length, self.span)? {
                budget.name(turn.names.len())?;
                turns.push(turn);
            }
            Ok(())
        })?;
        Ok(turns)
    }

    /// The turn that took the place of one of a series.
    fn tx(&mut self, event: &Event) -> Result<Vec<Turn>, Fault> {
        let Some(held) = event.held.as_ref().map_err(|fault| *fault)? else {
            return Ok(Vec::new());
        };
        if held.repeats() {
            return Err("a change of one turn repeats");
        }
        let turn = held.turn(&held.start, held.length, self.span)?;
        self.budget.name(turn.as_ref().map_or(0, |turn| turn.names.len()))?;
        Ok(turn.into_iter().collect())
    }
}
