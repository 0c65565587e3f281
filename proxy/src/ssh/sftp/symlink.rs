//! The order of a symbolic link's two paths.
//!
//! OpenSSH takes them the other way round than the draft. Most clients always follow it; a few look at the
//! version of the server, which is the gateway's here. What these send is turned round where they would send it so to the
//! target itself.

use super::frame::{Fields, Malformed, length, packet};
use super::request::SYMLINK;

/// Clients by the start of their version, and the servers for which they turn the paths round.
const BY_VERSION: [(&str, &[&str]); 4] = [
    ("AsyncSSH_", &["OpenSSH", "paramiko"]),
    ("libssh_", &["OpenSSH"]),
    ("libssh-", &["OpenSSH"]),
    ("WinSCP_", &["OpenSSH", "Sun_SSH"]),
];

/// Whether this client would send the paths the other way round to the target than to the gateway. Both are named by
/// the lines with which they begin (RFC 4253, section 4.2).
pub(in crate::ssh) fn are_swapped(client: &[u8], target: &[u8]) -> bool {
    let (client, target) = (software(client), software(target));
    let servers = BY_VERSION.iter().filter(|(start, _)| client.starts_with(start));
    servers.flat_map(|(_, servers)| *servers).any(|server| target.contains(server))
}

fn software(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    line.splitn(3, '-').nth(2).unwrap_or_default().to_owned()
}

/// The same request with its two paths the other way round.
pub(super) fn swapped(request: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut fields = Fields::of(request);
    let id = fields.u32()?;
    let (one, other) = (fields.string()?, fields.string()?);
    fields.end()?;
    let mut turned = Vec::with_capacity(request.len());
    let fields = [&id.to_be_bytes()[..], &length(other), other, &length(one), one];
    packet(&mut turned, SYMLINK, &fields);
    Ok(turned)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::asyncssh("SSH-2.0-AsyncSSH_2.14.2", "SSH-2.0-OpenSSH_9.2p1 Debian-2", true)]
    #[case::libssh("SSH-2.0-libssh_0.10.6", "SSH-2.0-OpenSSH_for_Windows_9.5", true)]
    #[case::winscp("SSH-2.0-WinSCP_release_6.3.5", "SSH-2.0-OpenSSH_9.9", true)]
    #[case::by_the_draft("SSH-2.0-AsyncSSH_2.14.2", "SSH-2.0-AsyncSSH_2.14.2", false)]
    #[case::openssh("SSH-2.0-OpenSSH_9.2p1", "SSH-2.0-OpenSSH_9.2p1", false)]
    #[case::libssh2("SSH-2.0-libssh2_1.11.0", "SSH-2.0-OpenSSH_9.2p1", false)]
    #[case::another("SSH-2.0-paramiko_3.4.0", "SSH-2.0-OpenSSH_9.2p1", false)]
    #[case::unknown("", "SSH-2.0-OpenSSH_9.2p1", false)]
    fn a_client_that_looks_at_the_version_is_turned_round(
        #[case] client: &str,
        #[case] target: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(are_swapped(client.as_bytes(), target.as_bytes()), expected);
    }

    #[test]
    fn both_paths_change_places_and_nothing_else() {
        let mut request = Vec::new();
        packet(
            &mut request,
            SYMLINK,
            &[&7_u32.to_be_bytes(), &length(b"link"), b"link", &length(b"to"), b"to"],
        );
        let turned = swapped(&request).unwrap();
        assert_eq!(turned.len(), request.len());
        assert_eq!(swapped(&turned).unwrap(), request);
        assert!(turned.ends_with(b"\0\0\0\x02to\0\0\0\x04link"));
        assert!(swapped(&request[..request.len() - 1]).is_err());
    }
}
