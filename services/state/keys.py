"""Every key of a shard. All carry the hash tag `{<shard>}`, so Redis Cluster keeps a shard in one slot.

Names below go behind `llmsched:{<shard>}:`. Values are `codec` bytes unless said otherwise.

| key | type | holds | written by | lives |
|---|---|---|---|---|
| `applications` | sorted set | names that have a visible version, score 0 | planner | for good |
| `application:<name>` | hash | `<version>`: ApplicationRecord, `<version>:etag`: text | planner | for good |
| `application:<name>:live` | sorted set | visible versions, scored by themselves | planner | for good |
| `order` | counter | the last intake sequence | planner | for good |
| `job:<id>` | hash | see below | planner, scheduler | (1) |
| `job:<id>:stages` | hash | `<stage id>`: StageSnapshot | planner, scheduler | (1) |
| `job:<id>:payloads` | hash | `<task index>:<stage id>`: TaskPayload | scheduler | until the job ends |
| `job:<id>:results` | hash | `<task index>:<stage id>`: TaskResult | scheduler, planner for a rerun | (1) |
| `job:<id>:events` | stream | id `<sequence>-0`, field `e`: a change; at most `max_events` | planner, scheduler | (1) |
| `jobs` | sorted set | ids of all jobs, by order | planner | (2) |
| `jobs:<application>` | sorted set | ids of an application's jobs, by order | planner | (2) |
| `requests` | hash | `<request id>`: the job id and digest it stands for | planner | (2) |
| `active` | sorted set | ids of jobs that have not ended, by order | planner, scheduler | until the job ends |
| `pending` | sorted set | ids of jobs without a commit, by order | planner, scheduler | until the first commit |
| `ended` | sorted set | the `entry` of jobs, by the time of (1) in ms since the epoch | scheduler | (2) |
| `lead` | hash | the last leader; `decisions`: number of the last one, whoever led | scheduler | for good |
| `lease` | string | there while somebody leads | scheduler | the leader's ttl |
| `policy` | string | PolicySettings | scheduler | for good |
| `observations` | stream | field `o`: an observation; at most `max_observations` | scheduler | for good |

`job:<id>` has the fields `record` (JobRecord), `status` (JobStatus), `order`, `sequence` (of the last change), `input`
(JSON), `output` (protobuf Value) and `entry` (MessagePack: job id, application, request id, digest). Payloads and
results are protobuf messages. `lead` has `epoch`, `instance`, `address`, `number` (of its last commit), `decisions`.

(1) for the retention time after the job's end; Redis expires all keys of a job at one moment.
(2) until the first sweep after (1), which each renewal of the lead does. An entry without its job counts as absent.

Channels: `changes` (ids of changed jobs, for all watchers), `job:<id>:deltas` (output deltas). Nothing is kept of them.
"""

from __future__ import annotations


class Keys:
    """The names of one shard."""

    def __init__(self, shard: str) -> None:
        self._prefix = prefix = f"llmsched:{{{shard}}}:"
        self.applications = prefix + "applications"
        self.order = prefix + "order"
        self.jobs = prefix + "jobs"
        self.requests = prefix + "requests"
        self.active = prefix + "active"
        self.pending = prefix + "pending"
        self.ended = prefix + "ended"
        self.lead = prefix + "lead"
        self.lease = prefix + "lease"
        self.policy = prefix + "policy"
        self.observations = prefix + "observations"
        self.changes_channel = prefix + "changes"

    def application(self, name: str) -> str:
        return f"{self._prefix}application:{name}"

    def live_versions(self, name: str) -> str:
        return f"{self._prefix}application:{name}:live"

    def jobs_of(self, application: str) -> str:
        return f"{self._prefix}jobs:{application}"

    def job(self, job_id: str) -> str:
        return f"{self._prefix}job:{job_id}"

    def stages(self, job_id: str) -> str:
        return f"{self._prefix}job:{job_id}:stages"

    def payloads(self, job_id: str) -> str:
        return f"{self._prefix}job:{job_id}:payloads"

    def results(self, job_id: str) -> str:
        return f"{self._prefix}job:{job_id}:results"

    def events(self, job_id: str) -> str:
        return f"{self._prefix}job:{job_id}:events"

    def deltas_channel(self, job_id: str) -> str:
        return f"{self._prefix}job:{job_id}:deltas"

    def job_of_deltas_channel(self, channel: str) -> str:
        return channel.removeprefix(f"{self._prefix}job:").removesuffix(":deltas")
