//! Calendars that say who is on call.
//!
//! They are read by `control`, of which nothing else is built here.
#![no_main]

#[path = "../../../control/src/fuzz.rs"]
mod fuzz;
#[path = "../../../control/src/sources/icalendar/mod.rs"]
mod icalendar;

/// Where `control` has it.
mod sources {
    pub(crate) use crate::icalendar;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::calendar(bytes));
