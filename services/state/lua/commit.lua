#!lua
-- Applies all that one batch of events changed, if the caller still leads and nothing before it is missing.
-- Every check comes before the first write: Redis does not roll a script back.
--
-- KEYS  lead, active, pending, ended, observations, policy, then for each job: job, stages, payloads, results, events
-- ARGV  epoch, instance, number, max events, max observations, retention (ms), channel, notification, policy or '',
--       number of the last decision or 0, then for each job: its id, '1' if it finished, four lists of hash fields (of job, stages, payloads, results;
--       each: how many, then pairs), two lists of values (events, observations; each: how many, then they)
-- Gives {'DONE'}, {'LOST', the epoch now} or {'GAP', what is missing}. A number that was applied before is DONE.

local lead, active, pending, ended, observations, policy_key = unpack(KEYS, 1, 6)
local epoch, instance, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local max_events, max_observations, retention = ARGV[4], ARGV[5], tonumber(ARGV[6])
local channel, notification, policy, decisions = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local position = 10

local function take()
  position = position + 1
  return ARGV[position]
end

-- In pieces, because unpack() can put only some thousand values on Lua's stack.
local function set_fields(key)
  local left = 2 * tonumber(take())
  while left > 0 do
    local size = math.min(left, 2000)
    redis.call('HSET', key, unpack(ARGV, position + 1, position + size))
    position = position + size
    left = left - size
  end
end

local function append_events(job, events)
  local count = tonumber(take())
  if count == 0 then
    return
  end
  local last = redis.call('HINCRBY', job, 'sequence', count)
  for sequence = last - count + 1, last do
    redis.call('XADD', events, 'MAXLEN', '~', max_events, string.format('%d-0', sequence), 'e', take())
  end
end

local function append_observations()
  for _ = 1, tonumber(take()) do
    redis.call('XADD', observations, 'MAXLEN', '~', max_observations, '*', 'o', take())
  end
end

local function finish(job_id, keys)
  if redis.call('ZREM', active, job_id) == 0 then
    return
  end
  local time = redis.call('TIME')
  local expiry = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + retention)
  redis.call('DEL', keys[3])
  for _, key in ipairs(keys) do
    redis.call('PEXPIREAT', key, expiry)
  end
  redis.call('ZADD', ended, expiry, redis.call('HGET', keys[1], 'entry'))
end

local function apply(keys)
  local job_id, finished = take(), take()
  for part = 1, 4 do
    set_fields(keys[part])
  end
  append_events(keys[1], keys[5])
  append_observations()
  redis.call('ZREM', pending, job_id)
  if finished == '1' then
    finish(job_id, keys)
  end
end

local leader = redis.call('HMGET', lead, 'epoch', 'instance', 'number')
local known = tonumber(leader[1] or 0)
if known < tonumber(epoch) then
  return {'GAP', 'epoch ' .. epoch}
end
if known > tonumber(epoch) or leader[2] ~= instance then
  return {'LOST', leader[1]}
end
local last = tonumber(leader[3])
if number <= last then
  return {'DONE'}
end
if number > last + 1 then
  return {'GAP', 'commits ' .. string.format('%.0f to %.0f', last + 1, number - 1)}
end
for index = 7, #KEYS, 5 do
  if redis.call('EXISTS', KEYS[index]) == 0 then
    return {'GAP', KEYS[index]}
  end
end

redis.call('HSET', lead, 'number', ARGV[3])
if decisions ~= '0' then
  redis.call('HSET', lead, 'decisions', decisions)
end
if policy ~= '' then
  redis.call('SET', policy_key, policy)
end
for index = 7, #KEYS, 5 do
  apply({unpack(KEYS, index, index + 4)})
end
if notification ~= '' then
  redis.call('PUBLISH', channel, notification)
end
return {'DONE'}
