#!/usr/bin/env bash
#
# Peers of the chat on hosts of one network: what broadcasts reach, what a cut cable or a lossy one does to a chat, and how
# many datagrams it takes. Each host is a network namespace with a cable to one bridge, where this script is.
#
#   tests/peers_netns.sh                  # all rows, about two minutes
#   tests/peers_netns.sh find storm       # some of them
#   tests/peers_netns.sh --release        # an optimised build
#
# Needs root, iproute2, nftables, jq and python3. Prints a line a row and a last one with all figures; fails if a row does.
#
# Nothing can be left behind (see namespaces.sh).

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/namespaces.sh
source tests/namespaces.sh

readonly ROWS=(find cut halves settle registry loss storm)
readonly HOSTS=(0 1 2 3)
readonly CROWD=(0 1 2 3 4 5 6 7 8 9)
readonly PORT=8080
readonly HUB=10.98.0.254
# The longest wait for something that should happen within seconds; the machine may be busy.
SOON_MS=20000
# So many texts each peer says in a round.
readonly TEXTS=20
# What a peer may say beside its announcement, in datagrams.
readonly SETTLE_MOST=99 STORM_MOST=60

# --- Outside -------------------------------------------------------------------------------------------------------------

outside() {
    read_arguments "$@"
    check_tools jq:jq python3:python3
    end_with_this
    build --bin rollcall
    isolate PYTHON="$(python3 -c 'import sys; print(sys.executable)')" -- "${ASKED[@]}"
}

# --- The network ---------------------------------------------------------------------------------------------------------

addr() { printf '10.98.0.%s' "$(($1 + 1))"; }

make_network() {
    local host
    make_folder
    ip link add lan type bridge
    ip link set lan up
    ip address add "$HUB/24" dev lan
    for host in "${CROWD[@]}"; do
        ip netns add "host-$host"
        ip -n "host-$host" link set lo up
        cable "host-$host" lan "lan$host" "$(addr "$host")/24"
        # Without a way out, the general broadcast address is unreachable.
        ip -n "host-$host" route add default via "$HUB"
    done
}

# All cables whole, no rules, all counts 0. Counted is every datagram that a host sends, to itself too.
heal() {
    local host
    for host in "${CROWD[@]}"; do
        ip link set "lan$host" up
        ip netns exec "host-$host" nft -f - <<RULES
flush ruleset
table ip faults {
    counter sent { }
    counter answers { }
    chain output {
        type filter hook output priority 0;
        udp sport 8000-9999 counter name sent;
        udp sport 8000-9999 udp dport 8000-9999 counter name answers;
    }
    chain input { type filter hook input priority 0; }
}
RULES
    done
}

# datagrams COUNTER HOST…: how many these hosts have sent.
datagrams() {
    local host sum=0
    for host in "${@:2}"; do
        sum=$((sum + $(ip netns exec "host-$host" nft list counter ip faults "$1" | awk '$1 == "packets" { print $2 }')))
    done
    printf '%s' "$sum"
}

# --- The peers, and what they show ---------------------------------------------------------------------------------------

# What stands in for the person at each: a pipe that stays open as long as this script has it.
declare -A KEYBOARDS=()

# start_at HOST COMMAND…: hN.out has what it shows on host N, hN.log its log.
start_at() {
    local name="h$1" fd
    mkfifo "$FOLDER/$name.in"
    exec {fd}<>"$FOLDER/$name.in"
    KEYBOARDS[$name]=$fd
    ip netns exec "host-$1" "${@:2}" <"$FOLDER/$name.in" >"$FOLDER/$name.out" 2>"$FOLDER/$name.log" &
    PIDS[$name]=$!
}

# start_peer HOST FLAG…: one of ours, called hN. It notices soon that a cable is cut.
start_peer() {
    start_at "$1" env P2P_HEARTBEAT_INTERVAL=1s P2P_HEARTBEAT_TIMEOUT=2s P2P_CONNECT_TIMEOUT=2s P2P_HISTORY_SIZE=1000 \
        "$BINARIES/rollcall" peer --json --name "h$1" "${@:2}"
}

end_peers() {
    local fd
    end_processes
    for fd in "${KEYBOARDS[@]}"; do exec {fd}>&-; done
    KEYBOARDS=()
    rm -rf "${FOLDER:?}"/*
}

# types HOST LINE
types() { printf '%s\n' "$2" >&"${KEYBOARDS[h$1]}"; }

# The events of a host, chosen by a filter of jq; a line that is being written is left out.
events() { jq -Rr "fromjson? | $2" "$FOLDER/h$1.out"; }

# How many others a host has been told of, each by its name; `lan` or `mesh`.
found() { events "$1" "select(.event == \"found\" and .peer.via == \"$2\").peer.uid | sub(\"@.*\"; \"\")" | sort -u | wc -l; }

# How many lines a host's list has, and how many different ones.
listed() {
    local before deadline=$(($(now) + SOON_MS))
    before=$(events "$1" 'select(.event == "list") | 1' | wc -l)
    types "$1" LIST
    while [ "$(events "$1" 'select(.event == "list") | 1' | wc -l)" -eq "$before" ] && [ "$(now)" -lt "$deadline" ]; do sleep 0.1; done
    events "$1" 'select(.event == "list") | [(.peers | length), (.peers | map([.uid, .via]) | unique | length)] | @text' | tail -n 1
}

# await WHAT COMMAND…: until the command succeeds. TOOK becomes the time in ms, or `never`.
await() {
    local at
    at=$(now)
    TOOK=never
    while [ "$(now)" -lt $((at + SOON_MS)) ]; do
        if "${@:2}"; then
            TOOK=$(($(now) - at))
            return 0
        fi
        sleep 0.2
    done
    printf 'waited in vain: %s\n' "$1"
}

# all_found VIA COUNT HOST…: whether each of these hosts knows so many others.
all_found() {
    local host
    for host in "${@:3}"; do [ "$(found "$host" "$1")" -ge "$2" ] || return 1; done
}

# What was said, one text a line; everybody has to show the texts of all others.
SAID=

# say ROUND HOST…: each says some texts.
say_all() {
    local host number
    for number in $(seq "$TEXTS"); do
        for host in "${@:2}"; do
            types "$host" "$1 $number of h$host"
            SAID+="$1 $number of h$host"$'\n'
        done
        sleep 0.02
    done
}

posts() { events "$1" 'select(.event == "post").text' | sort; }

# missing HOST: how many texts of others it has not shown.
missing() { comm -23 <(grep -v "of h$1\$" <<<"$SAID" | sed '/^$/d' | sort) <(posts "$1" | uniq) | wc -l; }

# repeated HOST: how many texts it has shown more than once, and how many of its own.
repeated() { { posts "$1" | uniq -d; posts "$1" | grep "of h$1\$" || true; } | wc -l; }

all_told() {
    local host
    for host in "$@"; do [ "$(missing "$host")" -eq 0 ] || return 1; done
}

# delivered HOST…: waits until all have everything. LACKING becomes how many texts are missing, TWICE how many came again.
delivered() {
    local host
    await "every text everywhere" all_told "$@"
    # Long enough for what comes twice.
    sleep 1
    LACKING=0 TWICE=0
    for host in "$@"; do
        LACKING=$((LACKING + $(missing "$host")))
        TWICE=$((TWICE + $(repeated "$host")))
    done
}

# Four peers on both links, each of which knows the address of the next one only.
start_ring() {
    local host
    SAID=
    for host in "${HOSTS[@]}"; do
        start_peer "$host" --listen "0.0.0.0:$PORT" --peers "$(addr $(((host + 1) % 4))):$PORT" --dir "$FOLDER/h$host"
    done
    await "everybody on both links" all_found mesh 3 "${HOSTS[@]}"
    await "everybody on both links" all_found lan 3 "${HOSTS[@]}"
}

# Every host's list names each other host once on each link.
all_listed() {
    local host
    for host in "${HOSTS[@]}"; do [ "$(listed "$host")" = '[6,6]' ] || return 1; done
}

# --- The rows ------------------------------------------------------------------------------------------------------------

row_find() {
    local host took ok=no
    SAID=
    for host in "${HOSTS[@]}"; do start_peer "$host"; done
    await "four peers by broadcast" all_found lan 3 "${HOSTS[@]}"
    took=$TOOK
    say_all find "${HOSTS[@]}"
    delivered "${HOSTS[@]}"
    if [ "$(within "$took" 5000) $LACKING $TWICE" = "yes 0 0" ]; then ok=yes; fi
    row find "$ok" "four hosts found each other by broadcast alone in $took ms (at most 5000); of $((4 * TEXTS * 3)) posts $LACKING are missing, $TWICE came twice" "$took ms"
}

row_cut() {
    local missed
    start_ring
    say_all before "${HOSTS[@]}"
    ip link set lan3 down
    say_all meanwhile 0 1 2
    # The others know by now that it is gone, and it that it is alone.
    sleep 4
    say_all later 0 1 2 3
    missed=$(missing 3)
    ip link set lan3 up
    made_up cut "$missed" $((6 * TEXTS)) "a host was cut off while all talked: when the cable was back, it had the $missed texts that it missed, and the others its own"
}

row_halves() {
    local host apart
    start_ring
    # What goes from one half to the other is dropped by whoever gets it.
    for host in 0 1; do rule "$host" input ip saddr "{ $(addr 2), $(addr 3) }" drop; done
    for host in 2 3; do rule "$host" input ip saddr "{ $(addr 0), $(addr 1) }" drop; done
    sleep 4
    say_all apart "${HOSTS[@]}"
    sleep 1
    apart=$(missing 0)
    heal
    made_up halves "$apart" $((2 * TEXTS)) "two halves talked apart: together again they had the $apart texts of the other half"
}

# made_up ROW MISSED EXPECTED WHAT: the line of a row in which somebody missed texts, as many as expected, and gets them now
# that the network is whole; and everybody knows everybody as before.
made_up() {
    local took ok=no
    delivered "${HOSTS[@]}"
    took=$TOOK
    await "lists as before" all_listed
    if [ "$LACKING $TWICE $2" = "0 0 $3" ] && [ "$TOOK" != never ]; then ok=yes; fi
    row "$1" "$ok" "$4 after $took ms; $LACKING texts are missing, $TWICE came twice; everybody is listed once on each link after $TOOK ms" "$took ms"
}

# rule HOST input|output MATCH…: for what comes and goes on its cable.
rule() {
    local side=oifname
    [ "$2" != input ] || side=iifname
    ip netns exec "host-$1" nft add rule ip faults "$2" "$side" lan "${@:3}"
}

# settle PAUSE: COUNT becomes how many datagrams ten peers need until all know each other; whether that is few enough.
settle() {
    local host
    for host in "${CROWD[@]}"; do
        start_peer "$host"
        sleep "$1"
    done
    await "ten peers" all_found lan 9 "${CROWD[@]}"
    # What is still said after that counts, too.
    sleep 2
    COUNT=$(datagrams sent "${CROWD[@]}")
    [ "$TOOK" != never ] && [ "$(within "$COUNT" "$SETTLE_MOST" 10)" = yes ]
}

row_settle() {
    local ok=yes one_by_one
    settle 0.2 || ok=no
    one_by_one=$COUNT
    end_peers
    heal
    settle 0 || ok=no
    row settle "$ok" "ten peers that start one by one settled with $one_by_one datagrams, all at once with $COUNT (at most $SETTLE_MOST, those to their own host counted)" "$one_by_one and $COUNT datagrams"
}

row_registry() {
    local node host took ok=no urls="" names=""
    SAID=
    for node in 1 2 3; do names+="${names:+, }\"127.0.0.1:808$node\"" urls+="${urls:+,}http://$HUB:300$node"; done
    printf 'peers = [%s]\n' "$names" >"$FOLDER/config.toml"
    for node in 1 2 3; do
        "$BINARIES/rollcall" --config "$FOLDER/config.toml" --this-node "127.0.0.1:808$node" --api-port "300$node" \
            --api-url "http://$HUB:300$node" --data-dir "$FOLDER/data" >"$FOLDER/node-$node.out" 2>"$FOLDER/node-$node.log" &
        PIDS[node-$node]=$!
    done
    for host in "${HOSTS[@]}"; do start_peer "$host" --no-lan --listen "0.0.0.0:$PORT" --registry "$urls"; done
    # The nodes elect a leader first.
    SOON_MS=60000 await "four peers through the registry" all_found mesh 3 "${HOSTS[@]}"
    took=$TOOK
    say_all before "${HOSTS[@]}"
    for node in 1 2 3; do kill -KILL "${PIDS[node-$node]}"; done
    for node in 1 2 3; do
        wait "${PIDS[node-$node]}" 2>/dev/null || true
        unset "PIDS[node-$node]"
    done
    sleep 3
    say_all after "${HOSTS[@]}"
    delivered "${HOSTS[@]}"
    if [ "$LACKING $TWICE" = "0 0" ] && [ "$took" != never ]; then ok=yes; fi
    row registry "$ok" "four peers found each other through three nodes in $took ms; all nodes were killed and the chat went on: $LACKING texts are missing, $TWICE came twice" "$LACKING missing"
}

row_loss() {
    local host lost=0 ok=no
    start_ring
    for host in "${HOSTS[@]}"; do rule "$host" input numgen random mod 100 lt 10 counter drop; done
    say_all lossy "${HOSTS[@]}"
    delivered "${HOSTS[@]}"
    for host in "${HOSTS[@]}"; do
        lost=$((lost + $(ip netns exec "host-$host" nft list chain ip faults input | sed -n 's/.*counter packets \([0-9]*\).*/\1/p')))
    done
    if [ "$LACKING $TWICE" = "0 0" ] && [ "$lost" -gt 0 ]; then ok=yes; fi
    row loss "$ok" "one packet in ten was dropped ($lost in all): everything was there $TOOK ms after it was said, $LACKING texts are missing, $TWICE came twice" "$TOOK ms"
}

# Two peers that answer every answer, and two of ours beside them.
row_storm() {
    local host others ok=no
    for host in 2 3; do start_peer "$host"; done
    for host in 0 1; do
        start_at "$host" env PYTHONDONTWRITEBYTECODE=1 "$PYTHON" tests/peers/compact.py --name "s$host" \
            --claim "$(addr "$host")" --storm ""
    done
    await "those that storm" all_found lan 3 2 3
    # A thousand names that nobody has heard of, at the port at which newcomers are answered.
    types 0 "flood 1000 shared new h2@$(addr 2)"
    sleep 4
    others=$(datagrams answers 0 1)
    COUNT=$(datagrams answers 2 3)
    if [ "$(within "$COUNT" "$STORM_MOST" 1)" = yes ] && [ "$others" -gt 1000 ]; then ok=yes; fi
    row storm "$ok" "beside two peers that answer every answer (they sent $others), ours gave $COUNT answers to a thousand new names (1 to $STORM_MOST)" "$COUNT answers"
}

# -------------------------------------------------------------------------------------------------------------------------

inside() {
    local name
    die_of_errors
    make_network
    for name in "$@"; do
        heal
        "row_$name"
        end_peers
    done
    summary
}

if [ "${1-}" = --inside ]; then
    inside "${@:2}"
else
    outside "$@"
fi
