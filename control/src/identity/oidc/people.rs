//! People whom issuers vouch for, as part of the inventory.
//!
//! The store keeps what an issuer said of each, by issuer and subject; the configuration says what
//! that means. Both together make the inventory in force, again whenever either changes, and what
//! somebody loses by it ends at once: grants are evaluated again, live sessions cut.

use std::collections::BTreeSet;
use std::sync::Arc;

use policies::{IssuerName, NameError, Principal, PrincipalId, Timestamp, Ttl};
use secrecy::ExposeSecret;
use serde_json::json;

use super::issuer::trust;
use crate::identity::oidc::vouched::Vouched;
use crate::identity::{Identity, logins};
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::issuer::Issuer;
use crate::model::login::{LoginEnd, Which};
use crate::model::person::Person;
use crate::store::issuers as table;
use crate::store::issuers::{Known, Standing};

/// The vault's name of the place where refresh tokens are.
pub(super) const TABLE: &str = "people";

impl Inventory {
    /// Whom this subject of an issuer is here: a person of the configuration that names it, or
    /// somebody of their own.
    pub(crate) fn principal_of(
        &self,
        issuer: &IssuerName,
        subject: &str,
    ) -> Result<PrincipalId, NameError> {
        match self.accounts.get(&(issuer.clone(), subject.to_owned())) {
            Some(id) => Ok(id.clone()),
            None => PrincipalId::new(&format!("{issuer}:{subject}")),
        }
    }

    /// This inventory, which is the configuration's, with the people whom issuers vouch for.
    pub(crate) fn with_people(&self, known: &[Known]) -> Self {
        let mut all = self.clone();
        let vouched = known.iter().filter_map(|known| self.vouched(known));
        for (id, person) in vouched {
            all.people.insert(id, person);
        }
        all
    }

    /// Who this is, by this inventory, which is the configuration's, and by the issuer's word.
    fn vouched(&self, known: &Known) -> Option<(PrincipalId, Person)> {
        let issuer = self.issuers.get(&known.issuer)?;
        let id = self.principal_of(&known.issuer, &known.subject).ok()?;
        let configured = self.people.get(&id).cloned();
        let mut person = configured.unwrap_or_else(|| nobody_yet(id.clone(), known));
        vouch(&mut person, issuer, known);
        Some((id, person))
    }
}

fn nobody_yet(id: PrincipalId, known: &Known) -> Person {
    let name = known.name.clone();
    let principal = Principal { id, name, groups: BTreeSet::new() };
    Person { principal, admin: false, auditor: false, disabled: false, email: None }
}

/// What the issuer says is added to what the configuration says; whom it refuses is shut out.
fn vouch(person: &mut Person, issuer: &Issuer, known: &Known) {
    match known.standing {
        Standing::Vouched => {
            let groups = issuer.groups_of(&known.groups);
            person.admin |= !groups.is_disjoint(&issuer.admins);
            person.auditor |= !groups.is_disjoint(&issuer.auditors);
            person.principal.groups.extend(groups);
            person.email = person.email.take().or_else(|| known.email.clone());
        }
        Standing::Refused | Standing::Lapsed => person.disabled = true,
    }
}

/// Puts this configuration in force, with the people whom issuers vouch for.
pub(crate) async fn configure(
    tx: &mut Transaction,
    base: Arc<Inventory>,
    identity: &Identity,
) -> Result<(), ControlError> {
    let known = table::people(tx.db()).await?;
    let mut merged = base.with_people(&known);
    remember(tx, &mut merged);
    let (merged, _) = merged.attended(tx.now).acquainted();
    let trust = trust(&identity.own.issuers.trust(), base.issuers.values())?;
    tx.decide_by(Arc::new(merged));
    tx.configured_by(base);
    let own = Arc::clone(&identity.own);
    tx.on_commit(move || own.issuers.trust_by(trust));
    Ok(())
}

/// Takes in what an issuer has just said of somebody, and ends what no longer follows from it.
pub(crate) async fn learn(
    tx: &mut Transaction,
    issuer: &Issuer,
    vouched: &Vouched,
) -> Result<(), ControlError> {
    let before = table::person(tx.db(), &issuer.name, &vouched.subject).await?;
    let known = Known {
        issuer: issuer.name.clone(),
        subject: vouched.subject.clone(),
        name: named(vouched, before.as_ref()),
        groups: grouped(vouched, before.as_ref()),
        email: vouched.email.clone().or_else(|| before.as_ref()?.email.clone()),
        standing: Standing::Vouched,
    };
    let row = row(&known.issuer, &known.subject);
    let token = vouched.refresh_token.as_ref().map(|token| {
        let vault = &tx.kernel().vault();
        vault.wrap(TABLE, &row, token.expose_secret().as_bytes())
    });
    let (now, next) = (tx.now, tx.now.after(issuer.refresh));
    table::put_person(tx.db(), &known, now, next, token.transpose()?.as_deref()).await?;
    if before.as_ref() == Some(&known) {
        return Ok(());
    }
    let kind = if before.is_some() { AuditKind::PersonChanged } else { AuditKind::PersonLearned };
    let detail = json!({
        "issuer": known.issuer, "subject": known.subject, "name": known.name,
        "groups": known.groups, "before": before.map(|before| before.groups),
    });
    evaluate_again(tx, &known, kind, detail).await.map(drop)
}

/// Takes away what followed from an issuer's word that no longer holds: login sessions and
/// grants end, live sessions are cut.
pub(crate) async fn disown(
    tx: &mut Transaction,
    issuer: &IssuerName,
    subject: &str,
    standing: Standing,
    why: &str,
) -> Result<(), ControlError> {
    table::set_standing(tx.db(), issuer, subject, standing).await?;
    let Some(known) = table::person(tx.db(), issuer, subject).await? else { return Ok(()) };
    let kind = match standing {
        Standing::Vouched => return Ok(()),
        Standing::Refused => AuditKind::PersonRefused,
        Standing::Lapsed => AuditKind::PersonLapsed,
    };
    let detail = json!({ "issuer": issuer, "subject": subject, "why": why });
    if let Some(principal) = evaluate_again(tx, &known, kind, detail).await? {
        let which = Which::Of(&principal);
        logins::end_logins(tx, which, LoginEnd::IssuerRefused, By::Control).await?;
    }
    Ok(())
}

/// Puts what is known of this person by now in force, and reviews all that they hold.
async fn evaluate_again(
    tx: &mut Transaction,
    known: &Known,
    kind: AuditKind,
    detail: serde_json::Value,
) -> Result<Option<PrincipalId>, ControlError> {
    let base = tx.kernel().configured();
    let Some((principal, person)) = base.vouched(known) else { return Ok(None) };
    let mut next = Inventory::clone(&tx.inventory);
    let before = next.people.get(&principal).and_then(|before| before.email.clone());
    let moved = before != person.email;
    next.people.insert(principal.clone(), person);
    next.call_up(&principal);
    let (next, related) = if moved { next.acquainted() } else { (next, false) };
    tx.know(Arc::new(next));
    tx.record(Event::new(By::Control, kind, &principal, detail)).await?;
    // That two are one person is about what either approved for whomever.
    let whose = (!related).then_some(&principal);
    tx.reconsider(whose).await?;
    Ok(Some(principal))
}

/// What was learned so far stays known under another configuration.
pub(crate) fn remember(tx: &Transaction, next: &mut Inventory) {
    next.context.learned = tx.inventory.context.learned.clone();
}

/// Which row of its table somebody's refresh token is bound to.
pub(super) fn row(issuer: &IssuerName, subject: &str) -> String {
    format!("{issuer}:{subject}")
}

fn named(vouched: &Vouched, before: Option<&Known>) -> String {
    let name = vouched.name.clone().or_else(|| before.map(|before| before.name.clone()));
    name.unwrap_or_else(|| vouched.subject.clone())
}

/// In an order of our own, so that another one is no change. An answer that holds nothing in which
/// groups could stand takes none back.
fn grouped(vouched: &Vouched, before: Option<&Known>) -> Vec<String> {
    let groups = vouched.groups.as_ref().or(before.map(|before| &before.groups));
    let groups: BTreeSet<&String> = groups.into_iter().flatten().collect();
    groups.into_iter().cloned().collect()
}

/// An issuer's word of this time or before no longer holds without another one: where it can be asked
/// again, some time beyond the next time; where it can't, as long as a sign-in.
pub(super) fn lapsed_since(
    issuer: &Issuer,
    now: Timestamp,
    askable: bool,
    sign_in: Ttl,
) -> Timestamp {
    let spans =
        if askable { [issuer.refresh, issuer.refresh_grace] } else { [sign_in, Ttl::from_secs(0)] };
    let before = |at: i64, span: Ttl| at.saturating_sub(span.millis());
    Timestamp::from_millis(spans.into_iter().fold(now.millis(), before))
}
