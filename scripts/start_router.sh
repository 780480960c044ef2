#!/usr/bin/env bash
# Starts vLLM's router with the flags for qwen-camera, by exec. See --help.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# No core dumps, because its memory has pictures and questions.
ulimit -c 0

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/start_router.sh [flags of vllm-router]

Runs vLLM's router in front of several vLLM servers; its address with /v1 is the VLLM_BASE_URL of the web servers. It keeps a
session at one server (X-Session-ID), and assigns new sessions to the server with the fewest. From the environment:

  ROUTER_WORKERS       addresses of the vLLM servers, without /v1, separated by commas or spaces (http://127.0.0.1:8001)
  ROUTER_HOST          address to listen on (127.0.0.1): anybody who reaches it can use the models, and add servers
  ROUTER_PORT          its port (8009)
  ROUTER_METRICS_PORT  the port of its metrics, only on this machine (29000)
  ROUTER_PROGRAM       the program (.venv-router/bin/vllm-router, else /opt/qwen-router/bin/vllm-router, else the one of the PATH)

Exit status: the router's once it is started, 1 if it is not installed, 2 for invalid settings.
TEXT
        exit 0
        ;;
esac

say() { printf '%s\n' "$*" >&2; }

# The last value of a repeated flag counts.
for argument; do
    case $argument in
        cache_aware | --policy=cache_aware)
            say 'The policy cache_aware ignores pictures, and sends all questions to one server. Remove --policy.'
            exit 2
            ;;
    esac
done

read -r -a workers <<<"$(printf '%s' "${ROUTER_WORKERS:-http://127.0.0.1:8001}" | tr ',\n' '  ')"
if [ ${#workers[@]} -eq 0 ]; then
    say 'ROUTER_WORKERS names no server. Set it to addresses such as http://127.0.0.1:8001, without /v1.'
    exit 2
fi
for worker in "${workers[@]}"; do
    case $worker in
        */v1 | */v1/)
            say "ROUTER_WORKERS has $worker: the router adds /v1 itself, so remove it."
            exit 2
            ;;
        http://?* | https://?*) ;;
        *)
            say "ROUTER_WORKERS has $worker, which is not an address such as http://127.0.0.1:8001."
            exit 2
            ;;
    esac
done

program=${ROUTER_PROGRAM:-}
for candidate in "$ROOT/.venv-router/bin/vllm-router" /opt/qwen-router/bin/vllm-router; do
    if [ -z "$program" ] && [ -x "$candidate" ]; then program=$candidate; fi
done
if ! program=$(command -v "${program:-vllm-router}"); then
    say "vLLM's router is not installed. Run: bash scripts/router.sh --needed"
    exit 1
fi

# Seconds without a question after which a session is dropped: the default of SESSION_TIMEOUT
export VLLM_ROUTER_SLL_SESSION_EXPIRATION_IN_S=${VLLM_ROUTER_SLL_SESSION_EXPIRATION_IN_S:-3600}
flags=(
    --host "${ROUTER_HOST:-127.0.0.1}" --port "${ROUTER_PORT:-8009}"
    --prometheus-host 127.0.0.1 --prometheus-port "${ROUTER_METRICS_PORT:-29000}"
    --policy sticky_least_loaded
    --log-level warning
    # Longer than the limit of an answer (120 s)
    --request-timeout-secs 150
    --max-payload-size 33554432
    # The web server repeats a question, and knows its deadline.
    --disable-retries
    # An unavailable server is avoided after two failures in a row or within a second, and used again as quickly. By default it
    # gets requests for three more minutes, or ten times.
    --health-check-interval-secs 1 --health-check-timeout-secs 2
    --health-failure-threshold 1 --health-success-threshold 1
    --cb-failure-threshold 2 --cb-success-threshold 1 --cb-timeout-duration-secs 2
    --worker-startup-check-interval 2
)
exec "$program" "${flags[@]}" "$@" --worker-urls "${workers[@]}"
