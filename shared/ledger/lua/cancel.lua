-- Cancels a queued job at once, and a running one by a flag that its next step reads.
-- ARGV: id, ttl.  Returns the state for the caller: 'canceled' | 'running' | a terminal
-- state | 'missing'
local id, ttl = ARGV[1], tonumber(ARGV[2])
local f = redis.call('HMGET', job_key(id), 'state', 'base', 'priority', 'client', 'attempts',
  'epoch')
if not f[1] then return 'missing' end
if f[1] == 'queued' then
  dequeue(id, f[2], f[3], f[4])
  finish(id, 'canceled', now_ms(), ttl)
  emit_state(id, 'canceled', f[5], f[6], ttl)
  return 'canceled'
end
if f[1] == 'running' then redis.call('HSET', job_key(id), 'cancel', 1) end
return f[1]
