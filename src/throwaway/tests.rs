use super::*;
use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Child;
use std::thread;

const OWNER: &str = "POSTERN_THROWAWAY_OWNER";

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits for what must come to be, generously: only a hang fails here.
fn eventually(what: impl Fn() -> bool) -> bool {
    (0..3_000).any(|_| {
        thread::sleep(POLL);
        what()
    })
}

#[test]
fn a_cluster_answers_and_leaves_nothing_when_it_is_stopped() {
    let cluster = Cluster::start(Options::default()).unwrap();
    assert_eq!(cluster.psql("select 6 * 7").unwrap(), "42");
    assert_eq!(cluster.psql("show ssl; show max_connections").unwrap(), "on\n100");

    cluster.psql("create database shop; create role app_ro login password 'it''s'").unwrap();
    assert_eq!(cluster.psql_in("shop", "select current_database()").unwrap(), "shop");

    let (pid, folder) = (cluster.server_pid().unwrap(), cluster.folder().to_owned());
    assert!(is_alive(pid) && folder.exists());
    cluster.stop();
    assert!(!is_alive(pid));
    assert!(!folder.exists());
}

#[test]
fn the_server_never_runs_as_root() {
    let cluster = Cluster::start(Options::default()).unwrap();
    let process = format!("/proc/{}", cluster.server_pid().unwrap());
    assert_ne!(fs::metadata(process).unwrap().uid(), 0);
    assert_eq!(fs::metadata(cluster.folder()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn tcp_takes_only_tls_with_a_password_and_the_certificate_verifies() {
    let cluster = Cluster::start(Options::default()).unwrap();
    cluster.psql("create role app_ro login password 'right'").unwrap();
    let ask = |sslmode: &str, password: &str| {
        let root = cluster.ca_path();
        let conn = format!(
            "host=127.0.0.1 port={} user=app_ro dbname=postgres sslmode={sslmode} sslrootcert={} password={password}",
            cluster.port(),
            root.display()
        );
        // libpq looks for a client certificate at home.
        let output = Command::new(cluster.program("psql"))
            .env("HOME", cluster.folder())
            .args(["-XAtqc", "select current_user", &conn])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(ask("verify-full", "right"), "app_ro\n");
    assert_eq!(ask("verify-full", "wrong"), "");
    assert_eq!(ask("disable", "right"), "");
}

#[test]
fn client_certificates_and_settings_are_as_asked() {
    let authority = rcgen::generate_simple_self_signed(["clients".to_owned()]).unwrap();
    let cluster = Cluster::start(Options {
        max_connections: 1200,
        client_ca: Some(authority.cert.pem()),
        hba: vec!["hostssl all cert_user all cert".to_owned()],
        ..Options::default()
    })
    .unwrap();
    assert_eq!(cluster.psql("show max_connections").unwrap(), "1200");
    assert!(cluster.psql("show ssl_ca_file").unwrap().ends_with("clients.pem"));
    let rule = "select auth_method from pg_hba_file_rules where user_name = '{cert_user}' and error is null";
    assert_eq!(cluster.psql(rule).unwrap(), "cert");
}

#[test]
fn a_failed_statement_and_a_failed_start_say_why() {
    let cluster = Cluster::start(Options::default()).unwrap();
    let error = cluster.psql("select 1; select no_such_column; select 2").unwrap_err();
    assert!(error.to_string().contains("no_such_column"), "{error}");

    let settings = vec![("no_such_setting".to_owned(), "1".to_owned())];
    let error = Cluster::start(Options { settings, ..Options::default() }).unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

/// A test of this file, run again in a process of its own that [`OWNER`] tells to own a cluster.
struct Owner(Child);

impl Owner {
    fn start(test: &str, temp: &Path) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args([&format!("throwaway::tests::{test}"), "--exact", "--nocapture"])
            .envs([(OWNER, Path::new("1")), ("TMPDIR", temp)])
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    fn server_pid(&mut self) -> u32 {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix("owned ")?.parse().ok()).unwrap()
    }
}

/// Ends with -9, so that nothing of the process itself can clear up.
impl Drop for Owner {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn own_a_cluster_forever() -> ! {
    let cluster = Cluster::start(Options::default()).unwrap();
    println!("\nowned {}", cluster.server_pid().unwrap());
    loop {
        thread::park();
    }
}

/// A folder like `/tmp`, for one test.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    folder
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn a_killed_owner_leaves_no_server_and_no_folder() {
    if env::var_os(OWNER).is_some() {
        own_a_cluster_forever();
    }
    let temp = open_folder();
    let test = "a_killed_owner_leaves_no_server_and_no_folder";
    let mut owner = Owner::start(test, temp.path());
    let pid = owner.server_pid();
    assert!(is_alive(pid) && !is_empty(temp.path()));

    drop(owner);
    assert!(eventually(|| !is_alive(pid)), "the server outlived its owner");
    assert!(eventually(|| is_empty(temp.path())), "the folder outlived its owner");
}

/// The supervisor removes the folder last, when the server is gone.
#[test]
fn an_owner_killed_while_the_server_starts_leaves_nothing() {
    if env::var_os(OWNER).is_some() {
        own_a_cluster_forever();
    }
    let temp = open_folder();
    let test = "an_owner_killed_while_the_server_starts_leaves_nothing";
    let owner = Owner::start(test, temp.path());
    let has_begun = || {
        let mut clusters = fs::read_dir(temp.path()).unwrap().flatten();
        clusters.any(|cluster| cluster.path().join("data").exists())
    };
    assert!(eventually(has_begun), "the start never began");

    drop(owner);
    assert!(eventually(|| is_empty(temp.path())), "the folder outlived its owner");
}
