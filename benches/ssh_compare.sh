#!/bin/bash
# Measures ssh through Postern beside ssh direct and OpenSSH's ProxyJump, in one run: see benches/README.md.
#
#   [ROUNDS=21] [BULK=5] [MB=512] [FILE_MB=2048] [IDLE=1000] [POSTERN=program] [BEFORE=program] \
#     benches/ssh_compare.sh
#
# It builds, starts two sshd (the target, and one to jump over) and a gateway with its recording on, each on
# a free port of the loopback, as the account that runs it, and takes everything down again:
#   rates      medians of interleaved rounds: ROUNDS times `ssh … true`, and BULK times MB to and from a
#              command and by sftp
#   files      FILE_MB up and down by sftp through the gateway, compared byte for byte
#   memory     what IDLE sessions that do nothing add to the gateway
#   cuts       how long the gateway takes to cut them all, once their grant is revoked
# BEFORE names a `postern` of an earlier commit, whose rates are measured in the same rounds.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
"$root/tests/tools/install" --bench
PATH=$PATH:/usr/sbin
rounds=${ROUNDS:-21} bulk=${BULK:-5} mb=${MB:-512} file_mb=${FILE_MB:-2048} idle=${IDLE:-1000}
if [ -z "${POSTERN:-}" ]; then
    (cd "$root" && cargo build --release --bin postern)
    POSTERN=${CARGO_TARGET_DIR:-$root/target}/release/postern
fi

folder=$(mktemp -d /tmp/postern-ssh-XXXXXX)
pids=()
end() {
    set +e
    for pid in "${pids[@]}"; do kill "$pid"; wait "$pid"; done
    rm -rf "$folder"
} 2>/dev/null
trap end EXIT
trap 'exit 1' HUP INT TERM

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

answers() { # PORT: waits until somebody says SSH there
    for _ in $(seq 600); do
        if exec {probe}<>"/dev/tcp/127.0.0.1/$1"; then
            read -r -t 5 _ <&"$probe" && exec {probe}>&- && return
        fi
        sleep 0.1
    done 2>/dev/null
    echo "nobody answers at port $1" >&2
    cat "$folder"/*.log >&2
    exit 1
}

login=$(id -un)
target=$(free_port) jump=$(free_port) gate=$(free_port) earlier=$(free_port) metrics=$(free_port)
cd "$folder"
for key in alice host; do ssh-keygen -q -t ed25519 -N '' -C '' -f "$key"; done
mkdir -m 700 policies
touch user_ca
server() { # NAME PORT
    cat >"$1.conf" <<EOF
ListenAddress 127.0.0.1:$2
HostKey $folder/host
TrustedUserCAKeys $folder/user_ca
AuthorizedKeysFile $folder/alice.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
MaxStartups 5000
MaxSessions 1000
Subsystem sftp internal-sftp
EOF
    [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
    "$(command -v sshd)" -D -e -f "$1.conf" 2>"$1.log" &
    pids+=($!)
}

echo 'permit (principal in Group::"engineers", action == Action::"connect", resource is Host);' >policies/all.cedar
gateway() { # NAME PROGRAM PORT METRICS
    mkdir -m 700 "$1"
    cat >"$1.toml" <<EOF
[gateway]
host = "localhost"
public_url = "http://localhost:0"
state = "$1"
[postgres]
listen = "127.0.0.1:0"
[ssh]
listen = "127.0.0.1:$3"
[api]
listen = "127.0.0.1:0"
tls = "off"
[limits]
per_address = 5000
[metrics]
listen = "$4"
[sign_in]
links = "sign-in"
[grants]
default = "4h"
[people.alice]
groups = ["engineers"]
ssh_keys = ["$(cat alice.pub)"]
[people.bob]
admin = true
[targets.web-1]
kind = "ssh"
address = "127.0.0.1:$target"
host_keys = ["$(cut -d' ' -f1,2 host.pub)"]
logins.$login.certificate = true
EOF
    "$2" up --config "$1.toml" >"$1.log" 2>&1 &
    pids+=($!)
    answers "$3"
    ssh-keygen -y -f "$1/authority/ssh_login_ca" >>user_ca
}
gateway state "$POSTERN" "$gate" "127.0.0.1:$metrics"
postern=${pids[-1]}
[ -z "${BEFORE:-}" ] || gateway before "$BEFORE" "$earlier" 127.0.0.1:0
server target "$target"
server jump "$jump"
answers "$target"
answers "$jump"

cat >config <<EOF
Host direct
    Port $target
Host jumped
    Port $target
    ProxyJump over
Host over
    Port $jump
Host gate
    Port $gate
    User $login@web-1
Host before
    Port $earlier
    User $login@web-1
Host *
    IdentityFile $folder/alice
    IdentitiesOnly yes
    UserKnownHostsFile $folder/known
    StrictHostKeyChecking no
    LogLevel ERROR
    HostName 127.0.0.1
    User $login
EOF
unset SSH_AUTH_SOCK
via() { ssh -F config "$@"; }

now() { date +%s.%N; }
took() { # COMMAND…: seconds
    local began
    began=$(now)
    "$@" >/dev/null
    python3 -c "print($(now) - $began)"
}
median() { sort -n | sed -n "$((($1 + 1) / 2))p"; }

# Each takes a way and moves $mb MB, or nothing.
exec_() { via "$1" true; }
up() { head -c "${mb}M" /dev/zero | via "$1" 'cat >/dev/null'; }
down() { via "$1" "head -c ${mb}M /dev/zero"; }
put() { echo "put some there" | sftp -q -F config -b - "$1"; }
get() { echo "get there back" | sftp -q -F config -b - "$1"; }

ways=(direct jumped gate)
[ -z "${BEFORE:-}" ] || ways+=(before)
for way in "${ways[@]}"; do via "$way" true; done
measure() { # TIMES WHAT…: adds a line to WHAT.WAY for each round
    local times=$1
    shift
    for _ in $(seq "$times"); do
        for what in "$@"; do
            for way in "${ways[@]}"; do took "$what" "$way" >>"$what.$way"; done
        done
    done
}
head -c "${mb}M" /dev/urandom >some
home=$(via gate pwd)
measure "$rounds" exec_
measure "$bulk" up down put get
rm -f some back "$home/there"
cell() { # WHAT WAY TIMES: the median
    median "$3" <"$1.$2"
}
heads='| medians | direct | ProxyJump | Postern |' line='| --- | --- | --- | --- |'
[ -z "${BEFORE:-}" ] || { heads+=' before |' line+=' --- |'; }
printf '%s\n' "$heads" "$line"
row() { # LABEL WHAT TIMES FORMULA
    printf '| %s |' "$1"
    for way in "${ways[@]}"; do python3 -c "t = $(cell "$2" "$way" "$3"); print(f' {$4:.0f} |', end='')"; done
    echo
}
row 'ssh true, ms' exec_ "$rounds" 't * 1e3'
row 'to a command, MB/s' up "$bulk" "$mb / t"
row 'from a command, MB/s' down "$bulk" "$mb / t"
row 'sftp put, MB/s' put "$bulk" "$mb / t"
row 'sftp get, MB/s' get "$bulk" "$mb / t"

head -c "${file_mb}M" /dev/urandom >file
echo "put file there" | sftp -q -F config -b - gate >/dev/null
cmp file "$home/there"
echo "get there back" | sftp -q -F config -b - gate >/dev/null
cmp file back
sum=$(sha256sum <file | cut -d' ' -f1)
for direction in written read; do
    grep -aqE "\"$direction\":\{\"bytes\":$((file_mb * 1024 * 1024)),\"from\":0,\"sha256\":\"$sum\"" state/recordings/*.rec
done
rm -f "$home/there" back file
echo
echo "$file_mb MB up and down by sftp: the same bytes, and their digest in the recording."

[ "$idle" -gt 0 ] || exit 0
resident() { awk '/VmRSS/ { print $2 }' "/proc/$postern/status"; }
begun() { while [ "$(wc -l <idle.out)" -lt "$1" ]; do sleep 0.1; done; }
# What they read from never says anything and never ends.
mkfifo silence
# shellcheck disable=SC2034  # it is held open, and nothing more
exec {silence}<>silence
: >idle.out
before=$(resident)
for session in $(seq "$idle"); do
    via gate 'echo in; cat' <silence >>idle.out 2>>idle.err &
    pids+=($!)
    [ $((session % 20)) -ne 0 ] || begun "$session"
done
begun "$idle"
after=$(resident)
echo "$idle idle sessions: $(((after - before) / 1024)) MB more, $(((after - before) / idle)) KiB each."

# The link that the gateway printed for its admin.
link=$(sed -n '/for bob/{n;s/^ *//p;}' state.log)
export POSTERN_HOME=$folder/bob
POSTERN_CODE=${link##*#} "$POSTERN" login "${link%%/login*}" >/dev/null
grant=$("$POSTERN" sessions --all --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["grant"])')
"$POSTERN" revoke "$grant" --reason "a bench" >/dev/null
while [ "$(grep -c 'the grant was revoked' idle.err)" -lt "$idle" ]; do sleep 0.1; done
echo
echo "All $idle were told that the grant was revoked. From the word of it until nothing passed any more:"
curl -s "http://127.0.0.1:$metrics/metrics" | python3 -c '
import re, sys
found = re.findall(r"postern_revoke_to_cut_seconds_bucket\{le=\"(.*?)\"\} (\d+)", sys.stdin.read())
buckets = [(bound, int(count)) for bound, count in found]
for name, share in [("half", 0.5), ("99 in 100", 0.99), ("all", 1)]:
    print(f"{name} within", next(bound for bound, count in buckets if count >= share * buckets[-1][1]), "s")
'
