#!lua flags=no-writes
-- KEYS  for each job: job, stages    ARGV  '1' if the stages are wanted
-- Gives for each job {record, status, order, sequence, stages (field, value, ...)}, or nothing if it is not there.

local jobs = {}
for index = 1, #KEYS, 2 do
  local job = redis.call('HMGET', KEYS[index], 'record', 'status', 'order', 'sequence')
  if job[1] then
    job[5] = ARGV[1] == '1' and redis.call('HGETALL', KEYS[index + 1]) or {}
    jobs[#jobs + 1] = job
  end
end
return jobs
