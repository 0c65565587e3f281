//! Tokens: a short-lived secret for a password field, good for one person and one thing.

use std::sync::LazyLock;

use policies::{Authn, DeviceId, Method, Principal, Resource, Timestamp, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::identity::{Identity, credentials};
use crate::kernel::refusals::{CountedBy, Refused};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::view::{Page, Paging, Scope, TokenView};
use crate::platform::ids;
use crate::platform::ids::Hash;
use crate::policy::risk;
use crate::store;
use crate::store::tokens::Stored;

const PREFIX: &str = "pst_";

/// A token, shown once.
#[derive(Debug)]
pub struct Minted {
    /// `pst_<id>_<secret>`. Only a digest of the secret is stored.
    pub token: SecretString,
    /// Its public part.
    pub id: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// Who redeemed a token, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redeemed {
    pub(crate) principal: Principal,
    pub(crate) authn: Authn,
}

impl Identity {
    /// Makes a token with which the actor can sign in to one resource, so many times.
    ///
    /// # Errors
    /// Where the rules wouldn't give the resource at all, or the token would live too long.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, %resource))]
    pub async fn mint_token(
        &self,
        actor: &Actor,
        resource: &Resource,
        ttl: Option<Ttl>,
        uses: Option<u32>,
    ) -> Result<Minted, ControlError> {
        let ttl = self.token_life(ttl)?;
        if uses == Some(0) {
            let message = "a token without a use is of no use";
            return Err(Refusal::Invalid(message.to_owned()).into());
        }
        let (identity, actor, resource) = (self.clone(), actor.clone(), resource.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let minted = mint(&mut tx, &actor, &resource, ttl, uses).await?;
                tx.commit().await?;
                Ok(minted)
            })
            .await
    }

    fn token_life(&self, requested: Option<Ttl>) -> Result<Ttl, Refusal> {
        let most = self.kernel.settings().sign_in.token_max;
        match requested {
            None => Ok(self.kernel.settings().sign_in.token.min(most)),
            Some(ttl) if ttl.is_zero() || ttl > most => {
                let message = format!("a token lives for at most {most}");
                Err(Refusal::Invalid(message))
            }
            Some(ttl) => Ok(ttl),
        }
    }

    /// Takes a token back: one's own, or as an admin anybody's.
    ///
    /// # Errors
    /// Where there is none of that name that the actor may take back.
    pub async fn revoke_token(&self, actor: &Actor, id: &str) -> Result<(), ControlError> {
        let (identity, actor, id) = (self.clone(), actor.clone(), id.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let now = tx.now;
                let found = store::tokens::find(tx.db(), &id).await?;
                let theirs =
                    |kept: &Stored| actor.admin || kept.token.principal == actor.principal.id;
                found.filter(theirs).ok_or(Refusal::NotFound("token"))?;
                if !store::tokens::revoke(tx.db(), &id, now).await? {
                    let message = "the token was taken back before";
                    return Err(Refusal::Conflict(message.to_owned()).into());
                }
                tx.record(Event::new(&actor, AuditKind::TokenRevoked, &id, json!({}))).await?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Tokens, newest first, without their secrets. `Inbox` is read as `Mine`.
    ///
    /// # Errors
    /// Where the actor wants everybody's and oversees nothing.
    pub async fn tokens(
        &self,
        actor: &Actor,
        scope: Scope,
        paging: Paging,
    ) -> Result<Page<TokenView>, ControlError> {
        let whose = match scope {
            Scope::Mine | Scope::Inbox => Some(&actor.principal.id),
            Scope::All => actor.must_oversee().map(|()| None)?,
        };
        let db = &mut *self.kernel.store().read().await?;
        let rows = store::tokens::list(db, whose, paging.before(), paging.size()).await?;
        let next = paging.next(rows.len(), rows.last().map(|row| row.seq));
        let items = rows.into_iter().map(|row| row.token).collect();
        Ok(Page { items, next })
    }

    /// Exchanges a token for its holder. Unknown, wrong, used up, ended, for something else: to
    /// the one who tries, all are the same.
    #[tracing::instrument(skip_all, fields(resource = %requested))]
    pub(crate) async fn redeem(
        &self,
        token: &SecretString,
        requested: &Resource,
    ) -> Result<Redeemed, ControlError> {
        let id = self.matching(token).await?;
        let (identity, requested) = (self.clone(), requested.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let redeemed = redeem(&mut tx, &id, &requested).await?;
                tx.commit().await?;
                redeemed.ok_or(Refusal::Unauthenticated.into())
            })
            .await
    }

    /// The id of the token whose secret this is.
    async fn matching(&self, token: &SecretString) -> Result<String, ControlError> {
        let (id, secret) = split(token).ok_or(Refusal::Unauthenticated)?;
        let found = {
            let mut db = self.kernel.store().read().await?;
            store::tokens::find(&mut db, &id).await?
        };
        let wanted = found.map_or_else(|| DUMMY.to_vec(), |kept| kept.digest);
        if bool::from(ids::hash(&secret).ct_eq(wanted.as_slice())) {
            Ok(id)
        } else {
            Err(Refusal::Unauthenticated.into())
        }
    }
}

/// Compared with where there is no such token, so that this takes as long.
static DUMMY: LazyLock<Hash> = LazyLock::new(|| ids::hash(&ids::fresh_secret("")));

fn split(token: &SecretString) -> Option<(String, SecretString)> {
    let rest = token.expose_secret().strip_prefix(PREFIX)?;
    let (id, secret) = rest.split_once('_')?;
    let plausible = id.len() <= 64 && ids::is_secret(secret, "");
    plausible.then(|| (id.to_owned(), secret.to_owned().into()))
}

async fn mint(
    tx: &mut Transaction,
    actor: &Actor,
    requested: &Resource,
    ttl: Ttl,
    uses: Option<u32>,
) -> Result<Minted, ControlError> {
    let person = tx.acting(actor)?;
    credentials::live_until(tx, &actor.login).await?;
    let facts = risk::assess_risk(tx, &actor.asker(), None).await?.facts(tx.now, None);
    let (resource, _) = tx.inventory.evaluate(&person.principal.id, requested, &facts)?;
    let token = TokenView {
        id: ids::fresh_text("tk"),
        principal: person.principal.id,
        resource,
        minted_at: tx.now,
        expires_at: tx.now.after(ttl),
        uses_left: uses,
        revoked_at: None,
    };
    let secret = ids::fresh_secret("");
    let device = actor.authn.device.as_ref();
    store::tokens::insert(tx.db(), &token, &actor.login, device, &ids::hash(&secret)).await?;
    let detail = json!({
        "resource": token.resource.to_string(), "uses": uses, "login": actor.login,
        "expires_at": token.expires_at.to_string(),
    });
    tx.record(Event::new(actor, AuditKind::TokenMinted, &token.id, detail)).await?;
    Ok(Minted {
        token: format!("{PREFIX}{}_{}", token.id, secret.expose_secret()).into(),
        id: token.id,
        expires_at: token.expires_at,
    })
}

/// Redeems a token whose secret was right; none where it is of no use here, which is audited,
/// since somebody holds a real token.
async fn redeem(
    tx: &mut Transaction,
    id: &str,
    requested: &Resource,
) -> Result<Option<Redeemed>, ControlError> {
    let found = store::tokens::find(tx.db(), id).await?;
    let Stored { token, device, .. } = found.ok_or(Refusal::Unauthenticated)?;
    let by = By::Principal(token.principal.clone());
    match usable(tx, &token, requested).await? {
        Ok(principal) => {
            let detail = json!({ "resource": token.resource.to_string() });
            tx.record(Event::new(by, AuditKind::TokenRedeemed, id, detail)).await?;
            let authn = by_token(tx, id, device);
            Ok(Some(Redeemed { principal, authn }))
        }
        Err(why) => {
            risk::failed(tx, &token.principal, "token").await?;
            let holder = CountedBy::Holder(token.principal.clone());
            if let Some(noted) = tx.kernel().admit_refusal(Refused::Token, holder) {
                tx.note_refusal(noted, by, id, json!({ "why": why })).await?;
            }
            Ok(None)
        }
    }
}

async fn usable(
    tx: &mut Transaction,
    token: &TokenView,
    requested: &Resource,
) -> Result<Result<Principal, &'static str>, ControlError> {
    let Ok(person) = tx.inventory.person(&token.principal) else {
        return Ok(Err("its holder is unknown or disabled"));
    };
    let principal = person.principal.clone();
    let same = tx.inventory.resolve(requested).map(|(_, resource)| resource);
    if same.as_ref() != Ok(&token.resource) {
        return Ok(Err("it is for something else"));
    }
    let now = tx.now;
    if !store::tokens::take_use(tx.db(), &token.id, now).await? {
        return Ok(Err("it has ended, was taken back or is used up"));
    }
    Ok(Ok(principal))
}

fn by_token(tx: &Transaction, id: &str, device: Option<DeviceId>) -> Authn {
    Authn { method: Method::Token, at: tx.now, evidence: id.to_owned(), device }
}
