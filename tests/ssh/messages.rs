//! Connections for which the rules want a ticket and a reason: stock `ssh` has no place for them, so the
//! page of the connection that waits takes them.

use control::Paging;
use policies::PrincipalId;
use secrecy::ExposeSecret;

use crate::bed::SshBed;
use crate::running::Running;
use crate::support::browser::Browser;

/// Engineers name a ticket and a reason for every host, and a DBA agrees.
const RULES: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
@id("hosts name a ticket") @ticket("OPS-[0-9]+") @reason("12")
forbid (principal, action == Action::"connect", resource);
@id("a DBA agrees") @approvals("1 of dba")
forbid (principal, action == Action::"connect", resource);
"#;

async fn signed_in(bed: &SshBed, name: &str) -> Browser {
    let id = PrincipalId::new(name).unwrap();
    let invite = bed.gateway.control().identity.invite(None, &id).await.unwrap();
    let mut browser = Browser::open().await;
    let code = invite.code.expose_secret();
    browser.go(&format!("{}login?code={code}", bed.gateway.api_url())).await;
    browser.press("Sign in").await;
    browser
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ssh_that_can_say_nothing_says_it_on_its_page_and_goes_on_once_approved() {
    let bed = SshBed::with("", RULES).await;
    let mut ssh = Running::start(bed.ssh("alice", &["echo in"]).await);
    let warning = ssh.warning("confirm code ").await;
    let (code, rest) = warning.split_once(" at ").unwrap();
    let mut page = signed_in(&bed, "alice").await;
    page.go(rest.split_whitespace().next().unwrap()).await;
    page.fill("The code that your terminal shows", code).await;
    let seen = page.press("Show the connection").await;
    assert!(seen.title.starts_with("What is it for?"), "{seen:?}");
    page.fill("Why", "the monthly figures").await;
    page.fill("Ticket", "INC-7").await;
    let seen = page.press("Say so").await;
    assert!(seen.title.starts_with("What is it for?"), "{seen:?}");
    assert!(seen.text.contains("OPS-[0-9]+"), "{seen:?}");
    page.fill("Ticket", "OPS-7").await;
    let seen = page.press("Say so").await;
    assert!(seen.title.starts_with("Is this your connection?"), "{seen:?}");
    let seen = page.press("Yes, this is my connection").await;
    assert!(seen.title.starts_with("Confirmed"), "{seen:?}");
    ssh.warns("1 of dba").await;
    assert!(!bed.target_log().contains("Accepted"), "nobody has agreed yet");

    bed.approve("bob").await;
    let (_, out, errors) = ssh.end().await;
    assert_eq!(out, "in\n", "{errors}");
    let bob = bed.actor("bob").await;
    let log = bed.gateway.control().kernel.audit(&bob, Paging::default()).await.unwrap();
    let details = log.items.iter().map(|event| (event.kind.name(), event.detail.to_string()));
    let mut details = details.filter(|(_, detail)| detail.contains("the monthly figures"));
    assert!(details.any(|(kind, detail)| kind == "request.asked" && detail.contains("OPS-7")));
}
