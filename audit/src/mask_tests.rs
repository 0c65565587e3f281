use proptest::prelude::*;

use super::*;

/// Every `S` word is secret: it must not be in the output.
const SECRET: &str = "hunter2";

fn masked(text: &str) -> String {
    String::from_utf8(mask(text.as_bytes()).into_owned()).unwrap()
}

const MASKED_CASES: &[(&str, &str)] = &[
    ("ALTER ROLE bob PASSWORD 'hunter2'", "ALTER ROLE bob PASSWORD '***'"),
    (
        "alter role bob encrypted password 'hunter2' valid until '2030-01-01'",
        "alter role bob encrypted password '***' valid until '2030-01-01'",
    ),
    (
        "CREATE USER bob WITH LOGIN pAsSwOrD 'hunter2';",
        "CREATE USER bob WITH LOGIN pAsSwOrD '***';",
    ),
    ("ALTER ROLE bob PASSWORD'hunter2'", "ALTER ROLE bob PASSWORD'***'"),
    ("ALTER ROLE bob PASSWORD\n\t'hunter2'", "ALTER ROLE bob PASSWORD\n\t'***'"),
    (
        "ALTER ROLE bob PASSWORD/* 'no' /* nested */ ' */'hunter2'",
        "ALTER ROLE bob PASSWORD/* 'no' /* nested */ ' */'***'",
    ),
    (
        "ALTER ROLE bob PASSWORD -- it's here\n'hunter2'",
        "ALTER ROLE bob PASSWORD -- it's here\n'***'",
    ),
    ("ALTER ROLE bob PASSWORD 'it''s hunter2' LOGIN", "ALTER ROLE bob PASSWORD '***' LOGIN"),
    (r"ALTER ROLE bob PASSWORD E'it\'s hunter2' LOGIN", "ALTER ROLE bob PASSWORD E'***' LOGIN"),
    (r"ALTER ROLE bob PASSWORD e'\\' LOGIN", "ALTER ROLE bob PASSWORD e'***' LOGIN"),
    (
        r"ALTER ROLE bob PASSWORD U&'hunter2\0041' UESCAPE '!'",
        "ALTER ROLE bob PASSWORD U&'***' UESCAPE '!'",
    ),
    ("ALTER ROLE bob PASSWORD $$hunter2$$ LOGIN", "ALTER ROLE bob PASSWORD $$***$$ LOGIN"),
    (
        "ALTER ROLE bob PASSWORD $a$hunter2 $$ $b$ '$a$ LOGIN",
        "ALTER ROLE bob PASSWORD $a$***$a$ LOGIN",
    ),
    ("ALTER ROLE bob PASSWORD 'hun'\n'ter2'", "ALTER ROLE bob PASSWORD '***'\n'***'"),
    (
        "ALTER ROLE bob PASSWORD E'a'\n'b\\'hunter2' LOGIN",
        "ALTER ROLE bob PASSWORD E'***'\n'***' LOGIN",
    ),
    ("ALTER ROLE bob PASSWORD ''", "ALTER ROLE bob PASSWORD '***'"),
    ("ALTER ROLE bob PASSWORD 'hunter2", "ALTER ROLE bob PASSWORD '***"),
    ("ALTER ROLE bob PASSWORD $x$hunter2$x", "ALTER ROLE bob PASSWORD $x$***"),
    ("ALTER ROLE bob PASSWORD 'hunter2'; SELECT 'x'", "ALTER ROLE bob PASSWORD '***'; SELECT 'x'"),
    (
        "CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'bob', password 'hunter2', host 'h')",
        "CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'bob', password '***', host 'h')",
    ),
    (
        "ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET password 'hunter2')",
        "ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET password '***')",
    ),
    ("OPTIONS (\"password\" 'hunter2')", "OPTIONS (\"password\" '***')"),
    ("create user bob identified by 'hunter2'", "create user bob identified by '***'"),
    ("create user bob identified by \"hunter2\"", "create user bob identified by \"***\""),
    (
        "select password from t where password = 'hunter2' and name = 'bob'",
        "select password from t where password = '***' and name = 'bob'",
    ),
    (
        "update t set password = crypt('hunter2', gen_salt('bf')), name = 'bob'",
        "update t set password = crypt('***', gen_salt('***')), name = 'bob'",
    ),
    ("update t set password='hun'||'ter2'", "update t set password='***'||'***'"),
    ("set app.password to 'hunter2'", "set app.password to '***'"),
    (
        "select set_config('app.password', 'hunter2', false), 'x'",
        "select set_config('app.password', '***', false), 'x'",
    ),
    (
        "select f(password => 'hunter2', name => 'bob')",
        "select f(password => '***', name => 'bob')",
    ),
    (
        "select dblink_connect('host=h password=hunter2 user=bob')",
        "select dblink_connect('host=h password=*** user=bob')",
    ),
    (
        "select dblink_connect('host=h password = ''hunter2 b'' user=bob')",
        "select dblink_connect('host=h password = ''***'' user=bob')",
    ),
    (
        r"select dblink_connect(E'password=\'it\\\'s hunter2\' user=bob')",
        r"select dblink_connect(E'password=\'***\' user=bob')",
    ),
    (
        r"select dblink_connect('password=a\ hunter2 user=bob')",
        "select dblink_connect('password=*** user=bob')",
    ),
    (
        "select dblink_connect($$host=h password=hunter2$$)",
        "select dblink_connect($$host=h password=***$$)",
    ),
    (
        "select dblink_connect($c$passwd = hunter2 $d$c$c$)",
        "select dblink_connect($c$passwd = *** $d$c$c$)",
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION 'PWD=hunter2;x'",
        "CREATE SUBSCRIPTION s CONNECTION 'PWD=***'",
    ),
    (
        "select dblink('postgres://bob:hunter2@h:5432/db')",
        "select dblink('postgres://bob:***@h:5432/db')",
    ),
    ("select dblink('postgresql://h:5432/db')", "select dblink('postgresql://h:5432/db')"),
    (
        "select dblink('postgresql://bob@h/db?password=hunter2')",
        "select dblink('postgresql://bob@h/db?password=***')",
    ),
    ("select dblink('redis://:hunt@hunter2@h')", "select dblink('redis://:***@h')"),
    ("select dblink('x://bob:hun''hunter2@h')", "select dblink('x://bob:***@h')"),
    (
        "COPY t FROM PROGRAM 'curl https://bob:hunter2@example.com/x'",
        "COPY t FROM PROGRAM 'curl https://bob:***@example.com/x'",
    ),
    (
        "DO $$ BEGIN ALTER ROLE bob PASSWORD 'hunter2'; PERFORM f('x'); END $$",
        "DO $$ BEGIN ALTER ROLE bob PASSWORD '***'; PERFORM f('x'); END $$",
    ),
    (
        "DO LANGUAGE plpgsql $b$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ''hunter2'''; END $b$; select 'x'",
        "DO LANGUAGE plpgsql $b$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ''***'''; END $b$; select 'x'",
    ),
    (
        "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', 'bob', 'hunter2'); PERFORM f('x'); END $$",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', '***', '***'); PERFORM f('x'); END $$",
    ),
    (
        "DO $$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ' || quote_literal('hunter2'); END $$",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ' || quote_literal('***'); END $$",
    ),
    (
        "DO $$ BEGIN EXECUTE $q$ALTER ROLE bob PASSWORD 'hunter2' LOGIN$q$; END $$",
        "DO $$ BEGIN EXECUTE $q$ALTER ROLE bob PASSWORD '***' LOGIN$q$; END $$",
    ),
    (
        "DO $$ BEGIN EXECUTE $q$ALTER ROLE bob PASSWORD $p$hunter2 x$p$ LOGIN$q$; END $$",
        "DO $$ BEGIN EXECUTE $q$ALTER ROLE bob PASSWORD $***$q$; END $$",
    ),
    (
        "DO $$ BEGIN EXECUTE 'update t set password = $1' USING 'hunter2'; END $$",
        "DO $$ BEGIN EXECUTE 'update t set password = ***' USING '***'; END $$",
    ),
    (
        "DO $$ ALTER ROLE bob PASSWORD 'hunter2 $$; select 'x'",
        "DO $$ ALTER ROLE bob PASSWORD '***$$; select 'x'",
    ),
    (
        "create function f() returns void as $f$ begin pw := 'hunter2'; end $f$ language plpgsql",
        "create function f() returns void as $f$ begin pw := '***'; end $f$ language plpgsql",
    ),
    (
        "EXECUTE 'ALTER ROLE bob PASSWORD /* c */ E''hunter2'' LOGIN'",
        "EXECUTE 'ALTER ROLE bob PASSWORD /* c */ E''***'' LOGIN'",
    ),
    (
        "insert into t values ('{\"user\": \"bob\", \"password\": \"hunter2\", \"x\": 1}')",
        "insert into t values ('{\"user\": \"bob\", \"password\": \"***\", \"x\": 1}')",
    ),
    ("select data->>'password' = 'hunter2'", "select data->>'password' = '***'"),
    ("-- password=hunter2 x\nselect 'x'", "-- password=*** x\nselect 'x'"),
    ("/* x://bob:hunter2@h */ select 'x'", "/* x://bob:***@h */ select 'x'"),
    ("set my.client_secret = 'hunter2'", "set my.client_secret = '***'"),
    ("select 'aws_secret_access_key=hunter2'", "select 'aws_secret_access_key=***'"),
    (
        "create function f(a text = my.secret()) returns int as $$ select g('x'), password = 'hunter2' $$",
        "create function f(a text = my.secret()) returns int as $$ select g('x'), password = '***' $$",
    ),
    (
        "create function f() returns int set a.b = 'password' as 'select g(1), ''password=hunter2 ''' language sql",
        "create function f() returns int set a.b = 'password' as 'select g(1), ''password=*** ''' language sql",
    ),
    (r"select E'pa\ssword=hunter2'", r"select E'pa\ssword=***'"),
    ("select password = \"f\"('hunter2')", "select password = \"f\"('***')"),
];

#[test]
fn secrets_are_masked_and_the_rest_stays() {
    for (text, want) in MASKED_CASES {
        assert_eq!(masked(text), *want, "{text}");
        assert!(!want.contains(SECRET));
    }
}

#[test]
fn what_is_no_secret_stays_and_is_borrowed() {
    let cases = [
        "",
        "select 1",
        "ALTER ROLE bob PASSWORD NULL",
        "ALTER ROLE bob PASSWORD NULL VALID UNTIL '2030-01-01'",
        "select password from t where name = 'x'",
        "create table t (password text not null default 'x')",
        "set password_encryption = 'scram-sha-256'",
        "select password, 'x' from t",
        "select 'a password was changed', 'x'",
        "select 'https://example.com:8443/path?x=1', 'x'",
        "select 'https://example.com/a:b@c'",
        "select \"a\"\"b\", $1, a$b$c, $t$it's$t$, 'a' -- it's\n, /* it's */ E'\\''",
        "update t set passed = 'x', compass = 'y'",
        "select $1$2",
        "insert into t values ('token', 'x') /* unterminated",
    ];
    for text in cases {
        assert!(matches!(mask(text.as_bytes()), Cow::Borrowed(_)), "{}", masked(text));
        assert_eq!(masked(text), text);
    }
}

#[test]
fn bind_values_lose_their_connection_secrets() {
    let cases = [
        ("host=h password=hunter2 user=bob", "host=h password=*** user=bob"),
        ("password='it\\'s hunter2' user=bob", "password='***' user=bob"),
        ("postgres://bob:hunter2@h/db", "postgres://bob:***@h/db"),
        ("postgres://bob:hunter2@h", "postgres://bob:***@h"),
        ("{\"password\":\"hunter2\"}", "{\"password\":\"***\"}"),
        ("it's plain", "it's plain"),
        ("password", "password"),
        ("http://h:80", "http://h:80"),
    ];
    for (value, want) in cases {
        assert_eq!(mask_value(value.as_bytes()), want.as_bytes(), "{value}");
    }
}

#[test]
fn a_long_authority_is_a_secret_and_takes_bounded_memory() {
    let text = format!("select 'x://bob:{}@h/db'", "s".repeat(5000));
    assert_eq!(masked(&text), format!("select 'x://bob:***{}@h/db'", "s".repeat(5000 - 1025)));
}

#[test]
fn what_is_executed_is_never_hidden_by_two_readings_of_one_text() {
    let long = "t".repeat(70_000);
    let run = "drop table payroll";
    let texts: &[Vec<u8>] = &[
        // A literal with backslashes is continued by white space with a line end alone.
        br"select password = jsonb E'{}' - '\' from (select null::jsonb as password) x; drop table payroll; --'".to_vec(),
        br"select password = jsonb E'{}' / '\' from x; drop table payroll; --'".to_vec(),
        br"select password = E'{}' '\'; drop table payroll; --'".to_vec(),
        b"select password = E'' - \n'\\'; drop table payroll; --'".to_vec(),
        b"select password = E'' /* \n */ '\\'; drop table payroll; --'".to_vec(),
        // The tag of any length.
        format!("select password = ${long}$ ' ${long}$; drop table payroll; --'").into_bytes(),
        // `standard_conforming_strings` off.
        br"select password = '\'' || '; drop table payroll; --'".to_vec(),
        br"select '\'', password = ' ; drop table payroll; --'".to_vec(),
        br"select 'x\\' || 'password= \', password = '; drop table payroll; --'".to_vec(),
        // Characters whose second byte is a backslash, or a bar before a literal or a dollar.
        b"select password = E'\x95\\'; drop table payroll; --'".to_vec(),
        b"select password = E'\x95\\\\'; drop table payroll; --'".to_vec(),
        b"select \x83|e'\\' as password, password = '; drop table payroll; --'".to_vec(),
        b"select password = \x83|$a$ as x; drop table payroll; --$a$".to_vec(),
        // Two spellings of one tag.
        b"select password = $\xed\x40$ x $\xfa\x5c$; drop table payroll; --$\xed\x40$".to_vec(),
        // A number ends where a tag begins.
        b"select 1$a$ ' $a$, password = '; drop table payroll; --'".to_vec(),
        // No secret is that long.
        format!("select password = ' {} drop table payroll'", "x".repeat(1024)).into_bytes(),
        format!("select 'password=\"{}drop table payroll'", "x".repeat(1025)).into_bytes(),
        format!("select password = $a${}drop table payroll$a$", "x".repeat(1025)).into_bytes(),
    ];
    for text in texts {
        let out = String::from_utf8_lossy(&mask(text)).into_owned();
        assert!(out.contains(run), "{}: {out}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_secret_before_an_ambiguity_stays_hidden() {
    let cases = [
        (r"set password = 'hunter2\'; select 'x'", r"set password = '***'; select 'x'"),
        (
            r"alter role bob password 'hunter2'; select '\''",
            r"alter role bob password '***'; select '\''",
        ),
        (
            "alter role bob password E'a' -- b\n 'it\\'s hunter2' login",
            "alter role bob password E'***' -- b\n '***' login",
        ),
        (
            "select 名||'x'; alter role bob password E'\\'hunter2'",
            "select 名||'x'; alter role bob password E'***'",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(masked(text), want, "{text}");
    }
}

/// Text made of what the lexer knows, in any order.
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
    ]);
    let pieces =
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![8 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..100)]
}

fn in_pieces(text: &[u8], size: usize) -> Vec<u8> {
    let (mut masker, mut out) = (Masker::default(), Vec::new());
    text.chunks(size).for_each(|chunk| masker.feed(chunk, false, &mut out));
    masker.feed(b"", true, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_output_does_not_depend_on_how_the_text_is_cut(text in sql(), size in 1_usize..8) {
        prop_assert_eq!(in_pieces(&text, size), in_pieces(&text, usize::MAX));
    }

    #[test]
    fn the_quick_look_misses_nothing(text in sql()) {
        prop_assert_eq!(&mask(&text)[..], &in_pieces(&text, 1)[..]);
    }

    #[test]
    fn what_is_not_suspicious_passes_unchanged(text in "[ '\"$a/*\\-;(),=e\\\\\n]{0,60}") {
        prop_assert_eq!(in_pieces(text.as_bytes(), 1), text.as_bytes());
    }

    #[test]
    fn a_password_literal_never_shows(before in "[a-z ;,()=]{0,20}", gap in "( |\n|\t|/\\* x \\*/|--y\n){0,4}", secret in "[a-zA-Z0-9 $\"/*;-]{0,12}") {
        let text = format!("{before} password {gap}'HUSH{secret}' done");
        prop_assert!(!masked(&text).contains("HUSH"), "{}", masked(&text));
    }

    #[test]
    fn nothing_but_stars_is_added(text in sql()) {
        let out = in_pieces(&text, 1);
        let mut rest = text.iter();
        let kept = out.iter().all(|byte| *byte == b'*' || rest.any(|next| next == byte));
        prop_assert!(kept, "{}", String::from_utf8_lossy(&out));
    }
}
