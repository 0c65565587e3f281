//! How a channel comes to be: at the target because the client wants it, or at the client because the
//! target does and the client lets it.

use std::sync::Arc;

use audit::ssh::{Channel as Carries, Ssh as Happening};
use policies::Channel as Kind;
use russh::client::Msg as ToUpstream;
use russh::server::{Handle, Msg as ToClient};
use russh::{Channel, ChannelOpenFailure, ChannelWriteHalf};
use tokio::time::timeout;

use super::channel_open::{ChannelOpen, ChannelToOpen};
use super::content::Content;
use super::link::{ClientEnd, Link, TIMEOUT};
use super::opened::Opened;
use super::running::Running;
use crate::core::sanitize::sanitize;
use crate::ssh::connection::Shared;
use crate::ssh::refuse::Refusal;
use crate::ssh::session_state::{Broken, SessionState};
use crate::ssh::upstream::Upstream;
use crate::ssh::upstream::remote_forward::{RemoteChannel, RemoteForward, RemoteOrigin};

/// RFC 4254, section 5.1.
const PROHIBITED: u32 = 1;
const CONNECT_FAILED: u32 = 2;

/// Serves one channel to its end.
pub(in crate::ssh) async fn serve(
    state: Arc<SessionState>,
    handle: Handle,
    requested: ChannelToOpen,
) -> Result<(), Broken> {
    let ChannelToOpen { open, queue, out, reply } = requested;
    let ch = state.number();
    let (upstream, channel) = match Box::pin(allowed(&state, &open)).await {
        Ok(opened) => opened,
        Err((what, code, reason)) => {
            let failure = ChannelOpenFailure::Other { code, reason: reason.clone() };
            reply.reject(failure).await;
            let (what, reason) = (what.into(), reason.into());
            return state.record(Happening::Refused { ch: Some(ch), what, reason });
        }
    };
    state.check()?;
    state.record(Happening::Opened { ch, channel: carries(&open) })?;
    reply.accept().await;
    let (out, (from_target, target)) = (Arc::new(out), channel.split());
    let client = ClientEnd { ch, queue: &queue, out: Arc::clone(&out) };
    let link = Link::new(&state, &handle, client, target);
    let clean = match open {
        ChannelOpen::Session => {
            let _read = state.reads(ch, out);
            Opened::new(link, &upstream).serve(from_target).await?
        }
        ChannelOpen::Tcp { .. } | ChannelOpen::Socket { .. } => {
            let content = Content::of_forward(ch, &state.content_rules());
            Running::of_forward(link, content).carry(None, from_target).await?
        }
    };
    if clean && upstream.is_open() {
        state.give_back(upstream);
    } else {
        Box::pin(upstream.leave()).await;
    }
    Ok(())
}

/// Serves a channel that the target opens, because the client asked for it.
pub(in crate::ssh) async fn answer(
    state: Arc<SessionState>,
    handle: Handle,
    shared: Arc<Shared>,
    opened: RemoteChannel,
) -> Result<(), Broken> {
    let RemoteChannel { by, channel, reply, lasts } = opened;
    let ch = state.number();
    state.check()?;
    state.record(Happening::Opened { ch, channel: by.carries() })?;
    let mut opening = Box::pin(open_at_client(&handle, &by));
    let opened = timeout(TIMEOUT, &mut opening).await;
    let late = opened.is_err();
    let Ok(Ok(out)) = opened else {
        reply.reject(ChannelOpenFailure::ConnectFailed).await;
        state.record(Happening::Closed { ch, bytes_in: 0, bytes_out: 0 })?;
        drop(lasts);
        // A client that opens it after all gets it closed.
        if late && let Ok(out) = opening.await {
            drop(shared.queues.forward(out.id()));
            out.close().await.map_err(|_| Broken::Client)?;
        }
        return Ok(());
    };
    drop(opening);
    let id = out.id();
    let queue = shared.queues.forward(id);
    state.check()?;
    reply.accept().await;
    let (from_target, target) = channel.split();
    let client = ClientEnd { ch, queue: &queue, out: Arc::new(out) };
    let link = Link::new(&state, &handle, client, target);
    let content = Content::of_forward(ch, &state.content_rules());
    match Running::of_forward(link, content).carry(None, from_target).await {
        Ok(_) => Ok(()),
        // The connection was another channel's, which records its end.
        Err(Broken::Lost) => handle.close(id).await.map_err(|()| Broken::Client),
        Err(broken) => Err(broken),
    }
}

/// Opens a channel at the client, whose data comes by its queue.
async fn open_at_client(
    handle: &Handle,
    by: &RemoteOrigin,
) -> Result<ChannelWriteHalf<ToClient>, russh::Error> {
    let (from, from_port) = (by.from.as_str(), by.from_port);
    let opened = match &by.forward {
        RemoteForward::Agent => handle.channel_open_agent().await,
        RemoteForward::X11 => handle.channel_open_x11(from, from_port).await,
        RemoteForward::Tcp { host, port } => {
            handle.channel_open_forwarded_tcpip(host.as_str(), *port, from, from_port).await
        }
        RemoteForward::Socket { path } => {
            handle.channel_open_forwarded_streamlocal(path.as_str()).await
        }
    };
    opened.map(|channel| channel.split().1)
}

/// The open channel at the target; or what was refused, with its code and the reason.
async fn allowed(
    state: &SessionState,
    requested: &ChannelOpen,
) -> Result<(Upstream, Channel<ToUpstream>), (&'static str, u32, String)> {
    let refused = requested.kind().and_then(|kind| Some((kind, state.why_not(kind)?)));
    if let Some((kind, reason)) = refused {
        return Err((kind.word(), PROHIBITED, reason));
    }
    let failed = |refusal: Refusal| {
        let what = requested.kind().map_or("a session", Kind::word);
        (what, CONNECT_FAILED, format!("postern: {}", refusal.message))
    };
    open(state, requested).await.map_err(failed)
}

/// Opens the channel at the target.
async fn open(
    state: &SessionState,
    requested: &ChannelOpen,
) -> Result<(Upstream, Channel<ToUpstream>), Refusal> {
    let upstream = state.upstream().await?;
    let handle = &upstream.handle;
    let opened = match requested {
        ChannelOpen::Session => handle.channel_open_session().await,
        ChannelOpen::Tcp { host, port, from, from_port } => {
            handle.channel_open_direct_tcpip(host, *port, from, *from_port).await
        }
        ChannelOpen::Socket { path } => handle.channel_open_direct_streamlocal(path).await,
    };
    match opened {
        Ok(channel) => Ok((upstream, channel)),
        Err(error) => {
            state.give_back(upstream);
            Err(Refusal::new(
                "upstream",
                format!("the target refuses: {}", sanitize(&error.to_string())),
            ))
        }
    }
}

fn carries(requested: &ChannelOpen) -> Carries<'_> {
    match requested {
        ChannelOpen::Session => Carries::Session,
        ChannelOpen::Tcp { host, port, from, from_port } => Carries::DirectTcpip {
            host: host.as_str().into(),
            port: *port,
            from: from.as_str().into(),
            from_port: *from_port,
        },
        ChannelOpen::Socket { path } => Carries::DirectStreamlocal { path: path.as_str().into() },
    }
}
