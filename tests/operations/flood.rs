//! Floods of connections at the API and the metrics: whoever is signed in goes on working.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Bed, Setup};
use rustix::process::{Resource, getrlimit, setrlimit};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many connections an attack keeps up; the API never has so many places for those who haven't
/// signed in from one network.
const FLOOD: u32 = 1_600;
/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that say nothing, and come again whenever they are closed.
struct Attack {
    _connections: JoinSet<()>,
}

impl Attack {
    /// Returns once each of the connections was there.
    async fn on(target: SocketAddr, sources: &[Ipv4Addr]) -> Self {
        let (mut connections, there) = (JoinSet::new(), Arc::new(Semaphore::new(0)));
        for source in sources.iter().cycle().take(FLOOD as usize) {
            let (source, there) = (SocketAddr::from((*source, 0)), Arc::clone(&there));
            connections.spawn(async move {
                let mut first = true;
                loop {
                    let socket = TcpSocket::new_v4().unwrap();
                    socket.set_reuseaddr(true).unwrap();
                    socket.bind(source).unwrap();
                    if let Ok(mut stream) = socket.connect(target).await {
                        if std::mem::take(&mut first) {
                            there.add_permits(1);
                        }
                        let _ = stream.read(&mut [0]).await;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        there.acquire_many(FLOOD).await.unwrap().forget();
        Self { _connections: connections }
    }
}

/// Somebody who is signed in, at an address; each request takes a connection of its own.
struct Admin {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Admin {
    async fn signed_in(bed: &Bed, at: Ipv4Addr) -> Self {
        let client = reqwest::Client::builder()
            .local_address(IpAddr::V4(at))
            .pool_max_idle_per_host(0)
            .timeout(TIMEOUT)
            .build()
            .unwrap();
        let base = format!("http://{}/api/v1", bed.gateway.api_addr());
        let invite =
            bed.gateway.control().identity.invite(None, &"bob".parse().unwrap()).await.unwrap();
        let code = json!({ "code": invite.code.expose_secret() });
        let answer = client.post(format!("{base}/login")).json(&code).send().await.unwrap();
        let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let token = answer["token"].as_str().unwrap().to_owned();
        let admin = Self { client, base, token };
        admin.get("me").await;
        admin
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}/{path}", self.base)).bearer_auth(&self.token);
        let answer = request.send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    async fn revoke(&self, grant: &str) {
        let url = format!("{}/grants/{grant}/revoke", self.base);
        let request = self.client.post(url).bearer_auth(&self.token);
        let answer = request.json(&json!({ "reason": "an attack" })).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let found = self.get(&format!("grants/{grant}")).await;
        assert_eq!(found["state"], "ended", "{found}");
    }
}

/// Both ends of every connection of an attack are in this process.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

async fn bed() -> Bed {
    raise_descriptor_limit();
    Bed::with(Setup { limits: String::new(), ..Setup::default() }).await
}

/// Whether admins at these addresses revoke while these others attack.
async fn admins_revoke(attackers: &[Ipv4Addr], admins: &[Ipv4Addr]) {
    let bed = bed().await;
    let mut signed_in = Vec::new();
    for at in admins {
        signed_in.push(Admin::signed_in(&bed, *at).await);
    }
    let attack = Attack::on(bed.gateway.api_addr(), attackers).await;
    for (admin, login) in signed_in.iter().zip(["app_rw", "app_ro"]) {
        let grant = bed.grant(&format!("{login}@orders"), "30m").await;
        admin.revoke(grant.id.as_str()).await;
    }
    let refused = bed.metric("postern_accept_refused_total", "listener=\"api\"").await;
    assert!(refused > 0.0, "the attack reached no bound");
    drop(attack);
}

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_keeps_no_signed_in_admin_from_revoking() {
    let attacker = Ipv4Addr::new(127, 0, 7, 1);
    admins_revoke(&[attacker], &[ELSEWHERE, attacker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_a_whole_network_keeps_no_signed_in_admin_from_revoking() {
    let network: Vec<Ipv4Addr> = (1..=200).map(|host| Ipv4Addr::new(127, 0, 7, host)).collect();
    let neighbour = Ipv4Addr::new(127, 0, 7, 250);
    admins_revoke(&network, &[ELSEWHERE, neighbour]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_the_metrics_keeps_no_scrape_out() {
    let bed = bed().await;
    let attack = Attack::on(bed.gateway.metrics_addr().unwrap(), &[ELSEWHERE]).await;
    let refused = bed.metric("postern_accept_refused_total", "listener=\"metrics\"").await;
    assert!(refused > 0.0, "the attack reached no bound");
    drop(attack);
}
