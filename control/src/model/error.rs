//! Why control doesn't do what was asked: its refusals, and what failed in the store, in other systems, and in
//! the gateway itself.

use policies::{
    GrantError, MissingInput, RequestError, ResourceError, ReviewError, StepUpId, TargetName,
};
use thiserror::Error;

use crate::model::error_code::ErrorCode;
use crate::model::high_water::{HighWaterError, Rollback};
use crate::model::issuer_url::IssuerError;
use crate::model::unproven::Unproven;
use crate::platform::http_client::HttpError;
use crate::platform::ids::IdError;
use crate::platform::vault::VaultError;

/// Why an action was not done. Each group has one mapping at each boundary: HTTP, the link, the wait flow.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The gateway refuses: another request, another person or another time would do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another system can't be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The gateway itself failed.
    #[error(transparent)]
    Internal(#[from] InternalError),
}

/// Why the gateway refuses an action.
#[derive(Debug, Error)]
pub enum Refusal {
    /// There is no such thing, or none that the actor may see.
    #[error("there is no such {0}, or it isn't yours to see")]
    NotFound(&'static str),
    /// The actor may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// Access was asked for and isn't given.
    #[error(transparent)]
    Rejected(#[from] Rejection),
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
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is more of it than is taken.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Nobody is signed in, or the proof isn't accepted.
    #[error("not signed in, or the proof is no longer good")]
    Unauthenticated,
    /// A link only lets them register a passkey, which isn't done yet.
    #[error("register a passkey first: this sign-in is good for nothing else until then")]
    EnrolFirst,
    /// What came back from an authenticator proves nothing here.
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// Another system's message isn't believed.
    #[error("the message isn't believed: {0}")]
    Disbelieved(String),
}

/// Of what there is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TooMany {
    /// Tries.
    #[error("too many tries: wait a minute and try again")]
    Tries,
    /// Access requests of one person.
    #[error(
        "you ask for access too often: {0} requests a minute are taken, so try again in a minute"
    )]
    Requests(u32),
    /// Connections that wait.
    #[error("too many connections wait already: try again later")]
    Waiting,
}

/// Why the store can't be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database failed; nothing was changed.
    #[error("the store can't be used")]
    Sql(#[from] sqlx::Error),
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
    /// The store is older than what was here before, and nobody accepts that.
    #[error("the gateway's store went back in time")]
    RolledBack(#[from] Rollback),
    /// What is known of the store outside of it can't be read or written.
    #[error(transparent)]
    HighWater(#[from] HighWaterError),
}

/// Why another system can't be used.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// An issuer can't be asked, or says what can't be believed.
    #[error("{0}")]
    Issuer(#[from] IssuerError),
    /// No client for issuers can be made on this machine.
    #[error("issuers can't be asked from this machine")]
    Http(#[from] HttpError),
}

/// What failed in the gateway itself.
#[derive(Debug, Error)]
pub enum InternalError {
    /// A certificate could not be issued.
    #[error("cannot issue a certificate")]
    Issue(#[from] certs::IssueError),
    /// An SSH certificate could not be issued.
    #[error("cannot issue an SSH certificate")]
    IssueSsh(#[source] certs::SshError),
    /// A secret can't be wrapped, or had back.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// No id can be made.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The work was broken off.
    #[error("the work was broken off")]
    Broken,
}

/// A cause becomes an error by way of its group.
macro_rules! causes {
    ($($cause:ty => $group:ident),+ $(,)?) => {
        $(impl From<$cause> for ControlError {
            fn from(cause: $cause) -> Self {
                $group::from(cause).into()
            }
        })+
    };
}

causes!(
    Rejection => Refusal,
    TooMany => Refusal,
    Unproven => Refusal,
    RequestError => Refusal,
    GrantError => Refusal,
    ReviewError => Refusal,
    sqlx::Error => StoreError,
    sqlx::migrate::MigrateError => StoreError,
    Unreadable => StoreError,
    Rollback => StoreError,
    HighWaterError => StoreError,
    IssuerError => UpstreamError,
    HttpError => UpstreamError,
    certs::IssueError => InternalError,
    VaultError => InternalError,
    IdError => InternalError,
);

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
    Rules(policies::Refusal),
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
    MissingInput(MissingInput),
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
    /// Its name of fixed wording.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::UnknownPerson,
            Self::Disabled => ErrorCode::Disabled,
            Self::NoTarget(_) => ErrorCode::NoTarget,
            Self::NoResource(_) => ErrorCode::NoResource,
            Self::Locked(_) => ErrorCode::Locked,
            Self::Rules(_) => ErrorCode::NotPermitted,
            Self::NotCovered(_) => ErrorCode::NotCovered,
            Self::NobodyThere => ErrorCode::WorkloadStepUp,
            Self::MissingInput(MissingInput::Ticket { .. }) => ErrorCode::TicketNeeded,
            Self::MissingInput(MissingInput::Reason { .. }) => ErrorCode::ReasonNeeded,
            Self::NeedsApproval(_) => ErrorCode::NoGrant,
        }
    }
}

impl ControlError {
    /// Its name of fixed wording.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Store(error) => error.code(),
            Self::Upstream(error) => error.code(),
            Self::Internal(error) => error.code(),
        }
    }
}

impl Refusal {
    /// Its name of fixed wording.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Forbidden(_) => ErrorCode::Forbidden,
            Self::Rejected(rejection) => rejection.code(),
            Self::StepUpNeeded { .. } => ErrorCode::StepUpNeeded,
            Self::Unfit { .. } => ErrorCode::StepUpUnfit,
            Self::Conflict(_) => ErrorCode::Conflict,
            Self::Invalid(_) => ErrorCode::Invalid,
            Self::TooMany(what) => what.code(),
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::EnrolFirst => ErrorCode::EnrolFirst,
            Self::Unproven(why) => why.code(),
            Self::Disbelieved(_) => ErrorCode::Disbelieved,
        }
    }
}

impl TooMany {
    fn code(self) -> ErrorCode {
        match self {
            Self::Tries | Self::Requests(_) => ErrorCode::RateLimited,
            Self::Waiting => ErrorCode::Busy,
        }
    }
}

impl StoreError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unwritable | Self::Postponed => ErrorCode::Unwritable,
            Self::Sql(_)
            | Self::Migrate(_)
            | Self::Unreadable(_)
            | Self::RolledBack(_)
            | Self::HighWater(_) => ErrorCode::Store,
        }
    }
}

impl UpstreamError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Issuer(_) | Self::Http(_) => ErrorCode::IssuerUnavailable,
        }
    }
}

impl InternalError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Issue(_) | Self::IssueSsh(_) => ErrorCode::Issue,
            Self::Vault(_) => ErrorCode::Vault,
            Self::Id(_) | Self::Broken => ErrorCode::Broken,
        }
    }
}

impl From<RequestError> for Refusal {
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

impl From<GrantError> for Refusal {
    fn from(error: GrantError) -> Self {
        Self::Conflict(error.to_string())
    }
}

impl From<ReviewError> for Refusal {
    fn from(error: ReviewError) -> Self {
        let message = error.to_string();
        match error {
            ReviewError::Own | ReviewError::NotAsked => Self::Forbidden(message),
            ReviewError::Signed | ReviewError::TooEarly => Self::Conflict(message),
            ReviewError::Silent => Self::Invalid(message),
        }
    }
}
