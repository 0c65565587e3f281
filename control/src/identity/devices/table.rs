//! The terminals that wait, in memory alone, and what their codes are good for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use accept::network;
use certs::{Csr, Issued};
use policies::{DeviceId, Digest, LoginId, Method, PrincipalId, Purpose, Timestamp, Ttl};
use sha2::{Digest as _, Sha256};

use crate::model::actor::Actor;
use crate::model::error::{Refusal, TooMany};
use crate::model::login::{AtIssuer, LoginSession};
use crate::model::statement::Statement;
use crate::platform::ids;
use crate::platform::ids::Hash;

/// How often a terminal may ask whether it is in, and by how much that grows where it asks faster.
pub(super) const INTERVAL: Ttl = Ttl::from_secs(5);

/// How many wait at once.
const MOST: usize = 2_000;

/// How many of one network wait at once.
const MOST_EACH: usize = 20;

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

/// All terminals that wait.
#[derive(Default)]
pub(crate) struct Devices(Mutex<Table>);

#[derive(Default)]
struct Table {
    waiting: HashMap<Hash, Ask>,
    by_code: HashMap<String, Hash>,
}

pub(super) struct Ask {
    pub(super) view: DeviceView,
    pub(super) code: String,
    pub(super) csr: Csr,
    pub(super) interval: Ttl,
    pub(super) polled_at: Option<Timestamp>,
    /// The login session that looked it up.
    pub(super) reader: Option<LoginId>,
    pub(super) answer: Answer,
}

/// Each is given once, in this order; a claimed one whose yes can't be written down lapses.
pub(super) enum Answer {
    None,
    Claimed,
    Yes(Voucher),
    No,
}

/// Who said yes, and how they had proved who they are.
#[derive(Clone)]
pub(super) struct Voucher {
    pub(super) principal: PrincipalId,
    pub(super) login: LoginId,
    pub(super) method: Method,
    pub(super) issuer: Option<AtIssuer>,
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
    pub(super) fn insert(
        &self,
        device_code: &Hash,
        ask: Ask,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mut table = self.table();
        table.forget(now);
        let each = table.waiting.values().filter(|other| other.network() == ask.network()).count();
        if each >= MOST_EACH {
            return Err(Refusal::TooMany(TooMany::Waiting));
        }
        if table.waiting.len() >= MOST {
            table.evict();
        }
        table.by_code.insert(ask.code.clone(), *device_code);
        table.waiting.insert(*device_code, ask);
        Ok(())
    }

    pub(super) fn fresh_code(&self) -> String {
        let table = self.table();
        let mut code = ids::fresh_code();
        while table.by_code.contains_key(&code) {
            code = ids::fresh_code();
        }
        code
    }

    /// Looks a code up for a login session: from then on it is of no use in any other.
    pub(super) fn read(&self, code: &str, reader: &LoginId, now: Timestamp) -> Option<DeviceView> {
        let mut table = self.table();
        let ask = table.answerable(code, now)?;
        let bound = ask.reader.get_or_insert_with(|| reader.clone());
        (bound == reader).then(|| ask.view.clone())
    }

    /// Takes the right to answer: nobody else has it any more.
    pub(super) fn claim(
        &self,
        code: &str,
        reader: &LoginId,
        digest: Option<&Digest>,
        now: Timestamp,
    ) -> Result<DeviceView, Refusal> {
        let mut table = self.table();
        let found = table.answerable(code, now).filter(|ask| ask.reader.as_ref() == Some(reader));
        let ask = found.ok_or(Refusal::NotFound("code of a waiting terminal"))?;
        if digest.is_some_and(|digest| *digest != ask.view.digest) {
            let message = "this isn't the terminal that you looked at: look again";
            return Err(Refusal::Conflict(message.to_owned()));
        }
        ask.answer = Answer::Claimed;
        Ok(ask.view.clone())
    }

    pub(super) fn answer(&self, code: &str, answer: Answer) {
        let mut table = self.table();
        let Some(key) = table.by_code.remove(code) else { return };
        if let Some(ask) = table.waiting.get_mut(&key) {
            ask.answer = answer;
        }
    }

    /// What a terminal hears; with a yes it is taken out, so that one asker gets it.
    pub(super) fn poll(&self, device_code: &Hash, now: Timestamp) -> Heard {
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

pub(super) enum Heard {
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
pub(super) fn digest(view: &DeviceView) -> Digest {
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
