//! The command line as people use it: sign in, ask, approve, connect, look, give back.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Bed, FOUR_EYES, Setup};
use policies::PrincipalId;
use secrecy::ExposeSecret;
use serde_json::Value;

/// Somebody at a shell of their own.
struct Person {
    home: PathBuf,
}

/// Exit code, output and errors.
type Output = (i32, String, String);

impl Person {
    async fn signed_in(bed: &Bed, name: &str) -> Self {
        let home = bed.folder.path().join(format!("home-{name}"));
        let person = Self { home };
        let id = PrincipalId::new(name).unwrap();
        let invite = bed.gateway.control().identity.invite(None, &id).await.unwrap();
        let (code, out, errors) =
            person.run_with(&["login", "--link"], invite.url.expose_secret()).await;
        assert_eq!(code, 0, "{out}{errors}");
        person
    }

    async fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, "").await
    }

    async fn run_with(&self, args: &[&str], typed: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).env("POSTERN_HOME", &self.home);
        command.env("NO_COLOR", "1").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let typed = typed.to_owned();
        let done = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(format!("{typed}\n").as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        let output = done.await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    async fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let (code, out, errors) = self.run(&args).await;
        assert_eq!(code, 0, "{args:?}: {out}{errors}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// The first text that begins so, anywhere in a document.
fn id(value: &Value, prefix: &str) -> Option<String> {
    match value {
        Value::String(text) if text.starts_with(prefix) => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(|item| id(item, prefix)),
        Value::Object(fields) => fields.values().find_map(|item| id(item, prefix)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_at_the_command_line() {
    let bed = Bed::with(Setup { rules: FOUR_EYES, host: "localhost", ..Setup::default() }).await;
    let (alice, bob) =
        (Person::signed_in(&bed, "alice").await, Person::signed_in(&bed, "bob").await);

    let asked =
        alice.json(&["request", "app_rw@orders", "--for", "30m", "--reason", "ticket 12"]).await;
    let request = id(&asked, "rq-").expect("a request");
    let (code, out, errors) = bob.run(&["approve", &request, "--yes"]).await;
    assert_eq!(code, 0, "{out}{errors}");

    let select = ["psql", "app_rw@orders", "--", "-XAtqc", "select 'through'"];
    let (code, out, errors) = alice.run(&select).await;
    assert!(code == 0 && out.trim() == "through", "{out}{errors}");

    let mut sessions = Value::Null;
    for _ in 0..100 {
        sessions = bob.json(&["sessions", "--all"]).await;
        if id(&sessions, "se-").is_some() {
            break;
        }
    }
    let session = id(&sessions, "se-").expect("a session");
    let (code, out, errors) = bob.run(&["replay", &session]).await;
    assert!(code == 0 && out.contains("select 'through'"), "{out}{errors}");
    let (code, ..) = alice.run(&["replay", &session]).await;
    assert_ne!(code, 0, "an engineer replayed a recording");

    let (code, out, errors) = alice.run(&["done"]).await;
    assert_eq!(code, 0, "{out}{errors}");
    let (code, _, errors) = alice.run(&["approve", &request, "--yes"]).await;
    assert_ne!(code, 0, "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_mean_something_and_errors_say_what_to_do() {
    let bed = Bed::with(Setup { rules: FOUR_EYES, host: "localhost", ..Setup::default() }).await;
    let alice = Person::signed_in(&bed, "alice").await;
    let nobody = Person { home: bed.folder.path().join("home-nobody") };
    for (person, args, expected) in [
        (&nobody, &["ls"][..], 3),
        (&alice, &["request", "nonsense"], 2),
        (&alice, &["lock", "principal:bob", "--reason", "no"], 4),
        (&alice, &["approve", "rq-aaaaaaaaaaaa", "--yes"], 5),
        (&alice, &["frobnicate"], 2),
    ] {
        let (code, out, errors) = person.run(args).await;
        assert_eq!(code, expected, "{args:?}: {out}{errors}");
        assert!(!errors.trim().is_empty(), "{args:?} said nothing");
    }
    let (code, out, errors) = alice.run(&["ls"]).await;
    assert!(code == 0 && out.contains("orders"), "{out}{errors}");
}
