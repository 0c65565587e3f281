//! `postern login` and `logout`.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::Failure;
use crate::client::{self, Client, ClientError, Home, HomeError, Offer, Session};
use crate::terminal::{self, Paint, moment, plain};

/// Sign in with a one-time link, and get a client certificate
///
/// The code is a secret, so it is never an argument: it is asked for, or read from standard input,
/// `--code-file` or the environment variable POSTERN_CODE. The whole sign-in link will do, too.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The gateway's address, such as https://gate.example.com
    url: Option<Url>,
    /// A file that holds the code or the link
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// The certificate of the gateway's own authority, where it uses one
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Sign out: the token and the certificate's key are forgotten
#[derive(Debug, Args)]
pub(super) struct Logout {}

impl Login {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.url.as_ref().is_some_and(|url| url.fragment().is_some()) {
            let why = "a code on the command line can be read by others: run `postern login` and paste the link";
            return Err(Failure::Usage(why.into()));
        }
        let home = Home::find()?;
        let (linked, code) = split(&self.code()?)?;
        let url = self.url.clone().or(linked).or_else(|| home.session().ok().map(|was| was.url));
        let url = url.ok_or_else(|| {
            Failure::Usage("which gateway? name its address, or paste the whole link".into())
        })?;
        let ca_pem = match &self.ca {
            Some(file) => {
                Some(fs::read(file).map_err(Failure::io(format!("read `{}`", file.display())))?)
            }
            None => home.ca()?,
        };
        let session = client::login(&home, Offer { url, code, ca_pem }).await?;
        Ok(terminal::print(&welcome(&home, &session))?)
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

fn welcome(home: &Home, session: &Session) -> String {
    let paint = Paint::for_stdout();
    let until = moment(&session.expires_at);
    let mut text = format!("signed in as {} until {until}\n", plain(&session.name));
    text += "`postern ls` lists what you can reach.\n";
    if session.gateway.is_some() {
        let services = home.services();
        text += "psql finds every target as a service:\n";
        let line =
            format!("PGSERVICEFILE={} psql \"service=TARGET user=LOGIN\"", services.display());
        text += &format!("    {}\n", paint.command(&line));
    }
    text
}

impl Logout {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let home = Home::find()?;
        let told = match Client::signed_in(&home) {
            Ok(client) => client.post(&["logout"], &Value::Null, None).await,
            Err(ClientError::Home(HomeError::NotSignedIn)) => Ok(Value::Null),
            Err(error) => Err(error),
        };
        home.forget()?;
        if let Err(error) = told {
            terminal::note(
                "the gateway was not told, so the token is good until it ends by itself:",
            );
            return Err(error.into());
        }
        Ok(terminal::print("signed out\n")?)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

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
