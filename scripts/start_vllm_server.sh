#!/usr/bin/env bash
# Starts vLLM with the model as .env says, and stays until it ends: scripts/models/serve.py. See --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/start_vllm_server.sh [options] [-- flags of `vllm serve`]

Checks model and GPU, prints the command, starts it, waits until it answers, and stays. Why it failed, it says in the end.

  --dry-run          only print the command
  --vllm PROGRAM     this program instead of the vllm of the PATH
  --cpu              on the CPU, with a vLLM that is built for it; without this it is never started there
  --timeout SECONDS  give up when it does not answer by then (1800; 0 waits for ever)
  --env-file FILE    the settings, instead of .env
  --help             print this

MODEL_PATH, MODEL_NAME, MODEL_DTYPE, GPU_MEMORY_UTILIZATION, MODEL_MAX_TOKENS, VISUAL_TOKEN_BUDGET, VLLM_BASE_URL (where it
listens) and VLLM_API_KEY decide; env.example explains them. Only flags that the installed vLLM's own help lists are passed.
Exit status: 0 when it served and was stopped, 1 when it could not be started or ended by itself, 2 for wrong options, 130 or
143 when it was stopped before it was ready.
TEXT
        exit 0
        ;;
esac

"$VENV_PYTHON" -c 'import pydantic_settings' >/dev/null 2>&1 || bash "$ROOT/scripts/run.sh" --install
exec "$VENV_PYTHON" "$ROOT/scripts/models/serve.py" "$@"
