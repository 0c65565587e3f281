//! The pages, as a browser without script sees them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, World, from};

const OUR_SCRIPT: &str = "<script type=\"module\" src=\"/assets/passkey.js\"></script>";
const XSS: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

/// A browser that is signed in, or not yet.
pub(crate) struct Browser<'a> {
    world: &'a World,
    cookie: String,
}

impl<'a> Browser<'a> {
    pub(crate) fn stranger(world: &'a World) -> Self {
        Self { world, cookie: String::new() }
    }

    pub(crate) async fn of(world: &'a World, who: &str) -> Self {
        let mut browser = Self::stranger(world);
        let form = format!("code={}", world.code(who).await);
        let answer = browser.post("/login", &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        browser.cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        browser
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header("cookie", &self.cookie);
        self.world.send(request.body(Body::empty()).unwrap()).await
    }

    /// Sends a form as a browser sends it from one of our pages.
    pub(crate) async fn post(&self, path: &str, form: &str) -> Answer {
        let own = [("sec-fetch-site", "same-origin"), ("origin", "null")];
        self.post_as(path, form, &own).await
    }

    pub(crate) async fn post_as(&self, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::post(path)
            .header("cookie", &self.cookie)
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(form.to_owned())).unwrap();
        self.world.send(from("192.0.2.7:40000", request)).await
    }

    /// The csrf_token that the forms of this login carry.
    pub(crate) async fn csrf_token(&self) -> String {
        field(&self.get("/").await.text, "csrf_token")
    }
}

/// The value of the first form field of this name.
pub(crate) fn field(html: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = html.split_once(&start).unwrap_or_else(|| panic!("no {name}: {html}"));
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_alone_signs_nobody_in() {
    let world = World::new().await;
    let code = world.code("alice").await;
    let browser = Browser::stranger(&world);
    for _ in 0..3 {
        let page = browser.get(&format!("/login?code={code}")).await;
        assert_eq!((page.status, page.header("set-cookie")), (StatusCode::OK, ""));
        assert!(page.text.contains(&format!("value=\"{code}\"")));
    }
    let answer = browser.post("/login", &format!("code={code}")).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-postern="), "{cookie}");
    for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure", "; Max-Age=43200"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let again = browser.post("/login", &format!("code={code}")).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_https_the_cookie_has_a_plain_name() {
    let world = World::at("http://127.0.0.1:8080/").await;
    let browser = Browser::of(&world, "alice").await;
    assert!(browser.cookie.starts_with("postern="), "{}", browser.cookie);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_token_of_the_cookie_does_not_leave_it() {
    let world = World::new().await;
    let browser = Browser::of(&world, "alice").await;
    let (_, token) = browser.cookie.split_once('=').unwrap();
    for path in ["/", "/login"] {
        assert!(!browser.get(path).await.text.contains(token), "{path}");
    }
    // The API takes no cookie, and no token of one.
    browser.get("/api/v1/me").await.refused(401);
    world.call(token, "GET /me", Value::Null).await.refused(401);
}

#[tokio::test]
async fn a_terminals_token_is_no_cookie_and_a_browsers_is_no_bearer_token() {
    let world = World::new().await;
    let token = world.login("alice").await;
    assert_eq!(world.call(&token, "GET /me", Value::Null).await.status, StatusCode::OK);
    let planted = Browser { world: &world, cookie: format!("__Host-postern={token}") };
    for page in ["/", "/keys", "/logins"] {
        let answer = planted.get(page).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{page}");
        assert!(answer.header("location").starts_with("/login"), "{page}");
    }
    // Nor does a page sign the terminal out.
    let code = world.code("dave").await;
    planted.post("/login", &format!("code={code}&next=")).await;
    assert_eq!(world.call(&token, "GET /me", Value::Null).await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_lead_strangers_to_the_login_and_back() {
    let world = World::new().await;
    let stranger = Browser { world: &world, cookie: "__Host-postern=psl_aaaa".into() };
    for (path, login) in [("/", "/login"), ("/c/ho-aaaaaaaaaaaa", "/login?next=/c/ho-aaaaaaaaaaaa")]
    {
        let answer = stranger.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, login));
    }
    for (next, location) in [
        ("/c/ho-aaaaaaaaaaaa", "/c/ho-aaaaaaaaaaaa"),
        ("https%3A%2F%2Fevil.example.com", "/"),
        ("%2F%2Fevil.example.com", "/"),
        ("javascript%3Aalert(1)", "/"),
    ] {
        let form = format!("code={}&next={next}", world.code("alice").await);
        let answer = stranger.post("/login", &form).await;
        assert_eq!(answer.header("location"), location, "{next}");
    }
}

#[tokio::test]
async fn what_others_say_is_shown_as_text() {
    let world = World::new().await;
    let alice = world.login("alice").await;
    world.asked(&alice, "app_rw", XSS).await;
    let bob = Browser::of(&world, "bob").await;
    let (_waits, confirm) = world.hold("192.0.2.9:1", XSS, XSS).await;
    let place = confirm.url.rsplit_once("/c/").unwrap().1.to_owned();
    let look = format!("csrf_token={}&code={}", bob.csrf_token().await, confirm.code);
    for page in [
        bob.get("/").await,
        bob.post(&format!("/c/{place}"), &look).await,
        bob.get("/login?code=%3Cscript%3Ealert(1)%3C/script%3E%22%3E%3Cimg%20src=x").await,
    ] {
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert!(page.text.contains("&lt;script&gt;alert(1)"), "{}", page.text);
        let text = page.text.replacen(OUR_SCRIPT, "", 1);
        assert!(!text.contains("<script") && !text.contains("<img"), "{}", page.text);
        // Nothing inline runs, and where no passkey is used nothing runs at all.
        let runs = if text == page.text { "" } else { "script-src 'self'; " };
        let wanted = format!(
            "default-src 'none'; {runs}style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        assert_eq!(page.header("content-security-policy"), wanted);
    }
    let home = bob.get("/").await.text;
    assert!(home.contains("Alice &lt;b&gt; (alice)"), "{home}");
}

#[tokio::test]
async fn a_link_that_is_no_good_gets_the_same_answer_whatever_is_wrong_with_it() {
    let world = World::new().await;
    let nobody = Browser::stranger(&world);
    let used = world.code("alice").await;
    nobody.post("/login", &format!("code={used}")).await;
    let other = world.code("dave").await;
    let turned: String = other.chars().rev().collect();
    let mut answers = Vec::new();
    for code in [used.as_str(), &turned, "a", ""] {
        let answer = nobody.post("/login", &format!("code={code}")).await;
        answers.push((answer.status, answer.text, answer.headers.len()));
    }
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn access_is_decided_and_given_back_on_the_first_page() {
    let world = World::new().await;
    let token = world.login("alice").await;
    let (alice, bob) = (Browser::of(&world, "alice").await, Browser::of(&world, "bob").await);
    let ask = async |reason: &str| {
        let id = world.asked(&token, "app_rw", reason).await["request"]["id"].clone();
        id.as_str().unwrap().to_owned()
    };
    let id = ask("first").await;
    let page = bob.get("/").await.text;
    assert!(page.contains(&id) && page.contains("first"), "{page}");
    let (csrf_token, digest) = (field(&page, "csrf_token"), field(&page, "digest"));
    let wrong = format!("csrf_token={csrf_token}&digest={digest}&shorten=soon");
    let answer = bob.post(&format!("/requests/{id}/approve"), &wrong).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let yes = format!("csrf_token={csrf_token}&digest={digest}&shorten=20m");
    let answer = bob.post(&format!("/requests/{id}/approve"), &yes).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let page = alice.get("/").await.text;
    assert!(page.contains("app_rw@orders/shop") && page.contains("20m"), "{page}");
    let grants = world.call(&token, "GET /grants?live=true", Value::Null).await.json();
    let done = format!("/grants/{}/done", grants["items"][0]["id"].as_str().unwrap());
    let csrf_token = format!("csrf_token={}", alice.csrf_token().await);
    assert_eq!(alice.post(&done, &csrf_token).await.status, StatusCode::SEE_OTHER);
    assert_eq!(alice.post(&done, &csrf_token).await.status, StatusCode::CONFLICT);

    let id = ask("second").await;
    let no = format!("csrf_token={}&reason=later", bob.csrf_token().await);
    assert_eq!(bob.post(&format!("/requests/{id}/deny"), &no).await.status, StatusCode::SEE_OTHER);
    let id = ask("third").await;
    let answer = alice.post(&format!("/requests/{id}/withdraw"), &csrf_token).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(!alice.get("/").await.text.contains(&id));
}

#[tokio::test]
async fn a_connection_is_confirmed_by_who_types_its_code_and_reads_it() {
    let world = World::new().await;
    let alice = Browser::of(&world, "alice").await;
    let csrf_token = alice.csrf_token().await;
    let (mut waits, confirm) = world.hold("192.0.2.7:50000", "psql", "a look").await;
    let (_others, other) = world.hold("192.0.2.8:50000", "pgcli", "").await;
    let path = format!("/c/{}", confirm.url.rsplit_once("/c/").unwrap().1);

    // The address alone tells nothing.
    let page = alice.get(&path).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(!page.text.contains("orders") && !page.text.contains("psql"), "{}", page.text);
    // Another connection's code doesn't fit here.
    let form = format!("csrf_token={csrf_token}&code={}", other.code);
    assert_eq!(alice.post(&path, &form).await.status, StatusCode::NOT_FOUND);

    let form = format!("csrf_token={csrf_token}&code={}", confirm.code);
    let page = alice.post(&path, &form).await;
    for described in
        ["Alice &lt;b&gt; (alice)", "orders", "app_ro", "shop", "192.0.2.7", "psql", "a look"]
    {
        assert!(page.text.contains(described), "{described}: {}", page.text);
    }
    assert!(!page.text.contains("another address"), "{}", page.text);
    let stale = format!("csrf_token={csrf_token}&code={}&digest=other", confirm.code);
    let answer = alice.post(&format!("{path}/confirm"), &stale).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    let digest = field(&page.text, "digest");
    let yes = format!("csrf_token={csrf_token}&code={}&digest={digest}", confirm.code);
    let answer = alice.post(&format!("{path}/confirm"), &yes).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(waits.message().await.unwrap().is_some());
    assert_eq!(alice.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_connection_from_elsewhere_comes_with_a_warning() {
    let world = World::new().await;
    let alice = Browser::of(&world, "alice").await;
    for client in ["192.0.2.99:50000", "pipe"] {
        let (_waits, confirm) = world.hold(client, "psql", "").await;
        let path = format!("/c/{}", confirm.url.rsplit_once("/c/").unwrap().1);
        let form = format!("csrf_token={}&code={}", alice.csrf_token().await, confirm.code);
        let claims = [("sec-fetch-site", "same-origin"), ("x-forwarded-for", "192.0.2.99")];
        let page = alice.post_as(&path, &form, &claims).await;
        assert!(page.text.contains("another address"), "{client}: {}", page.text);
    }
}

#[tokio::test]
async fn admins_find_the_page_that_makes_links_and_nobody_else_makes_one() {
    let world = World::new().await;
    let (carol, bob) = (Browser::of(&world, "carol").await, Browser::of(&world, "bob").await);
    assert!(carol.get("/").await.text.contains("href=\"/invites\""));
    assert!(!bob.get("/").await.text.contains("href=\"/invites\""));
    assert_eq!(carol.get("/invites").await.status, StatusCode::OK);
    let form = |csrf_token: &str, whom: &str| format!("csrf_token={csrf_token}&principal={whom}");
    let refused = bob.post("/invites", &form(&bob.csrf_token().await, "alice")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    for (whom, status) in [("carol", 403), ("nobody", 404), ("a%07b", 400)] {
        let answer = carol.post("/invites", &form(&carol.csrf_token().await, whom)).await;
        assert_eq!(answer.status.as_u16(), status, "{whom}: {}", answer.text);
    }
    let made = carol.post("/invites", &form(&carol.csrf_token().await, "alice")).await;
    let (_, rest) = made.text.split_once("/login#").unwrap();
    let code = rest.split('<').next().unwrap();
    let nobody = Browser::stranger(&world);
    let answer = nobody.post("/login", &format!("code={code}")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
}

#[tokio::test]
async fn signing_out_ends_the_login() {
    let world = World::new().await;
    let alice = Browser::of(&world, "alice").await;
    let form = format!("csrf_token={}", alice.csrf_token().await);
    let answer = alice.post("/logout", &form).await;
    assert!(answer.header("set-cookie").contains("Max-Age=0"), "{:?}", answer.headers);
    assert_eq!(alice.get("/").await.header("location"), "/login");
}

#[tokio::test]
async fn a_long_form_is_refused() {
    let world = World::new().await;
    let alice = Browser::of(&world, "alice").await;
    let form = format!("csrf_token={}", "a".repeat(1 << 20));
    assert_eq!(alice.post("/logout", &form).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let unknown = format!("csrf_token={}&nonsense=1", alice.csrf_token().await);
    assert_eq!(alice.post("/logout", &unknown).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.call("", "GET /health", json!(null)).await.status, 200);
}

#[tokio::test]
async fn signing_in_leaves_nothing_to_whoever_planted_a_cookie() {
    let world = World::new().await;
    // Mallory's own session, planted in dave's browser before he signs in.
    let planted = Browser::of(&world, "alice").await;
    let code = world.code("dave").await;
    let answer = planted.post("/login", &format!("code={code}")).await;
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_ne!(cookie, planted.cookie);
    assert_eq!(planted.get("/").await.header("location"), "/login", "the planted session lives on");
    let dave = Browser { world: &world, cookie };
    assert!(dave.get("/").await.text.contains("Dave"));
    // A sign-in that fails opens nothing and raises nothing.
    let answer = planted.post("/login", &format!("code={code}")).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (StatusCode::UNAUTHORIZED, ""));
}

#[tokio::test]
async fn one_sees_and_ends_where_one_is_signed_in() {
    let world = World::new().await;
    let (alice, other) = (Browser::of(&world, "alice").await, Browser::of(&world, "alice").await);
    let page = alice.get("/logins").await.text;
    assert_eq!(page.matches("A browser").count(), 2, "{page}");
    assert_eq!(page.matches("(this one)").count(), 1, "{page}");
    let actor = signed_in(&world).await;
    let (mine, live) = (control::Scope::Mine, Some(true));
    let own = world.control.identity.logins(&actor, mine, live, control::Paging::default());
    let newest = own.await.unwrap().items[1].id.clone();
    let form = format!("csrf_token={}", alice.csrf_token().await);
    let answer = alice.post(&format!("/logins/{newest}/end"), &form).await;
    assert_eq!(answer.header("location"), "/logins");
    assert_eq!(other.get("/").await.header("location"), "/login");
    assert_eq!(alice.post("/logins/end", &form).await.header("location"), "/login");
    assert_eq!(alice.get("/logins").await.header("location"), "/login?next=/logins");
}

async fn signed_in(world: &World) -> control::Actor {
    let token = world.login("alice").await;
    world.control.identity.authenticate(&token.into(), control::LoginKind::Terminal).await.unwrap()
}

#[tokio::test]
async fn a_terminal_elsewhere_comes_with_a_warning_and_polls_as_the_standard_says() {
    let world = World::new().await;
    let alice = Browser::of(&world, "alice").await;
    let csr = certs::NewRequest::generate().unwrap().csr_pem;
    let ask = json!({ "device": "laptop-7", "csr": csr });
    let codes = world.call("", "POST /device", ask).await.json();
    assert_eq!(codes["verification_uri"], "https://gate.example.com/device");
    assert_eq!((&codes["expires_in"], &codes["interval"]), (&json!(600), &json!(5)));
    let poll = json!({ "device_code": codes["device_code"] });
    let pending = world.call("", "POST /device/token", poll.clone()).await;
    assert_eq!(pending.refused(400)["error"], "authorization_pending");
    assert_eq!(
        world.call("", "POST /device/token", poll.clone()).await.json()["error"],
        "slow_down"
    );
    let form = format!(
        "csrf_token={}&code={}",
        alice.csrf_token().await,
        codes["user_code"].as_str().unwrap()
    );
    let page = alice.post("/device", &form).await.text;
    // Whose address isn't known is somewhere else.
    for part in ["another address", "laptop-7", "Nobody who helps you", "unknown"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let yes = format!("{form}&digest={}", field(&page, "digest"));
    assert_eq!(alice.post("/device/confirm", &yes).await.status, StatusCode::OK);
    world.clock.advance(policies::Ttl::from_secs(10));
    let got = world.call("", "POST /device/token", poll.clone()).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let got = got.json();
    assert!(got["certificate"]["pem"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
    let me = world.call(got["token"].as_str().unwrap(), "GET /me", Value::Null).await.json();
    assert_eq!(me["principal"]["id"], "alice");
    assert_eq!(world.call("", "POST /device/token", poll).await.json()["error"], "expired_token");
}

#[tokio::test]
async fn access_is_asked_for_said_otherwise_and_extended_without_script() {
    let world = World::new().await;
    let alice = Browser::of(&world, "alice").await;
    let page = alice.get("/ask").await;
    assert!(page.text.contains("app_rw@orders") && !page.text.contains("<script"));
    let csrf_token = alice.csrf_token().await;
    let form = format!(
        "csrf_token={csrf_token}&resource=app_rw%40orders%0D%0Aapp_ro%40orders&span=20m&reason=order+7"
    );
    let answer = alice.post("/ask", &form).await;
    let shown = answer.header("location").to_owned();
    assert_eq!((answer.status, shown.starts_with("/r/rq-")), (StatusCode::SEE_OTHER, true));
    let page = alice.get(&shown).await;
    assert!(page.text.contains("app_rw@orders/shop + app_ro@orders/shop"), "{}", page.text);
    let edit = format!("/requests/{}/edit", shown.trim_start_matches("/r/"));
    let hostile = "%3Cimg%20src%3Dx%20onerror%3Dalert(2)%3E";
    let other = format!("csrf_token={csrf_token}&span=10m&reason={hostile}&ticket=OPS-12");
    assert_eq!(alice.post(&edit, &other).await.status, StatusCode::SEE_OTHER);
    let page = alice.get(&shown).await;
    assert!(page.text.contains("OPS-12") && !page.text.contains("<img"), "{}", page.text);
    let empty = format!("csrf_token={csrf_token}&resource=");
    assert_eq!(alice.post("/ask", &empty).await.status, StatusCode::BAD_REQUEST);
    let reviews = alice.get("/reviews").await;
    assert!(reviews.text.contains("Nothing."), "{}", reviews.text);
}

#[tokio::test]
async fn sessions_are_listed_to_their_person_and_to_those_who_oversee() {
    let world = World::new().await;
    world.session("gr-aaaaaaaaaaaa", "se-aaaaaaaaaaaa").await;
    for (who, seen) in [("alice", true), ("erin", true), ("dave", false)] {
        let page = Browser::of(&world, who).await.get("/sessions").await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.text.contains("se-aaaaaaaaaaaa"), seen, "{who}: {}", page.text);
        assert_eq!(page.text.contains("<strong>live</strong>"), seen, "{who}: {}", page.text);
        assert!(!page.text.contains("<b>"), "{}", page.text);
    }
}
