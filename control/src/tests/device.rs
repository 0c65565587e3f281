//! A terminal that is signed in by a browser: one reader, one answer, one session.

use certs::NewRequest;
use policies::{Digest, Ttl};
use secrecy::SecretString;

use super::{World, actor};
use crate::identity::devices::Offered;
use crate::identity::devices::table::Polled;
use crate::identity::proof::Proof;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal, TooMany};
use crate::model::login::{LoginKind, Origin};

/// Somebody signed in with a browser.
async fn browser(world: &World, who: &str) -> (Actor, SecretString) {
    let invite = world.control.identity.invite(None, &who.parse().unwrap()).await.unwrap();
    let origin = Origin { kind: LoginKind::Browser, ..Origin::default() };
    let session = world.control.identity.sign_in(&invite.code, origin).await.unwrap();
    (session.actor, session.token)
}

fn offered(world: &World) -> Offered {
    let csr = NewRequest::generate().unwrap().csr_pem;
    let address = Some("192.0.2.7".parse().unwrap());
    let origin = Origin { address, agent: "postern/1".into(), ..Origin::default() };
    world.control.identity.ask_device(&csr, "laptop-7".parse().unwrap(), &origin).unwrap()
}

#[tokio::test]
async fn a_terminal_is_signed_in_as_who_typed_its_code_once() {
    let world = World::new().await;
    let control = &world.control;
    let (alice, _) = browser(&world, "alice").await;
    let codes = offered(&world);
    assert!(matches!(
        control.identity.poll_device(&codes.device_code).await.unwrap(),
        Polled::Pending
    ));
    let view = control.identity.device_by_code(&alice, &codes.user_code).await.unwrap();
    assert_eq!((view.device.as_str(), view.agent.as_str()), ("laptop-7", "postern/1"));
    control
        .identity
        .confirm_device(&alice, &codes.user_code, view.digest.clone(), None)
        .await
        .unwrap();
    let again = control.identity.confirm_device(&alice, &codes.user_code, view.digest, None).await;
    assert!(matches!(again, Err(ControlError::Refused(Refusal::NotFound(_)))), "{again:?}");
    world.pass(5);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (control, code) = (control.clone(), codes.device_code.clone());
        tasks.spawn(async move { control.identity.poll_device(&code).await.unwrap() });
    }
    let polled = tasks.join_all().await;
    let mut sessions = polled.into_iter().filter_map(|polled| match polled {
        Polled::SignedIn(both) => Some(*both),
        Polled::Pending | Polled::SlowDown | Polled::Denied | Polled::Expired => None,
    });
    let (session, issued) = sessions.next().unwrap();
    assert!(sessions.next().is_none(), "two terminals got in by one code");
    let who = control.identity.authenticate(&session.token, session.kind).await.unwrap();
    assert_eq!(who.principal.id, alice.principal.id);
    assert_ne!(who.login, alice.login);
    assert_eq!(who.authn.device, Some("laptop-7".parse().unwrap()));
    assert!(issued.pem.contains("BEGIN CERTIFICATE"));
    let kinds = world.kinds().await;
    let last = ["device.confirmed", "login.signed-in", "device.signed-in", "certificate.issued"];
    assert_eq!(kinds[kinds.len() - 4..], last);
}

#[tokio::test]
async fn a_code_is_of_no_use_in_another_login_session_than_the_first_that_read_it() {
    let world = World::new().await;
    let control = &world.control;
    let ((alice, _), (bob, _)) = (browser(&world, "alice").await, browser(&world, "bob").await);
    let (elsewhere, _) = browser(&world, "alice").await;
    let codes = offered(&world);
    let view = control.identity.device_by_code(&alice, &codes.user_code).await.unwrap();
    for other in [&bob, &elsewhere] {
        assert!(control.identity.device_by_code(other, &codes.user_code).await.is_err());
        let stolen = control
            .identity
            .confirm_device(other, &codes.user_code, view.digest.clone(), None)
            .await;
        assert!(matches!(stolen, Err(ControlError::Refused(Refusal::NotFound(_)))), "{stolen:?}");
        assert!(control.identity.deny_device(other, &codes.user_code).await.is_err());
    }
    let other = control
        .identity
        .confirm_device(&alice, &codes.user_code, Digest::from("x".to_owned()), None)
        .await;
    assert!(matches!(other, Err(ControlError::Refused(Refusal::Conflict(_)))), "{other:?}");
    control.identity.confirm_device(&alice, &codes.user_code, view.digest, None).await.unwrap();
}

#[tokio::test]
async fn a_code_that_nobody_read_confirms_nothing() {
    let world = World::new().await;
    let (alice, _) = browser(&world, "alice").await;
    let codes = offered(&world);
    let blind = world.control.identity.confirm_device(
        &alice,
        &codes.user_code,
        Digest::from("x".to_owned()),
        None,
    );
    assert!(matches!(blind.await, Err(ControlError::Refused(Refusal::NotFound(_)))));
}

#[tokio::test]
async fn a_terminal_hears_no_and_late_and_too_fast() {
    let world = World::new().await;
    let control = &world.control;
    let (alice, _) = browser(&world, "alice").await;
    let poll =
        async |codes: &Offered| control.identity.poll_device(&codes.device_code).await.unwrap();
    let denied = offered(&world);
    control.identity.device_by_code(&alice, &denied.user_code).await.unwrap();
    control.identity.deny_device(&alice, &denied.user_code).await.unwrap();
    assert!(matches!(poll(&denied).await, Polled::Denied));
    let fast = offered(&world);
    assert!(matches!(poll(&fast).await, Polled::Pending));
    assert!(matches!(poll(&fast).await, Polled::SlowDown));
    world.pass(6);
    assert!(matches!(poll(&fast).await, Polled::SlowDown), "five seconds more are wanted");
    world.pass(15);
    assert!(matches!(poll(&fast).await, Polled::Pending));
    world.clock.advance(Ttl::from_secs(600));
    assert!(control.identity.device_by_code(&alice, &fast.user_code).await.is_err());
    assert!(matches!(poll(&fast).await, Polled::Expired));
    let unknown = control.identity.poll_device(&SecretString::from("pdc_none")).await.unwrap();
    assert!(matches!(unknown, Polled::Expired));
}

#[tokio::test]
async fn a_yes_is_worth_nothing_once_its_own_session_is_over_or_its_person_locked() {
    let world = World::new().await;
    let control = &world.control;
    let (alice, token) = browser(&world, "alice").await;
    let codes = offered(&world);
    let view = control.identity.device_by_code(&alice, &codes.user_code).await.unwrap();
    control.identity.confirm_device(&alice, &codes.user_code, view.digest, None).await.unwrap();
    control.identity.sign_out(&token, crate::model::login::LoginKind::Browser).await.unwrap();
    let refused = control.identity.poll_device(&codes.device_code).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Unauthenticated))), "{refused:?}");

    let (alice, _) = browser(&world, "alice").await;
    let codes = offered(&world);
    let view = control.identity.device_by_code(&alice, &codes.user_code).await.unwrap();
    control.identity.confirm_device(&alice, &codes.user_code, view.digest, None).await.unwrap();
    let lost = policies::Subject::Device("laptop-7".parse().unwrap());
    control.access.lock(&actor("eve"), lost, "lost".into(), None).await.unwrap();
    let refused = control.identity.poll_device(&codes.device_code).await;
    assert_eq!(refused.unwrap_err().code(), "locked");
}

#[tokio::test]
async fn codes_are_not_guessed_and_terminals_not_stacked() {
    let world = World::new().await;
    let control = &world.control;
    let (mallory, _) = browser(&world, "mallory").await;
    let mut limited = false;
    for _ in 0..100 {
        let looked = control.identity.device_by_code(&mallory, "AAAA-AAAA").await;
        limited |= matches!(looked, Err(ControlError::Refused(Refusal::TooMany(TooMany::Tries))));
    }
    assert!(limited);
    let csr = NewRequest::generate().unwrap().csr_pem;
    let origin = Origin { address: Some("192.0.2.9".parse().unwrap()), ..Origin::default() };
    let ask = || control.identity.ask_device(&csr, "laptop-7".parse().unwrap(), &origin);
    let taken = (0..30).filter(|_| ask().is_ok()).count();
    assert_eq!(taken, 20);
    world.clock.advance(Ttl::from_secs(600));
    assert!(ask().is_ok(), "what is over makes room");
    assert!(control.identity.ask_device("none", "laptop-7".parse().unwrap(), &origin).is_err());
}

#[tokio::test]
async fn whoever_has_a_passkey_signs_terminals_in_by_it_and_by_nothing_less() {
    let world = World::new().await;
    let control = &world.control;
    let (alice, mut key) = world.enrolled("alice").await;
    let codes = offered(&world);
    let view = control.identity.device_by_code(&alice, &codes.user_code).await.unwrap();
    let digest = view.digest.clone();
    let clicked =
        control.identity.confirm_device(&alice, &codes.user_code, digest.clone(), None).await;
    assert!(matches!(clicked, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{clicked:?}");

    // A touch for another terminal is no touch for this one.
    let other = offered(&world);
    let view_of_other = control.identity.device_by_code(&alice, &other.user_code).await.unwrap();
    let challenge =
        control.identity.challenge(&alice, &view_of_other.statement(&alice)).await.unwrap();
    let touched = Proof::Passkey(key.touch(&challenge));
    let proof = Some((challenge.id.as_str(), touched));
    let swapped =
        control.identity.confirm_device(&alice, &codes.user_code, digest.clone(), proof).await;
    assert!(swapped.is_err(), "{swapped:?}");

    let challenge = control.identity.challenge(&alice, &view.statement(&alice)).await.unwrap();
    let touched = Proof::Passkey(key.touch(&challenge));
    let proof = Some((challenge.id.as_str(), touched));
    control.identity.confirm_device(&alice, &codes.user_code, digest, proof).await.unwrap();
    world.pass(5);
    let polled = control.identity.poll_device(&codes.device_code).await.unwrap();
    assert!(matches!(polled, Polled::SignedIn(_)), "{polled:?}");
}

#[tokio::test]
async fn a_few_networks_take_up_no_place_of_others() {
    let world = World::new().await;
    let control = &world.control;
    let csr = NewRequest::generate().unwrap().csr_pem;
    let ask = |address: String| {
        let origin = Origin { address: Some(address.parse().unwrap()), ..Origin::default() };
        control.identity.ask_device(&csr, "laptop-7".parse().unwrap(), &origin)
    };
    let taken = (0..30).filter(|host| ask(format!("2001:db8::{host:x}")).is_ok()).count();
    assert_eq!(taken, 20, "the addresses of one network count as one");
    for network in 1..100 {
        (0..20).for_each(|host| drop(ask(format!("2001:db8:0:{network:x}::{host:x}")).unwrap()));
    }
    let late = ask("192.0.2.7".into()).unwrap();
    assert!(matches!(control.identity.poll_device(&late.device_code).await, Ok(Polled::Pending)));
}

#[tokio::test]
async fn sign_ins_of_one_network_use_up_no_others() {
    let world = World::new().await;
    let code = SecretString::from("x".repeat(43));
    let sign_in = async |address: &str| {
        let origin = Origin { address: Some(address.parse().unwrap()), ..Origin::default() };
        world.control.identity.sign_in(&code, origin).await.unwrap_err()
    };
    let mut tries = 0;
    while !matches!(
        sign_in(&format!("2001:db8::{tries:x}")).await,
        ControlError::Refused(Refusal::TooMany(TooMany::Tries))
    ) {
        tries += 1;
    }
    assert!(matches!(
        sign_in("2001:db8:0:1::1").await,
        ControlError::Refused(Refusal::Unauthenticated)
    ));
}
