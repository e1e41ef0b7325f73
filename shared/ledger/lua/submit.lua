-- Records a job and its place in the queue, only once.
-- ARGV: id, spec JSON, params JSON, base, priority, client, job ttl, queue limit,
--       idempotency key ('' for none), fingerprint, idempotency ttl,
--       states for which a webhook is sent ('' for none), the client's limit of unfinished jobs (0: none),
--       its LoRAs, separated by spaces
-- Returns {'created'} | {'replayed', id} | {'conflict'} | {'full', size} | {'busy', size}
local id, base, priority, client = ARGV[1], ARGV[4], ARGV[5], ARGV[6]
local ttl = tonumber(ARGV[7])
-- Repeated because the first answer was lost: by now the job may even be running.
if redis.call('EXISTS', job_key(id)) == 1 then return { 'created' } end
if ARGV[9] ~= '' then
  local known = redis.call('HMGET', ARGV[9], 'fingerprint', 'job')
  if known[1] then
    if known[1] == ARGV[10] then return { 'replayed', known[2] } end
    return { 'conflict' }
  end
end
local size = redis.call('ZCARD', 'queued:' .. base)
if size >= tonumber(ARGV[8]) then return { 'full', size } end
if is_busy(client, tonumber(ARGV[13])) then return { 'busy', ARGV[13] } end
local now = now_ms()
local place = redis.call('INCR', 'queue:place')
keep('queue:place', ttl)
redis.call('HSET', job_key(id), 'spec', ARGV[2], 'params', ARGV[3], 'state', 'queued',
  'base', base, 'priority', priority, 'client', client, 'place', place,
  'epoch', 0, 'attempts', 0, 'crashes', 0, 'cancel', 0, 'percent', 0, 'worker', '',
  'created_ms', now, 'hinted_ms', now, 'hints', 1, 'webhook', ARGV[12],
  'loras', ARGV[14])
keep(job_key(id), ttl)
redis.call('SADD', live_key(client), id)
keep(live_key(client), ttl)
enqueue(id, base, priority, client, place, ttl)
redis.call('SET', named_key(base), 1, 'EX', ttl)
emit_state(id, 'queued', 0, 0, ttl)
count('submitted')
redis.call('ZADD', 'client:' .. client .. ':jobs', now, id)
redis.call('ZREMRANGEBYSCORE', 'client:' .. client .. ':jobs', '-inf', now - ttl * 1000)
keep('client:' .. client .. ':jobs', ttl)
if ARGV[9] ~= '' then
  redis.call('HSET', ARGV[9], 'fingerprint', ARGV[10], 'job', id)
  keep(ARGV[9], tonumber(ARGV[11]))
end
return { 'created' }
