-- Returns a running job to its old place in the queue. A worker that stops in order does not count
-- the attempt. ARGV: id, worker, epoch, ttl.  Returns 'released' | 'lost'
local id, ttl = ARGV[1], tonumber(ARGV[4])
if not holds(id, ARGV[2], ARGV[3]) then return 'lost' end
if redis.call('HGET', job_key(id), 'cancel') == '1' then
  finish(id, 'canceled', now_ms(), ttl)
  emit_state(id, 'canceled', redis.call('HGET', job_key(id), 'attempts'), ARGV[3], ttl)
else
  redis.call('HINCRBY', job_key(id), 'attempts', -1)
  requeue(id, ttl)
  count('released')
end
return 'released'
