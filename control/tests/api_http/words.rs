//! The forms say what the rules want to know, before and after somebody sends them.

use axum::http::StatusCode;
use link::v1::ask_event::Event;
use serde_json::{Value, json};

use crate::pages::{Browser, field};
use crate::support::World;

#[tokio::test]
async fn the_form_says_what_the_rules_want_to_be_told_and_keeps_what_was_typed() {
    let world = World::new().await;
    let alice = Browser::of(&world, "alice").await;
    let page = alice.get("/ask").await.text;
    for message in [
        "<a href=\"/ask?for=reports%40orders\">",
        "a ticket like OPS-[0-9]+ · a reason of 12 characters",
        "takes 1 of dba",
        "not for you: no rule permits it",
    ] {
        assert!(page.contains(message), "{message}: {page}");
    }
    let page = alice.get("/ask?for=reports%40orders").await.text;
    assert!(page.contains(">reports@orders</textarea>"), "{page}");
    assert!(page.contains("(wanted here, like OPS-[0-9]+)"), "{page}");
    assert!(page.contains("required minlength=\"12\""), "{page}");
    let hostile = alice.get("/ask?for=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await.text;
    assert!(!hostile.contains("<script>alert"), "{hostile}");

    let form = |ticket: &str, reason: &str| {
        let csrf_token = field(&page, "csrf_token");
        format!(
            "csrf_token={csrf_token}&resource=reports%40orders&span=20m&ticket={ticket}&reason={reason}"
        )
    };
    for (ticket, reason, message) in [
        ("", "the+monthly+figures", "OPS-[0-9]+"),
        ("INC-7", "the+monthly+figures", "OPS-[0-9]+"),
        ("OPS-7", "figures", "at least 12 characters"),
    ] {
        let answer = alice.post("/ask", &form(ticket, reason)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert!(answer.text.contains("role=\"alert\"") && answer.text.contains(message));
        assert!(answer.text.contains("value=\"20m\""), "{}", answer.text);
        assert!(answer.text.contains(&format!("value=\"{ticket}\"")), "{}", answer.text);
    }
    let answer = alice.post("/ask", &form("OPS-7", "the+monthly+figures")).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
}

#[tokio::test]
async fn a_waiting_connection_is_told_of_on_its_page_and_goes_on_with_it() {
    let world = World::new().await;
    let alice = Browser::of(&world, "alice").await;
    let (mut waits, held) = world.hold_at("reports", "192.0.2.7:50000", "ssh", "").await;
    let path = format!("/c/{}", held.url.rsplit_once("/c/").unwrap().1);
    let start = format!("csrf_token={}&code={}", alice.csrf_token().await, held.code);
    let page = alice.post(&path, &start).await;
    assert!(page.text.contains("What is it for?"), "{}", page.text);
    assert!(!page.text.contains("Yes, this is my connection"), "{}", page.text);
    let say = |page: &str, ticket: &str| {
        let digest = field(page, "digest");
        format!("{start}&digest={digest}&ticket={ticket}&reason=the+monthly+figures")
    };
    let wrong = alice.post(&format!("{path}/say"), &say(&page.text, "INC-7")).await;
    assert!(wrong.text.contains("role=\"alert\"") && wrong.text.contains("`INC-7` doesn"));
    assert!(wrong.text.contains("value=\"the monthly figures\""), "{}", wrong.text);
    let early = format!("{start}&digest={}", field(&wrong.text, "digest"));
    let early = alice.post(&format!("{path}/confirm"), &early).await;
    assert_eq!(early.status, StatusCode::BAD_REQUEST, "the server looks, whatever the page said");
    let good = alice.post(&format!("{path}/say"), &say(&wrong.text, "OPS-7")).await;
    assert!(good.text.contains("Yes, this is my connection"), "{}", good.text);
    assert!(good.text.contains("<dd>OPS-7</dd>"), "{}", good.text);
    let yes = format!("{start}&digest={}", field(&good.text, "digest"));
    let confirmed = alice.post(&format!("{path}/confirm"), &yes).await;
    assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.text);
    let mut granted = false;
    while let Some(event) = waits.message().await.unwrap() {
        granted |= matches!(event.event, Some(Event::Granted(_)));
    }
    assert!(granted);
}

#[tokio::test]
async fn the_api_says_what_is_wanted_and_takes_what_a_client_could_not_say() {
    let world = World::new().await;
    let alice = world.login("alice").await;
    let targets = world.call(&alice, "GET /targets", Value::Null).await.json();
    let logins = targets[0]["logins"].as_array().unwrap();
    let reports = logins.iter().find(|login| login["login"] == "reports").unwrap();
    assert_eq!((&reports["ticket"], &reports["reason"]), (&json!("OPS-[0-9]+"), &json!(12)));
    let (_waits, held) = world.hold_at("reports", "192.0.2.7:50000", "ssh", "").await;
    let code = json!({ "code": held.code });
    let hold = world.call(&alice, "POST /holds/lookup", code).await.json();
    let yes = json!({ "code": held.code, "digest": hold["digest"] });
    world.call(&alice, "POST /holds/confirm", yes.clone()).await.refused(400);
    let said = json!({
        "code": held.code, "digest": hold["digest"], "ticket": "OPS-7",
        "reason": "the monthly figures",
    });
    let hold = world.call(&alice, "POST /holds/say", said).await.json();
    assert_eq!(hold["ticket"], "OPS-7");
    world.call(&alice, "POST /holds/confirm", yes).await.refused(409);
    let yes = json!({ "code": held.code, "digest": hold["digest"] });
    assert_eq!(world.call(&alice, "POST /holds/confirm", yes).await.status, 200);
}

#[tokio::test]
async fn an_edit_by_the_form_leaves_out_what_is_empty() {
    let world = World::new().await;
    let token = world.login("alice").await;
    let requested = json!({ "resource": "app_rw@orders", "ticket": "OPS-7", "starts_at": "2h" });
    let asked = world.call(&token, "POST /requests", requested).await.json();
    let id = asked["request"]["id"].as_str().unwrap();
    let both = json!({ "ticket": "OPS-8", "no_ticket": true });
    world.call(&token, &format!("POST /requests/{id}/edit"), both).await.refused(400);
    let alice = Browser::of(&world, "alice").await;
    let page = alice.get(&format!("/r/{id}")).await.text;
    assert!(page.contains("value=\"OPS-7\""), "{page}");
    assert!(page.contains("name=\"starts_at\"") && page.contains("value=\"2027-01-15T10:00"));
    let form = format!(
        "csrf_token={}&span=30m&reason=later&ticket=&starts_at=",
        field(&page, "csrf_token")
    );
    let answer = alice.post(&format!("/requests/{id}/edit"), &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let edited = world.call(&token, &format!("GET /requests/{id}"), Value::Null).await.json();
    assert_eq!((&edited["ticket"], &edited["starts_at"]), (&Value::Null, &Value::Null));
    assert_eq!((&edited["ttl"], &edited["reason"]), (&json!("30m"), &json!("later")));
}

#[tokio::test]
async fn admins_find_the_messages_in_the_header_and_nobody_else_does() {
    let world = World::new().await;
    for (who, sees) in [("carol", true), ("alice", false), ("erin", false)] {
        let home = Browser::of(&world, who).await.get("/").await.text;
        assert_eq!(home.contains("href=\"/notifications\""), sees, "{who}");
    }
}
