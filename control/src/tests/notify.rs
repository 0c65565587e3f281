mod failing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use policies::{RequestState, Subject, Ttl};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{RULES, World, actor, inventory};
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::channel::{Channel, Hook, Way};
use crate::model::channel_bounds::Bounds;
use crate::model::channel_email::{Mail, MailTls, Server};
use crate::model::channel_template::Templates;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::topic::Topic;
use crate::model::view::{MessageState, MessageView, Paging};
use crate::platform::backoff::Patience;
use crate::platform::outbound::Reach;
use crate::platform::webhook_signature::{WebhookHeaders, WebhookSecret, verify_webhook};
use crate::store::outbox;

/// A message as it was received.
pub(super) struct Received {
    id: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Statuses to answer by, and where they lead to, or another header; the last one first.
type Answers = Arc<Mutex<Vec<(StatusCode, Option<String>)>>>;

/// A receiver on this machine, which answers by a list of statuses, and with 200 when it is empty.
pub(super) struct Receiver {
    address: SocketAddr,
    arrived: mpsc::Receiver<Received>,
    answers: Answers,
}

#[derive(Clone)]
struct Shared {
    arrive: mpsc::Sender<Received>,
    answers: Answers,
}

async fn receive(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap) {
    let id = headers.get("webhook-id").map(|id| id.to_str().unwrap().to_owned());
    let received = Received { id: id.unwrap_or_default(), headers, body };
    shared.arrive.send(received).await.unwrap();
    let answer = shared.answers.lock().unwrap().pop();
    let (status, location) = answer.unwrap_or((StatusCode::OK, None));
    let more = location.map(|text| {
        let (name, value) = text.split_once(' ').unwrap_or(("location", &text));
        (name.parse().unwrap(), value.parse().unwrap())
    });
    (status, more.into_iter().collect())
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrive, arrived) = mpsc::channel(500);
        let answers = Answers::default();
        let shared = Shared { arrive, answers: Arc::clone(&answers) };
        let router = Router::new().fallback(receive).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, arrived, answers }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn answers(&self, statuses: &[u16]) {
        let statuses = statuses.iter().rev().map(|status| {
            let status = StatusCode::from_u16(*status).unwrap();
            (status, None)
        });
        *self.answers.lock().unwrap() = statuses.collect();
    }

    /// What came since the last look.
    pub(super) fn came(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.arrived.try_recv().ok()).collect()
    }
}

fn bounds() -> Bounds<'static> {
    Bounds { reach: Reach::Anywhere, timeout: Ttl::from_secs(30), roots: None }
}

pub(super) fn secret() -> WebhookSecret {
    WebhookSecret::fresh().expose_secret().parse().unwrap()
}

fn channel(name: &str, way: Way) -> Channel {
    Channel {
        name: name.parse().unwrap(),
        topics: Topic::all().collect(),
        groups: BTreeSet::new(),
        patience: Patience { attempts: 3, first_pause: Ttl::from_secs(60) },
        timeout: Ttl::from_secs(30),
        templates: Templates::default(),
        way,
    }
}

pub(super) fn hook(name: &str, url: &str, secret: &WebhookSecret) -> Channel {
    let hook = Hook::new(url, vec![secret.clone()], bounds()).unwrap();
    channel(name, Way::Webhook(hook))
}

/// Mail that nobody sends in these tests: what it would say to whom stands in the outbox.
pub(super) fn mail() -> Channel {
    let server = Server { host: "localhost".into(), port: 9 };
    let mail = Mail::new(server, MailTls::Off, None, "postern@example.com", bounds()).unwrap();
    channel("mail", Way::Email(Box::new(mail)))
}

impl World {
    pub(super) async fn told_by(channels: Vec<Channel>) -> Self {
        let world = Self::new().await;
        world.set(channels).await;
        world
    }

    async fn set(&self, channels: Vec<Channel>) {
        let channels = channels.into_iter().map(|channel| (channel.name.clone(), channel));
        let mut next = inventory(RULES);
        next.channels = channels.collect::<BTreeMap<_, _>>().into();
        self.control.sources.reload(next).await.unwrap();
    }

    /// What stands in the outbox, oldest first.
    async fn messages(&self) -> Vec<MessageView> {
        let mut page = Vec::new();
        let mut cursor = None;
        loop {
            let paging = Paging { cursor, limit: Some(200) };
            let next = self.control.notifier.messages(&actor("eve"), None, paging).await.unwrap();
            page.extend(next.items);
            cursor = next.next;
            if cursor.is_none() {
                page.reverse();
                return page;
            }
        }
    }

    async fn states(&self) -> Vec<MessageState> {
        self.messages().await.into_iter().map(|message| message.state).collect()
    }

    /// Who was notified of what, without the crowd of DBAs.
    pub(super) async fn notified(&self) -> Vec<(Topic, String)> {
        let messages = self.messages().await.into_iter();
        let messages =
            messages.map(|message| (message.topic, message.recipient.unwrap().to_string()));
        messages.filter(|(_, who)| !who.starts_with("dba-")).collect()
    }
}

pub(super) fn pairs_of(pairs: &[(Topic, &str)]) -> Vec<(Topic, String)> {
    pairs.iter().map(|(topic, who)| (*topic, (*who).to_owned())).collect()
}

#[tokio::test]
async fn a_change_is_told_signed_to_whom_it_may_concern() {
    let (mut receiver, secret) = (Receiver::start().await, secret());
    let world = World::told_by(vec![hook("ops", &receiver.url(), &secret)]).await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap();
    assert_eq!(world.states().await, [MessageState::Waiting]);
    world.control.notifier.send_due().await;
    let came = receiver.came();
    let [message] = &came[..] else { panic!("{} messages", came.len()) };
    let text = |name: &str| message.headers[name].to_str().unwrap();
    let headers = WebhookHeaders {
        id: &message.id,
        timestamp: text("webhook-timestamp"),
        signature: text("webhook-signature"),
    };
    assert_eq!(
        verify_webhook(&[secret], headers, &message.body, world.control.kernel.now()),
        Ok(())
    );
    let body = message.json();
    assert_eq!(body["type"], "request.asked");
    assert_eq!(body["data"]["id"], asked.request.id.as_str());
    assert_eq!(body["data"]["title"], "Alice asks for app_rw@orders/shop for 1h");
    let url = format!("https://gate.example.com/r/{}", asked.request.id);
    assert_eq!(body["data"]["url"], url);
    assert!(body["data"]["to"].as_array().unwrap().contains(&json!("bob")));
    assert_eq!(world.states().await, [MessageState::Sent]);
    world.control.notifier.send_due().await;
    assert!(receiver.came().is_empty(), "it was sent twice");
}

#[tokio::test]
async fn what_was_never_committed_is_told_to_nobody() {
    let world = World::told_by(vec![mail()]).await;
    let mut tx = world.control.kernel.begin().await.unwrap();
    let detail = json!({ "subject": Subject::Target("orders".parse().unwrap()), "reason": "r" });
    tx.record(Event::new(By::Operator, AuditKind::LockSet, "lk-aaaaaaaaaaaa", detail))
        .await
        .unwrap();
    assert_eq!(outbox::figures(tx.db()).await.unwrap().waiting, 1);
    drop(tx);
    assert!(world.messages().await.is_empty());
}

#[tokio::test]
async fn each_hears_what_concerns_them_and_nobody_of_their_own_doing() {
    let world = World::told_by(vec![mail()]).await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap();
    let to_deciders = pairs_of(&[(Topic::RequestAsked, "bob"), (Topic::RequestAsked, "carol")]);
    assert_eq!(world.notified().await, to_deciders);
    world.approve("bob", &asked.request.id).await.unwrap();
    let grant = world.approve("carol", &asked.request.id).await.unwrap().unwrap();
    world.control.access.revoke(&actor("bob"), &grant.id, "closed".into()).await.unwrap();
    let to_alice = pairs_of(&[
        (Topic::RequestApproved, "alice"),
        (Topic::RequestApproved, "alice"),
        (Topic::GrantGiven, "alice"),
        (Topic::GrantEnded, "alice"),
    ]);
    assert_eq!(world.notified().await[2..], to_alice);

    let own = world.read_grant().await;
    world.control.access.done(&actor("alice"), &own.id).await.unwrap();
    assert_eq!(
        world.notified().await.len(),
        6,
        "somebody was notified of what they did themselves"
    );
}

#[tokio::test]
async fn a_no_a_lapse_and_a_lock_are_told() {
    let world = World::told_by(vec![mail()]).await;
    let asked = world.ask("bob", "app_rw@orders").await.unwrap();
    let of = |messages: Vec<(Topic, String)>| messages.into_iter().skip(2).collect::<Vec<_>>();
    // Bob is a DBA himself, and doesn't hear of his own request.
    let asked_of = [(Topic::RequestAsked, "alice-admin"), (Topic::RequestAsked, "carol")];
    assert_eq!(world.notified().await, pairs_of(&asked_of));
    let denied =
        world.control.access.deny(&actor("carol"), &asked.request.id, "not today".into()).await;
    assert!(matches!(denied.unwrap().state, RequestState::Denied { .. }));
    assert_eq!(of(world.notified().await), pairs_of(&[(Topic::RequestDenied, "bob")]));
    world.ask("bob", "app_rw@orders").await.unwrap();
    world.pass(1_800);
    world.control.access.sweep().await.unwrap();
    assert_eq!(world.notified().await.last(), pairs_of(&[(Topic::RequestLapsed, "bob")]).last());
    let before = world.notified().await.len();
    let lock = Subject::Target("orders".parse().unwrap());
    world.control.access.lock(&actor("eve"), lock, "incident".into(), None).await.unwrap();
    // Eve is the only admin, and set it.
    assert_eq!(world.notified().await.len(), before);
}

#[tokio::test]
async fn a_channel_tells_only_what_it_is_for() {
    let (receiver, secret) = (Receiver::start().await, secret());
    let url = receiver.url();
    let dba =
        Channel { groups: BTreeSet::from(["dba".parse().unwrap()]), ..hook("dba", &url, &secret) };
    let denials = Channel {
        topics: Topic::matching("request.denied").unwrap(),
        ..hook("denials", &url, &secret)
    };
    let world = World::told_by(vec![dba, denials]).await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap();
    world.control.access.deny(&actor("bob"), &asked.request.id, "no".into()).await.unwrap();
    let messages = world.messages().await.into_iter();
    let messages: Vec<_> =
        messages.map(|message| (message.channel.to_string(), message.topic)).collect();
    let expected =
        [("dba".to_owned(), Topic::RequestAsked), ("denials".to_owned(), Topic::RequestDenied)];
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn a_request_that_is_dropped_or_given_by_itself_is_told_to_the_one_who_asked() {
    let world = World::told_by(vec![mail()]).await;
    let with = |rules: &str| {
        let mut next = inventory(rules);
        next.channels = BTreeMap::from([("mail".parse().unwrap(), mail())]).into();
        next
    };
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    let before = world.notified().await.len();
    world.control.sources.reload(with(&RULES.replace("2 of dba", "3 of dba"))).await.unwrap();
    assert_eq!(super::workflow::state(&world, &id).await, "withdrawn");
    let heard = world.notified().await[before..].to_vec();
    assert!(heard.contains(&(Topic::RequestWithdrawn, "alice".to_owned())), "{heard:?}");
    world.ask("alice", "app_rw@orders").await.unwrap();
    let free = RULES.replace("@approvals(\"2 of dba\")", "");
    world.control.sources.reload(with(&free)).await.unwrap();
    assert_eq!(world.notified().await.last().unwrap(), &(Topic::GrantGiven, "alice".to_owned()));
}

#[tokio::test]
async fn no_message_holds_an_address_a_code_or_a_digest() {
    let world = World::told_by(vec![mail()]).await;
    let requested = crate::access::input::AccessRequestInput {
        source: Some("10.1.2.3".parse().unwrap()),
        reason: "ticket 12".into(),
        ..super::access_to("app_rw@orders")
    };
    let asked = world.control.access.ask(&actor("alice"), requested).await.unwrap();
    let kept: Vec<String> = sqlx::query_scalar("SELECT notice FROM outbox")
        .fetch_all(&mut world.raw().await)
        .await
        .unwrap();
    let digest = asked.request.digest().to_string();
    assert!(!kept.is_empty());
    for notice in kept {
        assert!(notice.contains("ticket 12"), "{notice}");
        for never in ["10.1.2.3", &digest, "canary-upstream-password", "10.0.0"] {
            assert!(!notice.contains(never), "{notice}");
        }
    }
}

#[tokio::test]
async fn messages_are_the_admins_business() {
    let world = World::told_by(vec![mail()]).await;
    let refused = |said: Result<(), ControlError>| {
        matches!(said, Err(ControlError::Refused(Refusal::Forbidden(_))))
    };
    for who in ["alice", "bob"] {
        let who: Actor = actor(who);
        let control = &world.control;
        assert!(refused(control.notifier.messages(&who, None, Paging::default()).await.map(drop)));
        assert!(refused(control.notifier.channels(&who).await.map(drop)));
        assert!(refused(control.notifier.send_again(&who, "msg-aaaaaaaaaaaa", true).await));
        assert!(refused(control.notifier.test_channel(&who, "mail").await));
        assert!(refused(control.notifier.switch_channel_on(&who, "mail").await));
    }
}

#[tokio::test]
async fn a_test_is_sent_at_once_and_says_what_went_wrong() {
    let (mut receiver, secret) = (Receiver::start().await, secret());
    receiver.answers(&[403]);
    let world = World::told_by(vec![hook("ops", &receiver.url(), &secret)]).await;
    let eve = actor("eve");
    let failed = world.control.notifier.test_channel(&eve, "ops").await.unwrap_err().to_string();
    assert!(failed.contains("403"), "{failed}");
    world.control.notifier.test_channel(&eve, "ops").await.unwrap();
    let came = receiver.came();
    assert_eq!(came[1].json()["data"]["id"], "test-of-ops");
    let none = world.control.notifier.test_channel(&eve, "nothing").await;
    assert!(matches!(none, Err(ControlError::Refused(Refusal::NotFound(_)))), "{none:?}");
    assert!(world.messages().await.is_empty(), "a test is not kept");
}
