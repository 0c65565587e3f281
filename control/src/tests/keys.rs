//! Passkeys, with an authenticator in software: what is taken, and that each thing
//! that isn't leaves its own word in the audit log.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policies::{Digest, Purpose};
use serde_json::{Value, json};
use sha2::Digest as _;
use webauthn_authenticator_rs::AuthenticatorBackendHashedClientData as Authenticator;
use webauthn_authenticator_rs::softpasskey::SoftPasskey;

use super::World;
use crate::identity::login;
use crate::identity::passkeys::evidence::{Assertion, EvidenceError, verify};
use crate::identity::proof::{Challenge, Proof};
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::login::{LoginSession, Origin};
use crate::model::statement::Statement;
use crate::model::unproven::Unproven;

const SITE: &str = "https://gate.example.com";

/// Somebody's security key.
pub(crate) struct Key {
    soft: SoftPasskey,
    handle: Value,
}

/// What a touch may get wrong.
#[derive(Default)]
pub(crate) struct Wrong {
    origin: Option<&'static str>,
    party: Option<&'static str>,
    unverified: bool,
}

impl Key {
    pub(crate) fn new() -> Self {
        Self { soft: SoftPasskey::new(true), handle: Value::Null }
    }

    /// Makes a passkey, as a browser would have it do.
    pub(crate) fn make(&mut self, challenge: &Challenge) -> String {
        let mut options = challenge.options.clone().unwrap();
        assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
        assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
        self.handle = options["user"]["id"].clone();
        // This authenticator keeps every key, but says that it can't.
        options["authenticatorSelection"]["requireResidentKey"] = json!(false);
        let data = client_data("webauthn.create", &options, SITE);
        let options = serde_json::from_value(options).unwrap();
        let hash = sha2::Sha256::digest(&data).to_vec();
        let made = Authenticator::perform_register(&mut self.soft, hash, options, 1_000).unwrap();
        let mut made = serde_json::to_value(made).unwrap();
        made["response"]["clientDataJSON"] = json!(URL_SAFE_NO_PAD.encode(data));
        made.to_string()
    }

    pub(crate) fn touch(&mut self, challenge: &Challenge) -> String {
        self.touch_wrong(challenge, &Wrong::default())
    }

    fn touch_wrong(&mut self, challenge: &Challenge, wrong: &Wrong) -> String {
        let mut options = challenge.options.clone().unwrap();
        assert_eq!(options["userVerification"], "required");
        let data = client_data("webauthn.get", &options, wrong.origin.unwrap_or(SITE));
        if let Some(party) = wrong.party {
            options["rpId"] = json!(party);
        }
        if wrong.unverified {
            options["userVerification"] = json!("discouraged");
        }
        let hash = sha2::Sha256::digest(&data).to_vec();
        let options = serde_json::from_value(options).unwrap();
        let used = Authenticator::perform_auth(&mut self.soft, hash, options, 1_000).unwrap();
        let mut used = serde_json::to_value(used).unwrap();
        used["response"]["clientDataJSON"] = json!(URL_SAFE_NO_PAD.encode(data));
        used["response"]["userHandle"] = self.handle.clone();
        used.to_string()
    }
}

fn client_data(kind: &str, options: &Value, origin: &str) -> Vec<u8> {
    let challenge = &options["challenge"];
    let data = json!({ "type": kind, "challenge": challenge, "origin": origin });
    data.to_string().into_bytes()
}

impl World {
    /// Signs somebody in by a link, as a recovery makes it.
    pub(crate) async fn signed_in(&self, who: &str) -> LoginSession {
        let mut tx = self.control.kernel.begin().await.unwrap();
        let by = crate::model::event::By::Operator;
        let invite = login::make_invite(&mut tx, by, &who.parse().unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        self.control.identity.sign_in(&invite.code, Origin::default()).await.unwrap()
    }

    /// Somebody with a first passkey.
    pub(crate) async fn enrolled(&self, who: &str) -> (Actor, Key) {
        let LoginSession { actor, kind, .. } = self.signed_in(who).await;
        let mut key = Key::new();
        let challenge = self.control.identity.begin_enrolment(&actor, None).await.unwrap();
        let made = key.make(&challenge);
        let enrolled =
            self.control.identity.enrol(&actor, &challenge.id, &made, "blue key").await.unwrap();
        (self.control.identity.authenticate(&enrolled.token, kind).await.unwrap(), key)
    }

    /// The detail of the newest event, which has to be of this kind.
    async fn newest(&self, kind: &str) -> Value {
        let paging = crate::model::view::Paging { cursor: None, limit: Some(1) };
        let page = self.control.kernel.audit(&super::actor("eve"), paging).await.unwrap();
        assert_eq!(page.items[0].kind, kind);
        page.items[0].detail.clone()
    }

    async fn prove(
        &self,
        actor: &Actor,
        challenge: &Challenge,
        proof: String,
    ) -> Result<policies::StepUp, ControlError> {
        let statement = approval("rq-1");
        let (purpose, digest) = (statement.purpose, statement.digest());
        let proof = Proof::Passkey(proof);
        self.control.identity.prove(actor, &challenge.id, proof, purpose, &digest, None).await
    }
}

fn approval(subject: &str) -> Statement {
    let line = |label: &str, text: &str| (label.to_owned(), text.to_owned());
    Statement {
        purpose: Purpose::Approve,
        subject: subject.to_owned(),
        lines: vec![line("Who", "alice"), line("What", "app_rw@orders")],
    }
}

/// The reason for which something was refused, in the answer as in the audit log.
async fn reason<T: std::fmt::Debug>(
    world: &World,
    refused: Result<T, ControlError>,
    kind: &str,
) -> &'static str {
    let Err(ControlError::Refused(Refusal::Unproven(why))) = refused else { panic!("{refused:?}") };
    assert_eq!(world.newest(kind).await["reason"], why.code().name());
    why.code().name()
}

#[tokio::test]
async fn a_touch_proves_one_statement_and_anybody_can_check_it_later() {
    let world = World::new().await;
    let (bob, mut key) = world.enrolled("bob").await;
    let statement = approval("rq-1");
    let challenge = world.control.identity.challenge(&bob, &statement).await.unwrap();
    let asked = world.newest("step-up.asked").await;
    assert_eq!(asked["digest"], json!(statement.digest()));
    let proven = world.prove(&bob, &challenge, key.touch(&challenge)).await.unwrap();
    assert_eq!((proven.purpose, proven.subject.as_str()), (Purpose::Approve, "rq-1"));

    // From the log alone: what was asked, with its nonce, and what the authenticator answered.
    let given = world.newest("step-up.given").await;
    assert_eq!(given["challenge"], challenge.id);
    let read: Statement = serde_json::from_value(asked["statement"].clone()).unwrap();
    let assertion: Assertion =
        serde_json::from_value(given["evidence"]["assertion"].clone()).unwrap();
    let nonce = asked["nonce"].as_str().unwrap();
    let site = SITE.parse().unwrap();
    verify(&read, nonce, &assertion, &site).unwrap();

    let other = verify(&approval("rq-2"), nonce, &assertion, &site);
    assert_eq!(other, Err(EvidenceError::Challenge));
    let elsewhere = "https://gate.example.org".parse().unwrap();
    let other = verify(&read, nonce, &assertion, &elsewhere);
    assert_eq!(other, Err(EvidenceError::Origin));
    let forged = Assertion { signature: flip(&assertion.signature), ..assertion.clone() };
    let other = verify(&read, nonce, &forged, &site);
    assert_eq!(other, Err(EvidenceError::Signature));
    let mut unverified = URL_SAFE_NO_PAD.decode(&assertion.authenticator_data).unwrap();
    unverified[32] &= !0b100;
    let authenticator_data = URL_SAFE_NO_PAD.encode(unverified);
    let other = verify(&read, nonce, &Assertion { authenticator_data, ..assertion }, &site);
    assert_eq!(other, Err(EvidenceError::Unverified));
}

/// The same bytes but for the last.
fn flip(text: &str) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn what_an_authenticator_gets_wrong_is_refused_by_name() {
    let world = World::new().await;
    let (bob, mut key) = world.enrolled("bob").await;
    let phished = Some("https://evil.gate.example.com");
    for (wrong, expected) in [
        (Wrong { origin: phished, ..Wrong::default() }, "wrong-origin"),
        (Wrong { party: Some("example.com"), ..Wrong::default() }, "wrong-party"),
        (Wrong { unverified: true, ..Wrong::default() }, "uv-missing"),
    ] {
        let challenge = world.control.identity.challenge(&bob, &approval("rq-1")).await.unwrap();
        let touched = key.touch_wrong(&challenge, &wrong);
        let refused = world.prove(&bob, &challenge, touched).await;
        assert_eq!(reason(&world, refused, "step-up.refused").await, expected);
        // The question is used up, so that a second try takes a second look.
        let again = world.prove(&bob, &challenge, key.touch(&challenge)).await;
        assert_eq!(reason(&world, again, "step-up.refused").await, "replayed");
    }
}

#[tokio::test]
async fn an_answer_counts_once_in_time_and_for_its_own_question() {
    let world = World::new().await;
    let (bob, mut key) = world.enrolled("bob").await;
    let ask = async || world.control.identity.challenge(&bob, &approval("rq-1")).await.unwrap();

    let first = ask().await;
    let touched = key.touch(&first);
    world.prove(&bob, &first, touched.clone()).await.unwrap();
    let refused = world.prove(&bob, &first, touched.clone()).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "replayed");
    let second = ask().await;
    let refused = world.prove(&bob, &second, touched).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "wrong-challenge");

    let late = ask().await;
    world.pass(300);
    let refused = world.prove(&bob, &late, key.touch(&late)).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "expired");

    let changed = ask().await;
    let (purpose, digest) = (Purpose::Approve, approval("rq-2").digest());
    let proof = Proof::Passkey(key.touch(&changed));
    let refused =
        world.control.identity.prove(&bob, &changed.id, proof, purpose, &digest, None).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "wrong-statement");

    let other = ask().await;
    let (purpose, digest) = (Purpose::Connect, approval("rq-1").digest());
    let proof = Proof::Passkey(key.touch(&other));
    let refused =
        world.control.identity.prove(&bob, &other.id, proof, purpose, &digest, None).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "wrong-purpose");

    for (proof, expected) in [("", "malformed"), ("{}", "malformed"), ("null", "malformed")] {
        let refused = world.prove(&bob, &ask().await, proof.to_owned()).await;
        assert_eq!(reason(&world, refused, "step-up.refused").await, expected);
    }
}

#[tokio::test]
async fn a_sign_in_is_no_approval() {
    let world = World::new().await;
    let (bob, mut key) = world.enrolled("bob").await;
    let challenge = world.control.identity.challenge(&bob, &approval("rq-1")).await.unwrap();
    let mut signing_in = world.control.identity.sign_in_challenge().unwrap();
    // The credential is named, as a browser would find it by itself.
    signing_in.options.as_mut().unwrap()["allowCredentials"] =
        challenge.options.as_ref().unwrap()["allowCredentials"].clone();
    let touched = key.touch(&signing_in);
    let refused = world.prove(&bob, &signing_in, touched.clone()).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "unknown-challenge");
    let refused = world.prove(&bob, &challenge, touched.clone()).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "wrong-challenge");

    // For what it was made it is good, once.
    let sign_in = async |touched: &str| {
        world
            .control
            .identity
            .sign_in_with_passkey(&signing_in.id, touched, Origin::default())
            .await
    };
    assert_eq!(sign_in(&touched).await.unwrap().actor.principal.id.as_str(), "bob");
    let proven = world.newest("login.proven").await;
    let statement: Statement = serde_json::from_value(proven["statement"].clone()).unwrap();
    let assertion: Assertion = serde_json::from_value(proven["assertion"].clone()).unwrap();
    let nonce = proven["nonce"].as_str().unwrap();
    verify(&statement, nonce, &assertion, &SITE.parse().unwrap()).unwrap();
    assert_eq!(reason(&world, sign_in(&touched).await, "login.refused").await, "replayed");
}

#[tokio::test]
async fn a_sign_in_challenge_is_ours_and_of_now() {
    let world = World::new().await;
    let (bob, mut key) = world.enrolled("bob").await;
    let named = world.control.identity.challenge(&bob, &approval("rq-1")).await.unwrap();
    let mut asked = world.control.identity.sign_in_challenge().unwrap();
    asked.options.as_mut().unwrap()["allowCredentials"] =
        named.options.unwrap()["allowCredentials"].clone();
    let sign_in = async |id: String, proof: String| {
        world.control.identity.sign_in_with_passkey(&id, &proof, Origin::default()).await
    };
    let refused = sign_in(flip(&asked.id), key.touch(&asked)).await;
    assert_eq!(reason(&world, refused, "login.refused").await, "unknown-challenge");
    world.pass(300);
    let refused = sign_in(asked.id.clone(), key.touch(&asked)).await;
    assert_eq!(reason(&world, refused, "login.refused").await, "expired");
}

#[tokio::test]
async fn nobody_answers_for_another_person_or_another_session() {
    let world = World::new().await;
    let (bob, mut bobs) = world.enrolled("bob").await;
    let (carol, mut carols) = world.enrolled("carol").await;
    let challenge = world.control.identity.challenge(&bob, &approval("rq-1")).await.unwrap();

    let refused = world.prove(&carol, &challenge, bobs.touch(&challenge)).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "another-person");
    let elsewhere = world.signed_in("bob").await.actor;
    let refused = world.prove(&elsewhere, &challenge, bobs.touch(&challenge)).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "another-session");

    // Neither has used the question up; but carol's key doesn't answer it for bob.
    let hers = world.control.identity.challenge(&carol, &approval("rq-1")).await.unwrap();
    let mut mixed = challenge.clone();
    mixed.options.as_mut().unwrap()["allowCredentials"] =
        hers.options.unwrap()["allowCredentials"].clone();
    let refused = world.prove(&bob, &mixed, carols.touch(&mixed)).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "another-person");
}

#[tokio::test]
async fn a_counter_that_went_back_is_refused() {
    let world = World::new().await;
    let (bob, mut key) = world.enrolled("bob").await;
    let update = "UPDATE passkeys SET body = json_set(body, '$.cred.counter', 1000)";
    sqlx::query(update).execute(&mut world.raw().await).await.unwrap();
    let challenge = world.control.identity.challenge(&bob, &approval("rq-1")).await.unwrap();
    let refused = world.prove(&bob, &challenge, key.touch(&challenge)).await;
    assert_eq!(reason(&world, refused, "step-up.refused").await, "counter-regressed");
}

#[tokio::test]
async fn a_credential_is_one_persons() {
    let world = World::new().await;
    let (_, mut key) = world.enrolled("bob").await;
    let carol = world.signed_in("carol").await.actor;
    let challenge = world.control.identity.begin_enrolment(&carol, None).await.unwrap();
    let made = key.make(&challenge);
    let enrolled =
        world.control.identity.enrol(&carol, &challenge.id, &made, "mine").await.unwrap();
    // As if the authenticator had drawn the credential that bob has already.
    let mut raw = world.raw().await;
    let twin = "UPDATE passkeys SET credential = \
                (SELECT credential FROM passkeys WHERE principal = 'bob') WHERE id = ?";
    let refused = sqlx::query(twin).bind(&enrolled.passkey.id).execute(&mut raw).await;
    assert!(refused.is_err());
    let again = world.control.identity.enrol(&carol, &challenge.id, &made, "mine").await;
    assert_eq!(reason(&world, again, "passkey.refused").await, "replayed");
}

#[tokio::test]
async fn a_further_passkey_takes_a_touch_and_the_last_one_stays() {
    let world = World::new().await;
    let (bob, mut key) = world.enrolled("bob").await;
    let refused = world.control.identity.begin_enrolment(&bob, None).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    let addition = world.control.identity.passkey_addition(&bob);
    let challenge = world.control.identity.challenge(&bob, &addition).await.unwrap();
    let proof = Proof::Passkey(key.touch(&challenge));
    let asked =
        world.control.identity.begin_enrolment(&bob, Some((&challenge.id, proof))).await.unwrap();
    let mut second = Key::new();
    let made = second.make(&asked);
    let added =
        world.control.identity.enrol(&bob, &asked.id, &made, " spare\n ").await.unwrap().passkey;
    assert_eq!(added.name, "spare");

    world.control.identity.rename_passkey(&bob, &added.id, "red key").await.unwrap();
    let carol = super::actor("carol");
    let theirs = world.control.identity.rename_passkey(&carol, &added.id, "mine").await;
    assert!(matches!(theirs, Err(ControlError::Refused(Refusal::NotFound(_)))), "{theirs:?}");
    let all = world.control.identity.passkeys(&bob).await.unwrap();
    let names: Vec<&str> = all.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(names, ["blue key", "red key"]);
    assert!(all[0].used_at.is_some() && all[1].used_at.is_none());

    let removal = world.control.identity.passkey_removal(&bob, &all[0].id).await.unwrap();
    let challenge = world.control.identity.challenge(&bob, &removal).await.unwrap();
    let proof = Proof::Passkey(key.touch(&challenge));
    world.control.identity.remove_passkey(&bob, &all[0].id, &challenge.id, proof).await.unwrap();
    let last = world.control.identity.passkey_removal(&bob, &added.id).await;
    assert!(matches!(last, Err(ControlError::Refused(Refusal::Conflict(_)))), "{last:?}");
}

#[tokio::test]
async fn a_statement_is_its_parts_and_not_their_text() {
    let of = |lines: &[(&str, &str)]| -> Digest {
        let lines = lines.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Statement { lines: lines.collect(), ..approval("rq-1") }.digest()
    };
    let all = [of(&[]), of(&[("a", "b")]), of(&[("ab", "")]), of(&[("a", ""), ("", "b")])];
    let distinct: std::collections::BTreeSet<String> =
        all.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), all.len());
    let other = Statement { purpose: Purpose::Connect, ..approval("rq-1") };
    assert_ne!(other.digest(), approval("rq-1").digest());
    assert_eq!(Unproven::Replayed.code(), "replayed");
}
