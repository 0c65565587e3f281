//! What becomes of people by what their issuers say, or don't: on a real store, with issuers on
//! loopback that answer refresh tokens as a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use policies::{GroupName, Method, PrincipalId};
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::issuer::tests::issuer;
use super::logout::Meant;
use super::refresh::Rounds;
use crate::identity::logins;
use crate::identity::oidc::vouched::Vouched;
use crate::identity::oidc::{logout, people};
use crate::model::issuer::Issuer;
use crate::model::login::{AtIssuer, LoginSession, NewLogin, Origin, Rank};
use crate::tests::{RULES, World, actor, inventory};

/// How an issuer answers a refresh token.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// With another one, and not a word about the person.
    Vouches,
    /// That it can't just now.
    Fails,
    /// Not at all.
    Hangs,
}

/// An issuer on loopback.
struct Desk {
    url: String,
    asked: mpsc::Receiver<()>,
    /// Whether somebody left without an answer.
    left: Arc<AtomicBool>,
}

impl Desk {
    async fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::channel(1_000);
        let left = Arc::new(AtomicBool::new(false));
        let desk = Self { url: url.clone(), asked, left: Arc::clone(&left) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (url, tell, left) = (url.clone(), tell.clone(), Arc::clone(&left));
                tokio::spawn(async move { serve(stream, &url, manner, &tell, &left).await });
            }
        });
        desk
    }

    fn issuer(&self, name: &str) -> Issuer {
        Issuer { name: name.parse().unwrap(), url: self.url.parse().unwrap(), ..issuer() }
    }

    /// How many refresh tokens were shown since the last look.
    fn shown(&mut self) -> usize {
        std::iter::from_fn(|| self.asked.try_recv().ok()).count()
    }
}

async fn serve(
    mut stream: TcpStream,
    url: &str,
    manner: Manner,
    tell: &mpsc::Sender<()>,
    left: &AtomicBool,
) {
    let mut head = vec![0; 8_192];
    let read = stream.read(&mut head).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    let body = if head.starts_with("GET /jwks") {
        json!({ "keys": [] })
    } else if head.starts_with("GET ") {
        let place = |path: &str| format!("{url}/{path}");
        json!({
            "issuer": url, "jwks_uri": place("jwks"), "token_endpoint": place("token"),
            "authorization_endpoint": place("auth"),
        })
    } else {
        tell.send(()).await.unwrap();
        json!({ "access_token": "a", "token_type": "bearer", "refresh_token": "canary-next" })
    };
    let status = match manner {
        Manner::Fails if head.starts_with("POST ") => "503 Service Unavailable",
        Manner::Hangs if head.starts_with("POST ") => {
            while stream.read(&mut [0; 1_024]).await.is_ok_and(|read| read > 0) {}
            return left.store(true, Ordering::SeqCst);
        }
        Manner::Vouches | Manner::Fails | Manner::Hangs => "200 OK",
    };
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

impl World {
    /// Puts an inventory with these issuers in force.
    async fn with_issuers(&self, issuers: &[Issuer]) {
        let mut next = inventory(RULES);
        let named = issuers.iter().map(|issuer| (issuer.name.clone(), issuer.clone()));
        next.issuers = named.collect::<BTreeMap<_, _>>().into();
        self.control.sources.reload(next).await.unwrap();
    }

    async fn learn(&self, issuer: &Issuer, subject: &str, groups: Option<&[&str]>) {
        let groups = groups.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let vouched = Vouched {
            subject: subject.to_owned(),
            name: None,
            groups,
            email: None,
            sid: None,
            refresh_token: Some("canary-refresh".to_owned().into()),
        };
        let mut tx = self.control.kernel.begin().await.unwrap();
        people::learn(&mut tx, issuer, &vouched).await.unwrap();
        tx.commit().await.unwrap();
    }

    fn groups(&self, id: &str) -> Vec<String> {
        let inventory = self.control.kernel.inventory();
        let person = inventory.person(&id.parse().unwrap()).unwrap();
        person.principal.groups.iter().map(ToString::to_string).collect()
    }

    async fn open(&self, id: &str, method: Method, sid: Option<&str>) -> LoginSession {
        let subject = id.split_once(':').unwrap().1.to_owned();
        let sid = sid.map(str::to_owned);
        let issuer =
            (method == Method::Oidc).then(|| AtIssuer { issuer: "corp".into(), subject, sid });
        let mut tx = self.control.kernel.begin().await.unwrap();
        let new = NewLogin {
            principal: id.parse().unwrap(),
            method,
            rank: Rank::Full,
            issuer,
            by: None,
            origin: Origin::default(),
        };
        let session = logins::open_login(&mut tx, new).await.unwrap();
        tx.commit().await.unwrap();
        session
    }

    async fn is_live(&self, session: &LoginSession) -> bool {
        self.control.identity.authenticate(&session.token, session.kind).await.is_ok()
    }

    async fn vouched_at(&self, subject: &str) -> i64 {
        let query = sqlx::query_scalar("SELECT vouched_at FROM people WHERE subject = $1");
        query.bind(subject).fetch_one(&mut self.raw().await).await.unwrap()
    }
}

#[tokio::test]
async fn groups_that_are_no_longer_said_are_gone_and_another_order_is_no_change() {
    let (world, corp) = (World::new().await, issuer());
    world.with_issuers(std::slice::from_ref(&corp)).await;
    world.learn(&corp, "a1", Some(&["leads", "dba"])).await;
    world.learn(&corp, "a1", Some(&["dba", "leads", "dba"])).await;
    world.learn(&corp, "a1", None).await;
    assert_eq!(world.groups("corp:a1"), ["dba", "leads"]);
    let changes =
        |kinds: Vec<String>| kinds.iter().filter(|kind| *kind == "person.changed").count();
    assert_eq!(changes(world.kinds().await), 0);
    world.learn(&corp, "a1", Some(&[])).await;
    assert!(world.groups("corp:a1").is_empty());
    assert_eq!(changes(world.kinds().await), 1);
}

#[tokio::test]
async fn an_office_that_an_issuer_gave_goes_with_its_group() {
    let (world, mut corp) = (World::new().await, issuer());
    corp.admins = BTreeSet::from([GroupName::new("leads").unwrap()]);
    world.with_issuers(std::slice::from_ref(&corp)).await;
    world.learn(&corp, "a1", Some(&["leads"])).await;
    let session = world.open("corp:a1", Method::Oidc, None).await;
    assert!(world.control.identity.authenticate(&session.token, session.kind).await.unwrap().admin);
    world.learn(&corp, "a1", Some(&[])).await;
    assert!(
        !world.control.identity.authenticate(&session.token, session.kind).await.unwrap().admin
    );
}

#[tokio::test]
async fn what_is_learned_of_one_person_reads_and_touches_nobody_else() {
    let (world, corp) = (World::new().await, issuer());
    world.with_issuers(std::slice::from_ref(&corp)).await;
    world.learn(&corp, "a1", Some(&["dba"])).await;
    world.learn(&corp, "b2", Some(&["dba"])).await;
    let broken = sqlx::query("UPDATE people SET groups = 'broken' WHERE subject = 'a1'");
    broken.execute(&mut world.raw().await).await.unwrap();
    world.learn(&corp, "b2", Some(&["leads"])).await;
    assert_eq!(world.groups("corp:b2"), ["leads"]);
    assert_eq!(world.groups("corp:a1"), ["dba"]);
    assert_eq!(world.groups("alice"), ["engineering"]);
}

#[rstest]
#[case::a_person(Some("a1"), None, [false, false, false, true])]
#[case::a_session(Some("a1"), Some("one"), [false, true, true, true])]
#[case::a_session_alone(None, Some("one"), [false, true, true, true])]
#[case::a_session_that_never_came_here(Some("a1"), Some("x"), [false, false, false, true])]
#[case::a_session_that_is_over(Some("a1"), Some("over"), [true, true, true, true])]
#[case::nobody_known(Some("c3"), Some("x"), [true, true, true, true])]
#[case::a_subject_that_no_one_can_have(Some("a\nb"), None, [true, true, true, true])]
#[tokio::test]
async fn a_logout_ends_the_session_it_names_or_else_all_of_its_person(
    #[case] subject: Option<&str>,
    #[case] sid: Option<&str>,
    #[case] live: [bool; 4],
) {
    let (world, corp) = (World::new().await, issuer());
    world.with_issuers(std::slice::from_ref(&corp)).await;
    world.learn(&corp, "a1", Some(&[])).await;
    world.learn(&corp, "b2", Some(&[])).await;
    let over = world.open("corp:a1", Method::Oidc, Some("over")).await;
    world.control.identity.sign_out(&over.token, over.kind).await.unwrap();
    let sessions = [
        world.open("corp:a1", Method::Oidc, Some("one")).await,
        world.open("corp:a1", Method::Oidc, Some("two")).await,
        world.open("corp:a1", Method::Passkey, None).await,
        world.open("corp:b2", Method::Oidc, Some("other")).await,
    ];
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let meant = Meant { id: "1".into(), subject: owned(subject), sid: owned(sid) };
    let mut tx = world.control.kernel.begin().await.unwrap();
    logout::log_out(&mut tx, &corp.name, &meant).await.unwrap();
    tx.commit().await.unwrap();
    for (session, live) in sessions.iter().zip(live) {
        assert_eq!(world.is_live(session).await, live, "{:?}", session.actor.authn.method);
    }
}

#[tokio::test]
async fn a_logout_ends_what_a_person_of_the_configuration_opened_by_a_passkey() {
    let (world, corp) = (World::new().await, issuer());
    let mut next = inventory(RULES);
    let alice: PrincipalId = "alice".parse().unwrap();
    next.issuers = BTreeMap::from([(corp.name.clone(), corp.clone())]).into();
    next.accounts = BTreeMap::from([((corp.name.clone(), "a1".into()), alice)]).into();
    world.control.sources.reload(next).await.unwrap();
    let mut tx = world.control.kernel.begin().await.unwrap();
    let new = NewLogin {
        principal: actor("alice").principal.id,
        method: Method::Passkey,
        rank: Rank::Full,
        issuer: None,
        by: None,
        origin: Origin::default(),
    };
    let session = logins::open_login(&mut tx, new).await.unwrap();
    let meant = Meant { id: "1".into(), subject: Some("a1".into()), sid: None };
    assert_eq!(super::logout::log_out(&mut tx, &corp.name, &meant).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert!(!world.is_live(&session).await);
}

#[tokio::test]
async fn an_issuer_that_hangs_keeps_no_other_waiting() {
    let world = World::new().await;
    let (mut slow, mut good) = (Desk::new(Manner::Hangs).await, Desk::new(Manner::Vouches).await);
    let (first, last) = (slow.issuer("aaa"), good.issuer("zzz"));
    world.with_issuers(&[first.clone(), last.clone()]).await;
    world.learn(&first, "a1", Some(&[])).await;
    world.learn(&last, "z1", Some(&[])).await;
    world.pass(300);
    let mut rounds = Rounds::default();
    rounds.begin(&world.control.identity);
    slow.asked.recv().await.unwrap();
    good.asked.recv().await.unwrap();
    // Another round of the same issuer waits for the one under way; the others have theirs.
    rounds.begin(&world.control.identity);
    assert!(!slow.left.load(Ordering::SeqCst), "the other one was asked only after a time-out");
    assert_eq!(slow.shown(), 0);
}

#[tokio::test]
async fn an_outage_ends_the_round_and_lets_lapse_whoever_was_not_renewed_in_time() {
    let world = World::new().await;
    let mut desk = Desk::new(Manner::Fails).await;
    let corp = desk.issuer("corp");
    world.with_issuers(std::slice::from_ref(&corp)).await;
    for nth in 0..20 {
        world.learn(&corp, &format!("a{nth}"), Some(&[])).await;
    }
    let standing = || async {
        let query = sqlx::query_scalar("SELECT count(*) FROM people WHERE standing = 'lapsed'");
        let count: i64 = query.fetch_one(&mut world.raw().await).await.unwrap();
        count
    };
    let corp = Arc::new(corp);
    world.pass(300);
    world.control.identity.ask_issuer(&corp).await;
    assert!(desk.shown() <= 4, "it goes on asking an issuer that is out");
    world.control.identity.ask_issuer(&corp).await;
    assert_eq!(
        (desk.shown(), standing().await),
        (1, 0),
        "one question finds out whether it is back"
    );
    world.pass(3_600);
    world.control.identity.ask_issuer(&corp).await;
    assert_eq!((desk.shown(), standing().await), (1, 20));
    let kinds = world.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "issuer.unavailable").count(), 1);
}

#[tokio::test]
async fn an_error_about_one_person_keeps_nobody_else_from_being_asked_about() {
    let world = World::new().await;
    let mut desk = Desk::new(Manner::Vouches).await;
    let corp = desk.issuer("corp");
    world.with_issuers(std::slice::from_ref(&corp)).await;
    for nth in 0..8 {
        world.learn(&corp, &format!("a{nth}"), Some(&[])).await;
    }
    let broken =
        sqlx::query("UPDATE people SET groups = 'broken', next_at = 0 WHERE subject = 'a0'");
    broken.execute(&mut world.raw().await).await.unwrap();
    world.pass(300);
    let corp = Arc::new(corp);
    world.control.identity.ask_issuer(&corp).await;
    let now = world.control.kernel.now().millis();
    for nth in 1..8 {
        assert_eq!(world.vouched_at(&format!("a{nth}")).await, now, "a{nth}");
    }
    assert_eq!(desk.shown(), 8);
    world.control.identity.ask_issuer(&corp).await;
    assert_eq!(desk.shown(), 0, "nor is the issuer asked about them without end");
}
