-- Ends a rebuild that has reached its target offsets: the new streams replace the ones shown. ARGV:
-- the prefix of the group's keys, that of the feed's, the topic, the shown length of the global and
-- of a user's stream. Answers 1 when no rebuild is under way any more. It costs a few commands a
-- user, in one piece.
local group, serving = ARGV[1], ARGV[2]
local building, state = serving .. 'building:', serving .. 'state'
local targets = redis.call('HGET', state, 'targets')
if not targets then
  return 1
end
for partition, span in pairs(cjson.decode(targets)) do
  local next = redis.call('HGET', group .. 'offsets', ARGV[3] .. '/' .. partition)
  if not next or tonumber(next) < span[2] then
    return 0
  end
end

local function replace(of)
  for _, kind in ipairs({ 'activity:', 'index:' }) do
    if redis.call('EXISTS', building .. kind .. of) == 1 then
      redis.call('RENAME', building .. kind .. of, serving .. kind .. of)
    else
      redis.call('UNLINK', serving .. kind .. of)
    end
  end
end

for _, user in ipairs(redis.call('SUNION', serving .. 'users', building .. 'users')) do
  replace('user:' .. user)
end
replace('global')
for _, what in ipairs({ 'users', 'bounds' }) do
  if redis.call('EXISTS', building .. what) == 1 then
    redis.call('RENAME', building .. what, serving .. what)
  else
    redis.call('DEL', serving .. what)
  end
end
local before = redis.call('HGET', state, 'before')
if before then
  redis.call('UNLINK', before)
end
redis.call('HDEL', state, 'building', 'started', 'targets', 'before', 'refill')
-- Posts deleted since may have taken the places of posts missing now. The group knows these
-- deletions now, so another rebuild leaves them out.
for _, of in ipairs(redis.call('HKEYS', serving .. 'bounds')) do
  local shown = tonumber(of == 'global' and ARGV[4] or ARGV[5])
  if redis.call('LLEN', serving .. 'activity:' .. of) < shown then
    redis.call('HSET', state, 'refill', '1')
    break
  end
end
return 1
