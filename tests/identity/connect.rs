//! Who may connect: certificates, tokens, and held connections that a person confirms.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use crate::support::raw::{framed, read_error, read_until, secure, send, startup};
use crate::support::{Bed, FOUR_EYES, Setup, psql, run};

fn four_eyes() -> Setup {
    Setup { rules: FOUR_EYES, ..Setup::default() }
}

/// What a psql says on its error stream, line by line as it comes.
struct Lines(Receiver<String>);

impl Lines {
    fn by(errors: ChildStderr) -> Self {
        let (sender, lines) = sync_channel(100);
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self(lines)
    }

    fn line_with(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.0.recv_timeout(Duration::from_secs(30)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("no line with {text:?} came after {before:?}"),
            }
        }
    }
}

fn held_psql(bed: &Bed, options: &str) -> (Child, Lines) {
    let conninfo = format!("{} {options}", bed.token_conninfo("app_rw", "orders"));
    let mut child = psql(&conninfo).args(["-Atq", "-c", "select 'through'"]).spawn().unwrap();
    let lines = Lines::by(child.stderr.take().unwrap());
    (child, lines)
}

fn code_in(line: &str) -> String {
    let mut words = line.split_whitespace().skip_while(|word| *word != "code");
    words.nth(1).unwrap().to_owned()
}

fn out(mut child: Child) -> (bool, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().success(), text.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_the_connection_is_the_request_and_it_goes_on_when_approved() {
    let bed = Bed::with(four_eyes()).await;
    let (child, lines) = held_psql(&bed, "");
    let code = code_in(&lines.line_with("confirm code"));
    let (alice, bob) = (bed.actor("alice").await, bed.actor("bob").await);
    let control = bed.gateway.control();
    let seen = control.gateway.hold_by_code(&alice, &code).await.unwrap();
    control.gateway.confirm(&alice, &code, seen.digest.clone(), None).await.unwrap();
    lines.line_with("confirmed by Alice");
    let asked = lines.line_with("needs 1 of dba");
    let request = asked
        .split_whitespace()
        .find(|word| word.starts_with("rq-"))
        .unwrap()
        .trim_end_matches(':')
        .parse()
        .unwrap();
    let shown = control.access.request(&bob, &request).await.unwrap();
    let yes = control::Yes { digest: shown.request.digest(), shorten: None, step_up: None };
    control.access.approve(&bob, &request, yes).await.unwrap();
    lines.line_with("approved by Bob");
    assert_eq!(out(child), (true, "through".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_waiting_takes_its_code_with_it() {
    let bed = Bed::with(four_eyes()).await;
    let (mut child, lines) = held_psql(&bed, "");
    let code = code_in(&lines.line_with("confirm code"));
    child.kill().unwrap();
    child.wait().unwrap();
    let alice = bed.actor("alice").await;
    crate::support::until("the code is dead", || {
        let looked = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current()
                .block_on(bed.gateway.control().gateway.hold_by_code(&alice, &code))
        });
        looked.is_err()
    })
    .await;
    assert_eq!(bed.upstream_sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_nobody_types_into_is_refused_at_once_with_the_way_to_ask() {
    let bed = Bed::with(four_eyes()).await;
    let files = bed.files("alice").await;
    let mut command = psql(&bed.conninfo(&files, "app_rw", "orders"));
    command.args(["-c", "select 1"]).env("PGAPPNAME", "report");
    let (ok, _, errors) = run(command).await;
    assert!(!ok && errors.contains("postern request app_rw@orders"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_for_its_resource_only_and_prefixes_and_others_do_not() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    bed.grant("app_ro@orders", "10m").await;
    let token = bed.token("app_rw@orders").await;
    let connect = async |login: &str, password: &str| {
        let mut command = psql(&bed.token_conninfo(login, "orders"));
        command
            .args(["-Atq", "-c", "select 'in'"])
            .env("PGPASSWORD", password)
            .env("PGAPPNAME", "report");
        run(command).await
    };
    for _ in 0..2 {
        let (ok, out, errors) = connect("app_rw", &token).await;
        assert!(ok && out.trim() == "in", "{errors}");
    }
    let mut flipped = token.clone();
    let last = if flipped.pop() == Some('a') { 'b' } else { 'a' };
    flipped.push(last);
    let wrong =
        [&token[..token.len() - 1], &format!("{token}a"), &flipped, "pst_x_y", "secret", "pst_"];
    for password in wrong {
        let (ok, _, errors) = connect("app_rw", password).await;
        assert!(!ok && errors.contains("FATAL"), "{errors}");
    }
    let (ok, _, errors) = connect("app_ro", &token).await;
    assert!(!ok, "a token of app_rw opened app_ro: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_use_token_used_forty_times_at_once_lets_one_in() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let alice = bed.actor("alice").await;
    let resource = "app_rw@orders".parse().unwrap();
    let minted = bed.gateway.control().identity.mint_token(&alice, &resource, None, Some(1));
    let token = secrecy::ExposeSecret::expose_secret(&minted.await.unwrap().token).to_owned();
    let tries = (0..40).map(|_| {
        let (bed, token) = (&bed, &token);
        async move {
            let mut stream = secure(bed, None).await;
            send(&mut stream, &startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")]))
                .await;
            read_until(&mut stream, b'R').await;
            send(&mut stream, &framed(Some(b'p'), format!("{token}\0").as_bytes())).await;
            let first = crate::support::raw::read(&mut stream).await.unwrap();
            u32::from(first.kind == b'R')
        }
    });
    let let_in: u32 = futures_util::future::join_all(tries).await.into_iter().sum();
    assert_eq!(let_in, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_others_of_another_use_and_of_another_authority_are_refused() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let hello = startup(
        0x0003_0000,
        &[("user", "app_rw"), ("database", "orders"), ("application_name", "report")],
    );

    let dave = bed.files("dave").await;
    let mut stream = secure(&bed, Some(&dave)).await;
    send(&mut stream, &hello).await;
    assert_eq!(
        read_error(&mut stream).await.field(b'C'),
        "28000",
        "another person's grant was used"
    );

    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let other = certs::Authority::generate("Other", now).unwrap();
    let hour = Duration::from_secs(3600);
    let own = &bed.gateway.control().kernel.settings().authority;
    let login = own.issue_login("alice", hour, now).unwrap();
    let server = own.issue_server(&["alice".to_owned()], hour, now).unwrap();
    let foreign = other.issue_login("alice", hour, now).unwrap();
    for (what, issued) in [("login", login), ("server", server), ("foreign", foreign)] {
        let folder = bed.folder.path().join(what);
        certs::store::create_private_dir(&folder).unwrap();
        let files = crate::support::Files {
            cert: folder.join("c"),
            key: folder.join("k"),
            ca: folder.join("ca"),
        };
        std::fs::write(&files.cert, issued.certificate.pem).unwrap();
        std::fs::write(&files.key, secrecy::ExposeSecret::expose_secret(&issued.key_pem)).unwrap();
        let mut command = psql(&{
            std::fs::set_permissions(
                &files.key,
                std::os::unix::fs::PermissionsExt::from_mode(0o600),
            )
            .unwrap();
            std::fs::write(&files.ca, bed.ca_pem()).unwrap();
            bed.conninfo(&files, "app_rw", "orders")
        });
        command.args(["-c", "select 1"]).env("PGAPPNAME", "report");
        let (ok, _, errors) = run(command).await;
        assert!(!ok, "a {what} certificate was taken for a person's: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_person_is_cut_and_refused() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut stream, _) = crate::support::raw::session(&bed, &files, "app_rw", "orders").await;
    let text = std::fs::read_to_string(&bed.config).unwrap();
    let text = text.replace("name = \"Alice\"", "name = \"Alice\"\ndisabled = true");
    std::fs::write(&bed.config, text).unwrap();
    let config = postern::config::Config::load(&bed.config).unwrap();
    bed.gateway.reload(&config).await.unwrap();
    assert_eq!(read_error(&mut stream).await.field(b'C'), "57P01");
    let mut stream = secure(&bed, Some(&files)).await;
    let hello = startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")]);
    send(&mut stream, &hello).await;
    assert_eq!(read_error(&mut stream).await.field(b'C'), "28000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reload_changes_nothing_and_says_where() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut stream, _) = crate::support::raw::session(&bed, &files, "app_rw", "orders").await;
    let rules = bed.folder.path().join("policies/access.cedar");
    std::fs::write(
        &rules,
        "permit (principal, action, resource) when { context.logn == 1 };\nforbid (",
    )
    .unwrap();
    let config = postern::config::Config::load(&bed.config).unwrap();
    let refused = bed.gateway.reload(&config).await.unwrap_err().to_string();
    assert!(refused.contains("access.cedar:2:"), "{refused}");
    send(&mut stream, &crate::support::raw::query("select 1")).await;
    read_until(&mut stream, b'Z').await;
    std::fs::write(&rules, "// nobody\n").unwrap();
    bed.gateway.reload(&config).await.unwrap();
    let error = read_error(&mut stream).await;
    assert!(error.field(b'M').contains("rules no longer give"), "{error:?}");
}
