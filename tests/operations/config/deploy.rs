//! The files of `deploy/`: the reference loads, and shows the defaults.

use super::*;

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
    set.write("secrets_notify_ops", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    set.write("secrets_notify_slack", "https://hooks.slack.com/services/T0/B0/example\n");
    set
}

#[test]
fn the_reference_configuration_loads_without_a_warning() {
    let set = reference();
    let inventory = set.inventory(&[("ORDERS_STAGING_APP_RW", "three")]).unwrap();
    assert_eq!(set.config().warnings(&inventory), Vec::<String>::new());
    let counts = (inventory.people.len(), inventory.workloads.len(), inventory.targets.len());
    assert_eq!(counts, (5, 1, 2), "a workload is a principal like a person");
    assert_eq!(password(&inventory).as_deref(), Some("two"));
}

/// What is commented out is what holds without it, except where it shows another choice.
#[test]
fn the_reference_configuration_shows_the_true_defaults() {
    let text = deploy("postern.toml");
    let others = [
        "certificate",
        "key",
        "tls",
        "disabled",
        "client_secret_file",
        "client_secret_env",
        "ca",
        "bearer_audience",
        "bearer_scope",
        "groups",
        "admins",
        "auditors",
        "oidc",
        "attestation_roots",
        "escalate_to",
        "ticket_secret_file",
        "same_as",
        "bearer_file",
        "roots",
        "templates",
        "user",
        "password_file",
    ];
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
