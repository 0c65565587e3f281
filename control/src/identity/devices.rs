//! Signing a terminal in by a browser, after RFC 8628: the terminal shows a code, its person types it
//! where they are signed in, reads what asks, and says yes; the terminal, which polls, is in.
//!
//! A code opens nothing by itself. The first login session that looks it up is the only one that can
//! answer it, once; it dies with its time. What waits is kept in memory alone: after a restart a
//! terminal asks anew.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use certs::{Csr, Issued};
use policies::{DeviceId, Digest, LoginId, Method, PrincipalId, Purpose, StepUpId, Timestamp, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::identity::challenge::Proof;
use crate::identity::credentials::read_csr;
use crate::identity::logins::{LoginSession, NewLogin};
use crate::identity::{Identity, credentials, logins};
use crate::kernel::transaction::Transaction;
use crate::model::actor::Actor;
use crate::model::error::ControlError;
use crate::model::event::{Event, clip};
use crate::model::login::{AtIssuer, Origin, Rank};
use crate::model::statement::Statement;
use crate::platform::ids;
use crate::platform::ids::Hash;
use accept::network;

/// How long a code is good.
const PATIENCE: Ttl = Ttl::from_secs(600);
/// How often a terminal may ask whether it is in, and by how much that grows where it asks faster.
const INTERVAL: Ttl = Ttl::from_secs(5);
/// How many wait at once.
const MOST: usize = 2_000;
/// How many of one network wait at once.
const MOST_EACH: usize = 20;
const SECRET: &str = "pdc_";
const AGENT_MAX: usize = 200;

/// A terminal's codes.
#[derive(Debug)]
pub struct Offered {
    /// For the terminal alone: with it, it asks whether it is in.
    pub device_code: SecretString,
    /// For its person to type.
    pub user_code: String,
    /// Until when both are good.
    pub expires_at: Timestamp,
    /// How often the terminal may ask.
    pub interval: Ttl,
}

/// A terminal that waits to be signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// Its name, public.
    pub id: String,
    /// The name that it gave itself, which its certificates will bear.
    pub device: DeviceId,
    /// Where it is, as far as that is known.
    pub address: Option<IpAddr>,
    /// What its program calls itself; not checked.
    pub agent: String,
    /// Since when it waits.
    pub asked_at: Timestamp,
    /// Until when its code is good.
    pub expires_at: Timestamp,
    /// Digest of all this: what a yes says yes to.
    pub digest: Digest,
}

/// What a terminal hears when it asks whether it is in.
#[derive(Debug)]
pub enum Polled {
    /// Nobody answered yet.
    Pending,
    /// It asks too often, and has to leave more time from now on.
    SlowDown,
    /// Somebody said no.
    Denied,
    /// Nobody answered in time, or there is no such code.
    Expired,
    /// It is in.
    SignedIn(Box<(LoginSession, Issued)>),
}

/// All terminals that wait.
#[derive(Default)]
pub(crate) struct Devices(Mutex<Table>);

#[derive(Default)]
struct Table {
    waiting: HashMap<Hash, Ask>,
    by_code: HashMap<String, Hash>,
}

struct Ask {
    view: DeviceView,
    code: String,
    csr: Csr,
    interval: Ttl,
    polled_at: Option<Timestamp>,
    /// The login session that looked it up.
    reader: Option<LoginId>,
    answer: Answer,
}

/// Each is given once, in this order; a claimed one whose yes can't be written down lapses.
enum Answer {
    None,
    Claimed,
    Yes(Voucher),
    No,
}

/// Who said yes, and how they had proved who they are.
#[derive(Clone)]
struct Voucher {
    principal: PrincipalId,
    login: LoginId,
    method: Method,
    issuer: Option<AtIssuer>,
}

impl DeviceView {
    /// What a person who has a passkey agrees to by it.
    #[must_use]
    pub fn statement(&self, actor: &Actor) -> Statement {
        let principal = &actor.principal;
        let address = self.address.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
        let lines = [
            ("Signs in as", format!("{} ({})", principal.name, principal.id)),
            ("Device (its own word)", self.device.to_string()),
            ("Its address", address),
            ("Program (unchecked)", self.agent.clone()),
            ("Waits since", self.asked_at.to_string()),
            ("Waits until", self.expires_at.to_string()),
        ];
        let lines = lines.map(|(label, text)| (label.to_owned(), text)).into();
        Statement { purpose: Purpose::SignIn, subject: self.id.clone(), lines }
    }
}

impl Devices {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a terminal wait. Where all places are taken, the oldest of the network with the most makes
    /// room, so that a few networks can't keep out everybody else.
    fn enter(&self, device_code: &Hash, ask: Ask, now: Timestamp) -> Result<(), ControlError> {
        let mut table = self.table();
        table.forget(now);
        let each = table.waiting.values().filter(|other| other.network() == ask.network()).count();
        if each >= MOST_EACH {
            return Err(ControlError::Busy);
        }
        if table.waiting.len() >= MOST {
            table.evict();
        }
        table.by_code.insert(ask.code.clone(), *device_code);
        table.waiting.insert(*device_code, ask);
        Ok(())
    }

    fn fresh_code(&self) -> String {
        let table = self.table();
        let mut code = ids::fresh_code();
        while table.by_code.contains_key(&code) {
            code = ids::fresh_code();
        }
        code
    }

    /// Looks a code up for a login session: from then on it is of no use in any other.
    fn read(&self, code: &str, reader: &LoginId, now: Timestamp) -> Option<DeviceView> {
        let mut table = self.table();
        let ask = table.answerable(code, now)?;
        let bound = ask.reader.get_or_insert_with(|| reader.clone());
        (bound == reader).then(|| ask.view.clone())
    }

    /// Takes the right to answer: nobody else has it any more.
    fn claim(
        &self,
        code: &str,
        (reader, digest): (&LoginId, Option<&Digest>),
        now: Timestamp,
    ) -> Result<DeviceView, ControlError> {
        let mut table = self.table();
        let found = table.answerable(code, now).filter(|ask| ask.reader.as_ref() == Some(reader));
        let ask = found.ok_or(ControlError::NotFound("code of a waiting terminal"))?;
        if digest.is_some_and(|digest| *digest != ask.view.digest) {
            let message = "this isn't the terminal that you looked at: look again";
            return Err(ControlError::Conflict(message.to_owned()));
        }
        ask.answer = Answer::Claimed;
        Ok(ask.view.clone())
    }

    fn answer(&self, code: &str, answer: Answer) {
        let mut table = self.table();
        let Some(key) = table.by_code.remove(code) else { return };
        if let Some(ask) = table.waiting.get_mut(&key) {
            ask.answer = answer;
        }
    }

    /// What a terminal hears; with a yes it is taken out, so that one asker gets it.
    fn poll(&self, device_code: &Hash, now: Timestamp) -> Heard {
        let mut table = self.table();
        table.forget(now);
        let Some(ask) = table.waiting.get_mut(device_code) else {
            return Heard::Now(Polled::Expired);
        };
        let early = ask.polled_at.is_some_and(|at| now < at.after(ask.interval));
        ask.polled_at = Some(now);
        if early {
            let longer = ask.interval.millis().unsigned_abs() + INTERVAL.millis().unsigned_abs();
            ask.interval = Ttl::from_millis(longer);
            return Heard::Now(Polled::SlowDown);
        }
        match &ask.answer {
            Answer::None | Answer::Claimed => Heard::Now(Polled::Pending),
            Answer::No => Heard::Now(Polled::Denied),
            Answer::Yes(voucher) => {
                let voucher = voucher.clone();
                table
                    .waiting
                    .remove(device_code)
                    .map_or(Heard::Now(Polled::Expired), |ask| Heard::Yes(Box::new((ask, voucher))))
            }
        }
    }
}

enum Heard {
    Now(Polled),
    Yes(Box<(Ask, Voucher)>),
}

impl Ask {
    fn network(&self) -> Option<IpAddr> {
        self.view.address.map(network)
    }
}

impl Table {
    /// Takes the oldest of the network with the most out.
    fn evict(&mut self) {
        let mut each: HashMap<_, usize> = HashMap::new();
        for ask in self.waiting.values() {
            *each.entry(ask.network()).or_default() += 1;
        }
        let most = each.values().copied().max();
        let busy = |ask: &Ask| each.get(&ask.network()).copied() == most;
        let all = self.waiting.iter().filter(|(_, ask)| busy(ask));
        let oldest = all.min_by_key(|(_, ask)| ask.view.asked_at).map(|(key, _)| *key);
        if let Some(ask) = oldest.and_then(|key| self.waiting.remove(&key)) {
            self.by_code.remove(&ask.code);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        self.waiting.retain(|_, ask| now < ask.view.expires_at);
        let waiting = &self.waiting;
        self.by_code.retain(|_, key| waiting.contains_key(key));
    }

    fn answerable(&mut self, code: &str, now: Timestamp) -> Option<&mut Ask> {
        let key = self.by_code.get(code)?;
        let ask = self.waiting.get_mut(key)?;
        let open = matches!(ask.answer, Answer::None) && now < ask.view.expires_at;
        open.then_some(ask)
    }
}

/// The digest of what a yes says yes to.
fn digest(view: &DeviceView) -> Digest {
    let mut hash = Sha256::new();
    for part in [
        "postern device v1",
        &view.id,
        view.device.as_str(),
        &view.address.map(|address| address.to_string()).unwrap_or_default(),
        &view.agent,
        &view.asked_at.millis().to_string(),
    ] {
        // Lengths keep two different terminals from running together into one text.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    ids::hex(&hash.finalize()).into()
}

impl Identity {
    /// Lets a terminal wait to be signed in, under codes of its own.
    ///
    /// # Errors
    /// Where its certificate request is malformed, or too many wait.
    pub fn ask_device(
        &self,
        csr_pem: &str,
        device: DeviceId,
        origin: &Origin,
    ) -> Result<Offered, ControlError> {
        let (csr, now) = (read_csr(csr_pem)?, self.kernel.now());
        let mut view = DeviceView {
            id: ids::fresh_text("dv"),
            device,
            address: origin.address,
            agent: clip(&origin.agent, AGENT_MAX),
            asked_at: now,
            expires_at: now.after(PATIENCE),
            digest: Digest::from(String::new()),
        };
        view.digest = digest(&view);
        let (device_code, user_code) = (ids::fresh_secret(SECRET), self.own.devices.fresh_code());
        let expires_at = view.expires_at;
        let ask = Ask {
            view,
            code: user_code.clone(),
            csr,
            interval: INTERVAL,
            polled_at: None,
            reader: None,
            answer: Answer::None,
        };
        self.own.devices.enter(&ids::hash(&device_code), ask, now)?;
        Ok(Offered { device_code, user_code, expires_at, interval: INTERVAL })
    }

    /// The waiting terminal of a code that somebody typed. It can be answered in their login session
    /// alone from then on.
    ///
    /// # Errors
    /// Where there is none, or the actor looks too often.
    pub async fn device_by_code(
        &self,
        actor: &Actor,
        code: &str,
    ) -> Result<DeviceView, ControlError> {
        self.own.limits.code(&actor.principal.id)?;
        let code = ids::read_code(code);
        let found =
            code.and_then(|code| self.own.devices.read(&code, &actor.login, self.kernel.now()));
        match found {
            Some(view) => Ok(view),
            None => self.mistyped(actor, "code of a waiting terminal").await,
        }
    }

    fn typed(&self, actor: &Actor, code: &str) -> Result<String, ControlError> {
        self.own.limits.code(&actor.principal.id)?;
        ids::read_code(code).ok_or(ControlError::NotFound("code of a waiting terminal"))
    }

    /// Says that a waiting terminal is the actor's own: it will be signed in as they are. Whoever has
    /// a passkey says so by it: the name of the challenge, and what came back.
    ///
    /// # Errors
    /// Where it is gone, reads otherwise than the digest says, the actor is locked, or has to prove
    /// themselves and doesn't.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn confirm_device(
        &self,
        actor: &Actor,
        code: &str,
        digest: Digest,
        proof: Option<(&str, Proof)>,
    ) -> Result<DeviceView, ControlError> {
        let code = self.typed(actor, code)?;
        let step_up = self.touched(actor, &code, proof).await?;
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                tx.acting(&actor)?;
                let voucher = voucher(&mut tx, &actor).await?;
                let devices = &identity.own.devices;
                let view = devices.claim(&code, (&actor.login, Some(&digest)), tx.now)?;
                tx.record(Event::new(
                    &actor,
                    "device.confirmed",
                    &view.id,
                    told(&view, &actor, step_up.as_ref()),
                ))
                .await?;
                tx.commit().await?;
                devices.answer(&code, Answer::Yes(voucher));
                Ok(view)
            })
            .await
    }

    /// The proof of somebody who has something to prove themselves with; none of others.
    async fn touched(
        &self,
        actor: &Actor,
        code: &str,
        proof: Option<(&str, Proof)>,
    ) -> Result<Option<StepUpId>, ControlError> {
        let Some((challenge, proof)) = proof else {
            return if self.factors(&actor.principal.id).await?.any() {
                let message = "confirm the terminal with your passkey: load the page again";
                Err(ControlError::Forbidden(message.to_owned()))
            } else {
                Ok(None)
            };
        };
        let view = self.own.devices.read(code, &actor.login, self.kernel.now());
        let digest = view.ok_or(ControlError::NotFound("code of a waiting terminal"))?;
        let digest = digest.statement(actor).digest();
        let proven = self.prove(actor, challenge, proof, Purpose::SignIn, &digest, None).await?;
        Ok(Some(proven.id))
    }

    /// Says that a waiting terminal is not the actor's.
    ///
    /// # Errors
    /// Where it is gone.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn deny_device(&self, actor: &Actor, code: &str) -> Result<(), ControlError> {
        let code = self.typed(actor, code)?;
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let devices = &identity.own.devices;
                let view = devices.claim(&code, (&actor.login, None), tx.now)?;
                devices.answer(&code, Answer::No);
                tx.record(Event::new(&actor, "device.denied", &view.id, told(&view, &actor, None)))
                    .await?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Whether a terminal is in. The one that hears yes gets a session and a certificate, once.
    ///
    /// # Errors
    /// Where these can't be given any more.
    pub async fn poll_device(&self, device_code: &SecretString) -> Result<Polled, ControlError> {
        if !ids::is_secret(device_code.expose_secret(), SECRET) {
            return Ok(Polled::Expired);
        }
        let (ask, voucher) = match self.own.devices.poll(&ids::hash(device_code), self.kernel.now())
        {
            Heard::Now(polled) => return Ok(polled),
            Heard::Yes(yes) => *yes,
        };
        let identity = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let signed_in = sign_device_in(&mut tx, &ask, voucher).await?;
                tx.commit().await?;
                Ok(Polled::SignedIn(Box::new(signed_in)))
            })
            .await
    }
}

/// What the audit log tells of an answer.
fn told(view: &DeviceView, actor: &Actor, step_up: Option<&StepUpId>) -> serde_json::Value {
    json!({
        "device": view.device, "address": view.address, "agent": view.agent,
        "digest": view.digest, "login": actor.login, "step_up": step_up,
    })
}

/// The actor's session, as it vouches for a terminal.
async fn voucher(tx: &mut Transaction, actor: &Actor) -> Result<Voucher, ControlError> {
    credentials::live_until(tx, &actor.login).await?;
    let login = credentials::live_login(tx, &actor.login).await?;
    let (principal, method) = (login.principal, login.method);
    Ok(Voucher { principal, login: login.id, method, issuer: login.issuer })
}

/// A yes holds only while the session in which it was said does, which opening looks at.
async fn sign_device_in(
    tx: &mut Transaction,
    ask: &Ask,
    voucher: Voucher,
) -> Result<(LoginSession, Issued), ControlError> {
    let origin = Origin {
        kind: crate::model::login::LoginKind::Terminal,
        device: Some(ask.view.device.clone()),
        address: ask.view.address,
        agent: ask.view.agent.clone(),
    };
    let Voucher { principal, login, method, issuer } = voucher;
    let (rank, by) = (Rank::Full, Some(login));
    let new = NewLogin { principal, method, rank, issuer, by, origin };
    let session = logins::open_login(tx, new).await?;
    let (actor, detail) = (&session.actor, json!({ "terminal": ask.view.id }));
    tx.record(Event::new(actor, "device.signed-in", &actor.login, detail)).await?;
    let issued = credentials::certify(tx, &session.actor, &ask.csr, &ask.view.device).await?;
    Ok((session, issued))
}
