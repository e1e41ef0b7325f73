-- Extends the lease of an attempt to deliver a webhook, unless another attempt has begun since.
-- ARGV: id, attempt, lease ms.  Returns 1 | 0
local id = ARGV[1]
if redis.call('HGET', job_key(id), 'webhook_attempts') ~= ARGV[2] then return 0 end
redis.call('ZADD', WEBHOOKS, now_ms() + tonumber(ARGV[3]), id)
return 1
