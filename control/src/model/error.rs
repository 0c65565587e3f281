//! What control answers where it doesn't do what was asked: one enum for its boundary.

use policies::{
    GrantError, Refusal, RequestError, ResourceError, ReviewError, StepUpId, TargetName, Unsaid,
};
use thiserror::Error;

use crate::model::unproven::Unproven;

/// Why an action was not done.
#[derive(Debug, Error)]
pub enum ControlError {
    /// There is no such thing, or none that the actor may see.
    #[error("there is no such {0}, or it isn't yours to see")]
    NotFound(&'static str),
    /// The actor may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// Access was asked for and isn't given.
    #[error(transparent)]
    Refused(#[from] Rejection),
    /// It takes a fresh step-up, which is given on a page.
    #[error("{why}: prove yourself at {url}")]
    StepUpNeeded {
        /// The page.
        url: String,
        /// Who wants it, or why.
        why: String,
    },
    /// The step-up that was given isn't good for this.
    #[error("the step-up `{id}` doesn't serve here: {why}")]
    Unfit {
        /// Which.
        id: StepUpId,
        /// Why.
        why: String,
    },
    /// The thing is not, or no longer, in a state for it.
    #[error("{0}")]
    Conflict(String),
    /// What was said makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Too many tries.
    #[error("too many tries: wait a minute and try again")]
    RateLimited,
    /// One person asks too often.
    #[error(
        "you ask for access too often: {0} requests a minute are taken, so try again in a minute"
    )]
    Throttled(u32),
    /// Too many wait already.
    #[error("too many connections wait already: try again later")]
    Busy,
    /// Nobody is signed in, or the proof isn't accepted.
    #[error("not signed in, or the proof is no longer good")]
    Unauthenticated,
    /// A link only lets them register a passkey, which isn't done yet.
    #[error("register a passkey first: this sign-in is good for nothing else until then")]
    EnrolFirst,
    /// What came back from an authenticator proves nothing here.
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// A certificate could not be issued.
    #[error("cannot issue a certificate")]
    Issue(#[from] certs::IssueError),
    /// An SSH certificate could not be issued.
    #[error("cannot issue an SSH certificate")]
    IssueSsh(#[source] certs::SshError),
    /// The store failed; nothing was changed.
    #[error("the store can't be used")]
    Store(#[from] sqlx::Error),
    /// The store can't be written, so that nothing new begins.
    #[error(
        "control can't write to its disk, so that no new access begins: free space there, and it goes \
         on by itself"
    )]
    Unwritable,
    /// A new inventory could not be written; what it takes away is in force.
    #[error(
        "control can't write to its disk: what the new configuration takes away is cut, and the rest \
         is in force as soon as control can write again"
    )]
    Postponed,
    /// The store's tables could not be brought up to date.
    #[error("the store's tables can't be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// What the store holds can't be read.
    #[error("the store holds something unreadable")]
    Unreadable(#[from] Unreadable),
    /// An issuer can't be asked, or says what can't be believed.
    #[error("{0}")]
    Issuer(#[from] crate::model::issuer_url::IssuerError),
    /// No client for issuers can be made on this machine.
    #[error("issuers can't be asked from this machine")]
    Http(#[from] crate::platform::http_client::HttpError),
    /// A secret can't be wrapped, or had back.
    #[error(transparent)]
    Vault(#[from] crate::platform::vault::VaultError),
    /// Another system's message isn't believed.
    #[error("the message isn't believed: {0}")]
    Disbelieved(String),
    /// The store is older than what was here before, and nobody accepts that.
    #[error("the gateway's store went back in time")]
    RolledBack(#[from] crate::model::high_water::Rollback),
    /// What is known of the store outside of it can't be read or written.
    #[error(transparent)]
    HighWater(#[from] crate::model::high_water::HighWaterError),
    /// No id can be made.
    #[error(transparent)]
    Id(#[from] crate::platform::ids::IdError),
    /// The work was broken off.
    #[error("the work was broken off")]
    Broken,
}

/// Why somebody doesn't get what they ask for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejection {
    /// Nobody of that name.
    #[error("this person is not known here")]
    Unknown,
    /// The person is shut out.
    #[error("this person is disabled")]
    Disabled,
    /// No such target.
    #[error("there is no target `{0}`")]
    NoTarget(TargetName),
    /// No such login or database on the target.
    #[error(transparent)]
    NoResource(#[from] ResourceError),
    /// A lock matches.
    #[error("access is locked: {0}")]
    Locked(String),
    /// The rules say no.
    #[error("{0}")]
    Rules(Refusal),
    /// The rules ask for more than what was given or asked.
    #[error("the rules now ask for more: {0}")]
    NotCovered(String),
    /// The rules want a touch, and the one who asks is a program.
    #[error(
        "the rules want a step-up here, which a workload can't give: nobody is there to touch a key"
    )]
    NobodyThere,
    /// The rules want the one who asks to say more.
    #[error("{0}")]
    Unsaid(Unsaid),
    /// The rules ask for people's approval, and nobody waits for it here.
    #[error("this takes approval: {0}")]
    NeedsApproval(String),
}

/// A stored value that doesn't parse.
#[derive(Debug, Error)]
#[error("malformed {what}: {why}")]
pub struct Unreadable {
    what: &'static str,
    why: String,
}

impl Unreadable {
    pub(crate) fn new(what: &'static str, why: impl ToString) -> Self {
        let why = why.to_string();
        Self { what, why }
    }
}

impl Rejection {
    /// A short name of fixed wording.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown-person",
            Self::Disabled => "disabled",
            Self::NoTarget(_) => "no-target",
            Self::NoResource(_) => "no-resource",
            Self::Locked(_) => "locked",
            Self::Rules(_) => "not-permitted",
            Self::NotCovered(_) => "not-covered",
            Self::NobodyThere => "workload-step-up",
            Self::Unsaid(Unsaid::Ticket { .. }) => "ticket-needed",
            Self::Unsaid(Unsaid::Reason { .. }) => "reason-needed",
            Self::NeedsApproval(_) => "no-grant",
        }
    }
}

impl ControlError {
    /// A short name of fixed wording.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not-found",
            Self::Forbidden(_) => "forbidden",
            Self::Refused(rejection) => rejection.code(),
            Self::StepUpNeeded { .. } => "step-up-needed",
            Self::Unfit { .. } => "step-up-unfit",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::RateLimited | Self::Throttled(_) => "rate-limited",
            Self::Busy => "busy",
            Self::Unauthenticated => "unauthenticated",
            Self::EnrolFirst => "enrol-first",
            Self::Unproven(why) => why.code(),
            Self::Issue(_) | Self::IssueSsh(_) => "issue",
            Self::Store(_)
            | Self::Migrate(_)
            | Self::Unreadable(_)
            | Self::RolledBack(_)
            | Self::HighWater(_) => "store",
            Self::Unwritable | Self::Postponed => "unwritable",
            Self::Issuer(_) | Self::Http(_) => "issuer-unavailable",
            Self::Vault(_) => "vault",
            Self::Disbelieved(_) => "disbelieved",
            Self::Id(_) | Self::Broken => "broken",
        }
    }
}

impl From<RequestError> for ControlError {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        match error {
            RequestError::NeedsStepUp | RequestError::Unfit(_) => Self::Forbidden(message),
            RequestError::Own | RequestError::NotTheirs | RequestError::NotAsked(_) => {
                Self::Forbidden(message)
            }
            RequestError::Over(_)
            | RequestError::NotYet(_)
            | RequestError::Same
            | RequestError::Nobody
            | RequestError::Lacking
            | RequestError::Lapsed
            | RequestError::Twice
            | RequestError::TooEarly
            | RequestError::Changed => Self::Conflict(message),
        }
    }
}

impl From<GrantError> for ControlError {
    fn from(error: GrantError) -> Self {
        Self::Conflict(error.to_string())
    }
}

impl From<ReviewError> for ControlError {
    fn from(error: ReviewError) -> Self {
        let message = error.to_string();
        match error {
            ReviewError::Own | ReviewError::NotAsked => Self::Forbidden(message),
            ReviewError::Signed | ReviewError::TooEarly => Self::Conflict(message),
            ReviewError::Silent => Self::Invalid(message),
        }
    }
}
