//! The private folder of a cluster: its owner, its configuration, its certificate.
//!
//! Everything is written while the folder still belongs to this process, and only then handed over, so
//! that root never writes into a folder that another account controls.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::{env, io};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;

use super::{Error, Options, SUPERUSER};

/// Accounts that may run the server where this process is root, the best first.
const ACCOUNTS: [&str; 2] = [SUPERUSER, "nobody"];

/// The kernel takes socket paths of at most 107 bytes.
const SOCKET_PATH_MAX: usize = 107;
const LONGEST_NAME: &str = "postern-pg-XXXXXX/.s.PGSQL.65535.lock";

/// The account the server runs as, where it is not our own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    /// User id.
    pub(super) uid: u32,
    /// Primary group id.
    pub(super) gid: u32,
}

/// A folder that holds all of one cluster, and is removed with this value.
#[derive(Debug)]
pub(super) struct Layout {
    folder: TempDir,
    account: Option<Account>,
    ca_pem: String,
}

impl Layout {
    /// Makes the folder and all files that the server reads at its start.
    pub(super) fn create(port: u16, options: &Options) -> Result<Self, Error> {
        let certificate = ServerCertificate::make()?;
        let folder = private_folder().map_err(Error::io("make a private folder"))?;
        let account = account_for(folder.path())?;
        let layout = Self { folder, account, ca_pem: certificate.ca_pem.clone() };
        layout.fill(port, options, &certificate).map_err(Error::io("fill the private folder"))?;
        Ok(layout)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn account(&self) -> Option<Account> {
        self.account
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(super) fn ca_path(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.folder().join("log")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.folder().join("data/postmaster.pid")
    }

    fn fill(
        &self,
        port: u16,
        options: &Options,
        certificate: &ServerCertificate,
    ) -> io::Result<()> {
        self.write("ca.pem", &certificate.ca_pem)?;
        self.write("server.pem", &certificate.chain_pem)?;
        self.write("server.key", &certificate.key_pem)?;
        if let Some(authorities) = &options.client_ca {
            self.write("clients.pem", authorities)?;
        }
        self.write("pg_hba.conf", &hba(&options.hba))?;
        self.write("postgresql.conf", &configuration(self.folder(), port, options))?;
        self.hand_over(self.folder())
    }

    fn write(&self, name: &str, content: &str) -> io::Result<()> {
        let path = self.folder().join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content.as_bytes())?;
        self.hand_over(&path)
    }

    fn hand_over(&self, path: &Path) -> io::Result<()> {
        self.account.map_or(Ok(()), |account| chown(path, Some(account.uid), Some(account.gid)))
    }
}

/// A folder that only its owner can enter, at a path short enough for a socket.
pub(super) fn private_folder() -> io::Result<TempDir> {
    let usual = env::temp_dir();
    let parent = if is_suitable(&usual) { usual } else { PathBuf::from("/tmp") };
    tempfile::Builder::new()
        .prefix("postern-pg-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
}

/// The server's account may be another than ours, and has to pass every folder above its own and to
/// remove that one in the end.
fn is_suitable(parent: &Path) -> bool {
    let lets_others = |folder: &Path, what: u32| {
        fs::metadata(folder).is_ok_and(|data| data.mode() & what == what)
    };
    parent.is_absolute()
        && parent.join(LONGEST_NAME).as_os_str().len() <= SOCKET_PATH_MAX
        && lets_others(parent, 0o002)
        && parent.ancestors().all(|folder| lets_others(folder, 0o001))
}

/// None where we are not root (whoever made `folder` owns it), else the account to run as.
pub(super) fn account_for(folder: &Path) -> Result<Option<Account>, Error> {
    let owner = fs::metadata(folder).map_err(Error::io("look at the private folder"))?.uid();
    if owner != 0 {
        return Ok(None);
    }
    let accounts =
        fs::read_to_string("/etc/passwd").map_err(Error::io("read the list of accounts"))?;
    let found = ACCOUNTS.iter().find_map(|name| find_account(&accounts, name));
    found.map(Some).ok_or(Error::NoAccount)
}

fn find_account(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let uid = fields
            .next()
            .filter(|found| *found == name)
            .and_then(|_| fields.nth(1))?
            .parse()
            .ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then_some(Account { uid, gid })
    })
}

/// Only the superuser, and only through the socket in the private folder, needs no proof.
fn hba(extra: &[String]) -> String {
    let mut lines = vec![format!("local all {SUPERUSER} trust")];
    lines.extend_from_slice(extra);
    lines.extend(
        ["all", "replication"].map(|what| format!("hostssl {what} all 127.0.0.1/32 scram-sha-256")),
    );
    lines.join("\n") + "\n"
}

fn configuration(folder: &Path, port: u16, options: &Options) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut settings = vec![
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", folder.display().to_string()),
        ("max_connections", options.max_connections.to_string()),
        ("hba_file", file("pg_hba.conf")),
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", file("server.pem")),
        ("ssl_key_file", file("server.key")),
        ("password_encryption", "scram-sha-256".to_owned()),
        ("fsync", "off".to_owned()),
        ("full_page_writes", "off".to_owned()),
        ("synchronous_commit", "off".to_owned()),
        ("timezone", "UTC".to_owned()),
        // Shared memory as files of the data folder goes with it, whatever ends the server.
        ("dynamic_shared_memory_type", "mmap".to_owned()),
    ];
    if options.client_ca.is_some() {
        settings.push(("ssl_ca_file", file("clients.pem")));
    }
    let own = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let wanted = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    own.chain(wanted)
        .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
        .collect()
}

/// A server certificate for this machine, with an authority that signs nothing else.
struct ServerCertificate {
    ca_pem: String,
    chain_pem: String,
    key_pem: String,
}

impl ServerCertificate {
    fn make() -> Result<Self, Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.distinguished_name.push(DnType::CommonName, "Throwaway PostgreSQL authority");
        let authority_key = KeyPair::generate()?;
        let ca_pem = authority.self_signed(&authority_key)?.pem();

        let mut server = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned))?;
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let chain_pem = server.signed_by(&key, &Issuer::new(authority, authority_key))?.pem();
        Ok(Self { ca_pem, chain_pem, key_pem: key.serialize_pem() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/sh\n";

    #[test]
    fn an_account_is_found_by_its_whole_name_and_is_never_root() {
        let found = |name| find_account(PASSWD, name).map(|account| (account.uid, account.gid));
        assert_eq!(found("postgres"), Some((101, 104)));
        assert_eq!(found("post"), None);
        assert_eq!(found("root"), None);
        assert_eq!(found("nobody"), None);
    }

    #[test]
    fn wanted_hba_lines_come_before_the_default_and_after_the_superuser() {
        let text = hba(&["hostssl all cert_user all cert".to_owned()]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "local all postgres trust");
        assert_eq!(lines[1], "hostssl all cert_user all cert");
        assert_eq!(lines[2], "hostssl all all 127.0.0.1/32 scram-sha-256");
    }

    #[test]
    fn a_setting_cannot_break_out_of_its_quotes_and_the_wanted_one_comes_last() {
        let settings = vec![("timezone".to_owned(), "it's".to_owned())];
        let text =
            configuration(Path::new("/tmp/x"), 5, &Options { settings, ..Options::default() });
        assert!(text.ends_with("timezone = 'it''s'\n"), "{text}");
        assert!(text.contains("port = '5'\n"), "{text}");
    }

    #[test]
    fn a_parent_too_long_for_a_socket_is_not_suitable() {
        assert!(is_suitable(Path::new("/tmp")));
        assert!(!is_suitable(Path::new("relative")));
        assert!(!is_suitable(&Path::new("/tmp").join("x".repeat(90))));
    }
}
