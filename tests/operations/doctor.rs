//! `postern doctor` finds what is wrong with a set-up, up to the sign-in at a real Postgres.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::issuer::{Provider, SECRET};
use crate::support::signer::Signer;
use certs::Authority;
use control::Clock;
use postern::doctor::{Finding, Level, examine};
use postern::throwaway::{Cluster, Options, free_port};

const GATEWAY: &str = "[gateway]\nhost = \"gate.example.com\"\nstate = \"state\"\n\
                       [postgres]\nlisten = \"127.0.0.1:0\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
                       [limits]\nconnections = 10\n\
                       [people.bob]\nadmin = true\n";

/// A set-up in which nothing is wrong, but for the targets that a test adds.
struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Clock::system().now().millis();
        let state = folder.path().join("state/authority");
        let authority = Authority::load_or_generate(&state, "CA", now).unwrap();
        let place = Self { folder, authority };
        fs::create_dir(place.path("policies")).unwrap();
        place.write("policies/access.cedar", "permit (principal, action, resource);\n");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    async fn examined(&self, text: &str) -> Vec<Finding> {
        self.write("postern.toml", text);
        examine(&self.path("postern.toml")).await
    }
}

#[track_caller]
fn found<'a>(findings: &'a [Finding], title: &str, level: Level) -> &'a Finding {
    let mut of_title = findings.iter().filter(|finding| finding.title == title);
    let finding = of_title.find(|finding| finding.level == level);
    let finding = finding.unwrap_or_else(|| panic!("no {level} about {title} in {findings:#?}"));
    assert_eq!(finding.remedy.is_some(), level != Level::Ok, "{finding:?}");
    finding
}

/// Text of a target at this port of this machine; every login is named by its source.
fn target(name: &str, port: u16, tls: &str, logins: &[(&str, &str)]) -> String {
    let logins = logins.iter();
    let logins = logins.map(|(login, source)| format!("logins.{login}.{source}\n"));
    format!(
        "[targets.{name}]\naddress = \"127.0.0.1:{port}\"\ndatabases = [\"postgres\"]\n\
         tls = {tls}\n{}",
        logins.collect::<String>()
    )
}

const LOGINS: [(&str, &str); 5] = [
    ("app", "password_file = \"right\""),
    ("nobody", "password_file = \"wrong\""),
    ("migrate", "certificate = true"),
    ("open", "password_file = \"right\""),
    ("old", "password_file = \"right\""),
];

/// A server that lets `LOGINS` in, each by another method, but for `nobody`.
fn cluster(place: &Place) -> Cluster {
    let hba = [
        "hostssl all migrate 127.0.0.1/32 cert",
        "hostssl all open 127.0.0.1/32 trust",
        "hostssl all old 127.0.0.1/32 password",
    ];
    let cluster = Cluster::start(Options {
        client_ca: Some(place.authority.ca_pem().to_owned()),
        hba: hba.map(str::to_owned).to_vec(),
        ..Options::default()
    })
    .unwrap();
    let roles = "create role app login password 'right'; create role migrate login; \
                 create role open login; create role old login password 'right'";
    cluster.psql(roles).unwrap();
    place.write("ca.pem", cluster.ca_pem());
    place.write("right", "right\n");
    place.write("wrong", "wrong\n");
    cluster
}

#[tokio::test]
async fn the_doctor_signs_in_as_each_login_and_says_what_keeps_one_out() {
    let place = Place::new();
    let cluster = cluster(&place);
    let text = target("orders", cluster.port(), "{ roots = \"ca.pem\" }", &LOGINS);
    let findings = place.examined(&[GATEWAY, &text].concat()).await;
    for title in ["configuration", "policies", "people", "authority", "clock", "target orders"] {
        found(&findings, title, Level::Ok);
    }
    found(&findings, "login app of target orders", Level::Ok);
    found(&findings, "login migrate of target orders", Level::Ok);
    found(&findings, "login open of target orders", Level::Warning);
    let refused = found(&findings, "login nobody of target orders", Level::Fault);
    assert!(refused.detail.contains("28P01"), "{refused:?}");
    let method = found(&findings, "login old of target orders", Level::Fault);
    assert!(method.detail.contains("clear text"), "{method:?}");
}

#[tokio::test]
async fn a_target_is_verified_as_it_says() {
    let place = Place::new();
    let cluster = cluster(&place);
    let app = LOGINS.get(..1).unwrap();
    let text = [
        GATEWAY,
        &target("unknown", cluster.port(), "\"verify-full\"", app),
        &target("unverified", cluster.port(), "\"insecure-no-verify\"", app),
        &target("plain", cluster.port(), "\"off\"", app),
    ];
    let findings = place.examined(&text.concat()).await;
    let tls = found(&findings, "target unknown", Level::Fault);
    assert!(tls.detail.contains("TLS failed"), "{tls:?}");
    found(&findings, "target unverified", Level::Warning);
    found(&findings, "login app of target unverified", Level::Ok);
    let plain = found(&findings, "login app of target plain", Level::Fault);
    assert!(plain.detail.contains("28000"), "{plain:?}");
}

#[tokio::test]
async fn a_target_that_is_not_there_or_not_postgres_is_a_fault() {
    let place = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let gone = free_port().unwrap();
    let login = [("app", "certificate = true")];
    let text = [
        GATEWAY,
        &target("silent", port(&silent), "\"verify-full\"", &login),
        &target("gone", gone, "\"verify-full\"", &login),
        &target("nowhere", 5432, "\"verify-full\"", &login).replace("127.0.0.1", "nowhere.invalid"),
    ]
    .concat();
    let findings = place.examined(&text).await;
    let silent = found(&findings, "target silent", Level::Fault);
    assert!(silent.detail.contains("no answer within 2s"), "{silent:?}");
    let gone = found(&findings, "target gone", Level::Fault);
    assert!(gone.detail.contains("doesn't answer"), "{gone:?}");
    let nowhere = found(&findings, "target nowhere", Level::Fault);
    assert!(nowhere.detail.contains("can't be looked up"), "{nowhere:?}");
}

#[tokio::test]
async fn every_fault_of_a_configuration_is_a_finding() {
    let findings = Place::new().examined("[gateway]\nhost = 1\n[limits]\nhold = 1\n").await;
    let levels: Vec<Level> = findings.iter().map(|finding| finding.level).collect();
    assert_eq!(levels, [Level::Fault, Level::Fault], "{findings:?}");
}

#[tokio::test]
async fn what_keeps_the_gateway_from_starting_is_found() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = place.path("state/authority/ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    let metrics = format!("[metrics]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    let text = [GATEWAY, &metrics].concat().replace("connections = 10", "connections = 10000000");
    let findings = place.examined(&text).await;
    found(&findings, "state folder", Level::Fault);
    found(&findings, "listener of [metrics]", Level::Warning);
    found(&findings, "listener of [postgres]", Level::Ok);
    found(&findings, "file descriptors", Level::Warning);
    found(&findings, "targets", Level::Warning);
    let key = found(&findings, "authority", Level::Fault);
    assert!(key.detail.contains("chmod 600"), "{key:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_is_asked_as_a_sign_in_would() {
    let place = Place::new();
    let now = Clock::system().now().millis();
    let root = Authority::generate("Example Root", now).unwrap();
    place.write("root.pem", root.ca_pem());
    place.write("issuer-secret", SECRET);
    let provider = Provider::behind(&root, place.folder.path()).await;
    let corp = |more: &str| [GATEWAY, &provider.section("corp", more)].concat();
    let findings = place.examined(&corp("")).await;
    let fault = found(&findings, "issuer corp", Level::Fault);
    assert!(fault.detail.contains("certificate"), "{fault:?}");
    assert!(fault.remedy.as_ref().unwrap().contains("`ca`"), "{fault:?}");
    let findings = place.examined(&corp("ca = \"root.pem\"\nuserinfo = true")).await;
    let good = found(&findings, "issuer corp", Level::Ok);
    assert!(good.detail.contains("/oidc/corp/callback"), "{good:?}");
    let of_corp = findings.iter().filter(|finding| finding.title == "issuer corp");
    assert_eq!(of_corp.count(), 1, "nothing to be doubted: {findings:#?}");
    found(&findings, "people", Level::Ok);
}

#[tokio::test]
async fn an_issuer_that_is_weak_or_calls_itself_otherwise_is_found() {
    let place = Place::new();
    let signer = Signer::start().await;
    let section = |url: &str| {
        format!("{GATEWAY}[issuers.corp]\nurl = \"{url}\"\nclient_id = \"x\"\nuserinfo = true\n")
    };
    let findings = place.examined(&section(&signer.url)).await;
    found(&findings, "issuer corp", Level::Ok);
    let doubts = findings.iter().filter(|finding| finding.level == Level::Warning);
    let doubts: Vec<&str> = doubts.map(|finding| finding.detail.as_str()).collect();
    for doubt in ["endpoints for people", "PKCE", "RFC 9207", "logouts", "no userinfo endpoint"] {
        assert!(doubts.iter().any(|found| found.contains(doubt)), "{doubt}: {doubts:#?}");
    }
    let findings = place.examined(&section(&format!("{}/", signer.url))).await;
    let fault = found(&findings, "issuer corp", Level::Fault);
    assert!(fault.detail.contains("calls itself"), "{fault:?}");
}
