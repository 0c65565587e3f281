//! Every act of a second person, tried by one human with two identities.

use policies::PrincipalId;

use super::emergencies::{emergency, stand_by};
use super::workflow::{digest, rules};
use super::{World, access_to, actor};
use crate::access::edit::Changes;
use crate::access::input::Yes;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::inventory::Inventory;

/// Who begins each act, and who finishes it: a second identity, and somebody else.
const FIRST: &str = "alice";
const SECOND: &str = "dba-1";
const OTHER: &str = "dba-2";

/// The acts that take a second person. One that is new belongs here.
#[derive(Debug, Clone, Copy)]
enum FourEyes {
    Approve,
    ApproveAnEdit,
    ApproveASecondTime,
    Deny,
    SignAReview,
    AskForARecovery,
    AgreeToARecovery,
    AgreeToTheirOwnRecovery,
    Invite,
}

const ACTS: [FourEyes; 9] = [
    FourEyes::Approve,
    FourEyes::ApproveAnEdit,
    FourEyes::ApproveASecondTime,
    FourEyes::Deny,
    FourEyes::SignAReview,
    FourEyes::AskForARecovery,
    FourEyes::AgreeToARecovery,
    FourEyes::AgreeToTheirOwnRecovery,
    FourEyes::Invite,
];

/// What makes two identities one human's.
type Kinship = fn(&mut Inventory);

/// How two identities are known to be one human's.
const KINSHIPS: [(&str, Kinship); 5] = [
    ("same_as", |inventory| same(inventory, SECOND, FIRST)),
    ("two second identities", |inventory| {
        inventory.workflow.same_as.clear();
        same(inventory, SECOND, "dba-3");
        same(inventory, FIRST, "dba-3");
    }),
    ("one mailbox, in other case", |inventory| mail(inventory, SECOND, "ALICE@Example.COM")),
    ("one mailbox, with a plus", |inventory| mail(inventory, SECOND, "alice+dba@example.com")),
    ("same_as, then a mailbox, then same_as", |inventory| {
        same(inventory, SECOND, "dba-3");
        mail(inventory, "dba-3", "Alice-Admin+on-call@example.com");
    }),
];

fn id(who: &str) -> PrincipalId {
    who.parse().unwrap()
}

fn same(inventory: &mut Inventory, second: &str, first: &str) {
    inventory.workflow.same_as.insert(id(second), id(first));
}

fn mail(inventory: &mut Inventory, who: &str, address: &str) {
    inventory.people.get_mut(&id(who)).unwrap().email = address.parse().ok();
}

/// All three may do everything, so that only who they are can stand in the way.
async fn world(kin: Kinship) -> World {
    let mut inventory = rules();
    for who in [FIRST, SECOND, OTHER] {
        let person = inventory.people.get_mut(&id(who)).unwrap();
        let groups = ["engineering", "dba", "leads"].map(|name| name.parse().unwrap());
        person.principal.groups = groups.into();
        (person.admin, person.auditor) = (true, true);
    }
    kin(&mut inventory);
    let world = World::new().await;
    world.control.sources.reload(inventory).await.unwrap();
    world
}

fn admin(who: &str) -> Actor {
    Actor { admin: true, auditor: true, ..actor(who) }
}

impl FourEyes {
    /// Does it: the first part by alice, the second by whoever is named.
    async fn done_by(self, world: &World, who: &str) -> Result<(), ControlError> {
        let (control, first, second) = (&world.control, admin(FIRST), admin(who));
        match self {
            Self::Approve => {
                let asked = world.ask(FIRST, "app_ro@orders/reporting").await?;
                world.approve(who, &asked.request.id).await.map(drop)
            }
            Self::ApproveAnEdit => {
                let asked = world.ask(FIRST, "app_ro@orders/reporting").await?;
                let changes = Changes { reason: Some("order 8".into()), ..Changes::default() };
                control.access.edit(&first, &asked.request.id, changes).await?;
                world.approve(who, &asked.request.id).await.map(drop)
            }
            Self::ApproveASecondTime => {
                let asked = control.access.ask(&actor("carol"), access_to("app_rw@orders")).await?;
                world.approve(FIRST, &asked.request.id).await?;
                world.approve(who, &asked.request.id).await.map(drop)
            }
            Self::Deny => {
                let asked = world.ask(FIRST, "app_ro@orders/reporting").await?;
                control.access.deny(&second, &asked.request.id, "no".into()).await.map(drop)
            }
            Self::SignAReview => {
                let asked = emergency(world, "the shop is down").await?;
                stand_by(world, FIRST, &asked.request.id).await;
                let view = control.access.request(&first, &asked.request.id).await?;
                let grant = control.access.done(&first, &view.grants[0]).await?.value;
                let review = control.access.grant(&first, &grant.id).await?.review.unwrap();
                control.access.sign_review(&second, &review, "read it".into()).await.map(drop)
            }
            Self::AskForARecovery => {
                control.identity.ask_recovery(&second, &id(FIRST), "lost", None).await.map(drop)
            }
            Self::AgreeToARecovery => {
                let asked = control.identity.ask_recovery(&first, &id("bob"), "lost", None).await?;
                control.identity.agree_to_recovery(&second, &asked.id, None).await.map(drop)
            }
            Self::AgreeToTheirOwnRecovery => {
                let asked =
                    control.identity.ask_recovery(&actor("eve"), &id(FIRST), "lost", None).await?;
                control.identity.agree_to_recovery(&second, &asked.id, None).await.map(drop)
            }
            Self::Invite => control.identity.invite(Some(&second), &id(FIRST)).await.map(drop),
        }
    }
}

#[tokio::test]
async fn no_act_of_a_second_person_is_done_by_the_first_under_another_identity() {
    for (kinship, kin) in KINSHIPS {
        for act in ACTS {
            let world = world(kin).await;
            let refused = act.done_by(&world, SECOND).await;
            let message = format!("{act:?}, {kinship}: {refused:?}");
            let error = refused.expect_err(&message);
            let fits = matches!(
                error,
                ControlError::Refused(Refusal::Forbidden(_))
                    | ControlError::Refused(Refusal::Conflict(_))
            );
            assert!(fits, "{message}");
        }
    }
}

#[tokio::test]
async fn every_act_of_a_second_person_is_done_by_another_human() {
    for act in ACTS {
        let world = world(|inventory| same(inventory, SECOND, FIRST)).await;
        let done = act.done_by(&world, OTHER).await;
        assert!(done.is_ok(), "{act:?}: {done:?}");
    }
}

#[tokio::test]
async fn one_human_with_two_identities_recovers_nobody_alone() {
    let world = world(|inventory| same(inventory, SECOND, FIRST)).await;
    let control = &world.control;
    let asked =
        control.identity.ask_recovery(&admin(FIRST), &id("bob"), "lost", None).await.unwrap();
    let refused = control.identity.agree_to_recovery(&admin(SECOND), &asked.id, None).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    assert!(control.identity.agree_to_recovery(&admin(OTHER), &asked.id, None).await.is_ok());
}

#[tokio::test]
async fn a_request_of_ones_other_identity_is_seen_but_not_decided() {
    let world = world(|inventory| same(inventory, SECOND, FIRST)).await;
    let asked = world.ask(FIRST, "app_ro@orders/reporting").await.unwrap();
    let view = world.control.access.request(&actor(SECOND), &asked.request.id).await.unwrap();
    assert!(!view.may_decide && !view.may_approve);
    let seen = digest(&world, &asked.request.id).await;
    let yes = Yes { digest: seen, shorten: None, step_up: None };
    let refused = world.control.access.approve(&actor(SECOND), &asked.request.id, yes).await;
    assert!(refused.unwrap_err().to_string().contains("whatever name"));
}
