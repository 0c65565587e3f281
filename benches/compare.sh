#!/bin/bash
# Measures Postern beside PgBouncer, as ratios to a direct connection: see benches/README.md.
#
#   [PAIR=SCRIPT] benches/compare.sh [options of the pair script, e.g. --rounds 5 --secs 3 --tests p16,copyout]
#
# It builds, starts a throwaway Postgres (TLS, SCRAM), a gateway with its recording on (alice signs in
# by certificate) and PgBouncer (session mode, TLS on both legs, SCRAM secrets), each on a free port of
# the loopback, hands all three to the pair script, and takes everything down again. A second, short
# run compares new connections with a direct connection that signs in by certificate too, since SCRAM
# costs the client most of a connection. PAIR names a script that takes NAME='conninfo'... and
# --pid NAME=PID; without it, ../shared/bench/pgbench_pair.sh is taken where it exists.
# GATE names a gate that is built already, and BEFORE one of an earlier commit, which is measured in the same
# rounds. With HOLD=1 nothing is measured, and all waits to be used.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
pair=${PAIR:-$root/../shared/bench/pgbench_pair.sh}
[ -r "$pair" ] || { echo "PAIR has to name the script that measures: \`$pair\` is not there" >&2; exit 2; }
"$root/tests/tools/install" --bench
# Postgres' own programs come first: Debian's wrappers take longer to start than some of what is measured.
for programs in /usr/lib/postgresql/*/bin; do PATH=$programs:$PATH; done
PATH=$PATH:/usr/sbin

executable() {
    (cd "$root" && cargo bench --bench gate --no-run --message-format json-render-diagnostics) |
        python3 -c '
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("executable") and said["target"]["name"] == "gate":
        print(said["executable"])'
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

folder='' bouncer='' gates=() inputs=()
end() {
    set +e
    [ -z "$bouncer" ] || { kill "$bouncer"; wait "$bouncer"; }
    # A gate ends when its standard input is closed, which only this shell holds.
    for pipe in "${inputs[@]}"; do exec {pipe}>&-; done
    for pid in "${gates[@]}"; do wait "$pid"; done
    [ -z "$folder" ] || rm -rf "$folder"
} 2>/dev/null
trap end EXIT
trap 'exit 1' HUP INT TERM

gate=${GATE:-$(executable)}
folder=$(mktemp -d /tmp/postern-compare-XXXXXX)
chmod 711 "$folder"

start_gate() { # PROGRAM ARRAY: fills the array with what the gate prints
    local -n facts=$2
    local input output name value
    mkfifo -m 600 "$folder/$2.in" "$folder/$2.out"
    TMPDIR=$folder "$1" <"$folder/$2.in" >"$folder/$2.out" &
    gates+=($!)
    exec {input}>"$folder/$2.in" {output}<"$folder/$2.out"
    inputs+=("$input")
    while IFS='=' read -r name value <&"$output"; do
        facts[$name]=$value
        [ "$name" != ready ] || break
    done
    [ -n "${facts[ready]:-}" ] || { echo "$1 did not start" >&2; exit 1; }
}
declare -A is before
start_gate "$gate" is
[ -z "${BEFORE:-}" ] || start_gate "$BEFORE" before

# PgBouncer refuses to run as root.
bouncer_port=$(free_port)
as=() account=$(id -un)
[ "$(id -u)" != 0 ] || { account=postgres; as=(setpriv --reuid postgres --regid postgres --clear-groups); }
mkdir "$folder/bouncer"
cp "${is[target_ca]}" "$folder/bouncer/target-ca.pem"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$folder/bouncer/server.key" \
    -out "$folder/bouncer/server.pem" 2>/dev/null
cp "$folder/bouncer/server.pem" "$folder/bouncer-ca.pem"
printf '"app" "%s"\n' "${is[scram]}" >"$folder/bouncer/users"
cat >"$folder/bouncer/pgbouncer.ini" <<INI
[databases]
bench = host=localhost port=${is[target_port]} dbname=bench
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bouncer_port
unix_socket_dir =
pool_mode = session
auth_type = scram-sha-256
auth_file = $folder/bouncer/users
client_tls_sslmode = require
client_tls_cert_file = $folder/bouncer/server.pem
client_tls_key_file = $folder/bouncer/server.key
server_tls_sslmode = verify-full
server_tls_ca_file = $folder/bouncer/target-ca.pem
max_client_conn = 1000
default_pool_size = 300
log_connections = 0
log_disconnections = 0
log_stats = 0
INI
chmod 700 "$folder/bouncer"
chmod 600 "$folder"/bouncer/*
chown -R "$account" "$folder/bouncer"
"${as[@]}" pgbouncer -q "$folder/bouncer/pgbouncer.ini" >"$folder/bouncer.log" 2>&1 &
bouncer=$!

export PGPASSWORD=${is[password]}
through_bouncer="host=localhost port=$bouncer_port dbname=bench user=app sslmode=verify-full sslrootcert=$folder/bouncer-ca.pem"
for _ in $(seq 100); do
    ! psql -qXAtc 'select 1' "$through_bouncer" >/dev/null 2>&1 || break
    sleep 0.1
done
psql -qXAtc 'select 1' "$through_bouncer" >/dev/null || { cat "$folder/bouncer.log" >&2; exit 1; }

psql -qXAtc 'select 1' "${is[postern]}" >/dev/null

# What a session of your own can look at meanwhile, e.g. with perf.
echo "gateway: process ${is[pid]}; pgbouncer: process $bouncer"
if [ -n "${HOLD:-}" ]; then
    printf '%s\n' "direct='${is[direct]}'" "pgbouncer='$through_bouncer'" "postern='${is[postern]}'" "PGPASSWORD='$PGPASSWORD'"
    read -r -p 'press return to end '
    exit
fi
earlier=()
if [ -n "${BEFORE:-}" ]; then
    # Each gate has a target of its own; the script that measures prepares that of the first alone.
    pgbench -q -i -s 10 "${before[direct]}" 2>/dev/null
    psql -qXc 'create unlogged table pair_sink (t text)' "${before[direct]}"
    earlier=(--pid before="${before[pid]}" before="${before[postern]}")
fi
bash "$pair" --init --pid pgbouncer="$bouncer" --pid postern="${is[pid]}" "$@" \
    direct="${is[direct]}" pgbouncer="$through_bouncer" postern="${is[postern]}" "${earlier[@]}"
echo 'both signing in by certificate:'
bash "$pair" "$@" --tests conn,connlat --pid postern="${is[pid]}" \
    direct="${is[direct_by_certificate]}" postern="${is[postern]}"
