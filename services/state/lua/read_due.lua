#!lua flags=no-writes
-- KEYS  ended    ARGV  limit
-- Gives the entries of jobs whose retention time has passed, by the clock that expired their keys.

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
