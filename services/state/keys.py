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
| `observations` | stream | field `o`: an observation; at most `max_observations` | scheduler | until it is handled |
| `profiler` | hash | `handled`: position of the last observation that had its effect | profiler | for good |
| `profiler:lead` | hash | the last leading profiler, as `lead` | profiler | for good |
| `profiler:lease` | string | there while a profiler leads | profiler | the leader's ttl |
| `histories` | hash | `<application>`: how many jobs its history ever got | profiler | for good |
| `history:<application>` | hash | `<job id>`: a line of the trace format; at most `max_history` | profiler | for good |
| `history-order:<application>` | sorted set | its job ids, by number of addition | profiler | for good |
| `profiles` | hash | `<application>`: the newest version of its profile | profiler | for good |
| `profile:<application>` | hash | `<version>`: ProfileRecord; at most `max_profiles` | profiler | for good |
| `engines` | hash | `<executor id>`: EngineRecord | profiler | for good |
| `conduct` | hash | `<application>`: how its jobs agree with its profile, as JSON | profiler | for good |
| `trained:<request id>` | string | application and version that a request has led to | profiler | retention time |

`job:<id>` has the fields `record` (JobRecord), `status` (JobStatus), `order`, `sequence` (of the last change), `input`
(JSON), `output` (protobuf Value) and `entry` (MessagePack: job id, application, request id, digest). Payloads and
results are protobuf messages. `lead` has `epoch`, `instance`, `address`, `number` (of its last commit), `decisions`.

(1) for the retention time after the job's end; Redis expires all keys of a job at one moment.
(2) until the first sweep after (1), which each renewal of the lead does. An entry without its job counts as absent.

Channels: `changes` (ids of changed jobs, and `$profiles` for a new profile; for all watchers), `job:<id>:deltas`
(output deltas). Nothing is kept of them.
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
        self.profiler = prefix + "profiler"
        self.profiler_lead = prefix + "profiler:lead"
        self.profiler_lease = prefix + "profiler:lease"
        self.histories = prefix + "histories"
        self.profiles = prefix + "profiles"
        self.engines = prefix + "engines"
        self.conduct = prefix + "conduct"
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

    def history(self, application: str) -> str:
        return f"{self._prefix}history:{application}"

    def history_order(self, application: str) -> str:
        return f"{self._prefix}history-order:{application}"

    def profile(self, application: str) -> str:
        return f"{self._prefix}profile:{application}"

    def trained(self, request_id: str) -> str:
        return f"{self._prefix}trained:{request_id}"
