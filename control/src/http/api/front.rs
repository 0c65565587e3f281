//! What callers who haven't proved who they are may ask of control, and nothing else.
//!
//! Handlers of open endpoints take a [`Front`] instead of all of control. It has no way to write an
//! event: what is refused here is written by control itself, within the bounds of `refusals.rs`.

use axum::extract::FromRef;
use certs::Issued;
use policies::{DeviceId, IssuerName, Timestamp};
use secrecy::SecretString;
use url::Url;

use super::guard::{Bounds, Source};
use crate::access::tickets_hook::Closed;
use crate::http::Control;
use crate::http::api::state::Api;
use crate::identity::devices::Offered;
use crate::identity::devices::table::Polled;
use crate::identity::oidc::flow::{Answer, Begun, Finished};
use crate::identity::oidc::refusal::OidcRefusal;
use crate::identity::proof::Challenge;
use crate::identity::workloads::{ExchangeError, Exchanged, TokenExchangeInput};
use crate::model::actor::{Actor, Asker};
use crate::model::error::{ControlError, Refusal};
use crate::model::login::{LoginKind, LoginSession, Origin};
use crate::model::settings::Settings;
use crate::model::view::TargetView;
use crate::platform::webhook_signature::WebhookHeaders;

/// The side of control that is open to everybody.
#[derive(Clone)]
pub(crate) struct Front {
    control: Control,
    pub(crate) bounds: Bounds,
}

impl FromRef<Api> for Front {
    fn from_ref(api: &Api) -> Self {
        Self { control: api.control.clone(), bounds: api.bounds.clone() }
    }
}

impl Front {
    pub(crate) fn settings(&self) -> &Settings {
        self.control.kernel.settings()
    }

    /// The address that people type.
    pub(crate) fn public_url(&self) -> &Url {
        &self.settings().public_url
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.control.kernel.now()
    }

    pub(crate) fn issuers(&self) -> Vec<IssuerName> {
        self.control.kernel.issuers()
    }

    /// Signs in by a one-time link.
    pub(crate) async fn sign_in(
        &self,
        code: &SecretString,
        origin: Origin,
    ) -> Result<LoginSession, ControlError> {
        self.control.identity.sign_in(code, origin).await
    }

    pub(crate) fn sign_in_challenge(&self) -> Result<Challenge, ControlError> {
        self.control.identity.sign_in_challenge()
    }

    pub(crate) async fn sign_in_with_passkey(
        &self,
        challenge: &str,
        answer: &str,
        origin: Origin,
    ) -> Result<LoginSession, ControlError> {
        self.control.identity.sign_in_with_passkey(challenge, answer, origin).await
    }

    /// Takes up a session that has just begun: its first request is recognised already.
    pub(crate) fn expect(&self, session: &LoginSession) {
        self.bounds.recognised.remember(&session.token, &session.actor.principal.id);
    }

    /// Ends the login that a browser had before, if it hasn't ended.
    pub(crate) async fn leave(&self, token: &SecretString) -> Result<(), ControlError> {
        match self.control.identity.sign_out(token, LoginKind::Browser).await {
            Ok(_) | Err(ControlError::Refused(Refusal::Unauthenticated)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// The certificate of somebody who has just signed in.
    pub(crate) async fn issue_certificate(
        &self,
        session: &LoginSession,
        csr_pem: &str,
        device: &DeviceId,
    ) -> Result<Issued, ControlError> {
        self.control.identity.issue_certificate(&session.actor, csr_pem, device).await
    }

    pub(crate) fn targets(&self, actor: &Actor) -> Vec<TargetView> {
        self.control.access.targets(actor)
    }

    pub(crate) fn targets_of(&self, asker: &Asker) -> Vec<TargetView> {
        self.control.access.targets_of(asker)
    }

    pub(crate) fn ask_device(
        &self,
        csr_pem: &str,
        device: DeviceId,
        origin: &Origin,
    ) -> Result<Offered, ControlError> {
        self.control.identity.ask_device(csr_pem, device, origin)
    }

    pub(crate) async fn poll_device(&self, code: &SecretString) -> Result<Polled, ControlError> {
        self.control.identity.poll_device(code).await
    }

    pub(crate) async fn exchange(
        &self,
        requested: TokenExchangeInput,
    ) -> Result<Exchanged, ExchangeError> {
        self.control.identity.exchange(requested).await
    }

    pub(crate) async fn begin_flow(
        &self,
        issuer: &IssuerName,
        next: &str,
        Source(address): Source,
    ) -> Result<Begun, OidcRefusal> {
        self.control.identity.begin_flow(issuer, next, address).await
    }

    pub(crate) async fn finish_flow(
        &self,
        issuer: &IssuerName,
        cookie: Option<&SecretString>,
        answer: Answer,
        origin: Origin,
    ) -> Result<Finished, OidcRefusal> {
        self.control.identity.finish_flow(issuer, cookie, answer, origin).await
    }

    pub(crate) async fn back_channel(
        &self,
        issuer: &IssuerName,
        token: &str,
    ) -> Result<usize, OidcRefusal> {
        self.control.identity.back_channel(issuer, token).await
    }

    /// Counts a logout that was refused, and perhaps writes it down.
    pub(crate) async fn refuse_logout(
        &self,
        issuer: &IssuerName,
        Source(address): Source,
        refusal: &OidcRefusal,
    ) -> Result<(), ControlError> {
        self.control.identity.refuse_logout(issuer, address, refusal).await
    }

    pub(crate) async fn ticket_says(
        &self,
        headers: WebhookHeaders<'_>,
        body: &[u8],
    ) -> Result<Closed, ControlError> {
        self.control.access.ticket_says(headers, body).await
    }
}
