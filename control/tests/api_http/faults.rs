//! A store that can't be written, by a disk without room and by one that fails: whatever writes is
//! refused, what takes access away is in force all the same, and with room again all goes on.
//!
//! The faults are the system's own and strike a whole process, so each test runs one of its own: with
//! its files on a small tmpfs that is then filled (ENOSPC), or with a limit of file sizes of zero, by
//! which each write to a file fails (EFBIG, which SQLite reports as an I/O error like EIO).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use link::v1::{self, link_client::LinkClient};
use serde_json::{Value, json};
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use crate::support::{World, actor_of};

const FAULT: &str = "POSTERN_TEST_FAULT";

#[test]
fn with_a_full_disk_cuts_are_in_force_and_with_room_again_all_goes_on() {
    in_a_process_of_its_own("full");
}

#[test]
fn with_a_failing_disk_cuts_are_in_force_and_when_it_is_well_again_all_goes_on() {
    in_a_process_of_its_own("broken");
}

/// Runs `the_whole_journey` under this fault.
fn in_a_process_of_its_own(fault: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = match fault {
        "full" if may_mount() => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
            command.arg(r#"mount -t tmpfs -o size=12m none "$1" && shift && exec "$@""#);
            command.arg("sh").arg(folder.path());
            command
        }
        _ => {
            if fault == "full" {
                eprintln!("no file system can be mounted here: writes fail by a limit instead");
            }
            let mut command = Command::new("sh");
            command.args(["-c", r#"trap '' XFSZ; exec "$@""#, "sh"]);
            command
        }
    };
    let fault = if command.get_program() == "unshare" { "full" } else { "broken" };
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "faults::the_whole_journey", "--ignored", "--nocapture"]);
    command.env(FAULT, fault).env("TMPDIR", folder.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let streams =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && streams[0].contains("1 passed"), "{}", streams.concat());
}

/// Whether a process of ours gets a place of its own to mount things in.
fn may_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// How writing is made to fail.
enum Fault {
    Full(PathBuf),
    Broken,
}

impl Fault {
    fn chosen(folder: &Path) -> Self {
        match std::env::var(FAULT).as_deref() {
            Ok("full") => Self::Full(folder.join("filler")),
            Ok("broken") => Self::Broken,
            other => panic!("the tests of this file run this one, and say how: {other:?}"),
        }
    }

    async fn begin(&self, database: &Path) {
        // An empty log, so that no write finds room in what it holds already.
        let address = format!("sqlite://{}", database.display());
        let mut store = sqlx::SqliteConnection::connect(&address).await.unwrap();
        let truncate = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)");
        let (busy, ..): (i64, i64, i64) = truncate.fetch_one(&mut store).await.unwrap();
        assert_eq!(busy, 0);
        store.close().await.unwrap();
        match self {
            Self::Full(filler) => {
                let mut file = File::create(filler).unwrap();
                while file.write(&[0; 4_096]).is_ok() {}
            }
            Self::Broken => limit("0:unlimited"),
        }
    }

    fn end(&self) {
        match self {
            Self::Full(filler) => std::fs::remove_file(filler).unwrap(),
            Self::Broken => limit("unlimited:unlimited"),
        }
    }
}

fn limit(sizes: &str) {
    let pid = std::process::id().to_string();
    let mut command = Command::new("prlimit");
    let done = command.args(["--pid", &pid, &format!("--fsize={sizes}")]).status();
    assert!(done.unwrap().success());
}

/// Who acts by which token, and what the acts are about.
struct Stage {
    tokens: BTreeMap<&'static str, String>,
    names: BTreeMap<&'static str, String>,
}

/// Everything that writes and gives something, changes something or proves something: who does it,
/// what, and its body.
const REFUSED: &[(&str, &str, &str)] = &[
    ("", "POST /login", r#"{"code":"{code}"}"#),
    (
        "alice",
        "POST /requests",
        r#"{"resource":"reports@orders","reason":"a long reason","ticket":"OPS-7"}"#,
    ),
    ("bob", "POST /requests/{waits}/approve", r#"{"digest":"{digest}"}"#),
    ("bob", "POST /requests/{other}/deny", r#"{"reason":"no"}"#),
    ("alice", "POST /tokens", r#"{"resource":"app_ro@orders"}"#),
    ("alice", "DELETE /tokens/{token}", ""),
    ("alice", "POST /certificate", r#"{"csr":"{csr}","device":"laptop"}"#),
    ("alice", "POST /grants/{kept}/extend", r#"{"ttl":"5m"}"#),
    ("carol", "POST /invites", r#"{"principal":"alice"}"#),
    ("carol", "DELETE /locks/{lock}", ""),
    ("erin", "GET /sessions/{session}/recording", ""),
];

/// Everything that takes access away.
const CUTS: &[(&str, &str, &str)] = &[
    ("carol", "POST /grants/{revoked}/revoke", r#"{"reason":"incident"}"#),
    ("carol", "POST /locks", r#"{"subject":"principal:bob","reason":"incident"}"#),
    ("dave", "POST /grants/{done}/done", ""),
    ("carol", "DELETE /logins/{login}", ""),
    ("carol", "POST /logins/end", r#"{"principal":"dave"}"#),
    ("erin", "POST /logout", ""),
];

/// What the audit log then has, in this order.
const WRITTEN: &[&str] =
    &["grant.ended", "lock.set", "grant.ended", "login.ended", "login.ended", "login.ended"];

impl Stage {
    async fn set(world: &World) -> Self {
        let mut tokens = BTreeMap::from([("", String::new())]);
        for who in ["alice", "bob", "carol", "dave", "erin"] {
            tokens.insert(who, world.login(who).await);
        }
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let asked = async |who: &str, login: &str| {
            let answer = world.asked(&tokens[who], login, "needed for this").await;
            (answer["request"].clone(), answer["grant"].clone())
        };
        let (_, kept) = asked("alice", "app_ro").await;
        let (waits, _) = asked("alice", "app_rw").await;
        let (other, _) = asked("dave", "app_rw").await;
        let (_, done) = asked("dave", "app_ro").await;
        let reports = json!({
            "resource": "reports@orders", "reason": "a long reason", "ticket": "OPS-7",
        });
        let revoked = world.call(&tokens["dave"], "POST /requests", reports).await.json();
        let lock = json!({ "subject": "device:lost", "reason": "lost" });
        let lock = world.call(&tokens["carol"], "POST /locks", lock).await.json();
        let token = json!({ "resource": "app_ro@orders" });
        let token = world.call(&tokens["alice"], "POST /tokens", token).await.json();
        world.session(&id(&kept), "se-1").await;
        let second = world.login("alice").await;
        let second = actor_of(world, &second).await.login.to_string();
        let csr = certs::NewRequest::generate().unwrap().csr_pem.replace('\n', "\\n");
        let names = BTreeMap::from([
            ("kept", id(&kept)),
            ("waits", id(&waits)),
            ("digest", waits["digest"].as_str().unwrap().to_owned()),
            ("other", id(&other)),
            ("done", id(&done)),
            ("revoked", id(&revoked["grant"])),
            ("lock", id(&lock)),
            ("token", id(&token)),
            ("session", "se-1".to_owned()),
            ("login", second),
            ("csr", csr),
            ("code", world.code("dave").await),
        ]);
        let stage = Self { tokens, names };
        // Its clock runs, so that it can be extended.
        let mut link = LinkClient::new(world.control.link_service());
        link.begin(stage.begin()).await.unwrap();
        stage
    }

    async fn act(&self, world: &World, row: &(&str, &str, &str)) -> (StatusCode, Value) {
        let (who, what, body) = *row;
        let fill = |text: &str| {
            let names = self.names.iter();
            names.fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
        };
        let body = if body.is_empty() { Value::Null } else { fill(body).parse().unwrap() };
        let answer = world.call(&self.tokens[who], &fill(what), body).await;
        (answer.status, serde_json::from_str(&answer.text).unwrap_or_default())
    }

    fn begin(&self) -> v1::BeginRequest {
        v1::BeginRequest {
            grant: self.names["kept"].clone(),
            session: "se-2".into(),
            client: String::new(),
            authn: None,
        }
    }
}

fn opened(grant: &str) -> v1::ReportRequest {
    let denied = v1::ConnectionDenied { reason: "no-grant".into(), ..Default::default() };
    let denied = v1::happening::Happening::Denied(denied);
    let happening = v1::Happening { id: format!("hp-{grant}"), at_ms: 0, happening: Some(denied) };
    v1::ReportRequest { proxy: "gate".into(), happenings: vec![happening] }
}

async fn health(world: &World, status: u16) -> Value {
    for _ in 0..600 {
        let answer = world.call("", "GET /health", Value::Null).await;
        if answer.status == status {
            return answer.json();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the health never became {status}");
}

async fn kinds(world: &World, token: &str) -> Vec<String> {
    let log = world.call(token, "GET /audit?limit=200", Value::Null).await.json();
    let events = log["items"].as_array().unwrap().iter().rev();
    events.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

async fn follow(world: &World) -> tonic::Streaming<v1::FeedEvent> {
    let request = v1::FeedRequest { proxy: "gate".into(), unsettled: Vec::new() };
    LinkClient::new(world.control.link_service()).feed(request).await.unwrap().into_inner()
}

/// The next delta, and for how long it lets a proxy go on.
async fn delta(feed: &mut tonic::Streaming<v1::FeedEvent>) -> (v1::Delta, u64) {
    loop {
        let event = feed.message().await.unwrap().unwrap();
        if let Some(v1::feed_event::Event::Delta(delta)) = event.event {
            return (delta, event.fresh_ms);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the tests above run it, in a process of its own and under a fault"]
async fn the_whole_journey() {
    let world = World::new().await;
    let fault = Fault::chosen(&std::env::temp_dir());
    let stage = Stage::set(&world).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (control, stop) = (world.control.clone(), stop.clone());
        async move { control.run(stop).await }
    });
    health(&world, 200).await;
    let mut feed = follow(&world).await;
    let mut link = LinkClient::new(world.control.link_service());
    let before = kinds(&world, &stage.tokens["carol"]).await.len();

    fault.begin(&world.database()).await;
    for row in REFUSED {
        // Twice: the first failure must not be what the second one fails by.
        for _ in 0..2 {
            let (status, problem) = stage.act(&world, row).await;
            assert_eq!(status, 503, "{row:?}: {problem}");
        }
    }
    let sick = health(&world, 503).await;
    assert_eq!(sick["status"], "unwritable");
    assert!(sick["detail"].as_str().unwrap().contains("Free space"), "{sick}");
    for answer in
        [link.begin(stage.begin()).await.map(drop), link.report(opened("gr-1")).await.map(drop)]
    {
        assert_eq!(answer.unwrap_err().code(), tonic::Code::Unavailable);
    }
    let mut fresh = Vec::new();
    for (nth, row) in CUTS.iter().enumerate() {
        let (status, answer) = stage.act(&world, row).await;
        assert_eq!(
            (status.as_u16(), &answer["durable"]),
            (202, &json!(false)),
            "{row:?}: {answer}"
        );
        assert!(answer["note"].as_str().unwrap().contains("not yet durable"), "{answer}");
        let (message, fresh_ms) = delta(&mut feed).await;
        assert_eq!((message.unsettled.len(), message.settled), (1, false));
        match nth {
            0 => assert_eq!(message.gone[0].grant, stage.names["revoked"]),
            1 => assert_eq!(message.locks[0].subject, "principal:bob"),
            2 => assert_eq!(message.gone[0].grant, stage.names["done"]),
            _ => {}
        }
        fresh.push(fresh_ms);
    }
    assert!(fresh.windows(2).all(|pair| pair[1] <= pair[0]), "no lease is renewed: {fresh:?}");
    let (status, again) = stage.act(&world, &CUTS[0]).await;
    assert_eq!(status, 409, "it knows what it decided: {again}");
    let path = format!("GET /grants/{}", stage.names["revoked"]);
    let grant = world.call(&stage.tokens["carol"], &path, Value::Null).await.json();
    assert_eq!(grant["state"], "ended");
    let gone = world.call(&stage.tokens["erin"], "GET /me", Value::Null).await;
    assert_eq!(gone.status, 401, "whoever signed out is out");
    assert_eq!(kinds(&world, &stage.tokens["carol"]).await.len(), before, "nothing is written");
    assert_eq!(health(&world, 503).await["pending_cuts"], CUTS.len());

    fault.end();
    health(&world, 200).await;
    assert!(delta(&mut feed).await.0.settled);
    let written = kinds(&world, &stage.tokens["carol"]).await.split_off(before);
    let late: Vec<&str> = written.iter().map(String::as_str).collect();
    let writable = late.iter().position(|kind| *kind == "store.writable").unwrap();
    assert_eq!(late[..writable], *WRITTEN);
    let erin = world.login("erin").await;
    let stage =
        Stage { tokens: stage.tokens.into_iter().chain([("erin", erin)]).collect(), ..stage };
    let unlock = world.call(&stage.tokens["carol"], "GET /locks", Value::Null).await.json();
    let bobs = unlock.as_array().unwrap().iter().find(|lock| lock["subject"] == "principal:bob");
    let lift = format!("DELETE /locks/{}", bobs.unwrap()["id"].as_str().unwrap());
    assert_eq!(world.call(&stage.tokens["carol"], &lift, Value::Null).await.status, 204);
    for row in REFUSED {
        let (status, answer) = stage.act(&world, row).await;
        assert!(status.is_success(), "{row:?}: {status} {answer}");
    }
    link.report(opened("gr-1")).await.unwrap();
    let begun = link.begin(stage.begin()).await.unwrap().into_inner();
    assert!(begun.credential.is_some());
    stop.cancel();
    running.await.unwrap();
}
