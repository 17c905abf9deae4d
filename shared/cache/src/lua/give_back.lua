-- KEYS: the time in µs at which all is given back. ARGV: µs for one, how many are given back.
local kept = redis.call('GET', KEYS[1])
if not kept then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local back = kept - ARGV[1] * ARGV[2]
if back > now then
  redis.call('SET', KEYS[1], string.format('%.0f', back), 'PX', math.ceil((back - now) / 1000))
else
  redis.call('DEL', KEYS[1])
end
return 1
