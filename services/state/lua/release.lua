#!lua
-- Gives the lead up, if it is still held. No instance has an empty name, so the epoch cannot write any more.
--
-- KEYS  lead, lease    ARGV  epoch, instance

local lead, lease = KEYS[1], KEYS[2]
local epoch, instance = unpack(ARGV)

local leader = redis.call('HMGET', lead, 'epoch', 'instance')
if leader[1] == epoch and leader[2] == instance then
  redis.call('HSET', lead, 'instance', '')
  redis.call('DEL', lease)
end
return 'DONE'
