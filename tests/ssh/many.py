"""Many channels on one connection: many.py PORT KEY KNOWN_HOSTS USER TCP SOCKET."""

import asyncio
import sys

import asyncssh

PORT, KEY, KNOWN, USER, TCP, SOCKET = int(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5]), sys.argv[6]


async def command(connection, n):
    done = await connection.run(f"read word; echo $word; exit {n % 200}", input=f"{n}\n")
    assert (done.stdout, done.exit_status) == (f"{n}\n", n % 200), done


async def terminal(connection, n):
    done = await connection.run(f"echo {n}", term_type="xterm")
    assert done.stdout == f"{n}\r\n", done


async def files(connection, n):
    async with connection.start_sftp_client() as sftp:
        assert await sftp.exists(".")


async def spoken(reader, writer):
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"HELLO"
    writer.close()


async def tcp(connection, n):
    await spoken(*await connection.open_connection("127.0.0.1", TCP))


async def streamlocal(connection, n):
    await spoken(*await connection.open_unix_connection(SOCKET))


async def back(connection, n):
    """The target connects to where it listens for the client."""
    script = (
        "import socket; s = socket.create_connection(('127.0.0.1', %d)); s.sendall(b'hello'); print(s.recv(5).decode())"
    )
    done = await connection.run(f'python3 -c "{script % connection.port_back}"')
    assert done.stdout == "HELLO\n", done


KINDS = [command, terminal, files, tcp, streamlocal, back]


async def main():
    async with asyncssh.connect(
        "127.0.0.1", PORT, username=USER, client_keys=[KEY], known_hosts=asyncssh.read_known_hosts(KNOWN),
        host_key_alias="gate.example.com", config=None, agent_path=None,
    ) as connection:
        listener = await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", TCP)
        connection.port_back = listener.get_port()
        for n in range(1_000):
            await (command if n % 2 else tcp)(connection, n)
        for kind in KINDS:
            for n in range(70):
                await kind(connection, n)
        for _ in range(10):
            await asyncio.gather(*(KINDS[n % 5](connection, n) for n in range(50)))
        await command(connection, 1)
        print("all went")


asyncio.run(main())
