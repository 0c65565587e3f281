//! Puts the messages about a change into the outbox, in the transaction of the change itself:
//! either both happened, or neither.
//!
//! Who is notified follows from the event: those who can decide, the one whose access it is, or the admins;
//! never the one who did it, and nobody who is shut out. A channel may leave topics out, and may be for
//! some groups only.

use std::collections::BTreeSet;

use policies::{Grant, PrincipalId, Request, RequestState, Subject};
use serde_json::Value;

use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::channel::{Channel, Way};
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::notice;
use crate::model::notice::{Notice, Said};
use crate::model::person::Person;
use crate::model::topic::Topic;
use crate::platform::email_address::Email;
use crate::platform::ids;
use crate::policy::evaluate::needs;
use crate::store;
use crate::store::outbox;
use crate::store::outbox::Message;

/// What those hear of a request who can decide on it; the rest is for the one who asks.
const FOR_DECIDERS: [Topic; 4] =
    [Topic::RequestAsked, Topic::RequestEdited, Topic::RequestEscalated, Topic::RequestWithdrawn];

/// What an event is, before it is known whom it is for.
struct News {
    topic: Topic,
    said: Said,
    /// The page, behind the public address.
    page: String,
    to: BTreeSet<PrincipalId>,
}

/// Writes a message for each channel and recipient that this event is for.
pub(crate) async fn notify(tx: &mut Transaction, event: &Event) -> Result<(), ControlError> {
    if tx.inventory.channels.is_empty() {
        return Ok(());
    }
    let Some(mut news) = news_of(tx, event).await? else { return Ok(()) };
    if let By::Principal(id) = &event.by {
        news.to.remove(id);
    }
    let inventory = std::sync::Arc::clone(&tx.inventory);
    let wanted = |channel: &&Channel| channel.topics.contains(&news.topic);
    let channels: Vec<&Channel> = inventory.channels.values().filter(wanted).collect();
    if channels.is_empty() {
        return Ok(());
    }
    let off = outbox::off(tx.db()).await?;
    for channel in channels {
        if off.iter().any(|(name, _)| name == channel.name.as_str()) {
            continue;
        }
        for (recipient, to) in addressed(channel, &inventory, &news.to) {
            write(tx, channel, recipient, &news, &event.subject, to).await?;
        }
    }
    Ok(())
}

async fn write(
    tx: &mut Transaction,
    channel: &Channel,
    recipient: Option<PrincipalId>,
    news: &News,
    about: &str,
    to: Vec<PrincipalId>,
) -> Result<(), ControlError> {
    let url = format!("{}{}", tx.kernel().settings().base_url(), news.page);
    let notice = Notice {
        topic: news.topic,
        at: tx.now,
        about: about.to_owned(),
        said: news.said.clone(),
        url,
        to,
    };
    let id = ids::fresh_text("msg");
    let message = Message { id, channel: channel.name.clone(), recipient, tries: 0, notice };
    let now = tx.now;
    outbox::insert(tx.db(), &message, now).await?;
    tx.wake_sender();
    Ok(())
}

/// The message about an event; most kinds are no message.
#[expect(clippy::too_many_lines, reason = "one line for each kind of event")]
async fn news_of(tx: &mut Transaction, event: &Event) -> Result<Option<News>, ControlError> {
    let by = name_of(tx, &event.by);
    match event.kind {
        AuditKind::RequestAsked | AuditKind::RequestProved | AuditKind::RequestTurn => {
            let news = of_request(tx, Topic::RequestAsked, event).await?;
            Ok(news.filter(|(request, _)| waits(request)).map(|(_, news)| news))
        }
        AuditKind::RequestEdited => {
            let news = of_request(tx, Topic::RequestEdited, event).await?;
            Ok(news.filter(|(request, _)| waits(request)).map(|(_, news)| news))
        }
        AuditKind::RequestEscalated => {
            about_request(tx, Topic::RequestEscalated, event, None).await
        }
        AuditKind::RequestApproved => about_request(tx, Topic::RequestApproved, event, by).await,
        AuditKind::RequestDenied => about_request(tx, Topic::RequestDenied, event, by).await,
        AuditKind::RequestWithdrawn => {
            about_request(tx, Topic::RequestWithdrawn, event, None).await
        }
        AuditKind::RequestLapsed => about_request(tx, Topic::RequestLapsed, event, None).await,
        AuditKind::RequestGranted => of_late_grant(tx, event).await,
        AuditKind::GrantGiven => of_grant(tx, Topic::GrantGiven, event).await,
        AuditKind::GrantExtended => of_grant(tx, Topic::GrantExtended, event).await,
        AuditKind::GrantEnding => of_grant(tx, Topic::GrantEnding, event).await,
        AuditKind::GrantEnded => of_grant(tx, Topic::GrantEnded, event).await,
        AuditKind::BreakGlassUsed => of_break_glass(tx, Topic::BreakGlassUsed, event, by).await,
        AuditKind::ReviewOpened => of_break_glass(tx, Topic::ReviewOpened, event, None).await,
        AuditKind::ReviewDue => of_break_glass(tx, Topic::ReviewDue, event, None).await,
        AuditKind::ReviewSigned => of_break_glass(tx, Topic::ReviewSigned, event, by).await,
        AuditKind::LockSet => Ok(of_lock(tx, event, by)),
        AuditKind::LockLifted => {
            Ok(Some(for_admins(tx, Topic::LockLifted, Said { by, ..Said::default() })))
        }
        AuditKind::ChannelOff => Ok(Some(for_admins(tx, Topic::ChannelOff, Said::default()))),
        AuditKind::BearerRedeemed
        | AuditKind::CertificateIssued
        | AuditKind::ChannelOn
        | AuditKind::ClockJumped
        | AuditKind::CodeRefused
        | AuditKind::ConnectionDenied
        | AuditKind::ControlOpened
        | AuditKind::DeviceConfirmed
        | AuditKind::DeviceDenied
        | AuditKind::DeviceSignedIn
        | AuditKind::GrantOpened
        | AuditKind::GrantUsed
        | AuditKind::HoldConfirmed
        | AuditKind::InventoryTaken
        | AuditKind::InviteMade
        | AuditKind::IssuerAvailable
        | AuditKind::IssuerUnavailable
        | AuditKind::LinkRefused
        | AuditKind::LoginEnded
        | AuditKind::LoginProven
        | AuditKind::LoginRefused
        | AuditKind::LoginRotated
        | AuditKind::LoginSignedIn
        | AuditKind::LogoutByIssuer
        | AuditKind::LogoutRefused
        | AuditKind::NotificationAgain
        | AuditKind::NotificationDead
        | AuditKind::PasskeyAdded
        | AuditKind::PasskeyRefused
        | AuditKind::PasskeyRemoved
        | AuditKind::PasskeyRenamed
        | AuditKind::PersonChanged
        | AuditKind::PersonLapsed
        | AuditKind::PersonLearned
        | AuditKind::PersonRefused
        | AuditKind::PlaceLearned
        | AuditKind::RecordingBroken
        | AuditKind::RecordingRead
        | AuditKind::RecoveryAsked
        | AuditKind::RecoveryDone
        | AuditKind::RefusalsLeftOut
        | AuditKind::RequestThrottled
        | AuditKind::RosterLearned
        | AuditKind::RosterSilent
        | AuditKind::RulesReconsidered
        | AuditKind::SessionEnded
        | AuditKind::SessionOpened
        | AuditKind::SessionProved
        | AuditKind::SessionReconciled
        | AuditKind::SshKeyAdded
        | AuditKind::SshKeyConfirmed
        | AuditKind::SshKeyRefused
        | AuditKind::SshKeyRemoved
        | AuditKind::StepUpAsked
        | AuditKind::StepUpGiven
        | AuditKind::StepUpRefused
        | AuditKind::StepUpWanted
        | AuditKind::StoreRolledBack
        | AuditKind::StoreWritable
        | AuditKind::TicketLearned
        | AuditKind::TicketReported
        | AuditKind::TicketsSilent
        | AuditKind::TokenMinted
        | AuditKind::TokenRedeemed
        | AuditKind::TokenRefused
        | AuditKind::TokenRevoked
        | AuditKind::TotpAdded
        | AuditKind::TotpRefused
        | AuditKind::TotpRemoved
        | AuditKind::WorkloadExchanged
        | AuditKind::WorkloadRefused => Ok(None),
    }
}

async fn of_request(
    tx: &mut Transaction,
    topic: Topic,
    event: &Event,
) -> Result<Option<(Request, News)>, ControlError> {
    let Some(request) = request_named(tx, &event.subject).await? else { return Ok(None) };
    let for_deciders = FOR_DECIDERS.contains(&topic);
    let mut to = BTreeSet::new();
    if for_deciders {
        to = deciders(tx, &request, &event.detail);
    }
    // What they didn't take back themselves, the one who asked hears of, too.
    let dropped = topic == Topic::RequestWithdrawn && !matches!(event.by, By::Principal(_));
    if !for_deciders || dropped {
        to.insert(request.principal.clone());
    }
    let name = tx.inventory.name(&request.principal);
    let mut said = Said::of_request(&request, name, needs(&request.terms.approvals));
    if let Some(why) = event.detail.get("why").and_then(Value::as_str) {
        said.why = notice::text(why);
    }
    let page = format!("/r/{}", request.id);
    Ok(Some((request, News { topic, said, page, to })))
}

async fn about_request(
    tx: &mut Transaction,
    topic: Topic,
    event: &Event,
    by: Option<String>,
) -> Result<Option<News>, ControlError> {
    let found = of_request(tx, topic, event).await?;
    Ok(found.map(|(_, news)| News { said: Said { by, ..news.said }, ..news }))
}

/// A request that became granted without anybody's act: the one who asked hears of it here where
/// nobody approved, and else by the grant.
async fn of_late_grant(tx: &mut Transaction, event: &Event) -> Result<Option<News>, ControlError> {
    let found = of_request(tx, Topic::GrantGiven, event).await?;
    let nobody = |request: &Request| request.state.approvals().is_empty();
    Ok(found.filter(|(request, _)| nobody(request)).map(|(_, news)| news))
}

/// The holder, unless they know: nobody else had to be asked, or they gave it back themselves.
async fn of_grant(
    tx: &mut Transaction,
    topic: Topic,
    event: &Event,
) -> Result<Option<News>, ControlError> {
    let Some(grant) = grant_named(tx, &event.subject).await? else { return Ok(None) };
    let approved = event.detail.get("approved_by").and_then(Value::as_array);
    let knows = topic == Topic::GrantGiven && approved.is_none_or(Vec::is_empty);
    let to = if knows { BTreeSet::new() } else { BTreeSet::from([grant.principal.clone()]) };
    Ok(Some(News { topic, said: Said::of_grant(&grant), page: page_of(&grant), to }))
}

/// Those who would have been asked (the groups that the event names, or else whoever some rule asks),
/// and the admins, but not the one who went in.
async fn of_break_glass(
    tx: &mut Transaction,
    topic: Topic,
    event: &Event,
    by: Option<String>,
) -> Result<Option<News>, ControlError> {
    let named = |key: &str| event.detail.get(key).and_then(Value::as_str);
    let grant = named("grant").unwrap_or(&event.subject).to_owned();
    let request = named("request").unwrap_or(&event.subject).to_owned();
    let (said, page) = if let Some(grant) = grant_named(tx, &grant).await? {
        (Said::of_grant(&grant), page_of(&grant))
    } else if let Some(request) = request_named(tx, &request).await? {
        let name = tx.inventory.name(&request.principal);
        (Said::of_request(&request, name, String::new()), format!("/r/{}", request.id))
    } else {
        return Ok(None);
    };
    let reviews = [Topic::ReviewOpened, Topic::ReviewDue, Topic::ReviewSigned];
    let page = if reviews.contains(&topic) { "/reviews".to_owned() } else { page };
    let mut to = tx.inventory.admins();
    let named_groups = tx.inventory.active().filter(|person| is_named(person, &event.detail));
    let named_people: Vec<PrincipalId> =
        named_groups.map(|person| person.principal.id.clone()).collect();
    if named_people.is_empty() {
        to.extend(tx.inventory.approvers());
    }
    to.extend(named_people);
    if let Some(person) = &said.person {
        to.remove(person);
    }
    let reason = named("reason").and_then(notice::text).or_else(|| said.reason.clone());
    let said = Said { by, reason, why: None, ..said };
    Ok(Some(News { topic, said, page, to }))
}

/// What a lost login session brought is locked away one by one, which is nobody's news.
fn of_lock(tx: &Transaction, event: &Event, by: Option<String>) -> Option<News> {
    let subject: Subject = serde_json::from_value(event.detail.get("subject")?.clone()).ok()?;
    if matches!(subject, Subject::Credential(_)) {
        return None;
    }
    let why = event.detail.get("reason").and_then(Value::as_str).and_then(notice::text);
    let said = Said { by, why, resource: Some(subject.to_string()), ..Said::default() };
    Some(for_admins(tx, Topic::LockSet, said))
}

fn for_admins(tx: &Transaction, topic: Topic, said: Said) -> News {
    News { topic, said, page: "/".to_owned(), to: tx.inventory.admins() }
}

/// Those who can still decide: by the request itself, and those to whom it was escalated.
fn deciders(tx: &Transaction, request: &Request, detail: &Value) -> BTreeSet<PrincipalId> {
    let asked = |person: &&Person| {
        let Ok(decider) = tx.inventory.decider(&person.principal, request) else {
            return false;
        };
        // Of one that is over, those hear who could have decided.
        let asked = if request.is_pending() {
            request.waits_for(&decider)
        } else {
            request.may_decide(&decider).is_ok()
        };
        asked || is_named(person, detail)
    };
    let people = tx.inventory.active().filter(asked);
    people.map(|person| person.principal.id.clone()).collect()
}

async fn request_named(tx: &mut Transaction, id: &str) -> Result<Option<Request>, ControlError> {
    let Ok(id) = id.parse() else { return Ok(None) };
    Ok(store::requests::find(tx.db(), &id).await?.map(|stored| stored.request))
}

async fn grant_named(tx: &mut Transaction, id: &str) -> Result<Option<Grant>, ControlError> {
    let Ok(id) = id.parse() else { return Ok(None) };
    Ok(store::grants::find(tx.db(), &id).await?)
}

fn name_of(tx: &Transaction, by: &By) -> Option<String> {
    let name = match by {
        By::Principal(id) => tx.inventory.name(id),
        By::Operator => "the operator".to_owned(),
        By::Control | By::Proxy(_) => "the gateway".to_owned(),
        By::Hook(name) => format!("the system of {name}"),
    };
    notice::text(&name)
}

fn waits(request: &Request) -> bool {
    matches!(request.state, RequestState::NeedsApproval { .. })
}

/// Whether an event names one of somebody's groups: those to whom a request is escalated.
fn is_named(person: &Person, detail: &Value) -> bool {
    let groups = detail.get("groups").and_then(Value::as_array);
    let mut named = groups.into_iter().flatten().filter_map(Value::as_str);
    named.any(|named| person.principal.groups.iter().any(|group| group.as_str() == named))
}

fn page_of(grant: &Grant) -> String {
    format!("/r/{}", grant.request)
}

/// The messages that a channel makes of one event: to whom each goes, and whom it is for.
fn addressed(
    channel: &Channel,
    inventory: &Inventory,
    to: &BTreeSet<PrincipalId>,
) -> Vec<(Option<PrincipalId>, Vec<PrincipalId>)> {
    let fits = |id: &&PrincipalId| channel.groups.is_empty() || is_in(channel, inventory, id);
    let meant: Vec<PrincipalId> = to.iter().filter(fits).cloned().collect();
    match channel.way {
        Way::Email(_) => {
            let reached = meant.into_iter().filter(|id| inventory.email(id).is_some());
            reached.map(|id| (Some(id.clone()), vec![id])).collect()
        }
        Way::Webhook(_) | Way::Slack(_) if meant.is_empty() && !channel.groups.is_empty() => {
            Vec::new()
        }
        Way::Webhook(_) | Way::Slack(_) => vec![(None, meant)],
    }
}

fn is_in(channel: &Channel, inventory: &Inventory, id: &PrincipalId) -> bool {
    let person = inventory.people.get(id);
    person.is_some_and(|person| !person.principal.groups.is_disjoint(&channel.groups))
}

impl Inventory {
    /// People who aren't shut out; programs read no messages.
    fn active(&self) -> impl Iterator<Item = &Person> {
        let people = self.people.iter().filter(|(id, _)| !self.workloads.contains_key(*id));
        people.map(|(_, person)| person).filter(|person| !person.disabled)
    }

    fn admins(&self) -> BTreeSet<PrincipalId> {
        let admins = self.active().filter(|person| person.admin);
        admins.map(|person| person.principal.id.clone()).collect()
    }

    /// Whoever some rule asks.
    fn approvers(&self) -> BTreeSet<PrincipalId> {
        let groups: BTreeSet<_> =
            self.rules.quorums().map(|(_, quorum)| quorum.group.clone()).collect();
        let people = self.active().filter(|person| !person.principal.groups.is_disjoint(&groups));
        people.map(|person| person.principal.id.clone()).collect()
    }

    /// Where mail reaches somebody.
    pub(crate) fn email(&self, id: &PrincipalId) -> Option<&Email> {
        self.people.get(id)?.email.as_ref()
    }
}
