#!/usr/bin/env bash
# Installs a real model server for the tests, and what scripts/convert_model.py needs, into .venv-models. Where that
# can not be, it says so and ends well: the tests that need one skip with a sentence.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    '') ;;
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/models.sh

Installs requirements-models.txt into .venv-models (half a minute, 1 GB), once. scripts/test.sh does it, too; the tests and
scripts/convert_model.py run there. On Linux it needs the CPU build of torch: give pip the index or folder that has it
(PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS).
TEXT
        exit 0
        ;;
    *) usage_error "The option $1 is not known." ;;
esac

VENV=$ROOT/.venv-models
VENV_PYTHON=$VENV/bin/python
INSTALLING=$VENV/installing
INSTALL_LOG=$VENV/install.log
file=$ROOT/requirements-models.txt
stamp=$VENV/models.stamp

ensure_venv
rm -f "$INSTALLING"
print=$(fingerprint "$file") || fail "Could not read $file. Is the checkout whole?"
[ "$(cat "$stamp" 2>/dev/null)" != "$print" ] || exit 0
say 'Installing requirements-models.txt into .venv-models: half a minute the first time, 1 GB on the disk.'
: >"$INSTALL_LOG"
# What is used of torch is compiled on the way; all of it would take longer than its tests.
if pip_install --no-compile -r "$file"; then
    printf '%s\n' "$print" >"$stamp"
else
    rm -f "$stamp"
    tail -n 2 "$INSTALL_LOG" >&2
    say "No real model server could be installed ($INSTALL_LOG has it all): the tests that need one are skipped, and no model is converted."
fi
