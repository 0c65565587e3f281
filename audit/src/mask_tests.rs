use super::*;

/// It must never be in the output.
const SECRET: &str = "hunter2";

fn masked(text: &str) -> String {
    String::from_utf8(mask(text.as_bytes()).text.into_owned()).unwrap()
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
    (
        "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (\"password\" 'hunter2', program 'id')",
        "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (\"password\" '***', program 'id')",
    ),
    ("create user bob identified by 'hunter2'", "create user bob identified by '***'"),
    (
        "select password from t where password = 'hunter2' and name = 'bob'",
        "select password from t where password = '***' and name = 'bob'",
    ),
    (
        "update t set password = crypt('hunter2', gen_salt('bf')), name = 'bob'",
        "update t set password = crypt('***', gen_salt('bf')), name = 'bob'",
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
        "DO $$ BEGIN ALTER ROLE bob PASSWORD 'hunter2'; PERFORM f('x'); END $$",
        "DO $$ BEGIN ALTER ROLE bob PASSWORD '***'; PERFORM f('x'); END $$",
    ),
    (
        "DO LANGUAGE plpgsql $b$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ''hunter2'''; END $b$; select 'x'",
        "DO LANGUAGE plpgsql $b$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ''***'''; END $b$; select 'x'",
    ),
    (
        "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', 'bob', 'hunter2'); PERFORM f('x'); END $$",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', 'bob', '***'); PERFORM f('x'); END $$",
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
        "DO $$ BEGIN EXECUTE $q$ALTER ROLE bob PASSWORD $p$***$p$ LOGIN$q$; END $$",
    ),
    (
        "DO $$ BEGIN EXECUTE 'update t set b = $1, password = $2' INTO x USING 'b', 'hunter2'; END $$",
        "DO $$ BEGIN EXECUTE 'update t set b = $1, password = $2' INTO x USING 'b', '***'; END $$",
    ),
    (
        "DO $$ BEGIN EXECUTE 'ALTER ROLE ' || quote_ident('bob') || ' PASSWORD ' || quote_literal('hunter2') || ' VALID UNTIL ''x'''; END $$",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE ' || quote_ident('bob') || ' PASSWORD ' || quote_literal('***') || ' VALID UNTIL ''x'''; END $$",
    ),
    (
        "DO $$ ALTER ROLE bob PASSWORD 'hunter2 $$; select 'x'",
        "DO $$ ALTER ROLE bob PASSWORD '***$$; select 'x'",
    ),
    (
        "create function f() returns void as $f$ begin update t set pw = 'hunter2'; end $f$ language plpgsql",
        "create function f() returns void as $f$ begin update t set pw = '***'; end $f$ language plpgsql",
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
        "create function f(a text = my.secret()) returns int as $$ select g('x') where password = 'hunter2' $$ language 'sql'",
        "create function f(a text = my.secret()) returns int as $$ select g('x') where password = '***' $$ language 'sql'",
    ),
    (
        "create function f() returns int set a.b = 'password' as 'select g(1), ''password=hunter2 ''' language sql",
        "create function f() returns int set a.b = 'password' as 'select g(1), ''password=*** ''' language sql",
    ),
    (r"select E'pa\ssword=hunter2'", r"select E'pa\ssword=***'"),
    (
        "insert into users as u (name, \"password\", token) values ('a', 'hunter2', 'hunter2'), ('b', md5('hunter2'), f('x')) on conflict (name) do update set password = 'hunter2', x = 'y'",
        "insert into users as u (name, \"password\", token) values ('a', '***', '***'), ('b', md5('***'), f('x')) on conflict (name) do update set password = '***', x = 'y'",
    ),
    (
        "insert into users(name, password) select 'a', 'hunter2' from t where x = 'y' union all select 'b', 'hunter2'",
        "insert into users(name, password) select 'a', '***' from t where x = 'y' union all select 'b', '***'",
    ),
    (
        "insert into users(name, password) (select 'a', 'hunter2')",
        "insert into users(name, password) (select 'a', '***')",
    ),
    (
        "insert into s.t (language, password) overriding system value values ('a', U&'hunter2')",
        "insert into s.t (language, password) overriding system value values ('a', U&'***')",
    ),
    (
        "with i as (insert into users(name, password) values ('a', 'hunter2') returning name) select 'x', 'y' from i",
        "with i as (insert into users(name, password) values ('a', '***') returning name) select 'x', 'y' from i",
    ),
    (
        "explain (analyze) insert into users(password) values (('hunter2'::text))",
        "explain (analyze) insert into users(password) values (('***'::text))",
    ),
    (
        "update t set (name, password) = ('a', 'hunter2'), b = 'c'",
        "update t set (name, password) = ('a', '***'), b = 'c'",
    ),
    (
        "update t set (name, password) = row('a', 'hunter2')",
        "update t set (name, password) = row('a', '***')",
    ),
    (
        "update t set (name, password) = (select 'a', 'hunter2' from t where b = 'c')",
        "update t set (name, password) = (select 'a', '***' from t where b = 'c')",
    ),
    (
        "update t set data['password'] = '\"hunter2\"', b = 'c'",
        "update t set data['password'] = '***', b = 'c'",
    ),
    (
        "merge into t using s on t.a = s.a when matched then update set token = 'hunter2' when not matched then insert (a, password) values ('a', 'hunter2')",
        "merge into t using s on t.a = s.a when matched then update set token = '***' when not matched then insert (a, password) values ('a', '***')",
    ),
    (
        "select * from t where (name, password) in (('a', 'hunter2'), ('b', 'hunter2'))",
        "select * from t where (name, password) in (('a', '***'), ('b', '***'))",
    ),
    (
        "select * from t where password in ('hunter2', 'hunter2') and x in ('y')",
        "select * from t where password in ('***', '***') and x in ('y')",
    ),
    (
        "select * from t where t.password is not distinct from 'hunter2' or lower(token) = lower('hunter2')",
        "select * from t where t.password is not distinct from '***' or lower(token) = lower('***')",
    ),
    (
        "select * from t where password = any(array['hunter2', 'hunter2']) or x = 'y'",
        "select * from t where password = any(array['***', '***']) or x = 'y'",
    ),
    (
        "select * from t where password between 'hunter2' and 'hunter2' and x = 'y'",
        "select * from t where password between '***' and '***' and x = 'y'",
    ),
    (
        "select * from t where password = case when a = 'x' then 'hunter2' else 'hunter2' end and b = 'y'",
        "select * from t where password = case when a = 'x' then '***' else '***' end and b = 'y'",
    ),
    (
        "select * from t where password like 'hunter2%' escape '!'",
        "select * from t where password like '***' escape '!'",
    ),
    (
        "select password::varchar(20) = 'hunter2', (data->>'token') = 'hunter2'",
        "select password::varchar(20) = '***', (data->>'token') = '***'",
    ),
    (
        "select crypt('hunter2', password) = password, ext.crypt('hunter2', gen_salt('bf'))",
        "select crypt('***', password) = password, ext.crypt('***', gen_salt('bf'))",
    ),
    (
        "select pgp_sym_encrypt('data', 'hunter2'), hmac('d', 'hunter2', 'sha256'), pgp_pub_decrypt(m, dearmor('x'), 'hunter2')",
        "select pgp_sym_encrypt('data', '***'), hmac('d', '***', 'sha256'), pgp_pub_decrypt(m, dearmor('x'), '***')",
    ),
    (
        "select jsonb_build_object('a', 'b', 'password', 'hunter2', 'c', 'd'), jsonb_set(d, '{a,password}', '\"hunter2\"')",
        "select jsonb_build_object('a', 'b', 'password', '***', 'c', 'd'), jsonb_set(d, '{a,password}', '***')",
    ),
    (
        "select set_config('app.token', 'hunter2', false)",
        "select set_config('app.token', '***', false)",
    ),
    ("alter role bob set app.token to 'hunter2'", "alter role bob set app.token to '***'"),
    ("set local app.secret = 'hunter2', 'hunter2'", "set local app.secret = '***', '***'"),
    (
        "select dblink_exec('host=h password=hunter2', 'alter role bob password ''hunter2''')",
        "select dblink_exec('host=h password=***', 'alter role bob password ''***''')",
    ),
    (
        "select dblink('c', 'select ''x'' from t where token = ''hunter2''') as t(a text)",
        "select dblink('c', 'select ''x'' from t where token = ''***''') as t(a text)",
    ),
    (
        "select password = query_to_xml('select ''x'' where password = ''hunter2''', false, true, '')",
        "select password = query_to_xml('select ''x'' where password = ''***''', false, true, '')",
    ),
    (
        "do $$ begin if password = 'hunter2' then raise notice 'x'; end if; end $$",
        "do $$ begin if password = '***' then raise notice 'x'; end if; end $$",
    ),
    (
        "select 'ghp_hunter2hunter2', 'glpat-hunter2hunter2' /* Authorization: Bearer hunter2.hunter2 */",
        "select 'ghp_***', 'glpat-***' /* Authorization: Bearer *** */",
    ),
    (
        "select 'Authorization: Basic hunter2', 'x-api-key: hunter2'",
        "select 'Authorization: Basic ***', 'x-api-key: ***'",
    ),
    ("select 'eyJhunter2.hunter2.hunter2'", "select 'eyJ***'"),
    (
        "select 'it costs 5, token=hunter2, and more', 'https://example.com/?a=b&api_key=hunter2&c=d'",
        "select 'it costs 5, token=***, and more', 'https://example.com/?a=b&api_key=***&c=d'",
    ),
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
        assert!(matches!(mask(text.as_bytes()).text, Cow::Borrowed(_)), "{}", masked(text));
        assert_eq!(masked(text), text);
    }
}

#[test]
fn bind_values_lose_their_connection_secrets() {
    let cases = [
        ("host=h password=hunter2 user=bob", "host=h password=*** user=bob"),
        ("password='hunter2' user=bob", "password='***' user=bob"),
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
fn what_is_too_long_for_a_secret_stays_and_takes_bounded_memory() {
    let long = "s".repeat(5000);
    for text in [
        format!("select 'x://bob:{long}@h/db'"),
        format!("select 'password={long} x'"),
        format!("select 'ghp_{long}'"),
        format!(
            "create function f() as $$ select password = 'x' {} $$ language sql",
            long.repeat(20)
        ),
    ] {
        assert_eq!(masked(&text), text);
    }
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
        // A letter behind another alphabet's, white space of newer versions, and a bit string that goes on.
        "with s(\u{e9}) as (select 'a') select \u{e9}=e'\\', password = ' from s; drop table payroll; --'".as_bytes().to_vec(),
        b"select e'a'\x0b\n'\\', password = ' ; drop table payroll; --'".to_vec(),
        b"alter table t alter c set default b'1'\n'\\' || ' = 1, password = ' ; drop table payroll; --'".to_vec(),
        // Escapes and backslashes in SQL in a literal.
        br"do E'begin alter role x password \'a\x27; drop table payroll; --\'; end'".to_vec(),
        br"do 'begin alter role x password ''a\x27; drop table payroll; --''; end'".to_vec(),
        br"do U&'begin alter role x password ''a\0027; drop table payroll; --''; end'".to_vec(),
        // No secret is that long.
        format!("select password = ' {} drop table payroll'", "x".repeat(1024)).into_bytes(),
        format!("select 'password=\"{}drop table payroll'", "x".repeat(1025)).into_bytes(),
        format!("select password = $a${}drop table payroll$a$", "x".repeat(1025)).into_bytes(),
    ];
    for text in texts {
        let out = String::from_utf8_lossy(&mask(text).text).into_owned();
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

/// What runs, or may run: none of it is hidden, whatever stands around it.
const EXECUTED: &[&str] = &[
    // Names are no secrets, in quotes or not.
    "select (select t.identified by) || \"query_to_xml\"('select 1', false, true, '')::text from (select ''::text identified) t",
    "create user bob identified by \"hunter2\"",
    "select (select t.identified by) = \"pg_get_userbyid\"(10) from (select 'x'::name as identified) t",
    // Files and programs.
    "COPY (select 'password' = 'x') TO PROGRAM 'touch /tmp/x'",
    "COPY (select 'password' = 'x') TO '/var/lib/secret-file'",
    "copy password to '/tmp/x'",
    "copy set.password to '/tmp/x'",
    "copy t(password) from program 'curl https://bob:$(id)@example.com/?token=`id`'",
    "do $$ begin copy password to program 'id'; end $$",
    "alter system set ssl_passphrase_command = 'id'",
    // Functions that aren't known, and those of a known name in a schema that anybody may own.
    "select password = f('drop table x')",
    "select password = (select f('drop table x'))",
    "insert into t(password) values (f('drop table x')), ((select f('drop table y')))",
    "update t set (a, password) = f('a', 'drop table x')",
    "select password = evil.md5('drop table x')",
    "select dblink_exec('password', 'drop table x')",
    "select f('password', 'drop table x'), crosstab('password')",
    // What may be run by a function that isn't known is hidden by one word at most, no call.
    "select f('password=drop_all()'), f('password=drop_all ()'), f('password=drop_all/**/()')",
    "select f('password = ''; drop table x; --'''), f('password=\"drop_all\"()')",
    "select f('token: `id`'), f('secret=$(id)'), f('token=a|id')",
    "select dblink_exec('c', 'lock table x; set y.password=1;drop/**/table/**/x')",
    // Variables, which EXECUTE runs.
    "do $$ declare password text := 'drop'; token text = 'x'; begin execute password; end $$",
    "do $$ begin password := 'drop table x'; password = 'drop table y'; execute password; end $$",
    "do $$ begin if a then password = 'drop'; else r.password[1] = 'drop'; end if; end $$",
    "do $$ begin case a when 1 then password = 'drop'; else password = 'x'; end case; end $$",
    "do $$ begin x(); exception when others then password = 'drop'; execute password; end $$",
    "do $$ begin for password in execute 'drop' loop null; end loop; end $$",
    "do $$ begin for password in select 'drop' loop execute password; end loop; end $$",
    "do $$ begin for password in (select 'drop') loop execute password; end loop; end $$",
    "do $$ begin foreach password in array array['drop'] loop execute password; end loop; end $$",
    "do $$ begin select into password 'drop'; execute password; end $$",
    // SQL that is put together: where a literal of it begins is not known from here.
    "do $$ begin v := format('alter role y password ''; drop table x; --'''); execute 'select ''' || v; end $$",
    "do $$ begin execute 'select ''' || v || 'alter role y password ''; drop table x; --'''; end $$",
    "do $$ begin execute 'select ''' || quote_literal('a') || ' alter role y password ''; drop table x; --'''; end $$",
    "do $$ begin execute 'select \"' || quote_ident('a') || ' alter role y password ''; drop table x; --'''; end $$",
    "do $$ begin execute concat('select ''', 'alter role y password ''; drop table x; --'''); end $$",
    "do $$ begin execute format('select %s alter role y password ''; drop table x; --''', chr(39)); end $$",
    "do $$ begin execute format('select ''%L alter role y password ''; drop table x; --''', 'a'); end $$",
    // Bodies in languages with other literals.
    "do language plpython3u $$ # it's\nx='password = '; evil(); y = '' $$",
    "do $$ # it's\nx='password = '; evil(); y = '' $$ language plpython3u",
    "create function f() returns int as $$ # it's\nx='password = '; evil(); y = '' $$ language plperl",
    "create function f(language plpgsql) returns int as $$ # '\nx='password = '; evil(); y = '' $$ language plperl",
    "create function f() returns int language \"plperl\" as $$ # '\nx='password = '; evil(); y = '' $$",
    // The name of a type is no name of a value.
    "select password 'drop table x', date '2030-01-01'",
    "select options(password 'drop table x')",
];

#[test]
fn what_is_executed_is_never_masked() {
    for text in EXECUTED {
        assert_eq!(masked(text), *text);
    }
}

#[test]
fn the_parameters_in_places_of_secrets_are_told() {
    let cases: &[(&str, &[u16])] = &[
        ("insert into users(name, password) values ($1, $2), ($3, $4)", &[2, 4]),
        ("insert into users(name, password) values ($1, crypt($2, gen_salt($3)))", &[2]),
        ("insert into users(name, password) select $2, $1", &[1]),
        ("insert into users(name, password) values ($1, f($2))", &[]),
        ("update users set password = $1 where name = $2", &[1]),
        ("update users set (name, token) = ($1, $2) where token = $3::text", &[2, 3]),
        ("select set_config('app.token', $1, false), set_config($2, $3, false)", &[1]),
        ("select f(password => $1, name => $2), data->>'secret' = $65535", &[1, 65535]),
        ("select password = $70000, $1", &[]),
        ("do $$ begin password = $1; end $$", &[]),
        ("select 'password = $1'", &[]),
    ];
    for (text, want) in cases {
        let params = mask(text.as_bytes()).params;
        let found: Vec<u16> = (0..=u16::MAX).filter(|number| params.contains(*number)).collect();
        assert_eq!(found, *want, "{text}");
    }
}

#[test]
fn a_secret_value_keeps_what_is_too_long_for_one() {
    assert_eq!(mask_secret(b"hunter2"), b"***");
    assert_eq!(mask_secret(&[0xff; MAX_SECRET + 2]), b"***\xff\xff");
}

#[test]
fn a_long_statement_comes_out_as_it_goes_in() {
    let (mut masker, mut out, mut fed) = (Masker::default(), Vec::new(), 0);
    let row = b", ('bob', 'hunter2', $$ token=x; /* it's $$)";
    masker.feed(
        b"insert into users (name, password, data) values ('a', 'b', 'c')",
        false,
        &mut out,
    );
    out.clear();
    for _ in 0..10_000 {
        masker.feed(row, false, &mut out);
        fed += row.len();
    }
    let expected = b", ('bob', '***', $$ token=***; /* it's $$)".repeat(10_000);
    assert!(out == expected);
    out.clear();
    let nested = ["(".repeat(5000), "[".repeat(5000)].concat();
    for piece in [nested.as_bytes(), b"'", &[b'x'; 100_000], b"'", &[b';'; 100_000]] {
        masker.feed(piece, false, &mut out);
        fed += piece.len();
    }
    masker.feed(b"", true, &mut out);
    assert_eq!(out.len(), fed - 10_000 * row.len());
}

#[test]
fn sql_in_literals_is_read_three_deep_and_stays_whole_deeper() {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let deep = |secret: &str, levels: usize| {
        let mut text = format!("select 1 where password = '{secret}' and x = 'it''s y'");
        for _ in 1..levels {
            text = format!("select query_to_xml({}, true, false, 'it''s z')", quote(&text));
        }
        format!("do {}", quote(&format!("begin execute {}; end", quote(&text))))
    };
    for levels in 1..=2 {
        assert_eq!(masked(&deep("it''s hunter2", levels)), deep("***", levels));
    }
    let deeper = deep("it''s hunter2", 3);
    assert_eq!(masked(&deeper), deeper);
}
