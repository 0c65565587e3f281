//! Nothing passes unrecorded, nothing that passed is lost, and no secret shows.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use audit::ssh::Ssh;
use audit::{Kind, Reader};
use postern::up::Gateway;

use crate::bed::{SshBed, kept};
use crate::gateway_process::GatewayProcess;
use crate::running::Running;
use crate::support::{run, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_that_can_not_be_recorded_is_refused_and_nothing_of_it_passes() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let recordings = bed.file("state/recordings");
    // A plain file where the folder was: not even root can make a recording below it.
    std::fs::rename(&recordings, bed.file("elsewhere")).unwrap();
    std::fs::write(&recordings, "").unwrap();
    let canary = bed.at_home("canary");
    let touch = format!("touch {}", canary.display());
    let (ok, _, errors) = run(bed.ssh("alice", &[&touch]).await).await;
    assert!(!ok && errors.contains("can't be recorded"), "{errors}");
    assert!(!canary.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_ends_where_the_disk_takes_no_more_and_its_user_reads_why() {
    let process = GatewayProcess::of(SshBed::start().await).await;
    // No file of the gateway may grow beyond 8 MiB, and a write that would says so.
    let _gateway = process.start("trap '' XFSZ; ulimit -f 16384; ").await;
    let mut command = process.ssh(&[]);
    command.arg("-tt").arg("echo ready; read go; yes unrecorded");
    let mut ssh = Running::start(command);
    ssh.says("ready").await;
    ssh.types("go\n").await;
    let (_, out, errors) = ssh.end().await;
    assert!(errors.contains("Nothing passes unrecorded"), "{errors}");
    let recording = std::fs::metadata(process.newest_recording()).unwrap().len();
    assert!(out.len() as u64 <= recording, "{} bytes of {recording}", out.len());
    let (ok, out, errors) = run(process.ssh(&["echo next"])).await;
    assert!(ok && out == "next\n", "another recording has room: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_fast_terminal_shows_is_in_the_recording() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let mut command = bed.ssh("alice", &[]).await;
    command.arg("-tt").arg(bed.place()).arg("seq -f 'line %.0f of many' 1 200000");
    let (ok, out, errors) = run(command).await;
    assert!(ok && out.ends_with("line 200000 of many\r\n"), "{errors}");
    until("the session is over", || kept(&bed.events(), "\"e\":\"end\"")).await;
    let recording = std::fs::read_dir(bed.file("state/recordings")).unwrap().next().unwrap();
    let mut reader = Reader::new(BufReader::new(File::open(recording.unwrap().path()).unwrap()));
    let mut shown = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        if let Kind::Ssh(Ssh::Output { data, .. }) = event.kind {
            shown.extend_from_slice(data.as_bytes());
        }
    }
    assert_eq!(shown.len(), out.len());
    assert!(shown == out.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_got_before_a_kill_is_in_the_recording_and_nothing_stays_behind() {
    let process = GatewayProcess::of(SshBed::start().await).await;
    let mut gateway = process.start("").await;
    let done = process.sshd.home().join("done");
    let script =
        format!("n=0; while read word; do n=$((n+1)); echo $word >> {}; done", done.display());
    let mut command = process.ssh(&[]);
    command.arg("-tt").arg(&script);
    let mut ssh = Running::start(command);
    let count = || std::fs::read_to_string(&done).map_or(0, |text| text.lines().count());
    let mut n = 0;
    while count() < 50 {
        n += 1;
        ssh.types(&format!("word-{n}\n")).await;
        ssh.says(&format!("word-{n}\r\n")).await;
    }
    gateway.kill_9();
    ssh.end().await;
    // What is behind the gateway ends: the loop reads no more words.
    until("the target has nobody left", || !runs(&script)).await;
    let events = process.events();
    for word in std::fs::read_to_string(&done).unwrap().lines() {
        assert!(kept(&events, word), "{word} is not in the recording");
    }
    let mut replay = std::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    replay.args(["replay", "--file"]).arg(process.newest_recording());
    let (_, out, errors) = run(replay).await;
    assert!(format!("{out}{errors}").contains("word-50"), "{out}{errors}");

    let config = postern::config::Config::load(&process.config).unwrap();
    let again = Gateway::start(&config).await.unwrap();
    let control = again.control();
    let invite = control.identity.invite(None, &"bob".parse().unwrap()).await.unwrap();
    let bob =
        control.identity.sign_in(&invite.code, control::Origin::default()).await.unwrap().actor;
    let filter = control::SessionFilter {
        live: Some(true),
        scope: control::Scope::All,
        ..Default::default()
    };
    let live = control.evidence.sessions(&bob, filter, control::Paging::default()).await.unwrap();
    assert!(live.items.is_empty(), "{:?}", live.items);
}

/// Whether any process has these words in its arguments.
fn runs(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| {
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(words) && !line.contains("@web-1@")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_shows_in_logs_recordings_state_arguments_or_environment() {
    let process = GatewayProcess::of(SshBed::start().await).await;
    let gateway = process.start("").await;
    let (ok, _, errors) = run(process.ssh(&["echo in"])).await;
    assert!(ok, "{errors}");
    let mut command = process.ssh(&[]);
    command.arg("-tt").arg("stty -echo; echo ready; read x; echo got it");
    let mut ssh = Running::start(command);
    ssh.says("ready").await;
    ssh.types("canary-typed\n").await;
    ssh.says("got it").await;
    ssh.end().await;
    let private = |path: PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().nth(3).unwrap().to_owned()
    };
    let authority = process.folder.path().join("state/authority");
    let mut secrets = vec!["canary-typed".to_owned()];
    for name in ["ssh_people_ca", "ssh_login_ca", "ssh_host_ca"] {
        secrets.push(private(authority.join(name)));
    }
    let proc_dir = PathBuf::from(format!("/proc/{}", gateway.0.id()));
    let mut places = vec![process.log(), proc_dir.join("cmdline"), proc_dir.join("environ")];
    let mut folders = vec![process.folder.path().join("state")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path != authority => folders.push(path),
                true => {}
                false => places.push(path),
            }
        }
    }
    assert!(places.len() > 5, "{places:?}");
    for place in places {
        let bytes = std::fs::read(&place).unwrap_or_default();
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a secret", place.display());
        }
    }
}
