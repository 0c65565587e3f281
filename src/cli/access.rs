//! What one can reach, asking for it, and giving it back: `ls`, `request`, `withdraw`, `done`, `token`.

use clap::Args;
use policies::{GrantId, RequestId, Resource, Ticket, Ttl};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Shape, client, read, read_all, section, show};
use crate::client::Client;
use crate::terminal::{self, moment, plain};

/// How many of each kind `ls` shows.
const MOST: usize = 200;
/// So much of what can't be had is named.
const NAMED: usize = 5;

/// List what you can reach, your grants and requests, and what waits for your decision
#[derive(Debug, Args)]
pub(super) struct Ls {
    #[command(flatten)]
    shape: Shape,
}

/// Ask for access ahead of a connection
#[derive(Debug, Args)]
pub(super) struct Request {
    /// LOGIN@TARGET or LOGIN@TARGET/DATABASE; of several, one decision counts for all
    #[arg(required = true)]
    resources: Vec<Resource>,
    /// For how long, such as 1h
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Ttl>,
    /// Why; the approvers read it
    #[arg(long, default_value = "")]
    reason: String,
    /// The ticket that it is for, such as OPS-12
    #[arg(long)]
    ticket: Option<Ticket>,
    /// From when on: a span from now such as 2h, or 2026-03-01T22:00:00Z
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
    /// It is an emergency: without approval, never without a step-up, and reviewed afterwards
    #[arg(long)]
    break_glass: bool,
    #[command(flatten)]
    shape: Shape,
}

/// Take a request of yours back
#[derive(Debug, Args)]
pub(super) struct Withdraw {
    /// The request
    id: RequestId,
    #[command(flatten)]
    shape: Shape,
}

/// Give a grant of yours back; its sessions end
#[derive(Debug, Args)]
pub(super) struct Done {
    /// The grant; may be left out where there is only one
    id: Option<GrantId>,
    #[command(flatten)]
    shape: Shape,
}

/// Make a token for the password field of a client that knows nothing else
///
/// The token alone is printed to standard output: PGPASSWORD=$(postern token app_ro@orders). psql never
/// asks for a password, since somebody sits there who can confirm, unless it is made to by
/// PGOPTIONS='-c postern.auth=token'.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// LOGIN@TARGET or LOGIN@TARGET/DATABASE
    resource: Resource,
    /// For how long, such as 1h
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Ttl>,
    /// Good for one connection only
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    #[serde(default)]
    environment: String,
    databases: Vec<String>,
    logins: Vec<Login>,
}

#[derive(Deserialize)]
struct Login {
    login: String,
    verdict: String,
    needs: Vec<String>,
    limit: Option<String>,
    ticket: Option<String>,
    reason: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) principal: String,
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) ttl: String,
    pub(super) reason: String,
    pub(super) state: String,
    pub(super) prove_at: Option<String>,
    pub(super) needs: Vec<String>,
    pub(super) asked_at: String,
    pub(super) lapses_at: String,
    pub(super) digest: String,
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) also: Vec<String>,
    pub(super) ticket: Option<String>,
    pub(super) starts_at: Option<String>,
    pub(super) extends: Option<String>,
    pub(super) break_glass: bool,
}

#[derive(Deserialize)]
pub(super) struct Grant {
    id: String,
    resource: String,
    ttl: String,
    state: String,
    claim_by: Option<String>,
    ends: Option<String>,
    starts_at: Option<String>,
}

impl Grant {
    /// Until when, in words.
    pub(super) fn term(&self) -> String {
        if let Some(starts_at) = &self.starts_at {
            return format!("{} from {} on", self.ttl, moment(starts_at));
        }
        match (&self.claim_by, &self.ends) {
            (Some(claim_by), _) => {
                format!("{} from its first use, by {}", self.ttl, moment(claim_by))
            }
            (None, Some(ends)) => format!("until {}", moment(ends)),
            (None, None) => self.state.clone(),
        }
    }
}

impl Ls {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = client()?;
        let targets = client.get(&["targets"], &[]).await?;
        let grants = client.list(&["grants"], &[("live", "true")], MOST).await?;
        let pending = [("state", "pending")];
        let requests = client.list(&["requests"], &pending, MOST).await?;
        let waiting = [("state", "pending"), ("scope", "inbox")];
        let inbox = client.list(&["requests"], &waiting, MOST).await?;
        let all =
            json!({ "targets": targets, "grants": grants, "requests": requests, "inbox": inbox });
        show(self.shape, &all, || {
            let text = reachable(&read::<Vec<Target>>(&targets)?)
                + &granted(&read_all(&grants)?)
                + &asked("Waiting for others", &read_all(&requests)?)
                + &asked("Waiting for your decision", &read_all(&inbox)?);
            Ok(if text.is_empty() { "nothing can be asked for here\n".into() } else { text })
        })
    }
}

fn reachable(targets: &[Target]) -> String {
    let (mut open, mut shut) = (Vec::new(), Vec::new());
    for target in targets {
        for login in &target.logins {
            let resource = format!("{}@{}", login.login, target.name);
            let (environment, databases) =
                (target.environment.clone(), target.databases.join(", "));
            match login.takes() {
                Some(takes) => open.push(vec![resource, environment, databases, takes]),
                None => shut.push(resource),
            }
        }
    }
    section("Can be asked for", &["what", "environment", "databases", "takes"], &open)
        + &closed(&shut)
}

/// What can't be had, in a line: there may be much of it.
fn closed(shut: &[String]) -> String {
    let named = shut.iter().take(NAMED).map(|one| plain(one)).collect::<Vec<_>>().join(", ");
    match shut.len() {
        0 => String::new(),
        few if few <= NAMED => format!("Not for you: {named}; `postern explain` says why\n\n"),
        many => format!(
            "Not for you: {named} and {} more; `postern explain` says why\n\n",
            many.saturating_sub(NAMED)
        ),
    }
}

impl Login {
    /// What it takes; nothing where it can't be had.
    fn takes(&self) -> Option<String> {
        let limit = self.limit.as_ref().map(|limit| format!(", at most {limit}"));
        let takes = match self.verdict.as_str() {
            "free" => "nothing".to_owned(),
            "approval" => format!("approval by {}", self.needs.join(" and ")),
            _ => return None,
        };
        let ticket = self.ticket.as_ref().map(|pattern| format!(", a ticket like {pattern}"));
        let reason = self.reason.map(|least| format!(", a reason of {least} characters"));
        Some([Some(takes), ticket, reason, limit].into_iter().flatten().collect())
    }
}

fn granted(grants: &[Grant]) -> String {
    let rows: Vec<_> = grants
        .iter()
        .map(|grant| vec![grant.id.clone(), grant.resource.clone(), grant.term()])
        .collect();
    section("Granted to you", &["grant", "what", "how long"], &rows)
}

fn asked(title: &str, requests: &[Asked]) -> String {
    let rows: Vec<_> = requests
        .iter()
        .map(|asked| {
            let needs = asked.needs.join(" and ");
            vec![
                asked.id.clone(),
                asked.name.clone(),
                asked.resource.clone(),
                asked.ttl.clone(),
                asked.reason.clone(),
                needs,
            ]
        })
        .collect();
    section(title, &["request", "who", "what", "for", "why", "needs"], &rows)
}

impl Request {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut all = self.resources.iter().map(ToString::to_string);
        let body = json!({
            "resource": all.next(), "also": all.collect::<Vec<_>>(), "ttl": self.span,
            "reason": self.reason, "ticket": self.ticket, "starts_at": self.at,
            "break_glass": self.break_glass,
        });
        let key = uuid::Uuid::new_v4().to_string();
        let answer = client()?.post(&["requests"], &body, Some(&key)).await?;
        show(self.shape, &answer, || outcome(&answer))
    }
}

/// What became of a request, in words.
pub(super) fn outcome(answer: &Value) -> Result<String, Failure> {
    let asked: Asked = read(answer.get("request").unwrap_or(answer))?;
    let also = answer.get("also").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let given = answer.get("grant").filter(|grant| grant.is_object());
    let given: Vec<Grant> = given.into_iter().chain(also).map(read).collect::<Result<_, _>>()?;
    if !given.is_empty() {
        let verb = if asked.extends.is_some() { "extended" } else { "granted" };
        let lines = given.iter().map(|grant| {
            let (resource, term) = (plain(&grant.resource), grant.term());
            format!("{verb} {resource}, {term} ({})\n", plain(&grant.id))
        });
        return Ok(lines.collect());
    }
    let (id, needs) = (plain(&asked.id), plain(&asked.needs.join(" and ")));
    if let Some(url) = &asked.prove_at {
        return Ok(format!("{id} waits for you: prove that it is you at {}\n", plain(url)));
    }
    Ok(match asked.state.as_str() {
        "pending" => {
            let until = moment(&asked.lapses_at);
            format!("{id} waits for {needs}, until {until}: they say `postern approve {id}`\n")
        }
        state => format!("{id} is {}\n", plain(state)),
    })
}

impl Withdraw {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let path = ["requests", self.id.as_str(), "withdraw"];
        let answer = client()?.post(&path, &Value::Null, None).await?;
        show(self.shape, &answer, || outcome(&answer))
    }
}

impl Done {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = client()?;
        let id = match self.id {
            Some(id) => id.to_string(),
            None => only_grant(&client).await?,
        };
        let answer = client.post(&["grants", &id, "done"], &Value::Null, None).await?;
        show(self.shape, &answer, || Ok(format!("{} is given back\n", plain(&id))))
    }
}

pub(super) async fn only_grant(client: &Client) -> Result<String, Failure> {
    let grants = client.list(&["grants"], &[("live", "true")], MOST).await?;
    let grants: Vec<Grant> = read_all(&grants)?;
    match grants.as_slice() {
        [] => Err(Failure::NotFound("you have no live grant".into())),
        [only] => Ok(only.id.clone()),
        several => {
            let named = |grant: &Grant| format!("{} ({})", grant.id, grant.resource);
            let named: Vec<String> = several.iter().map(named).collect();
            let message =
                format!("you have several live grants, so name one: {}", named.join(", "));
            Err(Failure::Conflict(plain(&message)))
        }
    }
}

impl Token {
    pub(super) async fn run(self) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Minted {
            token: String,
            expires_at: String,
        }
        let (resource, uses) = (self.resource.to_string(), self.once.then_some(1));
        let body = json!({ "resource": resource, "ttl": self.span, "uses": uses });
        let answer = client()?.post(&["tokens"], &body, None).await?;
        let minted: Minted = read(&answer)?;
        if !self.shape.json {
            let uses = if self.once { "one connection" } else { "any number of connections" };
            let until = moment(&minted.expires_at);
            terminal::note(&format!("good for {uses} as {} until {until}", self.resource));
        }
        show(self.shape, &answer, || Ok(format!("{}\n", plain(&minted.token))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_had_is_named_and_counted() {
        let many = |count: usize| (0..count).map(|n| format!("ro@t{n}")).collect::<Vec<_>>();
        assert_eq!(closed(&[]), "");
        assert!(closed(&many(2)).starts_with("Not for you: ro@t0, ro@t1; "));
        assert!(closed(&many(7)).contains("ro@t4 and 2 more; "));
    }
}
