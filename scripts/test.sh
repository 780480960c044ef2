#!/usr/bin/env bash
# Installs the requirements of the tests, including a browser, and runs all tests, or the fast ones. Arguments go to pytest.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

# Compile each file once, whatever the machine's setting: else each worker would rewrite the assertions of all tests,
# and each program started by a test would compile the server.
unset PYTHONDONTWRITEBYTECODE

fast=''
case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/test.sh [--fast] [--night] [pytest arguments]

Runs all tests, or those chosen by the arguments: bash scripts/test.sh tests/media/picture/test_prepare.py -k ratio

First it installs the requirements of these tests, once: into .venv; for tests marked browser or slow also Chromium,
Firefox, GStreamer, strace, certutil, coturn, nginx, Redis, Mosquitto, Prometheus, podman, logrotate, systemd,
espeak-ng, two fonts and network tools by apt-get, if allowed, and tests/peers by npm; for tests marked slow also
.venv-models and .venv-router.

  --fast   for everyday work, three minutes on two cores: runs four tests at a time without those marked browser and
           slow, and prints their number.
  --night  also runs the tests marked night, which take minutes or repeat others with more values.
TEXT
        exit 0
        ;;
    --fast)
        fast=yes
        shift
        ;;
esac

install_once test requirements-dev.txt
if [ -n "$fast" ]; then
    cd "$ROOT"
    exec "$VENV_PYTHON" -m pytest --fast -q --numprocesses=4 --dist=loadfile --durations=5 --durations-min=2 "$@"
fi

# Prints the line of --fast about the tests that it would leave out of the named files.
left_out() {
    local said code=0
    said=$(cd "$ROOT" && "$VENV_PYTHON" -m pytest "$@" --fast --collect-only -q --numprocesses=0 -p no:cacheprovider \
        2>/dev/null) || code=$?
    # 5: it would leave out all tests.
    if [ $code = 0 ] || [ $code = 5 ]; then grep '^Left out: ' <<<"$said" || true; else echo "$everything"; fi
}

everything='drive a browser, beside .venv'
beyond=$everything
for word in "$@"; do
    case $word in tests/*) beyond=$(left_out "$@") && break ;; esac
done

# Playwright's driver is Node.js; some minimal systems lack a library for it.
driver_runs() { "$VENV_PYTHON" -m playwright --version >/dev/null 2>&1; }

system_browser() {
    local name
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

# Playwright's own browser, if it is installed and starts.
own_browser() {
    "$VENV_PYTHON" -c '
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch().close()
' >/dev/null 2>&1
}

may_install() {
    command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

# Installs the packages that can be installed; the result is checked afterwards. Their services (coturn, nginx, Mosquitto, podman,
# Prometheus) are neither started nor enabled, because the tests start processes of their own.
apt_install() {
    local package as_root='' policy=/usr/sbin/policy-rc.d service
    say "Installing with apt-get, to stay on this machine: $*. (Ctrl+C stops it.)"
    [ "$(id -u)" = 0 ] || as_root='sudo -n'
    if [ -e $policy ]; then policy=''; else
        printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null && $as_root chmod 755 $policy
        # shellcheck disable=SC2064
        trap "$as_root rm -f $policy" EXIT
    fi
    # A container's package lists are often missing or old; if the update fails, the old ones may suffice.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || true
    # Installing all at once takes half the time, but fails if one does not exist.
    local install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"
    $install "$@" >&2 || for package in "$@"; do
        $install "$package" >&2 || say "$package could not be installed."
    done
    for package in "$@"; do
        for service in coturn mosquitto nginx prometheus redis-server; do
            if [ "$package" = $service ]; then $as_root update-rc.d $service disable >/dev/null 2>&1 || true; fi
        done
        if [ "$package" = podman ]; then
            $as_root systemctl disable podman.socket podman.service podman-restart.service podman-auto-update.timer \
                podman-auto-update.service \
                >/dev/null 2>&1 || true
        fi
    done
    if [ -n "$policy" ]; then
        $as_root rm -f $policy
        trap - EXIT
    fi
}

# True if the tests can run this peer: no_gstreamer, no_rtsp or no_werift.
other_peer() {
    (cd "$ROOT" && "$VENV_PYTHON" -c "import sys; from tests.peers import processes; sys.exit(processes.$1() != '')")
}

# Installs from the lock file with checksums, without install scripts.
install_node_modules() {
    say 'Installing tests/peers with npm.'
    (cd "$ROOT/tests/peers" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) \
        || say 'It could not be installed.'
}

models=''
case $beyond in
    *'beside .venv'*)
        # In separate processes, because they use other environments (.venv-models), and in parallel with apt-get.
        set -m
        (bash "$ROOT/scripts/models.sh" --speech && bash "$ROOT/scripts/router.sh") &
        models=$!
        set +m
        trap 'kill -- "-$models" 2>/dev/null; exit 130' INT TERM
        ;;
    '')
        cd "$ROOT"
        exec "$VENV_PYTHON" -m pytest "$@"
        ;;
esac

packages=()
driver_runs || packages+=(libatomic1)
system_browser || own_browser || packages+=(chromium)
# Most pages of the tests need a fifth less processor time in it, if the system has it.
if command -v apt-get >/dev/null 2>&1 && ! command -v chromium-headless-shell >/dev/null 2>&1; then
    packages+=(chromium-headless-shell)
fi
# Command and package; without the command some tests are skipped.
if [ "$(uname -s)" = Linux ]; then
    PATH=$PATH:/usr/sbin:/sbin
    while read -r name package; do
        command -v "$name" >/dev/null 2>&1 || packages+=("$package")
    done <<'TEXT'
strace strace
ip iproute2
nft nftables
turnserver coturn
nginx nginx
promtool prometheus
redis-server redis-server
mosquitto mosquitto
mosquitto_sub mosquitto-clients
certutil libnss3-tools
firefox-esr firefox-esr
systemd-analyze systemd
logrotate logrotate
npm npm
espeak-ng espeak-ng
podman podman
runc runc
catatonit catatonit
busybox busybox
shellcheck shellcheck
TEXT
    # Glyphs measured by the page's tests: Chinese, Japanese and Korean, and Hindi.
    command -v fc-list >/dev/null 2>&1 && fc-list -q :lang=ja || packages+=(fonts-droid-fallback)
    command -v fc-list >/dev/null 2>&1 && fc-list -q :lang=hi || packages+=(fonts-lohit-deva)
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || packages+=(libnginx-mod-stream)
    # A camera with RTSP: 0.5 MB, for the system's Python.
    other_peer no_rtsp || packages+=(
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
        gir1.2-gst-rtsp-server-1.0 python3-gi
    )
    # A WebRTC peer for the tests: 10 MB, for the system's Python.
    other_peer no_gstreamer || packages+=(
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
        gstreamer1.0-nice gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0 python3-gi
    )
fi
if [ ${#packages[@]} -gt 0 ] && may_install; then apt_install "${packages[@]}"; fi
if command -v npm >/dev/null 2>&1; then
    peers=$ROOT/tests/peers
    if ! other_peer no_werift || [ "$peers/package-lock.json" -nt "$peers/node_modules/.package-lock.json" ]; then
        install_node_modules
    fi
fi
if [ -n "$models" ]; then
    wait "$models"
    trap - INT TERM
fi

if ! driver_runs; then
    say 'The tests control a browser through Playwright, whose driver does not start:'
    "$VENV_PYTHON" -m playwright --version 2>&1 | tail -n 2 >&2 || true
    say 'If libatomic is missing:'
    how_to_get 'apt install libatomic1' 'dnf install libatomic' 'brew install node' 'install libatomic'
    exit 1
fi
if ! system_browser && ! own_browser; then
    if may_install; then with_deps=--with-deps; else with_deps=''; fi
    "$VENV_PYTHON" -m playwright install $with_deps chromium >&2 || true
    if ! own_browser; then
        say 'The tests need a browser, and none could be installed. Install Chromium or Google Chrome:'
        how_to_get 'apt install chromium' 'dnf install chromium' 'brew install --cask google-chrome' \
            "$VENV_PYTHON -m playwright install --with-deps chromium"
        exit 1
    fi
fi
if [ "$(uname -s)" = Linux ] && ! command -v strace >/dev/null 2>&1; then
    say 'strace is not installed: tests that watch what is written with it are skipped.'
fi

cd "$ROOT"
exec "$VENV_PYTHON" -m pytest "$@"
