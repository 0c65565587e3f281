//! `postern psql`: the stock psql, with everything that it needs in its environment.
//!
//! Nothing secret is in its arguments, or in its environment: only the names of files.

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use policies::{Resource, Ticket, Ttl};

use super::Failure;
use crate::client::{self, Home, HomeError, Session, database_name};

/// What would lead psql elsewhere, or contradict the certificate.
const UNWANTED: [&str; 7] = [
    "PGSERVICE",
    "PGHOSTADDR",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSSLCOMPRESSION",
    "PGREQUIRESSL",
    "PGSSLCRL",
];

/// Open psql on a target, with your certificate
#[derive(Debug, Args)]
pub(super) struct Psql {
    /// LOGIN@TARGET or LOGIN@TARGET/DATABASE
    resource: Resource,
    /// For how long, such as 1h
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Ttl>,
    /// Why; the approvers read it
    #[arg(long)]
    reason: Option<String>,
    /// The ticket that it is for, such as OPS-12
    #[arg(long)]
    ticket: Option<Ticket>,
    /// Arguments of psql
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Psql {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let home = Home::find()?;
        let session = client::renew(&home, jiff::Timestamp::now()).await?;
        let mut command = self.command(&home, &session)?;
        // It returns only where psql could not take this process over.
        Err(Failure::Io { action: "run psql: is it installed?".into(), source: command.exec() })
    }

    fn command(&self, home: &Home, session: &Session) -> Result<Command, Failure> {
        let gateway = session.gateway.as_ref().ok_or(HomeError::NoGateway)?;
        let database = database_name(&self.resource.target, self.resource.database.as_ref());
        let mut command = Command::new("psql");
        UNWANTED.iter().for_each(|name| {
            command.env_remove(name);
        });
        command
            .args(&self.arguments)
            .env("PGHOST", &gateway.host)
            .env("PGPORT", gateway.port.to_string())
            .env("PGUSER", self.resource.login.as_str())
            .env("PGDATABASE", database)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", home.authority())
            .env("PGSSLCERT", home.certificate())
            .env("PGSSLKEY", home.key());
        let options = self.options(std::env::var("PGOPTIONS").unwrap_or_default());
        if !options.is_empty() {
            command.env("PGOPTIONS", options);
        }
        Ok(command)
    }

    fn options(&self, given: String) -> String {
        let mut options: Vec<String> =
            Some(given).into_iter().filter(|given| !given.is_empty()).collect();
        options.extend(self.span.map(|span| format!("-c postern.for={span}")));
        let reason = self.reason.as_deref().map(escaped);
        options.extend(reason.map(|reason| format!("-c postern.reason={reason}")));
        options.extend(self.ticket.as_ref().map(|ticket| format!("-c postern.ticket={ticket}")));
        options.join(" ")
    }
}

/// Start-up options are split at spaces; a backslash keeps the next character.
fn escaped(text: &str) -> String {
    let mut kept = String::new();
    for letter in text.chars() {
        if letter == '\\' || letter.is_whitespace() {
            kept.push('\\');
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::client::Place;

    use super::*;

    #[test]
    fn psql_gets_names_of_files_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let session = Session {
            url: "https://gate.example.com".parse().unwrap(),
            token: "very-secret".into(),
            expires_at: String::new(),
            principal: "alice".into(),
            name: "Alice".into(),
            device: "laptop".parse().unwrap(),
            certificate_until: None,
            gateway: Some(Place { host: "gate.example.com".into(), port: 5432 }),
        };
        let psql = Psql {
            resource: "app_rw@orders/shop".parse().unwrap(),
            span: Some("1h".parse().unwrap()),
            reason: Some(r"fix \ it".into()),
            ticket: Some("OPS-12".parse().unwrap()),
            arguments: vec!["-c".into(), "select 1".into()],
        };
        let command = psql.command(&home, &session).unwrap();
        assert!(!format!("{command:?}").contains("very-secret"));
        let set: BTreeMap<_, _> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)))
            .collect();
        assert_eq!(set["PGDATABASE"], "orders/shop");
        assert_eq!(set["PGSSLMODE"], "verify-full");
        assert!(set["PGOPTIONS"].ends_with(
            r"-c postern.for=1h -c postern.reason=fix\ \\\ it -c postern.ticket=OPS-12"
        ));
    }
}
