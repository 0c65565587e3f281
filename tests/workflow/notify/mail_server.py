"""A mail server: STARTTLS and a sign-in are required, and each mail is told as a line of JSON.

    mail_server.py CERTIFICATE KEY        (the password is in MAIL_PASSWORD)

The first line is the port. Nobody is there by the name of `gone`.
"""

import asyncio
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

PASSWORD = os.environ["MAIL_PASSWORD"].encode()


class Sink:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode(),
            "encrypted": session.ssl is not None,
            "signed_in": bool(session.authenticated),
        }
        print(json.dumps(mail), flush=True)
        return "250 OK"


def signs_in(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"postern", PASSWORD)
    return AuthResult(success=right, handled=False)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])

    def speak():
        return SMTP(
            Sink(),
            hostname="localhost",
            tls_context=context,
            require_starttls=True,
            authenticator=signs_in,
            auth_required=True,
        )

    server = await asyncio.get_running_loop().create_server(speak, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
