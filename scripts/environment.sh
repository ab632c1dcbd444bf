# Sourced by scripts/demo, scripts/test and others: finds Python, makes the virtual environment
# of requirements.lock once, and sets `python` to the interpreter in it.
#
# The environment lies in the cache under the hash of the lock file. It is made under a lock and
# marked complete at the end, so that neither an interruption nor a second command spoils it.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nomad-build-service

find_python() {
  local candidate
  # The system's first: everyone on the machine may run it, and it does not change under us.
  for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
    if candidate=$(command -v "$candidate") &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "no Python 3.11 or newer found (looked at /usr/bin/python3 and on PATH)" >&2
  return 1
}

make_venv() {
  local base=$1 venv=$2 began=$SECONDS
  echo "making the Python environment $venv (once; about half a minute)" >&2
  rm -rf "$venv"
  if ! "$base" -m venv "$venv" >/dev/null; then
    echo "$base cannot make virtual environments; on Debian: sudo apt-get install python3-venv" >&2
    rm -rf "$venv"
    return 1
  fi
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --require-hashes --requirement "$repository/requirements.lock" >&2 || return 1
  touch "$venv/.complete" || return 1
  echo "Python environment made in $((SECONDS - began)) s" >&2
}

bootstrap() {
  local base venv version
  base=$(find_python) || return 1
  version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  venv=$cache/venv-$version-$(sha256sum "$repository/requirements.lock" | cut -c1-12)
  if [ ! -e "$venv/.complete" ]; then
    mkdir -p "$cache"
    (
      flock 9
      [ -e "$venv/.complete" ] || make_venv "$base" "$venv"
    ) 9>"$cache/venv.lock" || return 1
  fi
  python=$venv/bin/python
  export PYTHONPATH=$repository/scripts:$repository
  # The programs of the environment (ruff, lint-imports, …) are asked for by name below.
  environment_bin=$venv/bin
}
