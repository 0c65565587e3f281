"""Cancels that come late, and the statement behind each: cancel_races.py TIMES CONNINFO.

Prints how many of those statements were cancelled.
"""

import sys

import psycopg

TIMES, CONNINFO = int(sys.argv[1]), sys.argv[2]
hit = 0
with psycopg.connect(CONNINFO, autocommit=True) as connection:
    for _ in range(TIMES):
        connection.execute("select 1")
        # libpq returns when the connection that carried the request has ended.
        connection.cancel()
        try:
            connection.execute("select pg_sleep(0.002)")
        except psycopg.errors.QueryCanceled:
            hit += 1
print(hit)
