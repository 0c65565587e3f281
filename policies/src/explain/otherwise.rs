//! What would come of it if one fact were another: the names that rules speak of are tried.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Question;
use crate::anatomy::Mention;
use crate::directory::Member;
use crate::{Act, Facts, GroupName, Resource, Risk, StepUpKind, Ticket, Ttl};

/// At most so many alternatives are listed.
const MOST: usize = 12;
/// So many failed attempts are tried.
const FAILURES: u32 = 20;

/// Another answer, and what leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Otherwise {
    /// What would have to be otherwise.
    pub when: String,
    /// What would come of it.
    pub then: String,
}

impl Question<'_> {
    /// Every single change that leads to another answer.
    pub(super) fn otherwise(&self) -> Vec<Otherwise> {
        let now = self.answer();
        let asked = self.inquiry.book.asks_for();
        let spoken = self.inquiry.book.mentions();
        let mut found = Vec::new();
        let facts = self.flags().into_iter().chain(spoken.iter().flat_map(|name| self.named(name)));
        let facts = facts.chain(self.failures().filter(|_| asked.contains("failed_attempts")));
        for (when, facts) in facts {
            found.push((when, Self { facts, ..self.clone() }.answer()));
        }
        found.extend(spoken.iter().filter_map(|name| self.in_group(name)));
        found.extend(self.logins());
        let mut alternatives: Vec<Otherwise> = Vec::new();
        for (when, then) in found {
            if then != now && !alternatives.iter().any(|other| other.when == when) {
                alternatives.push(Otherwise { when, then });
            }
        }
        alternatives.truncate(MOST);
        alternatives
    }

    /// Facts that are either so or not.
    fn flags(&self) -> Vec<(String, Facts)> {
        let facts = &self.facts;
        let on_call = if facts.on_call { "not on call" } else { "on call" };
        let mut found =
            vec![(on_call.to_owned(), Facts { on_call: !facts.on_call, ..facts.clone() })];
        if facts.act == Act::Connect {
            let act = Act::BreakGlass;
            found.push(("in an emergency".to_owned(), Facts { act, ..facts.clone() }));
        }
        let risk = facts.risk;
        let network = Risk { new_network: !risk.new_network, ..risk };
        let device = Risk { new_device: !risk.new_device, ..risk };
        let known = |is_new: bool| if is_new { "a known" } else { "a new" };
        for (risk, what) in [
            (network, format!("from {} network", known(risk.new_network))),
            (device, format!("with {} device", known(risk.new_device))),
        ] {
            found.push((what, Facts { risk, ..facts.clone() }));
        }
        for kind in [StepUpKind::Passkey, StepUpKind::Totp] {
            let step_up = Some((kind, Ttl::from_millis(0)));
            let when = format!("right after a step-up by {}", kind.word());
            found.push((when, Facts { step_up, ..facts.clone() }));
        }
        if facts.ticket.is_none() {
            let ticket = Ticket::new("TICKET-1").ok();
            found.push(("with a ticket".to_owned(), Facts { ticket, ..facts.clone() }));
        }
        found
    }

    fn failures(&self) -> impl Iterator<Item = (String, Facts)> {
        let now = self.answer();
        let lately = self.facts.risk.failed_attempts;
        let facts = (lately + 1..=lately + FAILURES).map(|failed_attempts| {
            let risk = Risk { failed_attempts, ..self.facts.risk };
            (
                format!("after {failed_attempts} failed attempts"),
                Facts { risk, ..self.facts.clone() },
            )
        });
        let mut facts = facts;
        let first =
            facts.find(|(_, facts)| Self { facts: facts.clone(), ..self.clone() }.answer() != now);
        first.into_iter()
    }

    /// The facts that a name in a rule suggests.
    fn named(&self, spoken: &Mention) -> Vec<(String, Facts)> {
        let facts = &self.facts;
        match spoken {
            Mention::Network(network) => {
                network_of(network).map_or_else(Vec::new, |(inside, outside)| {
                    let from = |source: IpAddr| Facts { source: Some(source), ..facts.clone() };
                    let outside =
                        outside.map(|source| (format!("from outside {network}"), from(source)));
                    let inside = (format!("from {network}"), from(inside));
                    std::iter::once(inside).chain(outside).collect()
                })
            }
            Mention::Span(span) => span.parse().map_or_else(
                |_| Vec::new(),
                |ttl: Ttl| {
                    let longer = Ttl::from_millis(ttl.millis().unsigned_abs() + 60_000);
                    let shorter =
                        Ttl::from_millis(ttl.millis().unsigned_abs().saturating_sub(60_000));
                    let all =
                        [("for ", ttl), ("for longer than ", longer), ("for less than ", shorter)];
                    let all = all.map(|(lead, tried)| {
                        (format!("{lead}{ttl}"), Facts { ttl: Some(tried), ..facts.clone() })
                    });
                    all.to_vec()
                },
            ),
            Mention::Fact(fact, text) if fact == "ticket_state" => {
                let ticket = facts.ticket.clone().or_else(|| Ticket::new("TICKET-1").ok());
                let ticket_state = Some(text.clone());
                vec![(
                    format!("with a ticket that is `{text}`"),
                    Facts { ticket, ticket_state, ..facts.clone() },
                )]
            }
            Mention::Entity(..) | Mention::Fact(..) | Mention::Label(..) => Vec::new(),
        }
    }

    /// What would come of it for somebody who is in this group too.
    fn in_group(&self, spoken: &Mention) -> Option<(String, String)> {
        let Mention::Entity(kind, id) = spoken else { return None };
        let group = GroupName::new(id).ok().filter(|_| kind == "Group")?;
        let mut member: Member = self.member.clone();
        let is_in = member.principal.groups.remove(&group);
        if !is_in {
            member.principal.groups.insert(group);
        }
        let when = if is_in { "not in" } else { "in" };
        let then = Question { member: &member, ..self.clone() }.answer();
        Some((format!("{when} group `{id}`"), then))
    }

    /// What would come of the target's other logins.
    fn logins(&self) -> Vec<(String, String)> {
        let others = self.target.logins.keys().filter(|login| **login != self.resource.login);
        let others = others.map(|login| {
            let resource = Resource { login: login.clone(), ..self.resource.clone() };
            let then = Self { resource, ..self.clone() }.answer();
            (format!("as `{login}`"), then)
        });
        others.collect()
    }
}

/// An address of the network, and one that is not of it.
fn network_of(text: &str) -> Option<(IpAddr, Option<IpAddr>)> {
    let network: IpNet = text.parse().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into()))?;
    let inside = network.hosts().next().unwrap_or_else(|| network.addr());
    let outside = ["203.0.113.1", "192.0.2.1", "2001:db8:ffff::1", "2001:db9::1"];
    let outside = outside.into_iter().filter_map(|text| text.parse::<IpAddr>().ok());
    let mut outside =
        outside.filter(|other| other.is_ipv4() == inside.is_ipv4() && !network.contains(other));
    Some((inside, outside.next()))
}
