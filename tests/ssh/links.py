"""A symbolic link through the gateway: links.py LIBRARY PORT KEY KNOWN_HOSTS USER."""

import asyncio
import sys

LIBRARY, PORT, KEY, KNOWN, USER = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]


async def with_asyncssh():
    import asyncssh

    known = asyncssh.read_known_hosts(KNOWN)
    async with asyncssh.connect(
        "127.0.0.1", PORT, username=USER, client_keys=[KEY], known_hosts=known,
        host_key_alias="gate.example.com", config=None, agent_path=None,
    ) as connection:
        async with connection.start_sftp_client() as sftp:
            await sftp.symlink("there", "link-of-asyncssh")
            assert await sftp.readlink("link-of-asyncssh") == "there"


def with_paramiko():
    import paramiko

    client = paramiko.SSHClient()
    # The host is certified, which this library does not check.
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect("127.0.0.1", PORT, USER, key_filename=KEY, allow_agent=False, look_for_keys=False)
    with client.open_sftp() as sftp:
        sftp.symlink("there", "link-of-paramiko")
        assert sftp.readlink("link-of-paramiko") == "there"
    client.close()


if LIBRARY == "asyncssh":
    asyncio.run(with_asyncssh())
else:
    with_paramiko()
