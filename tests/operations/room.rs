//! Room for recordings: who uses up theirs ends with the reason, others go on; a full disk passes nothing
//! unrecorded, an admin still revokes and locks, and with space all works again without a restart.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Command;

use audit::{Kind, Reader, Summary, Tail};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::gateway_process::{GatewayProcess, Killed};
use crate::support::raw::{Message, Tls, closes, query, read, read_until, send};
use crate::support::{Bed, Setup, psql, run, until, until_some};

/// Everybody may have all; nobody has to be asked.
const ALL: &str = r#"permit (principal, action == Action::"connect", resource is Database);"#;

fn setup(recording: &str) -> Setup {
    Setup { rules: ALL, recording: recording.to_owned(), ..Setup::default() }
}

/// A statement of so many bytes.
fn large(bytes: usize) -> String {
    format!("select length('{}')", "x".repeat(bytes))
}

/// `psql` that runs large statements until one fails.
fn filling(conninfo: &str, statements: usize) -> Command {
    let mut command = psql(conninfo);
    for _ in 0..statements {
        command.args(["-c", &large(16_000)]);
    }
    command
}

fn one(conninfo: &str) -> Command {
    let mut command = psql(conninfo);
    command.args(["-Atc", "select 'through'"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fills_their_quota_ends_with_the_reason_and_others_go_on() {
    let bed = Bed::with(setup("principal_quota = \"64KiB\"\nreserve = \"1MiB\"")).await;
    bed.grant("app_rw@orders", "30m").await;
    bed.ask("bob", "app_rw@orders", "30m").await.grant.unwrap();
    let (alice, bob) = (bed.files("alice").await, bed.files("bob").await);
    let [alice, bob] = [alice, bob].map(|files| bed.conninfo(&files, "app_rw", "orders"));

    let (ok, _, errors) = run(filling(&alice, 10)).await;
    assert!(!ok && errors.contains("your recordings take "), "{errors}");
    assert!(errors.contains("quota of one person is 64KiB; ask an admin"), "{errors}");
    let (ok, _, errors) = run(one(&alice)).await;
    assert!(!ok && errors.contains("your recordings take "), "a new session, too: {errors}");
    let (ok, out, errors) = run(one(&bob)).await;
    assert!(ok && out.trim() == "through", "{errors}");
    bed.no_upstream_session_stays().await;

    let ended = until_some("the register has the end", async || {
        let ends = bed.events("session.ended").await;
        ends.into_iter().find(|end| end["end"] == "recording-full")
    })
    .await;
    assert!(ended["detail"].as_str().unwrap().contains("your recordings take"), "{ended}");
    let denied = until_some("the audit log has the refusal", async || {
        bed.events("connection.denied").await.into_iter().next()
    })
    .await;
    assert_eq!(
        (&denied["reason"], &denied["principal"]),
        (&json!("recording-full"), &json!("alice"))
    );
    for (name, least) in [("postern_spool_refused_total", 1.0), ("postern_spool_ended_total", 1.0)]
    {
        assert_eq!(bed.metric(name, "principal-quota").await, least, "{name}");
    }

    // The recording says how it ended. An admin moves it away: the gateway notices by itself.
    let full = bed.recordings().into_iter().find(|path| path.metadata().unwrap().len() > 60_000);
    let full = full.unwrap();
    let id = full.file_stem().unwrap().to_str().unwrap();
    let summary = Summary::read(BufReader::new(File::open(&full).unwrap()), id).unwrap();
    assert_eq!((summary.tail, &*summary.end.unwrap().end), (Tail::Sealed, "recording-full"));
    std::fs::rename(&full, bed.folder.path().join("archived.rec")).unwrap();
    until_some("alice has room again", async || run(one(&alice)).await.0.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_fills_its_quota_ends_and_its_person_connects_again() {
    let bed = Bed::with(setup("session_quota = \"64KiB\"\nreserve = \"1MiB\"")).await;
    bed.grant("app_rw@orders", "30m").await;
    let conninfo = bed.conninfo(&bed.files("alice").await, "app_rw", "orders");
    let (ok, _, errors) = run(filling(&conninfo, 10)).await;
    let why = "the recording of this session reached its quota of 64KiB; connect again to go on";
    assert!(!ok && errors.contains(why), "{errors}");
    assert!(run(one(&conninfo)).await.0);

    // A quota is taken over by a reload.
    let text = std::fs::read_to_string(&bed.config).unwrap();
    std::fs::write(&bed.config, text.replace("\"64KiB\"", "\"1MiB\"")).unwrap();
    let config = postern::config::Config::load(&bed.config).unwrap();
    bed.gateway.reload(&config).await.unwrap();
    let (ok, _, errors) = run(filling(&conninfo, 10)).await;
    assert!(ok, "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_count_what_was_there_before_a_restart() {
    let process = GatewayProcess::new(
        setup("principal_quota = \"64KiB\"\nreserve = \"1MiB\""),
        &["app_rw@orders"],
    )
    .await;
    let mut gateway = process.start().await;
    let (ok, _, errors) = run(filling(&process.conninfo, 10)).await;
    assert!(!ok && errors.contains("your recordings take"), "{errors}");
    gateway.kill_9();
    let config = postern::config::Config::load(&process.config).unwrap();
    let again = postern::up::Gateway::start(&config).await.unwrap();
    let (ok, _, errors) = run(one(&process.conninfo)).await;
    assert!(!ok && errors.contains("your recordings take"), "{errors}");
    again.shutdown(std::time::Duration::from_secs(10)).await;
}

/// A gateway in a process of its own whose recordings have a small file system of their own.
struct Small {
    process: GatewayProcess,
    gateway: Killed,
}

impl Small {
    /// The file system is mounted in a name space of that process.
    async fn start(size: &str, recording: &str) -> Self {
        let process =
            GatewayProcess::new(setup(recording), &["app_rw@orders", "app_ro@orders"]).await;
        let folder = process.folder.path().join("state/recordings");
        let user = if rustix::process::geteuid().is_root() { "" } else { "--map-root-user" };
        let before = format!(
            "exec unshare --mount {user} sh -c 'mount -t tmpfs -o size={size},mode=700 tmpfs {} && exec \"$@\"' sh \"$@\"; ",
            folder.display()
        );
        let gateway = process.start_with(&before, &["--invite", "bob"]).await;
        Self { process, gateway }
    }

    /// The folder of recordings, as that process sees it.
    fn recordings(&self) -> PathBuf {
        let folder = self.process.folder.path().join("state/recordings");
        let root = PathBuf::from(format!("/proc/{}/root", self.gateway.id()));
        root.join(folder.strip_prefix("/").unwrap())
    }

    /// All texts of statements in all recordings.
    fn statements(&self) -> BTreeSet<String> {
        let mut texts = BTreeSet::new();
        for entry in std::fs::read_dir(self.recordings()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "rec") {
                continue;
            }
            let mut reader = Reader::new(BufReader::new(File::open(path).unwrap()));
            while let Some(event) = reader.next_event().unwrap() {
                if let Kind::Query { text, .. } = event.kind {
                    texts.insert(String::from_utf8(text.as_bytes().to_vec()).unwrap());
                }
            }
            assert!(
                matches!(reader.tail(), Some(Tail::Sealed | Tail::Open)),
                "{:?}",
                reader.tail()
            );
        }
        texts
    }

    /// Signs bob in, as his link would.
    async fn admin(&self) -> Admin {
        let url = self.process.url.trim_end_matches('/').to_owned();
        let code = until_some("the link is printed", async || {
            let out = std::fs::read_to_string(self.process.folder.path().join("out")).unwrap();
            let link = out.split("login#").nth(1)?;
            Some(link.split_whitespace().next()?.to_owned())
        })
        .await;
        let mut admin = Admin { url, token: String::new() };
        let login = admin.post("login", &json!({ "code": code, "device": "console" })).await;
        login["token"].as_str().unwrap().clone_into(&mut admin.token);
        admin
    }
}

/// An admin at the API.
struct Admin {
    url: String,
    token: String,
}

impl Admin {
    async fn get(&self, path: &str) -> Value {
        let request = reqwest::Client::new().get(format!("{}/api/v1/{path}", self.url));
        Self::answer(request.bearer_auth(&self.token)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = reqwest::Client::new().post(format!("{}/api/v1/{path}", self.url));
        Self::answer(request.bearer_auth(&self.token).json(body)).await
    }

    async fn delete(&self, path: &str) {
        let request = reqwest::Client::new().delete(format!("{}/api/v1/{path}", self.url));
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn answer(request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}

/// Runs statement after statement until the session ends: the error that it ended with.
async fn until_cut(stream: &mut Tls, mut next: impl FnMut() -> String) -> Message {
    loop {
        if stream.write_all(&query(&next())).await.is_err() {
            panic!("the session closed without a word");
        }
        loop {
            match read(stream).await.expect("an error comes first") {
                message if message.kind == b'E' => return message,
                message if message.kind == b'Z' => break,
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_passes_nothing_unrecorded_and_space_brings_all_back_without_a_restart() {
    let small =
        Small::start("2m", "reserve = \"1B\"\nprincipal_quota = \"100%\"\nspool_quota = \"100%\"")
            .await;
    let admin = small.admin().await;
    let mut writer = small.process.session("app_rw").await;
    let mut other = small.process.session("app_rw").await;
    let mut revoked = small.process.session("app_ro").await;
    let mut locked = small.process.session("app_rw").await;
    send(&mut writer, &query("create table t (n int, x text)")).await;
    read_until(&mut writer, b'Z').await;

    let mut n = 0;
    let insert = |n: &mut u32, bytes: usize| {
        *n += 1;
        format!("insert into t values ({n}, '{}')", "x".repeat(bytes))
    };
    let error = until_cut(&mut writer, || insert(&mut n, 50_000)).await;
    assert_eq!(error.field(b'C'), "53100", "{error:?}");
    assert!(error.field(b'M').contains("the disk of the recordings is full"), "{error:?}");
    // Another session may use up what its last page has; then it ends, too.
    let error = until_cut(&mut other, || insert(&mut n, 500)).await;
    assert!(error.field(b'M').contains("no more room to record"), "{error:?}");
    let got = small.process.cluster.psql_in("shop", "select n from t").unwrap();
    let recorded = small.statements();
    assert!(got.lines().count() >= 5);
    for n in got.lines() {
        let start = format!("insert into t values ({n}, ");
        assert!(recorded.iter().any(|text| text.starts_with(&start)), "{n} is not recorded");
    }
    let (ok, _, errors) = run(one(&small.process.conninfo)).await;
    assert!(!ok && errors.contains("ask an admin to free space"), "{errors}");

    let grants = admin.get("grants?scope=all").await;
    let grants = grants["items"].as_array().unwrap();
    let grant = grants.iter().find(|grant| grant.to_string().contains("app_ro")).unwrap();
    let id = grant["id"].as_str().unwrap();
    admin.post(&format!("grants/{id}/revoke"), &json!({ "reason": "incident" })).await;
    let error = read_until(&mut revoked, b'E').await.pop().unwrap();
    assert!(error.field(b'M').contains("revoked"), "{error:?}");
    let lock = json!({ "subject": "principal:alice", "reason": "incident" });
    let lock = admin.post("locks", &lock).await;
    let error = read_until(&mut locked, b'E').await.pop().unwrap();
    assert!(error.field(b'M').contains("locked"), "{error:?}");
    assert!(closes(&mut locked, std::time::Duration::from_secs(10)).await);
    until("the target has no session left", || small.process.upstream_sessions() == "0").await;

    for entry in std::fs::read_dir(small.recordings()).unwrap() {
        let path = entry.unwrap().path();
        if path.metadata().unwrap().len() > 100_000 {
            std::fs::remove_file(path).unwrap();
        }
    }
    admin.delete(&format!("locks/{}", lock["id"].as_str().unwrap())).await;
    until_some("all works again", async || run(one(&small.process.conninfo)).await.0.then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_no_session_begins_then_live_ones_end_and_space_brings_all_back() {
    let small = Small::start("32m", "reserve = \"8MiB\"").await;
    let admin = small.admin().await;
    let mut live = small.process.session("app_rw").await;
    let filler = small.recordings().join("filler");
    let fill = |mebibytes: usize| std::fs::write(&filler, vec![1; mebibytes << 20]).unwrap();
    let mut statement = async || {
        send(&mut live, &query("select 1")).await;
        while let Some(message) = read(&mut live).await {
            match message.kind {
                b'Z' => return None,
                b'E' => return Some(message.field(b'M')),
                _ => {}
            }
        }
        panic!("the session closed without a word")
    };

    fill(26);
    let (ok, _, errors) = run(one(&small.process.conninfo)).await;
    assert!(!ok && errors.contains("which is below its reserve of 8MiB"), "{errors}");
    assert_eq!(statement().await, None, "a live session goes on");
    fill(30);
    let ended = until_some("the live session ends", async || statement().await).await;
    assert!(ended.contains("which is below its reserve of 8MiB; ask an admin"), "{ended}");
    until("the log says so", || small.process.log().contains("no session can begin until")).await;

    let health = async |status: &str| {
        until_some("health says so", async || {
            (admin.get("health").await["status"] == *status).then_some(())
        })
        .await
    };
    health("no-room").await;

    std::fs::remove_file(&filler).unwrap();
    health("ok").await;
    let (ok, out, errors) = run(one(&small.process.conninfo)).await;
    assert!(ok && out.trim() == "through", "{errors}");
}
