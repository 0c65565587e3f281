//! One-time links: an admin or the operator makes them, and whose they are signs in with them.
//!
//! A code leaves this file once, to the one it is for; the store keeps its digest.

use policies::{Method, OtherHuman, PrincipalId, Purpose, Timestamp, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::identity::proof::Proof;
use crate::identity::{Identity, challenge, logins};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::login::{LoginSession, NewLogin, Origin, Rank};
use crate::model::settings::Links;
use crate::model::statement::Statement;
use crate::platform::ids;
use crate::store;

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

impl Identity {
    /// What an admin agrees to who makes a link for somebody.
    #[must_use]
    pub fn invite_statement(&self, principal: &PrincipalId) -> Statement {
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
            let message = "a sign-in link for somebody takes a fresh step-up";
            return Err(self.kernel.step_up_needed("/invites", message));
        }
        self.administer(actor, &self.invite_statement(principal), proven).await?;
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
                    return Err(Refusal::NotFound("person").into());
                }
                if challenge::has_factor(&mut tx, &principal).await? {
                    return Err(has_factors(&principal).into());
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
            return Err(Refusal::Unauthenticated.into());
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
                Err(Refusal::Unauthenticated.into())
            }
        }
    }
}

/// An admin, who is another person than the one whom the link is for.
fn may_invite(
    inventory: &Inventory,
    actor: &Actor,
    principal: &PrincipalId,
) -> Result<OtherHuman, Refusal> {
    let forbidden = |message: &str| Refusal::Forbidden(message.to_owned());
    if !actor.admin {
        return Err(forbidden("this takes an admin"));
    }
    let message = "nobody makes a sign-in link for themselves, under whatever identity: register a \
                passkey at /keys, or ask another admin";
    inventory.other_human(&actor.principal, [principal]).map_err(|_| forbidden(message))
}

/// An admin's word is no substitute for the issuer's.
fn not_vouched(inventory: &Inventory, principal: &PrincipalId) -> Result<(), Refusal> {
    if inventory.is_vouched(principal) {
        let message = format!("`{principal}` signs in with their issuer: an admin makes no link");
        return Err(Refusal::Conflict(message));
    }
    Ok(())
}

/// A link beside somebody's passkeys would be a way around them.
fn has_factors(principal: &PrincipalId) -> Refusal {
    Refusal::Conflict(format!(
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
        return Err(Refusal::Invalid(message.to_owned()).into());
    }
    let code = ids::fresh_secret(INVITE);
    let expires_at = tx.now.after(INVITE_TTL);
    let digest = ids::hash(&code);
    store::login::insert_invite(tx.db(), &digest, principal, expires_at).await?;
    let detail = json!({ "expires_at": expires_at.to_string() });
    tx.record(Event::new(by, AuditKind::InviteMade, principal, detail)).await?;
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
