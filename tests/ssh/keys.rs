//! Keys that are registered for a person.

use std::process::Command;

use crate::bed::{OPEN, Setup, SshBed, kept, stray_key};
use crate::support::{private_folder, run, until};
use crate::wire::hostile;

/// The public half of the security key that `hostile.py` plays.
const SECURITY_KEY: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t\
                            AAAAIOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIsAAAABHNzaDo=";

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_key_lets_its_person_in_and_nobody_else() {
    let folder = private_folder();
    let plain = stray_key(&folder.path().join("plain"));
    let curve = folder.path().join("curve");
    let mut made = Command::new("ssh-keygen");
    made.args(["-q", "-t", "ecdsa", "-N", "", "-C", "alice@laptop", "-f"]).arg(&curve);
    assert!(run(made).await.0);
    let line = |key: &std::path::Path| {
        let text = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        format!("{:?}", text.trim())
    };
    let keys = [line(&plain), line(&curve), format!("{SECURITY_KEY:?}")].join(", ");
    let alice = format!("ssh_keys = [{keys}]");
    let target = "hold = \"never\"";
    let bed = SshBed::made(Setup { alice: &alice, target, rules: OPEN, ..Setup::default() }).await;
    bed.grant("1h").await;
    for key in [&plain, &curve] {
        let mut command = bed.ssh_keys(&[bed.file("nothing"), key.clone()]);
        command.arg(bed.place()).arg("echo in");
        let (_, out, errors) = run(command).await;
        assert_eq!(out, "in\n", "{errors}");
    }
    let mut command = bed.ssh_keys(&[bed.stray_key("strange")]);
    command.arg(bed.place()).arg("echo in");
    let (ok, _, errors) = run(command).await;
    assert!(!ok && errors.contains("Permission denied"), "{errors}");
    hostile(&bed, "a_security_key_lets_in_and_only_itself").await;
    assert!(bed.target_log().contains("postern alice gr-"), "{}", bed.target_log());
    until("who it was stands in the recording", || kept(&bed.events(), "\"alice\"")).await;
}
