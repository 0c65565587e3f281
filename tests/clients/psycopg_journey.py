"""psycopg 3, by the libpq of its own wheel: pipelines, COPY, large objects and values, cancel."""
import threading

import psycopg

with psycopg.connect("") as connection:
    assert connection.pgconn.ssl_in_use
    with connection.cursor() as cursor:
        cursor.execute("create table t (id int, name text, data bytea)")
        cursor.executemany("insert into t values (%s, %s, %s)", [(i, f"name {i}", bytes([i % 256]) * 100) for i in range(300)])
        with connection.pipeline():
            for i in range(300):
                cursor.execute("update t set name = %s where id = %s", (f"new {i}", i))
        cursor.execute("select count(*) from t where name like 'new %%'")
        assert cursor.fetchone() == (300,)
        with cursor.copy("copy t (id, name) from stdin") as copy:
            for i in range(1000, 3000):
                copy.write_row((i, "copied"))
        with cursor.copy("copy (select id from t where name = 'copied') to stdout") as copy:
            assert sum(1 for _ in copy.rows()) == 2000
        big = bytes(range(256)) * 20_000
        cursor.execute("insert into t values (-1, 'big', %s)", (big,))
        cursor.execute("select data from t where id = -1", binary=True)
        assert cursor.fetchone()[0] == big
        cursor.execute("select lo_from_bytea(0, %s)", (big,))
        (oid,) = cursor.fetchone()
        cursor.execute("select lo_get(%s)", (oid,))
        assert cursor.fetchone()[0] == big
        many = list(range(65_000))
        cursor.execute("select count(*) from unnest(array[" + ",".join(["%s"] * len(many)) + "]::int[])", many)
        assert cursor.fetchone() == (65_000,)
    connection.commit()

    threading.Timer(0.3, connection.cancel).start()
    try:
        connection.execute("select pg_sleep(600)")
        raise SystemExit("the query was not cancelled")
    except psycopg.errors.QueryCanceled:
        connection.rollback()
    assert connection.execute("select 'here'").fetchone() == ("here",)

# Protocol 3.2, with its long cancel keys.
with psycopg.connect("max_protocol_version=latest") as connection:
    threading.Timer(0.3, connection.cancel_safe).start()
    try:
        connection.execute("select pg_sleep(600)")
        raise SystemExit("the query was not cancelled")
    except psycopg.errors.QueryCanceled:
        pass

print("ok")
