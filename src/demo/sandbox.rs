//! The sandbox of a demo: a throwaway Postgres with a small shop and a throwaway sshd, a gateway in front of both,
//! and two people who are signed in. Everything but the two servers is in one folder, which goes when
//! the sandbox does.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::store;
use policies::PrincipalId;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::DemoError;
use super::command_line::CommandLine;
use crate::client::{self, Home, Offer};
use crate::config::Config;
use crate::throwaway::{Cluster, Options, SshOptions, Sshd};
use crate::up::Gateway;

const CONFIG: &str = include_str!("postern.toml");
const POLICY: &str = include_str!("policy.cedar");
const SHOP: &str = include_str!("shop.sql");
const REPORTING: &str = include_str!("reporting.sql");
const LOGINS: [&str; 2] = ["app_ro", "app_rw"];
const TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that stands while a demo runs.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) gateway: Gateway,
    pub(super) postgres: SocketAddr,
    /// An engineer.
    pub(super) alice: Home,
    /// An approver, admin and auditor.
    pub(super) bob: Home,
    pub(super) psql: PathBuf,
    /// By which alice's `ssh` finds the host.
    pub(super) ssh_config: PathBuf,
    servers: Servers,
    folder: TempDir,
}

/// What the gateway stands in front of.
#[derive(Debug)]
struct Servers {
    cluster: Cluster,
    sshd: Sshd,
}

impl Sandbox {
    /// Starts everything.
    pub(super) async fn start() -> Result<Self, DemoError> {
        let laid = spawn_blocking(lay_out).await.map_err(|_| DemoError::Broken)?;
        let (folder, servers, config) = laid?;
        let gateway = Gateway::start(&config).await?;
        let postgres = gateway.postgres_addr().ok_or(DemoError::Nowhere)?;
        let alice = sign_in(&gateway, folder.path(), "alice").await?;
        let bob = sign_in(&gateway, folder.path(), "bob").await?;
        let psql = servers.cluster.program("psql");
        let ssh_config = alice.folder().join("ssh_config");
        let block = CommandLine::postern(&alice, &["ssh-config"])?.quietly().await?;
        fs::write(&ssh_config, block).map_err(DemoError::io("write alice's ssh_config"))?;
        Ok(Self { gateway, postgres, alice, bob, psql, ssh_config, servers, folder })
    }

    /// The folder of all this.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A link with which this person's browser signs in, once.
    pub(super) async fn link(&self, name: &str) -> Result<SecretString, DemoError> {
        let person = PrincipalId::new(name).map_err(|_| DemoError::Broken)?;
        Ok(self.gateway.control().identity.invite(None, &person).await?.url)
    }

    /// Takes everything down.
    pub(super) async fn remove(self) {
        let Self { gateway, servers, folder, .. } = self;
        gateway.shutdown(TIMEOUT).await;
        let removing = spawn_blocking(move || {
            servers.cluster.stop();
            servers.sshd.stop();
            folder.close()
        });
        if let Ok(Err(error)) = removing.await {
            crate::terminal::note(&format!("the demo's folder can't be removed: {error}"));
        }
    }
}

fn lay_out() -> Result<(TempDir, Servers, Config), DemoError> {
    let folder = tempfile::Builder::new().prefix("postern-demo-").tempdir();
    let folder = folder.map_err(DemoError::io("make a temporary folder"))?;
    let cluster = Cluster::start(Options::default())?;
    let root = folder.path();
    for name in ["policies", "secrets"] {
        store::create_private_dir(&root.join(name))?;
    }
    let roles = LOGINS.iter().map(|login| role(root, login)).collect::<Result<String, _>>()?;
    cluster.psql(&roles)?;
    for (database, content) in [("shop", SHOP), ("reporting", REPORTING)] {
        cluster.psql(&format!("create database {database}"))?;
        cluster.psql_in(database, content)?;
    }
    store::write_public(&root.join("policies/demo.cedar"), POLICY.as_bytes())?;
    store::write_public(&root.join("target-ca.pem"), cluster.ca_pem().as_bytes())?;
    let sshd = host(root)?;
    let config = CONFIG.replace("@PORT@", &cluster.port().to_string());
    let config = config.replace("@SSH_PORT@", &sshd.port().to_string());
    let config = config.replace("@SSH_KEY@", sshd.host_key());
    let file = root.join("postern.toml");
    fs::write(&file, config).map_err(DemoError::io("write the demo's configuration"))?;
    Ok((folder, Servers { cluster, sshd }, Config::load(&file)?))
}

/// A host that takes the gateway's certificates for the account `deploy`, and nothing else.
fn host(root: &Path) -> Result<Sshd, DemoError> {
    let state = root.join("state");
    store::create_private_dir(&state)?;
    let authority = certs::SshAuthority::load_or_generate(&state.join("authority"))?;
    let user_ca = authority.logins_line()?;
    Ok(Sshd::start(&SshOptions { user_ca, ..SshOptions::default() })?)
}

/// A login with a password that only the gateway's secrets know.
fn role(root: &Path, login: &str) -> Result<String, DemoError> {
    let password = format!("{:032x}", rand::random::<u128>());
    store::write_private(&root.join("secrets").join(login), password.as_bytes())?;
    Ok(format!("create role {login} login password '{password}';\n"))
}

/// Signs a person in by a one-time code, over the API, as anybody would.
async fn sign_in(gateway: &Gateway, root: &Path, name: &str) -> Result<Home, DemoError> {
    let home = Home::at(&root.join(name))?;
    let person = PrincipalId::new(name).map_err(|_| DemoError::Broken)?;
    let invite = gateway.control().identity.invite(None, &person).await?;
    let (url, code, ca_pem) = (gateway.api_url().clone(), invite.code, None);
    client::login(&home, Offer { url, code, ca_pem }).await?;
    Ok(home)
}
