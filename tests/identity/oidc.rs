//! Signing in with a real, certified OpenID provider: what it gives and what it refuses.
mod vouched;

use crate::support::issuer::{Browser, Provider, SECRET, Seen};
use crate::support::{Bed, FOUR_EYES, Files, Setup, libpq, psql, run, until_some};
use control::LoginKind;
use policies::{DeviceId, Resource};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

/// A gateway that knows these issuers, by the lines of their sections.
async fn bed(rules: &'static str, sections: &str) -> Bed {
    let folder = crate::support::private_folder();
    let secret = folder.path().join("issuer-secret");
    certs::store::write_private(&secret, SECRET.as_bytes()).unwrap();
    let more = sections.replace("\"issuer-secret\"", &format!("\"{}\"", secret.display()));
    let bed = Bed::with(Setup { rules, more, ..Setup::default() }).await;
    // The configuration may be read again.
    let kept = bed.folder.path().join("issuer-secret");
    certs::store::write_private(&kept, SECRET.as_bytes()).unwrap();
    let text = std::fs::read_to_string(&bed.config).unwrap();
    let text = text.replace(&secret.display().to_string(), "issuer-secret");
    std::fs::write(&bed.config, text).unwrap();
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
    let token = held(browser, bed).unwrap();
    bed.gateway.control().identity.authenticate(&token, LoginKind::Browser).await.unwrap()
}

/// Whether this token of a browser is still good.
async fn signed_in(bed: &Bed, token: &SecretString) -> bool {
    bed.gateway.control().identity.authenticate(token, LoginKind::Browser).await.is_ok()
}

/// The audit events of a kind, newest first.
async fn events(bed: &Bed, kind: &str) -> Vec<Value> {
    let bob = bed.actor("bob").await;
    let page = bed.gateway.control().kernel.audit(&bob, control::Paging::default()).await.unwrap();
    let of = page.items.into_iter().filter(|event| event.kind == kind);
    of.map(|event| json!({ "subject": event.subject, "detail": event.detail })).collect()
}

/// The newest audit event of a kind, once there is one.
async fn event(bed: &Bed, kind: &str) -> Value {
    let newest = async || events(bed, kind).await.into_iter().next();
    until_some(&format!("`{kind}` is in the audit log"), newest).await
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
    let input =
        control::AccessRequestInput { ttl, reason, ..control::AccessRequestInput::new(resource) };
    control.access.ask(actor, input).await.unwrap().grant.expect("the rules ask for nobody");
    let request = certs::NewRequest::generate().unwrap();
    let device = DeviceId::new("laptop").unwrap();
    let issued =
        control.identity.issue_certificate(actor, &request.csr_pem, &device).await.unwrap();
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
    let bed = bed(crate::support::OPEN, &provider.section("corp", "")).await;
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
    let event = opened.iter().find(|event| event["detail"]["method"] == "oidc").unwrap();
    assert_eq!(
        (&event["detail"]["issuer"], &event["detail"]["subject"]),
        (&json!("corp"), &json!("a-1"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_address_and_name_at_the_issuer_is_another_person() {
    let provider = Provider::start().await;
    let bed = bed(crate::support::OPEN, &provider.section("corp", "")).await;
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
async fn a_second_account_of_the_same_mailbox_approves_nothing() {
    let provider = Provider::start().await;
    let section = provider.section("corp", "groups = { idp-dba = \"dba\" }");
    let bed = bed(FOUR_EYES, &section).await;
    let control = bed.gateway.control();
    let asker = bed.actor("alice").await;
    let input = control::AccessRequestInput {
        reason: "a test".to_owned(),
        ..control::AccessRequestInput::new("app_ro@orders/shop".parse().unwrap())
    };
    let request = control.access.ask(&asker, input).await.unwrap().request;
    let approve = async |account: &str, email: &str| {
        provider.set("account", account).await;
        provider.set("groups", "idp-dba").await;
        let claims = json!({ "claims": { "email": email, "email_verified": true } });
        provider.set("tamper", &claims.to_string()).await;
        let mut browser = Browser::default();
        browser.sign_in(&gate(&bed), "corp").await;
        let by = actor(&browser, &bed).await;
        assert!(by.principal.groups.contains(&"dba".parse().unwrap()), "{by:?}");
        let yes = control::Yes { digest: request.digest(), shorten: None, step_up: None };
        control.access.approve(&by, &request.id, yes).await
    };
    let own = approve("a-2", "Alice+second@example.com").await.unwrap_err();
    assert!(own.to_string().contains("under whatever name"), "{own}");
    let other = approve("b-2", "bob@example.org").await.unwrap();
    assert!(other.grant.is_some());
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
    let bed = bed(crate::support::OPEN, &provider.section("corp", "")).await;
    let mut browser = Browser::default();
    let seen = browser.sign_in(&gate(&bed), "corp").await;
    refused(&bed, &browser, &seen, "denied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_all_it_should_be_signs_nobody_in() {
    let provider = Provider::start().await;
    let bed = bed(crate::support::OPEN, &provider.section("corp", "")).await;
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
    let bed = bed(crate::support::OPEN, &provider.section("corp", "")).await;
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

/// An answer, with another code in it.
fn injected(answer: &Url, other: &Url) -> Url {
    let code =
        |url: &Url| url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let (own, foreign) = (code(answer), code(other));
    Url::parse(&answer.as_str().replace(&own, &foreign)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_another_sign_in_is_of_no_use_nor_is_one_made_without_pkce() {
    let provider = Provider::start().await;
    let bed = bed(crate::support::OPEN, &provider.section("corp", "")).await;
    let gate = gate(&bed);
    provider.set("pkce", "false").await;
    for downgraded in [false, true] {
        let mut attacker = Browser::default();
        let mut there = attacker.set_out(&gate, "corp").await;
        assert!(there.as_str().contains("code_challenge_method=S256"), "{there}");
        if downgraded {
            let pairs: Vec<(String, String)> = there.query_pairs().into_owned().collect();
            let kept = pairs.into_iter().filter(|(name, _)| !name.starts_with("code_challenge"));
            there.query_pairs_mut().clear().extend_pairs(kept);
        }
        let stolen = attacker.pass(&gate, there).await;
        let mut victim = Browser::default();
        let there = victim.set_out(&gate, "corp").await;
        let answer = victim.pass(&gate, there).await;
        let seen = victim.get(&injected(&answer, &stolen)).await;
        refused(&bed, &victim, &seen, "code-refused").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_leads_to_local_pages_and_leaves_the_session_that_was_there_before() {
    let provider = Provider::start().await;
    provider.set("name", "<script>alert(1)</script>").await;
    let bed = bed(crate::support::OPEN, &provider.section("corp", "")).await;
    let gate = gate(&bed);
    let mut browser = Browser::default();
    browser.sign_in(&gate, "corp").await;
    let first = held(&browser, &bed).unwrap();
    let button = gate.join("/oidc/corp/login").unwrap();
    for next in [
        "//evil.example.com",
        "/\\evil.example.com",
        "javascript:alert(1)",
        "https://evil.example.com/",
    ] {
        let page = browser.post(&button, &[("next", next)]).await;
        let onward = page.headers.get("refresh").unwrap().to_str().unwrap();
        let there = Url::parse(onward.strip_prefix("0; url=").unwrap()).unwrap();
        let back = browser.pass(&gate, there).await;
        assert_eq!(browser.get(&back).await.location().as_deref(), Some("/"), "{next}");
    }
    let second = held(&browser, &bed).unwrap();
    assert_ne!(first.expose_secret(), second.expose_secret());
    assert!(!signed_in(&bed, &first).await, "one browser, one session");
    let home = browser.get(&gate).await;
    assert!(home.body.contains("&lt;script&gt;alert(1)") && !home.body.contains("<script>alert"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_two_issuers_are_never_mixed_up() {
    let (corp, lab) = (Provider::start().await, Provider::start().await);
    let groups = "groups = { engineering = \"engineering\" }";
    let sections = corp.section("corp", groups) + &lab.section("lab", "groups = {}");
    let bed = bed(crate::support::OPEN, &sections).await;
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
    let bed = bed(crate::support::OPEN, &provider.section("corp", "")).await;
    Browser::default().sign_in(&gate(&bed), "corp").await;
    provider.set("rotate", "").await;
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    assert!(held(&browser, &bed).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_is_said_to_be() {
    let (corp, lab) = (Provider::start().await, Provider::start().await);
    lab.set("down", "true").await;
    let sections = corp.section("corp", "groups = {}") + &lab.section("lab", "groups = {}");
    let bed = bed(crate::support::OPEN, &sections).await;
    let mut browser = Browser::default();
    let button = gate(&bed).join("/oidc/lab/login").unwrap();
    let seen = browser.post(&button, &[("next", "/")]).await;
    assert_eq!(
        (seen.status, seen.reason()),
        (StatusCode::SERVICE_UNAVAILABLE, "issuer-unavailable".into())
    );
    assert_eq!(events(&bed, "login.refused").await[0]["subject"], "lab");
    // Down between the way there and the way back.
    let there = browser.set_out(&gate(&bed), "corp").await;
    let back = browser.pass(&gate(&bed), there).await;
    corp.set("down", "true").await;
    let seen = browser.get(&back).await;
    refused(&bed, &browser, &seen, "issuer-unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libpq_18_comes_in_with_an_access_token_of_the_issuer_as_who_signed_in_with_it() {
    let provider = Provider::start().await;
    let more = "refresh = \"1s\"\nbearer_audience = \"https://gate.example.com\"\n\
                bearer_scope = \"openid postern\"";
    let bed = bed(crate::support::OPEN, &provider.section("corp", more)).await;
    let show = async |token: &str| libpq::connect(&bed, &provider.url, libpq::OAUTH, token).await;
    let token = provider.access_token("https://gate.example.com").await;
    let (done, message) = show(&token).await;
    assert!(
        !done && message.contains("sign in once with the browser"),
        "nobody is made of it: {message}"
    );
    let mut browser = Browser::default();
    browser.sign_in(&gate(&bed), "corp").await;
    let (done, message) = show(&token).await;
    let place = format!("{}/.well-known/openid-configuration", provider.url);
    let asked = format!("asked for a token of {place} for openid postern\n");
    assert!(done && message.starts_with(&asked) && message.trim().ends_with("app_ro"), "{message}");
    let redeemed = event(&bed, "bearer.redeemed").await;
    assert_eq!(redeemed["detail"]["subject"], "a-1");
    let other = provider.access_token("https://other.example.com").await;
    let (done, message) = show(&other).await;
    assert!(!done && message.contains("for somebody else"), "{message}");
    // What the issuer no longer vouches for is of no use, however long its token lasts.
    provider.set("disable", "a-1").await;
    event(&bed, "person.refused").await;
    let (done, message) = show(&token).await;
    assert!(!done, "{message}");
}

/// Puts the configuration in force with this change.
async fn changed(bed: &Bed, from: &str, to: &str) {
    let text = std::fs::read_to_string(&bed.config).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(&bed.config, text.replace(from, to)).unwrap();
    let inventory = postern::config::Config::load(&bed.config).unwrap().inventory().unwrap();
    bed.gateway.control().sources.reload(inventory).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_an_authority_of_its_own_is_believed_by_that_one_alone() {
    let folder = crate::support::private_folder();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let roots = ["Example Root", "Another Root"].map(|name| {
        let authority = certs::Authority::generate(name, now).unwrap();
        let file = folder.path().join(name.replace(' ', "-"));
        std::fs::write(&file, authority.ca_pem()).unwrap();
        (authority, format!("userinfo = true\nca = \"{}\"", file.display()))
    });
    let [(authority, own), (_, foreign)] = &roots;
    let provider = Provider::behind(authority, folder.path()).await;
    let more = "refresh = \"1s\"\nuserinfo = true";
    let bed = bed(crate::support::OPEN, &provider.section("corp", more)).await;
    let button = gate(&bed).join("/oidc/corp/login").unwrap();
    let mut browser = Browser::default();
    let seen = browser.post(&button, &[("next", "/")]).await;
    refused(&bed, &browser, &seen, "issuer-unavailable").await;
    let refusal = events(&bed, "login.refused").await.remove(0);
    let detail = refusal["detail"]["detail"].as_str().unwrap();
    assert!(detail.contains("certificate"), "{refusal}");
    // Discovery, keys, token and userinfo, and then refresh.
    changed(&bed, "userinfo = true", own).await;
    browser.sign_in(&gate(&bed), "corp").await;
    assert_eq!(actor(&browser, &bed).await.principal.groups.len(), 1);
    provider.set("disable", "a-1").await;
    event(&bed, "person.refused").await;
    // What was learned by one authority says nothing about another.
    changed(&bed, own, foreign).await;
    let mut browser = Browser::default();
    let seen = browser.post(&button, &[("next", "/")]).await;
    refused(&bed, &browser, &seen, "issuer-unavailable").await;
}
