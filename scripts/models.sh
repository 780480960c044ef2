#!/usr/bin/env bash
# Installs the libraries for models into .venv-models, for run.sh --model, the tests and scripts/convert_model.py. If that
# is impossible, it prints the reason and exits with 0, because the tests skip then; with --needed it fails.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

needed=''
speech=''
case ${1:-} in
    '') ;;
    --needed) needed=yes ;;
    --speech) speech=yes ;;
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/models.sh [--needed | --speech]

Installs locks/requirements-models.txt and torch into .venv-models (half a minute, 1 GB), once; scripts/run.sh --model and
scripts/test.sh run it, too. Models, tests and scripts/convert_model.py use it. On Linux it needs the CPU build of torch: set
pip's index or folder for it (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS).

  --needed   use the default build of torch (7 GB) if there is no CPU build, and fail if nothing can be installed
  --speech   for the tests: also install Qwen3-TTS's package, in .venv-models/speech (72 MB)
  --help     print this
TEXT
        exit 0
        ;;
    *) usage_error "The option $1 is not known." ;;
esac

use_venv "$ROOT/.venv-models"
file=$ROOT/requirements-models.txt
locks=("$ROOT/locks/requirements-models.txt" "$ROOT/locks/torch.txt")
cpu_torch=$(sed -n 's/^\(torch==[^;]*+cpu\);.*/\1/p' "$file" 2>/dev/null || true)
stamp=$VENV/models.stamp

ensure_venv
rm -f "$INSTALLING"
print=$(fingerprint "$file" "${locks[@]}") || fail "Could not read $file and ${locks[*]}. Check that the checkout is complete."

# Its dependencies have other versions, so it is in a separate folder for PYTHONPATH.
install_speech() {
    local lock=$ROOT/locks/requirements-speech.txt voice_stamp=$VENV/speech.stamp voice_print
    [ -n "$speech" ] || return 0
    voice_print=$(fingerprint "$lock") || fail "Could not read $lock. Check that the checkout is complete."
    [ "$(cat "$voice_stamp" 2>/dev/null)" != "$voice_print" ] || return 0
    say 'Installing requirements-speech.txt into .venv-models/speech.'
    rm -rf "$VENV/speech" "$voice_stamp"
    if install_locked requirements-speech --no-compile --no-deps --target "$VENV/speech"; then
        printf '%s\n' "$voice_print" >"$voice_stamp"
    else
        tail -n 2 "$INSTALL_LOG" >&2
        say "It could not be installed (the whole output is in $INSTALL_LOG): the tests of a local voice are skipped."
    fi
}

if [ "$(cat "$stamp" 2>/dev/null)" = "$print" ]; then
    install_speech
    exit 0
fi
say 'Installing requirements-models.txt into .venv-models: half a minute the first time, 1 GB on the disk.'
: >"$INSTALL_LOG"
# The default build of torch: on Linux the one for NVIDIA's GPUs, gigabytes, which also computes on the CPU.
usual_torch() {
    local free
    # pip found other versions, so the network works and only the CPU build is missing.
    grep -Eq 'requirement torch==[^ ]*cpu.*from versions: [^n]' "$INSTALL_LOG" || return 1
    free=$(df -Pk "$VENV" | awk 'END { print $4 }')
    if [ "$free" -lt 8000000 ]; then
        say "pip finds no CPU build of torch, and there is no space for the default build (7 GB) at $VENV."
        return 1
    fi
    say 'pip finds no CPU build of torch: using the default build, 3 GB to fetch and 7 GB on the disk. For the'
    say 'CPU build stop this, and set PIP_EXTRA_INDEX_URL to its index (see pytorch.org).'
    install_locked torch --no-compile --no-deps
}

# torch's dependencies are in the other lock, which lacks torch itself: hence --no-deps. --no-compile: Python compiles the
# used modules on import; compiling all of them would take longer than the tests.
install_torch() {
    if [ "$(uname -s)" != Linux ]; then
        install_locked torch --no-compile --no-deps
    elif [ -n "$cpu_torch" ]; then
        install_packages --no-compile --no-deps "$cpu_torch" || { [ -n "$needed" ] && usual_torch; }
    fi
}

if install_torch && install_locked requirements-models --no-compile --no-deps; then
    printf '%s\n' "$print" >"$stamp"
    install_speech
    exit 0
fi
rm -f "$stamp"
tail -n 2 "$INSTALL_LOG" >&2
explain_refused_file || true
if [ -n "$needed" ]; then
    say "The packages that run a model could not be installed; the whole output is in $INSTALL_LOG. Without a network: connect and run"
    say 'this again. Or name a Python that has torch and transformers: ENGINE_PYTHON=/path/to/bin/python. Without --model'
    fail 'the built-in engine answers: bash scripts/run.sh'
fi
say "No real model server could be installed (the whole output is in $INSTALL_LOG): the tests that need one are skipped, and no model is converted."
