//! What proxies report: sessions, denials, and clocks that jumped.
//!
//! A report may come twice; each happening in it counts once. What a stranger chose is clipped.

use std::path::PathBuf;
use std::str::FromStr;

use ::link::v1;
use ::link::v1::happening::Happening as What;
use policies::{Authn, Method, NameError, PrincipalId, SessionId, Timestamp};
use serde_json::json;

use crate::evidence::Evidence;
use crate::kernel::refusals::{CountedBy, Refused};
use crate::kernel::state::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::view::{Page, Paging, Scope, SessionEnd, SessionFilter, SessionView};
use crate::platform::sanitize::clip;
use crate::policy::risk;
use crate::store;
use crate::store::sessions::Wanted;

/// The longest text of a stranger that is kept, in characters.
pub(crate) const TEXT_MAX: usize = 256;
pub(crate) const ID_MAX: usize = 128;

impl Evidence {
    /// Sessions, newest first.
    ///
    /// # Errors
    /// Where the actor wants everybody's and oversees nothing.
    pub async fn sessions(
        &self,
        actor: &Actor,
        filter: SessionFilter,
        paging: Paging,
    ) -> Result<Page<SessionView>, ControlError> {
        let principal = match filter.scope {
            Scope::Mine => Some(&actor.principal.id),
            Scope::Inbox | Scope::All => actor.must_oversee().map(|()| None)?,
        };
        let wanted = Wanted { principal, grant: filter.grant.as_ref(), live: filter.live };
        let db = &mut *self.kernel.store().read().await?;
        let rows = store::sessions::list(db, wanted, paging.before(), paging.size()).await?;
        let next = paging.next(rows.len(), rows.last().map(|row| row.seq));
        let items = rows.into_iter().map(|row| row.session).collect();
        Ok(Page { items, next })
    }

    /// One session: one's own, or for those who oversee, anybody's.
    ///
    /// # Errors
    /// Where there is none that the actor may see.
    pub async fn session(
        &self,
        actor: &Actor,
        id: &SessionId,
    ) -> Result<SessionView, ControlError> {
        let found = store::sessions::find(&mut *self.kernel.store().read().await?, id).await?;
        let seen =
            found.filter(|session| session.principal == actor.principal.id || actor.oversees());
        seen.ok_or(Refusal::NotFound("session").into())
    }

    /// Where the recording of a session is: for admins and auditors. That somebody looked is
    /// audited.
    ///
    /// # Errors
    /// Where the actor is neither, or there is no such session.
    pub async fn recording(&self, actor: &Actor, id: &SessionId) -> Result<PathBuf, ControlError> {
        actor.must_oversee()?;
        self.session(actor, id).await?;
        let path = self.kernel.settings().recording(id);
        let (evidence, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = evidence.kernel.begin().await?;
                tx.record(Event::new(&actor, AuditKind::RecordingRead, id, json!({}))).await?;
                tx.commit().await?;
                Ok(path)
            })
            .await
    }

    /// Takes a proxy's report in. What is malformed in it is logged and left out: the proxy would
    /// only send it again.
    pub(crate) async fn report(&self, report: v1::ReportRequest) -> Result<(), ControlError> {
        let evidence = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = evidence.kernel.begin().await?;
                let proxy = clip(&report.proxy, ID_MAX);
                for happening in report.happenings {
                    happened(&mut tx, &proxy, happening).await?;
                }
                tx.commit().await.map(drop)
            })
            .await
    }
}

async fn happened(
    tx: &mut Transaction,
    proxy: &str,
    reported: v1::Happening,
) -> Result<(), ControlError> {
    let now = tx.now;
    let id = clip(&reported.id, ID_MAX);
    if !store::sessions::is_new(tx.db(), &id, now).await? {
        return Ok(());
    }
    let at = Timestamp::from_millis(reported.at_ms);
    match reported.happening {
        Some(What::Opened(opened)) => match session(opened, proxy, at) {
            Ok(session) => record_opened(tx, proxy, &named(tx, session)).await,
            Err(why) => ignored(proxy, &why),
        },
        Some(What::Ended(ended)) => match end(ended, at) {
            Ok((session, end)) => ended_session(tx, proxy, &session, &end).await,
            Err(why) => ignored(proxy, &why),
        },
        Some(What::Denied(denied)) => record_denied(tx, proxy, denied, at).await,
        Some(What::Clock(clock)) => jumped(tx, proxy, &clock, at).await,
        None => ignored(proxy, "it is empty"),
    }
}

/// A certificate names nobody by more than their key: the name is the one that people know.
fn named(tx: &Transaction, session: SessionView) -> SessionView {
    let known = tx.inventory.people.get(&session.principal);
    let name = known.map(|person| person.principal.name.clone());
    SessionView { name: name.unwrap_or(session.name), ..session }
}

async fn record_opened(
    tx: &mut Transaction,
    proxy: &str,
    session: &SessionView,
) -> Result<(), ControlError> {
    store::sessions::insert(tx.db(), session).await?;
    if session.authn.method == Method::Key {
        store::ssh_keys::used(tx.db(), &session.authn.evidence, session.opened_at).await?;
    }
    let detail = json!({
        "grant": session.grant, "principal": session.principal, "authn": session.authn,
        "resource": session.resource.to_string(), "client": session.client,
        "application": session.application, "at": session.opened_at.to_string(),
    });
    let by = By::Proxy(proxy.to_owned());
    tx.record(Event::new(by, AuditKind::SessionOpened, &session.id, detail)).await
}

async fn ended_session(
    tx: &mut Transaction,
    proxy: &str,
    id: &SessionId,
    end: &SessionEnd,
) -> Result<(), ControlError> {
    store::sessions::end(tx.db(), id, end).await?;
    let detail = json!({
        "end": end.end, "detail": end.detail, "bytes_in": end.bytes_in,
        "bytes_out": end.bytes_out, "statements": end.statements, "head": end.head,
        "at": end.at.to_string(),
    });
    let by = By::Proxy(proxy.to_owned());
    tx.record(Event::new(by, AuditKind::SessionEnded, id, detail)).await
}

async fn record_denied(
    tx: &mut Transaction,
    proxy: &str,
    denied: v1::ConnectionDenied,
    at: Timestamp,
) -> Result<(), ControlError> {
    let text = |text: &str| clip(text, TEXT_MAX);
    let who = denied.identity.as_ref().map(|identity| text(&identity.principal));
    let detail = json!({
        "principal": who, "target": text(&denied.target), "login": text(&denied.login),
        "database": text(&denied.database), "client": text(&denied.client),
        "reason": text(&denied.reason), "detail": text(&denied.detail), "at": at.to_string(),
    });
    if let Some(whose) = taken_back(tx, &denied) {
        risk::failed(tx, &whose, "certificate").await?;
    }
    let by = By::Proxy(proxy.to_owned());
    let subject = text(&denied.target);
    if who.is_some() {
        return tx.record(Event::new(by, AuditKind::ConnectionDenied, subject, detail)).await;
    }
    let from = CountedBy::address(crate::model::actor::source(&denied.client));
    match tx.kernel().admit_refusal(Refused::Connection, from) {
        Some(noted) => tx.note_refusal(noted, by, subject, detail).await,
        None => Ok(()),
    }
}

/// Whose connection was denied that proved to hold what was taken back.
fn taken_back(tx: &Transaction, denied: &v1::ConnectionDenied) -> Option<PrincipalId> {
    let identity = denied.identity.as_ref()?;
    let authn = Authn::try_from(identity.authn.clone()?).ok()?;
    let whose = identity.principal.parse().ok()?;
    let asker = Asker::connected(&whose, &authn, None);
    tx.kernel().not_shut_out(&asker, tx.now).is_err().then_some(whose)
}

async fn jumped(
    tx: &mut Transaction,
    proxy: &str,
    clock: &v1::ClockJumped,
    at: Timestamp,
) -> Result<(), ControlError> {
    let detail = json!({ "jump_ms": clock.jump_ms, "at": at.to_string() });
    let by = By::Proxy(proxy.to_owned());
    tx.record(Event::new(by, AuditKind::ClockJumped, proxy, detail)).await
}

fn ignored(proxy: &str, why: &str) -> Result<(), ControlError> {
    tracing::warn!(proxy, why, "a malformed happening was reported");
    Ok(())
}

fn session(opened: v1::SessionOpened, proxy: &str, at: Timestamp) -> Result<SessionView, String> {
    let identity = opened.identity.ok_or("it has no identity")?;
    let authn = identity.authn.ok_or("it has no authentication")?;
    let resource = opened.resource.ok_or("it has no resource")?;
    Ok(SessionView {
        id: name(&opened.session)?,
        grant: name(&opened.grant)?,
        principal: name(&identity.principal)?,
        name: clip(&identity.name, TEXT_MAX),
        authn: authn.try_into().map_err(text_of)?,
        resource: resource.try_into().map_err(text_of)?,
        client: clip(&opened.client, TEXT_MAX),
        application: clip(&opened.application, TEXT_MAX),
        proxy: proxy.to_owned(),
        opened_at: at,
        ended: None,
    })
}

fn end(ended: v1::SessionEnded, at: Timestamp) -> Result<(SessionId, SessionEnd), String> {
    let how = ended.how().map_err(text_of)?;
    let session = name(&ended.session)?;
    let end = SessionEnd {
        at,
        end: how.code().to_owned(),
        detail: clip(how.detail().unwrap_or_default(), TEXT_MAX),
        bytes_in: ended.bytes_in,
        bytes_out: ended.bytes_out,
        statements: ended.statements,
        head: clip(&ended.head, TEXT_MAX),
    };
    Ok((session, end))
}

fn name<T: FromStr<Err = NameError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(text_of)
}

fn text_of(error: impl ToString) -> String {
    error.to_string()
}
