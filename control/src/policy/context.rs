//! What rules may know of the context: the organisation's clock, who is on call, and how tickets
//! stand.
//!
//! The configuration says where each is learned from; what was learned is a part of the inventory in
//! force. Whoever is on call is in the group of that roster, and nobody else is, whatever an issuer
//! says: so a roster can be permitted something, be asked to approve, and be notified of it. What a source
//! hasn't confirmed for too long is not known any more.

use policies::{Facts, GroupName, Principal, PrincipalId, Timestamp};

use crate::model::context::{Context, Heard, Learned};
use crate::model::error::ControlError;
use crate::model::inventory::Inventory;
use crate::model::tickets::Standing;
use crate::store::learned::Kind;
use crate::store::{Store, learned, parse};

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
    /// The facts, with what the context says about them.
    pub(crate) fn informed(&self, principal: &Principal, facts: &Facts) -> Facts {
        let Context { calendar, rosters, learned, .. } = &self.context;
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
        let source = self.context.tickets.as_ref();
        source.is_none_or(|source| now < standing.at.after(source.keep))
    }

    /// The same, with everybody in the groups of the rosters that they are on call by now.
    pub(crate) fn attended(mut self, now: Timestamp) -> Self {
        let duty = self.context.rosters.iter().flat_map(|(name, source)| {
            let heard = self.context.learned.rosters.get(name);
            let heard = heard.filter(|heard| now < heard.at.after(source.keep));
            let on_call = heard.map(|heard| heard.roster.on_call(now)).unwrap_or_default();
            on_call.into_iter().map(|who| (name.clone(), who.clone())).collect::<Vec<_>>()
        });
        let duty = duty.collect();
        self.context.learned.duty = duty;
        if !self.context.rosters.is_empty() {
            let all: Vec<PrincipalId> = self.people.iter().map(|(id, _)| id.clone()).collect();
            all.iter().for_each(|id| self.call_up(id));
        }
        self
    }

    /// Puts one person into the groups of those rosters that have them on call, and out of the others.
    pub(crate) fn call_up(&mut self, id: &PrincipalId) {
        let Context { rosters, learned, .. } = &self.context;
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
        let Context { calendar, rosters, learned, tickets } = &self.context;
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
