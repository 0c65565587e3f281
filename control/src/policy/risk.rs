//! What is unusual about an access request or a connection, for rules to evaluate: a network or a device that they never
//! came by, and how often it failed lately with something of theirs.
//!
//! Only acts that somebody proved teach what is usual: a sign-in where they are, and a connection that
//! its person touched for or confirmed, or that others approved from where it comes. A stolen
//! certificate that opens what takes no proof stays a stranger. So does a terminal that a browser let
//! in, until a connection of its own is proved: its person may have been talked into it.
//!
//! A failure counts where it took something of the person's: a login session, or a token, link or
//! certificate of theirs that is real and of no use any more. Whoever knows a name, or the public part
//! of a passkey, raises nothing, so that strangers can't shut anybody out by a rule on failures.
//!
//! What runs is never evaluated by this again: a grant is reviewed by what was unusual when it was asked
//! for ([`Transaction::facts_of`]), and each connection by what is unusual about it.

use std::net::IpAddr;

use accept::neighbourhood;
use policies::{DeviceId, PrincipalId, Risk, Timestamp, Ttl};
use serde_json::json;
use sqlx::SqliteConnection;

use crate::kernel::state::Transaction;
use crate::model::actor::Asker;
use crate::model::audit_kind::AuditKind;
use crate::model::carrier::Carrier;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::place::Kind;
use crate::model::unusual::Unusual;
use crate::store;

/// For how long somebody may stay away and still be known there.
const REMEMBERED: Ttl = Ttl::from_secs(90 * 24 * 3_600);
/// How long a failure counts.
const LATELY: Ttl = Ttl::from_secs(3_600);
/// How many networks, and how many devices, are remembered of one person.
const MOST: i64 = 64;
/// How many failures of one person are counted.
const FAILURES: i64 = 100;

/// What is unusual about a connection or request of somebody's, from there.
pub(crate) async fn assess(
    db: &mut SqliteConnection,
    asker: &Asker,
    source: Option<IpAddr>,
    now: Timestamp,
) -> Result<Unusual, ControlError> {
    let who = &asker.principal;
    let network = source.map(neighbourhood);
    // Where nothing connects yet there is no network; the connection will be asked about its own.
    let new_network = match network {
        Some(network) => !knows(db, who, Kind::Network, &network.to_string(), now).await?,
        None => false,
    };
    let (device, new_device) = match &asker.carrier {
        Carrier::Session => (None, false),
        Carrier::Unnamed => (None, true),
        Carrier::Device(device) => {
            let known = knows(db, who, Kind::Device, device.as_str(), now).await?;
            (Some(device.clone()), !known)
        }
    };
    let failed_attempts = store::risk::failures(db, who, before(now, LATELY)).await?;
    let risk = Risk { new_network, new_device, failed_attempts };
    Ok(Unusual { risk, who: who.clone(), network, device })
}

async fn knows(
    db: &mut SqliteConnection,
    who: &PrincipalId,
    kind: Kind,
    what: &str,
    now: Timestamp,
) -> Result<bool, ControlError> {
    Ok(store::risk::knows(db, who, kind, what, before(now, REMEMBERED)).await?)
}

fn before(now: Timestamp, span: Ttl) -> Timestamp {
    Timestamp::from_millis(now.millis().saturating_sub(span.millis()))
}

/// The same, in a transaction.
pub(crate) async fn assess_risk(
    tx: &mut Transaction,
    asker: &Asker,
    source: Option<IpAddr>,
) -> Result<Unusual, ControlError> {
    let now = tx.now;
    assess(tx.db(), asker, source, now).await
}

/// Learns that somebody proved themselves there, and on this device.
pub(crate) async fn learn_place(
    tx: &mut Transaction,
    who: &PrincipalId,
    source: Option<IpAddr>,
    device: Option<&DeviceId>,
) -> Result<(), ControlError> {
    if let Some(network) = source.map(neighbourhood) {
        learn_one(tx, who, Kind::Network, &network.to_string()).await?;
    }
    match device {
        Some(device) => learn_one(tx, who, Kind::Device, device.as_str()).await,
        None => Ok(()),
    }
}

async fn learn_one(
    tx: &mut Transaction,
    who: &PrincipalId,
    kind: Kind,
    what: &str,
) -> Result<(), ControlError> {
    let now = tx.now;
    let known = knows(tx.db(), who, kind, what, now).await?;
    store::risk::learn(tx.db(), who, kind, what, now, MOST).await?;
    if known {
        return Ok(());
    }
    let detail = json!({ "kind": kind.word(), "what": what });
    tx.record(Event::new(By::Principal(who.clone()), AuditKind::PlaceLearned, who, detail)).await
}

/// Counts a failure with something of somebody's.
pub(crate) async fn failed(
    tx: &mut Transaction,
    who: &PrincipalId,
    what: &'static str,
) -> Result<(), ControlError> {
    let now = tx.now;
    Ok(store::risk::failed(tx.db(), who, what, now, FAILURES).await?)
}

/// Forgets what has been too long ago to count.
pub(crate) async fn forget_risks(tx: &mut Transaction) -> Result<(), ControlError> {
    let now = tx.now;
    Ok(store::risk::forget(tx.db(), before(now, REMEMBERED), before(now, LATELY)).await?)
}
