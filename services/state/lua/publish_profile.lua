#!lua
-- Makes a profile the newest one of its application, if it is the next one, and lets those who watch know.
--
-- KEYS  lead, profiles, profile, trained, conduct
-- ARGV  epoch, instance, application, version, record, max profiles, what the request has led to or '', how long that is
--       kept (ms), channel, notification, how the application agrees with its profile or ''
-- Gives {'DONE'}, {'LOST', the epoch now} or {'GAP', what is missing}. A version with the same record is DONE.

local lead, profiles, profile, trained, conduct = unpack(KEYS)
local epoch, instance, application, version, record = unpack(ARGV, 1, 5)
local max_profiles, outcome, retention, channel, notification, conducted = unpack(ARGV, 6, 11)

local leader = redis.call('HMGET', lead, 'epoch', 'instance')
local known = tonumber(leader[1] or 0)
if known < tonumber(epoch) then
  return {'GAP', 'epoch ' .. epoch}
end
if known > tonumber(epoch) or leader[2] ~= instance then
  return {'LOST', leader[1]}
end
local newest = tonumber(redis.call('HGET', profiles, application) or 0)
if redis.call('HGET', profile, version) == record then
  return {'DONE'}
end
if tonumber(version) ~= newest + 1 then
  return {'GAP', string.format('version %.0f: the newest is %.0f', tonumber(version) - 1, newest)}
end

redis.call('HSET', profile, version, record)
redis.call('HSET', profiles, application, version)
for _, field in ipairs(redis.call('HKEYS', profile)) do
  if tonumber(field) <= tonumber(version) - tonumber(max_profiles) then
    redis.call('HDEL', profile, field)
  end
end
if conducted ~= '' then
  redis.call('HSET', conduct, application, conducted)
end
if outcome ~= '' then
  redis.call('SET', trained, outcome, 'PX', retention)
end
redis.call('PUBLISH', channel, notification)
return {'DONE'}
