//! One `postern.toml`: all faults at once, each in its place; all or nothing; and the files of
//! `deploy/` do what they say.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise, in its helpers too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use policies::{
    Binds, Credential, Decision, Facts, GroupName, Hold, Login, Partition, Principal, PrincipalId,
    RuleBook, Source, Target, TargetName, Timestamp, Ttl, UpstreamTls,
};
use postern::config::{ApiTls, Config, Environment, Faults, LogFormat};
use proptest::prelude::*;
use rstest::rstest;
use secrecy::ExposeSecret;
use serde::Deserialize;

const LEAST: &str = "[gateway]\nhost = \"gate.example.com\"\n";
const TARGET: &str = "[targets.orders]\naddress = \"db.internal\"\ndatabases = [\"shop\"]\n\
                      [targets.orders.logins.app_rw]\ncertificate = true\n";

fn parse(text: &str) -> Result<Config, Faults> {
    Config::parse(text, Path::new("postern.toml"))
}

fn parsed(text: &str) -> Config {
    parse(text).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The first line of each fault: place and message.
fn told(faults: &Faults) -> Vec<String> {
    let first = |fault: &postern::config::Fault| format!("{}: {}", fault.site, fault.message);
    faults.all().iter().map(first).collect()
}

#[test]
fn the_least_configuration_gets_all_defaults() {
    let config = parsed(LEAST);
    assert_eq!(config.gateway.public_url.as_str(), "https://gate.example.com:7080/");
    assert_eq!(config.gateway.state, Path::new("/var/lib/postern"));
    assert_eq!(config.gateway.recordings, Path::new("/var/lib/postern/recordings"));
    assert_eq!(config.postgres.listen[0].value.to_string(), "127.0.0.1:5432");
    assert!(config.postgres.identity.is_none() && config.metrics.is_none());
    assert_eq!((config.api.listen.value.port(), &config.api.tls), (7080, &ApiTls::Authority));
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Text, "info"));
    assert_eq!((config.limits.connections, config.limits.per_address), (20_000, 512));
    let spans = [
        config.limits.handshake,
        config.limits.hold,
        config.grants.claim_within,
        config.grants.request_patience,
        config.grants.default,
        config.sign_in.session,
        config.sign_in.certificate,
        config.sign_in.token,
        config.sign_in.token_max,
    ];
    let spans = spans.map(|span| span.to_string()).join(" ");
    assert_eq!(spans, "15s 10m 15m 30m 1h 12h 12h 1h 1d");
    assert_eq!(config.policies.value, Path::new("policies"));
    assert!(config.people.is_empty() && config.targets.is_empty());
}

#[test]
fn a_target_gets_what_is_safe_where_it_says_nothing() {
    let config = parsed(&format!("{LEAST}[grants]\ndefault = \"20m\"\n{TARGET}"));
    let target = &config.targets[&TargetName::new("orders").unwrap()];
    assert_eq!((target.host.as_str(), target.port), ("db.internal", 5432));
    assert_eq!(target.tls.mode, certs::UpstreamMode::VerifyFull);
    assert_eq!((target.hold, target.partition), (Hold::Interactive, Partition::Cut));
    assert_eq!((target.recording.binds, target.replication), (Binds::Keep, false));
    assert_eq!(target.ttl, Ttl::from_secs(1200));
}

#[test]
fn addresses_of_both_kinds_work_everywhere() {
    let config = parsed(
        "[gateway]\nhost = \"gate.example.com\"\n\
         [postgres]\nlisten = [\"0.0.0.0:5432\", \"[::]:5432\"]\n\
         [api]\nlisten = \"[::1]:7080\"\ntls = \"off\"\n\
         [metrics]\nlisten = \"[::1]:9187\"\n\
         [targets.six]\naddress = \"[2001:db8::7]:6432\"\ndatabases = [\"shop\"]\n\
         logins.app.certificate = true\n",
    );
    assert_eq!(config.gateway.public_url.as_str(), "http://[::1]:7080/");
    assert_eq!(config.postgres.listen.len(), 2);
    let target = &config.targets[&TargetName::new("six").unwrap()];
    assert_eq!((target.host.as_str(), target.port), ("2001:db8::7", 6432));
}

#[test]
fn paths_are_read_from_the_folder_of_the_file() {
    let text = format!(
        "{LEAST}state = \"state\"\n[postgres]\ncertificate = \"a.pem\"\nkey = \"/k/a.key\"\n"
    );
    let config = Config::parse(&text, Path::new("/etc/postern/postern.toml")).unwrap();
    assert_eq!(config.gateway.recordings, Path::new("/etc/postern/state/recordings"));
    assert_eq!(config.policies.value, Path::new("/etc/postern/policies"));
    let identity = config.postgres.identity.unwrap();
    assert_eq!(identity.certificate.value, Path::new("/etc/postern/a.pem"));
    assert_eq!(identity.key.value, Path::new("/k/a.key"));
}

#[rstest]
#[case::nothing("", &["1:1: `host` is missing in [gateway]"])]
#[case::unknown_section(
    "[gateway]\nhost = \"gate.example.com\"\n[taregts.orders]\n[metric]\n",
    &["3:2: unknown key `taregts` at the top", "4:2: unknown key `metric` at the top"]
)]
#[case::several_sections_at_once(
    "[gateway]\nhost = \"Gate.example.com\"\n\n[limits]\nconnections = 0\nhandshake = \"soon\"\n\
     hold = 10\n\n[people.alice]\ngroups = \"dba\"\nadmn = true\n",
    &[
        "2:8: `Gate.example.com` is not the gateway's host name",
        "5:15: a whole number from 1 to 10000000 is wanted",
        "6:13: `soon` is not a span of time: write it as `90s`, `15m`, `1h30m` or `2d`, of at \
         most 366 days",
        "7:8: this is an integer, but a span of time such as `15m` in quotes is wanted",
        "10:10: this is a string, but a list in [ ] is wanted",
        "11:1: unknown key `admn` in [people.alice]",
    ]
)]
#[case::a_target_with_nothing(
    "[gateway]\nhost = \"gate.example.com\"\n[targets.orders]\n",
    &[
        "3:10: `address` is missing in [targets.orders]",
        "3:10: `databases` is missing in [targets.orders]",
        "3:10: there are no logins in [targets.orders]",
    ]
)]
#[case::a_target_with_everything_wrong(
    "[gateway]\nhost = \"gate.example.com\"\n[targets.orders]\nkind = \"mysql\"\n\
     address = \"db.internal:0\"\nadress = \"db.internal\"\ndatabases = []\nhold = \"allways\"\n\
     environment = \"Prod\"\nlabels = { team = 1 }\nreplication = \"yes\"\ntls = \"require\"\n\
     [targets.orders.logins.app_rw]\npassword = \"hunter2\"\n\
     [targets.orders.logins.app_ro]\npassword_file = \"a\"\npassword_env = \"A\"\n",
    &[
        "4:8: `mysql` is none of `postgres`",
        "5:11: `db.internal:0` is not a host and a port",
        "6:1: unknown key `adress` in [targets.orders]",
        "7:13: a target has at least one database",
        "8:8: `allways` is none of `interactive`, `always`, `never`: did you mean `always`?",
        "9:15: environment \"Prod\" is not valid: 1 to 63 of a-z, 0-9 and -, beginning and \
         ending with a letter or digit",
        "10:19: this is an integer, but a text in quotes is wanted",
        "11:15: this is a string, but `true` or `false` is wanted",
        "12:7: `require` is none of `verify-full`, `verify-ca`, `insecure-no-verify`, `off`",
        "14:1: unknown key `password` in [targets.orders.logins.app_rw]",
        "15:24: several credentials are named in [targets.orders.logins.app_ro]",
    ]
)]
#[case::names_that_are_none(
    "[gateway]\nhost = \"gate.example.com\"\n[people.\" alice\"]\n[targets.Orders]\n",
    &[
        "3:9: in people: principal \" alice\" is not valid: control characters and surrounding \
         spaces are not allowed",
        "4:10: in targets: target \"Orders\" is not valid: 1 to 63 of a-z, 0-9 and -, beginning \
         and ending with a letter or digit",
    ]
)]
#[case::listeners_that_collide(
    "[gateway]\nhost = \"gate.example.com\"\n[postgres]\n\
     listen = [\"127.0.0.1:5432\", \"0.0.0.0:5432\"]\n[api]\nlisten = \"127.0.0.1:5432\"\n",
    &[
        "4:30: 0.0.0.0:5432 is taken already by 127.0.0.1:5432",
        "6:10: 127.0.0.1:5432 is taken already by 127.0.0.1:5432",
    ]
)]
#[case::sign_ins_in_the_clear(
    "[gateway]\nhost = \"gate.example.com\"\npublic_url = \"http://gate.example.com\"\n\
     [api]\nlisten = \"0.0.0.0:7080\"\ntls = \"off\"\n",
    &[
        "3:14: `http://gate.example.com` can't be used: `http` would show sign-ins to the \
         network: `https` is wanted",
        "6:7: `off` would show sign-ins to everybody on the way to 0.0.0.0:7080",
    ]
)]
#[case::halves_of_a_pair(
    "[gateway]\nhost = \"gate.example.com\"\n[postgres]\nkey = \"a\"\nlisten = []\n\
     [api]\ntls = { certificate = \"a\" }\n[login]\ntoken = \"2h\"\ntoken_max = \"1h\"\n\
     [log]\nfilter = \"a=b=c\"\n",
    &[
        "4:7: `key` needs its `certificate`",
        "5:10: there is nowhere to listen",
        "7:23: `certificate` needs its `key`",
        "10:13: `token_max` is shorter than `token`, 2h",
        "12:10: this filter can't be read: invalid filter directive",
    ]
)]
#[case::tls_that_contradicts_itself(
    "[gateway]\nhost = \"gate.example.com\"\n[targets.a]\naddress = \"a\"\ndatabases = [\"a\"]\n\
     logins.a.certificate = true\ntls = \"off\"\n[targets.b]\naddress = \"b\"\n\
     databases = [\"b\", \"b\"]\nlogins.b.certificate = false\n\
     tls = { mode = \"insecure-no-verify\", roots = \"ca.pem\", name = \"b\", sni = 1 }\n",
    &[
        "7:7: a login with a certificate needs TLS",
        "10:19: database `b` stands here twice",
        "11:24: `false` leaves the login without a credential",
        "12:45: `insecure-no-verify` doesn't look at this",
        "12:62: `insecure-no-verify` doesn't look at this",
        "12:67: unknown key `sni` in [targets.b.tls]",
    ]
)]
fn every_fault_is_told_with_its_place(#[case] text: &str, #[case] expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|line| format!("postern.toml:{line}")).collect();
    assert_eq!(told(&parse(text).unwrap_err()), expected);
}

#[test]
fn a_fault_shows_the_line_and_what_to_do() {
    let text = format!("{LEAST}[targets.orders]\n  adress = \"db.internal\"\n");
    let faults = parse(&text).unwrap_err().to_string();
    let expected = "postern.toml:4:3: unknown key `adress` in [targets.orders]\n\
                    \x20 4 |   adress = \"db.internal\"\n\
                    \x20   |   ^^^^^^\n\
                    \x20 to mend it: did you mean `address`?";
    assert!(faults.contains(expected), "{faults}");
}

#[test]
fn a_password_in_the_file_is_refused_and_not_repeated() {
    let text = TARGET.replace("certificate = true", "password = \"hunter2\"");
    let faults = parse(&format!("{LEAST}{text}")).unwrap_err().to_string();
    assert!(faults.contains("name that with `password_file`"), "{faults}");
    let broken = parse("password = hunter2\n").unwrap_err().to_string();
    assert!(!faults.contains("hunter2") && !broken.contains("hunter2"), "{faults}\n{broken}");
}

#[test]
fn broken_syntax_is_told_with_all_its_places() {
    let text = "[gateway]\nhost = gate\n[api\nlisten = 1\nlisten = 2\n";
    let faults = parse(text).unwrap_err();
    let lines: Vec<String> = told(&faults);
    assert!(lines.len() >= 2, "{lines:?}");
    assert!(lines[0].starts_with("postern.toml:2:8: "), "{lines:?}");
    assert!(lines[1].starts_with("postern.toml:3:"), "{lines:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    let faults = Config::load(&missing).unwrap_err();
    assert!(faults.to_string().contains("none.toml: cannot be read"), "{faults}");
    assert!(Config::load(folder.path()).is_err());
    fs::write(&missing, [0xff, 0xfe]).unwrap();
    assert!(Config::load(&missing).is_err());
}

#[test]
fn what_a_reload_does_not_change_is_told() {
    let old = parsed(&format!("{LEAST}{TARGET}"));
    let moved = format!("\n# a comment moves every line\n{LEAST}{TARGET}[people.alice]\n");
    assert!(old.needs_restart(&parsed(&moved)).is_empty());
    let other = format!("{LEAST}[limits]\nhold = \"1m\"\n[api]\nlisten = \"127.0.0.1:1\"\n[grants]\ndefault = \"2h\"\n");
    assert_eq!(old.needs_restart(&parsed(&other)), ["gateway", "api", "limits"]);
}

proptest! {
    #[test]
    fn no_text_is_too_odd_to_be_answered(text in any::<String>()) {
        let _ = parse(&text).map_err(|faults| faults.to_string());
    }

    #[test]
    fn no_shuffled_configuration_is_too_odd_to_be_answered(
        lines in proptest::collection::vec(prop_oneof![
            "\\[[a-z]{0,4}(gateway|api|people|targets|login|targets\\.a\\.logins)(\\.[a-zü\"]{0,3})?\\]",
            "(host|listen|tls|address|labels|groups|key|logins|ttl) = [\\[{\"0-9a-zü:. ,=}\\]\"\t\r]{0,20}",
            "(host|listen|tls|address|databases|key) = \"[ -~ü\u{1f980}]{0,20}\"",
        ], 0..20)
    ) {
        let _ = parse(&lines.join("\n")).map_err(|faults| faults.to_string());
    }

    #[test]
    fn a_place_is_always_within_the_text(text in "(\\[a\\]\n|ü = 1\n|[a-z=\" ]{0,6}\n){0,8}") {
        if let Err(faults) = parse(&text) {
            for spot in faults.all().iter().filter_map(|fault| fault.site.spot.as_ref()) {
                prop_assert!(spot.line <= text.matches('\n').count() + 1);
                let line = text.split('\n').nth(spot.line - 1).unwrap_or_default();
                prop_assert!(spot.column <= line.chars().count() + 1, "{spot:?} in {text:?}");
            }
        }
    }
}

/// A folder with a configuration and what it names.
struct Set {
    folder: tempfile::TempDir,
}

impl Set {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("policies")).unwrap();
        let set = Self { folder };
        set.write("postern.toml", text);
        set.write("policies/access.cedar", "permit (principal, action, resource);\n");
        set
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        self.allow(name, 0o600);
    }

    fn allow(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn config(&self) -> Config {
        Config::load(&self.path("postern.toml")).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn inventory(&self, environment: &[(&str, &str)]) -> Result<control::Inventory, Faults> {
        let pairs = environment.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.config().inventory_in(&pairs.collect::<Environment>())
    }

    fn refusal(&self) -> String {
        self.inventory(&[]).unwrap_err().to_string()
    }
}

/// One target with a login from this source, and further lines about the target.
fn with_login(source: &str, about: &str) -> String {
    let login = TARGET.replace("certificate = true", source);
    let target = login.replace("[\"shop\"]\n", &format!("[\"shop\"]\n{about}\n"));
    format!("{LEAST}{target}")
}

fn password(inventory: &control::Inventory) -> Option<String> {
    let (target, login) = (TargetName::new("orders").unwrap(), Login::new("app_rw").unwrap());
    let secret = inventory.secrets.get(&target, &login)?;
    Some(secret.expose_secret().to_owned())
}

#[rstest]
#[case::unix("s3cret\n", "s3cret")]
#[case::windows("s3cret\r\n", "s3cret")]
#[case::bare(" s3 cret ", " s3 cret ")]
fn a_password_is_the_one_line_of_its_file(#[case] content: &str, #[case] expected: &str) {
    let set = Set::new(&with_login("password_file = \"app_rw\"", ""));
    set.write("app_rw", content);
    let inventory = set.inventory(&[]).unwrap();
    assert_eq!(password(&inventory).as_deref(), Some(expected));
    assert!(!format!("{inventory:?}").contains("cret"));
}

#[test]
fn a_password_comes_from_the_environment() {
    let set = Set::new(&with_login("password_env = \"APP_RW\"", ""));
    let inventory = set.inventory(&[("APP_RW", "s3cret")]).unwrap();
    assert_eq!(password(&inventory).as_deref(), Some("s3cret"));
    assert!(set.refusal().contains("environment variable `APP_RW` is not set"));
}

#[rstest]
#[case::empty("", "is empty")]
#[case::only_a_line_break("\n", "is empty")]
#[case::two_lines("one\ntwo\n", "holds more than one line")]
#[case::a_nul("a\0b", "holds more than one line")]
fn a_file_that_holds_no_password_is_a_fault(#[case] content: &str, #[case] why: &str) {
    let set = Set::new(&with_login("password_file = \"app_rw\"", ""));
    set.write("app_rw", content);
    let refusal = set.refusal();
    assert!(refusal.contains(why) && refusal.contains(":6:17: "), "{refusal}");
}

#[rstest]
#[case::group(0o640)]
#[case::world(0o604)]
fn a_secret_that_others_may_read_is_a_fault_with_its_remedy(#[case] mode: u32) {
    let set = Set::new(&with_login("password_file = \"app_rw\"", ""));
    set.write("app_rw", "s3cret");
    set.allow("app_rw", mode);
    let refusal = set.refusal();
    let remedy = format!("chmod 600 {}", set.path("app_rw").display());
    assert!(refusal.contains(&remedy) && !refusal.contains("s3cret"), "{refusal}");
}

#[test]
fn a_credential_that_systemd_hands_over_may_have_an_access_control_list() {
    let set = Set::new(&with_login("password_file = \"app_rw\"", ""));
    set.write("app_rw", "s3cret");
    set.allow("app_rw", 0o440);
    let folder = set.folder.path().to_str().unwrap();
    let inventory = set.inventory(&[("CREDENTIALS_DIRECTORY", folder)]).unwrap();
    assert_eq!(password(&inventory).as_deref(), Some("s3cret"));
}

#[test]
fn trusted_roots_are_read_or_refused() {
    let set = Set::new(&with_login("certificate = true", "tls = { roots = \"ca.pem\" }"));
    assert!(set.refusal().contains("cannot read"));
    set.write("ca.pem", "no certificate\n");
    assert!(set.refusal().contains("holds no usable certificate"));
    let authority = certs::Authority::generate("CA", 1_800_000_000_000).unwrap();
    set.write("ca.pem", authority.ca_pem());
    let inventory = set.inventory(&[]).unwrap();
    let target = &inventory.targets[&TargetName::new("orders").unwrap()];
    let expected = UpstreamTls::VerifyFull {
        roots: Some(authority.ca_pem().into()),
        name: None,
    };
    assert_eq!(target.tls, expected);
    assert_eq!(target.logins[&Login::new("app_rw").unwrap()], Credential::Certificate);
}

#[test]
fn one_fault_anywhere_and_nothing_is_taken() {
    let set = Set::new(&with_login("password_file = \"app_rw\"", "tls = { roots = \"ca.pem\" }"));
    set.write("policies/more.cedar", "permit (principal, action, resource);\nforbid (principal\n");
    set.write("policies/notes.txt", "no policy\n");
    let refusal = set.refusal();
    for expected in ["app_rw", "ca.pem", "more.cedar:"] {
        assert!(refusal.contains(expected), "{expected} in {refusal}");
    }
    let checked = postern::config::check(&set.path("postern.toml"));
    assert_eq!(checked.unwrap_err().all().len(), 3);
}

#[test]
fn a_policy_fault_shows_file_line_and_column() {
    let set = Set::new(LEAST);
    let text = "permit (principal, action, resource);\n@aprovals(\"1 of dba\")\nforbid (principal, action, resource);\n";
    set.write("policies/access.cedar", text);
    let faults = set.inventory(&[]).unwrap_err();
    let fault = &faults.all()[0];
    let spot = fault.site.spot.as_ref().unwrap();
    assert!(fault.site.file.ends_with("policies/access.cedar") && spot.line >= 2, "{fault}");
    assert!(fault.message.contains("@aprovals"), "{fault}");
}

#[test]
fn a_missing_policy_folder_is_a_fault_and_an_empty_one_denies_all() {
    let set = Set::new(LEAST);
    fs::remove_file(set.path("policies/access.cedar")).unwrap();
    assert!(set.inventory(&[]).unwrap().rules.is_empty());
    fs::remove_dir(set.path("policies")).unwrap();
    assert!(set.refusal().contains("cannot read"));
}

#[test]
fn a_quorum_that_nobody_can_give_is_a_warning() {
    let people = "[people.bob]\ngroups = [\"dba\"]\n[people.carol]\ngroups = [\"dba\"]\ndisabled = true\n";
    let set = Set::new(&format!("{LEAST}{people}"));
    let rule = "@id(\"four-eyes\") @approvals(\"2 of dba, 1 of leads\")\nforbid (principal, action, resource);\n";
    set.write("policies/access.cedar", rule);
    let inventory = set.inventory(&[]).unwrap();
    assert_eq!(
        set.config().warnings(&inventory),
        [
            "rule `four-eyes` wants 2 of dba, but only 1 can sign in from group `dba`",
            "rule `four-eyes` wants 1 of leads, but only 0 can sign in from group `leads`",
        ]
    );
}

#[test]
fn a_listener_certificate_is_read_or_refused() {
    let set = Set::new(&format!("{LEAST}[postgres]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n"));
    let refusal = || set.config().identities().unwrap_err().to_string();
    assert!(refusal().contains(":4:15: cannot read"), "{}", refusal());
    let now = 1_800_000_000_000;
    let authority = certs::Authority::generate("CA", now).unwrap();
    let issue = || {
        let span = std::time::Duration::from_secs(60);
        authority.issue_server(&["gate.example.com"], span, now).unwrap()
    };
    let (one, other) = (issue(), issue());
    set.write("a.pem", &one.certificate.pem);
    set.write("a.key", other.key_pem.expose_secret());
    assert!(refusal().contains(":5:7: the certificate and its private key"), "{}", refusal());
    set.write("a.key", one.key_pem.expose_secret());
    assert!(set.config().identities().unwrap().postgres.is_some());
    set.allow("a.key", 0o644);
    assert!(refusal().contains("chmod 600"), "{}", refusal());
}

fn deploy(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    fs::read_to_string(path).unwrap()
}

/// The reference, with secrets where they can be read.
fn reference() -> Set {
    let set = Set::new("");
    let secrets = "/run/credentials/postern.service";
    let here = set.folder.path().to_str().unwrap();
    assert!(deploy("postern.toml").contains(secrets));
    set.write("postern.toml", &deploy("postern.toml").replace(secrets, here));
    set.write("policies/access.cedar", &deploy("policies/access.cedar"));
    set.write("secrets_orders_app_ro", "one\n");
    set.write("secrets_orders_app_rw", "two\n");
    set
}

#[test]
fn the_reference_configuration_loads_without_a_warning() {
    let set = reference();
    let inventory = set.inventory(&[("ORDERS_STAGING_APP_RW", "three")]).unwrap();
    assert_eq!(set.config().warnings(&inventory), Vec::<String>::new());
    assert_eq!((inventory.people.len(), inventory.targets.len()), (4, 2));
    assert_eq!(password(&inventory).as_deref(), Some("two"));
}

/// What is commented out is what holds without it, except where it shows another choice.
#[test]
fn the_reference_configuration_shows_the_true_defaults() {
    let text = deploy("postern.toml");
    let others = ["certificate", "key", "tls", "disabled"];
    let shown = text.lines().map(|line| {
        let setting = line.strip_prefix("# ").filter(|rest| {
            let key = rest.split(" = ").next().unwrap_or_default();
            let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let is_span = *rest != "certificate = \"12h\"";
            rest.contains(" = ") && is_key && !(others.contains(&key) && is_span)
        });
        setting.unwrap_or(line)
    });
    let shown = shown.collect::<Vec<_>>().join("\n");
    assert!(shown.lines().count() > 100 && shown.contains("\nconnections = 20000\n"));
    let at = Path::new("/etc/postern/postern.toml");
    let (given, spelt) = (Config::parse(&text, at), Config::parse(&shown, at));
    let spelt = spelt.unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(given.unwrap(), spelt);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    says: String,
    groups: Vec<GroupName>,
    login: String,
    environment: String,
    database: Option<String>,
    source: Option<IpAddr>,
    #[serde(default)]
    allow: bool,
    #[serde(default)]
    approvals: Vec<String>,
    limit: Option<Ttl>,
    deny: Option<String>,
}

#[test]
fn the_first_policy_does_what_its_cases_say() {
    let (name, text) = ("access.cedar".to_owned(), deploy("policies/access.cedar"));
    let book = RuleBook::load(&[Source { name, text }]).unwrap();
    let cases: Cases = toml::from_str(&deploy("policies/cases.toml")).unwrap();
    assert!(cases.case.len() >= 10);
    for case in &cases.case {
        let said = decide(&book, case);
        let expected = match &case.deny {
            Some(reason) => format!("deny: {reason}"),
            None => format!("allow: {:?} {:?}", case.approvals, case.limit),
        };
        assert_eq!(said, expected, "{}", case.says);
        let free = case.deny.is_none() && case.approvals.is_empty();
        assert_eq!(case.allow, free, "`allow` of: {}", case.says);
    }
}

fn decide(book: &RuleBook, case: &Case) -> String {
    let principal = Principal {
        id: PrincipalId::new("alice").unwrap(),
        name: "Alice".into(),
        groups: case.groups.iter().cloned().collect(),
    };
    let database = case.database.as_deref().unwrap_or("shop");
    let target = target(&case.environment, &case.login, database);
    let resource = target.resolve(&case.login.parse().unwrap(), None).unwrap();
    let facts = Facts {
        now: Timestamp::from_millis(1_800_000_000_000),
        source: case.source,
    };
    match book.decide(&principal, &target, &resource, &facts) {
        Decision::Deny(refusal) => format!("deny: {refusal}"),
        Decision::Allow(terms) => {
            let approvals = terms.approvals.iter().map(ToString::to_string);
            format!("allow: {:?} {:?}", approvals.collect::<Vec<_>>(), terms.limit)
        }
    }
}

fn target(environment: &str, login: &str, database: &str) -> Target {
    Target {
        name: TargetName::new("orders").unwrap(),
        kind: policies::Kind::Postgres,
        host: "db.internal".into(),
        port: 5432,
        tls: UpstreamTls::VerifyFull {
            roots: None,
            name: None,
        },
        environment: Some(environment.parse().unwrap()),
        labels: BTreeMap::new(),
        databases: vec![database.parse().unwrap()],
        logins: BTreeMap::from([(login.parse().unwrap(), Credential::Password)]),
        hold: Hold::Interactive,
        partition: Partition::Cut,
        recording: policies::Recording { binds: Binds::Keep },
        default_ttl: Ttl::from_secs(3600),
        replication: false,
    }
}
