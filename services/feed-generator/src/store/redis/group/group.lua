-- The one write of a consumer group. It checks that the state is still as the member read it, then
-- runs the member's commands in order. Redis undoes nothing, so all checks come first, and no
-- command may fail.
--
-- ARGV: the prefix of the group's keys, the write's id, the prefix of the projection's keys, the
-- number of checks. Then come a hash, a field and its value for each check, then the commands. The
-- keys are made from these and are not declared: not for Redis Cluster.
local ARGV = ARGV -- Found quicker than a global.
local group, id, projection = ARGV[1], ARGV[2], ARGV[3]
local at = 5
for _ = 1, tonumber(ARGV[4]) do
  if (redis.call('HGET', ARGV[at], ARGV[at + 1]) or '') ~= ARGV[at + 2] then
    return { 'changed', 0 }
  end
  at = at + 3
end

-- Each command takes its arguments from index `i` on, and returns the index of the next command.
local commands = {}

-- Marks a partition as written: what other members read of it before is out of date.
function commands.touch(i)
  redis.call('HSET', group .. 'writes', ARGV[i], id)
  return i + 1
end

function commands.offset(i)
  redis.call('HSET', group .. 'offsets', ARGV[i], ARGV[i + 1])
  return i + 2
end

-- A topic, the number of arguments that follow, and by turns a key and its version.
function commands.versions(i)
  local last = i + 1 + tonumber(ARGV[i + 1])
  for from = i + 2, last, 1000 do
    local to = math.min(from + 999, last)
    redis.call('HSET', group .. 'versions:' .. ARGV[i], unpack(ARGV, from, to))
  end
  return last + 1
end

-- A key, a version and the record to park. If a version comes twice, the later record stays.
function commands.park(i)
  local waiting = group .. 'waiting:' .. ARGV[i]
  redis.call('ZREMRANGEBYSCORE', waiting, ARGV[i + 1], ARGV[i + 1])
  redis.call('ZADD', waiting, ARGV[i + 1], ARGV[i + 2])
  return i + 3
end

-- Removes the parked record of a key's version.
function commands.unpark(i)
  redis.call('ZREMRANGEBYSCORE', group .. 'waiting:' .. ARGV[i], ARGV[i + 1], ARGV[i + 1])
  return i + 2
end

-- A key and its block. A key that is blocked already keeps the number that operators see.
function commands.block(i)
  local known = redis.call('HGET', group .. 'parked', ARGV[i])
  local id = known and string.match(known, '^%d+')
    or redis.call('HINCRBY', group .. 'state', 'last_id', 1)
  redis.call('HSET', group .. 'parked', ARGV[i], id .. ' ' .. ARGV[i + 1])
  return i + 2
end

function commands.unblock(i)
  redis.call('HDEL', group .. 'parked', ARGV[i])
  return i + 1
end

-- Adds a message to the outbox.
local function enqueue(message)
  local id = redis.call('HINCRBY', group .. 'state', 'last_letter', 1)
  redis.call('ZADD', group .. 'outbox', id, id .. ' ' .. message)
end

-- Adds a dead letter to the outbox.
function commands.letter(i)
  enqueue(ARGV[i])
  return i + 1
end

-- Forgets a topic. Its versions are renamed if a new name follows, and dropped otherwise.
function commands.forget(i)
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
  -- A new epoch: reads of partitions without any write are out of date, too.
  redis.call('HSET', group .. 'state', 'epoch', id)
  local versions, before = group .. 'versions:' .. ARGV[i], ARGV[i + 1]
  if before ~= '' and redis.call('EXISTS', versions) == 1 then
    redis.call('RENAME', versions, before)
  else
    redis.call('UNLINK', versions)
  end
  return i + 2
end

-- The projection's answer, taken when all is done.
local function answer() return 0 end

--- the projection's commands ---

-- A store's epoch is the id of its first write, or of the last one that forgot a topic.
redis.call('HSETNX', group .. 'state', 'epoch', id)
while ARGV[at] do
  at = commands[ARGV[at]](at + 1)
end
return { 'done', answer() }
