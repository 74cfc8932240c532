"""Pure-torch stand-in for SGLang's CPU kernel package, installed as `sgl_kernel/__init__.py`.

The compiled package (sglang-kernel-cpu) is not on PyPI. SGLang 0.5.23 with SGLANG_USE_CPU_ENGINE=1
imports a few of its names at module level, but on a CPU without AMX every model layer then takes
SGLang's own `forward_native` path. Only `assign_req_to_token_pool_cpu` is really called; any other
name resolves to a function that fails loudly when called.
"""

import torch

__version__ = "0.0.0+pure"


def assign_req_to_token_pool_cpu(
    req_pool_indices: torch.Tensor,
    req_to_token: torch.Tensor,
    start_offset: torch.Tensor,
    end_offset: torch.Tensor,
    out_cache_loc: torch.Tensor,
    pool_len: int,
) -> None:
    """Write each request's new KV-cache slots into its row of the request-to-token table."""
    taken = 0
    rows = zip(req_pool_indices.tolist(), start_offset.tolist(), end_offset.tolist(), strict=True)
    for row, start, end in rows:
        slots = out_cache_loc[taken : taken + end - start]
        req_to_token[row, start:end] = slots.to(req_to_token.dtype)
        taken += end - start


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*args: object, **kwargs: object) -> None:
        raise NotImplementedError(f"sgl_kernel.{name} needs the compiled CPU kernels")

    return missing
