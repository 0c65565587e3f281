//! Codes of authenticator apps, and recovery.

use policies::{Purpose, StepUpKind};
use secrecy::{ExposeSecret, SecretString};
use totp_rs::{Algorithm, Secret, TOTP};

use super::keys::Key;
use super::{World, actor};
use crate::identity::proof::Proof;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, InternalError, Refusal, TooMany};
use crate::model::login::Origin;
use crate::model::statement::Statement;
use crate::model::unproven::Unproven;

/// Somebody's authenticator app.
struct App(TOTP);

impl App {
    fn code(&self, world: &World) -> SecretString {
        let now = world.control.kernel.now().millis().unsigned_abs() / 1_000;
        self.0.generate(now).into()
    }
}

impl World {
    async fn with_app(&self, who: &str) -> (Actor, App) {
        let invite = self.control.identity.invite(None, &who.parse().unwrap()).await.unwrap();
        let session = self.control.identity.sign_in(&invite.code, Origin::default()).await.unwrap();
        let secret = self.control.identity.begin_totp(&session.actor, None).await.unwrap();
        let text = secret.secret.expose_secret().to_owned();
        assert!(!format!("{secret:?}").contains(&text));
        let bytes = Secret::Encoded(text).to_bytes().unwrap();
        let codes = TOTP::new(Algorithm::SHA1, 6, 1, 30, bytes, None, who.to_owned()).unwrap();
        let app = App(codes);
        assert!(!self.control.identity.factors(&session.actor.principal.id).await.unwrap().any());
        self.control.identity.confirm_totp(&session.actor, app.code(self)).await.unwrap();
        (session.actor, app)
    }

    async fn type_in(
        &self,
        who: &Actor,
        statement: &Statement,
        code: SecretString,
    ) -> Result<policies::StepUp, ControlError> {
        let challenge = self.control.identity.challenge(who, statement).await?;
        assert!(challenge.totp && challenge.options.is_none());
        let (purpose, digest) = (statement.purpose, statement.digest());
        self.control
            .identity
            .prove(who, &challenge.id, Proof::Totp(code), purpose, &digest, None)
            .await
    }
}

fn approval() -> Statement {
    Statement { purpose: Purpose::Approve, subject: "rq-1".into(), lines: Vec::new() }
}

#[tokio::test]
async fn a_code_is_the_weaker_kind_and_counts_once() {
    let world = World::new().await;
    let (bob, app) = world.with_app("bob").await;
    let used = world.type_in(&bob, &approval(), app.code(&world)).await;
    assert!(
        matches!(used, Err(ControlError::Refused(Refusal::Unproven(Unproven::WrongCode)))),
        "{used:?}"
    );
    world.pass(30);
    let proven = world.type_in(&bob, &approval(), app.code(&world)).await.unwrap();
    assert_eq!(proven.kind, StepUpKind::Totp);
    let again = world.type_in(&bob, &approval(), app.code(&world)).await;
    assert!(
        matches!(again, Err(ControlError::Refused(Refusal::Unproven(Unproven::WrongCode)))),
        "{again:?}"
    );
    let wrong = world.type_in(&bob, &approval(), "000000".into()).await;
    assert!(
        matches!(wrong, Err(ControlError::Refused(Refusal::Unproven(Unproven::WrongCode)))),
        "{wrong:?}"
    );
    assert_eq!(world.kinds().await.last().unwrap(), "step-up.refused");
}

#[tokio::test]
async fn guessing_codes_is_bounded() {
    let world = World::new().await;
    let (bob, _app) = world.with_app("bob").await;
    let mut refusals = Vec::new();
    for _ in 0..8 {
        refusals.push(world.type_in(&bob, &approval(), "000000".into()).await.unwrap_err());
    }
    let limited = |error: &ControlError| {
        matches!(error, ControlError::Refused(Refusal::TooMany(TooMany::Tries)))
    };
    assert!(refusals.iter().filter(|error| !limited(error)).count() <= 5, "{refusals:?}");
}

#[tokio::test]
async fn the_database_alone_has_no_secret() {
    let world = World::new().await;
    let (_bob, app) = world.with_app("bob").await;
    let mut raw = world.raw().await;
    let sealed: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM totps").fetch_one(&mut raw).await.unwrap();
    assert!(!sealed.windows(20).any(|part| part == app.0.secret));
    // Sealed for one person: as another's it is of no use.
    sqlx::query("UPDATE totps SET principal = 'carol'").execute(&mut raw).await.unwrap();
    let carol = world.signed_in("carol").await.actor;
    world.pass(30);
    let refused = world.type_in(&carol, &approval(), app.code(&world)).await;
    assert!(matches!(refused, Err(ControlError::Internal(InternalError::Vault(_)))), "{refused:?}");
}

#[tokio::test]
async fn a_code_does_not_change_what_protects_an_account_with_a_passkey() {
    let world = World::new().await;
    let (bob, mut key) = world.enrolled("bob").await;
    let addition = world.control.identity.totp_addition(&bob);
    let challenge = world.control.identity.challenge(&bob, &addition).await.unwrap();
    let proof = Proof::Passkey(key.touch(&challenge));
    let secret =
        world.control.identity.begin_totp(&bob, Some((&challenge.id, proof))).await.unwrap();
    let bytes = Secret::Encoded(secret.secret.expose_secret().to_owned()).to_bytes().unwrap();
    let app = App(TOTP::new(Algorithm::SHA1, 6, 1, 30, bytes, None, String::new()).unwrap());
    world.control.identity.confirm_totp(&bob, app.code(&world)).await.unwrap();
    world.pass(30);
    let addition = world.control.identity.passkey_addition(&bob);
    let challenge = world.control.identity.challenge(&bob, &addition).await.unwrap();
    assert!(!challenge.totp);
    let proof = Proof::Totp(app.code(&world));
    let refused = world.control.identity.begin_enrolment(&bob, Some((&challenge.id, proof))).await;
    assert!(
        matches!(refused, Err(ControlError::Refused(Refusal::Unproven(Unproven::TooWeak)))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn recovery_takes_two_people_and_ends_every_session() {
    let world = World::new().await;
    let (bob, _lost) = world.enrolled("bob").await;
    let (eve, alice) = (actor("eve"), actor("alice"));
    let whose = &bob.principal.id;
    let refused = world.control.identity.ask_recovery(&alice, whose, "lost", None).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    let own = world.control.identity.ask_recovery(&eve, &eve.principal.id, "lost", None).await;
    assert!(matches!(own, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{own:?}");

    let asked =
        world.control.identity.ask_recovery(&eve, whose, "the key was stolen", None).await.unwrap();
    for nobody in [&eve, &alice, &bob] {
        let refused = world.control.identity.agree_to_recovery(nobody, &asked.id, None).await;
        assert!(
            matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))),
            "{refused:?}"
        );
    }
    assert!(world.control.identity.factors(whose).await.unwrap().any());

    let second = Actor { auditor: true, ..actor("carol") };
    let invite = world.control.identity.agree_to_recovery(&second, &asked.id, None).await.unwrap();
    assert!(!world.control.identity.factors(whose).await.unwrap().any());
    let kinds = world.kinds().await;
    for kind in ["recovery.asked", "recovery.done", "login.ended", "invite.made"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind}: {kinds:?}");
    }
    let twice = world.control.identity.agree_to_recovery(&second, &asked.id, None).await;
    assert!(matches!(twice, Err(ControlError::Refused(Refusal::NotFound(_)))), "{twice:?}");

    let session = world.control.identity.sign_in(&invite.code, Origin::default()).await.unwrap();
    let challenge = world.control.identity.begin_enrolment(&session.actor, None).await.unwrap();
    let made = Key::new().make(&challenge);
    world.control.identity.enrol(&session.actor, &challenge.id, &made, "new key").await.unwrap();
}

#[tokio::test]
async fn the_operator_at_the_console_recovers_who_has_nobody_to_agree_to_it() {
    let world = World::new().await;
    let (bob, _lost) = world.enrolled("bob").await;
    let whose = &bob.principal.id;
    let invite = world.control.identity.recover_at_console(whose).await.unwrap();
    assert!(!world.control.identity.factors(whose).await.unwrap().any());
    let kinds = world.kinds().await;
    for kind in ["recovery.done", "login.ended", "invite.made"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind}: {kinds:?}");
    }
    world.control.identity.sign_in(&invite.code, Origin::default()).await.unwrap();
    let nobody = world.control.identity.recover_at_console(&"nobody".parse().unwrap()).await;
    assert!(nobody.is_err(), "{nobody:?}");
}
