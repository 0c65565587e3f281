//! Login sessions: opened by whatever proved who somebody is, raised, seen, and ended.
//!
//! [`Transaction::open_login`] is the only way in, for links, passkeys, issuers and terminals alike. A
//! session has one token in force; every rise of privilege replaces it, so that whoever had planted
//! or seen the one before holds nothing. A token is good in the one transport that its session was
//! opened for: a browser's as a cookie, a terminal's as a bearer token. Who somebody is and what they
//! may do is never kept here: it is taken from the inventory in force each time.

use policies::{LoginId, Method, PrincipalId, Timestamp, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::identity::{Identity, credentials};
use crate::kernel::cuts::{InForce, What};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal, StoreError};
use crate::model::event::{By, Event};
use crate::model::login::{
    AGENT_MAX, LoginEnd, LoginKind, LoginRecord, LoginSession, NewLogin, Rank, Which,
};
use crate::model::view::{Page, Paging, Scope};
use crate::platform::ids;
use crate::platform::sanitize::clip;
use crate::policy::risk;
use crate::store;

const TOKEN: &str = "psl_";
/// Being seen is written down at most so often, and at least sixteen times before idleness ends it.
const SEEN_EVERY: Ttl = Ttl::from_secs(60);

impl Identity {
    /// Who holds this token, as they are now, where it came by the transport of this kind.
    ///
    /// # Errors
    /// Where it isn't good there, they are disabled, or they have to register a passkey first.
    pub async fn authenticate(
        &self,
        token: &SecretString,
        kind: LoginKind,
    ) -> Result<Actor, ControlError> {
        let (actor, rank) = self.recognise(token, kind).await?;
        match rank {
            Rank::Full => Ok(actor),
            Rank::Enrolling => Err(Refusal::EnrolFirst.into()),
        }
    }

    /// The same for the page that registers passkeys, which a session that may do nothing else may
    /// see as well.
    ///
    /// # Errors
    /// Where the token isn't good, or they are disabled.
    pub(crate) async fn recognise(
        &self,
        token: &SecretString,
        kind: LoginKind,
    ) -> Result<(Actor, Rank), ControlError> {
        if !ids::is_secret(token.expose_secret(), TOKEN) {
            return Err(Refusal::Unauthenticated.into());
        }
        let mut db = self.kernel.store().read().await?;
        let found = store::logins::by_token(&mut db, &ids::hash(token)).await?;
        drop(db);
        let now = self.kernel.now();
        let live = found.filter(|login| login.kind == kind && now < login.ends_at());
        let live = live.filter(|login| !self.kernel.cuts().has_ended(&login.id));
        let login = live.ok_or(Refusal::Unauthenticated)?;
        let inventory = self.kernel.inventory();
        let person = inventory.person(&login.principal).map_err(|_| Refusal::Unauthenticated)?;
        let actor = login.actor(person);
        let rank = login.rank;
        match self.see(login, now).await {
            // Whoever takes access away must be let in while the store can't be written.
            Err(ControlError::Store(StoreError::Unwritable)) => {}
            Err(error) if store::is_fault(&error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "it is not written that a login session is in use");
            }
            seen => seen?,
        }
        Ok((actor, rank))
    }

    /// Writes down that a session is in use, now and then.
    async fn see(&self, login: LoginRecord, now: Timestamp) -> Result<(), ControlError> {
        let idle = login.kind.idle(&self.kernel.settings().sign_in);
        let often = Ttl::from_millis(idle.millis().unsigned_abs() / 16).min(SEEN_EVERY);
        if now < login.seen_at.after(often) {
            return Ok(());
        }
        let identity = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let idle_at = Some(now.after(idle));
                store::logins::seen(tx.db(), &login.id, now, idle_at).await?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Gives the actor's session another token, since they have just proved more than before: the
    /// one before is dead at once.
    ///
    /// # Errors
    /// Where the session is over.
    pub async fn raise(&self, actor: &Actor) -> Result<SecretString, ControlError> {
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let token = rotate(&mut tx, &actor.login, None).await?;
                tx.commit().await?;
                Ok(token)
            })
            .await
    }

    /// Ends the session of this token, where it came by the transport of this kind.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn sign_out(
        &self,
        token: &SecretString,
        kind: LoginKind,
    ) -> Result<InForce<()>, ControlError> {
        let (identity, digest) = (self.clone(), ids::hash(token));
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin_anyway().await?;
                let found = store::logins::by_token(tx.db(), &digest).await?;
                let found = found.filter(|login| login.kind == kind);
                let login = found.ok_or(Refusal::Unauthenticated)?;
                let by = By::Principal(login.principal);
                end_logins(&mut tx, Which::One(&login.id), LoginEnd::SignedOut, by).await?;
                let durable = tx.commit_cut().await?;
                Ok(InForce { value: (), durable })
            })
            .await
    }
}

impl Identity {
    /// Login sessions, newest first. `Inbox` is read as `Mine`.
    ///
    /// # Errors
    /// Where the actor wants everybody's and oversees nothing.
    pub async fn logins(
        &self,
        actor: &Actor,
        scope: Scope,
        live: Option<bool>,
        paging: Paging,
    ) -> Result<Page<LoginRecord>, ControlError> {
        let whose = match scope {
            Scope::Mine | Scope::Inbox => Some(&actor.principal.id),
            Scope::All => actor.must_oversee().map(|()| None)?,
        };
        let db = &mut *self.kernel.store().read().await?;
        let rows = store::logins::list(db, whose, live, paging.before(), paging.size()).await?;
        let next = paging.next(rows.len(), rows.last().map(|row| row.seq));
        let items = rows.into_iter().map(|row| row.login).collect();
        Ok(Page { items, next })
    }

    /// Whether anybody has ever signed in here.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn anybody_signed_in(&self) -> Result<bool, ControlError> {
        Ok(store::proofs::has_sign_in(&mut *self.kernel.store().read().await?).await?)
    }

    /// Ends a login session with all that it brought: one's own, or as an admin anybody's.
    ///
    /// # Errors
    /// Where there is none of that name that the actor may end, or it is over.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, login = %id))]
    pub async fn end_login(
        &self,
        actor: &Actor,
        id: &LoginId,
    ) -> Result<InForce<()>, ControlError> {
        let (identity, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin_anyway().await?;
                let found = store::logins::find(tx.db(), &id).await?;
                let login = found.ok_or(Refusal::NotFound("login session"))?;
                if may_end(&tx, &actor, &login.principal).is_err() {
                    return Err(Refusal::NotFound("login session").into());
                }
                let ended = end_logins(&mut tx, Which::One(&id), LoginEnd::Ended, &actor).await?;
                if ended.is_empty() {
                    return Err(Refusal::Conflict("this login session is over".to_owned()).into());
                }
                let durable = tx.commit_cut().await?;
                Ok(InForce { value: (), durable })
            })
            .await
    }

    /// Ends all login sessions of a person: one's own, or as an admin anybody's.
    ///
    /// # Errors
    /// Where they are another's, and the actor no admin.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, %whose))]
    pub async fn end_all_logins(
        &self,
        actor: &Actor,
        whose: &PrincipalId,
    ) -> Result<InForce<Vec<LoginId>>, ControlError> {
        let (identity, actor, whose) = (self.clone(), actor.clone(), whose.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin_anyway().await?;
                may_end(&tx, &actor, &whose)?;
                let value = end_logins(&mut tx, Which::Of(&whose), LoginEnd::Ended, &actor).await?;
                let durable = tx.commit_cut().await?;
                Ok(InForce { value, durable })
            })
            .await
    }
}

/// Whoever is locked may still sign out; ending what is another's takes an admin.
fn may_end(tx: &Transaction, actor: &Actor, whose: &PrincipalId) -> Result<(), ControlError> {
    if *whose == actor.principal.id {
        return Ok(());
    }
    tx.administering(actor).map(drop)
}

/// Opens a session for somebody who has just proved who they are: the one way in.
///
/// # Errors
/// Where they are unknown or disabled.
pub(crate) async fn open_login(
    tx: &mut Transaction,
    new: NewLogin,
) -> Result<LoginSession, ControlError> {
    let now = tx.now;
    let person = tx.inventory.person(&new.principal);
    let person = person.map_err(|_| Refusal::Unauthenticated)?.clone();
    if tx.inventory.is_workload(&new.principal) {
        return Err(Refusal::Unauthenticated.into());
    }
    let ttl = tx.kernel().settings().sign_in;
    let expires_at = now.after(ttl.absolute);
    // Else a session that was stolen could renew itself for ever.
    let expires_at = match &new.by {
        Some(by) => expires_at.min(credentials::live_until(tx, by).await?),
        None => expires_at,
    };
    let idle = new.origin.kind.idle(&ttl);
    let login = LoginRecord {
        id: ids::fresh("ls")?,
        principal: new.principal,
        kind: new.origin.kind,
        rank: new.rank,
        method: new.method,
        device: new.origin.device,
        issuer: new.issuer,
        by: new.by,
        address: new.origin.address,
        agent: clip(&new.origin.agent, AGENT_MAX),
        signed_in_at: now,
        seen_at: now,
        idle_at: Some(now.after(idle)),
        expires_at,
        ended: None,
    };
    let token = ids::fresh_secret(TOKEN);
    store::logins::insert(tx.db(), &ids::hash(&token), &login).await?;
    store::proofs::insert_sign_in(tx.db(), now).await?;
    let actor = login.actor(&person);
    tx.record(Event::new(&actor, AuditKind::LoginSignedIn, &login.id, to_json(&login))).await?;
    // Of a session that another let in, nobody has shown that its own place is theirs.
    if login.rank == Rank::Full && login.by.is_none() {
        risk::learn_place(tx, &login.principal, login.address, None).await?;
    }
    let LoginRecord { kind, rank, expires_at, .. } = login;
    Ok(LoginSession { token, actor, kind, rank, expires_at })
}

/// Gives a session another token, and the rank and method of what its person has just proved
/// where that changes them. The token before is dead with the commit.
///
/// # Errors
/// Where the session is over.
pub(crate) async fn rotate(
    tx: &mut Transaction,
    id: &LoginId,
    raised: Option<(Rank, Method)>,
) -> Result<SecretString, ControlError> {
    let now = tx.now;
    let found = store::logins::find(tx.db(), id).await?;
    let live = found.filter(|login| login.ended.is_none() && now < login.ends_at());
    let mut login = live.ok_or(Refusal::Unauthenticated)?;
    if let Some((rank, method)) = raised {
        (login.rank, login.method) = (rank, method);
        risk::learn_place(tx, &login.principal, login.address, None).await?;
    }
    login.seen_at = now;
    login.idle_at = Some(now.after(login.kind.idle(&tx.kernel().settings().sign_in)));
    let token = ids::fresh_secret(TOKEN);
    store::logins::rotate(tx.db(), &ids::hash(&token), &login).await?;
    let by = By::Principal(login.principal);
    let detail = json!({ "rank": login.rank.word(), "method": login.method });
    tx.record(Event::new(by, AuditKind::LoginRotated, id, detail)).await?;
    Ok(token)
}

/// Ends live sessions with all that they brought, and names them. Where that is an act, the
/// sessions that they let in end as well; by time, those end at their own.
pub(crate) async fn end_logins(
    tx: &mut Transaction,
    which: Which<'_>,
    why: LoginEnd,
    by: impl Into<By>,
) -> Result<Vec<LoginId>, ControlError> {
    let (now, by) = (tx.now, by.into());
    let ended = store::logins::end(tx.db(), which, why, now).await?;
    for (id, whose) in &ended {
        let what = What::Login { login: id.clone(), why: why.word().to_owned() };
        tx.cuts_off(by.clone(), what);
        let detail = json!({ "principal": whose, "why": why.word() });
        tx.record(Event::new(by.clone(), AuditKind::LoginEnded, id, detail)).await?;
        credentials::take_back(tx, id, whose, why).await?;
    }
    Ok(ended.into_iter().map(|(id, _)| id).collect())
}

/// Ends the sessions of people who are disabled or no longer known.
pub(crate) async fn end_logins_of_strangers(tx: &mut Transaction) -> Result<(), ControlError> {
    for id in store::logins::people(tx.db()).await? {
        if tx.inventory.person(&id).is_err() {
            end_logins(tx, Which::Of(&id), LoginEnd::Disabled, By::Control).await?;
        }
    }
    Ok(())
}

/// Ends the sessions whose time is over.
pub(crate) async fn end_logins_by_time(
    tx: &mut Transaction,
    now: Timestamp,
    most: i64,
) -> Result<(), ControlError> {
    for login in store::logins::over(tx.db(), now, most).await? {
        let why = if login.expires_at <= now { LoginEnd::Expired } else { LoginEnd::Idle };
        end_logins(tx, Which::One(&login.id), why, By::Control).await?;
    }
    Ok(())
}

/// A sign-in as the audit log has it.
fn to_json(login: &LoginRecord) -> serde_json::Value {
    let at_issuer = login.issuer.as_ref();
    json!({
        "method": login.method, "kind": login.kind.word(), "rank": login.rank.word(),
        "device": login.device, "address": login.address, "agent": login.agent,
        "issuer": at_issuer.map(|at| &at.issuer), "subject": at_issuer.map(|at| &at.subject),
        "by": login.by, "expires_at": login.expires_at.to_string(),
    })
}
