//! The control plane: who may have what, who said so, and what every proxy is told about it.
//!
//! A request flows downward through the files: it is asked and decided ([`Control::ask`]),
//! approved, becomes a grant, and is published to the proxies (`publish`, `link`), whose reports
//! come back as sessions and audit events. Every change is one step of a state machine of
//! `policies` in one transaction of the `store`, together with its audit event; what was committed
//! is then published, in the order of the commits.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that can't go on has failed"
    )
)]

mod actor;
mod api;
mod ask;
mod audit;
mod backup;
mod bearer;
mod ceremony;
mod clock;
mod control;
mod credentials;
mod cuts;
mod device;
mod edit;
mod error;
mod explain;
mod feed;
#[cfg(test)]
mod fuzz;
mod give;
mod grants;
mod guesses;
mod health;
mod high_water;
mod holds;
mod ics;
mod ids;
mod inventory;
mod issuers;
mod judge;
mod link;
mod lists;
mod locks;
mod login;
mod logins;
mod metrics;
mod notify;
mod oidc;
mod outbound;
mod pace;
mod pages;
mod passkeys;
mod pending;
mod publish;
mod reconcile;
mod recovery;
mod refusals;
mod reload;
mod requests;
mod reviews;
mod risk;
mod rollback;
mod rosters;
mod sessions;
mod settings;
mod shared;
mod ssh;
mod ssh_keys;
mod ssh_proof;
mod statement;
mod step_up;
mod store;
mod story;
mod sweep;
mod targets;
#[cfg(test)]
mod tests;
mod tickets;
mod tickets_hook;
mod tokens;
mod totp;
mod vault;
mod view;
mod wait;
mod webhook_signature;
mod workflow;
mod workloads;
mod world;

pub use actor::Actor;
pub use backup::{copy_store, read_copy};
pub use bearer::Bearer;
pub use ceremony::{Challenge, Factors, Proof, Statement};
pub use clock::Clock;
pub use control::Control;
pub use cuts::InForce;
pub use device::{DeviceView, Offered, Polled};
pub use edit::{Changes, Part};
pub use error::{ControlError, Rejection, Unreadable};
pub use health::StoreHealth;
pub use high_water::{HIGH_WATER_FILE, Rollback, StorePoint, begin_high_water};
pub use holds::Said;
pub use inventory::{Inventory, Person, Secrets};
pub use issuers::{IssuerError, IssuerUrl, IssuerUrlError};
pub use link::LinkService;
pub use login::Invite;
pub use logins::{
    AtIssuer, LoginEnd, LoginEnded, LoginKind, LoginRecord, LoginSession, Origin, Rank,
};
pub use notify::{
    Bounds, Channel, ChannelFault, ChannelName, ChannelNameError, ChannelView, Email, EmailError,
    Hook, LetterState, LetterView, Mail, MailFault, MailTls, Patience, Server, TemplateFault,
    Templates, Topic, TopicError, Way,
};
pub use oidc::{Issuer, Probe};
pub use outbound::{AddressFault, PostFault, Reach};
pub use passkeys::{
    Assertion, AttestationRoots, Enrolled, EvidenceError, PasskeyView, PublicKey, Unproven,
    verify_assertion,
};
pub use recovery::RecoveryView;
pub use reload::Reloaded;
pub use requests::{Wish, Yes};
pub use rollback::AcceptedRollback;
pub use rosters::{Place, RosterSource};
pub use settings::{Gateway, Links, Settings, SignIn, Ssh};
pub use shared::{People, Shared};
pub use ssh_keys::SshKeyView;
pub use ssh_proof::SshKeyChallenge;
pub use story::Story;
pub use tickets::{TicketSource, TicketUrl, TicketUrlError};
pub use tickets_hook::Closed;
pub use tokens::Minted;
pub use totp::TotpSecret;
pub use view::{
    Asked, AuditView, GrantFilter, GrantView, HoldView, LockView, LoginView, Page, Paging,
    RequestFilter, RequestView, ReviewView, Scope, SessionEnd, SessionFilter, SessionView,
    Standing, TargetView, TokenView, Verdict,
};
pub use webhook_signature::{
    WEBHOOK_TOLERANCE, WebhookHeaders, WebhookSecret, WebhookSecretError, WebhookSignatureError,
    sign_webhook, verify_webhook, webhook_timestamp,
};
pub use workflow::Workflow;
pub use workloads::{Pattern, PatternError, Workload};
pub use world::World;
