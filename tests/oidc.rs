//! Signing in with a real, certified OpenID provider: what it gives, what it refuses, and what
//! becomes of somebody whom it no longer vouches for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a journey reads best in one piece, and one that can't go on has failed"
)]

mod support;

use policies::{DeviceId, Resource};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use support::issuer::{Browser, Provider, SECRET, Seen};
use support::{Bed, FOUR_EYES, Files, Setup, psql, run, until};
use url::Url;

/// A gateway that knows these issuers, by the lines of their sections.
async fn bed(rules: &'static str, sections: &str) -> Bed {
    let folder = support::private_folder();
    let secret = folder.path().join("issuer-secret");
    certs::store::write_private(&secret, SECRET.as_bytes()).unwrap();
    let more = sections.replace("\"issuer-secret\"", &format!("\"{}\"", secret.display()));
    let bed = Bed::with(Setup { rules, more, ..Setup::default() }).await;
    drop(folder);
    bed
}

fn gate(bed: &Bed) -> Url {
    bed.gateway.api_url().clone()
}

/// The session that a browser holds.
fn held(browser: &Browser, bed: &Bed) -> Option<SecretString> {
    browser.cookie(&gate(bed), "postern").map(SecretString::from)
}

async fn actor(browser: &Browser, bed: &Bed) -> control::Actor {
    bed.gateway.control().authenticate(&held(browser, bed).unwrap()).await.unwrap()
}

/// The audit events of a kind, newest first.
async fn events(bed: &Bed, kind: &str) -> Vec<Value> {
    let bob = bed.actor("bob").await;
    let page = bed.gateway.control().audit(&bob, control::Paging::default()).await.unwrap();
    let of = page.items.into_iter().filter(|event| event.kind == kind);
    of.map(|event| json!({ "subject": event.subject, "detail": event.detail })).collect()
}

/// That a sign-in was refused for this reason: on the page, in the log, and without a session.
async fn refused(bed: &Bed, browser: &Browser, seen: &Seen, reason: &str) {
    assert_eq!(seen.reason(), reason, "{}", seen.body);
    assert!(seen.status.is_client_error() || seen.status.is_server_error(), "{seen:?}");
    assert!(held(browser, bed).is_none(), "somebody was signed in all the same");
    let newest = events(bed, "login.refused").await.remove(0);
    assert_eq!((&newest["subject"], &newest["detail"]["reason"]), (&json!("corp"), &json!(reason)));
}

/// How psql connects with a certificate of this session, to what there is a grant for.
async fn conninfo(bed: &Bed, actor: &control::Actor) -> String {
    let control = bed.gateway.control();
    let resource: Resource = "app_rw@orders/shop".parse().unwrap();
    let (ttl, reason) = (Some("10m".parse().unwrap()), "a test".to_owned());
    let wish = control::Wish { resource, ttl, reason, source: None };
    control.ask(actor, wish).await.unwrap().grant.expect("the rules ask for nobody");
    let request = certs::NewRequest::generate().unwrap();
    let device = DeviceId::new("laptop").unwrap();
    let issued = control.issue_certificate(actor, &request.csr_pem, &device).await.unwrap();
    let at = |name: &str| bed.folder.path().join(name);
    let files = Files { cert: at("me.crt"), key: at("me.key"), ca: at("ca.crt") };
    certs::store::write_private(&files.key, request.key_pem.expose_secret().as_bytes()).unwrap();
    std::fs::write(&files.cert, issued.pem).unwrap();
    std::fs::write(&files.ca, bed.ca_pem()).unwrap();
    bed.conninfo(&files, "app_rw", "orders/shop")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_an_issuer_signs_in_and_their_groups_open_psql() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "")).await;
    let mut browser = Browser::default();
    let page = browser.get(&gate(&bed).join("/login").unwrap()).await;
    assert!(page.body.contains("Sign in with corp"), "{}", page.body);
    let seen = browser.sign_in(&gate(&bed), "corp").await;
    assert_eq!((seen.status, seen.location().as_deref()), (StatusCode::SEE_OTHER, Some("/")));
    let home = browser.get(&gate(&bed)).await;
    assert!(home.body.contains("Person a-1"), "{}", home.body);
    let actor = actor(&browser, &bed).await;
    assert_eq!(actor.principal.id.as_str(), "corp:a-1");
    assert_eq!(actor.authn.method, policies::Method::Oidc);
    let mut command = psql(&conninfo(&bed, &actor).await);
    command.args(["-Atc", "select 41 + 1"]);
    let (good, output, errors) = run(command).await;
    assert!(good && output.trim() == "42", "{output}{errors}");
    let opened = events(&bed, "login.signed-in").await;
    let told = opened.iter().find(|event| event["detail"]["method"] == "oidc").unwrap();
    assert_eq!(
        (&told["detail"]["issuer"], &told["detail"]["subject"]),
        (&json!("corp"), &json!("a-1"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_address_and_name_at_the_issuer_is_another_person() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "")).await;
    let mut people = Vec::new();
    for account in ["alice", "bob", "ALICE", "alice@example.com"] {
        provider.set("account", account).await;
        let mut browser = Browser::default();
        browser.sign_in(&gate(&bed), "corp").await;
        let actor = actor(&browser, &bed).await;
        assert!(!actor.admin && !actor.auditor && actor.principal.groups.is_empty());
        people.push(actor.principal.id.to_string());
    }
    assert_eq!(people, ["corp:alice", "corp:bob", "corp:ALICE", "corp:alice@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_from_userinfo_and_mean_what_the_configuration_says() {
    let provider = Provider::with(&[("USERINFO_ONLY", "1")]).await;
    provider.set("groups", "idp-dba,idp-unknown").await;
    let more = "userinfo = true\ngroups = { idp-dba = \"dba\" }\nadmins = [\"dba\"]";
    let bed = bed(FOUR_EYES, &provider.section("corp", more)).await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    let actor = actor(&browser, &bed).await;
    let groups: Vec<&str> = actor.principal.groups.iter().map(|group| group.as_str()).collect();
    assert_eq!((groups, actor.admin), (vec!["dba"], true));
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_that_is_denied_signs_nobody_in() {
    let provider = Provider::start().await;
    provider.set("deny", "true").await;
    let bed = bed(support::OPEN, &provider.section("corp", "")).await;
    let mut browser = Browser::default();
    let seen = browser.sign_in(&gate(&bed), "corp").await;
    refused(&bed, &browser, &seen, "denied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_all_it_should_be_signs_nobody_in() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "")).await;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    for (tamper, reason) in [
        (json!({ "claims": { "nonce": "another" } }), "wrong-nonce"),
        (json!({ "claims": { "aud": "another" } }), "wrong-audience"),
        (json!({ "claims": { "aud": ["postern", "another"] } }), "wrong-audience"),
        (json!({ "claims": { "azp": "another" } }), "wrong-audience"),
        (json!({ "claims": { "iss": "https://evil.example.com" } }), "wrong-issuer"),
        (json!({ "claims": { "exp": now - 60 } }), "expired-token"),
        (json!({ "claims": { "nbf": now + 600 } }), "not-yet-good"),
        (json!({ "claims": { "iat": now - 3_600 } }), "old-token"),
        (json!({ "header": { "alg": "none" } }), "wrong-algorithm"),
        (json!({ "header": { "alg": "HS256" } }), "wrong-algorithm"),
        (json!({ "header": { "typ": "logout+jwt" } }), "wrong-type"),
        (json!({ "header": { "kid": "another" } }), "unknown-key"),
        (json!({ "stranger": true }), "wrong-signature"),
    ] {
        provider.set("tamper", &tamper.to_string()).await;
        let mut browser = Browser::default();
        let seen = browser.sign_in(&gate(&bed), "corp").await;
        refused(&bed, &browser, &seen, reason).await;
    }
    provider.set("tamper", "").await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    assert!(held(&browser, &bed).is_some(), "the untouched token is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_good_once_and_only_in_the_browser_that_asked() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "")).await;
    let gate = gate(&bed);
    // Another state than the one that went out.
    let mut browser = Browser::default();
    let there = browser.set_out(&gate, "corp").await;
    let mut back = browser.pass(&gate, there).await;
    let real = back.clone();
    let pairs: Vec<(String, String)> = back.query_pairs().into_owned().collect();
    back.query_pairs_mut().clear().extend_pairs(pairs.iter().map(|(name, value)| {
        (name, if name == "state" { format!("psf_{}", "a".repeat(52)) } else { value.clone() })
    }));
    let seen = browser.get(&back).await;
    refused(&bed, &browser, &seen, "wrong-state").await;
    // The real answer in a browser that never asked, and in one that asked for itself.
    let mut stranger = Browser::default();
    let seen = stranger.get(&real).await;
    refused(&bed, &stranger, &seen, "no-flow").await;
    stranger.set_out(&gate, "corp").await;
    let seen = stranger.get(&real).await;
    refused(&bed, &stranger, &seen, "another-browser").await;
    // That used it up for the one who asked as well.
    let seen = browser.get(&real).await;
    refused(&bed, &browser, &seen, "wrong-state").await;
    // A good one, and then once more.
    let there = browser.set_out(&gate, "corp").await;
    let back = browser.pass(&gate, there).await;
    let mut twin = Browser::default();
    assert_eq!(browser.get(&back).await.status, StatusCode::SEE_OTHER);
    let seen = twin.get(&back).await;
    refused(&bed, &twin, &seen, "no-flow").await;
    let again = browser.get(&back).await;
    assert_eq!(again.reason(), "no-flow", "the cookie is gone with the flow");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_two_issuers_are_never_mixed_up() {
    let (corp, lab) = (Provider::start().await, Provider::start().await);
    let groups = "groups = { engineering = \"engineering\" }";
    let sections = corp.section("corp", groups) + &lab.section("lab", "groups = {}");
    let bed = bed(support::OPEN, &sections).await;
    let gate = gate(&bed);
    let mut browser = Browser::default();
    browser.sign_in(&gate, "lab").await;
    let other = actor(&browser, &bed).await;
    assert_eq!((other.principal.id.as_str(), other.principal.groups.len()), ("lab:a-1", 0));
    // An answer of one at the address of the other.
    let mut browser = Browser::default();
    let there = browser.set_out(&gate, "lab").await;
    let mut back = browser.pass(&gate, there).await;
    back.set_path("/oidc/corp/callback");
    let seen = browser.get(&back).await;
    refused(&bed, &browser, &seen, "mixed-up-issuer").await;
    // The right address, but the answer says another issuer, or none (RFC 9207).
    for from in [Some(lab.url.as_str()), None] {
        let mut browser = Browser::default();
        let there = browser.set_out(&gate, "corp").await;
        let mut back = browser.pass(&gate, there).await;
        let pairs: Vec<(String, String)> = back.query_pairs().into_owned().collect();
        let kept = pairs.into_iter().filter(|(name, _)| name != "iss");
        let kept = kept.chain(from.map(|from| ("iss".to_owned(), from.to_owned())));
        back.query_pairs_mut().clear().extend_pairs(kept);
        let seen = browser.get(&back).await;
        refused(&bed, &browser, &seen, "mixed-up-issuer").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_rotate_at_any_time() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "")).await;
    Browser::default().sign_in(&gate(&bed), "corp").await;
    provider.set("rotate", "").await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    assert!(held(&browser, &bed).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_is_said_to_be() {
    let provider = Provider::start().await;
    let bed = bed(support::OPEN, &provider.section("corp", "")).await;
    provider.set("down", "true").await;
    let mut browser = Browser::default();
    let button = gate(&bed).join("/oidc/corp/login").unwrap();
    let seen = browser.post(&button, &[("next", "/")]).await;
    refused(&bed, &browser, &seen, "issuer-unavailable").await;
    // Down between the way there and the way back.
    provider.set("down", "false").await;
    answers_again(&bed).await;
    let there = browser.set_out(&gate(&bed), "corp").await;
    let back = browser.pass(&gate(&bed), there).await;
    provider.set("down", "true").await;
    let seen = browser.get(&back).await;
    refused(&bed, &browser, &seen, "issuer-unavailable").await;
}

/// Waits until the gateway asks the issuer again, which it leaves alone for some seconds.
async fn answers_again(bed: &Bed) {
    let button = gate(bed).join("/oidc/corp/login").unwrap();
    for _ in 0..20 {
        if Browser::default().post(&button, &[("next", "/")]).await.status == StatusCode::OK {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    panic!("the issuer is not asked again");
}

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
    assert!(bed.gateway.control().authenticate(&token).await.is_err(), "the login has ended too");
    assert_eq!(events(&bed, "person.refused").await[0]["subject"], "corp:a-1");
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
async fn an_issuer_down_at_refresh_is_trusted_for_the_grace_and_no_longer() {
    let provider = Provider::start().await;
    let more = "refresh = \"1s\"\nrefresh_grace = \"5s\"";
    let bed = bed(support::OPEN, &provider.section("corp", more)).await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    let running = live(&bed, &actor(&browser, &bed).await).await;
    provider.set("down", "true").await;
    let mut outages = Vec::new();
    for _ in 0..100 {
        outages = events(&bed, "issuer.unavailable").await;
        if !outages.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(outages.len(), 1, "an outage is told once");
    assert!(!running.is_finished(), "the issuer's word holds for a while");
    let (good, _, errors) = running.await.unwrap();
    assert!(!good && errors.contains("FATAL"), "{errors}");
    assert_eq!(events(&bed, "person.lapsed").await[0]["subject"], "corp:a-1");
    // Signing in once more makes them whole.
    provider.set("down", "false").await;
    answers_again(&bed).await;
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
    assert!(bed.gateway.control().authenticate(&token).await.is_ok());
    provider.set("account", "a-1").await;
    let session = actor.login.clone();
    let ended = events(&bed, "login.ended").await.len();
    provider.set("end", "").await;
    assert!(bed.gateway.control().authenticate(&token).await.is_err(), "{session} goes on");
    assert!(bed.gateway.control().authenticate(&kept).await.is_ok(), "another person's goes on");
    assert_eq!(events(&bed, "login.ended").await.len(), ended + 1);
    // Signed out here, the browser is led to the issuer's own goodbye.
    let home = other.get(&gate(&bed)).await;
    let seal = home.body.split("name=\"seal\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let seen = other.post(&gate(&bed).join("/logout").unwrap(), &[("seal", seal)]).await;
    let onward = seen.headers.get("refresh").unwrap().to_str().unwrap().to_owned();
    let there = format!("0; url={}/session/end?client_id=postern", provider.url);
    assert!(onward.starts_with(&there), "{onward}");
    assert!(bed.gateway.control().authenticate(&kept).await.is_err());
}
