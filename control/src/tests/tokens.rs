use policies::{Resource, Ttl};
use secrecy::{ExposeSecret, SecretString};

use super::{RULES, World, actor, inventory};
use crate::identity::tokens::Minted;
use crate::model::error::{ControlError, Refusal};
use crate::model::view::{Paging, Scope};

fn shop() -> Resource {
    "app_ro@orders/shop".parse().unwrap()
}

async fn mint(world: &World, uses: Option<u32>) -> Minted {
    let alice = world.signed_in("alice").await.actor;
    world.control.identity.mint_token(&alice, &shop(), None, uses).await.unwrap()
}

#[tokio::test]
async fn a_token_is_its_holder_at_its_resource_and_nowhere_else() {
    let world = World::new().await;
    let minted = mint(&world, None).await;
    let redeemed = world.control.identity.redeem(&minted.token, &shop()).await.unwrap();
    assert_eq!(redeemed.principal.id.as_str(), "alice");
    assert_eq!(redeemed.authn.evidence, minted.id);
    world.control.identity.redeem(&minted.token, &"app_ro@orders".parse().unwrap()).await.unwrap();
    for other in ["app_rw@orders/shop", "app_ro@orders/reporting", "app_ro@nowhere/shop"] {
        let refused = world.control.identity.redeem(&minted.token, &other.parse().unwrap()).await;
        assert!(matches!(refused, Err(ControlError::Refused(Refusal::Unauthenticated))), "{other}");
    }
    assert_eq!(world.kinds().await.last().unwrap(), "token.refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_forty_redemptions_at_once_a_single_use_token_lets_one_in() {
    let world = World::new().await;
    let minted = mint(&world, Some(1)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (control, token) = (world.control.clone(), minted.token.clone());
        tasks.spawn(async move { control.identity.redeem(&token, &shop()).await });
    }
    let redeemed = tasks.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(redeemed, 1);
    let page = world
        .control
        .identity
        .tokens(&actor("alice"), Scope::Mine, Paging::default())
        .await
        .unwrap();
    assert_eq!(page.items[0].uses_left, Some(0));
}

#[tokio::test]
async fn unknown_wrong_and_ended_tokens_are_refused_alike() {
    let world = World::new().await;
    let minted = mint(&world, None).await;
    let text = minted.token.expose_secret().to_owned();
    let (head, secret) = text.rsplit_once('_').unwrap();
    let unknown = format!("pst_tk-aaaaaaaaaaaa_{secret}");
    let wrong = format!("{head}_{}", "a".repeat(52));
    let cut = text[..text.len() - 1].to_owned();
    for bad in [unknown, wrong, cut, String::new(), "pst_".into(), "password".into()] {
        let refused =
            world.control.identity.redeem(&SecretString::from(bad), &shop()).await.unwrap_err();
        assert!(matches!(refused, ControlError::Refused(Refusal::Unauthenticated)), "{refused:?}");
    }
    world.pass(3_600);
    let late = world.control.identity.redeem(&minted.token, &shop()).await.unwrap_err();
    assert!(matches!(late, ControlError::Refused(Refusal::Unauthenticated)), "{late:?}");
}

#[tokio::test]
async fn a_token_of_somebody_who_is_disabled_or_took_it_back_is_refused() {
    let world = World::new().await;
    let (first, second) = (mint(&world, None).await, mint(&world, None).await);
    let foreign = world.control.identity.revoke_token(&actor("bob"), &first.id).await;
    assert!(matches!(foreign, Err(ControlError::Refused(Refusal::NotFound(_)))), "{foreign:?}");
    world.control.identity.revoke_token(&actor("alice"), &first.id).await.unwrap();
    assert!(world.control.identity.redeem(&first.token, &shop()).await.is_err());
    let mut without = inventory(RULES);
    without.people.get_mut(&"alice".parse().unwrap()).unwrap().disabled = true;
    world.control.sources.reload(without).await.unwrap();
    assert!(world.control.identity.redeem(&second.token, &shop()).await.is_err());
}

#[tokio::test]
async fn a_token_is_made_only_for_what_the_rules_could_give_and_not_for_long() {
    let world = World::new().await;
    let alice = world.signed_in("alice").await.actor;
    let mallory = world.signed_in("mallory").await.actor;
    let other = "postgres@orders".parse().unwrap();
    assert!(world.control.identity.mint_token(&alice, &other, None, None).await.is_err());
    assert!(world.control.identity.mint_token(&mallory, &shop(), None, None).await.is_err());
    let long = Some(Ttl::from_secs(86_401));
    assert!(world.control.identity.mint_token(&alice, &shop(), long, None).await.is_err());
    assert!(world.control.identity.mint_token(&alice, &shop(), None, Some(0)).await.is_err());
}

#[tokio::test]
async fn no_secret_stands_in_the_store() {
    let world = World::new().await;
    let minted = mint(&world, None).await;
    let invite = world.control.identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    let session = world
        .control
        .identity
        .sign_in(&invite.code, crate::model::login::Origin::default())
        .await
        .unwrap();
    let grant = world.read_grant().await;
    let visit = crate::access::grants::Visit {
        session: "se-1".parse().unwrap(),
        authn: None,
        source: None,
    };
    world.control.access.begin(&grant.id, visit).await.unwrap();
    world.control.identity.redeem(&minted.token, &shop()).await.unwrap();
    let mut raw = world.raw().await;
    sqlx::query("PRAGMA wal_checkpoint(FULL)").execute(&mut raw).await.unwrap();
    let file = std::fs::read(&world.control.kernel.settings().database).unwrap();
    let text = String::from_utf8_lossy(&file);
    let secret = minted.token.expose_secret().rsplit('_').next().unwrap();
    let code = invite.code.expose_secret();
    for canary in [secret, code, session.token.expose_secret(), "canary-upstream-password"] {
        assert!(!text.contains(canary));
    }
    let printed = format!("{minted:?} {invite:?} {session:?} {:?}", inventory(RULES));
    for canary in [secret, code, session.token.expose_secret(), "canary-upstream-password"] {
        assert!(!printed.contains(canary));
    }
}

#[tokio::test]
async fn a_token_takes_a_login_session_that_is_live_and_full() {
    let world = World::new().await;
    let session = world.signed_in("alice").await;
    world.control.identity.mint_token(&session.actor, &shop(), None, None).await.unwrap();
    let demoted = "UPDATE logins SET rank = 'enrolling'";
    sqlx::query(demoted).execute(&mut world.raw().await).await.unwrap();
    let refused = world.control.identity.mint_token(&session.actor, &shop(), None, None).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::EnrolFirst))), "{refused:?}");
    world.control.identity.sign_out(&session.token, session.kind).await.unwrap();
    let refused = world.control.identity.mint_token(&session.actor, &shop(), None, None).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Unauthenticated))), "{refused:?}");
}
