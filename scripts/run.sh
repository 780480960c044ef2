#!/usr/bin/env bash
# Installs qwen-camera into .venv (once) and starts it. See --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

usage() {
    cat <<'TEXT'
Usage: bash scripts/run.sh [options]

Installs the server's packages into .venv (the first time), and starts it. It needs Python 3.11 or newer.

  --install          only install, even if nothing changed
  --with LIST        also install optional filters, and enable them for this start; LIST is one or more of
                       face-blur   blurs faces before a model sees them
                       nsfw        withholds pictures with explicit content (its model's licence is AGPL-3.0)
                     separated by a comma: --with face-blur,nsfw
  --model            propose a model for this machine, and ask whether to fetch it
  --model NAME       use this model: small, another name of the catalogue (docs/reference/models.md), or a model's
                     folder. Fetched once, to ~/models; later starts also use it, until --model none
  --https            serve https for phones on the same network: creates a certificate for this machine, shows a QR code
                     to scan, and allows only devices that scanned it, or people with the access code
  --forget-devices   with --https: remove all paired devices, which must then scan a new code
  --port N           listen on this port (0 to 65535; 0 takes a free one) instead of PORT or 8000
  --host H           listen on this address instead of HOST or 0.0.0.0
  --help             print this

For a large vision-language model: bash scripts/download_model.sh, then bash scripts/start_vllm_server.sh.
Settings are read from the environment and from the file .env; env.example lists them all.
PYTHON=python3.12 in the environment chooses the Python of .venv.
TEXT
}

install_only=''
with=''
model=''
https=''
forget=()
while [ $# -gt 0 ]; do
    option=$1
    value=''
    case $option in
        --*=*)
            value=${option#*=}
            option=${option%%=*}
            shift
            ;;
        --with | --model | --port | --host)
            # Without a name it is proposed.
            case $option${2:-} in --model | --model--*) set -- "$1" auto "${@:2}" ;; esac
            [ $# -ge 2 ] || usage_error "$option needs a value."
            value=$2
            shift 2
            ;;
        *) shift ;;
    esac
    case $option in
        --install | --https | --forget-devices) [ -z "$value" ] || usage_error "$option takes no value." ;;
    esac
    case $option in
        --help | -h)
            usage
            exit 0
            ;;
        --install) install_only=yes ;;
        --https) https=yes ;;
        --forget-devices) forget=(--forget-devices) ;;
        --with)
            for extra in $(printf '%s' "$value" | tr ',' ' '); do
                case $extra in
                    face-blur | nsfw) with="$with $extra" ;;
                    *) usage_error "--with $extra is unknown. Allowed: face-blur, nsfw." ;;
                esac
            done
            [ -n "$with" ] || usage_error '--with needs face-blur, nsfw or both.'
            ;;
        --model)
            case $value in
                '') usage_error '--model needs a name, for example small; none forgets it.' ;;
                -*) usage_error "--model $value is not a model. Give a name such as small, or a folder." ;;
            esac
            model=$value
            # The server starts in another folder.
            if [ -d "$value" ] && [ -n "$(ls "$value"/config.json "$value"/model_index.json "$value"/*.gguf 2>/dev/null)" ]; then
                model=$(cd "$value" && pwd)
            elif [ -f "$value" ]; then
                model=$(cd "$(dirname "$value")" && pwd)/$(basename "$value")
            fi
            ;;
        --port)
            case $value in
                '' | *[!0-9]* | ??????*) usage_error "--port $value is not a port. Give a number from 0 to 65535." ;;
            esac
            [ "$value" -le 65535 ] || usage_error "--port $value is not a port. Give a number from 0 to 65535."
            export PORT="$value"
            ;;
        --host)
            [ -n "$value" ] || usage_error '--host needs an address, for example 127.0.0.1.'
            export HOST="$value"
            ;;
        *) usage_error "The option $option is not known." ;;
    esac
done

[ ${#forget[@]} -eq 0 ] || [ -n "$https" ] || usage_error '--forget-devices goes with --https.'

# Refuse an unknown name before anything is installed. With another catalogue the server checks it.
if [ -n "$model" ] && [ "$model" != none ] && [ "$model" != auto ] && [ ! -e "$model" ] && [ -z "${CATALOGUE:-}" ] && [ -f "$ROOT/server/features/hosting/catalogue/models.toml" ] \
    && ! grep -Eqs '^[[:space:]]*(export[[:space:]]+)?CATALOGUE[[:space:]]*=[[:space:]]*[^[:space:]#]' "$ROOT/.env"; then
    case $model in
        /* | ~* | .*) usage_error "There is no folder $model." ;;
    esac
    known=$(sed -nE 's/^(id|aliases) = //p' "$ROOT/server/features/hosting/catalogue/models.toml" | tr -d '[] "' | tr ',' '\n')
    if ! printf '%s\n' "$known" | grep -Fqix -- "$model"; then
        usage_error "No model is called $model. Available: $(printf '%s\n' "$known" | grep -v / | tr '\n' ' ' | sed 's/ $//; s/ /, /g'). A model's folder works, too."
    fi
fi

# Requested filters stay installed, even if .venv is rebuilt.
remembered=" $(cat "$VENV/extras" 2>/dev/null || true)$with "
# The folder of the model is remembered outside .venv, which may be rebuilt.
remembered_model=$ROOT/.model
kept=$(cat "$remembered_model" 2>/dev/null || cat "$VENV/model" 2>/dev/null || true)
extras=''
packages=()
case $remembered in *' face-blur '*) extras="$extras face-blur" packages+=("$FACES") ;; esac
case $remembered in *' nsfw '*) extras="$extras nsfw" packages+=("$NSFW") ;; esac
[ -z "$install_only" ] || REINSTALL=yes
install_once run requirements.txt ${packages[@]+"${packages[@]}"}
[ -z "$extras" ] || printf '%s\n' "$extras" >"$VENV/extras"
cd "$ROOT"

# Exports KEY=VALUE lines.
export_all() {
    local key value
    while IFS='=' read -r key value; do
        [ -z "$key" ] || export "$key=$value"
    done <<<"$1"
}

# True if the environment or .env names a model, which overrides the remembered one.
names_a_model() {
    [ -n "${LOCAL_MODEL:-}" ] \
        || grep -Eiqs '^[[:space:]]*(export[[:space:]]+)?LOCAL_MODEL[[:space:]]*=[[:space:]]*[^[:space:]]' .env
}

# Finds the model, fetches it once, and exports the settings for it.
take_model() {
    local needs settings
    # Report errors of the name, the settings or the disk before anything is installed.
    needs=$("$VENV_PYTHON" -m scripts.models.choose "$1" --look) || exit $?
    [ -z "$needs" ] || bash "$ROOT/scripts/models.sh" --needed || exit $?
    settings=$("$VENV_PYTHON" -m scripts.models.choose "$1") || exit $?
    export_all "$settings"
    # Some models can be fetched but do not answer the camera's questions.
    case $settings in *LOCAL_MODEL=*) printf '%s\n' "$LOCAL_MODEL" >"$remembered_model" ;; esac
}

if [ "$model" = auto ]; then
    model=$("$VENV_PYTHON" -m scripts.models.choose) || exit $?
    # A model for vLLM is only fetched here.
    [ -n "$model" ] || exit 0
fi
if [ "$model" = none ]; then
    rm -f "$remembered_model" "$VENV/model"
    say "${kept:-No model} is forgotten; model files are kept."
    ! names_a_model || say 'LOCAL_MODEL of the environment or .env still names one.'
elif [ -n "$model" ]; then
    take_model "$model"
fi
[ -z "$install_only" ] || {
    say 'Installed. To start: bash scripts/run.sh'
    exit 0
}

for extra in $with; do
    case $extra in
        face-blur)
            export ENABLE_FACE_BLUR=true
            say 'Faces are blurred during this run. To enable this permanently, put ENABLE_FACE_BLUR=true into .env.'
            ;;
        nsfw)
            export ENABLE_NSFW_FILTER=true
            say 'Explicit pictures are withheld during this run. To enable this permanently, put ENABLE_NSFW_FILTER=true into .env.'
            ;;
    esac
done

if [ -z "$model" ] && [ -n "$kept" ] && ! names_a_model; then
    if [ -e "$kept" ]; then
        export LOCAL_MODEL="$kept"
    else
        say "The model in $kept no longer exists: starting without it. To get it again: bash scripts/run.sh --model NAME;"
        say 'to forget it: bash scripts/run.sh --model none'
    fi
fi
if [ -n "$https" ]; then
    settings=$("$VENV_PYTHON" -m scripts.local_certificate ${forget[@]+"${forget[@]}"}) || exit 1
    export_all "$settings"
fi
exec "$VENV_PYTHON" -m server.main
