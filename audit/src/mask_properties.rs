//! What masking promises of any text, and of statements whose secrets are known.

use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use sqlparser::ast::{Statement, Value, ValueWithSpan, VisitMut, VisitorMut};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::*;
use crate::fuzz;

/// Text made of what the lexer knows, in any order.
#[allow(clippy::too_many_lines, reason = "a list of pieces")]
fn sql() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "password",
        "PASSWORD ",
        "identified by ",
        "'",
        "''",
        "\\",
        "$$",
        "$a$",
        "$",
        "\"",
        "--",
        "/*",
        "*/",
        "\n",
        " ",
        "E'",
        "U&'",
        "=",
        ":",
        "://",
        "@",
        "x",
        "hunter2",
        ",",
        ";",
        "(",
        ")",
        "do ",
        "as ",
        "%",
        "1",
        "é",
        "secret",
        "pw",
        "&",
        "null",
        "language x ",
        "apikey",
        "\u{0}",
        "alter role x password ",
        "insert into t(a, password) values (",
        "execute ",
        "format(",
        "%L",
        "||",
        "quote_literal(",
        "dblink('",
        "bearer ",
        "ghp_",
        "eyJ",
        ".",
        "aaaaaaaaaaaa",
        "case ",
        "when ",
        "then ",
        "end ",
        "[",
        "]",
        "->>",
        "begin ",
        "*",
        "-",
        "/",
    ]);
    let pieces =
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![8 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..100)]
}

fn in_pieces(text: &[u8], size: usize) -> Vec<u8> {
    let (mut masker, mut out) = (Masker::default(), Vec::new());
    text.chunks(size).for_each(|chunk| masker.feed(chunk, false, &mut out));
    masker.feed(b"", true, &mut out);
    out
}

/// The statements as another parser reads them, each literal the same.
fn parsed(text: &str) -> Option<Vec<Statement>> {
    struct Blank;
    impl VisitorMut for Blank {
        type Break = ();
        fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
            if value.value.clone().into_string().is_some() {
                value.value = Value::SingleQuotedString(String::new());
            }
            ControlFlow::Continue(())
        }
    }
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    statements.iter_mut().for_each(|statement| {
        let _ = statement.visit(&mut Blank);
    });
    Some(statements)
}

#[test]
fn masking_never_changes_the_parse_tree_except_for_literals_of_secrets() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut compared, mut all) = (0, 0);
    let choices = prop::collection::vec(any::<u8>(), 0..120);
    for _ in 0..3000 {
        let choices = choices.new_tree(&mut runner).unwrap().current();
        let text = fuzz::sql::sample(&choices).text;
        let out = String::from_utf8(mask(text.as_bytes()).text.into_owned()).unwrap();
        // Its values of options are names to that parser.
        let tree = parsed(&text).filter(|_| !text.contains("OPTIONS"));
        compared += usize::from(tree.is_some());
        all += 1;
        assert!(tree.is_none() || tree == parsed(&out), "{text}\n{out}");
    }
    assert!(compared > all / 3, "{compared} of {all} could be compared");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_secret_of_a_statement_is_masked_and_all_else_shows(
        choices in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        fuzz::mask_sql(&choices);
    }

    #[test]
    fn nothing_outside_of_literals_and_comments_is_changed(text in sql()) {
        let out = in_pieces(&text, 1);
        prop_assert_eq!(fuzz::tokens::skeleton(&out), fuzz::tokens::skeleton(&text));
    }

    #[test]
    fn the_output_does_not_depend_on_how_the_text_is_cut(text in sql(), size in 1_usize..8) {
        prop_assert_eq!(in_pieces(&text, size), in_pieces(&text, usize::MAX));
    }

    #[test]
    fn the_quick_look_misses_nothing(text in sql()) {
        prop_assert_eq!(&mask(&text).text[..], &in_pieces(&text, 1)[..]);
    }

    #[test]
    fn what_is_not_suspicious_passes_unchanged(text in "[ '\"$a/*\\-;(),=e\\\\\n]{0,60}") {
        prop_assert_eq!(in_pieces(text.as_bytes(), 1), text.as_bytes());
    }

    #[test]
    fn nothing_but_stars_is_added(text in sql()) {
        let out = in_pieces(&text, 1);
        let mut rest = text.iter();
        let kept = out.iter().all(|byte| *byte == b'*' || rest.any(|next| next == byte));
        prop_assert!(kept, "{}", String::from_utf8_lossy(&out));
    }
}
