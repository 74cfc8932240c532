#!lua flags=no-writes
-- KEYS  lead, lease
-- Gives {epoch, instance, address} while somebody leads, else nothing.

if redis.call('EXISTS', KEYS[2]) == 0 then
  return false
end
return redis.call('HMGET', KEYS[1], 'epoch', 'instance', 'address')
