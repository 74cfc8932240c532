#!lua flags=no-writes
-- KEYS  job, stages, results
-- Gives {record, status, order, sequence, stages, input, results} of one moment, or nothing.

local job = redis.call('HMGET', KEYS[1], 'record', 'status', 'order', 'sequence')
if not job[1] then
  return false
end
job[5] = redis.call('HGETALL', KEYS[2])
job[6] = redis.call('HGET', KEYS[1], 'input')
job[7] = redis.call('HGETALL', KEYS[3])
return job
