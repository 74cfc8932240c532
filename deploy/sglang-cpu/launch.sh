#!/usr/bin/env bash
# Start the SGLang server that setup.sh installed. This process becomes the server (exec), so its
# pid is the one to signal; README.md says how to end its children too.
#
#   launch.sh [ARGUMENTS]   arguments go to sglang.launch_server and win over the settings here
#
#   LLMSCHED_SGLANG_HOME   where setup.sh installed (default: <repo>/.cache/sglang)
#   LLMSCHED_SGLANG_DEVICE cpu or cuda (default: cuda where nvidia-smi works, else cpu)
#   MODEL                  model directory (default: the converted SmolLM2-135M-Instruct)
#   SGLANG_PYTHON          interpreter of another installation of SGLang, in place of setup.sh's
#   HOST, PORT             where to listen (default: 127.0.0.1, 31000)
#   MAX_RUNNING            requests decoded together (default: 16)
#   MAX_TOTAL_TOKENS       KV-cache size in tokens (default: 20000, 0.43 GB; without it SGLang takes 15 GB)
#   OMP_NUM_THREADS        threads per operation (default: 1; 2 is faster on a quiet 2-core machine)
#   TRACE_ENDPOINT         host:port of an OTLP/gRPC collector; turns tracing on
#   SGLANG_TRACE_LEVEL     how many spans a request makes then (default here: 1; at SGLang's own
#                          default, 3, one for each token)
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd -- "$here/../.." && pwd)
home=${LLMSCHED_SGLANG_HOME:-$repo/.cache/sglang}
python=${SGLANG_PYTHON:-$home/venv/bin/python}
model=${MODEL:-$home/models/SmolLM2-135M-Instruct}

if [[ -z ${SGLANG_PYTHON:-} && (! -f $home/venv/.llmsched-stamp || ! -x $python) ]]; then
  echo "sglang launch: no complete installation in $home; run deploy/sglang-cpu/setup.sh" >&2
  exit 1
fi

device=${LLMSCHED_SGLANG_DEVICE:-}
if [[ -z $device ]]; then
  device=cpu
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then device=cuda; fi
fi

arguments=(
  --model-path "$model"
  --served-model-name "$(basename -- "$model")"
  --host "${HOST:-127.0.0.1}"
  --port "${PORT:-31000}"
  --max-running-requests "${MAX_RUNNING:-16}"
  --sleep-on-idle                # otherwise an idle server keeps one core busy
  --enable-metrics               # also adds queue and first-token times to every reply
  --enable-priority-scheduling   # otherwise `priority` is accepted and ignored
  # Otherwise a small model fills constrained JSON with newlines until it runs out of tokens.
  --constrained-json-disable-any-whitespace
)
if [[ $device == cpu ]]; then
  export SGLANG_USE_CPU_ENGINE=1
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  arguments+=(
    --device cpu
    --attention-backend torch_native
    --max-total-tokens "${MAX_TOTAL_TOKENS:-20000}"
  )
elif [[ -n ${MAX_TOTAL_TOKENS:-} ]]; then
  arguments+=(--max-total-tokens "$MAX_TOTAL_TOKENS")
fi
if [[ -n ${TRACE_ENDPOINT:-} ]]; then
  export SGLANG_TRACE_LEVEL=${SGLANG_TRACE_LEVEL:-1}
  arguments+=(--enable-trace --otlp-traces-endpoint "$TRACE_ENDPOINT")
fi

exec "$python" -m sglang.launch_server "${arguments[@]}" "$@"
