//! The tools for people who write rules, by the real program: checked, tested, explained, compared and
//! asked again, with the exit codes that scripts go by. No gateway runs.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const RULES: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database);

@id("four-eyes")
@description("production takes a DBA")
@approvals("1 of dba")
@limit("1h")
forbid (principal, action == Action::"connect", resource in Env::"prod")
when { context.login == "app_rw" };
"#;

const CONFIG: &str = r#"
[gateway]
host = "gate.example.com"
[people.alice]
groups = ["engineering"]
[people.bob]
groups = ["dba", "engineering"]
[people.carol]
groups = ["dba"]
[targets.orders]
address = "db.internal"
environment = "prod"
databases = ["shop"]
logins.app_ro.certificate = true
logins.app_rw.certificate = true
"#;

/// A folder with a configuration, and rules below it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("postern.toml", CONFIG);
        desk.write("policies/access.cedar", RULES);
        desk
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Exit code, output and errors of `postern policy …` in this folder.
    fn policy(&self, args: &[&str]) -> (i32, String, String) {
        run(self.0.path(), args)
    }

    fn json(&self, args: &[&str]) -> (i32, Value) {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let (code, out, errors) = self.policy(&args);
        let value = serde_json::from_str(&out);
        (code, value.unwrap_or_else(|error| panic!("{error}: {out}{errors}")))
    }
}

fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.arg("policy").args(args).current_dir(folder);
    command.env("NO_COLOR", "1").env_remove("POSTERN_CONFIG").env_remove("POSTERN_HOME");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_case_of_every_example_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "deploy/policies",
        "deploy/policies/start-up",
        "deploy/policies/bank",
        "deploy/policies/on-call",
        "tests/policies/edges",
    ];
    let (code, out, errors) = run(root, &[&["test"][..], &folders, &["--json"]].concat());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}"));
    let tables = report["tables"].as_array().unwrap();
    let outcomes = tables.iter().flat_map(|table| table["outcomes"].as_array().unwrap());
    let differs = |line: &&Value| line["expected"] != line["found"];
    let wrong: Vec<_> = outcomes
        .filter(|outcome| outcome["lines"].as_array().unwrap().iter().any(|line| differs(&line)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((code, report["failed"].as_u64()), (0, Some(0)), "{errors}");
    assert!(report["cases"].as_u64().unwrap() >= 150, "{}", report["cases"]);
}

#[test]
fn every_example_is_checked_without_an_error() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["", "start-up", "bank", "on-call"] {
        let folder = format!("deploy/policies/{folder}");
        let (code, out, errors) = run(root, &["check", &folder]);
        assert_eq!(code, 0, "{out}{errors}");
    }
}

#[test]
fn good_rules_are_fine_and_a_warning_fails_only_where_it_is_to() {
    let desk = Desk::new();
    let (code, out, errors) = desk.policy(&["check"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
    assert_eq!(out, "`policies` is fine: 1 file with 2 rules\n");
    desk.write(
        "policies/more.cedar",
        "\npermit (principal in Group::\"engineers\", action == Action::\"connect\", resource);\n",
    );
    let (code, out, _) = desk.policy(&["check", "policies"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("warning: policies/more.cedar:2:1: "), "{out}");
    assert!(out.contains("group `engineers`, in which nobody is"), "{out}");
    assert!(out.contains("never applies"), "{out}");
    assert!(out.contains("\n  2 | permit (principal"), "{out}");
    assert_eq!(desk.policy(&["check", "policies", "--strict"]).0, 1);
}

#[test]
fn what_the_gateway_would_refuse_is_shown_where_it_stands() {
    let desk = Desk::new();
    for (text, place, expected) in [
        ("permit (principal, action, resource)\n", "bad.cedar:", "unexpected"),
        (
            "permit (principal, action == Action::\"connect\", resource)\nwhen { context.logn == \"a\" };\n",
            "bad.cedar:2:8",
            "logn",
        ),
        ("@limt(\"1h\")\nforbid (principal, action, resource);\n", "bad.cedar:1:1", "@limt"),
        ("@ticket(\"OPS-[\")\nforbid (principal, action, resource);\n", "bad.cedar:1:1", "OPS-["),
    ] {
        desk.write("policies/bad.cedar", text);
        let (code, out, errors) = desk.policy(&["check", "policies"]);
        assert_eq!(code, 2, "{out}{errors}");
        assert!(out.contains(place) && out.contains(expected) && out.contains('^'), "{out}");
        assert!(errors.contains("1 error"), "{errors}");
    }
}

#[test]
fn obligations_that_nobody_can_meet_are_errors() {
    let desk = Desk::new();
    for (wanted, expected) in [
        ("1 of leads", "nobody who could approve is in group `leads`"),
        ("3 of dba", "only 2 who could approve are in group `dba`"),
        ("2 of dba, 2 of engineering", "not enough distinct people"),
    ] {
        let rule = format!("@approvals(\"{wanted}\")\nforbid (principal, action, resource);\n");
        desk.write("policies/more.cedar", &rule);
        let (code, found) = desk.json(&["check"]);
        assert_eq!(code, 2, "{found}");
        let error = &found["errors"][0];
        assert!(error["message"].as_str().unwrap().contains(expected), "{found}");
        assert_eq!((&error["line"], &error["column"]), (&json!(1), &json!(1)), "{found}");
    }
    desk.write(
        "policies/more.cedar",
        "@approvals(\"2 of dba\")\nforbid (principal, action, resource);\n",
    );
    let (code, found) = desk.json(&["check"]);
    assert_eq!(code, 0, "{found}");
    let warnings = found["warnings"].to_string();
    // Nothing permits Carol anything, so that she lacks nobody.
    assert!(warnings.contains("can't be had by `bob`:"), "{warnings}");
}

#[test]
fn a_permit_in_the_shadow_of_an_absolute_rule_is_told() {
    let desk = Desk::new();
    desk.write(
        "policies/more.cedar",
        "@id(\"readers\") permit (principal in Group::\"dba\", action == Action::\"connect\", resource)\n\
         when { context.login == \"app_ro\" && context.ttl < duration(\"1h\") };\n\
         @id(\"no-readers\") forbid (principal, action, resource in Env::\"prod\")\n\
         when { context.login like \"app_ro\" || [\"app_ro\"].contains(context.login) };\n",
    );
    let (code, found) = desk.json(&["check"]);
    assert_eq!(code, 0, "{found}");
    let warnings = found["warnings"].to_string();
    assert!(
        warnings.contains("all that `readers` permits is forbidden by `no-readers`"),
        "{warnings}"
    );
    assert!(
        !warnings.contains("`engineers`"),
        "what gets through elsewhere isn't in the shadow: {warnings}"
    );
}

const CASES: &str = r#"
[[case]]
says = "reading asks nobody"
who = "alice"
resource = "app_ro@orders"
allow = true

[[case]]
says = "writing takes a DBA"
who = "alice"
resource = "app_rw@orders"
approvals = "1 of dba"
limit = "2h"
"#;

#[test]
fn a_case_that_fails_shows_what_was_said_and_what_came_of_it() {
    let desk = Desk::new();
    desk.write("policies/cases.toml", CASES);
    let (code, out, errors) = desk.policy(&["test"]);
    assert_eq!(code, 1, "{out}{errors}");
    let expected = "policies/cases.toml:8: writing takes a DBA\n      approvals: 1 of dba\n    \
                - limit: 2h\n    + limit: 1h\n      decided by: four-eyes\n";
    assert!(out.contains(expected), "{out}");
    assert!(
        out.contains("1 of 2 cases") && errors.contains("1 of 2 cases failed"),
        "{out}{errors}"
    );
    assert_eq!(desk.policy(&["test", "policies/cases.toml", "--only", "reading"]).0, 0);
    desk.write("policies/cases.toml", &CASES.replace("2h", "1h"));
    assert_eq!(desk.policy(&["test", "policies"]).0, 0);
}

#[test]
fn a_table_that_cannot_be_read_is_no_test_that_passes() {
    let desk = Desk::new();
    assert_eq!(desk.policy(&["test"]).0, 2, "no cases are no success");
    for (text, expected) in [
        (
            "[[case]]\nsays = \"a\"\nlogin = \"x\"\nalow = true\n",
            "cases.toml:4:1: unknown field `alow`",
        ),
        ("[[case]]\nsays = \"a\"\nlogin = \"x\"\n", "cases.toml:1:1: a case says exactly one of"),
        ("case = 3\n", "cases.toml:1:"),
    ] {
        desk.write("policies/cases.toml", text);
        let (code, out, errors) = desk.policy(&["test"]);
        assert_eq!(code, 2, "{out}{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
    desk.write("policies/cases.toml", CASES);
    desk.write("policies/bad.cedar", "permit");
    assert_eq!(desk.policy(&["test"]).0, 2, "broken rules pass no test");
}

#[test]
fn an_explanation_says_what_it_takes_which_rule_says_so_and_who_could_approve() {
    let desk = Desk::new();
    let (code, out, errors) = desk.policy(&["explain", "bob", "app_rw@orders"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
    for expected in [
        "bob can have app_rw@orders/shop: 1 of dba must approve, 1h at most",
        "1 of dba: carol (carol)\n",
        "four-eyes (policies/access.cedar:5): production takes a DBA",
        "engineers (policies/access.cedar:2): permits it",
        "as `app_ro`: nobody has to be asked",
        "not in group `engineering`: no rule permits it",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    assert!(!out.contains("bob (bob)"), "nobody approves their own request: {out}");
    let (code, explained) = desk.json(&["explain", "alice", "app_ro@orders"]);
    assert_eq!((code, &explained["verdict"]), (0, &json!("free")), "{explained}");
    let (code, explained) = desk.json(&["explain", "carol", "app_ro@orders"]);
    assert_eq!((code, &explained["verdict"]), (4, &json!("denied")), "{explained}");
    let otherwise = explained["otherwise"].to_string();
    assert!(otherwise.contains("in group `engineering`"), "{otherwise}");
    for (args, code) in [
        (["explain", "somebody", "app_ro@orders"], 5),
        (["explain", "alice", "app_ro@bills"], 5),
        (["explain", "alice", "root@orders"], 5),
        (["explain", "alice", "orders"], 2),
    ] {
        assert_eq!(desk.policy(&args).0, code, "{args:?}");
    }
}

#[test]
fn an_explanation_says_when_the_rules_would_end_it() {
    let desk = Desk::new();
    desk.write(
        "policies/more.cedar",
        "@id(\"mornings\") forbid (principal, action, resource) when { context.hour >= 12 };\n",
    );
    let args = ["explain", "alice", "app_ro@orders", "--for", "4h", "--at"];
    let (code, explained) = desk.json(&[&args[..], &["2026-11-18T09:30Z"]].concat());
    assert_eq!(code, 0, "{explained}");
    assert_eq!(explained["ends"]["at"], json!("2026-11-18T12:00:00.000Z"), "{explained}");
    assert_eq!(explained["ends"]["when"], json!("Wed 12:00"), "{explained}");
    assert_eq!(explained["ends"]["why"], json!("forbidden by mornings"), "{explained}");
    let windows = json!([
        { "when": "Mon-Sun 12:00-24:00", "then": "forbidden by mornings" },
        { "when": "Mon-Sun 00:00-12:00", "then": "nobody has to be asked" },
    ]);
    assert_eq!(explained["week"], windows, "{explained}");
    let (code, _) = desk.json(&[&args[..], &["2026-11-18T12:00Z"]].concat());
    assert_eq!(code, 4);
    assert_eq!(desk.policy(&[&args[..], &["noon"]].concat()).0, 2);
}

#[test]
fn a_comparison_says_who_gains_who_loses_and_whose_terms_change() {
    let desk = Desk::new();
    let same = desk.policy(&["diff", "policies", "policies"]);
    assert_eq!(same.0, 0, "{}{}", same.1, same.2);
    let changed =
        RULES.replace("Group::\"engineering\"", "Group::\"dba\"").replace("1 of dba", "2 of dba");
    desk.write("new/access.cedar", &changed);
    let (code, out, errors) = desk.policy(&["diff", "policies", "new"]);
    assert_eq!(code, 1, "{out}{errors}");
    for expected in [
        "gains   app_ro@orders/shop  carol\n    - denied: no rule permits it\n    + nobody has to be asked\n",
        "loses   app_rw@orders/shop  alice\n",
        "changes app_rw@orders/shop  bob\n    - 1 of dba must approve, 1h at most\n    + 2 of dba must approve, 1h at most\n",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    let (code, found) = desk.json(&["diff", "policies", "new", "--who", "alice"]);
    assert_eq!((code, found["differences"].as_array().unwrap().len()), (1, 2), "{found}");
    assert_eq!(desk.policy(&["diff", "policies", "nowhere"]).0, 2);
}

#[test]
fn the_requests_of_the_past_are_asked_again() {
    let desk = Desk::new();
    let now = jiff::Timestamp::now().to_string();
    let asked = |id: &str, who: &str, what: &str| {
        json!({ "id": 1, "at": now, "actor": format!("principal:{who}"), "kind": "request.asked",
            "subject": id, "detail": { "resource": what, "ttl": "1h", "reason": "" } })
    };
    let given = json!({ "id": 2, "at": now, "actor": "control", "kind": "grant.given",
        "subject": "gr-1", "detail": { "request": "rq-1" } });
    let old = json!({ "id": 3, "at": "2020-01-01T00:00:00Z", "actor": "principal:alice",
        "kind": "request.asked", "subject": "rq-0", "detail": { "resource": "app_rw@orders/shop" } });
    let events = json!([
        given,
        asked("rq-3", "alice", "nonsense"),
        asked("rq-2", "alice", "app_ro@orders/shop"),
        asked("rq-1", "alice", "app_rw@orders/shop"),
        old,
    ]);
    desk.write("events.json", &events.to_string());
    let args = ["simulate", "--events", "events.json", "--policies"];
    let (code, out, errors) = desk.policy(&[&args[..], &["policies"]].concat());
    assert_eq!(code, 0, "the same rules say the same: {out}{errors}");
    desk.write("new/access.cedar", &RULES.replace("1 of dba", "2 of dba"));
    let (code, found) = desk.json(&[&args[..], &["new"]].concat());
    assert_eq!((code, &found["asked"], &found["unclear"]), (1, &json!(2), &json!(1)), "{found}");
    let changed = found["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 1, "{found}");
    assert_eq!(
        (&changed[0]["request"], &changed[0]["effect"], &changed[0]["became"]),
        (&json!("rq-1"), &json!("changes"), &json!("granted")),
    );
    desk.write("events.json", "{}");
    assert_eq!(desk.policy(&[&args[..], &["new"]].concat()).0, 2);
}
