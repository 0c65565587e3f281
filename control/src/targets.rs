//! What there is to ask for, as one person sees it.

use policies::{Credential, Facts, Login, Resource, Target};

use crate::actor::Asker;
use crate::{Actor, Control, LoginView, TargetView, Verdict};

impl Control {
    /// All targets, and for each login what asking for it would come to.
    #[must_use]
    pub fn targets(&self, actor: &Actor) -> Vec<TargetView> {
        self.targets_of(&actor.asker())
    }

    /// The same, for somebody who has no login session.
    pub(crate) fn targets_of(&self, asker: &Asker) -> Vec<TargetView> {
        let inventory = self.0.inventory.load();
        let targets = inventory.targets.values();
        targets.map(|target| self.target(asker, target)).collect()
    }

    fn target(&self, asker: &Asker, target: &Target) -> TargetView {
        let logins = target.logins.iter();
        TargetView {
            name: target.name.clone(),
            kind: target.kind,
            environment: target.environment.clone(),
            databases: target.databases.clone(),
            default_ttl: target.default_ttl,
            logins: logins
                .map(|(login, credential)| self.login(asker, target, login, *credential))
                .collect(),
        }
    }

    fn login(
        &self,
        asker: &Asker,
        target: &Target,
        login: &Login,
        credential: Credential,
    ) -> LoginView {
        let resource = Resource {
            target: target.name.clone(),
            login: login.clone(),
            database: target.default_database().cloned(),
        };
        LoginView { login: login.clone(), credential, verdict: self.verdict(asker, &resource) }
    }

    fn verdict(&self, asker: &Asker, resource: &Resource) -> Verdict {
        let now = self.now();
        let facts = Facts::new(now, None);
        if let Err(rejection) = self.not_locked(asker, resource, now) {
            return Verdict::Denied(rejection);
        }
        let inventory = self.0.inventory.load();
        match inventory.judge(&asker.principal, resource, &facts) {
            Err(rejection) => Verdict::Denied(rejection),
            Ok((_, terms)) if terms.approvals.is_empty() => Verdict::Free { limit: terms.limit },
            Ok((_, terms)) => Verdict::Approval { needs: terms.approvals, limit: terms.limit },
        }
    }
}
