//! Messages reach people by webhooks, Slack and mail, at least once, whatever fails in between.
mod receiver;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Bed, FOUR_EYES, Setup, private_folder};
use control::{MessageState, Paging, WebhookHeaders, WebhookSecret, verify_webhook};
use policies::{PrincipalId, Timestamp};
use postern::config::Config;
use postern::doctor::{Level, examine};
use postern::up::Gateway;
use receiver::{Delivery, MailServer, Receiver};
use secrecy::ExposeSecret;
use serde_json::Value;

const MAIL_PASSWORD: &str = "canary-password-of-the-mail-server";
const SLACK_PATH: &str = "services/T0/B0/canary-of-a-slack-webhook";

/// A folder of secrets, for the sections that name them.
struct Secrets {
    folder: tempfile::TempDir,
    secret: WebhookSecret,
}

impl Secrets {
    fn new() -> Self {
        let folder = private_folder();
        let secret = WebhookSecret::fresh();
        let secrets = Self { folder, secret: secret.expose_secret().parse().unwrap() };
        secrets.write("webhook", secret.expose_secret());
        secrets
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, secret: &str) {
        certs::store::write_private(&self.path(name), secret.as_bytes()).unwrap();
    }

    /// A section for a webhook on this machine.
    fn webhook(&self, name: &str, receiver: &Receiver, more: &str) -> String {
        let (port, file) = (receiver.port, self.path("webhook"));
        format!(
            "[notify.{name}]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/hook\"\n\
             secret_file = \"{}\"\nallow_private = true\n{more}\n",
            file.display()
        )
    }

    fn verify(&self, delivery: &Delivery) {
        let headers = WebhookHeaders {
            id: delivery.header("webhook-id"),
            timestamp: delivery.header("webhook-timestamp"),
            signature: delivery.header("webhook-signature"),
        };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let now = Timestamp::from_millis(i64::try_from(now).unwrap());
        verify_webhook(std::slice::from_ref(&self.secret), headers, &delivery.body, now).unwrap();
    }
}

async fn bed(more: String) -> Bed {
    Bed::with(Setup { rules: FOUR_EYES, host: "localhost", more, ..Setup::default() }).await
}

/// Somebody at a shell of their own.
struct Person {
    home: PathBuf,
}

impl Person {
    async fn signed_in(bed: &Bed, name: &str) -> Self {
        let person = Self { home: bed.folder.path().join(format!("home-{name}")) };
        let id = PrincipalId::new(name).unwrap();
        let invite = bed.gateway.control().identity.invite(None, &id).await.unwrap();
        let (code, text) = person.run(&["login", "--link"], invite.url.expose_secret()).await;
        assert_eq!(code, 0, "{text}");
        person
    }

    async fn run(&self, args: &[&str], typed: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).env("POSTERN_HOME", &self.home).env("NO_COLOR", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let typed = format!("{typed}\n");
        let done = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        let output = done.await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    async fn does(&self, args: &[&str]) -> String {
        let (code, text) = self.run(args, "").await;
        assert_eq!(code, 0, "{args:?}: {text}");
        text
    }

    async fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.does(&args).await).unwrap()
    }
}

/// The request's id in what a command printed.
fn request_in(text: &str) -> String {
    let at = text.find("rq-").unwrap_or_else(|| panic!("no request: {text}"));
    text[at..at + 15].to_owned()
}

fn mail_section(secrets: &Secrets, mail: &MailServer, folder: &Path) -> String {
    secrets.write("mail", MAIL_PASSWORD);
    format!(
        "[notify.mail]\nkind = \"email\"\nserver = \"localhost:{}\"\nallow_private = true\n\
         from = \"Postern <postern@example.com>\"\nuser = \"postern\"\npassword_file = \"{}\"\n\
         roots = \"{}\"\n",
        mail.port,
        secrets.path("mail").display(),
        folder.join("mail.pem").display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_told_by_webhook_slack_and_mail_and_its_end_to_the_one_who_asked() {
    let secrets = Secrets::new();
    let (mut ops, mut slack) = (Receiver::start().await, Receiver::start().await);
    let mut mail = MailServer::start(secrets.folder.path(), MAIL_PASSWORD).await;
    secrets.write("slack", &format!("http://127.0.0.1:{}/{SLACK_PATH}", slack.port));
    let slack_section = format!(
        "[notify.chat]\nkind = \"slack\"\nurl_file = \"{}\"\nallow_private = true\n\
         groups = [\"dba\"]\nevents = [\"request.*\"]\n",
        secrets.path("slack").display()
    );
    let more = secrets.webhook("ops", &ops, "events = [\"*\"]")
        + &slack_section
        + &mail_section(&secrets, &mail, secrets.folder.path());
    let bed = bed(more).await;
    let (alice, bob) =
        (Person::signed_in(&bed, "alice").await, Person::signed_in(&bed, "bob").await);
    let reason = "<!channel> ticket 12";
    let asking = ["request", "app_rw@orders", "--for", "30m", "--reason", reason];
    let request = request_in(&alice.does(&asking).await);
    let page = format!("{}r/{request}", bed.gateway.api_url());

    let delivery = ops.next().await;
    secrets.verify(&delivery);
    let body = delivery.json();
    assert_eq!(
        (&body["type"], &body["data"]["url"]),
        (&"request.asked".into(), &page.as_str().into())
    );
    assert_eq!(body["data"]["reason"], reason);
    delivery.answer(204);

    let posted = slack.next().await;
    let message = posted.json();
    let text = message["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt; ticket 12"), "{text}");
    assert_eq!(message["blocks"][2]["elements"][0]["url"], page);
    posted.answer(200);

    let mails = [mail.next().await, mail.next().await];
    let mut to: Vec<&str> = mails.iter().map(|mail| mail["to"][0].as_str().unwrap()).collect();
    to.sort_unstable();
    assert_eq!(to, ["bob@example.com", "carol@example.com"]);
    for mail in &mails {
        assert_eq!((&mail["encrypted"], &mail["signed_in"]), (&true.into(), &true.into()));
        let content = mail["content"].as_str().unwrap();
        assert!(
            content.contains("Subject: Alice asks for app_rw@orders/shop for 30m"),
            "{content}"
        );
        assert!(!content.contains("canary"), "{content}");
    }

    bob.does(&["deny", &request, "--reason", "use app_ro"]).await;
    let denied = mail.next().await;
    assert_eq!(denied["to"][0], "alice@example.com");
    let delivery = ops.next().await;
    assert_eq!(delivery.json()["data"]["why"], "use app_ro");
    delivery.answer(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_is_told_later_and_what_it_never_took_by_an_admin() {
    let secrets = Secrets::new();
    let (mut ops, mut frail) = (Receiver::start().await, Receiver::start().await);
    let more = secrets.webhook("ops", &ops, "attempts = 5\nretry_after = \"50ms\"")
        + &secrets.webhook("frail", &frail, "attempts = 1");
    let bed = bed(more).await;
    let (alice, bob) =
        (Person::signed_in(&bed, "alice").await, Person::signed_in(&bed, "bob").await);
    alice.does(&["request", "app_rw@orders", "--reason", "ticket 12"]).await;

    let first = ops.next().await;
    let id = first.id();
    first.answer(500);
    for status in [503, 200] {
        let again = ops.next().await;
        secrets.verify(&again);
        assert_eq!(again.id(), id, "another message came instead");
        again.answer(status);
    }

    let lost = frail.next().await;
    let lost_id = lost.id();
    lost.answer(500);
    let mut dead = Value::Null;
    for _ in 0..100 {
        dead = bob.json(&["notifications", "--state", "dead"]).await;
        if dead.as_array().is_some_and(|dead| !dead.is_empty()) {
            break;
        }
    }
    assert_eq!((&dead[0]["id"], &dead[0]["tries"]), (&lost_id.as_str().into(), &1.into()));
    assert_eq!(dead[0]["fault"], "it answered 500 Internal Server Error");
    let (code, text) = alice.run(&["notifications"], "").await;
    assert_eq!(code, 4, "{text}");
    assert!(bob.does(&["notifications", "retry", "--all"]).await.contains("1 are sent again"));
    let taken = frail.next().await;
    assert_eq!(taken.id(), lost_id);
    taken.answer(200);
    until_settled(&bob).await;
    let (code, text) = bob.run(&["notifications", "retry", &lost_id], "").await;
    assert!(code == 6 && text.contains("replay it"), "{text}");
    bob.does(&["notifications", "replay", &lost_id]).await;
    let replayed = frail.next().await;
    assert_eq!(replayed.id(), lost_id);
    replayed.answer(200);

    let testing = tokio::spawn(async move {
        bob.does(&["notifications", "test", "ops"]).await;
        bob
    });
    let test = ops.next().await;
    secrets.verify(&test);
    assert_eq!(test.json()["data"]["id"], "test-of-ops");
    test.answer(200);
    let bob = testing.await.unwrap();
    let channels = bob.does(&["notifications", "channels"]).await;
    assert!(channels.contains("127.0.0.1") && !channels.contains("hook\n"), "{channels}");
    until_settled(&bob).await;
    assert_eq!(bed.metric("postern_notifications_total", "outcome=\"dead\"").await, 1.0);
    assert_eq!(bed.metric("postern_notifications_total", "outcome=\"sent\"").await, 3.0);
}

async fn until_settled(admin: &Person) {
    for _ in 0..100 {
        let waiting = admin.json(&["notifications", "--state", "waiting"]).await;
        if waiting.as_array().is_some_and(Vec::is_empty) {
            return;
        }
    }
    panic!("something still waits");
}

/// A gateway in a process of its own, which ends with its test.
struct GatewayProcess(Child);

impl GatewayProcess {
    fn start(config: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(["up", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn kill_9(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_sending_and_its_record_sends_the_same_again_and_loses_nothing() {
    let secrets = Secrets::new();
    let mut ops = Receiver::start().await;
    let bed = bed(secrets.webhook("ops", &ops, "timeout = \"60s\"")).await;
    bed.ask("alice", "app_rw@orders", "30m").await;
    let id = ops.next().await.id();
    let Bed { gateway, cluster: _cluster, folder: _folder, config } = bed;
    gateway.shutdown(Duration::from_secs(10)).await;

    for _ in 0..3 {
        let running = GatewayProcess::start(&config);
        let taken = ops.next().await;
        assert_eq!(taken.id(), id);
        // It has it, and the gateway never hears so.
        running.kill_9();
        taken.answer(200);
    }

    let loaded = Config::load(&config).unwrap();
    let gateway = Gateway::start(&loaded).await.unwrap();
    let last = ops.next().await;
    assert_eq!(last.id(), id);
    last.answer(200);
    let control = gateway.control().clone();
    let invite = control.identity.invite(None, &PrincipalId::new("bob").unwrap()).await.unwrap();
    let bob =
        control.identity.sign_in(&invite.code, control::Origin::default()).await.unwrap().actor;
    crate::support::until_some("the message is settled", async || {
        let page = control.notifier.messages(&bob, None, Paging::default()).await.unwrap();
        assert_eq!(page.items.len(), 1);
        (page.items[0].state == MessageState::Sent).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_gone_is_not_tried_again_and_a_wrong_password_is() {
    let secrets = Secrets::new();
    let mail = MailServer::start(secrets.folder.path(), MAIL_PASSWORD).await;
    let section = mail_section(&secrets, &mail, secrets.folder.path());
    let bed = bed(section).await;
    let config = std::fs::read_to_string(&bed.config).unwrap();
    std::fs::write(&bed.config, config.replace("carol@example.com", "gone@example.com")).unwrap();
    bed.gateway.reload(&Config::load(&bed.config).unwrap()).await.unwrap();
    bed.ask("alice", "app_rw@orders", "30m").await;
    let bob = bed.actor("bob").await;
    let settled = |state, whom: &'static str| {
        let (control, bob) = (bed.gateway.control().clone(), bob.clone());
        async move {
            let what = format!("the message to {whom} is {state}");
            crate::support::until_some(&what, async || {
                let page = control.notifier.messages(&bob, None, Paging::default()).await.unwrap();
                let to = |id: &PrincipalId| id.as_str() == whom;
                let mut letters = page.items.into_iter();
                let found = letters.find(|letter| letter.recipient.as_ref().is_some_and(to));
                found.filter(|letter| letter.state == state && letter.tries > 0)
            })
            .await
        }
    };
    let dead = settled(MessageState::Dead, "carol").await;
    assert_eq!(dead.tries, 1);
    assert!(dead.fault.unwrap().contains("no such mailbox"));
    settled(MessageState::Sent, "bob").await;

    secrets.write("mail", "another password");
    bed.gateway.reload(&Config::load(&bed.config).unwrap()).await.unwrap();
    let control = bed.gateway.control();
    let lost =
        control.notifier.messages(&bob, Some(MessageState::Sent), Paging::default()).await.unwrap();
    control.notifier.send_again(&bob, &lost.items[0].id, true).await.unwrap();
    let waiting = settled(MessageState::Waiting, "bob").await;
    let fault = waiting.fault.unwrap();
    assert!(fault.contains("535") && !fault.contains("password of"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_looks_at_each_channel_and_tells_nobody_anything() {
    let secrets = Secrets::new();
    let mut ops = Receiver::start().await;
    let mail = MailServer::start(secrets.folder.path(), MAIL_PASSWORD).await;
    let untrusted = mail_section(&secrets, &mail, secrets.folder.path())
        .replace("[notify.mail]", "[notify.untrusted]");
    let untrusted: String = untrusted
        .lines()
        .filter(|line| !line.starts_with("roots"))
        .map(|line| format!("{line}\n"))
        .collect();
    let more = secrets.webhook("ops", &ops, "")
        + &mail_section(&secrets, &mail, secrets.folder.path())
        + &untrusted;
    let bed = bed(more).await;
    let config = bed.config.clone();
    let examining = tokio::spawn(async move { examine(&config).await });
    let knock = ops.next().await;
    assert_eq!((knock.method.as_str(), knock.body.len()), ("HEAD", 0));
    knock.answer(404);
    let findings = examining.await.unwrap();
    let found = |name: &str| {
        let title = format!("channel {name}");
        findings.iter().find(|finding| finding.title == title).unwrap()
    };
    assert_eq!((found("ops").level, found("mail").level), (Level::Ok, Level::Ok), "{findings:?}");
    let untrusted = found("untrusted");
    assert_eq!(untrusted.level, Level::Fault);
    assert!(untrusted.detail.contains("certificate"), "{}", untrusted.detail);
    assert!(!format!("{findings:?}").contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_channel_shows_in_logs_lists_or_errors() {
    let secrets = Secrets::new();
    secrets.write("slack", &format!("https://127.0.0.1:1/{SLACK_PATH}"));
    let section = format!(
        "[notify.chat]\nkind = \"slack\"\nurl_file = \"{}\"\nallow_private = true\nattempts = 1\n",
        secrets.path("slack").display()
    );
    let bed = bed(section).await;
    bed.ask("alice", "app_rw@orders", "30m").await;
    let bob = Person::signed_in(&bed, "bob").await;
    let mut text = String::new();
    for _ in 0..100 {
        text = bob.does(&["notifications"]).await;
        if text.contains("dead") {
            break;
        }
    }
    assert!(text.contains("it can't be reached"), "{text}");
    let (code, failed) = bob.run(&["notifications", "test", "chat"], "").await;
    assert_eq!(code, 6, "{failed}");
    let shown = text + &failed + &bob.does(&["notifications", "channels"]).await;
    assert!(!shown.contains("canary") && !shown.contains("services"), "{shown}");
    assert!(
        !format!("{:?}", bed.gateway.control().notifier.channels(&bed.actor("bob").await).await)
            .contains("canary")
    );
}
