use russh::Sig;

use super::load::{MUCH, PAUSE, TRICKLE};
use super::*;
use crate::ssh::channel::request::Size;

fn size(columns: u32) -> Size {
    Size { columns, rows: 24, width: 0, height: 0 }
}

fn env(bytes: usize) -> Setup {
    Setup::Env { name: String::new(), value: "x".repeat(bytes) }
}

fn forward(load: &Arc<Load>) -> ChannelQueue {
    ChannelQueue::forward(Arc::clone(load))
}

/// Whether a request was taken.
fn taken(answer: Result<Answer, Flooded>) -> Result<bool, Flooded> {
    answer.map(|answer| answer.is_taken())
}

/// What a task takes from a queue, without the answers that it owes.
enum Next {
    Setup(Setup),
    Program(Program),
    Ends,
}

async fn next(queue: &ChannelQueue) -> Next {
    match queue.preparation().await {
        Some(Preparation::Setup(setup)) => Next::Setup(setup.split().0),
        Some(Preparation::Program(program)) => Next::Program(program.split().0),
        Some(Preparation::Refused(_)) | None => Next::Ends,
    }
}

/// A session whose program was taken.
async fn running() -> ChannelQueue {
    let queue = ChannelQueue::of_session();
    assert_eq!(taken(queue.start(Program::Shell)), Ok(true));
    assert!(matches!(next(&queue).await, Next::Program(Program::Shell)));
    queue
}

#[tokio::test]
async fn what_was_sent_comes_out_in_its_order() {
    let queue = ChannelQueue::of_session();
    assert_eq!(taken(queue.prepare(env(1))), Ok(true));
    assert_eq!(taken(queue.control(Control::Resize(size(70)))), Ok(true));
    assert_eq!(taken(queue.start(Program::Shell)), Ok(true));
    queue.data(b"one ");
    queue.data(b"two");
    let _ = queue.control(Control::Resize(size(80))).unwrap();
    let _ = queue.control(Control::Resize(size(132))).unwrap();
    queue.eof();
    queue.close();
    assert!(matches!(next(&queue).await, Next::Setup(Setup::Env { .. })));
    assert!(matches!(next(&queue).await, Next::Setup(Setup::Resize(_))));
    assert!(matches!(next(&queue).await, Next::Program(Program::Shell)));
    assert!(matches!(queue.content().await, Some(Item::Data(bytes)) if &bytes[..] == b"one two"));
    let resized = queue.content().await;
    assert!(
        matches!(resized, Some(Item::Control(Control::Resize(last))) if last == size(132)),
        "{resized:?}"
    );
    assert!(matches!(queue.content().await, Some(Item::Eof)));
    assert!(queue.content().await.is_none());
}

#[tokio::test]
async fn a_second_program_ends_the_channel_behind_what_was_sent_before_it() {
    for second in [Program::Subsystem("sftp".into()), Program::Shell, Program::Exec(vec![b'x'])] {
        let queue = running().await;
        queue.data(b"before");
        let word = second.word();
        assert_eq!(taken(queue.start(second)), Ok(false));
        queue.data(b"after");
        queue.eof();
        assert_eq!(taken(queue.start(Program::Shell)), Ok(false));
        assert_eq!(taken(queue.control(Control::Signal(Sig::INT))), Ok(false));
        assert!(matches!(queue.content().await, Some(Item::Data(it)) if &it[..] == b"before"));
        let ended = queue.content().await;
        let why = Refused::new(word, SECOND_PROGRAM);
        assert!(matches!(ended, Some(Item::Refused(refused)) if refused == why));
        queue.close();
        assert!(queue.content().await.is_none());
    }
}

#[tokio::test]
async fn data_before_a_program_ends_the_channel_and_has_no_place() {
    let early: [fn(&ChannelQueue); 2] = [|queue| queue.data(b"early"), ChannelQueue::extended_data];
    for send in early {
        let queue = ChannelQueue::of_session();
        send(&queue);
        assert_eq!(taken(queue.start(Program::Shell)), Ok(false));
        let ended = queue.preparation().await;
        assert!(matches!(ended, Some(Preparation::Refused(refused)) if refused.what == "data"));
        queue.close();
        assert!(queue.preparation().await.is_none());
        assert!(queue.content().await.is_none());
    }
}

#[tokio::test]
async fn a_program_after_the_end_of_its_input_ends_the_channel() {
    let queue = ChannelQueue::of_session();
    queue.eof();
    assert_eq!(taken(queue.start(Program::Shell)), Ok(false));
    let ended = queue.preparation().await;
    let why = Refused::new("shell", AFTER_EOF);
    assert!(matches!(ended, Some(Preparation::Refused(refused)) if refused == why));
}

#[tokio::test]
async fn a_program_that_was_refused_was_the_one_of_its_channel() {
    let queue = ChannelQueue::of_session();
    let refused = || Refused::new("exec", "no");
    assert_eq!(taken(queue.refuse_program(refused())), Ok(true));
    assert_eq!(taken(queue.start(Program::Shell)), Ok(false));
    assert_eq!(taken(queue.refuse_program(refused())), Ok(false));
    queue.data(b"for no program");
    assert!(matches!(queue.preparation().await, Some(Preparation::Refused(it)) if it == refused()));
    queue.close();
    assert!(queue.content().await.is_none());
}

#[tokio::test]
async fn nothing_prepares_a_program_that_runs_and_a_forward_runs_none() {
    let queue = running().await;
    for late in [env(1), Setup::Agent, Setup::Resize(size(80))] {
        assert_eq!(taken(queue.prepare(late)), Ok(false));
    }
    assert_eq!(taken(queue.control(Control::Resize(size(80)))), Ok(true), "a window may change");
    let forward = forward(&Arc::default());
    assert_eq!(taken(forward.prepare(env(1))), Ok(false));
    assert_eq!(taken(forward.start(Program::Shell)), Ok(false));
    forward.data(b"goes on");
    assert!(matches!(forward.content().await, Some(Item::Data(it)) if &it[..] == b"goes on"));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_slowed_down_while_much_waits_and_no_longer() {
    let load = Arc::new(Load::default());
    let queue = forward(&load);
    queue.data(&vec![0; MUCH]);
    assert_eq!(load.window(), WINDOW);
    queue.data(b"x");
    assert_eq!(load.window(), TRICKLE);
    let began = tokio::time::Instant::now();
    load.settle().await;
    assert_eq!(began.elapsed(), PAUSE, "a handler never waits for long");
    let (_, taken) = tokio::join!(load.settle(), queue.content());
    assert!(matches!(taken, Some(Item::Data(_))));
    assert_eq!(began.elapsed(), PAUSE, "and not at all once it is taken");
    assert_eq!(load.window(), WINDOW);
}

#[test]
fn who_sends_past_every_window_is_found_out() {
    let load = Arc::new(Load::default());
    let queue = forward(&load);
    queue.data(&vec![0; 4 * WINDOW as usize]);
    assert_eq!(load.check(1), Ok(()));
    queue.data(&vec![0; WINDOW as usize]);
    assert_eq!(load.check(1), Err(Flooded));
    assert_eq!(load.check(2), Ok(()));
    drop(queue);
    assert_eq!(load.check(0), Ok(()));
    let queue = ChannelQueue::of_session();
    for _ in 0..2 {
        let _ = queue.prepare(env(MOST_ASKED_BYTES / 2)).unwrap();
    }
    assert_eq!(taken(queue.start(Program::Exec(vec![0]))), Err(Flooded));
}

#[tokio::test]
async fn who_asks_more_than_any_client_should_is_found_out() {
    let queue = running().await;
    for _ in 0..MOST_ASKED {
        let _ = queue.control(Control::Signal(Sig::INT)).unwrap();
    }
    assert_eq!(taken(queue.control(Control::Signal(Sig::INT))), Err(Flooded));
    for _ in 0..MOST_REFUSED {
        assert_eq!(taken(queue.prepare(env(1))), Ok(false));
    }
    assert_eq!(taken(queue.start(Program::Shell)), Err(Flooded));
}

#[tokio::test]
async fn who_says_again_and_again_that_it_is_at_its_end_says_it_once() {
    let queue = forward(&Arc::default());
    for _ in 0..10_000 {
        queue.eof();
        queue.data(b"more");
    }
    assert_eq!(queue.waiting().content.len(), 1);
    assert!(matches!(queue.content().await, Some(Item::Eof)));
    queue.eof();
    queue.close();
    assert!(queue.content().await.is_none());
}

#[tokio::test]
async fn there_is_room_for_requests_again_once_the_target_took_some() {
    let queue = ChannelQueue::of_session();
    let half = || env(MOST_ASKED_BYTES / 2);
    let _ = queue.prepare(half()).unwrap();
    let _ = queue.prepare(half()).unwrap();
    assert_eq!(taken(queue.prepare(half())), Err(Flooded));
    assert!(queue.preparation().await.is_some());
    let _ = queue.prepare(half()).unwrap();
    for _ in 0..MOST_REFUSED {
        queue.refuse().unwrap();
    }
    assert_eq!(queue.refuse(), Err(Flooded));
}

#[tokio::test]
async fn a_request_is_answered_by_the_target_and_refused_where_it_says_nothing() {
    for (said, granted) in [(Some(true), true), (Some(false), false), (None, false)] {
        let queue = ChannelQueue::of_session();
        let setup = queue.prepare(env(1)).unwrap();
        let Some(Preparation::Setup(asked)) = queue.preparation().await else { panic!("{said:?}") };
        let (_, answer) = asked.split();
        match said {
            Some(said) => answer(said),
            None => drop(answer),
        }
        assert_eq!(setup.granted().await, granted);
    }
}

#[tokio::test]
async fn a_program_that_the_target_refuses_leaves_room_for_another_and_its_input_goes_nowhere() {
    let queue = ChannelQueue::of_session();
    let first = queue.start(Program::Subsystem("sftp".to_owned())).unwrap();
    let Some(Preparation::Program(asked)) = queue.preparation().await else { panic!("no program") };
    queue.data(b"for the first");
    queue.not_started();
    asked.split().1(false);
    assert!(!first.granted().await);
    queue.data(b"sent before it was heard of");
    assert_eq!(taken(queue.start(Program::Exec(b"sftp-server".to_vec()))), Ok(true));
    queue.data(b"for the second");
    assert!(matches!(next(&queue).await, Next::Program(Program::Exec(_))));
    assert!(matches!(queue.content().await, Some(Item::Data(it)) if &it[..] == b"for the second"));
    assert_eq!(taken(queue.start(Program::Shell)), Ok(false));
}
