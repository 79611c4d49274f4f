#!/usr/bin/env bash
# Drives StartRun and the empty health Check with ghz (200 workers, over reflection): bench/ghz.sh [SECONDS]
# Installs ghz into .services/ghz when it is not there; that needs Go. Prints the JSON of `apex bench`.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v0.120.0
ghz=$(command -v ghz || echo "$PWD/.services/ghz/ghz")
if [[ ! -x $ghz ]]; then
  command -v go > /dev/null || { echo "bench/ghz.sh needs ghz, or Go to install it" >&2; exit 1; }
  echo "installing ghz $version" >&2
  GOBIN="$PWD/.services/ghz" go install "github.com/bojand/ghz/cmd/ghz@$version"
  ghz="$PWD/.services/ghz/ghz"
fi
exec .venv/bin/python -m bench.ghz "$ghz" "${1:-10}"
