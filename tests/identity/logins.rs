//! Signing a terminal in and out, as people do it: the real command line, and a browser's pages.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::raw::{read_error, secure, send, session, startup};
use crate::support::{Bed, Files, Setup, psql, run};
use policies::PrincipalId;
use secrecy::ExposeSecret;

/// Somebody at a shell of their own.
struct Shell<'a> {
    bed: &'a Bed,
    home: PathBuf,
}

impl<'a> Shell<'a> {
    fn of(bed: &'a Bed, name: &str) -> Self {
        Self { bed, home: bed.folder.path().join(format!("home-{name}")) }
    }

    fn postern(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).env("POSTERN_HOME", &self.home).env("NO_COLOR", "1");
        command.env_remove("POSTERN_CODE").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn does(&self, args: &[&str]) -> String {
        let (ok, out, errors) = run(self.postern(args)).await;
        assert!(ok, "{args:?}: {out}{errors}");
        out
    }

    /// Begins to sign in: the process, and the code that it shows.
    fn begins(&self) -> (Child, String) {
        let url = self.bed.gateway.api_url().to_string();
        let mut child = self.postern(&["login", &url]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let page = lines.next().unwrap().unwrap();
        assert!(page.ends_with("/device"), "{page}");
        let line = lines.next().unwrap().unwrap();
        let code = line.split_whitespace().nth(2).unwrap().to_owned();
        // Nobody reads on, and the process shall not mind.
        std::thread::spawn(move || lines.for_each(drop));
        (child, code)
    }

    fn files(&self) -> Files {
        let file = |name| self.home.join(name);
        Files { cert: file("client.crt"), key: file("client.key"), ca: file("ca.crt") }
    }
}

/// A browser with somebody's cookie.
struct Browser<'a> {
    bed: &'a Bed,
    cookie: String,
}

impl<'a> Browser<'a> {
    async fn of(bed: &'a Bed, name: &str) -> Self {
        let id = PrincipalId::new(name).unwrap();
        let invite = bed.gateway.control().identity.invite(None, &id).await.unwrap();
        let mut browser = Self { bed, cookie: String::new() };
        let form = [("code", invite.code.expose_secret())];
        let answer = browser.send("/login", Some(&form)).await;
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        browser.cookie = cookie.split(';').next().unwrap().to_owned();
        browser
    }

    async fn send(&self, path: &str, form: Option<&[(&str, &str)]>) -> reqwest::Response {
        let policy = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(policy).no_proxy().build().unwrap();
        let url = self.bed.gateway.api_url().join(path).unwrap();
        let request = match form {
            Some(fields) => {
                let body = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(fields)
                    .finish();
                let request = client.post(url).body(body);
                request.header("content-type", "application/x-www-form-urlencoded")
            }
            None => client.get(url),
        };
        let request = request.header("cookie", &self.cookie);
        request.header("sec-fetch-site", "same-origin").send().await.unwrap()
    }

    async fn csrf_token(&self, path: &str) -> String {
        field(&self.send(path, None).await.text().await.unwrap(), "csrf_token")
    }

    /// Types a code and reads what it belongs to.
    async fn looks(&self, code: &str) -> (u16, String) {
        let csrf_token = self.csrf_token("/device").await;
        let answer =
            self.send("/device", Some(&[("csrf_token", &csrf_token), ("code", code)])).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn answers(&self, page: &str, path: &str) -> u16 {
        let fields = ["csrf_token", "code", "digest"].map(|name| (name, field(page, name)));
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send(path, Some(&fields)).await.status().as_u16()
    }
}

/// The value of the first form field of this name.
fn field(html: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = html.split_once(&start).unwrap_or_else(|| panic!("no {name}: {html}"));
    rest.split('"').next().unwrap().to_owned()
}

fn ends(mut child: Child) -> (Option<i32>, String) {
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    (child.wait().unwrap().code(), out)
}

async fn bed() -> Bed {
    Bed::with(Setup { host: "localhost", ..Setup::default() }).await
}

/// Signs a terminal in as alice, by her browser.
async fn signed_in<'a>(bed: &'a Bed, name: &str, browser: &Browser<'_>) -> Shell<'a> {
    let shell = Shell::of(bed, name);
    let (child, code) = shell.begins();
    let (status, page) = browser.looks(&code).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(browser.answers(&page, "/device/confirm").await, 200);
    let (code, out) = tokio::task::spawn_blocking(|| ends(child)).await.unwrap();
    assert!(code == Some(0) && out.contains("signed in as Alice"), "{out}");
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_signed_in_by_a_browser_and_out_again_with_every_copy() {
    let bed = bed().await;
    let browser = Browser::of(&bed, "alice").await;
    let shell = signed_in(&bed, "alice", &browser).await;

    for name in ["session.json", "client.key"] {
        let mode = std::fs::metadata(shell.home.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let services = shell.home.join("pg_service.conf");
    let mut by_service = psql("service=orders user=app_rw");
    by_service.env("PGSERVICEFILE", &services).args(["-Atqc", "select 'through'"]);
    shell.does(&["request", "app_rw@orders"]).await;
    let (ok, out, errors) = run(by_service).await;
    assert!(ok && out.trim() == "through", "{out}{errors}");
    assert!(shell.does(&["logins"]).await.contains("terminal"));

    // Anybody who may can tell later who that was, and by what.
    let auditor = bed.actor("bob").await;
    let control = bed.gateway.control();
    let opened = loop {
        let page = control.kernel.audit(&auditor, control::Paging::default()).await.unwrap();
        let opened = page.items.iter().find(|event| event.kind == "session.opened");
        if let Some(event) = opened {
            break event.subject.clone();
        }
        tokio::task::yield_now().await;
    };
    let timeline = control.evidence.timeline(&auditor, &opened).await.unwrap().lines.join("\n");
    for part in [
        "alice signed in by link, with a browser",
        "that the terminal",
        "alice signed in by link, with a terminal at 127.0.0.1 (postern/",
        ", let in from ls-",
        "was issued to alice for device ",
        "grant gr-",
        "without asking anybody",
        "identified by certificate ",
    ] {
        assert!(timeline.contains(part), "{part} is missing:\n{timeline}");
    }

    // A thief copies everything, and a session runs while its person signs out.
    let thief = Shell::of(&bed, "thief");
    std::fs::create_dir(&thief.home).unwrap();
    for file in std::fs::read_dir(&shell.home).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), thief.home.join(file.file_name())).unwrap();
    }
    let stolen = thief.files();
    let (mut live, _) = session(&bed, &stolen, "app_rw", "orders").await;
    shell.does(&["logout"]).await;
    for name in ["session.json", "client.key", "client.crt", "pg_service.conf"] {
        assert!(!shell.home.join(name).exists(), "{name} was left");
    }
    let cut = read_error(&mut live).await;
    assert!(cut.field(b'M').contains("signed out"), "{cut:?}");
    let mut again = secure(&bed, Some(&stolen)).await;
    let hello = startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")]);
    send(&mut again, &hello).await;
    let refused = read_error(&mut again).await;
    assert!(refused.field(b'M').contains("locked"), "{refused:?}");
    let (ok, _, errors) = run(thief.postern(&["ls"])).await;
    assert!(!ok && errors.contains("not signed in"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_stays_out_where_its_code_is_answered_with_a_no() {
    let bed = bed().await;
    let (alice, dave) = (Browser::of(&bed, "alice").await, Browser::of(&bed, "dave").await);
    let shell = Shell::of(&bed, "nobody");
    let (child, code) = shell.begins();
    let (status, page) = alice.looks(&code).await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("127.0.0.1") && page.contains("postern/"), "{page}");
    assert_eq!(dave.looks(&code).await.0, 404, "another session read the code");
    assert_eq!(alice.answers(&page, "/device/deny").await, 200);
    assert_eq!(alice.answers(&page, "/device/confirm").await, 404, "a no was turned into a yes");
    let (code, out) = tokio::task::spawn_blocking(|| ends(child)).await.unwrap();
    assert_eq!(code, Some(4), "{out}");
    assert!(!shell.home.join("session.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_ends_somebodys_sign_ins_from_elsewhere() {
    let bed = bed().await;
    let browser = Browser::of(&bed, "alice").await;
    let shell = signed_in(&bed, "alice", &browser).await;
    let admin = Browser::of(&bed, "bob").await;
    let bob = Shell::of(&bed, "bob");
    let (child, code) = bob.begins();
    let (_, page) = admin.looks(&code).await;
    assert_eq!(admin.answers(&page, "/device/confirm").await, 200);
    assert_eq!(tokio::task::spawn_blocking(|| ends(child)).await.unwrap().0, Some(0));
    let output = bob.does(&["logins", "--everywhere", "--of", "alice"]).await;
    assert!(output.trim().ends_with(": 2"), "{output}");
    let (ok, _, errors) = run(shell.postern(&["ls"])).await;
    assert!(!ok && errors.contains("sign in again"), "{errors}");
    let home = browser.send("/", None).await;
    assert_eq!(home.headers()["location"], "/login");
}
