#!/usr/bin/env bash
# Makes .venv from the locks, with the command vigie in it: `setup.sh run` for the stack, `setup.sh dev` for tests and lint too.
# EXTRAS=boosting adds the packages of requirements-boosting.lock, and later calls keep them; EXTRAS=none removes them.
# Idempotent: does nothing where .venv was made from the same locks by the same Python.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-run}
python=${PYTHON:-python3}
case $kind in
    run) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *) echo "usage: setup.sh run|dev" >&2; exit 2 ;;
esac

kept_extras=.venv/extras
extras=${EXTRAS:-$(cat "$kept_extras" 2>/dev/null || true)}
[ "$extras" = none ] && extras=
case $extras in
    "" | boosting) ;;
    *) echo "EXTRAS=$extras: there is only boosting, or none" >&2; exit 2 ;;
esac
locks=("$lock" ${extras:+"requirements-$extras.lock"})

"$python" - <<'CHECK' || exit 2
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"Vigie needs Python 3.11 to 3.13; {sys.executable} is {sys.version.split()[0]}. Name another one: make PYTHON=python3.12 ...")
try:
    import ensurepip, venv
except ImportError:
    sys.exit("this Python has no venv module; on Debian, run: apt-get install python3-venv")
CHECK

made_from() { { "$python" -c 'import sys; print(sys.version, sys.prefix)'; cat requirements-setup.lock "$@"; } | cksum; }
install_command() { .venv/bin/python -I deploy/install_command.py "$PWD"; }
stamp=.venv/made-from-$kind
# the lock of dev holds all that run needs
if { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(made_from "${locks[@]}")" ] && [ -x .venv/bin/python ]; } \
    || { [ "$kind" = run ] && [ -f .venv/made-from-dev ] && [ "$(made_from requirements-dev.lock "${locks[@]:1}")" = "$(cat .venv/made-from-dev)" ]; }; then
    install_command
    exit 0
fi

echo "setting up .venv from ${locks[*]} (about half a minute the first time)"
if [ -x .venv/bin/python ] && ! .venv/bin/python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null; then
    rm -rf .venv
fi
if [ ! -x .venv/bin/python ] || [ "$(.venv/bin/python -c 'import sys; print(sys.version)')" != "$("$python" -c 'import sys; print(sys.version)')" ]; then
    rm -rf .venv
    "$python" -m venv .venv
fi
rm -f .venv/made-from-*
pip=(.venv/bin/python -m pip --disable-pip-version-check)
"${pip[@]}" install --quiet --no-deps --require-hashes -r requirements-setup.lock

# uv does not read pip's configuration, so an index that pip was given is handed on
index=${PIP_INDEX_URL:-$("${pip[@]}" config get global.index-url 2>/dev/null || true)}
[ -n "$index" ] && export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
if ! VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip sync --quiet --require-hashes "${locks[@]}" requirements-setup.lock; then
    echo "uv could not install the lock; installing it with pip, which takes about two minutes" >&2
    "${pip[@]}" install --quiet --no-deps --require-hashes "${locks[@]/#/-r}"
fi
install_command
echo "$extras" > "$kept_extras"
made_from "${locks[@]}" > "$stamp"
