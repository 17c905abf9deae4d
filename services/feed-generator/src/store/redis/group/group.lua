-- The one write of a consumer group: it looks whether all is still as the member read it, and then
-- does what the member decided, word by word. Nothing here can fail once the first word is done,
-- since Redis undoes nothing: what is looked at is looked at before.
--
-- ARGV: the beginning of the group's keys, the write's id, the beginning of the
-- projection's keys, how many checks; for each check a hash, a field and what it must be; then the
-- words. The keys are made from these and are not declared: not for Redis Cluster.
local ARGV = ARGV -- Found quicker than a global.
local group, id, projection = ARGV[1], ARGV[2], ARGV[3]
local at = 5
for _ = 1, tonumber(ARGV[4]) do
  if (redis.call('HGET', ARGV[at], ARGV[at + 1]) or '') ~= ARGV[at + 2] then
    return { 'changed', 0 }
  end
  at = at + 3
end

-- Each word takes its arguments from place `i` on, and answers where the next word begins.
local words = {}

-- A partition or one of its keys is written: what others read of it before is out of date.
function words.touch(i)
  redis.call('HSET', group .. 'writes', ARGV[i], id)
  return i + 1
end

function words.offset(i)
  redis.call('HSET', group .. 'offsets', ARGV[i], ARGV[i + 1])
  return i + 2
end

-- A topic, how many fields follow, and by turns a key and its version.
function words.versions(i)
  local last = i + 1 + tonumber(ARGV[i + 1])
  for from = i + 2, last, 1000 do
    local to = math.min(from + 999, last)
    redis.call('HSET', group .. 'versions:' .. ARGV[i], unpack(ARGV, from, to))
  end
  return last + 1
end

-- A key, a version and the record that waits; of a version that came twice, the later record.
function words.park(i)
  local waiting = group .. 'waiting:' .. ARGV[i]
  redis.call('ZREMRANGEBYSCORE', waiting, ARGV[i + 1], ARGV[i + 1])
  redis.call('ZADD', waiting, ARGV[i + 1], ARGV[i + 2])
  return i + 3
end

-- What waited as this version of a key waits no longer.
function words.unpark(i)
  redis.call('ZREMRANGEBYSCORE', group .. 'waiting:' .. ARGV[i], ARGV[i + 1], ARGV[i + 1])
  return i + 2
end

-- A key, and why it does not go on. It keeps the number under which operators know it.
function words.block(i)
  local known = redis.call('HGET', group .. 'parked', ARGV[i])
  local id = known and string.match(known, '^%d+')
    or redis.call('HINCRBY', group .. 'state', 'last_id', 1)
  redis.call('HSET', group .. 'parked', ARGV[i], id .. ' ' .. ARGV[i + 1])
  return i + 2
end

function words.unblock(i)
  redis.call('HDEL', group .. 'parked', ARGV[i])
  return i + 1
end

-- A dead letter waits to be published.
function words.letter(i)
  local id = redis.call('HINCRBY', group .. 'state', 'last_letter', 1)
  redis.call('ZADD', group .. 'outbox', id, id .. ' ' .. ARGV[i])
  return i + 1
end

-- All that the group keeps of a topic goes; the versions under another name, where one follows.
function words.forget(i)
  local topic = ARGV[i] .. '/'
  local function of_topic(hash)
    local fields = redis.call('HKEYS', group .. hash)
    local found = {}
    for _, field in ipairs(fields) do
      if string.sub(field, 1, #topic) == topic then
        found[#found + 1] = field
      end
    end
    return found
  end
  for _, field in ipairs(of_topic('offsets')) do
    redis.call('HDEL', group .. 'offsets', field)
  end
  for _, field in ipairs(of_topic('parked')) do
    redis.call('HDEL', group .. 'parked', field)
    redis.call('DEL', group .. 'waiting:' .. field)
  end
  -- Also what was read of partitions that nobody wrote yet is out of date.
  redis.call('HSET', group .. 'state', 'epoch', id)
  local versions, before = group .. 'versions:' .. ARGV[i], ARGV[i + 1]
  if before ~= '' and redis.call('EXISTS', versions) == 1 then
    redis.call('RENAME', versions, before)
  else
    redis.call('UNLINK', versions)
  end
  return i + 2
end

-- What the projection has to tell of the write, when all is done.
local function told() return 0 end

--- the projection's words ---

-- The epoch of a store is its first write, or the last by which it forgot something.
redis.call('HSETNX', group .. 'state', 'epoch', id)
while ARGV[at] do
  at = words[ARGV[at]](at + 1)
end
return { 'done', told() }
