//! What a `postern.toml` says of the organisation: its clock, who is on call, and where its tickets are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use control::TicketUrl;
use policies::{Calendar, GroupName, Holiday, PrincipalId, Ttl, Window};
use url::{Host, Url};

use super::Person;
use super::fault::Fault;
use super::read::{Document, Field, Located, Section, Value, path};

/// How often sources are asked, and for how long their last word holds, where nobody says.
const REFRESH: Ttl = Ttl::from_secs(60);
const KEEP: Ttl = Ttl::from_secs(15 * 60);
/// A source is asked no more often.
const SHORTEST: Ttl = Ttl::from_secs(5);

/// The organisation as it was written down.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Organisation {
    /// Its zone, working hours and holidays.
    pub calendar: Calendar,
    /// Who is on call, by the group that they are in then.
    pub rosters: BTreeMap<GroupName, Roster>,
    /// Where its tickets are.
    pub tickets: Option<Tickets>,
}

/// A roster as it was written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Roster {
    /// Where it is.
    pub place: Place,
    /// Who is meant by its names.
    pub people: BTreeMap<String, PrincipalId>,
    /// How often it is asked.
    pub refresh: Ttl,
    /// For how long its last word holds.
    pub keep: Ttl,
}

/// Where a roster is.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// On the web, and the file of what is shown there.
    Web(Url, Option<Located<PathBuf>>),
}

/// The tracker as it was written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Tickets {
    /// The address of a ticket.
    pub url: TicketUrl,
    /// The file of what is shown there.
    pub bearer: Option<Located<PathBuf>>,
    /// Where the state is in its answer.
    pub state: String,
    /// How often it is asked.
    pub refresh: Ttl,
    /// For how long its last word holds.
    pub keep: Ttl,
}

impl Field for Window {
    fn kind() -> String {
        "window such as \"Mon-Fri 09:00-18:00\"".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("a window such as `Mon-Fri 09:00-18:00`")
    }
}

impl Field for Holiday {
    fn kind() -> String {
        "day such as \"2026-12-24\" or \"12-25\"".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("a day such as `2026-12-24` or `12-25`")
    }
}

impl Field for TicketUrl {
    fn kind() -> String {
        "address with `{ticket}` in its path".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        let url: Self = value.parse("an address with `{ticket}` in its path")?;
        fits(value, url.as_url()).then_some(url)
    }
}

/// Reads `[organisation]`, `[rosters]` and `[tickets]`.
pub(super) fn organisation(root: &mut Section<'_>, base: &Path) -> Organisation {
    let calendar = calendar(root.section("organisation"));
    let rosters = root.section("rosters").sections::<GroupName>("rosters").into_iter();
    let rosters = rosters.filter_map(|(name, section)| Some((name, roster(section, base)?)));
    let rosters = rosters.collect();
    let has_tickets = root.has("tickets");
    let tickets = root.section("tickets");
    let tickets = if has_tickets { self::tickets(tickets, base) } else { None };
    Organisation { calendar, rosters, tickets }
}

fn calendar(mut section: Section<'_>) -> Calendar {
    let zone = section.value("zone").and_then(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let hours = section.take_or("working_hours", Vec::<Window>::new());
    let holidays = section.take_or("holidays", Vec::<Holiday>::new());
    section.finish();
    Calendar::new(zone, hours, holidays)
}

fn zone(value: Value<'_>) -> Option<jiff::tz::TimeZone> {
    let name = value.text("the name of a zone such as `Europe/Berlin`")?;
    let zone = jiff::tz::TimeZone::get(name).ok();
    if zone.is_none() {
        let message = format!("there is no zone `{}`", name.escape_debug());
        value
            .fault_with_remedy(message, "write a name of the tz database, such as `Europe/Berlin`");
    }
    zone
}

fn roster(mut section: Section<'_>, base: &Path) -> Option<Roster> {
    let (file, url) = (section.value("file"), section.value("url"));
    let bearer = section.path("bearer_file", base);
    let people = section.section("people").named::<String>("people").into_iter();
    let people = people.filter_map(|(name, _, _, value)| {
        Some((name, value.parse::<PrincipalId>("the key of a person")?))
    });
    let people = people.collect();
    let (refresh, keep) = spans(&mut section);
    let place = match (file, url) {
        (Some(file), None) => path(file, base).map(|path| Place::File(path.value)),
        (None, Some(url)) => address(url).map(|url| Place::Web(url, bearer)),
        (Some(_), Some(second)) => {
            second.fault_with_remedy("the roster is in two places", "remove `url` or `file`");
            None
        }
        (None, None) => {
            let example = "url = \"https://calendar.example.com/on-call.ics\"";
            section.missing("a roster has a `file` or a `url`", example);
            None
        }
    };
    section.finish();
    Some(Roster { place: place?, people, refresh, keep })
}

fn tickets(mut section: Section<'_>, base: &Path) -> Option<Tickets> {
    let example = "url = \"https://tracker.example.com/api/issues/{ticket}\"";
    let url = section.need("url", example);
    let bearer = section.path("bearer_file", base);
    let state = section.value("state").map(pointer);
    if state.is_none() {
        section.missing(
            "`state` is missing, which says where a ticket's state is",
            "state = \"/fields/status/name\"",
        );
    }
    let (refresh, keep) = spans(&mut section);
    section.finish();
    Some(Tickets { url: url?, bearer, state: state??, refresh, keep })
}

/// A JSON pointer (RFC 6901).
fn pointer(value: Value<'_>) -> Option<String> {
    let text = String::read(value)?;
    if text.starts_with('/') {
        return Some(text);
    }
    let message = format!("`{}` is not a JSON pointer", text.escape_debug());
    value.fault_with_remedy(message, "write it as `/fields/status/name`");
    None
}

fn spans(section: &mut Section<'_>) -> (Ttl, Ttl) {
    let mut span = |key: &'static str, default: Ttl| {
        let value = section.value(key);
        let read = value.and_then(|value| Some((value, Ttl::read(value)?)));
        match read {
            Some((value, span)) if span < SHORTEST => {
                value.fault(format!("sources are asked every {SHORTEST} at most"));
                default
            }
            Some((_, span)) => span,
            None => default,
        }
    };
    let refresh = span("refresh", REFRESH);
    (refresh, span("keep", KEEP).max(refresh))
}

fn address(value: Value<'_>) -> Option<Url> {
    let text = value.text("an address such as `https://calendar.example.com/on-call.ics`")?;
    let url = Url::parse(text).ok();
    if url.is_none() {
        value.fault(format!("`{}` is not an address", text.escape_debug()));
    }
    url.filter(|url| fits(value, url))
}

/// What is learned from there decides who gets in: it is encrypted, or stays on the machine.
fn fits(value: Value<'_>, url: &Url) -> bool {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let encrypted = url.scheme() == "https" || (url.scheme() == "http" && local);
    let bare = url.username().is_empty() && url.password().is_none();
    if !encrypted {
        value.fault("`https` is wanted, since what is learned from there decides who gets in");
    } else if !bare {
        value.fault_with_remedy("the address holds a name or a password", "use `bearer_file`");
    }
    encrypted && bare
}

/// Faults people who are written into the group of a roster: that group is the roster's alone.
pub(super) fn check(
    people: &BTreeMap<PrincipalId, Located<Person>>,
    rosters: &BTreeMap<GroupName, Roster>,
    document: &Document<'_>,
) {
    for (id, person) in people {
        for group in person.value.groups.iter().filter(|group| rosters.contains_key(*group)) {
            let message =
                format!("`{group}` is a roster, so nobody is in it by being written down");
            let remedy =
                format!("take it out of the groups of `{id}`, or rename [rosters.{group}]");
            document.put(Fault::new(person.site.clone(), message).with_remedy(remedy));
        }
    }
}
