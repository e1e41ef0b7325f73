-- Prepended to every script: names of keys, the clock, events, places in the queue.
-- All times are Redis TIME in milliseconds, so that no two machines' clocks are ever compared.

-- Every command but TIME names one key, its first argument. Most stores have no prefix, and then a
-- function of ours around every command would only take time.
local redis = redis
if '@PREFIX@' ~= '' then
  local real_call = redis.call
  redis = {
    call = function(command, key, ...)
      if key == nil then return real_call(command) end
      return real_call(command, '@PREFIX@' .. key, ...)
    end,
  }
end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function job_key(id) return 'job:' .. id end
local function events_key(id) return 'job:' .. id .. ':events' end
-- A stream of one entry, for those who wait for the end and would wake up at every other event.
local function ended_key(id) return 'ended:' .. id end
local function turns_key(base, priority) return 'queue:' .. base .. ':' .. priority end
local function places_key(base, priority, client)
  return 'queue:' .. base .. ':' .. priority .. ':' .. client
end
local function held_key(worker) return 'held:' .. worker end
local function refused_key(worker) return 'refused:' .. worker end
local RUNNING = 'running'
-- The bases that jobs wait for.
local QUEUES = 'queues'
-- Exists while a worker serves the base; see shared/ledger/fleet.py.
local function served_key(base) return 'base:' .. base end
-- Exists while jobs may wait that are for the base of exactly this name. Versions before 0.2 put
-- the jobs of all checkpoints of a family in one queue, and do not write it.
local function named_key(base) return 'named:' .. base end
local WEBHOOKS = 'webhooks'
local FINISHED = 'finished'

local function keep(key, ttl_seconds) redis.call('EXPIRE', key, ttl_seconds) end

-- The fleet's counters, for its operator; they restart after a month without activity.
local counts_are_kept = false
local function count(what, by)
  redis.call('HINCRBYFLOAT', 'counts', what, by or 1)
  if not counts_are_kept then keep('counts', 2592000) end
  counts_are_kept = true
end

-- One observation of a histogram of Prometheus; the buckets are in api/metrics/fleet_metrics.py too.
local SECONDS = { 1, 2, 5, 10, 30, 60, 120, 300, 600 }
local function observe(what, seconds)
  for _, bucket in ipairs(SECONDS) do
    if seconds <= bucket then count(what .. ':' .. bucket) end
  end
  count(what .. ':+Inf'); count(what .. ':sum', seconds)
end

-- `epoch` is the claim that the event belongs to, as its sender knows it.
local function emit(id, kind, data, epoch, ttl_seconds)
  redis.call('XADD', events_key(id), 'MAXLEN', '~', 256, '*', 'kind', kind, 'data', data,
    'epoch', epoch)
  keep(events_key(id), ttl_seconds)
end

local function emit_state(id, state, attempt, epoch, ttl_seconds)
  local data = cjson.encode({ state = state, attempt = tonumber(attempt) })
  emit(id, 'state', data, epoch, ttl_seconds)
end

-- A job's place: its client's own list, and the client's turn among all clients (round robin).
local function enqueue(id, base, priority, client, place, ttl_seconds)
  local places, turns = places_key(base, priority, client), turns_key(base, priority)
  redis.call('ZADD', places, place, id)
  if not redis.call('ZSCORE', turns, client) then
    redis.call('ZADD', turns, redis.call('INCR', 'queue:turn'), client)
  end
  keep(places, ttl_seconds); keep(turns, ttl_seconds); keep('queue:turn', ttl_seconds)
  redis.call('ZADD', 'queued:' .. base, now_ms(), id)
  redis.call('SADD', QUEUES, base)
  keep('queued:' .. base, ttl_seconds); keep(QUEUES, ttl_seconds)
end

local function dequeue(id, base, priority, client)
  local places = places_key(base, priority, client)
  redis.call('ZREM', places, id)
  redis.call('ZREM', 'queued:' .. base, id)
  if redis.call('EXISTS', places) == 0 then
    redis.call('ZREM', turns_key(base, priority), client)
  end
end

-- Whether (worker, epoch) still holds the job: the fence of every write by a worker.
local function holds(id, worker, epoch)
  local f = redis.call('HMGET', job_key(id), 'state', 'worker', 'epoch')
  return f[1] == 'running' and f[2] == worker and f[3] == epoch
end

-- Removes the job from its worker's running jobs.
local function let_go(id)
  redis.call('ZREM', RUNNING, id)
  local worker = redis.call('HGET', job_key(id), 'worker')
  if worker and worker ~= '' then redis.call('SREM', held_key(worker), id) end
end

local function live_key(client) return 'client:' .. client .. ':live' end

-- Whether a client has as many jobs as it may have; those whose record is gone do not count.
local function is_busy(client, most)
  local live = live_key(client)
  if most == 0 or redis.call('SCARD', live) < most then return false end
  for _, id in ipairs(redis.call('SMEMBERS', live)) do
    if redis.call('EXISTS', job_key(id)) == 0 then redis.call('SREM', live, id) end
  end
  return redis.call('SCARD', live) >= most
end

-- A client's stored bytes are counted in slices of time; each expires with its pictures.
local SLICES = 24
local function slice_key(client, life_seconds, back)
  local slice = math.floor(now_ms() / 1000 / math.max(1, life_seconds / SLICES)) - back
  return 'client:' .. client .. ':kept:' .. slice
end
local function keep_account(client, bytes, life_seconds)
  local key = slice_key(client, life_seconds, 0)
  redis.call('INCRBY', key, bytes)
  keep(key, math.ceil(life_seconds * (SLICES + 1) / SLICES))
end

local function finish(id, state, now, ttl_seconds)
  redis.call('HSET', job_key(id), 'state', state, 'finished_ms', now)
  count('finished:' .. state)
  let_go(id)
  keep(job_key(id), ttl_seconds)
  redis.call('XADD', ended_key(id), '*', 'state', state)
  keep(ended_key(id), ttl_seconds)
  redis.call('ZADD', FINISHED, now, id)
  keep(FINISHED, ttl_seconds)
  local f = redis.call('HMGET', job_key(id), 'webhook', 'client')
  redis.call('SREM', live_key(f[2]), id)
  local wanted = f[1] or ''
  if string.find(wanted, state, 1, true) then
    redis.call('HSET', job_key(id), 'webhook_state', 'waiting')
    redis.call('ZADD', WEBHOOKS, now, id)
    keep(WEBHOOKS, ttl_seconds)
  end
end

local function requeue(id, ttl_seconds)
  local f = redis.call('HMGET', job_key(id), 'base', 'priority', 'client', 'place', 'attempts',
    'epoch')
  let_go(id)
  redis.call('HSET', job_key(id), 'state', 'queued', 'worker', '', 'hinted_ms', 0, 'hints', 0)
  enqueue(id, f[1], f[2], f[3], f[4], ttl_seconds)
  emit_state(id, 'queued', f[5], f[6], ttl_seconds)
end
