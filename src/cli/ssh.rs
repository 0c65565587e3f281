//! `postern ssh-config`: what makes stock `ssh` find every target.

use std::fmt::Write;

use clap::Args;

use super::Failure;
use crate::client::{self, Home, HomeError, Place};
use crate::terminal;

/// Print a `Host` block for ~/.ssh/config, so that `ssh LOGIN@TARGET.postern` reaches a target
///
/// It also renews the certificate that `postern login` wrote. Put the block at the beginning of
/// ~/.ssh/config, or write it to a file of its own and `Include` that.
#[derive(Debug, Args)]
pub(super) struct SshConfig {}

impl SshConfig {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let home = Home::find()?;
        let gateway = client::certify(&home).await?.ok_or(HomeError::NoSsh)?;
        Ok(terminal::print(&block(&home, &gateway))?)
    }
}

fn block(home: &Home, gateway: &Place) -> String {
    let (key, known) = (quoted(&home.ssh_key()), quoted(&home.known_hosts()));
    let (host, port) = (&gateway.host, gateway.port);
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "Host postern-gate\n    HostName {host}\n    Port {port}\n\
         Host *.postern\n    ProxyJump postern-gate\n\
         Host postern-gate *.postern\n    IdentityFile {key}\n    IdentitiesOnly yes\n    \
         UserKnownHostsFile {known}\n    StrictHostKeyChecking yes\n"
    );
    text
}

/// A path as ssh_config reads one.
fn quoted(path: &std::path::Path) -> String {
    format!("\"{}\"", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_names_the_gate_and_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let gateway = Place { host: "gate.example.com".into(), port: 2222 };
        let text = block(&home, &gateway);
        let key = format!("    IdentityFile \"{}\"\n", home.ssh_key().display());
        assert!(text.contains("    HostName gate.example.com\n    Port 2222\n"), "{text}");
        assert!(text.contains(&key), "{text}");
    }
}
