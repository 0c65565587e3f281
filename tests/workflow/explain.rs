//! What the rules say, asked of a gateway that runs: what a request would take, and what other rules would
//! have made of the requests of the past.

use std::process::{Command, Stdio};

use crate::support::{Bed, Setup};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const RULES: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database)
when { context.login != "cert_user" };

@id("four eyes")
@description("whoever writes has a DBA look")
@approvals("1 of dba")
@limit("1h")
forbid (principal, action == Action::"connect", resource)
when { context.login == "app_rw" };

@id("the freeze") forbid (principal, action, resource) when { context.time >= datetime("FREEZE") };
"#;

/// Somebody at a shell of their own: exit code, output and errors of `postern …`.
struct Shell(std::path::PathBuf);

impl Shell {
    async fn of(bed: &Bed, name: &str) -> Self {
        let shell = Self(bed.folder.path().join(format!("home-{name}")));
        let id = policies::PrincipalId::new(name).unwrap();
        let invite = bed.gateway.control().identity.invite(None, &id).await.unwrap();
        let code = invite.code.expose_secret();
        let (done, out, errors) =
            shell.run(&["login", bed.gateway.api_url().as_str()], Some(code)).await;
        assert_eq!(done, 0, "{out}{errors}");
        shell
    }

    async fn run(&self, args: &[&str], code: Option<&str>) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).env("POSTERN_HOME", &self.0).env("NO_COLOR", "1");
        command.env_remove("POSTERN_CONFIG").env_remove("POSTERN_CODE").stdin(Stdio::null());
        command.envs(code.map(|code| ("POSTERN_CODE", code)));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    async fn does(&self, args: &[&str]) -> (i32, String, String) {
        self.run(args, None).await
    }

    async fn json(&self, args: &[&str]) -> (i32, Value) {
        let (code, out, errors) = self.does(&[args, &["--json"]].concat()).await;
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{args:?}: {out}{errors}")))
    }
}

/// The rules, which end all access in half an hour.
fn rules() -> &'static str {
    let freeze = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(30);
    let freeze = freeze.strftime("%Y-%m-%dT%H:%M:00Z").to_string();
    Box::leak(RULES.replace("FREEZE", &freeze).into_boxed_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_explains_its_rules_and_asks_others_about_its_past() {
    let rules = rules();
    let bed = Bed::with(Setup { rules, ..Setup::default() }).await;
    let (alice, bob) = (Shell::of(&bed, "alice").await, Shell::of(&bed, "bob").await);

    let (code, out, errors) = alice.does(&["explain", "app_rw@orders", "--for", "20m"]).await;
    assert_eq!(code, 0, "{errors}");
    for expected in [
        "Alice can have app_rw@orders/shop: 1 of dba must approve, 1h at most",
        "1 of dba: Bob (bob), Carol (carol)\n",
        "four eyes (access.cedar:6): whoever writes has a DBA look",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    assert!(!out.contains("change the answer") && !out.contains("would end it"), "{out}");
    let (_, out, _) = alice.does(&["explain", "app_rw@orders", "--for", "45m"]).await;
    assert!(
        out.contains("The rules would end it") && out.contains("forbidden by the freeze"),
        "{out}"
    );
    let (code, _, errors) = alice.does(&["explain", "cert_user@orders"]).await;
    assert_eq!(code, 4, "{errors}");
    let (code, _, errors) = alice.does(&["explain", "app_rw@orders", "--who", "bob"]).await;
    assert!(code == 4 && errors.contains("admin or an auditor"), "{errors}");
    let (code, out, _) = bob.does(&["explain", "app_rw@orders", "--who", "alice"]).await;
    assert!(code == 0 && out.contains("as `app_ro`: nobody has to be asked"), "{out}");

    for asked in [
        &["app_ro@orders"][..],
        &["app_rw@orders"],
        &["app_ro@orders/reporting", "app_rw@orders/reporting"],
    ] {
        let (code, out, errors) = alice.does(&[&["request"], asked].concat()).await;
        assert_eq!(code, 0, "{out}{errors}");
    }
    let config = bed.config.display().to_string();
    let simulate = ["policy", "simulate", "--since", "30d", "--config", &config];
    let (code, found) = bob.json(&simulate).await;
    assert_eq!(
        (code, found["asked"].clone(), found["unclear"].clone()),
        (0, json!(3), json!(0)),
        "{found}"
    );

    let changed = rules.replace("1 of dba", "2 of dba").replace(
        "context.login == \"app_rw\" }",
        "context.login == \"app_rw\" && context.database == \"shop\" }",
    );
    std::fs::write(bed.folder.path().join("policies/access.cedar"), changed).unwrap();
    let (code, found) = bob.json(&simulate).await;
    assert_eq!((code, found["asked"].clone()), (1, json!(3)), "{found}");
    let lines = found["changed"].as_array().unwrap().iter().map(|changed| {
        let part = |name: &str| changed[name].as_str().unwrap();
        format!(
            "{}: {} - {} + {} ({})",
            part("effect"),
            part("resource"),
            part("before"),
            part("after"),
            part("became")
        )
    });
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "changes: app_rw@orders/shop - 1 of dba must approve, 1h at most + 2 of dba must approve, 1h at most (undecided)",
            "changes: app_ro@orders/reporting + app_rw@orders/reporting - 1 of dba must approve, 1h at most + nobody has to be asked (undecided)",
        ]
    );
    let (code, out, errors) = bob.does(&simulate).await;
    assert!(
        code == 1 && errors.contains("2 of 3 requests would turn out otherwise"),
        "{out}{errors}"
    );
    let (code, _, errors) = alice.does(&simulate).await;
    assert_ne!(code, 1, "the past of everybody is for auditors: {errors}");
}
