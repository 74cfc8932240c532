#!lua
-- Registers a version; the same content again makes it visible again.
--
-- KEYS  applications, application, live    ARGV  name, version, etag, record
-- Gives the record that is kept, or nothing if the version has other content.

local applications, application, live = unpack(KEYS)
local name, version, etag, record = unpack(ARGV)

local kept = redis.call('HGET', application, version .. ':etag')
if kept and kept ~= etag then
  return false
end
if not kept then
  redis.call('HSET', application, version, record, version .. ':etag', etag)
end
redis.call('ZADD', live, version, version)
redis.call('ZADD', applications, 0, name)
return redis.call('HGET', application, version)
