//! Puts what people are to be told of a change into the outbox, in the transaction of the change itself:
//! either both happened, or neither.
//!
//! Who is told follows from the event: those who can decide, the one whose access it is, or the admins;
//! never the one who did it, and nobody who is shut out. A channel may leave topics out, and may be for
//! some groups only.

use std::collections::BTreeSet;

use policies::{Grant, PrincipalId, Request, RequestState, Subject};
use serde_json::Value;

use crate::kernel::transaction::Change;
use crate::model::channel::{Channel, Way};
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::{Inventory, Person};
use crate::model::notice;
use crate::model::notice::{Notice, Said};
use crate::model::topic::Topic;
use crate::platform::ids;
use crate::policy::evaluate::needs;
use crate::store;
use crate::store::outbox;
use crate::store::outbox::Letter;

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

impl Change {
    /// Writes a message for each channel and recipient that this event is for.
    pub(crate) async fn tell(&mut self, event: &Event) -> Result<(), ControlError> {
        if self.inventory.channels.is_empty() {
            return Ok(());
        }
        let Some(mut news) = self.news_of(event).await? else { return Ok(()) };
        if let By::Principal(id) = &event.by {
            news.to.remove(id);
        }
        let inventory = std::sync::Arc::clone(&self.inventory);
        let wanted = |channel: &&Channel| channel.topics.contains(&news.topic);
        let channels: Vec<&Channel> = inventory.channels.values().filter(wanted).collect();
        if channels.is_empty() {
            return Ok(());
        }
        let off = outbox::off(self.db()).await?;
        for channel in channels {
            if off.iter().any(|(name, _)| name == channel.name.as_str()) {
                continue;
            }
            for (recipient, to) in addressed(channel, &inventory, &news.to) {
                self.write(channel, recipient, &news, (&event.subject, to)).await?;
            }
        }
        Ok(())
    }

    async fn write(
        &mut self,
        channel: &Channel,
        recipient: Option<PrincipalId>,
        news: &News,
        (about, to): (&str, Vec<PrincipalId>),
    ) -> Result<(), ControlError> {
        let url = format!("{}{}", self.kernel().settings().base_url(), news.page);
        let notice = Notice {
            topic: news.topic,
            at: self.now,
            about: about.to_owned(),
            said: news.said.clone(),
            url,
            to,
        };
        let id = ids::fresh_text("msg");
        let letter = Letter { id, channel: channel.name.clone(), recipient, tries: 0, notice };
        let now = self.now;
        outbox::insert(self.db(), &letter, now).await?;
        self.told_somebody();
        Ok(())
    }

    async fn news_of(&mut self, event: &Event) -> Result<Option<News>, ControlError> {
        let by = self.name_of(&event.by);
        match event.kind {
            "request.asked" | "request.proved" | "request.turn" => {
                let news = self.of_request(Topic::RequestAsked, event).await?;
                Ok(news.filter(|(request, _)| waits(request)).map(|(_, news)| news))
            }
            "request.edited" => {
                let news = self.of_request(Topic::RequestEdited, event).await?;
                Ok(news.filter(|(request, _)| waits(request)).map(|(_, news)| news))
            }
            "request.escalated" => self.about_request(Topic::RequestEscalated, event, None).await,
            "request.approved" => self.about_request(Topic::RequestApproved, event, by).await,
            "request.denied" => self.about_request(Topic::RequestDenied, event, by).await,
            "request.withdrawn" => self.about_request(Topic::RequestWithdrawn, event, None).await,
            "request.lapsed" => self.about_request(Topic::RequestLapsed, event, None).await,
            "request.granted" => self.of_late_grant(event).await,
            "grant.given" => self.of_grant(Topic::GrantGiven, event).await,
            "grant.extended" => self.of_grant(Topic::GrantExtended, event).await,
            "grant.ending" => self.of_grant(Topic::GrantEnding, event).await,
            "grant.ended" => self.of_grant(Topic::GrantEnded, event).await,
            "break-glass.used" => self.of_break_glass(Topic::BreakGlassUsed, event, by).await,
            "review.opened" => self.of_break_glass(Topic::ReviewOpened, event, None).await,
            "review.due" => self.of_break_glass(Topic::ReviewDue, event, None).await,
            "review.signed" => self.of_break_glass(Topic::ReviewSigned, event, by).await,
            "lock.set" => Ok(self.of_lock(event, by)),
            "lock.lifted" => {
                Ok(Some(self.for_admins(Topic::LockLifted, Said { by, ..Said::default() })))
            }
            "channel.off" => Ok(Some(self.for_admins(Topic::ChannelOff, Said::default()))),
            _ => Ok(None),
        }
    }

    async fn of_request(
        &mut self,
        topic: Topic,
        event: &Event,
    ) -> Result<Option<(Request, News)>, ControlError> {
        let Some(request) = self.request_named(&event.subject).await? else { return Ok(None) };
        let for_deciders = FOR_DECIDERS.contains(&topic);
        let mut to = BTreeSet::new();
        if for_deciders {
            to = self.deciders(&request, &event.detail);
        }
        // What they didn't take back themselves, the one who asked hears of, too.
        let dropped = topic == Topic::RequestWithdrawn && !matches!(event.by, By::Principal(_));
        if !for_deciders || dropped {
            to.insert(request.principal.clone());
        }
        let name = self.inventory.name(&request.principal);
        let mut said = Said::of_request(&request, name, needs(&request.terms.approvals));
        if let Some(why) = event.detail.get("why").and_then(Value::as_str) {
            said.why = notice::text(why);
        }
        let page = format!("/r/{}", request.id);
        Ok(Some((request, News { topic, said, page, to })))
    }

    async fn about_request(
        &mut self,
        topic: Topic,
        event: &Event,
        by: Option<String>,
    ) -> Result<Option<News>, ControlError> {
        let found = self.of_request(topic, event).await?;
        Ok(found.map(|(_, news)| News { said: Said { by, ..news.said }, ..news }))
    }

    /// A request that became granted without anybody's act: the one who asked hears of it here where
    /// nobody approved, and else by the grant.
    async fn of_late_grant(&mut self, event: &Event) -> Result<Option<News>, ControlError> {
        let found = self.of_request(Topic::GrantGiven, event).await?;
        let nobody = |request: &Request| request.state.approvals().is_empty();
        Ok(found.filter(|(request, _)| nobody(request)).map(|(_, news)| news))
    }

    /// The holder, unless they know: nobody else had to be asked, or they gave it back themselves.
    async fn of_grant(
        &mut self,
        topic: Topic,
        event: &Event,
    ) -> Result<Option<News>, ControlError> {
        let Some(grant) = self.grant_named(&event.subject).await? else { return Ok(None) };
        let approved = event.detail.get("approved_by").and_then(Value::as_array);
        let knows = topic == Topic::GrantGiven && approved.is_none_or(Vec::is_empty);
        let to = if knows { BTreeSet::new() } else { BTreeSet::from([grant.principal.clone()]) };
        Ok(Some(News { topic, said: Said::of_grant(&grant), page: page_of(&grant), to }))
    }

    /// Those who would have been asked (the groups that the event names, or else whoever some rule asks),
    /// and the admins, but not the one who went in.
    async fn of_break_glass(
        &mut self,
        topic: Topic,
        event: &Event,
        by: Option<String>,
    ) -> Result<Option<News>, ControlError> {
        let named = |key: &str| event.detail.get(key).and_then(Value::as_str);
        let grant = named("grant").unwrap_or(&event.subject).to_owned();
        let request = named("request").unwrap_or(&event.subject).to_owned();
        let (said, page) = if let Some(grant) = self.grant_named(&grant).await? {
            (Said::of_grant(&grant), page_of(&grant))
        } else if let Some(request) = self.request_named(&request).await? {
            let name = self.inventory.name(&request.principal);
            (Said::of_request(&request, name, String::new()), format!("/r/{}", request.id))
        } else {
            return Ok(None);
        };
        let reviews = [Topic::ReviewOpened, Topic::ReviewDue, Topic::ReviewSigned];
        let page = if reviews.contains(&topic) { "/reviews".to_owned() } else { page };
        let mut to = self.inventory.admins();
        let named_groups = self.inventory.active().filter(|person| is_named(person, &event.detail));
        let named_people: Vec<PrincipalId> =
            named_groups.map(|person| person.principal.id.clone()).collect();
        if named_people.is_empty() {
            to.extend(self.inventory.approvers());
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
    fn of_lock(&self, event: &Event, by: Option<String>) -> Option<News> {
        let subject: Subject = serde_json::from_value(event.detail.get("subject")?.clone()).ok()?;
        if matches!(subject, Subject::Credential(_)) {
            return None;
        }
        let why = event.detail.get("reason").and_then(Value::as_str).and_then(notice::text);
        let said = Said { by, why, resource: Some(subject.to_string()), ..Said::default() };
        Some(self.for_admins(Topic::LockSet, said))
    }

    fn for_admins(&self, topic: Topic, said: Said) -> News {
        News { topic, said, page: "/".to_owned(), to: self.inventory.admins() }
    }

    /// Those who can still decide: by the request itself, and those to whom it was escalated.
    fn deciders(&self, request: &Request, detail: &Value) -> BTreeSet<PrincipalId> {
        let asked = |person: &&Person| {
            let Ok(decider) = self.inventory.decider(&person.principal, request) else {
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
        let people = self.inventory.active().filter(asked);
        people.map(|person| person.principal.id.clone()).collect()
    }

    async fn request_named(&mut self, id: &str) -> Result<Option<Request>, ControlError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        Ok(store::requests::find(self.db(), &id).await?.map(|stored| stored.request))
    }

    async fn grant_named(&mut self, id: &str) -> Result<Option<Grant>, ControlError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        store::grants::find(self.db(), &id).await
    }

    fn name_of(&self, by: &By) -> Option<String> {
        let name = match by {
            By::Principal(id) => self.inventory.name(id),
            By::Operator => "the operator".to_owned(),
            By::Control | By::Proxy(_) => "the gateway".to_owned(),
            By::Hook(name) => format!("the system of {name}"),
        };
        notice::text(&name)
    }
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
    pub(crate) fn email(&self, id: &PrincipalId) -> Option<&super::Email> {
        self.people.get(id)?.email.as_ref()
    }
}
