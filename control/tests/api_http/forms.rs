//! The forms of the pages: each wants one of our own pages before it, and all but a few a login.

use axum::http::StatusCode;
use serde_json::Value;

use crate::pages::Browser;
use crate::support::World;

#[tokio::test]
async fn a_form_from_elsewhere_does_nothing() {
    let world = World::new().await;
    let alice = world.login("alice").await;
    let request = world.asked(&alice, "app_rw", "").await["request"].clone();
    let id = request["id"].as_str().unwrap();
    let (bob, dave) = (Browser::of(&world, "bob").await, Browser::of(&world, "dave").await);
    let (csrf_token, other) = (bob.csrf_token().await, dave.csrf_token().await);
    let path = format!("/requests/{id}/approve");
    let digest = request["digest"].as_str().unwrap();
    let form = |csrf_token: &str| format!("csrf_token={csrf_token}&digest={digest}");
    let own: &[_] = &[("sec-fetch-site", "same-origin")];
    for (csrf_token, headers) in [
        (&csrf_token, &[][..]),
        (&csrf_token, &[("origin", "null")]),
        (&csrf_token, &[("origin", "https://evil.example.com")]),
        (&csrf_token, &[("sec-fetch-site", "cross-site")]),
        (&csrf_token, &[("sec-fetch-site", "same-site"), ("origin", "https://gate.example.com")]),
        (&other, own),
        (&String::new(), own),
    ] {
        let answer = bob.post_as(&path, &form(csrf_token), headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}: {}", answer.text);
    }
    let sealless = bob.post_as(&path, &format!("digest={digest}"), own).await;
    assert_eq!(sealless.status, StatusCode::BAD_REQUEST);
    let shown = world.call(&alice, &format!("GET /requests/{id}"), Value::Null).await.json();
    assert_eq!(shown["state"], "pending");
    let answer = bob.post_as(&path, &form(&csrf_token), own).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
}

/// Forms that a login and a page of ours come before.
const FORMS: [&str; 35] = [
    "/logout",
    "/logins/end",
    "/logins/ls-aaaaaaaaaaaa/end",
    "/device",
    "/c/ho-aaaaaaaaaaaa/say",
    "/device/confirm",
    "/device/deny",
    "/keys/add",
    "/keys/register",
    "/keys/pk-aaaaaaaaaaaa/rename",
    "/keys/pk-aaaaaaaaaaaa/remove",
    "/keys/totp/add",
    "/keys/totp/confirm",
    "/keys/totp/remove",
    "/keys/ssh/add",
    "/keys/ssh/prove",
    "/keys/ssh/sk-aaaaaaaaaaaa/confirm",
    "/keys/ssh/sk-aaaaaaaaaaaa/remove",
    "/invites",
    "/recovery",
    "/recovery/rc-aaaaaaaaaaaa",
    "/r/rq-aaaaaaaaaaaa/prove",
    "/requests/rq-aaaaaaaaaaaa/approve",
    "/requests/rq-aaaaaaaaaaaa/deny",
    "/ask",
    "/requests/rq-aaaaaaaaaaaa/edit",
    "/requests/rq-aaaaaaaaaaaa/withdraw",
    "/grants/gr-aaaaaaaaaaaa/done",
    "/grants/gr-aaaaaaaaaaaa/extend",
    "/reviews/rv-aaaaaaaaaaaa/sign",
    "/notifications/retry",
    "/notifications/xx-aaaaaaaaaaaa/retry",
    "/channels/ops/on",
    "/c/ho-aaaaaaaaaaaa",
    "/c/ho-aaaaaaaaaaaa/confirm",
];

/// Forms that lead to a login, and the one that issuers send.
const OPEN_FORMS: [&str; 4] =
    ["/login", "/login/passkey", "/oidc/corp/login", "/oidc/corp/backchannel"];

/// The forms that the router takes, with a name in braces where something is filled in.
fn routed_forms() -> Vec<&'static str> {
    let source = include_str!("../../src/http/pages/mod.rs");
    let routes = source.split("pub(crate) fn routes()").nth(1).unwrap();
    let routes = routes.split("\n}").next().unwrap().split(".route(\"").skip(1);
    let forms = routes.filter(|route| route.contains("post("));
    forms.map(|route| route.split('"').next().unwrap()).collect()
}

fn fits(pattern: &str, path: &str) -> bool {
    let (wanted, given) = (pattern.split('/'), path.split('/'));
    wanted.clone().count() == given.clone().count()
        && wanted.zip(given).all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
}

#[test]
fn every_form_of_the_router_has_a_row_here() {
    let routed = routed_forms();
    assert!(routed.len() > 20, "{routed:?}");
    for pattern in routed {
        let mut rows = FORMS.iter().chain(&OPEN_FORMS);
        assert!(rows.any(|path| fits(pattern, path)), "`{pattern}` has no row");
    }
}

#[tokio::test]
async fn every_form_of_the_pages_wants_our_own_page_and_a_login() {
    let world = World::new().await;
    let (alice, nobody) = (Browser::of(&world, "alice").await, Browser::stranger(&world));
    for path in FORMS {
        let cross = [("sec-fetch-site", "cross-site")];
        let answer = alice.post_as(path, "csrf_token=x", &cross).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(alice.post(path, "csrf_token=x").await.status, StatusCode::FORBIDDEN, "{path}");
        let answer = nobody.post(path, "csrf_token=x").await;
        assert!(answer.header("location").starts_with("/login"), "{path}: {}", answer.text);
    }
    let form = format!("code={}", world.code("dave").await);
    let cross = [("origin", "https://evil.example.com")];
    for (path, form) in [
        ("/login", form.as_str()),
        ("/login/passkey", "challenge=x&proof=x"),
        ("/oidc/corp/login", "next=/"),
    ] {
        let answer = nobody.post_as(path, form, &cross).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (StatusCode::FORBIDDEN, ""));
    }
    let answer = nobody.post_as("/oidc/corp/backchannel", "logout_token=e30.e30.e30", &[]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "no such issuer: {}", answer.text);
}
