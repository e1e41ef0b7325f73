-- Counts one job against a LoRA file, and suspends the file when it reaches the limit. A job counts
-- only if neither its photo nor its sender has counted already.
-- ARGV: sha256, job id, name, limit, ttl of a strike, ttl of a suspension, photo, sender
-- Returns {strikes, 1 if the job counted, 1 if the file was suspended just now}
local sha256, now, ttl = ARGV[1], now_ms(), tonumber(ARGV[5])
local strikes = 'lora:' .. sha256 .. ':strikes'
local members = {
  [strikes] = ARGV[2], [strikes .. ':photos'] = ARGV[7], [strikes .. ':senders'] = ARGV[8]
}
local is_new = true
for key, member in pairs(members) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - ttl * 1000)
  if redis.call('ZSCORE', key, member) then is_new = false end
end
local total = redis.call('ZCARD', strikes)
if not is_new then return { total, 0, 0 } end
for key, member in pairs(members) do
  redis.call('ZADD', key, now, member)
  keep(key, ttl)
end
total = total + 1
if total < tonumber(ARGV[4]) then return { total, 1, 0 } end
local record = cjson.encode({ name = ARGV[3], strikes = total })
local added = redis.call('HSET', 'loras:suspended', sha256, record)
keep('loras:suspended', ARGV[6])
return { total, 1, added }
