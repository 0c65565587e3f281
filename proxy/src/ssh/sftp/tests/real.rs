//! OpenSSH's own client and server, with the machine between them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

use super::*;

const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// How the client reaches us: it starts a program that stands for its connection.
const BRIDGE: &str = "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/PORT\ncat <&3 &\ncat >&3\nkill $!\n";

/// What OpenSSH's client makes of these commands in this folder: whether it succeeded, what it printed, and
/// what was recorded.
fn sftp(folder: &Path, limit: Limit, commands: &str) -> (bool, String, Vec<Ssh<'static>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let tools = TempDir::new().unwrap();
    let (bridge, batch) = (tools.path().join("bridge"), tools.path().join("batch"));
    fs::write(&bridge, BRIDGE.replace("PORT", &port)).unwrap();
    fs::set_permissions(&bridge, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&batch, commands).unwrap();
    let relayed = thread::spawn({
        let folder = folder.to_owned();
        move || relay(&listener, &folder, limit)
    });
    let mut client = Command::new("sftp");
    let client = client.args(["-b"]).arg(&batch).arg("-D").arg(&bridge).current_dir(folder);
    let output = client.output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let events = relayed.join().unwrap();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned(), events)
}

/// Carries one connection to a server of its own, and returns what there was to record.
fn relay(listener: &TcpListener, folder: &Path, limit: Limit) -> Vec<Ssh<'static>> {
    let client = Arc::new(listener.accept().unwrap().0);
    let mut server = Command::new(SERVER);
    let server = server.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let (mut answers, asked) = (server.stdout.take().unwrap(), server.stdin.take().unwrap());
    let shared = Arc::new(Mutex::new((Sftp::new(7, limit), Some(asked), Vec::new())));
    let step = {
        let (shared, client) = (Arc::clone(&shared), Arc::clone(&client));
        move |from_client: bool, bytes: &[u8]| {
            let (sftp, asked, events) = &mut *shared.lock().unwrap();
            let mut flow = Flow::default();
            match from_client {
                true => sftp.client(bytes, &mut flow).unwrap(),
                false => sftp.target(bytes, &mut flow).unwrap(),
            }
            events.extend(flow.events);
            if let Some(asked) = asked {
                asked.write_all(&flow.to_target).unwrap();
            }
            (&*client).write_all(&flow.to_client).unwrap();
        }
    };
    let upward = thread::spawn({
        let (step, shared, client) = (step.clone(), Arc::clone(&shared), Arc::clone(&client));
        move || {
            pump(&*client, |bytes| step(true, bytes));
            shared.lock().unwrap().1 = None;
        }
    });
    pump(&mut answers, |bytes| step(false, bytes));
    client.shutdown(std::net::Shutdown::Both).ok();
    upward.join().unwrap();
    server.wait().unwrap();
    let mut flow = Flow::default();
    let (mut sftp, _, mut events) = std::mem::replace(
        &mut *shared.lock().unwrap(),
        (Sftp::new(0, Limit::default()), None, Vec::new()),
    );
    sftp.close(&mut flow);
    events.extend(flow.events);
    events
}

fn pump(mut from: impl Read, step: impl Fn(&[u8])) {
    let mut buf = vec![0; 32 * 1024];
    loop {
        match from.read(&mut buf) {
            Ok(0) | Err(_) => return,
            Ok(got) => step(&buf[..got]),
        }
    }
}

fn transfers(events: &[Ssh<'_>]) -> Vec<Transfer> {
    let closed = events.iter().filter_map(|event| {
        let Ssh::FileClosed { transfer, .. } = event else { return None };
        (*transfer != Transfer::default()).then_some(*transfer)
    });
    closed.collect()
}

fn refusals(events: &[Ssh<'_>]) -> usize {
    events.iter().filter(|event| matches!(event, Ssh::Refused { .. })).count()
}

/// What was done, without what only looks.
fn operations(events: &[Ssh<'_>]) -> Vec<&'static str> {
    let operations = events.iter().filter_map(|event| {
        let Ssh::File { op, .. } = event else { return None };
        let looks = matches!(op, FileOp::Stat { .. } | FileOp::RealPath { .. });
        (!looks).then(|| op.word())
    });
    operations.collect()
}

#[test]
fn openssh_puts_and_gets_files_that_are_digested_on_the_way() {
    let folder = TempDir::new().unwrap();
    let content: Vec<u8> =
        (0..5_000_000u32).flat_map(|it| it.to_le_bytes()).take(9_999_999).collect();
    fs::write(folder.path().join("mine"), &content).unwrap();
    let commands = "put mine theirs\nget theirs back\nmkdir d\nrename theirs d/it\nls -l d\n\
                    ln -s d/it l\nchmod 600 d/it\nrm l\nrm d/it\nrmdir d\n";
    let (content_with, printed, events) = sftp(folder.path(), Limit::default(), commands);
    assert!(content_with, "{printed}");
    assert!(fs::read(folder.path().join("back")).unwrap() == content);
    let put = Transfer { written: passed(&content), ..Transfer::default() };
    let got = Transfer { read: passed(&content), ..Transfer::default() };
    assert_eq!(transfers(&events), [put, got]);
    let want = [
        "open", "open", "mkdir", "rename", "list", "symlink", "set_stat", "remove", "remove",
        "rmdir",
    ];
    assert_eq!(operations(&events), want, "{printed}");
}

#[test]
fn openssh_meets_a_limit_to_reading() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("f"), "content").unwrap();
    let limit = Limit::new(true, &[]).unwrap();
    let (done, printed, events) =
        sftp(folder.path(), limit, "get f g\n-put f h\n-rm f\nget f g2\n");
    assert!(done, "{printed}");
    assert!(folder.path().join("f").exists() && folder.path().join("g2").exists());
    assert!(!folder.path().join("h").exists());
    assert_eq!(refusals(&events), 2, "{events:?}");
}

#[test]
fn openssh_can_not_leave_its_folder_by_dots_or_links() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::create_dir(root.join("in")).unwrap();
    fs::create_dir(root.join("out")).unwrap();
    fs::write(root.join("out/secret"), "secret").unwrap();
    fs::write(root.join("mine"), "mine").unwrap();
    symlink("../out", root.join("in/away")).unwrap();
    symlink("../out/new", root.join("in/dangling")).unwrap();
    let inside = root.join("in");
    let limit = Limit::new(false, &[inside.to_str().unwrap()]).unwrap();
    let commands = "put mine in/f\nget in/f got\n-get in/../out/secret s1\n-get in/away/secret s2\n\
                    -put mine in/dangling\n-put mine in/away/new\n-rename in/f in/away/f\n\
                    -ln -s /etc in/etc\n-rm out/secret\n-ls out\nrename in/f in/g\nrm in/away\n";
    let (done, printed, events) = sftp(&root, limit, commands);
    assert!(done, "{printed}");
    assert_eq!(fs::read_to_string(root.join("got")).unwrap(), "mine");
    assert!(inside.join("g").exists() && root.join("out/secret").exists());
    assert_eq!(fs::read_dir(root.join("out")).unwrap().count(), 1);
    let left =
        ["s1", "s2", "in/etc", "in/away"].map(|name| root.join(name).symlink_metadata().is_ok());
    assert_eq!(left, [false; 4], "{printed}");
    assert!(refusals(&events) >= 8, "{events:?}");
}
