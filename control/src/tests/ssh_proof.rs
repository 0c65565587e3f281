//! A key becomes its holder's only: what proves that somebody holds it, and what doesn't.

use rstest::rstest;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ssh_key::public::{KeyData, SkEd25519};
use ssh_key::{
    Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, Signature, SigningKey, SshSig,
};

use super::World;
use super::ssh_keys::{Pair, fresh, world};
use crate::identity::ssh_proof::SshKeyChallenge;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::view::SshKeyView;

impl World {
    async fn asked(&self, actor: &Actor, key: &Pair) -> SshKeyChallenge {
        self.control.identity.ask_for_ssh_key(actor, &key.line).await.unwrap()
    }

    async fn answer(
        &self,
        actor: &Actor,
        asked: &SshKeyChallenge,
        signature: &str,
    ) -> Result<SshKeyView, ControlError> {
        self.control.identity.add_ssh_key(actor, &asked.id, signature, "my laptop").await
    }

    async fn last_event(&self) -> (String, Value) {
        let paging = crate::model::view::Paging { cursor: None, limit: Some(1) };
        let page = self.control.kernel.audit(&super::actor("eve"), paging).await.unwrap();
        (page.items[0].kind.to_string(), page.items[0].detail.clone())
    }

    /// The word of the audit log for why an answer was refused.
    async fn why(&self, refused: Result<SshKeyView, ControlError>) -> String {
        assert!(matches!(refused, Err(ControlError::Refused(Refusal::Unproven(_)))), "{refused:?}");
        let (kind, detail) = self.last_event().await;
        assert_eq!(kind, "ssh-key.refused");
        detail["reason"].as_str().unwrap().to_owned()
    }
}

fn good(key: &Pair, asked: &SshKeyChallenge) -> String {
    key.signs(&asked.namespace, &asked.message)
}

#[tokio::test]
async fn anothers_public_key_is_nobodys_without_its_private_half() {
    let world = world().await;
    let (alice, bob) = (world.signed_in("alice").await.actor, world.signed_in("bob").await.actor);
    let (hers, his) = (fresh(), fresh());
    let asked = world.asked(&bob, &hers).await;
    let refused = world.answer(&bob, &asked, &good(&his, &asked)).await;
    assert_eq!(world.why(refused).await, "another-key");
    assert_eq!(world.holder(&hers).await, None);
    world.register(&alice, &hers).await.unwrap();
    assert_eq!(world.holder(&hers).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn what_is_signed_names_the_person_the_key_and_the_gateway() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let pair = fresh();
    let asked = world.asked(&alice, &pair).await;
    assert_eq!(asked.namespace, "postern-key@gate.example.com");
    let begin = format!("postern registers {} for alice at gate.example.com: ", asked.fingerprint);
    let nonce = asked.message.strip_prefix(&begin).unwrap();
    assert_eq!(nonce.len(), 43, "{}", asked.message);
    assert!(world.keys(&alice).await.is_empty() && world.holder(&pair).await.is_none());
}

#[rstest]
#[case::another_use("git", "", "wrong-namespace")]
#[case::another_gateway("postern-key@other.example.com", "", "wrong-namespace")]
#[case::another_text(
    "",
    "postern registers SHA256: for alice at gate.example.com: ",
    "wrong-signature"
)]
#[tokio::test]
async fn a_signature_for_something_else_is_no_proof(
    #[case] namespace: &str,
    #[case] message: &str,
    #[case] expected: &str,
) {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let pair = fresh();
    let asked = world.asked(&alice, &pair).await;
    let or = |given: &str, own: &str| if given.is_empty() { own } else { given }.to_owned();
    let signature = pair.signs(&or(namespace, &asked.namespace), &or(message, &asked.message));
    let refused = world.answer(&alice, &asked, &signature).await;
    assert_eq!(world.why(refused).await, expected);
    assert!(world.keys(&alice).await.is_empty());
    let late = world.answer(&alice, &asked, &good(&pair, &asked)).await;
    assert_eq!(world.why(late).await, "replayed", "a question is answered once");
}

#[rstest]
#[case::nothing("")]
#[case::words("none")]
#[case::cut("-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQAA\n-----END SSH SIGNATURE-----")]
#[case::too_long(&"A".repeat(60_000))]
#[tokio::test]
async fn garbage_is_no_proof(#[case] signature: &str) {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let asked = world.asked(&alice, &fresh()).await;
    let refused = world.answer(&alice, &asked, signature).await;
    assert_eq!(world.why(refused).await, "malformed");
}

#[tokio::test]
async fn a_question_is_one_persons_in_one_session() {
    let world = world().await;
    let (alice, bob) = (world.signed_in("alice").await.actor, world.signed_in("bob").await.actor);
    let pair = fresh();
    let asked = world.asked(&alice, &pair).await;
    let signature = good(&pair, &asked);
    let refused = world.answer(&bob, &asked, &signature).await;
    assert_eq!(world.why(refused).await, "another-person");
    // What she signed answers no question of his about the same key.
    let his = world.asked(&bob, &pair).await;
    let refused = world.answer(&bob, &his, &signature).await;
    assert_eq!(world.why(refused).await, "wrong-signature");
    let elsewhere = world.signed_in("alice").await.actor;
    let refused = world.answer(&elsewhere, &asked, &signature).await;
    assert_eq!(world.why(refused).await, "another-session");
    world.answer(&alice, &asked, &signature).await.unwrap();
}

#[tokio::test]
async fn an_answer_counts_once_and_in_time() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let (one, other) = (fresh(), fresh());
    let asked = world.asked(&alice, &one).await;
    world.answer(&alice, &asked, &good(&one, &asked)).await.unwrap();
    let again = world.answer(&alice, &asked, &good(&one, &asked)).await;
    assert_eq!(world.why(again).await, "replayed");
    let asked = world.asked(&alice, &other).await;
    world.pass(300);
    let late = world.answer(&alice, &asked, &good(&other, &asked)).await;
    assert_eq!(world.why(late).await, "expired");
    let unknown = world.control.identity.add_ssh_key(&alice, "ch-1", "none", "my laptop").await;
    assert_eq!(world.why(unknown).await, "unknown-challenge");
}

#[tokio::test]
async fn of_unanswered_questions_a_person_has_so_many_and_the_oldest_make_room() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let pair = fresh();
    let first = world.asked(&alice, &pair).await;
    for _ in 0..32 {
        world.asked(&alice, &pair).await;
    }
    let refused = world.answer(&alice, &first, &good(&pair, &first)).await;
    assert_eq!(world.why(refused).await, "unknown-challenge");
}

#[tokio::test]
async fn a_question_about_something_else_registers_no_key() {
    let world = world().await;
    let (alice, _) = world.enrolled("alice").await;
    let pair = fresh();
    let key = world.register(&alice, &pair).await.unwrap();
    let touch = world.control.identity.challenge(&alice, &key.addition()).await.unwrap();
    let signature = pair.signs("postern-key@gate.example.com", "hi");
    let refused =
        world.control.identity.add_ssh_key(&alice, &touch.id, &signature, "my laptop").await;
    assert_eq!(world.why(refused).await, "wrong-purpose");
}

#[tokio::test]
async fn the_audit_log_has_what_anybody_can_check_later() {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let pair = fresh();
    world.register(&alice, &pair).await.unwrap();
    let (kind, detail) = world.last_event().await;
    assert_eq!(kind, "ssh-key.added");
    let text = |name: &str| detail[name].as_str().unwrap().to_owned();
    let message = text("message");
    let (namespace, signature) = (text("namespace"), text("signature"));
    certs::check_ssh_proof(&pair.line, &namespace, message.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn a_gateway_without_an_ssh_side_asks_for_no_key() {
    let world = World::new().await;
    let alice = world.signed_in("alice").await.actor;
    let refused = world.control.identity.ask_for_ssh_key(&alice, &fresh().line).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::NotFound(_)))), "{refused:?}");
}

/// A security key, which signs what it is asked to with these flags.
struct SecurityKey {
    inner: PrivateKey,
    data: KeyData,
    flags: u8,
}

impl SecurityKey {
    fn new(flags: u8) -> Self {
        let inner = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        let KeyData::Ed25519(public) = inner.public_key().key_data() else { panic!("Ed25519") };
        let data = KeyData::SkEd25519(SkEd25519::new(*public, "ssh:"));
        Self { inner, data, flags }
    }

    fn signs(&self, asked: &SshKeyChallenge) -> String {
        let (space, hash) = (asked.namespace.as_str(), HashAlg::Sha512);
        let whole = SshSig::signed_data(space, hash, asked.message.as_bytes()).unwrap();
        let trailer = [self.flags, 0, 0, 0, 7];
        let (application, whole) = (Sha256::digest("ssh:"), Sha256::digest(whole));
        let signed = raw(&self.inner, &[&application[..], &trailer, &whole[..]].concat());
        let signature =
            Signature::new(Algorithm::SkEd25519, [&signed[..], &trailer].concat()).unwrap();
        let made = SshSig::new(self.data.clone(), space, hash, signature).unwrap();
        made.to_pem(LineEnding::LF).unwrap()
    }
}

fn raw(key: &impl SigningKey, data: &[u8]) -> Vec<u8> {
    key.try_sign(data).unwrap().as_bytes().to_vec()
}

#[rstest]
#[case::untouched(0, None)]
#[case::touched(1, Some(false))]
#[case::touched_and_verified(5, Some(true))]
#[tokio::test]
async fn a_security_key_is_touched_and_says_whether_it_knew_whom(
    #[case] flags: u8,
    #[case] expected: Option<bool>,
) {
    let world = world().await;
    let alice = world.signed_in("alice").await.actor;
    let key = SecurityKey::new(flags);
    let line = PublicKey::from(key.data.clone()).to_openssh().unwrap();
    let asked = world.control.identity.ask_for_ssh_key(&alice, &line).await.unwrap();
    let added = world.answer(&alice, &asked, &key.signs(&asked)).await;
    if expected.is_none() {
        assert_eq!(world.why(added).await, "no-touch");
        return;
    }
    assert_eq!(added.unwrap().user_verified, expected);
    assert_eq!(world.keys(&alice).await[0].user_verified, expected);
}
