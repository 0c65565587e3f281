//! File transfers with stock `sftp`: every byte, and what they are limited to.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::bed::{SshBed, kept};
use crate::support::{run, until, until_some};

const MIB: usize = 1024 * 1024;

/// `sftp` that does this, line by line, and fails with the first that fails.
async fn sftp(bed: &SshBed, lines: &[String]) -> (bool, String, String) {
    let batch = bed.file("batch");
    std::fs::write(&batch, lines.join("\n")).unwrap();
    let ssh = bed.ssh("alice", &[]).await;
    let mut command = Command::new("sftp");
    command.args(["-q", "-b"]).arg(batch).args(ssh.get_args()).arg(bed.place());
    command.env_remove("SSH_AUTH_SOCK").stdin(std::process::Stdio::null());
    run(command).await
}

/// Writes so many bytes, of which no block is like another, and returns their digest.
fn fill(path: &Path, blocks: u64) -> String {
    let mut block: Vec<u8> =
        (0..MIB).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (mut file, mut digest) = (File::create(path).unwrap(), Sha256::new());
    for n in 0..blocks {
        block[..8].copy_from_slice(&n.to_be_bytes());
        digest.update(&block);
        file.write_all(&block).unwrap();
    }
    hex(digest)
}

fn digest(path: &Path) -> String {
    let (mut file, mut digest) = (File::open(path).unwrap(), Sha256::new());
    let mut block = vec![0; MIB];
    loop {
        match file.read(&mut block).unwrap() {
            0 => return hex(digest),
            count => digest.update(&block[..count]),
        }
    }
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_large_file_goes_up_and_down_byte_for_byte_and_its_digest_is_recorded() {
    const BLOCKS: u64 = 256;
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let (here, there, back) = (bed.file("here"), bed.at_home("there"), bed.file("back"));
    let sent = fill(&here, BLOCKS);
    let put = format!("put {} {}", here.display(), there.display());
    let (ok, _, errors) = sftp(&bed, &[put]).await;
    assert!(ok, "{errors}");
    std::fs::remove_file(&here).unwrap();
    assert_eq!(digest(&there), sent);
    let get = format!("get {} {}", there.display(), back.display());
    let (ok, _, errors) = sftp(&bed, &[get]).await;
    assert!(ok, "{errors}");
    assert_eq!(digest(&back), sent);
    let bytes = BLOCKS * MIB as u64;
    for direction in ["written", "read"] {
        let whole =
            format!("\"{direction}\":{{\"bytes\":{bytes},\"from\":0,\"sha256\":\"{sent}\"}}");
        until("both transfers stand in the recording", || kept(&bed.events(), &whole)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_may_only_be_read_takes_no_file_and_loses_none() {
    let bed = SshBed::with("channels = [\"sftp\"]\nread_only = true", crate::bed::OPEN).await;
    bed.grant("1h").await;
    let (here, there) = (bed.file("here"), bed.at_home("there"));
    std::fs::write(&here, "mine").unwrap();
    std::fs::write(&there, "theirs").unwrap();
    let (here, there) = (here.display(), there.display());
    let (ok, _, errors) = sftp(&bed, &[format!("get {there} {here}-2")]).await;
    assert!(ok, "{errors}");
    assert_eq!(std::fs::read_to_string(bed.file("here-2")).unwrap(), "theirs");
    for line in [
        format!("put {here} {there}"),
        format!("put {here} {there}-2"),
        format!("rm {there}"),
        format!("rename {there} {there}-3"),
        format!("chmod 777 {there}"),
        format!("mkdir {there}-4"),
        format!("symlink {there} {there}-5"),
    ] {
        let (ok, _, errors) = sftp(&bed, std::slice::from_ref(&line)).await;
        assert!(!ok, "{line}");
        assert!(errors.contains("ermission denied"), "{line}: {errors}");
    }
    let left: Vec<_> = std::fs::read_dir(bed.sshd.home()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(std::fs::read_to_string(bed.at_home("there")).unwrap(), "theirs");
    for what in ["open", "remove", "rename", "set_stat", "mkdir", "symlink"] {
        let refused =
            || bed.events().into_iter().find(|line| line.contains(&format!("sftp {what} ")));
        let line = until_some("what was refused stands in the recording", async || refused()).await;
        assert!(line.contains("only reading is allowed here"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_limited_to_a_folder_gives_nothing_from_elsewhere_also_not_by_links() {
    let folder = std::env::temp_dir().canonicalize().unwrap();
    let target = format!("under = [\"{}\"]", folder.display());
    let bed = SshBed::with(&target, crate::bed::OPEN).await;
    bed.grant("1h").await;
    let there = bed.at_home("there");
    std::fs::write(&there, "theirs").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bed.at_home("out")).unwrap();
    let (back, home) = (bed.file("back"), bed.sshd.home());
    let get = |path: &str| format!("get {path} {}", back.display());
    let (ok, _, errors) = sftp(&bed, &[get(there.to_str().unwrap())]).await;
    assert!(ok, "{errors}");
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "theirs");
    let home = home.display();
    for line in [
        get("/etc/passwd"),
        get(&format!("{home}/out")),
        get(&format!("{home}/../../../etc/passwd")),
        "ls /etc".to_owned(),
        format!("put {} /var/tmp/postern-must-not-be", back.display()),
        format!("rename {there} /var/tmp/postern-must-not-be", there = there.display()),
        format!("symlink /etc {home}/way-out"),
    ] {
        let (ok, _, errors) = sftp(&bed, std::slice::from_ref(&line)).await;
        assert!(!ok, "{line}");
        assert!(
            errors.contains("ermission denied") || errors.contains("not found"),
            "{line}: {errors}"
        );
    }
    assert!(!Path::new("/var/tmp/postern-must-not-be").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_let_people_read_files_and_write_none() {
    let rules = r#"
        permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
        forbid (principal, action, resource)
        when { context has channel && context.channel == "sftp-write" };
    "#;
    let bed = SshBed::with("", rules).await;
    bed.grant("1h").await;
    let there = bed.at_home("there");
    std::fs::write(&there, "theirs").unwrap();
    let (there, back) = (there.display(), bed.file("back"));
    let (ok, _, errors) = sftp(&bed, &[format!("get {there} {}", back.display())]).await;
    assert!(ok, "{errors}");
    let (ok, _, errors) = sftp(&bed, &[format!("put {} {there}", back.display())]).await;
    assert!(!ok && errors.contains("ermission denied"), "{errors}");
    let refused = || bed.events().into_iter().find(|line| line.contains("sftp open "));
    let line = until_some("what was refused stands in the recording", async || refused()).await;
    assert!(line.contains("only reading is allowed here"), "{line}");
}
