//! The private half of an SSH key proves that it is there, by `ssh-keygen -Y sign`.
//!
//! `ssh-keygen` finds it, in the agent or beside the public file, and asks on the terminal for what it
//! needs: a passphrase, a PIN, a touch. It gets what it signs, which is no secret, in a file of a private
//! folder, since its standard input is where it asks.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use control::SshKeyChallenge;
use serde::Deserialize;
use tokio::process::Command;
use url::Url;

use super::Failure;
use crate::terminal::plain;

/// The longest signature that is read.
const LONGEST: u64 = 8 * 1024;

/// What the gateway wants to see signed.
#[derive(Deserialize)]
pub(super) struct Wanted {
    pub(super) challenge: String,
    namespace: String,
    message: String,
}

/// Signs it with the private half of the key in this file.
///
/// # Errors
/// Where it is for another gateway than this one, or `ssh-keygen` isn't there or doesn't sign.
pub(super) async fn sign(wanted: &Wanted, gateway: &Url, file: &Path) -> Result<String, Failure> {
    is_its_own(&wanted.namespace, gateway)?;
    let folder = tempfile::tempdir().map_err(Failure::io("make a folder for what is signed"))?;
    let text = folder.path().join("message");
    std::fs::write(&text, &wanted.message).map_err(Failure::io("write what is signed"))?;
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-Y", "sign", "-n", &wanted.namespace, "-f"]).arg(file).arg(&text);
    let ended = command.stdout(Stdio::null()).status().await;
    let missing = "run `ssh-keygen`, which comes with OpenSSH and signs: is it installed?";
    let ended = ended.map_err(Failure::io(missing))?;
    if !ended.success() {
        return Err(Failure::Failed(format!(
            "`ssh-keygen` signed nothing, and said why above: the private key has to be in your ssh-agent, \
             or beside {} under that name without `.pub`",
            file.display()
        )));
    }
    let mut signature = String::new();
    let made = std::fs::File::open(text.with_extension("sig"));
    let made = made.map_err(Failure::io("read the signature of `ssh-keygen`"))?;
    let read = made.take(LONGEST).read_to_string(&mut signature);
    read.map_err(Failure::io("read the signature of `ssh-keygen`"))?;
    Ok(signature)
}

/// A gateway asks for itself alone: what it passed on would be good at another one.
fn is_its_own(namespace: &str, gateway: &Url) -> Result<(), Failure> {
    let own = SshKeyChallenge::namespace_at(gateway);
    if namespace == own {
        return Ok(());
    }
    Err(Failure::Denied(format!(
        "nothing was signed: it would be good for `{}`, and you are signed in to `{own}`. Sign in with \
         `postern login` at the gateway's public address",
        plain(namespace)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_signed_for_another_gateway_or_another_use() {
        let gateway: Url = "https://gate.example.com:8443/".parse().unwrap();
        assert!(is_its_own("postern-key@gate.example.com:8443", &gateway).is_ok());
        for other in [
            "postern-key@gate.example.com",
            "postern-key@other.example.com:8443",
            "git",
            "file",
            "",
        ] {
            assert!(is_its_own(other, &gateway).is_err(), "{other}");
        }
    }
}
