-- KEYS: the time in µs at which all is given back. ARGV: µs until then.
local time = redis.call('TIME')
local left = tonumber(ARGV[1])
if left > 0 then
  local back = time[1] * 1000000 + time[2] + left
  redis.call('SET', KEYS[1], string.format('%.0f', back), 'PX', math.ceil(left / 1000))
else
  redis.call('DEL', KEYS[1])
end
