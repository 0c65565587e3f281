use std::collections::BTreeMap;

use policies::{GrantState, GroupName, RequestId, Subject, Ttl};

use super::{World, access_to, actor, inventory};
use crate::access::edit::{Changes, Part};
use crate::access::input::{AccessRequestInput, Yes};
use crate::access::transitions;
use crate::model::error::{ControlError, Refusal};
use crate::model::inventory::Inventory;
use crate::model::view::{Paging, RequestFilter, Scope};

const RULES: &str = r#"
    permit (principal, action == Action::"connect", resource is Database)
    when { ["app_ro", "app_rw", "app_cert"].contains(context.login) };

    @id("emergencies")
    permit (principal in Group::"engineering", action == Action::"break-glass", resource is Database);

    @id("a lead, then a DBA") @approvals("1 of leads then 1 of dba") @limit("1h")
    forbid (principal, action == Action::"connect", resource) when { context.login == "app_rw" };

    @id("a DBA") @approvals("1 of dba") @claim_within("5m")
    forbid (principal, action == Action::"connect", resource)
    when { context.login == "app_ro" && context.database == "reporting" };
"#;

pub(super) fn rules() -> Inventory {
    inventory(RULES)
}

pub(super) async fn world() -> World {
    let world = World::new().await;
    world.control.sources.reload(rules()).await.unwrap();
    world
}

pub(super) async fn digest(world: &World, id: &RequestId) -> policies::Digest {
    world.control.access.request(&actor("eve"), id).await.unwrap().request.digest()
}

pub(super) async fn state(world: &World, id: &RequestId) -> &'static str {
    world.control.access.request(&actor("eve"), id).await.unwrap().request.state.word()
}

#[tokio::test]
async fn stages_are_asked_one_after_the_other() {
    let world = world().await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap();
    let inbox = async |who: &str| {
        let filter = RequestFilter { scope: Scope::Inbox, state: None };
        let page =
            world.control.access.requests(&actor(who), filter, Paging::default()).await.unwrap();
        page.items.len()
    };
    assert_eq!((inbox("lena").await, inbox("bob").await), (1, 0));
    let refused = world.approve("bob", &asked.request.id).await.unwrap_err();
    assert!(refused.to_string().contains("1 of leads"), "{refused}");
    assert!(world.approve("lena", &asked.request.id).await.unwrap().is_none());
    assert_eq!((inbox("lena").await, inbox("bob").await), (0, 1));
    assert!(world.approve("bob", &asked.request.id).await.unwrap().is_some());
}

#[tokio::test]
async fn an_edit_kills_approvals_and_the_rules_are_asked_again() {
    let world = world().await;
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    let seen = digest(&world, &id).await;
    world.approve("lena", &id).await.unwrap();
    let changes = Changes { ttl: Some(Ttl::from_secs(7_200)), ..Changes::default() };
    let theirs = world.control.access.edit(&actor("bob"), &id, changes.clone()).await;
    assert!(matches!(theirs, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{theirs:?}");
    let reason = Some("order 8".to_owned());
    let edited =
        world.control.access.edit(&actor("alice"), &id, Changes { reason, ..changes }).await;
    let edited = edited.unwrap().request;
    assert_eq!((edited.ttl, edited.reason.as_str()), (Ttl::from_secs(3_600), "order 8"));
    assert!(edited.state.approvals().is_empty());
    let stale = Yes { digest: seen, shorten: None, step_up: None };
    let stale = world.control.access.approve(&actor("lena"), &id, stale).await;
    assert!(stale.unwrap_err().to_string().contains("changed since"));
    world.approve("lena", &id).await.unwrap();
    assert!(world.approve("bob", &id).await.unwrap().is_some());
    let over = world.control.access.edit(&actor("alice"), &id, Changes::default()).await;
    assert!(matches!(over, Err(ControlError::Refused(Refusal::Conflict(_)))), "{over:?}");
    assert!(world.kinds().await.contains(&"request.edited".to_owned()));
}

#[tokio::test]
async fn an_edit_can_leave_out_the_ticket_and_the_start_and_waits_anew() {
    let world = world().await;
    let starts_at = Some(world.control.kernel.now().after(Ttl::from_secs(7_200)));
    let ticket = Some("OPS-12".parse().unwrap());
    let ask = AccessRequestInput { starts_at, ticket, ..access_to("app_rw@orders") };
    let asked = world.control.access.ask(&actor("alice"), ask).await.unwrap().request;
    world.pass(1_500);
    let same = world.control.access.edit(&actor("alice"), &asked.id, Changes::default()).await;
    assert!(same.unwrap_err().to_string().contains("says this already"));
    let changes = Changes { ticket: Part::Goes, starts_at: Part::Goes, ..Changes::default() };
    let edited =
        world.control.access.edit(&actor("alice"), &asked.id, changes).await.unwrap().request;
    assert_eq!((&edited.ticket, edited.starts_at), (&None, None));
    // Those who are asked again have as long as those who were asked at first.
    world.pass(1_700);
    world.control.access.sweep().await.unwrap();
    assert_eq!(state(&world, &asked.id).await, "pending");
    world.pass(100);
    world.control.access.sweep().await.unwrap();
    assert_eq!(state(&world, &asked.id).await, "lapsed");
}

#[tokio::test]
async fn people_of_one_mailbox_decide_nothing_for_each_other() {
    let world = world().await;
    let mut one_box = rules();
    let set = |inventory: &mut Inventory, who: &str, email: &str| {
        let person = inventory.people.get_mut(&who.parse().unwrap()).unwrap();
        person.email = email.parse().ok();
    };
    set(&mut one_box, "bob", "Alice+work@Example.com");
    set(&mut one_box, "lena", "carol@example.com");
    world.control.sources.reload(one_box).await.unwrap();
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    let refused = world.approve("bob", &id).await.unwrap_err();
    assert!(refused.to_string().contains("whatever name"), "{refused}");
    assert!(world.approve("carol", &id).await.unwrap().is_some());
    // A lead and a DBA who are one person are one yes.
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    assert!(world.approve("lena", &id).await.unwrap().is_none());
    let twice = world.approve("carol", &id).await.unwrap_err();
    assert!(twice.to_string().contains("already approved"), "{twice}");
    assert!(world.approve("dba-1", &id).await.unwrap().is_some());
    // That it turns out later takes back what was given on it.
    let mut more = rules();
    set(&mut more, "dba-1", "alice@example.com");
    let reloaded = world.control.sources.reload(more).await.unwrap();
    assert_eq!(reloaded.revoked.len(), 1, "{reloaded:?}");
}

#[tokio::test]
async fn those_who_take_too_long_are_stood_in_for() {
    let world = World::new().await;
    let mut slow = rules();
    let group = |name: &str| GroupName::new(name).unwrap();
    slow.workflow.escalate_after = Some(Ttl::from_secs(60));
    slow.workflow.escalate_to = BTreeMap::from([(group("leads"), group("ops"))]);
    world.control.sources.reload(slow).await.unwrap();
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    world.pass(59);
    world.control.access.sweep().await.unwrap();
    assert!(matches!(
        world.approve("otto", &id).await,
        Err(ControlError::Refused(Refusal::Forbidden(_)))
    ));
    world.pass(1);
    world.control.access.sweep().await.unwrap();
    assert_eq!(world.kinds().await.last().unwrap(), "request.escalated");
    world.control.access.sweep().await.unwrap();
    assert!(world.approve("otto", &id).await.unwrap().is_none());
    let grant = world.approve("bob", &id).await.unwrap().unwrap();
    let begun = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    assert_eq!(begun.grant.state.word(), "granted", "whoever stood in counts afterwards too");
    let reloaded = world.control.sources.reload(rules()).await.unwrap();
    assert!(reloaded.revoked.is_empty(), "{reloaded:?}");
    let escalated = world.kinds().await;
    let count = escalated.iter().filter(|kind| *kind == "request.escalated").count();
    assert_eq!(count, 1, "others are notified once");
}

#[tokio::test]
async fn what_begins_later_waits_for_its_time() {
    let world = world().await;
    let starts_at = Some(world.control.kernel.now().after(Ttl::from_secs(3_600)));
    let ask = AccessRequestInput { starts_at, ..access_to("app_cert@orders") };
    let grant =
        world.control.access.ask(&actor("alice"), ask.clone()).await.unwrap().grant.unwrap();
    assert_eq!(grant.state.word(), "scheduled");
    assert_eq!(world.control.kernel.feed().live(), 0, "no proxy hears of it before");
    let now = world.ask("alice", "app_cert@orders").await.unwrap_err();
    assert!(now.to_string().contains("begins at"), "{now}");
    world.pass(3_600);
    world.control.access.sweep().await.unwrap();
    let live = world.ask("alice", "app_cert@orders").await.unwrap().grant.unwrap();
    assert_eq!((live.id.clone(), live.state.word()), (grant.id, "granted"));
    assert_eq!(world.control.kernel.feed().live(), 1);
    let past = world.control.access.ask(&actor("bob"), ask).await;
    assert!(matches!(past, Err(ControlError::Refused(Refusal::Invalid(_)))), "{past:?}");
}

#[tokio::test]
async fn the_rules_say_how_soon_a_grant_is_to_be_claimed() {
    let world = world().await;
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    world.pass(600);
    let grant = world.approve("bob", &id).await.unwrap().unwrap();
    let claim_by = world.control.kernel.now().after(Ttl::from_secs(300));
    assert_eq!(grant.state, GrantState::Granted { claim_by });
}

pub(super) async fn used(world: &World, what: &str) -> policies::Grant {
    let grant = world.ask("alice", what).await.unwrap().grant.unwrap();
    let mut tx = world.control.kernel.begin().await.unwrap();
    let by = crate::model::event::By::Principal(grant.principal.clone());
    let used = transitions::step(&mut tx, &grant, policies::GrantEvent::Use, by).await.unwrap();
    tx.commit().await.unwrap();
    used
}

#[tokio::test]
async fn an_extension_comes_before_the_end_and_by_the_same_rules() {
    let world = world().await;
    let (alice, half) = (actor("alice"), Some(Ttl::from_secs(1_800)));
    let unused = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    let early = world.control.access.extend(&alice, &unused.id, half, None).await;
    assert!(early.unwrap_err().to_string().contains("not been used"));
    let grant = used(&world, "app_ro@orders").await;
    let foreign = world.control.access.extend(&actor("bob"), &grant.id, half, None).await;
    assert!(matches!(foreign, Err(ControlError::Refused(Refusal::NotFound(_)))), "{foreign:?}");
    let longer = world.control.access.extend(&alice, &grant.id, half, None).await.unwrap();
    let ends = grant.deadline().unwrap().after(Ttl::from_secs(1_800));
    assert_eq!(longer.grant.unwrap().deadline(), Some(ends));
    world.pass(5_400);
    let late = world.control.access.extend(&alice, &grant.id, half, None).await;
    assert!(matches!(late, Err(ControlError::Refused(Refusal::Conflict(_)))), "{late:?}");
    let events = world.kinds().await;
    assert!(events.contains(&"grant.extended".to_owned()), "{events:?}");
}

/// A grant of alice's for writing, in use.
async fn writes(world: &World) -> policies::Grant {
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    world.approve("lena", &id).await.unwrap();
    world.approve("bob", &id).await.unwrap();
    used(world, "app_rw@orders").await
}

#[tokio::test]
async fn an_extension_takes_the_approvals_of_the_rules_and_dies_with_its_grant() {
    let world = world().await;
    let alice = actor("alice");
    let grant = writes(&world).await;
    world.pass(1_800);
    let half = Some(Ttl::from_secs(1_800));
    let asked = world.control.access.extend(&alice, &grant.id, half, None).await.unwrap();
    assert!(asked.grant.is_none() && asked.request.is_pending());
    let again = world.control.access.extend(&alice, &grant.id, half, None).await.unwrap();
    assert_eq!(again.request.id, asked.request.id, "a second request joins the first");
    let id = asked.request.id;
    assert!(world.approve("alice-admin", &id).await.is_err());
    world.approve("lena", &id).await.unwrap();
    let longer = world.approve("bob", &id).await.unwrap().unwrap();
    assert_eq!((&longer.id, longer.extensions.len()), (&grant.id, 1));
    let limit = world.control.kernel.now().after(Ttl::from_secs(3_600));
    assert_eq!(longer.deadline(), Some(limit), "the limit counts from now");
    let live = world.ask("alice", "app_rw@orders").await.unwrap().grant.unwrap();
    assert_eq!(live.deadline(), Some(limit), "a second connect extends nothing");
    let too_long = world.control.access.extend(&alice, &grant.id, half, None).await;
    assert!(too_long.unwrap_err().to_string().contains("at most"));

    world.pass(600);
    let other =
        world.control.access.extend(&alice, &grant.id, half, None).await.unwrap().request.id;
    world.control.access.done(&alice, &grant.id).await.unwrap();
    assert_eq!(state(&world, &other).await, "withdrawn");
}

#[tokio::test]
async fn a_bundle_is_approved_as_one_and_granted_each() {
    let world = world().await;
    let also = vec!["app_rw@orders".parse().unwrap(), "app_cert@orders".parse().unwrap()];
    let both = AccessRequestInput { also, ..access_to("app_ro@orders/reporting") };
    let asked = world.control.access.ask(&actor("alice"), both.clone()).await.unwrap();
    assert!(asked.grant.is_none());
    let id = asked.request.id.clone();
    assert_eq!(asked.request.terms.approvals.to_string(), "1 of leads then 1 of dba");
    let again = world.control.access.ask(&actor("alice"), both).await.unwrap();
    assert_eq!(again.request.id, id);
    let overlap = world.ask("alice", "app_rw@orders").await.unwrap_err();
    assert!(overlap.to_string().contains(id.as_str()), "{overlap}");
    let free = world.ask("alice", "app_cert@orders").await.unwrap().grant.unwrap();
    world.approve("lena", &id).await.unwrap();
    world.approve("bob", &id).await.unwrap();
    let view = world.control.access.request(&actor("alice"), &id).await.unwrap();
    assert_eq!(view.grants.len(), 2, "what was given meanwhile stays as it is");
    for what in ["app_ro@orders/reporting", "app_rw@orders", "app_cert@orders"] {
        assert!(world.ask("alice", what).await.unwrap().grant.is_some(), "{what}");
    }
    let still = world.control.sources.reload(rules()).await.unwrap();
    assert!(still.revoked.is_empty(), "each is given again by what was said of all");
    world.control.access.done(&actor("alice"), &free.id).await.unwrap();
}

#[tokio::test]
async fn nobody_approves_under_another_name() {
    let world = world().await;
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    let refused = world.approve("alice-admin", &id).await.unwrap_err();
    assert!(refused.to_string().contains("whatever name"), "{refused}");
    let asked = world.ask("alice-admin", "app_ro@orders/reporting").await.unwrap().request.id;
    assert!(world.approve("alice", &asked).await.is_err());
    assert!(world.approve("bob", &asked).await.unwrap().is_some());
}

#[tokio::test]
async fn a_second_identity_that_is_told_later_takes_the_approval_back() {
    let world = World::new().await;
    let mut apart = rules();
    apart.workflow.same_as.clear();
    world.control.sources.reload(apart).await.unwrap();
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    let grant = world.approve("alice-admin", &id).await.unwrap().unwrap();
    let reloaded = world.control.sources.reload(rules()).await.unwrap();
    assert_eq!(reloaded.revoked, [grant.id]);
}

#[tokio::test]
async fn a_lock_on_a_group_holds_for_its_members_and_for_who_joins() {
    let world = world().await;
    let eve = actor("eve");
    let group = || Subject::Group("engineering".parse().unwrap());
    world.control.access.lock(&eve, group(), "incident 7".into(), None).await.unwrap();
    let published = world.control.kernel.feed().locks().remove(0);
    assert!(published.members.contains(&"alice".parse().unwrap()), "{published:?}");
    assert_eq!(world.ask("alice", "app_ro@orders").await.unwrap_err().code(), "locked");
    assert!(world.ask("mallory", "app_ro@orders").await.is_ok());
    let mut joined = rules();
    let mallory = joined.people.get_mut(&"mallory".parse().unwrap()).unwrap();
    mallory.principal.groups.insert("engineering".parse().unwrap());
    world.control.sources.reload(joined).await.unwrap();
    let published = world.control.kernel.feed().locks().remove(0);
    assert!(published.members.contains(&"mallory".parse().unwrap()), "{published:?}");
    assert_eq!(world.ask("mallory", "app_ro@orders").await.unwrap_err().code(), "locked");
    let world = world.reopened().await;
    assert_eq!(world.ask("alice", "app_ro@orders").await.unwrap_err().code(), "locked");
    let id = world.control.kernel.feed().locks().remove(0).id;
    world.control.access.unlock(&eve, &id).await.unwrap();
    assert!(world.control.kernel.feed().locks().is_empty());
}

#[tokio::test]
async fn nobody_locks_a_group_that_they_are_in() {
    let world = World::new().await;
    let mut inside = rules();
    let eve = inside.people.get_mut(&"eve".parse().unwrap()).unwrap();
    eve.principal.groups.insert("ops".parse().unwrap());
    let own = crate::model::actor::Actor { principal: eve.principal.clone(), ..actor("eve") };
    world.control.sources.reload(inside).await.unwrap();
    let group = Subject::Group("ops".parse().unwrap());
    let refused = world.control.access.lock(&own, group, String::new(), None).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Conflict(_)))), "{refused:?}");
}
