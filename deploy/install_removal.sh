# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of install.sh
# Sourced by install.sh: removes what it installed, and keeps each file that somebody changed.

remove() {
    local target at user kept=() lines=()
    [ -d "$home/.install" ] || {
        [ ! -e "$home" ] || fail "$home was not made by this script: it is left alone."
        say "qwen-camera is not installed${prefix:+ below $prefix}: nothing was changed."
        return 0
    }
    [ -n "$dry_run" ] || [ -w "$opt" ] || fail "$opt cannot be written to: run this as root."
    # A file may have been written several times: its last checksum counts.
    while IFS= read -r target <&8; do
        target=$prefix$target
        [ -e "$target" ] || continue
        if [ "$target" = "$nginx_file" ] && ! nginx_may "Take $target away from nginx?"; then
            say "nginx is left alone: $target stays. To take it away, too: --nginx"
        elif untouched "$target"; then lines+=("$target"); else kept+=("$target"); fi
    done 8< <(cut -c 67- "$written" | LC_ALL=C sort -u)
    say "To be removed${dry_run:+ (this is a dry run: nothing is)}: ${lines[*]:-} $home"
    if [ -z "$dry_run" ]; then
        lock
        trap '' INT TERM HUP
        [ -n "$prefix" ] || stop_services
        [ ${#lines[@]} -eq 0 ] || rm -f -- "${lines[@]}"
        remove_program
        [ -n "$prefix" ] || {
            systemctl daemon-reload
            for user in qwen-camera qwen-vllm; do
                ! getent passwd $user >/dev/null || userdel $user || say "The user $user could not be removed."
            done
        }
    else
        while IFS= read -r target; do kept+=("$home/$target"); done < <(strangers && damaged)
    fi
    for ((at = 0; at < ${#kept[@]}; at++)); do [ ! -e "${kept[at]}" ] || say "Kept, because it was edited: ${kept[at]}"; done
    [ ! -d "$home" ] || [ -n "$dry_run" ] || say "Kept, since there are files of yours in it: $home"
    [ -d "$prefix/var/log/qwen-camera" ] && say "Kept: the logs in $prefix/var/log/qwen-camera"
    say 'Models are left where they are.'
}

stop_services() {
    local unit
    for unit in $(systemctl list-units --all --plain --no-legend 'qwen-webrtc.service' 'qwen-webrtc@*.service' 'qwen-vllm.service' 'qwen-router.service' | awk '{ print $1 }'); do
        say "Stopping $unit."
        systemctl disable --now --quiet "$unit" || true
    done
    systemctl disable --quiet qwen-webrtc.service qwen-vllm.service qwen-router.service 2>/dev/null || true
}

remove_program() {
    local made_folders=() at
    mapfile -t made_folders <"$folders"
    cp "$home/.install/program" "$scratch/program"
    rm -rf -- "$home/.venv"
    # Remove unchanged files; changed ones stay.
    (cd "$home" && sha256sum --check "$scratch/program" 2>/dev/null | sed -n 's/: OK$//p' | tr '\n' '\0' | xargs -0 -r rm -f --)
    find "$home" -type d -name __pycache__ -prune -exec rm -rf -- {} +
    rm -rf -- "$home/.install"
    find "$home" -depth -type d -empty -delete
    for ((at = ${#made_folders[@]} - 1; at >= 0; at--)); do rmdir -- "$prefix${made_folders[at]}" 2>/dev/null || true; done
}
