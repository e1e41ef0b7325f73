-- Records the outcome of one attempt to deliver a webhook, unless another attempt has begun since.
-- ARGV: id, attempt, state ('waiting' | 'delivered' | 'given_up'), reason, wait ms, ttl
-- Returns 1 | 0
local id = ARGV[1]
if redis.call('HGET', job_key(id), 'webhook_attempts') ~= ARGV[2] then return 0 end
redis.call('HSET', job_key(id), 'webhook_state', ARGV[3], 'webhook_reason', ARGV[4])
if ARGV[3] == 'waiting' then
  redis.call('ZADD', WEBHOOKS, now_ms() + tonumber(ARGV[5]), id)
  keep(WEBHOOKS, tonumber(ARGV[6]))
else
  redis.call('ZREM', WEBHOOKS, id)
end
return 1
