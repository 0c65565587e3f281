//! Asking, approving, extending and ending, as people do it: the real command line, psql and pages.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::browser::Browser;
use crate::support::raw::{query, read, read_error, read_until, send, session};
use crate::support::{Bed, Files, Setup, psql, run};
use control::{WebhookSecret, sign_webhook, webhook_timestamp};
use policies::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStderr;

const RULES: &str = r#"
@id("everybody asks")
permit (principal, action == Action::"connect", resource is Database);

@id("engineers break the glass")
permit (principal in Group::"engineering", action == Action::"break-glass", resource is Database);

@id("writing takes a lead, then a DBA") @approvals("1 of leads then 1 of dba") @limit("1h")
forbid (principal, action == Action::"connect", resource) when { context.login == "app_rw" };

@id("reports name a ticket") @ticket("OPS-[0-9]+") @reason("12")
forbid (principal, action == Action::"connect", resource)
when { context.login == "app_ro" && context.database == "reporting" };

@id("a DBA, unless the ticket is approved") @approvals("1 of dba")
forbid (principal, action == Action::"connect", resource)
when { context.login == "app_ro" && context.database == "reporting" }
unless { context has ticket_state && context.ticket_state == "approved" };
"#;

/// Erin leads; the system of tickets speaks with this secret.
async fn bed(secret: &str) -> Bed {
    let folder = crate::support::private_folder();
    let file = folder.path().join("tickets");
    certs::store::write_private(&file, secret.as_bytes()).unwrap();
    let more = format!(
        "[people.erin]\nname = \"Erin\"\ngroups = [\"leads\"]\n\
         [people.alice-admin]\nname = \"Alice\"\ngroups = [\"dba\", \"leads\"]\nsame_as = \"alice\"\n\
         [workflow]\nticket_secret_file = \"{}\"\n",
        file.display()
    );
    Bed::with(Setup { rules: RULES, more, ..Setup::default() }).await
}

fn fresh() -> String {
    WebhookSecret::fresh().expose_secret().to_owned()
}

/// Somebody at a shell of their own.
struct Shell<'a> {
    bed: &'a Bed,
    home: PathBuf,
}

impl<'a> Shell<'a> {
    async fn of(bed: &'a Bed, name: &str) -> Self {
        let shell = Self { bed, home: bed.folder.path().join(format!("home-{name}")) };
        let id = policies::PrincipalId::new(name).unwrap();
        let invite = bed.gateway.control().identity.invite(None, &id).await.unwrap();
        let mut command = shell.postern(&["login", bed.gateway.api_url().as_str()]);
        command.env("POSTERN_CODE", invite.code.expose_secret());
        let (ok, out, errors) = run(command).await;
        assert!(ok, "{out}{errors}");
        shell
    }

    fn postern(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).env("POSTERN_HOME", &self.home).env("NO_COLOR", "1");
        command.env_remove("POSTERN_CODE").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn does(&self, args: &[&str]) -> Value {
        let with_json = [args, &["--json"]].concat();
        let (ok, out, errors) = run(self.postern(&with_json)).await;
        assert!(ok, "{args:?}: {out}{errors}");
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("{args:?}: {out}"))
    }

    /// What it refuses, with its exit code.
    async fn cannot(&self, args: &[&str]) -> (i32, String) {
        let mut command = self.postern(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{args:?} was done");
        (output.status.code().unwrap(), errors)
    }

    fn files(&self) -> Files {
        let file = |name| self.home.join(name);
        Files { cert: file("client.crt"), key: file("client.key"), ca: file("ca.crt") }
    }

    /// What psql says to a statement as this login.
    async fn psql(&self, login: &str, sql: &str) -> (bool, String, String) {
        let mut command = psql(&self.bed.conninfo(&self.files(), login, "orders"));
        command.args(["-Atc", sql]);
        run(command).await
    }
}

/// What the gateway answers to a message of the system of tickets.
async fn post_ticket_event(bed: &Bed, secret: &str, id: &str, body: &'static str) -> u16 {
    let now = bed.gateway.control().kernel.now();
    let signature = sign_webhook(&[secret.parse().unwrap()], id, now, body.as_bytes());
    let url = bed.gateway.api_url().join("api/v1/hooks/tickets").unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(url).body(body).header("content-type", "application/json");
    let request = request.header("webhook-id", id).header("webhook-signature", signature);
    let request = request.header("webhook-timestamp", webhook_timestamp(now));
    request.send().await.unwrap().status().as_u16()
}

/// The next line that says this.
async fn line_with(lines: &mut Lines<BufReader<ChildStderr>>, part: &str) -> String {
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(part) {
            return line;
        }
    }
    panic!("psql never said `{part}`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_psql_that_can_say_nothing_says_it_elsewhere_and_goes_on_with_its_ticket() {
    let secret = fresh();
    let bed = bed(&secret).await;
    let alice = Shell::of(&bed, "alice").await;
    let mut waiting = psql(&bed.token_conninfo("app_ro", "orders/reporting"));
    waiting.args(["-Atq", "-c", "select 'through'"]);
    let mut waiting = tokio::process::Command::from(waiting).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let line = line_with(&mut lines, "confirm code").await;
    let mut words = line.split_whitespace().skip_while(|word| *word != "code").skip(1);
    let code = words.next().unwrap().trim_end_matches([':', ',']);
    let (exit, errors) = alice.cannot(&["confirm", code, "--yes"]).await;
    assert!(exit != 0 && errors.contains("OPS-[0-9]+"), "{errors}");
    let options = ["--ticket", "OPS-7", "--reason", "the monthly figures"];
    let confirmed = alice.does(&[&["confirm", code, "--yes"][..], &options].concat()).await;
    assert_eq!(confirmed["ticket"], "OPS-7");
    line_with(&mut lines, "needs 1 of dba").await;

    let approved = r#"{"ticket":"OPS-7","state":"approved"}"#;
    assert_eq!(post_ticket_event(&bed, &secret, "msg_1", approved).await, 200);
    let output = waiting.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "through");
    assert_eq!(bed.events("request.granted").await.len(), 1);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stages_an_edit_an_extension_and_the_end() {
    let bed = bed(&fresh()).await;
    let (alice, erin, bob) = (
        Shell::of(&bed, "alice").await,
        Shell::of(&bed, "erin").await,
        Shell::of(&bed, "bob").await,
    );
    let asked =
        alice.does(&["request", "app_rw@orders", "--for", "2h", "--reason", "order 7"]).await;
    let request = text(&asked["request"]["id"]);
    assert_eq!(asked["request"]["needs"], json!(["1 of leads", "then 1 of dba"]));
    let (code, message) = bob.cannot(&["approve", &request, "--yes"]).await;
    assert!(code == 6 && message.contains("1 of leads"), "{message}");
    let second = Shell::of(&bed, "alice-admin").await;
    let (code, message) = second.cannot(&["approve", &request, "--yes"]).await;
    assert!(code == 4 && message.contains("whatever name"), "{message}");
    erin.does(&["approve", &request, "--yes"]).await;

    let edited = alice.does(&["edit", &request, "--for", "20m", "--reason", "order 8"]).await;
    assert_eq!(edited["request"]["approvals"], json!([]), "an edit kills approvals");
    erin.does(&["approve", &request, "--yes"]).await;
    let granted = bob.does(&["approve", &request, "--yes"]).await;
    let grant = text(&granted["grant"]["id"]);
    assert_eq!(granted["grant"]["ttl"], "20m");

    let (code, message) = alice.cannot(&["extend", "--for", "10m"]).await;
    assert!(code == 6 && message.contains("not been used"), "{message}");
    let (ok, out, errors) = alice.psql("app_rw", "select 'in'").await;
    assert!(ok && out.trim() == "in", "{errors}");
    let ends = |grant: &Value| text(&grant["ends"]).parse::<Timestamp>().unwrap();
    let before = ends(&alice.does(&["ls"]).await["grants"][0]);
    let again = alice.does(&["request", "app_rw@orders"]).await;
    assert_eq!(text(&again["grant"]["id"]), grant, "an approved request is reused");
    assert_eq!(ends(&again["grant"]), before, "and a second connect extends nothing");

    let longer = alice.does(&["extend", "--for", "10m", "--reason", "nearly done"]).await;
    let extension = text(&longer["request"]["id"]);
    assert_eq!(text(&longer["request"]["extends"]), grant);
    erin.does(&["approve", &extension, "--yes"]).await;
    let extended = bob.does(&["approve", &extension, "--yes"]).await;
    assert_eq!(text(&extended["grant"]["id"]), grant);
    assert_eq!(ends(&extended["grant"]).millis() - before.millis(), 600_000);

    let files = alice.files();
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("select pg_sleep(600)")).await;
    alice.does(&["done", &grant]).await;
    let error = read_error(&mut stream).await;
    assert!(error.field(b'M').contains("given back"), "{error:?}");
    bed.no_upstream_session_stays().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_approved_as_one_and_used_each() {
    let bed = bed(&fresh()).await;
    let (alice, erin, bob) = (
        Shell::of(&bed, "alice").await,
        Shell::of(&bed, "erin").await,
        Shell::of(&bed, "bob").await,
    );
    let all = ["request", "app_rw@orders", "app_rw@orders/reporting", "cert_user@orders"];
    let asked = alice.does(&[&all[..], &["--for", "15m"]].concat()).await;
    let request = text(&asked["request"]["id"]);
    erin.does(&["approve", &request, "--yes"]).await;
    let granted = bob.does(&["approve", &request, "--yes"]).await;
    assert_eq!(granted["request"]["grants"].as_array().unwrap().len(), 3);
    for login in ["app_rw", "cert_user"] {
        let (ok, _, errors) = alice.psql(login, "select 1").await;
        assert!(ok, "{login}: {errors}");
    }
    let later = alice.does(&["request", "app_ro@orders", "--at", "2h"]).await;
    assert_eq!(later["grant"]["state"], "scheduled");
    let (ok, _, errors) = alice.psql("app_ro", "select 1").await;
    assert!(!ok && errors.contains("begins at"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_on_a_group_cuts_its_members_and_nobody_else() {
    let bed = bed(&fresh()).await;
    let (alice, dave, bob) = (
        Shell::of(&bed, "alice").await,
        Shell::of(&bed, "dave").await,
        Shell::of(&bed, "bob").await,
    );
    for shell in [&alice, &dave] {
        shell.does(&["request", "app_ro@orders"]).await;
    }
    let (mut hers, _) = session(&bed, &alice.files(), "app_ro", "orders").await;
    let (mut his, _) = session(&bed, &dave.files(), "app_ro", "orders").await;
    send(&mut hers, &query("select pg_sleep(600)")).await;
    let lock = bob.does(&["lock", "group:engineering", "--reason", "incident 7"]).await;
    let error = read_error(&mut hers).await;
    assert!(error.field(b'M').contains("incident 7"), "{error:?}");
    send(&mut his, &query("select 1")).await;
    read_until(&mut his, b'Z').await;
    let (ok, _, errors) = alice.psql("app_ro", "select 1").await;
    assert!(!ok && errors.contains("incident 7"), "{errors}");
    let (ok, ..) = run(bob.postern(&["unlock", &text(&lock["id"])])).await;
    assert!(ok);
    let (ok, _, errors) = alice.psql("app_ro", "select 1").await;
    assert!(ok, "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_is_closed_cuts_what_was_given_for_it() {
    let secret = fresh();
    let bed = bed(&secret).await;
    let alice = Shell::of(&bed, "alice").await;
    alice.does(&["request", "app_ro@orders", "--ticket", "OPS-12"]).await;
    let (mut stream, _) = session(&bed, &alice.files(), "app_ro", "orders").await;
    send(&mut stream, &query("select pg_sleep(600)")).await;
    let body = r#"{"ticket":"OPS-12","state":"closed"}"#;
    assert_eq!(post_ticket_event(&bed, &fresh(), "msg_1", body).await, 401, "another's secret");
    assert_eq!(post_ticket_event(&bed, &secret, "msg_1", body).await, 200);
    assert_eq!(post_ticket_event(&bed, &secret, "msg_1", body).await, 409, "a message counts once");
    let error = read_error(&mut stream).await;
    assert!(error.field(b'M').contains("given back"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_takes_a_touch_and_its_review_somebody_else() {
    let bed = bed(&fresh()).await;
    let (alice, bob) = (Shell::of(&bed, "alice").await, Shell::of(&bed, "bob").await);
    let why = ["--reason", "the shop is down"];
    let args = [&["request", "app_rw@orders", "--break-glass"][..], &why].concat();
    let asked = alice.does(&args).await;
    let request = text(&asked["request"]["id"]);
    assert!(asked["grant"].is_null(), "never without a step-up");
    let page = text(&asked["request"]["prove_at"]);

    let mut browser = Browser::open().await;
    let invite =
        bed.gateway.control().identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    let code = invite.code.expose_secret();
    browser.go(&format!("{}login?code={code}", bed.gateway.api_url())).await;
    browser.press("Sign in").await;
    browser.go(&format!("{}keys", bed.gateway.api_url())).await;
    browser.press("Add a passkey").await;
    browser.fill("What to call it", "blue key").await;
    browser.press("Make the passkey").await;
    let seen = browser.go(&page).await;
    assert!(seen.text.contains("Emergency"), "{seen:?}");
    let seen = browser.press("Yes, I ask for this").await;
    assert!(seen.text.contains("It is granted"), "{seen:?}");

    let grants = alice.does(&["ls"]).await["grants"].clone();
    assert_eq!((&grants[0]["request"], &grants[0]["break_glass"]), (&json!(request), &json!(true)));
    let grant = text(&grants[0]["id"]);
    let review = text(&bob.does(&["reviews"]).await[0]["id"]);
    let sign = ["reviews", "sign", review.as_str(), "--note", "read it all"];
    let (code, errors) = bob.cannot(&sign).await;
    assert!(code == 6 && errors.contains("once it has ended"), "{errors}");
    alice.does(&["done", &grant]).await;
    let (code, _) = alice.cannot(&sign).await;
    assert_eq!(code, 4, "nobody signs for themselves");
    let signed = bob.does(&sign).await;
    assert_eq!((&signed["state"], &signed["signed_by"]), (&json!("signed"), &json!("bob")));
    assert_eq!(bob.does(&["reviews"]).await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_counted_down_in_band_with_the_way_to_extend() {
    let bed = bed(&fresh()).await;
    let alice = Shell::of(&bed, "alice").await;
    let granted = alice.does(&["request", "app_ro@orders", "--for", "12s"]).await;
    let grant = text(&granted["grant"]["id"]);
    let (mut stream, _) = session(&bed, &alice.files(), "app_ro", "orders").await;
    let notice = read(&mut stream).await.unwrap();
    assert_eq!(notice.kind, b'N');
    let message = notice.field(b'M');
    assert!(message.contains("ends in 10s") && message.contains(&grant), "{message}");
    alice.does(&["extend", "--for", "20m"]).await;
    send(&mut stream, &query("select 1")).await;
    read_until(&mut stream, b'Z').await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_grant_cuts() {
    let bed = bed(&fresh()).await;
    let (alice, bob) = (Shell::of(&bed, "alice").await, Shell::of(&bed, "bob").await);
    let granted = alice.does(&["request", "app_ro@orders"]).await;
    let grant = text(&granted["grant"]["id"]);
    let (mut stream, _) = session(&bed, &alice.files(), "app_ro", "orders").await;
    send(&mut stream, &query("select pg_sleep(600)")).await;
    bob.does(&["revoke", &grant, "--reason", "wrong database"]).await;
    let error = read_error(&mut stream).await;
    assert!(error.field(b'M').contains("by Bob: wrong database"), "{error:?}");
    bed.no_upstream_session_stays().await;
}
