//! `postern sessions`: who is, or was, connected to what.

use clap::Args;
use policies::SessionId;
use serde::Deserialize;
use serde_json::Value;

use super::replay::proof;
use super::{Failure, Shape, client, read, read_all, show};
use crate::terminal::{self, moment, plain};

/// List sessions, or show one
#[derive(Debug, Args)]
pub(super) struct Sessions {
    /// The session to show
    id: Option<SessionId>,
    /// Only those that run
    #[arg(long)]
    live: bool,
    /// Everybody's; for admins and auditors
    #[arg(long)]
    all: bool,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Deserialize)]
struct Session {
    id: String,
    grant: String,
    principal: String,
    name: String,
    authn: Authn,
    resource: String,
    client: String,
    application: String,
    opened_at: String,
    live: bool,
    ended_at: Option<String>,
    end: Option<String>,
    detail: Option<String>,
    bytes_in: u64,
    bytes_out: u64,
    statements: u64,
    head: Option<String>,
}

#[derive(Deserialize)]
struct Authn {
    method: String,
}

impl Sessions {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = client()?;
        if let Some(id) = &self.id {
            let session = client.get(&["sessions", id.as_str()], &[]).await?;
            return show(self.shape, &session, || Ok(read::<Session>(&session)?.describe()));
        }
        let mut query = vec![("scope", if self.all { "all" } else { "mine" })];
        if self.live {
            query.push(("live", "true"));
        }
        let sessions = client.list(&["sessions"], &query, self.limit).await?;
        show(self.shape, &Value::from(sessions.clone()), || Ok(listed(&read_all(&sessions)?)))
    }
}

fn listed(sessions: &[Session]) -> String {
    if sessions.is_empty() {
        return "no sessions\n".into();
    }
    let rows: Vec<_> = sessions.iter().map(Session::row).collect();
    terminal::table(&["session", "who", "what", "client", "since", "state", "statements"], &rows)
}

impl Session {
    fn row(&self) -> Vec<String> {
        let statements = if self.live { String::new() } else { self.statements.to_string() };
        let since = moment(&self.opened_at);
        vec![
            self.id.clone(),
            self.name.clone(),
            self.resource.clone(),
            self.client(),
            since,
            self.state(),
            statements,
        ]
    }

    /// From where, and how the client calls itself.
    fn client(&self) -> String {
        format!("{} {}", self.client, self.application).trim_end().to_owned()
    }

    fn state(&self) -> String {
        if self.live { "live".into() } else { self.end.clone().unwrap_or_else(|| "ended".into()) }
    }

    fn describe(&self) -> String {
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let ended = self.ended_at.as_deref().map(moment).unwrap_or_default();
        // The counts come at the end.
        let counted = |number: String| if self.live { String::new() } else { number };
        let bytes = counted(format!("{} in, {} out", self.bytes_in, self.bytes_out));
        let rows = [
            ("session", self.id.clone()),
            ("who", format!("{} ({})", self.name, self.principal)),
            ("known by", proof(&self.authn.method).to_owned()),
            ("what", self.resource.clone()),
            ("grant", self.grant.clone()),
            ("client", self.client()),
            ("since", moment(&self.opened_at)),
            ("state", self.state() + &detail),
            ("ended", ended),
            ("statements", counted(self.statements.to_string())),
            ("bytes", bytes),
            ("head", self.head.clone().unwrap_or_default()),
        ];
        let known = rows.into_iter().filter(|(_, value)| !value.is_empty());
        known.map(|(name, value)| format!("{name:<12}{}\n", plain(&value))).collect()
    }
}
