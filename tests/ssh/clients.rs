//! Other programs that speak SSH, or speak through it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bed::{LOGIN, SshBed, kept};
use crate::support::{run, until};

/// `ssh` and its options, as `rsync` and `git` are told.
async fn shell_line(bed: &SshBed) -> String {
    let command = bed.ssh("alice", &[]).await;
    let words = command.get_args().map(|word| format!("'{}'", word.to_str().unwrap()));
    std::iter::once("ssh".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

async fn ok(command: Command) -> String {
    let (ok, out, errors) = run(command).await;
    assert!(ok, "{out}{errors}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn rsync_mirrors_a_folder_there_and_back() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let (here, back) = (bed.file("tree"), bed.file("back"));
    std::fs::create_dir_all(here.join("deep/er")).unwrap();
    for n in 0..200_usize {
        std::fs::write(here.join(format!("deep/er/{n}")), vec![b'x'; n * 101]).unwrap();
    }
    let line = shell_line(&bed).await;
    let rsync = |from: String, to: String| {
        let mut command = Command::new("rsync");
        command.args(["-a", "-z", "-e", &line]).args([from, to]);
        command
    };
    let there = format!("{}:tree", bed.place());
    ok(rsync(format!("{}/", here.display()), there.clone())).await;
    ok(rsync(format!("{there}/"), back.display().to_string())).await;
    let mut diff = Command::new("diff");
    diff.arg("-r").args([&here, &back]);
    assert_eq!(ok(diff).await, "");
    until("its command stands in the recording", || kept(&bed.events(), "rsync --server")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_pushes_and_clones() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let line = shell_line(&bed).await;
    let git = |folder: PathBuf, words: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(folder).args(["-c", "init.defaultBranch=main"]);
        command.args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com"]).args(words);
        command.env("GIT_SSH_COMMAND", &line).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command
    };
    ok(bed.ssh("alice", &["git init -q --bare shop.git"]).await).await;
    let here = bed.file("shop");
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("readme"), "a shop\n").unwrap();
    let there = format!("{}:shop.git", bed.place());
    for words in [&["init", "-q"][..], &["add", "."], &["commit", "-qm", "a shop"]] {
        ok(git(here.clone(), words)).await;
    }
    ok(git(here, &["push", "-q", &there, "HEAD:main"])).await;
    ok(git(bed.file(""), &["clone", "-q", "-b", "main", &there, "cloned"])).await;
    assert_eq!(std::fs::read_to_string(bed.file("cloned/readme")).unwrap(), "a shop\n");
    until("its commands stand in the recording", || {
        let events = bed.events();
        kept(&events, "git-receive-pack") && kept(&events, "git-upload-pack")
    })
    .await;
}

/// An agent, which ends with this value.
struct Agent(std::process::Child, PathBuf);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_holds_many_keys_gets_the_right_one_in_and_is_not_forwarded() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let socket = bed.file("agent");
    let mut command = Command::new("ssh-agent");
    command.arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::null());
    let child = command.spawn().unwrap();
    let agent = Agent(child, socket);
    until("the agent is there", || agent.1.exists()).await;
    let add = |key: PathBuf| {
        let mut command = Command::new("ssh-add");
        command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.1);
        command
    };
    for n in 0..6 {
        ok(add(bed.stray_key(&format!("stray-{n}")))).await;
    }
    ok(add(bed.identity("alice").await)).await;
    let mut command = bed.ssh_agent(&agent.1);
    command.arg("-A").arg(bed.place()).arg("echo in ${SSH_AUTH_SOCK:-alone}");
    assert_eq!(ok(command).await, "in alone\n");
    until("the refusal stands in the recording", || kept(&bed.events(), "agent is not allowed"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncssh_and_paramiko_run_commands_and_move_files() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let key = bed.identity("alice").await;
    for library in ["asyncssh", "paramiko"] {
        let mut command = Command::new(root.join(".cache/venv/bin/python"));
        command.arg(root.join("tests/ssh/clients_journey.py"));
        command.args([library, &bed.port().to_string()]).arg(&key);
        command.arg(bed.file("known_hosts")).arg(format!("{LOGIN}@web-1"));
        assert_eq!(ok(command).await, format!("{library} works\n"));
    }
}
