//! A real PostgreSQL server for one purpose and a short time: the target of `postern demo` and of the tests.
//!
//! [`Cluster::start`] lays out a private folder, then hands it to a small shell supervisor that runs
//! `initdb` and `postgres` as an account that is not root. The supervisor reads from a pipe that only
//! this process holds open: when the pipe ends, for whatever reason (stopped, dropped, killed with -9),
//! it ends the server and removes the folder. So nothing stays behind, and nothing has to run beforehand.
//!
//! The server listens on a free port of 127.0.0.1 with TLS and SCRAM only, and on a socket inside the
//! private folder, where the superuser is trusted. It skips every `fsync`: its data is not meant to last.
//!
//! [`Sshd`] is the same for SSH.

mod layout;
mod programs;
mod sshd;
mod supervisor;

use std::fs;
use std::io::{self, Seek, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use layout::Layout;
use programs::Programs;
pub use sshd::{SshOptions, Sshd};
use supervisor::Supervisor;

/// The superuser of every throwaway cluster, reachable over its private socket only.
pub const SUPERUSER: &str = "postgres";

const SUPERVISOR: &str = include_str!("throwaway/supervise.sh");
const PORT_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(10);
const START_POLLS: u32 = 6_000;
const END_POLLS: u32 = 2_000;

/// What a throwaway cluster should be like; the default suits most tests.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the server's programs, where not the newest on this machine is wanted.
    pub programs: Option<PathBuf>,
    /// How many sessions the server takes at once.
    pub max_connections: u32,
    /// PEM of the authorities whose client certificates the server takes (`cert` lines in `hba`).
    pub client_ca: Option<String>,
    /// `pg_hba.conf` lines that come before the default, `hostssl all all 127.0.0.1/32 scram-sha-256`.
    pub hba: Vec<String>,
    /// Further `postgresql.conf` settings, which win over those made here.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            programs: None,
            max_connections: 100,
            client_ca: None,
            hba: Vec::new(),
            settings: Vec::new(),
        }
    }
}

/// A running server, which ends and is removed when this value is dropped or its process dies.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    port: u16,
    // INVARIANT: dropped before the folder.
    _supervisor: Supervisor,
    layout: Layout,
}

impl Cluster {
    /// Starts a server and returns once it takes connections; blocks for about a second.
    pub fn start(options: Options) -> Result<Self, Error> {
        let programs = Programs::find(options.programs.as_deref())?;
        let mut attempt = 1;
        loop {
            match Self::start_at(free_port()?, &programs, &options) {
                Err(Error::Server { log }) if port_was_taken(&log) && attempt < PORT_ATTEMPTS => {
                    attempt += 1
                }
                outcome => return outcome,
            }
        }
    }

    fn start_at(port: u16, programs: &Programs, options: &Options) -> Result<Self, Error> {
        let layout = Layout::create(port, options)?;
        let (folder, account) = (layout.folder(), layout.account());
        let mut supervisor = Supervisor::start(SUPERVISOR, folder, programs.folder(), account)?;
        let pid_file = layout.pid_file();
        supervisor.wait(|| is_ready(&pid_file), |log| Error::Server { log })?;
        Ok(Self { programs: programs.clone(), port, _supervisor: supervisor, layout })
    }

    /// The port on 127.0.0.1, where TLS is required.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The private folder with the data, the log and the superuser's socket.
    pub fn folder(&self) -> &Path {
        self.layout.folder()
    }

    /// The libpq connection string of the superuser, over the private socket.
    pub fn superuser_conn(&self) -> String {
        format!(
            "host={} port={} user={SUPERUSER} dbname=postgres",
            self.folder().display(),
            self.port
        )
    }

    /// PEM of the authority that signed the server's certificate (for `localhost` and 127.0.0.1).
    pub fn ca_pem(&self) -> &str {
        self.layout.ca_pem()
    }

    /// The file that holds [`Self::ca_pem`], as `sslrootcert` wants it.
    pub fn ca_path(&self) -> PathBuf {
        self.layout.ca_path()
    }

    /// The path of a PostgreSQL program (`psql`, `pg_dump`, `pgbench`), of the server's own version if it has one.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.path(name)
    }

    /// The process id of the server's first process.
    pub fn server_pid(&self) -> Option<u32> {
        fs::read_to_string(self.layout.pid_file()).ok()?.lines().next()?.trim().parse().ok()
    }

    /// What the server has logged.
    pub fn log(&self) -> Result<String, Error> {
        fs::read_to_string(self.layout.log_file()).map_err(Error::io("read the server's log"))
    }

    /// Runs statements as the superuser in database `postgres` and returns what `psql -At` prints.
    pub fn psql(&self, sql: &str) -> Result<String, Error> {
        self.psql_in("postgres", sql)
    }

    /// Runs statements as the superuser in `database`, each on its own, up to the first that fails.
    pub fn psql_in(&self, database: &str, sql: &str) -> Result<String, Error> {
        let output = Command::new(self.program("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-f", "-", "-d", database])
            .args(["-p", &self.port.to_string(), "-h"])
            .arg(self.folder())
            .env_clear()
            .env("PATH", programs::search_path())
            .stdin(as_input(sql).map_err(Error::io("hand the statements to psql"))?)
            .output()
            .map_err(Error::io("run psql"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(Error::Psql {
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            }),
        }
    }

    /// Ends the server and removes its folder; dropping does the same.
    pub fn stop(self) {}
}

/// The server writes its state into the eighth line of its pid file, where `pg_ctl` looks too.
fn is_ready(pid_file: &Path) -> bool {
    fs::read_to_string(pid_file)
        .is_ok_and(|text| text.lines().nth(7).is_some_and(|state| state.trim() == "ready"))
}

/// Below the ports that Linux gives to passing connections, of which one might take it meanwhile.
const PORTS: Range<u16> = 20_000..32_000;

/// A port on 127.0.0.1 on which nothing listens.
///
/// # Errors
///
/// [`Error::Io`] where a hundred random ports are all taken.
pub fn free_port() -> Result<u16, Error> {
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let port = rand::random_range(PORTS);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => taken = error,
        }
    }
    Err(Error::io("find a free port")(taken))
}

fn port_was_taken(log: &str) -> bool {
    log.contains("could not create any TCP/IP sockets")
}

/// A file rather than an argument keeps passwords out of the process list, and rather than a pipe can't block.
fn as_input(sql: &str) -> io::Result<Stdio> {
    let mut file = tempfile::tempfile()?;
    file.write_all(sql.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// Why a throwaway cluster could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server programs, or only old ones.
    #[error(
        "no PostgreSQL server of version 15 or newer found in `{}` or on the search path; \
         `tests/tools/install --demo` installs one, and POSTERN_PG_BIN names the folder of another",
        programs::DEBIAN_HOME
    )]
    NoServer,
    /// The folder that was asked for does not hold a usable server.
    #[error("`{}` holds no PostgreSQL server of version 15 or newer", .0.display())]
    WrongFolder(PathBuf),
    /// Run as root, and there is no account to run the server as.
    #[error(
        "the server does not run as root, and there is neither an account `postgres` nor `nobody`"
    )]
    NoAccount,
    /// Something around the server failed.
    #[error("could not {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The server's certificate could not be made.
    #[error("could not make the server's certificate")]
    Certificate(#[from] rcgen::Error),
    /// The server ended instead of taking connections.
    #[error("the PostgreSQL server did not start: {log}")]
    Server {
        /// The tail of what `initdb` and the server logged.
        log: String,
    },
    /// The server neither ended nor took connections in a minute.
    #[error("the server took no connections within a minute")]
    Slow,
    /// There is no sshd here, or not what it needs.
    #[error(
        "no OpenSSH server found with `ssh-keygen` and `libnss_wrapper.so`; \
         `tests/tools/install --demo` installs them"
    )]
    NoSshd,
    /// The sshd ended instead of taking connections.
    #[error("the OpenSSH server did not start: {log}")]
    Sshd {
        /// The tail of what it logged.
        log: String,
    },
    /// A statement of [`Cluster::psql`] failed.
    #[error("{message}")]
    Psql {
        /// What psql said.
        message: String,
    },
}

impl Error {
    fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

#[cfg(test)]
mod tests;
