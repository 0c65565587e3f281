//! Keys that people register themselves, with the command line and stock `ssh`.

use std::path::Path;
use std::process::{Command, Stdio};

use policies::PrincipalId;
use secrecy::ExposeSecret;

use crate::agent::Agent;
use crate::bed::{OPEN, SshBed};
use crate::running::Running;
use crate::support::browser::Browser;
use crate::support::{run, until_some};

/// The command line of somebody who is signed in, and the folder of what it keeps.
struct Shell<'a>(&'a SshBed, String);

impl<'a> Shell<'a> {
    async fn of(bed: &'a SshBed, name: &str) -> Self {
        let id = PrincipalId::new(name).unwrap();
        let invite = bed.gateway.control().identity.invite(None, &id).await.unwrap();
        let shell = Self(bed, format!("home-{name}"));
        let mut login = shell.postern(&["login", bed.gateway.api_url().as_str()]);
        login.env("POSTERN_CODE", invite.code.expose_secret());
        let (ok, out, errors) = run(login).await;
        assert!(ok, "{out}{errors}");
        shell
    }

    fn postern(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).env("POSTERN_HOME", self.0.file(&self.1)).env("NO_COLOR", "1");
        command.env_remove("POSTERN_CODE").stdin(Stdio::null());
        for unwanted in ["SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY"] {
            command.env_remove(unwanted);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn does(&self, args: &[&str]) -> String {
        let (ok, out, errors) = run(self.postern(args)).await;
        assert!(ok, "{args:?}: {out}{errors}");
        out
    }

    async fn keys(&self) -> serde_json::Value {
        serde_json::from_str(&self.does(&["keys", "ls", "--json"]).await).unwrap()
    }
}

fn with_key(bed: &SshBed, key: &Path, words: &str) -> Command {
    let mut command = bed.ssh_keys(&[key.to_owned()]);
    command.arg(bed.place()).arg(words);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_person_registered_opens_the_gateway_until_it_is_removed() {
    let bed = SshBed::with("hold = \"never\"", OPEN).await;
    bed.grant("1h").await;
    let key = bed.stray_key("mine");
    let (ok, _, errors) = run(with_key(&bed, &key, "echo in")).await;
    assert!(!ok, "nobody knows it: {errors}");

    let shell = Shell::of(&bed, "alice").await;
    let (ok, _, errors) = run(shell.postern(&["keys", "add", key.to_str().unwrap()])).await;
    assert!(!ok && errors.contains("holds a private key"), "{errors}");
    let public = key.with_extension("pub");
    let added = shell.does(&["keys", "add", public.to_str().unwrap(), "--name", "work"]).await;
    assert!(added.starts_with("work (SHA256:"), "{added}");
    let (_, out, errors) = run(with_key(&bed, &key, "echo in")).await;
    assert_eq!(out, "in\n", "{errors}");
    let used = until_some("its use is recorded", async || {
        let keys = shell.keys().await;
        keys["items"][0]["used_at"].as_str().map(ToOwned::to_owned)
    });
    used.await;

    let mut session = Running::start(with_key(&bed, &key, "echo in; cat"));
    session.says("in\n").await;
    let id = shell.keys().await["items"][0]["id"].as_str().unwrap().to_owned();
    shell.does(&["keys", "rm", &id]).await;
    let (_, _, errors) = session.end().await;
    assert!(errors.contains("the SSH key was removed"), "{errors}");
    let (ok, out, _) = run(with_key(&bed, &key, "echo in")).await;
    assert!(!ok && out.is_empty());
    let (ok, _, errors) = run(shell.postern(&["keys", "add", public.to_str().unwrap()])).await;
    assert!(!ok && errors.contains("was removed"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_registered_by_whoever_has_its_private_half() {
    let bed = SshBed::with("hold = \"never\"", OPEN).await;
    bed.grant("1h").await;
    let (alice, bob) = (Shell::of(&bed, "alice").await, Shell::of(&bed, "bob").await);
    let key = bed.stray_key("hers");
    let public = key.with_extension("pub");
    let agent = Agent::start(bed.file("agent")).await;
    agent.takes(&key).await;
    std::fs::remove_file(&key).unwrap();

    // Her public key is all that he has of it.
    let add = ["keys", "add", public.to_str().unwrap()];
    let (ok, _, errors) = run(bob.postern(&add)).await;
    assert!(!ok && errors.contains("signed nothing"), "{errors}");
    assert!(errors.contains("has to be in your ssh-agent, or beside"), "{errors}");
    let mut without = alice.postern(&add);
    without.env("PATH", bed.file("nothing"));
    let (ok, _, errors) = run(without).await;
    assert!(!ok && errors.contains("is it installed?"), "{errors}");
    assert_eq!(bob.keys().await["items"].as_array().unwrap().len(), 0);

    let mut command = alice.postern(&add);
    command.env("SSH_AUTH_SOCK", agent.socket());
    let (ok, out, errors) = run(command).await;
    assert!(ok && out.contains("is yours from now on"), "{out}{errors}");
    let mut ssh = bed.ssh_agent(agent.socket());
    ssh.arg(bed.place()).arg("echo in");
    let (_, out, errors) = run(ssh).await;
    assert_eq!(out, "in\n", "{errors}");
    assert!(bed.target_log().contains("postern alice gr-"), "{}", bed.target_log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_a_passkey_touches_it_before_a_key_of_theirs_opens_anything() {
    let bed = SshBed::with("hold = \"never\"", OPEN).await;
    bed.grant("1h").await;
    let shell = Shell::of(&bed, "alice").await;
    let mut browser = Browser::open().await;
    browser.register_at(&bed.gateway, "alice").await;
    let page = format!("{}keys", bed.gateway.api_url());

    let key = bed.stray_key("mine");
    let public = key.with_extension("pub");
    let added = shell.does(&["keys", "add", public.to_str().unwrap()]).await;
    assert!(added.contains(&format!("opens nothing yet: agree to it within the hour at {page}")));
    assert!(!run(with_key(&bed, &key, "echo in")).await.0, "nobody has agreed to it");
    let seen = browser.go(&page).await;
    assert!(seen.text.contains("It opens nothing yet"), "{seen:?}");
    let seen = browser.press("Look at it and agree").await;
    assert!(seen.text.contains("SHA256:") && seen.text.contains("alice"), "{seen:?}");
    let seen = browser.press("Add this key").await;
    assert!(seen.url.ends_with("/keys") && !seen.text.contains("opens nothing yet"), "{seen:?}");
    let (_, out, errors) = run(with_key(&bed, &key, "echo in")).await;
    assert_eq!(out, "in\n", "{errors}");

    // The same in the browser alone.
    let other = bed.stray_key("other");
    browser.fill("What to call it", "my other key").await;
    let line = std::fs::read_to_string(other.with_extension("pub")).unwrap();
    browser.fill("Public key", line.trim()).await;
    let seen = browser.press("Add an SSH key").await;
    assert!(seen.title.starts_with("Prove that the key is yours"), "{seen:?}");
    browser.fill("What it prints", &signed(&seen.text, &other).await).await;
    let seen = browser.press("The key is mine").await;
    assert!(seen.text.contains("my other key"), "{seen:?}");
    browser.press("Add this key").await;
    let (_, out, errors) = run(with_key(&bed, &other, "echo in")).await;
    assert_eq!(out, "in\n", "{errors}");
    let seen = browser.press("Remove for good").await;
    assert!(seen.text.contains("my other key"), "the first one was removed: {seen:?}");
    assert!(!run(with_key(&bed, &key, "echo in")).await.0);
}

/// What the line that a page shows prints, for the key in this file.
async fn signed(page: &str, key: &Path) -> String {
    let line = page.lines().find(|line| line.contains("ssh-keygen -Y sign")).unwrap();
    let line = line.trim().replace("~/.ssh/id_ed25519.pub", key.to_str().unwrap());
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (ok, out, errors) = run(command).await;
    assert!(ok, "{errors}");
    out
}
