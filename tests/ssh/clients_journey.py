"""Python's SSH libraries through the gateway: clients_journey.py LIBRARY PORT KEY KNOWN_HOSTS USER."""

import asyncio
import io
import sys

LIBRARY, PORT, KEY, KNOWN, USER = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
BYTES = bytes(range(256)) * 4_096


async def with_asyncssh():
    import asyncssh

    known = asyncssh.read_known_hosts(KNOWN)
    async with asyncssh.connect(
        "127.0.0.1", PORT, username=USER, client_keys=[KEY], known_hosts=known,
        host_key_alias="gate.example.com", config=None, agent_path=None,
    ) as connection:
        done = await connection.run("cat; exit 3", input="in")
        assert (done.stdout, done.exit_status) == ("in", 3), done
        async with connection.start_sftp_client() as sftp:
            async with sftp.open("from-asyncssh", "wb") as file:
                await file.write(BYTES)
            async with sftp.open("from-asyncssh", "rb") as file:
                assert await file.read() == BYTES
            await sftp.rename("from-asyncssh", "renamed")
            assert "renamed" in await sftp.listdir(".")
        several = await asyncio.gather(*(connection.run(f"echo {n}") for n in range(10)))
        assert [done.stdout for done in several] == [f"{n}\n" for n in range(10)]


def with_paramiko():
    import paramiko

    client = paramiko.SSHClient()
    # The host is certified, which this library does not check.
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect("127.0.0.1", PORT, USER, key_filename=KEY, allow_agent=False, look_for_keys=False)
    stdin, stdout, _ = client.exec_command("cat; exit 3")
    stdin.write("in")
    stdin.channel.shutdown_write()
    assert stdout.read() == b"in"
    assert stdout.channel.recv_exit_status() == 3
    with client.open_sftp() as sftp:
        sftp.putfo(io.BytesIO(BYTES), "from-paramiko")
        back = io.BytesIO()
        sftp.getfo("from-paramiko", back)
        assert back.getvalue() == BYTES
    client.close()


if LIBRARY == "asyncssh":
    asyncio.run(with_asyncssh())
else:
    with_paramiko()
print(LIBRARY, "works")
