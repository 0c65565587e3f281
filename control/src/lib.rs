//! The control plane: who may have what, who said so, and what every proxy receives of it.
//!
//! A request flows downward through the files: it is asked and decided ([`Access::ask`]),
//! approved, becomes a grant, and is published to the proxies (`kernel::feed`, `gateway`), whose reports
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

mod access;
mod control;
mod evidence;
#[cfg(test)]
mod fuzz;
mod gateway;
mod http;
mod identity;
mod kernel;
mod model;
mod notify;
mod platform;
mod policy;
mod sources;
mod store;
#[cfg(test)]
mod tests;

pub use access::Access;
pub use access::edit::{Changes, Part};
pub use access::input::{AccessRequestInput, Yes};
pub use access::tickets_hook::Closed;
pub use evidence::Evidence;
pub use evidence::timeline::Timeline;
pub use gateway::link::LinkService;
pub use gateway::pending_connections::Said;
pub use http::Control;
pub use identity::Identity;
pub use identity::devices::Offered;
pub use identity::devices::table::{DeviceView, Polled};
pub use identity::login::Invite;
pub use identity::oidc::issuer::Probe;
pub use identity::passkeys::enrol::Enrolled;
pub use identity::passkeys::evidence::{
    Assertion, EvidenceError, PublicKey, verify as verify_assertion,
};
pub use identity::proof::{Challenge, Factors, Proof};
pub use identity::ssh_proof::SshKeyChallenge;
pub use identity::tokens::Minted;
pub use identity::totp::TotpSecret;
pub use kernel::Kernel;
pub use kernel::backup::{copy_store, read_copy};
pub use kernel::cuts::InForce;
pub use kernel::health::StoreHealth;
pub use kernel::high_water::begin_high_water;
pub use model::actor::Actor;
pub use model::attestation::AttestationRoots;
pub use model::audit_kind::{AuditKind, AuditSchema, StoredKind, UnknownKind};
pub use model::bearer::Bearer;
pub use model::channel::{
    Channel, ChannelFault, ChannelName, ChannelNameError, ChannelView, Hook, Way,
};
pub use model::channel_bounds::Bounds;
pub use model::channel_email::{Mail, MailFault, MailTls, Server};
pub use model::channel_template::{TemplateFault, Templates};
pub use model::context::Context;
pub use model::error::{
    ControlError, InternalError, Refusal, Rejection, StoreError, TooMany, Unreadable, UpstreamError,
};
pub use model::error_code::ErrorCode;
pub use model::high_water::{AcceptedRollback, HIGH_WATER_FILE, Rollback, StorePoint};
pub use model::inventory::{Inventory, Secrets};
pub use model::issuer::Issuer;
pub use model::issuer_url::{IssuerError, IssuerUrl, IssuerUrlError};
pub use model::login::{
    AtIssuer, LoginEnd, LoginEnded, LoginKind, LoginRecord, LoginSession, Origin, Rank,
};
pub use model::on_call::{Place, RosterSource};
pub use model::people::People;
pub use model::person::Person;
pub use model::settings::{Gateway, Grants, Links, Settings, SignIn, Ssh};
pub use model::statement::Statement;
pub use model::tickets::{TicketSource, TicketUrl, TicketUrlError};
pub use model::topic::{Topic, TopicError};
pub use model::unproven::Unproven;
pub use model::view::{
    Asked, AuditView, GrantFilter, GrantView, LockView, LoginView, MessageState, MessageView, Page,
    Paging, PasskeyView, RecoveryView, RequestFilter, RequestView, ReviewView, Scope, SessionEnd,
    SessionFilter, SessionView, SshKeyView, Standing, TargetView, TokenView, Verdict,
};
pub use model::waiting_connection::HoldView;
pub use model::workflow::Workflow;
pub use model::workload::{Pattern, PatternError, Workload};
pub use notify::Notifier;
pub use platform::backoff::Patience;
pub use platform::clock::Clock;
pub use platform::email_address::{Email, EmailError};
pub use platform::outbound::{AddressFault, PostFault, Reach};
pub use platform::shared::Shared;
pub use platform::webhook_signature::{
    WEBHOOK_TOLERANCE, WebhookHeaders, WebhookSecret, WebhookSecretError, WebhookSignatureError,
    sign_webhook, verify_webhook, webhook_timestamp,
};
pub use sources::Sources;
pub use sources::reload::Reloaded;
