//! The two places where a script runs, and the client that runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bed::{LOGIN, SshBed};
use crate::cases::folder;
use crate::support::{Bed, SECRET_RW, private_folder, program_path};

/// The name that both places go by in files of known hosts.
const HOST: &str = "gate.example.com";

/// Scripts for one client.
pub struct Suite {
    pub name: &'static str,
    /// As the page about compatibility has it.
    pub client: &'static str,
    /// What prints the client's version.
    pub version: &'static [&'static str],
    language: Language,
}

/// What reads a script.
enum Language {
    Psql,
    Shell,
    /// A script for one of the libraries that `clients/clients.py` knows.
    Python,
    Node,
}

const PYTHON: &str = ".cache/venv/bin/python";
const fn python(
    name: &'static str,
    client: &'static str,
    version: &'static [&'static str],
) -> Suite {
    Suite { name, client, version, language: Language::Python }
}

pub const SUITES: [Suite; 11] = [
    Suite {
        name: "psql",
        client: "psql",
        version: &["psql", "--version"],
        language: Language::Psql,
    },
    Suite {
        name: "libpq",
        client: "psql options, pg_dump, pg_restore, pgbench, vacuumdb",
        version: &["pg_dump", "--version"],
        language: Language::Shell,
    },
    python("raw", "protocol messages, byte by byte", &["echo", "protocol 3.0"]),
    python("psycopg", "psycopg", &[PYTHON, "-c", "import psycopg; print(psycopg.__version__)"]),
    python("asyncpg", "asyncpg", &[PYTHON, "-c", "import asyncpg; print(asyncpg.__version__)"]),
    Suite {
        name: "node-pg",
        client: "node-postgres",
        version: &["node", "-p", "require('pg/package.json').version"],
        language: Language::Node,
    },
    Suite {
        name: "openssh",
        client: "OpenSSH's ssh",
        version: &["sh", "-c", "ssh -V 2>&1"],
        language: Language::Shell,
    },
    Suite {
        name: "files",
        client: "OpenSSH's sftp and scp",
        version: &["sh", "-c", "ssh -V 2>&1"],
        language: Language::Shell,
    },
    python("asyncssh", "asyncssh", &[PYTHON, "-c", "import asyncssh; print(asyncssh.__version__)"]),
    python("paramiko", "paramiko", &[PYTHON, "-c", "import paramiko; print(paramiko.__version__)"]),
    Suite {
        name: "rsync-git",
        client: "rsync and git",
        version: &["sh", "-c", "rsync --version | head -n 1; git --version"],
        language: Language::Shell,
    },
];

impl Suite {
    pub fn named(name: &str) -> &'static Self {
        SUITES.iter().find(|suite| suite.name == name).expect("a suite of this name")
    }

    /// Adds what runs this script at this place.
    pub fn command(&self, command: &mut Command, place: &Place, script: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let clients = folder().join("clients");
        place.environment(command);
        match self.language {
            Language::Psql => {
                command.arg(program_path("psql")).args(["-X", "-e", "-v", "VERBOSITY=verbose"]);
                command.stdin(input(script));
            }
            Language::Shell => {
                command.args(["bash", "-c", script]).env("BASH_ENV", clients.join("prelude.sh"));
                command.stdin(Stdio::null());
            }
            Language::Python => {
                command.arg(root.join(PYTHON)).arg(clients.join("clients.py")).arg(self.name);
                command.stdin(input(script));
            }
            Language::Node => {
                command.arg("node").arg(clients.join("clients.js")).stdin(input(script));
                command.env("NODE_PATH", root.join(".cache/node/node_modules"));
                command.env("NODE_NO_WARNINGS", "1");
            }
        }
    }
}

/// Standard input with this text.
fn input(text: &str) -> Stdio {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).and_then(|()| file.rewind()).unwrap();
    file.into()
}

/// Where a client connects.
pub struct Place {
    variables: Vec<(&'static str, String)>,
    folder: PathBuf,
}

impl Place {
    fn environment(&self, command: &mut Command) {
        let pg = std::env::vars().filter(|(name, _)| name.starts_with("PG"));
        for name in pg.map(|(name, _)| name).chain(["SSH_AUTH_SOCK".to_owned()]) {
            command.env_remove(name);
        }
        command.env("HOME", &self.folder).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.env("PGTZ", "UTC").current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
    }

    /// The text without what names the place.
    pub fn mask(&self, text: &str) -> String {
        let folder = self.folder.display().to_string();
        self.variables.iter().filter(|(name, _)| matches!(*name, "PGDATABASE" | "SSH_USER")).fold(
            text.replace(&folder, "<here>"),
            |text, (name, value)| match *name {
                "SSH_USER" => text.replace(value.as_str(), "<user>"),
                _ => text.replace(&format!("\"{value}\""), "\"<database>\""),
            },
        )
    }
}

/// Both places, and what they lead to.
pub struct Places {
    pub direct: Place,
    pub through: Place,
    target: Target,
    scratch: tempfile::TempDir,
}

enum Target {
    Postgres(Box<Bed>),
    Ssh(Box<SshBed>),
}

impl Places {
    pub async fn postgres() -> Self {
        let bed = Bed::start().await;
        bed.grant("app_rw@orders", "30m").await;
        let files = bed.files("alice").await;
        let scratch = private_folder();
        let text = |path: PathBuf| path.display().to_string();
        let common = |port: u16, database: &str, ca: PathBuf| {
            vec![
                ("PGHOST", "localhost".to_owned()),
                ("PGPORT", port.to_string()),
                ("PGUSER", "app_rw".to_owned()),
                ("PGDATABASE", database.to_owned()),
                ("PGSSLMODE", "verify-full".to_owned()),
                ("PGSSLROOTCERT", text(ca)),
                ("PGAPPNAME", "a client".to_owned()),
            ]
        };
        let mut direct = common(bed.cluster.port(), "shop", bed.cluster.ca_path());
        direct.push(("PGPASSWORD", SECRET_RW.to_owned()));
        let mut through = common(bed.port(), "orders", files.ca);
        through.extend([("PGSSLCERT", text(files.cert)), ("PGSSLKEY", text(files.key))]);
        Self::new(direct, through, Target::Postgres(Box::new(bed)), scratch)
    }

    pub async fn ssh() -> Self {
        let target = r#"channels = ["shell", "exec", "sftp", "direct-tcpip"]"#;
        let bed = SshBed::with(target, crate::bed::OPEN).await;
        bed.grant("1h").await;
        let scratch = private_folder();
        let known = scratch.path().join("known_hosts");
        std::fs::write(&known, format!("{HOST} {}\n", bed.sshd.host_key())).unwrap();
        let key = certified(&bed, scratch.path());
        let through_key = bed.identity("alice").await;
        let common = |port: u16, user: String, known: PathBuf, key: PathBuf| {
            vec![
                ("SSH_PORT", port.to_string()),
                ("SSH_USER", user),
                ("SSH_KNOWN", known.display().to_string()),
                ("SSH_KEY", key.display().to_string()),
                ("SSH_ALIAS", HOST.to_owned()),
                ("TARGET_HOME", bed.sshd.home().display().to_string()),
            ]
        };
        let direct = common(bed.sshd.port(), LOGIN.to_owned(), known, key);
        let through =
            common(bed.port(), format!("{LOGIN}@web-1"), bed.file("known_hosts"), through_key);
        Self::new(direct, through, Target::Ssh(Box::new(bed)), scratch)
    }

    fn new(
        direct: Vec<(&'static str, String)>,
        through: Vec<(&'static str, String)>,
        target: Target,
        scratch: tempfile::TempDir,
    ) -> Self {
        let folder = scratch.path().join("here");
        let place = |variables| Place { variables, folder: folder.clone() };
        Self { direct: place(direct), through: place(through), target, scratch }
    }

    /// Leaves the target and the client's folder as they were before any script ran.
    pub fn reset(&self) {
        let here = self.scratch.path().join("here");
        empty(&here);
        match &self.target {
            Target::Postgres(bed) => {
                let sql = "drop owned by app_rw cascade; drop schema if exists public cascade; \
                           create schema public authorization app_rw";
                bed.cluster.psql_in("shop", sql).unwrap();
            }
            Target::Ssh(bed) => {
                let home = bed.sshd.home();
                for entry in std::fs::read_dir(&home).unwrap() {
                    let path = entry.unwrap().path();
                    let gone = if path.is_dir() && !path.is_symlink() {
                        std::fs::remove_dir_all(&path)
                    } else {
                        std::fs::remove_file(&path)
                    };
                    gone.unwrap();
                }
            }
        }
    }
}

fn empty(folder: &Path) {
    if folder.exists() {
        std::fs::remove_dir_all(folder).unwrap();
    }
    std::fs::create_dir(folder).unwrap();
}

/// A key that the target takes by itself: certified by the authority that certifies the gateway's.
fn certified(bed: &SshBed, folder: &Path) -> PathBuf {
    let key = crate::bed::stray_key(&folder.join("direct"));
    let authority = bed.file("state/authority/ssh_login_ca");
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-I", "direct", "-n", LOGIN, "-s"]).arg(authority);
    assert!(sign.arg(key.with_extension("pub")).status().unwrap().success());
    key
}
