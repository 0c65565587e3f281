//! Journeys through the API: asking, deciding, ending, and looking at what was done.

use serde_json::{Value, json};

use crate::support::World;

#[tokio::test]
async fn a_request_is_asked_approved_and_given_back() {
    let world = World::new().await;
    let (alice, bob) = (world.login("alice").await, world.login("bob").await);
    let asked = world.asked(&alice, "app_rw", "OPS-7").await;
    let request = &asked["request"];
    assert_eq!(request["state"], "pending");
    assert_eq!(request["resource"], "app_rw@orders/shop");
    assert_eq!(request["needs"], json!(["1 of dba"]));
    assert_eq!(request["asked_at"], "2027-01-15T08:00:00.000Z");
    assert_eq!((&asked["grant"], &request["may_decide"]), (&Value::Null, &json!(false)));

    let inbox = world.call(&bob, "GET /requests?scope=inbox&state=pending", Value::Null).await;
    let seen = &inbox.json()["items"][0];
    assert_eq!((&seen["reason"], &seen["may_decide"]), (&json!("OPS-7"), &json!(true)));

    let approve = format!("POST /requests/{}/approve", request["id"].as_str().unwrap());
    let stale = json!({ "digest": "0".repeat(64) });
    world.call(&bob, &approve, stale).await.refused(409);
    let yes = json!({ "digest": seen["digest"], "shorten": "30m" });
    let approved = world.call(&bob, &approve, yes).await.json();
    assert_eq!(approved["request"]["state"], "granted");
    assert_eq!(approved["request"]["approvals"][0]["by"], "bob");
    assert_eq!(approved["grant"]["ttl"], "30m");

    let grants = world.call(&alice, "GET /grants?live=true", Value::Null).await.json();
    let grant = &grants["items"][0];
    assert_eq!(grant["state"], "granted");
    let done = format!("POST /grants/{}/done", grant["id"].as_str().unwrap());
    let ended = world.call(&alice, &done, Value::Null).await.json();
    assert_eq!((&ended["state"], &ended["end"]), (&json!("ended"), &json!("done")));
    world.call(&alice, &done, Value::Null).await.refused(409);
}

#[tokio::test]
async fn nobody_approves_their_own() {
    let world = World::new().await;
    let alice = world.login("alice").await;
    let request = world.asked(&alice, "app_rw", "").await["request"].clone();
    let approve = format!("POST /requests/{}/approve", request["id"].as_str().unwrap());
    world.call(&alice, &approve, json!({ "digest": request["digest"] })).await.refused(403);
}

#[tokio::test]
async fn a_request_sent_again_gets_its_first_answer() {
    let world = World::new().await;
    let (alice, dave) = (world.login("alice").await, world.login("dave").await);
    let key = [("idempotency-key", "k-1")];
    let requested = json!({ "resource": "app_rw@orders", "reason": "r" });
    let ask = async |token: &str, requested: &Value| {
        world.call_with(token, "POST /requests", requested.clone(), &key).await
    };
    let first = ask(&alice, &requested).await.json();
    let id = first["request"]["id"].as_str().unwrap().to_owned();
    world.call(&alice, &format!("POST /requests/{id}/withdraw"), Value::Null).await;
    assert_eq!(ask(&alice, &requested).await.json(), first);
    ask(&alice, &json!({ "resource": "app_ro@orders", "reason": "r" })).await.refused(422);
    assert_ne!(ask(&dave, &requested).await.json()["request"]["id"], json!(id));
    world.clock.advance(policies::Ttl::from_secs(24 * 3_600));
    let alice = world.login("alice").await;
    assert_ne!(ask(&alice, &requested).await.json()["request"]["id"], json!(id));
}

#[tokio::test]
async fn lists_come_in_pages_and_each_item_once() {
    let world = World::new().await;
    let (alice, bob) = (world.login("alice").await, world.login("bob").await);
    let mut asked = Vec::new();
    for number in 0..5 {
        let request = world.asked(&alice, "app_rw", &number.to_string()).await["request"].clone();
        let id = request["id"].as_str().unwrap().to_owned();
        let deny = format!("POST /requests/{id}/deny");
        world.call(&bob, &deny, json!({ "reason": "no" })).await;
        asked.push(id);
    }
    let (mut seen, mut path) = (Vec::new(), "GET /requests?limit=2".to_owned());
    loop {
        let page = world.call(&alice, &path, Value::Null).await.json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("GET /requests?limit=2&cursor={next}");
    }
    asked.reverse();
    assert_eq!(seen, asked);
}

#[tokio::test]
async fn a_lock_is_set_shown_and_lifted() {
    let world = World::new().await;
    let (alice, carol) = (world.login("alice").await, world.login("carol").await);
    let requested = json!({ "subject": "principal:alice", "reason": "incident 7", "for": "1h" });
    let lock = world.call(&carol, "POST /locks", requested).await.json();
    assert_eq!(lock["until"], "2027-01-15T09:00:00.000Z");
    assert_eq!(lock["known"], true);
    let misspelt = json!({ "subject": "login:app_rx@orders", "reason": "incident 7" });
    assert_eq!(world.call(&carol, "POST /locks", misspelt).await.json()["known"], false);
    let ask = json!({ "resource": "app_ro@orders" });
    let refused = world.call(&alice, "POST /requests", ask.clone()).await.refused(403);
    assert!(refused["detail"].as_str().unwrap().contains("incident 7"), "{refused}");
    let lift = format!("DELETE /locks/{}", lock["id"].as_str().unwrap());
    assert_eq!(world.call(&carol, &lift, Value::Null).await.status, 204);
    assert_eq!(world.call(&alice, "POST /requests", ask).await.status, 200);
}

#[tokio::test]
async fn a_token_is_told_once() {
    let world = World::new().await;
    let alice = world.login("alice").await;
    let requested = json!({ "resource": "app_ro@orders", "ttl": "10m", "uses": 1 });
    let minted = world.call(&alice, "POST /tokens", requested).await.json();
    let secret = minted["token"].as_str().unwrap();
    assert!(secret.starts_with("pst_"), "{secret}");
    let listed = world.call(&alice, "GET /tokens", Value::Null).await;
    assert!(!listed.text.contains(secret), "{}", listed.text);
    assert_eq!(listed.json()["items"][0]["uses_left"], 1);
}

#[tokio::test]
async fn a_login_is_good_once_and_until_it_ends() {
    let world = World::new().await;
    let code = world.code("alice").await;
    let body = json!({ "code": code });
    let first = world.call("", "POST /login", body.clone()).await.json();
    assert_eq!(first["principal"]["id"], "alice");
    assert!(first["ca_pem"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
    assert_eq!(first["targets"][0]["logins"][0]["verdict"], "free");
    assert_eq!(first["targets"][0]["logins"][1]["needs"], json!(["1 of dba"]));
    world.call("", "POST /login", body).await.refused(401);
    let token = first["token"].as_str().unwrap();
    assert_eq!(world.call(token, "POST /logout", Value::Null).await.status, 204);
    world.call(token, "GET /me", Value::Null).await.refused(401);

    let token = world.login("alice").await;
    world.clock.advance(policies::Ttl::from_secs(12 * 3_600));
    world.call(&token, "GET /me", Value::Null).await.refused(401);
}

#[tokio::test]
async fn a_bad_signing_request_leaves_the_code_unspent() {
    let world = World::new().await;
    let code = world.code("alice").await;
    let bad = json!({ "code": code, "csr": "none", "device": "laptop" });
    world.call("", "POST /login", bad).await.refused(400);
    let csr = certs::NewRequest::generate().unwrap();
    let lonely = json!({ "code": code, "csr": csr.csr_pem });
    world.call("", "POST /login", lonely).await.refused(400);
    let good = json!({ "code": code, "csr": csr.csr_pem, "device": "laptop" });
    let login = world.call("", "POST /login", good).await.json();
    let pem = login["certificate"]["pem"].as_str().unwrap();
    assert!(pem.contains("BEGIN CERTIFICATE"), "{pem}");
}

#[tokio::test]
async fn a_waiting_connection_is_shown_and_confirmed_by_its_code() {
    let world = World::new().await;
    let alice = world.login("alice").await;
    let (mut waits, confirm) = world.hold("192.0.2.7:50000", "psql", "looking").await;
    let code = json!({ "code": confirm.code });
    let hold = world.call(&alice, "POST /holds/lookup", code).await.json();
    assert_eq!(hold["resource"], "app_ro@orders/shop");
    assert_eq!((&hold["application"], &hold["client_differs"]), (&json!("psql"), &json!(true)));
    let yes = json!({ "code": confirm.code, "digest": hold["digest"] });
    let confirmed = world.call(&alice, "POST /holds/confirm", yes.clone()).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text);
    world.call(&alice, "POST /holds/confirm", yes).await.refused(404);
    let event = waits.message().await.unwrap().unwrap().event;
    match event {
        Some(link::v1::ask_event::Event::Confirmed(identity)) => {
            assert_eq!(identity.principal, "alice");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sessions_and_recordings_are_shown_to_those_who_may_see_them() {
    let world = World::new().await;
    let (alice, erin) = (world.login("alice").await, world.login("erin").await);
    let grant = world.asked(&alice, "app_ro", "").await["grant"]["id"].clone();
    world.session(grant.as_str().unwrap(), "se-aaaaaaaaaaaa").await;
    let own = world.call(&alice, "GET /sessions?live=true", Value::Null).await.json();
    let session = &own["items"][0];
    assert_eq!((&session["live"], &session["client"]), (&json!(true), &json!("192.0.2.7:50000")));
    assert_eq!(session["authn"]["method"], "certificate");
    let path = "GET /sessions/se-aaaaaaaaaaaa/recording";
    let recording = world.call(&erin, path, Value::Null).await;
    assert_eq!(recording.text, "frames");
    assert_eq!(recording.header("content-type"), "application/octet-stream");
    let named = "attachment; filename=\"se-aaaaaaaaaaaa.rec\"";
    assert_eq!(recording.header("content-disposition"), named);
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what() {
    let world = World::new().await;
    let (alice, erin) = (world.login("alice").await, world.login("erin").await);
    world.asked(&alice, "app_ro", "").await;
    let log = world.call(&erin, "GET /audit?limit=200", Value::Null).await.json();
    let events = log["items"].as_array().unwrap();
    let asked = events.iter().find(|event| event["kind"] == "request.asked").unwrap();
    assert_eq!(asked["actor"], "principal:alice");
    assert!(asked["at"].as_str().unwrap().starts_with("2027-01-15T08:00:00"), "{asked}");
}

fn path(verb: &str, request: &Value) -> String {
    format!("POST /requests/{}/{verb}", request["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_request_is_said_otherwise_while_it_waits() {
    let world = World::new().await;
    let (alice, bob) = (world.login("alice").await, world.login("bob").await);
    let request = world.asked(&alice, "app_rw", "order 7").await["request"].clone();
    let edit = json!({ "reason": "order 8", "ttl": "10m", "ticket": "OPS-12" });
    let edited = world.call(&alice, &path("edit", &request), edit.clone()).await.json();
    assert_eq!(edited["request"]["ticket"], "OPS-12");
    assert_ne!(edited["request"]["digest"], request["digest"]);
    world.call(&alice, &path("edit", &request), edit).await.refused(409);
    let stale = json!({ "digest": request["digest"] });
    world.call(&bob, &path("approve", &request), stale).await.refused(409);
    let fresh = json!({ "digest": edited["request"]["digest"] });
    let approved = world.call(&bob, &path("approve", &request), fresh).await.json();
    assert_eq!(approved["grant"]["ttl"], "10m");
    world.call(&alice, &path("edit", &request), json!({ "reason": "late" })).await.refused(409);
}

#[tokio::test]
async fn several_things_are_asked_for_at_once_and_for_later() {
    let world = World::new().await;
    let (alice, bob) = (world.login("alice").await, world.login("bob").await);
    let requested = json!({
        "resource": "app_rw@orders", "also": ["app_ro@orders"], "starts_at": "2h",
    });
    let asked = world.call(&alice, "POST /requests", requested).await.json()["request"].clone();
    assert_eq!(asked["also"], json!(["app_ro@orders/shop"]));
    assert_eq!(asked["starts_at"], "2027-01-15T10:00:00.000Z");
    let yes = json!({ "digest": asked["digest"] });
    let approved = world.call(&bob, &path("approve", &asked), yes).await.json();
    assert_eq!(approved["grant"]["state"], "scheduled");
    assert_eq!(approved["also"].as_array().unwrap().len(), 1);
    assert_eq!(approved["request"]["grants"].as_array().unwrap().len(), 2);
    for bad in [
        json!({ "resource": "app_rw@orders", "starts_at": "yesterday" }),
        json!({ "resource": "app_rw@orders", "starts_at": "2020-01-01T00:00:00Z" }),
        json!({ "resource": "app_rw@orders", "starts_at": "60d" }),
        json!({ "resource": "app_rw@orders", "also": ["orders"] }),
        json!({ "resource": "app_rw@orders", "also": ["app_ro@orders"], "break_glass": true }),
    ] {
        world.call(&alice, "POST /requests", bad).await.refused(400);
    }
}

#[tokio::test]
async fn what_nobody_set_up_takes_no_messages() {
    let world = World::new().await;
    let signed =
        [("webhook-id", "msg_1"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AA==")];
    let body = json!({ "ticket": "OPS-12", "state": "closed" });
    world.call_with("", "POST /hooks/tickets", body.clone(), &signed).await.refused(404);
    world.call_with("", "POST /hooks/tickets", body.clone(), &signed[..2]).await.refused(400);
    let twice = [&signed[..], &signed[..1]].concat();
    world.call_with("", "POST /hooks/tickets", body, &twice).await.refused(400);
}

#[tokio::test]
async fn what_the_rules_say_is_explained_to_oneself_and_to_who_oversees() {
    let world = World::new().await;
    let (alice, carol) = (world.login("alice").await, world.login("carol").await);
    let ask = async |token: &str, query: &str| {
        let what = format!("GET /targets/orders/explain?{query}");
        world.call(token, &what, Value::Null).await
    };
    let message = ask(&alice, "login=app_rw&ttl=20m").await.json();
    assert_eq!(
        (&message["verdict"], &message["takes"]),
        (&json!("takes"), &json!(["1 of dba must approve"]))
    );
    assert_eq!(message["resource"], "app_rw@orders/shop");
    assert_eq!(message["approvers"][0]["wanted"], "1 of dba");
    assert_eq!(message["approvers"][0]["people"], json!(["Bob (bob)"]));
    let rules: Vec<_> =
        message["rules"].as_array().unwrap().iter().map(|rule| &rule["title"]).collect();
    assert_eq!(rules, ["engineers ask", "writing takes a DBA"]);
    assert_eq!(
        message["otherwise"],
        json!([]),
        "how to get around a rule is for who oversees them"
    );
    assert_eq!(ask(&alice, "login=app_ro").await.json()["verdict"], "free");
    assert_eq!(ask(&alice, "login=app_ro&break_glass=true").await.json()["verdict"], "denied");

    let message = ask(&carol, "login=app_rw&who=alice").await.json();
    assert_eq!((&message["who"], &message["verdict"]), (&json!("alice"), &json!("takes")));
    assert!(!message["otherwise"].as_array().unwrap().is_empty(), "{message}");
    assert_eq!(ask(&carol, "login=app_rw").await.json()["verdict"], "denied");

    let lock = json!({ "subject": "login:app_ro@orders", "reason": "incident 7" });
    assert_eq!(world.call(&carol, "POST /locks", lock).await.status, 200);
    let locked = ask(&alice, "login=app_ro").await.json();
    assert_eq!(locked["verdict"], "denied");
    assert!(locked["answer"].as_str().unwrap().contains("incident 7"), "{locked}");

    ask(&carol, "login=app_rw&who=nobody").await.refused(404);
    ask(&alice, "login=none").await.refused(404);
    ask(&alice, "login=app_rw&else=1").await.refused(400);
    ask(&alice, "login=app_rw&ttl=soon").await.refused(400);
    world.call(&alice, "GET /targets/bills/explain?login=app_rw", Value::Null).await.refused(404);
    let asked = world.call(&alice, "GET /requests", Value::Null).await.json();
    assert_eq!(asked["items"], json!([]), "nothing is asked for by an explanation");
}
