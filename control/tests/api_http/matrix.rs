//! Who may do what: every endpoint by everybody who isn't meant, on things that are alice's.
//!
//! An endpoint that has no row fails the test.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::World;
use crate::surface::operations;

/// A plain engineer, an approver, an auditor, an admin.
const WHO: [&str; 4] = ["dave", "bob", "erin", "carol"];

/// The operation, its body, and what each of [`WHO`] gets.
///
/// In braces stands what is alice's: `{request}` (pending, for `app_rw`), `{grant}` (for `app_ro`),
/// `{session}`, `{token}`, `{lock}` (set by carol), `{login}` (her login session), the `{target}`, and what is in the body: `{digest}` of the request,
/// `{code}` of a waiting connection.
const ROWS: &[(&str, &str, [u16; 4])] = &[
    ("GET /me", "", [200, 200, 200, 200]),
    ("POST /logout", "", [204, 204, 204, 204]),
    ("POST /certificate", r#"{"csr":"none","device":"d"}"#, [400, 400, 400, 400]),
    ("POST /ssh/certificate", r#"{"public_key":"none","device":"d"}"#, [404, 404, 404, 404]),
    ("GET /logins", "", [200, 200, 200, 200]),
    ("GET /logins?scope=all", "", [403, 403, 200, 200]),
    ("GET /passkeys", "", [200, 200, 200, 200]),
    ("POST /passkeys/{passkey}/rename", r#"{"name":"mine"}"#, [404, 404, 404, 404]),
    ("POST /passkeys/{passkey}/removal", "", [404, 404, 404, 404]),
    ("DELETE /passkeys/{passkey}", r#"{"challenge":"ch-1","totp":"123456"}"#, [404, 404, 404, 404]),
    ("GET /ssh-keys", "", [200, 200, 200, 200]),
    ("GET /ssh-keys?scope=all", "", [403, 403, 200, 200]),
    ("POST /ssh-keys/challenge", r#"{"public_key":"none"}"#, [400, 400, 400, 400]),
    ("POST /ssh-keys", r#"{"challenge":"ch-1","signature":"s","name":"n"}"#, [403, 403, 403, 403]),
    ("DELETE /ssh-keys/{ssh_key}", "", [404, 404, 404, 404]),
    ("DELETE /logins/{login}", "", [404, 404, 404, 204]),
    ("POST /logins/end", "{}", [200, 200, 200, 200]),
    ("POST /logins/end", r#"{"principal":"alice"}"#, [403, 403, 403, 200]),
    ("GET /targets", "", [200, 200, 200, 200]),
    ("GET /targets/{target}/explain?login=app_rw", "", [200, 200, 200, 200]),
    ("GET /targets/{target}/explain?login=app_rw&who=alice", "", [403, 403, 200, 200]),
    ("GET /requests", "", [200, 200, 200, 200]),
    ("GET /requests?scope=inbox", "", [200, 200, 200, 200]),
    ("GET /requests?scope=all", "", [403, 403, 200, 200]),
    ("POST /requests", r#"{"resource":"app_ro@orders"}"#, [200, 403, 403, 403]),
    ("POST /requests", r#"{"resource":"dba@orders"}"#, [403, 403, 403, 403]),
    ("GET /requests/{request}", "", [404, 200, 200, 200]),
    ("POST /requests/{request}/approve", r#"{"digest":"{digest}"}"#, [403, 200, 403, 403]),
    ("POST /requests/{request}/approve", r#"{"digest":"other"}"#, [403, 409, 403, 403]),
    ("POST /requests/{request}/deny", r#"{"reason":"no"}"#, [403, 200, 403, 403]),
    ("POST /requests/{request}/withdraw", "", [403, 403, 403, 403]),
    ("POST /requests/{request}/edit", r#"{"reason":"other"}"#, [403, 403, 403, 403]),
    ("GET /grants", "", [200, 200, 200, 200]),
    ("GET /grants?scope=all", "", [403, 403, 200, 200]),
    ("GET /grants/{grant}", "", [404, 404, 200, 200]),
    ("POST /grants/{grant}/done", "", [403, 403, 403, 403]),
    ("POST /grants/{grant}/revoke", r#"{"reason":"no"}"#, [403, 403, 403, 200]),
    ("POST /grants/{grant}/extend", r#"{"ttl":"5m"}"#, [404, 404, 404, 404]),
    ("GET /reviews", "", [200, 200, 200, 200]),
    ("GET /reviews?all=true", "", [200, 200, 200, 200]),
    ("GET /reviews/{review}", "", [404, 404, 404, 404]),
    ("POST /reviews/{review}/sign", r#"{"note":"read"}"#, [404, 404, 404, 404]),
    ("GET /locks", "", [200, 200, 200, 200]),
    ("POST /locks", r#"{"subject":"target:orders","reason":"r"}"#, [403, 403, 403, 200]),
    ("POST /locks", r#"{"subject":"group:crew","reason":"r"}"#, [403, 403, 403, 200]),
    ("DELETE /locks/{lock}", "", [403, 403, 403, 204]),
    ("GET /tokens", "", [200, 200, 200, 200]),
    ("GET /tokens?scope=all", "", [403, 403, 200, 200]),
    ("POST /tokens", r#"{"resource":"app_ro@orders"}"#, [200, 403, 403, 403]),
    ("DELETE /tokens/{token}", "", [404, 404, 404, 204]),
    ("POST /holds/lookup", r#"{"code":"{code}"}"#, [200, 200, 200, 200]),
    ("POST /holds/lookup", r#"{"code":"AAAA-AAAA"}"#, [404, 404, 404, 404]),
    ("POST /holds/confirm", r#"{"code":"{code}","digest":"other"}"#, [409, 409, 409, 409]),
    ("POST /holds/say", r#"{"code":"{code}","digest":"other"}"#, [409, 409, 409, 409]),
    ("GET /sessions", "", [200, 200, 200, 200]),
    ("GET /sessions?scope=all", "", [403, 403, 200, 200]),
    ("GET /sessions/{session}", "", [404, 404, 200, 200]),
    ("GET /sessions/{session}/recording", "", [403, 403, 200, 200]),
    ("GET /audit", "", [403, 403, 200, 200]),
    ("GET /audit/{session}", "", [403, 403, 200, 200]),
    ("POST /invites", r#"{"principal":"alice"}"#, [403, 403, 403, 200]),
    ("GET /notifications", "", [403, 403, 403, 200]),
    ("POST /notifications/retry", "", [403, 403, 403, 200]),
    ("POST /notifications/{message}/retry", "", [403, 403, 403, 404]),
    ("POST /notifications/{message}/replay", "", [403, 403, 403, 404]),
    ("GET /channels", "", [403, 403, 403, 200]),
    ("POST /channels/{channel}/test", "", [403, 403, 403, 404]),
    ("POST /channels/{channel}/on", "", [403, 403, 403, 404]),
    // Nobody here has anything to prove themselves with.
    ("POST /invites/challenge", r#"{"principal":"alice"}"#, [409, 409, 409, 409]),
];

/// What is alice's, by the names that the rows use.
struct Hers(Vec<(&'static str, String)>);

impl Hers {
    async fn in_world(world: &World) -> Self {
        let alice = world.login("alice").await;
        let request = world.asked(&alice, "app_rw", "a ticket").await["request"].clone();
        let grant = world.asked(&alice, "app_ro", "").await["grant"]["id"].clone();
        let resource = json!({ "resource": "app_ro@orders" });
        let token = world.call(&alice, "POST /tokens", resource).await.json()["id"].clone();
        world.session(text(&grant), "se-aaaaaaaaaaaa").await;
        let logins = world.call(&alice, "GET /logins", Value::Null).await.json();
        let login = logins["items"][0]["id"].clone();
        let carol = world.login("carol").await;
        let lock = json!({ "subject": "device:lost", "reason": "lost" });
        let lock = world.call(&carol, "POST /locks", lock).await.json()["id"].clone();
        Self(vec![
            ("{request}", text(&request["id"]).into()),
            ("{digest}", text(&request["digest"]).into()),
            ("{grant}", text(&grant).into()),
            ("{session}", "se-aaaaaaaaaaaa".into()),
            ("{passkey}", "pk-aaaaaaaaaaaa".into()),
            ("{ssh_key}", "sk-aaaaaaaaaaaa".into()),
            ("{review}", "rv-aaaaaaaaaaaa".into()),
            ("{token}", text(&token).into()),
            ("{message}", "msg-aaaaaaaaaaaa".into()),
            ("{channel}", "none".into()),
            ("{target}", "orders".into()),
            ("{lock}", text(&lock).into()),
            ("{login}", text(&login).into()),
        ])
    }

    fn fill(&self, text: &str) -> String {
        let all = self.0.iter();
        all.fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[rstest]
#[tokio::test]
async fn nobody_does_what_is_not_theirs_to_do(#[values(0, 1, 2, 3)] place: usize) {
    let who = WHO[place];
    // What is read or forbidden changes nothing, so that all of it shares one world.
    let shared = Scene::of(who).await;
    for (operation, body, expected) in ROWS {
        let status = expected[place];
        if operation.starts_with("GET ") || status == 403 {
            shared.check(operation, body, status).await;
        } else {
            Scene::of(who).await.check(operation, body, status).await;
        }
    }
}

/// A fresh world, and somebody in it who is signed in.
struct Scene {
    world: World,
    hers: Hers,
    who: &'static str,
    token: String,
}

impl Scene {
    async fn of(who: &'static str) -> Self {
        let world = World::new().await;
        let hers = Hers::in_world(&world).await;
        let token = world.login(who).await;
        Self { world, hers, who, token }
    }

    async fn check(&self, operation: &str, body: &str, status: u16) {
        let (_waits, confirm) = self.world.hold("192.0.2.7:50000", "psql", "").await;
        let body = self.hers.fill(body).replace("{code}", &confirm.code);
        let body = serde_json::from_str(&body).unwrap_or(Value::Null);
        let answer = self.world.call(&self.token, &self.hers.fill(operation), body).await;
        let message = format!("{}: {operation}: {}", self.who, answer.text);
        assert_eq!(answer.status.as_u16(), status, "{message}");
        if status >= 400 {
            answer.refused(status);
        }
    }
}

#[tokio::test]
async fn every_endpoint_has_a_row() {
    let world = World::new().await;
    let bare = |operation: &str| {
        let path = operation.split('?').next().unwrap();
        let parts = path.split('/').map(|part| if part.starts_with('{') { "{id}" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let rows: BTreeSet<String> = ROWS.iter().map(|(operation, ..)| bare(operation)).collect();
    let all = operations(&world).await;
    let closed = all.into_iter().filter(|(_, described)| described["security"] != json!([{}]));
    let wanted: BTreeSet<String> = closed.map(|(operation, _)| operation).collect();
    assert_eq!(rows, wanted);
}
