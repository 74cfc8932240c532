#!lua flags=no-writes
-- KEYS  job, events    ARGV  after, limit
-- Gives {the last sequence, the entries behind `after`}, or nothing if the job is not there.

local sequence = redis.call('HGET', KEYS[1], 'sequence')
if not sequence then
  return false
end
return {sequence, redis.call('XRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])}
