#!lua flags=no-writes
-- KEYS  an index of jobs, by order    ARGV  the order to stay below, as ZRANGEBYSCORE wants it, limit
-- Gives {the smallest order of the page, job ids, newest first}.

local page = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1], '-inf', 'LIMIT', 0, ARGV[2])
return {#page > 0 and redis.call('ZSCORE', KEYS[1], page[#page]), page}
