# shellcheck shell=bash
#
# What the scripts share that test in network namespaces (netns.sh, peers_netns.sh); sourced by them.
#
# A script calls itself: outside it checks and builds, inside it is the first process of namespaces of processes, of
# mounts and of the network. Nothing can be left behind: the kernel takes all of them down, with all that is in them, when
# the script ends, also when it is killed with SIGKILL.

# The script that sourced this, as seen from the folder of the package.
SCRIPT="tests/${0##*/}"
readonly SCRIPT
# A mount of its own, of which nothing is seen outside.
readonly FOLDER=/run/rollcall

PROFILE=debug
BUILD=
WORLD=
FAILED=0
FIGURES=()
declare -A PIDS=()
# The options of a script that take a number, each with its default; and the rows that it is asked for.
declare -A NUMBERS=()
ASKED=()

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

now() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

# within VALUE MOST [LEAST]
within() {
    if [[ $1 =~ ^[0-9]+$ ]] && [ "$1" -le "$2" ] && [ "$1" -ge "${3:-0}" ]; then printf yes; else printf no; fi
}

# read_arguments ARGUMENT…: what the person wants goes into PROFILE, NUMBERS and ASKED, which are all ROWS if none is named.
read_arguments() {
    local name
    while [ "$#" -gt 0 ]; do
        if [[ $1 != -* ]]; then
            ASKED+=("$1")
        elif [ "$1" = --release ]; then
            PROFILE=release
        elif [ -n "${NUMBERS[$1]-}" ]; then
            [[ ${2-} =~ ^[1-9][0-9]{0,4}$ ]] || die "$1 needs a number from 1 to 99999"
            NUMBERS[$1]=$2
            shift
        else
            die "there is no option $1; there are: --release ${!NUMBERS[*]}"
        fi
        shift
    done
    if [ "${#ASKED[@]}" -eq 0 ]; then ASKED=("${ROWS[@]}"); fi
    for name in "${ASKED[@]}"; do
        declare -F "row_$name" >/dev/null || die "there is no row $name here; there are: ${ROWS[*]}"
    done
}

# check_tools TOOL:PACKAGE…: beside those that every such script needs.
check_tools() {
    local tool
    [ "$(uname -s)" = Linux ] || die "network namespaces are Linux's; run this there"
    for tool in ip:iproute2 nft:nftables awk:mawk unshare:util-linux setpriv:util-linux timeout:coreutils "$@"; do
        command -v "${tool%:*}" >/dev/null || die "${tool%:*} is missing; install the package ${tool#*:}"
    done
    [ "$(id -u)" -eq 0 ] || die "network namespaces need root; run: sudo env PATH=\"\$PATH\" HOME=\"\$HOME\" $SCRIPT"
    unshare --net --mount --pid --fork --mount-proc true ||
        die "root may make no namespaces here; in a container, run it privileged (docker run --privileged)"
}

# end_with_this: whatever ends this shell ends what it started.
end_with_this() {
    trap end_all EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# build FLAG…: into BINARIES, which is exported to the inside.
build() {
    local -a flags=(--locked --quiet "$@")
    [ "$PROFILE" = debug ] || flags+=(--release)
    printf 'building\n'
    # In the background, here and below, so that a signal is obeyed at once and not after this.
    cargo build "${flags[@]}" &
    BUILD=$!
    wait "$BUILD"
    BUILD=
    BINARIES="${CARGO_TARGET_DIR:-target}/$PROFILE"
    [ -x "$BINARIES/rollcall" ] || die "cargo does not build into $BINARIES; set CARGO_TARGET_DIR"
    BINARIES=$(realpath "$BINARIES")
}

# isolate NAME=VALUE… -- ARGUMENT…: this script again, inside. It is killed when `unshare` ends, and that when this shell
# ends. No setting of the caller's environment gets in but those that are named.
isolate() {
    local status=0
    local -a kept=()
    while [ "$1" != -- ]; do
        kept+=("$1")
        shift
    done
    shift
    setpriv --pdeathsig KILL \
        env -i PATH="$PATH" BINARIES="$BINARIES" "${kept[@]}" \
        unshare --net --mount --pid --fork --mount-proc --kill-child "$BASH" "$SCRIPT" --inside "$@" &
    WORLD=$!
    wait "$WORLD" || status=$?
    WORLD=
    [ "$status" -eq 0 ] || die "failed"
}

end_all() {
    local first=
    trap - EXIT
    [ -z "$BUILD" ] || kill "$BUILD" 2>/dev/null || true
    if [ -n "$WORLD" ]; then
        # `unshare` ends when the last process inside has.
        read -r first _ 2>/dev/null <"/proc/$WORLD/task/$WORLD/children" || true
        kill -KILL "${first:-$WORLD}" 2>/dev/null || true
    fi
    wait 2>/dev/null || true
}

# Inside: a folder that nobody else sees, and loopback.
make_folder() {
    mount -t tmpfs -o size=512m tmpfs /run
    mkdir "$FOLDER"
    ip link set lo up
}

# cable HOST LAN PORT ADDRESS/BITS: from a host, where it has the name of the LAN, to a port of that bridge.
cable() {
    ip link add "$3" type veth peer name "$2" netns "$1"
    ip link set "$3" master "$2" up
    ip -n "$1" link set "$2" up
    ip -n "$1" address add "$4" dev "$2"
}

# Ends all that PIDS names.
end_processes() {
    local name
    # Bash would say of each that it was killed.
    {
        for name in "${!PIDS[@]}"; do kill -KILL "${PIDS[$name]}" || true; done
        for name in "${!PIDS[@]}"; do wait "${PIDS[$name]}" || true; done
    } 2>/dev/null
    PIDS=()
}

# row NUMBER LIMIT-PASSED WHAT [FIGURE]: the line of a row.
row() {
    local verdict=PASS name
    [ "$2" = yes ] || verdict=FAIL
    for name in "${!PIDS[@]}"; do
        if ! kill -0 "${PIDS[$name]}" 2>/dev/null; then
            printf '%s has ended: %s\n' "$name" "$(tail -n 1 "$FOLDER/$name.log")"
            verdict=FAIL
        fi
    done
    if [ "$verdict" = FAIL ]; then
        FAILED=$((FAILED + 1))
        last_words
    fi
    FIGURES+=("row $1 ${4:-$verdict}")
    printf '%s row %s: %s\n' "$verdict" "$1" "$3"
}

# The ends of all logs.
last_words() {
    local log
    for log in "$FOLDER"/*.log; do
        [ ! -s "$log" ] || printf -- '--- %s\n%s\n' "${log##*/}" "$(tail -n 12 "$log")"
    done
}

# What must not fail and did; a subshell's failure is that of the line that has it.
die_of_errors() {
    set -o errtrace
    trap '[ "$BASH_SUBSHELL" -gt 0 ] || { last_words; die "line $LINENO: $BASH_COMMAND"; }' ERR
}

# The last line, and the status of it all.
summary() {
    local figure line=""
    for figure in "${FIGURES[@]}"; do line+="${line:+; }$figure"; done
    printf '%s of %s checks failed: %s (%s s)\n' "$FAILED" "${#FIGURES[@]}" "$line" "$SECONDS"
    exit $((FAILED > 0))
}
