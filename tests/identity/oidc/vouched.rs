//! What becomes of somebody whom the issuer no longer vouches for, and of who signs out there.

use reqwest::StatusCode;

use super::{actor, bed, conninfo, event, events, gate, held, signed_in};
use crate::support::issuer::{Browser, Provider};
use crate::support::{self, Bed, psql, run, until};

/// How many of the statements of [`live`] the target runs.
fn sleeping(bed: &Bed) -> usize {
    let sql = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' \
               and state = 'active'";
    bed.cluster.psql(sql).unwrap().trim().parse().unwrap()
}

/// A psql that runs a long statement, once the target sees it.
async fn live(
    bed: &Bed,
    actor: &control::Actor,
) -> tokio::task::JoinHandle<(bool, String, String)> {
    let mut command = psql(&conninfo(bed, actor).await);
    command.args(["-c", "select pg_sleep(600)"]);
    let running = tokio::spawn(run(command));
    until("the target runs it", || sleeping(bed) == 1).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_disabled_at_the_issuer_loses_a_live_session_within_the_refresh_interval() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "refresh = \"1s\"")).await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    let running = live(&bed, &actor(&browser, &bed).await).await;
    provider.set("disable", "a-1").await;
    let (good, _, errors) = running.await.unwrap();
    assert!(!good && errors.contains("FATAL"), "{errors}");
    until("the target has stopped it", || sleeping(&bed) == 0).await;
    let token = held(&browser, &bed).unwrap();
    assert!(!signed_in(&bed, &token).await, "the login has ended too");
    assert_eq!(event(&bed, "person.refused").await["subject"], "corp:a-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_a_group_at_the_issuer_loses_what_it_gave_and_stays_signed_in() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "refresh = \"1s\"")).await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    let running = live(&bed, &actor(&browser, &bed).await).await;
    provider.set("groups", "sales").await;
    let (good, _, errors) = running.await.unwrap();
    assert!(!good && errors.contains("FATAL"), "{errors}");
    let actor = actor(&browser, &bed).await;
    let groups: Vec<&str> = actor.principal.groups.iter().map(|group| group.as_str()).collect();
    assert_eq!(groups, ["sales"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_the_issuer_no_longer_speaks_of_are_lost_at_refresh_and_at_sign_in() {
    let provider = Provider::start().await;
    let more = "refresh = \"1s\"\nadmins = [\"engineering\"]";
    let bed = bed(support::OPEN, &provider.section("corp", more)).await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    let before = actor(&browser, &bed).await;
    assert!(before.admin && before.principal.groups.len() == 1);
    let running = live(&bed, &before).await;
    provider.set("silent", "true").await;
    let (good, _, errors) = running.await.unwrap();
    assert!(!good && errors.contains("FATAL"), "{errors}");
    let after = actor(&browser, &bed).await;
    assert!(!after.admin && after.principal.groups.is_empty(), "{after:?}");
    // An id token that never spoke of them gives none at a sign-in either.
    let mut again = Browser::default();
    again.sign_in(&gate(&bed), "corp").await;
    assert!(actor(&again, &bed).await.principal.groups.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_down_at_refresh_is_trusted_for_the_grace_and_no_longer() {
    let provider = Provider::start().await;
    let more = "refresh = \"1s\"\nrefresh_grace = \"5s\"";
    let bed = bed(support::OPEN, &provider.section("corp", more)).await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    let running = live(&bed, &actor(&browser, &bed).await).await;
    provider.set("down", "true").await;
    event(&bed, "issuer.unavailable").await;
    assert!(!running.is_finished(), "the issuer's word holds for a while");
    let (good, _, errors) = running.await.unwrap();
    assert!(!good && errors.contains("FATAL"), "{errors}");
    assert_eq!(event(&bed, "person.lapsed").await["subject"], "corp:a-1");
    assert_eq!(events(&bed, "issuer.unavailable").await.len(), 1, "an outage is recorded once");
    // Signing in once more makes them whole.
    provider.set("down", "false").await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    assert!(held(&browser, &bed).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_at_the_issuer_ends_login_sessions_at_once() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "")).await;
    let heard = gate(&bed).join("/oidc/corp/backchannel").unwrap();
    provider.set("backchannel", heard.as_str()).await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    let actor = actor(&browser, &bed).await;
    let token = held(&browser, &bed).unwrap();
    let mut other = Browser::default();
    provider.set("account", "b-2").await;
    other.sign_in(&gate(&bed), "corp").await;
    let kept = held(&other, &bed).unwrap();
    let forged = browser.post(&heard, &[("logout_token", "e30.e30.e30")]).await;
    assert_eq!(forged.status, StatusCode::BAD_REQUEST, "{}", forged.body);
    assert_eq!(events(&bed, "logout.refused").await.len(), 1);
    assert!(signed_in(&bed, &token).await);
    provider.set("account", "a-1").await;
    let session = actor.login.clone();
    let running = live(&bed, &actor).await;
    let ended = events(&bed, "login.ended").await.len();
    provider.set("end", "session").await;
    assert!(!signed_in(&bed, &token).await, "{session} goes on");
    assert!(signed_in(&bed, &kept).await, "another person's goes on");
    assert_eq!(events(&bed, "login.ended").await.len(), ended + 1);
    let (good, _, errors) = running.await.unwrap();
    assert!(!good && errors.contains("FATAL"), "what its certificate let in is cut: {errors}");
    // A logout that names nobody but the person ends all their sessions.
    let mut both = [Browser::default(), Browser::default()];
    for browser in &mut both {
        browser.sign_in(&gate(&bed), "corp").await;
    }
    provider.set("end", "person").await;
    for browser in &both {
        let token = held(browser, &bed).unwrap();
        assert!(!signed_in(&bed, &token).await);
    }
    // Signed out here, the browser is led to the issuer's own goodbye.
    let home = other.get(&gate(&bed)).await;
    let csrf_token =
        home.body.split("name=\"csrf_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let seen =
        other.post(&gate(&bed).join("/logout").unwrap(), &[("csrf_token", csrf_token)]).await;
    let onward = seen.headers.get("refresh").unwrap().to_str().unwrap().to_owned();
    let there = format!("0; url={}/session/end?client_id=postern", provider.url);
    assert!(onward.starts_with(&there), "{onward}");
    assert!(!signed_in(&bed, &kept).await);
}
