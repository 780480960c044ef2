#!/usr/bin/env bash
# Runs all checks: format, lint, spelling, strict types, shell scripts, tests.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

tests=yes
case ${1:-} in
    '') ;;
    --no-tests) tests='' ;;
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/check.sh [--no-tests]

Checks format and style (ruff), spelling (codespell), types (mypy, strict) and shell scripts (shellcheck, where it is
installed), then runs all tests. Changes nothing. To put the format right:
.venv/bin/ruff format && .venv/bin/ruff check --fix
TEXT
        exit 0
        ;;
    *) usage_error "The option $1 is not known." ;;
esac

install_once test requirements-dev.txt
cd "$ROOT"
failed=''
# Runs every check even after a failure, so that one run shows all failures.
check() {
    say "== $*"
    "$@" || failed="$failed $1"
}
check "$VENV_PYTHON" -m ruff format --check --quiet --diff .
check "$VENV_PYTHON" -m ruff check --quiet .
check "$VENV_PYTHON" -m codespell_lib ./*.md env.example config.py server scripts tools benchmarks deploy client clients docs
check "$VENV_PYTHON" -m mypy --strict
if command -v shellcheck >/dev/null 2>&1; then
    shell_scripts=(scripts/*.sh scripts/hooks/* .ci/*)
    for file in deploy/*.sh; do
        [ ! -e "$file" ] || shell_scripts+=("$file")
    done
    check shellcheck "${shell_scripts[@]}"
else
    say '== shellcheck is not installed: shell scripts are not checked'
fi
[ -z "$failed" ] || fail 'Some checks failed: see above.'
[ -z "$tests" ] || exec bash scripts/test.sh
say 'All checks passed.'
