#!/usr/bin/env bash
# Runs vLLM with the model of .env, by exec: scripts/models/serve.py. See --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/start_vllm_server.sh [options] [-- flags of `vllm serve`]

Checks model and GPU, prints the command, and becomes vLLM: its log, its signals and its exit status are vLLM's own.

  --dry-run          only print the command: needs no vLLM, no GPU, no model and no package, and installs none
  --vllm PROGRAM     this program instead of the vllm of the PATH
  --cpu              on the CPU, with a vLLM that is built for it; without this it is never started there
  --wait             start nothing; return when the vLLM of the settings answers
  --pid PID          with --wait: give up when vLLM, which is this process, has ended
  --timeout SECONDS  with --wait: give up when it does not answer by then (1800; 0 waits for ever)
  --explain FILE     start nothing; read vLLM's log (-: standard input), say why it failed and what to change
  --env-file FILE    the settings, instead of .env
  --help             print this

MODEL_PATH, MODEL_NAME, MODEL_DTYPE, GPU_MEMORY_UTILIZATION, MODEL_MAX_TOKENS, VISUAL_TOKEN_BUDGET, VLLM_BASE_URL (where it
listens) and VLLM_API_KEY decide; env.example explains them. Only flags that the installed vLLM's own help lists are passed.
Exit status: vLLM's once it is started, 1 when it cannot be started, does not answer or no reason is found, 2 for wrong
options, 130 or 143 when it was stopped before.
TEXT
        exit 0
        ;;
esac

dry_run=''
for argument in "$@"; do
    [ "$argument" != -- ] || break
    [ "$argument" != --dry-run ] || dry_run=yes
done

if ! "$VENV_PYTHON" -c 'import pydantic_settings' >/dev/null 2>&1; then
    # A dry run reads the settings that it needs by itself, and leaves nothing behind.
    if [ -n "$dry_run" ]; then
        for python in ${PYTHON:-python3 python}; do
            ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
                exec "$python" -B "$ROOT/scripts/models/serve.py" "$@"
        done
        VENV_PYTHON=$(find_python) || exit 1
        exec "$VENV_PYTHON" -B "$ROOT/scripts/models/serve.py" "$@"
    fi
    bash "$ROOT/scripts/run.sh" --install
fi
exec "$VENV_PYTHON" "$ROOT/scripts/models/serve.py" "$@"
