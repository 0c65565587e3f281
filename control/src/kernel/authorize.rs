//! Who may act: somebody whom no lock shuts out, and for some acts an admin.

use policies::{AdmissionQuery, LeaseKey, Lock, Resource, Subject, Timestamp};

use crate::kernel::Kernel;
use crate::kernel::state::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::person::Person;

impl Kernel {
    /// Refuses where a lock matches what this person wants.
    pub(crate) fn not_locked(
        &self,
        asker: &Asker,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let key = LeaseKey { principal: asker.principal.clone(), resource: resource.clone() };
        let query = AdmissionQuery {
            key: &key,
            device: asker.device.as_ref(),
            credential: asker.credential.as_deref(),
        };
        let why = self.0.feed.locked(|lock| lock.blocks(&query, now));
        why.map_or(Ok(()), |why| Err(Rejection::Locked(why)))
    }

    /// Refuses where a lock matches the principal, a group, the device or the credential.
    pub(crate) fn not_shut_out(&self, asker: &Asker, now: Timestamp) -> Result<(), Rejection> {
        let why = self.0.feed.locked(|lock| shuts_out(lock, asker, now));
        why.map_or(Ok(()), |why| Err(Rejection::Locked(why)))
    }

    /// A step-up is wanted: why, and where it is given.
    pub(crate) fn step_up_needed(&self, page: &str, why: &str) -> ControlError {
        let url = format!("{}{page}", self.settings().base_url());
        Refusal::StepUpNeeded { url, why: why.to_owned() }.into()
    }
}

impl Transaction {
    /// The actor as they are by now: known, and neither disabled nor locked.
    pub(crate) fn acting(&self, actor: &Actor) -> Result<Person, ControlError> {
        self.kernel().not_shut_out(&actor.asker(), self.now)?;
        Ok(self.inventory.person(&actor.principal.id)?.clone())
    }

    /// The same, where they are an admin.
    pub(crate) fn administering(&self, actor: &Actor) -> Result<Person, ControlError> {
        let person = self.acting(actor)?;
        if person.admin {
            Ok(person)
        } else {
            Err(Refusal::Forbidden("this takes an admin".to_owned()).into())
        }
    }
}

fn shuts_out(lock: &Lock, asker: &Asker, now: Timestamp) -> bool {
    lock.until.is_none_or(|until| now < until)
        && match &lock.subject {
            Subject::Principal(id) => *id == asker.principal,
            Subject::Group(_) => lock.members.contains(&asker.principal),
            Subject::Device(id) => asker.device.as_ref() == Some(id),
            Subject::Credential(id) => asker.credential.as_deref() == Some(id.as_str()),
            Subject::Target(_) | Subject::Login(_, _) => false,
        }
}
