#!/usr/bin/env bash
# Installs what the tests need (a browser too) and runs all of them. Arguments go to pytest.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/test.sh [pytest arguments]

Installs what the tests need into .venv and, with apt-get where that is allowed, Chromium and strace; then runs
all tests, or those that the arguments choose: bash scripts/test.sh tests/test_resize.py -k ratio
TEXT
        exit 0
        ;;
esac

has_browser() {
    local name
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    # Playwright's own, when it is there and starts.
    "$VENV_PYTHON" -c '
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch().close()
' >/dev/null 2>&1
}

# apt_install PACKAGE...: false where apt-get is missing or may not be used without a password.
apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    local as_root=''
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 1
        as_root='sudo -n'
    fi
    say "Installing $* with apt-get."
    # A container's package lists are often missing or old; without new ones the old may still do.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || true
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

install_once test requirements-dev.txt

if ! has_browser; then
    apt_install chromium \
        || "$VENV_PYTHON" -m playwright install chromium >&2 \
        || true
    if ! has_browser; then
        say 'The tests need a browser, and none could be installed. Install Chromium or Google Chrome:'
        how_to_get 'apt install chromium' 'dnf install chromium' 'brew install --cask google-chrome' \
            "$VENV_PYTHON -m playwright install --with-deps chromium"
        exit 1
    fi
fi
if [ "$(uname -s)" = Linux ] && ! command -v strace >/dev/null 2>&1; then
    apt_install strace || say 'strace could not be installed: the test that watches file writes with it is skipped.'
fi

cd "$ROOT"
exec "$VENV_PYTHON" -m pytest "$@"
