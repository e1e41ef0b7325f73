-- Queued jobs whose last hint is too old, oldest first; marks them as hinted now. The wait doubles
-- with each hint, up to four times its first length. ARGV: base, hint ms, limit.  Returns ids
local base, wait, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now, out = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGE', 'queued:' .. base, 0, 999)) do
  if #out >= limit then break end
  local f = redis.call('HMGET', job_key(id), 'hinted_ms', 'hints', 'state')
  if f[3] ~= 'queued' then
    redis.call('ZREM', 'queued:' .. base, id)
  else
    local patience = math.min(wait * 4, wait * 2 ^ math.max(0, tonumber(f[2]) - 1))
    if now - tonumber(f[1]) >= patience then
      redis.call('HSET', job_key(id), 'hinted_ms', now, 'hints', tonumber(f[2]) + 1)
      table.insert(out, id)
    end
  end
end
return out
