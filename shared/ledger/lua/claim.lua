-- Gives a worker the next job. The message that woke the worker is only a hint that there is
-- work; this script decides which job is next: interactive before batch (every eighth turn the other
-- way, so that batch never starves), clients in round robin, each client's jobs in order.
--
-- A job that was running when a worker died may have killed it. It runs alone from then on, so
-- that it cannot end other jobs, and innocent jobs are not blamed a second time.
-- ARGV: base, worker, lease ms, job ttl, ticket: a repeated claim, after the first
--       answer was lost, gets the same answer
-- Returns {} | {'alone'} when the next job has to wait until it can run alone
--       | {id, spec, params, epoch, attempt, percent, queued ms}
local base, worker, ttl = ARGV[1], ARGV[2], tonumber(ARGV[4])
local now = now_ms()

local function answer(id, epoch)
  local f = redis.call('HMGET', job_key(id), 'spec', 'params', 'attempts', 'percent', 'created_ms')
  return { id, f[1], f[2], epoch, tonumber(f[3]), f[4], now - tonumber(f[5]) }
end

local ticket = 'claim:' .. ARGV[5]
local earlier = redis.call('HMGET', ticket, 'job', 'epoch')
if earlier[1] and holds(earlier[1], worker, earlier[2]) then
  return answer(earlier[1], tonumber(earlier[2]))
end

local function has_crashed(id)
  return tonumber(redis.call('HGET', job_key(id), 'crashes')) > 0
end

-- How many jobs this worker runs, and whether one of them has to run alone.
local function in_hand()
  local jobs, alone = 0, false
  for _, id in ipairs(redis.call('SMEMBERS', held_key(worker))) do
    local f = redis.call('HMGET', job_key(id), 'state', 'worker')
    if f[1] == 'running' and f[2] == worker then
      jobs, alone = jobs + 1, alone or has_crashed(id)
    else
      redis.call('SREM', held_key(worker), id)
    end
  end
  return jobs, alone
end

local function is_refused(id)
  return redis.call('SISMEMBER', refused_key(worker), id) == 1
end

-- A client's first queued job; jobs that are no longer queued are removed from the list.
local function first_of_client(priority, client)
  local places, rank = places_key(base, priority, client), 0
  while true do
    local id = redis.call('ZRANGE', places, rank, rank)[1]
    if not id then return nil end
    if redis.call('HGET', job_key(id), 'state') ~= 'queued' then
      dequeue(id, base, priority, client)
    elseif is_refused(id) then
      rank = rank + 1
    else
      return { id = id, priority = priority, client = client }
    end
  end
end

-- The first queued job of a priority, except those that this worker has refused.
local function first_of(priority)
  local turns, rank = turns_key(base, priority), 0
  while true do
    local client = redis.call('ZRANGE', turns, rank, rank)[1]
    if not client then return nil end
    local first = first_of_client(priority, client)
    if first then return first end
    if redis.call('EXISTS', places_key(base, priority, client)) == 0 then
      redis.call('ZREM', turns, client)
    else
      rank = rank + 1
    end
  end
end

local function take(first)
  local turns = turns_key(base, first.priority)
  dequeue(first.id, base, first.priority, first.client)
  if redis.call('ZSCORE', turns, first.client) then
    redis.call('ZADD', turns, redis.call('INCR', 'queue:turn'), first.client)
  end
end

local claims = redis.call('INCR', 'queue:claims')
keep('queue:claims', ttl)
local order = { 'interactive', 'batch' }
if claims % 8 == 0 then order = { 'batch', 'interactive' } end
local first = first_of(order[1]) or first_of(order[2])
if not first then return {} end
local jobs, alone = in_hand()
if alone or (jobs > 0 and has_crashed(first.id)) then return { 'alone' } end
take(first)

-- How long no worker had the job, after its worker's last sign of life.
local BUCKETS = { 1, 2, 5, 10, 15, 30, 60 }
local function note_recovery(id)
  local lost = redis.call('HGET', job_key(id), 'lost_ms')
  if not lost then return end
  redis.call('HDEL', job_key(id), 'lost_ms')
  local seconds = (now - tonumber(lost)) / 1000
  for _, bucket in ipairs(BUCKETS) do
    if seconds <= bucket then count('recovered:' .. bucket) end
  end
  count('recovered:+Inf'); count('recovery_seconds', seconds)
end

local id, lease = first.id, tonumber(ARGV[3])
local epoch = redis.call('HINCRBY', job_key(id), 'epoch', 1)
local attempt = redis.call('HINCRBY', job_key(id), 'attempts', 1)
redis.call('HSET', job_key(id), 'state', 'running', 'worker', worker)
if redis.call('HSETNX', job_key(id), 'started_ms', now) == 1 then
  local waited = now - tonumber(redis.call('HGET', job_key(id), 'created_ms'))
  observe('waited:' .. base .. ':' .. first.priority, waited / 1000)
end
redis.call('ZADD', RUNNING, now + lease, id)
redis.call('SADD', held_key(worker), id)
keep(RUNNING, ttl); keep(job_key(id), ttl); keep(held_key(worker), ttl)
redis.call('HSET', ticket, 'job', id, 'epoch', epoch)
redis.call('PEXPIRE', ticket, lease)
emit_state(id, 'running', attempt, epoch, ttl)
count('attempts'); note_recovery(id)
return answer(id, epoch)
