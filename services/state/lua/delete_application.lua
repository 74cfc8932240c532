#!lua
-- Hides a version, or all of them.
--
-- KEYS  applications, application, live    ARGV  name, version or ''
-- Gives the versions that were visible until now.

local applications, live = KEYS[1], KEYS[3]
local name, version = unpack(ARGV)

local hidden = {}
for _, candidate in ipairs(redis.call('ZRANGE', live, 0, -1)) do
  if version == '' or version == candidate then
    redis.call('ZREM', live, candidate)
    hidden[#hidden + 1] = candidate
  end
end
if redis.call('EXISTS', live) == 0 then
  redis.call('ZREM', applications, name)
end
return hidden
