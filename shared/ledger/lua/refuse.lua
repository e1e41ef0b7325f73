-- A worker that cannot parse or do a job returns it unchanged, and does not get it again.
-- ARGV: id, worker, epoch, ttl.  Returns 'released' | 'lost'
local id, ttl = ARGV[1], tonumber(ARGV[4])
if not holds(id, ARGV[2], ARGV[3]) then return 'lost' end
redis.call('SADD', refused_key(ARGV[2]), id)
keep(refused_key(ARGV[2]), ttl)
redis.call('HINCRBY', job_key(id), 'attempts', -1)
if redis.call('HGET', job_key(id), 'cancel') == '1' then
  finish(id, 'canceled', now_ms(), ttl)
  emit_state(id, 'canceled', redis.call('HGET', job_key(id), 'attempts'), ARGV[3], ttl)
else
  requeue(id, ttl)
  count('refused')
end
return 'released'
