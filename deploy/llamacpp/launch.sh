#!/usr/bin/env bash
# Start the engine that setup.sh installed. One process (exec), no children.
#
#   launch.sh [ARGUMENTS]   arguments go to serve.py and win over the settings here
#
#   LLMSCHED_LLAMACPP_HOME  where setup.sh installed (default: <repo>/.cache/llamacpp)
#   HOST, PORT              where to listen (default: 127.0.0.1, 31100)
#   MAX_RUNNING             requests decoded together (default: 4)
#   OMP_NUM_THREADS         threads for computing (default: 1)
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd -- "$here/../.." && pwd)
home=${LLMSCHED_LLAMACPP_HOME:-$repo/.cache/llamacpp}

if [[ ! -f $home/venv/.llmsched-stamp || ! -x $home/venv/bin/python ]]; then
  echo "llamacpp launch: no complete installation in $home; run deploy/llamacpp/setup.sh" >&2
  exit 1
fi

exec "$home/venv/bin/python" "$here/serve.py" \
  --host "${HOST:-127.0.0.1}" --port "${PORT:-31100}" \
  --parallel "${MAX_RUNNING:-4}" --threads "${OMP_NUM_THREADS:-1}" "$@"
