//! Facts: what rules may ask about a request and its moment.
//!
//! All of them are gathered by whoever asks the rules; nothing is looked up in here. A fact that
//! nobody could find out is absent, or what is least favourable.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Channel, Local, Request, StepUpKind, Ticket, Timestamp, Ttl};

/// What rules may ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// Now, by the organisation's clock.
    pub local: Local,
    /// What is to be done.
    pub act: Act,
    /// Where the connection comes from, where there is one.
    pub source: Option<IpAddr>,
    /// The kind and age of the youngest step-up that serves here, where there is one.
    pub step_up: Option<(StepUpKind, Ttl)>,
    /// The ticket that was named, where one was.
    pub ticket: Option<Ticket>,
    /// How that ticket stands, as its source says; absent where nobody knows.
    pub ticket_state: Option<String>,
    /// Why, in the words of the one who asks; empty where they said nothing.
    pub reason: String,
    /// For how long it is asked; absent where nobody said.
    pub ttl: Option<Ttl>,
    /// Whether a roster says that they are on call now.
    pub on_call: bool,
    /// The kind of channel that is to be opened, where it is about one; absent where it is about the
    /// connection as a whole.
    pub channel: Option<Channel>,
    /// What is unusual about it.
    pub risk: Risk,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// To connect, with whatever approvals the rules want.
    #[default]
    Connect,
    /// To connect in an emergency: without approvals, but never without step-up and review.
    BreakGlass,
}

/// What is unusual about a request. By default, nothing is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// They have never come from this network.
    pub new_network: bool,
    /// They have never come with this device.
    pub new_device: bool,
    /// How often somebody failed lately in their name.
    pub failed_attempts: u32,
}

impl Act {
    /// What rules call it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::BreakGlass => "break-glass",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Facts {
    /// The facts of a moment and a place, with nothing said, proved or unusual, and outside of all
    /// working hours.
    #[must_use]
    pub fn new(now: Timestamp, source: Option<IpAddr>) -> Self {
        Self {
            now,
            local: Local::utc(now),
            act: Act::Connect,
            source,
            step_up: None,
            ticket: None,
            ticket_state: None,
            reason: String::new(),
            ttl: None,
            on_call: false,
            channel: None,
            risk: Risk::default(),
        }
    }

    /// The same, about one kind of channel.
    #[must_use]
    pub fn on(self, channel: Channel) -> Self {
        Self { channel: Some(channel), ..self }
    }

    /// The same, with what was said in a request.
    #[must_use]
    pub fn about(self, request: &Request) -> Self {
        Self {
            act: request.act,
            ticket: request.ticket.clone(),
            reason: request.reason.clone(),
            ttl: Some(request.ttl),
            ..self
        }
    }
}
