#!lua flags=no-writes
-- KEYS  job, stages, results    ARGV  stage id
-- Gives {record, status, order, stage or false, the result of its first task or false} of one moment, or nothing if
-- there is no such job.

local job = redis.call('HMGET', KEYS[1], 'record', 'status', 'order')
if not job[1] then
  return false
end
job[4] = redis.call('HGET', KEYS[2], ARGV[1])
job[5] = redis.call('HGET', KEYS[3], '0:' .. ARGV[1])
return job
