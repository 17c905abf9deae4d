-- The part of a stream after a place. ARGV: list, index, the feed's state, the place (creation time and
-- id of its post), the limit. Answers the mark of the names, the stream's length, and the entries.
local rank = redis.call('ZCOUNT', ARGV[2], '(' .. ARGV[4], '+inf')
while true do
  -- Posts of the same millisecond, a page at a time.
  local same = redis.call('ZREVRANGE', ARGV[2], rank, rank + 99, 'WITHSCORES')
  local passed = 0
  for at = 1, #same, 2 do
    if tonumber(same[at + 1]) ~= tonumber(ARGV[4]) or string.sub(same[at], 1, 36) < ARGV[5] then
      break
    end
    passed = passed + 1
  end
  rank = rank + passed
  if passed < 100 then
    break
  end
end
return {
  redis.call('HGET', ARGV[3], 'names') or '',
  redis.call('LLEN', ARGV[1]),
  redis.call('LRANGE', ARGV[1], rank, rank + tonumber(ARGV[6]) - 1),
}
