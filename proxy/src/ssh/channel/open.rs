//! How a channel comes to be: at the target because the client wants it, or at the client because the
//! target does and the client lets it.

use std::sync::Arc;

use audit::ssh::{Channel as Carries, Ssh as Happening};
use policies::Channel as Kind;
use russh::client::Msg as ToUpstream;
use russh::server::{Handle, Msg as ToClient};
use russh::{Channel, ChannelOpenFailure, ChannelWriteHalf};
use tokio::time::timeout;

use super::content::Content;
use super::{Link, Opened, PATIENCE, Running};
use crate::ssh::Shared;
use crate::ssh::calls::{Called, Caller, Wanted};
use crate::ssh::hub::{Broken, Hub};
use crate::ssh::lead::{Lead, ToTarget};
use crate::ssh::refuse::{Refusal, plain};
use crate::ssh::upstream::Upstream;

/// RFC 4254, section 5.1.
const PROHIBITED: u32 = 1;
const CONNECT_FAILED: u32 = 2;

/// Serves one channel to its end.
pub(in super::super) async fn serve(
    hub: Arc<Hub>,
    handle: Handle,
    shared: Arc<Shared>,
    wanted: ToTarget,
) -> Result<(), Broken> {
    let ToTarget { lead, inbox, out, reply } = wanted;
    let ch = hub.number();
    let (upstream, channel) = match Box::pin(allowed(&hub, &lead)).await {
        Ok(opened) => opened,
        Err((what, code, reason)) => {
            let told = ChannelOpenFailure::Other { code, reason: reason.clone() };
            shared.inboxes.forget(out.id());
            reply.reject(told).await;
            let (what, reason) = (what.into(), reason.into());
            return hub.record(Happening::Refused { ch: Some(ch), what, reason });
        }
    };
    hub.check()?;
    hub.record(Happening::Opened { ch, channel: carries(&lead) })?;
    reply.accept().await;
    let (out, (from_target, target)) = (Arc::new(out), channel.split());
    let link = Link::new(&hub, &handle, (ch, &inbox, Arc::clone(&out)), target);
    let clean = match lead {
        Lead::Session => {
            hub.reads(ch, Some(out));
            Opened::new(link, &upstream.calls).serve(from_target).await?
        }
        Lead::Tcp { .. } | Lead::Socket { .. } => {
            let content = Content::of_forward(ch, &hub.content_rules());
            Running::new(link, content).carry(from_target).await?
        }
    };
    hub.reads(ch, None);
    if clean && upstream.is_open() {
        hub.give_back(upstream);
    } else {
        Box::pin(upstream.leave()).await;
    }
    Ok(())
}

/// Serves a channel that the target opens, because the client asked for it.
pub(in super::super) async fn answer(
    hub: Arc<Hub>,
    handle: Handle,
    shared: Arc<Shared>,
    called: Called,
) -> Result<(), Broken> {
    let Called { by, channel, reply, lasts } = called;
    let ch = hub.number();
    hub.check()?;
    hub.record(Happening::Opened { ch, channel: by.carries() })?;
    let mut opening = Box::pin(open_at_client(&handle, &by));
    let opened = timeout(PATIENCE, &mut opening).await;
    let late = opened.is_err();
    let Ok(Ok(out)) = opened else {
        reply.reject(ChannelOpenFailure::ConnectFailed).await;
        hub.record(Happening::Closed { ch, bytes_in: 0, bytes_out: 0 })?;
        drop(lasts);
        // A client that opens it after all is told that it is closed.
        if late && let Ok(out) = opening.await {
            shared.inboxes.close(out.id());
            out.close().await.map_err(|_| Broken::Client)?;
        }
        return Ok(());
    };
    drop(opening);
    let id = out.id();
    let inbox = shared.inboxes.forward(id);
    hub.check()?;
    reply.accept().await;
    let (from_target, target) = channel.split();
    let link = Link::new(&hub, &handle, (ch, &inbox, Arc::new(out)), target);
    let content = Content::of_forward(ch, &hub.content_rules());
    match Running::new(link, content).carry(from_target).await {
        Ok(_) => Ok(()),
        // The connection was another channel's, which tells of its end.
        Err(Broken::Lost) => handle.close(id).await.map_err(|()| Broken::Client),
        Err(broken) => Err(broken),
    }
}

/// Opens a channel at the client, whose data comes by its inbox.
async fn open_at_client(
    handle: &Handle,
    by: &Caller,
) -> Result<ChannelWriteHalf<ToClient>, russh::Error> {
    let (from, from_port) = (by.from.as_str(), by.from_port);
    let opened = match &by.wanted {
        Wanted::Agent => handle.channel_open_agent().await,
        Wanted::X11 => handle.channel_open_x11(from, from_port).await,
        Wanted::Tcp { host, port } => {
            handle.channel_open_forwarded_tcpip(host.as_str(), *port, from, from_port).await
        }
        Wanted::Socket { path } => handle.channel_open_forwarded_streamlocal(path.as_str()).await,
    };
    opened.map(|channel| channel.split().1)
}

/// The open channel at the target; or what was refused, with its code and in words.
async fn allowed(
    hub: &Hub,
    lead: &Lead,
) -> Result<(Upstream, Channel<ToUpstream>), (&'static str, u32, String)> {
    let refused = lead.kind().and_then(|kind| Some((kind, hub.why_not(kind)?)));
    if let Some((kind, reason)) = refused {
        return Err((kind.word(), PROHIBITED, reason));
    }
    let failed = |refusal: Refusal| {
        let what = lead.kind().map_or("a session", Kind::word);
        (what, CONNECT_FAILED, format!("postern: {}", refusal.message))
    };
    open(hub, lead).await.map_err(failed)
}

/// Opens the channel at the target.
async fn open(hub: &Hub, lead: &Lead) -> Result<(Upstream, Channel<ToUpstream>), Refusal> {
    let upstream = hub.upstream().await?;
    let handle = &upstream.handle;
    let opened = match lead {
        Lead::Session => handle.channel_open_session().await,
        Lead::Tcp { host, port, from, from_port } => {
            handle.channel_open_direct_tcpip(host, *port, from, *from_port).await
        }
        Lead::Socket { path } => handle.channel_open_direct_streamlocal(path).await,
    };
    match opened {
        Ok(channel) => Ok((upstream, channel)),
        Err(error) => {
            hub.give_back(upstream);
            Err(Refusal::new(
                "upstream",
                format!("the target refuses: {}", plain(&error.to_string())),
            ))
        }
    }
}

fn carries(lead: &Lead) -> Carries<'_> {
    match lead {
        Lead::Session => Carries::Session,
        Lead::Tcp { host, port, from, from_port } => Carries::DirectTcpip {
            host: host.as_str().into(),
            port: *port,
            from: from.as_str().into(),
            from_port: *from_port,
        },
        Lead::Socket { path } => Carries::DirectStreamlocal { path: path.as_str().into() },
    }
}
