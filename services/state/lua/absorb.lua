#!lua
-- Adds recorded jobs to the histories of their applications, keeps what was learned of engines and of how applications
-- agree with their profiles, and, if asked to, notes observations as handled.
-- Every check comes before the first write: Redis does not roll a script back.
--
-- KEYS  lead, profiler, observations, histories, engines, conduct, then for each job: history, its order
-- ARGV  epoch, instance, max history, '1' if observations are handled, the position before them, their last position,
--       number of engines, number of applications, then for each engine: its executor, record; for each application: its
--       name, what is kept; for each job: its application, id, line
-- Gives {'DONE', how many jobs were new}, {'LOST', the epoch now} or {'GAP', what is missing}. Observations that are
-- handled already are DONE.

local lead, profiler, observations, histories, engines, conduct = unpack(KEYS, 1, 6)
local epoch, instance, max_history, handles, after, upto = unpack(ARGV, 1, 6)

local leader = redis.call('HMGET', lead, 'epoch', 'instance')
local known = tonumber(leader[1] or 0)
if known < tonumber(epoch) then
  return {'GAP', 'epoch ' .. epoch}
end
if known > tonumber(epoch) or leader[2] ~= instance then
  return {'LOST', leader[1]}
end
if handles == '1' then
  local handled = redis.call('HGET', profiler, 'handled') or ''
  if handled == upto then
    return {'DONE', 0}
  end
  if handled ~= after then
    return {'GAP', 'observations up to ' .. after .. ' (it has handled those up to ' .. handled .. ')'}
  end
end

local function add(history, order, application, id, line)
  redis.call('HSET', history, id, line)
  if redis.call('ZSCORE', order, id) then
    return 0
  end
  redis.call('ZADD', order, redis.call('HINCRBY', histories, application, 1), id)
  local surplus = redis.call('ZCARD', order) - tonumber(max_history)
  if surplus > 0 then
    local oldest = redis.call('ZPOPMIN', order, surplus)
    for index = 1, #oldest, 2 do
      redis.call('HDEL', history, oldest[index])
    end
  end
  return 1
end

local place = 9
local function keep(key, count)
  for _ = 1, tonumber(count) do
    redis.call('HSET', key, ARGV[place], ARGV[place + 1])
    place = place + 2
  end
end
keep(engines, ARGV[7])
keep(conduct, ARGV[8])

local added = 0
for index = 7, #KEYS, 2 do
  added = added + add(KEYS[index], KEYS[index + 1], unpack(ARGV, place, place + 2))
  place = place + 3
end
if handles == '1' then
  redis.call('HSET', profiler, 'handled', upto)
  -- Whole blocks only, which costs next to nothing; the rest goes with a later one.
  redis.call('XTRIM', observations, 'MINID', '~', upto)
end
return {'DONE', added}
