#!/usr/bin/env bash
# Make a virtual environment with the packages of requirements.lock: with uv where it is on the path, else with pip.
#
#   envs/install.sh .venv               with a Python 3.12 or 3.13 of the path, of pyenv or of uv
#   envs/install.sh .venv python3.13    with this one
#   TORCH=cpu envs/install.sh .venv     torch without CUDA's libraries, which are 4 of 5 GB
#   EXTRAS=data envs/install.sh .venv   the data side alone: no torch, megatron-core or transformers
#
# Builds of torch for the CPU are not on PyPI: they are sought in PyTorch's own index, too, or in CPU_INDEX; where the
# indexes that pip or uv is set up with have them, CPU_INDEX= asks no other.
set -euo pipefail
envs="$(dirname "${BASH_SOURCE[0]}")"
venv="$1" python="${2:-}" lock="$envs/requirements.lock"

refuse() {
    printf 'operation error: %s\n  where: %s\n  next:  %s\n' "$1" "$2" "$3" >&2
    exit 2
}

# It is asked, since pyenv puts a python3.12 on the path that only says that another version is chosen.
fits() {
    "$1" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info < (3, 14))' 2> /dev/null
}

find_python() {
    local version candidate
    for version in 3.12 3.13; do
        for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python \
            "$(uv python find --no-project "$version" 2> /dev/null || true)"; do
            if fits "$candidate"; then
                echo "$candidate"
                return
            fi
        done
    done
}

if [ "$python" ]; then
    fits "$python" || refuse "no Python 3.12 or 3.13: $("$python" --version 2>&1 || true)" "PYTHON=$python" \
        "name another one, or leave it out: it is then sought on the path, of pyenv and of uv"
else
    python="$(find_python)"
    [ "$python" ] || refuse "no Python 3.12 or 3.13" "the path, pyenv and uv" "install one, with uv python install 3.12, \
pyenv install 3.12 or your system's python3.12 and python3.12-venv; or name one: make install PYTHON=/path/to/python3.12"
fi
if [ -L "$venv" ]; then
    refuse "a link to an environment that others may work with, and that this would clear" "$venv" \
        "install where $(readlink "$venv") belongs, or remove the link, and this folder gets an environment of its own"
fi
if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
    refuse "no virtual environment, which this would replace" "$venv" "move it away"
fi

case "${EXTRAS:-all}" in
    all) ;;
    data) lock="$envs/data/requirements.lock" ;;
    *) refuse "EXTRAS is $EXTRAS" "what is installed" "set EXTRAS=data for the data side alone, EXTRAS=all for all of it" ;;
esac

options=()
if [ "${TORCH:-}" = cpu ]; then
    # What the lock names besides for the other build goes, so that it cannot be taken by mistake.
    cpu_lock="$(mktemp)"
    trap 'rm "$cpu_lock"' EXIT
    sed -E '/^(nvidia|cuda|triton)\b/d; s/^torch==[0-9.]+$/&+cpu/' "$lock" > "$cpu_lock"
    lock="$cpu_lock"
    index="${CPU_INDEX-https://download.pytorch.org/whl/cpu}"
    [ -z "$index" ] || options+=(--extra-index-url "$index")
elif [ "${TORCH:-}" ]; then
    refuse "TORCH is $TORCH" "the build of torch" "set TORCH=cpu, or leave it out"
fi

if command -v uv > /dev/null; then
    # Of all indexes, since one of torch's builds holds a few versions of other packages, too.
    uv venv --quiet --clear --seed --python "$python" "$venv"
    uv pip install --quiet --compile-bytecode --no-deps --index-strategy unsafe-best-match "${options[@]}" --python "$venv" \
        --requirement "$lock"
else
    "$python" -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --no-deps "${options[@]}" --requirement "$lock"
fi
