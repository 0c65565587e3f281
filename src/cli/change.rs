//! Changing what one asked for or has: `edit` a request while it waits, `extend` a grant before its end.

use clap::Args;
use policies::{GrantId, RequestId, Ticket, Ttl};
use serde_json::json;

use super::access::{only_grant, outcome};
use super::{Failure, Shape, client, show};

/// Change a request of yours while it waits; whoever has said yes is asked again
#[derive(Debug, Args)]
pub(super) struct Edit {
    /// The request
    id: RequestId,
    /// For how long, such as 1h
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Ttl>,
    /// Why; the approvers read it
    #[arg(long)]
    reason: Option<String>,
    /// The ticket that it is for, such as OPS-12
    #[arg(long)]
    ticket: Option<Ticket>,
    /// It is for no ticket any more
    #[arg(long, conflicts_with = "ticket")]
    no_ticket: bool,
    /// From when on: a span from now such as 2h, or 2026-03-01T22:00:00Z
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
    /// It is to begin at once, whatever was said before
    #[arg(long, conflicts_with = "at")]
    now: bool,
    #[command(flatten)]
    shape: Shape,
}

/// Ask for more time on a grant of yours, before its end
///
/// The same rules decide as when you asked: where they want approval or a step-up, they want it again.
#[derive(Debug, Args)]
pub(super) struct Extend {
    /// The grant; may be left out where there is only one
    id: Option<GrantId>,
    /// By how much, such as 30m; without, by as much as it was given for
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Ttl>,
    /// Why; without, for the reason that you gave at first
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    shape: Shape,
}

impl Edit {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let body = json!({
            "ttl": self.span, "reason": self.reason, "ticket": self.ticket, "starts_at": self.at,
            "no_ticket": self.no_ticket, "at_once": self.now,
        });
        let answer = client()?.post(&["requests", self.id.as_str(), "edit"], &body, None).await?;
        show(self.shape, &answer, || outcome(&answer))
    }
}

impl Extend {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = client()?;
        let id = match self.id {
            Some(id) => id.to_string(),
            None => only_grant(&client).await?,
        };
        let body = json!({ "ttl": self.span, "reason": self.reason });
        let answer = client.post(&["grants", &id, "extend"], &body, None).await?;
        show(self.shape, &answer, || outcome(&answer))
    }
}
