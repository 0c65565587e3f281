//! A connection that names no target, and leads on to targets: `ssh -J gate deploy@web-1`.
//!
//! Each connection within it is spoken with like one that came by itself, with a host certificate for
//! the target's name, so that what passes can be recorded. Nothing else can be reached.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use policies::{Kind, TargetName};
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lead::Opened;
use super::refuse::Refusal;
use super::{Client, Leaving, Outcome, Visit, Within};
use crate::hold::Identity;

/// How long connections within one may take to end after it.
const FAREWELL: Duration = Duration::from_secs(5);
/// The most connections within one.
const MOST: usize = 16;

impl Visit {
    /// Serves connections within this one until it ends.
    /// Boxed, since there are connections within it that are served by the same code.
    pub(super) fn lead_on(
        &self,
        client: Client,
        identity: Option<Identity>,
    ) -> BoxFuture<'_, Outcome> {
        Box::pin(self.lead(client, identity))
    }

    async fn lead(&self, mut client: Client, identity: Option<Identity>) -> Outcome {
        // Whoever isn't known yet stays a stranger, and has one connection to say who they are.
        let most = if identity.is_some() { MOST } else { 1 };
        if identity.is_some() {
            self.slot.authenticated();
        }
        let ended = CancellationToken::new();
        let mut inner = JoinSet::new();
        let outcome = loop {
            tokio::select! {
                _ = &mut client.running => break "onward",
                () = self.plane.sessions.drained.cancelled() => break "drained",
                Some(_) = inner.join_next(), if !inner.is_empty() => if identity.is_none() {
                    break "onward";
                },
                Some(opened) = client.opens.recv() => {
                    if let Opened::Onward { channel, host, reply } = *opened {
                        let full = inner.len() >= most;
                        match self.within(&host, identity.as_ref(), &ended).filter(|_| !full) {
                            Some(visit) => {
                                reply.accept().await;
                                inner.spawn(serve(visit, channel));
                            }
                            None => self.turn_down(&host, identity.as_ref(), reply).await,
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
    fn within(
        &self,
        host: &str,
        identity: Option<&Identity>,
        ended: &CancellationToken,
    ) -> Option<Arc<Self>> {
        let target = self.target_of(host)?;
        let known = self.plane.leases.target(&target);
        known.filter(|target| target.kind == Kind::Ssh)?;
        Some(Arc::new(Self {
            plane: Arc::clone(&self.plane),
            peer: self.peer,
            slot: Arc::clone(&self.slot),
            leaving: Leaving::Outer(ended.clone()),
            over: CancellationToken::new(),
            within: Some(Within { target, host: host.to_owned(), identity: identity.cloned() }),
        }))
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

async fn serve(visit: Arc<Visit>, channel: Channel<Msg>) {
    let outcome = visit.host(channel.into_stream()).await;
    visit.plane.metrics.connection("ssh", outcome);
}
