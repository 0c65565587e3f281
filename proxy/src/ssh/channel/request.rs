//! What a client asks for on a channel, by the state of the channel in which it may ask for it.
//!
//! A session is prepared, then runs one program, and then has no place for another one. OpenSSH's server
//! works the same way; other servers may start a second program, whose bytes nothing here would understand.

use russh::{Pty, Sig};

/// What prepares a session, before its program.
#[derive(Debug)]
pub(in crate::ssh) enum Setup {
    Pty {
        term: String,
        size: Size,
        modes: Vec<(Pty, u32)>,
    },
    Env {
        name: String,
        value: String,
    },
    /// The size of the terminal, which a client may change before anything runs in it.
    Resize(Size),
    /// The target may use the client's key agent.
    Agent,
    /// The target may use the client's display.
    X11 {
        single: bool,
        protocol: String,
        cookie: String,
        screen: u32,
    },
    /// Text for the client alone: the target gets nothing.
    Print(String),
}

/// The one program of a session.
#[derive(Debug)]
pub(in crate::ssh) enum Program {
    Shell,
    Exec(Vec<u8>),
    Subsystem(String),
}

/// What goes to a program that runs, beside its bytes.
#[derive(Debug)]
pub(in crate::ssh) enum Control {
    Resize(Size),
    Signal(Sig),
}

/// The size of a terminal, in characters and in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ssh) struct Size {
    pub(in crate::ssh) columns: u32,
    pub(in crate::ssh) rows: u32,
    pub(in crate::ssh) width: u32,
    pub(in crate::ssh) height: u32,
}

/// What was refused in such a way that the channel ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) struct Refused {
    pub(in crate::ssh) what: &'static str,
    pub(in crate::ssh) reason: String,
}

impl Setup {
    /// Whether the target answers it.
    pub(in crate::ssh) fn is_answered(&self) -> bool {
        match self {
            Self::Pty { .. } | Self::Env { .. } | Self::Agent | Self::X11 { .. } => true,
            Self::Resize(_) | Self::Print(_) => false,
        }
    }

    /// What it takes up beside its place.
    pub(in crate::ssh) fn bytes(&self) -> usize {
        match self {
            Self::Pty { term, modes, .. } => term.len() + modes.len() * size_of::<(Pty, u32)>(),
            Self::Env { name, value } => name.len() + value.len(),
            Self::X11 { protocol, cookie, .. } => protocol.len() + cookie.len(),
            Self::Print(text) => text.len(),
            Self::Resize(_) | Self::Agent => 0,
        }
    }
}

impl Program {
    /// Its name in messages and recordings.
    pub(in crate::ssh) fn word(&self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Exec(_) => "exec",
            Self::Subsystem(_) => "subsystem",
        }
    }

    /// What it takes up beside its place.
    pub(in crate::ssh) fn bytes(&self) -> usize {
        match self {
            Self::Shell => 0,
            Self::Exec(command) => command.len(),
            Self::Subsystem(name) => name.len(),
        }
    }
}

impl Control {
    /// What it takes up beside its place.
    pub(in crate::ssh) fn bytes(&self) -> usize {
        match self {
            Self::Signal(Sig::Custom(name)) => name.len(),
            Self::Resize(_) | Self::Signal(_) => 0,
        }
    }
}

impl Refused {
    pub(in crate::ssh) fn new(what: &'static str, reason: impl Into<String>) -> Self {
        Self { what, reason: reason.into() }
    }
}
