-- KEYS: lock, fence, perhaps value. ARGV: nonce, lease in ms, fence's time in ms.
if KEYS[3] then
  local value = redis.call('GET', KEYS[3])
  if value then return {2, value} end
end
local left = redis.call('PTTL', KEYS[1])
if left ~= -2 then return {0, left} end
-- At least the server's time: tokens rise although the last one was lost.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('GET', KEYS[2])
local token = string.format('%.0f', math.max(now, last and last + 1 or 0))
local owner = token .. ':' .. ARGV[1]
redis.call('SET', KEYS[2], token, 'PX', ARGV[3])
redis.call('SET', KEYS[1], owner, 'PX', ARGV[2])
return {1, owner}
