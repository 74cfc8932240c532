#!lua
-- Extends the lead, also one that ran out, if nobody took it since.
--
-- KEYS  lead, lease    ARGV  epoch, instance, ttl (ms)
-- Gives 1, or 0 when the lead was lost.

local lead, lease = KEYS[1], KEYS[2]
local epoch, instance, ttl = unpack(ARGV)

local leader = redis.call('HMGET', lead, 'epoch', 'instance')
if leader[1] ~= epoch or leader[2] ~= instance then
  return 0
end
redis.call('SET', lease, epoch, 'PX', ttl)
return 1
