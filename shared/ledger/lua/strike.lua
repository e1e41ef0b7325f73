-- Counts one job against a LoRA file, and suspends the file when it reaches the limit.
-- ARGV: sha256, job id, name, limit, ttl of a strike, ttl of a suspension
-- Returns {strikes, 1 if it was suspended just now}
local sha256, now, ttl = ARGV[1], now_ms(), tonumber(ARGV[5])
local key = 'lora:' .. sha256 .. ':strikes'
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - ttl * 1000)
redis.call('ZADD', key, 'NX', now, ARGV[2])
keep(key, ttl)
local strikes = redis.call('ZCARD', key)
if strikes < tonumber(ARGV[4]) then return { strikes, 0 } end
local record = cjson.encode({ name = ARGV[3], strikes = strikes })
local added = redis.call('HSET', 'loras:suspended', sha256, record)
keep('loras:suspended', ARGV[6])
return { strikes, added }
