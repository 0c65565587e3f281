//! What proxies report: sessions, denials, and clocks that jumped.
//!
//! A report may come twice; each happening in it counts once. What a stranger chose is clipped.

use std::path::PathBuf;
use std::str::FromStr;

use ::link::v1::happening::Happening as What;
use ::link::v1;
use policies::{NameError, SessionId, Timestamp};
use serde_json::json;

use crate::audit::{By, Event, clip};
use crate::publish::Change;
use crate::store::{self, sessions::Wanted};
use crate::{
    Actor, Control, ControlError, Page, Paging, Scope, SessionEnd, SessionFilter, SessionView,
};

/// The longest text of a stranger that is kept, in characters.
const TEXT_MAX: usize = 256;
const ID_MAX: usize = 128;

impl Control {
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
        let wanted = Wanted {
            principal,
            grant: filter.grant.as_ref(),
            live: filter.live,
        };
        let db = &mut *self.0.store.read().await?;
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
    opened: v1::SessionOpened,
    proxy: &str,
    at: Timestamp,
) -> Result<SessionView, String> {
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
