//! A person as the configuration knows them.

use policies::Principal;

use crate::platform::email_address::Email;

/// A person as the configuration knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who, and their groups.
    pub principal: Principal,
    /// Whether they may lock, revoke and invite.
    pub admin: bool,
    /// Whether they may see everybody's sessions, recordings and the audit log.
    pub auditor: bool,
    /// Whether they are shut out.
    pub disabled: bool,
    /// Where mail reaches them: never who they are.
    pub email: Option<Email>,
}
