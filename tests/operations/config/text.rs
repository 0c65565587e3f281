//! The text of a `postern.toml`: its defaults, and every fault in its place.

use std::path::Path;

use super::*;

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
        config.sign_in.absolute,
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
        "6:13: `soon` is not a duration: write it as `90s`, `15m`, `1h30m` or `2d`, of at \
         most 366 days",
        "7:8: this is an integer, but a duration such as `15m` in quotes is wanted",
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
        "4:8: `mysql` is none of `postgres`, `ssh`",
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
#[case::access_tokens_that_nobody_could_tell_from_others(
    "[gateway]\nhost = \"gate.example.com\"\n[issuers.corp]\nurl = \"https://login.example.com\"\n\
     client_id = \"postern\"\nbearer_audience = \"postern\"\ngroups = {}\n[issuers.lab]\n\
     url = \"https://login.example.com\"\nclient_id = \"x\"\nbearer_scope = \"y\"\ngroups = {}\n",
    &[
        "6:19: `bearer_audience` is the `client_id`, so that id tokens would pass for access tokens",
        "9:7: [issuers.corp] has this address already",
        "11:16: `bearer_scope` counts for nothing without `bearer_audience`",
    ]
)]
#[case::issuers_that_nobody_could_trust(
    "[gateway]\nhost = \"gate.example.com\"\n[issuers.corp]\nurl = \"http://login.example.com\"\n\
     client_id = \"postern\"\nclient_secret = \"x\"\n[issuers.lab]\n\
     url = \"https://lab.example.com\"\nclient_id = \"postern\"\ngroups = {}\n\
     [people.\"lab:1\"]\n[people.bob]\noidc = { issuer = \"none\", subject = \"1\" }\n",
    &[
        "3:10: there are several issuers, so that `groups` is wanted in [issuers.corp]",
        "4:7: `http://login.example.com` is no issuer's address: it has to be `https`, or `http` \
         on loopback",
        "6:1: unknown key `client_secret` in [issuers.corp]",
        "11:9: `lab:1` is how the issuer's people are called",
        "13:8: there is no [issuers.none]",
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
        "4:29: 0.0.0.0:5432 is taken already by 127.0.0.1:5432",
        "6:10: 127.0.0.1:5432 is another listener's already",
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
     [api]\ntls = { certificate = \"a\" }\n[sign_in]\ntoken = \"2h\"\ntoken_max = \"1h\"\n\
     [log]\nfilter = \"a=b=c\"\n",
    &[
        "4:7: `key` needs its `certificate`",
        "5:10: there is nowhere to listen",
        "7:23: `certificate` needs its `key`",
        "10:13: `token_max` is shorter than `token`, 2h",
        "12:10: `a=b=c` doesn't say which log lines are wanted",
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
        "12:46: `insecure-no-verify` doesn't look at this",
        "12:63: `insecure-no-verify` doesn't look at this",
        "12:68: unknown key `sni` in [targets.b.tls]",
    ]
)]
#[case::a_password_in_clear_to_whoever_answers(
    "[gateway]\nhost = \"gate.example.com\"\n[targets.a]\naddress = \"a\"\ndatabases = [\"a\"]\n\
     logins.a.password_env = \"A\"\ntls = \"off\"\nweak_auth = [\"md5\", \"cleartext\", \"scram\"]\n",
    &[
        "8:21: this sends the password to whoever answers",
        "8:34: `scram` is none of `cleartext`, `md5`, `sasl-plain`",
    ]
)]
fn every_fault_is_told_with_its_place(#[case] text: &str, #[case] expected: &[&str]) {
    let expected: Vec<String> =
        expected.iter().map(|line| format!("postern.toml:{line}")).collect();
    assert_eq!(messages(&parse(text).unwrap_err()), expected);
}

#[test]
fn a_fault_shows_the_line_and_what_to_do() {
    let text = format!("{LEAST}[targets.orders]\n  adress = \"db.internal\"\n");
    let faults = parse(&text).unwrap_err().to_string();
    let expected = "postern.toml:4:3: unknown key `adress` in [targets.orders]\n\
                    \x20 4 |   adress = \"db.internal\"\n\
                    \x20   |   ^^^^^^\n\
                    \x20 to fix it: did you mean `address`?";
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
    let lines: Vec<String> = messages(&faults);
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
fn what_a_reload_does_not_change_is_named() {
    let old = parsed(&format!("{LEAST}{TARGET}"));
    let moved = format!("\n# a comment moves every line\n{LEAST}{TARGET}[people.alice]\n");
    assert!(old.needs_restart(&parsed(&moved)).is_empty());
    let other = format!(
        "{LEAST}[limits]\nhold = \"1m\"\n[api]\nlisten = \"127.0.0.1:1\"\n[grants]\ndefault = \"2h\"\n"
    );
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

#[test]
fn a_key_is_one_persons() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    for (bobs, why) in
        [(key, "this is a key of `alice` already"), ("ssh-ed25519 AAAA", "no public key")]
    {
        let text = format!(
            "{LEAST}[people.alice]\nssh_keys = [\"{key} alice@laptop\"]\n\
             [people.bob]\nssh_keys = [\"{bobs}\"]\n"
        );
        let faults = messages(&parse(&text).unwrap_err());
        assert!(faults.iter().any(|fault| fault.contains(why)), "{faults:?}");
    }
}
