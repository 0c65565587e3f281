//! Asks the rules what a case asks.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    Act, Binds, Credential, Database, Directory, Facts, GroupName, Hold, Inquiry, Kind, Member,
    Partition, Principal, PrincipalId, Recording, Resource, Risk, RuleBook, StepUpKind, Target,
    TargetName, Terms, Timestamp, Ttl, UpstreamTls,
};

use super::form::{Case, OnCall};
use crate::policy::PolicyContext;

/// A case that names no moment is asked at this one: a Wednesday noon in UTC.
const NOON: Timestamp = Timestamp::from_millis(1_795_003_200_000);
/// Who asks where nobody is named, and for which target where none is.
const SOMEBODY: &str = "somebody";
const SOMEWHERE: &str = "somewhere";

/// What came of a case.
pub(super) struct Answer {
    /// The terms, or the refusal.
    pub(super) outcome: Result<Terms, String>,
    /// The titles of the rules that obliged or forbade.
    pub(super) by: BTreeSet<String>,
    pub(super) missing: usize,
    pub(super) approvers: BTreeSet<PrincipalId>,
    pub(super) lacks: &'static str,
    pub(super) ends: String,
}

impl Answer {
    fn refused(why: String) -> Self {
        let (by, approvers) = (BTreeSet::new(), BTreeSet::new());
        let (lacks, ends) = ("nothing", "never".to_owned());
        Self { outcome: Err(why), by, missing: 0, approvers, lacks, ends }
    }
}

pub(super) fn ask(book: &RuleBook, context: &PolicyContext, case: &Case) -> Answer {
    let mut directory = context.directory.clone();
    let Some((who, resource)) = place(case, &mut directory) else {
        return Answer::refused("the case names nobody and nothing".to_owned());
    };
    let Ok(facts) = facts(case, context) else {
        return Answer::refused("the case names no moment".to_owned());
    };
    let clock = |now| context.local(now);
    let inquiry = Inquiry { book, directory: &directory, clock: &clock };
    let terms = match inquiry.outcome(&who, &resource, facts.clone()) {
        Ok(terms) => terms,
        Err(denied) => {
            let by = denied.by.into_iter().collect();
            return Answer { by, ..Answer::refused(denied.why) };
        }
    };
    let lacks = match terms.check_input(facts.ticket.as_ref(), &facts.reason) {
        Ok(()) => "nothing",
        Err(policies::MissingInput::Ticket { .. }) => "ticket",
        Err(policies::MissingInput::Reason { .. }) => "reason",
    };
    let ends =
        inquiry.ends(&who, &resource, facts).map_or_else(|| "never".to_owned(), |end| end.when);
    Answer {
        by: terms.rules.iter().cloned().collect(),
        missing: missing(&directory, &who, &terms, &case.approved_by),
        approvers: approvers(&directory, &who, &terms),
        lacks,
        ends,
        outcome: Ok(terms),
    }
}

/// Puts who and what a case is about into the directory, where they aren't there yet.
fn place(case: &Case, directory: &mut Directory) -> Option<(PrincipalId, Resource)> {
    let who = match &case.who {
        Some(who) => who.clone(),
        None => PrincipalId::new(SOMEBODY).ok()?,
    };
    if case.who.is_none() {
        let (name, groups) = ("Somebody".to_owned(), BTreeSet::new());
        let principal = Principal { id: who.clone(), name, groups };
        let member = Member { principal, disabled: false, workload: false, same_as: None };
        directory.people.insert(who.clone(), member);
    }
    if let Some(member) = directory.people.get_mut(&who) {
        member.principal.groups.extend(case.groups.iter().cloned());
        member.principal.groups.extend(rosters(case).cloned());
    }
    let resource = match &case.resource {
        Some(resource) => resource.parse().ok()?,
        None => {
            let (target, resource) = made_up(case)?;
            directory.targets.insert(target.name.clone(), target);
            resource
        }
    };
    Some((who, resource))
}

fn rosters(case: &Case) -> impl Iterator<Item = &GroupName> {
    let rosters = match &case.on_call {
        Some(OnCall::Rosters(rosters)) => Some(rosters),
        Some(OnCall::Somewhere(_)) | None => None,
    };
    rosters.into_iter().flatten()
}

fn made_up(case: &Case) -> Option<(Target, Resource)> {
    let login = case.login.clone()?;
    let ssh = case.kind.as_deref() == Some("ssh");
    let kind = if ssh { Kind::Ssh } else { Kind::Postgres };
    let database = case.database.clone().or_else(|| Database::new("shop").ok());
    let name = TargetName::new(SOMEWHERE).ok()?;
    let target = Target {
        name: name.clone(),
        kind,
        host: String::new(),
        port: 0,
        tls: UpstreamTls::Off,
        environment: case.environment.clone(),
        labels: case.labels.clone(),
        databases: database.filter(|_| !ssh).into_iter().collect(),
        logins: BTreeMap::from([(login.clone(), Credential::Password)]),
        hold: Hold::Interactive,
        partition: Partition::Cut,
        recording: Recording { binds: Binds::Keep },
        default_ttl: Ttl::from_secs(3600),
        replication: false,
        weak_auth: Default::default(),
        ssh: None,
    };
    Some((target, Resource { target: name, login, database: None }))
}

fn facts(case: &Case, context: &PolicyContext) -> Result<Facts, String> {
    let now = case.at.as_deref().map_or(Ok(NOON), |at| context.moment(at))?;
    let step_up = case.touched.as_deref().map(step_up).transpose()?;
    let on_call = match &case.on_call {
        Some(OnCall::Somewhere(on_call)) => *on_call,
        Some(OnCall::Rosters(rosters)) => !rosters.is_empty(),
        None => false,
    };
    Ok(Facts {
        local: context.local(now),
        act: if case.break_glass { Act::BreakGlass } else { Act::Connect },
        step_up,
        ticket: case.ticket.clone(),
        ticket_state: case.ticket_state.clone(),
        reason: case.reason.clone(),
        ttl: case.ttl,
        on_call,
        risk: Risk {
            new_network: case.new_network,
            new_device: case.new_device,
            failed_attempts: case.failed_attempts,
        },
        ..Facts::new(now, case.from)
    })
}

/// Reads a step-up, as `passkey 30s`.
///
/// # Errors
/// How it is written.
pub fn step_up(text: &str) -> Result<(StepUpKind, Ttl), String> {
    let wrong = || format!("`{text}` is no step-up: write it as `passkey 30s` or `totp 2m`");
    let (kind, age) = text.split_once(' ').ok_or_else(wrong)?;
    let kind = [StepUpKind::Passkey, StepUpKind::Totp]
        .into_iter()
        .find(|known| known.word() == kind)
        .ok_or_else(wrong)?;
    Ok((kind, age.trim().parse().map_err(|_| wrong())?))
}

/// Whether a text is a moment, in whatever zone.
pub(super) fn is_moment(text: &str) -> Result<(), String> {
    crate::policy::context::moment(text, &jiff::tz::TimeZone::UTC).map(drop)
}

/// How many have still to say yes. Nobody counts for themselves, by no identity, and each once.
fn missing(directory: &Directory, who: &PrincipalId, terms: &Terms, yes: &[PrincipalId]) -> usize {
    let approving =
        yes.iter().filter_map(|id| directory.others(who).find(|other| other.principal.id == *id));
    terms.approvals.missing(approving.map(|other| (other.human(), &other.principal.groups)))
}

fn approvers(directory: &Directory, who: &PrincipalId, terms: &Terms) -> BTreeSet<PrincipalId> {
    let others = directory.others(who);
    let asked = others.filter(|other| terms.approvals.ask(&other.principal.groups));
    asked.map(|other| other.principal.id.clone()).collect()
}
