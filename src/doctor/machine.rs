//! What `postern up` needs of the machine: folders, keys, the clock, addresses and descriptors.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::{Authority, AuthorityError, UpstreamMode, UpstreamTls};
use policies::{Timestamp, Ttl};
use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use tokio::time::timeout;

use super::Finding;
use super::sign_in::secure;
use crate::config::{Config, Gateway, Limits};

const SCARCE_BYTES: u64 = 1 << 30;
const FULL_BYTES: u64 = 64 << 20;
const SOON: Ttl = Ttl::from_secs(21 * 24 * 3600);
/// A client's and an upstream's socket.
const DESCRIPTORS_A_SESSION: u64 = 2;
/// Pages, API and metrics have connections of their own.
const DESCRIPTORS_TO_SPARE: u64 = 4_500;
const TIMEOUT: Duration = Duration::from_secs(2);

/// The folders of state and recordings.
pub(super) fn folders(gateway: &Gateway) -> Vec<Finding> {
    let (state, recordings) = (&gateway.state, &gateway.recordings);
    let mut findings = vec![folder("state folder", state)];
    findings.extend(space("state folder", state));
    findings.push(folder("recordings folder", recordings));
    findings
}

fn folder(title: &str, path: &Path) -> Finding {
    let shown = path.display();
    let mode = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata.permissions().mode() & 0o777,
        Ok(_) => {
            let remedy = "name a folder in [gateway]";
            return Finding::fault(title, format!("`{shown}` is not a folder"), remedy);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return missing(title, path),
        Err(error) => {
            let remedy = format!("let the user that runs the gateway enter `{shown}`");
            return Finding::fault(title, format!("`{shown}`: {error}"), remedy);
        }
    };
    let private = format!("chmod 700 {shown}");
    if mode & 0o022 != 0 {
        let detail = format!("others may write to `{shown}` (mode {mode:03o})");
        return Finding::fault(title, detail, format!("run `{private}`"));
    }
    if let Err(error) = tempfile::tempfile_in(path) {
        let remedy = format!("run `chown` for the user that runs the gateway, and `{private}`");
        return Finding::fault(title, format!("`{shown}` can't be written to: {error}"), remedy);
    }
    if mode & 0o077 != 0 {
        let detail = format!("others may look into `{shown}` (mode {mode:03o})");
        return Finding::warning(title, detail, format!("run `{private}`"));
    }
    Finding::ok(title, format!("`{shown}` is private and writable"))
}

/// A folder that is still to be made, which takes one above it that can be written to.
fn missing(title: &str, path: &Path) -> Finding {
    let shown = path.display();
    let above = existing(path);
    match tempfile::tempfile_in(&above) {
        Ok(_) => Finding::ok(title, format!("`{shown}` will be made at the start")),
        Err(error) => {
            let detail = format!("`{shown}` is missing, and `{}`: {error}", above.display());
            let remedy = format!("run `install -d -m 700 -o USER {shown}` with the gateway's user");
            Finding::fault(title, detail, remedy)
        }
    }
}

/// The nearest folder above that is there.
pub(super) fn existing(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|above| above.is_dir());
    match there {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn space(title: &str, path: &Path) -> Option<Finding> {
    let disk = statvfs(existing(path)).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let detail = format!("{} MiB are free", free >> 20);
    let remedy = "make room: without it nobody can sign in, approve or revoke";
    let title = format!("disk of the {title}");
    Some(match free {
        free if free < FULL_BYTES => Finding::fault(title, detail, remedy),
        free if free < SCARCE_BYTES => Finding::warning(title, detail, remedy),
        _ => Finding::ok(title, detail),
    })
}

/// The authority of the state folder, where there is one: its files, its time, and this clock.
pub(super) fn authority(gateway: &Gateway, now: Timestamp) -> (Option<Authority>, Vec<Finding>) {
    let title = "authority";
    let folder = gateway.authority();
    if !folder.exists() {
        let detail = format!("`{}` will be made at the start", folder.display());
        return (None, vec![Finding::ok(title, detail)]);
    }
    let authority = match Authority::load(&folder) {
        Ok(authority) => authority,
        Err(error) => {
            let remedy = authority_remedy(&error, &folder);
            return (None, vec![Finding::fault(title, error.to_string(), remedy)]);
        }
    };
    let renewal = "move its folder away and restart; then everybody signs in again";
    let findings =
        vec![lasts(title, authority.not_after(), now, renewal), clock(authority.not_before(), now)];
    (Some(authority), findings)
}

fn authority_remedy(error: &AuthorityError, folder: &Path) -> String {
    match error {
        AuthorityError::Store(_) => {
            "let the user that runs the gateway read its files, and nobody else".into()
        }
        AuthorityError::Make(_)
        | AuthorityError::KeyMissing { .. }
        | AuthorityError::BadKey { .. }
        | AuthorityError::BadCertificate { .. } => format!(
            "restore `{}` from a backup; without it, everybody has to sign in again",
            folder.display()
        ),
    }
}

fn clock(not_before: i64, now: Timestamp) -> Finding {
    if now.millis() >= not_before {
        return Finding::ok("clock", format!("it is {now}"));
    }
    let began = Timestamp::from_millis(not_before);
    let detail = format!("it says {now}, but the authority was made after {began}");
    Finding::fault(
        "clock",
        detail,
        "set the clock, and keep it with NTP (`timedatectl set-ntp true`)",
    )
}

/// Something that ends.
pub(super) fn lasts(title: &str, not_after: i64, now: Timestamp, renewal: &str) -> Finding {
    let end = Timestamp::from_millis(not_after);
    match now.until(end) {
        left if left.is_zero() => Finding::fault(title, format!("it ended on {end}"), renewal),
        left if left < SOON => Finding::warning(title, format!("it ends on {end}"), renewal),
        _ => Finding::ok(title, format!("it lasts until {end}")),
    }
}

/// Whether as many sessions as are allowed can be opened. The limit is this process's: a service
/// may have another than the shell.
pub(super) fn descriptors(limits: &Limits) -> Finding {
    let title = "file descriptors";
    let wanted = u64::from(limits.connections) * DESCRIPTORS_A_SESSION + DESCRIPTORS_TO_SPARE;
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if most >= wanted {
        return Finding::ok(title, format!("{wanted} are needed and allowed"));
    }
    let detail = format!(
        "{} connections take {wanted}, but this process may have {most}",
        limits.connections
    );
    let remedy = format!(
        "set `LimitNOFILE={wanted}` in the service or run `ulimit -n {wanted}`, or lower \
         `connections` in [limits]"
    );
    Finding::warning(title, detail, remedy)
}

/// Each address: free, or ours already.
pub(super) async fn listeners(config: &Config, authority: Option<&Authority>) -> Vec<Finding> {
    let mut named = Vec::new();
    named.extend(config.postgres.listen.iter().map(|at| ("postgres", at.value)));
    named.push(("api", config.api.listen.value));
    named.extend(config.metrics.iter().map(|at| ("metrics", at.listen.value)));
    let mut findings = Vec::new();
    for (section, address) in named {
        let title = format!("listener of [{section}]");
        findings.push(match TcpListener::bind(address) {
            Ok(_) => Finding::ok(title, format!("{address} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                in_use(title, address, section == "postgres", authority).await
            }
            Err(error) => refused(title, address, &error),
        });
    }
    findings
}

fn refused(title: String, address: SocketAddr, error: &std::io::Error) -> Finding {
    let kind = error.kind();
    let remedy = if kind == ErrorKind::PermissionDenied {
        "take a port above 1023, or give the service CAP_NET_BIND_SERVICE"
    } else if kind == ErrorKind::AddrNotAvailable {
        "this machine doesn't have the address: name one that `ip address` shows"
    } else {
        "name another address"
    };
    Finding::fault(title, format!("{address}: {error}"), remedy)
}

/// Where somebody listens already: the gateway itself, or another program?
async fn in_use(
    title: String,
    address: SocketAddr,
    speaks_postgres: bool,
    authority: Option<&Authority>,
) -> Finding {
    let is_ours = match authority.filter(|_| speaks_postgres) {
        Some(authority) => presents_our_certificate(address, authority).await,
        None => false,
    };
    if is_ours {
        return Finding::ok(title, format!("the gateway runs at {address}"));
    }
    let port = address.port();
    Finding::warning(
        title,
        format!("something listens at {address} already"),
        format!(
            "if it isn't the gateway (`ss -ltnp sport = :{port}`), stop it or take another port"
        ),
    )
}

async fn presents_our_certificate(address: SocketAddr, authority: &Authority) -> bool {
    let Ok(roots) = authority.roots() else {
        return false;
    };
    let tls =
        UpstreamTls { mode: UpstreamMode::VerifyCa, server_name: None, roots, alpn: Vec::new() };
    let Ok(Some(connector)) = tls.connector("localhost", None) else {
        return false;
    };
    matches!(timeout(TIMEOUT, secure(address, &connector)).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::Level;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const DAY: i64 = 86_400_000;

    #[rstest]
    #[case::wide(0o777, Level::Fault)]
    #[case::group(0o770, Level::Fault)]
    #[case::readable(0o755, Level::Warning)]
    #[case::private(0o700, Level::Ok)]
    fn a_folder_is_private(#[case] mode: u32, #[case] level: Level) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let finding = super::folder("state", folder.path());
        assert_eq!(finding.level, level, "{finding:?}");
        assert_eq!(finding.remedy.is_some(), level != Level::Ok);
    }

    #[test]
    fn a_missing_folder_is_not_made_by_looking() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(super::folder("state", &path).level, Level::Ok);
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_a_fault() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(super::folder("state", file.path()).level, Level::Fault);
    }

    #[rstest]
    #[case::over(-DAY, Level::Fault)]
    #[case::soon(DAY, Level::Warning)]
    #[case::later(40 * DAY, Level::Ok)]
    fn what_ends_soon_is_told_before_it_ends(#[case] left: i64, #[case] level: Level) {
        assert_eq!(lasts("it", NOW.millis() + left, NOW, "renew it").level, level);
    }

    #[test]
    fn a_clock_before_the_authority_is_wrong() {
        assert_eq!(clock(NOW.millis() - 1, NOW).level, Level::Ok);
        assert_eq!(clock(NOW.millis() + 1, NOW).level, Level::Fault);
    }
}
