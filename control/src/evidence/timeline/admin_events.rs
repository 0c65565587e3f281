//! What happens around requests and sessions, in words: keys, links and codes, locks, messages, and the
//! gateway itself.

use super::values::{after, text};
use crate::model::view::AuditView;

/// What somebody did to what opens the gateway for them or others; nothing where it is none of that.
pub(super) fn keys(event: &AuditView, who: &str) -> Option<String> {
    let said = |key: &str| text(event.detail.get(key));
    let it = &event.subject;
    Some(match event.kind.as_str() {
        "invite.made" => {
            format!("{who} made a sign-in link for {it}, until {}", said("expires_at"))
        }
        "passkey.added" => format!("{who} registered the passkey \"{}\": {it}", said("name")),
        "passkey.removed" => format!("{who} removed the passkey \"{}\": {it}", said("name")),
        "passkey.renamed" => format!("{who} called the passkey {it} \"{}\"", said("name")),
        "ssh-key.added" => format!(
            "{who} registered the SSH key \"{}\", {}: {it}",
            said("name"),
            said("fingerprint")
        ),
        "ssh-key.confirmed" => format!("{who} agreed to the SSH key {it}, {}", said("fingerprint")),
        "ssh-key.removed" => format!(
            "{who} removed the SSH key \"{}\" of {}, {}: {it}",
            said("name"),
            said("principal"),
            said("fingerprint")
        ),
        "totp.added" => format!("{who} set an authenticator app up"),
        "totp.removed" => format!("{who} removed an authenticator app"),
        "token.redeemed" => format!("token {it} was shown for {}", said("resource")),
        "token.refused" => format!("token {it} was shown and refused: {}", said("why")),
        "token.revoked" => format!("{who} took token {it} back"),
        "code.refused" => format!("{who} typed a wrong {it}"),
        "link.refused" => {
            let place = after(" at ", event.detail.get("address"));
            format!("a sign-in link was refused{place}: it is {} ({it})", said("why"))
        }
        "refusals.left-out" => format!(
            "{} more of {} from {it} between {} and {}: only counted, since there were so many",
            said("count"),
            said("kind"),
            said("since"),
            said("until"),
        ),
        "recovery.asked" => format!(
            "{who} asked to take all keys of {} away, because of \"{}\": {it}",
            said("principal"),
            said("reason")
        ),
        "recovery.done" => {
            format!("{who} took all keys of {} away: {it}", said("principal"))
        }
        _ => return None,
    })
}

/// What admins and the gateway did; nothing where it is none of that.
pub(super) fn offices(event: &AuditView, who: &str) -> Option<String> {
    let said = |key: &str| text(event.detail.get(key));
    let it = &event.subject;
    Some(match event.kind.as_str() {
        "lock.set" => format!(
            "{who} locked {}, because of \"{}\"{}: {it}",
            said("subject"),
            said("reason"),
            after(", until ", event.detail.get("until")),
        ),
        "lock.lifted" => format!("{who} lifted the lock {it}"),
        "connection.denied" => format!(
            "a connection from {} to {}@{it}{} was denied{}: {} {}",
            said("client"),
            said("login"),
            after("/", event.detail.get("database").filter(|name| *name != "")),
            after(" to ", event.detail.get("principal")),
            said("reason"),
            said("detail"),
        ),
        "clock.jumped" => format!("the clock of {it} jumped by {} ms", said("jump_ms")),
        "control.opened" => format!(
            "the gateway started; sessions that had no end: {}",
            said("sessions_without_end")
        ),
        "store.rolled-back" => format!(
            "{who} accepted an older store, since {}; it ended grants: {}; requests: {}; sign-ins: {}; \
             locks put back: {}; keys removed again: {}",
            said("why"),
            said("grants"),
            said("requests"),
            said("logins"),
            said("locks"),
            said("keys"),
        ),
        "store.writable" => format!(
            "the store can be written again, which it could not since {}; cuts written late: {}",
            said("since"),
            said("cuts")
        ),
        "inventory.taken" => format!(
            "people, targets and rules were taken in; grants that ended by it: {}; requests: {}",
            said("revoked"),
            said("withdrawn")
        ),
        "rules.reconsidered" => format!(
            "the rules were asked again, because of {}; grants that ended by it: {}; requests: {}",
            said("because"),
            said("revoked"),
            said("withdrawn")
        ),
        "grant.ending" => {
            format!("the holder of grant {it} was told that it ends at {}", said("ends"))
        }
        "notification.dead" => {
            format!("message {it} is tried no more by {}: {}", said("channel"), said("why"))
        }
        "channel.off" => format!("nobody is told by {it} any more: {}", said("why")),
        "channel.on" => format!("{who} switched {it} on again"),
        _ => return None,
    })
}
