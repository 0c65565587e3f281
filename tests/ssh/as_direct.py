"""What a server says on a channel, message by message: as_direct.py PORT USER KEY CASE...

Each case prints one line. The same cases, through the gateway and without it, have to print the same.
"""

import os
import sys

from raw_ssh import Fields, Ssh, certified, load, string, u32

PORT, USER, KEY, CASES = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
SFTP_INIT = u32(5) + b"\x01" + u32(3)

# What runs, and what is asked for before it.
PROGRAMS = {
    "status": ("exec", b"exit 42"),
    "output": ("exec", b"echo out; echo err >&2; exit 3"),
    "signal": ("exec", b"kill -TERM $$"),
    "silent": ("exec", b"exec >/dev/null 2>&1; sleep 0.4; exit 5"),
    "shell": ("shell", b""),
    "terminal": ("exec", b"echo out; exit 4"),
    "sftp": ("subsystem", b"sftp"),
}


def connect():
    connection = Ssh(PORT).begin()
    if os.path.exists(f"{KEY}-cert.pub"):
        key, blob = certified(KEY)
        answer = connection.prove(USER, key, blob, "ssh-ed25519-cert-v01@openssh.com")
    else:
        answer = connection.prove(USER, load(KEY))
    assert answer[0] == 52, answer
    return connection


def request(connection, channel, kind, rest=b"", wants=1):
    connection.send(b"\x62" + u32(channel) + string(kind) + bytes([wants]) + rest)


def pty():
    return string("xterm") + u32(80) + u32(24) + u32(0) * 2 + string(b"\0")


def opened(connection):
    fields = Fields(connection.open()[1:])
    fields.u32()
    return fields.u32()


class Transcript:
    """What was said on the one channel, with all data of one stream as one word."""

    def __init__(self):
        self.words, self.streams = [], {}

    def add(self, message):
        kind, fields = message[0], Fields(message[5:])
        if kind in (94, 95):
            stream = "out" if kind == 94 else f"ext{fields.u32()}"
            data = fields.string()
            self.streams[stream] = self.streams.get(stream, b"") + data
        elif kind == 98:
            name = fields.string().decode()
            fields.take(1)
            if name == "exit-status":
                self.words.append(f"status {fields.u32()}")
            elif name == "exit-signal":
                self.words.append(f"signal {fields.string().decode()}")
        elif kind in NAMES:
            self.words.append(NAMES[kind])

    def line(self):
        streams = [f"{name}={data!r}" for name, data in sorted(self.streams.items())]
        # A server may say the status before or after the end of the output.
        words = self.words
        ends = [n for n, word in enumerate(words) if word == "eof" or word.startswith(("status", "signal"))]
        for n, word in zip(ends, sorted(words[n] for n in ends)):
            words[n] = word
        return " ".join(words + streams)


NAMES = {96: "eof", 97: "close", 99: "success", 100: "failure"}


def ending(name, closes):
    """A program from its request to the close: who closes first, and when the client ends its input."""
    kind, command = PROGRAMS[name]
    connection, said = connect(), Transcript()
    channel = opened(connection)
    if name == "terminal":
        request(connection, channel, "pty-req", pty())
    request(connection, channel, kind, string(command) if command else b"")
    if name == "shell":
        connection.send(b"\x5e" + u32(channel) + string(b"exit 6\n"))
    if name == "sftp":
        connection.send(b"\x5e" + u32(channel) + string(SFTP_INIT))
    if closes == "client" or name == "sftp":
        connection.send(b"\x60" + u32(channel))
    closed = False
    while True:
        message = connection.until(*range(93, 101))
        said.add(message)
        if message[0] == 96 and closes == "client":
            connection.send(b"\x61" + u32(channel))
            closed = True
        if message[0] == 97:
            if not closed:
                connection.send(b"\x61" + u32(channel))
            break
    said.streams.pop("out", None) if name == "sftp" else None
    return said.line()


def answers(*requests):
    """Requests on one channel, one behind the other without waiting, and their answers."""
    connection = connect()
    channel = opened(connection)
    for kind, rest, wants in requests:
        request(connection, channel, kind, rest, wants)
    wanted, said = sum(wants for _, _, wants in requests), []
    while len(said) < wanted:
        message = connection.until(97, 99, 100)
        said.append(NAMES[message[0]])
        if message[0] == 97:
            break
    return " ".join(said)


ENV = [("env", string(name) + string("x"), 1) for name in ("LANG", "FOO", "LC_ALL")]
RUN = ("exec", string("exit 0"), 1)
REQUESTS = {
    "no-subsystem": [("subsystem", string("nosuch"), 1)],
    "another-program": [("subsystem", string("nosuch"), 1), RUN],
    "environment": [*ENV, RUN],
    "environment-unasked": [(*ENV[0][:2], 0), (*ENV[1][:2], 0), RUN],
    "terminal-asked": [("pty-req", pty(), 1), RUN],
    "agent": [("auth-agent-req@openssh.com", b"", 1), RUN],
    "unknown": [("nosuch@example.com", b"", 1), RUN],
    "all": [("pty-req", pty(), 1), *ENV, ("auth-agent-req@openssh.com", b"", 1), ("shell", b"", 1)],
}

for case in CASES:
    words = case.split("/")
    said = ending(*words[1:]) if words[0] == "ending" else answers(*REQUESTS[words[1]])
    print(case, said, flush=True)
