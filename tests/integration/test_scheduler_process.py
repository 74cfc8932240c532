"""`python -m services.scheduler` as an operator starts and stops it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import grpc

from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.common.grpc_server import CHANNEL_OPTIONS
from services.state.factory import open_state
from tests.support.redis import make_server


async def start(**environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.scheduler",
        env=os.environ | {"LLMSCHED_SCHEDULER_LISTEN": "127.0.0.1:0"} | environment,
        stderr=asyncio.subprocess.PIPE,
    )


async def log_line(process: asyncio.subprocess.Process, action: str) -> dict[str, str]:
    """The next log entry with this action."""
    assert process.stderr is not None
    while True:
        line = await process.stderr.readline()
        assert line, f"the process ended before it logged {action!r}"
        entry: dict[str, str] = json.loads(line)
        if entry["action"] == action:
            return entry


async def test_it_leads_answers_and_gives_the_lead_up_when_it_is_stopped(tmp_path: Path) -> None:
    with make_server(tmp_path / "data") as server:
        process = await start(LLMSCHED_REDIS_URL=server.url, LLMSCHED_SCHEDULER_LEADER_TTL_SECONDS="60")
        shown = await log_line(process, "settings")
        assert shown["policy"] == "fcfs"
        address = (await log_line(process, "started"))["address"]
        await log_line(process, "recovered")
        async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            answer = await stub.GetCluster(scheduler_pb2.GetClusterRequest())
            assert answer.epoch > 0
        state = open_state(server.url, shard="main")
        leader = await state.leader()
        assert leader is not None
        assert leader.address == address
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert await state.leader() is None
        await state.aclose()


async def test_it_does_not_start_with_settings_that_are_wrong_and_names_them_all() -> None:
    process = await start(LLMSCHED_SCHEDULER_LEASE_SECONDS="0", LLMSCHED_SCHEDULER_PLANNERS="nowhere")
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"LLMSCHED_SCHEDULER_LEASE_SECONDS" in errors
    assert b"LLMSCHED_SCHEDULER_PLANNERS" in errors


async def test_it_waits_for_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    server = make_server(tmp_path / "data")
    process = await start(LLMSCHED_REDIS_URL=server.url)
    assert "does not answer" in (await log_line(process, "standby"))["why"]
    with server:
        await log_line(process, "recovered")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
