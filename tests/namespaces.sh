# shellcheck shell=bash
#
# Shared functions of the test scripts with network namespaces: netns.sh and peers_netns.sh source
# this file.
#
# A script runs itself twice. Outside it checks the tools and builds. Inside it is the first process
# of new PID, mount and network namespaces. When it ends, also by SIGKILL, the kernel removes the
# namespaces with everything in them.

# Path of the calling script, relative to the folder of the package.
SCRIPT="tests/${0##*/}"
readonly SCRIPT
# Folder of a private mount that is not visible outside.
readonly FOLDER=/run/rollcall

PROFILE=debug
BUILD=
WORLD=
FAILED=0
FIGURES=()
declare -A PIDS=()
# NUMBERS: options with a number, and their defaults. ASKED: the rows to run.
declare -A NUMBERS=()
ASKED=()

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

now() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

# within VALUE MOST [LEAST]: prints `yes` if the value is within these limits.
within() {
    if [[ $1 =~ ^[0-9]+$ ]] && [ "$1" -le "$2" ] && [ "$1" -ge "${3:-0}" ]; then printf yes; else printf no; fi
}

# read_arguments ARGUMENT…: sets PROFILE, NUMBERS and ASKED. Without row names ASKED is all ROWS.
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

# check_tools TOOL:PACKAGE…: checks these tools and those that all scripts need.
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

# end_with_this: ends the child processes when this shell ends.
end_with_this() {
    trap end_all EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# build FLAG…: builds with cargo. Sets and exports BINARIES, the folder of the programs.
build() {
    local -a flags=(--locked --quiet "$@")
    [ "$PROFILE" = debug ] || flags+=(--release)
    printf 'building\n'
    # In the background, here and below: bash handles a signal only while it waits, not during a
    # foreground command.
    cargo build "${flags[@]}" &
    BUILD=$!
    wait "$BUILD"
    BUILD=
    BINARIES="${CARGO_TARGET_DIR:-target}/$PROFILE"
    [ -x "$BINARIES/rollcall" ] || die "cargo does not build into $BINARIES; set CARGO_TARGET_DIR"
    BINARIES=$(realpath "$BINARIES")
}

# isolate NAME=VALUE… -- ARGUMENT…: runs this script inside the namespaces. It is killed when
# `unshare` ends, and `unshare` when this shell ends. Only the named variables are passed on.
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
        # `unshare` ends after the last process inside.
        read -r first _ 2>/dev/null <"/proc/$WORLD/task/$WORLD/children" || true
        kill -KILL "${first:-$WORLD}" 2>/dev/null || true
    fi
    wait 2>/dev/null || true
}

# make_folder: mounts the private folder and starts loopback (inside).
make_folder() {
    mount -t tmpfs -o size=512m tmpfs /run
    mkdir "$FOLDER"
    ip link set lo up
}

# cable HOST LAN PORT ADDRESS/BITS: connects a host to a port of a bridge. At the host, the
# interface has the name of the LAN.
cable() {
    ip link add "$3" type veth peer name "$2" netns "$1"
    ip link set "$3" master "$2" up
    ip -n "$1" link set "$2" up
    ip -n "$1" address add "$4" dev "$2"
}

# end_processes: ends all processes in PIDS.
end_processes() {
    local name
    # Suppresses the messages of bash about killed processes.
    {
        for name in "${!PIDS[@]}"; do kill -KILL "${PIDS[$name]}" || true; done
        for name in "${!PIDS[@]}"; do wait "${PIDS[$name]}" || true; done
    } 2>/dev/null
    PIDS=()
}

# end_process NAME: ends one process in PIDS.
end_process() {
    {
        kill -KILL "${PIDS[$1]}" || true
        wait "${PIDS[$1]}" || true
    } 2>/dev/null
    unset "PIDS[$1]"
}

# row NUMBER PASSED DESCRIPTION [FIGURE]: prints the line of a row.
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
        show_logs
    fi
    FIGURES+=("row $1 ${4:-$verdict}")
    printf '%s row %s: %s\n' "$verdict" "$1" "$3"
}

# show_logs: prints the ends of all logs.
show_logs() {
    local log
    for log in "$FOLDER"/*.log; do
        [ ! -s "$log" ] || printf -- '--- %s\n%s\n' "${log##*/}" "$(tail -n 12 "$log")"
    done
}

# die_of_errors: ends the script at an unexpected error. An error in a subshell is reported for its
# own line.
die_of_errors() {
    set -o errtrace
    trap '[ "$BASH_SUBSHELL" -gt 0 ] || { show_logs; die "line $LINENO: $BASH_COMMAND"; }' ERR
}

# summary: prints the last line and sets the exit code.
summary() {
    local figure line=""
    for figure in "${FIGURES[@]}"; do line+="${line:+; }$figure"; done
    printf '%s of %s checks failed: %s (%s s)\n' "$FAILED" "${#FIGURES[@]}" "$line" "$SECONDS"
    exit $((FAILED > 0))
}
