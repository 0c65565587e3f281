use std::collections::BTreeMap;

use policies::{
    Act, GrantState, GroupName, Purpose, RequestId, StepUp, StepUpKind, Subject, Timestamp, Ttl,
};
use secrecy::ExposeSecret;

use super::{World, actor, inventory, wish};
use crate::{
    Asked, Changes, ControlError, Inventory, Paging, Part, RequestFilter, Scope, WebhookHeaders,
    WebhookSecret, Wish, Yes, ids, sign_webhook, statement, webhook_timestamp,
};

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
    world.control.reload(rules()).await.unwrap();
    world
}

pub(super) async fn digest(world: &World, id: &RequestId) -> policies::Digest {
    world.control.request(&actor("eve"), id).await.unwrap().request.digest()
}

pub(super) async fn state(world: &World, id: &RequestId) -> &'static str {
    world.control.request(&actor("eve"), id).await.unwrap().request.state.word()
}

/// A touch as a ceremony leaves it, with which somebody stands by their request.
pub(super) async fn stand_by(world: &World, who: &str, id: &RequestId) {
    let request = world.control.request(&actor("eve"), id).await.unwrap().request;
    let shown = statement::of_wish(&request, "Alice");
    let mut change = world.control.change().await.unwrap();
    let step_up = StepUp {
        id: ids::fresh("su").unwrap(),
        principal: who.parse().unwrap(),
        kind: StepUpKind::Passkey,
        purpose: Purpose::Ask,
        subject: shown.subject.clone(),
        at: change.now,
        bound: None,
        credential: format!("key-of-{who}"),
        digest: shown.digest(),
    };
    change.keep_step_up(&step_up).await.unwrap();
    change.commit().await.unwrap();
    world.control.stand_by(&actor(who), id, &step_up.id).await.unwrap();
}

#[tokio::test]
async fn stages_are_asked_one_after_the_other() {
    let world = world().await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap();
    let inbox = async |who: &str| {
        let filter = RequestFilter { scope: Scope::Inbox, state: None };
        let page = world.control.requests(&actor(who), filter, Paging::default()).await.unwrap();
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
    let theirs = world.control.edit(&actor("bob"), &id, changes.clone()).await;
    assert!(matches!(theirs, Err(ControlError::Forbidden(_))), "{theirs:?}");
    let reason = Some("order 8".to_owned());
    let edited = world.control.edit(&actor("alice"), &id, Changes { reason, ..changes }).await;
    let edited = edited.unwrap().request;
    assert_eq!((edited.ttl, edited.reason.as_str()), (Ttl::from_secs(3_600), "order 8"));
    assert!(edited.state.approvals().is_empty());
    let stale = Yes { digest: seen, shorten: None, step_up: None };
    let stale = world.control.approve(&actor("lena"), &id, stale).await;
    assert!(stale.unwrap_err().to_string().contains("changed since"));
    world.approve("lena", &id).await.unwrap();
    assert!(world.approve("bob", &id).await.unwrap().is_some());
    let over = world.control.edit(&actor("alice"), &id, Changes::default()).await;
    assert!(matches!(over, Err(ControlError::Conflict(_))), "{over:?}");
    assert!(world.kinds().await.contains(&"request.edited".to_owned()));
}

#[tokio::test]
async fn an_edit_can_leave_out_the_ticket_and_the_start_and_waits_anew() {
    let world = world().await;
    let starts_at = Some(world.control.now().after(Ttl::from_secs(7_200)));
    let ticket = Some("OPS-12".parse().unwrap());
    let ask = Wish { starts_at, ticket, ..wish("app_rw@orders") };
    let asked = world.control.ask(&actor("alice"), ask).await.unwrap().request;
    world.pass(1_500);
    let same = world.control.edit(&actor("alice"), &asked.id, Changes::default()).await;
    assert!(same.unwrap_err().to_string().contains("says this already"));
    let changes = Changes { ticket: Part::Goes, starts_at: Part::Goes, ..Changes::default() };
    let edited = world.control.edit(&actor("alice"), &asked.id, changes).await.unwrap().request;
    assert_eq!((&edited.ticket, edited.starts_at), (&None, None));
    // Those who are asked again have as long as those who were asked at first.
    world.pass(1_700);
    world.control.sweep().await.unwrap();
    assert_eq!(state(&world, &asked.id).await, "pending");
    world.pass(100);
    world.control.sweep().await.unwrap();
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
    world.control.reload(one_box).await.unwrap();
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
    let reloaded = world.control.reload(more).await.unwrap();
    assert_eq!(reloaded.revoked.len(), 1, "{reloaded:?}");
}

#[tokio::test]
async fn those_who_take_too_long_are_stood_in_for() {
    let world = World::new().await;
    let mut slow = rules();
    let group = |name: &str| GroupName::new(name).unwrap();
    slow.workflow.escalate_after = Some(Ttl::from_secs(60));
    slow.workflow.escalate_to = BTreeMap::from([(group("leads"), group("ops"))]);
    world.control.reload(slow).await.unwrap();
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    world.pass(59);
    world.control.sweep().await.unwrap();
    assert!(matches!(world.approve("otto", &id).await, Err(ControlError::Forbidden(_))));
    world.pass(1);
    world.control.sweep().await.unwrap();
    assert_eq!(world.kinds().await.last().unwrap(), "request.escalated");
    world.control.sweep().await.unwrap();
    assert!(world.approve("otto", &id).await.unwrap().is_none());
    let grant = world.approve("bob", &id).await.unwrap().unwrap();
    let begun = world.control.grant(&actor("alice"), &grant.id).await.unwrap();
    assert_eq!(begun.grant.state.word(), "granted", "whoever stood in counts afterwards too");
    let reloaded = world.control.reload(rules()).await.unwrap();
    assert!(reloaded.revoked.is_empty(), "{reloaded:?}");
    let escalated = world.kinds().await;
    let count = escalated.iter().filter(|kind| *kind == "request.escalated").count();
    assert_eq!(count, 1, "others are told once");
}

#[tokio::test]
async fn what_begins_later_waits_for_its_time() {
    let world = world().await;
    let starts_at = Some(world.control.now().after(Ttl::from_secs(3_600)));
    let ask = Wish { starts_at, ..wish("app_cert@orders") };
    let grant = world.control.ask(&actor("alice"), ask.clone()).await.unwrap().grant.unwrap();
    assert_eq!(grant.state.word(), "scheduled");
    assert_eq!(world.control.0.feed.live(), 0, "no proxy hears of it before");
    let now = world.ask("alice", "app_cert@orders").await.unwrap_err();
    assert!(now.to_string().contains("begins at"), "{now}");
    world.pass(3_600);
    world.control.sweep().await.unwrap();
    let live = world.ask("alice", "app_cert@orders").await.unwrap().grant.unwrap();
    assert_eq!((live.id.clone(), live.state.word()), (grant.id, "granted"));
    assert_eq!(world.control.0.feed.live(), 1);
    let past = world.control.ask(&actor("bob"), ask).await;
    assert!(matches!(past, Err(ControlError::Invalid(_))), "{past:?}");
}

#[tokio::test]
async fn the_rules_say_how_soon_a_grant_is_to_be_claimed() {
    let world = world().await;
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    world.pass(600);
    let grant = world.approve("bob", &id).await.unwrap().unwrap();
    let claim_by = world.control.now().after(Ttl::from_secs(300));
    assert_eq!(grant.state, GrantState::Granted { claim_by });
}

pub(super) async fn used(world: &World, what: &str) -> policies::Grant {
    let grant = world.ask("alice", what).await.unwrap().grant.unwrap();
    let mut change = world.control.change().await.unwrap();
    let by = crate::audit::By::Principal(grant.principal.clone());
    let used = change.step(&grant, policies::GrantEvent::Use, by).await.unwrap();
    change.commit().await.unwrap();
    used
}

#[tokio::test]
async fn an_extension_comes_before_the_end_and_by_the_same_rules() {
    let world = world().await;
    let (alice, half) = (actor("alice"), Some(Ttl::from_secs(1_800)));
    let unused = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    let early = world.control.extend(&alice, &unused.id, half, None).await;
    assert!(early.unwrap_err().to_string().contains("not been used"));
    let grant = used(&world, "app_ro@orders").await;
    let foreign = world.control.extend(&actor("bob"), &grant.id, half, None).await;
    assert!(matches!(foreign, Err(ControlError::NotFound(_))), "{foreign:?}");
    let longer = world.control.extend(&alice, &grant.id, half, None).await.unwrap();
    let ends = grant.deadline().unwrap().after(Ttl::from_secs(1_800));
    assert_eq!(longer.grant.unwrap().deadline(), Some(ends));
    world.pass(5_400);
    let late = world.control.extend(&alice, &grant.id, half, None).await;
    assert!(matches!(late, Err(ControlError::Conflict(_))), "{late:?}");
    let told = world.kinds().await;
    assert!(told.contains(&"grant.extended".to_owned()), "{told:?}");
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
    let asked = world.control.extend(&alice, &grant.id, half, None).await.unwrap();
    assert!(asked.grant.is_none() && asked.request.is_pending());
    let again = world.control.extend(&alice, &grant.id, half, None).await.unwrap();
    assert_eq!(again.request.id, asked.request.id, "a second wish joins the first");
    let id = asked.request.id;
    assert!(world.approve("alice-admin", &id).await.is_err());
    world.approve("lena", &id).await.unwrap();
    let longer = world.approve("bob", &id).await.unwrap().unwrap();
    assert_eq!((&longer.id, longer.extensions.len()), (&grant.id, 1));
    let limit = world.control.now().after(Ttl::from_secs(3_600));
    assert_eq!(longer.deadline(), Some(limit), "the limit counts from now");
    let live = world.ask("alice", "app_rw@orders").await.unwrap().grant.unwrap();
    assert_eq!(live.deadline(), Some(limit), "a second connect extends nothing");
    let too_long = world.control.extend(&alice, &grant.id, half, None).await;
    assert!(too_long.unwrap_err().to_string().contains("at most"));

    world.pass(600);
    let other = world.control.extend(&alice, &grant.id, half, None).await.unwrap().request.id;
    world.control.done(&alice, &grant.id).await.unwrap();
    assert_eq!(state(&world, &other).await, "withdrawn");
}

#[tokio::test]
async fn a_bundle_is_approved_as_one_and_granted_each() {
    let world = world().await;
    let also = vec!["app_rw@orders".parse().unwrap(), "app_cert@orders".parse().unwrap()];
    let both = Wish { also, ..wish("app_ro@orders/reporting") };
    let asked = world.control.ask(&actor("alice"), both.clone()).await.unwrap();
    assert!(asked.grant.is_none());
    let id = asked.request.id.clone();
    assert_eq!(asked.request.terms.approvals.to_string(), "1 of leads then 1 of dba");
    let again = world.control.ask(&actor("alice"), both).await.unwrap();
    assert_eq!(again.request.id, id);
    let overlap = world.ask("alice", "app_rw@orders").await.unwrap_err();
    assert!(overlap.to_string().contains(id.as_str()), "{overlap}");
    let free = world.ask("alice", "app_cert@orders").await.unwrap().grant.unwrap();
    world.approve("lena", &id).await.unwrap();
    world.approve("bob", &id).await.unwrap();
    let view = world.control.request(&actor("alice"), &id).await.unwrap();
    assert_eq!(view.grants.len(), 2, "what was given meanwhile stays as it is");
    for what in ["app_ro@orders/reporting", "app_rw@orders", "app_cert@orders"] {
        assert!(world.ask("alice", what).await.unwrap().grant.is_some(), "{what}");
    }
    let still = world.control.reload(rules()).await.unwrap();
    assert!(still.revoked.is_empty(), "each is given again by what was said of all");
    world.control.done(&actor("alice"), &free.id).await.unwrap();
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
    world.control.reload(apart).await.unwrap();
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    let grant = world.approve("alice-admin", &id).await.unwrap().unwrap();
    let reloaded = world.control.reload(rules()).await.unwrap();
    assert_eq!(reloaded.revoked, [grant.id]);
}

pub(super) async fn emergency(world: &World, reason: &str) -> Result<Asked, ControlError> {
    let ask = Wish { act: Act::BreakGlass, reason: reason.into(), ..wish("app_rw@orders") };
    world.control.ask(&actor("alice"), ask).await
}

#[tokio::test]
async fn an_emergency_takes_a_touch_and_a_reason_and_nobody_else() {
    let world = world().await;
    assert_eq!(emergency(&world, "down").await.unwrap_err().code(), "reason-needed");
    let pending = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    let asked = emergency(&world, "the shop is down").await.unwrap();
    assert_eq!(state(&world, &pending).await, "withdrawn", "it doesn't wait behind another wish");
    assert!(asked.grant.is_none() && asked.request.is_pending(), "never without a touch");
    stand_by(&world, "alice", &asked.request.id).await;
    let view = world.control.request(&actor("alice"), &asked.request.id).await.unwrap();
    let grant = world.control.grant(&actor("alice"), &view.grants[0]).await.unwrap();
    assert!(grant.review.is_some());
    let told = world.kinds().await;
    let tail: Vec<&str> = told.iter().rev().take(3).map(String::as_str).collect();
    assert_eq!(tail, ["review.opened", "break-glass.used", "grant.given"]);
    let nobody =
        Wish { act: Act::BreakGlass, reason: "the shop is down".into(), ..wish("app_rw@orders") };
    let refused = world.control.ask(&actor("mallory"), nobody).await.unwrap_err();
    assert_eq!(refused.code(), "not-permitted");
}

#[tokio::test]
async fn a_review_stays_open_until_somebody_else_signs_it() {
    let world = world().await;
    let asked = emergency(&world, "the shop is down").await.unwrap();
    stand_by(&world, "alice", &asked.request.id).await;
    let open = |who: &'static str| {
        let control = world.control.clone();
        async move { control.reviews(&actor(who), false, Paging::default()).await.unwrap().items }
    };
    let review = open("bob").await.remove(0);
    assert_eq!((review.review.groups.len(), review.may_sign), (2, true));
    assert!(open("mallory").await.is_empty());
    let id = review.review.id;
    let sign = async |who: &str, note: &str| {
        world.control.sign_review(&actor(who), &id, note.into()).await.map(drop)
    };
    let early = sign("bob", "all well").await.unwrap_err();
    assert!(matches!(early, ControlError::Conflict(_)), "{early:?}");
    world.control.done(&actor("alice"), &review.review.grant).await.unwrap();
    for own in ["alice", "alice-admin"] {
        let refused = sign(own, "all well").await.unwrap_err();
        assert!(matches!(refused, ControlError::Forbidden(_)), "{own}: {refused:?}");
    }
    assert!(matches!(sign("otto", "").await, Err(ControlError::NotFound(_))));
    assert!(matches!(sign("eve", " ").await, Err(ControlError::Invalid(_))));
    sign("eve", "read the session").await.unwrap();
    assert!(matches!(sign("bob", "me too").await, Err(ControlError::Conflict(_))));
    assert!(open("bob").await.is_empty());
    assert!(world.kinds().await.contains(&"review.signed".to_owned()));
}

#[tokio::test]
async fn whoever_would_have_approved_ends_an_emergency() {
    let world = world().await;
    let asked = emergency(&world, "the shop is down").await.unwrap();
    stand_by(&world, "alice", &asked.request.id).await;
    let view = world.control.request(&actor("alice"), &asked.request.id).await.unwrap();
    let id = view.grants[0].clone();
    for (who, may) in [("otto", false), ("alice-admin", false), ("bob", true)] {
        let ended = world.control.revoke(&actor(who), &id, "not now".into()).await;
        assert_eq!(ended.is_ok(), may, "{who}: {ended:?}");
    }
}

#[tokio::test]
async fn a_lock_on_a_group_holds_for_its_members_and_for_who_joins() {
    let world = world().await;
    let eve = actor("eve");
    let group = || Subject::Group("engineering".parse().unwrap());
    world.control.lock(&eve, group(), "incident 7".into(), None).await.unwrap();
    let told = world.control.0.feed.locks().remove(0);
    assert!(told.members.contains(&"alice".parse().unwrap()), "{told:?}");
    assert_eq!(world.ask("alice", "app_ro@orders").await.unwrap_err().code(), "locked");
    assert!(world.ask("mallory", "app_ro@orders").await.is_ok());
    let mut joined = rules();
    let mallory = joined.people.get_mut(&"mallory".parse().unwrap()).unwrap();
    mallory.principal.groups.insert("engineering".parse().unwrap());
    world.control.reload(joined).await.unwrap();
    let told = world.control.0.feed.locks().remove(0);
    assert!(told.members.contains(&"mallory".parse().unwrap()), "{told:?}");
    assert_eq!(world.ask("mallory", "app_ro@orders").await.unwrap_err().code(), "locked");
    let world = world.reopened().await;
    assert_eq!(world.ask("alice", "app_ro@orders").await.unwrap_err().code(), "locked");
    let id = world.control.0.feed.locks().remove(0).id;
    world.control.unlock(&eve, &id).await.unwrap();
    assert!(world.control.0.feed.locks().is_empty());
}

#[tokio::test]
async fn nobody_locks_a_group_that_they_are_in() {
    let world = World::new().await;
    let mut inside = rules();
    let eve = inside.people.get_mut(&"eve".parse().unwrap()).unwrap();
    eve.principal.groups.insert("ops".parse().unwrap());
    let own = crate::Actor { principal: eve.principal.clone(), ..actor("eve") };
    world.control.reload(inside).await.unwrap();
    let group = Subject::Group("ops".parse().unwrap());
    let refused = world.control.lock(&own, group, String::new(), None).await;
    assert!(matches!(refused, Err(ControlError::Conflict(_))), "{refused:?}");
}

pub(super) struct Tickets {
    pub(super) world: World,
    secret: WebhookSecret,
}

impl Tickets {
    pub(super) async fn new() -> Self {
        let world = World::new().await;
        let secret: WebhookSecret = WebhookSecret::fresh().expose_secret().parse().unwrap();
        let mut hooked = rules();
        hooked.workflow.ticket_secrets = vec![secret.clone()];
        world.control.reload(hooked).await.unwrap();
        Self { world, secret }
    }

    pub(super) async fn say(
        &self,
        id: &str,
        at: Timestamp,
        body: &str,
    ) -> Result<usize, ControlError> {
        let signature = sign_webhook(std::slice::from_ref(&self.secret), id, at, body.as_bytes());
        let timestamp = webhook_timestamp(at);
        let headers = WebhookHeaders { id, timestamp: &timestamp, signature: &signature };
        let closed = self.world.control.ticket_says(headers, body.as_bytes()).await?;
        Ok(closed.ended.len() + closed.withdrawn.len())
    }
}

pub(super) const CLOSED: &str = r#"{"ticket":"OPS-12","state":"Closed"}"#;

#[tokio::test]
async fn a_ticket_that_is_closed_ends_what_was_given_for_it() {
    let tickets = Tickets::new().await;
    let world = &tickets.world;
    let about =
        |ticket: &str, what: &str| Wish { ticket: Some(ticket.parse().unwrap()), ..wish(what) };
    let alice = actor("alice");
    let grant = world.control.ask(&alice, about("OPS-12", "app_ro@orders")).await.unwrap();
    let grant = grant.grant.unwrap();
    let waits = world.control.ask(&alice, about("OPS-12", "app_rw@orders")).await.unwrap();
    let other = world.control.ask(&actor("bob"), about("OPS-120", "app_ro@orders")).await.unwrap();
    let now = world.control.now();
    let open = tickets.say("msg-0", now, r#"{"ticket":"OPS-12","state":"in review"}"#).await;
    assert_eq!(open.unwrap(), 0);
    assert_eq!(tickets.say("msg-1", now, CLOSED).await.unwrap(), 2);
    let view = world.control.grant(&alice, &grant.id).await.unwrap();
    let GrantState::Ended { end, .. } = view.grant.state else { panic!("{view:?}") };
    assert_eq!(end.code(), "done");
    assert_eq!(state(world, &waits.request.id).await, "withdrawn");
    let other = world.control.grant(&actor("bob"), &other.grant.unwrap().id).await.unwrap();
    assert_eq!(other.grant.state.word(), "granted");
}

#[tokio::test]
async fn a_message_that_is_forged_stale_or_replayed_changes_nothing() {
    let tickets = Tickets::new().await;
    let world = &tickets.world;
    let ask = Wish { ticket: Some("OPS-12".parse().unwrap()), ..wish("app_ro@orders") };
    world.control.ask(&actor("alice"), ask).await.unwrap();
    let now = world.control.now();
    let ago = Timestamp::from_millis(now.millis() - 301_000);
    for stale in [ago, now.after(Ttl::from_secs(301))] {
        let refused = tickets.say("msg-1", stale, CLOSED).await.unwrap_err();
        assert_eq!(refused.code(), "disbelieved");
    }
    let other =
        Tickets { secret: WebhookSecret::fresh().expose_secret().parse().unwrap(), ..tickets };
    let refused = other.say("msg-1", now, CLOSED).await.unwrap_err();
    assert_eq!(refused.code(), "disbelieved");
    assert_eq!(other.world.control.0.feed.live(), 1);
}

#[tokio::test]
async fn a_message_counts_once() {
    let tickets = Tickets::new().await;
    let now = tickets.world.control.now();
    assert_eq!(tickets.say("msg-1", now, CLOSED).await.unwrap(), 0);
    let again = tickets.say("msg-1", now, CLOSED).await.unwrap_err();
    assert!(matches!(again, ControlError::Conflict(_)), "{again:?}");
    let broken = tickets.say("msg-2", now, "{}").await.unwrap_err();
    assert!(matches!(broken, ControlError::Invalid(_)), "{broken:?}");
}

#[tokio::test]
async fn without_a_secret_no_message_is_taken() {
    let world = world().await;
    let headers = WebhookHeaders { id: "msg-1", timestamp: "0", signature: "v1,AA==" };
    let refused = world.control.ticket_says(headers, b"{}").await;
    assert!(matches!(refused, Err(ControlError::NotFound(_))), "{refused:?}");
}
