//! What control shows: domain values with what a reader needs beside them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use policies::{
    Approvals, Authn, Credential, Database, Environment, Grant, GrantId, Kind, Lock, Login,
    PrincipalId, Purpose, Request, RequiredInput, Resource, Review, ReviewId, SessionId,
    TargetName, Timestamp, Ttl,
};

use crate::model::audit_kind::StoredKind;
use crate::model::channel::ChannelName;
use crate::model::error::Rejection;
use crate::model::statement::Statement;
use crate::model::topic::Topic;

/// One page of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; none on the last.
    pub next: Option<i64>,
}

/// Which page is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Paging {
    /// The `next` of the page before.
    pub cursor: Option<i64>,
    /// How many at most: 50 where nobody says, never more than 200.
    pub limit: Option<u32>,
}

impl Paging {
    pub(crate) fn size(self) -> i64 {
        i64::from(self.limit.unwrap_or(50).clamp(1, 200))
    }

    pub(crate) fn before(self) -> i64 {
        self.cursor.unwrap_or(i64::MAX)
    }

    /// Where the next page begins, after one of so many rows that ended with `last`.
    pub(crate) fn next(self, rows: usize, last: Option<i64>) -> Option<i64> {
        let full = i64::try_from(rows).is_ok_and(|rows| rows >= self.size());
        last.filter(|_| full)
    }
}

/// Whose things are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// One's own.
    #[default]
    Mine,
    /// What waits for one's own verdict (requests), or stems from what one may decide on (grants).
    Inbox,
    /// Everybody's: for admins and auditors.
    All,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mine" => Ok(Self::Mine),
            "inbox" => Ok(Self::Inbox),
            "all" => Ok(Self::All),
            other => Err(format!("`{other}` is not one of mine, inbox and all")),
        }
    }
}

/// Where a request stands, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits for people.
    Pending,
    /// Its terms are met.
    Granted,
    /// An approver said no.
    Denied,
    /// It was taken back.
    Withdrawn,
    /// Nobody decided in time.
    Lapsed,
}

impl Standing {
    /// The word, as `RequestState::word` says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
        }
    }
}

impl FromStr for Standing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Pending, Self::Granted, Self::Denied, Self::Withdrawn, Self::Lapsed];
        let found = all.into_iter().find(|standing| standing.word() == text);
        found.ok_or_else(|| {
            format!("`{text}` is not one of pending, granted, denied, withdrawn and lapsed")
        })
    }
}

/// Which requests are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestFilter {
    /// Whose.
    pub scope: Scope,
    /// In which state.
    pub state: Option<Standing>,
}

/// A request, and what a reader needs beside it.
#[derive(Debug, Clone)]
pub struct RequestView {
    /// The request.
    pub request: Request,
    /// How people call the one who asks.
    pub name: String,
    /// Where the waiting connection comes from, where there is one.
    pub source: Option<IpAddr>,
    /// How many more people have to say yes.
    pub missing: usize,
    /// Where the one who asks proves themselves, while nobody is asked before they have.
    pub prove_at: Option<String>,
    /// Whether the reader may say yes or no, perhaps once their turn has come.
    pub may_decide: bool,
    /// Whether their yes is what it waits for now.
    pub may_approve: bool,
    /// The grants that followed, or the one that it made last longer.
    pub grants: Vec<GrantId>,
}

/// Which grants are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrantFilter {
    /// Whose.
    pub scope: Scope,
    /// Only those that can be used, or only those that are over.
    pub live: Option<bool>,
}

/// A grant, and what a reader needs beside it.
#[derive(Debug, Clone)]
pub struct GrantView {
    /// The grant.
    pub grant: Grant,
    /// Whether the reader may revoke it.
    pub may_revoke: bool,
    /// The review that it takes, where it was given in an emergency.
    pub review: Option<ReviewId>,
}

/// Which sessions are wanted.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Whose; `Inbox` is read as `All`.
    pub scope: Scope,
    /// Only those that run, or only those that ended.
    pub live: Option<bool>,
    /// Only those of this grant.
    pub grant: Option<GrantId>,
}

/// A session as proxies reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its name.
    pub id: SessionId,
    /// The grant that let it in.
    pub grant: GrantId,
    /// Whose it is.
    pub principal: PrincipalId,
    /// How people call them.
    pub name: String,
    /// How they proved who they are.
    pub authn: Authn,
    /// What it reached.
    pub resource: Resource,
    /// Address and port of the client; text from the proxy.
    pub client: String,
    /// The name that the client gave itself; not checked.
    pub application: String,
    /// The proxy that carried it.
    pub proxy: String,
    /// When it began.
    pub opened_at: Timestamp,
    /// How it ended; none while it runs.
    pub ended: Option<SessionEnd>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// When.
    pub at: Timestamp,
    /// The code of `policies::End`.
    pub end: String,
    /// What somebody said about it, or that nobody did.
    pub detail: String,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Statements.
    pub statements: u64,
    /// Hexadecimal digest of the recording's last frame; empty where it is not known.
    pub head: String,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenView {
    /// Its public part.
    pub id: String,
    /// Whose it is.
    pub principal: PrincipalId,
    /// The one thing that it is good for.
    pub resource: Resource,
    /// When it was made.
    pub minted_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How many uses are left; none where they aren't counted.
    pub uses_left: Option<u32>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// One event of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditView {
    /// Its place in the log.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who did it: a principal, `operator`, `control` or `proxy:NAME`.
    pub actor: String,
    /// What happened, as `request.asked`.
    pub kind: StoredKind,
    /// What it happened to.
    pub subject: String,
    /// The rest.
    pub detail: serde_json::Value,
}

/// A target as one person sees it.
#[derive(Debug, Clone)]
pub struct TargetView {
    /// Its name.
    pub name: TargetName,
    /// What it speaks.
    pub kind: Kind,
    /// Its environment.
    pub environment: Option<Environment>,
    /// Its databases, the default first.
    pub databases: Vec<Database>,
    /// How long a grant lasts where nobody says.
    pub default_ttl: Ttl,
    /// Its logins.
    pub logins: Vec<LoginView>,
}

/// A login as one person sees it.
#[derive(Debug, Clone)]
pub struct LoginView {
    /// What has to be said to ask for it.
    pub words: RequiredInput,
    /// The login.
    pub login: Login,
    /// How the gateway signs in as it.
    pub credential: Credential,
    /// Whether they can have it, for the default database.
    pub verdict: Verdict,
}

/// What asking would come to.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Given at once.
    Free {
        /// For how long at most.
        limit: Option<Ttl>,
    },
    /// Given once people say yes.
    Approval {
        /// Who, and how many.
        needs: Approvals,
        /// For how long at most.
        limit: Option<Ttl>,
    },
    /// Not given.
    Denied(Rejection),
}

/// What asking came to.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request, new or joined.
    pub request: Request,
    /// The grant, where nobody had to be asked or it was there already.
    pub grant: Option<Grant>,
    /// Those of what else was asked for.
    pub also: Vec<Grant>,
    /// The feed has published all this by this revision.
    pub revision: u64,
}

/// A lock and whether it still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockView {
    /// The lock.
    pub lock: Lock,
    /// How people call the one who set it.
    pub by_name: String,
    /// Whether what it names is known here today; a device is known to itself alone.
    pub known: bool,
}

impl Asked {
    pub(crate) fn new((request, grants): (Request, Vec<Grant>), revision: u64) -> Self {
        let mut grants = grants.into_iter();
        Self { request, grant: grants.next(), also: grants.collect(), revision }
    }
}

/// A review, and what a reader needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewView {
    /// The review.
    pub review: Review,
    /// How people call the one whom it is about.
    pub name: String,
    /// Whether the reader may sign it, once the grant has ended.
    pub may_sign: bool,
}

/// A passkey as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyView {
    /// Its name here.
    pub id: String,
    /// Whose it is.
    pub principal: PrincipalId,
    /// What they call it.
    pub name: String,
    /// When it was registered.
    pub added_at: Timestamp,
    /// When it was used last.
    pub used_at: Option<Timestamp>,
}

/// A recovery that waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryView {
    /// Its name.
    pub id: String,
    /// Whose factors are to be removed.
    pub principal: PrincipalId,
    /// The admin who wants it.
    pub asked_by: PrincipalId,
    /// Why.
    pub reason: String,
    /// Since when.
    pub asked_at: Timestamp,
    /// Until when somebody may agree.
    pub expires_at: Timestamp,
}

impl RecoveryView {
    /// What the second person agrees to.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let line = |label: &str, text: String| (label.to_owned(), text);
        Statement {
            purpose: Purpose::Administer,
            subject: self.id.clone(),
            lines: vec![
                line("Remove", "every passkey, authenticator app and SSH key".to_owned()),
                line("Of", self.principal.to_string()),
                line("Asked by", self.asked_by.to_string()),
                line("Reason", self.reason.clone()),
                line("Asked", self.asked_at.to_string()),
            ],
        }
    }
}

/// A registered key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKeyView {
    /// Its name here.
    pub id: String,
    /// Whose it is.
    pub principal: PrincipalId,
    /// What they call it.
    pub name: String,
    /// The key as OpenSSH writes one, without a comment.
    pub line: String,
    /// Its fingerprint, as OpenSSH shows it: by this name locks know it.
    pub fingerprint: String,
    /// Whether a security key checked a PIN, finger or face when it proved itself, beyond the touch; none
    /// where the key is no security key. It says nothing of the times that came later.
    pub user_verified: Option<bool>,
    /// When it was added.
    pub added_at: Timestamp,
    /// When its person agreed to it; it opens nothing before.
    pub confirmed_at: Option<Timestamp>,
    /// When a session was opened with it last.
    pub used_at: Option<Timestamp>,
}

impl SshKeyView {
    /// What kind of key it is, as OpenSSH names it.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// What its person agrees to.
    #[must_use]
    pub fn addition(&self) -> Statement {
        let line = |label: &str, text: &str| (label.to_owned(), text.to_owned());
        Statement {
            purpose: Purpose::Administer,
            subject: self.id.clone(),
            lines: vec![
                line("Add", &format!("the SSH key \"{}\"", self.name)),
                line("Fingerprint", &self.fingerprint),
                line("Kind", self.kind()),
                line("For", self.principal.as_str()),
                line("It can", "open, as you, whatever you have a grant for"),
            ],
        }
    }
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// It is still to be taken.
    Waiting,
    /// Somebody took it.
    Sent,
    /// It was tried for the last time.
    Dead,
}

/// A message, without what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageView {
    /// Its id, the same in every try.
    pub id: String,
    /// By which channel.
    pub channel: ChannelName,
    /// To whom, where the channel reaches each by themselves.
    pub recipient: Option<PrincipalId>,
    /// What it tells.
    pub topic: Topic,
    /// The id of what it is about.
    pub about: String,
    /// Since when.
    pub written_at: Timestamp,
    /// Where it stands.
    pub state: MessageState,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next, where it waits.
    pub due_at: Timestamp,
    /// Since when it is sent or dead.
    pub settled_at: Option<Timestamp>,
    /// Why the last try failed.
    pub fault: Option<String>,
}

impl MessageState {
    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for MessageState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "waiting" => Ok(Self::Waiting),
            "sent" => Ok(Self::Sent),
            "dead" => Ok(Self::Dead),
            other => {
                let other: String = other.chars().take(40).flat_map(char::escape_debug).collect();
                Err(format!("`{other}` is none of `waiting`, `sent` and `dead`"))
            }
        }
    }
}
