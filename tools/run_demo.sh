#!/usr/bin/env bash
#
# The demo of requirement 000. Three users register with passwords, send heartbeats, and are listed
# every few seconds. Then one of them stops, and the demo shows that it expires.
#
#   tools/run_demo.sh
#
# Starts three nodes in a temporary directory on free ports, and removes everything at the end. The
# exit code is 0 if all steps succeed, else 1. It takes about twice the TTL, plus the time of a
# first build.

set -euo pipefail

# TTL: seconds after the last heartbeat until a user is offline. The default is that of the server.
readonly TTL="${HEARTBEAT_TTL_SECONDS:-30}"
# Seconds between two queries of the list.
readonly QUERY="${DEMO_QUERY_SECONDS:-5}"
readonly USERS=(alice bob charlie)
# Seconds that a start or an immediate change may take on a busy machine.
readonly SOON=30

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() {
    printf '%s\n' "$1"
}

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

for number in "$TTL" "$QUERY"; do
    if ! [[ "$number" =~ ^[1-9][0-9]{0,3}$ ]]; then
        printf 'error: HEARTBEAT_TTL_SECONDS and DEMO_QUERY_SECONDS are whole seconds from 1 to 9999\n' >&2
        exit 2
    fi
done

work=""
# The processes that this script started, and no others.
pids=()
clean_up() {
    local pid
    # Processes that were waited for are not in the list, so no other process can have these ids.
    for pid in ${pids[@]+"${pids[@]}"}; do kill "$pid" 2>/dev/null || true; done
    for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" 2>/dev/null || true; done
    if [ -n "$work" ]; then rm -rf "$work"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# end PID: stops one process and waits until it has exited.
end() {
    local pid kept=()
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    for pid in "${pids[@]}"; do if [ "$pid" != "$1" ]; then kept+=("$pid"); fi; done
    pids=("${kept[@]}")
}

is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# free_ports N: prints N ports without a listener, one on each line.
free_ports() {
    local found=0 port
    while [ "$found" -lt "$1" ]; do
        port=$((12000 + RANDOM % 18000))
        if is_free "$port"; then
            printf '%s\n' "$port"
            found=$((found + 1))
        fi
    done
}

# program_path: prints the path of the program. Builds it unless ROLLCALL_BIN names one.
program_path() {
    if [ -n "${ROLLCALL_BIN:-}" ]; then
        printf '%s' "$ROLLCALL_BIN"
        return
    fi
    (cd "$root" && cargo build --quiet --locked --bin rollcall) >&2
    printf '%s/debug/rollcall' "${CARGO_TARGET_DIR:-$root/target}"
}

# online: prints the names of the online users, as "alice, bob".
online() {
    "$program" list-online --server "$servers" 2>/dev/null | awk 'NR > 1 { names = names (names ? ", " : "") $1 } END { print names }'
}

# show: prints the list with the time, and sets $list.
show() {
    list="$(online)" || list=""
    printf '  %s  online: %s\n' "$(date +%H:%M:%S)" "${list:-nobody}"
}

start_nodes() {
    local ports=() port i peers=""
    while read -r port; do ports+=("$port"); done < <(free_ports 6)
    for i in 0 1 2; do peers="$peers${peers:+,}127.0.0.1:${ports[i]}"; done
    servers=""
    for i in 0 1 2; do
        (
            cd "$work"
            # The variables of this shell are for other nodes, not for those of the demo.
            unset FIREBASE_BUCKET STORAGE_EMULATOR_HOST ROLLCALL_API_URL ROLLCALL_CLUSTER_KEY ROLLCALL_CLUSTER_KEY_FILE
            HEARTBEAT_TTL_SECONDS="$TTL" exec "$program" --this-node "127.0.0.1:${ports[i]}" --peers "$peers" \
                --api-port "${ports[i + 3]}" --api-bind 127.0.0.1 --data-dir "$work/nodes"
        ) >"$work/node-$i.log" 2>&1 &
        pids+=("$!")
        servers="$servers${servers:+,}http://127.0.0.1:${ports[i + 3]}"
    done
}

wait_for_leader() {
    local deadline=$((SECONDS + SOON))
    until "$program" status --server "$servers" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 3 "$work"/node-*.log >&2
            fail "no node leads after $SOON s"
        fi
        sleep 0.2
    done
}

unset ROLLCALL_SERVER ROLLCALL_CA ROLLCALL_PASSWORD ROLLCALL_DATA_DIR
program="$(program_path)" || fail "the program cannot be built"
work="$(mktemp -d "${TMPDIR:-/tmp}/rollcall-demo.XXXXXX")" || fail "cannot make a temporary directory"

say "1. Starting three nodes"
start_nodes
wait_for_leader
"$program" status --server "$servers"

say "2. Registering ${USERS[*]}"
for user in "${USERS[@]}"; do
    # Other users of this machine can read command lines, but not environment variables.
    ROLLCALL_PASSWORD="secret-of-$user" "$program" register --username "$user" --server "$servers" \
        --data-dir "$work/data" || fail "$user cannot be registered"
done

say "3. Starting the heartbeats of all three"
declare -a beating=()
for user in "${USERS[@]}"; do
    "$program" start-heartbeat --username "$user" --server "$servers" --data-dir "$work/data" >"$work/$user.log" 2>&1 &
    pids+=("$!")
    beating+=("$!")
done

say "4. Asking who is online every $QUERY s"
deadline=$((SECONDS + SOON))
show
until [ "$list" = "alice, bob, charlie" ]; do
    if [ "$SECONDS" -ge "$deadline" ]; then
        tail -n 3 "$work"/{alice,bob,charlie}.log >&2
        fail "all three should be online by now"
    fi
    sleep 0.5
    show
done
for _ in 1 2; do
    sleep "$QUERY"
    show
    if [ "$list" != "alice, bob, charlie" ]; then fail "all three should be online"; fi
done

say "5. Stopping charlie, who expires $TTL s after the last heartbeat"
end "${beating[2]}"
stopped_at=$SECONDS
deadline=$((SECONDS + TTL + SOON))
show
until [ "$list" = "alice, bob" ]; do
    if [ "$SECONDS" -ge "$deadline" ]; then fail "charlie should have expired by now"; fi
    sleep "$QUERY"
    show
    case "$list" in
    "alice, bob" | "alice, bob, charlie") ;;
    *) fail "alice and bob should be online all the time" ;;
    esac
done
say "charlie expired $((SECONDS - stopped_at)) s after the stop; alice and bob are still online"
