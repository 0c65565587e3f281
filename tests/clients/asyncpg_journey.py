"""asyncpg: its own implementation of the protocol, binary formats, COPY, pools, listeners."""
import asyncio
import os
import ssl

import asyncpg


async def main():
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    pool = await asyncpg.create_pool(
        host="localhost", port=int(os.environ["PGPORT"]), user="app_rw", database="orders",
        password=os.environ["PGPASSWORD"], ssl=context, min_size=2, max_size=4,
    )
    async with pool.acquire() as connection:
        await connection.execute("create table t (id int, name text, at timestamptz default now())")
        await connection.executemany("insert into t (id, name) values ($1, $2)", [(i, f"n{i}") for i in range(500)])
        await connection.copy_records_to_table("t", records=[(i, "copied") for i in range(1000)], columns=["id", "name"])
        assert await connection.fetchval("select count(*) from t") == 1500
        async with connection.transaction():
            ids = [row["id"] async for row in connection.cursor("select id from t order by id", prefetch=50)]
        assert len(ids) == 1500
        try:
            await connection.fetch("select 1 / 0")
            raise SystemExit("no error came")
        except asyncpg.DivisionByZeroError:
            pass
        try:
            await connection.fetch("select pg_sleep(600)", timeout=0.3)
            raise SystemExit("the query was not cancelled")
        except asyncio.TimeoutError:
            pass
        assert await connection.fetchval("select 'here'") == "here"
        heard = asyncio.get_running_loop().create_future()
        await connection.add_listener("news", lambda *args: heard.done() or heard.set_result(args[-1]))
        async with pool.acquire() as other:
            await other.execute("notify news, 'hello'")
        assert await asyncio.wait_for(heard, 10) == "hello"
        await connection.reset_listeners() if hasattr(connection, "reset_listeners") else None
    counts = await asyncio.gather(*(pool.fetchval("select count(*) from t where id > $1", i) for i in range(50)))
    assert len(counts) == 50
    await pool.close()
    print("ok")


asyncio.run(main())
