//! What there is to ask for, as one person sees it.

use policies::{Credential, Facts, Login, RequiredInput, Resource, Target, Terms};

use crate::access::Access;
use crate::model::actor::{Actor, Asker};
use crate::model::error::Rejection;
use crate::model::view::{LoginView, TargetView, Verdict};

impl Access {
    /// All targets, and for each login what asking for it would come to.
    #[must_use]
    pub fn targets(&self, actor: &Actor) -> Vec<TargetView> {
        self.targets_of(&actor.asker())
    }

    /// The same, for somebody who has no login session.
    pub(crate) fn targets_of(&self, asker: &Asker) -> Vec<TargetView> {
        let inventory = self.kernel.inventory();
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
        let (words, verdict) = match self.terms(asker, &resource) {
            Err(rejection) => (RequiredInput::default(), Verdict::Denied(rejection)),
            Ok(terms) => (terms.required_input(), verdict(terms)),
        };
        LoginView { login: login.clone(), credential, words, verdict }
    }

    fn terms(&self, asker: &Asker, resource: &Resource) -> Result<Terms, Rejection> {
        let now = self.kernel.now();
        self.kernel.not_locked(asker, resource, now)?;
        let inventory = self.kernel.inventory();
        let evaluated = inventory.evaluate(&asker.principal, resource, &Facts::new(now, None));
        evaluated.map(|(_, terms)| terms)
    }

    /// What the rules want to know from somebody who asks for all of this, as far as they give it.
    pub(crate) fn words(&self, actor: &Actor, wanted: &[Resource]) -> RequiredInput {
        let asker = actor.asker();
        let inventory = self.kernel.inventory();
        let known = wanted.iter().filter_map(|requested| inventory.resolve(requested).ok());
        let terms = known.filter_map(|(_, resource)| self.terms(&asker, &resource).ok());
        terms.reduce(Terms::and).unwrap_or_default().required_input()
    }
}

fn verdict(terms: Terms) -> Verdict {
    let Terms { approvals: needs, limit, .. } = terms;
    if needs.is_empty() { Verdict::Free { limit } } else { Verdict::Approval { needs, limit } }
}
