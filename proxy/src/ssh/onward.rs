//! A connection that names no target, and leads on to targets: `ssh -J gate deploy@web-1`.
//!
//! Each connection within it is spoken with like one that came by itself, with a host certificate for
//! the target's name, so that what passes can be recorded. Nothing else can be reached.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use policies::{Kind, TargetName, Timestamp};
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lead::Opened;
use super::refuse::Refusal;
use super::{Client, Leaving, Outcome, Shared, Visit, Within};
use crate::hold::Identity;

/// How long connections within one may take to end after it.
const FAREWELL: Duration = Duration::from_secs(5);
/// The most connections within one.
const MOST: usize = 16;

/// Who opened a connection that leads on.
pub(super) struct Opener {
    pub(super) identity: Identity,
    /// Until when that speaks for connections within it, too: no longer than the proof that it came with.
    pub(super) until: Timestamp,
}

impl Opener {
    fn at(&self, now: Timestamp) -> Option<&Identity> {
        (now < self.until).then_some(&self.identity)
    }
}

/// The connections within one, each with what tells it that its client has left.
#[derive(Debug, Default)]
pub(super) struct Inner(Mutex<HashMap<ChannelId, CancellationToken>>);

impl Inner {
    /// One that ends with its channel, or with the connection around it.
    fn enter(&self, id: ChannelId, ended: &CancellationToken) -> CancellationToken {
        let left = ended.child_token();
        self.by_channel().insert(id, left.clone());
        left
    }

    /// The client sends nothing any more on this channel.
    pub(super) fn left(&self, id: ChannelId) {
        if let Some(left) = self.by_channel().remove(&id) {
            left.cancel();
        }
    }

    fn by_channel(&self) -> MutexGuard<'_, HashMap<ChannelId, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Serves connections within this one until it ends.
    /// Boxed, since there are connections within it that are served by the same code.
    pub(super) fn lead_on(&self, client: Client, opener: Option<Opener>) -> BoxFuture<'_, Outcome> {
        Box::pin(self.lead(client, opener))
    }

    async fn lead(&self, mut client: Client, opener: Option<Opener>) -> Outcome {
        // Whoever isn't known yet stays a stranger, and has one connection to say who they are.
        let most = if opener.is_some() { MOST } else { 1 };
        if opener.is_some() {
            self.slot.authenticated();
        }
        let ended = CancellationToken::new();
        let mut inner = JoinSet::new();
        let outcome = loop {
            tokio::select! {
                _ = &mut client.running => break "onward",
                () = self.plane.sessions.drained.cancelled() => break "drained",
                Some(_) = inner.join_next(), if !inner.is_empty() => if opener.is_none() {
                    break "onward";
                },
                Some(opened) = client.opens.recv() => {
                    if let Opened::Onward { channel, host, reply } = *opened {
                        let now = self.plane.clock.now();
                        let identity = opener.as_ref().and_then(|opener| opener.at(now));
                        match self.within(&host, identity).filter(|_| inner.len() < most) {
                            Some(within) => {
                                let left = client.shared.inner.enter(channel.id(), &ended);
                                reply.accept().await;
                                let visit = Arc::new(self.inside(within, left));
                                inner.spawn(serve(visit, channel, Arc::clone(&client.shared)));
                            }
                            None => self.turn_down(&host, identity, reply).await,
                        }
                    }
                }
            }
        };
        ended.cancel();
        // What is within ends by itself, each with its own last words.
        let rest = async { while inner.join_next().await.is_some() {} };
        let _ = timeout(FAREWELL, rest).await;
        outcome
    }

    /// What a connection to this target begins with, where there is such a target.
    fn within(&self, host: &str, identity: Option<&Identity>) -> Option<Within> {
        let target = self.target_of(host)?;
        let known = self.plane.leases.target(&target);
        known.filter(|target| target.kind == Kind::Ssh)?;
        Some(Within { target, host: host.to_owned(), identity: identity.cloned() })
    }

    /// A connection within this one.
    fn inside(&self, within: Within, left: CancellationToken) -> Self {
        Self {
            plane: Arc::clone(&self.plane),
            peer: self.peer,
            slot: Arc::clone(&self.slot),
            leaving: Leaving::Outer(left),
            over: CancellationToken::new(),
            within: Some(within),
        }
    }

    /// A target by its name, alone or below the gateway's own or below `postern`, which is what the
    /// block of `postern ssh-config` uses.
    fn target_of(&self, host: &str) -> Option<TargetName> {
        let above = self.plane.settings.host_names.iter().map(String::as_str).chain(["postern"]);
        let mut labels = above.filter_map(|name| host.strip_suffix(name)?.strip_suffix('.'));
        labels.next().unwrap_or(host).parse().ok()
    }

    async fn turn_down(&self, host: &str, identity: Option<&Identity>, reply: ChannelOpenHandle) {
        let host: String = host.escape_debug().take(64).collect();
        let reason = format!("postern: `{host}` is no SSH target: only targets can be reached");
        let refusal = Refusal::new("unknown-resource", reason.clone());
        self.denied(identity, None, &refusal);
        reply.reject(ChannelOpenFailure::Other { code: 1, reason }).await;
    }
}

async fn serve(visit: Arc<Visit>, channel: Channel<Msg>, outer: Arc<Shared>) {
    let id = channel.id();
    let outcome = visit.host(channel.into_stream()).await;
    outer.inner.left(id);
    visit.plane.metrics.connection("ssh", outcome);
}
