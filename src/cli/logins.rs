//! `postern logins`: where somebody is signed in, and the end of that.

use clap::Args;
use policies::{LoginId, PrincipalId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Shape, client, read_all, show};
use crate::terminal::{self, moment, plain};

/// List where you are signed in, and end login sessions
///
/// A session that is ended takes its certificates and tokens with it, and cuts what runs by them.
#[derive(Debug, Args)]
pub(super) struct Logins {
    /// Everybody's; for admins and auditors
    #[arg(long)]
    all: bool,
    /// End this login session: one of yours, or as an admin anybody's
    #[arg(long, value_name = "ID", conflicts_with_all = ["everywhere", "all"])]
    end: Option<LoginId>,
    /// End all login sessions: yours, this one among them, or those of `--of`
    #[arg(long, conflicts_with = "all")]
    everywhere: bool,
    /// Whose sessions to end everywhere; for admins
    #[arg(long, value_name = "PERSON", requires = "everywhere")]
    of: Option<PrincipalId>,
    #[command(flatten)]
    shape: Shape,
}

/// How many are listed at most.
const MOST: usize = 1_000;

#[derive(Deserialize)]
struct Login {
    id: String,
    principal: String,
    kind: String,
    method: String,
    device: Option<String>,
    address: Option<String>,
    signed_in_at: String,
    seen_at: String,
    expires_at: String,
}

impl Logins {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match (&self.end, self.everywhere) {
            (Some(id), _) => self.end(id).await,
            (None, true) => self.end_all().await,
            (None, false) => self.list().await,
        }
    }

    async fn list(&self) -> Result<(), Failure> {
        let scope = if self.all { "all" } else { "mine" };
        let wanted = [("scope", scope), ("live", "true")];
        let logins = client()?.list(&["logins"], &wanted, MOST).await?;
        show(self.shape, &Value::from(logins.clone()), || {
            let logins: Vec<Login> = read_all(&logins)?;
            let rows: Vec<_> = logins.iter().map(Login::row).collect();
            let header = ["id", "who", "with", "by", "device", "from", "since", "seen", "ends"];
            Ok(terminal::table(&header, &rows))
        })
    }

    async fn end(&self, id: &LoginId) -> Result<(), Failure> {
        super::note_of(&client()?.delete(&["logins", id.as_str()]).await?);
        show(self.shape, &json!({ "ended": 1 }), || {
            Ok(format!("{} is over, with its certificates and tokens\n", plain(id.as_str())))
        })
    }

    async fn end_all(&self) -> Result<(), Failure> {
        let whose = json!({ "principal": self.of });
        let answer = client()?.post(&["logins", "end"], &whose, None).await?;
        show(self.shape, &answer, || {
            let count = answer.get("ended").and_then(Value::as_u64).unwrap_or_default();
            Ok(format!("login sessions that ended, with all that they brought: {count}\n"))
        })
    }
}

impl Login {
    fn row(&self) -> Vec<String> {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            self.id.clone(),
            self.principal.clone(),
            self.kind.clone(),
            self.method.clone(),
            or_none(&self.device),
            or_none(&self.address),
            moment(&self.signed_in_at),
            moment(&self.seen_at),
            moment(&self.expires_at),
        ]
    }
}
