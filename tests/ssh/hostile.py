"""What hostile clients try, and what has to become of it: hostile.py PORT KEY CASE [FACT...].

Each case ends with a look whether others are still served.
"""

import os
import select
import socket
import struct
import sys

from raw_ssh import (
    CERTIFICATE,
    SECURITY_KEY,
    Closed,
    Fields,
    Ssh,
    certified,
    mpint,
    nested,
    public,
    security_key,
    stray,
    string,
    u32,
)

PORT, KEY, CASE, FACTS = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
USER = "deploy@web-1"


def refused(connection, *arguments, **more):
    """Whether a proof proves nothing: a plain no, or no connection any more."""
    try:
        answer = connection.begin().prove(*arguments, **more)
    except Closed:
        return True
    return answer[0] == 51


def messages_of_later_stages_lead_nowhere():
    connection = Ssh(PORT).begin()
    for message in (
        b"\x34",  # "you are authenticated"
        b"\x5a" + string("session") + u32(0) + u32(2**20) + u32(32768),
        b"\x50" + string("tcpip-forward") + b"\1" + string("") + u32(0),
        b"\x5e" + u32(0) + string("data"),
        b"\x62" + u32(0) + string("exec") + b"\1" + string("touch /tmp/never"),
    ):
        connection.send(message)
    connection.send(b"\x32" + string(USER) + string("ssh-connection") + string("none"))
    assert connection.receive()[0] == 51, "the first answer is the one to the last message"


def a_key_that_is_only_offered_is_no_proof():
    key, blob = certified(KEY)
    connection = Ssh(PORT).begin()
    assert connection.probe(USER, blob, CERTIFICATE)[0] == 60
    connection.send(b"\x5a" + string("session") + u32(0) + u32(2**20) + u32(32768))
    assert connection.none(USER)[0] == 51
    assert refused(Ssh(PORT), USER, stray(), blob, algorithm=CERTIFICATE), "signed by another key"
    assert refused(Ssh(PORT), USER, key, blob, algorithm=CERTIFICATE, over=b"x" * 32), "of another session"


def a_name_that_changes_after_the_offer_is_a_new_attempt():
    key, blob = certified(KEY)
    connection = Ssh(PORT).begin()
    assert connection.probe("deploy@web-1", blob, CERTIFICATE)[0] == 60
    try:
        assert connection.prove("root@web-1", key, blob, CERTIFICATE)[0] == 51
    except Closed as told:
        assert "root" in str(told), told


def a_certificate_within_a_certificate_is_none():
    key, blob = certified(KEY)
    assert refused(Ssh(PORT), USER, key, nested(key, blob), algorithm=CERTIFICATE)


def strangers_hear_the_same_whoever_they_say_they_are():
    answers = set()
    for user in ("deploy@web-1", "nobody@web-1", "deploy@nowhere", "root", "", "$(id)@web-1", "a\nb@web-1", "`id`",
                 "-oProxyCommand=id@web-1", "%h%u@web-1", "${HOME}@web-1", "do\\main@web-1"):
        connection = Ssh(PORT).begin()
        answers.add((connection.none(user), connection.prove(user, stray())))
    assert len(answers) == 1, answers


def a_guesser_has_only_so_many_attempts():
    connection = Ssh(PORT).begin()
    tries = 0
    try:
        while tries < 100:
            connection.prove(USER, stray())
            tries += 1
    except Closed:
        pass
    assert tries <= 20, tries


def huge_packets_are_not_waited_for():
    for length in (2**31, 2**32 - 1, 10**7, 0, 3):
        connection = Ssh(PORT)
        connection.socket.sendall(u32(length) + b"x" * 64)
        try:
            while True:
                connection.receive()
        except Closed:
            pass


def weak_algorithms_and_points_of_nothing_are_turned_away():
    ctr = "aes256-ctr"
    for changes in (
        {0: "diffie-hellman-group14-sha1,kex-strict-c-v00@openssh.com"},
        {0: "diffie-hellman-group-exchange-sha256,kex-strict-c-v00@openssh.com"},
        {1: "ssh-rsa"},
        {1: "ssh-dss"},
        {2: "aes128-cbc", 3: "aes128-cbc"},
        {2: "3des-cbc", 3: "3des-cbc"},
        {2: "none", 3: "none"},
        {2: ctr, 3: ctr, 4: "hmac-sha1", 5: "hmac-sha1"},
        {2: ctr, 3: ctr, 4: "hmac-md5", 5: "hmac-md5"},
        {2: ctr, 3: ctr, 4: "none", 5: "none"},
        {6: "zlib", 7: "zlib"},
    ):
        offer = [changes.get(place, name) for place, name in enumerate(Ssh.OFFER)]
        try:
            Ssh(PORT, offer=offer)
        except Closed:
            continue
        raise AssertionError(f"{changes} was taken")
    for point in (bytes(32), b"\1" + bytes(31), bytes(31), b"\xff" * 33):
        try:
            Ssh(PORT, point=point)
        except Closed:
            continue
        raise AssertionError(f"the point {point.hex()} was taken")


def keys_that_are_too_large_are_not_computed_with():
    """What has 16 KiB is no key; what has more is not even read."""
    rsa = string("ssh-rsa") + mpint(b"\xff" * 15_000) + mpint(b"\xff" * 16_000)
    for algorithm in ("ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"):
        assert Ssh(PORT).begin().probe(USER, rsa, algorithm)[0] == 51, algorithm
    key, blob = certified(KEY)
    signed = nested(key, string("ssh-rsa") + mpint(b"\3") + mpint(b"\xff" * 16_000))
    assert refused(Ssh(PORT), USER, key, signed, algorithm=CERTIFICATE)
    curve = string("sk-ssh-ed25519@openssh.com") + string(bytes(32)) + string("ssh:" + "x" * 20_000)
    assert Ssh(PORT).begin().probe(USER, curve, SECURITY_KEY)[0] == 51
    for huge in (blob + bytes(40_000), string("ssh-rsa") + mpint(b"\3") + mpint(b"\xff" * 100_000)):
        try:
            Ssh(PORT).begin().probe(USER, huge, CERTIFICATE)
        except Closed:
            continue
        raise AssertionError(f"{len(huge)} bytes of a key were read")


def endless_keys_are_not_asked_for_their_proof():
    connection = Ssh(PORT).begin()
    offered = 0
    try:
        while offered < 1_000:
            assert connection.probe(USER, public(stray()))[0] == 60
            offered += 1
    except Closed:
        pass
    assert 20 <= offered <= 64, offered


def attempts_of_all_methods_count_together():
    connection = Ssh(PORT).begin()
    tries = 0
    try:
        while tries < 100:
            connection.prove(USER, stray())
            connection.dialogue("nobody@nowhere")
            connection.none(USER)
            tries += 1
    except Closed:
        pass
    assert tries <= 20, tries


def nothing_opens_while_people_decide():
    for message in (
        b"\x5a" + string("session") + u32(0) + u32(2**20) + u32(32768),
        b"\x50" + string("tcpip-forward") + b"\1" + string("") + u32(0),
        b"\x5a" + string("direct-tcpip") + u32(0) + u32(2**20) + u32(32768) + (string("127.0.0.1") + u32(1)) * 2,
    ):
        connection = Ssh(PORT).begin()
        told = connection.dialogue(USER)
        assert told[0] == 60 and b"confirm code" in told, told
        connection.send(b"\x3d" + u32(0))
        connection.send(message)
        # Whoever says anything while they wait doesn't wait any more.
        try:
            assert connection.until(51, 52, 81, 82, 91, 92, 99)[0] == 51
            connection.send(message)
            assert connection.none(USER)[0] == 51, "and they are nobody"
        except Closed:
            pass


def who_no_longer_waits_is_let_go():
    gone = []
    for _ in range(4):
        connection = Ssh(PORT).begin()
        assert b"confirm code" in connection.dialogue(USER)
        connection.send(b"\x3d" + u32(0))
        # What comes in one piece with the answer before it is read with that, before the gateway waits.
        while True:
            connection.send(b"\x02" + string("and now for something else"))
            if select.select([connection.socket], [], [], 0.5)[0]:
                break
        assert connection.until(51, 60)[0] == 51
        gone.append(connection)
    waiting = []
    while len(gone) < 8:
        connection = Ssh(PORT).begin()
        told = connection.dialogue(USER)
        (gone if b"too many" in told else waiting).append(connection)
    assert len(waiting) == 8, len(waiting)
    for connection in gone:
        try:
            connection.until(80)
        except Closed:
            continue
        raise AssertionError("it is asked whether it is still there")
    assert Ssh(PORT).begin().none(USER)[0] == 51, "and there is room for others"


def a_million_answers_and_extensions_are_bounded():
    for message in (
        b"\x3d" + u32(2**32 - 1),
        b"\x07" + u32(2**32 - 1),
        b"\x07" + u32(1000) + (string("x") + string("y")) * 1000,
    ):
        connection = Ssh(PORT).begin()
        connection.send(message)
        try:
            connection.none(USER)
        except Closed:
            pass


def what_leads_around_the_recording_is_refused():
    connection = Ssh(PORT).enter(USER, KEY)
    address = string("127.0.0.1") + u32(1) + string("127.0.0.1") + u32(2)
    for kind, rest in (
        ("direct-tcpip", string("web-1") + u32(22) + string("127.0.0.1") + u32(2)),
        ("direct-tcpip", address),
        ("forwarded-tcpip", address),
        ("direct-streamlocal@openssh.com", string("/run/x") + string("") + u32(0)),
        ("x11", string("127.0.0.1") + u32(1)),
        ("tun@openssh.com", u32(1) + u32(0)),
        ("evil", b""),
    ):
        assert connection.open(kind, rest=rest)[0] == 92, kind
    for kind, rest in (
        ("tcpip-forward", string("") + u32(0)),
        ("streamlocal-forward@openssh.com", string("/tmp/x")),
        ("evil@example.com", b""),
    ):
        connection.send(b"\x50" + string(kind) + b"\1" + rest)
        assert connection.until(81, 82)[0] == 82, kind
    channel = Fields(connection.open()[5:]).u32()
    for name in ("LD_PRELOAD", "BASH_ENV", "PATH", "LANGUAGE"):
        assert connection.ask(channel, "env", string(name) + string("x"))[0] == 100, name
    for kind, rest in (
        ("auth-agent-req@openssh.com", b""),
        ("x11-req", b"\0" + string("MIT-MAGIC-COOKIE-1") + string("00") + u32(0)),
        ("evil", b""),
    ):
        assert connection.ask(channel, kind, rest)[0] == 100, kind


def a_security_key_lets_in_and_only_itself():
    key, blob = security_key()
    assert Ssh(PORT).begin().prove_by_touch(USER, key, blob)[0] == 52
    assert Ssh(PORT).begin().prove_by_touch(USER, stray(), blob)[0] == 51, "signed by another"
    assert Ssh(PORT).begin().prove_by_touch(USER, key, blob, application="ssh:other")[0] == 51
    assert Ssh(PORT).begin().probe(USER, security_key(stray())[1], SECURITY_KEY)[0] == 51, "nobody's"


def thousands_of_refused_channels_leave_nothing_behind():
    connection = Ssh(PORT).enter(USER, KEY)
    address = string("127.0.0.1") + u32(1)
    for kind, count, rest in (("x11", 5_000, address), ("direct-tcpip", 500, address + address)):
        for number in range(count):
            assert connection.open(kind, number=number, rest=rest)[0] == 92
    assert connection.open()[0] == 91, "and the next one that is allowed opens"


def channels_are_counted():
    connection = Ssh(PORT).enter(USER, KEY)
    for number in range(150):
        connection.send(b"\x5a" + string("session") + u32(number) + u32(2**20) + u32(32768))
    answers = [connection.until(91, 92)[0] for _ in range(150)]
    assert answers.count(91) == 128, answers


def endless_requests_that_are_refused_end_the_connection():
    for kind in ("auth-agent-req@openssh.com", "subsystem"):
        connection = Ssh(PORT).enter(USER, KEY)
        channel = Fields(connection.open(window=0)[5:]).u32()
        rest = string("evil") if kind == "subsystem" else b""
        try:
            for _ in range(2_000):
                connection.ask(channel, kind, rest, wants=0)
            connection.open(number=1)
        except Closed:
            continue
        raise AssertionError(f"2,000 answers to {kind} lie in wait for a client that reads none")


def file_transfer_has_one_name():
    connection = Ssh(PORT).enter(USER, KEY)
    for name in ("sftp\0", "sftp\n", " sftp", "sftp\u00a0", ""):
        channel = Fields(connection.open()[5:]).u32()
        if connection.ask(channel, "subsystem", string(name))[0] == 100:
            continue
        connection.send(b"\x5e" + u32(channel) + string(u32(5) + b"\1" + u32(3)))
        raise AssertionError(f"{name!r} was passed on, and answered with {connection.until(94, 95, 96, 97)}")


def packet(kind, body):
    """A packet of SFTP."""
    return string(bytes([kind]) + body)


def started(connection, kind, rest=b""):
    """A channel with its program, and the number of the channel at the gateway."""
    channel = Fields(connection.open()[5:]).u32()
    assert connection.ask(channel, kind, rest)[0] == 99
    return channel


def answered(connection):
    """The next packet of SFTP, which comes in one message here."""
    return Fields(Fields(connection.until(94)[5:]).string()).string()


def ended(connection, *words):
    """A channel that ends with these words on its standard error."""
    told = b""
    while (message := connection.until(94, 95, 97, 98, 100))[0] != 97:
        if message[0] == 95:
            told += Fields(message[9:]).string()
    for word in words:
        assert word.encode() in told, (word, told)


def a_second_program_within_a_write_reaches_nothing():
    inside, outside = FACTS
    connection = Ssh(PORT).enter(USER, KEY)
    channel = started(connection, "subsystem", string("sftp"))
    init = packet(1, u32(3))

    def send(data):
        connection.send(b"\x5e" + u32(channel) + string(data))

    send(init)
    assert answered(connection)[0] == 2
    send(packet(14, u32(1) + string(f"{outside}/plainly") + u32(0)))
    assert answered(connection)[0] == 101, "what lies outside is refused"
    send(packet(3, u32(2) + string(f"{inside}/carrier") + u32(2 | 8 | 16) + u32(0)))
    handle = Fields(answered(connection)[5:]).string()
    # What would be packets of their own for whoever began anew, in the middle of a write.
    hidden = packet(14, u32(3) + string(f"{outside}/hidden") + u32(0))
    hidden += packet(20, u32(4) + string("/etc/passwd") + string(f"{inside}/link"))
    carried = packet(200, u32(5) + string("home-directory") + string(hidden))
    begun = b"x" * 10
    length = len(begun) + len(init) + len(carried) - len(hidden)
    head = b"\6" + u32(6) + string(handle) + struct.pack(">Q", 0) + u32(length)
    send(u32(len(head) + length) + head + begun)
    connection.send(b"\x62" + u32(channel) + string("subsystem") + b"\1" + string("sftp"))
    send(init + carried)
    ended(connection, "open another channel")
    assert os.listdir(outside) == [], os.listdir(outside)
    assert os.listdir(inside) == ["carrier"], os.listdir(inside)
    channel = started(connection, "subsystem", string("sftp"))
    send(init)
    assert answered(connection)[0] == 2, "and another channel works"


def bytes_have_no_way_before_a_program():
    connection = Ssh(PORT).enter(USER, KEY)
    for early in (b"\x5e", b"\x5f"):
        channel = Fields(connection.open()[5:]).u32()
        code = u32(1) if early == b"\x5f" else b""
        connection.send(early + u32(channel) + code + string("touch $HOME/early\n"))
        connection.send(b"\x62" + u32(channel) + string("shell") + b"\0")
        ended(connection, "data came before any program")
    channel = Fields(connection.open()[5:]).u32()
    connection.send(b"\x60" + u32(channel))
    connection.send(b"\x62" + u32(channel) + string("exec") + b"\0" + string("touch $HOME/early"))
    ended(connection, "after the end of its input")
    for second in ("shell", "exec", "subsystem"):
        channel = started(connection, "exec", string("cat"))
        rest = b"" if second == "shell" else string("touch $HOME/early")
        connection.send(b"\x62" + u32(channel) + string(second) + b"\0" + rest)
        ended(connection, "open another channel")


def file_transfer_has_no_terminal():
    connection = Ssh(PORT).enter(USER, KEY)
    channel = Fields(connection.open()[5:]).u32()
    size = string("xterm") + u32(80) + u32(24) + u32(0) * 2
    assert connection.ask(channel, "pty-req", size + string(b"\0"))[0] == 99
    connection.send(b"\x62" + u32(channel) + string("subsystem") + b"\0" + string("sftp"))
    ended(connection, "without a terminal")


def a_terminal_that_is_refused_leaves_streams():
    connection = Ssh(PORT).enter(USER, KEY)
    channel = Fields(connection.open()[5:]).u32()
    size = string("xterm") + u32(80) + u32(24) + u32(0) * 2
    assert connection.ask(channel, "pty-req", size + string(b"\0"))[0] == 100
    assert connection.ask(channel, "exec", string("sh"))[0] == 99
    connection.send(b"\x5e" + u32(channel) + string("echo done # not echoed\n"))
    assert b"done" in connection.until(94)
    connection.send(b"\x60" + u32(channel))
    connection.until(97)


def nothing_prepares_a_program_that_runs():
    connection = Ssh(PORT).enter(USER, KEY)
    channel = started(connection, "exec", string("read x; echo $LANG $SSH_TTY."))
    size = string("xterm") + u32(80) + u32(24) + u32(0) * 2
    for kind, rest in (
        ("env", string("LANG") + string("late")),
        ("pty-req", size + string(b"\0")),
        ("auth-agent-req@openssh.com", b""),
        ("x11-req", b"\0" + string("MIT-MAGIC-COOKIE-1") + string("00") + u32(0)),
    ):
        assert connection.ask(channel, kind, rest)[0] == 100, kind
    assert connection.ask(channel, "window-change", u32(90) + u32(30) + u32(0) * 2)[0] == 99
    connection.send(b"\x5e" + u32(channel) + string("go\n"))
    assert b"late" not in connection.until(94)
    channel = started(connection, "exec", string("echo ready; exec cat"))
    # Before its program runs, sshd has no process group to signal.
    assert b"ready" in connection.until(94)
    connection.send(b"\x62" + u32(channel) + string("signal") + b"\0" + string("TERM"))
    assert b"exit-signal" in connection.until(98), "a signal ends what runs"


def a_yes_that_comes_too_late_is_followed_by_an_end():
    connection = Ssh(PORT).enter(USER, KEY)
    connection.send(b"\x50" + string("tcpip-forward") + b"\1" + string("localhost") + u32(0))
    port = Fields(connection.until(81, 82)[1:]).u32()
    caller = socket.create_connection(("127.0.0.1", port), timeout=30)
    asked = Fields(connection.until(90)[1:])
    assert asked.string() == b"forwarded-tcpip"
    channel = asked.u32()
    assert caller.recv(1) == b"", "the gateway doesn't wait any more"
    connection.send(b"\x5b" + u32(channel) + u32(7) + u32(2**20) + u32(32768))
    assert connection.until(80, 97) == b"\x61" + u32(7)


def data_beyond_the_window_ends_the_connection_and_no_other():
    connection = Ssh(PORT).enter(USER, KEY)
    channel = Fields(connection.open()[5:]).u32()
    assert connection.ask(channel, "exec", string("sleep 600"))[0] == 99
    try:
        for _ in range(4_000):
            connection.send(b"\x5e" + u32(channel) + string(b"x" * 32_000))
        connection.none(USER)
    except Closed:
        return
    raise AssertionError("128 MB went into a window of 2")


def windows_do_not_overflow():
    connection = Ssh(PORT).enter(USER, KEY)
    channel = Fields(connection.open()[5:]).u32()
    for _ in range(3):
        connection.send(b"\x5d" + u32(channel) + u32(2**32 - 1))
    try:
        connection.ask(channel, "exec", string("echo in"))
        assert b"in" in connection.until(94)
    except Closed:
        pass


def packets_of_nothing_are_not_sent_for_ever():
    connection = Ssh(PORT).enter(USER, KEY)
    try:
        answer = connection.open(packet=0)
        if answer[0] == 91:
            channel = Fields(answer[5:]).u32()
            connection.ask(channel, "exec", string("echo in; exit 3"))
            for _ in range(1_000):
                if connection.receive()[0] == 97:
                    break
            else:
                raise AssertionError("a thousand packets of nothing")
    except Closed:
        pass


def terminals_of_many_modes_are_bounded():
    connection = Ssh(PORT).enter(USER, KEY)
    channel = Fields(connection.open()[5:]).u32()
    for modes in (b"".join(bytes([n % 159 + 1]) + u32(n) for n in range(1_000)) + b"\0", b"\1\0\0", b""):
        rest = string("xterm") + u32(2**32 - 1) * 4 + string(modes)
        try:
            connection.ask(channel, "pty-req", rest)
        except Closed:
            connection = Ssh(PORT).enter(USER, KEY)
            channel = Fields(connection.open()[5:]).u32()


def channels_that_are_not_there_take_nothing():
    connection = Ssh(PORT).enter(USER, KEY)
    try:
        for kind in (b"\x5d", b"\x5e", b"\x60", b"\x61", b"\x63", b"\x64", b"\x5b", b"\x5c"):
            connection.send(kind + u32(999) + u32(1) + u32(1) + u32(1))
        connection.open()
    except Closed:
        pass


globals()[CASE]()
assert Ssh(PORT).begin().none(USER)[0] == 51, "others are still served"
