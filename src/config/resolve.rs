//! What an inventory is made of: targets, issuers, rosters and their secrets, one after the other.
//!
//! A fault is noted and the reading goes on, so that all of them are reported at once.

use std::path::PathBuf;
use std::sync::Arc;

use certs::UpstreamMode;
use control::{Context, Secrets, WebhookSecret};
use policies::{IssuerName, Target as Ready, UpstreamTls};
use secrecy::{ExposeSecret, SecretString};

use super::directory;
use super::fault::Fault;
use super::issuer::{ClientSecret, Issuer};
use super::organisation::{Organisation, Place};
use super::read::Located;
use super::secrets::{self, Environment};
use super::target::{Secret, Target, Tls};

/// What is read for targets, one after the other.
pub(super) struct Resolver<'a> {
    pub(super) environment: &'a Environment,
    pub(super) secrets: Secrets,
    pub(super) faults: Vec<Fault>,
}

impl Resolver<'_> {
    /// The target as rules see it, with what it is verified by. Its secrets are put down.
    pub(super) fn target(&mut self, target: &Target) -> Ready {
        for (login, secret) in &target.logins {
            match self.secret(secret) {
                Ok(Some(found)) => {
                    self.secrets.insert(target.name.value.clone(), login.clone(), found);
                }
                Ok(None) => {}
                Err(fault) => self.faults.push(fault),
            }
        }
        Ready { tls: self.tls(&target.tls), ..directory::target(target) }
    }

    pub(super) fn issuer(&mut self, name: &IssuerName, issuer: &Issuer) -> control::Issuer {
        control::Issuer {
            name: name.clone(),
            url: issuer.url.value.clone(),
            client_id: issuer.client_id.clone(),
            client_secret: issuer.client_secret.as_ref().and_then(|from| self.client_secret(from)),
            ca: issuer.ca.as_ref().and_then(|file| self.roots(file)),
            scopes: issuer.scopes.clone(),
            groups_claim: issuer.groups_claim.clone(),
            groups: issuer.groups.clone(),
            admins: issuer.admins.clone(),
            auditors: issuer.auditors.clone(),
            userinfo: issuer.userinfo,
            refresh: issuer.refresh,
            refresh_grace: issuer.refresh_grace,
        }
    }

    /// The secrets with which the system of tickets signs, one a line: the old one stays until the
    /// new one is in use.
    pub(super) fn ticket_secrets(&mut self, file: Option<&Located<PathBuf>>) -> Vec<WebhookSecret> {
        let Some(file) = file else { return Vec::new() };
        match self.environment.text(file) {
            Ok(text) => {
                let lines = text.expose_secret().lines().map(str::trim);
                let lines = lines.filter(|line| !line.is_empty());
                let read: Result<Vec<WebhookSecret>, _> = lines.map(str::parse).collect();
                let message = match read {
                    Ok(secrets) if !secrets.is_empty() => return secrets,
                    Ok(_) => "there is no secret in it".to_owned(),
                    Err(error) => error.to_string(),
                };
                let message = format!("`{}`: {message}", file.value.display());
                self.faults.push(Fault::new(file.site.clone(), message));
            }
            Err(fault) => self.faults.push(fault),
        }
        Vec::new()
    }

    pub(super) fn context(&mut self, organisation: &Organisation) -> Context {
        let rosters = organisation.rosters.iter().map(|(name, roster)| {
            let from = match &roster.place {
                Place::File(path) => control::Place::File(path.clone()),
                Place::Web(url, bearer) => {
                    control::Place::Web { url: url.clone(), bearer: self.bearer(bearer.as_ref()) }
                }
            };
            let (people, refresh, keep) = (roster.people.clone(), roster.refresh, roster.keep);
            (name.clone(), control::RosterSource { from, people, refresh, keep })
        });
        let rosters = rosters.collect();
        let tickets = organisation.tickets.as_ref().map(|tickets| {
            let bearer = self.bearer(tickets.bearer.as_ref());
            let (url, state) = (tickets.url.clone(), tickets.state.clone());
            let (refresh, keep) = (tickets.refresh, tickets.keep);
            Arc::new(control::TicketSource { url, bearer, state, refresh, keep })
        });
        let calendar = Arc::new(organisation.calendar.clone());
        Context::new(calendar, rosters, tickets)
    }

    fn bearer(&mut self, file: Option<&Located<PathBuf>>) -> Option<SecretString> {
        self.environment.line(file?).map_err(|fault| self.faults.push(fault)).ok()
    }

    fn client_secret(&mut self, from: &ClientSecret) -> Option<SecretString> {
        let secret = match from {
            ClientSecret::File(file) => self.environment.line(file),
            ClientSecret::Variable(name) => self.environment.variable(name),
        };
        secret.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// The password or key; none where a certificate is issued.
    fn secret(&self, secret: &Secret) -> Result<Option<SecretString>, Fault> {
        match secret {
            Secret::File(file) => self.environment.line(file).map(Some),
            Secret::Variable(name) => self.environment.variable(name).map(Some),
            Secret::Key(file) => self.key(file).map(Some),
            Secret::Certificate => Ok(None),
        }
    }

    fn key(&self, file: &Located<PathBuf>) -> Result<SecretString, Fault> {
        let text = self.environment.text(file)?;
        let unusable = |error: certs::SshError| Fault::new(file.site.clone(), error.to_string());
        certs::check_private_key(&text).map_err(unusable)?;
        Ok(text)
    }

    fn tls(&mut self, tls: &Tls) -> UpstreamTls {
        // Roots that can't be read are a fault, so that none never means the system's by accident.
        let roots = tls.roots.as_ref().and_then(|file| self.roots(file));
        match tls.mode {
            UpstreamMode::VerifyFull => UpstreamTls::VerifyFull { roots, name: tls.name.clone() },
            UpstreamMode::VerifyCa => UpstreamTls::VerifyCa { roots },
            UpstreamMode::InsecureNoVerify => UpstreamTls::InsecureNoVerify,
            UpstreamMode::Off => UpstreamTls::Off,
        }
    }

    pub(super) fn roots(&mut self, file: &Located<PathBuf>) -> Option<String> {
        match secrets::roots(file) {
            Ok(pem) => Some(pem),
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }
}
