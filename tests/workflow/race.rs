//! Fifty approvers race on one request while it is withdrawn, and the gateway is killed in the middle:
//! one outcome, what was acknowledged is there, and the audit log says the same.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Bed, Setup};
use policies::PrincipalId;
use postern::throwaway::free_port;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const RULES: &str = r#"
permit (principal, action == Action::"connect", resource is Database);
@id("two DBAs") @approvals("2 of dba")
forbid (principal, action == Action::"connect", resource);
"#;
const APPROVERS: usize = 50;

/// A gateway in a process of its own, and everybody's login tokens.
struct GatewayProcess {
    _folder: tempfile::TempDir,
    config: PathBuf,
    base: String,
    alice: String,
    bob: String,
    approvers: Vec<(String, String)>,
    client: reqwest::Client,
}

/// A process that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl GatewayProcess {
    async fn new() -> Self {
        let people = (0..APPROVERS).map(|n| format!("[people.dba-{n}]\ngroups = [\"dba\"]\n"));
        let more = people.collect();
        let bed = Bed::with(Setup { rules: RULES, more, ..Setup::default() }).await;
        let token = async |name: &str| {
            let (control, id) = (bed.gateway.control(), PrincipalId::new(name).unwrap());
            let invite = control.identity.invite(None, &id).await.unwrap();
            let login =
                control.identity.sign_in(&invite.code, control::Origin::default()).await.unwrap();
            login.token.expose_secret().to_owned()
        };
        let mut approvers = Vec::new();
        for n in 0..APPROVERS {
            let name = format!("dba-{n}");
            approvers.push((name.clone(), token(&name).await));
        }
        let (alice, bob) = (token("alice").await, token("bob").await);
        let Bed { gateway, cluster, folder, config } = bed;
        gateway.shutdown(Duration::from_secs(10)).await;
        drop(cluster);
        let port = free_port().unwrap();
        let text = std::fs::read_to_string(&config).unwrap();
        let (old, new) =
            ("[api]\nlisten = \"127.0.0.1:0\"", format!("[api]\nlisten = \"127.0.0.1:{port}\""));
        assert!(text.contains(old));
        std::fs::write(&config, text.replace(old, &new)).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let base = format!("http://127.0.0.1:{port}/api/v1");
        Self { _folder: folder, config, base, alice, bob, approvers, client }
    }

    /// Starts it, and waits until it serves.
    async fn start(&self) -> Killed {
        let child = Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(["up", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let child = Killed(child);
        crate::support::until_some("the gateway serves, or says why not", async || {
            self.client.get(format!("{}/health", self.base)).send().await.ok()
        })
        .await;
        child
    }

    fn post(&self, token: &str, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let request = self.client.post(format!("{}/{path}", self.base)).bearer_auth(token);
        request.header("content-type", "application/json").body(body.to_string())
    }

    async fn posted(&self, token: &str, path: &str, body: Value) -> Value {
        let answer = self.post(token, path, &body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}/{path}", self.base)).bearer_auth(&self.bob);
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// All race at once, until so many have an answer: who got a yes, and whether the withdrawal was.
    async fn race(&self, request: &Value, answers: usize) -> (BTreeSet<String>, bool) {
        let (id, digest) = (request["id"].as_str().unwrap(), request["digest"].clone());
        let mut tasks = JoinSet::new();
        for (n, (name, token)) in self.approvers.iter().enumerate() {
            if n == APPROVERS / 2 {
                let taking = self.post(&self.alice, &format!("requests/{id}/withdraw"), &json!({}));
                tasks.spawn(async move { (String::new(), taking.send().await) });
            }
            let yes = json!({ "digest": digest });
            let approving = self.post(token, &format!("requests/{id}/approve"), &yes);
            let name = name.clone();
            tasks.spawn(async move { (name, approving.send().await) });
        }
        let (mut approved, mut withdrawn) = (BTreeSet::new(), false);
        for _ in 0..answers {
            let Some(Ok((name, Ok(answer)))) = tasks.join_next().await else { break };
            if !answer.status().is_success() {
                continue;
            }
            withdrawn |= name.is_empty();
            if !name.is_empty() {
                approved.insert(name);
            }
        }
        (approved, withdrawn)
    }

    /// There is one outcome, it is what was acknowledged, and the log tells of it once.
    async fn is_consistent(
        &self,
        id: &str,
        approved: &BTreeSet<String>,
        withdrawn: bool,
    ) -> String {
        let request = self.get(&format!("requests/{id}")).await;
        let state = request["state"].as_str().unwrap().to_owned();
        let kept = request["approvals"].as_array().unwrap();
        let kept: BTreeSet<String> =
            kept.iter().map(|yes| yes["by"].as_str().unwrap().to_owned()).collect();
        let log = self.get("audit?limit=200").await;
        let about = log["items"].as_array().unwrap();
        let count = |kind: &str, subject: &str| {
            let of = |event: &&Value| event["kind"] == kind && event["subject"] == subject;
            about.iter().filter(of).count()
        };
        let grants = request["grants"].as_array().map_or(0, Vec::len);
        let given = about
            .iter()
            .filter(|event| event["kind"] == "grant.given" && event["detail"]["request"] == id);
        assert_eq!(given.count(), grants, "{request}");
        let (yes, taken) = (count("request.approved", id), count("request.withdrawn", id));
        match state.as_str() {
            "granted" => {
                assert_eq!((grants, kept.len(), yes, taken), (1, 2, 2, 0), "{request}");
                assert!(approved.is_subset(&kept) && !withdrawn, "{approved:?} {request}");
            }
            "withdrawn" => assert_eq!((grants, taken), (0, 1), "{request}"),
            "pending" => {
                assert_eq!((grants, yes, taken), (0, kept.len(), 0), "{request}");
                assert!(approved.is_subset(&kept) && !withdrawn, "{approved:?} {request}");
            }
            other => panic!("{other}"),
        }
        state
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_verdicts_and_a_kill_there_is_one_outcome() {
    let process = GatewayProcess::new().await;
    for answers in [0, 1, 2, 3, APPROVERS + 1] {
        let mut gateway = process.start().await;
        let body = json!({ "resource": "app_rw@orders" });
        let asked = process.posted(&process.alice, "requests", body).await;
        let id = asked["request"]["id"].as_str().unwrap().to_owned();
        let (approved, withdrawn) = process.race(&asked["request"], answers).await;
        gateway.0.kill().unwrap();
        gateway.0.wait().unwrap();

        let gateway = process.start().await;
        let state = process.is_consistent(&id, &approved, withdrawn).await;
        // The next round begins with nothing.
        if state == "pending" {
            process.posted(&process.alice, &format!("requests/{id}/withdraw"), json!({})).await;
        }
        if state == "granted" {
            let request = process.get(&format!("requests/{id}")).await;
            let grant = request["grant"].as_str().unwrap();
            process.posted(&process.alice, &format!("grants/{grant}/done"), json!({})).await;
        }
        drop(gateway);
    }
}
