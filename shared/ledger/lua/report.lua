-- Records a report about a running job, and notifies its followers. The percentage never decreases,
-- not even when a second attempt starts again.
-- ARGV: id, worker, epoch, ttl, event kind, field ('progress' | 'preview' | 'params' | ...),
--       value JSON, percent.  Returns 'go_on' | 'canceled' | 'lost'
local id, ttl = ARGV[1], tonumber(ARGV[4])
if not holds(id, ARGV[2], ARGV[3]) then return 'lost' end
local value = ARGV[7]
if ARGV[6] == 'progress' then
  local before = tonumber(redis.call('HGET', job_key(id), 'percent'))
  if tonumber(ARGV[8]) > before then redis.call('HSET', job_key(id), 'percent', ARGV[8]) end
  if tonumber(ARGV[8]) < before then
    local progress = cjson.decode(value)
    progress['percent'] = before
    value = cjson.encode(progress)
  end
end
redis.call('HSET', job_key(id), ARGV[6], value)
emit(id, ARGV[5], value, ARGV[3], ttl)
if redis.call('HGET', job_key(id), 'cancel') == '1' then return 'canceled' end
return 'go_on'
