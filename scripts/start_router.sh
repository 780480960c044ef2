#!/usr/bin/env bash
# Starts vLLM's router with what qwen-camera needs of it, by exec. See --help.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Pictures and questions are in its memory.
ulimit -c 0

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/start_router.sh [flags of vllm-router]

Becomes vLLM's router in front of several vLLM servers; its address with /v1 is the VLLM_BASE_URL of the web servers. It keeps a
session at one server (X-Session-ID), and gives new sessions to the server that has the fewest. From the environment:

  ROUTER_WORKERS       addresses of the vLLM servers, without /v1, with commas or spaces between (http://127.0.0.1:8001)
  ROUTER_HOST          where it listens (127.0.0.1): whoever reaches it may use the models, and add servers
  ROUTER_PORT          its port (8009)
  ROUTER_METRICS_PORT  the port of its metrics, on this machine alone (29000)
  ROUTER_PROGRAM       the program (.venv-router/bin/vllm-router, else /opt/qwen-router/bin/vllm-router, else the one of the PATH)

Exit status: the router's once it is started, 1 when there is none, 2 for settings that do not hold.
TEXT
        exit 0
        ;;
esac

say() { printf '%s\n' "$*" >&2; }

# Of a flag that is given twice the later value counts.
for argument; do
    case $argument in
        cache_aware | --policy=cache_aware)
            say 'The policy cache_aware does not look at pictures: it sends all questions to one server. Leave --policy out.'
            exit 2
            ;;
    esac
done

read -r -a workers <<<"$(printf '%s' "${ROUTER_WORKERS:-http://127.0.0.1:8001}" | tr ',\n' '  ')"
if [ ${#workers[@]} -eq 0 ]; then
    say 'ROUTER_WORKERS names no server. Set it to addresses like http://127.0.0.1:8001, without /v1.'
    exit 2
fi
for worker in "${workers[@]}"; do
    case $worker in
        */v1 | */v1/)
            say "ROUTER_WORKERS has $worker: the router adds /v1 itself, so leave it out."
            exit 2
            ;;
        http://?* | https://?*) ;;
        *)
            say "ROUTER_WORKERS has $worker, which is no address like http://127.0.0.1:8001."
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

# A session without a question for so long is forgotten: SESSION_TIMEOUT's default.
export VLLM_ROUTER_SLL_SESSION_EXPIRATION_IN_S=${VLLM_ROUTER_SLL_SESSION_EXPIRATION_IN_S:-3600}
flags=(
    --host "${ROUTER_HOST:-127.0.0.1}" --port "${ROUTER_PORT:-8009}"
    --prometheus-host 127.0.0.1 --prometheus-port "${ROUTER_METRICS_PORT:-29000}"
    --policy sticky_least_loaded
    --log-level warning
    # Longer than an answer may take (120 s).
    --request-timeout-secs 150
    --max-payload-size 33554432
    # The web server repeats a question, and knows its deadline.
    --disable-retries
    # A server that is gone is left after two failures in a row or within a second, and used again as soon. By default it is
    # asked for three more minutes, or ten times.
    --health-check-interval-secs 1 --health-check-timeout-secs 2
    --health-failure-threshold 1 --health-success-threshold 1
    --cb-failure-threshold 2 --cb-success-threshold 1 --cb-timeout-duration-secs 2
    --worker-startup-check-interval 2
)
exec "$program" "${flags[@]}" "$@" --worker-urls "${workers[@]}"
