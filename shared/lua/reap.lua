-- Take back jobs whose lease ran out (or, with a worker named, all that this dead worker held).
-- ARGV: ttl, max crashes, failure JSON for a job that crashed too often, worker ('' for any)
-- Returns a flat list: id, outcome ('queued' | 'failed' | 'canceled'), worker, ...
local ttl, now, worker = tonumber(ARGV[1]), now_ms(), ARGV[4]
local limit = worker == '' and now or '+inf'
local out = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', RUNNING, '-inf', limit, 'LIMIT', 0, 1000)) do
  local f = redis.call('HMGET', job_key(id), 'state', 'worker', 'cancel', 'attempts')
  if f[1] ~= 'running' then
    redis.call('ZREM', RUNNING, id)
  elseif worker == '' or f[2] == worker then
    local outcome
    if f[3] == '1' then
      outcome = 'canceled'
      finish(id, outcome, now, ttl)
      emit_state(id, outcome, f[4], ttl)
    elseif redis.call('HINCRBY', job_key(id), 'crashes', 1) >= tonumber(ARGV[2]) then
      outcome = 'failed'
      redis.call('HSET', job_key(id), 'failure', ARGV[3])
      finish(id, outcome, now, ttl)
      emit_state(id, outcome, f[4], ttl)
      emit(id, 'error', ARGV[3], ttl)
    else
      outcome = 'queued'
      requeue(id, ttl)
    end
    table.insert(out, id); table.insert(out, outcome); table.insert(out, f[2])
  end
end
return out
