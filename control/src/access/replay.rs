//! What was cut while the store could not be written, written once it can.

use policies::{GrantEvent, LoginId};
use serde_json::json;

use crate::kernel::cuts::{Deed, What};
use crate::kernel::transaction::Change;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::login::{LoginEnd, Which};
use crate::store;

impl Change {
    pub(crate) async fn redo(&mut self, Deed { by, what }: Deed) -> Result<(), ControlError> {
        match what {
            What::Grant { grant, end } => {
                let grant = self.granted(&grant).await?;
                self.step(&grant, GrantEvent::End(end), by).await.map(drop)
            }
            What::Lock { lock } => match store::locks::exists(self.db(), &lock.id).await? {
                true => Ok(()),
                false => self.add_lock_by(by, &lock).await,
            },
            What::Login { login, why } => self.redo_login(by, &login, &why).await,
            What::SshKey { key } => self.drop_ssh_key(by, &key).await,
        }
    }

    /// The locks on what it brought are deeds of their own.
    async fn redo_login(&mut self, by: By, id: &LoginId, why: &str) -> Result<(), ControlError> {
        let (now, why) = (self.now, store::parse::<LoginEnd>("end of a login", why)?);
        for (id, whose) in store::logins::end(self.db(), Which::One(id), why, now).await? {
            let detail = json!({ "principal": whose, "why": why.word() });
            self.record(Event::new(by.clone(), "login.ended", &id, detail)).await?;
            store::credentials::take_back(self.db(), &id, now).await?;
        }
        Ok(())
    }
}
