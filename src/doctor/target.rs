//! A visit to a target: does its name resolve, does it answer, is it who it should be, and does it
//! let each login in?

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certs::{Authority, Connector, UpstreamMode, UpstreamTls};
use control::Secrets;
use policies::{Credential, Kind, Login, Target, Timestamp, Ttl};
use rustls::RootCertStore;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Finding;
use super::sign_in::{Attempt, Trouble, Welcome, binding, secure};

const TIMEOUT: Duration = Duration::from_secs(2);
/// A sign-in is several round trips, and the server may have to start a process.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(10);
const CERTIFICATE_TTL: Ttl = Ttl::from_secs(300);

/// A target, and what it takes to sign in there.
pub(super) struct Visit<'a> {
    target: &'a Target,
    secrets: &'a Secrets,
    authority: Option<&'a Authority>,
    now: Timestamp,
}

impl<'a> Visit<'a> {
    pub(super) fn new(
        target: &'a Target,
        secrets: &'a Secrets,
        authority: Option<&'a Authority>,
        now: Timestamp,
    ) -> Self {
        Self { target, secrets, authority, now }
    }

    /// Goes on as far as the target lets it.
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let address = match self.reach().await {
            Ok(address) => address,
            Err(finding) => return vec![finding],
        };
        let mut findings = vec![Finding::ok(self.title(), format!("it answers at {address}"))];
        match self.target.kind {
            Kind::Postgres => {}
            // Its key and its logins are tried by the first session.
            Kind::Ssh => return findings,
        }
        let (tls, finding) = match self.tls(address).await {
            Ok(found) => found,
            Err(finding) => {
                findings.push(finding);
                return findings;
            }
        };
        findings.push(finding);
        for (login, credential) in &self.target.logins {
            let signed_in = self.sign_in(address, tls.as_ref(), login, *credential).await;
            findings.push(signed_in);
        }
        findings
    }

    fn title(&self) -> String {
        format!("target {}", self.target.name)
    }

    fn fault(&self, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::fault(self.title(), detail, remedy)
    }

    /// An address of the target that takes connections.
    async fn reach(&self) -> Result<SocketAddr, Finding> {
        let (host, port) = (self.target.host.as_str(), self.target.port);
        let remedy = "fix the target's `address`, or this machine's DNS";
        let found = in_time(TIMEOUT, tokio::net::lookup_host((host, port))).await;
        let addresses = found
            .map_err(|why| self.fault(format!("`{host}` can't be looked up: {why}"), remedy))?;
        let mut problem = "it has no address".to_owned();
        for address in addresses {
            match in_time(TIMEOUT, TcpStream::connect(address)).await {
                Ok(_) => return Ok(address),
                Err(why) => problem = format!("{address} doesn't answer: {why}"),
            }
        }
        let remedy = "see that the server runs, listens on that address, and that no firewall is \
                      between it and this machine";
        Err(self.fault(problem, remedy))
    }

    /// Shakes hands as the target's `tls` says; no connector where TLS is off.
    async fn tls(&self, address: SocketAddr) -> Result<(Option<UpstreamTls>, Finding), Finding> {
        let tls = self.upstream_tls()?;
        let Some(connector) = self.connector(&tls, None)? else {
            return Ok((None, self.unencrypted(address)));
        };
        let handshake = in_time(TIMEOUT, secure(address, &connector)).await;
        handshake.map_err(|why| self.fault(why, self.tls_remedy(tls.mode)))?;
        let finding = match tls.mode {
            UpstreamMode::InsecureNoVerify => Finding::warning(
                self.title(),
                "TLS works, but nobody verifies with whom",
                "give it `tls = { roots = \"ca.pem\" }`, with the certificate that signed its own",
            ),
            UpstreamMode::VerifyFull | UpstreamMode::VerifyCa | UpstreamMode::Off => {
                Finding::ok(self.title(), format!("TLS is good ({})", tls.mode))
            }
        };
        Ok((Some(tls), finding))
    }

    fn unencrypted(&self, address: SocketAddr) -> Finding {
        if address.ip().is_loopback() {
            return Finding::ok(self.title(), "TLS is off, on this machine only");
        }
        let detail = "TLS is off: everybody on the way can read along";
        Finding::warning(
            self.title(),
            detail,
            "turn `ssl` on at the server, and remove `tls = \"off\"`",
        )
    }

    fn tls_remedy(&self, mode: UpstreamMode) -> String {
        match mode {
            UpstreamMode::VerifyFull => format!(
                "give it `tls = {{ roots = \"ca.pem\" }}` if its certificate isn't signed by one \
                 that this machine trusts, and `name` if it isn't for `{}`; turn `ssl` on at the \
                 server",
                self.target.host
            ),
            UpstreamMode::VerifyCa => {
                "give it `roots` with the certificate that signed its own; turn `ssl` on at the \
                 server"
                    .into()
            }
            UpstreamMode::InsecureNoVerify | UpstreamMode::Off => {
                "turn `ssl` on at the server".into()
            }
        }
    }

    fn upstream_tls(&self) -> Result<UpstreamTls, Finding> {
        let (mode, pem, name) = match &self.target.tls {
            policies::UpstreamTls::VerifyFull { roots, name } => {
                (UpstreamMode::VerifyFull, roots.as_ref(), name.clone())
            }
            policies::UpstreamTls::VerifyCa { roots } => {
                (UpstreamMode::VerifyCa, roots.as_ref(), None)
            }
            policies::UpstreamTls::InsecureNoVerify => (UpstreamMode::InsecureNoVerify, None, None),
            policies::UpstreamTls::Off => (UpstreamMode::Off, None, None),
        };
        let roots = match pem {
            Some(pem) => certs::roots_from_pem(pem.as_bytes())
                .map_err(|error| self.fault(error.to_string(), "fix the file of `roots`"))?,
            None => system_roots(),
        };
        Ok(UpstreamTls { mode, server_name: name, roots, alpn: Vec::new() })
    }

    fn connector(
        &self,
        tls: &UpstreamTls,
        client: Option<&certs::Identity>,
    ) -> Result<Option<Connector>, Finding> {
        tls.connector(&self.target.host, client).map_err(|error| {
            let remedy = "install the package `ca-certificates`, or give the target `roots`";
            self.fault(error.to_string(), remedy)
        })
    }

    async fn sign_in(
        &self,
        address: SocketAddr,
        tls: Option<&UpstreamTls>,
        login: &Login,
        credential: Credential,
    ) -> Finding {
        let title = format!("login {login} of target {}", self.target.name);
        let client = match self.client(login, credential) {
            Ok(client) => client,
            Err(why) => return Finding::warning(title, why, "start the gateway once"),
        };
        let connector = match tls.map(|tls| self.connector(tls, client.as_ref())) {
            Some(Ok(connector)) => connector,
            Some(Err(finding)) => return finding,
            None => None,
        };
        let attempt = Attempt {
            login,
            database: self.target.default_database(),
            password: self.secrets.get(&self.target.name, login),
            binding: None,
        };
        let tried = in_time(SIGN_IN_TIMEOUT, attempt.over(address, connector)).await;
        match tried {
            Ok(Welcome::Checked) => Finding::ok(title, "it signs in"),
            Ok(Welcome::Unasked) if credential == Credential::Certificate => {
                Finding::ok(title, "it signs in with its certificate")
            }
            Ok(Welcome::Unasked) => Finding::warning(
                title,
                "the server lets it in without asking for the password",
                "replace `trust` in the server's pg_hba.conf by `scram-sha-256`",
            ),
            Err(why) => Finding::fault(title, why, remedy_for(credential)),
        }
    }

    /// A certificate for the login, where that is its credential.
    fn client(
        &self,
        login: &Login,
        credential: Credential,
    ) -> Result<Option<certs::Identity>, String> {
        if credential == Credential::Password {
            return Ok(None);
        }
        let authority =
            self.authority.ok_or("there is no authority yet that could issue its certificate")?;
        let issued = authority
            .issue_login(login.as_str(), CERTIFICATE_TTL.duration(), self.now.millis())
            .map_err(|error| error.to_string())?;
        issued.identity().map(Some).map_err(|error| error.to_string())
    }
}

fn remedy_for(credential: Credential) -> &'static str {
    match credential {
        Credential::Password => {
            "see that the login and the first of `databases` exist, that its password was set \
             with `password_encryption = 'scram-sha-256'`, that the file or variable holds it, \
             and that pg_hba.conf lets this machine in with `scram-sha-256`"
        }
        Credential::Key => "see that the target's account lists the key in `authorized_keys`",
        Credential::Certificate => {
            "see that the login and the first of `databases` exist, that the server's \
             `ssl_ca_file` holds the gateway's ca.pem, and that pg_hba.conf has a `hostssl … cert` \
             line for it"
        }
    }
}

impl Attempt<'_> {
    async fn over(
        mut self,
        address: SocketAddr,
        connector: Option<Connector>,
    ) -> Result<Welcome, Trouble> {
        match connector {
            Some(connector) => {
                let stream = secure(address, &connector).await?;
                self.binding = binding(&stream);
                self.make(stream).await
            }
            None => self.make(TcpStream::connect(address).await?).await,
        }
    }
}

/// The answer, or why there was none in time.
async fn in_time<T, E: std::fmt::Display>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(limit, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {}", Ttl::from_secs(limit.as_secs()))),
    }
}

fn system_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
}
