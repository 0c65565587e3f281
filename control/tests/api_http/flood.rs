//! Floods at the endpoints that nobody has to be signed in for: the audit log grows by a few rows.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{World, from};
use crate::surface::operations;

/// How many requests of how many addresses of one network.
const FLOOD: (u8, usize) = (10, 40);
/// How many refusals of one kind and network are written one by one.
const AT_FIRST: usize = 20;

/// Every open endpoint with something that it refuses, and whether a refusal is worth a row where what
/// it needs is configured.
const OPEN: [(&str, &str, bool); 16] = [
    ("GET /api/v1/health", "", false),
    ("GET /api/v1/openapi.json", "", false),
    ("POST /api/v1/login", r#"{"code":"{secret}"}"#, true),
    ("POST /api/v1/device", r#"{"device":"d","csr":"none"}"#, false),
    ("POST /api/v1/device/token", r#"{"device_code":"pdc_{secret}"}"#, false),
    ("POST /api/v1/token-exchange", "{exchange}", true),
    ("POST /api/v1/hooks/tickets", r#"{"ticket":"OPS-1","state":"closed"}"#, false),
    ("GET /login", "", false),
    ("POST /login", "code={secret}", true),
    ("POST /login/passkey", "challenge=none&proof=none", true),
    ("GET /style.css", "", false),
    ("GET /assets/passkey.js", "", false),
    ("POST /oidc/corp/login", "next=/", true),
    ("GET /oidc/corp/callback?code=a&state=b", "", true),
    ("POST /oidc/corp/backchannel", "logout_token=none", true),
    ("POST /oidc/lab/login", "next=/", false),
];

/// Which of them need something that an inventory may lack.
const OPTIONAL: [&str; 2] = ["/api/v1/token-exchange", "/oidc/"];

fn request(what: &str, body: &str, exchange: &str) -> Request<Body> {
    let (method, path) = what.split_once(' ').unwrap();
    let secret = "a".repeat(52);
    let body = body.replace("{secret}", &secret).replace("{exchange}", exchange);
    let media = if body.starts_with('{') {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    let request = Request::builder().method(method).uri(path).header("content-type", media);
    let signed = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let request = signed.iter().fold(request, |request, name| request.header(*name, "1"));
    // As a form of our own pages is sent.
    let request = request.header("sec-fetch-site", "same-origin").header("origin", "null");
    request.body(Body::from(body)).unwrap()
}

/// A workload that shows a token of nobody.
fn exchange() -> String {
    let csr = certs::NewRequest::generate().unwrap().csr_pem;
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
        .append_pair("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")
        .append_pair("subject_token", "none")
        .append_pair("workload", "ci")
        .append_pair("csr", &csr);
    form.finish()
}

/// How many rows the audit log has.
async fn rows(world: &World, erin: &str) -> usize {
    let log = world.call(erin, "GET /audit?limit=200", Value::Null).await.json();
    log["items"].as_array().unwrap().len()
}

/// By how many rows a flood makes the audit log grow.
async fn growth(world: &World, what: &str, body: &str) -> usize {
    let (erin, exchange) = (world.login("erin").await, exchange());
    let before = rows(world, &erin).await;
    for _ in 0..FLOOD.1 {
        for host in 1..=FLOOD.0 {
            let request = request(what, body, &exchange);
            world.send(from(&format!("203.0.113.{host}:40000"), request)).await;
        }
    }
    rows(world, &erin).await - before
}

#[tokio::test]
async fn a_flood_at_any_open_endpoint_grows_the_audit_log_by_a_few_rows() {
    for (what, body, is_told) in OPEN {
        let world = World::federated().await;
        let grown = growth(&world, what, body).await;
        assert_eq!(grown, if is_told { AT_FIRST } else { 0 }, "{what}");
        // A flood from one network hides nothing of another.
        if is_told {
            let erin = world.login("erin").await;
            let before = rows(&world, &erin).await;
            world.send(from("198.51.100.1:40000", request(what, body, &exchange()))).await;
            assert_eq!(rows(&world, &erin).await, before + 1, "{what}");
        }
    }
}

#[tokio::test]
async fn where_a_feature_is_not_configured_its_endpoints_write_nothing() {
    let optional = |what: &str| OPTIONAL.iter().any(|path| what.contains(path));
    for (what, body, _) in OPEN.into_iter().filter(|(what, ..)| optional(what)) {
        let world = World::new().await;
        assert_eq!(growth(&world, what, body).await, 0, "{what}");
    }
}

#[tokio::test]
async fn every_open_endpoint_is_flooded_here() {
    let world = World::new().await;
    let open: BTreeSet<&str> =
        OPEN.iter().map(|(what, ..)| what.split('?').next().unwrap()).collect();
    let described = operations(&world).await.into_iter();
    let described = described.filter(|(_, operation)| operation["security"] == json!([{}]));
    for (operation, _) in described {
        let (method, path) = operation.split_once(' ').unwrap();
        assert!(open.contains(format!("{method} /api/v1{path}").as_str()), "{operation}");
    }
    // What the router calls its own answer to unknown addresses is no page.
    let is_page = |path: &String| !path.starts_with("/api/") && !path.contains("axum_fallback");
    let pages = world.paths().into_iter().filter(is_page);
    let pages: Vec<String> = pages.collect();
    assert!(pages.len() > 30, "{pages:?}");
    for page in pages {
        for method in ["GET", "POST"] {
            let shown = page.replace("{issuer}", "corp").replace("{id}", "xx-aaaaaaaaaaaa");
            let what = format!("{method} {}", shown.replace("{name}", "none"));
            if open.contains(what.as_str()) {
                continue;
            }
            let answer = world.send(from("203.0.113.1:40000", request(&what, "", ""))).await;
            let to_login = answer.header("location").starts_with("/login");
            let refused = answer.status == StatusCode::METHOD_NOT_ALLOWED || to_login;
            assert!(refused, "{what} is open, and has no row: {} {}", answer.status, answer.text);
        }
    }
}
