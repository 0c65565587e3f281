//! What comes of a question in the course of a week.
//!
//! The week is gone through by the quarter of an hour, and each change is then found to the minute.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{MINUTE, Question};
use crate::calendar::Day;
use crate::{Local, RuleBook, Timestamp};

const QUARTER: i64 = 15;
/// A week, and the hour that a change of clocks may skip.
const QUARTERS: i64 = 7 * 24 * 4 + 4;
const DAY: u16 = 24 * 60;
/// The facts that change by themselves.
pub const TIMES: [&str; 6] = ["time", "working_hours", "holiday", "day", "hour", "minute"];

/// When something comes of it, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Course {
    /// As `Mon-Fri 09:00-18:00`, by the organisation's clock.
    pub when: String,
    /// What comes of it then.
    pub then: String,
}

/// Whether what comes of these rules changes by itself.
pub(super) fn asks_for_time(book: &RuleBook) -> bool {
    let asked = book.asks_for();
    TIMES.iter().any(|fact| asked.contains(*fact))
}

/// From one minute of a day to another, and what comes of it.
type Span = (u16, u16, String);

/// The days on which each window of the day gets the same answer.
type Windows = BTreeMap<Vec<(u16, u16)>, Vec<Day>>;

impl Question<'_> {
    /// The windows of the coming week, where not all of it is the same.
    pub(super) fn week(&self) -> Vec<Course> {
        if !asks_for_time(self.inquiry.book) {
            return Vec::new();
        }
        let mut days: BTreeMap<Day, Vec<Span>> = BTreeMap::new();
        for (day, span) in self.spans() {
            days.entry(day).or_default().push(span);
        }
        let mut answers: Vec<(String, Windows)> = Vec::new();
        for (day, spans) in days {
            for (answer, hours) in by_answer(spans) {
                let known = answers.iter().position(|(other, _)| *other == answer);
                let at = known.unwrap_or(answers.len());
                if known.is_none() {
                    answers.push((answer, BTreeMap::new()));
                }
                if let Some((_, windows)) = answers.get_mut(at) {
                    windows.entry(hours).or_default().push(day);
                }
            }
        }
        if answers.len() < 2 {
            return Vec::new();
        }
        let windows = answers.into_iter().map(|(then, windows)| {
            let when: Vec<String> = windows.iter().map(|(hours, days)| when(days, hours)).collect();
            Course { when: when.join("; "), then }
        });
        windows.collect()
    }

    /// The spans of each day, in order, without those that follow each other with the same answer.
    fn spans(&self) -> Vec<(Day, Span)> {
        let samples = self.samples();
        let mut spans: Vec<(Day, Span)> = Vec::new();
        let mut before: Option<&Sample> = None;
        for sample in &samples {
            let last = spans.last_mut().filter(|(day, _)| *day == sample.local.day);
            match (last, before) {
                (Some((_, (_, to, answer))), _) if *answer == sample.answer => *to = sample.end(),
                (Some((day, (_, to, _))), Some(before)) => {
                    let (day, change) = (*day, minute(self.change(before, sample)));
                    *to = change;
                    spans.push((day, (change, sample.end(), sample.answer.clone())));
                }
                (Some(_), None) | (None, _) => {
                    let span = (minute(sample.local), sample.end(), sample.answer.clone());
                    spans.push((sample.local.day, span));
                }
            }
            before = Some(sample);
        }
        spans
    }

    /// One sample for each quarter of each day of the week, by the organisation's clock.
    fn samples(&self) -> Vec<Sample> {
        let now = self.facts.now.millis();
        let local = (self.inquiry.clock)(Timestamp::from_millis(now));
        let odd = i64::from(local.minute) % QUARTER * MINUTE + now.rem_euclid(MINUTE);
        let mut found: BTreeMap<(Day, u16), Sample> = BTreeMap::new();
        for nth in 0..QUARTERS {
            let at = Timestamp::from_millis(now - odd + nth * QUARTER * MINUTE);
            let question = self.at(at);
            let local = question.facts.local;
            let slot = (local.day, minute(local));
            let sample = || Sample { at, local, answer: question.answer() };
            found.entry(slot).or_insert_with(sample);
        }
        found.into_values().collect()
    }

    /// The first minute between two samples that is like the later one.
    fn change(&self, before: &Sample, after: &Sample) -> Local {
        let (mut low, mut high) = (before.at.millis() / MINUTE, after.at.millis() / MINUTE);
        if high - low > QUARTER || high <= low {
            return after.local;
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            let question = self.at(Timestamp::from_millis(middle * MINUTE));
            if question.answer() == after.answer { high = middle } else { low = middle }
        }
        (self.inquiry.clock)(Timestamp::from_millis(high * MINUTE))
    }
}

struct Sample {
    at: Timestamp,
    local: Local,
    answer: String,
}

impl Sample {
    fn end(&self) -> u16 {
        minute(self.local).saturating_add(15).min(DAY)
    }
}

/// The minute of the day.
fn minute(local: Local) -> u16 {
    let minute = i32::from(local.hour) * 60 + i32::from(local.minute);
    u16::try_from(minute).unwrap_or(0)
}

fn by_answer(spans: Vec<Span>) -> BTreeMap<String, Vec<(u16, u16)>> {
    let mut found: BTreeMap<String, Vec<(u16, u16)>> = BTreeMap::new();
    for (from, to, answer) in spans {
        found.entry(answer).or_default().push((from, to));
    }
    found
}

/// As `Mon-Fri 09:00-12:00 and 13:00-18:00`; whole days have no hours.
fn when(days: &[Day], hours: &[(u16, u16)]) -> String {
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let hours: Vec<String> = hours
        .iter()
        .filter(|span| **span != (0, DAY))
        .map(|(from, to)| format!("{}-{}", clock(*from), clock(*to)))
        .collect();
    let days = runs(days).join(", ");
    if hours.is_empty() { days } else { format!("{days} {}", hours.join(" and ")) }
}

/// Days that follow each other as one: `Mon-Fri`.
fn runs(days: &[Day]) -> Vec<String> {
    let place = |day: Day| Day::ALL.iter().position(|other| *other == day);
    let mut runs: Vec<(Day, Day)> = Vec::new();
    for day in days {
        match runs.last_mut() {
            Some((_, last)) if place(*last).map(|at| at + 1) == place(*day) => *last = *day,
            Some(_) | None => runs.push((*day, *day)),
        }
    }
    let parts = runs.into_iter().map(|(first, last)| {
        if first == last {
            first.word().to_owned()
        } else {
            format!("{}-{}", first.word(), last.word())
        }
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_hours_are_written_shortly() {
        use Day::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
        for (days, hours, expected) in [
            (&[Mon, Tue, Wed, Thu, Fri][..], &[(540, 1080)][..], "Mon-Fri 09:00-18:00"),
            (
                &[Mon, Wed, Thu, Sun],
                &[(0, 540), (1080, 1440)],
                "Mon, Wed-Thu, Sun 00:00-09:00 and 18:00-24:00",
            ),
            (&[Sat, Sun], &[(0, 1440)], "Sat-Sun"),
        ] {
            assert_eq!(when(days, hours), expected);
        }
    }
}
