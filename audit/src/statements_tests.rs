use std::convert::Infallible;

use super::*;
use crate::event::{End, Kind, Source, Text};
use crate::fold::MAX_HELD;

fn at(kind: Kind<'static>) -> Event<'static> {
    Event { t: 5, kind }
}

fn query(n: u64, text: &'static str) -> Event<'static> {
    at(Kind::Query { n, text: text.into() })
}

fn parse(statement: &'static str, text: &'static str) -> Event<'static> {
    at(Kind::Parse { statement: statement.into(), text: text.into() })
}

fn bind(portal: &'static str, statement: &'static str, value: &'static str) -> Event<'static> {
    let values = vec![Value::Text(value.into())].into();
    at(Kind::Bind { portal: portal.into(), statement: statement.into(), values })
}

fn execute(n: u64, portal: &'static str) -> Event<'static> {
    at(Kind::Execute { n, portal: portal.into(), max_rows: 0 })
}

fn done(n: u64, tag: &'static str) -> Event<'static> {
    at(Kind::Done { n, tag: tag.into(), rows: 1, bytes: 2, micros: 3 })
}

fn failed(n: u64) -> Event<'static> {
    at(Kind::Failed { n, sqlstate: "42601".into(), bytes: 2, micros: 3 })
}

fn fold(events: Vec<Event<'static>>) -> Vec<Statement> {
    Statements::new(events.into_iter().map(Ok::<_, Infallible>)).map(Result::unwrap).collect()
}

fn others(statement: &Statement) -> Vec<&str> {
    statement.otherwise.iter().map(|other| other.text.as_deref().unwrap_or("?")).collect()
}

fn texts(statements: &[Statement]) -> Vec<&str> {
    statements.iter().map(|statement| statement.text.as_deref().unwrap_or("?")).collect()
}

fn tags(statement: &Statement) -> Vec<&str> {
    statement.outcomes.iter().map(|outcome| outcome.tag.as_str()).collect()
}

#[test]
fn a_simple_query_has_an_outcome_for_each_of_its_commands() {
    let rows = fold(vec![query(1, "a; b"), done(1, "A"), done(1, "B"), query(2, "c"), failed(2)]);
    assert_eq!(texts(&rows), ["a; b", "c"]);
    assert_eq!(tags(&rows[0]), ["A", "B"]);
    assert_eq!(rows[1].outcomes[0].sqlstate.as_deref(), Some("42601"));
    assert!(rows.iter().all(|row| row.complete && row.at_micros == 5));
}

#[test]
fn an_execution_finds_its_text_and_values_through_portal_and_statement() {
    let rows = fold(vec![
        parse("", "first"),
        bind("", "", "1"),
        execute(1, ""),
        done(1, "SELECT 1"),
        parse("", "second"),
        parse("s", "named"),
        bind("p", "s", "2"),
        bind("", "", "3"),
        execute(2, "p"),
        execute(3, ""),
        execute(4, "cursor"),
        done(2, "A"),
        done(3, "B"),
        done(4, "C"),
    ]);
    assert_eq!(texts(&rows), ["first", "named", "second", "?"]);
    assert_eq!(rows[1].values[..], [Value::Text("2".into())]);
    assert!(rows.iter().all(|row| row.complete && row.otherwise.is_empty()));
}

#[test]
fn a_statement_is_handed_out_as_soon_as_its_answer_is_whole() {
    let mut fold = Fold::new();
    for event in [parse("", "x"), bind("", "", "1"), execute(1, ""), query(2, "y")] {
        fold.push(event);
        assert_eq!(fold.pop(), None);
    }
    fold.push(done(1, "X"));
    assert_eq!(fold.pop().unwrap().n, 1);
    fold.push(done(2, "Y"));
    assert_eq!(fold.pop(), None, "a simple query may have a further command");
    fold.push(at(Kind::End(End::default())));
    assert_eq!(fold.pop().unwrap().n, 2);
}

#[test]
fn what_was_skipped_or_cut_is_incomplete() {
    let rows = fold(vec![
        parse("", "x"),
        bind("", "", "1"),
        execute(1, ""),
        execute(2, ""),
        failed(1),
        query(3, "rollback"),
        done(3, "ROLLBACK"),
        query(4, "never answered"),
    ]);
    assert_eq!(rows.iter().map(|row| row.complete).collect::<Vec<_>>(), [true, false, true, false]);
}

#[test]
fn nobody_can_pass_one_statement_off_as_another_by_a_parse_that_fails() {
    let decoy = |failure: Vec<Event<'static>>| {
        let mut events =
            vec![parse("s", "delete"), bind("", "s", "1"), execute(1, ""), done(1, "DELETE 1")];
        events.push(parse("s", "select"));
        if !failure.is_empty() {
            events.extend(failure);
            events.push(at(Kind::Recovered));
        }
        events.extend([bind("", "s", "2"), execute(9, ""), done(9, "?")]);
        fold(events).pop().unwrap()
    };
    let refused = decoy(vec![failed(0)]);
    assert_eq!(refused.text.as_deref(), Some("select"));
    assert_eq!(others(&refused), ["delete"]);
    let skipped = decoy(vec![query(2, "select 1/0"), failed(2)]);
    assert_eq!(others(&skipped), ["delete"]);
    assert_eq!(others(&decoy(vec![])), [""; 0], "nothing failed, so the second was taken");
}

#[test]
fn a_statement_known_to_be_taken_stays_beyond_doubt() {
    let rows = fold(vec![
        parse("", "first"),
        bind("", "", "1"),
        execute(1, ""),
        done(1, "A"),
        parse("", "second"),
        bind("", "", "1"),
        execute(2, ""),
        failed(2),
        at(Kind::Recovered),
        parse("s", "third"),
        bind("", "s", "1"),
        execute(3, ""),
        done(3, "C"),
        failed(0),
        at(Kind::Recovered),
        bind("", "s", "1"),
        execute(4, ""),
        done(4, "C"),
    ]);
    assert_eq!(texts(&rows), ["first", "second", "third", "third"]);
    assert!(rows.iter().all(|row| row.otherwise.is_empty()));
}

#[test]
fn nobody_can_pass_one_statement_off_as_another_by_a_parse_that_is_skipped() {
    let decoy = |recovered: Vec<Event<'static>>| {
        let mut events = vec![parse("", "secret"), parse("x", "garbage"), failed(0)];
        events.push(parse("", "innocuous"));
        events.extend(recovered);
        events.extend([bind("", "", "1"), execute(1, ""), done(1, "SELECT 1")]);
        fold(events).pop().unwrap()
    };
    assert_eq!(others(&decoy(vec![at(Kind::Recovered)])), ["secret"]);
    assert_eq!(others(&decoy(vec![])), ["secret"], "an answer says as much");
}

#[test]
fn nobody_can_pass_one_portal_off_as_another() {
    let rows = fold(vec![
        parse("s", "secret"),
        parse("h", "innocuous"),
        query(1, "begin"),
        done(1, "BEGIN"),
        bind("p", "s", "1"),
        query(2, "savepoint a"),
        done(2, "SAVEPOINT"),
        bind("p", "h", "2"),
        failed(0),
        at(Kind::Recovered),
        query(3, "rollback to a"),
        done(3, "ROLLBACK"),
        execute(4, "p"),
        done(4, "SELECT 1"),
    ]);
    assert_eq!((rows[3].text.as_deref(), others(&rows[3])), (Some("innocuous"), vec!["secret"]));
    assert_eq!(rows[3].otherwise[0].values[..], [Value::Text("1".into())]);
    let skipped = fold(vec![
        parse("s", "secret"),
        bind("p", "s", "1"),
        failed(0),
        bind("p", "s", "2"),
        at(Kind::Recovered),
        execute(1, "p"),
        done(1, "SELECT 1"),
    ]);
    assert_eq!(skipped[0].otherwise[0].values[..], [Value::Text("1".into())]);
}

#[test]
fn what_was_sent_after_the_recovery_is_beyond_doubt() {
    let rows = fold(vec![
        parse("", "first"),
        bind("", "", "1"),
        execute(1, ""),
        failed(1),
        at(Kind::Recovered),
        parse("", "second"),
        bind("", "", "2"),
        execute(2, ""),
        done(2, "A"),
    ]);
    assert!(rows.iter().all(|row| row.otherwise.is_empty()), "{rows:?}");
}

#[test]
fn sql_that_gives_names_a_meaning_leaves_them_in_doubt() {
    let prepare = "deallocate s; PREPARE s as secret";
    let run = |renaming: Vec<Event<'static>>, statement: &'static str, portal: &'static str| {
        let mut events = vec![parse(statement, "innocuous")];
        events.extend([bind(portal, statement, "0"), execute(1, portal), done(1, "A")]);
        events.extend(renaming);
        events.extend([bind(portal, statement, "0"), execute(9, portal), done(9, "A")]);
        fold(events).pop().unwrap()
    };
    let simple = || vec![query(2, prepare), done(2, "PREPARE")];
    assert_eq!(others(&run(simple(), "s", "")), [prepare]);
    assert_eq!(others(&run(simple(), "", "")), [""; 0], "SQL can't name what has no name");
    let mut again = simple();
    again.push(parse("s", "again"));
    assert_eq!(others(&run(again.clone(), "s", "")), [""; 0]);
    again.extend([failed(0), at(Kind::Recovered)]);
    assert_eq!(others(&run(again, "s", "")), ["innocuous", prepare]);
    let extended = vec![parse("", prepare), bind("", "", "0"), execute(2, ""), done(2, "PREPARE")];
    assert_eq!(others(&run(extended, "s", "")), [prepare]);
    let unseen = "do $$ begin execute 'prep' || 'are s as select 2'; end $$";
    assert_eq!(others(&run(vec![query(2, unseen), done(2, "DO")], "s", "")), [unseen]);

    let declare = "close p; declare p cursor for secret";
    let cursor = |portal: &'static str| {
        let events = vec![
            parse("s", "innocuous"),
            bind(portal, "s", "0"),
            query(1, declare),
            done(1, "DECLARE"),
            execute(2, portal),
            done(2, "SELECT 1"),
        ];
        fold(events).pop().unwrap()
    };
    assert_eq!(others(&cursor("p")), [declare]);
    assert_eq!(others(&cursor("")), [""; 0]);
    let unknown = fold(vec![query(1, declare), execute(2, "p"), done(2, "SELECT 1")]);
    assert_eq!((unknown[1].text.as_deref(), others(&unknown[1])), (None, vec![declare]));
}

#[test]
fn many_binds_in_flight_without_a_failure_are_beyond_doubt() {
    let mut events = vec![parse("", "x")];
    (1..100).for_each(|n| events.extend([bind("", "", "1"), execute(n, "")]));
    events.extend((1..100).map(|n| done(n, "A")));
    let rows = fold(events);
    assert!(rows.iter().all(|row| row.otherwise.is_empty() && !row.truncated && row.complete));
}

#[test]
fn parts_are_joined_and_a_missing_end_shows() {
    let part = |text: &'static [u8], last| at(Kind::QueryPart { n: 1, text: text.into(), last });
    let parse_part = |text: &'static str, last| {
        at(Kind::ParsePart { statement: "s".into(), text: text.into(), last })
    };
    let bind_part = |value: &'static str, last| {
        let values = vec![Value::Text(value.into())].into();
        at(Kind::BindPart { portal: "p".into(), statement: "s".into(), values, last })
    };
    let rows = fold(vec![part(b"sel\xc3", false), part(b"\xa9ct", true), done(1, "A")]);
    assert_eq!(texts(&rows), ["seléct"]);
    assert!(!rows[0].truncated);
    let rows = fold(vec![part(b"sel", false)]);
    assert_eq!((texts(&rows), rows[0].truncated), (vec!["sel"], true));
    let rows = fold(vec![
        parse_part("a", false),
        parse_part("b", true),
        bind_part("1", false),
        bind_part("2", true),
        execute(1, "p"),
        done(1, "A"),
    ]);
    assert_eq!(texts(&rows), ["ab"]);
    assert_eq!(rows[0].values.len(), 2);
}

#[test]
fn long_text_is_cut_and_many_outcomes_are_counted() {
    let long = "x".repeat(MAX_SHOWN + 1);
    let mut events = vec![at(Kind::Query { n: 1, text: Text::Utf8(long.into()) })];
    events.extend((0..MAX_OUTCOMES + 3).map(|_| done(1, "A")));
    let rows = fold(events);
    assert_eq!(rows[0].text.as_ref().map(|text| text.len()), Some(MAX_SHOWN));
    assert!(rows[0].truncated);
    assert_eq!((rows[0].outcomes.len(), rows[0].more_outcomes), (MAX_OUTCOMES, 3));
}

#[test]
fn what_waits_is_bounded_by_number_and_by_bytes() {
    let mut fold = Fold::new();
    for n in 1..=MAX_OUTSTANDING as u64 + 1 {
        fold.push(query(n, "x"));
    }
    assert_eq!(fold.pop().map(|row| (row.n, row.complete)), Some((1, false)));
    assert_eq!(fold.pop(), None);

    let mut fold = Fold::new();
    let text = "x".repeat(MAX_SHOWN);
    for n in 1..=(MAX_HELD / MAX_SHOWN) as u64 + 1 {
        fold.push(at(Kind::Query { n, text: Text::Utf8(text.clone().into()) }));
    }
    assert_eq!(fold.pop().map(|row| row.n), Some(1));
    assert_eq!(fold.pop(), None);
}

#[test]
fn data_sent_with_a_copy_adds_up_and_calls_have_a_text() {
    let copy = |bytes| at(Kind::CopyIn { n: 1, bytes, sha256: None, from: 0 });
    let call = at(Kind::Call { n: 2, function: 1598, values: vec![Value::Null].into() });
    let rows = fold(vec![query(1, "copy"), copy(3), copy(4), done(1, "COPY 2"), call, done(2, "")]);
    assert_eq!(rows[0].bytes_in, 7);
    assert_eq!(texts(&rows), ["copy", "function call 1598"]);
    assert_eq!(rows[1].values[..], [Value::Null]);
}

#[test]
fn what_may_belong_to_several_executions_is_unknown_and_nothing_else_is() {
    let unsure = |from, to| at(Kind::Unknown { from, to });
    let rows = fold(vec![
        query(1, "sure"),
        query(2, "a"),
        query(3, "b"),
        query(4, "after"),
        done(1, "SELECT 1"),
        unsure(2, Some(3)),
        done(0, "SELECT 9"),
        done(4, "SELECT 4"),
    ]);
    let unknown: Vec<_> = rows.iter().map(|row| (row.unknown, row.complete)).collect();
    assert_eq!(unknown, [(false, true), (true, false), (true, false), (false, true)]);
    let rows = fold(vec![query(1, "a"), unsure(1, None), query(2, "b"), failed(0), query(3, "c")]);
    assert!(rows.iter().all(|row| row.unknown && !row.complete), "{rows:?}");
}

#[test]
fn a_copy_shows_its_first_bytes_its_length_and_its_digest() {
    let data = |of, text: &'static str| at(Kind::Data { of, n: 1, data: text.into() });
    let sha256 = Some(Digest([7; 32]));
    let rows = fold(vec![
        query(1, "copy a from stdin; copy a to stdout; copy b from stdin"),
        data(Source::CopyIn, "1\t"),
        data(Source::CopyIn, "2\n"),
        at(Kind::CopyIn { n: 1, bytes: 9000, sha256, from: 0 }),
        at(Kind::CopyOut { n: 1, bytes: 9, sha256, from: 3 }),
        data(Source::CopyIn, "cut"),
    ]);
    let copies = &rows[0].copies;
    assert_eq!(copies.len(), 3);
    assert_eq!(copies[0].first, b"1\t2\n");
    assert_eq!((copies[0].bytes, copies[0].sha256, copies[0].ended), (9000, sha256, true));
    assert!(copies[1].out && copies[1].from == 3);
    assert_eq!((copies[2].bytes, copies[2].ended), (3, false));
    assert_eq!(rows[0].bytes_in, 9000);
}

#[test]
fn many_copies_and_much_data_stay_within_bounds() {
    let piece = || at(Kind::Data { of: Source::CopyIn, n: 1, data: "x".repeat(5000).into() });
    let end = || at(Kind::CopyIn { n: 1, bytes: 15_000, sha256: None, from: 0 });
    let mut events = vec![query(1, "copies")];
    for _ in 0..MAX_COPIES + 9 {
        events.extend([piece(), piece(), piece(), end()]);
    }
    let rows = fold(events);
    assert_eq!(rows[0].copies.len(), MAX_COPIES);
    assert!(rows[0].copies.iter().all(|copy| copy.first.len() == MAX_COPY_SHOWN));
    assert!(rows[0].truncated);
}
