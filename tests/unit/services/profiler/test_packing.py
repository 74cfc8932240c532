from __future__ import annotations

from dataclasses import replace

import pytest

from services.profiler.core import history
from services.profiler.core.packing import ENCODING, UnknownEncoding, pack, unpack
from services.profiler.core.profile import Profile, learn
from services.profiler.core.trace import read_history
from services.scheduler.core.policies.base import Knowledge
from tests.unit.services.profiler.test_drift import code
from tests.unit.services.profiler.traces import line, stage, tool


def test_a_profile_comes_back_equal() -> None:
    lines = [
        line(stage("a", tasks=[{"prompt_tokens": n, "output_tokens": n * n % 7}]), tool("ä", "a"), arrival_seconds=...)
        for n in range(40)
    ]
    (profile,) = learn(read_history(lines, "history")).values()
    assert unpack(pack(profile), ENCODING) == profile
    assert profile.variables


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"variables": 3, "kinds": [1, 2]}'])
def test_damage_is_noticed(data: bytes) -> None:
    with pytest.raises(UnknownEncoding, match="cannot be read"):
        unpack(data, ENCODING)


def test_another_format_is_refused() -> None:
    with pytest.raises(UnknownEncoding, match="llmsched-profile-2"):
        unpack(b"{}", "llmsched-profile-2+json")


def test_a_profile_may_bring_statistics_of_its_jobs():
    jobs = code(12)
    (profile,) = learn(jobs).values()
    with_them = replace(profile, statistics=history.learn(jobs))
    back = unpack(pack(with_them), ENCODING)
    assert back == with_them != profile
    assert Knowledge().with_profile(back).statistics == back.statistics
    known = Knowledge(statistics=history.learn([replace(job, app="other") for job in jobs]))
    assert known.with_profile(profile).statistics is known.statistics
    both = known.with_profile(back).statistics
    assert both is not None
    assert set(both.applications) == {"code_generation", "other"}
    assert both.pooled.jobs == 24


def test_a_profile_of_an_older_version_has_none():
    (profile,) = learn(code(12)).values()
    plain = profile.plain()
    del plain["statistics"]
    assert Profile.of_plain(plain) == profile
