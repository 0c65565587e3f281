//! Who and what there is: people, targets, rules and upstream secrets, as the configuration says.
//!
//! An inventory is taken whole or not at all; what it leaves out is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use policies::{
    Credential, GroupName, IssuerName, Kind, Login, PrincipalId, Resource, RuleBook, Subject,
    Target, TargetName,
};
use secrecy::SecretString;

use crate::model::bearer::Bearer;
use crate::model::channel::{Channel, ChannelName};
use crate::model::context::Context;
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::issuer::Issuer;
use crate::model::people::People;
use crate::model::person::Person;
use crate::model::workflow::Workflow;
use crate::model::workload::Workload;
use crate::platform::shared::Shared;

/// Everything that can change by a reload. A copy of it is cheap.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// People and workloads by their keys.
    pub people: People,
    /// Which of them are workloads, and whose tokens stand for them.
    pub workloads: Shared<BTreeMap<PrincipalId, Workload>>,
    /// Issuers whose access tokens are taken from clients.
    pub bearers: Shared<BTreeMap<IssuerName, Bearer>>,
    /// Targets by their names.
    pub targets: Shared<BTreeMap<TargetName, Target>>,
    /// The rules in force.
    pub rules: Arc<RuleBook>,
    /// Passwords of upstream logins.
    pub secrets: Secrets,
    /// Whom people sign in with.
    pub issuers: Shared<BTreeMap<IssuerName, Issuer>>,
    /// People of the configuration by their issuer and its name of them.
    pub accounts: Shared<BTreeMap<(IssuerName, String), PrincipalId>>,
    /// By what people are notified.
    pub channels: Shared<BTreeMap<ChannelName, Channel>>,
    /// How requests go their way.
    pub workflow: Shared<Workflow>,
    /// What rules may know of the context.
    pub context: Context,
    /// Whose registered SSH key this is: each as OpenSSH writes one, without a comment.
    pub ssh_keys: Shared<BTreeMap<String, PrincipalId>>,
}

/// Passwords by target and login. They can't be printed.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Shared<BTreeMap<(TargetName, Login), SecretString>>);

impl Secrets {
    /// Takes in the password of one login.
    pub fn insert(&mut self, target: TargetName, login: Login, secret: SecretString) {
        self.0.insert((target, login), secret);
    }

    /// The password of this login.
    #[must_use]
    pub fn get(&self, target: &TargetName, login: &Login) -> Option<&SecretString> {
        self.0.get(&(target.clone(), login.clone()))
    }
}

impl Inventory {
    /// Checks what no single entry can: a name under another's key, a password login without one.
    ///
    /// # Errors
    /// Every fault that was found.
    pub(crate) fn check(&self) -> Result<(), ControlError> {
        let faults: Vec<String> = self.faults().collect();
        if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults.join("\n")).into()) }
    }

    fn faults(&self) -> impl Iterator<Item = String> {
        let people = self.people.iter();
        let misnamed = people
            .filter(|(id, person)| **id != person.principal.id)
            .map(|(id, _)| format!("person `{id}` is filed under another's key"));
        let targets = self.targets.iter().flat_map(|(name, target)| {
            let misnamed = (*name != target.name)
                .then(|| format!("target `{name}` is filed under another's name"));
            let lacks_one = target.kind == Kind::Postgres && target.databases.is_empty();
            let empty = lacks_one.then(|| format!("target `{name}` has no database"));
            misnamed.into_iter().chain(empty)
        });
        let workloads = self.workloads.keys().filter(|id| !self.people.contains_key(id));
        let workloads = workloads.map(|id| format!("workload `{id}` is no principal"));
        let misnamed = misnamed.chain(workloads).chain(targets);
        let more = self.unfit_accounts().chain(self.unfit_issuers());
        let more = more.chain(self.unfit_identities());
        misnamed.chain(self.unsaid_secrets()).chain(more)
    }

    /// A subject of an address is one person.
    fn unfit_issuers(&self) -> impl Iterator<Item = String> {
        let others = |name| self.issuers.range((Bound::Excluded(name), Bound::Unbounded));
        let pairs = self.issuers.iter().flat_map(move |(name, one)| {
            others(name).filter(|(_, other)| other.url == one.url).map(move |pair| (name, pair.0))
        });
        pairs.map(|(one, other)| format!("issuers `{one}` and `{other}` have the same address"))
    }

    /// A key that an issuer could give to somebody else, or an account of nobody.
    fn unfit_accounts(&self) -> impl Iterator<Item = String> {
        let taken = self
            .people
            .keys()
            .filter(|id| self.is_of_an_issuer(id))
            .map(|id| format!("person `{id}` has a key of the form that issuer's people have"));
        let strange = self.accounts.iter().filter(|((issuer, _), id)| {
            !self.issuers.contains_key(issuer) || !self.people.contains_key(id)
        });
        taken.chain(strange.map(|((issuer, _), id)| {
            format!("person `{id}` names the issuer `{issuer}`, and one of them isn't there")
        }))
    }

    /// Whether an issuer says who this is.
    pub(crate) fn is_vouched(&self, id: &PrincipalId) -> bool {
        self.is_of_an_issuer(id) || self.accounts.values().any(|known| known == id)
    }

    fn is_of_an_issuer(&self, id: &PrincipalId) -> bool {
        let before = id.as_str().split_once(':').map(|(issuer, _)| issuer);
        before.is_some_and(|name| self.issuers.keys().any(|issuer| issuer.as_str() == name))
    }

    fn unsaid_secrets(&self) -> impl Iterator<Item = String> {
        self.targets.values().flat_map(|target| {
            target
                .logins
                .iter()
                .filter(|(login, kind)| {
                    **kind == Credential::Password
                        && self.secrets.get(&target.name, login).is_none()
                })
                .map(|(login, _)| {
                    format!("login `{login}` of target `{}` has no password", target.name)
                })
        })
    }

    /// The person, unless they are unknown or shut out.
    pub(crate) fn person(&self, id: &PrincipalId) -> Result<&Person, Rejection> {
        let known = self.people.get(id).ok_or(Rejection::Unknown)?;
        if known.disabled { Err(Rejection::Disabled) } else { Ok(known) }
    }

    /// How people call this principal.
    pub(crate) fn name(&self, id: &PrincipalId) -> String {
        self.people.get(id).map_or_else(|| id.to_string(), |person| person.principal.name.clone())
    }

    /// The target, and the resource with its database filled in.
    pub(crate) fn resolve(&self, requested: &Resource) -> Result<(&Target, Resource), Rejection> {
        let target = self
            .targets
            .get(&requested.target)
            .ok_or_else(|| Rejection::NoTarget(requested.target.clone()))?;
        let resolved = target.resolve(&requested.login, requested.database.as_ref())?;
        Ok((target, resolved))
    }

    /// Whom a lock on this means besides what it names: the members of a group.
    pub(crate) fn locked_out(&self, subject: &Subject) -> BTreeSet<PrincipalId> {
        match subject {
            Subject::Group(name) => self.members(name),
            Subject::Principal(_)
            | Subject::Device(_)
            | Subject::Credential(_)
            | Subject::Target(_)
            | Subject::Login(_, _) => BTreeSet::new(),
        }
    }

    pub(crate) fn members(&self, group: &GroupName) -> BTreeSet<PrincipalId> {
        let people = self.people.iter();
        let inside = people.filter(|(_, person)| person.principal.groups.contains(group));
        inside.map(|(id, _)| id.clone()).collect()
    }

    /// Whether this is a workload, which can't act for itself.
    pub(crate) fn is_workload(&self, id: &PrincipalId) -> bool {
        self.workloads.contains_key(id)
    }
}

impl From<policies::Refusal> for Rejection {
    fn from(refusal: policies::Refusal) -> Self {
        Self::Rules(refusal)
    }
}
