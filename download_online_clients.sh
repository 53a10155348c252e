#!/usr/bin/env bash
#
# Downloads the online clients and their images from a Rollcall cluster with one request:
#
#   ./download_online_clients.sh [LEADER_URL]
#
# The URL of any node works, because a follower names the leader. Runs on bash 3.2 (macOS) and
# later.

set -euo pipefail
# Character ranges such as a-z must mean bytes in every locale.
export LC_ALL=C

readonly DEFAULT_URL="http://localhost:3000"
# Longest wait, in seconds, for an election or for a node that is just starting.
readonly MAX_WAIT_SECONDS=15
readonly RULE="==================================="
# The rule of the server for image names. A name that breaks it could be a path outside the
# directory. split_answer has the rule for usernames.
readonly IMAGE='^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$'
readonly IMAGE_END='\.([Pp][Nn][Gg]|[Jj][Pp][Ee]?[Gg]|[Ww][Ee][Bb][Pp])$'
readonly BASE_URL='^https?://[][A-Za-z0-9._:/%~-]+$'
readonly SEPARATOR=$'\037'

usage() {
    cat <<USAGE
Usage: $0 [LEADER_URL]

Downloads all online clients and their images (at most 20 each).

  LEADER_URL   any node of the cluster [$DEFAULT_URL]
  OUTPUT_DIR   (environment) where to put them [./online_clients]
  ROLLCALL_CA  (environment) PEM file with the authority of the nodes' certificates, for https

Exit status: 0 all saved (or nobody online), 1 something failed, 2 wrong usage.
USAGE
}

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# Files to remove when the script ends: its temporary folder, and an incomplete download.
work=""
partial=""
clean_up() {
    if [ -n "$work" ]; then rm -rf "$work"; fi
    if [ -n "$partial" ]; then rm -f "$partial"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

require_tools() {
    local tool missing=""
    for tool in curl jq base64; do
        if ! command -v "$tool" >/dev/null 2>&1; then missing="$missing $tool"; fi
    done
    if [ -n "$missing" ]; then
        fail "missing:$missing; install with: sudo apt-get install curl jq coreutils (Debian, Ubuntu) or: brew install curl jq coreutils (macOS)"
    fi
}

# Prints the decode flag of base64: -d for GNU, -D for older versions of BSD and macOS.
find_decode_flag() {
    local flag
    for flag in -d -D --decode; do
        if [ "$(printf 'b2s=' | base64 "$flag" 2>/dev/null || true)" = "ok" ]; then
            printf '%s' "$flag"
            return
        fi
    done
    fail "base64 of this system cannot decode; install coreutils"
}

# request URL FILE [CURL_OPTION...]: writes the body to FILE, and prints the status: 000 for no
# response, tls for no secure connection.
request() {
    local url="$1" file="$2" status code=0
    shift 2
    if [ -n "$ca" ]; then set -- --cacert "$ca" "$@"; fi
    : >"$file"
    # No .curlrc, and no globbing, because an IPv6 host has brackets. A stalled response is aborted;
    # a long one is not.
    status=$(curl -q -sS -g --connect-timeout 3 --speed-limit 1 --speed-time "$MAX_WAIT_SECONDS" "$@" \
        -o "$file" -w '%{http_code}' "$url" 2>"$work/curl") || code=$?
    # The exit codes of curl for TLS: a handshake that fails, a certificate that is not trusted, and
    # a file of authorities that cannot be read. A node that ends during the handshake gives no
    # response.
    case "$code" in
    0) printf '%s' "$status" ;;
    35) if grep -qiE 'reset|syscall|eof|closed' "$work/curl"; then printf '000'; else printf 'tls'; fi ;;
    60 | 77) printf 'tls' ;;
    *) printf '000' ;;
    esac
}

# leader_url FILE: prints the leader's URL from the response in FILE; nothing if it has none, or one
# that is invalid or less secure than that of the node.
leader_url() {
    local url
    url=$(jq -r 'if type == "object" and (.leader_url | type) == "string" then .leader_url else "" end' "$1" 2>/dev/null) || url=""
    # A node with https must not lead to plain http.
    case "$server" in
    https://*) if [[ "$url" != https://* ]]; then return; fi ;;
    esac
    if [[ "$url" =~ $BASE_URL ]]; then printf '%s' "${url%/}"; fi
}

# reason STATUS: prints why the last request failed, as text for the user.
reason() {
    local message
    if [ "$1" = "000" ]; then
        message=$(head -n 1 "$work/curl" | tr -d '[:cntrl:]')
        printf 'no answer: %s' "${message#curl: }"
    elif [ "$1" = "tls" ]; then
        message=$(head -n 1 "$work/curl" | tr -d '[:cntrl:]')
        printf 'no secure connection: %s; if the nodes have an authority of their own, give the file with its certificate in ROLLCALL_CA; if they have no certificate, use http://' "${message#curl: }"
    else
        message=$(jq -r 'if type == "object" and (.message | type) == "string" then .message else "" end' "$work/body" 2>/dev/null) || message=""
        message=$(printf '%s' "$message" | head -n 1 | tr -d '[:cntrl:]')
        printf 'status %s%s' "$1" "${message:+: $message}"
    fi
}

# wait_or_fail WHAT: waits before the next attempt, or fails with WHAT after the longest wait.
wait_or_fail() {
    if [ "$SECONDS" -ge "$MAX_WAIT_SECONDS" ]; then fail "$1 (tried for $MAX_WAIT_SECONDS s)"; fi
    if [ -z "$is_waiting" ]; then printf 'Waiting for a leader (at most %s s) ...\n' "$MAX_WAIT_SECONDS" >&2; fi
    is_waiting=yes
    sleep 0.3 2>/dev/null || sleep 1
}

# Sets $leader, using the health of the given node.
find_leader() {
    local status
    while true; do
        status=$(request "$server/" "$work/body" --max-time 5)
        case "$status" in
        200)
            if ! jq -e 'type == "object" and (.is_leader | type) == "boolean"' "$work/body" >/dev/null 2>&1; then
                fail "$server does not answer like a Rollcall node"
            fi
            if jq -e '.is_leader' "$work/body" >/dev/null; then
                leader="$server"
                return
            fi
            leader=$(leader_url "$work/body")
            if [ -n "$leader" ]; then return; fi
            wait_or_fail "$server knows no leader; an election is under way, or a majority of the nodes is down"
            ;;
        000 | 408 | 429 | 502 | 503 | 504)
            wait_or_fail "$server cannot be asked for the leader: $(reason "$status")"
            ;;
        *)
            fail "$server does not answer like a Rollcall node: $(reason "$status")"
            ;;
        esac
    done
}

# Downloads the list to $work/body. Follows the leader, and waits for an election to end.
fetch() {
    local status next
    while true; do
        printf 'Fetching data from %s/discover_with_images...\n' "$leader"
        status=$(request "$leader/discover_with_images" "$work/body")
        case "$status" in
        200)
            return
            ;;
        403)
            next=$(leader_url "$work/body")
            if [ -z "$next" ]; then fail "$leader refuses the list: $(reason "$status")"; fi
            wait_or_fail "the nodes do not agree on a leader: $(reason "$status")"
            leader="$next"
            ;;
        000 | 408 | 429 | 502 | 503 | 504)
            wait_or_fail "$leader does not give the list: $(reason "$status")"
            # The leader may have died. The node on the command line knows the next one.
            find_leader
            ;;
        *)
            fail "$leader does not give the list: $(reason "$status")"
            ;;
        esac
    done
}

# Splits the response into small files, so that no image is held in a variable. $work/index has one
# line for each client (C) and image (I), in order. $work/info.N is the info.json of the N-th
# client, and $work/data.N is the N-th image in base64.
split_answer() {
    # A control character could break a line, and that or another hidden character could deceive the
    # reader of the terminal. A username is one safe path segment of 1 to 255 bytes; the last field
    # of its line is empty if it is not.
    jq -r '
        def is_control: . < 32 or (. >= 127 and . < 160);
        def is_hidden: is_control or . == 1564 or (. >= 8206 and . <= 8207) or (. >= 8232 and . <= 8238)
            or (. >= 8294 and . <= 8297);
        def text: if type == "string" then explode | map(if is_hidden then 63 else . end) | implode else "" end;
        def is_segment: type == "string" and utf8bytelength <= 255 and . != "." and . != ".."
            and (explode | all((is_control or . == 47) | not));
        def base64: if type == "string" and (test("[^A-Za-z0-9+/=]") | not) then . else "" end;
        if type == "object" and (.online_clients | type) == "array" then .online_clients[] else error("no list") end
        | (.images // []) as $images
        | "C\u001f\(.username | text)\u001f\(.addr | text)\u001f\($images | length)\u001f\(.username | if is_segment then . else "" end)",
          "J\({username, addr} | tojson)",
          ($images[] | "I\u001f\(.filename | text)", "D\(.data | base64)")
    ' "$work/body" >"$work/lines" 2>/dev/null || fail "$leader does not answer with a list of clients"
    awk -v work="$work" '
        /^C/ { client++ }
        /^I/ { image++ }
        /^J/ { file = work "/info." client; print substr($0, 2) > file; close(file); next }
        /^D/ { file = work "/data." image; print substr($0, 2) > file; close(file); next }
        { print > (work "/index") }
    ' "$work/lines"
    if [ ! -e "$work/index" ]; then : >"$work/index"; fi
}

# save TARGET COMMAND...: writes the output of the command atomically to TARGET. A symbolic link of
# that name is replaced, never followed.
save() {
    local target="$1" folder="${1%/*}"
    shift
    if [ -d "$target" ] && [ ! -L "$target" ]; then return 1; fi
    partial=$(mktemp "$folder/.download.XXXXXX" 2>/dev/null) || { partial=""; return 1; }
    # Remove a symbolic link first: mv would move the file into the folder that it points to.
    if "$@" >"$partial" 2>/dev/null && [ -s "$partial" ] && chmod "$file_mode" "$partial" &&
        { [ ! -L "$target" ] || rm -f "$target"; } && mv -f "$partial" "$target" 2>/dev/null; then
        partial=""
        return 0
    fi
    rm -f "$partial"
    partial=""
    return 1
}

decode() {
    base64 "$decode_flag" <"$1"
}

# failed TEXT: prints TEXT, and counts one file that was not saved.
failed() {
    printf '%s\n' "$1"
    failures=$((failures + 1))
}

# count NUMBER NOUN: prints the number with the noun, such as "1 image" or "2 images".
count() {
    if [ "$1" -eq 1 ]; then printf '%s %s' "$1" "$2"; else printf '%s %ss' "$1" "$2"; fi
}

# Creates the folder of one client. Sets $folder, which is empty if the client's files cannot be
# saved.
save_client() {
    local shown="$1" addr="$2" images="$3" name="$4" info="$5"
    folder=""
    printf '\nClient: %s @ %s\n' "$shown" "${addr:-(no address)}"
    if [ -z "$name" ]; then
        failed "  ✗ refused: this is no username"
        return
    fi
    printf '  Images: %s\n' "$images"
    if [ "$images" -eq 0 ]; then printf '    (no images)\n'; fi
    if [ -L "$output/$name" ]; then
        failed "  ✗ refused: $output/$shown is a symbolic link"
        return
    fi
    if ! mkdir -p "$output/$name" 2>/dev/null; then
        failed "  ✗ cannot make the folder $output/$shown"
        return
    fi
    folder="$output/$name"
    saved_clients=$((saved_clients + 1))
    if ! save "$folder/info.json" cat "$info"; then failed "    ✗ info.json (cannot be saved)"; fi
}

save_image() {
    local name="$1" data="$2"
    if [ -z "$folder" ]; then
        failures=$((failures + 1))
    elif ! [[ "$name" =~ $IMAGE && "$name" =~ $IMAGE_END ]]; then
        failed "    ✗ $name (refused: this is no image name)"
    elif save "$folder/$name" decode "$data"; then
        printf '    ✓ %s\n' "$name"
        saved_images=$((saved_images + 1))
    else
        failed "    ✗ $name (cannot be decoded or saved)"
    fi
}

save_all() {
    local kind shown addr images name client=0 image=0
    folder=""
    while IFS="$SEPARATOR" read -r kind shown addr images name; do
        case "$kind" in
        C)
            client=$((client + 1))
            save_client "$shown" "$addr" "$images" "$name" "$work/info.$client"
            ;;
        I)
            image=$((image + 1))
            save_image "$shown" "$work/data.$image"
            ;;
        esac
    done <"$work/index"
}

case "${1:-}" in
-h | --help)
    usage
    exit 0
    ;;
esac
if [ "$#" -gt 1 ]; then
    usage >&2
    exit 2
fi
server="${1:-$DEFAULT_URL}"
case "$server" in
http://* | https://*) ;;
*) server="http://$server" ;;
esac
while [ "${server%/}" != "$server" ]; do server="${server%/}"; done
if ! [[ "$server" =~ $BASE_URL ]]; then
    printf 'error: %s is no URL of a node; give one such as %s\n' "${1:-}" "$DEFAULT_URL" >&2
    exit 2
fi
ca="${ROLLCALL_CA:-}"
output="${OUTPUT_DIR:-./online_clients}"
case "$output" in
-*) output="./$output" ;;
esac
if [ "$output" != "/" ]; then output="${output%/}"; fi

require_tools
decode_flag=$(find_decode_flag)
file_mode=$(printf '%o' $((0666 & ~$(umask))))
work=$(mktemp -d "${TMPDIR:-/tmp}/rollcall.XXXXXX") || fail "cannot make a temporary folder in ${TMPDIR:-/tmp}"
failures=0
saved_clients=0
saved_images=0
leader=""
is_waiting=""
SECONDS=0

printf '%s\nDownloading Online Clients & Images\n%s\n' "$RULE" "$RULE"
find_leader
printf 'Leader: %s\nOutput: %s\n\n' "$leader" "$output"
fetch
split_answer
if [ ! -s "$work/index" ]; then
    printf '\nNo clients are online; nothing to download.\n'
    exit 0
fi
mkdir -p "$output" 2>/dev/null || fail "cannot make the folder $output; choose another with OUTPUT_DIR"
save_all

printf '\n%s\n' "$RULE"
if [ "$failures" -eq 0 ]; then
    printf 'Download complete!\n'
else
    printf 'Download incomplete: %s failed\n' "$failures"
fi
printf 'Files saved to: %s/\n%s\n' "$output" "$RULE"
printf 'Total: %s, %s\n' "$(count "$saved_clients" client)" "$(count "$saved_images" image)"
if [ "$failures" -gt 0 ]; then fail "$failures of the files could not be saved; see the lines with ✗"; fi
