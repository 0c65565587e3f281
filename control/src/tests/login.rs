use certs::NewRequest;
use secrecy::{ExposeSecret, SecretString};

use super::{RULES, World, actor, inventory};
use crate::model::error::{ControlError, Refusal, TooMany};

#[tokio::test]
async fn a_link_signs_in_once() {
    let world = World::new().await;
    let invite = world.control.identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    let url = invite.url.expose_secret();
    assert_eq!(*url, format!("https://gate.example.com/login#{}", invite.code.expose_secret()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (control, code) = (world.control.clone(), invite.code.clone());
        tasks.spawn(async move {
            control.identity.sign_in(&code, crate::model::login::Origin::default()).await
        });
    }
    let signed_in: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(signed_in.len(), 1);
    let who =
        world.control.identity.authenticate(&signed_in[0].token, signed_in[0].kind).await.unwrap();
    assert_eq!(who, signed_in[0].actor);
    world.control.identity.sign_out(&signed_in[0].token, signed_in[0].kind).await.unwrap();
    assert!(
        world.control.identity.authenticate(&signed_in[0].token, signed_in[0].kind).await.is_err()
    );
}

#[tokio::test]
async fn links_and_sessions_end() {
    let world = World::new().await;
    let alice = "alice".parse().unwrap();
    let old = world.control.identity.invite(None, &alice).await.unwrap();
    let invite = world.control.identity.invite(None, &alice).await.unwrap();
    let session = world
        .control
        .identity
        .sign_in(&invite.code, crate::model::login::Origin::default())
        .await
        .unwrap();
    world.pass(43_200);
    assert!(world.control.identity.authenticate(&session.token, session.kind).await.is_err());
    world.pass(43_200);
    assert!(
        world
            .control
            .identity
            .sign_in(&old.code, crate::model::login::Origin::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn only_admins_and_the_operator_invite() {
    let world = World::new().await;
    let alice = "alice".parse().unwrap();
    assert!(world.control.identity.invite(Some(&actor("eve")), &alice).await.is_ok());
    let refused = world.control.identity.invite(Some(&actor("bob")), &alice).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
}

#[tokio::test]
async fn an_invitation_for_somebody_unknown_says_that_there_is_no_such_person() {
    let world = World::new().await;
    let nobody = "nobody".parse().unwrap();
    for by in [None, Some(&actor("eve"))] {
        let refused = world.control.identity.invite(by, &nobody).await;
        assert!(
            matches!(refused, Err(ControlError::Refused(Refusal::NotFound("person")))),
            "{refused:?}"
        );
    }
    let refused = world.control.identity.invite(Some(&actor("bob")), &nobody).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
}

#[tokio::test]
async fn somebody_who_is_disabled_is_signed_out_and_stays_out() {
    let world = World::new().await;
    let alice = "alice".parse().unwrap();
    let first = world.control.identity.invite(None, &alice).await.unwrap();
    let second = world.control.identity.invite(None, &alice).await.unwrap();
    let session = world
        .control
        .identity
        .sign_in(&first.code, crate::model::login::Origin::default())
        .await
        .unwrap();
    let mut without = inventory(RULES);
    without.people.get_mut(&alice).unwrap().disabled = true;
    world.control.sources.reload(without).await.unwrap();
    assert!(world.control.identity.authenticate(&session.token, session.kind).await.is_err());
    assert!(
        world
            .control
            .identity
            .sign_in(&second.code, crate::model::login::Origin::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn guessing_links_is_bounded() {
    let world = World::new().await;
    let guess = SecretString::from("a".repeat(52));
    let mut limited = false;
    for _ in 0..1_000 {
        limited |= matches!(
            world.control.identity.sign_in(&guess, crate::model::login::Origin::default()).await,
            Err(ControlError::Refused(Refusal::TooMany(TooMany::Tries)))
        );
    }
    assert!(limited);
}

#[tokio::test]
async fn a_certificate_is_issued_for_the_sessions_own_device() {
    let world = World::new().await;
    let laptop = "laptop-7".parse().unwrap();
    let invite = world.control.identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    let session = world
        .control
        .identity
        .sign_in(
            &invite.code,
            crate::model::login::Origin { device: Some(laptop), ..Default::default() },
        )
        .await
        .unwrap();
    let request = NewRequest::generate().unwrap();
    let laptop = "laptop-7".parse().unwrap();
    let control = &world.control;
    let issued = control
        .identity
        .issue_certificate(&session.actor, &request.csr_pem, &laptop)
        .await
        .unwrap();
    assert_eq!(issued.not_after, super::START + 43_200_000);
    let other = "laptop-8".parse().unwrap();
    let refused =
        control.identity.issue_certificate(&session.actor, &request.csr_pem, &other).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    let garbage =
        control.identity.issue_certificate(&session.actor, "not a request", &laptop).await;
    assert!(matches!(garbage, Err(ControlError::Refused(Refusal::Invalid(_)))), "{garbage:?}");
    let lost = policies::Subject::Device(laptop.clone());
    control.access.lock(&actor("eve"), lost, "lost".into(), None).await.unwrap();
    let locked =
        control.identity.issue_certificate(&session.actor, &request.csr_pem, &laptop).await;
    assert_eq!(locked.unwrap_err().code(), "locked");
}

#[tokio::test]
async fn a_link_that_is_used_twice_is_told_and_so_is_a_guess() {
    let world = World::new().await;
    let invite = world.control.identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    world
        .control
        .identity
        .sign_in(&invite.code, crate::model::login::Origin::default())
        .await
        .unwrap();
    assert!(
        world
            .control
            .identity
            .sign_in(&invite.code, crate::model::login::Origin::default())
            .await
            .is_err()
    );
    let refused_links = async || {
        let kinds = world.kinds().await;
        kinds.iter().filter(|kind| *kind == "link.refused").count()
    };
    assert_eq!(refused_links().await, 1);
    let guess = SecretString::from("a".repeat(52));
    assert!(
        world
            .control
            .identity
            .sign_in(&guess, crate::model::login::Origin::default())
            .await
            .is_err()
    );
    assert_eq!(refused_links().await, 2);
}

#[tokio::test]
async fn no_link_is_made_for_oneself_or_around_somebodys_passkeys() {
    let world = World::new().await;
    let eve = actor("eve");
    let own = world.control.identity.invite(Some(&eve), &eve.principal.id).await;
    assert!(matches!(own, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{own:?}");
    let (bob, _) = world.enrolled("bob").await;
    for by in [None, Some(&eve)] {
        let around = world.control.identity.invite(by, &bob.principal.id).await;
        assert!(matches!(around, Err(ControlError::Refused(Refusal::Conflict(_)))), "{around:?}");
    }
}

#[tokio::test]
async fn an_admin_who_has_a_passkey_makes_links_by_it() {
    let world = World::new().await;
    let (eve, mut key) = world.enrolled("eve").await;
    let alice = "alice".parse().unwrap();
    let untouched = world.control.identity.invite(Some(&eve), &alice).await;
    assert!(
        matches!(untouched, Err(ControlError::Refused(Refusal::StepUpNeeded { .. }))),
        "{untouched:?}"
    );
    let requested = world.control.identity.invite_statement(&"carol".parse().unwrap());
    let challenge = world.control.identity.challenge(&eve, &requested).await.unwrap();
    let proof = crate::identity::proof::Proof::Passkey(key.touch(&challenge));
    let swapped =
        world.control.identity.invite_by(&eve, &alice, Some((&challenge.id, proof))).await;
    assert!(swapped.is_err(), "{swapped:?}");
    let challenge = world
        .control
        .identity
        .challenge(&eve, &world.control.identity.invite_statement(&alice))
        .await;
    let challenge = challenge.unwrap();
    let proof = crate::identity::proof::Proof::Passkey(key.touch(&challenge));
    world.control.identity.invite_by(&eve, &alice, Some((&challenge.id, proof))).await.unwrap();
}

#[tokio::test]
async fn no_admin_makes_a_link_for_somebody_whom_an_issuer_vouches_for() {
    let world = World::new().await;
    let alice: policies::PrincipalId = "alice".parse().unwrap();
    let mut vouched = inventory(RULES);
    vouched.accounts.insert(("corp".parse().unwrap(), "s1".to_owned()), alice.clone());
    assert!(vouched.is_vouched(&alice) && !vouched.is_vouched(&"bob".parse().unwrap()));
    world.control.kernel.put_in_force(std::sync::Arc::new(vouched));
    let refused = world.control.identity.invite(Some(&actor("eve")), &alice).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Conflict(_)))), "{refused:?}");
    assert!(world.control.identity.invite(None, &alice).await.is_ok());
}
