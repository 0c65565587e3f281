//! What is recorded of answers, message by message.

use audit::Kind;

use super::Awaited::{CopyDone, CopyFail, Execute, Query, Sync};
use super::*;

const PARSE: Awaited = Awaited::Step(Step::Parse);
const BIND: Awaited = Awaited::Step(Step::Bind);

/// A session, and what is recorded of it in short: `done 1`, `failed 2`, `unknown 1..2`, `recovered`.
struct Talk {
    flight: Flight,
    now: Instant,
    noted: Vec<String>,
}

impl Talk {
    fn new(sent: &[Awaited]) -> Self {
        let mut talk = Self { flight: Flight::default(), now: Instant::now(), noted: Vec::new() };
        talk.send(sent);
        talk
    }

    fn send(&mut self, sent: &[Awaited]) -> &mut Self {
        for awaited in sent {
            self.flight.send(*awaited, self.now);
        }
        self
    }

    /// Each letter is an answer by its type in the protocol.
    fn hear(&mut self, answers: &str) -> &mut Self {
        let (flight, noted, now) = (&mut self.flight, &mut self.noted, self.now);
        let mut emit = |kind: Kind<'_>| {
            noted.push(short(&kind));
            Ok(())
        };
        for answer in answers.chars() {
            match answer {
                '1' => flight.noted(Reply::Step(Step::Parse), &mut emit),
                '2' => flight.noted(Reply::Step(Step::Bind), &mut emit),
                'T' => flight.noted(Reply::Step(Step::Describe), &mut emit),
                'G' => flight.noted(Reply::CopyIn, &mut emit),
                'D' => flight.carried(1, &mut emit),
                'C' => flight.done(Reply::Done, "C".into(), 0, now, &mut emit),
                'V' => flight.done(Reply::Returned, "V".into(), 0, now, &mut emit),
                'E' => flight.failed("22012", false, now, &mut emit),
                'F' => flight.failed("57P01", true, now, &mut emit),
                'Z' => flight.ready(&mut emit),
                '.' => flight.finish(&mut emit),
                other => panic!("{other}"),
            }
            .unwrap();
        }
        self
    }

    #[track_caller]
    fn says(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.noted.join(", "), expected);
        self.noted.clear();
        self
    }
}

fn short(kind: &Kind<'_>) -> String {
    if let Kind::Done { n, .. } = kind {
        format!("done {n}")
    } else if let Kind::Failed { n, .. } = kind {
        format!("failed {n}")
    } else if let Kind::Unknown { from, to } = kind {
        format!("unknown {from}..{}", to.unwrap_or(0))
    } else {
        format!("{kind:?}").to_lowercase()
    }
}

#[tokio::test]
async fn a_query_of_several_statements_has_several_answers() {
    let mut talk = Talk::new(&[Query, Query]);
    talk.hear("TDCCZC").says("done 1, done 1, done 2");
}

#[tokio::test]
async fn each_execute_of_a_pipeline_has_one_answer() {
    let mut talk = Talk::new(&[PARSE, Execute, PARSE, Execute, Sync, Execute, Sync]);
    talk.hear("1C1CZCZ").says("done 1, done 2, done 3");
    assert!(talk.flight.is_empty());
}

#[tokio::test]
async fn an_error_skips_to_the_sync_and_is_recorded_when_it_is_over() {
    let mut talk = Talk::new(&[Execute, Execute, Query, Sync, Execute, Sync]);
    talk.hear("EZCZ").says("failed 1, recovered, done 4");
}

#[tokio::test]
async fn a_refused_step_is_the_refusal_of_the_execution_that_it_is_for() {
    let mut talk = Talk::new(&[PARSE, Sync, PARSE, BIND, Execute, Execute, Sync]);
    talk.hear("EZ").says("failed 0, recovered");
    talk.hear("1EZ").says("failed 1, recovered");
}

#[tokio::test]
async fn what_comes_before_the_sync_of_a_failed_segment_is_never_awaited() {
    let mut talk = Talk::new(&[Execute]);
    talk.hear("E");
    for _ in 0..2 * MOST {
        talk.send(&[Execute]);
    }
    talk.send(&[Query]);
    assert!(!talk.flight.is_waited_for() && talk.flight.is_empty());
    talk.send(&[Sync]).hear("Z").says("failed 1, recovered");
    let n = talk.flight.send(Query, talk.now);
    talk.hear("C").says(&format!("done {n}"));
}

#[tokio::test]
async fn a_sync_that_copy_swallows_does_not_shift_the_answers() {
    let mut early = Talk::new(&[PARSE, Execute, Sync]);
    early.hear("1G").send(&[Sync, CopyDone, Sync]);
    let mut late = Talk::new(&[Execute, Sync, CopyDone, Sync]);
    late.hear("G");
    for talk in [&mut early, &mut late] {
        talk.hear("CZ").says("done 1");
        assert!(talk.flight.is_empty());
        talk.send(&[Query]).hear("C").says("done 2");
    }
}

#[tokio::test]
async fn an_end_of_a_copy_that_never_began_is_ignored() {
    let mut talk = Talk::new(&[CopyDone, CopyFail]);
    assert!(talk.flight.is_empty());
    talk.send(&[Query, CopyDone]).hear("CZ").says("done 1");
    assert!(talk.flight.is_empty());
}

#[tokio::test]
async fn an_error_outside_any_execution_belongs_to_none() {
    let mut talk = Talk::new(&[]);
    talk.hear("F").says("failed 0");
}

#[tokio::test]
async fn a_commit_that_fails_is_nobodys_failure() {
    let mut talk = Talk::new(&[Execute, Sync, Query]);
    talk.hear("CEZCZ").says("done 1, failed 0, recovered, done 2");
}

#[tokio::test]
async fn a_function_call_is_answered_once() {
    let mut talk = Talk::new(&[Awaited::Call, Awaited::Call, Query]);
    talk.hear("VZEZCZ").says("done 1, failed 2, recovered, done 3");
}

/// A COPY that failed, and a Sync that the target may have read on either side of the failure; then two
/// segments of which the first fails, if it isn't skipped.
fn failed_copy() -> Talk {
    let mut talk = Talk::new(&[Execute]);
    talk.hear("G").send(&[Sync]).hear("E").says("failed 1");
    talk.send(&[PARSE, BIND, Execute, Sync, PARSE, BIND, Execute, Sync]);
    talk
}

#[tokio::test]
async fn a_sync_read_behind_the_failure_shifts_no_outcome() {
    failed_copy().hear("Z12EZ12CZ.").says("recovered, failed 2, recovered, done 3");
}

#[tokio::test]
async fn a_sync_read_before_the_failure_shifts_no_outcome() {
    let mut talk = failed_copy();
    talk.hear("Z12CZ").says("recovered");
    talk.send(&[Query]).hear("TCZ").says("done 3, done 4");
}

#[tokio::test]
async fn what_no_answer_decides_is_unknown() {
    failed_copy().hear("Z12C.").says("recovered, unknown 2..3, done 0");
    let mut talk = failed_copy();
    talk.hear("Z12CZ").says("recovered");
    for _ in 0..MOST_UNDECIDED {
        talk.send(&[PARSE, BIND, Execute, Sync]).hear("12CZ");
    }
    assert_eq!(talk.noted.len(), 2 * (MOST_UNDECIDED + 1));
    talk.noted.clear();
    // It is decided as soon as an answer says so.
    talk.send(&[Query]).hear("TC").says(&format!("done {}", 4 + MOST_UNDECIDED));
}

#[tokio::test]
async fn a_simple_copy_that_fails_leaves_syncs_open_until_the_next_answer() {
    for (bare, answers) in [("", "TCZ"), ("Z", "TCZ"), ("ZZ", "TCZ")] {
        let mut talk = Talk::new(&[Query]);
        talk.hear("G").send(&[Sync, Sync]).hear("EZ").says("failed 1, recovered");
        talk.send(&[CopyDone, Query]).hear(bare).hear(answers).says("done 2");
        assert!(talk.flight.is_empty(), "{bare}");
    }
}

#[tokio::test]
async fn a_usual_client_of_a_failed_copy_leaves_nothing_open() {
    // As libpq does it: Sync behind the Execute, and again behind the end of the data.
    let mut talk = Talk::new(&[PARSE, BIND, Execute, Sync]);
    talk.hear("12G").send(&[CopyDone, Sync]).hear("EZ").says("failed 1, recovered");
    talk.send(&[PARSE, BIND, Execute, Sync]).hear("12CZ").says("done 2");
    assert!(talk.flight.is_empty());
}

#[tokio::test]
async fn a_target_that_answers_what_nobody_asked_is_followed_no_further() {
    let mut talk = Talk::new(&[Query, Query]);
    talk.hear("CZZ").says("done 1, unknown 2..0");
    talk.send(&[Query]).hear("CZE").says("done 0, failed 0");
    assert!(!talk.flight.is_empty());
}

#[tokio::test]
async fn syncs_without_end_in_a_copy_keep_nobody_waiting_and_little_memory() {
    let mut talk = Talk::new(&[Query]);
    talk.hear("G");
    for _ in 0..MOST {
        talk.send(&[Sync]);
    }
    let mut noted = Vec::new();
    let full = talk.flight.is_full(&mut |kind| {
        noted.push(format!("{kind:?}"));
        Ok(())
    });
    assert!(!full.unwrap());
    assert_eq!(noted, ["Unknown { from: 1, to: None }"]);
    let mut talk = Talk::new(&[Query]);
    talk.hear("G").send(&[Sync; MOST_PATHS]).hear("E");
    talk.says("failed 1, unknown 2..0");
}
