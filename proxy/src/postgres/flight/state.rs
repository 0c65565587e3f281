//! Where the target may be: which message it reads next, and what it is doing.
//!
//! Messages are read in order, and what the target does with one is known from the protocol (section
//! "Message Flow"), except for one thing: when a COPY fails. So a [`State`] has one successor for an
//! answer, or none, where no target in that state gives it; an error while it copies has several.

use std::collections::VecDeque;

use tokio::time::Instant;

/// A message that has an answer, or that ends something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Awaited {
    Step(Step),
    Execute,
    /// A simple query.
    Query,
    /// A FunctionCall.
    Call,
    Sync,
    /// CopyDone, which has no answer of its own.
    CopyDone,
    /// CopyFail, which has none either.
    CopyFail,
}

/// A message of the extended protocol that executes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Step {
    Parse,
    Bind,
    Describe,
    Close,
}

impl Awaited {
    /// Whether it executes something, and so has a number.
    pub(in crate::postgres) fn executes(self) -> bool {
        matches!(self, Self::Execute | Self::Query | Self::Call)
    }

    /// Whether it ends the data of a COPY.
    pub(in crate::postgres) fn ends_copy(self) -> bool {
        matches!(self, Self::CopyDone | Self::CopyFail)
    }
}

/// What an answer says about where the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Reply {
    /// A step is done; RowDescription and NoData answer a Describe, or belong to a query.
    Step(Step),
    /// Rows, data, and whatever else comes before the end of an answer.
    More,
    /// It takes COPY data.
    CopyIn,
    /// A command is done: CommandComplete, EmptyQueryResponse, PortalSuspended.
    Done,
    /// A function returned.
    Returned,
    Error,
    Ready,
}

/// A message that was sent, and not read by the target as far as is known.
#[derive(Debug)]
struct Unit {
    awaited: Awaited,
    n: u64,
    sent: Instant,
}

/// Messages on their way to the target, or in its hands, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Units {
    units: VecDeque<Unit>,
    /// The number of the oldest.
    first: u64,
}

impl Units {
    pub(super) fn push(&mut self, awaited: Awaited, n: u64, sent: Instant) {
        self.units.push_back(Unit { awaited, n, sent });
    }

    /// The number of the oldest.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next message.
    pub(super) fn end(&self) -> u64 {
        self.first + self.units.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// Forgets what every state has read.
    pub(super) fn forget_before(&mut self, at: u64) {
        while self.first < at && self.units.pop_front().is_some() {
            self.first += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.first = self.end();
        self.units = VecDeque::new();
    }

    pub(super) fn shrink_to(&mut self, kept: usize) {
        self.units.shrink_to(kept);
    }

    fn unit(&self, at: u64) -> Option<&Unit> {
        self.units.get(usize::try_from(at.checked_sub(self.first)?).ok()?)
    }

    fn awaited(&self, at: u64) -> Option<Awaited> {
        self.unit(at).map(|unit| unit.awaited)
    }

    /// The first message from here on that isn't a Sync.
    fn behind_syncs(&self, mut at: u64) -> u64 {
        while self.awaited(at) == Some(Awaited::Sync) {
            at += 1;
        }
        at
    }

    /// The first execution from here on, before a Sync: what the refusal of a step is the refusal of.
    fn execution(&self, mut at: u64) -> Option<Work> {
        loop {
            let unit = self.unit(at)?;
            match unit.awaited {
                Awaited::Sync => return None,
                Awaited::Execute => return Some(unit.work()),
                Awaited::Step(_)
                | Awaited::Query
                | Awaited::Call
                | Awaited::CopyDone
                | Awaited::CopyFail => at += 1,
            }
        }
    }
}

impl Unit {
    fn work(&self) -> Work {
        Work { how: self.awaited, n: self.n, sent: self.sent }
    }
}

/// Something that is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    how: Awaited,
    pub(super) n: u64,
    pub(super) sent: Instant,
}

/// Where the target may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// The message that it reads next.
    pub(super) at: u64,
    doing: Doing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It acts on the next message.
    Reading,
    /// It passes over all messages before a Sync.
    Skipping,
    /// It has read this, and answers it.
    Running(Work),
    /// It reads data for this, and ignores every Sync.
    Copying(Work),
    /// It refused something, and says next that it is ready.
    Failed,
}

impl State {
    /// Idle, with nothing read.
    pub(super) const START: Self = Self { at: 0, doing: Doing::Reading };

    /// The state after this answer, and the execution that the answer belongs to. None where no target
    /// in this state gives it.
    pub(super) fn after(self, reply: Reply, units: &Units) -> Option<(Self, Option<Work>)> {
        match (self.doing, reply) {
            (Doing::Running(work), _) => self.running(work, reply),
            (Doing::Reading, _) => self.reading(reply, units),
            (Doing::Copying(work), _) => {
                let end = units.behind_syncs(self.at);
                let done = units.awaited(end) == Some(Awaited::CopyDone);
                let read = Self { at: end + 1, doing: Doing::Running(work) };
                done.then(|| read.running(work, reply)).flatten()
            }
            (Doing::Skipping | Doing::Failed, Reply::Error) => Some((self, None)),
            (Doing::Skipping, Reply::Ready) if units.awaited(self.at) == Some(Awaited::Sync) => {
                Some((self.then(Doing::Reading), None))
            }
            (Doing::Failed, Reply::Ready) => Some((Self { doing: Doing::Reading, ..self }, None)),
            _ => None,
        }
    }

    /// All states after this answer, and the execution that it belongs to. An error in the middle of a
    /// COPY has several: each Sync on the way may have been read before it, and was ignored, or is read
    /// after it, and is answered. No more than `most` of them are looked at.
    pub(super) fn all_after(
        self,
        reply: Reply,
        units: &Units,
        most: usize,
    ) -> (Vec<Self>, Option<Work>) {
        if let (Doing::Copying(work), Reply::Error) = (self.doing, reply) {
            let places = (self.at..=units.behind_syncs(self.at)).take(most);
            let doing = work.refused();
            return (places.map(|at| Self { at, doing }).collect(), Some(work));
        }
        match self.after(reply, units) {
            Some((state, work)) => (vec![state], work),
            None => (Vec::new(), None),
        }
    }

    fn reading(self, reply: Reply, units: &Units) -> Option<(Self, Option<Work>)> {
        let Some(unit) = units.unit(self.at) else {
            // A target may say that it is shutting down.
            return (reply == Reply::Error).then_some((self, None));
        };
        match (unit.awaited, reply) {
            (Awaited::Step(step), Reply::Step(done)) => {
                (step == done).then(|| (self.then(Doing::Reading), None))
            }
            (Awaited::Step(_), Reply::Error) => {
                Some((self.then(Doing::Skipping), units.execution(self.at)))
            }
            (Awaited::Sync, Reply::Ready) => Some((self.then(Doing::Reading), None)),
            // The commit that a Sync asks for was refused.
            (Awaited::Sync, Reply::Error) => Some((self.then(Doing::Failed), None)),
            (Awaited::Execute | Awaited::Query | Awaited::Call, reply) if reply != Reply::Ready => {
                let work = unit.work();
                self.then(Doing::Running(work)).running(work, reply)
            }
            _ => None,
        }
    }

    /// The same with the next message read.
    fn then(self, doing: Doing) -> Self {
        Self { at: self.at + 1, doing }
    }

    fn running(self, work: Work, reply: Reply) -> Option<(Self, Option<Work>)> {
        let to = |doing| Some(Self { doing, ..self });
        let (next, answered) = match (work.how, reply) {
            (Awaited::Execute | Awaited::Query, Reply::More) => (Some(self), None),
            (Awaited::Query, Reply::Step(Step::Describe)) => (Some(self), None),
            (Awaited::Execute | Awaited::Query, Reply::CopyIn) => (to(Doing::Copying(work)), None),
            (Awaited::Execute, Reply::Done) => (to(Doing::Reading), Some(work)),
            (Awaited::Query, Reply::Done) | (Awaited::Call, Reply::Returned) => {
                (Some(self), Some(work))
            }
            (Awaited::Query | Awaited::Call, Reply::Ready) => (to(Doing::Reading), None),
            (_, Reply::Error) => (to(work.refused()), Some(work)),
            _ => (None, None),
        };
        next.map(|next| (next, answered))
    }

    /// The same with all messages read that have no effect on it.
    pub(super) fn settled(mut self, units: &Units) -> Self {
        while let Some(awaited) = units.awaited(self.at) {
            let passed_over = match self.doing {
                Doing::Reading | Doing::Failed => awaited.ends_copy(),
                Doing::Skipping => awaited != Awaited::Sync,
                Doing::Running(_) | Doing::Copying(_) => false,
            };
            if !passed_over {
                break;
            }
            self.at += 1;
        }
        self
    }

    /// Whether a message sent now surely has no effect.
    pub(super) fn ignores(self, awaited: Awaited, units: &Units) -> bool {
        self.at == units.end()
            && match self.doing {
                Doing::Reading => awaited.ends_copy(),
                Doing::Skipping => awaited != Awaited::Sync,
                Doing::Running(_) | Doing::Copying(_) | Doing::Failed => false,
            }
    }

    /// Whether no answer is to come.
    pub(super) fn is_idle(self, units: &Units) -> bool {
        self.at == units.end() && matches!(self.doing, Doing::Reading | Doing::Skipping)
    }

    /// Whether it passes over messages.
    pub(super) fn is_skipping(self) -> bool {
        matches!(self.doing, Doing::Skipping)
    }

    /// Whether it waits for data.
    pub(super) fn is_copying(self) -> bool {
        matches!(self.doing, Doing::Copying(_))
    }

    /// The oldest execution that may still get an answer.
    pub(super) fn oldest(self, units: &Units) -> Option<u64> {
        let open = (self.at..units.end()).filter_map(|at| units.unit(at));
        let open = open.filter(|unit| unit.awaited.executes()).map(|unit| unit.n).next();
        self.work(units).map(|work| work.n).or(open)
    }

    /// What it executes.
    pub(super) fn work(self, units: &Units) -> Option<Work> {
        match self.doing {
            Doing::Running(work) | Doing::Copying(work) => Some(work),
            Doing::Reading => {
                units.unit(self.at).filter(|unit| unit.awaited.executes()).map(Unit::work)
            }
            Doing::Skipping | Doing::Failed => None,
        }
    }
}

impl Work {
    /// What its refusal leads to.
    fn refused(self) -> Doing {
        if self.how == Awaited::Execute { Doing::Skipping } else { Doing::Failed }
    }
}
