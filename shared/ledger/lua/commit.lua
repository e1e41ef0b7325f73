-- Makes a finished picture the job's only result, if this claim is still valid and not canceled.
-- ARGV: id, worker, epoch, ttl, result JSON, progress JSON, timings JSON, degraded JSON, result ttl
-- Repeated because the first answer was lost, it returns 'committed' again and changes nothing.
-- Returns 'committed' | 'canceled' | 'lost'
local id, ttl = ARGV[1], tonumber(ARGV[4])
local done = redis.call('HMGET', job_key(id), 'state', 'epoch', 'result', 'packed')
local same = done[3] == ARGV[5] or done[4]
if done[1] == 'succeeded' and done[2] == ARGV[3] and same then return 'committed' end
if not holds(id, ARGV[2], ARGV[3]) then return 'lost' end
if redis.call('HGET', job_key(id), 'cancel') == '1' then return 'canceled' end
local now = now_ms()
redis.call('HSET', job_key(id), 'result', ARGV[5], 'progress', ARGV[6], 'percent', 100,
  'timings', ARGV[7], 'degraded', ARGV[8])
finish(id, 'succeeded', now, ttl)
local job = redis.call('HMGET', job_key(id), 'base', 'priority', 'created_ms')
if job[1] and job[2] then observe('took:' .. job[1] .. ':' .. job[2], (now - tonumber(job[3])) / 1000) end
keep_account(redis.call('HGET', job_key(id), 'client'), cjson.decode(ARGV[5])['size_bytes'],
  tonumber(ARGV[9]))
local attempt = redis.call('HGET', job_key(id), 'attempts')
emit(id, 'progress', ARGV[6], ARGV[3], ttl)
emit_state(id, 'succeeded', attempt, ARGV[3], ttl)
emit(id, 'result', ARGV[5], ARGV[3], ttl)
return 'committed'
