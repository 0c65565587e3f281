//! For admins and auditors: `audit`, `lock`, `unlock`, `locks`, `invite`.

use clap::{Args, Subcommand};
use policies::{LockId, PrincipalId, Subject, Ttl};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Shape, client, read, read_all, show};
use crate::terminal::{self, moment, plain};

/// Read the audit log, newest first, or what it tells of one thing
///
/// Every event is described in words; `--json` has all that is known of it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// How many events at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Show(AuditShow),
}

/// Tell what became of a session, a grant, a request, a login session, a certificate or a person
#[derive(Debug, Args)]
struct AuditShow {
    /// Its id, such as se-… or gr-…, a certificate's serial, or a person
    about: String,
    #[command(flatten)]
    shape: Shape,
}

/// Lock a person, a group, a device, a target or a login; matching sessions are cut
#[derive(Debug, Args)]
pub(super) struct Lock {
    /// principal:NAME, group:NAME, device:ID, credential:ID, target:NAME or login:LOGIN@TARGET
    #[arg(value_parser = subject)]
    subject: Subject,
    /// Why; the locked read it
    #[arg(long)]
    reason: String,
    /// For how long, such as 8h; without, until it is lifted
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Ttl>,
    #[command(flatten)]
    shape: Shape,
}

/// Lift a lock
#[derive(Debug, Args)]
pub(super) struct Unlock {
    /// The lock
    id: LockId,
}

/// List the locks in force
#[derive(Debug, Args)]
pub(super) struct Locks {
    #[command(flatten)]
    shape: Shape,
}

/// Make a one-time sign-in link for a person
#[derive(Debug, Args)]
pub(super) struct Invite {
    /// The person's key in the configuration
    principal: PrincipalId,
    #[command(flatten)]
    shape: Shape,
}

fn subject(text: &str) -> Result<Subject, String> {
    text.parse()
}

#[derive(Deserialize)]
struct Event {
    id: i64,
    at: String,
    kind: String,
    #[serde(rename = "told")]
    summary: String,
}

impl Audit {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(AuditCommand::Show(show)) = self.command {
            return show.run().await;
        }
        let events = client()?.list(&["audit"], &[], self.limit).await?;
        show(self.shape, &Value::from(events.clone()), || {
            let events: Vec<Event> = read_all(&events)?;
            let rows: Vec<_> = events.iter().map(Event::row).collect();
            Ok(terminal::table(&["id", "when", "event", "what happened"], &rows))
        })
    }
}

impl AuditShow {
    async fn run(self) -> Result<(), Failure> {
        let answer = client()?.get(&["audit", &self.about], &[]).await?;
        show(self.shape, &answer, || {
            let timeline: Timeline = read(&answer)?;
            let lines = timeline.lines.iter().map(|line| format!("{}\n", plain(line)));
            Ok(lines.collect())
        })
    }
}

#[derive(Deserialize)]
struct Timeline {
    #[serde(rename = "told")]
    lines: Vec<String>,
}

impl Event {
    fn row(&self) -> Vec<String> {
        vec![self.id.to_string(), moment(&self.at), self.kind.clone(), self.summary.clone()]
    }
}

#[derive(Deserialize)]
struct Locked {
    id: String,
    subject: String,
    reason: String,
    by_name: String,
    known: bool,
    at: String,
    until: Option<String>,
}

impl Lock {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let subject = self.subject.to_string();
        let body = json!({ "subject": subject, "reason": self.reason, "for": self.span });
        let answer = client()?.post(&["locks"], &body, None).await?;
        show(self.shape, &answer, || {
            let lock: Locked = read(&answer)?;
            let (id, subject) = (plain(&lock.id), plain(&lock.subject));
            if !lock.known {
                terminal::note(&format!(
                    "there is no {subject} here today: is the name right? Nothing is cut; the lock \
                     holds for whatever comes by that name"
                ));
            }
            Ok(format!("{subject} is locked ({id}); `postern unlock {id}` lifts it\n"))
        })
    }
}

impl Unlock {
    pub(super) async fn run(self) -> Result<(), Failure> {
        client()?.delete(&["locks", self.id.as_str()]).await?;
        Ok(terminal::print(&format!("{} is lifted\n", self.id))?)
    }
}

impl Locks {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let answer = client()?.get(&["locks"], &[]).await?;
        show(self.shape, &answer, || {
            let locks: Vec<Locked> = read(&answer)?;
            if locks.is_empty() {
                return Ok("nothing is locked\n".into());
            }
            let rows: Vec<_> = locks.iter().map(Locked::row).collect();
            Ok(terminal::table(&["lock", "what", "why", "by", "since", "until"], &rows))
        })
    }
}

impl Locked {
    fn row(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.subject.clone(),
            self.reason.clone(),
            self.by_name.clone(),
            moment(&self.at),
            self.until.as_deref().map_or_else(|| "it is lifted".into(), moment),
        ]
    }
}

impl Invite {
    pub(super) async fn run(self) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Invited {
            url: String,
            expires_at: String,
        }
        let body = json!({ "principal": self.principal.as_str() });
        let answer = client()?.post(&["invites"], &body, None).await?;
        let invited: Invited = read(&answer)?;
        if !self.shape.json {
            let until = moment(&invited.expires_at);
            terminal::note(&format!("for {}, good once, until {until}:", self.principal));
        }
        show(self.shape, &answer, || Ok(format!("{}\n", plain(&invited.url))))
    }
}
