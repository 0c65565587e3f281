//! What this crate promises of text that people wrote, for `tests/fuzz` to try to break.
//!
//! Each function takes any bytes and fails where a promise does not hold. The inputs in `tests/fuzz/seeds`
//! are tests here.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::{
    Approvals, Bound, Channel, Database, Holiday, Login, PrincipalId, Purpose, Quorum, Record,
    Resource, RuleBook, Source, StepUpKind, Subject, TargetName, Ticket, TicketPattern, Timestamp,
    Ttl, Window,
};

#[cfg(test)]
#[path = "../../tests/fuzz/seeds.rs"]
mod seeds;

/// A file of rules is taken with each rule in its place, or refused with each fault in its place; and the
/// same of it twice.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = Source { name: "access.cedar".to_owned(), text: text.to_owned() };
    let lines = text.matches('\n').count() + 1;
    let sources = [source];
    match (RuleBook::load(&sources), RuleBook::load(&sources)) {
        (Ok(book), Ok(again)) => {
            assert_eq!(book.len(), again.len());
            assert!(book.rules.values().all(|rule| (1..=lines).contains(&rule.place.line)));
        }
        (Err(error), Err(again)) => {
            assert_eq!(error.0, again.0);
            assert!(!error.0.is_empty(), "a refusal says why");
            for fault in &error.0 {
                assert!((1..=lines).contains(&fault.line) && fault.column >= 1, "{fault}");
                assert!(fault.file == "access.cedar" && !fault.message.is_empty(), "{fault:?}");
            }
        }
        (first, second) => unreachable!("{first:?}, then {second:?}"),
    }
}

/// What stands in annotations, names and settings: whatever is read is read again from what is written.
pub fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    again::<Approvals>(text);
    again::<Quorum>(text);
    again::<TicketPattern>(text);
    again::<Record>(text);
    again::<Ttl>(text);
    again::<Timestamp>(text);
    again::<Window>(text);
    again::<Channel>(text);
    again::<Subject>(text);
    again::<Purpose>(text);
    again::<StepUpKind>(text);
    again::<Bound>(text);
    again::<Resource>(text);
    for name in [
        again::<Login>(text),
        again::<Database>(text),
        again::<TargetName>(text),
        again::<PrincipalId>(text),
        again::<Ticket>(text),
    ] {
        assert!(name.is_none_or(|name| name == text && !name.contains(char::is_control)));
    }
    let digits = |letter: char| letter.is_ascii_digit() || letter == '-';
    assert!(text.parse::<Holiday>().is_err() || text.chars().all(digits), "{text:?}");
}

/// Reads, writes and reads; what was written, where it can be read at all.
fn again<T>(text: &str) -> Option<String>
where
    T: FromStr + Display + Debug + PartialEq,
{
    let read = text.parse::<T>().ok()?;
    let written = read.to_string();
    assert_eq!(written.parse().ok(), Some(read), "{text:?} is written {written:?}");
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn every_seed_holds() {
        seeds::each("policy", super::policy);
        seeds::each("words", super::words);
    }
}
