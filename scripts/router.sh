#!/usr/bin/env bash
# Installs vLLM's router into .venv-router, for scripts/start_router.sh and the tests. If that is impossible, it prints the
# reason and exits with 0, because the tests skip then; with --needed or --into it fails.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

needed=''
use_venv "$ROOT/.venv-router"
case ${1:-} in
    '') ;;
    --needed) needed=yes ;;
    --into)
        needed=yes
        case ${2:-} in
            /*) use_venv "$2" ;;
            *) usage_error "--into is '${2:-}', but must be an absolute path such as /opt/qwen-router." ;;
        esac
        ;;
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/router.sh [--needed | --into FOLDER]

Installs vLLM's router (vllm-router, with the exact files of locks/requirements-router.txt) into .venv-router, once. It needs no
GPU. scripts/start_router.sh starts it.

  --needed       fail if it cannot be installed
  --into FOLDER  install it in this folder, as for the service: sudo bash scripts/router.sh --into /opt/qwen-router
  --help         print this
TEXT
        exit 0
        ;;
    *) usage_error "The option $1 is not known." ;;
esac

stamp=$VENV/router.stamp
lock=$ROOT/locks/requirements-router.txt

ensure_venv
rm -f "$INSTALLING"
print=$(fingerprint "$lock") || fail "Could not read $lock. Check that the checkout is complete."
[ "$(cat "$stamp" 2>/dev/null)" != "$print" ] || exit 0
say "Installing requirements-router.txt into ${VENV##*/}."
: >"$INSTALL_LOG"
rm -f "$stamp"
# Only ready-made files: compiling it takes Rust and minutes.
if install_locked requirements-router --only-binary :all:; then
    printf '%s\n' "$print" >"$stamp"
    exit 0
fi
tail -n 2 "$INSTALL_LOG" >&2
explain_refused_file || true
[ -z "$needed" ] || fail "vLLM's router could not be installed; the whole output is in $INSTALL_LOG."
say "vLLM's router could not be installed (the whole output is in $INSTALL_LOG): the tests that need it are skipped."
