//! Checking what an authenticator answered to a challenge.

use policies::PrincipalId;
use webauthn_rs::prelude::PublicKeyCredential;

use crate::identity::Identity;
use crate::identity::passkeys::evidence::Assertion;
use crate::identity::passkeys::party;
use crate::identity::passkeys::party::Party;
use crate::identity::proof::Failure;
use crate::kernel::state::Transaction;
use crate::model::error::Refusal;
use crate::model::unproven::Unproven;
use crate::store;
use crate::store::passkeys::Kept;

impl Identity {
    /// The relying party.
    pub(crate) fn party(&self) -> Result<&Party, Refusal> {
        self.own.party.as_ref().ok_or_else(|| {
            let message = format!(
                "passkeys don't work at `{}`: let `public_url` have a host name",
                self.kernel.settings().base_url()
            );
            Refusal::Conflict(message)
        })
    }
}

/// Takes an authenticator's answer to a challenge of somebody: the id of their passkey, and the
/// answer as it is kept.
pub(crate) async fn touched(
    tx: &mut Transaction,
    identity: &Identity,
    principal: &PrincipalId,
    challenge: &[u8; 32],
    json: &str,
) -> Result<(String, Assertion), Failure> {
    let answer: PublicKeyCredential = party::read(json)?;
    let kept = owner(tx, &answer).await?;
    if kept.view.principal != *principal {
        return Err(Unproven::AnotherPerson.into());
    }
    check(tx, identity, kept, challenge, &answer).await
}

/// The passkey that an answer names, whose owner the authenticator agrees on.
pub(crate) async fn owner(
    tx: &mut Transaction,
    answer: &PublicKeyCredential,
) -> Result<Kept, Failure> {
    let credential = answer.get_credential_id();
    let found = store::passkeys::by_credential(tx.db(), credential).await?;
    let kept = found.ok_or(Unproven::UnknownCredential)?;
    if let Some(said) = answer.get_user_unique_id().filter(|said| !said.is_empty()) {
        let handle = store::passkeys::handle(tx.db(), &kept.view.principal).await?;
        if said != handle.as_bytes() {
            return Err(Unproven::AnotherPerson.into());
        }
    }
    Ok(kept)
}

pub(crate) async fn check(
    tx: &mut Transaction,
    identity: &Identity,
    mut kept: Kept,
    challenge: &[u8; 32],
    answer: &PublicKeyCredential,
) -> Result<(String, Assertion), Failure> {
    let result = identity.party()?.check(&kept.key, challenge, answer)?;
    let assertion = party::kept(&kept.key, answer)?;
    kept.key.update_credential(&result);
    let now = tx.now;
    store::passkeys::used(tx.db(), &kept, now).await?;
    Ok((kept.view.id, assertion))
}
