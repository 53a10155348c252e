#!/usr/bin/env bash
#
# Health check of a container: exit code 0 if the HTTP answer is 200. Bash only, because the image
# has no curl.
#
#   tools/container_health.sh [PORT [PATH]]     # default: /healthz at port 9100, for a chat peer

set -euo pipefail

# Longest time for the answer, in seconds.
readonly TIMEOUT=3

exec 3<>"/dev/tcp/127.0.0.1/${1:-9100}"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "${2:-/healthz}" >&3
read -r -t "$TIMEOUT" _ status _ <&3
[ "$status" = 200 ]
