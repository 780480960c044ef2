#!/usr/bin/env bash
# Runs vLLM with the model of .env: replaces itself with scripts/models/serve.py. See --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/start_vllm_server.sh [options] [-- flags of `vllm serve`]

Checks model and GPU, prints the command, and replaces itself with vLLM: log, signals and exit status are vLLM's own.

  --dry-run          only print the command, without vLLM, GPU, model and packages; installs nothing
  --vllm PROGRAM     this program instead of the vllm in PATH
  --cpu              use the CPU, with a vLLM built for it; without this option it is never started on the CPU
  --wait             start nothing; return when the vLLM of the settings responds
  --pid PID          with --wait: give up when this process of vLLM has ended
  --timeout SECONDS  with --wait: give up if it does not respond by then (1800; 0 waits for ever)
  --explain FILE     start nothing; read vLLM's log (-: standard input), print why it failed and what to change
  --env-file FILE    the settings, instead of .env
  --help             print this

Settings: MODEL_PATH, MODEL_NAME, MODEL_DTYPE, GPU_MEMORY_UTILIZATION, MODEL_MAX_TOKENS, VISUAL_TOKEN_BUDGET, VLLM_BASE_URL
(its address) and VLLM_API_KEY; see env.example. Only flags listed in the help of the installed vLLM are passed.
Exit status: vLLM's once it is started, 1 if it cannot be started, does not respond or no reason is found, 2 for wrong
options, 130 or 143 if it was stopped before.
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
    # A dry run reads its settings itself, and leaves nothing behind.
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
