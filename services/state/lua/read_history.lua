#!lua flags=no-writes
-- KEYS  history, its order    ARGV  the number to begin behind, limit
-- Gives for each job {its number, id, line}, oldest first.

local history, order = KEYS[1], KEYS[2]
local page = redis.call('ZRANGEBYSCORE', order, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local jobs = {}
for index = 1, #page, 2 do
  jobs[#jobs + 1] = {page[index + 1], page[index], redis.call('HGET', history, page[index])}
end
return jobs
