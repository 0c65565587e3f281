# Runs one throwaway PostgreSQL server: `sh -c … postern-throwaway FOLDER BIN`.
# Standard input ties this script to its starter: it never carries anything, and when it ends, the server and FOLDER go.
exec 3<&0 </dev/null
folder=$1 bin=$2 server='' watcher=''

# A server that has only just begun ignores the signal, so it is sent until it is obeyed. The sessions
# of a server that has to be killed outright see that it is gone, and end.
quit() {
    tries=0
    while kill -QUIT "$server" && [ $((tries += 1)) -lt 100 ]; do sleep 0.1; done
    kill -KILL "$server"
} >/dev/null 2>&1

# shellcheck disable=SC2317,SC2329  # the trap calls it
end() {
    [ -z "$server" ] || { quit & wait "$server"; }
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

"$bin/initdb" --pgdata="$folder/data" --username=postgres --auth=trust --encoding=UTF8 --no-locale \
    --no-sync --no-instructions >"$folder/log" 2>&1 3<&- || fail

"$bin/postgres" -D "$folder/data" -c config_file="$folder/postgresql.conf" >>"$folder/log" 2>&1 3<&- &
server=$!

{ read -r _ <&3; quit; } >/dev/null 2>&1 &
watcher=$!

wait "$server"
server=''
fail
