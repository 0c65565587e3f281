//! What becomes of a grant: it is used, given back, or revoked.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use accept::neighbourhood;
use certs::{IssuedKey, LoginCert, SshIssuedKey};
use policies::{
    Authn, Channel, Credential, End, Facts, Grant, GrantEvent, GrantId, Kind, Method, Record,
    Request, Resource, SessionId, StepUp, Terms, Timestamp, Ttl,
};
use secrecy::SecretString;
use serde_json::json;
use sqlx::SqliteConnection;

use crate::access::load::granted;
use crate::access::{Access, load, step_up, terms, transitions};
use crate::kernel::cuts::{Deed, InForce, What};
use crate::kernel::state::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::audit_kind::AuditKind;
use crate::model::carrier::Carrier;
use crate::model::error::{ControlError, InternalError, Refusal};
use crate::model::event::Event;
use crate::model::inventory::Inventory;
use crate::model::unusual::Unusual;
use crate::policy::risk;
use crate::store;
use crate::store::requests::Stored;

/// How long an upstream certificate lasts. It only has to open a connection: the life of a
/// certificate is not the life of a lease.
const CERTIFICATE_LIFE: Ttl = Ttl::from_secs(600);

/// What a connection needs to go on.
pub(crate) struct Begun {
    pub(crate) ends: Timestamp,
    pub(crate) credential: Upstream,
    /// Whether the credential may serve the next connection too.
    pub(crate) keep: bool,
    pub(crate) rights: Rights,
}

/// What a session may open, and what its recording has to keep: decided once, when it begins.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    pub(crate) channels: BTreeSet<Channel>,
    pub(crate) record: BTreeSet<Record>,
}

/// A connection that begins to use a grant.
pub(crate) struct Visit {
    pub(crate) session: SessionId,
    pub(crate) authn: Option<Authn>,
    pub(crate) source: Option<IpAddr>,
}

/// How the gateway signs in upstream.
pub(crate) enum Upstream {
    Password(SecretString),
    Certificate(Box<IssuedKey>),
    /// A key that was made for this login, with its certificate.
    SshCertificate(Box<SshIssuedKey>),
    /// A private key in OpenSSH's format.
    SshKey(SecretString),
}

impl Access {
    /// Gives one's own grant back.
    ///
    /// # Errors
    /// Where it isn't the actor's, or is over.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, grant = %id))]
    pub async fn done(&self, actor: &Actor, id: &GrantId) -> Result<InForce<Grant>, ControlError> {
        let (access, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.kernel.to_the_end(async move { access.end_grant(&actor, &id, End::Done).await }).await
    }

    /// Ends somebody's grant. This is for admins and for those who may decide on its request.
    ///
    /// # Errors
    /// Where the actor may not, or it is over.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, grant = %id))]
    pub async fn revoke(
        &self,
        actor: &Actor,
        id: &GrantId,
        reason: String,
    ) -> Result<InForce<Grant>, ControlError> {
        let (access, actor, id) = (self.clone(), actor.clone(), id.clone());
        let end = End::Revoked(describe(&actor.principal.name, &reason));
        self.kernel.to_the_end(async move { access.end_grant(&actor, &id, end).await }).await
    }

    async fn end_grant(
        &self,
        actor: &Actor,
        id: &GrantId,
        end: End,
    ) -> Result<InForce<Grant>, ControlError> {
        match self.end_in_store(actor, id, end.clone()).await {
            Err(error) if store::is_fault(&error) => {
                self.end_without_store(actor, id, end, error).await
            }
            done => done,
        }
    }

    async fn end_in_store(
        &self,
        actor: &Actor,
        id: &GrantId,
        end: End,
    ) -> Result<InForce<Grant>, ControlError> {
        let mut tx = self.kernel.begin_anyway().await?;
        let grant = granted(&mut tx, id).await?;
        let (inventory, now) = (Arc::clone(&tx.inventory), tx.now);
        self.may_end(tx.db(), &inventory, now, actor, &grant, &end).await?;
        let value = transitions::step(&mut tx, &grant, GrantEvent::End(end), actor).await?;
        let durable = tx.commit_cut().await?;
        Ok(InForce { value, durable })
    }

    /// The same where not even a transaction can begin: what can be read is enough to decide by.
    async fn end_without_store(
        &self,
        actor: &Actor,
        id: &GrantId,
        end: End,
        error: ControlError,
    ) -> Result<InForce<Grant>, ControlError> {
        let _turn = self.kernel.store().turn().await;
        let (inventory, now) = (self.kernel.inventory(), self.kernel.now());
        let mut db = self.kernel.store().read().await?;
        let found = store::grants::find(&mut db, id).await?;
        let grant = self.kernel.cuts().apply_to(found.ok_or(Refusal::NotFound("grant"))?);
        self.may_end(&mut db, &inventory, now, actor, &grant, &end).await?;
        let value = grant.apply(GrantEvent::End(end.clone()), now)?;
        let what = What::Grant { grant: value.id.clone(), end };
        self.kernel.cut_now(now, vec![Deed::new(actor.into(), what)], error).await?;
        Ok(InForce { value, durable: false })
    }

    async fn may_end(
        &self,
        db: &mut SqliteConnection,
        inventory: &Inventory,
        now: Timestamp,
        actor: &Actor,
        grant: &Grant,
        end: &End,
    ) -> Result<(), ControlError> {
        let own = grant.principal == actor.principal.id;
        if *end == End::Done {
            let message = "only its holder gives a grant back: others revoke it";
            return own.then_some(()).ok_or_else(|| Refusal::Forbidden(message.to_owned()).into());
        }
        self.kernel.not_shut_out(&actor.asker(), now)?;
        let person = inventory.person(&actor.principal.id)?;
        if person.admin {
            return Ok(());
        }
        if own {
            let message = "this is your own grant: give it back with `postern done`";
            return Err(Refusal::Forbidden(message.to_owned()).into());
        }
        // Nobody was asked in an emergency; whoever is to look at it may end it, too.
        if let Some(review) = store::reviews::of(db, &grant.id).await? {
            return Ok(review.concerns(&inventory.reviewer(&person.principal, &review)?)?);
        }
        let asked = store::requests::find(db, &grant.request).await?;
        let request = asked.ok_or(Refusal::NotFound("request"))?.request;
        Ok(request.may_decide(&inventory.decider(&person.principal, &request)?)?)
    }

    /// A connection begins to use a grant. The first one starts its clock. Where it takes a step-up
    /// that isn't there, nothing has begun; and nothing begins while the store can't be written.
    #[tracing::instrument(skip_all, fields(grant = %id))]
    pub(crate) async fn begin(&self, id: &GrantId, visit: Visit) -> Result<Begun, ControlError> {
        let (access, id) = (self.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let (grant, keep, rights) = use_grant(&mut tx, &id, &visit).await?;
                let ends = grant.deadline().ok_or(Refusal::NotFound("grant"))?;
                let credential = upstream(&tx, &grant, &rights)?;
                tx.commit().await?;
                Ok(Begun { ends, credential, keep, rights })
            })
            .await
    }
}

fn describe(name: &str, reason: &str) -> String {
    let reason = crate::platform::sanitize::clip(reason, 500);
    if reason.is_empty() { format!("by {name}") } else { format!("by {name}: {reason}") }
}

/// Asks the rules once more, with where this very connection comes from and what was touched for
/// it, and uses the grant.
async fn use_grant(
    tx: &mut Transaction,
    id: &GrantId,
    visit: &Visit,
) -> Result<(Grant, bool, Rights), ControlError> {
    let grant = granted(tx, id).await?;
    let used = transitions::step(tx, &grant, GrantEvent::Use, holder(&grant)).await?;
    let asker = visitor(&grant, visit);
    tx.kernel().not_locked(&asker, &grant.resource, tx.now)?;
    let stored = load::stored(tx, &grant.request).await?;
    let given = step_up::latest(tx, &asker, &grant.resource).await?;
    let from = visit.source.or(stored.source);
    let unusual = risk::assess_risk(tx, &asker, from).await?;
    let facts = step_up::facts(unusual.facts(tx.now, from), given.as_ref());
    let terms = terms::covers(tx, &grant, &facts).await?;
    let touch = match step_up::fresh(tx, &terms, given.as_ref()) {
        // A session outlives the touch that let it in: what it opens later needs no other.
        Err(_) if was_proved(tx, &visit.session, &grant.id).await? => None,
        touch => touch.map_err(|error| told_why(error, &unusual))?,
    };
    if let Some(step_up) = touch {
        let (session, now) = (&visit.session, tx.now);
        store::proofs::insert_session(tx.db(), session, &grant.id, &step_up.id, now).await?;
        let detail = json!({ "grant": grant.id, "step_up": step_up::to_json(step_up) });
        let event = Event::new(holder(&grant), AuditKind::SessionProved, &visit.session, detail);
        tx.record(event).await?;
    }
    if touch.is_some() || is_vouched(visit, &stored) {
        let device = match &asker.carrier {
            Carrier::Device(device) => Some(device),
            Carrier::Session | Carrier::Unnamed => None,
        };
        risk::learn_place(tx, &grant.principal, visit.source, device).await?;
    }
    let rights = rights(tx, &grant, &stored.request, &terms, &facts, given.as_ref());
    // What a touch opened, if only in part, is asked about again the next time, and so is what
    // hangs on what is usual.
    let weighed = tx.inventory.rules.reads_risk();
    let keep = terms.step_up.is_none() && facts.step_up.is_none() && !weighed;
    Ok((used, keep, rights))
}

/// Whether somebody touched for this very session when it began.
async fn was_proved(
    tx: &mut Transaction,
    session: &SessionId,
    grant: &GrantId,
) -> Result<bool, ControlError> {
    Ok(store::proofs::is_session_proved(tx.db(), session, grant).await?)
}

/// Which of the target's kinds of channels the rules let this grant open. One for which they take
/// more than was given for the grant stays shut.
fn rights(
    tx: &Transaction,
    grant: &Grant,
    request: &Request,
    terms: &Terms,
    facts: &Facts,
    given: Option<&StepUp>,
) -> Rights {
    let mut rights = Rights { record: terms.record.clone(), ..Rights::default() };
    let target = tx.inventory.targets.get(&grant.resource.target);
    let channels = target.and_then(|target| target.ssh.as_ref()).map(|ssh| &ssh.channels);
    for channel in channels.into_iter().flatten() {
        let facts = facts.clone().on(*channel);
        let Ok(terms) = tx.inventory.still_gives(request, grant, &facts) else { continue };
        if step_up::fresh(tx, &terms, given).is_ok() {
            rights.channels.insert(*channel);
            rights.record.extend(terms.record);
        }
    }
    rights
}

fn upstream(tx: &Transaction, grant: &Grant, rights: &Rights) -> Result<Upstream, ControlError> {
    let (target, resource) = tx.inventory.resolve(&grant.resource)?;
    let kind = target.logins.get(&resource.login);
    match kind.ok_or(Refusal::NotFound("login"))? {
        Credential::Password => {
            let secret = tx.inventory.secrets.get(&target.name, &resource.login);
            let secret = secret.ok_or(Refusal::NotFound("upstream password"))?;
            Ok(Upstream::Password(secret.clone()))
        }
        Credential::Key => {
            let secret = tx.inventory.secrets.get(&target.name, &resource.login);
            let secret = secret.ok_or(Refusal::NotFound("upstream key"))?;
            Ok(Upstream::SshKey(secret.clone()))
        }
        Credential::Certificate => match target.kind {
            Kind::Postgres => {
                let life = CERTIFICATE_LIFE.duration();
                let login = resource.login.as_str();
                let authority = &tx.kernel().settings().authority;
                let issued = authority.issue_login(login, life, tx.now.millis())?;
                Ok(Upstream::Certificate(Box::new(issued)))
            }
            Kind::Ssh => ssh_certificate(tx, grant, &resource, rights),
        },
    }
}

/// The person's name and the grant are in the key id, which the target's own log shows. At the
/// target it may do what the rules let the session do, and no more.
fn ssh_certificate(
    tx: &Transaction,
    grant: &Grant,
    resource: &Resource,
    rights: &Rights,
) -> Result<Upstream, ControlError> {
    let ssh = tx.kernel().settings().ssh.as_ref();
    let ssh = ssh.ok_or(Refusal::NotFound("authority for SSH"))?;
    let permits = permits(&rights.channels);
    let requested = LoginCert {
        login: resource.login.as_str(),
        key_id: &format!("postern {} {}", grant.principal, grant.id),
        permits: &permits,
        life: CERTIFICATE_LIFE.duration(),
    };
    let issued = ssh.authority.issue_login(&requested, tx.now.millis());
    let issued = issued.map_err(InternalError::IssueSsh)?;
    Ok(Upstream::SshCertificate(Box::new(issued)))
}

/// What a target has to let a certificate do, so that these can be opened.
fn permits(channels: &BTreeSet<Channel>) -> Vec<&'static str> {
    let permit = |kind: &Channel| match kind {
        Channel::Shell
        | Channel::Exec
        | Channel::Sftp
        | Channel::SftpWrite
        | Channel::Subsystem => None,
        Channel::DirectTcpip
        | Channel::DirectStreamlocal
        | Channel::ForwardedTcpip
        | Channel::ForwardedStreamlocal => Some("permit-port-forwarding"),
        Channel::Agent => Some("permit-agent-forwarding"),
        Channel::X11 => Some("permit-X11-forwarding"),
    };
    channels.iter().filter_map(permit).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether its person confirmed this very connection, or others approved it from where it comes.
fn is_vouched(visit: &Visit, asked: &Stored) -> bool {
    let confirmed = visit.authn.as_ref().is_some_and(|authn| authn.method == Method::Confirmed);
    let (here, there) = (visit.source.map(neighbourhood), asked.source.map(neighbourhood));
    confirmed || (here.is_some() && here == there && !asked.request.state.approvals().is_empty())
}

/// A step-up is wanted: because of what is unusual, where something is.
fn told_why(mut error: ControlError, unusual: &Unusual) -> ControlError {
    let because = unusual.describe();
    if let ControlError::Refused(Refusal::StepUpNeeded { why, .. }) = &mut error
        && !because.is_empty()
    {
        *why = format!("{why}: {}", because.join(", "));
    }
    error
}

fn visitor(grant: &Grant, visit: &Visit) -> Asker {
    let authn = visit.authn.as_ref();
    Asker {
        principal: grant.principal.clone(),
        device: authn.and_then(|authn| authn.device.clone()),
        carrier: authn.map_or(Carrier::Unnamed, Carrier::of),
        credential: authn.map(|authn| authn.evidence.clone()),
        place: crate::model::actor::place(authn, visit.source),
        touch: None,
    }
}

fn holder(grant: &Grant) -> crate::model::event::By {
    crate::model::event::By::Principal(grant.principal.clone())
}
