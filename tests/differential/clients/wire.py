"""Postgres' protocol 3.0, message by message, for scripts that say what no driver would.

Each message of a client has a function that returns its bytes, by its letter (PostgreSQL documentation,
"Message Formats"): `connection.send(P("select 1"), B(), E(), S())`, then `connection.show()`.
"""

import base64 as _base64
import hashlib as _hashlib
import hmac as _hmac
import os as _os
import socket as _socket
import ssl as _ssl
import struct as _struct


def message(kind, body=b""):
    return kind.encode() + _struct.pack("!i", len(body) + 4) + body


def _text(value):
    return value.encode() + b"\0"


def Q(sql):
    return message("Q", _text(sql))


def P(sql, name="", oids=()):
    return message("P", _text(name) + _text(sql) + _struct.pack("!h", len(oids)) + b"".join(_struct.pack("!I", oid) for oid in oids))


def B(*values, portal="", name="", formats=(), results=()):
    body = _text(portal) + _text(name) + _struct.pack(f"!h{len(formats)}h", len(formats), *formats)
    body += _struct.pack("!h", len(values))
    for value in values:
        data = value.encode() if isinstance(value, str) else value
        body += _struct.pack("!i", -1) if data is None else _struct.pack("!i", len(data)) + data
    return message("B", body + _struct.pack(f"!h{len(results)}h", len(results), *results))


def E(portal="", most=0):
    return message("E", _text(portal) + _struct.pack("!i", most))


def D(kind, name=""):
    return message("D", kind.encode() + _text(name))


def C(kind, name=""):
    return message("C", kind.encode() + _text(name))


def F(oid, *values):
    body = _struct.pack("!Ihh", oid, 0, len(values))
    for value in values:
        body += _struct.pack("!i", len(value)) + value.encode()
    return message("F", body + _struct.pack("!h", 0))


def S():
    return message("S")


def H():
    return message("H")


def X():
    return message("X")


def d(data):
    return message("d", data if isinstance(data, bytes) else data.encode())


def c():
    return message("c")


def f(reason):
    return message("f", _text(reason))


class connect:
    """A session with what libpq's variables say, up to the first ReadyForQuery."""

    def __init__(self, **parameters):
        environment = _os.environ
        plain = _socket.create_connection(("127.0.0.1", int(environment["PGPORT"])), 30)
        plain.sendall(_struct.pack("!ii", 8, 80877103))
        assert plain.recv(1) == b"S"
        context = _ssl.create_default_context(cafile=environment["PGSSLROOTCERT"])
        if "PGSSLCERT" in environment:
            context.load_cert_chain(environment["PGSSLCERT"], environment["PGSSLKEY"])
        self._stream = context.wrap_socket(plain, server_hostname="localhost")
        self._user = environment["PGUSER"]
        named = {"user": self._user, "database": environment["PGDATABASE"], "application_name": "raw", **parameters}
        body = _struct.pack("!i", 196608) + b"".join(_text(name) + _text(value) for name, value in named.items()) + b"\0"
        self.send(_struct.pack("!i", len(body) + 4) + body)
        self.parameters = {}
        self._authenticate()

    def send(self, *messages):
        self._stream.sendall(b"".join(messages))

    def read(self):
        """The next message, or nothing at the end."""
        head = self._exactly(5)
        if len(head) < 5:
            return None
        kind, length = _struct.unpack("!ci", head)
        return kind.decode(), self._exactly(length - 4)

    def show(self, until="Z", times=1):
        """Prints messages until one of this kind has come so many times, or the connection ends."""
        while times:
            got = self.read()
            if got is None:
                print("the connection ended")
                return
            print(_describe(*got))
            times -= got[0] in until

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self._stream.recv(count - len(data))
            if not more:
                break
            data += more
        return data

    def _authenticate(self):
        while True:
            kind, body = self.read() or ("end", b"")
            if kind == "R":
                (method,) = _struct.unpack("!i", body[:4])
                if method == 10:
                    self._scram()
            elif kind == "S":
                name, value = body.split(b"\0")[:2]
                self.parameters[name.decode()] = value.decode()
            elif kind in "EN":
                print(_describe(kind, body))
            elif kind == "Z":
                return
            if kind in ("E", "end"):
                raise ConnectionError("the session did not begin")

    def _scram(self):
        """SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677)."""
        mine = f"n=,r={_base64.b64encode(_os.urandom(18)).decode()}"
        first = f"n,,{mine}".encode()
        self.send(message("p", _text("SCRAM-SHA-256") + _struct.pack("!i", len(first)) + first))
        theirs = self.read()[1][4:].decode()
        fields = dict(part.split("=", 1) for part in theirs.split(","))
        salted = _hashlib.pbkdf2_hmac("sha256", _os.environ["PGPASSWORD"].encode(), _base64.b64decode(fields["s"]), int(fields["i"]))
        key = _hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={fields['r']}"
        signature = _hmac.digest(_hashlib.sha256(key).digest(), f"{mine},{theirs},{final}".encode(), "sha256")
        proof = _base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        self.send(message("p", f"{final},p={proof}".encode()))
        self.read()


def _describe(kind, body):
    if kind in "EN":
        fields = {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}
        return " ".join([kind] + [fields[name] for name in "VCMDHPR" if name in fields])
    if kind == "T":
        return f"T {_columns(body)}"
    if kind == "D":
        return f"D {_values(body)}"
    if kind == "t":
        return f"t {_struct.unpack(f'!{(len(body) - 2) // 4}I', body[2:])}"
    if kind == "A":
        return f"A {body[4:]!r}"
    return f"{kind} {body!r}" if body else kind


def _columns(body):
    columns, at = [], 2
    for _ in range(_struct.unpack("!h", body[:2])[0]):
        end = body.index(b"\0", at)
        # The table's OID is another one in each run.
        _, _, oid, size, modifier, form = _struct.unpack("!IhIhih", body[end + 1 : end + 19])
        columns.append((body[at:end].decode(), oid, size, modifier, form))
        at = end + 19
    return columns


def _values(body):
    values, at = [], 2
    for _ in range(_struct.unpack("!h", body[:2])[0]):
        (length,) = _struct.unpack("!i", body[at : at + 4])
        at += 4
        values.append(None if length < 0 else body[at : at + length])
        at += max(length, 0)
    return values
