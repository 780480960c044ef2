#!/usr/bin/env bash
# Writes locks/: the exact versions and file hashes that run.sh, test.sh, models.sh, install.sh and the image install.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
Usage: bash scripts/lock.sh [--upgrade | --upgrade-package NAME ...]

Writes the lock files in locks/ from requirements*.txt. Run it after a change of requirements*.txt, run the tests, and commit
locks/ with the change. Versions that still satisfy the requirements are kept.

  --upgrade                use the newest versions allowed by requirements*.txt
  --upgrade-package NAME   use the newest version of only this package
  --help                   print this

A lock is for Linux, macOS and Windows, and for every Python from 3.11 on for which the packages have files. It has the hashes
of all files of a version, and no address of an index. The CPU build of torch is not included: see requirements-models.txt.
TEXT
        exit 0
        ;;
    '' | --upgrade | --upgrade-package | --upgrade-package=*) ;;
    *) usage_error "The option $1 is not known." ;;
esac

python=$(find_python) || exit 1
scratch=$(mktemp -d) || fail 'No temporary folder could be created. Check the free space in /tmp.'
trap 'rm -rf -- "$scratch"' EXIT
"$python" -m venv "$scratch/tool"
"$scratch/tool/bin/python" -m pip install --quiet --disable-pip-version-check "$UV" \
    || fail "$UV, which makes the locks, could not be installed. Connect to the package index and run this again."
cd "$ROOT"

# compile REQUIREMENTS LOCK [OPTION]...
compile() {
    local requirements=$1 lock=$2
    shift 2
    say "Locking ${requirements##*/}."
    "$scratch/tool/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-annotate --custom-compile-command 'bash scripts/lock.sh' "$requirements" -o "$lock" "$@" >/dev/null \
        || fail "$requirements could not be locked; locks/ may contain some new files; restore them with git checkout locks"
}

# The development lock first: it has all packages of .venv, and the others follow it.
compile requirements-dev.txt locks/requirements-dev.txt "$@"
for name in requirements requirements-llama requirements-plots requirements-weights; do
    compile $name.txt locks/$name.txt -c locks/requirements-dev.txt "$@"
done
compile requirements-fuzz.txt locks/requirements-fuzz.txt "$@"
compile requirements-router.txt locks/requirements-router.txt "$@"
compile requirements-speech.txt locks/requirements-speech.txt --no-deps "$@"

# Packages that are installed without their dependencies.
for package in "$FACES" "$NSFW" "$UV"; do
    printf '%s\n' "$package" >"$scratch/${package%%==*}.txt"
    compile "$scratch/${package%%==*}.txt" "locks/${package%%==*}.txt" --no-deps "$@"
done

# The default build of torch, with the packages that only it needs, has a lock of its own: the CPU build replaces it.
grep -v '^torch==.*+cpu' requirements-models.txt | sed 's/^\(torch==[^;]*\);.*/\1/' >"$scratch/requirements-models.txt"
cat locks/requirements-models.txt locks/torch.txt >"$scratch/lock.txt" 2>/dev/null || true
cp requirements-llama.txt "$scratch"
compile "$scratch/requirements-models.txt" "$scratch/lock.txt" "$@"
for lock in requirements-models torch; do
    awk -v wanted=$lock '
        /^[^ #]/ { file = /^(torch|triton|nvidia-[^=]*|cuda-[^=]*)==/ ? "torch" : "requirements-models" }
        /^#/ || file == wanted { print }' "$scratch/lock.txt" >"locks/$lock.txt"
done
say 'Written: locks/. Now run the tests, which compare it with requirements*.txt: bash scripts/test.sh'
