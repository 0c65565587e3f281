//! What is the same for every endpoint: who is let in, how refusals look, what is bounded.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{Answer, World, from};

const OPEN: [&str; 7] = [
    "GET /health",
    "GET /openapi.json",
    "POST /login",
    "POST /device",
    "POST /device/token",
    "POST /token-exchange",
    "POST /hooks/tickets",
];

/// Every operation of the document, as `POST /requests/{id}/approve`, with what it says of it.
pub(crate) async fn operations(world: &World) -> Vec<(String, Value)> {
    let document = world.call("", "GET /openapi.json", Value::Null).await.json();
    let paths = document["paths"].as_object().unwrap().clone();
    let each = paths.into_iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().clone();
        operations.into_iter().map(move |(method, operation)| {
            let path = path.strip_prefix("/api/v1").unwrap();
            (format!("{} {path}", method.to_uppercase()), operation)
        })
    });
    each.collect()
}

fn filled(operation: &str) -> String {
    operation.replace("{id}", "xx-aaaaaaaaaaaa")
}

#[tokio::test]
async fn every_endpoint_but_the_open_ones_refuses_strangers() {
    let world = World::new().await;
    let operations = operations(&world).await;
    assert!(operations.len() > 25, "{}", operations.len());
    for (operation, described) in operations {
        let open = described["security"] == json!([{}]);
        assert_eq!(open, OPEN.contains(&operation.as_str()), "{operation}");
        if open {
            continue;
        }
        for token in ["", "psl_aaaa", "a b"] {
            let answer = world.call(token, &filled(&operation), json!({})).await;
            answer.refused(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{operation}");
        }
    }
}

#[tokio::test]
async fn every_operation_of_the_document_is_served() {
    let world = World::new().await;
    let token = world.login("alice").await;
    for (operation, _) in operations(&world).await {
        if operation == "POST /logout" {
            continue;
        }
        let answer = world.call(&token, &filled(&operation), json!({ "nonsense": 1 })).await;
        assert_ne!(answer.status, 405, "{operation}");
        assert!(!answer.text.contains("nothing is served"), "{operation}");
        assert!(answer.status.as_u16() < 500, "{operation}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_document_describes_answers_problems_and_the_login() {
    let world = World::new().await;
    let document = world.call("", "GET /openapi.json", Value::Null).await.json();
    assert_eq!(document["components"]["securitySchemes"]["login"]["scheme"], "bearer");
    assert!(document["components"]["schemas"]["Problem"].is_object());
    for (operation, described) in operations(&world).await {
        let responses = &described["responses"];
        assert!(responses["200"].is_object() || responses["204"].is_object(), "{operation}");
        for status in ["400", "401", "403", "404", "409", "413", "429", "500", "503"] {
            let schema = &responses[status]["content"]["application/problem+json"]["schema"];
            assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{operation} {status}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn the_document_asks_for_no_field_that_is_refused() {
    let world = World::new().await;
    let document = world.call("", "GET /openapi.json", Value::Null).await.json();
    for name in [
        "Ask",
        "Yes",
        "Because",
        "Login",
        "Terminal",
        "DeviceCode",
        "Everywhere",
        "Minting",
        "Locking",
        "Code",
        "Saying",
        "Whom",
        "Edit",
        "Longer",
        "Found",
    ] {
        let schema = &document["components"]["schemas"][name];
        assert_eq!(schema["additionalProperties"], false, "{name}");
    }
}

async fn posted(world: &World, token: &str, media: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post("/api/v1/requests")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", media);
    world.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn bodies_are_bounded_and_read_strictly() {
    let world = World::new().await;
    let token = world.login("alice").await;
    let deep = format!("{{\"resource\":{}1{}}}", "[".repeat(9_000), "]".repeat(9_000));
    let long = format!("{{\"resource\":\"{}\"}}", "a".repeat(1 << 20));
    let json = "application/json";
    for (media, body, status) in [
        (json, long, 413),
        (json, deep.clone(), 400),
        (json, deep.replace("resource", "nonsense"), 400),
        (json, r#"{"resource":"app_ro@orders","nonsense":1}"#.into(), 400),
        (json, r#"{"resource":"app_ro@orders","resource":"dba@orders"}"#.into(), 400),
        (json, r#"{"resource":"app_ro@orders"} {}"#.into(), 400),
        (json, r#"{"resource":"app_ro@orders""#.into(), 400),
        (json, r#"{"resource":"app_ro@orders","ttl":"-1h"}"#.into(), 400),
        (json, r#"{"resource":"app_ro@orders","ttl":3600}"#.into(), 400),
        (json, r#"{"resource":"orders"}"#.into(), 400),
        (json, "{\"resource\":\"app_ro@orders\",\"reason\":\"\\u0000\"}".into(), 400),
        (json, String::new(), 400),
        ("text/plain", r#"{"resource":"app_ro@orders"}"#.into(), 415),
        ("application/x-www-form-urlencoded", "resource=app_ro@orders".into(), 415),
    ] {
        let shown: String = body.chars().take(60).collect();
        let answer = posted(&world, &token, media, body).await;
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", answer.text);
        answer.refused(status);
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let world = World::new().await;
    let token = world.login("alice").await;
    let chunks = (0..64).map(|_| Ok::<_, std::io::Error>(vec![b' '; 16 << 10]));
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    posted(&world, &token, "application/json", body).await.refused(413);
}

#[tokio::test]
async fn queries_are_read_strictly() {
    let world = World::new().await;
    let token = world.login("alice").await;
    for query in [
        "/requests?scope=theirs",
        "/requests?state=maybe",
        "/requests?nonsense=1",
        "/requests?limit=0",
        "/requests?limit=201",
        "/requests?limit=-1",
        "/requests?cursor=1",
        "/grants?live=perhaps",
        "/sessions?scope=mine&scope=all",
    ] {
        world.call(&token, &format!("GET {query}"), Value::Null).await.refused(400);
    }
    world.call(&token, "GET /requests/Rq-UPPER", Value::Null).await.refused(400);
}

#[tokio::test]
async fn what_is_not_served_is_told_so() {
    let world = World::new().await;
    let get = |path| Request::get(path).body(Body::empty()).unwrap();
    for path in ["/api/v1/nonsense", "/api/v2/me", "/nonsense", "/api/v1/requests/", "//"] {
        world.send(get(path)).await.refused(404);
    }
    world.call("", "PUT /requests", Value::Null).await.refused(405);
    let delete = Request::delete("/login").body(Body::empty()).unwrap();
    world.send(delete).await.refused(405);
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_browsers_in_check() {
    let world = World::new().await;
    for path in ["/api/v1/health", "/api/v1/me", "/nonsense", "/login", "/", "/style.css"] {
        let answer = world.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        let csp = answer.header("content-security-policy");
        assert!(csp.starts_with("default-src 'none'"), "{path}: {csp}");
        assert!(csp.contains("frame-ancestors 'none'"), "{path}: {csp}");
        assert!(!csp.contains("unsafe"), "{path}: {csp}");
        if path != "/style.css" {
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn guessing_codes_is_slow_and_others_are_not_slowed() {
    let world = World::new().await;
    let guess = |address: &str| {
        let body = Body::from(r#"{"code":"guess"}"#);
        let request = Request::post("/api/v1/login").header("content-type", "application/json");
        // Where the caller claims to be counts for nothing.
        let request = request.header("x-forwarded-for", "203.0.113.9");
        from(address, request.body(body).unwrap())
    };
    let mut refused = 0;
    for _ in 0..100 {
        let answer = world.send(guess("192.0.2.1:1000")).await;
        refused += usize::from(answer.status == 429);
        answer.refused(answer.status.as_u16());
    }
    assert!(refused > 30, "{refused}");
    world.send(guess("192.0.2.2:1000")).await.refused(401);
    world.send(guess("[2001:db8::1]:1000")).await.refused(401);
}

#[tokio::test]
async fn a_failure_of_the_store_tells_nothing_of_it() {
    let world = World::new().await;
    let token = world.login("alice").await;
    world.break_store().await;
    let problem = world.call(&token, "GET /requests", Value::Null).await.refused(503);
    assert!(problem["incident"].is_string(), "{problem}");
    let text = problem.to_string().to_lowercase();
    for word in ["sql", "table", "column", "postern.sqlite"] {
        assert!(!text.contains(word), "{text}");
    }
}
