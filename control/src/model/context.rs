//! What rules may know of the context, and where it is learned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policies::{Calendar, GroupName, PrincipalId, Roster, Ticket, Timestamp};

use crate::model::on_call::RosterSource;
use crate::model::tickets::{Standing, TicketSource};
use crate::platform::shared::Shared;

/// What rules may know of the context.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The organisation's clock.
    pub calendar: Arc<Calendar>,
    /// Where it is learned who is on call, by the group that they are in then.
    pub rosters: Shared<BTreeMap<GroupName, RosterSource>>,
    /// Where it is learned how a ticket stands.
    pub tickets: Option<Arc<TicketSource>>,
    pub(crate) learned: Shared<Learned>,
}

/// What was learned so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learned {
    pub(crate) rosters: BTreeMap<GroupName, Heard>,
    pub(crate) tickets: BTreeMap<Ticket, Standing>,
    /// People of one mailbox, each with the one who stands for them all.
    pub(crate) namesakes: BTreeMap<PrincipalId, PrincipalId>,
    pub(crate) duty: BTreeSet<(GroupName, PrincipalId)>,
}

impl Context {
    /// A context of which nothing was learned yet.
    #[must_use]
    pub fn new(
        calendar: Arc<Calendar>,
        rosters: BTreeMap<GroupName, RosterSource>,
        tickets: Option<Arc<TicketSource>>,
    ) -> Self {
        Self { calendar, rosters: rosters.into(), tickets, learned: Shared::default() }
    }
}

/// What a roster's source has said, and when.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) roster: Roster,
    pub(crate) at: Timestamp,
}
