//! Locks: they beat every grant, and end what they match.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    AdmissionQuery, CredentialId, DeviceId, GroupName, LockId, Login, PrincipalId, TargetName,
    Timestamp,
};

/// Blocks a principal, a group, a device, a credential, a target or a login of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its name.
    pub id: LockId,
    /// What it blocks.
    pub subject: Subject,
    /// Why; clients that it blocks read it.
    pub reason: String,
    /// Who set it.
    pub by: PrincipalId,
    /// Since when.
    pub at: Timestamp,
    /// Until when; without, until it is lifted.
    pub until: Option<Timestamp>,
    /// Who is in the group now, where it blocks one: whoever knows of groups keeps it up to date.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub members: BTreeSet<PrincipalId>,
}

/// What a lock blocks, written `principal:alice`, `group:contractors`, `device:laptop-7`, `credential:0f3a…`,
/// `target:orders` or `login:app_rw@orders`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// A person or workload.
    Principal(PrincipalId),
    /// All members of a group, and whoever joins it.
    Group(GroupName),
    /// A device.
    Device(DeviceId),
    /// One certificate or token, for good: what was taken back doesn't come back.
    Credential(CredentialId),
    /// A target, with all its logins.
    Target(TargetName),
    /// One login of a target.
    Login(TargetName, Login),
}

impl Lock {
    /// Whether it blocks this connection now.
    #[must_use]
    pub fn blocks(&self, query: &AdmissionQuery<'_>, now: Timestamp) -> bool {
        let resource = &query.key.resource;
        self.until.is_none_or(|until| now < until)
            && match &self.subject {
                Subject::Principal(id) => *id == query.key.principal,
                Subject::Group(_) => self.members.contains(&query.key.principal),
                Subject::Device(id) => query.device == Some(id),
                Subject::Credential(id) => query.credential == Some(id.as_str()),
                Subject::Target(name) => *name == resource.target,
                Subject::Login(target, login) => {
                    *target == resource.target && *login == resource.login
                }
            }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(id) => write!(f, "principal:{id}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Device(id) => write!(f, "device:{id}"),
            Self::Credential(id) => write!(f, "credential:{id}"),
            Self::Target(name) => write!(f, "target:{name}"),
            Self::Login(target, login) => write!(f, "login:{login}@{target}"),
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once(':') {
            Some(("principal", id)) => id.parse().map(Self::Principal),
            Some(("group", name)) => name.parse().map(Self::Group),
            Some(("device", id)) => id.parse().map(Self::Device),
            Some(("credential", id)) => id.parse().map(Self::Credential),
            Some(("target", name)) => name.parse().map(Self::Target),
            Some(("login", login_at_target)) => {
                let (login, target) = login_at_target.rsplit_once('@').ok_or_else(|| form(text))?;
                login.parse().and_then(|login| Ok(Self::Login(target.parse()?, login)))
            }
            _ => return Err(form(text)),
        };
        parsed.map_err(|error| error.to_string())
    }
}

fn form(text: &str) -> String {
    format!(
        "`{text}` can't be locked: write principal:NAME, group:NAME, device:ID, \
         credential:ID, target:NAME or login:LOGIN@TARGET"
    )
}

impl TryFrom<String> for Subject {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_written_and_read() {
        for text in [
            "principal:alice",
            "group:on call",
            "device:laptop-7",
            "credential:0f",
            "target:orders",
            "login:a@b@orders",
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for text in ["alice", "user:alice", "target:Orders", "login:app_rw", "principal:"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
