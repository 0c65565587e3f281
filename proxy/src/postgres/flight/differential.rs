//! A model of a target, apart from what the gateway believes of one, for both to be compared.
//!
//! The model does what the protocol says with each message, fails where the input says so, and knows to
//! which execution each of its answers belongs. Client, gateway and target run at paces that the input
//! says too. What the gateway records of an answer has to be that, or "unknown".

use std::collections::{BTreeMap, VecDeque};

use audit::Kind;
use policies::Binds;
use tokio::time::Instant;

use super::super::backend::Backend;
use super::super::frontend::Frontend;
use super::Flight;

/// What a client sends: each kind of message, those most often that matter most here.
const MESSAGES: &[u8; 24] = b"PBDCEEEQQFSSSSddddccfHEQ";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn from_client(kind: u8) -> Vec<u8> {
    let body: &[u8] = match kind {
        b'Q' => b"copy\0",
        b'P' => b"\0copy\0\0\0",
        b'B' => &[0; 8],
        b'D' | b'C' => b"P\0",
        b'E' => &[0; 5],
        b'F' => &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        b'd' => b"data\n",
        b'f' => b"no\0",
        _ => b"",
    };
    message(kind, body)
}

/// To what an answer belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Execution(u64),
    /// To a step, a Sync, or to none. Executions that are skipped because of it may show it as theirs.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Normal,
    Skipping {
        because_of: u64,
    },
    Copying {
        n: u64,
        /// How many commands of a simple query follow; none where it was an Execute.
        commands: Option<u8>,
    },
    Dead,
}

/// The model of a target.
#[derive(Debug)]
struct Target {
    mode: Mode,
    /// Executions that it has read, or passed over.
    read: u64,
    answers: VecDeque<Vec<u8>>,
    /// To what each answer belongs, by its number.
    owners: Vec<Owner>,
    /// Executions that were skipped, and because of which answer.
    skipped: BTreeMap<u64, u64>,
    /// Whether a COPY failed.
    copy_failed: bool,
}

impl Target {
    fn new() -> Self {
        Self {
            mode: Mode::Normal,
            read: 0,
            answers: VecDeque::new(),
            owners: Vec::new(),
            skipped: BTreeMap::new(),
            copy_failed: false,
        }
    }

    fn say(&mut self, kind: u8, body: &[u8]) {
        self.answers.push_back(message(kind, body));
    }

    fn own(&mut self, owner: Owner) -> u64 {
        self.owners.push(owner);
        self.owners.len() as u64
    }

    fn done(&mut self, n: u64) {
        let id = self.own(Owner::Execution(n));
        self.say(b'C', format!("SELECT {id}\0").as_bytes());
    }

    fn fail(&mut self, owner: Owner, severity: &str) -> u64 {
        let id = self.own(owner);
        self.say(b'E', format!("S{severity}\0V{severity}\0C{id:05}\0Mno\0\0").as_bytes());
        id
    }

    fn ready(&mut self) {
        self.mode = Mode::Normal;
        self.say(b'Z', b"I");
    }

    /// Reads a message, and does with it what `how` says.
    fn read(&mut self, kind: u8, how: u8) {
        let executes = matches!(kind, b'E' | b'Q' | b'F');
        self.read += u64::from(executes);
        match self.mode {
            Mode::Dead => {}
            Mode::Skipping { because_of } => {
                if executes {
                    self.skipped.insert(self.read, because_of);
                }
                if kind == b'S' {
                    self.ready();
                }
            }
            Mode::Copying { n, commands } => self.copy(n, commands, kind, how),
            Mode::Normal => self.act(kind, how),
        }
    }

    fn act(&mut self, kind: u8, how: u8) {
        let n = self.read;
        let fails = how.is_multiple_of(5);
        match kind {
            b'P' | b'B' | b'D' | b'C' if fails => {
                let because_of = self.fail(Owner::Other, "ERROR");
                self.mode = Mode::Skipping { because_of };
            }
            b'P' => self.say(b'1', b""),
            b'B' => self.say(b'2', b""),
            b'D' => self.say(if how.is_multiple_of(2) { b'T' } else { b'n' }, b""),
            b'C' => self.say(b'3', b""),
            b'E' => self.execute(n, how),
            b'Q' => self.commands(n, how, how % 4 + 1),
            b'F' if fails => {
                self.fail(Owner::Execution(n), "ERROR");
                self.ready();
            }
            b'F' => {
                let id = self.own(Owner::Execution(n));
                self.say(b'V', &u32::try_from(id).unwrap_or_default().to_be_bytes());
                self.ready();
            }
            b'S' => {
                // A deferred constraint.
                if how == 5 {
                    self.fail(Owner::Other, "ERROR");
                }
                self.ready();
            }
            _ => {}
        }
    }

    fn execute(&mut self, n: u64, how: u8) {
        match how % 7 {
            0 => {
                let because_of = self.fail(Owner::Execution(n), "ERROR");
                self.mode = Mode::Skipping { because_of };
            }
            1..=3 => {
                self.say(b'G', &[0; 3]);
                self.mode = Mode::Copying { n, commands: None };
                self.maybe_fail_copy(n, None, how);
            }
            4 => {
                self.copy_out();
                self.done(n);
            }
            _ => {
                self.say(b'D', &[0, 0]);
                self.done(n);
            }
        }
    }

    /// Commands of a simple query, from the first that is left.
    fn commands(&mut self, n: u64, how: u8, left: u8) {
        let Some(left) = left.checked_sub(1) else { return self.ready() };
        match how % 7 {
            0 => {
                self.fail(Owner::Execution(n), "ERROR");
                self.ready();
            }
            1..=3 => {
                self.say(b'G', &[0; 3]);
                self.mode = Mode::Copying { n, commands: Some(left) };
                self.maybe_fail_copy(n, Some(left), how);
            }
            4 => {
                self.copy_out();
                self.done(n);
                self.commands(n, how.rotate_left(3), left);
            }
            _ => {
                self.say(b'T', &[0, 0]);
                self.say(b'D', &[0, 0]);
                self.done(n);
                self.commands(n, how.rotate_left(3), left);
            }
        }
    }

    fn copy_out(&mut self) {
        self.say(b'H', &[0; 3]);
        self.say(b'd', b"row\n");
        self.say(b'c', b"");
    }

    /// A trigger, a timeout or a cancel ends a COPY before anything is read.
    fn maybe_fail_copy(&mut self, n: u64, commands: Option<u8>, how: u8) -> bool {
        let fails = how >= 192;
        if fails {
            self.fail_copy(n, commands);
        }
        fails
    }

    fn fail_copy(&mut self, n: u64, commands: Option<u8>) {
        self.copy_failed = true;
        let because_of = self.fail(Owner::Execution(n), "ERROR");
        match commands {
            Some(_) => self.ready(),
            None => self.mode = Mode::Skipping { because_of },
        }
    }

    fn copy(&mut self, n: u64, commands: Option<u8>, kind: u8, how: u8) {
        if self.maybe_fail_copy(n, commands, how) {
            self.read -= u64::from(matches!(kind, b'E' | b'Q' | b'F'));
            return self.read(kind, how.wrapping_mul(5).wrapping_add(3));
        }
        match kind {
            b'S' | b'H' => {}
            b'd' if how.is_multiple_of(5) => self.fail_copy(n, commands),
            b'd' => {}
            b'c' if !how.is_multiple_of(5) => {
                self.mode = Mode::Normal;
                self.done(n);
                if let Some(left) = commands {
                    self.commands(n, how.rotate_left(3), left);
                }
            }
            b'c' | b'f' => self.fail_copy(n, commands),
            _ => {
                self.copy_failed = true;
                self.fail(Owner::Execution(n), "ERROR");
                self.fail(Owner::Other, "FATAL");
                self.mode = Mode::Dead;
            }
        }
    }
}

/// What the recording says of answers.
#[derive(Debug, Default)]
struct Recorded {
    /// The number of each answer, in order, and the execution that it is attributed to.
    answers: Vec<(u64, u64)>,
    unknown: Vec<(u64, u64)>,
}

impl Recorded {
    fn note(&mut self, kind: &Kind<'_>) {
        if let Kind::Done { n, tag, .. } = kind {
            let id = tag.rsplit(' ').next().and_then(|id| id.parse().ok());
            self.answers.push((id.unwrap_or_default(), *n));
        } else if let Kind::Failed { n, sqlstate, .. } = kind {
            self.answers.push((sqlstate.parse().unwrap_or_default(), *n));
        } else if let Kind::Unknown { from, to } = kind {
            self.unknown.push((*from, to.unwrap_or(u64::MAX)));
        }
    }

    fn is_unknown(&self, n: u64) -> bool {
        self.unknown.iter().any(|(from, to)| (from..=to).contains(&&n))
    }
}

/// A conversation of a client, the gateway and a target.
struct Talk {
    frontend: Frontend,
    backend: Backend,
    flight: Flight,
    now: Instant,
    /// What the gateway let through to the target, and the target has not read.
    sent: VecDeque<u8>,
    target: Target,
    /// Answers that the gateway has seen.
    seen: u64,
    recorded: Recorded,
}

impl Talk {
    fn new() -> Self {
        Self {
            frontend: Frontend::new(Binds::Omit.into()),
            backend: Backend::default(),
            flight: Flight::default(),
            now: Instant::now(),
            sent: VecDeque::new(),
            target: Target::new(),
            seen: 0,
            recorded: Recorded::default(),
        }
    }

    fn client_sends(&mut self, kind: u8) {
        let (bytes, recorded) = (from_client(kind), &mut self.recorded);
        let mut emit = |kind: Kind<'_>| {
            recorded.note(&kind);
            Ok(())
        };
        let scanned = self.frontend.scan(&bytes, &mut self.flight, self.now, &mut emit);
        let clear = scanned.map_or(0, |scanned| scanned.clear);
        assert_eq!(clear, bytes.len(), "every message passes as it is");
        self.sent.push_back(kind);
    }

    fn target_reads(&mut self, how: u8) -> bool {
        let next = self.sent.pop_front();
        next.into_iter().for_each(|kind| self.target.read(kind, how));
        next.is_some()
    }

    fn gateway_reads(&mut self) -> bool {
        let Some(bytes) = self.target.answers.pop_front() else { return false };
        self.seen += u64::from(matches!(bytes.first(), Some(b'C' | b'E' | b'V')));
        let recorded = &mut self.recorded;
        let mut emit = |kind: Kind<'_>| {
            recorded.note(&kind);
            Ok(())
        };
        let scanned = self.backend.scan(&bytes, &mut self.flight, self.now, &mut emit);
        let clear = scanned.map_or(0, |scanned| scanned.clear);
        assert_eq!(clear, bytes.len(), "every answer passes as it is");
        true
    }

    /// Ends the session, and compares.
    fn end(mut self) {
        let recorded = &mut self.recorded;
        let finished = self.flight.finish(&mut |kind| {
            recorded.note(&kind);
            Ok(())
        });
        assert!(finished.is_ok());
        assert_eq!(self.recorded.answers.len() as u64, self.seen, "each answer is recorded once");
        for (order, (id, n)) in (1..).zip(&self.recorded.answers) {
            // The answer of a call has no text: its place says which it is.
            assert!(*id == 0 || *id == order, "answers keep their order");
            let owner = usize::try_from(order - 1).ok().and_then(|at| self.target.owners.get(at));
            let is_true = match (owner, *n) {
                (Some(Owner::Execution(own)), 0) => self.recorded.is_unknown(*own),
                (Some(Owner::Execution(own)), n) => *own == n,
                (Some(Owner::Other), 0) => true,
                (Some(Owner::Other), n) => {
                    // Sent and not read yet is skipped too: the error was before it.
                    n > self.target.read || self.target.skipped.get(&n) == Some(&order)
                }
                (None, _) => false,
            };
            assert!(is_true, "answer {order} of {owner:?} is recorded as that of {n}");
        }
        if !self.target.copy_failed {
            assert_eq!(self.recorded.unknown, [], "only a failed COPY leaves anything open");
        }
    }
}

/// Whatever a client sends, whatever the target makes of it, and whenever the answers come: an outcome in
/// the recording is that of its statement, or unknown.
pub(in crate::postgres) fn outcomes(bytes: &[u8]) {
    let mut talk = Talk::new();
    let mut rest = bytes.iter().copied();
    while let Some((step, how)) = rest.next().zip(rest.next()) {
        match step % 8 {
            0..=3 => {
                let kind = MESSAGES.get(usize::from(how) % MESSAGES.len());
                kind.into_iter().for_each(|kind| talk.client_sends(*kind));
            }
            4 | 5 => drop(talk.target_reads(how)),
            // The rest is that of a session that is cut.
            6 if how == 0 => return talk.end(),
            6 | 7 => drop(talk.gateway_reads()),
            _ => {}
        }
    }
    while talk.target_reads(1) {}
    while talk.gateway_reads() {}
    talk.end();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn an_outcome_in_the_recording_is_that_of_its_statement_or_unknown(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            outcomes(&bytes);
        }

        /// The same with what a client makes of one COPY, so that most inputs come to the point.
        #[test]
        fn syncs_within_a_copy_that_fails_shift_no_outcome(
            inside in prop::collection::vec(prop::sample::select(b"ddSSH".to_vec()), 0..6),
            after in prop::collection::vec(prop::sample::select(b"PBESSQFcfd".to_vec()), 0..12),
            paces in prop::collection::vec((any::<u8>(), any::<u8>()), 0..60),
            simple in any::<bool>(),
        ) {
            let mut talk = Talk::new();
            talk.client_sends(if simple { b'Q' } else { b'E' });
            // A COPY that begins, and fails at a message that the input chooses.
            talk.target_reads(1);
            let mut sent = inside.into_iter().chain(after);
            for (step, how) in paces {
                match step % 3 {
                    0 => sent.next().into_iter().for_each(|kind| talk.client_sends(kind)),
                    1 => drop(talk.target_reads(how)),
                    _ => drop(talk.gateway_reads()),
                }
            }
            sent.for_each(|kind| talk.client_sends(kind));
            while talk.target_reads(1) {}
            while talk.gateway_reads() {}
            talk.end();
        }
    }
}
