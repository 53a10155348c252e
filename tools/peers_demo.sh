#!/usr/bin/env bash
#
# Demo of the chat: six background peers on this machine, bootstrap and peer1 to peer5. Each knows
# the addresses of the bootstrap peer and of the peer before it. For demos of the registry see
# `rollcall demo` and tools/run_demo.sh.
#
#   tools/peers_demo.sh start            # builds the program unless ROLLCALL_BIN is set
#   tools/peers_demo.sh status           # exit code 1 if a peer is down
#   tools/peers_demo.sh logs             # follows the output of the peers until Ctrl-C
#   tools/peers_demo.sh connect peer1    # runs a seventh peer at this terminal, linked to peer1
#   tools/peers_demo.sh stop
#   tools/peers_demo.sh clean            # stops the peers and removes their files
#
#   DEMO_PORT           port of the bootstrap peer [8080]; the others use the next five
#   DEMO_METRICS_PORT   port of its /healthz and /metrics [DEMO_PORT + 1000]; the others likewise
#   DEMO_DIR            directory for process ids, logs and histories [target/peers-demo]
#   DEMO_NAME           name of the seventh peer [guest]
#   P2P_LOG_LEVEL, P2P_LOG_FORMAT   log settings, as for any peer

set -euo pipefail

readonly NAMES=(bootstrap peer1 peer2 peer3 peer4 peer5)
# Longest time for starting or stopping the peers on a busy machine, in seconds.
readonly TIMEOUT=30
# Longest time for one HTTP request to a peer, in seconds.
readonly REQUEST_TIMEOUT=3

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
dir="${DEMO_DIR:-$root/target/peers-demo}"
# An absolute path: the processes are recognised by it, from any working directory.
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

# choose_ports: sets base and metrics_base to the ports of the running demo, or else from the
# environment.
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

# pid_of NAME: prints the process id of the peer if it runs and was started by this script.
pid_of() {
    local pid command
    pid="$(cat "$dir/$1.pid" 2>/dev/null)" || return 1
    [[ "$pid" =~ ^[1-9][0-9]*$ ]] || return 1
    # Another process may have the id now. Only our peers have this directory in their arguments.
    command="$(ps -ww -o args= -p "$pid" 2>/dev/null)" || return 1
    [[ "$command" == *" peer --name $1 --dir $dir/$1 "* ]] || return 1
    printf '%s' "$pid"
}

# running: prints the number of running peers.
running() {
    local name count=0
    for name in "${NAMES[@]}"; do
        if pid_of "$name" >/dev/null; then count=$((count + 1)); fi
    done
    printf '%s' "$count"
}

# get NUMBER PATH: prints the answer of a peer to an HTTP request.
get() {
    curl --silent --fail --noproxy '*' --max-time "$REQUEST_TIMEOUT" "http://127.0.0.1:$((metrics_base + $1))$2"
}

# connections NUMBER: prints the number of links of a peer, from /healthz.
connections() {
    get "$1" /healthz 2>/dev/null | sed -n 's/.*"status":"ok".*"connections":\([0-9]*\).*/\1/p'
}

is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# find_program: sets program, and builds it unless ROLLCALL_BIN is set.
find_program() {
    if [ -n "${ROLLCALL_BIN:-}" ]; then
        program="$ROLLCALL_BIN"
    else
        (cd "$root" && cargo build --locked --bin rollcall) || fail "the program cannot be built"
        program="${CARGO_TARGET_DIR:-$root/target}/debug/rollcall"
    fi
    [ -x "$program" ] || fail "there is no program at $program; ROLLCALL_BIN names it"
}

# unset_variables: settings of the calling shell must not apply to the peers of the demo.
unset_variables() {
    unset P2P_NAME P2P_LAN P2P_LAN_ADDRESSES P2P_LISTEN_ADDR P2P_PEERS P2P_REGISTRY P2P_REGISTRY_CA ROLLCALL_CA P2P_DIR \
        P2P_METRICS_ADDR P2P_MAX_CONNECTIONS P2P_CONNECT_TIMEOUT P2P_HEARTBEAT_INTERVAL P2P_HEARTBEAT_TIMEOUT P2P_MESSAGE_BUFFER_SIZE P2P_DEDUP_CACHE_SIZE \
        P2P_HISTORY_SIZE
}

# start_peer NUMBER: starts a peer in the background.
start_peer() {
    local name="${NAMES[$1]}" peers=()
    if [ "$1" -gt 0 ]; then peers=(--peers "127.0.0.1:$base"); fi
    if [ "$1" -gt 1 ]; then peers=(--peers "127.0.0.1:$base,127.0.0.1:$((base + $1 - 1))"); fi
    (
        # The peer outlives this terminal.
        trap '' HUP
        exec "$program" peer --name "$name" --dir "$dir/$name" --no-lan --no-input --listen "127.0.0.1:$((base + $1))" \
            --metrics "127.0.0.1:$((metrics_base + $1))" ${peers[@]+"${peers[@]}"}
    ) </dev/null >>"$dir/$name.log" 2>&1 &
    started+=("$!")
    printf '%s\n' "$!" >"$dir/$name.pid"
}

# Processes started by this call.
started=()
# abandon: ends the processes of a failed start. This shell has not waited for them yet, so their
# ids cannot belong to other processes.
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
    unset_variables
    mkdir -p "$dir"
    trap abandon EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '%s %s\n' "$base" "$metrics_base" >"$dir/ports"
    for i in "${!NAMES[@]}"; do start_peer "$i"; done
    local deadline=$((SECONDS + TIMEOUT))
    for i in "${!NAMES[@]}"; do
        until [ "$(connections "$i")" = "$((${#NAMES[@]} - 1))" ]; do
            for other in "${!NAMES[@]}"; do
                if ! kill -0 "${started[other]}" 2>/dev/null; then
                    tail -n 3 "$dir/${NAMES[other]}.log" >&2
                    fail "${NAMES[other]} ended; its log is $dir/${NAMES[other]}.log"
                fi
            done
            if [ "$SECONDS" -ge "$deadline" ]; then fail "${NAMES[i]} has not met the others after $TIMEOUT s"; fi
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
    local i name pid page links exit_code=0
    printf '%-10s %-8s %-9s %11s %6s %8s %10s %8s %10s\n' \
        NAME PID STATE CONNECTIONS POSTS RECEIVED HEARTBEATS UPTIME MEMORY
    for i in "${!NAMES[@]}"; do
        name="${NAMES[i]}"
        if ! pid="$(pid_of "$name")"; then
            printf '%-10s %-8s %-9s\n' "$name" - down
            exit_code=1
            continue
        fi
        links="$(connections "$i")" || links=""
        page="$(get "$i" /metrics)" || page=""
        if [ -z "$links" ] || [ -z "$page" ]; then
            printf '%-10s %-8s %-9s\n' "$name" "$pid" unwell
            exit_code=1
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
    return "$exit_code"
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
    local deadline=$((SECONDS + TIMEOUT))
    while left="$(running)" && [ "$left" -gt 0 ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            for name in "${NAMES[@]}"; do
                if pid="$(pid_of "$name")"; then kill -KILL "$pid" 2>/dev/null || true; fi
            done
            fail "$left peers did not end within $TIMEOUT s and were killed; their logs are in $dir"
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
    # Only files of the demo, for any DEMO_DIR.
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
            unset_variables
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
