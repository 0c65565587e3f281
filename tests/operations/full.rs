//! The disk of control's state is full while somebody works: what an admin takes away is cut, nothing
//! new begins, and with room again all goes on by itself.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::gateway_process::GatewayProcess;
use crate::support::raw::{query, read_until, send};
use crate::support::{Setup, psql, run, until_some};

/// Runs the gateway, and follows commands on standard input. Where it may mount, its state is on a
/// file system of its own that is filled; otherwise a limit makes its writes fail.
const SUPERVISOR: &str = r#"
state=$1; shift
mode=limit
if cp -a "$state" "$state.kept" && mount -t tmpfs -o size=24m,mode=700 none "$state" 2>/dev/null; then
    cp -a "$state.kept/." "$state" || exit 1
    mode=mount
fi
trap '' XFSZ
"$@" </dev/null >/dev/null & pid=$!
echo "$mode"
while read -r word; do
    case "$word $mode" in
        'fill mount') cat /dev/zero >"$state/filler" 2>/dev/null ;;
        'free mount') rm "$state/filler" ;;
        'fill limit') prlimit --pid "$pid" --fsize=0:unlimited ;;
        'free limit') prlimit --pid "$pid" --fsize=unlimited:unlimited ;;
    esac
    echo "$word"
done
kill -9 "$pid"
"#;

/// A gateway whose disk the test fills.
struct Confined {
    supervisor: Child,
    say: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
}

impl Confined {
    fn start(process: &GatewayProcess) -> Self {
        let mut namespace = Command::new("unshare");
        namespace.args(["--user", "--map-root-user", "--mount", "true"]);
        let mut command = match namespace.status().is_ok_and(|status| status.success()) {
            true => {
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-root-user", "--mount", "sh"]);
                command
            }
            false => Command::new("sh"),
        };
        command.args(["-c", SUPERVISOR, "sh"]).arg(process.folder.path().join("state"));
        command.arg(env!("CARGO_BIN_EXE_postern")).args(["up", "--config"]).arg(&process.config);
        command.env_remove("POSTERN_LOG").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(process.folder.path().join("log")).unwrap());
        let mut supervisor = command.spawn().unwrap();
        let hear = BufReader::new(supervisor.stdout.take().unwrap());
        let say = supervisor.stdin.take();
        let mut confined = Self { supervisor, say, hear };
        let mode = confined.line();
        eprintln!("the disk is made full by: {mode}");
        confined
    }

    /// Has the disk filled, or room made.
    fn command(&mut self, word: &str) {
        writeln!(self.say.as_mut().unwrap(), "{word}").unwrap();
        assert_eq!(self.line(), word);
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        // It ends the gateway when nobody can tell it anything any more.
        drop(self.say.take());
        let _ = self.supervisor.wait();
    }
}

/// Bob at his shell.
struct Bob(PathBuf);

impl Bob {
    async fn signed_in(process: &GatewayProcess) -> Self {
        let bob = Self(process.folder.path().join("home-bob"));
        let (ok, out, errors) = bob.run(&["login", "--link"], &process.bob).await;
        assert!(ok, "{out}{errors}");
        bob
    }

    async fn run(&self, args: &[&str], typed: &str) -> (bool, String, String) {
        let typed_in = self.0.with_extension("typed");
        std::fs::write(&typed_in, format!("{typed}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).env("POSTERN_HOME", &self.0).env("NO_COLOR", "1");
        command.stdin(std::fs::File::open(typed_in).unwrap());
        run(command).await
    }

    async fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let (ok, out, errors) = self.run(&args, "").await;
        assert!(ok, "{args:?}: {out}{errors}");
        serde_json::from_str(&out).unwrap()
    }
}

async fn health(process: &GatewayProcess, status: u16) -> Value {
    let url = format!("{}api/v1/health", process.url);
    until_some(&format!("the health is {status}"), async || {
        let answer = reqwest::get(&url).await.ok()?;
        (answer.status() == status).then_some(answer.json::<Value>().await.ok()?)
    })
    .await
}

async fn through(process: &GatewayProcess) -> (bool, String) {
    let mut command = psql(&process.conninfo.replace("user=app_rw", "user=app_ro"));
    command.args(["-Atc", "select 'through'"]);
    let (ok, out, errors) = run(command).await;
    (ok, format!("{out}{errors}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_no_revoke_from_cutting_and_lets_nobody_in_unwritten() {
    let mut process =
        GatewayProcess::new(Setup::default(), &["app_rw@orders", "app_ro@orders"]).await;
    process.recordings_elsewhere();
    let mut gateway = Confined::start(&process);
    until_some("the gateway serves", async || through(&process).await.0.then_some(())).await;
    let bob = Bob::signed_in(&process).await;
    let (mut revoked, mut locked) =
        (process.session("app_rw").await, process.session("app_ro").await);
    for session in [&mut revoked, &mut locked] {
        send(session, &query("select 1")).await;
        read_until(session, b'Z').await;
    }
    let sessions = bob.json(&["sessions", "--all"]).await;
    let of = |login: &str| {
        let sessions = sessions.as_array().unwrap().iter();
        let mut of_it = sessions.filter(|session| session.to_string().contains(login));
        of_it.next().unwrap()["grant"].as_str().unwrap().to_owned()
    };
    let (grant, before) = (of("app_rw@orders"), sessions.as_array().unwrap().len());

    gateway.command("fill");
    health(&process, 503).await;
    let (ok, output) = through(&process).await;
    assert!(!ok && output.contains("control"), "{output}");
    let (ok, out, errors) = bob.run(&["revoke", &grant, "--reason", "incident 7"], "").await;
    assert!(ok && errors.contains("not yet durable"), "{out}{errors}");
    assert!(last_words(&mut revoked).await.contains("incident 7"));
    let (ok, out, errors) =
        bob.run(&["lock", "principal:alice", "--reason", "incident 8"], "").await;
    assert!(ok && errors.contains("not yet durable"), "{out}{errors}");
    assert!(last_words(&mut locked).await.contains("incident 8"));
    let (ok, output) = through(&process).await;
    assert!(!ok, "{output}");

    gateway.command("free");
    health(&process, 200).await;
    let locks = bob.json(&["locks"]).await;
    let lock = locks[0]["id"].as_str().unwrap();
    let (ok, output) = through(&process).await;
    assert!(!ok && output.contains("incident 8"), "{output}");
    let (ok, out, errors) = bob.run(&["unlock", lock], "").await;
    assert!(ok, "{out}{errors}");
    until_some("all goes on", async || through(&process).await.0.then_some(())).await;

    let events = bob.json(&["audit"]).await;
    let place = |kind: &str| {
        let oldest_first = events.as_array().unwrap().iter().rev();
        let mut kinds = oldest_first.map(|event| event["kind"].as_str().unwrap());
        let place = kinds.position(|it| it == kind);
        place.unwrap_or_else(|| panic!("no {kind}: {events:?}"))
    };
    let late = [place("grant.ended"), place("lock.set"), place("store.writable")];
    assert!(late.is_sorted(), "{late:?}");
    let sessions = until_some("every session has a row", async || {
        let sessions = bob.json(&["sessions", "--all"]).await;
        (sessions.as_array().unwrap().len() > before).then(|| sessions.to_string())
    })
    .await;
    for recording in process.recordings() {
        assert!(sessions.contains(&recording), "{recording} has no row");
    }
}

/// What a session reads until its connection is closed.
async fn last_words(stream: &mut crate::support::raw::Tls) -> String {
    let mut all = String::new();
    while let Some(message) = crate::support::raw::read(stream).await {
        all.push_str(&String::from_utf8_lossy(&message.body));
    }
    all
}
