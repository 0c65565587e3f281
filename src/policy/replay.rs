//! What was asked for in the past, asked again of changed rules.
//!
//! The audit log knows each request with what it took. It is asked again with the same facts, as far
//! as the log has them, for the people, groups and targets that the configuration has today.

use std::collections::BTreeMap;
use std::net::IpAddr;

use control::AuditKind;
use policies::{
    Act, Denied, Facts, Inquiry, PrincipalId, Resource, Risk, RuleBook, Terms, Ticket, Timestamp,
    Ttl,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PolicyContext;
use super::differ::{Effect, effect, words};

/// An event of the audit log, as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// When.
    pub at: String,
    /// Who did it.
    pub actor: String,
    /// What.
    pub kind: String,
    /// To what.
    pub subject: String,
    /// The rest.
    #[serde(default)]
    pub detail: Value,
}

/// A request of the past.
#[derive(Debug, Clone)]
pub struct Past {
    id: String,
    at: Timestamp,
    who: PrincipalId,
    resources: Vec<Resource>,
    facts: Facts,
    /// What it took, where the log says.
    took: Option<Terms>,
    became: String,
}

/// The requests of the audit log.
#[derive(Debug, Clone)]
pub struct Requests {
    /// Those that can be asked again, oldest first.
    known: Vec<Past>,
    /// How many can't.
    unclear: usize,
}

/// What the log says of how it was asked.
#[derive(Deserialize)]
struct Asked {
    resource: Written,
    ttl: Option<Ttl>,
    #[serde(default)]
    reason: String,
    source: Option<IpAddr>,
    ticket: Option<Ticket>,
    #[serde(default)]
    act: Act,
    #[serde(default)]
    on_call: bool,
    ticket_state: Option<String>,
    #[serde(default)]
    risk: Risk,
    terms: Option<Terms>,
}

/// Resources as the log writes them: what was asked for as one stands together.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Written(Vec<Resource>);

impl TryFrom<String> for Written {
    type Error = policies::ResourceError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.split(" + ").map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// One request that would turn out otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The request.
    pub request: String,
    /// When it was asked.
    pub at: String,
    /// Who asked.
    pub who: PrincipalId,
    /// For what.
    pub resource: String,
    /// What would become of it.
    pub effect: Effect,
    /// What it took.
    pub before: String,
    /// What it would take.
    pub after: String,
    /// What became of it then.
    pub became: String,
}

/// What the past would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// How many requests were asked again.
    pub asked: usize,
    /// How many couldn't be, since the log doesn't say enough of them.
    pub unclear: usize,
    /// What would turn out otherwise.
    pub changed: Vec<Changed>,
}

/// The requests that the events are about.
#[must_use]
pub fn requests(events: &[Event], context: &PolicyContext) -> Requests {
    let mut became = BTreeMap::new();
    let mut oldest: Vec<&Event> = events.iter().collect();
    oldest.sort_by_key(|event| instant(&event.at));
    for event in &oldest {
        if let Some((request, word)) = fate(event) {
            became.insert(request, word);
        }
    }
    let asked = oldest.iter().filter(|event| event.kind == AuditKind::RequestAsked.name());
    let read: Vec<Option<Past>> = asked.map(|event| past(event, context, &became)).collect();
    let all = read.len();
    let known: Vec<Past> = read.into_iter().flatten().collect();
    let unclear = all - known.len();
    Requests { known, unclear }
}

/// Which request an event decides, and how.
fn fate(event: &Event) -> Option<(String, &'static str)> {
    let kind: AuditKind = event.kind.parse().ok()?;
    if kind == AuditKind::GrantGiven {
        return Some((event.detail.get("request")?.as_str()?.to_owned(), "granted"));
    }
    let fates = [
        (AuditKind::RequestDenied, "denied"),
        (AuditKind::RequestWithdrawn, "withdrawn"),
        (AuditKind::RequestLapsed, "lapsed"),
    ];
    let (_, word) = fates.into_iter().find(|(over, _)| *over == kind)?;
    Some((event.subject.clone(), word))
}

fn past(
    event: &Event,
    context: &PolicyContext,
    became: &BTreeMap<String, &'static str>,
) -> Option<Past> {
    let asked = Asked::deserialize(&event.detail).ok()?;
    let at = instant(&event.at)?;
    let who = PrincipalId::new(event.actor.strip_prefix("principal:")?).ok()?;
    let facts = Facts {
        local: context.local(at),
        act: asked.act,
        ticket: asked.ticket,
        reason: asked.reason,
        ttl: asked.ttl,
        on_call: asked.on_call,
        ticket_state: asked.ticket_state,
        risk: asked.risk,
        ..Facts::new(at, asked.source)
    };
    let became = became.get(&event.subject).copied().unwrap_or("undecided").to_owned();
    let (id, resources, took) = (event.subject.clone(), asked.resource.0, asked.terms);
    Some(Past { id, at, who, resources, facts, took, became })
}

/// A moment as the log writes it.
#[must_use]
pub fn instant(text: &str) -> Option<Timestamp> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(instant.as_millisecond()))
}

/// Asks again. What it took is what the rules in force say, where there are any to compare with, or
/// else what the log says.
#[must_use]
pub fn replay(
    requests: Requests,
    in_force: Option<&RuleBook>,
    rules: &RuleBook,
    context: &PolicyContext,
) -> Replay {
    let clock = |now| context.local(now);
    let ask = |book, past: &Past| {
        let inquiry = Inquiry { book, directory: &context.directory, clock: &clock };
        let each = past.resources.iter();
        let each = each.map(|resource| inquiry.outcome(&past.who, resource, past.facts.clone()));
        let all: Result<Vec<Terms>, Denied> = each.collect();
        all.map(|all| all.into_iter().reduce(Terms::and).unwrap_or_default())
    };
    let Requests { known, unclear } = requests;
    let mut replay = Replay { asked: 0, unclear, changed: Vec::new() };
    for past in known {
        let before: Result<Terms, Denied> = match (in_force, past.took.clone()) {
            (Some(book), _) => ask(book, &past),
            (None, Some(took)) => Ok(took),
            (None, None) => {
                replay.unclear += 1;
                continue;
            }
        };
        let after = ask(rules, &past);
        replay.asked += 1;
        replay.changed.extend(effect(&before, &after).map(|effect| Changed {
            request: past.id,
            at: past.at.to_string(),
            who: past.who,
            resource: written(&past.resources),
            effect,
            before: words(&before),
            after: words(&after),
            became: past.became,
        }));
    }
    replay
}

/// What was asked for as one, as one text.
fn written(resources: &[Resource]) -> String {
    let all: Vec<String> = resources.iter().map(ToString::to_string).collect();
    all.join(" + ")
}
