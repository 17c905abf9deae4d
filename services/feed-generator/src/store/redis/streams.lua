-- The streams, for the commands of the feed: `feed.lua` follows. A stream is a LIST of entries as JSON, newest
-- first. Beside it is an index, a sorted set of the same posts (with their authors) by creation. The rank
-- in the index is the place in the list. A stream keeps more than it shows. The place of the last post
-- that was cut is its bound: up to there, posts may be missing.
--
-- `kept` and `shown` are set before this: the most entries of a stream, and the most that are shown.

local known = redis.call('HMGET', projection .. 'state', 'building', 'started', 'before')
local building, started, versions_before = known[1], tonumber(known[2] or ''), known[3]
local serving_base, building_base = projection, projection .. 'building:'
local closed_any, closed = redis.call('SCARD', projection .. 'closed') > 0, {}
local streams, unread, refill = {}, {}, false
-- Posts to be put into the streams of a base: the index of each in `ARGV`, in turn, and `at`, by post, its
-- place among these. One table for each post would cost more than all that Redis does with it.
local puts = { [serving_base] = { at = {}, count = 0 }, [building_base] = { at = {}, count = 0 } }
-- Arguments in one call.
local AT_ONCE = 1000

-- A stream and its changes: `new` has posts as `puts` has them, the oldest first; `ops` are by post, in the
-- order of `posts`. It is read when they are made, together with others.
local function stream_of(base, of)
  local stream = streams[base .. of]
  if not stream then
    stream = { base = base, of = of, list = base .. 'activity:' .. of, index = base .. 'index:' .. of }
    stream.posts, stream.ops, stream.new = {}, {}, {}
    streams[base .. of] = stream
    unread[#unread + 1] = stream
  end
  return stream
end

local function read_streams()
  for from = 1, #unread, AT_ONCE do
    local to = math.min(from + AT_ONCE - 1, #unread)
    local names = { [serving_base] = {}, [building_base] = {} }
    for at = from, to do
      local of_base = names[unread[at].base]
      of_base[#of_base + 1] = unread[at].of
    end
    local bounds = {}
    for base, of_base in pairs(names) do
      if #of_base > 0 then
        for i, bound in ipairs(redis.call('HMGET', base .. 'bounds', unpack(of_base))) do
          bounds[base .. of_base[i]] = bound
        end
      end
    end
    for at = from, to do
      local stream = unread[at]
      stream.length = redis.call('ZCARD', stream.index)
      -- Somebody else wrote into it: a rebuild mends it, and until then it stays as it is.
      stream.broken = redis.call('LLEN', stream.list) ~= stream.length
      refill = refill or (stream.broken and stream.base == serving_base)
      local bound = bounds[stream.base .. stream.of]
      if bound then
        local ms, member = string.match(bound, '^(%-?%d+) (.*)$')
        stream.bound = { ms = tonumber(ms), member = member }
      end
    end
  end
  unread = {}
end

-- The order of posts: by creation, and in the same millisecond by member.
local function is_before(ms, member, other_ms, other_member)
  return ms < other_ms or (ms == other_ms and member < other_member)
end

local function is_missing(stream, ms, member)
  local bound = stream.bound
  return bound and not is_before(bound.ms, bound.member, ms, member)
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
  local rank = redis.call('ZREVRANK', stream.index, member)
  if rank then
    redis.call('LSET', stream.list, rank, '')
    redis.call('LREM', stream.list, 1, '')
    redis.call('ZREM', stream.index, member)
    changed_length(stream, -1)
  end
end

local function put_in(stream, member, ms, entry)
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

-- Notes a change of a post in a stream. The last one counts.
local function later(stream, member, op)
  if not stream.ops[member] then
    stream.posts[#stream.posts + 1] = member
  end
  stream.ops[member] = op
end

-- Up to so many changes are made one by one. For more, the changing part of the list is written anew.
local ONE_BY_ONE = 2

local function call_with_all(command, key, values)
  local sum = 0
  for from = 1, #values, AT_ONCE do
    sum = sum + redis.call(command, key, unpack(values, from, math.min(from + AT_ONCE - 1, #values)))
  end
  return sum
end

-- The coming index: the posts that are new or gone, and those that keep their place with another entry.
local function sort_out(stream)
  local entries, scored, gone, oldest, replaced = {}, {}, {}, math.huge, false
  local scores = {}
  for from = 1, #stream.posts, AT_ONCE do
    local to = math.min(from + AT_ONCE - 1, #stream.posts)
    for _, score in ipairs(redis.call('ZMSCORE', stream.index, unpack(stream.posts, from, to))) do
      scores[#scores + 1] = score
    end
  end
  for i, member in ipairs(stream.posts) do
    local op, score = stream.ops[member], tonumber(scores[i] or nil)
    local ms = tonumber(op.ms)
    if score and ms == score then
      entries[member], replaced = op.entry, true
      oldest = math.min(oldest, score)
    else
      if score then
        gone[#gone + 1] = member
        oldest = math.min(oldest, score)
      end
      if ms and not is_missing(stream, ms, member) then
        entries[member] = op.entry
        scored[#scored + 1], scored[#scored + 2] = op.ms, member
        oldest = math.min(oldest, ms)
      end
    end
  end
  return entries, scored, gone, oldest, replaced
end

-- The place of the post at `i`.
local function place_of(i)
  return tonumber(ARGV[i + 2]), ARGV[i]
end

-- The first of the `new` that stands in front of everything that is or was there. Those before it are to be
-- woven in.
local function first_in_front(stream)
  local new, bound, at = stream.new, stream.bound, 1
  if not new[at] then
    return at
  end
  local newest = redis.call('ZREVRANGE', stream.index, 0, 0, 'WITHSCORES')
  local ms, member = tonumber(newest[2] or '-inf'), newest[1] or ''
  if bound and is_before(ms, member, bound.ms, bound.member) then
    ms, member = bound.ms, bound.member
  end
  while new[at] do
    local i = new[at]
    local own_ms, own_member = place_of(i)
    if own_member ~= member and not is_before(own_ms, own_member, ms, member) then
      break
    end
    later(stream, own_member, { ms = ARGV[i + 2], entry = ARGV[i + 5] })
    at = at + 1
  end
  return at
end

-- Puts the `new` from this one on in front.
local function put_in_front(stream, first)
  local scored, values, count = {}, {}, 0
  for at = first, #stream.new do
    local i = stream.new[at]
    count = count + 1
    scored[2 * count - 1], scored[2 * count], values[count] = ARGV[i + 2], ARGV[i], ARGV[i + 5]
  end
  if count > 0 then
    local added = call_with_all('ZADD', stream.index, scored)
    call_with_all('LPUSH', stream.list, values)
    changed_length(stream, count)
    -- One was there already, at another time: a rebuild mends it.
    stream.broken = added < count
    refill = refill or (stream.broken and stream.base == serving_base)
  end
end

-- Does what is to be done to posts that are there, or belong among them.
local function weave(stream)
  local posts, ops = stream.posts, stream.ops
  if #posts <= ONE_BY_ONE then
    for _, member in ipairs(posts) do
      local op = ops[member]
      if op.entry then
        put_in(stream, member, op.ms, op.entry)
      else
        take_out(stream, member)
      end
    end
    return
  end
  local entries, scored, gone, oldest, replaced = sort_out(stream)
  local new = #scored / 2
  if new == 0 and #gone == 0 and not replaced then
    return
  end
  -- Entries before the oldest change stay as they are. The rest is read before anything changes.
  local changes_old = replaced or #gone > 0
  local newer = changes_old and redis.call('ZCOUNT', stream.index, string.format('%.0f', oldest), '+inf') or nil
  local kept_members = newer and redis.call('ZREVRANGE', stream.index, 0, newer - 1)
  call_with_all('ZREM', stream.index, gone)
  call_with_all('ZADD', stream.index, scored)
  if not changes_old then
    newer = redis.call('ZCOUNT', stream.index, string.format('%.0f', oldest), '+inf') - new
  end
  local olds = newer > 0 and redis.call('LRANGE', stream.list, 0, newer - 1) or {}
  local values = {}
  local order = redis.call('ZREVRANGE', stream.index, 0, newer - #gone + new - 1)
  if changes_old then
    local at = {}
    for i, member in ipairs(kept_members) do
      at[member] = olds[i]
    end
    for i, member in ipairs(order) do
      values[i] = entries[member] or at[member]
    end
  else
    local next_old = 1
    for i, member in ipairs(order) do
      values[i] = entries[member]
      if not values[i] then
        values[i] = olds[next_old]
        next_old = next_old + 1
      end
    end
  end
  redis.call('LTRIM', stream.list, newer, -1)
  local reversed = {}
  for at = #values, 1, -1 do
    reversed[#reversed + 1] = values[at]
  end
  call_with_all('LPUSH', stream.list, reversed)
  changed_length(stream, new - #gone)
end

-- Distributes the posts of a base to its streams.
local function distribute(base)
  local noted, new, count, is_in_order, ms, member = puts[base], {}, 0, true, -math.huge, ''
  puts[base] = { at = {}, count = 0 }
  for at = 1, noted.count do
    local i = noted[at]
    if i then
      count = count + 1
      new[count] = i
      local own_ms, own_member = place_of(i)
      is_in_order = is_in_order and is_before(ms, member, own_ms, own_member)
      ms, member = own_ms, own_member
    end
  end
  if not is_in_order then
    table.sort(new, function(i, j)
      local ms, member = place_of(i)
      return is_before(ms, member, place_of(j))
    end)
  end
  if count > 0 then
    stream_of(base, 'global').new = new
  end
  local users = {}
  for _, i in ipairs(new) do
    local user = ARGV[i + 1]
    local of_user = users[user]
    if not of_user then
      of_user = {}
      users[user], stream_of(base, 'user:' .. user).new = of_user, of_user
    end
    of_user[#of_user + 1] = i
  end
end

-- Makes all changes of the streams.
local function flush_all()
  distribute(serving_base)
  distribute(building_base)
  read_streams()
  for _, stream in pairs(streams) do
    if not stream.broken then
      local first = first_in_front(stream)
      weave(stream)
      put_in_front(stream, first)
    end
    stream.posts, stream.ops, stream.new = {}, {}, {}
  end
end
