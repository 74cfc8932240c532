#!lua flags=no-writes
-- KEYS  for each application: application, live    ARGV  version or '' (the highest), '1' to see hidden ones too
-- Gives for each application that has such a version {record, 1 if it is hidden}.

local wanted, hidden_too = ARGV[1], ARGV[2] == '1'

local function highest(application, live)
  if not hidden_too then
    return redis.call('ZREVRANGE', live, 0, 0)[1]
  end
  local version
  for _, field in ipairs(redis.call('HKEYS', application)) do
    local number = tonumber(field)  -- not one for '<version>:etag'
    if number and number > tonumber(version or 0) then
      version = field
    end
  end
  return version
end

local records = {}
for index = 1, #KEYS, 2 do
  local application, live = KEYS[index], KEYS[index + 1]
  local version = wanted ~= '' and wanted or highest(application, live)
  local record = version and redis.call('HGET', application, version)
  local hidden = version and not redis.call('ZSCORE', live, version)
  if record and (hidden_too or not hidden) then
    records[#records + 1] = {record, hidden and 1 or 0}
  end
end
return records
