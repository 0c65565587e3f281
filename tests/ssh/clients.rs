//! Other programs that speak SSH, or speak through it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::Agent;
use crate::bed::{LOGIN, SshBed, kept};
use crate::running::Running;
use crate::support::{run, until};

/// `ssh` and its options, as `rsync` and `git` take them.
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

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_holds_many_keys_gets_the_right_one_in_and_is_not_forwarded() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let agent = Agent::start(bed.file("agent")).await;
    for n in 0..6 {
        agent.takes(&bed.stray_key(&format!("stray-{n}"))).await;
    }
    agent.takes(&bed.identity("alice").await).await;
    let mut command = bed.ssh_agent(agent.socket());
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

#[tokio::test(flavor = "multi_thread")]
async fn ansible_copies_files_and_runs_modules() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/venv/bin");
    let key = bed.identity("alice").await;
    let options = format!(
        "-F none -o UserKnownHostsFile={} -o HostKeyAlias=gate.example.com -o GlobalKnownHostsFile=/dev/null \
         -o IdentitiesOnly=yes",
        bed.file("known_hosts").display()
    );
    let inventory = format!(
        "web-1 ansible_host=127.0.0.1 ansible_port={} ansible_user={LOGIN}@web-1 \
         ansible_ssh_private_key_file={} ansible_ssh_common_args='{options}' \
         ansible_python_interpreter=/usr/bin/python3\n",
        bed.port(),
        key.display()
    );
    std::fs::write(bed.file("hosts"), inventory).unwrap();
    std::fs::write(bed.file("source"), "by ansible\n").unwrap();
    let ansible = |words: &[&str]| {
        let mut command = Command::new(bin.join("ansible"));
        command.arg("-i").arg(bed.file("hosts")).arg("web-1").args(words);
        command.env("ANSIBLE_HOME", bed.file("ansible")).env("ANSIBLE_LOCALHOST_WARNING", "0");
        command.env("ANSIBLE_SSH_CONTROL_PATH_DIR", bed.file("cp")).env("LC_ALL", "C.UTF-8");
        command.env_remove("SSH_AUTH_SOCK").stdin(std::process::Stdio::null());
        command
    };
    let copy = format!("src={} dest=copied", bed.file("source").display());
    assert!(ok(ansible(&["-m", "copy", "-a", &copy])).await.contains("CHANGED"));
    assert_eq!(std::fs::read_to_string(bed.at_home("copied")).unwrap(), "by ansible\n");
    let output = ok(ansible(&["-m", "command", "-a", "cat copied"])).await;
    assert!(output.contains("by ansible"), "{output}");
    until("its files stand in the recording", || kept(&bed.events(), "AnsiballZ_")).await;
}

/// As an editor does: a script by standard input that starts a server, and connections to it through the
/// same `ssh`, many at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_editor_starts_its_server_and_talks_to_it_over_many_connections() {
    let target = r#"channels = ["exec", "sftp", "direct-tcpip"]"#;
    let bed = SshBed::with(target, crate::bed::OPEN).await;
    bed.grant("1h").await;
    let local = postern::throwaway::free_port().unwrap();
    let mut command = bed.ssh("alice", &[]).await;
    command.args(["-T", "-D", &format!("127.0.0.1:{local}")]).arg(bed.place()).arg("sh");
    let mut editor = Running::start(command);
    let server = "import os, socketserver, sys, threading\n\
        class Echo(socketserver.StreamRequestHandler):\n\
        \x20   def handle(self):\n\
        \x20       for line in self.rfile:\n\
        \x20           self.wfile.write(line.upper())\n\
        server = socketserver.ThreadingTCPServer((\"127.0.0.1\", 0), Echo)\n\
        print(\"listening on\", server.server_address[1], \"=\", flush=True)\n\
        leave = lambda: (sys.stdin.read(), os._exit(0))\n\
        threading.Thread(target=leave).start()\n\
        server.serve_forever()\n";
    editor.types(&format!("cat > server.py <<'END'\n{server}END\nexec python3 server.py\n")).await;
    let output = editor.says(" =\n").await;
    let port = output.split_whitespace().nth(2).unwrap().parse::<u16>().unwrap();
    let mut talks = tokio::task::JoinSet::new();
    for n in 0..16 {
        talks.spawn_blocking(move || socks(local, port, &format!("hello {n}\n")));
    }
    let mut answers: Vec<String> = talks.join_all().await;
    answers.sort();
    assert_eq!(answers.len(), 16);
    assert!(answers.iter().all(|answer| answer.starts_with("HELLO ")), "{answers:?}");
    until("each stands in the recording", || {
        let opened = bed.events();
        opened.iter().filter(|line| line.contains(r#""channel":"direct_tcpip""#)).count() == 16
    })
    .await;
    editor.end().await;
}

/// A line and its answer, through a SOCKS proxy (RFC 1928).
fn socks(proxy: u16, port: u16, line: &str) -> String {
    use std::io::{BufRead, BufReader, Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", proxy)).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [5, 0]);
    let [high, low] = port.to_be_bytes();
    stream.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low]).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[1], 0, "the connection was refused");
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}
