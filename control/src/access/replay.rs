//! What was cut while the store could not be written, written once it can.

use policies::{GrantEvent, LoginId};
use serde_json::json;

use crate::access::{load, transitions};
use crate::identity::ssh_keys;
use crate::kernel::cuts::{Deed, What};
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::login::{LoginEnd, Which};
use crate::store;

pub(crate) async fn redo(
    tx: &mut Transaction,
    Deed { by, what }: Deed,
) -> Result<(), ControlError> {
    match what {
        What::Grant { grant, end } => {
            let grant = load::granted(tx, &grant).await?;
            transitions::step(tx, &grant, GrantEvent::End(end), by).await.map(drop)
        }
        What::Lock { lock } => match store::locks::exists(tx.db(), &lock.id).await? {
            true => Ok(()),
            false => tx.add_lock_by(by, &lock).await,
        },
        What::Login { login, why } => redo_login(tx, by, &login, &why).await,
        What::SshKey { key } => ssh_keys::drop_ssh_key(tx, by, &key).await,
    }
}

/// The locks on what it brought are deeds of their own.
async fn redo_login(
    tx: &mut Transaction,
    by: By,
    id: &LoginId,
    why: &str,
) -> Result<(), ControlError> {
    let (now, why) = (tx.now, store::parse::<LoginEnd>("end of a login", why)?);
    for (id, whose) in store::logins::end(tx.db(), Which::One(id), why, now).await? {
        let detail = json!({ "principal": whose, "why": why.word() });
        tx.record(Event::new(by.clone(), AuditKind::LoginEnded, &id, detail)).await?;
        store::credentials::take_back(tx.db(), &id, now).await?;
    }
    Ok(())
}
