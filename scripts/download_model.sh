#!/usr/bin/env bash
# Fetches a model's files from a Hugging Face hub and checks them: scripts/models/download.py. See --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/download_model.sh [REPOSITORY] [options]

Fetches Qwen/Qwen2.5-VL-32B-Instruct, or the given repository, to MODEL_PATH, and compares every file with the hub's checksum.
After an interruption, the same command resumes.

  --revision R       this branch, tag or commit instead of the main branch's newest
  --file NAME        only this file; for GGUF models the weights and the mmproj, each with its own --file
  --to FOLDER        this folder instead of MODEL_PATH (of the environment or .env)
  --dry-run          only print what would be fetched, and whether there is enough space
  --json             progress as lines of JSON on standard output, for programs
  --env-file FILE    the settings, instead of .env
  --help             print this

HF_TOKEN (for gated models), HF_ENDPOINT (a mirror) and HTTPS_PROXY are read from the environment.
Exit status: 0 if the model is complete, 1 if it is not, 2 for wrong options, 130 or 143 if it was stopped.
TEXT
        exit 0
        ;;
esac

"$VENV_PYTHON" -c 'import huggingface_hub, pydantic_settings' >/dev/null 2>&1 || bash "$ROOT/scripts/run.sh" --install
exec "$VENV_PYTHON" "$ROOT/scripts/models/download.py" "$@"
