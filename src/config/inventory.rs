//! Makes what control works with of a configuration and of the files that it names.
//!
//! All or nothing: one fault anywhere, and what was in force stays in force.

use std::collections::BTreeMap;

use certs::Identity;
use control::{AttestationRoots, Inventory, Secrets, WebhookSecret};
use policies::{IssuerName, Principal, PrincipalId, Quorum};

use super::fault::{Fault, Faults};
use super::resolve::Resolver;
use super::rules::rules;
use super::secrets::{self, Environment};
use super::sections::{ApiTls, IdentityFiles};
use super::{Config, Person};

/// The certificates of the listeners that don't use one of the gateway's own authority.
#[derive(Debug, Clone)]
pub struct Identities {
    /// For Postgres clients.
    pub postgres: Option<Identity>,
    /// For pages and API.
    pub api: Option<Identity>,
}

impl Config {
    /// Reads policies, secrets and trusted roots; the environment is this process's.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn inventory(&self) -> Result<Inventory, Faults> {
        self.inventory_in(&Environment::of_process())
    }

    /// Reads policies, secrets and trusted roots.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn inventory_in(&self, environment: &Environment) -> Result<Inventory, Faults> {
        let mut faults = Vec::new();
        let rules = rules(&self.policies, &self.directory(), &mut faults);
        let mut resolver = Resolver { environment, secrets: Secrets::default(), faults };
        let mut targets = control::Shared::<BTreeMap<_, _>>::default();
        for (name, target) in &self.targets {
            let ready = resolver.target(target);
            targets.insert(name.clone(), ready);
        }
        let issuers = self.issuers.iter().map(|(name, issuer)| {
            let ready = resolver.issuer(name, issuer);
            (name.clone(), ready)
        });
        let issuers: control::Shared<_> = issuers.collect();
        let channels = self.channels.iter().filter_map(|(name, channel)| {
            let ready = resolver.channel(name, channel)?;
            Some((name.clone(), ready))
        });
        let channels: control::Shared<_> = channels.collect();
        let ticket_secrets = resolver.ticket_secrets(self.workflow.ticket_secret.as_ref());
        let context = resolver.context(&self.organisation);
        let Resolver { secrets, faults, .. } = resolver;
        Faults::none_in(faults)?;
        let Some(rules) = rules else {
            return Err(Fault::new(self.policies.site.clone(), "there are no rules").into());
        };
        let programs = self.workloads.iter().map(|(id, workload)| (id, &workload.person));
        let people = self.people.iter().chain(programs);
        let people = people.map(|(id, person)| (id.clone(), known(id, person)));
        let workloads = self.workloads.iter();
        let workloads = workloads.map(|(id, workload)| (id.clone(), workload.proof.clone()));
        let (people, workloads) = (people.collect(), workloads.collect());
        let bearers = self.bearers();
        let accounts = self.people.iter().filter_map(|(id, person)| {
            let account = &person.oidc.as_ref()?.value;
            Some(((account.issuer.clone(), account.subject.clone()), id.clone()))
        });
        let (rules, accounts) = (rules.into(), accounts.collect());
        Ok(Inventory {
            people,
            workloads,
            bearers,
            targets,
            rules,
            secrets,
            issuers,
            accounts,
            channels,
            workflow: self.workflow_with(ticket_secrets).into(),
            context,
            ssh_keys: self.ssh_keys().collect(),
        })
    }

    /// Whose registered key each is.
    fn ssh_keys(&self) -> impl Iterator<Item = (String, PrincipalId)> {
        let keys = self.people.iter().map(|(id, person)| (id, &person.ssh_keys));
        keys.flat_map(|(id, keys)| keys.iter().map(|key| (key.clone(), id.clone())))
    }

    /// Issuers whose access tokens are taken from clients.
    fn bearers(&self) -> control::Shared<BTreeMap<IssuerName, control::Bearer>> {
        let bearers = self.issuers.iter().filter_map(|(name, issuer)| {
            let bearer = issuer.bearer.as_ref()?;
            let (audience, scope) = (bearer.audience.clone(), bearer.scope.clone());
            let issuer = issuer.url.value.clone();
            Some((name.clone(), control::Bearer { issuer, audience, scope }))
        });
        bearers.collect()
    }

    fn workflow_with(&self, ticket_secrets: Vec<WebhookSecret>) -> control::Workflow {
        control::Workflow {
            escalate_after: Some(self.workflow.escalate_after),
            escalate_to: self.workflow.escalate_to.clone(),
            same_as: second_identities(&self.people),
            ticket_secrets,
        }
    }

    /// Reads the certificates and keys of the listeners.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn identities(&self) -> Result<Identities, Faults> {
        let api = match &self.api.tls {
            ApiTls::Files(files) => Some(files),
            ApiTls::Authority | ApiTls::Off => None,
        };
        let mut faults = Vec::new();
        let mut read = |files: Option<&IdentityFiles>| {
            let identity = secrets::identity(files?);
            identity.map_err(|fault| faults.push(fault)).ok()
        };
        let identities =
            Identities { postgres: read(self.postgres.identity.as_ref()), api: read(api) };
        Faults::none_in(faults)?;
        Ok(identities)
    }

    /// Reads the certificates of makers of authenticators.
    ///
    /// # Errors
    /// Where there is no certificate to be read.
    pub fn attestation_roots(&self) -> Result<Option<AttestationRoots>, Faults> {
        let Some(file) = &self.passkeys.roots else { return Ok(None) };
        let fault = |why: String| {
            let message = format!("`{}`: {why}", file.value.display());
            Fault::new(file.site.clone(), message).with_remedy("name a file of certificates in PEM")
        };
        let text =
            std::fs::read_to_string(&file.value).map_err(|error| fault(error.to_string()))?;
        Ok(Some(AttestationRoots::from_pem(&text).map_err(fault)?))
    }

    /// Hosts that nobody gets to, since nothing listens for SSH clients.
    fn unreachable(&self, inventory: &Inventory) -> Option<String> {
        let mut hosts = inventory.targets.values().filter(|target| target.ssh.is_some());
        let host = hosts.next().filter(|_| self.ssh.is_none())?;
        Some(format!(
            "target `{}` is of kind `ssh`, and nothing listens for SSH clients: write a section [ssh] \
             with `listen = \"0.0.0.0:2222\"`",
            host.name
        ))
    }

    /// What is allowed, but probably a mistake.
    #[must_use]
    pub fn warnings(&self, inventory: &Inventory) -> Vec<String> {
        let (directory, rosters) = (self.directory(), &self.organisation.rosters);
        let quorums = inventory.rules.quorums();
        let open = quorums.filter(|(_, quorum)| {
            directory.is_open(&quorum.group) && !rosters.contains_key(&quorum.group)
        });
        let few = open.filter_map(|(rule, Quorum { group, count })| {
            let there = directory.members(group);
            (there < usize::from(*count)).then(|| {
                format!(
                    "rule `{rule}` wants {count} of {group}, and the configuration has {there} of \
                     them: who else there is, only an issuer knows"
                )
            })
        });
        few.chain(self.unheard(inventory)).chain(self.unreachable(inventory)).collect()
    }
}

fn known(id: &PrincipalId, person: &Person) -> control::Person {
    control::Person {
        principal: Principal {
            id: id.clone(),
            name: person.name.clone(),
            groups: person.groups.clone(),
        },
        admin: person.admin,
        auditor: person.auditor,
        disabled: person.disabled,
        email: person.email.clone(),
    }
}

/// Second identities with the first: those that say so, and those that share an address of mail.
fn second_identities(people: &BTreeMap<PrincipalId, Person>) -> BTreeMap<PrincipalId, PrincipalId> {
    let mut by_mail: BTreeMap<String, &PrincipalId> = BTreeMap::new();
    let mut same = BTreeMap::new();
    for (id, person) in people {
        let said = person.same_as.as_ref().map(|first| &first.value);
        let mail = person.email.as_ref().map(|email| email.as_str().to_lowercase());
        let mailed = mail.map(|mail| *by_mail.entry(mail).or_insert(id));
        for other in said.into_iter().chain(mailed) {
            let (second, first) = (first_of(id, &same), first_of(other, &same));
            if second != first {
                same.insert(second, first);
            }
        }
    }
    let others = people.keys().map(|id| (id, first_of(id, &same)));
    let others = others.filter(|(id, first)| id != first);
    others.map(|(id, first)| (id.clone(), first.clone())).collect()
}

/// The first identity, as far as it is known.
fn first_of<'p>(
    id: &'p PrincipalId,
    same: &BTreeMap<&'p PrincipalId, &'p PrincipalId>,
) -> &'p PrincipalId {
    let mut first = id;
    while let Some(before) = same.get(first) {
        first = before;
    }
    first
}
