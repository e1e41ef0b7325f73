-- Takes back jobs whose lease has expired (or, with a worker named, all jobs of this dead worker).
-- ARGV: ttl, max crashes, failure JSON for a job that crashed too often, worker ('' for any),
--       lease ms, whether the jobs may have ended the worker ('1', or '0': it was stopped)
-- Returns a flat list: id, outcome ('queued' | 'failed' | 'canceled'), worker, epoch, ...
local ttl, now, worker = tonumber(ARGV[1]), now_ms(), ARGV[4]
local out = {}

local function suspects()
  if worker ~= '' then return redis.call('SMEMBERS', held_key(worker)) end
  return redis.call('ZRANGEBYSCORE', RUNNING, '-inf', now, 'LIMIT', 0, 1000)
end

-- When the job's worker last renewed its lease.
local function last_sign(id)
  return (redis.call('ZSCORE', RUNNING, id) or now) - tonumber(ARGV[5])
end

local function take_back(id, f)
  if f[3] == '1' then
    finish(id, 'canceled', now, ttl)
    emit_state(id, 'canceled', f[4], f[5], ttl)
    return 'canceled'
  end
  if ARGV[6] == '0' then
    redis.call('HINCRBY', job_key(id), 'attempts', -1)
    requeue(id, ttl)
    return 'queued'
  end
  if redis.call('HINCRBY', job_key(id), 'crashes', 1) < tonumber(ARGV[2]) then
    redis.call('HSET', job_key(id), 'lost_ms', last_sign(id))
    requeue(id, ttl)
    return 'queued'
  end
  redis.call('HSET', job_key(id), 'failure', ARGV[3])
  finish(id, 'failed', now, ttl)
  emit_state(id, 'failed', f[4], f[5], ttl)
  emit(id, 'error', ARGV[3], f[5], ttl)
  return 'failed'
end

for _, id in ipairs(suspects()) do
  local f = redis.call('HMGET', job_key(id), 'state', 'worker', 'cancel', 'attempts', 'epoch')
  if f[1] ~= 'running' then
    redis.call('ZREM', RUNNING, id)
  elseif worker == '' or f[2] == worker then
    local outcome = take_back(id, f)
    count(ARGV[6] == '0' and 'released' or worker == '' and 'reaped:expired'
      or 'reaped:worker_died')
    for _, value in ipairs({ id, outcome, f[2], f[5] }) do table.insert(out, value) end
  end
end
if worker ~= '' then redis.call('DEL', held_key(worker)) end
return out
