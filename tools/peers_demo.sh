#!/usr/bin/env bash
#
# Six chat peers on this machine, in the background: a bootstrap peer and peer1 to peer5, of which each knows the bootstrap
# peer and the one before it. (The registry's demos are others: `rollcall demo`, and tools/run_demo.sh.)
#
#   tools/peers_demo.sh start            # builds the program, if ROLLCALL_BIN names none
#   tools/peers_demo.sh status           # ends with 1 if a peer is down
#   tools/peers_demo.sh logs             # follows what they say, until Ctrl-C
#   tools/peers_demo.sh connect peer1    # a seventh peer at this terminal, which knows that one
#   tools/peers_demo.sh stop
#   tools/peers_demo.sh clean            # stop, and remove what they kept
#
#   DEMO_PORT           port of the bootstrap peer [8080]; the others have the next five
#   DEMO_METRICS_PORT   the same for /healthz and /metrics [DEMO_PORT + 1000]
#   DEMO_DIR            where process numbers, logs and histories are [target/peers-demo]
#   DEMO_NAME           what the seventh peer is called [guest]
#   P2P_LOG_LEVEL, P2P_LOG_FORMAT   as for every peer

set -euo pipefail

readonly NAMES=(bootstrap peer1 peer2 peer3 peer4 peer5)
# How long starting and ending may take on a busy machine, in seconds.
readonly SOON=30
# How long one question to a peer may take, in seconds.
readonly PATIENCE=3

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
dir="${DEMO_DIR:-$root/target/peers-demo}"
# It is how the processes are known again, from wherever this is called.
if [[ "$dir" != /* ]]; then dir="$PWD/$dir"; fi

say() {
    printf '%s\n' "$1"
}

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

usage() {
    printf 'usage: %s start|status|logs|connect NAME|stop|clean\n' "tools/peers_demo.sh" >&2
    exit 2
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing; install it (the package is called $tool or procps)"
    done
}

# choose_ports: sets base and metrics_base: those of the demo that was started, else those that are wanted.
choose_ports() {
    if [ -f "$dir/ports" ]; then
        read -r base metrics_base <"$dir/ports"
        return
    fi
    base="${DEMO_PORT:-8080}"
    local port
    for port in "$base" "${DEMO_METRICS_PORT:-1}"; do
        if ! [[ "$port" =~ ^[1-9][0-9]{0,4}$ ]] || [ "$port" -gt 65530 ]; then
            fail "DEMO_PORT and DEMO_METRICS_PORT are ports from 1 to 65530, and $port is none"
        fi
    done
    metrics_base="${DEMO_METRICS_PORT:-$((base + 1000))}"
    if [ "$metrics_base" -gt 65530 ]; then fail "there is no room above DEMO_PORT=$base: give DEMO_METRICS_PORT, too"; fi
    local apart=$((metrics_base - base))
    if [ "${apart#-}" -lt "${#NAMES[@]}" ]; then
        fail "DEMO_PORT=$base and DEMO_METRICS_PORT=$metrics_base overlap: each is the first of ${#NAMES[@]} ports"
    fi
}

# pid_of NAME: the number of the peer's process, if that runs and is the one that was started here.
pid_of() {
    local pid command
    pid="$(cat "$dir/$1.pid" 2>/dev/null)" || return 1
    [[ "$pid" =~ ^[1-9][0-9]*$ ]] || return 1
    # The number may be another process's by now; this directory is on no other's command line.
    command="$(ps -ww -o args= -p "$pid" 2>/dev/null)" || return 1
    [[ "$command" == *" peer --name $1 --dir $dir/$1 "* ]] || return 1
    printf '%s' "$pid"
}

# running: how many of the peers run.
running() {
    local name count=0
    for name in "${NAMES[@]}"; do
        if pid_of "$name" >/dev/null; then count=$((count + 1)); fi
    done
    printf '%s' "$count"
}

# ask NUMBER PATH: what a peer answers.
ask() {
    curl --silent --fail --noproxy '*' --max-time "$PATIENCE" "http://127.0.0.1:$((metrics_base + $1))$2"
}

# connections NUMBER: how many peers it is linked with, by /healthz.
connections() {
    ask "$1" /healthz 2>/dev/null | sed -n 's/.*"status":"ok".*"connections":\([0-9]*\).*/\1/p'
}

is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# find_program: sets program, built if none is named.
find_program() {
    if [ -n "${ROLLCALL_BIN:-}" ]; then
        program="$ROLLCALL_BIN"
    else
        (cd "$root" && cargo build --locked --bin rollcall) || fail "the program cannot be built"
        program="${CARGO_TARGET_DIR:-$root/target}/debug/rollcall"
    fi
    [ -x "$program" ] || fail "there is no program at $program; ROLLCALL_BIN names it"
}

# What is set in this shell for other peers is not meant for these.
forget_variables() {
    unset P2P_NAME P2P_LAN P2P_LAN_ADDRESSES P2P_LISTEN_ADDR P2P_PEERS P2P_REGISTRY P2P_DIR P2P_METRICS_ADDR P2P_MAX_CONNECTIONS \
        P2P_CONNECT_TIMEOUT P2P_HEARTBEAT_INTERVAL P2P_HEARTBEAT_TIMEOUT P2P_MESSAGE_BUFFER_SIZE P2P_DEDUP_CACHE_SIZE \
        P2P_HISTORY_SIZE
}

# start_peer NUMBER
start_peer() {
    local name="${NAMES[$1]}" peers=()
    if [ "$1" -gt 0 ]; then peers=(--peers "127.0.0.1:$base"); fi
    if [ "$1" -gt 1 ]; then peers=(--peers "127.0.0.1:$base,127.0.0.1:$((base + $1 - 1))"); fi
    (
        # It outlives this terminal.
        trap '' HUP
        exec "$program" peer --name "$name" --dir "$dir/$name" --no-lan --no-input --listen "127.0.0.1:$((base + $1))" \
            --metrics "127.0.0.1:$((metrics_base + $1))" ${peers[@]+"${peers[@]}"}
    ) </dev/null >>"$dir/$name.log" 2>&1 &
    started+=("$!")
    printf '%s\n' "$!" >"$dir/$name.pid"
}

# The processes that this call started.
started=()
# abandon: leaves nothing running of a start that failed. They are not waited for yet, so their numbers are theirs still.
abandon() {
    local pid name
    for pid in ${started[@]+"${started[@]}"}; do kill "$pid" 2>/dev/null || true; done
    for pid in ${started[@]+"${started[@]}"}; do wait "$pid" 2>/dev/null || true; done
    for name in "${NAMES[@]}"; do rm -f "$dir/$name.pid"; done
    rm -f "$dir/ports"
}

start() {
    need ps curl
    case "$(running)" in
    "${#NAMES[@]}")
        say "The demo runs already; make demo-status shows it."
        return
        ;;
    0) rm -f "$dir/ports" ;;
    *) fail "the demo runs already, in part; make demo-status shows it, make demo-stop ends it" ;;
    esac
    choose_ports
    local i other first
    for first in "$base" "$metrics_base"; do
        for i in "${!NAMES[@]}"; do
            is_free "$((first + i))" ||
                fail "port $((first + i)) is taken; choose others: make demo DEMO_PORT=18080 (and DEMO_METRICS_PORT)"
        done
    done
    find_program
    forget_variables
    mkdir -p "$dir"
    trap abandon EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '%s %s\n' "$base" "$metrics_base" >"$dir/ports"
    for i in "${!NAMES[@]}"; do start_peer "$i"; done
    local deadline=$((SECONDS + SOON))
    for i in "${!NAMES[@]}"; do
        until [ "$(connections "$i")" = "$((${#NAMES[@]} - 1))" ]; do
            for other in "${!NAMES[@]}"; do
                if ! kill -0 "${started[other]}" 2>/dev/null; then
                    tail -n 3 "$dir/${NAMES[other]}.log" >&2
                    fail "${NAMES[other]} ended; its log is $dir/${NAMES[other]}.log"
                fi
            done
            if [ "$SECONDS" -ge "$deadline" ]; then fail "${NAMES[i]} has not met the others after $SOON s"; fi
            sleep 0.2
        done
    done
    trap - EXIT INT TERM
    say "Six peers run and know each other: 127.0.0.1:$base to $((base + ${#NAMES[@]} - 1))."
    say ""
    say "  make demo-status              how they are"
    say "  make demo-connect-bootstrap   chat with them (or demo-connect-peer1, -peer2); QUIT ends it"
    say "  make demo-logs                what they hear; Ctrl-C ends it"
    say "  curl localhost:$metrics_base/metrics   the bootstrap peer's numbers; /healthz says how it is"
    say "  make demo-stop                ends them; demo-clean also removes $dir"
}

status() {
    need ps curl
    choose_ports
    local i name pid page links all_well=0
    printf '%-10s %-8s %-9s %11s %6s %8s %10s %8s %10s\n' \
        NAME PID STATE CONNECTIONS POSTS RECEIVED HEARTBEATS UPTIME MEMORY
    for i in "${!NAMES[@]}"; do
        name="${NAMES[i]}"
        if ! pid="$(pid_of "$name")"; then
            printf '%-10s %-8s %-9s\n' "$name" - down
            all_well=1
            continue
        fi
        links="$(connections "$i")" || links=""
        page="$(ask "$i" /metrics)" || page=""
        if [ -z "$links" ] || [ -z "$page" ]; then
            printf '%-10s %-8s %-9s\n' "$name" "$pid" unwell
            all_well=1
            continue
        fi
        printf '%s\n' "$page" | awk -v name="$name" -v pid="$pid" -v links="$links" '
            /^#/ { next }
            { sub(/^rollcall_peer_/, "", $1); value[$1] = $NF }
            END {
                printf "%-10s %-8s %-9s %11d %6d %8d %10d %7ds %6.1f MiB\n", name, pid, "running", links,
                    value["posts_sent_total"], value["posts_received_total"], value["heartbeats_received_total"],
                    value["uptime_seconds"], value["process_resident_memory_bytes"] / 1048576
            }'
    done
    return "$all_well"
}

logs() {
    local name files=()
    for name in "${NAMES[@]}"; do files+=("$dir/$name.log"); done
    [ -f "${files[0]}" ] || fail "there are no logs in $dir; make demo starts the peers"
    exec tail -n 20 -F "${files[@]}"
}

stop() {
    need ps
    local name pid left count
    count="$(running)"
    for name in "${NAMES[@]}"; do
        if pid="$(pid_of "$name")"; then kill "$pid" 2>/dev/null || true; fi
    done
    local deadline=$((SECONDS + SOON))
    while left="$(running)" && [ "$left" -gt 0 ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            for name in "${NAMES[@]}"; do
                if pid="$(pid_of "$name")"; then kill -KILL "$pid" 2>/dev/null || true; fi
            done
            fail "$left peers did not end within $SOON s and were killed; their logs are in $dir"
        fi
        sleep 0.1
    done
    for name in "${NAMES[@]}"; do rm -f "$dir/$name.pid"; done
    rm -f "$dir/ports"
    if [ "$count" -eq 0 ]; then say "The demo does not run."; else say "Stopped $count peers."; fi
}

clean() {
    stop
    local name
    # Only what was made here, whatever DEMO_DIR names.
    for name in "${NAMES[@]}"; do
        rm -f "$dir/$name.log" "$dir/$name/identity" "$dir/$name/history.jsonl" "$dir/$name/history.new"
        if [ -d "$dir/$name" ]; then rmdir "$dir/$name" || true; fi
    done
    if [ -d "$dir" ]; then rmdir "$dir" || fail "$dir has other files, which were left"; fi
}

connect() {
    need ps
    choose_ports
    local i
    for i in "${!NAMES[@]}"; do
        if [ "${NAMES[i]}" = "$1" ]; then
            pid_of "$1" >/dev/null || fail "$1 does not run; make demo starts the peers"
            find_program
            forget_variables
            exec "$program" peer --name "${DEMO_NAME:-guest}" --no-lan --listen 127.0.0.1:0 \
                --peers "127.0.0.1:$((base + i))"
        fi
    done
    fail "there is no peer called $1; there are ${NAMES[*]}"
}

case "${1:-}:$#" in
start:1 | status:1 | logs:1 | stop:1 | clean:1) "$1" ;;
connect:2) connect "$2" ;;
*) usage ;;
esac
