//! `postern confirm`: a person vouches for a connection that waits.

use clap::Args;
use policies::Ticket;
use serde::Deserialize;
use serde_json::json;

use super::{Failure, Shape, agree, client, facts, read, show};
use crate::terminal::{self, moment, plain};

/// Confirm that a connection that waits is yours, by the code that it shows
#[derive(Debug, Args)]
pub(super) struct Confirm {
    /// The code, such as KXQT-7M4P
    code: String,
    /// Why you connect, where the client had no way to say it
    #[arg(long)]
    reason: Option<String>,
    /// The ticket that it is for, such as OPS-12
    #[arg(long)]
    ticket: Option<Ticket>,
    /// Don't ask back
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Deserialize)]
struct Hold {
    resource: String,
    client: String,
    application: String,
    asked_at: String,
    ttl: Option<String>,
    reason: String,
    ticket: Option<String>,
    digest: String,
    client_differs: bool,
}

impl Confirm {
    /// What is confirmed is what was shown: the digest of exactly that goes with the yes.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = client()?;
        let code = json!({ "code": self.code });
        let mut hold: Hold = read(&client.post(&["holds", "lookup"], &code, None).await?)?;
        if self.reason.is_some() || self.ticket.is_some() {
            let body = json!({
                "code": self.code, "digest": hold.digest,
                "reason": self.reason.as_ref().unwrap_or(&hold.reason),
                "ticket": self.ticket.as_ref().map(Ticket::as_str).or(hold.ticket.as_deref()),
            });
            hold = read(&client.post(&["holds", "say"], &body, None).await?)?;
        }
        terminal::note(&hold.statement());
        agree("Is this connection yours?", self.yes)?;
        let body = json!({ "code": self.code, "digest": hold.digest });
        let answer = client.post(&["holds", "confirm"], &body, None).await?;
        show(self.shape, &answer, || {
            Ok(format!("confirmed: the connection to {} goes on as you\n", plain(&hold.resource)))
        })
    }
}

impl Hold {
    fn statement(&self) -> String {
        let ttl = self.ttl.as_deref().unwrap_or("as long as the target's default");
        let client = format!("{}, which calls itself {}", self.client, self.application);
        let mut text = facts(&[
            ("what", &self.resource),
            ("for", ttl),
            ("why", &self.reason),
            ("ticket", self.ticket.as_deref().unwrap_or_default()),
            ("from", &client),
            ("since", &moment(&self.asked_at)),
        ]);
        if self.client_differs {
            text += "  CAREFUL: the connection doesn't come from the address that you are at now.\n  \
                     Confirm it only if you opened it yourself.\n";
        }
        text
    }
}
