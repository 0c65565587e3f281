//! Deciding on what others ask: `approve`, `deny`, `revoke`.

use clap::Args;
use policies::{GrantId, RequestId, Ttl};
use serde_json::json;

use super::access::{Asked, outcome};
use super::{Failure, Shape, agree, client, facts, read, show};
use crate::terminal::{self, moment};

/// Say yes to a request, after reading it
#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The request
    id: RequestId,
    /// For how long at most, such as 30m
    #[arg(long, value_name = "SPAN")]
    shorten: Option<Ttl>,
    /// Don't ask back
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    shape: Shape,
}

/// Say no to a request
#[derive(Debug, Args)]
pub(super) struct Deny {
    /// The request
    id: RequestId,
    /// Why; the one who asks reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    shape: Shape,
}

/// End somebody's grant; its sessions are cut
#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The grant
    id: GrantId,
    /// Why; the holder reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    shape: Shape,
}

impl Approve {
    /// What is approved is what was shown: the digest of exactly that goes with the yes.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = client()?;
        let request = client.get(&["requests", self.id.as_str()], &[]).await?;
        let asked: Asked = read(&request)?;
        terminal::note(&statement(&asked));
        agree("Approve this?", self.yes)?;
        let body = json!({ "digest": asked.digest, "shorten": self.shorten });
        let path = ["requests", self.id.as_str(), "approve"];
        let answer = client.post(&path, &body, None).await?;
        show(self.shape, &answer, || outcome(&answer))
    }
}

fn statement(asked: &Asked) -> String {
    let all: Vec<&str> =
        [&asked.resource].into_iter().chain(&asked.also).map(String::as_str).collect();
    let starts_at = asked.starts_at.as_deref().map(moment).unwrap_or_default();
    facts(&[
        ("who", &format!("{} ({})", asked.name, asked.principal)),
        ("what", &all.join(" and ")),
        ("extends", asked.extends.as_deref().unwrap_or_default()),
        ("emergency", if asked.break_glass { "yes" } else { "" }),
        ("starts", &starts_at),
        ("ticket", asked.ticket.as_deref().unwrap_or_default()),
        ("for", &asked.ttl),
        ("why", &asked.reason),
        ("from", asked.source.as_deref().unwrap_or_default()),
        ("asked", &moment(&asked.asked_at)),
    ])
}

impl Deny {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let path = ["requests", self.id.as_str(), "deny"];
        let answer = client()?.post(&path, &json!({ "reason": self.reason }), None).await?;
        show(self.shape, &answer, || outcome(&answer))
    }
}

impl Revoke {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let path = ["grants", self.id.as_str(), "revoke"];
        let answer = client()?.post(&path, &json!({ "reason": self.reason }), None).await?;
        show(self.shape, &answer, || Ok(format!("{} is revoked\n", self.id)))
    }
}
