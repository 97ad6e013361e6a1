#!/bin/bash
# Finds a Python that has what main.py needs, within seconds, and becomes it: the batch script's signals go to this process.
#   127: there is no Python or no uv; 69: packages are missing.
here=$(cd -- "$(dirname -- "$0")" && pwd -P) || exit 127
if ! command -v python3 >/dev/null 2>&1; then
  echo "yale-jobs: there is no python3. Give a conda environment (env) or a module that brings it (modules)." >&2
  exit 127
fi
missing=$(python3 -B "$here/check.py" "$@" 2>&1) && exec python3 -B "$here/main.py" "$@"
# An environment that was asked for is what it is. Without one, uv makes what the head of main.py says.
if [ -z "$CONDA_PREFIX$VIRTUAL_ENV" ] && command -v uv >/dev/null 2>&1; then
  offline=
  [ "$HF_HUB_OFFLINE" != 1 ] || offline=--offline
  if uv sync --quiet --script "$here/main.py" $offline && python=$(uv python find --script "$here/main.py"); then
    exec "$python" -B "$here/main.py" "$@"
  fi
  echo "yale-jobs: uv could not make the environment; see above. UV_CACHE_DIR says where its packages are." >&2
  exit 69
fi
echo "$missing" >&2
echo "yale-jobs: give a conda environment that has them (env), or modules that bring uv." >&2
exit 69
