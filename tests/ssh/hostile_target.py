"""A target that says what no target should: hostile_target.py FOLDER.

It writes its port and its host key into files of the folder, and into another one whether it was asked to
authenticate anybody.
"""

import asyncio
import pathlib
import sys

import asyncssh
from asyncssh.packet import String

FOLDER = pathlib.Path(sys.argv[1])
CHANNEL_DATA, PING, PONG = 94, 192, 193


class Session(asyncssh.SSHServerSession):
    """Runs nothing, and speaks out of turn."""

    def connection_made(self, chan):
        self.chan = chan

    def pty_requested(self, *_):
        self.chan.send_packet(CHANNEL_DATA, String(b"before any program"))
        return True

    def exec_requested(self, command):
        return True

    def session_started(self):
        for kind in (PING, PONG):
            for _ in range(1_000):
                self.chan.get_connection().send_packet(kind, String(b"unasked"))
        self.chan.write("still here\n")
        self.chan.exit(0)


class Server(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username):
        (FOLDER / "asked").touch()
        return False

    def session_requested(self):
        return Session()


async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key])
    (FOLDER / "key").write_bytes(key.export_public_key())
    port = FOLDER / "port.new"
    port.write_text(str(listener.get_port()))
    port.rename(FOLDER / "port")
    await listener.wait_closed()


asyncio.run(main())
