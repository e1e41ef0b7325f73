-- Takes webhooks that are due. Each belongs to this gateway for the lease's time; no other one sends it
-- meanwhile, and if this gateway dies, another one takes it.
-- ARGV: limit, lease ms, ttl.  Returns a flat list: job id, attempt, ...
local now, out = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', WEBHOOKS, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  if redis.call('EXISTS', job_key(id)) == 0 then
    redis.call('ZREM', WEBHOOKS, id)
  else
    redis.call('ZADD', WEBHOOKS, now + tonumber(ARGV[2]), id)
    table.insert(out, id)
    table.insert(out, redis.call('HINCRBY', job_key(id), 'webhook_attempts', 1))
  end
end
keep(WEBHOOKS, tonumber(ARGV[3]))
return out
