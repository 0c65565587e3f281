//! Login sessions: one token in force, an end by idleness and at last, and what dies with them.

use certs::NewRequest;
use policies::Method;

use super::{RULES, START, World, actor, inventory};
use crate::Control;
use crate::identity::logins;
use crate::model::error::{ControlError, Refusal};
use crate::model::login::{
    AtIssuer, LoginEnd, LoginKind, LoginSession, NewLogin, Origin, Rank, Which,
};
use crate::model::view::{Paging, Scope};

async fn signed_in(control: &Control, who: &str, kind: LoginKind) -> LoginSession {
    let invite = control.identity.invite(None, &who.parse().unwrap()).await.unwrap();
    let device = (kind == LoginKind::Terminal).then(|| "laptop".parse().unwrap());
    let origin = Origin { kind, device, ..Origin::default() };
    control.identity.sign_in(&invite.code, origin).await.unwrap()
}

/// Terminals may be left alone for as long as their sessions last.
async fn without_idleness() -> World {
    World::with(|settings| settings.sign_in.terminal_idle = settings.sign_in.absolute).await
}

async fn opened(control: &Control, rank: Rank, issuer: Option<AtIssuer>) -> LoginSession {
    let mut tx = control.kernel.begin().await.unwrap();
    let origin = Origin { kind: LoginKind::Browser, ..Origin::default() };
    let (principal, method, by) = ("alice".parse().unwrap(), Method::Link, None);
    let new = NewLogin { principal, method, rank, issuer, by, origin };
    let session = logins::open_login(&mut tx, new).await.unwrap();
    tx.commit().await.unwrap();
    session
}

#[tokio::test]
async fn a_rise_of_privilege_replaces_the_token_and_the_one_before_is_dead_at_once() {
    let world = World::new().await;
    let before = signed_in(&world.control, "alice", LoginKind::Browser).await;
    let after = world.control.identity.raise(&before.actor).await.unwrap();
    assert!(world.control.identity.authenticate(&before.token, before.kind).await.is_err());
    let who = world.control.identity.authenticate(&after, before.kind).await.unwrap();
    assert_eq!(who.login, before.actor.login);
    assert!(world.kinds().await.contains(&"login.rotated".to_owned()));
}

#[tokio::test]
async fn a_session_that_enrols_may_do_nothing_else_until_it_is_raised() {
    let world = World::new().await;
    let control = &world.control;
    let session = opened(control, Rank::Enrolling, None).await;
    let refused = control.identity.authenticate(&session.token, session.kind).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::EnrolFirst))), "{refused:?}");
    let (_, rank) = control.identity.recognise(&session.token, session.kind).await.unwrap();
    assert_eq!(rank, Rank::Enrolling);
    let mut tx = control.kernel.begin().await.unwrap();
    let raised =
        logins::rotate(&mut tx, &session.actor.login, Some((Rank::Full, Method::Link))).await;
    tx.commit().await.unwrap();
    assert!(control.identity.authenticate(&raised.unwrap(), session.kind).await.is_ok());
    assert!(control.identity.recognise(&session.token, session.kind).await.is_err());
}

#[tokio::test]
async fn a_browser_that_is_left_alone_is_signed_out_and_one_in_use_is_not() {
    let world = World::new().await;
    let control = &world.control;
    let idle = signed_in(control, "alice", LoginKind::Browser).await;
    let used = signed_in(control, "alice", LoginKind::Browser).await;
    let terminal = signed_in(control, "alice", LoginKind::Terminal).await;
    for _ in 0..2 {
        world.pass(2_000);
        control.identity.authenticate(&used.token, used.kind).await.unwrap();
    }
    control.access.sweep().await.unwrap();
    assert!(control.identity.authenticate(&idle.token, idle.kind).await.is_err());
    assert!(control.identity.authenticate(&used.token, used.kind).await.is_ok());
    assert!(control.identity.authenticate(&terminal.token, terminal.kind).await.is_ok());
    let over = control
        .identity
        .logins(&idle.actor, Scope::Mine, Some(false), Paging::default())
        .await
        .unwrap();
    let ended: Vec<_> =
        over.items.iter().map(|login| (&login.id, login.ended.unwrap().why)).collect();
    assert_eq!(ended, [(&idle.actor.login, LoginEnd::Idle)]);
}

#[tokio::test]
async fn a_terminal_that_is_left_alone_is_signed_out_and_one_in_use_is_not() {
    let world = World::new().await;
    let control = &world.control;
    let idle = signed_in(control, "alice", LoginKind::Terminal).await;
    let used = signed_in(control, "alice", LoginKind::Terminal).await;
    let csr = NewRequest::generate().unwrap().csr_pem;
    let laptop = "laptop".parse().unwrap();
    control.identity.issue_certificate(&idle.actor, &csr, &laptop).await.unwrap();
    for _ in 0..2 {
        world.pass(7_200);
        control.identity.authenticate(&used.token, used.kind).await.unwrap();
    }
    control.access.sweep().await.unwrap();
    assert!(control.identity.authenticate(&idle.token, idle.kind).await.is_err());
    assert!(control.identity.authenticate(&used.token, used.kind).await.is_ok());
    let over = control
        .identity
        .logins(&idle.actor, Scope::Mine, Some(false), Paging::default())
        .await
        .unwrap();
    assert_eq!(over.items[0].ended.unwrap().why, LoginEnd::Idle);
    // Only time passed: the certificate ends by its own, and nothing is cut.
    assert!(control.access.locks(&actor("eve")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_is_good_in_the_one_transport_that_its_session_was_opened_for() {
    let world = World::new().await;
    let control = &world.control;
    for (kind, other) in
        [(LoginKind::Browser, LoginKind::Terminal), (LoginKind::Terminal, LoginKind::Browser)]
    {
        let session = signed_in(control, "alice", kind).await;
        let refused = control.identity.authenticate(&session.token, other).await;
        assert!(
            matches!(refused, Err(ControlError::Refused(Refusal::Unauthenticated))),
            "{refused:?}"
        );
        assert!(control.identity.sign_out(&session.token, other).await.is_err());
        assert!(control.identity.authenticate(&session.token, kind).await.is_ok());
        let raised = control.identity.raise(&session.actor).await.unwrap();
        assert!(
            control.identity.authenticate(&raised, other).await.is_err(),
            "a rise changes no transport"
        );
    }
}

#[tokio::test]
async fn no_use_prolongs_a_session_beyond_its_last_end() {
    let world = World::new().await;
    let session = signed_in(&world.control, "alice", LoginKind::Browser).await;
    for _ in 0..14 {
        world.pass(3_000);
        world.control.identity.authenticate(&session.token, session.kind).await.unwrap();
    }
    world.pass(1_200);
    assert!(world.control.identity.authenticate(&session.token, session.kind).await.is_err());
}

#[tokio::test]
async fn what_a_sign_in_brought_dies_with_it_and_is_never_let_back() {
    let world = World::new().await;
    let control = &world.control;
    let session = signed_in(control, "alice", LoginKind::Terminal).await;
    let csr = NewRequest::generate().unwrap().csr_pem;
    let laptop = "laptop".parse().unwrap();
    let issued = control.identity.issue_certificate(&session.actor, &csr, &laptop).await.unwrap();
    let resource = "app_ro@orders".parse().unwrap();
    let minted = control.identity.mint_token(&session.actor, &resource, None, None).await.unwrap();
    control.identity.sign_out(&session.token, session.kind).await.unwrap();
    let locks = control.access.locks(&actor("eve")).await.unwrap();
    let mut locked: Vec<String> = locks.iter().map(|view| view.lock.subject.to_string()).collect();
    locked.sort();
    let mut wanted = [format!("credential:{}", issued.serial), format!("credential:{}", minted.id)];
    wanted.sort();
    assert_eq!(locked, wanted);
    let ends = locks.iter().map(|view| view.lock.until.unwrap().millis()).max();
    assert_eq!(ends, Some(issued.not_after));
    assert!(control.identity.redeem(&minted.token, &resource).await.is_err());
    let refused = control.access.unlock(&actor("eve"), &locks[0].lock.id).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Conflict(_)))), "{refused:?}");
    let late = control.identity.issue_certificate(&session.actor, &csr, &laptop).await;
    assert!(matches!(late, Err(ControlError::Refused(Refusal::Unauthenticated))), "{late:?}");
    assert!(
        control.access.locks(&actor("bob")).await.unwrap().is_empty(),
        "others see whose it was"
    );
}

#[tokio::test]
async fn a_certificate_never_outlives_the_sign_in_that_it_came_with() {
    let world = without_idleness().await;
    let session = signed_in(&world.control, "alice", LoginKind::Terminal).await;
    world.pass(40_000);
    let csr = NewRequest::generate().unwrap().csr_pem;
    let laptop = "laptop".parse().unwrap();
    let issued =
        world.control.identity.issue_certificate(&session.actor, &csr, &laptop).await.unwrap();
    assert_eq!(issued.not_after, START + 43_200_000);
}

#[tokio::test]
async fn an_end_at_the_issuer_ends_exactly_the_sessions_that_came_from_it() {
    let world = World::new().await;
    let control = &world.control;
    let at = |subject: &str, sid: &str| {
        let (issuer, sid) = ("corp".to_owned(), Some(sid.to_owned()));
        Some(AtIssuer { issuer, subject: subject.to_owned(), sid })
    };
    let one = opened(control, Rank::Full, at("s1", "a")).await;
    let other = opened(control, Rank::Full, at("s1", "b")).await;
    let third = opened(control, Rank::Full, at("s2", "a2")).await;
    let mut tx = control.kernel.begin().await.unwrap();
    let why = LoginEnd::IssuerLogout;
    let by = crate::model::event::By::Control;
    let ended =
        logins::end_logins(&mut tx, Which::Sid("corp", "a"), why, by.clone()).await.unwrap();
    assert_eq!(ended, [one.actor.login]);
    let ended =
        logins::end_logins(&mut tx, Which::Sid("corp", "b"), why, by.clone()).await.unwrap();
    assert_eq!(ended, [other.actor.login]);
    assert!(
        logins::end_logins(&mut tx, Which::Sid("other", "a2"), why, by).await.unwrap().is_empty()
    );
    tx.commit().await.unwrap();
    assert!(control.identity.authenticate(&one.token, one.kind).await.is_err());
    assert!(control.identity.authenticate(&third.token, third.kind).await.is_ok());
}

#[tokio::test]
async fn an_office_that_was_taken_away_is_gone_from_sessions_that_are_open() {
    let world = World::new().await;
    let control = &world.control;
    let session = signed_in(control, "eve", LoginKind::Browser).await;
    let before = control.identity.authenticate(&session.token, session.kind).await.unwrap();
    assert!(
        before.admin
            && control.identity.invite(Some(&before), &"bob".parse().unwrap()).await.is_ok()
    );
    let mut without = inventory(RULES);
    let eve = without.people.get_mut(&"eve".parse().unwrap()).unwrap();
    (eve.admin, eve.auditor) = (false, false);
    eve.principal.groups = ["dba".parse().unwrap()].into();
    control.sources.reload(without).await.unwrap();
    let after = control.identity.authenticate(&session.token, session.kind).await.unwrap();
    assert!(!after.admin && !after.auditor);
    assert_eq!(
        after.principal.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>(),
        ["dba"]
    );
    // Not even an actor that was made before the change still has the office.
    let refused = control.identity.invite(Some(&before), &"bob".parse().unwrap()).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
}

#[tokio::test]
async fn somebody_who_comes_back_after_being_disabled_has_to_sign_in_again() {
    let world = World::new().await;
    let control = &world.control;
    let session = signed_in(control, "alice", LoginKind::Browser).await;
    let mut without = inventory(RULES);
    without.people.get_mut(&"alice".parse().unwrap()).unwrap().disabled = true;
    control.sources.reload(without).await.unwrap();
    control.sources.reload(inventory(RULES)).await.unwrap();
    assert!(control.identity.authenticate(&session.token, session.kind).await.is_err());
}

#[tokio::test]
async fn one_ends_ones_own_sessions_and_an_admin_anybodys() {
    let world = World::new().await;
    let control = &world.control;
    let alice = signed_in(control, "alice", LoginKind::Browser).await;
    let other = signed_in(control, "alice", LoginKind::Terminal).await;
    let (bob, eve) = (actor("bob"), actor("eve"));
    let refused = control.identity.end_login(&bob, &alice.actor.login).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::NotFound(_)))), "{refused:?}");
    let refused = control.identity.end_all_logins(&bob, &alice.actor.principal.id).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    control.identity.end_login(&alice.actor, &other.actor.login).await.unwrap();
    assert!(control.identity.authenticate(&other.token, other.kind).await.is_err());
    let again = control.identity.end_login(&alice.actor, &other.actor.login).await;
    assert!(matches!(again, Err(ControlError::Refused(Refusal::Conflict(_)))), "{again:?}");
    let ended = control.identity.end_all_logins(&eve, &alice.actor.principal.id).await.unwrap();
    assert_eq!(ended.value, [alice.actor.login]);
    assert!(control.identity.authenticate(&alice.token, alice.kind).await.is_err());
}

#[tokio::test]
async fn a_session_that_enrols_gets_no_certificate() {
    let world = World::new().await;
    let session = opened(&world.control, Rank::Enrolling, None).await;
    let csr = NewRequest::generate().unwrap().csr_pem;
    let laptop = "laptop".parse().unwrap();
    let refused = world.control.identity.issue_certificate(&session.actor, &csr, &laptop).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::EnrolFirst))), "{refused:?}");
    assert!(!world.kinds().await.contains(&"certificate.issued".to_owned()));
}

async fn let_in(control: &Control, by: &LoginSession) -> LoginSession {
    let mut tx = control.kernel.begin().await.unwrap();
    let (principal, method, rank) = ("alice".parse().unwrap(), Method::Link, Rank::Full);
    let (by, origin) = (Some(by.actor.login.clone()), Origin::default());
    let new = NewLogin { principal, method, rank, issuer: None, by, origin };
    let session = logins::open_login(&mut tx, new).await.unwrap();
    tx.commit().await.unwrap();
    session
}

#[tokio::test]
async fn a_session_that_another_let_in_ends_with_it_and_never_after_it() {
    let world = without_idleness().await;
    let control = &world.control;
    let first = signed_in(control, "alice", LoginKind::Terminal).await;
    world.pass(40_000);
    let second = let_in(control, &first).await;
    let third = let_in(control, &second).await;
    assert_eq!((second.expires_at, third.expires_at), (first.expires_at, first.expires_at));
    let other = signed_in(control, "alice", LoginKind::Terminal).await;
    control.identity.end_login(&other.actor, &first.actor.login).await.unwrap();
    for ended in [&first, &second, &third] {
        assert!(control.identity.authenticate(&ended.token, ended.kind).await.is_err());
    }
    assert!(control.identity.authenticate(&other.token, other.kind).await.is_ok());
}
