//! `postern login` and `logout`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::Failure;
use crate::client::{self, Client, ClientError, Home, HomeError, Offer, Place, Proof, Session};
use crate::terminal::{self, Paint, moment, plain};

/// Sign this terminal in by a browser, and get a client certificate
///
/// It shows a code to type on a page of the gateway, where you are signed in or sign in then. With
/// `--link` it takes a one-time link instead, where the gateway lets links sign in. The link's code is
/// a secret, so it is never an argument: it is asked for, or read from `--code-file` or the
/// environment variable POSTERN_CODE.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The gateway's address, such as https://gate.example.com
    #[arg(value_parser = address)]
    url: Option<Url>,
    /// Sign in with a one-time link, which is asked for
    #[arg(long)]
    link: bool,
    /// A file that holds the code or the link
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// The certificate of the gateway's own authority, where it uses one
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Sign a program in, by its name in the gateway's configuration
    #[arg(long, value_name = "NAME", requires = "token_file", conflicts_with_all = ["code_file", "link"])]
    workload: Option<String>,
    /// A file that holds the program's token of its issuer
    #[arg(long, value_name = "FILE", requires = "workload")]
    token_file: Option<PathBuf>,
}

/// Sign out: the token and the certificate die at the gateway, and are removed here
#[derive(Debug, Args)]
pub(super) struct Logout {}

impl Login {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.url.as_ref().is_some_and(|url| url.fragment().is_some()) {
            let why = "a code on the command line can be read by others: run `postern login --link` and paste the link";
            return Err(Failure::Usage(why.into()));
        }
        let home = Home::find()?;
        if let (Some(workload), Some(file)) = (&self.workload, &self.token_file) {
            return self.exchange(&home, workload, file).await;
        }
        let by_link =
            self.link || self.code_file.is_some() || std::env::var_os("POSTERN_CODE").is_some();
        let session =
            if by_link { self.by_link(&home).await? } else { self.by_browser(&home).await? };
        // A sign-in that may only register a passkey gets no certificate yet.
        let ssh = match client::certify(&home).await {
            Err(ClientError::Problem(_)) => None,
            certified => certified?,
        };
        Ok(terminal::print(&welcome(&home, &session, ssh.as_ref()))?)
    }

    async fn by_browser(&self, home: &Home) -> Result<Session, Failure> {
        let (url, ca_pem) = (self.address(home, None)?, self.ca(home)?);
        let waiting = client::begin(home, url, ca_pem.as_deref()).await?;
        terminal::note(&format!(
            "open  {}\nand type  {}  to sign in this terminal, {}\n(waiting; Ctrl-C to give up)",
            plain(waiting.page()),
            plain(waiting.user_code()),
            waiting.device(),
        ));
        Ok(waiting.finish(home).await?)
    }

    async fn by_link(&self, home: &Home) -> Result<Session, Failure> {
        let (linked, code) = split(&self.code()?)?;
        let (url, ca_pem) = (self.address(home, linked)?, self.ca(home)?);
        Ok(client::login(home, Offer { url, code, ca_pem }).await?)
    }

    /// The address that was named, or that stands in the link, or of the sign-in before.
    fn address(&self, home: &Home, linked: Option<Url>) -> Result<Url, Failure> {
        let url = self.url.clone().or(linked).or_else(|| home.session().ok().map(|was| was.url));
        url.ok_or_else(|| {
            Failure::Usage("which gateway? name its address: `postern login URL`".into())
        })
    }

    fn ca(&self, home: &Home) -> Result<Option<Vec<u8>>, Failure> {
        match &self.ca {
            Some(file) => {
                fs::read(file).map(Some).map_err(Failure::io(format!("read `{}`", file.display())))
            }
            None => Ok(home.ca()?),
        }
    }

    async fn exchange(&self, home: &Home, workload: &str, file: &Path) -> Result<(), Failure> {
        let url = self.address(home, None)?;
        if let Ok(session) = home.session() {
            let why = format!(
                "`{}` is the sign-in of {}: set `POSTERN_HOME` to a folder for the workload",
                home.folder().display(),
                plain(&session.name)
            );
            return Err(Failure::Usage(why));
        }
        let token = fs::read_to_string(file);
        let token = token.map_err(Failure::io(format!("read `{}`", file.display())))?;
        let (workload, token) = (workload.to_owned(), SecretString::from(token.trim()));
        let proof = Proof { url, workload, token, ca_pem: self.ca(home)? };
        let until = client::exchange(home, &proof).await?;
        let (name, until) = (plain(&proof.workload), moment(&until));
        let text = format!("signed in as workload {name} until {until}\n{}", services(home));
        Ok(terminal::print(&text)?)
    }

    fn code(&self) -> Result<String, Failure> {
        let text = match (&self.code_file, std::env::var("POSTERN_CODE")) {
            (Some(file), _) => fs::read_to_string(file)
                .map_err(Failure::io(format!("read `{}`", file.display())))?,
            (None, Ok(code)) => code,
            (None, Err(_)) => terminal::line("Sign-in link or code: ")?,
        };
        Ok(text.trim().to_owned())
    }
}

/// The address of a gateway, with its scheme.
fn address(text: &str) -> Result<Url, String> {
    let read = Url::parse(text).ok().filter(|url| url.has_host());
    let named = text.split("://").last().unwrap_or_default();
    read.ok_or_else(|| format!("write an address with `https://`, as `https://{named}`"))
}

/// A link holds the gateway's address and the code, behind `#`; anything else is a code.
fn split(text: &str) -> Result<(Option<Url>, SecretString), Failure> {
    if text.is_empty() {
        return Err(Failure::Usage("there is no code".into()));
    }
    let link = Url::parse(text).ok().filter(|url| url.has_host());
    let Some(mut url) = link else {
        return Ok((None, text.into()));
    };
    let code = url.fragment().filter(|code| !code.is_empty());
    let code = code.ok_or_else(|| Failure::Usage("this link has no code behind `#`".into()))?;
    let code = SecretString::from(code);
    url.set_fragment(None);
    url.set_query(None);
    if let Some(base) = url.path().strip_suffix("/login").map(str::to_owned) {
        url.set_path(&base);
    }
    Ok((Some(url), code))
}

fn welcome(home: &Home, session: &Session, ssh: Option<&Place>) -> String {
    let paint = Paint::for_stdout();
    let until = moment(&session.expires_at);
    let mut text = format!("signed in as {} until {until}\n", plain(&session.name));
    text += "`postern ls` lists what you can reach.\n";
    if session.gateway.is_some() {
        text += &services(home);
    }
    if let Some(gateway) = ssh {
        text +=
            "ssh reaches a target through the gateway (`postern ssh-config` makes it shorter):\n";
        let (key, known) = (home.ssh_key(), home.known_hosts());
        let line = format!(
            "ssh -i {} -o UserKnownHostsFile={} -p {} LOGIN@TARGET@{}",
            key.display(),
            known.display(),
            gateway.port,
            gateway.host,
        );
        text += &format!("    {}\n", paint.command(&line));
    }
    text
}

fn services(home: &Home) -> String {
    let paint = Paint::for_stdout();
    let services = home.services();
    let line = format!("PGSERVICEFILE={} psql \"service=TARGET user=LOGIN\"", services.display());
    format!("psql finds every target as a service:\n    {}\n", paint.command(&line))
}

impl Logout {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let home = Home::find()?;
        let answer = match Client::signed_in(&home) {
            Ok(client) => client.post(&["logout"], &Value::Null, None).await.map(drop),
            Err(error) => Err(error),
        };
        home.forget()?;
        match answer {
            Ok(()) => {
                Ok(terminal::print("signed out: token and certificate are dead, and removed\n")?)
            }
            Err(ClientError::Home(HomeError::NotSignedIn)) => {
                Ok(terminal::print("nobody was signed in\n")?)
            }
            // What it brought never outlives a sign-in.
            Err(ClientError::Problem(problem)) if problem.status == 401 => {
                Ok(terminal::print("the sign-in was over already; its files are removed\n")?)
            }
            Err(error) => {
                terminal::note(
                    "the gateway does not know, so a copy of the token or the certificate is good \
                     until it ends by itself; an admin can end it with `postern logins`:",
                );
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_told_with_one() {
        assert!(address("https://gate.example.com").is_ok());
        for text in ["gate.example.com", "gate.example.com:7443", "/", ""] {
            let message = address(text).unwrap_err();
            assert!(message.contains(&format!("`https://{text}`")), "{message}");
        }
    }

    #[test]
    fn a_link_or_a_code_is_taken() {
        for (text, url, code) in [
            ("ABC-123", None, "ABC-123"),
            ("https://gate.example.com/login#ABC", Some("https://gate.example.com/"), "ABC"),
            ("http://127.0.0.1:70/p/login#ABC", Some("http://127.0.0.1:70/p"), "ABC"),
        ] {
            let (found, secret) = split(text).unwrap();
            assert_eq!(found.as_ref().map(Url::as_str), url);
            assert_eq!(secret.expose_secret(), code);
        }
        assert!(split("").is_err());
        assert!(split("https://gate.example.com/login").is_err());
    }
}
