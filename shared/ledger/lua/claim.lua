-- Gives a worker the next job. The message that woke the worker is only a hint that there is
-- work; this script decides which job is next: interactive before batch (every eighth turn the other
-- way, so that batch never starves), clients in round robin, each client's jobs in order.
--
-- A job that was running when a worker died may have killed it. It runs alone from then on, so
-- that it cannot end other jobs, and innocent jobs are not blamed a second time.
--
-- Of several waiting jobs, a worker takes one whose LoRAs it has loaded before the next in order, and
-- leaves those that another living worker has loaded to that one; but a job is passed over for a
-- second at most, and no worker stays idle while a job waits.
-- ARGV: base, worker, lease ms, job ttl, ticket: a repeated claim, after the first
--       answer was lost, gets the same answer; LoRAs that the worker has loaded, separated by spaces;
--       without this argument, jobs are taken in their order
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

-- What starting a job here costs: 0 if this worker has all its LoRAs loaded, 1 if no other living
-- worker was the last to load one of them, 2 if another one was.
local PASSED_MS, CLIENTS, JOBS, OWNED_SECONDS = 1000, 7, 7, 600
local owners, loaded = 'loras:' .. base, {}
for sha in string.gmatch(ARGV[6] or '', '%S+') do loaded[sha] = true end
local function loras_of(id)
  return string.gmatch(redis.call('HGET', job_key(id), 'loras') or '', '%S+')
end
local function cost(id)
  local worst = 0
  for sha in loras_of(id) do
    if not loaded[sha] then
      local owner = redis.call('HGET', owners, sha)
      local is_elsewhere = owner and owner ~= worker
        and redis.call('EXISTS', 'worker:' .. owner) == 1
      worst = math.max(worst, is_elsewhere and 2 or 1)
    end
  end
  return worst
end

-- Among the next jobs of the next clients, the one that costs least; `first` unless one is cheaper.
local function cheapest(first)
  if not ARGV[6] then return first end
  local best, least = first, cost(first.id)
  if least == 0 or has_crashed(first.id) then return first end
  local passed = redis.call('HGET', job_key(first.id), 'passed_ms')
  if passed and now - tonumber(passed) >= PASSED_MS then return first end
  local priority = first.priority
  for _, client in ipairs(redis.call('ZRANGE', turns_key(base, priority), 0, CLIENTS)) do
    for _, id in ipairs(redis.call('ZRANGE', places_key(base, priority, client), 0, JOBS)) do
      local is_open = redis.call('HGET', job_key(id), 'state') == 'queued'
      if least > 0 and is_open and not is_refused(id) and not has_crashed(id) then
        local other = cost(id)
        if other < least then
          best, least = { id = id, priority = priority, client = client }, other
        end
      end
    end
  end
  if best.id ~= first.id then redis.call('HSETNX', job_key(first.id), 'passed_ms', now) end
  return best
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
first = cheapest(first)
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
redis.call('HDEL', job_key(id), 'passed_ms')
for sha in loras_of(id) do
  redis.call('HSET', owners, sha, worker)
  keep(owners, OWNED_SECONDS)
end
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
