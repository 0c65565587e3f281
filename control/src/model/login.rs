//! A login session as it is kept: whose, how it was proved, from where, and how it ended.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use policies::{Authn, DeviceId, LoginId, Method, PrincipalId, Timestamp, Ttl};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};

use crate::model::actor::Actor;
use crate::model::error::Unreadable;
use crate::model::person::Person;
use crate::model::settings::SignIn;

/// Where somebody signs in from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// With what.
    pub kind: LoginKind,
    /// The device that certificates are for.
    pub device: Option<DeviceId>,
    /// The address of the socket's other end, where it is known.
    pub address: Option<IpAddr>,
    /// What the client calls itself; not checked.
    pub agent: String,
}

/// With what somebody signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoginKind {
    /// A browser, which holds a cookie and is left alone at times.
    Browser,
    /// A terminal, which holds a token in a file of its own, and is used now and then.
    #[default]
    Terminal,
}

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Register a passkey, and nothing else.
    Enrolling,
    /// All that its person may.
    Full,
}

/// Why a login session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginEnd {
    /// Its person signed out.
    SignedOut,
    /// Its person, or an admin, ended it from elsewhere.
    Ended,
    /// Its time was over.
    Expired,
    /// Nobody was there for too long.
    Idle,
    /// Its person is disabled, or no longer known.
    Disabled,
    /// The issuer says that its session there is over.
    IssuerLogout,
    /// The issuer no longer vouches for its person.
    IssuerRefused,
}

impl LoginEnd {
    /// Whether only time passed: then what the session brought ends by its own time.
    pub(crate) fn is_by_time(self) -> bool {
        match self {
            Self::Expired | Self::Idle => true,
            Self::SignedOut
            | Self::Ended
            | Self::Disabled
            | Self::IssuerLogout
            | Self::IssuerRefused => false,
        }
    }

    /// In words for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::SignedOut => "signed out",
            Self::Ended => "ended from elsewhere",
            Self::Expired => "its time was over",
            Self::Idle => "left alone for too long",
            Self::Disabled => "its person is disabled or no longer known",
            Self::IssuerLogout => "signed out at the issuer",
            Self::IssuerRefused => "the issuer no longer vouches for its person",
        }
    }
}

/// The session at an issuer that a login came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtIssuer {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
    /// The issuer's name of the session, where it has one.
    pub sid: Option<String>,
}

/// A login session as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRecord {
    /// Its name; no secret.
    pub id: LoginId,
    /// Whose it is.
    pub principal: PrincipalId,
    /// With what they signed in.
    pub kind: LoginKind,
    /// What it may do.
    pub rank: Rank,
    /// How they proved who they are.
    pub method: Method,
    /// The device that certificates are for.
    pub device: Option<DeviceId>,
    /// The session at an issuer that it came from.
    pub issuer: Option<AtIssuer>,
    /// The session in which its person let this one in.
    pub by: Option<LoginId>,
    /// Where they signed in from.
    pub address: Option<IpAddr>,
    /// What the client called itself; not checked.
    pub agent: String,
    /// When they signed in.
    pub signed_in_at: Timestamp,
    /// When it was last used, to the minute.
    pub seen_at: Timestamp,
    /// When it ends unless it is used; none where an older version opened it without such an end.
    pub idle_at: Option<Timestamp>,
    /// When it ends at last.
    pub expires_at: Timestamp,
    /// How it ended.
    pub ended: Option<LoginEnded>,
}

/// When and why a login session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginEnded {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: LoginEnd,
}

impl LoginRecord {
    /// When time ends it.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.idle_at.map_or(self.expires_at, |idle| idle.min(self.expires_at))
    }

    pub(crate) fn actor(&self, person: &Person) -> Actor {
        Actor {
            principal: person.principal.clone(),
            admin: person.admin,
            auditor: person.auditor,
            login: self.id.clone(),
            authn: Authn {
                method: self.method,
                at: self.signed_in_at,
                evidence: self.id.to_string(),
                device: self.device.clone(),
            },
        }
    }
}

impl LoginKind {
    /// How long a session of this kind may be left alone.
    pub(crate) fn idle(self, settings: &SignIn) -> Ttl {
        match self {
            Self::Browser => settings.idle,
            Self::Terminal => settings.terminal_idle,
        }
    }
}

/// The method that a stored word means.
pub(crate) fn method(word: &str) -> Result<Method, Unreadable> {
    let read = Method::deserialize(StrDeserializer::<Error>::new(word));
    read.map_err(|error| Unreadable::new("method", error))
}

/// Words of a small enum, each way.
macro_rules! words {
    ($name:ident, $what:literal, $($variant:ident = $word:literal),+ $(,)?) => {
        impl $name {
            /// As one word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("`{other}` is no {}", $what)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words!(LoginKind, "kind of login", Browser = "browser", Terminal = "terminal");
words!(Rank, "rank of login", Enrolling = "enrolling", Full = "full");
words!(
    LoginEnd,
    "end of a login",
    SignedOut = "signed-out",
    Ended = "ended",
    Expired = "expired",
    Idle = "idle",
    Disabled = "disabled",
    IssuerLogout = "issuer-logout",
    IssuerRefused = "issuer-refused",
);

/// Which login sessions are meant, of those that are live.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// This one.
    One(&'a LoginId),
    /// All of a person's.
    Of(&'a PrincipalId),
    /// Those of one session at an issuer: its name and the session's.
    Sid(&'a str, &'a str),
}

/// The most of what a client calls itself that is kept.
pub(crate) const AGENT_MAX: usize = 200;

/// A proof of who somebody is, fresh from where it was checked.
#[derive(Debug, Clone)]
pub(crate) struct NewLogin {
    pub(crate) principal: PrincipalId,
    pub(crate) method: Method,
    pub(crate) rank: Rank,
    pub(crate) issuer: Option<AtIssuer>,
    /// The session in which they let this one in, where there is one.
    pub(crate) by: Option<LoginId>,
    pub(crate) origin: Origin,
}

/// A signed-in person's session with control.
#[derive(Debug)]
pub struct LoginSession {
    /// The bearer token. Only its digest is stored.
    pub token: SecretString,
    /// Who signed in.
    pub actor: Actor,
    /// With what they signed in: the one transport in which the token is good.
    pub kind: LoginKind,
    /// What it may do.
    pub rank: Rank,
    /// Until when the token is good at most.
    pub expires_at: Timestamp,
}
