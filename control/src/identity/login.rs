//! One-time links: an admin or the operator makes them, and whose they are signs in with them.
//!
//! A code leaves this file once, to the one it is for; the store keeps its digest.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use policies::{Method, OtherHuman, PrincipalId, Purpose, Timestamp, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::identity::challenge::Proof;
use crate::identity::logins::{LoginSession, NewLogin};
use crate::identity::{Identity, challenge, logins};
use crate::kernel::transaction::Transaction;
use crate::model::actor::Actor;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::login::{Origin, Rank};
use crate::model::settings::Links;
use crate::model::statement::Statement;
use crate::platform::ids;
use crate::store;
use accept::network;

const INVITE_TTL: Ttl = Ttl::from_secs(24 * 3_600);
const INVITE: &str = "";

/// A one-time sign-in link.
#[derive(Debug)]
pub struct Invite {
    /// The code; good once.
    pub code: SecretString,
    /// The whole link. Its code stands behind `#`, which browsers send to nobody.
    pub url: SecretString,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// How often something may be tried. The API bounds each address besides.
pub(crate) struct Limits {
    /// By network, so that none uses up another's: secrets of this length aren't guessed.
    sign_ins_each: DefaultKeyedRateLimiter<Option<IpAddr>>,
    codes_each: DefaultKeyedRateLimiter<PrincipalId>,
    codes: DefaultDirectRateLimiter,
    challenges_each: DefaultKeyedRateLimiter<PrincipalId>,
    proofs_each: DefaultKeyedRateLimiter<PrincipalId>,
    typed_each: DefaultKeyedRateLimiter<PrincipalId>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        let each_minute =
            |count| Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
        // Six digits are guessed in the end: five at once, then one every two minutes.
        let few = Quota::with_period(Duration::from_secs(120)).unwrap_or(each_minute(1));
        let few = few.allow_burst(NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN));
        Self {
            sign_ins_each: RateLimiter::keyed(each_minute(600)),
            codes_each: RateLimiter::keyed(each_minute(20)),
            codes: RateLimiter::direct(each_minute(600)),
            challenges_each: RateLimiter::keyed(each_minute(60)),
            proofs_each: RateLimiter::keyed(each_minute(30)),
            typed_each: RateLimiter::keyed(few),
        }
    }

    /// Counts one try to sign in from there, good or not.
    pub(crate) fn sign_in(&self, from: Option<IpAddr>) -> Result<(), ControlError> {
        self.sign_ins_each.check_key(&from.map(network)).map_err(|_| ControlError::RateLimited)
    }

    /// Counts one look at a code, good or not. One's own bound comes first, so that nobody uses up
    /// everybody's.
    pub(crate) fn code(&self, by: &PrincipalId) -> Result<(), ControlError> {
        self.codes_each.check_key(by).map_err(|_| ControlError::RateLimited)?;
        self.codes.check().map_err(|_| ControlError::RateLimited)
    }

    /// Counts one question to somebody.
    pub(crate) fn challenge(&self, of: &PrincipalId) -> Result<(), ControlError> {
        self.challenges_each.check_key(of).map_err(|_| ControlError::RateLimited)
    }

    /// Counts one proof of somebody's, good or not.
    pub(crate) fn proof(&self, by: &PrincipalId) -> Result<(), ControlError> {
        self.proofs_each.check_key(by).map_err(|_| ControlError::RateLimited)
    }

    /// Counts one code of an authenticator app, good or not.
    pub(crate) fn typed(&self, by: &PrincipalId) -> Result<(), ControlError> {
        self.typed_each.check_key(by).map_err(|_| ControlError::RateLimited)
    }

    pub(crate) fn forget(&self) {
        self.sign_ins_each.retain_recent();
        self.challenges_each.retain_recent();
        self.proofs_each.retain_recent();
        self.typed_each.retain_recent();
        self.codes_each.retain_recent();
    }
}

impl Identity {
    /// What an admin agrees to who makes a link for somebody.
    #[must_use]
    pub fn invite_wish(&self, principal: &PrincipalId) -> Statement {
        Statement {
            purpose: Purpose::Administer,
            subject: "invite".to_owned(),
            lines: vec![("Make a sign-in link for".to_owned(), principal.to_string())],
        }
    }

    /// Makes a one-time sign-in link for somebody: by an admin who has nothing to prove themselves
    /// with, or without `by` by the operator at the console.
    ///
    /// # Errors
    /// As [`Identity::invite_by`] tells.
    pub async fn invite(
        &self,
        by: Option<&Actor>,
        principal: &PrincipalId,
    ) -> Result<Invite, ControlError> {
        match by {
            Some(actor) => self.invite_by(actor, principal, None).await,
            None => self.invited(None, principal).await,
        }
    }

    /// Makes a one-time sign-in link for somebody else, as an admin: where they have a factor, by
    /// their proof.
    ///
    /// # Errors
    /// Where the actor is no admin or doesn't prove themselves, it is for themselves, or the person
    /// is unknown, disabled, or has something to prove themselves with: then a link would let
    /// whoever holds it in beside them.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, %principal))]
    pub async fn invite_by(
        &self,
        actor: &Actor,
        principal: &PrincipalId,
        proven: Option<(&str, Proof)>,
    ) -> Result<Invite, ControlError> {
        may_invite(&self.kernel.inventory(), actor, principal)?;
        if proven.is_none() && self.factors(&actor.principal.id).await?.any() {
            let message = "a sign-in link for somebody takes a fresh touch of yours";
            return Err(self.kernel.step_up_needed("/invites", message));
        }
        self.administer(actor, &self.invite_wish(principal), proven).await?;
        self.invited(Some(actor), principal).await
    }

    async fn invited(
        &self,
        by: Option<&Actor>,
        principal: &PrincipalId,
    ) -> Result<Invite, ControlError> {
        let (identity, by, principal) = (self.clone(), by.cloned(), principal.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let by = match &by {
                    Some(actor) => {
                        tx.administering(actor)?;
                        may_invite(&tx.inventory, actor, &principal)?;
                        not_vouched(&tx.inventory, &principal)?;
                        By::from(actor)
                    }
                    None => By::Operator,
                };
                if !tx.inventory.people.contains_key(&principal) {
                    return Err(ControlError::NotFound("person"));
                }
                if challenge::has_factor(&mut tx, &principal).await? {
                    return Err(has_factors(&principal));
                }
                let invite = make_invite(&mut tx, by, &principal).await?;
                tx.commit().await?;
                Ok(invite)
            })
            .await
    }

    /// Uses a link up and opens a session: a full one, or one that may register a passkey and do
    /// nothing else, as the settings say.
    ///
    /// # Errors
    /// Where the code isn't good, without saying why, or too many are tried.
    pub async fn sign_in(
        &self,
        code: &SecretString,
        origin: Origin,
    ) -> Result<LoginSession, ControlError> {
        self.own.limits.sign_in(origin.address)?;
        if !ids::is_secret(code.expose_secret(), INVITE) {
            self.refuse_link(None, origin).await?;
            return Err(ControlError::Unauthenticated);
        }
        let (identity, digest, tried) = (self.clone(), ids::hash(code), origin.clone());
        let opened = self
            .kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let now = tx.now;
                let found = store::login::use_invite(tx.db(), &digest, now).await?;
                let Some(principal) = found else { return Ok(None) };
                let session = sign_in(&mut tx, principal, origin).await?;
                tx.commit().await?;
                Ok(Some(session))
            })
            .await?;
        match opened {
            Some(session) => Ok(session),
            None => {
                self.refuse_link(Some(digest), tried).await?;
                Err(ControlError::Unauthenticated)
            }
        }
    }
}

/// An admin, who is another person than the one whom the link is for.
fn may_invite(
    inventory: &Inventory,
    actor: &Actor,
    principal: &PrincipalId,
) -> Result<OtherHuman, ControlError> {
    let forbidden = |message: &str| ControlError::Forbidden(message.to_owned());
    if !actor.admin {
        return Err(forbidden("this takes an admin"));
    }
    let message = "nobody makes a sign-in link for themselves, under whatever identity: register a \
                passkey at /keys, or ask another admin";
    inventory.other_human(&actor.principal, [principal]).map_err(|_| forbidden(message))
}

/// An admin's word is no substitute for the issuer's.
fn not_vouched(inventory: &Inventory, principal: &PrincipalId) -> Result<(), ControlError> {
    if inventory.is_vouched(principal) {
        let message = format!("`{principal}` signs in with their issuer: an admin makes no link");
        return Err(ControlError::Conflict(message));
    }
    Ok(())
}

/// A link beside somebody's passkeys would be a way around them.
fn has_factors(principal: &PrincipalId) -> ControlError {
    ControlError::Conflict(format!(
        "`{principal}` has a passkey or an authenticator app and signs in by it: where it is lost, \
         recover the account at /recovery, which takes two people"
    ))
}

/// Makes a one-time link for somebody.
pub(crate) async fn make_invite(
    tx: &mut Transaction,
    by: By,
    principal: &PrincipalId,
) -> Result<Invite, ControlError> {
    tx.inventory.person(principal)?;
    if tx.inventory.is_workload(principal) {
        let message = "a workload doesn't sign in: it shows a token of its issuer";
        return Err(ControlError::Invalid(message.to_owned()));
    }
    let code = ids::fresh_secret(INVITE);
    let expires_at = tx.now.after(INVITE_TTL);
    let digest = ids::hash(&code);
    store::login::insert_invite(tx.db(), &digest, principal, expires_at).await?;
    let detail = json!({ "expires_at": expires_at.to_string() });
    tx.record(Event::new(by, "invite.made", principal, detail)).await?;
    let base = tx.kernel().settings().base_url();
    let url = format!("{base}/login#{}", code.expose_secret()).into();
    Ok(Invite { code, url, expires_at })
}

async fn sign_in(
    tx: &mut Transaction,
    principal: PrincipalId,
    origin: Origin,
) -> Result<LoginSession, ControlError> {
    let rank = match tx.kernel().settings().sign_in.links {
        Links::Enrol => Rank::Enrolling,
        Links::SignIn => Rank::Full,
    };
    let method = Method::Link;
    logins::open_login(tx, NewLogin { principal, method, rank, issuer: None, by: None, origin })
        .await
}
