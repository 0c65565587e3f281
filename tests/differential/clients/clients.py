"""Runs a script of a case with one library: clients.py LIBRARY < SCRIPT.

A script may `await`, has `connect()`, the library by its name, and `show(…)`, which prints any value.
An exception that it leaves is printed without where it happened.
"""

import ast
import asyncio
import inspect
import logging
import os
import sys


def show(*values):
    print(*(value if isinstance(value, str) else repr(value) for value in values))


def for_raw():
    import wire

    return {name: value for name, value in vars(wire).items() if not name.startswith("_")}


def for_psycopg():
    import psycopg

    def connect(**options):
        return psycopg.connect("", **options)

    return {"psycopg": psycopg, "connect": connect}


def for_asyncpg():
    import asyncpg

    return {"asyncpg": asyncpg, "connect": asyncpg.connect}


def for_asyncssh():
    import asyncssh

    def connect(**options):
        return asyncssh.connect(
            "127.0.0.1", int(os.environ["SSH_PORT"]), username=os.environ["SSH_USER"],
            client_keys=[os.environ["SSH_KEY"]], known_hosts=os.environ["SSH_KNOWN"],
            host_key_alias=os.environ["SSH_ALIAS"], config=None, agent_path=None, **options,
        )

    return {"asyncssh": asyncssh, "connect": connect}


def for_paramiko():
    import paramiko

    def connect():
        client = paramiko.SSHClient()
        # Through the gateway the host is certified, which this library doesn't check.
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1", int(os.environ["SSH_PORT"]), os.environ["SSH_USER"],
            key_filename=os.environ["SSH_KEY"], allow_agent=False, look_for_keys=False,
        )
        return client

    return {"paramiko": paramiko, "connect": connect}


def main():
    # What libraries log depends on when answers come.
    logging.disable()
    names = globals()[f"for_{sys.argv[1]}"]()
    names.update(asyncio=asyncio, os=os, show=show)
    code = compile(sys.stdin.read(), "script", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    try:
        result = eval(code, names)
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except Exception as error:
        show(type(error).__name__, str(error).strip())
        sys.exit(1)


main()
