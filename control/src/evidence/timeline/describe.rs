//! One event as a sentence. Much of it was written by others.
//!
//! Each kind has its text here, in a match without a wildcard: a kind that is added has to have one. What this
//! version doesn't know is shown as it is stored.

use serde_json::Value;

use super::values::{after, text};
use crate::model::audit_kind::{AuditKind as K, StoredKind};
use crate::model::view::AuditView;

/// The event as a sentence.
pub(crate) fn describe(event: &AuditView) -> String {
    let who = event.actor.strip_prefix("principal:").unwrap_or(&event.actor);
    let sentence = match &event.kind {
        StoredKind::Known(kind) => known(*kind, event, who),
        StoredKind::Unknown(kind) => {
            format!("{who}: {kind} {} {}", event.subject, event.detail)
        }
    };
    sentence.trim_end().to_owned()
}

#[expect(clippy::too_many_lines, reason = "one text for each kind of event")]
fn known(kind: K, event: &AuditView, who: &str) -> String {
    let field = |key: &str| text(event.detail.get(key));
    let it = &event.subject;
    match kind {
        K::BearerRedeemed => format!(
            "{who} was identified by an access token of {} for {}: {it}",
            field("issuer"),
            field("subject")
        ),
        K::BreakGlassUsed => format!(
            "{who} took grant {it} in an emergency, {}: to be reviewed as {}",
            because(event),
            field("review"),
        ),
        K::CertificateIssued => format!(
            "certificate {it} was issued to {who} for device {} in {}, until {}",
            field("device"),
            field("login"),
            field("not_after"),
        ),
        K::ChannelOff => format!("nobody is notified by {it} any more: {}", field("why")),
        K::ChannelOn => format!("{who} switched {it} on again"),
        K::ClockJumped => format!("the clock of {it} jumped by {} ms", field("jump_ms")),
        K::CodeRefused => format!("{who} typed a wrong {it}"),
        K::ConnectionDenied => format!(
            "a connection from {} to {}@{it}{} was denied{}: {} {}",
            field("client"),
            field("login"),
            after("/", event.detail.get("database").filter(|name| *name != "")),
            after(" to ", event.detail.get("principal")),
            field("reason"),
            field("detail"),
        ),
        K::ControlOpened => format!(
            "the gateway started; sessions that had no end: {}",
            field("sessions_without_end")
        ),
        K::DeviceConfirmed => format!(
            "{who} said in {} that the terminal {} at {} is theirs: {it}",
            field("login"),
            field("device"),
            field("address"),
        ),
        K::DeviceDenied => format!(
            "{who} said in {} that the terminal {} at {} is not theirs: {it}",
            field("login"),
            field("device"),
            field("address"),
        ),
        K::DeviceSignedIn => format!("the terminal {} got {it}", field("terminal")),
        K::GrantEnded => format!("grant {it} ended: {} {}", field("end"), field("detail")),
        K::GrantEnding => {
            format!("the holder of grant {it} was notified that it ends at {}", field("ends"))
        }
        K::GrantExtended => format!(
            "grant {it} was extended by {}, and ends at {}{}",
            field("request"),
            field("ends"),
            decided(event).map_or_else(String::new, |why| format!(": {why}")),
        ),
        K::GrantGiven => format!(
            "grant {it} was given to {} for {} for {}, {}",
            field("principal"),
            field("resource"),
            field("ttl"),
            decided(event).unwrap_or_else(|| format!("approved by {}", field("approved_by"))),
        ),
        K::GrantOpened => format!("grant {it} began, to be used by {}", field("claim_by")),
        K::GrantUsed => format!("grant {it} was first used, and ends at {}", field("ends")),
        K::HoldConfirmed => format!(
            "{who} confirmed the connection {it} to {} from {} ({}){}",
            field("resource"),
            field("client"),
            field("application"),
            proved(event),
        ),
        K::InventoryTaken => format!(
            "people, targets and rules were taken in; grants that ended by it: {}; requests: {}",
            field("revoked"),
            field("withdrawn")
        ),
        K::InviteMade => {
            format!("{who} made a sign-in link for {it}, until {}", field("expires_at"))
        }
        K::IssuerAvailable => format!("the issuer {it} can be asked about people again"),
        K::IssuerUnavailable => format!(
            "the issuer {it} can't be asked about people: {}; sign-ins go on for {}",
            field("detail"),
            field("grace")
        ),
        K::LinkRefused => {
            let place = after(" at ", event.detail.get("address"));
            format!("a sign-in link was refused{place}: it is {} ({it})", field("why"))
        }
        K::LockLifted => format!("{who} lifted the lock {it}"),
        K::LockSet => format!(
            "{who} locked {}, because of \"{}\"{}: {it}",
            field("subject"),
            field("reason"),
            after(", until ", event.detail.get("until")),
        ),
        K::LoginEnded => format!("{it} ended: {}", field("why")),
        K::LoginProven => format!("{who} signed in by passkey {}: {it}", field("passkey")),
        K::LoginRefused => format!(
            "a sign-in{} was refused{}: {} ({it})",
            after(" of ", event.detail.get("owner")),
            after(" at ", event.detail.get("address")),
            field("reason"),
        ),
        K::LoginRotated => {
            format!("{who} proved more than before in {it}, which got another token")
        }
        K::LoginSignedIn => format!(
            "{who} signed in by {}, with a {} at {} ({}){}: {it}",
            field("method"),
            field("kind"),
            field("address"),
            field("agent"),
            after(", let in from ", event.detail.get("by")),
        ),
        K::LogoutByIssuer => {
            format!("the issuer {it} signed {} out: {}", field("subject"), field("ended"))
        }
        K::LogoutRefused => {
            format!("a logout message of the issuer {it} was refused: {}", field("reason"))
        }
        K::NotificationAgain => format!("{who} had messages sent again: {it}"),
        K::NotificationDead => {
            format!("message {it} is tried no more by {}: {}", field("channel"), field("why"))
        }
        K::PasskeyAdded => format!("{who} registered the passkey \"{}\": {it}", field("name")),
        K::PasskeyRefused => {
            format!("the registration of a passkey by {who} was refused: {}", field("reason"))
        }
        K::PasskeyRemoved => format!("{who} removed the passkey \"{}\": {it}", field("name")),
        K::PasskeyRenamed => format!("{who} called the passkey {it} \"{}\"", field("name")),
        K::PersonChanged => format!(
            "the issuer {} reported a change of {it}: groups {}",
            field("issuer"),
            field("groups")
        ),
        K::PersonLapsed => {
            format!("what the issuer {} said of {it} is too old to count", field("issuer"))
        }
        K::PersonLearned => {
            format!("the issuer {} vouched for {it}: groups {}", field("issuer"), field("groups"))
        }
        K::PersonRefused => {
            format!("the issuer {} no longer vouches for {it}: {}", field("issuer"), field("why"))
        }
        K::PlaceLearned => format!(
            "{who} proved themselves with {} {} for the first time",
            field("kind"),
            field("what")
        ),
        K::RecordingBroken => format!("the recording of {it} proves nothing: {}", field("why")),
        K::RecordingRead => format!("{who} read the recording of {it}"),
        K::RecoveryAsked => format!(
            "{who} asked to take all keys of {} away, because of \"{}\": {it}",
            field("principal"),
            field("reason")
        ),
        K::RecoveryDone => format!("{who} took all keys of {} away: {it}", field("principal")),
        K::RefusalsLeftOut => format!(
            "{} more of {} from {it} between {} and {}: only counted, since there were so many",
            field("count"),
            field("kind"),
            field("since"),
            field("until"),
        ),
        K::RequestApproved => format!("{who} approved {it}{}", proved(event)),
        K::RequestAsked => format!(
            "{who} asked for {} for {}, {}, which takes {}: {it}",
            field("resource"),
            field("ttl"),
            because(event),
            field("needs"),
        ),
        K::RequestDenied => format!("{who} denied {it}: {}", field("reason")),
        K::RequestEdited => format!(
            "{who} changed {it}: for {}, {}; whoever had approved it was asked again",
            field("ttl"),
            because(event),
        ),
        K::RequestEscalated => {
            format!("{it} waited too long: others may stand in, {}", field("to"))
        }
        K::RequestGranted => format!(
            "{it} was granted by itself, since the rules ask for less by now: what they take is {}",
            field("needs"),
        ),
        K::RequestLapsed => format!("{it} lapsed: nobody decided in time"),
        K::RequestProved => format!("{who} stood by {it}{}", proved(event)),
        K::RequestThrottled => format!("{who} asked too often, and was refused"),
        K::RequestTurn => format!("the next approvers of {it} were asked: {}", field("needs")),
        K::RequestWithdrawn => {
            format!("{it} was withdrawn by {who}{}", after(": ", event.detail.get("why")))
        }
        K::ReviewDue => format!("the review {it} of grant {} is overdue", field("grant")),
        K::ReviewOpened => format!("the review {it} of grant {} was opened", field("grant")),
        K::ReviewSigned => format!("{who} signed the review {it}: \"{}\"", field("note")),
        K::RosterLearned => format!("the roster {it} was read; on call: {}", field("on_call")),
        K::RosterSilent => format!("the roster {it} can't be read: {}", field("why")),
        K::RulesReconsidered => format!(
            "the rules were asked again, because of {}; grants that ended by it: {}; requests: {}",
            field("because"),
            field("revoked"),
            field("withdrawn")
        ),
        K::SessionEnded => {
            let why = format!("{} {}", field("end"), field("detail"));
            format!("session {it} ended: {} (statements: {})", why.trim_end(), field("statements"))
        }
        K::SessionOpened => opened(event),
        K::SessionProved => format!("session {it} of {who} went on{}", proved(event)),
        K::SessionReconciled => format!(
            "the register of sessions was brought up to the recording of {it}: {} at {}, {} {} \
             (statements: {})",
            field("principal"),
            field("resource"),
            field("end"),
            field("detail"),
            field("statements")
        ),
        K::SshKeyAdded => format!(
            "{who} registered the SSH key \"{}\", {}: {it}",
            field("name"),
            field("fingerprint")
        ),
        K::SshKeyConfirmed => format!("{who} agreed to the SSH key {it}, {}", field("fingerprint")),
        K::SshKeyRefused => {
            format!("the proof of an SSH key by {who} was refused: {}", field("reason"))
        }
        K::SshKeyRemoved => format!(
            "{who} removed the SSH key \"{}\" of {}, {}: {it}",
            field("name"),
            field("principal"),
            field("fingerprint")
        ),
        K::StepUpAsked => format!("{who} was asked for a step-up: {it}"),
        K::StepUpGiven => format!(
            "{who} proved themselves by {} {} to {} {}: {it}",
            field("kind"),
            field("credential"),
            field("purpose"),
            field("subject"),
        ),
        K::StepUpRefused => format!("a step-up of {who} was refused: {} ({it})", field("reason")),
        K::StepUpWanted => format!("{}, for {it} at {}", field("told"), field("resource")),
        K::StoreRolledBack => format!(
            "{who} accepted an older store, since {}; it ended grants: {}; requests: {}; sign-ins: {}; \
             locks put back: {}; keys removed again: {}",
            field("why"),
            field("grants"),
            field("requests"),
            field("logins"),
            field("locks"),
            field("keys"),
        ),
        K::StoreWritable => format!(
            "the store can be written again, which it could not since {}; cuts written late: {}",
            field("since"),
            field("cuts")
        ),
        K::TicketLearned => format!("ticket {it} is {}, by {}", field("state"), field("by")),
        K::TicketReported => format!("ticket {it} was reported to be {}", field("state")),
        K::TicketsSilent => format!("the ticket system can't be asked: {}", field("why")),
        K::TokenMinted => {
            format!("{who} made token {it} for {} in {}", field("resource"), field("login"))
        }
        K::TokenRedeemed => format!("token {it} was shown for {}", field("resource")),
        K::TokenRefused => format!("token {it} was shown and refused: {}", field("why")),
        K::TokenRevoked => format!("{who} took token {it} back"),
        K::TotpAdded => format!("{who} set an authenticator app up"),
        K::TotpRefused => {
            format!("the first code of {who}'s authenticator app was refused: {}", field("reason"))
        }
        K::TotpRemoved => format!("{who} removed an authenticator app"),
        K::WorkloadExchanged => format!(
            "the workload {it} got certificate {} for a token of {}, until {}",
            field("serial"),
            field("issuer"),
            field("not_after")
        ),
        K::WorkloadRefused => {
            format!("the token of workload {it} was refused: {}", field("why"))
        }
    }
}

/// Why, in the words of who asked.
fn because(event: &AuditView) -> String {
    match event.detail.get("reason").and_then(Value::as_str) {
        None | Some("") => "without a reason".to_owned(),
        Some(reason) => format!("because of \"{reason}\""),
    }
}

/// With what somebody proved themselves for it, where they did.
fn proved(event: &AuditView) -> String {
    let given = event.detail.get("step_up").filter(|given| !given.is_null());
    let said = |key: &str| text(given.and_then(|given| given.get(key)));
    given.map_or_else(String::new, |_| {
        format!(", with {} {} ({})", said("kind"), said("credential"), said("id"))
    })
}

/// By which rules and facts something was given that nobody was asked about.
fn decided(event: &AuditView) -> Option<String> {
    let by = event.detail.get("decided_by").filter(|by| !by.is_null())?;
    let rules = |key: &str| {
        let named = by.get(key).and_then(Value::as_array).into_iter().flatten();
        let named =
            named.map(|rule| format!("`{}` ({})", text(rule.get("rule")), text(rule.get("at"))));
        named.collect::<Vec<_>>().join(", ")
    };
    let facts = by.get("facts").and_then(Value::as_object).into_iter().flatten();
    let facts = facts.map(|(name, value)| {
        if value.is_null() { format!("no {name}") } else { format!("{name} {}", text(Some(value))) }
    });
    let groups =
        by.get("groups").filter(|groups| groups.as_array().is_some_and(|all| !all.is_empty()));
    let facts: Vec<String> =
        facts.chain(groups.map(|all| format!("groups {}", text(Some(all))))).collect();
    let parts = [
        (", permitted by ", rules("permitted_by")),
        ("; met were ", rules("met")),
        ("; out of the way was ", rules("stood_aside")),
        ("; by ", facts.join(", ")),
    ];
    let grounds = parts.into_iter().filter(|(_, part)| !part.is_empty());
    let grounds: String = grounds.map(|(lead, part)| format!("{lead}{part}")).collect();
    Some(format!("without asking anybody{grounds}"))
}

fn opened(event: &AuditView) -> String {
    let said = |key: &str| text(event.detail.get(key));
    let authn = event.detail.get("authn");
    let proof = |key: &str| text(authn.and_then(|authn| authn.get(key)));
    format!(
        "session {} of {} on {} began on {} from {} ({}), identified by {} {}{}",
        event.subject,
        said("principal"),
        said("resource"),
        said("grant"),
        said("client"),
        said("application"),
        proof("method"),
        proof("evidence"),
        after(" of device ", authn.and_then(|authn| authn.get("device"))),
    )
}

#[cfg(test)]
mod tests {
    use policies::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_happened_is_told_in_words() {
        for (actor, kind, subject, detail, message) in [
            (
                "principal:carol",
                "lock.set",
                "lk-1",
                json!({ "subject": "group:dba", "reason": "incident 7", "until": null }),
                "carol locked group:dba, because of \"incident 7\": lk-1",
            ),
            (
                "proxy:local",
                "connection.denied",
                "orders",
                json!({
                    "principal": null, "login": "app_rw", "database": "", "client": "10.1.2.3:5",
                    "reason": "no-grant", "detail": "",
                }),
                "a connection from 10.1.2.3:5 to app_rw@orders was denied: no-grant",
            ),
            (
                "principal:alice",
                "request.asked",
                "rq-1",
                json!({ "resource": "app_ro@orders/shop", "ttl": "1h", "reason": "", "needs": [] }),
                "alice asked for app_ro@orders/shop for 1h, without a reason, which takes nobody: rq-1",
            ),
            ("operator", "invite.made", "bob", json!({ "expires_at": "then" }), {
                "operator made a sign-in link for bob, until then"
            }),
            ("control", "else.done", "it", json!({ "a": 1 }), "control: else.done it {\"a\":1}"),
        ] {
            let event = AuditView {
                id: 1,
                at: Timestamp::from_millis(0),
                actor: actor.to_owned(),
                kind: kind.to_owned().into(),
                subject: subject.to_owned(),
                detail,
            };
            assert_eq!(describe(&event), message);
        }
    }
}
