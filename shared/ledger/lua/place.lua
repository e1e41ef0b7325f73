-- How many jobs are ahead of a queued one, and how many wait in total. Clients take turns, so of every
-- other client at most as many jobs are ahead as this one has of its own, and one more when that
-- client's turn comes first. ARGV: id.  Returns {position, size, 1 if a worker serves the base | 0}
local f = redis.call('HMGET', job_key(ARGV[1]), 'state', 'base', 'priority', 'client')
if not f[1] then return { 0, 0, 1 } end
local base, priority, client = f[2], f[3], f[4]
local size = redis.call('ZCARD', 'queued:' .. base)
local served = redis.call('EXISTS', served_key(base))
if f[1] ~= 'queued' then return { 0, size, served } end
local own = redis.call('ZRANK', places_key(base, priority, client), ARGV[1]) or 0
local turns = redis.call('ZRANGE', turns_key(base, priority), 0, 999)
local ahead, before = own, true
for _, other in ipairs(turns) do
  if other == client then
    before = false
  else
    local rounds = before and own + 1 or own
    ahead = ahead + math.min(redis.call('ZCARD', places_key(base, priority, other)), rounds)
  end
end
if priority == 'batch' then
  for _, other in ipairs(redis.call('ZRANGE', turns_key(base, 'interactive'), 0, 999)) do
    ahead = ahead + redis.call('ZCARD', places_key(base, 'interactive', other))
  end
end
return { math.min(ahead, size), size, served }
