//! What a login session brings: client certificates, and their end and that of its tokens.
//!
//! A certificate never outlives the session that it was issued in. Where somebody ends that session,
//! a lock on each of its certificates and tokens goes out to every proxy, so that a copy is dead at
//! once and what runs by it is cut. The lock lasts for as long as the copy would have been good.

use std::collections::BTreeSet;

use certs::{Csr, Issued, PersonCert};
use policies::{CredentialId, DeviceId, Lock, LoginId, PrincipalId, Subject, Timestamp};
use serde_json::json;

use crate::identity::Identity;
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::credential::Brought;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::Event;
use crate::model::high_water::{Fact, IssuedCredential};
use crate::model::login::{LoginEnd, LoginRecord, Rank};
use crate::model::workload::is_reserved;
use crate::platform::ids;
use crate::store;

impl Identity {
    /// Issues a client certificate for the key of this request. A session that belongs to a device
    /// gets certificates for that device only, so that a lock on it holds.
    ///
    /// # Errors
    /// Where the request is malformed, the actor or the device is locked, or it is another device.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, %device))]
    pub async fn issue_certificate(
        &self,
        actor: &Actor,
        csr_pem: &str,
        device: &DeviceId,
    ) -> Result<Issued, ControlError> {
        let csr = read_csr(csr_pem)?;
        let (identity, actor, device) = (self.clone(), actor.clone(), device.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let issued = certify(&mut tx, &actor, &csr, &device).await?;
                tx.commit().await?;
                Ok(issued)
            })
            .await
    }
}

/// A request in PEM, where it proves the possession of its key.
pub(crate) fn read_csr(pem: &str) -> Result<Csr, Refusal> {
    Csr::from_pem(pem).map_err(|error| Refusal::Invalid(error.to_string()))
}

/// Issues a certificate in the actor's session, and keeps its serial.
pub(crate) async fn certify(
    tx: &mut Transaction,
    actor: &Actor,
    csr: &Csr,
    device: &DeviceId,
) -> Result<Issued, ControlError> {
    if is_reserved(device) {
        let message = "devices of people have other names than those of workloads";
        return Err(Refusal::Invalid(message.to_owned()).into());
    }
    let mut actor = actor.clone();
    let own = actor.authn.device.get_or_insert_with(|| device.clone());
    if *own != *device {
        let message = format!("this session belongs to device `{own}`");
        return Err(Refusal::Forbidden(message).into());
    }
    let person = tx.acting(&actor)?;
    let session_ends = live_until(tx, &actor.login).await?;
    let settings = tx.kernel().settings();
    let wanted = PersonCert {
        principal_id: person.principal.id.as_str(),
        name: &person.principal.name,
        device: device.as_str(),
        not_after: tx.now.after(settings.sign_in.certificate).min(session_ends).millis(),
        max_life: settings.sign_in.certificate.duration(),
    };
    let issued = settings.authority.issue_person(&wanted, csr, tx.now.millis())?;
    let (now, expires_at) = (tx.now, Timestamp::from_millis(issued.not_after));
    let brought = Brought { id: issued.serial.clone(), expires_at };
    let (whose, login) = (&person.principal.id, Some(&actor.login));
    store::credentials::insert(tx.db(), &brought, whose, login, Some(device), now).await?;
    note_issued(tx, &brought.id, &person.principal.id, expires_at)?;
    let detail = json!({
        "principal": person.principal.id, "device": device, "login": actor.login,
        "fingerprint": issued.fingerprint, "not_after": expires_at.to_string(),
    });
    tx.record(Event::new(&actor, AuditKind::CertificateIssued, &issued.serial, detail)).await?;
    Ok(issued)
}

/// Keeps, outside of the database too, that a certificate is in somebody's hands.
pub(crate) fn note_issued(
    tx: &mut Transaction,
    id: &str,
    whose: &PrincipalId,
    expires_at: Timestamp,
) -> Result<(), ControlError> {
    let id = store::parse("credential", id)?;
    let issued = IssuedCredential { id, whose: whose.clone(), expires_at };
    tx.keep_outside(Fact::Issued(issued));
    Ok(())
}

/// The end of a session that may bring certificates: a live one, of somebody who doesn't have
/// to register a passkey first.
pub(crate) async fn live_until(
    tx: &mut Transaction,
    id: &LoginId,
) -> Result<Timestamp, ControlError> {
    let login = live_login(tx, id).await?;
    match login.rank {
        Rank::Full => Ok(login.expires_at),
        Rank::Enrolling => Err(Refusal::EnrolFirst.into()),
    }
}

/// A session, where it is not over.
pub(crate) async fn live_login(
    tx: &mut Transaction,
    id: &LoginId,
) -> Result<LoginRecord, ControlError> {
    let now = tx.now;
    let found = store::logins::find(tx.db(), id).await?;
    let live = found.filter(|login| login.ended.is_none() && now < login.ends_at());
    live.ok_or(Refusal::Unauthenticated.into())
}

/// Takes back what a session brought, where it ended by an act: proxies cut what runs by it.
pub(crate) async fn take_back(
    tx: &mut Transaction,
    login: &LoginId,
    whose: &PrincipalId,
    why: LoginEnd,
) -> Result<(), ControlError> {
    if why.is_by_time() {
        return Ok(());
    }
    let now = tx.now;
    for brought in store::credentials::take_back(tx.db(), login, now).await? {
        let credential: CredentialId = store::parse("credential", &brought.id)?;
        let lock = Lock {
            id: ids::fresh("lk")?,
            subject: Subject::Credential(credential),
            reason: format!("it was taken back with its sign-in: {}", why.describe()),
            by: whose.clone(),
            at: now,
            until: Some(brought.expires_at),
            members: BTreeSet::new(),
        };
        tx.add_lock(&lock).await?;
    }
    Ok(())
}
