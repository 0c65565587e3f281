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

use crate::core::identity::Identity;
use crate::core::listener::ConnectionOutcome;
use crate::ssh::auth::Opener;
use crate::ssh::channel::channel_open::ClientRequest;
use crate::ssh::connection::{Connection, JumpTarget, Leaving, Shared};
use crate::ssh::handler::Client;
use crate::ssh::refuse::Refusal;

/// How long connections within one may take to end after it.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The most connections within one.
const MOST: usize = 16;

impl Connection {
    /// Serves connections within this one until it ends.
    /// Boxed, since there are connections within it that are served by the same code.
    pub(super) fn serve_jumps(
        &self,
        client: Client,
        opener: Option<Opener>,
    ) -> BoxFuture<'_, ConnectionOutcome> {
        Box::pin(self.serve_inner(client, opener))
    }

    async fn serve_inner(&self, mut client: Client, opener: Option<Opener>) -> ConnectionOutcome {
        // A client that isn't identified yet stays unauthenticated, and has one connection to identify itself.
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
                Some(request) = client.requests.recv() => {
                    if let ClientRequest::Jump { channel, host, reply } = *request {
                        let now = self.plane.clock.now();
                        let identity = opener.as_ref().and_then(|opener| opener.at(now));
                        match self.jump_target(&host, identity).filter(|_| inner.len() < most) {
                            Some(jump) => {
                                let left = client.shared.inner.insert(channel.id(), &ended);
                                reply.accept().await;
                                let connection = Arc::new(self.inside(jump, left));
                                inner.spawn(serve(connection, channel, Arc::clone(&client.shared)));
                            }
                            None => self.turn_down(&host, identity, reply).await,
                        }
                    }
                }
            }
        };
        ended.cancel();
        // Each inner connection ends by itself, with a last message of its own.
        let rest = async { while inner.join_next().await.is_some() {} };
        let _ = timeout(END_TIMEOUT, rest).await;
        outcome
    }

    /// What a connection to this target begins with, where there is such a target.
    fn jump_target(&self, host: &str, identity: Option<&Identity>) -> Option<JumpTarget> {
        let target = self.target_of(host)?;
        let known = self.plane.leases.target(&target);
        known.filter(|target| target.kind == Kind::Ssh)?;
        Some(JumpTarget { target, host: host.to_owned(), identity: identity.cloned() })
    }

    /// A connection within this one.
    fn inside(&self, jump: JumpTarget, left: CancellationToken) -> Self {
        Self {
            plane: Arc::clone(&self.plane),
            peer: self.peer,
            slot: Arc::clone(&self.slot),
            leaving: Leaving::Outer(left),
            over: CancellationToken::new(),
            jump: Some(jump),
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

async fn serve(connection: Arc<Connection>, channel: Channel<Msg>, outer: Arc<Shared>) {
    let id = channel.id();
    let outcome = connection.serve_protocol(channel.into_stream()).await;
    outer.inner.leave(id);
    connection.plane.metrics.connection("ssh", outcome);
}
