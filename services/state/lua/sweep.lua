#!lua
-- Removes what is left of an expired job.
--
-- KEYS  ended, jobs, jobs:<application>, requests
-- ARGV  the entry, job id, request id, what was kept for the request id (another job may own it by now)

local ended, jobs, jobs_of_application, requests = unpack(KEYS)
local entry, job_id, request_id, request = unpack(ARGV)

redis.call('ZREM', jobs, job_id)
redis.call('ZREM', jobs_of_application, job_id)
if request_id ~= '' and redis.call('HGET', requests, request_id) == request then
  redis.call('HDEL', requests, request_id)
end
redis.call('ZREM', ended, entry)
return 'DONE'
