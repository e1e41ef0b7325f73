-- The bases that jobs wait for; those whose last job has left are forgotten.  Returns names
local out = {}
for _, base in ipairs(redis.call('SMEMBERS', QUEUES)) do
  if redis.call('EXISTS', 'queued:' .. base) == 1 then
    table.insert(out, base)
  else
    redis.call('SREM', QUEUES, base)
  end
end
return out
