-- The words of the feed, between those of the group. A stream is a LIST of entries as JSON, newest
-- first, and beside it an index, a sorted set: the same posts (with their authors) by creation, which
-- tells at which place of the list a post stands. A stream keeps more than it shows; what had to leave
-- for that is remembered as a bound: up to there, posts may be missing.
--
-- `kept` and `shown` are set before this: how long a stream is at most, and how much of it is shown.

local known = redis.call('HMGET', projection .. 'state', 'building', 'started', 'before')
local building, started, versions_before = known[1], tonumber(known[2] or ''), known[3]
local serving_base, building_base = projection, projection .. 'building:'
local closed_any = redis.call('SCARD', projection .. 'closed') > 0
local streams, refill = {}, false

local function stream_of(base, of)
  local stream = streams[base .. of]
  if stream then
    return stream
  end
  local list, index = base .. 'activity:' .. of, base .. 'index:' .. of
  stream = { base = base, of = of, list = list, index = index, length = redis.call('ZCARD', index) }
  -- Somebody's hands were in it: the log makes it good, and until then it stays as it is.
  stream.broken = redis.call('LLEN', list) ~= stream.length
  refill = refill or (stream.broken and base == serving_base)
  local bound = redis.call('HGET', base .. 'bounds', of)
  if bound then
    local ms, member = string.match(bound, '^(%-?%d+) (.*)$')
    stream.bound = { ms = tonumber(ms), member = member }
  end
  streams[base .. of] = stream
  return stream
end

local function is_missing(stream, ms, member)
  local bound = stream.bound
  return bound and (ms < bound.ms or (ms == bound.ms and member <= bound.member))
end

local function changed_length(stream, by)
  local before = stream.length
  stream.length = before + by
  if by == 0 or stream.of == 'global' then
    return
  end
  local user = string.sub(stream.of, 6)
  if before == 0 then
    redis.call('SADD', stream.base .. 'users', user)
  elseif stream.length == 0 then
    redis.call('SREM', stream.base .. 'users', user)
  end
end

local function take_out(stream, member)
  if stream.broken then
    return
  end
  local rank = redis.call('ZREVRANK', stream.index, member)
  if rank then
    redis.call('LSET', stream.list, rank, '')
    redis.call('LREM', stream.list, 1, '')
    redis.call('ZREM', stream.index, member)
    changed_length(stream, -1)
  end
end

local function put_in(stream, member, ms, entry)
  if stream.broken then
    return
  end
  if redis.call('ZADD', stream.index, 'NX', ms, member) == 0 then
    if tonumber(redis.call('ZSCORE', stream.index, member)) == tonumber(ms) then
      redis.call('LSET', stream.list, redis.call('ZREVRANK', stream.index, member), entry)
      return
    end
    take_out(stream, member)
    redis.call('ZADD', stream.index, ms, member)
  end
  if is_missing(stream, tonumber(ms), member) then
    redis.call('ZREM', stream.index, member)
    return
  end
  local rank = redis.call('ZREVRANK', stream.index, member)
  if rank == 0 then
    redis.call('LPUSH', stream.list, entry)
  elseif rank == stream.length then
    redis.call('RPUSH', stream.list, entry)
  else
    redis.call('LINSERT', stream.list, 'BEFORE', redis.call('LINDEX', stream.list, rank), entry)
  end
  changed_length(stream, 1)
end

local function bases()
  return building and { serving_base, building_base } or { serving_base }
end

-- Whether the log, which is read again, has something later of this post. What was deleted later must
-- not drive out what is to stay.
local function is_superseded(member, version)
  if not versions_before then
    return false
  end
  local last = redis.call('HGET', versions_before, string.sub(member, 1, 36))
  return last and tonumber(last) > tonumber(version)
end

-- A post is there in this state: its place in an index, its author, when it was created, when this
-- happened, its version, the entry. While the log is read again, what happens anew goes into what is
-- shown, too.
function words.put(i)
  local member, user, ms, entry = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 5]
  if not (closed_any and redis.call('SISMEMBER', projection .. 'closed', user) == 1) then
    local is_shown = not building or tonumber(ARGV[i + 3]) >= started
    for _, base in ipairs(bases()) do
      local is_wanted = is_shown
      if base == building_base then
        is_wanted = not is_superseded(member, ARGV[i + 4])
      end
      if is_wanted then
        put_in(stream_of(base, 'global'), member, ms, entry)
        put_in(stream_of(base, 'user:' .. user), member, ms, entry)
      end
    end
  end
  return i + 6
end

-- A post is gone: its place in an index, its author.
function words.remove(i)
  for _, base in ipairs(bases()) do
    take_out(stream_of(base, 'global'), ARGV[i])
    take_out(stream_of(base, 'user:' .. ARGV[i + 1]), ARGV[i])
  end
  return i + 2
end

-- An account has this name; and a mark for readers who remember names.
function words.name(i)
  redis.call('HSET', projection .. 'names', ARGV[i], ARGV[i + 1])
  redis.call('SREM', projection .. 'closed', ARGV[i])
  redis.call('HSET', projection .. 'state', 'names', ARGV[i + 2])
  return i + 3
end

-- An account is closed: its name and its posts go.
function words.close(i)
  local user = ARGV[i]
  redis.call('HDEL', projection .. 'names', user)
  redis.call('SADD', projection .. 'closed', user)
  redis.call('HSET', projection .. 'state', 'names', ARGV[i + 1])
  closed_any = true
  for _, base in ipairs(bases()) do
    local global, own = stream_of(base, 'global'), stream_of(base, 'user:' .. user)
    redis.call('DEL', own.list, own.index)
    own.broken = false
    changed_length(own, -own.length)
    redis.call('HDEL', base .. 'bounds', own.of)
    own.bound = nil
    if not global.broken then
      local ending, theirs = ':' .. user, {}
      for rank, member in ipairs(redis.call('ZREVRANGE', global.index, 0, -1)) do
        if string.sub(member, 37) == ending then
          redis.call('LSET', global.list, rank - 1, '')
          theirs[#theirs + 1] = member
        end
      end
      for _, member in ipairs(theirs) do
        redis.call('ZREM', global.index, member)
      end
      redis.call('LREM', global.list, 0, '')
      changed_length(global, -#theirs)
    end
  end
  return i + 2
end

-- It is forgotten who is who.
function words.forget_names(i)
  redis.call('UNLINK', projection .. 'names', projection .. 'closed')
  redis.call('HSET', projection .. 'state', 'names', ARGV[i])
  closed_any = false
  return i + 1
end

-- The streams are made anew beside those that are shown: the name of this rebuild, when it begins,
-- until where it reads, and where the versions are that the posts had before, or nothing. One that was
-- under way begins again.
function words.rebuild(i)
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
  building, started, streams, refill = ARGV[i], tonumber(ARGV[i + 1]), {}, false
  return i + 4
end

-- Cuts what became too long, and asks for the log where too little is left of what was longer.
told = function()
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
