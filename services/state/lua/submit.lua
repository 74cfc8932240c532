#!lua
-- Makes a job durable and marks it for admission, unless it is a repeat or too many jobs are active.
--
-- KEYS  requests, active, order, pending, jobs, jobs:<application>, job, stages, results, events
-- ARGV  job id, request id or '', what to keep for the request id, an expired value it may have, max active,
--       the first event, then three lists of hash fields: of job, stages, results (each: how many, then pairs)
-- Gives {'NEW', order}, {'REPEAT', what is kept for the request id} or {'FULL', active jobs}.

local requests, active, order_key, pending, jobs, jobs_of_application = unpack(KEYS, 1, 6)
local events = KEYS[10]
local job_id, request_id, request, expired, max_active, first_event = unpack(ARGV, 1, 6)
local position = 6

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

if redis.call('EXISTS', KEYS[7]) == 1 then
  return {'REPEAT', request}
end
if request_id ~= '' then
  local first = redis.call('HGET', requests, request_id)
  if first and first ~= expired then
    return {'REPEAT', first}
  end
end
local count = redis.call('ZCARD', active)
if count >= tonumber(max_active) then
  return {'FULL', count}
end

local order = redis.call('INCR', order_key)
if request_id ~= '' then
  redis.call('HSET', requests, request_id, request)
end
redis.call('HSET', KEYS[7], 'order', order, 'sequence', 1)
for _, key in ipairs({KEYS[7], KEYS[8], KEYS[9]}) do
  set_fields(key)
end
redis.call('XADD', events, '1-0', 'e', first_event)
for _, index in ipairs({jobs, jobs_of_application, active, pending}) do
  redis.call('ZADD', index, order, job_id)
end
return {'NEW', order}
