#!/usr/bin/env bash
# Fuzzes a parser of untrusted input with atheris. An input that makes it fail becomes a seed for the tests.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    --help | -h | '')
        cat <<'TEXT'
Usage: bash scripts/fuzz.sh TARGET SECONDS

Fuzzes a target of tests/fuzz/targets.py, starting from tests/fuzz/seeds/TARGET. An input that fails is stored there as
crash-... and printed; commit it together with the fix. Installs requirements-fuzz.txt into .venv.
TEXT
        [ -n "${1:-}" ] || exit 2
        exit 0
        ;;
    -*) usage_error "The option $1 is not known." ;;
esac
target=$1
seconds=${2:-60}
targets=("$ROOT"/tests/fuzz/seeds/*)
[ -d "$ROOT/tests/fuzz/seeds/$target" ] || usage_error "There is no target $target. Available: ${targets[*]##*/}."
case $seconds in '' | *[!0-9]*) usage_error "SECONDS is $seconds, but must be a whole number." ;; esac

# Installs atheris in addition to the tests' packages. It is never compiled, because that needs clang and takes long; on
# failure .venv is unchanged.
install_atheris() {
    local stamp=$VENV/fuzz.stamp print
    print=$(fingerprint "$ROOT/locks/requirements-fuzz.txt") || fail "Could not read $ROOT/locks/requirements-fuzz.txt."
    [ "$(cat "$stamp" 2>/dev/null)" != "$print" ] || return 0
    say 'Installing requirements-fuzz.txt into .venv.'
    : >"$INSTALL_LOG"
    if ! install_locked requirements-fuzz --only-binary atheris \
        || ! "$VENV_PYTHON" -c 'import atheris' >>"$INSTALL_LOG" 2>&1; then
        tail -n 3 "$INSTALL_LOG" >&2
        explain_refused_file || true
        say "atheris could not be installed (the whole output is in $INSTALL_LOG). There are wheels for CPython 3.11, 3.12 and 3.13 on"
        say "x86-64 Linux with glibc; this is $("$VENV_PYTHON" -V 2>&1) on $(uname -s) $(uname -m). If only the version of Python differs,"
        say 'remove .venv and run this with PYTHON=python3.12 in front; without a network, connect and run it again.'
        fail 'The findings so far run everywhere, with the tests: bash scripts/test.sh tests/project/test_fuzz_seeds.py'
    fi
    printf '%s\n' "$print" >"$stamp"
}

install_once test requirements-dev.txt
install_atheris
cd "$ROOT"
exec "$VENV_PYTHON" -m tests.fuzz.run "$target" "-max_total_time=$seconds"
