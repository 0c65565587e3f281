//! What a `postern.toml` names: policies, secrets, trusted roots and certificates.

use super::*;

#[rstest]
#[case::unix("hunter2\n", "hunter2")]
#[case::windows("hunter2\r\n", "hunter2")]
#[case::bare(" hunter 2 ", " hunter 2 ")]
fn a_password_is_the_one_line_of_its_file(#[case] content: &str, #[case] expected: &str) {
    let set = Set::new(&with_login("password_file = \"app_rw\"", ""));
    set.write("app_rw", content);
    let inventory = set.inventory(&[]).unwrap();
    assert_eq!(password(&inventory).as_deref(), Some(expected));
    assert!(!format!("{inventory:?}").contains("hunter"));
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
    assert!(refusal.contains(why) && refusal.contains(":8:17: "), "{refusal}");
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
    let expected = UpstreamTls::VerifyFull { roots: Some(authority.ca_pem().into()), name: None };
    assert_eq!(target.tls, expected);
    assert_eq!(target.logins[&Login::new("app_rw").unwrap()], Credential::Certificate);
}

#[test]
fn an_issuer_has_an_authority_of_its_own_and_access_tokens_where_that_is_written_down() {
    let set = Set::new(&format!(
        "{LEAST}[issuers.corp]\nurl = \"https://login.example.com\"\nclient_id = \"postern\"\n\
         ca = \"root.pem\"\nbearer_audience = \"https://gate.example.com\"\n"
    ));
    assert!(set.refusal().contains("root.pem"));
    set.write("root.pem", "no certificate\n");
    assert!(set.refusal().contains("holds no usable certificate"));
    let authority = certs::Authority::generate("CA", 1_800_000_000_000).unwrap();
    set.write("root.pem", authority.ca_pem());
    let inventory = set.inventory(&[]).unwrap();
    let corp = IssuerName::new("corp").unwrap();
    assert_eq!(inventory.issuers[&corp].ca.as_deref(), Some(authority.ca_pem()));
    let bearer = &inventory.bearers[&corp];
    assert_eq!(bearer.issuer.as_str(), "https://login.example.com");
    assert_eq!((&*bearer.audience, &*bearer.scope), ("https://gate.example.com", "openid"));
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

/// Rules of four eyes, for a configuration with this in it.
fn four_eyes(more: &str) -> Set {
    let people =
        "[people.bob]\ngroups = [\"dba\"]\n[people.carol]\ngroups = [\"dba\"]\ndisabled = true\n";
    let set = Set::new(&format!("{LEAST}{people}{more}"));
    let rule = "\n@id(\"four-eyes\") @approvals(\"2 of dba, 1 of leads\")\nforbid (principal, action, resource);\n";
    set.write("policies/access.cedar", rule);
    set
}

#[test]
fn a_quorum_that_nobody_can_ever_give_is_refused_where_it_stands() {
    let refusal = four_eyes("").refusal();
    for expected in [
        "access.cedar:2:1: `four-eyes` wants 2 of dba, but only one who could approve is in group `dba`",
        "access.cedar:2:1: `four-eyes` wants 1 of leads, but nobody who could approve is in group `leads`",
        "ask fewer of them",
    ] {
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
    let twice = "[people.erin]\ngroups = [\"dba\", \"leads\"]\n[people.dave]\ngroups = [\"dba\"]\n";
    assert!(four_eyes(twice).inventory(&[]).is_ok(), "erin leads, bob and dave are two more");
    let few = "[people.erin]\ngroups = [\"dba\", \"leads\"]\n";
    let refusal = four_eyes(few).refusal();
    assert!(refusal.contains("not enough distinct people"), "{refusal}");
    let escalated =
        format!("{few}[people.dave]\ngroups = [\"ops\"]\n[workflow.escalate_to]\ndba = \"ops\"\n");
    assert!(four_eyes(&escalated).inventory(&[]).is_ok(), "dave may stand in for one of dba");
}

#[test]
fn a_host_to_which_nobody_gets_is_a_warning() {
    let host = "[targets.web-1]\nkind = \"ssh\"\naddress = \"web-1.internal:22\"\n\
        host_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\"]\n\
        logins.deploy.certificate = true\n";
    for (more, warned) in [("", true), ("[ssh]\nlisten = \"127.0.0.1:2222\"\n", false)] {
        let set = Set::new(&format!("{LEAST}{more}{host}"));
        let warnings = set.config().warnings(&set.inventory(&[]).unwrap()).join("\n");
        assert_eq!(warnings.contains("write a section [ssh]"), warned, "{warnings}");
    }
}

#[test]
fn whom_only_an_issuer_knows_is_a_warning() {
    let issuer = |more: &str| {
        format!("[issuers.corp]\nurl = \"https://id.example.com\"\nclient_id = \"gate\"\n{more}")
    };
    let set = four_eyes(&issuer(""));
    let inventory = set.inventory(&[]).unwrap();
    let known = "who else there is, only an issuer knows";
    assert_eq!(
        set.config().warnings(&inventory),
        [
            format!(
                "rule `four-eyes` wants 2 of dba, and the configuration has 1 of them: {known}"
            ),
            format!(
                "rule `four-eyes` wants 1 of leads, and the configuration has 0 of them: {known}"
            ),
        ]
    );
    let mapped = four_eyes(&issuer("groups = { admins = \"dba\" }\n")).refusal();
    assert!(!mapped.contains("wants 2 of dba"), "the issuer may bring some: {mapped}");
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
