#!lua
-- Removes what is left of expired jobs.
--
-- KEYS  ended, jobs, requests, then jobs:<application> for each job
-- ARGV  for each job: its entry, job id, request id, what was kept for the request id (another job may own it by now)

local ended, jobs, requests = unpack(KEYS, 1, 3)

for index = 4, #KEYS do
  local first = 4 * (index - 4) + 1
  local entry, job_id, request_id, request = unpack(ARGV, first, first + 3)
  redis.call('ZREM', jobs, job_id)
  redis.call('ZREM', KEYS[index], job_id)
  if request_id ~= '' and redis.call('HGET', requests, request_id) == request then
    redis.call('HDEL', requests, request_id)
  end
  redis.call('ZREM', ended, entry)
end
return 'DONE'
