//! What opens the gateway with stock `ssh`: certificates for people, and keys that are registered.

use certs::{PersonCert, SshError, SshIssued};
use policies::{Authn, DeviceId, Method, PrincipalId, Timestamp};
use serde_json::json;

use crate::identity::tokens::Redeemed;
use crate::identity::{Identity, credentials};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::credential::Brought;
use crate::model::error::{ControlError, InternalError, Refusal};
use crate::model::event::Event;
use crate::model::settings::Ssh;
use crate::store;

impl Identity {
    /// Certifies a person's SSH key for this device, as TLS certificates are issued. None where the
    /// gateway has no SSH side.
    ///
    /// # Errors
    /// Where the key is none, the actor or the device is locked, or it is another device.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, %device))]
    pub async fn issue_ssh_certificate(
        &self,
        actor: &Actor,
        public_key: &str,
        device: &DeviceId,
    ) -> Result<Option<SshIssued>, ControlError> {
        let (identity, actor) = (self.clone(), actor.clone());
        let (key, device) = (public_key.to_owned(), device.clone());
        self.kernel
            .to_the_end(async move {
                let Some(ssh) = identity.kernel.settings().ssh.clone() else {
                    return Ok(None);
                };
                let mut tx = identity.kernel.begin().await?;
                let issued = certify_ssh(&mut tx, &ssh, &actor, &key, &device).await?;
                tx.commit().await?;
                Ok(Some(issued))
            })
            .await
    }
}

impl Identity {
    /// The person whose registered key this is. That its holder was seen is the proxy's word.
    pub(crate) async fn redeem_key(&self, line: &str) -> Result<Redeemed, ControlError> {
        let unknown = |_| Refusal::Unauthenticated;
        let key = certs::read_public_key(line).map_err(unknown)?;
        let inventory = self.kernel.inventory();
        let id = match inventory.ssh_keys.get(&key) {
            Some(id) => id.clone(),
            None => self.registrant(&key).await?,
        };
        let principal = inventory.person(&id)?.principal.clone();
        let evidence = certs::key_fingerprint(&key).map_err(unknown)?;
        let authn = Authn { method: Method::Key, at: self.kernel.now(), evidence, device: None };
        Ok(Redeemed { principal, authn })
    }

    /// Who registered this key.
    async fn registrant(&self, key: &str) -> Result<PrincipalId, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        let owner = store::ssh_keys::owner(db, key).await?;
        let good = owner.and_then(|(id, good)| good.then_some(id));
        good.ok_or(Refusal::Unauthenticated.into())
    }
}

/// Certifies a key in the actor's session, and keeps the certificate's serial, so that it can be
/// taken back with the session.
async fn certify_ssh(
    tx: &mut Transaction,
    ssh: &Ssh,
    actor: &Actor,
    key: &str,
    device: &DeviceId,
) -> Result<SshIssued, ControlError> {
    let mut actor = actor.clone();
    let own = actor.authn.device.get_or_insert_with(|| device.clone());
    if *own != *device {
        let message = format!("this session belongs to device `{own}`");
        return Err(Refusal::Forbidden(message).into());
    }
    let person = tx.acting(&actor)?;
    let session_ends = credentials::live_until(tx, &actor.login).await?;
    let life = tx.kernel().settings().sign_in.certificate;
    let wanted = PersonCert {
        principal_id: person.principal.id.as_str(),
        name: &person.principal.name,
        device: device.as_str(),
        not_after: tx.now.after(life).min(session_ends).millis(),
        max_life: life.duration(),
    };
    let issued = ssh.authority.issue_person(&wanted, key, tx.now.millis());
    let issued = issued.map_err(refused)?;
    let (now, expires_at) = (tx.now, Timestamp::from_millis(issued.not_after));
    let brought = Brought { id: issued.evidence(), expires_at };
    let (whose, login) = (&person.principal.id, Some(&actor.login));
    store::credentials::insert(tx.db(), &brought, whose, login, Some(device), now).await?;
    credentials::note_issued(tx, &brought.id, &person.principal.id, expires_at)?;
    let detail = json!({
        "principal": person.principal.id, "device": device, "login": actor.login,
        "kind": "ssh", "not_after": expires_at.to_string(),
    });
    tx.record(Event::new(&actor, AuditKind::CertificateIssued, &brought.id, detail)).await?;
    Ok(issued)
}

/// What is wrong with a key is reported to the one who sent it.
fn refused(error: SshError) -> ControlError {
    match &error {
        SshError::PublicKey | SshError::Name { .. } => Refusal::Invalid(error.to_string()).into(),
        SshError::Store(_)
        | SshError::BadKey { .. }
        | SshError::PrivateKey
        | SshError::Ended
        | SshError::Sign(_) => InternalError::IssueSsh(error).into(),
    }
}
