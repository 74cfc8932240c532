#!lua
-- Takes the lead with a new epoch, unless another instance holds it. An epoch is at least the time in ms, so that it
-- grows even if this store has lost the epochs before.
--
-- KEYS  lead, lease    ARGV  instance, address, ttl (ms)
-- Gives the epoch, or nothing.

local lead, lease = KEYS[1], KEYS[2]
local instance, address, ttl = unpack(ARGV)

if redis.call('EXISTS', lease) == 1 and redis.call('HGET', lead, 'instance') ~= instance then
  return false
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('HGET', lead, 'epoch') or 0)
local epoch = string.format('%.0f', math.max(last + 1, now))
redis.call('HSET', lead, 'epoch', epoch, 'instance', instance, 'address', address, 'number', 0)
redis.call('SET', lease, epoch, 'PX', ttl)
return epoch
