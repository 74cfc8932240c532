from tests.contract.state_backends import (  # noqa: F401
    cluster_url,
    open_state,
    redis_server_url,
    sentinel_url,
    state,
    state_url,
    valkey_url,
)
