//! Messages that don't arrive: sent again, put off, dead, and in nobody's way.

use super::*;
use crate::model::error::Refusal;

#[tokio::test]
async fn what_fails_waits_longer_keeps_its_id_and_is_dead_after_its_last_try() {
    let (mut receiver, secret) = (Receiver::start().await, secret());
    receiver.answers(&[500, 302, 503]);
    let world = World::told_by(vec![hook("ops", &receiver.url(), &secret)]).await;
    world.ask("alice", "app_rw@orders").await.unwrap();
    world.control.notifier.send_due().await;
    world.control.notifier.send_due().await;
    let first = receiver.came();
    assert_eq!(first.len(), 1, "it did not wait");
    for _ in 0..2 {
        world.pass(120);
        world.control.notifier.send_due().await;
    }
    let ids: BTreeSet<String> =
        first.into_iter().chain(receiver.came()).map(|message| message.id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let [message] = &world.messages().await[..] else { panic!() };
    assert_eq!((message.state, message.tries), (MessageState::Dead, 3));
    assert_eq!(message.fault.as_deref(), Some("it answered 503 Service Unavailable"));
    assert!(world.kinds().await.contains(&"notification.dead".to_owned()));

    world.control.notifier.send_again(&actor("eve"), &message.id, false).await.unwrap();
    world.control.notifier.send_due().await;
    let again = receiver.came();
    assert_eq!((again.len(), &again[0].id), (1, &message.id));
    assert_eq!(world.states().await, [MessageState::Sent]);
    let taken = world.control.notifier.send_again(&actor("eve"), &message.id, false).await;
    assert!(matches!(taken, Err(ControlError::Refused(Refusal::Conflict(_)))), "{taken:?}");
    world.control.notifier.send_again(&actor("eve"), &message.id, true).await.unwrap();
    world.control.notifier.send_due().await;
    assert_eq!(receiver.came()[0].id, message.id, "a replay has its old id");
}

#[tokio::test]
async fn all_dead_messages_are_sent_again_at_once() {
    let (mut receiver, secret) = (Receiver::start().await, secret());
    let once = Channel {
        patience: Patience { attempts: 1, first_pause: Ttl::from_secs(1) },
        ..hook("ops", &receiver.url(), &secret)
    };
    receiver.answers(&[500, 500]);
    let world = World::told_by(vec![once]).await;
    world.ask("alice", "app_rw@orders").await.unwrap();
    world.ask("bob", "app_rw@orders").await.unwrap();
    world.control.notifier.send_due().await;
    assert_eq!(world.states().await, [MessageState::Dead; 2]);
    let plain = world.control.notifier.send_all_again(&actor("alice")).await;
    assert!(matches!(plain, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{plain:?}");
    assert_eq!(world.control.notifier.send_all_again(&actor("eve")).await.unwrap(), 2);
    world.control.notifier.send_due().await;
    assert_eq!((receiver.came().len(), world.states().await), (4, vec![MessageState::Sent; 2]));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (mut receiver, mut elsewhere) = (Receiver::start().await, Receiver::start().await);
    receiver.answers.lock().unwrap().push((StatusCode::FOUND, Some(elsewhere.url())));
    let world = World::told_by(vec![hook("ops", &receiver.url(), &secret())]).await;
    world.ask("alice", "app_rw@orders").await.unwrap();
    world.control.notifier.send_due().await;
    assert_eq!((receiver.came().len(), elsewhere.came().len()), (1, 0));
    let fault = world.messages().await[0].fault.clone().unwrap();
    assert!(fault.contains("redirects are not followed"), "{fault}");
}

#[tokio::test]
async fn a_private_address_is_not_connected_to_unless_it_is_meant() {
    let mut receiver = Receiver::start().await;
    let url = format!("https://localhost:{}/", receiver.address.port());
    let bounds = Bounds { reach: Reach::Public, ..bounds() };
    let guarded = Hook::new(&url, vec![secret()], bounds).unwrap();
    let world = World::told_by(vec![channel("ops", Way::Webhook(guarded))]).await;
    world.ask("alice", "app_rw@orders").await.unwrap();
    world.control.notifier.send_due().await;
    let fault = world.messages().await[0].fault.clone().unwrap();
    assert!(fault.contains("`allow_private = true`"), "{fault}");
    assert!(receiver.came().is_empty());
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_an_admin_says_otherwise() {
    let (mut receiver, mut other, secret) =
        (Receiver::start().await, Receiver::start().await, secret());
    receiver.answers(&[410]);
    let news = Channel {
        topics: Topic::matching("channel.off").unwrap(),
        ..hook("news", &other.url(), &secret)
    };
    let world = World::told_by(vec![hook("ops", &receiver.url(), &secret), news]).await;
    world.ask("alice", "app_rw@orders").await.unwrap();
    world.control.notifier.send_due().await;
    assert!(world.kinds().await.contains(&"channel.off".to_owned()));
    world.ask("bob", "app_rw@orders").await.unwrap();
    world.control.notifier.send_due().await;
    assert_eq!(receiver.came().len(), 1, "it was not left alone");
    let came = other.came();
    assert_eq!(
        came[0].json()["data"]["title"],
        "notifications by ops are off: its receiver is gone"
    );
    assert_eq!(came[0].json()["data"]["to"], json!(["eve"]));

    let view = world.control.notifier.channels(&actor("eve")).await.unwrap();
    assert_eq!(view.iter().map(|view| view.off_since.is_some()).collect::<Vec<_>>(), [false, true]);
    world.control.notifier.switch_channel_on(&actor("eve"), "ops").await.unwrap();
    let again = world.control.notifier.switch_channel_on(&actor("eve"), "ops").await;
    assert!(matches!(again, Err(ControlError::Refused(Refusal::Conflict(_)))), "{again:?}");
    let bobs = world.messages().await.len();
    world.ask("bob", "app_ro@orders").await.unwrap();
    assert!(world.messages().await.len() > bobs);
    world.control.notifier.send_due().await;
    assert_eq!(receiver.came().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_hangs_keeps_neither_a_request_nor_another_channel_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut receiver, secret) = (Receiver::start().await, secret());
    let hanging = format!("http://{}/", silent.local_addr().unwrap());
    let world = World::told_by(vec![
        hook("a-hangs", &hanging, &secret),
        hook("b-answers", &receiver.url(), &secret),
    ])
    .await;
    let stop = CancellationToken::new();
    let sending = tokio::spawn({
        let (control, stop) = (world.control.clone(), stop.clone());
        async move { control.notifier.keep_telling(stop).await }
    });
    world.ask("alice", "app_rw@orders").await.unwrap();
    let (_held, _) = silent.accept().await.unwrap();
    let first = receiver.arrived.recv().await.unwrap();
    world.ask("bob", "app_rw@orders").await.unwrap();
    let second = receiver.arrived.recv().await.unwrap();
    assert_eq!(
        (first.json()["data"]["name"].as_str(), second.json()["data"]["name"].as_str()),
        (Some("Alice"), Some("Bob"))
    );
    stop.cancel();
    sending.await.unwrap();
    let waiting = world.messages().await.into_iter();
    let waiting = waiting.filter(|message| message.channel.as_str() == "a-hangs");
    assert!(
        waiting.clone().count() == 2
            && waiting.clone().all(|message| message.state == MessageState::Waiting)
    );
}

#[tokio::test]
async fn what_waits_outlives_a_kill() {
    let (mut receiver, secret) = (Receiver::start().await, secret());
    let world = World::told_by(vec![hook("ops", &receiver.url(), &secret)]).await;
    world.ask("alice", "app_rw@orders").await.unwrap();
    let id = world.messages().await[0].id.clone();
    let world = world.reopened().await;
    world.set(vec![hook("ops", &receiver.url(), &secret)]).await;
    world.control.notifier.send_due().await;
    assert_eq!(receiver.came()[0].id, id);
}

#[tokio::test]
async fn a_channel_that_was_removed_leaves_dead_messages_behind() {
    let receiver = Receiver::start().await;
    let world = World::told_by(vec![hook("ops", &receiver.url(), &secret())]).await;
    world.ask("alice", "app_rw@orders").await.unwrap();
    world.set(Vec::new()).await;
    world.control.notifier.send_due().await;
    assert_eq!(world.states().await, [MessageState::Dead]);
}

#[tokio::test]
async fn what_a_receiver_refuses_is_dead_at_once_and_what_it_puts_off_comes_when_it_says() {
    let (mut receiver, secret) = (Receiver::start().await, secret());
    let world = World::told_by(vec![hook("ops", &receiver.url(), &secret)]).await;
    receiver.answers(&[422]);
    world.ask("alice", "app_rw@orders").await.unwrap();
    world.control.notifier.send_due().await;
    let [message] = &world.messages().await[..] else { panic!() };
    assert_eq!((message.state, message.tries), (MessageState::Dead, 1));
    assert!(message.fault.as_ref().unwrap().contains("422"), "{message:?}");
    assert_eq!(receiver.came().len(), 1);

    let long = "86400".to_owned();
    *receiver.answers.lock().unwrap() =
        vec![(StatusCode::SERVICE_UNAVAILABLE, Some(format!("retry-after {long}")))];
    world.ask("bob", "app_rw@orders").await.unwrap();
    world.control.notifier.send_due().await;
    assert_eq!(receiver.came().len(), 1);
    world.pass(3_599);
    world.control.notifier.send_due().await;
    assert!(receiver.came().is_empty(), "it said that it wants to be left alone");
    // An hour is the longest that is believed.
    world.pass(1);
    world.control.notifier.send_due().await;
    assert_eq!(receiver.came().len(), 1);
}
