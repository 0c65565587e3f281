//! What rules may know of the world outside: the organisation's clock, who is on call, and how tickets
//! stand.
//!
//! The configuration says where each is learned from; what was learned is a part of the inventory in
//! force. Whoever is on call is in the group of that roster, and nobody else is, whatever an issuer
//! says: so a roster can be permitted something, be asked to approve, and be told of it. What a source
//! hasn't confirmed for too long is not known any more.

use std::sync::Arc;

use policies::{Facts, GroupName, Principal, PrincipalId, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::kernel::control::Control;
use crate::kernel::transaction::Change;
use crate::model::context::{Heard, Learned, World};
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::tickets::Standing;
use crate::store::learned::Kind;
use crate::store::{Store, learned, parse};

/// The clock may be set, so the next change is looked for again at least this often.
const LONGEST: policies::Ttl = policies::Ttl::from_secs(60);

/// What was known when the store was used last.
pub(crate) async fn recall(store: &Store) -> Result<Learned, ControlError> {
    let db = &mut *store.read().await?;
    let mut known = Learned::default();
    for (name, roster, at) in learned::all(db, Kind::Roster).await? {
        known.rosters.insert(parse("roster", &name)?, Heard { roster, at });
    }
    for (name, state, at) in learned::all(db, Kind::Ticket).await? {
        known.tickets.insert(parse("ticket", &name)?, Standing { state, at });
    }
    Ok(known)
}

impl Inventory {
    /// The facts, with what the world says about them.
    pub(crate) fn informed(&self, principal: &Principal, facts: &Facts) -> Facts {
        let World { calendar, rosters, learned, .. } = &self.world;
        let standing = facts.ticket.as_ref().and_then(|ticket| learned.tickets.get(ticket));
        let state = standing.filter(|standing| self.is_fresh(standing, facts.now));
        Facts {
            local: calendar.local(facts.now),
            on_call: rosters.keys().any(|roster| principal.groups.contains(roster)),
            ticket_state: state.and_then(|standing| standing.state.clone()),
            ..facts.clone()
        }
    }

    /// What is known of a ticket holds for a while; without a source to ask, until the next word.
    fn is_fresh(&self, standing: &Standing, now: Timestamp) -> bool {
        let source = self.world.tickets.as_ref();
        source.is_none_or(|source| now < standing.at.after(source.keep))
    }

    /// The same, with everybody in the groups of the rosters that they are on call by now.
    pub(crate) fn attended(mut self, now: Timestamp) -> Self {
        let duty = self.world.rosters.iter().flat_map(|(name, source)| {
            let heard = self.world.learned.rosters.get(name);
            let heard = heard.filter(|heard| now < heard.at.after(source.keep));
            let on_call = heard.map(|heard| heard.roster.on_call(now)).unwrap_or_default();
            on_call.into_iter().map(|who| (name.clone(), who.clone())).collect::<Vec<_>>()
        });
        let duty = duty.collect();
        self.world.learned.duty = duty;
        if !self.world.rosters.is_empty() {
            let all: Vec<PrincipalId> = self.people.iter().map(|(id, _)| id.clone()).collect();
            all.iter().for_each(|id| self.call_up(id));
        }
        self
    }

    /// Puts one person into the groups of those rosters that have them on call, and out of the others.
    pub(crate) fn call_up(&mut self, id: &PrincipalId) {
        let World { rosters, learned, .. } = &self.world;
        let Some(person) = self.people.get(id) else { return };
        let (on, off): (Vec<GroupName>, Vec<GroupName>) = rosters
            .keys()
            .cloned()
            .partition(|name| learned.duty.contains(&(name.clone(), id.clone())));
        let groups = &person.principal.groups;
        if on.iter().all(|name| groups.contains(name)) && !off.iter().any(|it| groups.contains(it))
        {
            return;
        }
        if let Some(person) = self.people.get_mut(id) {
            person.principal.groups.retain(|group| !off.contains(group));
            person.principal.groups.extend(on);
        }
    }

    /// The next instant at which something may be decided differently by the clock alone.
    pub(crate) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let World { calendar, rosters, learned, tickets } = &self.world;
        let clock = self.rules.next_change(calendar, now);
        let turns = rosters.iter().flat_map(|(name, source)| {
            let heard = learned.rosters.get(name).into_iter();
            heard.flat_map(move |heard| {
                let stale = Some(heard.at.after(source.keep)).filter(|at| *at > now);
                [heard.roster.next_change(now), stale].into_iter().flatten()
            })
        });
        let stale = tickets.iter().flat_map(|source| {
            let standings = learned.tickets.values();
            standings.map(|standing| standing.at.after(source.keep)).filter(|at| *at > now)
        });
        clock.into_iter().chain(turns).chain(stale).min()
    }
}

impl Control {
    /// Decides everything again whenever the clock alone may have changed an answer, until `stop`.
    pub(crate) async fn keep_reconsidering(&self, stop: CancellationToken) {
        let mut since = self.now();
        loop {
            let next = self.0.inventory.load().next_change(since);
            let left = next.map_or(LONGEST, |next| self.now().until(next));
            let woken = self.0.reconsider.notified();
            tokio::select! {
                () = stop.cancelled() => return,
                () = woken => continue,
                () = tokio::time::sleep(left.min(LONGEST).duration()) => {}
            }
            let now = self.now();
            if next.is_none_or(|next| now < next) {
                continue;
            }
            match self.reconsider("the clock").await {
                Ok(()) => since = now,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "can't decide again");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Decides again about all that is live, with what is known by now.
    pub(crate) async fn reconsider(&self, because: &'static str) -> Result<(), ControlError> {
        let control = self.clone();
        self.to_the_end(async move {
            let mut change = control.change().await?;
            let next = (*change.inventory).clone();
            change.decide_again(next, because).await?;
            change.commit().await.map(drop)
        })
        .await
    }
}

impl Change {
    /// Puts in force what is known by now, and ends what no longer follows from it.
    pub(crate) async fn decide_again(
        &mut self,
        next: Inventory,
        because: &'static str,
    ) -> Result<(), ControlError> {
        let now = self.now;
        self.know(Arc::new(next.attended(now)));
        let withdrawn = self.review_requests(None).await?;
        self.review_grants(None).await?;
        let revoked: Vec<_> = self.ended().cloned().collect();
        if revoked.is_empty() && withdrawn.is_empty() {
            return Ok(());
        }
        let detail = json!({ "because": because, "revoked": revoked, "withdrawn": withdrawn });
        self.record(Event::new(By::Control, "rules.reconsidered", "rules", detail)).await
    }

    /// What was learned so far stays known under another configuration.
    pub(crate) fn remember(&self, next: &mut Inventory) {
        next.world.learned = self.inventory.world.learned.clone();
    }
}
