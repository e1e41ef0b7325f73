-- Give a worker the job whose turn it is. The message that woke the worker is a hint that there is
-- work; which job is next is decided here: interactive before batch (every eighth turn the other
-- way, so that batch never starves), clients in round robin, each client's jobs in order.
-- ARGV: base, worker, lease ms, job ttl
-- Returns {} | {id, spec, params, epoch, attempt, percent, queued ms}
local base, worker, ttl = ARGV[1], ARGV[2], tonumber(ARGV[4])
local now = now_ms()

local function first_of(priority)
  local turns = turns_key(base, priority)
  while true do
    local client = redis.call('ZRANGE', turns, 0, 0)[1]
    if not client then return nil end
    local id = redis.call('ZRANGE', places_key(base, priority, client), 0, 0)[1]
    if id then
      local state = redis.call('HGET', job_key(id), 'state')
      dequeue(id, base, priority, client)
      if state == 'queued' then
        if redis.call('ZSCORE', turns, client) then
          redis.call('ZADD', turns, redis.call('INCR', 'queue:turn'), client)
        end
        return id
      end
    else
      redis.call('ZREM', turns, client)
    end
  end
end

local claims = redis.call('INCR', 'queue:claims')
keep('queue:claims', ttl)
local order = { 'interactive', 'batch' }
if claims % 8 == 0 then order = { 'batch', 'interactive' } end
local id = first_of(order[1]) or first_of(order[2])
if not id then return {} end

local lease_until = now + tonumber(ARGV[3])
local epoch = redis.call('HINCRBY', job_key(id), 'epoch', 1)
local attempt = redis.call('HINCRBY', job_key(id), 'attempts', 1)
local f = redis.call('HMGET', job_key(id), 'spec', 'params', 'percent', 'created_ms', 'started_ms')
redis.call('HSET', job_key(id), 'state', 'running', 'worker', worker)
if not f[5] then redis.call('HSET', job_key(id), 'started_ms', now) end
redis.call('ZADD', RUNNING, lease_until, id)
keep(RUNNING, ttl); keep(job_key(id), ttl)
emit_state(id, 'running', attempt, ttl)
return { id, f[1], f[2], epoch, attempt, f[3], now - tonumber(f[4]) }
