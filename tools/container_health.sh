#!/usr/bin/env bash
#
# Health check of a container. The exit code is 0 if the program in the container responds with
# status 200. The container image has no curl, so the script uses bash only.
#
#   tools/container_health.sh [PORT [PATH]]     # default: /healthz of a peer on port 9100

set -euo pipefail

# Timeout of the response, in seconds.
readonly TIMEOUT=3

exec 3<>"/dev/tcp/127.0.0.1/${1:-9100}"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "${2:-/healthz}" >&3
read -r -t "$TIMEOUT" _ status _ <&3
[ "$status" = 200 ]
