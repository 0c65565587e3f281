"""A client of SSH that says what it likes: key exchange and encryption by the book, messages by hand."""

import base64
import hashlib
import os
import socket
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

PATIENCE = 30


def u32(number):
    return struct.pack(">I", number)


def string(text):
    text = text.encode() if isinstance(text, str) else text
    return u32(len(text)) + text


def mpint(data):
    data = data.lstrip(b"\0")
    return string(b"\0" + data if data and data[0] & 0x80 else data)


class Fields:
    """Reads a message."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def string(self):
        return self.take(self.u32())


class Closed(Exception):
    """The other side has gone, with these last words."""


class Ssh:
    """A connection whose keys are exchanged."""

    OFFER = [
        "curve25519-sha256,kex-strict-c-v00@openssh.com",
        "ssh-ed25519",
        "aes128-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-256",
        "none",
        "none",
        "",
        "",
    ]

    def __init__(self, port, offer=None, point=None):
        self.offer, self.point = offer or self.OFFER, point
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.keys = None
        self.exchange()

    def exchange(self):
        ours = b"SSH-2.0-Raw"
        self.socket.sendall(ours + b"\r\n")
        theirs = b""
        while not theirs.endswith(b"\n"):
            theirs += self.exactly(1)
        my_offer = b"\x14" + os.urandom(16) + b"".join(map(string, self.offer)) + b"\0" + u32(0)
        self.send(my_offer)
        their_offer = self.receive()
        key = X25519PrivateKey.generate()
        mine = self.point or key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.send(b"\x1e" + string(mine))
        reply = Fields(self.receive()[1:])
        host_key, their_key = reply.string(), reply.string()
        shared = mpint(key.exchange(X25519PublicKey.from_public_bytes(their_key)))
        parts = [ours, theirs.strip(), my_offer, their_offer, host_key, mine, their_key]
        digest = hashlib.sha256(b"".join(map(string, parts)) + shared).digest()
        self.session = digest

        def derive(letter):
            return hashlib.sha256(shared + digest + letter + digest).digest()

        self.send(b"\x15")
        assert self.receive() == b"\x15"
        self.keys = [
            [AESGCM(derive(b"C")[:16]), derive(b"A")[:12]],
            [AESGCM(derive(b"D")[:16]), derive(b"B")[:12]],
        ]

    def nonce(self, side):
        nonce = self.keys[side][1]
        count = (int.from_bytes(nonce[4:], "big") + 1) % 2**64
        self.keys[side][1] = nonce[:4] + count.to_bytes(8, "big")
        return nonce

    def exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionError as error:
                raise Closed("reset") from error
            if not piece:
                raise Closed("end")
            data += piece
        return data

    def send(self, payload):
        block, head = (16, 1) if self.keys else (8, 5)
        padding = block - (head + len(payload)) % block
        padding += block if padding < 4 else 0
        body = bytes([padding]) + payload + bytes(padding)
        length = u32(len(body))
        if self.keys:
            body = self.keys[0][0].encrypt(self.nonce(0), body, length)
        try:
            self.socket.sendall(length + body)
        except ConnectionError as error:
            raise Closed("reset") from error

    def receive(self):
        length = self.exactly(4)
        count = struct.unpack(">I", length)[0]
        if self.keys:
            body = self.exactly(count + 16)
            body = self.keys[1][0].decrypt(self.nonce(1), body, length)
        else:
            body = self.exactly(count)
        payload = body[1 : len(body) - body[0]]
        if payload[0] == 1:
            fields = Fields(payload[5:])
            raise Closed(fields.string().decode())
        return payload

    def until(self, *kinds):
        """The next message of these kinds; others are looked over."""
        while True:
            message = self.receive()
            if message[0] in kinds:
                return message

    def begin(self):
        """Asks for authentication, and is let to."""
        self.send(b"\x05" + string("ssh-userauth"))
        self.until(6)
        return self

    def none(self, user):
        self.send(b"\x32" + string(user) + string("ssh-connection") + string("none"))
        return self.until(51, 52)

    def dialogue(self, user):
        """Asks for keyboard-interactive, and returns the first answer."""
        self.send(b"\x32" + string(user) + string("ssh-connection") + string("keyboard-interactive") + string("") * 2)
        return self.until(51, 52, 60)

    def request(self, user, blob, algorithm, signed):
        head = b"\x32" + string(user) + string("ssh-connection") + string("publickey")
        return head + bytes([signed]) + string(algorithm) + string(blob)

    def probe(self, user, blob, algorithm="ssh-ed25519"):
        self.send(self.request(user, blob, algorithm, 0))
        return self.until(51, 52, 60)

    def prove(self, user, key, blob=None, algorithm="ssh-ed25519", over=None):
        """Signs, with any key for any blob."""
        blob = blob or public(key)
        request = self.request(user, blob, algorithm, 1)
        signature = key.sign(string(over or self.session) + request)
        self.send(request + string(string("ssh-ed25519") + string(signature)))
        return self.until(51, 52)

    def prove_by_touch(self, user, key, blob, application="ssh:"):
        """Signs as a security key does (OpenSSH's PROTOCOL.u2f)."""
        request = self.request(user, blob, SECURITY_KEY, 1)
        told = b"\x01" + u32(1)
        message = hashlib.sha256(string(self.session) + request).digest()
        signed = key.sign(hashlib.sha256(application.encode()).digest() + told + message)
        self.send(request + string(string(SECURITY_KEY) + string(signed) + told))
        return self.until(51, 52)

    def enter(self, user, file):
        """Comes in with the certificate beside this key."""
        key, blob = certified(file)
        answer = self.begin().prove(user, key, blob, CERTIFICATE)
        assert answer[0] == 52, answer
        return self

    def open(self, kind="session", window=2**20, packet=32768, number=0, rest=b""):
        self.send(b"\x5a" + string(kind) + u32(number) + u32(window) + u32(packet) + rest)
        return self.until(91, 92)

    def ask(self, channel, kind, rest=b"", wants=1):
        self.send(b"\x62" + u32(channel) + string(kind) + bytes([wants]) + rest)
        return self.until(99, 100) if wants else None


CERTIFICATE = "ssh-ed25519-cert-v01@openssh.com"
SECURITY_KEY = "sk-ssh-ed25519@openssh.com"


def security_key(key=None):
    """The key of a security key, always the same unless it is given, and its public half."""
    key = key or Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key, string(SECURITY_KEY) + string(raw) + string("ssh:")


def public(key):
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return string("ssh-ed25519") + string(raw)


def stray():
    return Ed25519PrivateKey.generate()


def load(file):
    with open(file, "rb") as source:
        return load_ssh_private_key(source.read(), None)


def certified(file):
    """A key, and the certificate beside it."""
    with open(f"{file}-cert.pub", encoding="ascii") as source:
        return load(file), base64.b64decode(source.read().split()[1])


def nested(key, inner):
    """A certificate that a certificate signed (CVE-2025-49825)."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    body = string(CERTIFICATE) + string(os.urandom(32)) + string(raw)
    body += struct.pack(">QI", 1, 1) + string("id") + string(string("alice"))
    body += struct.pack(">QQ", 0, 2**64 - 1) + string("")
    body += string(string("device@postern") + string(string("laptop"))) + string("") + string(inner)
    return body + string(string("ssh-ed25519") + string(key.sign(body)))
