//! Proof that a key which somebody registers is theirs.
//!
//! A public key is public: without a proof anybody could register another's, who would then be let in as
//! the wrong one, and could never register it. So its private half signs a text of ours, with
//! `ssh-keygen -Y sign`: for this gateway alone (the namespace), for one person and one key, whose names
//! the text begins with, so that nobody signs for another without a chance to see it. The question is one
//! of a `challenge`: audited before it can be answered, answered once, within five minutes, in the login
//! session that was asked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::SshHolder;
use policies::{Purpose, Timestamp};
use url::Url;

use crate::identity::proof::Failure;
use crate::identity::{Identity, challenge, credentials};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, InternalError, Refusal};
use crate::model::statement::Statement;
use crate::model::unproven::Unproven;
use crate::store::challenges::Asked;

/// The longest line that is read as a key.
const LINE_MAX: usize = 8 * 1024;
/// The kinds of keys that are taken, each with the file that `ssh-keygen` writes it to.
const TAKEN: [(&str, &str); 6] = [
    ("ssh-ed25519", "id_ed25519"),
    ("ecdsa-sha2-nistp256", "id_ecdsa"),
    ("ecdsa-sha2-nistp384", "id_ecdsa"),
    ("ecdsa-sha2-nistp521", "id_ecdsa"),
    ("sk-ssh-ed25519@openssh.com", "id_ed25519_sk"),
    ("sk-ecdsa-sha2-nistp256@openssh.com", "id_ecdsa_sk"),
];

/// What the private half of a key has to sign before the key is anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKeyChallenge {
    /// Its name, which comes back with the signature.
    pub id: String,
    /// What the signature is for: keys of this gateway.
    pub namespace: String,
    /// What is signed, to the letter.
    pub message: String,
    /// The fingerprint of the key, as OpenSSH shows it.
    pub fingerprint: String,
    /// The file in which OpenSSH keeps such a key, unless another one was given.
    pub usual_file: &'static str,
    /// Until when it may be answered.
    pub expires_at: Timestamp,
}

impl SshKeyChallenge {
    /// What signatures for keys of the gateway at this public address are made for. Whoever signs checks
    /// that it is the gateway that they talk to: it could pass on what another one asks.
    #[must_use]
    pub fn namespace_at(gateway: &Url) -> String {
        format!("postern-key@{}", site(gateway))
    }

    /// The line for a shell that signs it, with the key in its usual file.
    #[must_use]
    pub fn command(&self) -> String {
        let message = self.message.replace('\'', r"'\''");
        let (namespace, file) = (&self.namespace, self.usual_file);
        format!("printf %s '{message}' | ssh-keygen -Y sign -n {namespace} -f ~/.ssh/{file}.pub")
    }
}

/// A key whose holder has been seen, and how.
pub(crate) struct Held {
    pub(crate) line: String,
    pub(crate) challenge: String,
    pub(crate) namespace: String,
    pub(crate) message: String,
    pub(crate) holder: SshHolder,
}

impl Identity {
    /// Asks for the signature without which a public key becomes nobody's.
    ///
    /// # Errors
    /// Where it is no key that is taken, or this person is asked too often.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn ask_for_ssh_key(
        &self,
        actor: &Actor,
        line: &str,
    ) -> Result<SshKeyChallenge, ControlError> {
        self.own.limits.challenge(&actor.principal.id)?;
        let (line, usual_file) = read(line)?;
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let challenge = ask_for_ssh_key(&mut tx, &actor, &line, usual_file).await?;
                tx.commit().await?;
                Ok(challenge)
            })
            .await
    }
}

/// A public key of a kind that is taken, without its comment, and the file that it is usually in.
fn read(line: &str) -> Result<(String, &'static str), Refusal> {
    let invalid = |message: &str| Refusal::Invalid(message.to_owned());
    if line.contains("PRIVATE KEY") {
        return Err(invalid(
            "this is a private key, which nobody else may see: send the file that \
                            ends in .pub",
        ));
    }
    let none =
        "this is no public key in OpenSSH's format: send the line of a file that ends in .pub";
    if line.len() > LINE_MAX {
        return Err(invalid(none));
    }
    let key = certs::read_public_key(line).map_err(|_| invalid(none))?;
    let kind = key.split(' ').next().unwrap_or_default();
    match TAKEN.iter().find(|(taken, _)| *taken == kind) {
        Some((_, file)) => Ok((key, file)),
        None => Err(invalid(&certs::SshProofError::Kind.to_string())),
    }
}

/// The question about a key, as it is kept. Its subject is the key.
fn holding(actor: &Actor, line: &str, fingerprint: &str) -> Statement {
    let row = |label: &str, text: &str| (label.to_owned(), text.to_owned());
    Statement {
        purpose: Purpose::Administer,
        subject: line.to_owned(),
        lines: vec![
            row("What", "Prove that this SSH key is theirs"),
            row("Fingerprint", fingerprint),
            row("For", actor.principal.id.as_str()),
        ],
    }
}

/// The host of an address, and its port where that isn't the usual one.
fn site(address: &Url) -> String {
    let host = address.host_str().unwrap_or_default();
    address.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What is signed: whose the key becomes, in words, and the challenge.
fn message(gateway: &Url, asked: &Asked, fingerprint: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(asked.challenge());
    let (whose, site) = (&asked.principal, site(gateway));
    format!("postern registers {fingerprint} for {whose} at {site}: {challenge}")
}

async fn ask_for_ssh_key(
    tx: &mut Transaction,
    actor: &Actor,
    line: &str,
    usual_file: &'static str,
) -> Result<SshKeyChallenge, ControlError> {
    tx.acting(actor)?;
    credentials::live_until(tx, &actor.login).await?;
    let kernel = tx.kernel().clone();
    let gateway = &kernel.settings().public_url;
    if kernel.settings().ssh.is_none() {
        return Err(Refusal::NotFound("SSH side of this gateway").into());
    }
    let fingerprint = certs::key_fingerprint(line).map_err(InternalError::IssueSsh)?;
    let asked = challenge::asked(tx, actor, holding(actor, line, &fingerprint));
    challenge::keep(tx, &asked).await?;
    Ok(SshKeyChallenge {
        namespace: SshKeyChallenge::namespace_at(gateway),
        message: message(gateway, &asked, &fingerprint),
        fingerprint,
        usual_file,
        expires_at: asked.expires_at,
        id: asked.id,
    })
}

/// The key of a question, where the signature says that its private half is the actor's.
pub(crate) async fn held(
    tx: &mut Transaction,
    actor: &Actor,
    challenge: &str,
    signature: &str,
) -> Result<Held, Failure> {
    tx.acting(actor)?;
    let asked = crate::identity::challenge::answer(tx, actor, challenge).await?;
    let line = asked.statement.subject.clone();
    let fingerprint = certs::key_fingerprint(&line).map_err(|_| Unproven::WrongPurpose)?;
    if asked.statement != holding(actor, &line, &fingerprint) {
        return Err(Unproven::WrongPurpose.into());
    }
    let kernel = tx.kernel().clone();
    let gateway = &kernel.settings().public_url;
    let namespace = SshKeyChallenge::namespace_at(gateway);
    let message = message(gateway, &asked, &fingerprint);
    let holder = certs::check_ssh_proof(&line, &namespace, message.as_bytes(), signature)
        .map_err(Unproven::SshKey)?;
    Ok(Held { line, challenge: asked.id, namespace, message, holder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_leave_the_line_for_the_shell() {
        let challenge = SshKeyChallenge {
            id: "ch-1".to_owned(),
            namespace: "postern-key@gate.example.com".to_owned(),
            message: "for o'brien; $(id) \"x\"".to_owned(),
            fingerprint: String::new(),
            usual_file: "id_ed25519",
            expires_at: Timestamp::from_millis(0),
        };
        let line = challenge.command();
        let expected = r#"printf %s 'for o'\''brien; $(id) "x"' | ssh-keygen -Y sign -n postern-key@gate.example.com -f ~/.ssh/id_ed25519.pub"#;
        assert_eq!(line, expected);
    }
}
