use policies::{GrantState, Target};

use super::{RULES, World, actor, inventory};
use crate::Control;
use crate::model::error::{ControlError, Refusal};
use crate::model::inventory::{Inventory, Secrets};

async fn end_of(control: &Control, id: &policies::GrantId) -> String {
    let state = control.access.grant(&actor("eve"), id).await.unwrap().grant.state;
    let word = state.word().to_owned();
    if let GrantState::Ended { end, .. } = state {
        return end.to_string();
    }
    word
}

#[tokio::test]
async fn a_reload_revokes_exactly_what_is_no_longer_given() {
    let world = World::new().await;
    let (read, write) = (world.read_grant().await, world.write_grant().await);
    let pending = world.ask("bob", "app_rw@orders").await.unwrap().request;
    let same = world.control.sources.reload(inventory(RULES)).await.unwrap();
    assert!(same.revoked.is_empty() && same.withdrawn.is_empty());

    let stricter = RULES.replace("\"app_ro\", ", "");
    let reloaded = world.control.sources.reload(inventory(&stricter)).await.unwrap();
    assert_eq!(reloaded.revoked, std::slice::from_ref(&read.id));
    assert!(reloaded.withdrawn.is_empty());
    let why = end_of(&world.control, &read.id).await;
    assert_eq!(why, "the rules no longer give this access: no rule permits it");
    assert_eq!(end_of(&world.control, &write.id).await, "granted");

    let three = stricter.replace("2 of dba", "3 of dba");
    let reloaded = world.control.sources.reload(inventory(&three)).await.unwrap();
    assert_eq!(reloaded.revoked, std::slice::from_ref(&write.id));
    assert_eq!(reloaded.withdrawn, [pending.id]);
    assert!(end_of(&world.control, &write.id).await.contains("3 of dba"));
    assert_eq!(world.control.kernel.feed().live(), 0);
}

#[tokio::test]
async fn who_left_a_group_or_was_disabled_loses_what_the_group_gave() {
    let gone: [fn(&mut Inventory); 4] = [
        |inventory| inventory.people.get_mut(&"alice".parse().unwrap()).unwrap().disabled = true,
        |inventory| drop(inventory.people.remove(&"alice".parse().unwrap())),
        |inventory| {
            inventory.people.get_mut(&"alice".parse().unwrap()).unwrap().principal.groups.clear();
        },
        |inventory| inventory.targets.clear(),
    ];
    for tx in gone {
        let world = World::new().await;
        let grant = world.read_grant().await;
        let mut next = inventory(RULES);
        tx(&mut next);
        let reloaded = world.control.sources.reload(next).await.unwrap();
        assert_eq!(reloaded.revoked, [grant.id]);
    }
}

#[tokio::test]
async fn an_inventory_that_contradicts_itself_changes_nothing() {
    let world = World::new().await;
    let grant = world.read_grant().await;
    let revision = world.control.kernel.feed().revision();
    let faults: [fn(&mut Inventory); 3] = [
        |inventory| inventory.secrets = Secrets::default(),
        |inventory| {
            let target: Target = inventory.targets.values().next().unwrap().clone();
            inventory.targets.insert("billing".parse().unwrap(), target);
        },
        |inventory| inventory.targets.values_mut().for_each(|target| target.databases.clear()),
    ];
    for fault in faults {
        let mut broken = inventory("");
        fault(&mut broken);
        let refused = world.control.sources.reload(broken).await;
        assert!(matches!(refused, Err(ControlError::Refused(Refusal::Invalid(_)))), "{refused:?}");
    }
    assert_eq!(world.control.kernel.feed().revision(), revision);
    assert_eq!(end_of(&world.control, &grant.id).await, "granted");
    assert_eq!(world.read_grant().await, grant, "the old rules are still in force");
}

#[tokio::test]
async fn an_erring_rule_and_an_empty_book_deny() {
    let erring = format!(
        "{RULES}\nforbid (principal, action, resource) when {{ 9223372036854775807 + 1 == 0 }};"
    );
    for rules in [erring.as_str(), ""] {
        let world = World::new().await;
        let grant = world.read_grant().await;
        let reloaded = world.control.sources.reload(inventory(rules)).await.unwrap();
        assert_eq!(reloaded.revoked, [grant.id]);
        assert_eq!(world.ask("alice", "app_ro@orders").await.unwrap_err().code(), "not-permitted");
    }
}

#[tokio::test]
async fn an_approval_under_rules_that_changed_is_not_a_grant() {
    let world = World::new().await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap().request;
    world.approve("bob", &asked.id).await.unwrap();
    let mut next = inventory(RULES);
    next.people.get_mut(&"carol".parse().unwrap()).unwrap().principal.groups.clear();
    world.control.sources.reload(next).await.unwrap();
    let left = world.approve("carol", &asked.id).await;
    assert!(
        matches!(left, Err(ControlError::Refused(Refusal::Forbidden(_)))),
        "carol left the group: {left:?}"
    );
    assert!(world.approve("dba-1", &asked.id).await.unwrap().is_some());
}
