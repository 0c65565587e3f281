//! Passkeys in a real browser: register, sign in, and step up.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStderr;

use crate::support::browser::Browser;
use crate::support::{Bed, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passkey_is_registered_and_signs_in_by_itself() {
    let bed = Bed::start().await;
    let mut browser = Browser::open().await;
    browser.register(&bed, "alice").await;
    let seen = browser.press("Sign out").await;
    assert!(seen.url.ends_with("/login"), "{seen:?}");
    let seen = browser.press("Sign in with a passkey").await;
    assert!(seen.title.starts_with("My access") && seen.text.contains("Alice"), "{seen:?}");
    assert_eq!(bed.events("login.proven").await.len(), 1);

    // Another one takes a step-up, and the same authenticator doesn't hold two.
    browser.go(&format!("{}keys", bed.gateway.api_url())).await;
    let seen = browser.press("Add a passkey").await;
    assert!(seen.text.contains("Add a passkey") && seen.text.contains("Alice"), "{seen:?}");
    browser.press("Confirm with a passkey that I have").await;
    assert_eq!(bed.events("step-up.given").await.len(), 1);
    browser.fill("What to call it", "again").await;
    let seen = browser.press("Make the passkey").await;
    assert!(seen.text.contains("holds a passkey of yours already"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_without_verification_counts_for_nothing() {
    let bed = Bed::start().await;
    let mut browser = Browser::open().await;
    browser.register(&bed, "alice").await;
    let unverified = serde_json::json!({ "act": "verified", "verified": false });
    browser.act(unverified).await;

    // A browser that keeps to what it is asked doesn't even send it.
    browser.press("Add a passkey").await;
    let seen = browser.press("Confirm with a passkey that I have").await;
    assert!(seen.text.contains("The passkey was not used"), "{seen:?}");
    assert!(bed.events("step-up.refused").await.is_empty());

    // One that doesn't is refused by us.
    browser.say("careless").await;
    let seen = browser.press("Confirm with a passkey that I have").await;
    assert!(seen.text.contains("did not check that it is you"), "{seen:?}");
    let refused = bed.events("step-up.refused").await;
    assert_eq!(refused[0]["reason"], "uv-missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passkey_is_of_no_use_under_another_address() {
    let bed = Bed::start().await;
    let mut browser = Browser::open().await;
    browser.register(&bed, "alice").await;
    let elsewhere = bed.gateway.api_url().as_str().replace("localhost", "127.0.0.1");
    browser.go(&format!("{elsewhere}login")).await;
    let seen = browser.press("Sign in with a passkey").await;
    assert!(seen.text.contains("don't work under the address"), "{seen:?}");
    assert!(bed.events("login.proven").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_no_passkey_is_told_so() {
    let bed = Bed::start().await;
    let mut browser = Browser::open().await;
    let seen = browser.go(&format!("{}login", bed.gateway.api_url())).await;
    assert!(seen.text.contains("Sign in with a passkey"), "{seen:?}");
    let seen = browser.press("Sign in with a passkey").await;
    assert!(seen.text.contains("The passkey was not used"), "{seen:?}");
}

/// Reads what psql tells until a line has this in it.
async fn line_with(lines: &mut Lines<BufReader<ChildStderr>>, what: &str) -> String {
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(what) {
            return line;
        }
    }
    panic!("psql never said `{what}`");
}

fn word_after(line: &str, word: &str) -> String {
    let mut words = line.split_whitespace().skip_while(|next| *next != word);
    words.nth(1).unwrap().trim_end_matches([':', ',']).to_owned()
}

/// The whole journey: stock psql waits, two people use their passkeys, and the query runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_psql_goes_on_after_two_touches() {
    let bed = Bed::with(Setup { rules: crate::support::FOUR_EYES, ..Setup::default() }).await;
    let (mut alice, mut carol) = (Browser::open().await, Browser::open().await);
    alice.register(&bed, "alice").await;
    carol.register(&bed, "carol").await;

    let mut psql = crate::support::psql(&bed.token_conninfo("app_rw", "orders"));
    psql.args(["-Atq", "-c", "select 'through'"]);
    let mut psql = tokio::process::Command::from(psql).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(psql.stderr.take().unwrap()).lines();
    let line = line_with(&mut lines, "confirm code").await;
    let (code, url) = (word_after(&line, "code"), word_after(&line, "at"));
    alice.go(&url).await;
    alice.fill("The code that your terminal shows", &code).await;
    let seen = alice.press("Show the connection").await;
    assert!(seen.text.contains("app_rw"), "{seen:?}");
    let seen = alice.press("Yes, this is my connection").await;
    assert!(seen.title.starts_with("Confirmed"), "{seen:?}");

    let line = line_with(&mut lines, "needs 1 of dba").await;
    let request = line.split_whitespace().find(|word| word.starts_with("rq-")).unwrap();
    let request = request.trim_end_matches(':');
    let seen = carol.go(&format!("{}r/{request}", bed.gateway.api_url())).await;
    assert!(seen.text.contains("Alice"), "{seen:?}");
    carol.press("Approve").await;
    line_with(&mut lines, "approved by Carol").await;
    let output = psql.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "through");

    let given = bed.events("step-up.given").await;
    let purposes: Vec<&str> = given.iter().filter_map(|event| event["purpose"].as_str()).collect();
    assert_eq!(purposes, ["approve", "connect"]);
    let proven = |event: &Value| event["evidence"]["assertion"]["signature"].is_string();
    assert!(given.iter().all(proven), "{given:?}");

    // Each step-up gave its browser another token, as each registration had; both are still in.
    assert_eq!(bed.events("login.rotated").await.len(), 4);
    for browser in [&mut alice, &mut carol] {
        let seen = browser.go(bed.gateway.api_url().as_str()).await;
        assert!(seen.title.starts_with("My access"), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_admin_of_an_empty_store_registers_a_passkey_and_is_in() {
    let bed = Bed::start().await;
    let state = |name: &str| bed.folder.path().join(name).display().to_string();
    let text = std::fs::read_to_string(&bed.config).unwrap();
    let text = text.replace("links = \"sign-in\"", "links = \"enrol\"");
    let config = bed.folder.path().join("first.toml");
    std::fs::write(&config, text.replace(&state("state"), &state("empty"))).unwrap();
    let mut up = tokio::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    up.args(["up", "--config"]).arg(&config).stdin(Stdio::null()).stderr(Stdio::null());
    let mut up = up.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("it prints a link");
    assert!(line.contains("registers a passkey for bob"), "{line}");
    let link = lines.next_line().await.unwrap().unwrap();
    let (login, code) = link.trim().split_once('#').unwrap();
    assert!(code.len() > 40, "{link}");
    let home = login.strip_suffix("login").unwrap();

    let mut bob = Browser::open().await;
    let seen = bob.go(link.trim()).await;
    assert_eq!(seen.url, login, "the link's secret doesn't stay in the address");
    let seen = bob.press("Sign in").await;
    assert!(seen.url.ends_with("/keys"), "{seen:?}");
    let seen = bob.go(home).await;
    assert!(seen.url.ends_with("/keys"), "nothing else is open yet: {seen:?}");
    bob.press("Add a passkey").await;
    bob.fill("What to call it", "first key").await;
    bob.press("Make the passkey").await;
    let seen = bob.go(home).await;
    assert!(seen.title.starts_with("My access") && seen.text.contains("Invite"), "{seen:?}");
}
