//! Properties of a component, and words in them.

use icalendar::parser::{Component, Property};

pub(super) fn all<'c>(
    component: &'c Component<'_>,
    name: &'static str,
) -> impl Iterator<Item = &'c Property<'c>> {
    component.properties.iter().filter(move |it| it.name.as_str().eq_ignore_ascii_case(name))
}

pub(super) fn first<'c>(
    component: &'c Component<'_>,
    name: &'static str,
) -> Option<&'c Property<'c>> {
    all(component, name).next()
}

pub(super) fn weekday(text: &str) -> Option<usize> {
    let days = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];
    days.iter().position(|day| text.eq_ignore_ascii_case(day))
}

/// Whom an event names: those who attend, else what it is called.
pub(super) fn names(event: &Component<'_>) -> Vec<String> {
    let address = |value: &str| match value.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("mailto:") => {
            value.get(7..).unwrap_or_default().to_owned()
        }
        Some(_) | None => value.to_owned(),
    };
    let attend: Vec<String> = all(event, "ATTENDEE").map(|it| address(it.val.as_str())).collect();
    let called = || all(event, "SUMMARY").map(|it| it.val.as_str().trim().to_owned()).collect();
    let mut names = if attend.is_empty() { called() } else { attend };
    names.retain(|name| name.len() <= LONGEST_NAME);
    names
}

pub(super) fn parameter<'p>(property: &'p Property<'_>, key: &str) -> Option<&'p str> {
    let mut all = property.params.iter();
    let found = all.find(|it| it.key.as_str().eq_ignore_ascii_case(key))?;
    Some(found.val.as_ref().map_or("", |value| value.as_str()))
}

/// The longest name that is looked at, in bytes: no person has a longer one.
const LONGEST_NAME: usize = 255;
