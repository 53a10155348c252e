#!/usr/bin/env bash
#
# The faults of kind N: network faults between real nodes, and a full disk. Three nodes run on three
# hosts, which are network namespaces. Each host has two cables. On `cluster` the nodes talk to each
# other; the script cuts, filters and degrades this cable. `clients` always works, so that the
# script can observe every node. Both cables end in a bridge, where the script and its clients are.
# Every row has its own cluster.
#
#   tests/netns.sh                             # all rows, about five minutes
#   tests/netns.sh 7 27                        # some rows
#   tests/netns.sh --release --cuts 100 2      # a benchmark: 100 cut cables with a release build
#   tests/netns.sh --loss 600 15               # ten minutes of loss instead of 45 s
#
# Needs root, iproute2, nftables, curl and python3. Prints one line per row and a last line with all
# figures. Fails if a row fails.
#
# The script leaves no processes, mounts or interfaces behind (see namespaces.sh).

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/namespaces.sh
source tests/namespaces.sh

readonly ROWS=(2 7 8 9 10 15 27 33 36)
readonly NODES=(0 1 2)
readonly PORT=8080 API_PORT=3000 SLOW_PORT=8090
# A node may not vote before it has run for `election_timeout_min_ms`.
readonly BOOT_MS=3200
readonly SETTLE_MS=20000

# --- Outside --------------------------------------------------------------------------------------

# Number of cables that row 2 cuts, and duration of the packet loss of row 15. The script passes
# them to itself.
CUTS=${NETNS_CUTS:-8}
LOSS_SECONDS=${NETNS_LOSS_SECONDS:-45}

outside() {
    NUMBERS=([--cuts]=$CUTS [--loss]=$LOSS_SECONDS)
    read_arguments "$@"
    check_tools curl:curl python3:python3
    end_with_this
    build --bin rollcall --example failover
    isolate NETNS_CUTS="${NUMBERS[--cuts]}" NETNS_LOSS_SECONDS="${NUMBERS[--loss]}" -- "${ASKED[@]}"
}

# --- The network ----------------------------------------------------------------------------------

addr() { printf '10.99.0.%s' "$(($1 + 1))"; }
client_addr() { printf '10.99.1.%s' "$(($1 + 1))"; }
url() { printf 'http://%s:%s' "$(client_addr "$1")" "$API_PORT"; }

make_network() {
    local lan node
    make_folder
    for lan in cluster clients; do
        ip link add "$lan" type bridge
        ip link set "$lan" up
    done
    ip address add 10.99.0.254/24 dev cluster
    ip address add 10.99.1.254/24 dev clients
    for node in "${NODES[@]}"; do
        ip netns add "node-$node"
        ip -n "node-$node" link set lo up
        cable "node-$node" cluster "cluster$node" "$(addr "$node")/24"
        cable "node-$node" clients "clients$node" "$(client_addr "$node")/24"
    done
}

# Repairs all cables and removes all rules. The counter `beats` counts the packets of a node to the
# others: in a stable cluster these are heartbeats.
heal() {
    local node
    for node in "${NODES[@]}"; do
        ip link set "cluster$node" up
        ip netns exec "node-$node" nft -f - <<RULES
flush ruleset
table ip faults {
    counter beats { }
    chain count { type filter hook output priority -200; oifname cluster tcp dport $PORT tcp flags & psh == psh counter name beats; }
    chain input { type filter hook input priority 0; }
    chain output { type filter hook output priority 0; }
    chain detour { type nat hook output priority -100; }
}
RULES
    done
}

# rule NODE input|output|detour MATCH…: adds a rule for the traffic between nodes, not for that of
# the clients.
rule() {
    local side=oifname
    [ "$2" != input ] || side=iifname
    ip netns exec "node-$1" nft add rule ip faults "$2" "$side" cluster "${@:3}"
}

# --- The nodes, and their observation -------------------------------------------------------------

STARTED=0
# Uptimes of the hosts, in s. Without them, that of this machine.
UPTIMES=()
# Folder with the data of the nodes.
DATA=$FOLDER/data

# node-N.log has the log of a node. `served` has a line for each request that a node served (see
# `failover watch`).
start_cluster() {
    local node peers=""
    rm -rf "${FOLDER:?}"/*
    for node in "${NODES[@]}"; do peers+="${peers:+, }\"$(addr "$node"):$PORT\""; done
    # A fixed load: the hosts share one machine, so its CPU load does not belong to any of them. A
    # busy node would also delay its candidacy.
    printf 'peers = [%s]\nload_source = "file:%s/load"\n' "$peers" "$FOLDER" >"$FOLDER/config.toml"
    printf '0.1' >"$FOLDER/load"
    start_nodes
}

start_nodes() {
    local node
    STARTED=$(now)
    for node in "${NODES[@]}"; do start_node "$node"; done
    "$BINARIES/examples/failover" watch "$(url 0)" "$(url 1)" "$(url 2)" >"$FOLDER/served" 2>"$FOLDER/watch.log" &
    PIDS[watch]=$!
}

start_node() {
    local node=$1 uptime
    local -a with_uptime=()
    read -r uptime _ </proc/uptime
    [ "${#UPTIMES[@]}" -eq 0 ] ||
        with_uptime=(unshare --time --boottime "$((UPTIMES[node] - ${uptime%.*}))" --fork --kill-child)
    ip netns exec "node-$node" "${with_uptime[@]}" "$BINARIES/rollcall" --config "$FOLDER/config.toml" \
        --this-node "$(addr "$node"):$PORT" --api-port "$API_PORT" --api-url "$(url "$node")" \
        --data-dir "$DATA" >"$FOLDER/node-$node.out" 2>>"$FOLDER/node-$node.log" &
    PIDS[node-$node]=$!
}

# One field of the state that a node reports at GET /.
field() {
    curl --silent --max-time 1 "$(url "$1")/" | sed -n "s/.*\"$2\":\"\{0,1\}\([^,\"}]*\).*/\1/p" || true
}

# settle ROW: waits until one node serves, all nodes name it as the leader, and all nodes may vote.
# Sets LEADER to it.
settle() {
    local node named deadline=$(($(now) + SETTLE_MS))
    while [ "$(now)" -lt "$deadline" ]; do
        LEADER="" named=0
        for node in "${NODES[@]}"; do [ "$(field "$node" is_leader)" != true ] || LEADER=$node; done
        for node in "${NODES[@]}"; do
            [ -z "$LEADER" ] || [ "$(field "$node" current_leader)" != "$(addr "$LEADER"):$PORT" ] || named=$((named + 1))
        done
        if [ "$named" -eq 3 ] && [ "$(now)" -ge $((STARTED + BOOT_MS)) ]; then return 0; fi
        sleep 0.1
    done
    row "$1" no "no leader that all nodes name within $SETTLE_MS ms"
    return 1
}

beats() { ip netns exec "node-$1" nft list counter ip faults beats | awk '$1 == "packets" { print $2 }'; }

# await_beat NODE: waits until the leader has sent heartbeats and until they are answered. Sets BEAT
# to the time right after they were sent.
await_beat() {
    local before deadline=$(($(now) + 5000))
    before=$(beats "$1")
    while [ "$(beats "$1")" = "$before" ]; do
        [ "$(now)" -lt "$deadline" ] || die "node $1 leads and sends no heartbeats"
    done
    BEAT=$(now)
    sleep 0.05
}

# first_served_by_others NODE SINCE: sets TOOK to the time at which another node first served a
# request, in ms after SINCE. Waits 15 s at most.
first_served_by_others() {
    local deadline=$(($2 + 15000))
    while [ "$(now)" -lt "$deadline" ]; do
        TOOK=$(awk -v node="$1" -v since="$2" '$3 != node && $1 > since { print $1 - since; exit }' "$FOLDER/served")
        if [ -n "$TOOK" ]; then return; fi
        sleep 0.05
    done
    TOOK=never
}

# last_served NODE SINCE: the time at which the last request served by a node was sent, in ms after
# SINCE. 0 if there is none.
last_served() {
    awk -v node="$1" -v since="$2" '$3 == node && $2 > since { last = $2 - since } END { print last + 0 }' "$FOLDER/served"
}

# terms_since SINCE: the number of terms in which requests were served.
terms_since() {
    awk -v since="$1" '$2 > since && !seen[$4]++ { terms++ } END { print terms + 0 }' "$FOLDER/served"
}

others() {
    local node
    for node in "${NODES[@]}"; do [ "$node" = "$1" ] || printf '%s ' "$node"; done
}

# --- The rows -------------------------------------------------------------------------------------

# The benchmark has its own nodes, and a limit for every wait.
row_2() {
    local node line p50 p99 ok=no
    local -a hosts=()
    for node in "${NODES[@]}"; do hosts+=(--host "node-$node,cluster$node,$(addr "$node"),$(client_addr "$node")"); done
    if ! TMPDIR=$FOLDER timeout --signal KILL $((60 + CUTS * 60)) \
        "$BINARIES/examples/failover" --how cut --runs "$CUTS" "${hosts[@]}" >"$FOLDER/cuts" 2>&1; then
        tail -n 60 "$FOLDER/cuts"
        row 2 no "the benchmark of cut cables failed"
        return
    fi
    line=$(tail -n 1 "$FOLDER/cuts")
    p50=$(figure p50 "$line")
    p99=$(figure p99 "$line")
    if [ "$(within "$p50" 3500) $(within "$p99" 5000)" = "yes yes" ]; then ok=yes; fi
    row 2 "$ok" "$line (p50 at most 3500, p99 at most 5000)" "p50 $p50 ms, p99 $p99 ms"
}

figure() { sed -n "s/.*$1 \([0-9]*\)\.[0-9] ms.*/\1/p" <<<"$2"; }

# The cable is cut at the moment at which the lease is longest: right after acknowledged heartbeats.
# A request that was sent after the end of the lease and is served is a failure.
row_7() {
    local at last
    settle 7 || return 0
    await_beat "$LEADER"
    ip link set "cluster$LEADER" down
    at=$(now)
    sleep 6
    last=$(last_served "$LEADER" "$at")
    # Less than a second would mean that the script observed the wrong node.
    row 7 "$(within "$last" 2500 1000)" "an isolated leader served for $last ms more (1000 to 2500)" "$last ms"
}

# one_way ROW CHAIN WHAT: drops the leader's packets of that chain.
one_way() {
    local at
    settle "$1" || return 0
    at=$(now)
    rule "$LEADER" "$2" drop
    first_served_by_others "$LEADER" "$at"
    row "$1" "$(within "$TOOK" 6500)" "a leader that can only $3: a successor serves after $TOOK ms (at most 6500)" "$TOOK ms"
}

row_8() { one_way 8 output receive; }

row_9() { one_way 9 input send; }

row_10() {
    local far at terms knows ok=no
    settle 10 || return 0
    read -r far _ <<<"$(others "$LEADER")"
    rule "$LEADER" input ip saddr "$(addr "$far")" drop
    rule "$far" input ip saddr "$(addr "$LEADER")" drop
    # Longer than the longest timeout: the far node has asked for votes and was refused.
    sleep 7
    at=$(now)
    sleep 6
    terms=$(terms_since "$at")
    knows=$(field "$far" current_leader)
    settle 10 || return 0
    if [ "$terms" = 1 ] && [ "$knows" = "$(addr "$LEADER"):$PORT" ]; then ok=yes; fi
    row 10 "$ok" "a chain whose ends cannot talk: $terms term in 6 s (1), the far node names ${knows:-nobody}" "$terms term"
}

row_15() {
    local node at terms
    settle 15 || return 0
    at=$(now)
    for node in "${NODES[@]}"; do rule "$node" input numgen random mod 100 lt 5 drop; done
    sleep "$LOSS_SECONDS"
    terms=$(terms_since "$at")
    row 15 "$(within "$terms" 2 1)" "5% loss for $LOSS_SECONDS s: $((terms - 1)) changes (at most 1)" "$((terms - 1)) changes"
    end_processes
    heal
    slow_cluster
}

# All links between nodes go through a program that delays every byte by 200 ms.
slow_cluster() {
    local node other at terms
    local -a routes=()
    for node in "${NODES[@]}"; do
        routes+=("10.99.0.254:$((SLOW_PORT + node))=$(addr "$node"):$PORT")
        for other in $(others "$node"); do
            rule "$node" detour ip daddr "$(addr "$other")" tcp dport "$PORT" \
                dnat to "10.99.0.254:$((SLOW_PORT + other))"
        done
    done
    start_cluster
    "$BINARIES/examples/failover" slow --ms 200 "${routes[@]}" 2>"$FOLDER/slow.log" &
    PIDS[slow]=$!
    settle 15 || return 0
    at=$(now)
    sleep 20
    terms=$(terms_since "$at")
    row 15 "$(within "$terms" 1 1)" "200 ms late each way for 20 s: $((terms - 1)) changes (0)" "$((terms - 1)) changes"
}

row_27() {
    local before at terms ok=no
    # A firewall loses its connections and recovers: the leader connects again, and no node takes
    # over.
    settle 27 || return 0
    before=$LEADER
    await_beat "$LEADER"
    at=$(now)
    rule "$LEADER" input meta l4proto tcp reject with tcp reset
    # Until the next heartbeat was rejected.
    sleep 1.2
    heal
    sleep 6
    terms=$(terms_since "$at")
    settle 27 || return 0
    if [ "$terms $LEADER" = "1 $before" ]; then ok=yes; fi
    row 27 "$ok" "a firewall resets a living leader's links for 1.2 s: $((terms - 1)) changes (0)" \
        "$((terms - 1)) changes"
    # A firewall that goes on. It rejects the packets of the followers to the running leader: to
    # them its process looks dead, but its lease is as long as possible.
    await_beat "$LEADER"
    rule "$LEADER" input meta l4proto tcp reject with tcp reset
    first_served_by_others "$LEADER" "$BEAT"
    row 27 "$(within "$TOOK" 6500 2500)" \
        "a firewall goes on resetting them: it served for $(last_served "$LEADER" "$BEAT") ms more, a successor serves after $TOOK ms (2500 to 6500)" \
        "$TOOK ms"
}

# A small disk for the data of all nodes. Users fill it up to the floor, and another program fills
# the rest.
row_33() {
    local disk=/run/small-disk status stored=0 ready took full ballasts again ok=yes
    end_processes
    mkdir "$disk"
    mount -t tmpfs -o size=24m tmpfs "$disk"
    head -c 16M /dev/zero >"$disk/other"
    DATA=$disk
    start_cluster
    settle 33 || return 0
    make_picture
    post "$LEADER" register '{"username":"alice"}'
    status=$(upload)
    while [ "$status" = 201 ] && [ "$stored" -lt 99 ]; do
        stored=$((stored + 1))
        status=$(upload)
    done
    ready=$(answer "$(url "$LEADER")/readyz")
    [ "$status,$ready" = "503 storage_full,503 storage_full" ] || ok=no
    row 33 "$ok" "after $stored uploads the floor is reached: an upload gets $status, /readyz $ready" "$stored uploads"

    head -c 24M /dev/zero >"$disk/fill" 2>"$FOLDER/fill.txt" || true
    kill_leader
    took=$TOOK
    start_node "$LEADER"
    settle 33 || return 0
    full=$(upload)
    ballasts=$(count_ballasts)
    ok=$(within "$took" 6500)
    [ "$full" = "503 storage_full" ] && [ "$ballasts" -lt 3 ] || ok=no
    row 33 "$ok" "on a full disk the leader is killed: a successor serves after $took ms (at most 6500), a killed node starts again, $ballasts of 3 ballasts are left" "$took ms"

    rm "$disk/other" "$disk/fill"
    again=$(within_seconds 10 201 upload)
    ready=$(within_seconds 10 200 answer "$(url "$LEADER")/readyz")
    ballasts=$(within_seconds 60 3 count_ballasts)
    ok=no
    if [ "$again $ready $ballasts" = "201 200 3" ]; then ok=yes; fi
    row 33 "$ok" "space is freed: an upload gets $again, /readyz $ready, $ballasts ballasts" "$again"
    end_processes
    umount "$disk"
    rmdir "$disk"
    DATA=$FOLDER/data
}

# make_picture: a PNG of random pixels, which take about 64 KiB.
make_picture() {
    python3 - >"$FOLDER/picture.png" <<'PYTHON'
import os, struct, sys, zlib

def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

rows = b"".join(b"\0" + os.urandom(128 * 4) for _ in range(128))
head = chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 128, 8, 6, 0, 0, 0))
sys.stdout.buffer.write(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
PYTHON
}

# answer ARGUMENT…: asks with curl. Prints the status, and the code of an error.
answer() {
    local status
    status=$(curl --silent --max-time 10 --output "$FOLDER/answer" --write-out '%{http_code}' "$@") || true
    printf '%s%s' "$status" "$(sed -n 's/.*"code":"\([a-z_]*\)".*/ \1/p' "$FOLDER/answer")"
}

upload() { answer --form "image=@$FOLDER/picture.png" "$(url "$LEADER")/upload_image/alice"; }

count_ballasts() { find "$DATA" -name ballast -size 1024k | wc -l; }

# within_seconds SECONDS EXPECTED COMMAND…: repeats a command until it prints the expected text.
# Prints the last text.
within_seconds() {
    local deadline=$(($(now) + $1 * 1000)) text
    text=$("${@:3}")
    while [ "$text" != "$2" ] && [ "$(now)" -lt "$deadline" ]; do
        sleep 0.2
        text=$("${@:3}")
    done
    printf '%s' "$text"
}

# Whatever happens to the nodes of hosts with different uptimes, the list of users has the same
# times of the last heartbeats. In the end all hosts have booted after these heartbeats.
row_36() {
    local user times before ok=yes
    end_processes
    UPTIMES=(9000000 400000 60)
    start_cluster
    settle 36 || return 0
    for user in alice bob; do
        post "$LEADER" register "{\"username\":\"$user\"}"
        post "$LEADER" heartbeat "{\"username\":\"$user\"}"
        sleep 1.3
    done
    before=$(last_seen)
    kill_leader
    times=$(last_seen)
    stop_nodes
    UPTIMES=(3 2 1)
    start_nodes
    settle 36 || return 0
    times+=", $(last_seen)"
    kill_leader
    times+=", $(last_seen)"
    UPTIMES=()
    [[ $before == 20*Z\ 20*Z && $times = "$before, $before, $before" ]] || ok=no
    row 36 "$ok" "users last seen at $before, on hosts of other uptimes and after a reboot of all: $times"
}

post() { curl --silent --fail --max-time 5 --header 'content-type: application/json' --data "$3" "$(url "$1")/$2" >"$FOLDER/posted"; }

# last_seen: the times in the list of users of the leader.
last_seen() {
    local node deadline=$(($(now) + SETTLE_MS))
    while [ "$(now)" -lt "$deadline" ]; do
        for node in "${NODES[@]}"; do
            if curl --silent --fail --max-time 5 "$(url "$node")/users" >"$FOLDER/users" 2>&1; then
                grep -o '"last_seen":[^,]*' "$FOLDER/users" | cut -d '"' -f 4 | paste -s -d ' '
                return
            fi
        done
        sleep 0.1
    done
    echo none
}

# kill_leader: kills the node that leads and waits until another one does.
kill_leader() {
    local at
    at=$(now)
    end_process "node-$LEADER"
    first_served_by_others "$LEADER" "$at"
}

# stop_nodes: asks all nodes to end, and ends the watcher.
stop_nodes() {
    local name child
    end_process watch
    for name in "${!PIDS[@]}"; do
        # The file has no line ending, so `read` fails.
        read -r child _ <"/proc/${PIDS[$name]}/task/${PIDS[$name]}/children" || true
        kill -TERM "$child"
    done
    for name in "${!PIDS[@]}"; do wait "${PIDS[$name]}" || true; done
    PIDS=()
}

# --------------------------------------------------------------------------------------------------

inside() {
    local number
    # The watcher exits when two nodes have served at the same time. The row then fails.
    die_of_errors
    make_network
    for number in "$@"; do
        heal
        [ "$number" = 2 ] || start_cluster
        "row_$number"
        end_processes
    done
    summary
}

if [ "${1-}" = --inside ]; then
    inside "${@:2}"
else
    outside "$@"
fi
