-- Ends a running job without a picture. ARGV: id, worker, epoch, ttl, failure JSON ('' for canceled),
-- timings JSON.  Returns 'committed' | 'lost'
local id, ttl = ARGV[1], tonumber(ARGV[4])
if not holds(id, ARGV[2], ARGV[3]) then return 'lost' end
local attempt = redis.call('HGET', job_key(id), 'attempts')
redis.call('HSET', job_key(id), 'timings', ARGV[6])
-- An acknowledged cancel stays a cancel, whatever error followed it.
if ARGV[5] == '' or redis.call('HGET', job_key(id), 'cancel') == '1' then
  finish(id, 'canceled', now_ms(), ttl)
  emit_state(id, 'canceled', attempt, ARGV[3], ttl)
else
  redis.call('HSET', job_key(id), 'failure', ARGV[5])
  finish(id, 'failed', now_ms(), ttl)
  emit_state(id, 'failed', attempt, ARGV[3], ttl)
  emit(id, 'error', ARGV[5], ARGV[3], ttl)
end
return 'committed'
