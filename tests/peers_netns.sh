#!/usr/bin/env bash
#
# Tests of chat peers on a simulated network: discovery by broadcast, partitions, packet loss, and
# the number of datagrams. Each host is a network namespace with a cable to one bridge. This script
# runs at the bridge.
#
#   tests/peers_netns.sh                  # all rows, about two minutes
#   tests/peers_netns.sh find storm       # only these rows
#   tests/peers_netns.sh --release        # an optimised build
#   tests/peers_netns.sh mixed            # ten minutes beside other programs, kills and restarts
#   tests/peers_netns.sh --mixed 60 mixed # one minute of it
#
# Needs root, iproute2, nftables, jq and python3. Prints one line per row and a last line with all
# figures. Fails if a row fails.
#
# The kernel removes everything at the end (see namespaces.sh).

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/namespaces.sh
source tests/namespaces.sh

readonly ROWS=(find cut halves settle registry loss storm draft addresses)
# Options with a number: the seconds of the row `mixed`, which runs only on request.
NUMBERS[--mixed]=600
readonly HOSTS=(0 1 2 3)
readonly ALL_HOSTS=(0 1 2 3 4 5 6 7 8 9)
readonly PORT=8080
readonly HUB=10.98.0.254
# Longest wait for an event that normally takes seconds, in milliseconds. The machine may be busy.
SOON_MS=20000
# Number of texts that each peer posts in a round.
readonly TEXTS=20
# Largest numbers of datagrams: until ten peers know each other, and of answers to a flood.
readonly SETTLE_MOST=99 STORM_MOST=60

# --- Outside --------------------------------------------------------------------------------------

outside() {
    read_arguments "$@"
    check_tools jq:jq python3:python3
    end_with_this
    build --bin rollcall
    isolate PYTHON="$(python3 -c 'import sys; print(sys.executable)')" MIXED_SECONDS="${NUMBERS[--mixed]}" -- "${ASKED[@]}"
}

# --- Network --------------------------------------------------------------------------------------

addr() { printf '10.98.0.%s' "$(($1 + 1))"; }

make_network() {
    local host
    make_folder
    ip link add lan type bridge
    ip link set lan up
    ip address add "$HUB/24" dev lan
    for host in "${ALL_HOSTS[@]}"; do
        ip netns add "host-$host"
        ip -n "host-$host" link set lo up
        cable "host-$host" lan "lan$host" "$(addr "$host")/24"
        # 255.255.255.255 is unreachable without a default route.
        ip -n "host-$host" route add default via "$HUB"
    done
}

# heal: connects all cables, removes all rules and resets the counters. They count each datagram
# that a host sends, including those to itself.
heal() {
    local host
    for host in "${ALL_HOSTS[@]}"; do
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

# datagrams COUNTER HOST…: prints the number of datagrams that these hosts have sent.
datagrams() {
    local host sum=0
    for host in "${@:2}"; do
        sum=$((sum + $(ip netns exec "host-$host" nft list counter ip faults "$1" | awk '$1 == "packets" { print $2 }')))
    done
    printf '%s' "$sum"
}

# --- Peers and their output -----------------------------------------------------------------------

# Descriptors of the input pipes of the peers. A pipe stays open until this script closes it.
declare -A INPUTS=()

# Hosts with a peer of another program. Its command for a post is `post`.
declare -A FOREIGN=()

# start_as NAME HOST COMMAND…: starts a process on a host. Its output is hNAME.out, its log
# hNAME.log. The other functions take NAME in place of the host.
start_as() {
    local name="h$1" fd
    rm -f "$FOLDER/$name.in"
    mkfifo "$FOLDER/$name.in"
    exec {fd}<>"$FOLDER/$name.in"
    INPUTS[$name]=$fd
    ip netns exec "host-$2" "${@:3}" <"$FOLDER/$name.in" >>"$FOLDER/$name.out" 2>>"$FOLDER/$name.log" &
    PIDS[$name]=$!
}

# start_at HOST COMMAND…: starts a process on host N with the name N.
start_at() { start_as "$1" "$@"; }

# start_foreign HOST SCRIPT FLAG…: starts a peer of another program with the name fN.
start_foreign() {
    FOREIGN[$1]=yes
    start_at "$1" env PYTHONDONTWRITEBYTECODE=1 "$PYTHON" "tests/peers/$2" --name "f$1" --claim "$(addr "$1")" "${@:3}"
}

# kill_peer HOST: kills the peer of a host.
kill_peer() {
    local name="h$1" fd="${INPUTS[h$1]}"
    kill -KILL "${PIDS[$name]}"
    wait "${PIDS[$name]}" 2>/dev/null || true
    unset "PIDS[$name]" "INPUTS[$name]"
    exec {fd}>&-
}

# start_peer HOST FLAG…: starts a peer of this program with the name hN and short timeouts.
start_peer() {
    start_at "$1" env P2P_HEARTBEAT_INTERVAL=1s P2P_HEARTBEAT_TIMEOUT=2s P2P_CONNECT_TIMEOUT=2s P2P_HISTORY_SIZE=1000 \
        "$BINARIES/rollcall" peer --json --name "h$1" "${@:2}"
}

end_peers() {
    local fd
    end_processes
    for fd in "${INPUTS[@]}"; do exec {fd}>&-; done
    INPUTS=() FOREIGN=()
    rm -rf "${FOLDER:?}"/*
}

# type_line HOST LINE: sends a line to the peer.
type_line() { printf '%s\n' "$2" >&"${INPUTS[h$1]}"; }

# events HOST FILTER: prints the events of a host that a jq filter selects. An incomplete line is
# skipped.
events() { jq -Rr "fromjson? | $2" "$FOLDER/h$1.out"; }

# found HOST lan|mesh: prints the number of different peers that a host has found.
found() { events "$1" "select(.event == \"found\" and .peer.via == \"$2\").peer.uid | sub(\"@.*\"; \"\")" | sort -u | wc -l; }

# listed HOST: prints the number of entries in the peer list of a host, and of different entries.
listed() {
    local before deadline=$(($(now) + SOON_MS))
    before=$(events "$1" 'select(.event == "list") | 1' | wc -l)
    type_line "$1" LIST
    while [ "$(events "$1" 'select(.event == "list") | 1' | wc -l)" -eq "$before" ] && [ "$(now)" -lt "$deadline" ]; do sleep 0.1; done
    events "$1" 'select(.event == "list") | [(.peers | length), (.peers | map([.uid, .via]) | unique | length)] | @text' | tail -n 1
}

# await DESCRIPTION COMMAND…: waits until the command succeeds. Sets TOOK to the time in ms, or to
# `never`.
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
    printf 'timed out: %s\n' "$1"
}

# all_found VIA COUNT HOST…: succeeds if each of these hosts has found COUNT peers.
all_found() {
    local host
    for host in "${@:3}"; do [ "$(found "$host" "$1")" -ge "$2" ] || return 1; done
}

# All posted texts, one per line. Each host must show the texts of all others.
POSTED=

# post_all ROUND HOST…: each host posts TEXTS texts.
post_all() {
    local host number
    for number in $(seq "$TEXTS"); do
        for host in "${@:2}"; do
            type_line "$host" "${FOREIGN[$host]+post }$1 $number of h$host"
            POSTED+="$1 $number of h$host"$'\n'
        done
        sleep 0.02
    done
}

# The texts that a peer has received. Those of other programs print each datagram.
readonly RECEIVED='if .event == "post" then .text elif .event == "heard" and .type == "POST" then .fields.CONTENT else empty end'

posts() { events "$1" "$RECEIVED" | sort; }

# count HOST FILTER: prints the number of events that a jq filter selects.
count() { events "$1" "select($2) | 1" | wc -l; }

# missing HOST: prints the number of texts of others that the host has not shown.
missing() { comm -23 <(grep -v "of h$1\$" <<<"$POSTED" | sed '/^$/d' | sort) <(posts "$1" | uniq) | wc -l; }

# repeated HOST: prints the number of texts that the host has shown twice, plus its own texts that
# it has shown.
repeated() { { posts "$1" | uniq -d; posts "$1" | grep "of h$1\$" || true; } | wc -l; }

all_delivered() {
    local host
    for host in "$@"; do [ "$(missing "$host")" -eq 0 ] || return 1; done
}

# wait_delivered HOST…: waits until all hosts have all texts. Sets LACKING to the number of missing
# texts and TWICE to the number of repeated ones.
wait_delivered() {
    local host
    await "every text everywhere" all_delivered "$@"
    # Enough time for duplicates to arrive.
    sleep 1
    LACKING=0 TWICE=0
    for host in "$@"; do
        LACKING=$((LACKING + $(missing "$host")))
        TWICE=$((TWICE + $(repeated "$host")))
    done
}

# start_ring: starts four peers on both transports, each with only the address of the next one.
start_ring() {
    local host
    POSTED=
    for host in "${HOSTS[@]}"; do
        start_peer "$host" --listen "0.0.0.0:$PORT" --peers "$(addr $(((host + 1) % 4))):$PORT" --dir "$FOLDER/h$host"
    done
    await "everybody on both links" all_found mesh 3 "${HOSTS[@]}"
    await "everybody on both links" all_found lan 3 "${HOSTS[@]}"
}

# all_listed: succeeds if each host lists each other host once per transport.
all_listed() {
    local host
    for host in "${HOSTS[@]}"; do [ "$(listed "$host")" = '[6,6]' ] || return 1; done
}

# --- Rows -----------------------------------------------------------------------------------------

row_find() {
    local host took ok=no
    POSTED=
    for host in "${HOSTS[@]}"; do start_peer "$host"; done
    await "four peers by broadcast" all_found lan 3 "${HOSTS[@]}"
    took=$TOOK
    post_all find "${HOSTS[@]}"
    wait_delivered "${HOSTS[@]}"
    if [ "$(within "$took" 5000) $LACKING $TWICE" = "yes 0 0" ]; then ok=yes; fi
    row find "$ok" "four hosts found each other by broadcast alone in $took ms (at most 5000); of $((4 * TEXTS * 3)) posts $LACKING are missing, $TWICE came twice" "$took ms"
}

row_cut() {
    local missed
    start_ring
    post_all before "${HOSTS[@]}"
    ip link set lan3 down
    post_all meanwhile 0 1 2
    # By now all hosts have noticed the cut.
    sleep 4
    post_all later 0 1 2 3
    missed=$(missing 3)
    ip link set lan3 up
    check_recovery cut "$missed" $((6 * TEXTS)) "a host was cut off while all talked: when the cable was back, it had the $missed texts that it missed, and the others its own"
}

row_halves() {
    local host apart
    start_ring
    # Each host drops the packets from the other half.
    for host in 0 1; do rule "$host" input ip saddr "{ $(addr 2), $(addr 3) }" drop; done
    for host in 2 3; do rule "$host" input ip saddr "{ $(addr 0), $(addr 1) }" drop; done
    sleep 4
    post_all apart "${HOSTS[@]}"
    sleep 1
    apart=$(missing 0)
    heal
    check_recovery halves "$apart" $((2 * TEXTS)) "two halves talked apart: together again they had the $apart texts of the other half"
}

# check_recovery ROW MISSED EXPECTED DESCRIPTION: checks that EXPECTED texts were missing, that they
# arrive now, and that all peer lists are complete again. Prints the line of the row.
check_recovery() {
    local took ok=no
    wait_delivered "${HOSTS[@]}"
    took=$TOOK
    await "lists as before" all_listed
    if [ "$LACKING $TWICE $2" = "0 0 $3" ] && [ "$TOOK" != never ]; then ok=yes; fi
    row "$1" "$ok" "$4 after $took ms; $LACKING texts are missing, $TWICE came twice; everybody is listed once on each link after $TOOK ms" "$took ms"
}

# rule HOST input|output MATCH…: adds a packet filter rule at the cable of a host.
rule() {
    local side=oifname
    [ "$2" != input ] || side=iifname
    ip netns exec "host-$1" nft add rule ip faults "$2" "$side" lan "${@:3}"
}

# settle PAUSE: starts ten peers. Sets COUNT to the number of datagrams until they know each other.
# Succeeds if COUNT is within its limit.
settle() {
    local host
    for host in "${ALL_HOSTS[@]}"; do
        start_peer "$host"
        sleep "$1"
    done
    await "ten peers" all_found lan 9 "${ALL_HOSTS[@]}"
    # Datagrams of the next two seconds count, too.
    sleep 2
    COUNT=$(datagrams sent "${ALL_HOSTS[@]}")
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
    POSTED=
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
    post_all before "${HOSTS[@]}"
    for node in 1 2 3; do kill -KILL "${PIDS[node-$node]}"; done
    for node in 1 2 3; do
        wait "${PIDS[node-$node]}" 2>/dev/null || true
        unset "PIDS[node-$node]"
    done
    sleep 3
    post_all after "${HOSTS[@]}"
    wait_delivered "${HOSTS[@]}"
    if [ "$LACKING $TWICE" = "0 0" ] && [ "$took" != never ]; then ok=yes; fi
    row registry "$ok" "four peers found each other through three nodes in $took ms; all nodes were killed and the chat went on: $LACKING texts are missing, $TWICE came twice" "$LACKING missing"
}

row_loss() {
    local host lost=0 ok=no
    start_ring
    for host in "${HOSTS[@]}"; do rule "$host" input numgen random mod 100 lt 10 counter drop; done
    post_all lossy "${HOSTS[@]}"
    wait_delivered "${HOSTS[@]}"
    for host in "${HOSTS[@]}"; do
        lost=$((lost + $(ip netns exec "host-$host" nft list chain ip faults input | sed -n 's/.*counter packets \([0-9]*\).*/\1/p')))
    done
    if [ "$LACKING $TWICE" = "0 0" ] && [ "$lost" -gt 0 ]; then ok=yes; fi
    row loss "$ok" "one packet in ten was dropped ($lost in all): everything was there $TOOK ms after it was said, $LACKING texts are missing, $TWICE came twice" "$TOOK ms"
}

# Two peers that answer every answer, and two peers of this program.
row_storm() {
    local host others ok=no
    for host in 2 3; do start_peer "$host"; done
    for host in 0 1; do
        start_at "$host" env PYTHONDONTWRITEBYTECODE=1 "$PYTHON" tests/peers/compact.py --name "s$host" \
            --claim "$(addr "$host")" --storm ""
    done
    await "those that storm" all_found lan 3 2 3
    # A thousand new names at the shared port, at which new peers are answered.
    type_line 0 "flood 1000 shared new h2@$(addr 2)"
    sleep 4
    others=$(datagrams answers 0 1)
    COUNT=$(datagrams answers 2 3)
    if [ "$(within "$COUNT" "$STORM_MOST" 1)" = yes ] && [ "$others" -gt 1000 ]; then ok=yes; fi
    row storm "$ok" "beside two peers that answer every answer (they sent $others), ours gave $COUNT answers to a thousand new names (1 to $STORM_MOST)" "$COUNT answers"
}

# Two peers of the draft, which listen at port 50999 only and send each datagram from another port.
row_draft() {
    local host ok=no direct
    POSTED=
    for host in 0 1; do start_peer "$host"; done
    # Such a peer knows another one of its kind only from a broadcast of that one. So f2 must be up
    # before f3 starts.
    start_foreign 2 draft.py
    await "three peers" all_found lan 2 0 1
    start_foreign 3 draft.py
    await "four peers" all_found lan 3 0 1
    type_line 2 announce
    await "two peers of the draft" all_counted 1 3 '.event == "heard" and .type == "PROFILE" and .fields.DISPLAY_NAME == "f2"'
    post_all draft "${HOSTS[@]}"
    wait_delivered "${HOSTS[@]}"
    type_line 0 "dm f2 psst"
    type_line 3 "dm h1@$(addr 1) psst"
    await "two direct messages" all_counted 1 2 '.event == "heard" and .type == "DM"' 1 '.event == "direct"'
    direct=$TOOK
    await "an ACK" all_counted 1 3 '.event == "heard" and .type == "ACK"'
    if [ "$LACKING $TWICE" = "0 0" ] && [ "$direct" != never ] && [ "$TOOK" != never ]; then ok=yes; fi
    row draft "$ok" "beside two peers that listen at the shared port only: of $((4 * TEXTS * 3)) posts $LACKING are missing, $TWICE came twice; a direct message in each direction and its ACK arrived" "$LACKING missing"
}

# all_counted COUNT [HOST FILTER]…: succeeds if each host has this number of events.
all_counted() {
    local wanted=$1
    shift
    while [ "$#" -gt 0 ]; do
        [ "$(count "$1" "$2")" -eq "$wanted" ] || return 1
        shift 2
    done
}

# One peer that is heard at two addresses of a host; and a host whose route for broadcasts has no
# source address, so that its datagrams come from 0.0.0.0.
row_addresses() {
    local ok=no rows scanned missed reports
    POSTED=
    replace_address 1 scope host
    start_peer 0
    start_peer 1 --lan-addresses 255.255.255.255
    start_peer 2
    start_as 0b 0 env PYTHONDONTWRITEBYTECODE=1 "$PYTHON" tests/peers/compact.py --name h0b --claim "$(addr 0)" \
        --broadcast 255.255.255.255 --broadcast 127.255.255.255
    await "all of them" all_found lan 3 0 1 2
    post_all addresses 0 1 2
    wait_delivered 0 1 2
    missed=$LACKING
    await "one row for each peer" all_lists 3 0 1 2
    rows=$TOOK
    scanned=$(ip netns exec host-0 "$BINARIES/rollcall" peer scan --wait 2 --json | jq -r '[.peers[].user_id] | sort | join(" ")')
    reports=$(($(count 0 '.event == "mismatch" or .event == "doubled"') + $(count 1 '.event == "mismatch" or .event == "doubled"') + $(count 2 '.event == "mismatch" or .event == "doubled"')))
    replace_address 1
    if [ "$missed $TWICE $reports" = "0 0 0" ] && [ "$rows" != never ] &&
        [ "$scanned" = "h0@$(addr 0) h0b@$(addr 0) h1@$(addr 1) h2@$(addr 2)" ]; then ok=yes; fi
    row addresses "$ok" "a peer heard at two addresses of its host, and one whose broadcasts have no source address: each is listed once, the scan found $scanned, $reports reports of a wrong address, $missed posts are missing" "$reports reports"
}

# replace_address HOST OPTION…: sets the address of a host again, with these options, and its
# default route.
replace_address() {
    ip -n "host-$1" address flush dev lan
    ip -n "host-$1" address add "$(addr "$1")/24" dev lan "${@:2}"
    ip -n "host-$1" route add default via "$HUB"
}

# all_lists COUNT HOST…: succeeds if each host lists COUNT different peers, each once.
all_lists() {
    local host
    for host in "${@:2}"; do [ "$(listed "$host")" = "[$1,$1]" ] || return 1; done
}

# Three peers of this program (0 to 2) beside a newest and an older one of the compact dialect (3
# and 4) and one of the draft (5). Every second each of them posts; every few seconds one of them is
# killed, and started again.
row_mixed() {
    local host victim round=0 ok=no end report
    for host in 0 1 2 3 4 5; do start_mixed "$host"; done
    await "all others" all_found lan 5 0 1 2
    for host in 0 1 2; do type_line "$host" "FOLLOW f3"; done
    end=$(($(now) + MIXED_SECONDS * 1000))
    while [ "$(now)" -lt "$end" ]; do
        round=$((round + 1))
        for host in "${!INPUTS[@]}"; do
            host=${host#h}
            printf '%s %s %s\n' "$(now)" "$host" "mixed $round of h$host" >>"$FOLDER/posted"
            type_line "$host" "${FOREIGN[$host]+post }mixed $round of h$host"
        done
        # In turn: one of ours, one of theirs. It is away for four rounds of fifteen.
        case $((round % 15)) in
            5)
                victim=$(((round / 15 % 2) * 3 + round / 30 % 3))
                kill_peer "$victim"
                printf '%s %s down\n' "$(now)" "$victim" >>"$FOLDER/lives"
                ;;
            9) start_mixed "$victim" ;;
            # The posts of the newest program come on request only, also after a restart of ours.
            2 | 12) for host in 0 1 2; do type_line "$host" "FOLLOW f3"; done ;;
        esac
        sleep 1
    done
    sleep 2
    report=$("$PYTHON" tests/peers/delivery.py "$FOLDER")
    if [[ $report == *" 0 missing, 0 twice, "* ]]; then ok=yes; fi
    row mixed "$ok" "$report" "$report"
}

# start_mixed HOST: starts the peer of this host in the row `mixed`, and waits until it is ready.
start_mixed() {
    local before
    before=$(starts "$1")
    case $1 in
        3) start_foreign 3 compact.py --newest --storm h ;;
        4) start_foreign 4 compact.py --storm h ;;
        5) start_foreign 5 draft.py ;;
        *) start_peer "$1" ;;
    esac
    await "the start of h$1" more_starts "$1" "$before"
    printf '%s %s up\n' "$(now)" "$1" >>"$FOLDER/lives"
}

# starts HOST: prints how often the peer of this host has become ready.
starts() { grep -cE '"event": ?"ready"' "$FOLDER/h$1.out" 2>/dev/null || true; }

more_starts() { [ "$(starts "$1")" -gt "${2:-0}" ]; }

# --------------------------------------------------------------------------------------------------

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
