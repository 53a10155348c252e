#!/usr/bin/env bash
#
# The faults of kind N: what the network between real nodes can do to them. Three nodes run in three network namespaces
# of their own. Each has two links: `cluster`, on which the nodes speak to each other and which is cut, filtered and made
# lossy here; and `clients`, which stays whole, so that every node can be watched from outside all the time. Both end in a
# fourth namespace, so nothing outside is touched.
#
#   tests/netns.sh          # all rows, about four minutes
#   tests/netns.sh 7 27     # some of them
#
# Needs root, iproute2, nftables and curl. Prints one line a row and fails if one row does.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly ROWS=(2 7 8 9 10 15 27)
readonly NODES=(0 1 2)
# Of this run only, so that two runs do not meet. An interface's name may have 15 characters.
readonly TAG="rc$$"
readonly HUB="$TAG-hub"
readonly PORT=8080 API_PORT=3000 SLOW_PORT=8090

FOLDER=
declare -A PIDS=()
FAILED=0

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

check_tools() {
    [ "$(id -u)" -eq 0 ] || die "network namespaces need root; run this script as root"
    local tool
    for tool in ip:iproute2 nft:nftables curl:curl; do
        command -v "${tool%:*}" >/dev/null || die "${tool%:*} is missing; install the package ${tool#*:}"
    done
    ip netns add "$TAG-try" || die "the system allows no network namespaces; run this where it does"
    ip netns delete "$TAG-try"
}

# --- The network ---------------------------------------------------------------------------------------------------------

space() { printf '%s-%s' "$TAG" "$1"; }
addr() { printf '10.99.0.%s' "$(($1 + 1))"; }
url() { printf 'http://10.99.1.%s:%s' "$(($1 + 1))" "$API_PORT"; }
in_node() { ip netns exec "$(space "$1")" "${@:2}"; }
in_hub() { ip netns exec "$HUB" "$@"; }

make_network() {
    local lan node
    ip netns add "$HUB"
    ip -n "$HUB" link set lo up
    for lan in cluster clients; do
        ip -n "$HUB" link add "$lan" type bridge
        ip -n "$HUB" link set "$lan" up
    done
    ip -n "$HUB" address add 10.99.0.254/24 dev cluster
    ip -n "$HUB" address add 10.99.1.254/24 dev clients
    for node in "${NODES[@]}"; do
        ip netns add "$(space "$node")"
        ip -n "$(space "$node")" link set lo up
        for lan in cluster clients; do
            ip -n "$HUB" link add "$lan$node" type veth peer name "$lan" netns "$(space "$node")"
            ip -n "$HUB" link set "$lan$node" master "$lan" up
            ip -n "$(space "$node")" link set "$lan" up
        done
        ip -n "$(space "$node")" address add "$(addr "$node")/24" dev cluster
        ip -n "$(space "$node")" address add "10.99.1.$((node + 1))/24" dev clients
        make_filter "$node"
    done
}

make_filter() {
    in_node "$1" nft -f - <<'RULES'
table ip faults {
    chain input { type filter hook input priority 0; }
    chain output { type filter hook output priority 0; }
    chain detour { type nat hook output priority -100; }
}
RULES
}

# rule NODE input|output|detour MATCH…: only for the nodes' own traffic, never for that of the clients.
rule() {
    local side=oifname
    [ "$2" != input ] || side=iifname
    in_node "$1" nft add rule ip faults "$2" "$side" cluster "${@:3}"
}

heal() {
    local node
    for node in "${NODES[@]}"; do
        in_node "$node" nft flush table ip faults
        ip -n "$HUB" link set "cluster$node" up
    done
}

remove_everything() {
    local name
    trap - EXIT
    for name in "${!PIDS[@]}"; do kill -KILL "${PIDS[$name]}" 2>/dev/null || true; done
    wait 2>/dev/null
    # A namespace takes its interfaces with it.
    for name in "${NODES[@]}" hub try; do ip netns delete "$(space "$name")" 2>/dev/null || true; done
    if [ -n "$FOLDER" ]; then rm -rf "$FOLDER"; fi
}

# --- The nodes, and what is seen of them ---------------------------------------------------------------------------------

# node-N.log keeps what a node says; served has a line for each request that a node served (see `failover watch`).
start_cluster() {
    local node peers=""
    for node in "${NODES[@]}"; do peers+="${peers:+, }\"$(addr "$node"):$PORT\""; done
    printf 'peers = [%s]\n' "$peers" >"$FOLDER/config.toml"
    for node in "${NODES[@]}"; do
        in_node "$node" "$ROLLCALL" --config "$FOLDER/config.toml" --this-node "$(addr "$node"):$PORT" \
            --api-port "$API_PORT" --api-url "$(url "$node")" --data-dir "$FOLDER/data" \
            >"$FOLDER/node-$node.out" 2>"$FOLDER/node-$node.log" &
        PIDS[node$node]=$!
    done
    : >"$FOLDER/served"
    in_hub "$FAILOVER" watch "$(url 0)" "$(url 1)" "$(url 2)" >>"$FOLDER/served" 2>"$FOLDER/watch.log" &
    PIDS[watch]=$!
}

now() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

# The state of a node as it tells it itself: one field of GET /.
field() {
    in_hub curl --silent --max-time 1 "$(url "$1")/" | sed -n "s/.*\"$2\":\"\{0,1\}\([^,\"}]*\).*/\1/p"
}

# The node that serves now, once both others name it; everything has been whole for so long that all may vote.
settle() {
    local node leader named deadline=$(($(now) + 20000))
    while [ "$(now)" -lt "$deadline" ]; do
        leader="" named=0
        for node in "${NODES[@]}"; do [ "$(field "$node" is_leader)" != true ] || leader=$node; done
        for node in "${NODES[@]}"; do
            [ -z "$leader" ] || [ "$(field "$node" current_leader)" != "$(addr "$leader"):$PORT" ] || named=$((named + 1))
        done
        if [ "$named" -eq 3 ]; then
            printf '%s' "$leader"
            return
        fi
        sleep 0.1
    done
    die "no leader that all nodes name within 20 s"
}

# first_served_by_others NODE SINCE: when another node first served a request, in ms after SINCE; waits 15 s at most.
first_served_by_others() {
    local deadline=$(($2 + 15000)) found
    while [ "$(now)" -lt "$deadline" ]; do
        found=$(awk -v node="$1" -v since="$2" '$3 != node && $1 > since { print $1 - since; exit }' "$FOLDER/served")
        if [ -n "$found" ]; then
            printf '%s' "$found"
            return
        fi
        sleep 0.05
    done
    printf 'never'
}

# last_served NODE SINCE: when a node last served, in ms after SINCE; 0 if never.
last_served() {
    awk -v node="$1" -v since="$2" '$3 == node && $1 > since { last = $1 - since } END { print last + 0 }' "$FOLDER/served"
}

# terms_since SINCE: how many terms were served in.
terms_since() {
    awk -v since="$1" '$1 > since && !seen[$4]++ { terms++ } END { print terms + 0 }' "$FOLDER/served"
}

others() {
    local node
    for node in "${NODES[@]}"; do [ "$node" = "$1" ] || printf '%s ' "$node"; done
}

# row NUMBER LIMIT-PASSED WHAT: the line of a row.
row() {
    local verdict=PASS
    # The watcher ends at the first proof that two nodes served at once.
    if ! kill -0 "${PIDS[watch]}" 2>/dev/null; then
        printf '%s\n' "$(tail -1 "$FOLDER/watch.log")"
        verdict=FAIL
    fi
    [ "$2" = yes ] || verdict=FAIL
    if [ "$verdict" = FAIL ]; then
        FAILED=1
        tail -n 12 "$FOLDER"/node-*.log
    fi
    printf '%s row %s: %s\n' "$verdict" "$1" "$3"
}

# within VALUE MOST [LEAST]
within() {
    if [ "$1" != never ] && [ "$1" -le "$2" ] && [ "$1" -ge "${3:-0}" ]; then printf yes; else printf no; fi
}

# --- The rows ------------------------------------------------------------------------------------------------------------

row_2() {
    local leader at took
    leader=$(settle)
    at=$(now)
    ip -n "$HUB" link set "cluster$leader" down
    took=$(first_served_by_others "$leader" "$at")
    row 2 "$(within "$took" 5000)" "a leader's cable is cut: a successor serves after $took ms (at most 5000)"
}

row_7() {
    local leader at last
    leader=$(settle)
    at=$(now)
    ip -n "$HUB" link set "cluster$leader" down
    sleep 6
    last=$(last_served "$leader" "$at")
    # What was sent before the cut is the last that was acknowledged, so this counts a moment too much, never too little.
    row 7 "$(within "$last" 2500)" "an isolated leader served for $last ms more (at most 2500)"
}

row_8() {
    local leader at took
    leader=$(settle)
    at=$(now)
    rule "$leader" output drop
    took=$(first_served_by_others "$leader" "$at")
    row 8 "$(within "$took" 6500)" "a leader that can only receive: a successor serves after $took ms (at most 6500)"
}

row_9() {
    local leader at took
    leader=$(settle)
    at=$(now)
    rule "$leader" input drop
    took=$(first_served_by_others "$leader" "$at")
    row 9 "$(within "$took" 6500)" "a leader that can only send: a successor serves after $took ms (at most 6500)"
}

row_10() {
    local leader far at terms knows ok
    leader=$(settle)
    read -r far _ <<<"$(others "$leader")"
    rule "$leader" input ip saddr "$(addr "$far")" drop
    rule "$far" input ip saddr "$(addr "$leader")" drop
    # Longer than the longest timeout: by now the far node has asked for an election and was refused.
    sleep 7
    at=$(now)
    sleep 6
    terms=$(terms_since "$at")
    knows=$(field "$far" current_leader)
    ok=no
    if [ "$terms" = 1 ] && [ "$knows" = "$(addr "$(settle)"):$PORT" ]; then ok=yes; fi
    row 10 "$ok" "a chain whose ends cannot talk: $terms term in 6 s (1), the far node names ${knows:-nobody}"
}

row_15() {
    local node at terms
    settle >/dev/null
    at=$(now)
    for node in "${NODES[@]}"; do rule "$node" input numgen random mod 100 lt 5 drop; done
    sleep 45
    terms=$(terms_since "$at")
    row 15 "$(within "$terms" 2 1)" "5% loss for 45 s: $((terms - 1)) changes (at most 1)"
    heal
    settle >/dev/null
    slow_down
}

# All links between nodes lead through a program that delivers every byte 200 ms late.
slow_down() {
    local node other at terms
    local -a routes=()
    for node in "${NODES[@]}"; do routes+=("10.99.0.254:$((SLOW_PORT + node))=$(addr "$node"):$PORT"); done
    in_hub "$FAILOVER" slow --ms 200 "${routes[@]}" &
    PIDS[slow]=$!
    for node in "${NODES[@]}"; do
        for other in $(others "$node"); do
            rule "$node" detour ip daddr "$(addr "$other")" tcp dport "$PORT" \
                dnat to "10.99.0.254:$((SLOW_PORT + other))"
        done
        # The links that exist are cut, so that new ones take the detour.
        in_node "$node" ss --kill --tcp dport = "$PORT" >/dev/null
    done
    sleep 8
    at=$(now)
    sleep 20
    terms=$(terms_since "$at")
    row 15 "$(within "$terms" 1 1)" "200 ms late each way for 20 s: $((terms - 1)) changes (0)"
    heal
    kill "${PIDS[slow]}"
    wait "${PIDS[slow]}" 2>/dev/null || true
    unset 'PIDS[slow]'
}

row_27() {
    local leader at took
    leader=$(settle)
    at=$(now)
    # What the followers answer to the living leader is rejected: to them it looks as if its process were gone.
    rule "$leader" input meta l4proto tcp reject with tcp reset
    took=$(first_served_by_others "$leader" "$at")
    # The last heartbeat may be one interval old, so its lease of 2500 ms is over 1500 ms after the reset at the earliest.
    row 27 "$(within "$took" 6500 1500)" \
        "a firewall resets a living leader's links: it served for $(last_served "$leader" "$at") ms more, a successor serves after $took ms (1500 to 6500)"
}

# -------------------------------------------------------------------------------------------------------------------------

check_tools
if [ "$#" -eq 0 ]; then set -- "${ROWS[@]}"; fi
for number in "$@"; do
    declare -F "row_$number" >/dev/null || die "there is no row $number here; there are: ${ROWS[*]}"
done

printf 'building\n'
cargo build --locked --quiet --bin rollcall --example failover
readonly ROLLCALL="${CARGO_TARGET_DIR:-target}/debug/rollcall" FAILOVER="${CARGO_TARGET_DIR:-target}/debug/examples/failover"
[ -x "$ROLLCALL" ] || die "cargo builds somewhere else than in $ROLLCALL; set CARGO_TARGET_DIR"

trap remove_everything EXIT
trap 'exit 130' INT TERM
FOLDER=$(mktemp -d)
make_network
start_cluster
for number in "$@"; do
    "row_$number"
    heal
done
if [ "$FAILED" -ne 0 ]; then die "a row failed"; fi
