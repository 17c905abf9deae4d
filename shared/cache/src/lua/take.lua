-- KEYS: the time in µs at which all is given back. ARGV: µs for one, how many at once, how many are wanted.
local every, full, wanted = tonumber(ARGV[1]), ARGV[1] * ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = tonumber(redis.call('GET', KEYS[1]) or now)
local function keep(back)
  redis.call('SET', KEYS[1], string.format('%.0f', back), 'PX', math.ceil((back - now) / 1000))
end
-- No more can have been taken, unless the clock was set back.
local most = now + full
local back = math.min(math.max(kept, now), most)
local next = back + every * wanted
local early = next - full - now
if early > 0 then
  if kept > most then keep(most) end
  return {0, math.floor((full - (back - now)) / every), early, back - now}
end
keep(next)
return {1, math.floor((full - (next - now)) / every), 0, next - now}
