# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of install.sh
# Sourced by install.sh: examines the installation and checks the requirements. Changes nothing.

checksum() { sha256sum <"$1" | cut -d ' ' -f 1; }

# Prints the program's files, one line each: checksum and path below the checkout. Exits when one is missing.
manifest() {
    local name extra
    cd "$ROOT" || return 1
    for name in "${PROGRAM[@]}"; do
        [ -e "$name" ] || fail "$ROOT/$name is missing: is the checkout whole?"
    done
    for extra in requirements-*.txt; do [ ! -e "$extra" ] || PROGRAM+=("$extra"); done
    find "${PROGRAM[@]}" -type f ! -path '*/__pycache__/*' ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}

# Prints the changed and removed files of the installed program, one line each.
damaged() { (cd "$home" && sha256sum --check --quiet .install/program 2>/dev/null | sed -n 's/: FAILED.*//p'); }

# Prints the operator's own files in $home, one line each.
strangers() {
    (cd "$home" && find . -type d \( -path ./.venv -o -path ./.install -o -name __pycache__ \) -prune -o -type f -print \
        | sed 's|^\./||' | LC_ALL=C sort) | LC_ALL=C comm -23 - <(cut -c 67- "$home/.install/program" | LC_ALL=C sort)
}

# Prints the checksum of a file outside of $home at its last installation; nothing if it was not installed. Paths are stored
# without the prefix, because an image later becomes a machine's root.
recorded() { [ ! -e "$written" ] || awk -v target="${1#"$prefix"}" 'substr($0, 67) == target { sum = $1 } END { print sum }' "$written"; }

# True when a file outside of $home is unchanged since this script wrote it.
untouched() { [ -e "$1" ] && [ "$(checksum "$1")" = "$(recorded "$1")" ]; }

nearest_folder() {
    local folder=$1
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    printf '%s\n' "$folder"
}

# ---- Checks, before anything is changed ----

check_machine() {
    local name folder
    [ "$(uname -s)" = Linux ] || fail 'This installs services of systemd, and so for Linux only. Elsewhere: bash scripts/run.sh'
    for name in awk cmp comm df find flock sed setsid sha256sum tar; do
        command -v $name >/dev/null 2>&1 || fail "The command $name is missing; it is in coreutils, util-linux, findutils, diffutils, gawk, sed or tar."
    done
    if [ -z "$prefix" ]; then
        [ -n "$dry_run" ] || [ "$(id -u)" = 0 ] || fail 'This makes users and services, and so needs root: sudo bash deploy/install.sh'
        [ -n "$dry_run" ] || [ -d /run/systemd/system ] \
            || fail 'This machine is not run by systemd. For containers see deploy/docker-compose.yml; --prefix DIR installs for an image.'
        [ -n "$dry_run" ] || command -v systemd-sysusers >/dev/null 2>&1 \
            || fail 'systemd-sysusers is missing, which makes the users of the services. Install the package systemd of this system whole.'
    fi
    for name in "$opt" "$(dirname "$settings")" "$units" "$prefix/etc/sysusers.d"; do
        folder=$(nearest_folder "$name")
        [ -n "$dry_run" ] || [ -w "$folder" ] || fail "$folder cannot be written to: another user, or a file system that is read-only."
    done
    [ ! -e "$home" ] || [ -d "$home/.install" ] \
        || fail "$home is there and was not made by this script. Move it away, or remove it."
}

check_space() {
    local free folder
    folder=$(nearest_folder "$opt")
    free=$(df -Pm "$folder" | awk 'END { print $4 }')
    [ "$free" -ge "$NEEDED_MB" ] || fail "There are $free MB free at $folder, and $NEEDED_MB MB are needed. Make room, and run this again."
}

# Services cannot run a Python in a home folder.
check_python() {
    local base
    python=$(find_python) || exit 1
    base=$("$python" -c 'import os, sys; print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))')
    case $base in
        /root/* | /home/* | /run/user/*)
            say "The Python found is $base, in a home that services cannot look into. Name the system's:"
            [ -n "$prefix" ] || fail '  sudo PYTHON=/usr/bin/python3 bash deploy/install.sh'
            say '  PYTHON=/usr/bin/python3 bash deploy/install.sh'
            ;;
    esac
}

# Prints the value of a KEY in a settings file, without quotes; nothing without one.
setting() { [ ! -r "$2" ] || sed -n "s/^$1=//p" "$2" | tail -n 1 | sed -e "s/^'\(.*\)'\$/\1/" -e 's/^"\(.*\)"$/\1/'; }

caller_home() {
    local home_of=''
    [ -z "${SUDO_USER:-}" ] || home_of=$(getent passwd "$SUDO_USER" | cut -d : -f 6)
    printf '%s\n' "${home_of:-${HOME:-/root}}"
}

# MODEL_PATH for the services, which do not expand ~.
model_path() {
    local path
    path=$(setting MODEL_PATH "$1")
    # shellcheck disable=SC2088 # the ~ of a settings file
    case $path in
        '~/'*)
            path=$(caller_home)${path#\~}
            # No model yet: choose a path outside of the home folders, which services cannot read.
            [ -e "$path" ] || path=/srv/models/$(basename "$path")
            ;;
    esac
    printf '%s\n' "$path"
}

# The user with whom to test reading the model: the model server's, or before it exists another one without rights.
as_model_server() {
    local user=65534 group=65534 groups=--clear-groups
    if id qwen-vllm >/dev/null 2>&1; then
        user=$(id -u qwen-vllm)
        group=$(id -g qwen-vllm)
        # A group may give it access.
        groups=--init-groups
    fi
    setpriv --reuid "$user" --regid "$group" $groups --no-new-privs -- "$@"
}

# Checks that an existing model is completely readable; a missing one may be downloaded later, or be elsewhere.
check_model() {
    local path part='' walked='' unreadable=''
    path=$(model_path "$settings_source")
    [ -n "$path" ] || return 0
    case $path in
        /*) ;;
        *) fail "MODEL_PATH is '$path' in $settings_source; the services need an absolute path." ;;
    esac
    if [ ! -e "$path" ]; then
        say "Note: MODEL_PATH is $path, where there is nothing (yet). The web server does without it; qwen-vllm.service needs it."
        return 0
    fi
    if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null 2>&1; then
        say 'Note: only root can check whether the model server will be able to read MODEL_PATH.'
        return 0
    fi
    # From the root down, to name the first folder without access.
    while IFS= read -r -d / part || [ -n "$part" ]; do
        [ -n "$part" ] || continue
        walked=$walked/$part
        if [ -d "$walked" ] && ! as_model_server test -x "$walked"; then
            unreadable=$walked
            break
        fi
    done <<<"$path"
    [ -n "$unreadable" ] || unreadable=$(as_model_server find -L "$path" ! -readable -print -quit 2>/dev/null || true)
    if [ -n "$unreadable" ]; then
        say "The model at MODEL_PATH=$path cannot be read by the user qwen-vllm, which serves it: $unreadable is shut."
        say 'Open it to reading, or move the model to a place like /srv/models and set MODEL_PATH in the settings:'
        fail "  chmod -R o+rX '$unreadable'"
    fi
}

# True when the requested filters are in the environment.
has_filters() {
    local filter
    for filter in ${with//,/ }; do
        grep -q " $filter" "$home/.venv/extras" 2>/dev/null || return 1
    done
}
