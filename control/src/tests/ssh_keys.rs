//! SSH keys that people register: whose they are, what it takes, and that they end.

use std::sync::Arc;

use policies::Subject;
use rstest::rstest;
use secrecy::ExposeSecret;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use super::World;
use crate::identity::proof::Proof;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::inventory::Inventory;
use crate::model::settings::Ssh;
use crate::model::view::{Scope, SshKeyView};
use crate::store;

/// A key with its private half.
pub(super) struct Pair {
    secret: PrivateKey,
    pub(super) line: String,
}

/// A gateway with an SSH side.
pub(super) async fn world() -> World {
    World::with(|settings| {
        let authority = Arc::new(certs::SshAuthority::generate().unwrap());
        settings.ssh = Some(Ssh { authority, gateway: None });
    })
    .await
}

pub(super) fn fresh() -> Pair {
    let (secret, line) = certs::new_ssh_key().unwrap();
    Pair { secret: PrivateKey::from_openssh(secret.expose_secret()).unwrap(), line }
}

impl Pair {
    pub(super) fn signs(&self, namespace: &str, message: &str) -> String {
        let signed = self.secret.sign(namespace, HashAlg::Sha512, message.as_bytes()).unwrap();
        signed.to_pem(LineEnding::LF).unwrap()
    }
}

impl World {
    pub(super) async fn register(
        &self,
        actor: &Actor,
        key: &Pair,
    ) -> Result<SshKeyView, ControlError> {
        let asked = self.control.identity.ask_for_ssh_key(actor, &key.line).await?;
        let signature = key.signs(&asked.namespace, &asked.message);
        self.control.identity.add_ssh_key(actor, &asked.id, &signature, "my laptop").await
    }

    /// Whose key this is to a proxy that has seen its holder.
    pub(super) async fn holder(&self, key: &Pair) -> Option<String> {
        match self.control.identity.redeem_key(&key.line).await {
            Ok(redeemed) => Some(redeemed.principal.id.to_string()),
            Err(ControlError::Refused(Refusal::Unauthenticated)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) async fn keys(&self, actor: &Actor) -> Vec<SshKeyView> {
        self.control.identity.ssh_keys(actor, Scope::Mine).await.unwrap()
    }
}

fn message_of<T: std::fmt::Debug>(refused: Result<T, ControlError>) -> String {
    refused.unwrap_err().to_string()
}

#[tokio::test]
async fn whoever_has_no_factor_registers_a_key_at_once() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let pair = fresh();
    assert_eq!(world.holder(&pair).await, None);
    let key = world.register(&alice, &pair).await.unwrap();
    assert!(key.confirmed_at.is_some());
    assert!(key.fingerprint.starts_with("SHA256:"), "{}", key.fingerprint);
    assert_eq!(key.user_verified, None, "it is no security key");
    assert_eq!(world.holder(&pair).await.as_deref(), Some("alice"));
    assert_eq!(world.keys(&alice).await, [key]);
}

#[tokio::test]
async fn whoever_has_a_passkey_agrees_with_a_touch_before_a_key_opens_anything() {
    let world = world().await;
    let (alice, mut passkey) = world.enrolled("alice").await;
    let pair = fresh();
    let key = world.register(&alice, &pair).await.unwrap();
    assert_eq!((key.confirmed_at, world.holder(&pair).await), (None, None));

    let statement = world.control.identity.ssh_key_addition(&alice, &key.id).await.unwrap();
    assert!(statement.lines.contains(&("Fingerprint".to_owned(), key.fingerprint.clone())));
    let challenge = world.control.identity.challenge(&alice, &statement).await.unwrap();
    let proof = || Proof::Passkey("{}".to_owned());
    let refused =
        world.control.identity.confirm_ssh_key(&alice, &key.id, &challenge.id, proof()).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Unproven(_)))), "{refused:?}");
    assert_eq!(world.holder(&pair).await, None);

    let challenge = world.control.identity.challenge(&alice, &statement).await.unwrap();
    let proof = Proof::Passkey(passkey.touch(&challenge));
    world.control.identity.confirm_ssh_key(&alice, &key.id, &challenge.id, proof).await.unwrap();
    assert_eq!(world.holder(&pair).await.as_deref(), Some("alice"));
    let again = world.control.identity.ssh_key_addition(&alice, &key.id).await;
    assert!(message_of(again).contains("already"));
}

#[tokio::test]
async fn a_touch_for_one_key_adds_no_other() {
    let world = world().await;
    let (alice, mut passkey) = world.enrolled("alice").await;
    let (one, another) = (fresh(), fresh());
    let one = world.register(&alice, &one).await.unwrap();
    let other = world.register(&alice, &another).await.unwrap();
    let challenge = world.control.identity.challenge(&alice, &one.addition()).await.unwrap();
    let proof = Proof::Passkey(passkey.touch(&challenge));
    let refused =
        world.control.identity.confirm_ssh_key(&alice, &other.id, &challenge.id, proof).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Unproven(_)))), "{refused:?}");
    assert_eq!(world.holder(&another).await, None);
}

#[tokio::test]
async fn a_key_that_nobody_agreed_to_lapses_and_is_free_again() {
    let world = world().await;
    let (alice, _) = world.enrolled("alice").await;
    let pair = fresh();
    let key = world.register(&alice, &pair).await.unwrap();
    assert!(message_of(world.register(&alice, &pair).await).contains("waits for you"));
    world.pass(3_600);
    assert!(world.keys(&alice).await.is_empty());
    let late = world.control.identity.ssh_key_addition(&alice, &key.id).await;
    assert!(matches!(late, Err(ControlError::Refused(Refusal::NotFound(_)))), "{late:?}");
    let alice = world.signed_in("alice").await.actor;
    world.register(&alice, &pair).await.unwrap();
}

#[tokio::test]
async fn a_key_is_one_persons_and_one_that_only_waits_keeps_nobody_out() {
    let world = world().await;
    let pair = fresh();
    let (carol, _) = world.enrolled("carol").await;
    let hers = world.register(&carol, &pair).await.unwrap();
    let alice = world.signed_in("alice").await.actor;
    world.register(&alice, &pair).await.unwrap();
    assert_eq!(world.holder(&pair).await.as_deref(), Some("alice"));
    for who in ["alice", "bob"] {
        let actor = world.signed_in(who).await.actor;
        let refused = message_of(world.register(&actor, &pair).await);
        assert!(refused.contains("registered already"), "{refused}");
    }
    let refused = world.control.identity.remove_ssh_key(&alice, &hers.id).await;
    assert!(
        matches!(refused, Err(ControlError::Refused(Refusal::NotFound(_)))),
        "another's: {refused:?}"
    );
}

#[tokio::test]
async fn a_removed_key_opens_nothing_cuts_what_it_opened_and_never_comes_back() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let pair = fresh();
    let key = world.register(&alice, &pair).await.unwrap();
    world.control.identity.remove_ssh_key(&alice, &key.id).await.unwrap();
    assert_eq!(world.holder(&pair).await, None);
    assert!(world.keys(&alice).await.is_empty());
    let locks = world.control.access.locks(&super::actor("eve")).await.unwrap();
    let credential = Subject::Credential(key.fingerprint.parse().unwrap());
    assert!(locks.iter().any(|view| view.lock.subject == credential), "{locks:?}");
    for who in ["alice", "bob"] {
        let actor = world.signed_in(who).await.actor;
        let refused = message_of(world.register(&actor, &pair).await);
        assert!(refused.contains("was removed"), "{refused}");
    }
}

#[tokio::test]
async fn an_admin_removes_anybodys_key_and_nobody_else_does() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let pair = fresh();
    let key = world.register(&alice, &pair).await.unwrap();
    let bob = world.signed_in("bob").await.actor;
    let refused = world.control.identity.remove_ssh_key(&bob, &key.id).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::NotFound(_)))), "{refused:?}");
    let refused = world.control.identity.ssh_keys(&bob, Scope::All).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    let eve = super::actor("eve");
    assert_eq!(
        world.control.identity.ssh_keys(&eve, Scope::All).await.unwrap(),
        std::slice::from_ref(&key)
    );
    let eve = world.signed_in("eve").await.actor;
    world.control.identity.remove_ssh_key(&eve, &key.id).await.unwrap();
    assert_eq!(world.holder(&pair).await, None);
}

#[tokio::test]
async fn a_recovery_takes_ssh_keys_away_and_cuts_what_they_opened() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let pair = fresh();
    let key = world.register(&alice, &pair).await.unwrap();
    let (eve, second) = (super::actor("eve"), Actor { auditor: true, ..super::actor("carol") });
    let asked = world
        .control
        .identity
        .ask_recovery(&eve, &alice.principal.id, "stolen", None)
        .await
        .unwrap();
    world.control.identity.agree_to_recovery(&second, &asked.id, None).await.unwrap();
    assert_eq!(world.holder(&pair).await, None);
    let locks = world.control.access.locks(&eve).await.unwrap();
    let credential = Subject::Credential(key.fingerprint.parse().unwrap());
    assert!(locks.iter().any(|view| view.lock.subject == credential), "{locks:?}");

    let bob = world.signed_in("bob").await.actor;
    let pair = fresh();
    world.register(&bob, &pair).await.unwrap();
    world.control.identity.recover_at_console(&bob.principal.id).await.unwrap();
    assert_eq!(world.holder(&pair).await, None);
}

#[tokio::test]
async fn a_key_that_leaves_the_configuration_ends_what_it_opened_until_it_is_back() {
    let world = world().await;
    let (eve, key) = (super::actor("eve"), fresh());
    let credential =
        Subject::Credential(certs::key_fingerprint(&key.line).unwrap().parse().unwrap());
    let listed = |whose: Option<&str>| {
        let line = certs::read_public_key(&key.line).unwrap();
        let keys = whose.map(|whose| (line, whose.parse().unwrap()));
        Inventory { ssh_keys: keys.into_iter().collect(), ..super::inventory(super::RULES) }
    };
    let locked = async || {
        let locks = world.control.access.locks(&eve).await.unwrap();
        locks.iter().filter(|view| view.lock.subject == credential).count()
    };
    let steps = [
        (Some("alice"), Some("alice"), 0),
        (None, None, 1),
        (Some("alice"), Some("alice"), 0),
        (Some("alice"), Some("alice"), 0),
        (Some("bob"), Some("bob"), 1),
        (Some("bob"), Some("bob"), 0),
    ];
    for (step, (whose, holder, locks)) in steps.into_iter().enumerate() {
        world.control.sources.reload(listed(whose)).await.unwrap();
        assert_eq!(world.holder(&key).await.as_deref(), holder, "{step}");
        assert_eq!(locked().await, locks, "{step}");
    }
}

#[tokio::test]
async fn a_key_that_its_person_has_registered_too_stays_good_without_the_configuration() {
    let world = world().await;
    let (alice, key) = (world.signed_in("alice").await.actor, fresh());
    world.register(&alice, &key).await.unwrap();
    let mut listed = super::inventory(super::RULES);
    let line = certs::read_public_key(&key.line).unwrap();
    listed.ssh_keys.insert(line, alice.principal.id.clone());
    world.control.sources.reload(listed).await.unwrap();
    world.control.sources.reload(super::inventory(super::RULES)).await.unwrap();
    assert_eq!(world.holder(&key).await.as_deref(), Some("alice"));
    let locks = world.control.access.locks(&super::actor("eve")).await.unwrap();
    assert!(locks.is_empty(), "{locks:?}");
}

#[rstest]
#[case::private("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", "private key")]
#[case::nonsense("ssh-ed25519", "no public key")]
#[case::empty("", "no public key")]
#[case::another_kind("ssh-md5@example.com AAAAE3NzaC1tZDVAZXhhbXBsZS5jb20AAAABAQ==", "")]
#[case::rsa(
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDZ0V2hVBz1hX3mI1HgZyW0v2j4pF7uKJ2Nf3sKq0r9Yz6i5c1L0a8WmOiM2nQ4yKQ8hJxw3wZb6gq7s2l0f3k4h5v6c7n8m9q0w1e2r3t4y5u6i7o8p9a0s1d2f3g4h5j6k7l8z9x0c1v2b3n4m5Q==",
    ""
)]
#[tokio::test]
async fn what_is_no_key_of_a_kind_that_is_taken_is_refused(
    #[case] line: &str,
    #[case] expected: &str,
) {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let refused = world.control.identity.ask_for_ssh_key(&alice, line).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Invalid(_)))), "{refused:?}");
    let message = message_of(refused);
    assert!(message.contains(expected), "{message}");
}

#[tokio::test]
async fn nobody_keeps_more_keys_than_they_may() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let first = world.register(&alice, &fresh()).await.unwrap();
    let mut tx = world.control.kernel.begin().await.unwrap();
    for number in 1..32 {
        let (id, line) = (format!("sk-{number}"), fresh().line);
        let key = SshKeyView { id, line, ..first.clone() };
        store::ssh_keys::insert(tx.db(), &key).await.unwrap();
    }
    tx.commit().await.unwrap();
    let refused = message_of(world.register(&alice, &fresh()).await);
    assert!(refused.contains("32 keys"), "{refused}");
}
