//! A configuration as far as rules see it: who and what there is, and no secret.

use std::collections::BTreeSet;

use certs::UpstreamMode;
use policies::{Credential, Directory, Member, Principal, PrincipalId, Target, UpstreamTls};

use super::{Config, Person, Secret};

impl Config {
    /// The people and targets that rules are asked about. Nothing that is named here is read.
    #[must_use]
    pub fn directory(&self) -> Directory {
        let people = self.people.iter().map(|(id, person)| member(id, person, false));
        let programs = self.workloads.iter();
        let programs = programs.map(|(id, workload)| member(id, &workload.person, true));
        let people = people.chain(programs);
        let people = people.map(|member| (member.principal.id.clone(), member)).collect();
        let targets = self.targets.iter().map(|(name, written)| (name.clone(), target(written)));
        let (targets, issuers) = (targets.collect(), self.issuers.values());
        let mapped = issuers.clone().filter_map(|issuer| issuer.groups.as_ref());
        let rosters = self.organisation.rosters.keys().cloned();
        let elsewhere: BTreeSet<_> =
            mapped.flat_map(|groups| groups.values().cloned()).chain(rosters).collect();
        let any_group = issuers.clone().any(|issuer| issuer.groups.is_none());
        let stand_ins = self.workflow.escalate_to.clone();
        Directory { people, targets, elsewhere, any_group, stand_ins }
    }
}

fn member(id: &PrincipalId, person: &Person, workload: bool) -> Member {
    let (id, name, groups) = (id.clone(), person.name.clone(), person.groups.clone());
    let principal = Principal { id, name, groups };
    let same_as = person.same_as.as_ref().map(|first| first.value.clone());
    Member { principal, disabled: person.disabled, workload, same_as }
}

/// A target as rules see it: how it is signed in to and verified matters to none.
pub(super) fn target(written: &super::Target) -> Target {
    let logins = written.logins.iter().map(|(login, secret)| {
        let kind = match secret {
            Secret::File(_) | Secret::Variable(_) => Credential::Password,
            Secret::Certificate => Credential::Certificate,
            Secret::Key(_) => Credential::Key,
        };
        (login.clone(), kind)
    });
    let tls = match written.tls.mode {
        UpstreamMode::VerifyFull => UpstreamTls::VerifyFull { roots: None, name: None },
        UpstreamMode::VerifyCa => UpstreamTls::VerifyCa { roots: None },
        UpstreamMode::InsecureNoVerify => UpstreamTls::InsecureNoVerify,
        UpstreamMode::Off => UpstreamTls::Off,
    };
    Target {
        name: written.name.value.clone(),
        kind: written.kind,
        host: written.host.clone(),
        port: written.port,
        tls,
        environment: written.environment.clone(),
        labels: written.labels.clone(),
        databases: written.databases.clone(),
        logins: logins.collect(),
        hold: written.hold,
        partition: written.partition,
        recording: written.recording,
        default_ttl: written.ttl,
        replication: written.replication,
        weak_auth: written.weak_auth.clone(),
        ssh: written.ssh.clone(),
    }
}
