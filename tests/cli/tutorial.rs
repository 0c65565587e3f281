//! `docs/tutorial.md` and the commands of README: each works as it stands there, in its order, at a real
//! Postgres, a real sshd, and in a real browser that trusts the gateway's authority.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use postern::throwaway::{Cluster, SUPERUSER, SshOptions, Sshd, free_port};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::browser::Browser;
use crate::support::private_folder;

const TUTORIAL: &str = include_str!("../../docs/tutorial.md");
const README: &str = include_str!("../../README.md");
/// What a terminal prints behind each block.
const END: &str = "end-of-the-block";
/// How ids begin that a reader writes in place of an example.
const IDS: [&str; 3] = ["rq", "gr", "se"];

/// Commands to paste, and the terminal that they are for.
struct Block {
    terminal: &'static str,
    text: &'static str,
}

fn blocks(page: &'static str) -> Vec<Block> {
    let parts = page.split("```sh").skip(1);
    let blocks = parts.map(|part| {
        let (terminal, rest) = part.split_once('\n').expect("a block");
        let (text, _) = rest.split_once("\n```").expect("the end of a block");
        Block { terminal: terminal.trim(), text }
    });
    blocks.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_tutorial_and_of_the_readme_works() {
    let blocks = blocks(TUTORIAL);
    assert!(blocks.len() > 15, "the tutorial lost its commands: {}", blocks.len());
    let (values, rest) = blocks.split_first().unwrap();
    let (last, rest) = rest.split_last().unwrap();
    let mut reader = Reader::begins(values.text).await;
    for block in rest {
        reader.pastes(block).await;
    }
    // While the gateway of the tutorial is up.
    let commands = blocks_of_readme();
    assert_eq!(commands.len(), 6, "the README has other commands");
    for command in commands {
        reader.pastes(&command).await;
    }
    reader.pastes(last).await;
}

/// Its commands one by one, each for whom it is.
fn blocks_of_readme() -> Vec<Block> {
    let shown = README.lines().filter_map(|line| line.strip_prefix("    $ "));
    let lines = blocks(README).into_iter().flat_map(|block| block.text.lines());
    let commands = lines.chain(shown).map(|text| {
        let asks = ["psql", "postern login", "postern psql"];
        let asks = asks.iter().any(|start| text.starts_with(start));
        Block { terminal: if asks { "alice" } else { "bob" }, text }
    });
    commands.collect()
}

/// Who follows the pages: all terminals and browsers.
struct Reader {
    terminals: BTreeMap<&'static str, Terminal>,
    browsers: BTreeMap<&'static str, Browser>,
    /// The ids that were seen last.
    ids: BTreeMap<&'static str, String>,
    /// The link that the gateway printed for its first admin.
    link: String,
    machines: Machines,
}

impl Reader {
    /// Gives each variable at the top of the page a value of this machine.
    async fn begins(variables: &str) -> Self {
        let machines = tokio::task::spawn_blocking(Machines::start).await.unwrap();
        let values = machines.values();
        let named = variables.lines().filter_map(|line| Some(line.split_once('=')?.0));
        let mut named: Vec<&str> = named.collect();
        named.sort_unstable();
        assert_eq!(named, values.keys().copied().collect::<Vec<_>>(), "the page's variables");
        let lines = values.iter().map(|(name, value)| format!("{name}=\"{value}\"\n"));
        let lines: String = lines.collect();
        let mut terminals = BTreeMap::new();
        for name in ["gateway", "targets", "alice", "bob"] {
            let mut terminal = Terminal::open(&machines.home());
            terminal.paste(&lines).await;
            terminal.end().await;
            terminals.insert(name, terminal);
        }
        let (browsers, ids, link) = (BTreeMap::new(), BTreeMap::new(), String::new());
        Self { terminals, browsers, ids, link, machines }
    }

    /// Pastes a block; one with ids in it line by line, since a line shows the ids of the next.
    async fn pastes(&mut self, block: &Block) {
        if !block.text.contains("-…") {
            return self.runs(block.terminal, block.text).await;
        }
        for line in block.text.lines() {
            let line = self.filled(line);
            self.runs(block.terminal, &line).await;
        }
    }

    /// The line with what the reader writes in place of examples.
    fn filled(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (kind, id) in &self.ids {
            line = line.replace(&format!("{kind}-…"), id);
        }
        assert!(!line.contains('…'), "no such id was shown: {line}");
        line
    }

    /// Runs commands, and does in the browser what they wait for.
    async fn runs(&mut self, name: &'static str, text: &str) {
        let text = text.replace("https://gate.example.com", &self.machines.url());
        // The example of the README has the usual port, and its reader types into it.
        let text = text.replace("host=gate.example.com", "host=$GATE port=$PG_PORT");
        let text = text.replace("=ca.crt\"", "=$ALICE/ca.pem\" -c \"select 1\"");
        self.terminal(name).paste(&text).await;
        if text.contains("postern login") {
            self.signs_in(name).await;
        } else if text.contains("psql \"host=") {
            self.confirms(name).await;
            if text.contains("user=app_rw") {
                self.approves(name).await;
            }
        } else if text.contains("postern psql app_rw@orders") {
            self.approves(name).await;
        }
        let printed = self.terminal(name).end().await;
        for kind in IDS {
            let mut ids = words(&printed).filter(|word| word.starts_with(&format!("{kind}-")));
            if let Some(id) = ids.next() {
                self.ids.insert(kind, id.to_owned());
            }
        }
        if name == "gateway" && printed.contains("registers a passkey") {
            self.link = link(&printed);
        }
    }

    fn terminal(&mut self, name: &str) -> &mut Terminal {
        self.terminals.get_mut(name).expect("a terminal of the page")
    }

    /// Types the code of a terminal on its page.
    async fn signs_in(&mut self, name: &'static str) {
        let page = after(&self.terminal(name).until("open  ").await, "open");
        let code = after(&self.terminal(name).until("and type  ").await, "type");
        let browser = self.browser(name).await;
        browser.go(&page).await;
        browser.fill("The code that your terminal shows", &code).await;
        browser.press("Show the terminal").await;
        let seen = browser.press("Yes, this is my terminal").await;
        assert!(seen.title.starts_with("Signed in"), "{seen:?}");
    }

    /// Types the code of a connection on its page.
    async fn confirms(&mut self, name: &'static str) {
        let line = self.terminal(name).until("confirm code").await;
        let browser = self.browser(name).await;
        browser.go(&after(&line, "at")).await;
        browser.fill("The code that your terminal shows", &after(&line, "code")).await;
        browser.press("Show the connection").await;
        let seen = browser.press("Yes, this is my connection").await;
        assert!(seen.title.starts_with("Confirmed"), "{seen:?}");
    }

    /// Has Bob approve what a connection asks for.
    async fn approves(&mut self, name: &'static str) {
        let line = self.terminal(name).until("asked for").await;
        let request = words(&line).find(|word| word.starts_with("rq-")).expect("a request");
        let page = format!("{}/r/{request}", self.machines.url());
        let browser = self.browser("bob").await;
        let seen = browser.go(&page).await;
        assert!(seen.text.contains("Alice"), "{seen:?}");
        browser.press("Approve").await;
    }

    /// The browser of a person, who registers a passkey in it the first time.
    async fn browser(&mut self, name: &'static str) -> &mut Browser {
        if !self.browsers.contains_key(name) {
            self.registers(name).await;
        }
        self.browsers.get_mut(name).unwrap()
    }

    async fn registers(&mut self, name: &'static str) {
        let link = if name == "bob" { self.link.clone() } else { self.invited(name).await };
        let mut browser = Browser::open_at_home(&self.machines.home()).await;
        browser.register_by(&link).await;
        self.browsers.insert(name, browser);
    }

    /// The link that Bob makes for somebody.
    async fn invited(&mut self, name: &str) -> String {
        let page = format!("{}/invites", self.machines.url());
        let bob = self.browsers.get_mut("bob").expect("Bob has registered");
        bob.go(&page).await;
        bob.fill("For whom", name).await;
        bob.press("Make a sign-in link").await;
        link(&bob.press("Make the link").await.text)
    }
}

/// What stands between spaces and punctuation, ids whole.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
}

/// The word after this one.
fn after(line: &str, word: &str) -> String {
    let mut words = line.split_whitespace().skip_while(|next| *next != word);
    words.nth(1).unwrap_or_else(|| panic!("nothing after `{word}`: {line}")).to_owned()
}

/// The one-time link in a text.
fn link(text: &str) -> String {
    let mut words = text.split_whitespace();
    let found = words.find(|word| word.starts_with("https://") && word.contains('#'));
    found.unwrap_or_else(|| panic!("no link: {text}")).to_owned()
}

/// What the reader has: a Postgres server, an SSH host, and folders.
struct Machines {
    cluster: Cluster,
    sshd: Sshd,
    folder: tempfile::TempDir,
    /// For files that the SSH server reads, which doesn't run as root.
    shared: tempfile::TempDir,
    /// Of the pages, of Postgres and of SSH.
    ports: [u16; 3],
}

impl Machines {
    fn start() -> Self {
        let (folder, shared) = (private_folder(), private_folder());
        fs::set_permissions(shared.path(), Permissions::from_mode(0o755)).unwrap();
        let options = postern::throwaway::Options::default();
        let cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error}"));
        let setting = format!("Include {}", shared.path().join("postern.conf").display());
        let options = SshOptions { settings: vec![setting], ..SshOptions::default() };
        let sshd = Sshd::start(&options).unwrap_or_else(|error| panic!("{error}"));
        let ports = [(); 3].map(|()| free_port().unwrap());
        let machines = Self { cluster, sshd, folder, shared, ports };
        fs::create_dir(machines.home()).unwrap();
        machines.write_reload();
        machines
    }

    /// A script that has the SSH server read its configuration again, and waits until it listens.
    fn write_reload(&self) {
        let (server, log) = (self.sshd.server_pid().unwrap(), self.sshd.folder().join("log"));
        let script = format!(
            "#!/bin/sh\nset -eu\nkill -HUP {server}\n\
             until [ \"$(grep -c 'Server listening' {})\" -gt 1 ]; do sleep 0.1; done\n",
            log.display()
        );
        fs::write(self.reload(), script).unwrap();
        fs::set_permissions(self.reload(), Permissions::from_mode(0o700)).unwrap();
    }

    fn reload(&self) -> PathBuf {
        self.folder.path().join("reload")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.ports[0])
    }

    fn values(&self) -> BTreeMap<&'static str, String> {
        let here = |name: &str| self.folder.path().join(name).display().to_string();
        let shared = |name: &str| self.shared.path().join(name).display().to_string();
        let [web, postgres, ssh] = self.ports.map(|port| port.to_string());
        let admin = format!(
            "{} -X -v ON_ERROR_STOP=1 -h {} -p {} -U {SUPERUSER} -d postgres",
            self.cluster.program("psql").display(),
            self.cluster.folder().display(),
            self.cluster.port(),
        );
        BTreeMap::from([
            ("GATE", "localhost".to_owned()),
            ("LISTEN", "127.0.0.1".to_owned()),
            ("WEB_PORT", web),
            ("PG_PORT", postgres),
            ("SSH_PORT", ssh),
            ("WORK", here("work")),
            ("ALICE", here("alice")),
            ("BOB", here("bob")),
            ("DB_HOST", "localhost".to_owned()),
            ("DB_PORT", self.cluster.port().to_string()),
            ("DB_CA", self.cluster.ca_path().display().to_string()),
            ("DB_ADMIN", admin),
            ("SSHD_HOST", "127.0.0.1".to_owned()),
            ("SSHD_PORT", self.sshd.port().to_string()),
            ("SSHD_LOGIN", "deploy".to_owned()),
            ("SSHD_CA", shared("login_ca.pub")),
            ("SSHD_CONFIG", shared("postern.conf")),
            ("SSHD_RELOAD", self.reload().display().to_string()),
        ])
    }
}

/// A shell of its own, and all that it starts.
struct Terminal {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    pasted: String,
    printed: String,
}

impl Terminal {
    fn open(home: &Path) -> Self {
        let mut shell = Command::new("bash");
        shell.arg("--norc").current_dir(home).process_group(0);
        for (name, _) in std::env::vars() {
            if ["PG", "POSTERN_", "XDG_", "SSH_"].iter().any(|start| name.starts_with(start)) {
                shell.env_remove(name);
            }
        }
        let program = Path::new(env!("CARGO_BIN_EXE_postern")).parent().unwrap().display();
        let path = format!("{program}:{}", std::env::var("PATH").unwrap());
        shell.env("HOME", home).env("PATH", path).env("NO_COLOR", "1").env("LC_ALL", "C");
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().expect("bash is installed");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take().unwrap();
        Self { child, input, lines, pasted: String::new(), printed: String::new() }
    }

    /// Has the shell run this, and end where a command fails.
    async fn paste(&mut self, text: &str) {
        self.pasted = text.to_owned();
        self.printed.clear();
        let block = format!(
            "exec 2>&1\numask 022\nset -e\n{{\n{text}\n}} < /dev/null\nset +e\necho {END}\n"
        );
        self.input.write_all(block.as_bytes()).await.unwrap();
    }

    /// Reads on until a line has this in it.
    async fn until(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("{}\nfailed: {}", self.pasted, self.printed));
            self.printed += &format!("{line}\n");
            if line.contains(what) {
                return line;
            }
            assert!(!line.contains(END), "{}\nnever said `{what}`: {}", self.pasted, self.printed);
        }
    }

    /// Waits for the end of what was pasted, and gives all that was printed.
    async fn end(&mut self) -> String {
        self.until(END).await;
        std::mem::take(&mut self.printed)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let Some(id) = self.child.id() else { return };
        // Where the page didn't get to its end, its gateway runs in this group.
        let group = format!("-{id}");
        let _ = std::process::Command::new("kill").args(["-KILL", "--", &group]).status();
    }
}
