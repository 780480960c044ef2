#!/usr/bin/env bash
# Installs, upgrades and removes qwen-camera as systemd services. See --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../scripts/venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/venv.sh"
# shellcheck source-path=SCRIPTDIR source=install_checks.sh
. "$ROOT/deploy/install_checks.sh"
# shellcheck source-path=SCRIPTDIR source=install_steps.sh
. "$ROOT/deploy/install_steps.sh"
# shellcheck source-path=SCRIPTDIR source=install_removal.sh
. "$ROOT/deploy/install_removal.sh"

usage() {
    cat <<'TEXT'
Usage: sudo bash deploy/install.sh [options]

Installs this checkout as services: the program and its Python environment in /opt/qwen-camera, settings in
/etc/qwen-camera/qwen-camera.env, units, users and log rotation where the system looks for them. Run it again to upgrade,
to repair, or to see that nothing is left to do. Files that you changed are never overwritten or removed.

  --dry-run     say what would be done, and do nothing
  --uninstall   remove all of it again, but no model, no log, and no file that you changed
  --prefix DIR  install below DIR instead of /, as for an image: no user is made and no service touched
  --with LIST   also install optional filters: face-blur, nsfw, or both with a comma between
  --model NAME  also fetch a GGUF model of the catalogue (docs/reference/models.md) and llama.cpp's server to
                /srv/models, and let this model answer, on the CPU
  --nginx       put deploy/nginx.conf into /etc/nginx/conf.d without asking
  --no-nginx    leave nginx alone without asking
  --help        print this

Without a terminal to ask on, nginx is left alone. PYTHON=/usr/bin/python3.12 in the environment chooses the Python.
Exit status: 0 done, 1 it cannot be done and why, 2 wrong options, 130 or 143 interrupted, with nothing changed.
TEXT
}

usage_error() {
    say "$1"
    say 'See: bash deploy/install.sh --help'
    exit 2
}

# Installed files, relative to the checkout; the rest is for developers.
PROGRAM=(server client scripts deploy docs config.py env.example LICENSE README.md DEPLOY.md SECURITY.md ARCHITECTURE.md
    CHANGELOG.md requirements.txt locks)
UNITS=(qwen-webrtc.service qwen-webrtc@.service qwen-vllm.service qwen-router.service)
# The environment takes half a gigabyte, and twice that while it is replaced.
NEEDED_MB=1500

prefix=''
dry_run=''
uninstall=''
nginx=ask
with=''
model=''

read_options() {
    local option value
    while [ $# -gt 0 ]; do
        option=$1
        value=''
        case $option in
            --prefix=* | --with=* | --model=*)
                value=${option#*=}
                option=${option%%=*}
                shift
                ;;
            --prefix | --with | --model)
                [ $# -ge 2 ] || usage_error "$option needs a value."
                value=$2
                shift 2
                ;;
            *) shift ;;
        esac
        case $option in
            --help | -h)
                usage
                exit 0
                ;;
            --dry-run) dry_run=yes ;;
            --uninstall) uninstall=yes ;;
            --nginx) nginx=yes ;;
            --no-nginx) nginx=no ;;
            --prefix)
                case $value in
                    /*) prefix=${value%/} ;;
                    *) usage_error "--prefix is '$value'; an absolute path like /srv/image is needed." ;;
                esac
                case $prefix/ in */../* | */./*) usage_error "--prefix is '$value'; a path without . and .. is needed." ;; esac
                ;;
            --with)
                case ,$value, in
                    ,face-blur, | ,nsfw, | ,face-blur,nsfw, | ,nsfw,face-blur,) with=$value ;;
                    *) usage_error "--with is '$value'; face-blur, nsfw or face-blur,nsfw is needed." ;;
                esac
                ;;
            --model)
                case $value in
                    '' | -* | /* | .*) usage_error "--model is '$value'; a name of the catalogue like small is needed." ;;
                esac
                model=$value
                ;;
            *) usage_error "The option $option is not known." ;;
        esac
    done
    [ -z "$uninstall" ] || [ -z "$model" ] || usage_error '--model is for installing, not for --uninstall.'
    [ -z "$uninstall" ] || [ -z "$with" ] || usage_error '--with is for installing, not for --uninstall.'
    opt=$prefix/opt
    home=$opt/qwen-camera
    stage=$opt/.qwen-camera.new
    old=$opt/.qwen-camera.old
    settings=$prefix/etc/qwen-camera/qwen-camera.env
    nginx_file=$prefix/etc/nginx/conf.d/qwen-camera.conf
    units=$prefix/usr/local/lib/systemd/system
    # Checksums of the files written outside of $home, and the folders created for them
    written=$home/.install/written
    folders=$home/.install/folders
}

# ---- The plan ----

# Entries: mode, a file of the checkout (or of the scratch folder), and its target.
files=()
plan=()

# plan_file SOURCE TARGET MODE: a file outside of $home.
plan_file() {
    if [ ! -e "$2" ]; then
        plan+=("write $2")
    elif cmp -s "$1" "$2"; then
        # An existing file with the same content is treated as ours.
        return 0
    elif untouched "$2"; then
        plan+=("renew $2")
    else
        say "Kept: $2, which was edited. The new one is $home/${1#"$ROOT/"}."
        return 0
    fi
    files+=("$3" "$1" "$2")
}

plan_program() {
    local damage
    if [ ! -e "$home" ]; then
        program=new
        plan+=("put the program and its Python environment into $home")
        return 0
    fi
    if "$home/.venv/bin/python" -c '' 2>/dev/null && [ -e "$home/.venv/run.stamp" ] && [ ! -e "$home/.venv/installing" ]; then
        keep_environment=yes
    else
        program=renew
        plan+=("make the Python environment in $home anew")
    fi
    damage=$(damaged || true)
    if ! cmp -s "$scratch/program" "$home/.install/program"; then
        program=renew
        plan+=("bring the program in $home up to date")
    elif [ -n "$damage" ]; then
        program=renew
        plan+=("put back what was changed or removed in $home: $(head -n 3 <<<"$damage" | tr '\n' ' ')")
    fi
    if [ -n "$keep_environment" ] && ! has_filters; then
        program=renew
        plan+=("install $with into $home")
    fi
}

plan_settings() {
    local missing empty=''
    if [ ! -e "$settings" ]; then
        if [ -r "$settings_source" ]; then
            empty=$("$python" "$ROOT/deploy/service_settings.py" --empty "$settings_source") \
                || fail "$settings_source cannot be read: is it UTF-8 text?"
        fi
        plan+=("write $settings from $settings_source${empty:+, with a new value for what is empty there: ${empty// /, }}")
        files+=(600 "$scratch/settings" "$settings")
        return 0
    fi
    if [ ! -r "$settings" ] || [ ! -r "$home/env.example" ]; then return 0; fi
    missing=$(LC_ALL=C comm -23 <(keys "$ROOT/env.example") <(keys "$settings" "$home/env.example") | tr '\n' ' ')
    [ -z "$missing" ] || say "Note: new settings, which have their defaults (env.example explains them): $missing"
}

keys() { sed -n 's/^\([A-Z][A-Z0-9_]*\)=.*/\1/p' "$@" | LC_ALL=C sort -u; }

make_settings() {
    local path
    (
        umask 077
        "$python" "$ROOT/deploy/service_settings.py" "$settings_source" >"$scratch/clean"
        path=$(model_path "$scratch/clean")
        awk -v path="$path" -v host="$(proxy_names)" -v proxy="$(has_nginx && echo "$NGINX_ADDRESSES")" '
            /^MODEL_PATH=/ && path != "" { print "MODEL_PATH=" path; next }
            /^ALLOWED_HOSTS=$/ && proxy != "" { print "ALLOWED_HOSTS=" host; next }
            /^TRUSTED_PROXIES=$/ && proxy != "" { print "TRUSTED_PROXIES=" proxy; next }
            { print }' "$scratch/clean" >"$scratch/settings"
    )
}

plan_users() {
    [ -z "$prefix" ] || return 0
    if ! getent passwd qwen-camera >/dev/null || ! getent passwd qwen-vllm >/dev/null; then
        make_users=yes
        plan+=('make the users qwen-camera and qwen-vllm')
    fi
}

# The address from which nginx connects to the processes
NGINX_ADDRESSES=127.0.0.1,::1

# The server names of nginx.conf, separated by commas
proxy_names() { sed -n 's/^ *server_name  *\([^;]*\);.*/\1/p' "$ROOT/deploy/nginx.conf" 2>/dev/null | tr ' ' '\n' | LC_ALL=C sort -u | paste -sd , -; }

# True when deploy/nginx.conf is installed, or will be.
has_nginx() { [ -e "$nginx_file" ] || printf '%s\n' "${plan[@]}" | grep -qF "$nginx_file"; }

# nginx_may QUESTION: decides by the options, or asks at the terminal.
nginx_may() {
    local answer
    if [ $nginx = ask ] && [ -z "$dry_run" ] && [ -t 0 ]; then
        printf '%s [y/N] ' "$1" >&2
        read -r answer || answer=''
        case $answer in [yY] | [yY][eE][sS]) nginx=yes ;; *) nginx=no ;; esac
    fi
    [ $nginx = yes ]
}

plan_nginx() {
    local target
    [ -e "$ROOT/deploy/nginx.conf" ] || return 0
    if [ ! -d "$prefix/etc/nginx" ]; then
        [ $nginx != yes ] || fail "There is no $prefix/etc/nginx. Install nginx first, or leave --nginx out."
        return 0
    fi
    for target in "$nginx_file" "$nginx_file.to-change"; do
        if [ -e "$target" ] && cmp -s "$ROOT/deploy/nginx.conf" "$target"; then return 0; fi
    done
    target=$nginx_file
    if nginx_may "Put deploy/nginx.conf into $target, and have nginx check it?"; then
        plan_file "$ROOT/deploy/nginx.conf" "$target" 644
    else
        say "nginx is left alone. For deploy/nginx.conf in front of the server: bash deploy/install.sh --nginx"
    fi
}

# ---- Doing it ----

# Fetches the model with llama.cpp's server to where the services read them, and names it in the settings.
add_model() {
    local found ours=''
    [ -n "$model" ] || return 0
    trap - INT TERM HUP
    # Models are kept in the home's folder models.
    choose() (cd "$home" && HOME=$prefix/srv exec .venv/bin/python -m scripts.models.choose "$model" "$@")
    found=$(choose --look) || exit 1
    [ -z "$found" ] || fail "$model needs torch, which install.sh does not install; GGUF models need none."
    found=$(choose | sed -n "s|^LOCAL_MODEL=$prefix||p") || true
    [ -n "$found" ] || fail "$model was not fetched. The rest is installed; run this again to go on."
    ! untouched "$settings" || ours=yes
    (umask 077 && { grep -v '^LOCAL_MODEL=' "$settings" && printf 'LOCAL_MODEL=%s\n' "$found"; } >"$settings.qwen-camera-new")
    mv -T -- "$settings.qwen-camera-new" "$settings"
    [ -z "$ours" ] || printf '%s  %s\n' "$(checksum "$settings")" "${settings#"$prefix"}" >>"$written"
}

activate() {
    local unit
    [ -z "$prefix" ] || return 0
    [ -z "$make_users" ] || systemd-sysusers "/etc/sysusers.d/qwen-camera.conf"
    systemctl daemon-reload
    if printf '%s\n' "${plan[@]}" | grep -q "$nginx_file"; then
        if nginx -t 2>"$scratch/output"; then
            say 'nginx takes its new configuration; to use it: systemctl reload nginx'
        else
            tail -n 5 "$scratch/output" >&2
            mv -- "$nginx_file" "$nginx_file.to-change"
            printf '%s  %s\n' "$(checksum "$nginx_file.to-change")" "$nginx_file.to-change" >>"$written"
            say "nginx does not take it before what is marked CHANGE is changed, so it is put by as $nginx_file.to-change."
            say 'Change it there, take .to-change off its name, and: nginx -t && systemctl reload nginx'
        fi
    fi
    # One after the other, each only when the previous one is ready, so that with several one always answers.
    if [ -n "$program$model" ]; then
        for unit in $(systemctl list-units --plain --no-legend --state=active 'qwen-webrtc.service' 'qwen-webrtc@*.service' | awk '{ print $1 }'); do
            say "Restarting $unit: running answers finish first."
            systemctl restart "$unit"
        done
        if systemctl is-active --quiet qwen-vllm.service; then say 'qwen-vllm.service goes on as it is; to restart it: systemctl restart qwen-vllm'; fi
    fi
}

advise() {
    say 'Done.'
    if has_nginx && [ -z "$(setting TRUSTED_PROXIES "$settings")" ]; then
        say "nginx is in front: set TRUSTED_PROXIES=$NGINX_ADDRESSES in $settings, or all visitors share one allowance."
    fi
    [ -z "$prefix" ] || return 0
    if [ -n "$(setting ACCESS_CODE "$settings")" ]; then
        say "Settings: $settings (what people type to get in: sudo grep ACCESS_CODE $settings)"
    else
        say "Settings: $settings (ACCESS_CODE is empty: whoever reaches the page gets in)"
    fi
    if has_nginx && [ -z "$(setting ALLOWED_HOSTS "$settings")$(setting ALLOWED_ORIGINS "$settings")" ]; then
        say "nginx is in front: set ALLOWED_HOSTS in $settings to the name that the page has, or nobody is let in by it."
    fi
    if ! systemctl is-enabled --quiet qwen-webrtc.service 2>/dev/null; then
        say 'To start:  sudo systemctl enable --now qwen-webrtc      (several: qwen-webrtc@8010 qwen-webrtc@8011 instead)'
        say '           sudo systemctl enable --now qwen-vllm        (with a GPU, a model at MODEL_PATH, and vLLM)'
    fi
    say 'To watch:  systemctl status qwen-webrtc; journalctl -u qwen-webrtc'
}

install() {
    local unit
    settings_source=$settings
    [ -e "$settings_source" ] || settings_source=$ROOT/.env
    [ -e "$settings_source" ] || settings_source=$ROOT/env.example
    [ -r "$settings_source" ] || [ -n "$dry_run" ] || fail "$settings_source cannot be read by this user."
    check_machine
    manifest >"$scratch/program" || exit 1
    check_python
    check_space
    check_model
    if [ -e "$stage" ] || [ -e "$old" ]; then
        if [ -z "$dry_run" ]; then lock && recover; fi
        say "A run that was killed left something in $opt: ${dry_run:+to be }cleared away."
    fi
    plan_program
    plan_file "$ROOT/deploy/qwen-camera.sysusers.conf" "$prefix/etc/sysusers.d/qwen-camera.conf" 644
    for unit in "${UNITS[@]}"; do plan_file "$ROOT/deploy/$unit" "$units/$unit" 644; done
    if [ -d "$prefix/etc/logrotate.d" ] || [ -n "$prefix" ]; then
        plan_file "$ROOT/deploy/logrotate.conf" "$prefix/etc/logrotate.d/qwen-camera" 644
    fi
    plan_settings
    plan_users
    plan_nginx
    [ -z "$model" ] || plan+=("fetch the model $model to $prefix/srv/models, and name it in $settings")
    if [ ${#plan[@]} -eq 0 ]; then
        say 'Everything is as it should be: nothing was changed.'
        return 0
    fi
    say "To be done${dry_run:+ (this is a dry run: nothing is)}:"
    printf '  %s\n' "${plan[@]}" >&2
    [ -z "$dry_run" ] || return 0

    trap failed EXIT
    trap 'interrupted 130' INT
    trap 'interrupted 143' TERM HUP
    lock
    [ -e "$settings" ] || make_settings
    [ -z "$program" ] || stage_program
    stage_files
    trap '' INT TERM HUP
    commit
    trap - EXIT
    add_model
    activate
    advise
}

main() {
    program=''
    keep_environment=''
    make_users=''
    umask 022
    read_options "$@"
    scratch=$(mktemp -d) || fail 'No temporary folder could be made: is there room in /tmp?'
    trap 'rm -rf -- "$scratch"' EXIT
    if [ -n "$uninstall" ]; then remove; else install; fi
    rm -rf -- "$scratch"
}

# In a function, so that bash has read the whole script before it may remove its own installed copy.
main "$@"
exit
