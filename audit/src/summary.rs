//! What a recording proves of its session, read in one pass and in bounded memory.

use std::io::{self, Read};

use crate::chain::Head;
use crate::event::{End, Event, Kind, Start};
use crate::reader::{Reader, Tail};
use crate::ssh::Ssh;

/// What a recording proves of its session. Of a broken one, what comes before the break is consistent
/// with itself, and proves nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The state of the file.
    pub tail: Tail,
    /// Who opened the session, to what; `None` where no whole frame could be read.
    pub start: Option<Start<'static>>,
    /// How the session ended, where that was recorded.
    pub end: Option<End<'static>>,
    /// The head after the last good frame.
    pub head: Option<Head>,
    /// Statements of Postgres, or commands of SSH.
    pub statements: u64,
    /// Microseconds from the start to the last event.
    pub last_micros: u64,
}

impl Summary {
    /// Reads the recording of this session to its end; that of another is broken.
    ///
    /// # Errors
    /// Where the input can't be read.
    pub fn read(input: impl Read, session_id: &str) -> io::Result<Summary> {
        let mut summary = Summary {
            tail: Tail::Open,
            start: None,
            end: None,
            head: None,
            statements: 0,
            last_micros: 0,
        };
        let mut reader = Reader::for_session(input, session_id);
        while let Some(event) = reader.next_event()? {
            summary.take(event);
        }
        summary.head = reader.head();
        summary.tail = reader.tail().unwrap_or(summary.tail);
        Ok(summary)
    }

    fn take(&mut self, Event { t, kind }: Event<'static>) {
        self.last_micros = self.last_micros.max(t);
        match kind {
            Kind::Start(start) => self.start = Some(*start),
            Kind::End(end) => self.end = Some(end),
            // Executions are numbered, and pieces of one have its number.
            Kind::Query { n, .. }
            | Kind::QueryPart { n, .. }
            | Kind::Execute { n, .. }
            | Kind::Call { n, .. } => self.statements = self.statements.max(n),
            Kind::Ssh(Ssh::Shell { .. } | Ssh::Exec { .. } | Ssh::Subsystem { .. }) => {
                self.statements += 1;
            }
            Kind::Ssh(_)
            | Kind::Parse { .. }
            | Kind::ParsePart { .. }
            | Kind::Bind { .. }
            | Kind::BindPart { .. }
            | Kind::CopyIn { .. }
            | Kind::CopyOut { .. }
            | Kind::Data { .. }
            | Kind::Unknown { .. }
            | Kind::Done { .. }
            | Kind::Failed { .. }
            | Kind::Recovered => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Writer;

    fn recording(kinds: Vec<Kind<'_>>) -> Vec<u8> {
        let mut writer = Writer::new("s1");
        for (nth, kind) in kinds.into_iter().enumerate() {
            writer.push(&Event { t: nth as u64 * 10, kind }).unwrap();
            writer.seal();
        }
        writer.take()
    }

    fn start() -> Kind<'static> {
        let start = Start { session: "s1".into(), principal: "alice".into(), ..Start::default() };
        Kind::Start(Box::new(start))
    }

    fn query(n: u64) -> Kind<'static> {
        Kind::Query { n, text: "select 1".into() }
    }

    fn summary(bytes: &[u8]) -> Summary {
        Summary::read(bytes, "s1").unwrap()
    }

    #[test]
    fn a_whole_recording_proves_who_what_and_how_it_ended() {
        let exec = Kind::Ssh(Ssh::Exec { ch: 0, command: "ls".into() });
        let end = End { end: "closed".into(), bytes_in: 7, ..End::default() };
        let all = recording(vec![start(), query(1), query(2), exec, Kind::End(end.clone())]);
        let summary = summary(&all);
        assert_eq!((summary.tail, summary.statements, summary.last_micros), (Tail::Sealed, 3, 40));
        assert_eq!((summary.start.unwrap().principal, summary.end), ("alice".into(), Some(end)));
        assert!(summary.head.is_some());
    }

    #[test]
    fn a_recording_that_was_cut_proves_what_came_before() {
        let all = recording(vec![start(), query(1), query(2)]);
        let whole = summary(&all);
        assert_eq!((whole.tail, whole.statements, whole.end.clone()), (Tail::Open, 2, None));
        let torn = summary(&all[..all.len() - 1]);
        assert!(matches!(torn.tail, Tail::Torn { .. }));
        assert_eq!((torn.statements, torn.last_micros), (1, 10));
        assert_ne!(torn.head, whole.head);
    }

    #[test]
    fn a_broken_recording_and_that_of_another_session_say_so() {
        let mut all = recording(vec![start(), query(1)]);
        let at = all.len() - 40;
        all[at] ^= 1;
        assert!(matches!(summary(&all).tail, Tail::Broken { offset } if offset > 0));
        let other = Summary::read(&all[..], "s2").unwrap();
        assert_eq!((other.tail, other.start), (Tail::Broken { offset: 8 }, None));
    }
}
