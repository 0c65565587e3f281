//! What a process that runs does about itself, and what keys it never loads.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use secrecy::SecretString;

use super::small::Small;
use crate::support::until_some;

/// Somebody without rights, where the tests run as root.
const NOBODY: u32 = 65_534;

/// Starts a gateway as an ordinary user: its log, and the owner of `/proc/ID` with the limits there.
async fn look(allow: bool) -> (String, u32, u32, String) {
    let small = Small::new();
    let is_root = rustix::process::geteuid().is_root();
    let own = if is_root { NOBODY } else { rustix::process::geteuid().as_raw() };
    let mut command = small.postern(&["up"]);
    if is_root {
        let folder = small.folder.path();
        let given =
            Command::new("chown").args(["-R", &format!("{own}:{own}")]).arg(folder).status();
        assert!(given.unwrap().success());
        command.uid(own).gid(own);
    }
    if allow {
        command.env("POSTERN_ALLOW_DUMPS", "1");
    }
    let log = small.path("log");
    let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    until_some("the gateway is up", async || {
        let output = std::fs::read_to_string(&log).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "{output}");
        output.contains("the gateway is up").then_some(())
    })
    .await;
    let process = format!("/proc/{}", child.id());
    // The files of a process that can't be dumped belong to root.
    let owner = std::fs::metadata(format!("{process}/mem")).unwrap().uid();
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let (core, output) = (core.to_owned(), std::fs::read_to_string(&log).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    (output, own, owner, core)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_leaves_no_core_dump_and_lets_no_process_of_its_user_attach() {
    let (_, own, owner, core) = look(false).await;
    assert_ne!(own, 0);
    assert_eq!(owner, 0, "it can be attached to");
    let limits: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(limits, ["0", "0"], "{core}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_profiles_it_may_ask_for_dumps_and_is_warned() {
    let (output, own, owner, _) = look(true).await;
    assert_eq!(owner, own);
    assert!(output.contains("POSTERN_ALLOW_DUMPS=1"), "{output}");
}

/// An RSA private key leaks through the time that it takes (RUSTSEC-2023-0071), so none is loaded.
#[test]
fn no_login_key_is_rsa() {
    let folder = tempfile::tempdir().unwrap();
    let make = |kind: &str, format: &str, name: &str| {
        let path = folder.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-m", format, "-N", "", "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        SecretString::from(std::fs::read_to_string(path).unwrap())
    };
    for format in ["RFC4716", "PEM", "PKCS8"] {
        let key = make("rsa", format, format);
        assert!(certs::check_private_key(&key).is_err(), "{format}");
    }
    certs::check_private_key(&make("ed25519", "RFC4716", "ed25519")).unwrap();
}
