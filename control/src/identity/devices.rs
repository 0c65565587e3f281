//! Signing a terminal in by a browser, after RFC 8628: the terminal shows a code, its person types it
//! where they are signed in, reads what asks, and says yes; the terminal, which polls, is in.
//!
//! A code opens nothing by itself. The first login session that looks it up is the only one that can
//! answer it, once; it dies with its time. What waits is kept in memory alone: after a restart a
//! terminal asks again.

pub(crate) mod table;

use certs::Issued;
use policies::{DeviceId, Digest, Purpose, StepUpId, Timestamp, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::identity::credentials::read_csr;
use crate::identity::devices::table::{
    Answer, Ask, DeviceView, Heard, INTERVAL, Polled, Voucher, digest,
};
use crate::identity::proof::Proof;
use crate::identity::{Identity, credentials, logins};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::Event;
use crate::model::login::{AGENT_MAX, LoginSession, NewLogin, Origin, Rank};
use crate::platform::ids;
use crate::platform::sanitize::clip;

/// How long a code is good.
const TIMEOUT: Ttl = Ttl::from_secs(600);
const SECRET: &str = "pdc_";

/// A terminal's codes.
#[derive(Debug)]
pub struct Offered {
    /// For the terminal alone: with it, it asks whether it is in.
    pub device_code: SecretString,
    /// For its person to type.
    pub user_code: String,
    /// Until when both are good.
    pub expires_at: Timestamp,
    /// How often the terminal may ask.
    pub interval: Ttl,
}

impl Identity {
    /// Lets a terminal wait to be signed in, under codes of its own.
    ///
    /// # Errors
    /// Where its certificate request is malformed, or too many wait.
    pub fn ask_device(
        &self,
        csr_pem: &str,
        device: DeviceId,
        origin: &Origin,
    ) -> Result<Offered, ControlError> {
        let (csr, now) = (read_csr(csr_pem)?, self.kernel.now());
        let mut view = DeviceView {
            id: ids::fresh_text("dv"),
            device,
            address: origin.address,
            agent: clip(&origin.agent, AGENT_MAX),
            asked_at: now,
            expires_at: now.after(TIMEOUT),
            digest: Digest::from(String::new()),
        };
        view.digest = digest(&view);
        let (device_code, user_code) = (ids::fresh_secret(SECRET), self.own.devices.fresh_code());
        let expires_at = view.expires_at;
        let ask = Ask {
            view,
            code: user_code.clone(),
            csr,
            interval: INTERVAL,
            polled_at: None,
            reader: None,
            answer: Answer::None,
        };
        self.own.devices.insert(&ids::hash(&device_code), ask, now)?;
        Ok(Offered { device_code, user_code, expires_at, interval: INTERVAL })
    }

    /// The waiting terminal of a code that somebody typed. It can be answered in their login session
    /// alone from then on.
    ///
    /// # Errors
    /// Where there is none, or the actor looks too often.
    pub async fn device_by_code(
        &self,
        actor: &Actor,
        code: &str,
    ) -> Result<DeviceView, ControlError> {
        self.own.limits.code(&actor.principal.id)?;
        let code = ids::read_code(code);
        let found =
            code.and_then(|code| self.own.devices.read(&code, &actor.login, self.kernel.now()));
        match found {
            Some(view) => Ok(view),
            None => self.mistyped(actor, "code of a waiting terminal").await,
        }
    }

    fn typed(&self, actor: &Actor, code: &str) -> Result<String, ControlError> {
        self.own.limits.code(&actor.principal.id)?;
        ids::read_code(code).ok_or(Refusal::NotFound("code of a waiting terminal").into())
    }

    /// Says that a waiting terminal is the actor's own: it will be signed in as they are. Whoever has
    /// a passkey says so by it: the name of the challenge, and what came back.
    ///
    /// # Errors
    /// Where it is gone, reads otherwise than the digest says, the actor is locked, or has to prove
    /// themselves and doesn't.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn confirm_device(
        &self,
        actor: &Actor,
        code: &str,
        digest: Digest,
        proof: Option<(&str, Proof)>,
    ) -> Result<DeviceView, ControlError> {
        let code = self.typed(actor, code)?;
        let step_up = self.step_up(actor, &code, proof).await?;
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                tx.acting(&actor)?;
                let voucher = voucher(&mut tx, &actor).await?;
                let devices = &identity.own.devices;
                let view = devices.claim(&code, &actor.login, Some(&digest), tx.now)?;
                tx.record(Event::new(
                    &actor,
                    AuditKind::DeviceConfirmed,
                    &view.id,
                    to_json(&view, &actor, step_up.as_ref()),
                ))
                .await?;
                tx.commit().await?;
                devices.answer(&code, Answer::Yes(voucher));
                Ok(view)
            })
            .await
    }

    /// The proof of somebody who has something to prove themselves with; none of others.
    async fn step_up(
        &self,
        actor: &Actor,
        code: &str,
        proof: Option<(&str, Proof)>,
    ) -> Result<Option<StepUpId>, ControlError> {
        let Some((challenge, proof)) = proof else {
            return if self.factors(&actor.principal.id).await?.any() {
                let message = "confirm the terminal with your passkey: load the page again";
                Err(Refusal::Forbidden(message.to_owned()).into())
            } else {
                Ok(None)
            };
        };
        let view = self.own.devices.read(code, &actor.login, self.kernel.now());
        let digest = view.ok_or(Refusal::NotFound("code of a waiting terminal"))?;
        let digest = digest.statement(actor).digest();
        let proven = self.prove(actor, challenge, proof, Purpose::SignIn, &digest, None).await?;
        Ok(Some(proven.id))
    }

    /// Says that a waiting terminal is not the actor's.
    ///
    /// # Errors
    /// Where it is gone.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn deny_device(&self, actor: &Actor, code: &str) -> Result<(), ControlError> {
        let code = self.typed(actor, code)?;
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let devices = &identity.own.devices;
                let view = devices.claim(&code, &actor.login, None, tx.now)?;
                devices.answer(&code, Answer::No);
                tx.record(Event::new(
                    &actor,
                    AuditKind::DeviceDenied,
                    &view.id,
                    to_json(&view, &actor, None),
                ))
                .await?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Whether a terminal is in. The one that hears yes gets a session and a certificate, once.
    ///
    /// # Errors
    /// Where these can't be given any more.
    pub async fn poll_device(&self, device_code: &SecretString) -> Result<Polled, ControlError> {
        if !ids::is_secret(device_code.expose_secret(), SECRET) {
            return Ok(Polled::Expired);
        }
        let (ask, voucher) = match self.own.devices.poll(&ids::hash(device_code), self.kernel.now())
        {
            Heard::Now(polled) => return Ok(polled),
            Heard::Yes(yes) => *yes,
        };
        let identity = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let signed_in = sign_device_in(&mut tx, &ask, voucher).await?;
                tx.commit().await?;
                Ok(Polled::SignedIn(Box::new(signed_in)))
            })
            .await
    }
}

/// An answer as the audit log has it.
fn to_json(view: &DeviceView, actor: &Actor, step_up: Option<&StepUpId>) -> serde_json::Value {
    json!({
        "device": view.device, "address": view.address, "agent": view.agent,
        "digest": view.digest, "login": actor.login, "step_up": step_up,
    })
}

/// The actor's session, as it vouches for a terminal.
async fn voucher(tx: &mut Transaction, actor: &Actor) -> Result<Voucher, ControlError> {
    credentials::live_until(tx, &actor.login).await?;
    let login = credentials::live_login(tx, &actor.login).await?;
    let (principal, method) = (login.principal, login.method);
    Ok(Voucher { principal, login: login.id, method, issuer: login.issuer })
}

/// A yes holds only while the session in which it was said does, which opening looks at.
async fn sign_device_in(
    tx: &mut Transaction,
    ask: &Ask,
    voucher: Voucher,
) -> Result<(LoginSession, Issued), ControlError> {
    let origin = Origin {
        kind: crate::model::login::LoginKind::Terminal,
        device: Some(ask.view.device.clone()),
        address: ask.view.address,
        agent: ask.view.agent.clone(),
    };
    let Voucher { principal, login, method, issuer } = voucher;
    let (rank, by) = (Rank::Full, Some(login));
    let new = NewLogin { principal, method, rank, issuer, by, origin };
    let session = logins::open_login(tx, new).await?;
    let (actor, detail) = (&session.actor, json!({ "terminal": ask.view.id }));
    tx.record(Event::new(actor, AuditKind::DeviceSignedIn, &actor.login, detail)).await?;
    let issued = credentials::certify(tx, &session.actor, &ask.csr, &ask.view.device).await?;
    Ok((session, issued))
}
