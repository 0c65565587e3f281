//! Workloads: a program's token becomes a certificate of minutes, and what is not its token does not.

use std::process::{Command, Stdio};

use crate::support::signer::{Signer, base64url, now, unsigned};
use crate::support::{Bed, FOUR_EYES, Files, Setup, psql, run};
use postern::config::Config;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const BRANCH: &str = "repo:example/shop:ref:refs/heads/main";

fn sections(signer: &Signer) -> String {
    format!(
        r#"
[workloads.ci]
name = "Deployments"
issuer = "{}"
audience = "postern"
claims = {{ sub = "repo:example/shop:*", environment = "prod" }}
groups = ["engineering"]
certificate_ttl = "10m"
[workloads.nightly]
issuer = "{}"
audience = "postern"
claims = {{ sub = "nightly" }}
groups = ["engineering"]
"#,
        signer.url, signer.url
    )
}

async fn bed(signer: &Signer, rules: &'static str) -> Bed {
    Bed::with(Setup { rules, more: sections(signer), ..Setup::default() }).await
}

/// A token as the CI system gives it to a job.
fn job(signer: &Signer) -> String {
    signer.token(&json!({ "sub": BRANCH, "environment": "prod", "jti": "job-1" }))
}

struct Asked {
    status: u16,
    body: Value,
}

impl Asked {
    /// The error as RFC 6749 has it.
    fn error(&self) -> &str {
        assert_eq!(self.status, 400, "{}", self.body);
        assert!(self.body["error_description"].as_str().is_some_and(|text| !text.is_empty()));
        self.body["error"].as_str().unwrap()
    }
}

async fn exchange(bed: &Bed, form: &[(&str, &str)]) -> Asked {
    let url = bed.gateway.api_url().join("api/v1/token-exchange").unwrap();
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(url);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(body.finish()).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    Asked { status: answer.status().as_u16(), body: answer.json().await.unwrap() }
}

fn form<'a>(workload: &'a str, token: &'a str, csr: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("requested_token_type", "urn:postern:token-type:client-certificate"),
        ("workload", workload),
        ("csr", csr),
    ]
}

/// The files of a workload that had its token exchanged.
async fn files(bed: &Bed, workload: &str, token: &str) -> Files {
    let key_request = certs::NewRequest::generate().unwrap();
    let asked = exchange(bed, &form(workload, token, &key_request.csr_pem)).await;
    assert_eq!(asked.status, 200, "{}", asked.body);
    assert_eq!(asked.body["issued_token_type"], "urn:postern:token-type:client-certificate");
    assert_eq!(asked.body["token_type"], "N_A");
    let folder = bed.folder.path().join(workload);
    certs::store::create_private_dir(&folder).unwrap();
    let of = |name: &str| folder.join(name);
    let files = Files { cert: of("client.crt"), key: of("client.key"), ca: of("ca.crt") };
    certs::store::write_private(&files.key, key_request.key_pem.expose_secret().as_bytes())
        .unwrap();
    std::fs::write(&files.cert, asked.body["access_token"].as_str().unwrap()).unwrap();
    std::fs::write(&files.ca, asked.body["ca_pem"].as_str().unwrap()).unwrap();
    files
}

/// What the audit log says of this kind, newest first.
async fn audited(bed: &Bed, kind: &str) -> Vec<(String, Value)> {
    let overseer = bed.actor("bob").await;
    let paging = control::Paging { cursor: None, limit: Some(200) };
    let page = bed.gateway.control().kernel.audit(&overseer, paging).await.unwrap();
    let events = page.items.into_iter().filter(|event| event.kind == kind);
    events.map(|event| (event.subject, event.detail)).collect()
}

#[tokio::test]
async fn a_workload_reaches_a_target_under_the_same_rules_as_people() {
    let signer = Signer::start().await;
    let bed = bed(&signer, crate::support::OPEN).await;
    let files = files(&bed, "ci", &job(&signer)).await;
    let mut command = psql(&bed.conninfo(&files, "app_ro", "orders"));
    command.args(["-Atc", "select current_user"]);
    let (done, out, errors) = run(command).await;
    assert!(done, "{errors}");
    assert_eq!(out.trim(), "app_ro");
    let events = audited(&bed, "workload.exchanged").await;
    let (subject, detail) = &events[0];
    assert_eq!(subject, "ci");
    assert_eq!(detail["subject"], BRANCH);
    assert_eq!(detail["token"], "job-1");
    let overseer = bed.actor("bob").await;
    let sessions = bed.gateway.control().evidence.sessions(
        &overseer,
        control::SessionFilter { scope: control::Scope::All, ..Default::default() },
        control::Paging { cursor: None, limit: None },
    );
    let sessions = sessions.await.unwrap().items;
    assert_eq!(sessions[0].principal.as_str(), "ci");
    assert_eq!(sessions[0].authn.method, policies::Method::Workload);
}

#[tokio::test]
async fn a_workload_that_has_to_be_approved_is_refused_until_people_say_yes() {
    let signer = Signer::start().await;
    let bed = bed(&signer, FOUR_EYES).await;
    let files = files(&bed, "ci", &job(&signer)).await;
    let mut command = psql(&bed.conninfo(&files, "app_ro", "orders"));
    command.args(["-Atc", "select 1"]).env("PGAPPNAME", "deploy");
    let (done, _, errors) = run(command).await;
    assert!(!done && errors.contains("1 of dba"), "{errors}");
}

/// The same as for people, but production takes a step-up.
const STEP_UP: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database);
@id("a step-up") @step_up("5m")
forbid (principal, action == Action::"connect", resource in Env::"prod");
"#;

#[tokio::test]
async fn where_a_touch_is_wanted_a_workload_is_denied_with_the_reason() {
    let signer = Signer::start().await;
    let bed = bed(&signer, STEP_UP).await;
    let files = files(&bed, "ci", &job(&signer)).await;
    let mut command = psql(&bed.conninfo(&files, "app_ro", "orders"));
    command.args(["-Atc", "select 1"]);
    let (done, _, errors) = run(command).await;
    assert!(!done && errors.contains("which a workload can't give"), "{errors}");
}

#[tokio::test]
async fn a_workload_that_is_taken_out_of_the_configuration_is_out() {
    let signer = Signer::start().await;
    let bed = bed(&signer, crate::support::OPEN).await;
    let files = files(&bed, "ci", &job(&signer)).await;
    let conninfo = bed.conninfo(&files, "app_ro", "orders");
    let connect = || {
        let mut command = psql(&conninfo);
        command.args(["-Atc", "select 1"]);
        run(command)
    };
    let (done, _, errors) = connect().await;
    assert!(done, "{errors}");
    let text = std::fs::read_to_string(&bed.config).unwrap();
    std::fs::write(&bed.config, text.replace("[workloads.ci]", "[workloads.other]")).unwrap();
    bed.gateway.reload(&Config::load(&bed.config).unwrap()).await.unwrap();
    let (done, _, errors) = connect().await;
    assert!(!done && errors.contains("not known"), "{errors}");
    let key_request = certs::NewRequest::generate().unwrap();
    let asked = exchange(&bed, &form("ci", &job(&signer), &key_request.csr_pem)).await;
    assert_eq!(asked.error(), "invalid_grant");
}

#[tokio::test]
async fn what_is_not_the_workloads_own_token_is_refused_and_audited() {
    let signer = Signer::start().await;
    let other = Signer::start().await;
    let bed = bed(&signer, crate::support::OPEN).await;
    let key_request = certs::NewRequest::generate().unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = json!({ "sub": BRANCH, "environment": "prod" });
        claims[name] = value;
        signer.token(&claims)
    };
    let claims = json!({
        "iss": signer.url, "aud": "postern", "sub": BRANCH, "environment": "prod",
        "iat": now(), "exp": now() + 300,
    });
    let none = format!("{}.", unsigned(&json!({ "alg": "none" }), &claims));
    let confused = unsigned(&json!({ "alg": "HS256", "kid": "one" }), &claims);
    let confused = format!("{confused}.{}", base64url(&signer.public()));
    let foreign = other.token(&json!({ "iss": signer.url, "sub": BRANCH, "environment": "prod" }));
    for (token, why) in [
        (with("aud", json!("another")), "wrong-audience"),
        (with("exp", json!(now() - 60)), "expired-token"),
        (with("nbf", json!(now() + 600)), "not-yet-good"),
        (with("exp", json!(now() + 90_000)), "long-lived-token"),
        (with("sub", json!("repo:example/shop-evil:ref:refs/heads/main")), "wrong-claim"),
        (with("sub", json!("repo:example/shop:")), "wrong-claim"),
        (with("sub", json!(["repo:example/shop:a"])), "wrong-claim"),
        (with("environment", json!("Prod")), "wrong-claim"),
        (with("environment", Value::Null), "wrong-claim"),
        (with("iss", json!(other.url)), "wrong-issuer"),
        (foreign, "wrong-signature"),
        (none, "wrong-algorithm"),
        (confused, "wrong-algorithm"),
        ("nonsense".to_owned(), "malformed-token"),
    ] {
        let asked = exchange(&bed, &form("ci", &token, &key_request.csr_pem)).await;
        assert_eq!(asked.error(), "invalid_grant", "{why}");
        let (subject, detail) = audited(&bed, "workload.refused").await.remove(0);
        assert_eq!((subject.as_str(), detail["why"].as_str()), ("ci", Some(why)), "{detail}");
    }
    for workload in ["nobody", "alice", ""] {
        let asked = exchange(&bed, &form(workload, &job(&signer), &key_request.csr_pem)).await;
        assert_eq!(asked.error(), "invalid_grant", "{workload}");
    }
    let asked = exchange(&bed, &form("nightly", &job(&signer), &key_request.csr_pem)).await;
    assert_eq!(asked.error(), "invalid_grant", "another workload of the same issuer");
    assert!(audited(&bed, "workload.exchanged").await.is_empty());
}

#[tokio::test]
async fn a_copied_token_is_of_no_use_for_another_key() {
    let signer = Signer::start().await;
    let bed = bed(&signer, crate::support::OPEN).await;
    let (token, own) = (job(&signer), certs::NewRequest::generate().unwrap());
    for _ in 0..3 {
        let asked = exchange(&bed, &form("ci", &token, &own.csr_pem)).await;
        assert_eq!(asked.status, 200, "its own key may come again: {}", asked.body);
    }
    let thief = certs::NewRequest::generate().unwrap();
    let asked = exchange(&bed, &form("ci", &token, &thief.csr_pem)).await;
    assert_eq!(asked.error(), "invalid_grant");
    let (_, detail) = audited(&bed, "workload.refused").await.remove(0);
    assert_eq!(detail["why"], "replayed");
}

#[tokio::test]
async fn what_is_no_token_exchange_is_told_so_in_the_words_of_oauth() {
    let signer = Signer::start().await;
    let bed = bed(&signer, crate::support::OPEN).await;
    let (token, key_request) = (job(&signer), certs::NewRequest::generate().unwrap());
    let good = form("ci", &token, &key_request.csr_pem);
    let with = |name: &'static str, value: &'static str| {
        let mut form: Vec<_> = good.iter().copied().filter(|(key, _)| *key != name).collect();
        form.push((name, value));
        form
    };
    for (form, error) in [
        (with("grant_type", "password"), "unsupported_grant_type"),
        (with("subject_token_type", "urn:ietf:params:oauth:token-type:saml2"), "invalid_request"),
        (with("requested_token_type", "urn:ietf:params:oauth:token-type:jwt"), "invalid_request"),
        (with("actor_token", "a"), "invalid_request"),
        (with("csr", "none"), "invalid_request"),
        (good[1..].to_vec(), "invalid_request"),
        ([good.clone(), vec![("workload", "ci")]].concat(), "invalid_request"),
    ] {
        assert_eq!(exchange(&bed, &form).await.error(), error, "{form:?}");
    }
}

#[tokio::test]
async fn a_workload_signs_in_with_a_token_file_and_leaves_what_psql_needs() {
    let signer = Signer::start().await;
    let bed = bed(&signer, crate::support::OPEN).await;
    let (home, file) = (bed.folder.path().join("home"), bed.folder.path().join("token"));
    std::fs::write(&file, job(&signer)).unwrap();
    let login = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(["login", bed.gateway.api_url().as_str(), "--workload", "ci", "--token-file"]);
        command.arg(&file).env("POSTERN_HOME", &home).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        run(command)
    };
    for _ in 0..2 {
        let (done, out, errors) = login().await;
        assert!(done, "{out}{errors}");
    }
    let files = Files {
        cert: home.join("client.crt"),
        key: home.join("client.key"),
        ca: home.join("ca.crt"),
    };
    let mut command = psql(&bed.conninfo(&files, "app_ro", "orders"));
    command.args(["-Atc", "select 1"]);
    let (done, _, errors) = run(command).await;
    assert!(done, "{errors}");
    std::fs::write(&file, "nonsense").unwrap();
    let (done, _, errors) = login().await;
    assert!(!done && errors.contains("not one of this workload"), "{errors}");
}
