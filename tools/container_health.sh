#!/usr/bin/env bash
#
# The health check of a container: ends with 0 if what runs there answers 200. The image has no curl; bash is enough.
#
#   tools/container_health.sh [PORT [PATH]]     # a peer's /healthz at port 9100, unless other ones are given

set -euo pipefail

# How long one answer may take, in seconds.
readonly PATIENCE=3

exec 3<>"/dev/tcp/127.0.0.1/${1:-9100}"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "${2:-/healthz}" >&3
read -r -t "$PATIENCE" _ status _ <&3
[ "$status" = 200 ]
