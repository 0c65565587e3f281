//! A real sshd as the account that runs the tests, with a folder of its own.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running sshd. Dropped, it is gone.
pub struct Sshd {
    child: Child,
    pub port: u16,
    pub folder: PathBuf,
}

impl Sshd {
    /// Starts one that trusts these authorities of users, and these keys.
    pub fn start(folder: &Path, authority: &str, authorized: &str) -> Self {
        let folder = folder.join("sshd");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(folder.join("user_ca.pub"), format!("{authority}\n")).unwrap();
        std::fs::write(folder.join("authorized_keys"), format!("{authorized}\n")).unwrap();
        let key = folder.join("host_key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        // As root, sshd wants its folder for the unprivileged part.
        let _ = std::fs::create_dir_all("/run/sshd");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.join("sshd_config");
        std::fs::write(&config, text(&folder, port)).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("openssh-server is installed");
        let sshd = Self { child, port, folder };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return sshd;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("sshd did not come up: {}", sshd.log());
    }

    /// Its public host key, as a line.
    pub fn host_key(&self) -> String {
        std::fs::read_to_string(self.folder.join("host_key.pub")).unwrap().trim().to_owned()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\n\
         HostKey {folder}/host_key\n\
         TrustedUserCAKeys {folder}/user_ca.pub\n\
         AuthorizedKeysFile {folder}/authorized_keys\n\
         PidFile none\n\
         StrictModes no\n\
         UsePAM no\n\
         PermitRootLogin yes\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         MaxSessions 100\n\
         MaxStartups 200\n\
         AcceptEnv LANG LC_* SECRET_*\n\
         LogLevel VERBOSE\n\
         Subsystem sftp internal-sftp\n"
    )
}
