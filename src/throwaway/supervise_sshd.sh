# Runs one throwaway sshd: `sh -c … postern-throwaway FOLDER SSHD`.
# Standard input ties this script to its starter: it never carries anything, and when it ends, the server, its connections
# and FOLDER go.
exec 3<&0 </dev/null
folder=$1 sshd=$2 server='' watcher=''

# Each connection is a process of its own, in a session of its own, that outlives the server.
quit() {
    connections=$(cat "/proc/$server/task/$server/children")
    kill -TERM "$server"
    # shellcheck disable=SC2086  # it is a list
    [ -z "$connections" ] || kill -TERM $connections
} 2>/dev/null

# shellcheck disable=SC2317,SC2329  # the trap calls it
end() {
    [ -z "$server" ] || { quit; wait "$server"; }
    [ -z "$watcher" ] || kill "$watcher"
    cd / && rm -rf -- "$folder"
} 2>/dev/null

fail() {
    tail -c 4000 "$folder/log" >&2
    exit 1
}

trap end EXIT
trap 'exit 1' HUP INT TERM
# Whoever reads what is said here may be gone; the clearing up goes on.
trap '' PIPE

# The library lets the server find its logins in FOLDER instead of the machine's accounts.
LD_PRELOAD=libnss_wrapper.so NSS_WRAPPER_PASSWD="$folder/passwd" NSS_WRAPPER_GROUP="$folder/group" \
    "$sshd" -D -e -f "$folder/sshd_config" >"$folder/log" 2>&1 3<&- &
server=$!
echo "$server" >"$folder/pid"

{ read -r _ <&3; quit; } >/dev/null 2>&1 &
watcher=$!

wait "$server"
server=''
fail
