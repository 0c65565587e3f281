//! The kinds of events in the audit log: each with its name, what it says, and the fields of its detail.
//!
//! A kind is declared once, in the table below. Names and fields are stored, so that both stay as they are: a
//! field may be added, and may be missing in events of older versions. What a kind means elsewhere (its text for
//! people, its notification, whether it takes access away) is an exhaustive match there.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// What the audit log says of one kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSchema {
    /// What happened.
    pub meaning: &'static str,
    /// What the event's subject names.
    pub subject: &'static str,
    /// The fields of its detail. Each may be null.
    pub fields: &'static [&'static str],
}

/// This version records no such kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no such kind of event is recorded by this version")]
pub struct UnknownKind;

macro_rules! kinds {
    ($($kind:ident = $name:literal, $subject:literal, $meaning:literal, [$($field:literal),* $(,)?];)+) => {
        /// The kind of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AuditKind {
            $(
                #[doc = $meaning]
                $kind,
            )+
        }

        impl AuditKind {
            /// All kinds, by their names.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The name under which it is stored.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// What its events hold.
            #[must_use]
            pub fn schema(self) -> AuditSchema {
                match self {
                    $(Self::$kind => AuditSchema {
                        meaning: $meaning,
                        subject: $subject,
                        fields: &[$($field),*],
                    },)+
                }
            }
        }

        impl FromStr for AuditKind {
            type Err = UnknownKind;

            fn from_str(name: &str) -> Result<Self, UnknownKind> {
                match name {
                    $($name => Ok(Self::$kind),)+
                    _ => Err(UnknownKind),
                }
            }
        }
    };
}

kinds! {
    BearerRedeemed = "bearer.redeemed", "the token's id, or the beginning of its digest",
        "An access token of an issuer was accepted at a proxy.", ["issuer", "subject"];
    BreakGlassUsed = "break-glass.used", "grant",
        "Access was taken in an emergency, without approval.",
        ["grant", "request", "principal", "resource", "reason", "ticket", "groups", "review"];
    CertificateIssued = "certificate.issued", "the certificate's serial",
        "A client certificate was issued in a login session.",
        ["principal", "device", "login", "fingerprint", "kind", "not_after"];
    ChannelOff = "channel.off", "channel",
        "A notification channel was switched off, since its receiver is gone.", ["why"];
    ChannelOn = "channel.on", "channel", "An admin switched a channel on again.", [];
    ClockJumped = "clock.jumped", "proxy", "The clock of a proxy jumped.", ["jump_ms", "at"];
    CodeRefused = "code.refused", "what the code should have named",
        "A signed-in person typed a code under which nothing waits.", ["login", "left_out"];
    ConnectionDenied = "connection.denied", "target", "A proxy denied a connection.",
        ["principal", "target", "login", "database", "client", "reason", "detail", "at"];
    ControlOpened = "control.opened", "`control`", "The control plane started.",
        ["sessions_without_end"];
    DeviceConfirmed = "device.confirmed", "waiting terminal",
        "A person confirmed that a waiting terminal is theirs.",
        ["device", "address", "agent", "digest", "login", "step_up"];
    DeviceDenied = "device.denied", "waiting terminal",
        "A person said that a waiting terminal is not theirs.",
        ["device", "address", "agent", "digest", "login", "step_up"];
    DeviceSignedIn = "device.signed-in", "login session",
        "A terminal that was confirmed got its login session.", ["terminal"];
    GrantEnded = "grant.ended", "grant", "A grant ended.", ["end", "detail"];
    GrantEnding = "grant.ending", "grant", "A grant ends soon, and its holder is reminded.",
        ["ends"];
    GrantExtended = "grant.extended", "grant", "A grant was extended by a request.",
        ["ends", "request", "decided_by"];
    GrantGiven = "grant.given", "grant", "A request was granted.",
        ["request", "principal", "resource", "ttl", "approved_by", "starts_at", "act", "record",
         "decided_by"];
    GrantOpened = "grant.opened", "grant", "A grant for later began.", ["claim_by"];
    GrantUsed = "grant.used", "grant", "A grant was used for the first time: its clock runs.",
        ["ends"];
    HoldConfirmed = "hold.confirmed", "waiting connection",
        "A person confirmed that a waiting connection is theirs.",
        ["resource", "client", "application", "digest", "reason", "ticket", "step_up"];
    InventoryTaken = "inventory.taken", "`inventory`", "A changed configuration was put in force.",
        ["revoked", "withdrawn"];
    InviteMade = "invite.made", "principal", "A one-time sign-in link was made.", ["expires_at"];
    IssuerAvailable = "issuer.available", "issuer", "An issuer can be asked about people again.",
        [];
    IssuerUnavailable = "issuer.unavailable", "issuer", "An issuer can't be asked about people.",
        ["reason", "detail", "grace"];
    LinkRefused = "link.refused", "principal, or `link`", "A sign-in link was refused.",
        ["why", "address", "agent"];
    LockLifted = "lock.lifted", "lock", "A lock was lifted.", [];
    LockSet = "lock.set", "lock", "A lock was set.", ["subject", "reason", "until"];
    LoginEnded = "login.ended", "login session", "A login session ended.", ["principal", "why"];
    LoginProven = "login.proven", "login session",
        "A person signed in by a passkey; the assertion can be verified offline.",
        ["passkey", "statement", "digest", "nonce", "assertion"];
    LoginRefused = "login.refused", "challenge, or issuer",
        "A sign-in by a passkey or an issuer was refused.",
        ["reason", "detail", "purpose", "credential", "owner", "address"];
    LoginRotated = "login.rotated", "login session",
        "A login session got another token, since its person proved more.", ["rank", "method"];
    LoginSignedIn = "login.signed-in", "login session", "A login session began.",
        ["method", "kind", "rank", "device", "address", "agent", "issuer", "subject", "by",
         "expires_at"];
    LogoutByIssuer = "logout.by-issuer", "issuer", "An issuer ended login sessions.",
        ["subject", "sid", "ended"];
    LogoutRefused = "logout.refused", "issuer", "A logout message of an issuer was refused.",
        ["reason", "detail", "address"];
    NotificationAgain = "notification.again", "message, or `dead` for all that failed",
        "An admin had messages sent again.", ["replay", "count"];
    NotificationDead = "notification.dead", "message", "A message is not tried again.",
        ["channel", "why"];
    PasskeyAdded = "passkey.added", "passkey", "A passkey was registered.",
        ["name", "challenge", "credential"];
    PasskeyRefused = "passkey.refused", "challenge", "The registration of a passkey was refused.",
        ["reason", "purpose"];
    PasskeyRemoved = "passkey.removed", "passkey", "A passkey was removed.", ["name", "digest"];
    PasskeyRenamed = "passkey.renamed", "passkey", "A passkey was renamed.", ["name"];
    PersonChanged = "person.changed", "principal", "An issuer reports other groups or another name.",
        ["issuer", "subject", "name", "groups", "before"];
    PersonLapsed = "person.lapsed", "principal",
        "What an issuer said of a person is too old to count.", ["issuer", "subject", "why"];
    PersonLearned = "person.learned", "principal", "An issuer vouched for a person.",
        ["issuer", "subject", "name", "groups", "before"];
    PersonRefused = "person.refused", "principal", "An issuer no longer vouches for a person.",
        ["issuer", "subject", "why"];
    PlaceLearned = "place.learned", "principal",
        "A person proved themselves from a network or on a device for the first time.",
        ["kind", "what"];
    RecordingBroken = "recording.broken", "session", "A recording proves nothing.", ["why"];
    RecordingRead = "recording.read", "session", "A recording was read.", [];
    RecoveryAsked = "recovery.asked", "recovery",
        "An admin asked for all factors of a person to be removed.", ["principal", "reason"];
    RecoveryDone = "recovery.done", "recovery, or principal",
        "All factors of a person were removed.",
        ["principal", "asked_by", "agreed_by", "reason", "passkeys", "totp", "ssh_keys", "digest"];
    RefusalsLeftOut = "refusals.left-out", "network, or holder",
        "Refusals beyond the bound were counted instead of recorded one by one.",
        ["kind", "count", "since", "until"];
    RequestApproved = "request.approved", "request", "A person approved a request.",
        ["digest", "shorten", "step_up"];
    RequestAsked = "request.asked", "request", "Access was requested.",
        ["resource", "ttl", "reason", "ticket", "act", "extends", "starts_at", "needs", "rules",
         "digest", "source", "step_up", "unusual", "terms", "on_call", "ticket_state", "risk"];
    RequestDenied = "request.denied", "request", "A person denied a request.", ["reason"];
    RequestEdited = "request.edited", "request", "The requester changed a request.",
        ["ttl", "reason", "ticket", "starts_at", "before", "lapses_at", "digest", "needs"];
    RequestEscalated = "request.escalated", "request",
        "A request waited too long, and others may stand in.",
        ["to", "needs", "resource", "principal"];
    RequestGranted = "request.granted", "request",
        "A request was granted without another approval, since the rules ask for less by now.",
        ["why", "asked", "needs", "rules", "resource", "principal"];
    RequestLapsed = "request.lapsed", "request", "Nobody decided on a request in time.", [];
    RequestProved = "request.proved", "request", "The requester confirmed a request by a step-up.",
        ["step_up"];
    RequestThrottled = "request.throttled", "principal", "A person requested access too often.",
        ["a_minute", "refused_of_all_since"];
    RequestTurn = "request.turn", "request", "The next stage of approvers is asked.", ["needs"];
    RequestWithdrawn = "request.withdrawn", "request", "A request was withdrawn.", ["why"];
    ReviewDue = "review.due", "review", "The review of an emergency is overdue.",
        ["grant", "groups", "reason"];
    ReviewOpened = "review.opened", "review", "The review of an emergency was opened.",
        ["grant", "request", "principal", "resource", "reason", "ticket", "groups", "review"];
    ReviewSigned = "review.signed", "review", "The review of an emergency was signed.",
        ["grant", "principal", "note"];
    RosterLearned = "roster.learned", "roster", "An on-call roster was read, and is news.",
        ["on_call", "unread", "why"];
    RosterSilent = "roster.silent", "roster", "An on-call roster can't be read.", ["why"];
    RulesReconsidered = "rules.reconsidered", "`rules`",
        "Live access was evaluated again, since a fact changed.",
        ["because", "revoked", "withdrawn"];
    SessionEnded = "session.ended", "session", "A session ended.",
        ["end", "detail", "bytes_in", "bytes_out", "statements", "head", "at", "assumed"];
    SessionOpened = "session.opened", "session", "A session began.",
        ["grant", "principal", "authn", "resource", "client", "application", "at"];
    SessionProved = "session.proved", "session", "A session went on after a step-up.",
        ["grant", "step_up"];
    SessionReconciled = "session.reconciled", "session",
        "The register of sessions was corrected by a recording.",
        ["was_missing", "recording", "principal", "grant", "resource", "opened_at", "proxy", "end",
         "detail", "ended_at", "statements", "head"];
    SshKeyAdded = "ssh-key.added", "SSH key", "An SSH key was registered.",
        ["name", "fingerprint", "kind", "waits", "user_verified", "challenge", "namespace",
         "message", "signature"];
    SshKeyConfirmed = "ssh-key.confirmed", "SSH key", "A person agreed to an SSH key of theirs.",
        ["fingerprint", "digest"];
    SshKeyRefused = "ssh-key.refused", "challenge", "The proof of an SSH key was refused.",
        ["reason", "purpose", "fingerprint"];
    SshKeyRemoved = "ssh-key.removed", "SSH key", "An SSH key was removed.",
        ["name", "fingerprint", "principal"];
    StepUpAsked = "step-up.asked", "challenge", "A person was asked for a step-up.",
        ["statement", "digest", "nonce", "login"];
    StepUpGiven = "step-up.given", "step-up",
        "A person gave a step-up; the evidence can be verified offline.",
        ["challenge", "kind", "purpose", "subject", "digest", "bound", "credential", "evidence"];
    StepUpRefused = "step-up.refused", "challenge, or step-up", "A step-up was refused.",
        ["reason", "purpose"];
    StepUpWanted = "step-up.wanted", "principal", "A connection takes a fresh step-up.",
        ["resource", "within", "rules", "unusual", "told"];
    StoreRolledBack = "store.rolled-back", "`store`", "The operator accepted an older store.",
        ["why", "epoch", "known_until", "grants", "requests", "logins", "locks", "keys"];
    StoreWritable = "store.writable", "`control`", "The store can be written again.",
        ["since", "cuts"];
    TicketLearned = "ticket.learned", "ticket", "The state of a ticket is known, and is news.",
        ["state", "by"];
    TicketReported = "ticket.told", "ticket", "The ticket system reported the state of a ticket.",
        ["state", "ended", "withdrawn", "message"];
    TicketsSilent = "tickets.silent", "ticket system", "The ticket system can't be asked.", ["why"];
    TokenMinted = "token.minted", "token", "A token for one resource was made.",
        ["resource", "uses", "login", "expires_at"];
    TokenRedeemed = "token.redeemed", "token", "A token was accepted at a proxy.", ["resource"];
    TokenRefused = "token.refused", "token", "A token was refused at a proxy.", ["why"];
    TokenRevoked = "token.revoked", "token", "A token was revoked.", [];
    TotpAdded = "totp.added", "`totp`", "An authenticator app was set up.", [];
    TotpRefused = "totp.refused", "`totp`", "The first code of an authenticator app was refused.",
        ["reason", "purpose"];
    TotpRemoved = "totp.removed", "`totp`", "An authenticator app was removed.", [];
    WorkloadExchanged = "workload.exchanged", "principal",
        "A workload exchanged its issuer's token for a certificate.",
        ["serial", "fingerprint", "device", "not_after", "issuer", "subject", "token", "source"];
    WorkloadRefused = "workload.refused", "workload", "The token of a workload was refused.",
        ["why", "told", "source"];
}

impl fmt::Display for AuditKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of a stored event. One of an older or a newer version is kept as it is, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredKind {
    /// A kind of this version.
    Known(AuditKind),
    /// The name of another.
    Unknown(String),
}

impl StoredKind {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(kind) => kind.name(),
            Self::Unknown(name) => name,
        }
    }
}

impl From<String> for StoredKind {
    fn from(name: String) -> Self {
        name.parse().map_or(Self::Unknown(name), Self::Known)
    }
}

impl fmt::Display for StoredKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for StoredKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl PartialEq<&str> for StoredKind {
    fn eq(&self, name: &&str) -> bool {
        self.name() == *name
    }
}

impl PartialEq<AuditKind> for StoredKind {
    fn eq(&self, kind: &AuditKind) -> bool {
        *self == Self::Known(*kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_read_again() {
        assert!(AuditKind::ALL.is_sorted_by_key(|kind| kind.name().split_once('.')));
        for kind in AuditKind::ALL {
            assert_eq!(StoredKind::from(kind.name().to_owned()), StoredKind::Known(*kind));
        }
    }

    #[test]
    fn a_kind_of_another_version_is_kept_as_it_is() {
        let kind = StoredKind::from("moon.landed".to_owned());
        assert_eq!(kind, StoredKind::Unknown("moon.landed".to_owned()));
        assert_eq!(serde_json::to_value(&kind).unwrap(), "moon.landed");
    }
}
