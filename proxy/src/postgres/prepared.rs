//! Which values of prepared statements are secrets, so that they are masked where they are bound.
//!
//! A value is masked only if its statement is certain: the Parse came in the same segment as the
//! Bind (an error would skip both), or the target has taken it. Everything else is recorded as it is,
//! since it may be run: evidence comes before secrecy. So what a name stands for is forgotten with a
//! Parse that has no secrets or was refused, with Close, and beyond [`MAX_NAMES`] (the oldest first).
//! SQL can give a name a meaning, too (`PREPARE`): once a text of the session mentions it, or runs or makes
//! what may do it unseen ([`Mentions`]), values of named statements are no longer masked. What functions do
//! that the target had before isn't seen.

use std::collections::HashMap;

use audit::{IndexSet, Mentions};

use super::flight::{Fate, Flight, Ticket};

/// The most names that are kept.
const MAX_NAMES: usize = 1024;

/// The most bytes that the names and sets may take.
const MAX_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Statement {
    params: IndexSet,
    parse: Ticket,
    /// Whether the target has taken it.
    taken: bool,
}

/// The prepared statements of one session that have secrets.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    statements: HashMap<Vec<u8>, Statement>,
    bytes: usize,
    /// How many of them may not have been taken.
    open: usize,
    /// Whether SQL may have given names another meaning.
    renamed: bool,
}

impl Prepared {
    /// Notes a text that is run or prepared.
    pub(super) fn mentions(&mut self, mentions: &Mentions) {
        self.renamed |= mentions.found();
    }

    /// Notes a Parse, which was the last message that was sent.
    pub(super) fn parsed(&mut self, name: &[u8], params: IndexSet, flight: &Flight) {
        self.closed(name);
        let Some(parse) = flight.ticket().filter(|_| !params.is_empty()) else { return };
        let bytes = name.len() + params.size();
        while !self.statements.is_empty()
            && (self.statements.len() >= MAX_NAMES || self.bytes + bytes > MAX_BYTES)
        {
            self.forget_oldest();
        }
        self.bytes += bytes;
        self.open += 1;
        self.statements.insert(name.to_vec(), Statement { params, parse, taken: false });
    }

    /// Notes a Close of a statement.
    pub(super) fn closed(&mut self, name: &[u8]) {
        if let Some(statement) = self.statements.remove(name) {
            self.bytes -= name.len() + statement.params.size();
            self.open -= usize::from(!statement.taken);
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.statements.iter().min_by_key(|(_, statement)| statement.parse);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.closed(&name);
        }
    }

    /// Learns what became of each Parse.
    pub(super) fn settle(&mut self, flight: &Flight) {
        if self.open == 0 {
            return;
        }
        let mut lost = Vec::new();
        for (name, statement) in self.statements.iter_mut().filter(|(_, it)| !it.taken) {
            match flight.fate(statement.parse) {
                Fate::Open => {}
                Fate::Taken => {
                    statement.taken = true;
                    self.open -= 1;
                }
                Fate::Lost => lost.push(name.clone()),
            }
        }
        lost.iter().for_each(|name| self.closed(name));
    }

    /// The parameters of this statement that are secrets, for a Bind that comes now.
    pub(super) fn secrets(&self, name: &[u8], flight: &Flight) -> Option<&IndexSet> {
        let statement = self.statements.get(name)?;
        let certain = statement.taken || flight.is_in_this_segment(statement.parse);
        (certain && (name.is_empty() || !self.renamed)).then_some(&statement.params)
    }
}

#[cfg(test)]
mod tests {
    use audit::Kind;
    use policies::Binds;
    use tokio::time::Instant;

    use Answer::{Nothing, Refused, Taken};

    use super::super::flight::{self, Reply};
    use super::super::frontend::{Frontend, WHOLE};
    use super::*;

    /// What the target does with what it got.
    #[derive(Clone, Copy)]
    enum Answer {
        Nothing,
        Taken,
        Refused,
    }
    type Step = (Vec<u8>, Answer);

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn bind(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = b"portal\0stmt\0\0\0".to_vec();
        body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        body.extend([0, 0]);
        message(b'B', &body)
    }

    const PARSE: &[u8] = b"stmt\0insert into users(name, password) values ($1, $2)\0\0\0";

    /// The values of each Bind, where `answers` tells what the target did with what came before.
    fn bound(steps: &[Step], binds: Binds) -> Vec<String> {
        let (mut frontend, mut flight, now) =
            (Frontend::new(binds.into()), Flight::default(), Instant::now());
        let mut bound = Vec::new();
        for (bytes, answer) in steps {
            let mut bytes = bytes.clone();
            let sync = message(b'S', b"");
            if !matches!(answer, Nothing) && bytes[0] != b'Q' && !bytes.ends_with(&sync) {
                bytes.extend(sync);
            }
            let scanned = frontend.scan(&bytes, &mut flight, now, &mut |kind| {
                if let Kind::Bind { values, .. } | Kind::BindPart { values, .. } = &kind {
                    bound.push(serde_json::to_string(values).unwrap());
                }
                Ok(())
            });
            assert_eq!(scanned.unwrap().clear, bytes.len());
            answered(*answer, bytes[0], &mut flight, now);
        }
        bound
    }

    /// The answer to a segment that begins with this kind of message.
    fn answered(answer: Answer, kind: u8, flight: &mut Flight, now: Instant) {
        let mut ignore = |_: Kind<'_>| Ok(());
        match (answer, kind) {
            (Nothing, _) => return,
            (Refused, _) => flight.failed("42601", false, now, &mut ignore),
            (Taken, b'P') => flight.noted(Reply::Step(flight::Step::Parse), &mut ignore),
            (Taken, b'C') => flight.noted(Reply::Step(flight::Step::Close), &mut ignore),
            (Taken, _) => flight.done(Reply::Done, "OK".into(), 0, now, &mut ignore),
        }
        .unwrap();
        flight.ready(&mut ignore).unwrap();
    }

    #[tokio::test]
    async fn a_value_in_the_place_of_a_secret_is_masked_in_any_format() {
        let values = || bind(&[Some(b"bob"), Some(b"hunter2")]);
        let binary =
            message(b'B', b"\0stmt\0\0\x01\0\x01\0\x02\0\0\0\x03bob\0\0\0\x03\xff\xfe\xfd\0\0");
        let long = bind(&[Some(&vec![b'a'; WHOLE]), Some(b"hunter2")]);
        let sent = || [message(b'P', PARSE), values(), binary.clone(), long.clone()].concat();
        let kept = bound(&[(sent(), Nothing)], Binds::Keep);
        assert_eq!(kept[0], r#"["bob","***"]"#);
        assert_eq!(kept[1], r#"[{"base64":"Ym9i"},"***"]"#);
        assert!(kept[2].ends_with(r#","***"]"#) && kept.len() == 3, "{}", kept[2]);
        let hashed = bound(&[(sent(), Nothing)], Binds::Hash);
        assert!(hashed.iter().all(|values| values.ends_with(r#","***"]"#)), "{hashed:?}");
        let omitted = bound(&[(sent(), Nothing)], Binds::Omit);
        assert_eq!(omitted[0], r#"[{"omitted":3},{"omitted":7}]"#);
        let null =
            bound(&[(message(b'P', PARSE), Nothing), (bind(&[None, None]), Nothing)], Binds::Keep);
        assert_eq!(null, ["[null,null]"]);
    }

    #[tokio::test]
    async fn a_value_is_masked_only_where_its_statement_is_certain() {
        let parse = |text: &[u8]| message(b'P', &[b"stmt\0", text, b"\0\0\0"].concat());
        let sync = || message(b'S', b"");
        let prepared = || [message(b'P', PARSE), sync()].concat();
        let values = || bind(&[Some(b"bob"), Some(b"hunter2")]);
        let large = || parse(&[&b"update t set password = $2"[..], &vec![b' '; WHOLE]].concat());
        let (shown, masked) = (r#"["bob","hunter2"]"#, r#"["bob","***"]"#);
        let cases: Vec<(Vec<Step>, &str)> = vec![
            (vec![(prepared(), Taken), (values(), Nothing)], masked),
            (vec![(prepared(), Nothing), (values(), Nothing)], shown),
            (vec![(prepared(), Refused), (values(), Nothing)], shown),
            (vec![([large(), sync()].concat(), Taken), (values(), Nothing)], masked),
            // The statement that the name stood for before is the one that runs.
            (
                vec![
                    ([parse(b"select query_to_xml($2)"), sync()].concat(), Taken),
                    (prepared(), Refused),
                    (values(), Nothing),
                ],
                shown,
            ),
            // A failure of something later changes nothing.
            (vec![(prepared(), Taken), (values(), Refused), (values(), Nothing)], masked),
            (vec![(prepared(), Taken), (parse(b"select $2"), Nothing), (values(), Nothing)], shown),
            (
                vec![(prepared(), Taken), (message(b'C', b"Sstmt\0"), Taken), (values(), Nothing)],
                shown,
            ),
            (
                vec![(prepared(), Taken), (message(b'C', b"Pstmt\0"), Taken), (values(), Nothing)],
                masked,
            ),
            // SQL may give the name another meaning, whenever it runs.
            (
                vec![
                    (parse(b"Prepare stmt as select query_to_xml($2)"), Taken),
                    (prepared(), Taken),
                    (values(), Nothing),
                ],
                shown,
            ),
            (
                vec![
                    (prepared(), Taken),
                    (message(b'Q', b"deallocate stmt; prepare stmt as select $2\0"), Taken),
                    (values(), Nothing),
                ],
                shown,
            ),
            // Also where the word is put together only as it runs.
            (
                vec![
                    (prepared(), Taken),
                    (message(b'Q', b"do $$ begin execute 'prep' || 'are stmt'; end $$\0"), Taken),
                    (values(), Nothing),
                ],
                shown,
            ),
        ];
        for (at, (steps, expected)) in cases.iter().enumerate() {
            assert_eq!(bound(steps, Binds::Keep).last().unwrap(), expected, "case {at}");
        }
    }

    #[tokio::test]
    async fn prepared_statements_take_bounded_memory_and_the_oldest_is_forgotten() {
        let parse = |name: usize| {
            message(b'P', format!("s{name}\0update t set password = $1\0\0\0").as_bytes())
        };
        let values =
            |name: usize| message(b'B', format!("\0s{name}\0\0\0\0\x01\0\0\0\x01x\0\0").as_bytes());
        let names = 5000;
        let mut steps: Vec<Step> = (0..names).map(|name| (parse(name), Taken)).collect();
        steps.push((values(0), Nothing));
        steps.push((values(names - 1), Nothing));
        assert_eq!(bound(&steps, Binds::Keep), [r#"["x"]"#, r#"["***"]"#]);
    }
}
