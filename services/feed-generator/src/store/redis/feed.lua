-- The commands of the feed, between those of the group. Their changes of the streams are in `streams.lua`.

local function bases()
  return building and { serving_base, building_base } or { serving_base }
end

-- True if the log, which is read again, has a later event of this post. A post that was deleted later must
-- not drive out one that stays.
local function is_superseded(member, version)
  if not versions_before then
    return false
  end
  local last = redis.call('HGET', versions_before, string.sub(member, 1, 36))
  return last and tonumber(last) > tonumber(version)
end

local function is_closed(user)
  if closed[user] == nil then
    closed[user] = redis.call('SISMEMBER', projection .. 'closed', user) == 1
  end
  return closed[user]
end

-- Notes the post at `i` for the streams of a base. The last command about a post counts.
local function put(base, i)
  local noted = puts[base]
  local at = noted.at[ARGV[i]]
  if not at then
    at = noted.count + 1
    noted.count, noted.at[ARGV[i]] = at, at
  end
  noted[at] = i
end

-- Puts a post: its member in an index, its author, when it was created, the event's time and version, the
-- entry. While the log is read again, new events go into the shown streams, too.
function commands.put(i)
  if closed_any and is_closed(ARGV[i + 1]) then
    return i + 6
  end
  if not building or tonumber(ARGV[i + 3]) >= started then
    put(serving_base, i)
  end
  if building and not is_superseded(ARGV[i], ARGV[i + 4]) then
    put(building_base, i)
  end
  return i + 6
end

-- Removes a post: its member in an index, its author.
function commands.remove(i)
  for _, base in ipairs(bases()) do
    local at = puts[base].at[ARGV[i]]
    if at then
      puts[base][at], puts[base].at[ARGV[i]] = false, nil
    end
    later(stream_of(base, 'global'), ARGV[i], {})
    later(stream_of(base, 'user:' .. ARGV[i + 1]), ARGV[i], {})
  end
  return i + 2
end

-- Names an account: its id, its name, and a mark for readers who remember names. A closed one stays closed:
-- its older names come again when the group reads its topics again.
function commands.name(i)
  if closed_any and is_closed(ARGV[i]) then
    return i + 3
  end
  redis.call('HSET', projection .. 'names', ARGV[i], ARGV[i + 1])
  redis.call('HSET', projection .. 'state', 'names', ARGV[i + 2])
  return i + 3
end

-- Closes an account: its name and its posts go. After its id come a mark for readers who remember names, and the
-- answer that all is gone, before and after the number of records; or nothing twice. A record is the name, or
-- a post in a stream.
function commands.close(i)
  local user = ARGV[i]
  flush_all()
  local records = redis.call('HDEL', projection .. 'names', user)
  local is_new = redis.call('SADD', projection .. 'closed', user) == 1
  local counted = {}
  local function count(member)
    if not counted[member] then
      counted[member], records = true, records + 1
    end
  end
  redis.call('HSET', projection .. 'state', 'names', ARGV[i + 1])
  closed_any, closed[user] = true, true
  for _, base in ipairs(bases()) do
    local global, own = stream_of(base, 'global'), stream_of(base, 'user:' .. user)
    read_streams()
    own.broken = false
    for _, member in ipairs(redis.call('ZRANGE', own.index, 0, -1)) do
      count(member)
    end
    redis.call('DEL', own.list, own.index)
    changed_length(own, -own.length)
    redis.call('HDEL', base .. 'bounds', own.of)
    own.bound = nil
    local ending, theirs = ':' .. user, {}
    for rank, member in ipairs(redis.call('ZREVRANGE', global.index, 0, -1)) do
      if string.sub(member, 37) == ending then
        if not global.broken then
          redis.call('LSET', global.list, rank - 1, '')
        end
        theirs[#theirs + 1] = member
        count(member)
      end
    end
    if global.broken then
      -- Ranks are wrong there. Texts in an entry have no quotes, so only its author is written like this.
      local author = '"user_id":' .. user .. ','
      for at, entry in ipairs(redis.call('LRANGE', global.list, 0, -1)) do
        if string.find(entry, author, 1, true) then
          redis.call('LSET', global.list, at - 1, '')
        end
      end
    end
    for _, member in ipairs(theirs) do
      redis.call('ZREM', global.index, member)
    end
    redis.call('LREM', global.list, 0, '')
    changed_length(global, -#theirs)
  end
  if is_new and ARGV[i + 2] ~= '' then
    enqueue(ARGV[i + 2] .. string.format('%.0f', records) .. ARGV[i + 3])
  end
  return i + 4
end

-- Begins a rebuild beside the shown streams: its name, its beginning, its targets, and the key of the posts'
-- versions before it, or nothing. A rebuild that was under way begins again.
function commands.rebuild(i)
  flush_all()
  for _, user in ipairs(redis.call('SMEMBERS', building_base .. 'users')) do
    redis.call('UNLINK', building_base .. 'activity:user:' .. user, building_base .. 'index:user:' .. user)
  end
  redis.call('UNLINK', building_base .. 'users', building_base .. 'bounds',
    building_base .. 'activity:global', building_base .. 'index:global')
  redis.call('HSET', projection .. 'state', 'building', ARGV[i], 'started', ARGV[i + 1], 'targets', ARGV[i + 2])
  redis.call('HDEL', projection .. 'state', 'refill', 'before')
  if ARGV[i + 3] ~= '' then
    redis.call('HSET', projection .. 'state', 'before', ARGV[i + 3])
  end
  building, started, streams, unread, refill = ARGV[i], tonumber(ARGV[i + 1]), {}, {}, false
  return i + 4
end

-- Cuts streams that became too long. Asks for a rebuild if a stream that was cut has become too short.
answer = function()
  flush_all()
  for _, stream in pairs(streams) do
    local is_global = stream.of == 'global'
    local most = is_global and kept.global or kept.user
    if not stream.broken and stream.length > most then
      local first = redis.call('ZREVRANGE', stream.index, most, most, 'WITHSCORES')
      redis.call('LTRIM', stream.list, 0, most - 1)
      redis.call('ZREMRANGEBYRANK', stream.index, 0, stream.length - most - 1)
      redis.call('HSET', stream.base .. 'bounds', stream.of, string.format('%.0f', first[2]) .. ' ' .. first[1])
    elseif stream.base == serving_base and stream.bound
      and stream.length < (is_global and shown.global or shown.user) then
      refill = true
    end
  end
  if refill and not building then
    redis.call('HSET', projection .. 'state', 'refill', '1')
  end
  return building and 1 or 0
end
