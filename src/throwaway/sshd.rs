//! A real OpenSSH server for one purpose and a short time: an SSH target of `postern demo` and of the tests.
//!
//! [`Sshd::start`] lays out a private folder with a host key of its own and hands it to a supervisor, as for
//! Postgres. The server runs as an account that is not root; its logins are names of the caller's choice,
//! which `libnss_wrapper` lets it find in the folder, and which all stand for that account. It listens on a
//! free port of 127.0.0.1 and takes certificates of the authorities it is given, or keys, and no passwords.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::layout::{Account, account_for, private_folder};
use super::supervisor::Supervisor;
use super::{Error, PORT_ATTEMPTS, free_port, programs};

const SUPERVISOR: &str = include_str!("supervise_sshd.sh");

/// Debian keeps it out of the search path of ordinary accounts.
const USUAL: &str = "/usr/sbin/sshd";

/// What lets the server have logins that the machine doesn't have.
const WRAPPER: &str = "libnss_wrapper.so";

/// What a throwaway sshd should be like.
#[derive(Debug, Clone)]
pub struct SshOptions {
    /// Who may log in; all of them stand for the account that the server runs as.
    pub logins: Vec<String>,
    /// The authorities whose user certificates are taken, in the format of `TrustedUserCAKeys`.
    pub user_ca: String,
    /// Keys that are taken without a certificate, in the format of `authorized_keys`.
    pub authorized_keys: String,
    /// Further lines of `sshd_config`, which win over those made here.
    pub settings: Vec<String>,
}

impl Default for SshOptions {
    fn default() -> Self {
        Self {
            logins: vec!["deploy".to_owned()],
            user_ca: String::new(),
            authorized_keys: String::new(),
            settings: Vec::new(),
        }
    }
}

/// A running server, which ends and is removed when this value is dropped or its process dies.
#[derive(Debug)]
pub struct Sshd {
    port: u16,
    host_key: String,
    // INVARIANT: dropped before the folder.
    _supervisor: Supervisor,
    folder: TempDir,
}

impl Sshd {
    /// Starts a server and returns once it listens.
    pub fn start(options: &SshOptions) -> Result<Self, Error> {
        let program = find()?;
        let mut attempt = 1;
        loop {
            match Self::start_at(free_port()?, &program, options) {
                Err(Error::Sshd { log })
                    if log.contains("Address already in use") && attempt < PORT_ATTEMPTS =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn start_at(port: u16, program: &Path, options: &SshOptions) -> Result<Self, Error> {
        let folder = private_folder().map_err(Error::io("make a private folder"))?;
        let account = account_for(folder.path())?;
        let place = Place { folder: folder.path(), account };
        place.make_host_key()?;
        let host_key = fs::read_to_string(place.path("host_key.pub"))
            .map_err(Error::io("read the host key"))?;
        place.fill(port, options).map_err(Error::io("fill the private folder"))?;
        let mut supervisor = Supervisor::start(SUPERVISOR, folder.path(), program, account)?;
        let log = folder.path().join("log");
        let listens =
            || fs::read_to_string(&log).is_ok_and(|log| log.contains("Server listening on"));
        supervisor.wait(listens, |log| Error::Sshd { log })?;
        Ok(Self { port, host_key: host_key.trim().to_owned(), _supervisor: supervisor, folder })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The public host key, as `known_hosts` has it after the name.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// The private folder of the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The home folder of every login.
    pub fn home(&self) -> PathBuf {
        self.folder().join("home")
    }

    /// The process id of the server that listens.
    pub fn server_pid(&self) -> Option<u32> {
        fs::read_to_string(self.folder().join("pid")).ok()?.trim().parse().ok()
    }

    /// What the server has logged: among it the key id of each certificate that was used.
    pub fn log(&self) -> Result<String, Error> {
        fs::read_to_string(self.folder().join("log")).map_err(Error::io("read the server's log"))
    }

    /// Ends the server and its connections and removes its folder; dropping does the same.
    pub fn stop(self) {}
}

/// The folder while it is filled.
struct Place<'a> {
    folder: &'a Path,
    account: Option<Account>,
}

impl Place<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn make_host_key(&self) -> Result<(), Error> {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f"])
            .arg(self.path("host_key"))
            .env_clear()
            .env("PATH", programs::search_path())
            .status();
        match made {
            Ok(status) if status.success() => {
                self.hand_over("host_key").map_err(Error::io("hand over the host key"))
            }
            Ok(_) | Err(_) => Err(Error::NoSshd),
        }
    }

    fn fill(&self, port: u16, options: &SshOptions) -> io::Result<()> {
        fs::create_dir(self.path("home"))?;
        self.hand_over("home")?;
        let data = fs::metadata(self.path("home"))?;
        let (uid, gid) = (data.uid(), data.gid());
        let accounts = accounts(&options.logins, uid, gid, &self.path("home"));
        self.write("passwd", &accounts)?;
        self.write("group", &format!("throwaway:x:{gid}:\n"))?;
        self.write("user_ca.pub", &options.user_ca)?;
        self.write("authorized_keys", &options.authorized_keys)?;
        self.write("sshd_config", &configuration(self.folder, port, options))?;
        self.hand_over("")
    }

    fn write(&self, name: &str, content: &str) -> io::Result<()> {
        let path = self.path(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content.as_bytes())?;
        self.hand_over(name)
    }

    fn hand_over(&self, name: &str) -> io::Result<()> {
        let Some(account) = self.account else { return Ok(()) };
        chown(self.path(name), Some(account.uid), Some(account.gid))
    }
}

fn accounts(logins: &[String], uid: u32, gid: u32, home: &Path) -> String {
    let home = home.display();
    logins.iter().map(|login| format!("{login}:x:{uid}:{gid}:{login}:{home}:/bin/sh\n")).collect()
}

/// Of each setting the first one counts.
fn configuration(folder: &Path, port: u16, options: &SshOptions) -> String {
    let folder = folder.display();
    let own = format!(
        "ListenAddress 127.0.0.1\n\
         Port {port}\n\
         HostKey {folder}/host_key\n\
         TrustedUserCAKeys {folder}/user_ca.pub\n\
         AuthorizedKeysFile {folder}/authorized_keys\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         UsePAM no\n\
         StrictModes no\n\
         UseDNS no\n\
         PidFile none\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         LogLevel VERBOSE\n\
         MaxStartups 1000\n\
         MaxSessions 1000\n\
         AcceptEnv LANG LC_*\n\
         Subsystem sftp internal-sftp\n\
         SetEnv LD_PRELOAD={WRAPPER} NSS_WRAPPER_PASSWD={folder}/passwd NSS_WRAPPER_GROUP={folder}/group\n"
    );
    options.settings.iter().map(|line| format!("{line}\n")).chain([own]).collect()
}

/// The server's program, where both it and the library are here.
fn find() -> Result<PathBuf, Error> {
    let usual = Path::new(USUAL);
    let on_path = || {
        let folders: Vec<_> = std::env::split_paths(&programs::search_path()).collect();
        folders.into_iter().map(|folder| folder.join("sshd")).find(|path| path.is_file())
    };
    let program = if usual.is_file() { Some(usual.to_owned()) } else { on_path() };
    program.filter(|_| has_wrapper()).ok_or(Error::NoSshd)
}

fn has_wrapper() -> bool {
    let folders = ["/usr/lib", "/usr/lib64"].map(Path::new);
    let below = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    let below = below.flatten().map(|entry| entry.path());
    below.chain(folders.map(Path::to_owned)).any(|folder| folder.join(WRAPPER).is_file())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::thread;

    use super::*;
    use crate::throwaway::POLL;

    /// A key, and where it is.
    fn key(folder: &Path, name: &str) -> (PathBuf, String) {
        let path = folder.join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        (path, public)
    }

    fn ssh(sshd: &Sshd, folder: &Path, login: &str, key: &Path) -> Command {
        let known = folder.join("known");
        let line = format!("[127.0.0.1]:{} {}\n", sshd.port(), sshd.host_key());
        fs::write(&known, line).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"]).arg(key);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
        ssh.args(["-p", &sshd.port().to_string(), "-l", login, "127.0.0.1"]);
        ssh
    }

    #[test]
    fn logins_of_its_own_come_in_by_certificate_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, user_ca) = key(folder.path(), "ca");
        let (mine, _) = key(folder.path(), "mine");
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-I", "alice", "-n", "deploy", "-V", "+1h", "-s"])
            .args([&ca, &mine.with_extension("pub")])
            .status();
        assert!(signed.unwrap().success());
        let logins = ["deploy", "root-not"].map(str::to_owned).into();
        let options = SshOptions { logins, user_ca, ..SshOptions::default() };
        let sshd = Sshd::start(&options).unwrap();

        let asked = ssh(&sshd, folder.path(), "deploy", &mine).arg("whoami; pwd; id -u").output();
        let asked = asked.unwrap();
        let output = String::from_utf8(asked.stdout).unwrap();
        let answer = output.trim().rsplit_once('\n');
        let (names, uid) =
            answer.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&asked.stderr)));
        assert_eq!(names, format!("deploy\n{}", sshd.home().display()));
        assert_ne!(uid, "0");
        let other = ssh(&sshd, folder.path(), "root-not", &mine).arg("true").output().unwrap();
        assert_eq!(other.status.code(), Some(255), "the certificate names another login");
        assert!(sshd.log().unwrap().contains("ID alice"));

        let mut held = ssh(&sshd, folder.path(), "deploy", &mine);
        let held = held.arg("echo in; cat").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut held = held.spawn().unwrap();
        let mut line = [0; 3];
        io::Read::read_exact(held.stdout.as_mut().unwrap(), &mut line).unwrap();
        let (pid, home) = (sshd.server_pid().unwrap(), sshd.folder().to_owned());
        sshd.stop();
        assert_eq!(held.wait().unwrap().code(), Some(255), "connections end with it");
        let gone = || !Path::new(&format!("/proc/{pid}")).exists() && !home.exists();
        assert!((0..3_000).any(|_| {
            thread::sleep(POLL);
            gone()
        }));
    }

    #[test]
    fn wanted_settings_come_first() {
        let settings = vec!["MaxSessions 1".to_owned()];
        let text = configuration(Path::new("/x"), 5, &SshOptions { settings, ..<_>::default() });
        assert!(text.starts_with("MaxSessions 1\nListenAddress 127.0.0.1\nPort 5\n"), "{text}");
    }
}
