#!/usr/bin/env bash
# Fuzzes one reader of strangers' bytes with atheris. What makes it fail becomes a seed, which the tests run ever after.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    --help | -h | '')
        cat <<'TEXT'
Usage: bash scripts/fuzz.sh TARGET SECONDS

Fuzzes one of the targets of tests/fuzz/targets.py, starting from tests/fuzz/seeds/TARGET. An input that fails is kept
there as crash-... and shown; commit it together with what mends it. Installs requirements-fuzz.txt into .venv.
TEXT
        [ -n "${1:-}" ] || exit 2
        exit 0
        ;;
    -*) usage_error "The option $1 is not known." ;;
esac
target=$1
seconds=${2:-60}
targets=("$ROOT"/tests/fuzz/seeds/*)
[ -d "$ROOT/tests/fuzz/seeds/$target" ] || usage_error "There is no target $target. There are: ${targets[*]##*/}."
case $seconds in '' | *[!0-9]*) usage_error "SECONDS is $seconds; a whole number is needed." ;; esac

install_once test requirements-dev.txt
install_once fuzz requirements-fuzz.txt
cd "$ROOT"
exec "$VENV_PYTHON" -m tests.fuzz.run "$target" "-max_total_time=$seconds"
